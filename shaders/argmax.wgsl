// Where the largest value of each row is. An invocation has four rows, whose indices are a group of the result.
#import grid

@group(0) @binding(0) var<storage, read> x: array<elem4>;           // [rows, d]
@group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>; // [_, last] = [rows]

struct Params {
    groups: u32, // groups of y
    d: u32,
    last: u32,   // length of y's last axis
}
@group(1) @binding(0) var<uniform> p: Params;

// Of equal values the first wins. NaN wins over all, to stay visible.
fn argmax(row: u32) -> u32 {
    let across = (p.d + 3u) / 4u;
    var largest = unpack4(x[row * across]).x;
    var at = 0u;
    for (var k = 0u; k < across; k++) {
        let v = unpack4(x[row * across + k]);
        for (var i = 0u; i < 4u && 4u * k + i < p.d; i++) {
            if v[i] > largest || v[i] != v[i] {
                largest = v[i];
                at = 4u * k + i;
            }
        }
    }
    return at;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = linear_id(workgroup) * 64u + lane;
    if g < p.groups {
        let across = (p.last + 3u) / 4u;
        let line = g / across;
        let first = (g - line * across) * 4u;
        var v = vec4<u32>();
        for (var i = 0u; i < 4u && first + i < p.last; i++) {
            v[i] = argmax(line * p.last + first + i);
        }
        y[g] = v;
    }
}
