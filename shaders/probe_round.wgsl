// How f32 becomes f16, in each way that there is, and what that makes of a weight that is updated a thousand times.
// src/gpu/probe/rounding.rs reads the columns.
#import grid
#import half

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;            // [groups]
@group(0) @binding(1) var<storage, read_write> stored: array<elem4>;     // [groups]: as tensors are stored
@group(0) @binding(2) var<storage, read_write> packed: array<vec2<u32>>; // [3][groups]
@group(0) @binding(3) var<storage, read_write> floats: array<vec4<f32>>; // [2 + groups]: updated to nearest, updated with compensation, rounded in registers

struct Params {
    groups: u32,
    updates: u32,
    first: f32,
    change: f32,
}
@group(1) @binding(0) var<uniform> p: Params;

fn to_nearest(first: vec4<f32>, change: vec4<f32>) -> vec4<f32> {
    var w = first;
    for (var i = 0u; i < p.updates; i++) {
        w = half4(w + change);
    }
    return w;
}

// As lib/update.wgsl does it: what is missing is a half too, times 2^10, for it would else be subnormal. Between a sum
// and what is left of it stand integers, through which no compiler simplifies.
fn compensated(first: vec4<f32>, change: vec4<f32>) -> vec4<f32> {
    var w = first;
    var missing = vec4<f32>();
    for (var i = 0u; i < p.updates; i++) {
        let exact = w + change + missing / 1024.0;
        w = half4(exact);
        missing = half4((exact - w) * 1024.0);
    }
    return w;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = invocation(workgroup, lane);
    if i >= p.groups {
        return;
    }
    let v = x[i];
    stored[i] = pack4(v);
    packed[i] = vec2(pack2x16float(v.xy), pack2x16float(v.zw));
    packed[i + p.groups] = half_words4(half_bits4(quantizeToF16(v)));
    packed[i + 2u * p.groups] = half_words4(half_bits4(v));
    floats[i + 2u] = unpack4(pack4(v));
    if i == 0u {
        floats[0] = to_nearest(vec4(p.first), vec4(p.change));
        floats[1] = compensated(vec4(p.first), vec4(p.change));
    }
}
