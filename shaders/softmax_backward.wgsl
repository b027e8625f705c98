// Gradient of softmax, dx = y · (dy - Σ dy · y), or of its logarithm, dx = dy - exp(y) · Σ dy; sums along the last axis.
// Reads rows once if their invocations can hold them, and meets once.
#import across
#import axis
#import combine
#import epilogue
#import math
#import stretches
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

fn work(workgroup: u32, lane: u32) {
    let width = groups(p.last);
    let s = own_stretch(workgroup, lane, width);
    let first = s.row * width;
    var held_y: Held;
    var held_dy: Held;
    var sums = vec4<acc>();
    for (var i = 0u; i < summing_turns(width); i++) {
        let k = group_of(s, i);
        let g = first + min(k, s.end - 1u);
        let d = unpack4(dy[g]);
        var term = d;
        if HELD > 0u || LOG == 0u {
            let u = unpack4(y[g]);
            if HELD > 0u {
                held_y[i] = u;
                held_dy[i] = d;
            }
            if LOG == 0u {
                term = d * u;
            }
        }
        sums += select(vec4<acc>(), term, vec4(k < s.end));
    }
    let sum = sums_of_row(s, width, vec4(across(sums), vec3<acc>())).x;
    for (var i = 0u; i < writing_turns(width); i++) {
        let k = group_of(s, i);
        if s.live && k < s.end {
            let g = first + k;
            var u: vec4<acc>;
            var v: vec4<acc>;
            if HELD > 0u {
                u = held_y[i];
                v = held_dy[i];
            } else {
                u = unpack4(y[g]);
                v = unpack4(dy[g]);
            }
            if LOG == 1u {
                v -= exp_acc(u) * sum;
            } else {
                v = u * (v - sum);
            }
            dx[g] = pack4(tail_along(epilogue(g, v), k, p.last));
        }
    }
}
