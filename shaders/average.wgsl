// Moves a state of the network towards a value: state ← (1 − share) · state + share · value. Nothing happens in a step
// that is skipped, nor to a state whose value is Inf or NaN: one bad batch would stay in a running average for ever.
#import clock
#import grid

@group(0) @binding(0) var<storage, read> clock: Clock;
@group(0) @binding(1) var<storage, read> value: array<elem4>;       // [groups]
@group(0) @binding(2) var<storage, read_write> state: array<elem4>; // [groups]

struct Params {
    groups: u32,
    share: f32,
}
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = linear_id(workgroup) * 64u + lane;
    if g >= p.groups || clock.apply == 0u {
        return;
    }
    let v = unpack4(value[g]);
    let old = unpack4(state[g]);
    let now = acc(1.0 - p.share) * old + acc(p.share) * v;
    // By the bits of what was stored: compilers may assume that there are no infinities.
    let bad = (bitcast<vec4<u32>>(vec4<f32>(v)) & vec4(0x7f800000u)) == vec4(0x7f800000u);
    state[g] = pack4(select(now, old, bad));
}
