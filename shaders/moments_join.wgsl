// The parts that `moments.wgsl` left of each result, as one.
#import axis
#import grid
#import gathered

const OVER_ROWS: u32 = 0u; // whether a term is a group of a row, the last of which may be padded

@group(0) @binding(0) var<storage, read> variances: array<elem4>;      // [splits, groups]
@group(0) @binding(1) var<storage, read> means: array<elem4>;          // [splits, groups]
@group(0) @binding(2) var<storage, read_write> variance: array<elem4>; // [groups]
@group(0) @binding(3) var<storage, read_write> mean: array<elem4>;     // [groups]

struct Params {
    groups: u32,
    terms: u32,   // of all parts
    last_in: u32, // length of x's last axis
    splits: u32,  // parts
    chunk: u32,   // terms of a part; the last may have fewer
}
@group(1) @binding(0) var<uniform> p: Params;

// Values in so many terms.
fn values(terms: u32) -> u32 {
    if OVER_ROWS == 0u {
        return terms;
    }
    let end = place_of(terms, p.last_in);
    return end.line * p.last_in + min(4u * end.k, p.last_in);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let across = 64u / LANES;
    let g = linear_id(workgroup) * across + lane % across;
    var all: Part;
    if g < p.groups {
        for (var k = lane / across; k < p.splits; k += LANES) {
            let first = k * p.chunk;
            let n = f32(values(min(first + p.chunk, p.terms)) - values(first));
            let at = k * p.groups + g;
            all = joined(all, Part(vec4(n), unpack4(means[at]), unpack4(variances[at])));
        }
    }
    all = gathered(all, lane);
    if lane < across && g < p.groups {
        // Padding is made of padding: zeros.
        variance[g] = pack4(all.variance);
        mean[g] = pack4(all.mean);
    }
}
