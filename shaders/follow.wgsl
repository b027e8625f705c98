// Moves the average of the weights towards them: a ← d·a + (1 − d)·w, with d no more than (1 + t) / (10 + t).
#import clock
#import grid

@group(0) @binding(0) var<storage, read> clock: Clock;
@group(0) @binding(1) var<storage, read> weights: array<elem4>;             // [groups]
@group(0) @binding(2) var<storage, read_write> average: array<vec4<f32>>;   // [groups]
@group(0) @binding(3) var<storage, read_write> copy: array<wide4>;          // [groups]: the average as plans read it

struct Params {
    groups: u32,
    decay: f32,
}
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = invocation(workgroup, lane);
    if g >= p.groups || clock.apply == 0u {
        return;
    }
    let t = f32(clock.updates);
    let share = 1.0 - min(p.decay, (1.0 + t) / (10.0 + t));
    let now = average[g] + share * (unpack4(weights[g]) - average[g]);
    average[g] = now;
    copy[g] = pack4_wide(now);
}
