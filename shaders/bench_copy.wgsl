// A copy: one element an invocation.
#import grid

//: element
alias element = vec4<u32>;
//: end

@group(0) @binding(0) var<storage, read> x: array<element>;
@group(0) @binding(1) var<storage, read_write> y: array<element>;

struct Params {
    elements: u32,
}
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = invocation(workgroup, lane);
    if i < p.elements {
        y[i] = x[i];
    }
}
