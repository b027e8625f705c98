// The parts that `standardize_backward.wgsl` left of its sums, as one.
#import sums
#import tail

@group(0) @binding(0) var<storage, read> sums: array<wide4>;         // [2, splits, groups]
@group(0) @binding(1) var<storage, read_write> first: array<elem4>;  // [groups]
@group(0) @binding(2) var<storage, read_write> second: array<elem4>; // [groups]

struct Params {
    groups: u32,
    splits: u32, // parts
    last: u32,   // length of the results' last axis
}
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = linear_id(workgroup) * RESULTS + lane % RESULTS;
    let all = of_parts(g, lane);
    if lane < RESULTS && g < p.groups {
        first[g] = pack4(tail(all.first, g, p.last));
        second[g] = pack4(tail(all.second, g, p.last));
    }
}
