// Inverted dropout: each value is dropped with probability p, or divided by 1 - p. The mask is a function of seed,
// step, stream and place alone, so that the backward pass finds the one of the forward pass by computing it again.
#import clock
#import epilogue
#import grid
#import random
#import tail

@group(0) @binding(0) var<storage, read> clock: Clock;
@group(0) @binding(1) var<storage, read> x: array<elem4>;       // [groups]
@group(0) @binding(2) var<storage, read_write> y: array<elem4>; // [groups]

struct Params {
    groups: u32,
    last: u32,   // length of the last axis
    stream: u32, // tells this mask from others of the same step
    drop: u32,   // p · 2³²
    scale: f32,  // 1 / (1 - p)
}
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = invocation(workgroup, lane);
    if g < p.groups {
        let kept = random4(clock.seed, p.stream, clock.step, g) >= vec4(p.drop);
        // Chosen, not multiplied by 0: what is dropped may be Inf.
        let v = select(vec4<acc>(), unpack4(x[g]) * acc(p.scale), kept);
        y[g] = pack4(tail(epilogue(g, v), g, p.last));
    }
}
