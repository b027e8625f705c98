// Elementwise work: one invocation a group of four. The planner puts a whole fused chain between the marks.
#import grid
#import tail

const LANES: u32 = 64u; // invocations of a workgroup

@group(0) @binding(0) var<storage, read_write> y: array<elem4>; // [groups]

struct Params {
    groups: u32, // groups of the output
    last: u32,   // length of its last axis
}
@group(1) @binding(0) var<uniform> p: Params;

fn map(g: u32) -> vec4<acc> {
    //: map
    return vec4<acc>();
    //: end
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = linear_id(workgroup) * LANES + lane;
    if g < p.groups {
        y[g] = pack4(tail(map(g), g, p.last));
    }
}
