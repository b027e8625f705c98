// Values rounded to a format that no adapter need have.
#import epilogue
#import format
#import grid
#import tail

@group(0) @binding(0) var<storage, read> clock: Clock;
@group(0) @binding(1) var<storage, read> x: array<elem4>;       // [groups]
@group(0) @binding(2) var<storage, read_write> y: array<elem4>; // [groups]

struct Params {
    groups: u32,
    last: u32,   // length of the last axis
    stream: u32, // tells these random numbers from others of the same step
}
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = invocation(workgroup, lane);
    if g < p.groups {
        let v = vec4<acc>(rounded4(vec4<f32>(unpack4(x[g])), chance(p.stream, g)));
        y[g] = pack4(tail(epilogue(g, v), g, p.last));
    }
}
