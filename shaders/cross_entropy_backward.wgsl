// Gradient of the mean cross-entropy: (softmax - target) · dloss / count, zero in rows that do not count. One
// invocation a group of logits. The loss scale is in dloss, so it is divided before anything is rounded to 16 bit.
#import grid
#import labels
#import math
#import tail

@group(0) @binding(0) var<storage, read> logits: array<elem4>;        // [rows, classes]
@group(0) @binding(1) var<storage, read> labels: array<u32>;          // [_, last]
@group(0) @binding(2) var<storage, read> rows: array<wide4>;          // [rows, 4]: `line` of cross_entropy.wgsl
@group(0) @binding(3) var<storage, read> count: array<vec4<u32>>;     // []
@group(0) @binding(4) var<storage, read> dloss: array<wide4>;         // []
@group(0) @binding(5) var<storage, read_write> dlogits: array<elem4>; // [rows, classes]

struct Params {
    groups: u32,    // groups of logits
    classes: u32,
    last: u32,      // length of the labels' last axis
    ignore: u32,    // a label that does not count
    smoothing: f32, // share of the target that all classes have in common
}
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = invocation(workgroup, lane);
    if g >= p.groups {
        return;
    }
    let place = place_of(g, p.classes);
    let label = labels[label_place(place.line, p.last)];
    var v = vec4<acc>();
    if !is_ignored(label, p.ignore) {
        let of_row = unpack4_wide(rows[place.line]);
        v = exp_acc(unpack4(logits[g]) - of_row.x - of_row.y);
        let low = p.smoothing / f32(p.classes);
        let is_label = numbers(place.k) == vec4(label);
        v -= select(vec4(acc(low)), vec4(acc(1.0 - p.smoothing + low)), is_label);
        v *= acc(f32(unpack4_wide(dloss[0]).x) / f32(max(count[0].x, 1u)));
    }
    dlogits[g] = pack4(tail_along(v, place.k, p.classes));
}
