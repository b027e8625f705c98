// Rows of a table, chosen by indices.
#import axis
#import epilogue
#import grid
#import labels
#import tail

@group(0) @binding(0) var<storage, read> table: array<elem4>;   // [rows, d]
@group(0) @binding(1) var<storage, read> indices: array<u32>;   // [_, last]
@group(0) @binding(2) var<storage, read_write> y: array<elem4>; // [_, last, d]

struct Params {
    groups: u32, // groups of y
    rows: u32,
    d: u32,
    last: u32,   // length of the indices' last axis
}
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = invocation(workgroup, lane);
    if g >= p.groups {
        return;
    }
    let place = place_of(g, p.d);
    let index = indices[label_place(place.line, p.last)];
    var v = vec4<acc>();
    if index < p.rows {
        v = unpack4(table[index * groups(p.d) + place.k]);
    } else if !is_ignored(index, 0xffffffffu) {
        v = vec4(acc(bitcast<f32>(0x7fc00000u | (index & 1u)))); // NaN, which no constant may be
    }
    y[g] = pack4(tail_along(epilogue(g, v), place.k, p.d));
}
