// Row normalisation: y = (x − mean) / √(variance + ε) over the last axis. One invocation a row.
#import axis
#import grid
#import tail

@group(0) @binding(0) var<storage, read> x: array<elem4>;       // [rows, last]
@group(0) @binding(1) var<storage, read_write> y: array<elem4>; // [rows, last]

struct Params {
    rows: u32,
    last: u32,
    epsilon: f32,
}
@group(1) @binding(0) var<uniform> p: Params;

fn sum4(v: vec4<acc>) -> acc {
    return (v.x + v.y) + (v.z + v.w);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = invocation(workgroup, lane);
    if row >= p.rows {
        return;
    }
    let width = groups(p.last);
    var mean = acc();
    for (var k = 0u; k < width; k++) {
        mean += sum4(unpack4(x[row * width + k]));
    }
    mean /= acc(p.last);
    var variance = acc();
    for (var k = 0u; k < width; k++) {
        let d = tail(unpack4(x[row * width + k]) - mean, k, p.last);
        variance += sum4(d * d);
    }
    let scale = inverseSqrt(variance / acc(p.last) + acc(p.epsilon));
    for (var k = 0u; k < width; k++) {
        let g = row * width + k;
        y[g] = pack4(tail((unpack4(x[g]) - mean) * scale, g, p.last));
    }
}
