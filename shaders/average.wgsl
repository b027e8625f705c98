// Moves states of the network towards values: state ← (1 − share) · state + share · factor · value. Nothing happens in a
// step that is skipped, nor where the value is Inf or NaN: one bad batch would stay in a running average for ever.
#import clock
#import grid

@group(0) @binding(0) var<storage, read> clock: Clock;
@group(0) @binding(1) var<storage, read> value: array<elem4>;       // [groups]
@group(0) @binding(2) var<storage, read_write> state: array<elem4>; // [groups]
@group(0) @binding(3) var<storage, read> factors: array<vec2<f32>>; // for each 32 groups: share, factor

struct Params {
    groups: u32,
}
@group(1) @binding(0) var<uniform> p: Params;

// By the bits: compilers may assume that there are no infinities.
fn infinite(v: vec4<acc>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(vec4<f32>(v)) & vec4(0x7f800000u)) == vec4(0x7f800000u);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = invocation(workgroup, lane);
    if g >= p.groups || clock.follows == 0u {
        return;
    }
    let share = factors[g / 32u].x;
    let v = acc(factors[g / 32u].y) * unpack4(value[g]);
    let old = unpack4(state[g]);
    let now = acc(1.0 - share) * old + acc(share) * v;
    state[g] = pack4(select(now, old, infinite(unpack4(value[g])) | infinite(v)));
}
