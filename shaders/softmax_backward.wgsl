// Gradient of softmax, dx = y · (dy - Σ dy · y), or of its logarithm, dx = dy - exp(y) · Σ dy; sums along the last axis.
#import across
#import epilogue
#import grid
#import lanes
#import math
#import tail

const LOG: u32 = 0u; // whether it is the logarithm

@group(0) @binding(0) var<storage, read> y: array<elem4>;        // [rows, last]
@group(0) @binding(1) var<storage, read> dy: array<elem4>;       // [rows, last]
@group(0) @binding(2) var<storage, read_write> dx: array<elem4>; // [rows, last]

struct Params {
    rows: u32,
    last: u32,
}
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = linear_id(workgroup) * (64u / LANES) + lane / LANES;
    let part = lane % LANES;
    let groups = (p.last + 3u) / 4u;
    let first = min(row, p.rows - 1u) * groups;
    var sums = vec4<acc>();
    for (var k = part; k < groups; k += LANES) {
        let d = unpack4(dy[first + k]);
        if LOG == 1u {
            sums += d;
        } else {
            sums += d * unpack4(y[first + k]);
        }
    }
    let sum = together(vec2(across(sums)), lane, LANES, false).x;
    if row >= p.rows {
        return;
    }
    for (var g = first + part; g < first + groups; g += LANES) {
        let u = unpack4(y[g]);
        var v = unpack4(dy[g]);
        if LOG == 1u {
            v -= vec4<acc>(exp4(vec4<f32>(u))) * sum;
        } else {
            v = u * (v - sum);
        }
        dx[g] = pack4(tail(epilogue(g, v), g, p.last));
    }
}
