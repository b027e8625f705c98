// A tensor rounded where it lies to a format that no adapter need have. Padding is zero, and stays it.
#import format
#import grid

@group(0) @binding(0) var<storage, read> clock: Clock;
@group(0) @binding(1) var<storage, read_write> x: array<elem4>; // [groups]

struct Params {
    groups: u32,
    stream: u32, // tells these random numbers from others of the same step
}
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = invocation(workgroup, lane);
    if g < p.groups {
        x[g] = pack4(rounded4(unpack4(x[g]), chance(p.stream, g)));
    }
}
