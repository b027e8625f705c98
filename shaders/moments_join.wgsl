// The parts that `moments.wgsl` left of each result, as one.
#import grid
#import gathered

@group(0) @binding(0) var<storage, read> variances: array<elem4>;      // [splits, groups]
@group(0) @binding(1) var<storage, read> means: array<elem4>;          // [splits, groups]
@group(0) @binding(2) var<storage, read_write> variance: array<elem4>; // [groups]
@group(0) @binding(3) var<storage, read_write> mean: array<elem4>;     // [groups]

struct Params {
    groups: u32,
    terms: u32,  // of all parts
    splits: u32, // parts
    chunk: u32,  // terms of a part; the last may have fewer
}
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let across = 64u / LANES;
    let g = linear_id(workgroup) * across + lane % across;
    var all: Part;
    if g < p.groups {
        for (var k = lane / across; k < p.splits; k += LANES) {
            let n = f32(min(p.chunk, p.terms - k * p.chunk));
            let at = k * p.groups + g;
            all = joined(all, Part(vec4(n), unpack4(means[at]), unpack4(variances[at])));
        }
    }
    all = gathered(all, lane);
    if lane < across && g < p.groups {
        // Of columns, so padding is made of padding: zeros.
        variance[g] = pack4(all.variance);
        mean[g] = pack4(all.mean);
    }
}
