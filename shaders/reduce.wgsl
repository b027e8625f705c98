// Sum or largest value over a run of axes; LANES invocations share one group of four results.
#import accumulate
#import epilogue
#import grid
#import parts
#import tail

const OVER_ROWS: u32 = 1u; // whether the last axis is among those that vanish
const MAX: u32 = 0u;       // largest value instead of sum

@group(0) @binding(0) var<storage, read> x: array<wide4>;       // over rows [rows, terms], else [_, terms, inner]
@group(0) @binding(1) var<storage, read_write> y: array<elem4>; // [groups]

struct Params {
    groups: u32,   // groups of results
    terms: u32,    // groups of x that one result is made of
    inner: u32,    // groups of x between two terms of a column
    last_in: u32,  // length of x's last axis
    last_out: u32, // length of y's last axis
    factor: f32,   // on the sum
}
@group(1) @binding(0) var<uniform> p: Params;

fn combine(u: vec4<acc>, v: vec4<acc>) -> vec4<acc> {
    if MAX == 1u {
        return max(u, v);
    }
    return joined(u, v);
}

// The values of one group of a row, as one; its padding is zero, which a largest value must not see.
fn across(row: u32, k: u32) -> acc {
    let v = unpack4_wide(x[row * p.terms + k]);
    if MAX == 1u {
        let first = k % ((p.last_in + 3u) / 4u) * 4u;
        let w = select(vec4(v.x), v, vec4(first) + vec4(0u, 1u, 2u, 3u) < vec4(p.last_in));
        return max(max(w.x, w.y), max(w.z, w.w));
    }
    let pairs = running(vec4<acc>(v.xz + v.yw, vec2<acc>()));
    return running(vec4<acc>(pairs.x + pairs.y)).x;
}

// Term k of the four results of group g.
fn term(g: u32, k: u32) -> vec4<acc> {
    if OVER_ROWS == 0u {
        let outer = g / p.inner;
        return unpack4_wide(x[(outer * p.terms + k) * p.inner + g - outer * p.inner]);
    }
    let across_out = (p.last_out + 3u) / 4u;
    let line = g / across_out;
    let first = (g - line * across_out) * 4u;
    let row = vec4(line * p.last_out) + min(vec4(first) + vec4(0u, 1u, 2u, 3u), vec4(p.last_out - 1u));
    return vec4(across(row.x, k), across(row.y, k), across(row.z, k), across(row.w, k));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = linear_id(workgroup) * RESULTS + lane % RESULTS;
    var v = vec4<acc>();
    if g < p.groups {
        var sum = Sum();
        if MAX == 1u {
            sum.part = term(g, 0u);
        }
        for (var k = lane / RESULTS; k < p.terms; k += LANES) {
            if MAX == 1u {
                sum.part = combine(sum.part, term(g, k));
            } else {
                sum = added(sum, term(g, k));
            }
        }
        v = whole(sum);
    }
    v = combined(v, lane);
    if lane < RESULTS && g < p.groups {
        y[g] = pack4(tail(epilogue(g, v * acc(p.factor)), g, p.last_out));
    }
}
