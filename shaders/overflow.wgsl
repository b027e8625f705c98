// Raises flags[0] if a stored value is Inf, NaN or, in 16 bit, the largest number: some devices saturate.
#import grid

const HALVES: u32 = 1u; // whether a word holds two f16 values or one f32

@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;               // [words]
@group(0) @binding(1) var<storage, read_write> flags: array<atomic<u32>>;   // [4]

struct Params {
    words: u32, // of 16 bytes
}
@group(1) @binding(0) var<uniform> p: Params;

fn bad(v: vec4<u32>) -> bool {
    if HALVES == 1u {
        return any((v & vec4(0x7fffu)) >= vec4(0x7bffu)) || any(((v >> vec4(16u)) & vec4(0x7fffu)) >= vec4(0x7bffu));
    }
    return any((v & vec4(0x7f800000u)) == vec4(0x7f800000u));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = linear_id(workgroup) * 256u + lane;
    var found = false;
    for (var i = 0u; i < 4u; i++) {
        let at = first + i * 64u;
        if at < p.words {
            found = found || bad(x[at]);
        }
    }
    if found {
        atomicOr(&flags[0], 1u);
    }
}
