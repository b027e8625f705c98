// Sums the gradients of several runs; the last of them leaves the mean in the place of its own.
#import clock
#import grid

const RUNS: u32 = 2u;

@group(0) @binding(0) var<storage, read> clock: Clock;
@group(0) @binding(1) var<storage, read_write> gradient: array<elem4>; // [groups], times the loss scale
@group(0) @binding(2) var<storage, read_write> sums: array<vec4<f32>>; // [groups]

struct Params {
    groups: u32,
}
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = invocation(workgroup, lane);
    if g >= p.groups {
        return;
    }
    let run = clock.step % RUNS;
    var sum = unpack4(gradient[g]);
    if run > 0u {
        sum += sums[g];
    }
    if run + 1u == RUNS {
        gradient[g] = pack4(sum / f32(RUNS));
    } else {
        sums[g] = sum;
    }
}
