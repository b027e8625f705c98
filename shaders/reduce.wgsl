// Sum or largest value over a run of axes before the last; LANES invocations share one group of four results.
#import accumulate
#import epilogue
#import grid
#import larger
#import parts
#import tail

const MAX: u32 = 0u; // largest value instead of sum

@group(0) @binding(0) var<storage, read> x: array<wide4>;       // [_, terms, inner]
@group(0) @binding(1) var<storage, read_write> y: array<elem4>; // [groups]

struct Params {
    groups: u32,   // groups of results
    terms: u32,    // groups of x that one result is made of
    inner: u32,    // groups of x between two terms of a column
    last_out: u32, // length of y's last axis
    factor: f32,   // on the sum
}
@group(1) @binding(0) var<uniform> p: Params;

fn combine(u: vec4<acc>, v: vec4<acc>) -> vec4<acc> {
    if MAX == 1u {
        return larger(u, v);
    }
    return joined(u, v);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = linear_id(workgroup) * RESULTS + lane % RESULTS;
    var v = vec4<acc>();
    if g < p.groups {
        let first = column_start(g, p.terms, p.inner);
        var sum = Sum();
        if MAX == 1u {
            sum.part = unpack4_wide(x[first]);
        }
        for (var k = lane / RESULTS; k < p.terms; k += LANES) {
            let term = unpack4_wide(x[first + k * p.inner]);
            if MAX == 1u {
                sum.part = larger(sum.part, term);
            } else {
                sum = added(sum, term);
            }
        }
        v = whole(sum);
    }
    v = combined(v, lane);
    if lane < RESULTS && g < p.groups {
        y[g] = pack4(tail(epilogue(g, v * acc(p.factor)), g, p.last_out));
    }
}
