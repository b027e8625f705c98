// Softmax along the last axis, or its logarithm.
#import epilogue
#import exponentials
#import grid
#import tail

const LOG: u32 = 0u; // whether it is the logarithm

@group(0) @binding(0) var<storage, read> x: array<elem4>;       // [rows, last]
@group(0) @binding(1) var<storage, read_write> y: array<elem4>; // [rows, last]

struct Params {
    rows: u32,
    last: u32,
}
@group(1) @binding(0) var<uniform> p: Params;

fn load(row: u32, k: u32) -> vec4<acc> {
    return unpack4(x[row * ((p.last + 3u) / 4u) + k]);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = linear_id(workgroup) * (64u / LANES) + lane / LANES;
    let part = lane % LANES;
    // Invocations past the end take the last row along, since all must meet at the barriers.
    let e = exponentials(min(row, p.rows - 1u), p.last, part, lane);
    if row >= p.rows {
        return;
    }
    let groups = (p.last + 3u) / 4u;
    for (var k = part; k < groups; k += LANES) {
        var v = load(row, k) - e.largest;
        if LOG == 1u {
            v -= log1(e.sum);
        } else {
            v = vec4<acc>(exp4(vec4<f32>(v))) / e.sum;
        }
        let g = row * groups + k;
        y[g] = pack4(tail(epilogue(g, v), g, p.last));
    }
}
