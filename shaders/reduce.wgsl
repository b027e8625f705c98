// Sum or largest value over a run of axes before the last, whole or in parts; LANES invocations share one group of four
// results.
#import accumulate
#import epilogue
#import grid
#import larger
#import parts
#import tail

const MAX: u32 = 0u; // largest value instead of sum

@group(0) @binding(0) var<storage, read> x: array<wide4>;       // [_, terms, inner]
@group(0) @binding(1) var<storage, read_write> y: array<elem4>; // [_, splits, inner]

struct Params {
    groups: u32,   // groups of results
    terms: u32,    // groups of x in a column
    inner: u32,    // groups of x between two terms of a column
    splits: u32,   // parts in which the terms are taken, a result each
    chunk: u32,    // terms of a part, of which the last may have fewer
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
        let line = quotient(g, p.inner, 1u);
        var outer = line;
        if p.splits > 1u {
            outer = quotient(line, p.splits, 1u);
        }
        let first = outer * p.terms * p.inner + g - line * p.inner;
        let start = (line - outer * p.splits) * p.chunk;
        let end = min(start + p.chunk, p.terms);
        var sum = Sum();
        if MAX == 1u {
            sum.part = unpack4_wide(x[first + start * p.inner]);
        }
        for (var k = start + lane / RESULTS; k < end; k += LANES) {
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
