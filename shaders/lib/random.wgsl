// Counter-based random numbers: a pure function of (seed, stream, step, counter), so a draw needs
// no state, no order between invocations, and is the same on every adapter (integers only).
//
// PCG4D of Jarzynski & Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020, with one more
// `v ^= v >> 16` at the end: 12 multiplies and about 28 cheap operations for 4 words. Philox4x32-7,
// the usual choice where a 32x32 -> 64 multiply exists, costs several times that in WGSL, which has
// no high half of a product. Without the last line the low bits are bad: bit 0 of a word was uneven,
// 3 to 1, over consecutive steps, and constant over every 1024th counter. With it, 4M words each of 17 kinds of sequences
// (consecutive and strided values of each argument) passed: mean, variance, balance and serial
// balance of every bit, chi-square of the top 8, top 13 and low 8 bits and of pairs, serial
// correlation, correlation of lanes and of neighbouring seeds, streams and steps. A hash, not
// cryptography: some input bits flip some output bits with a probability as far from 0.5 as 0.17.
fn random4(seed: u32, stream: u32, step: u32, counter: u32) -> vec4<u32> {
    var v = vec4<u32>(seed, stream, step, counter) * 1664525u + 1013904223u;
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    v ^= v >> vec4<u32>(16u);
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    v ^= v >> vec4<u32>(16u);
    return v;
}

// Uniform in [0, 1): a multiple of 2^-24, from the 24 high bits (the better ones of a PCG output).
// Exact in f32, so 1.0 is never returned whatever the adapter's rounding.
fn uniform4(bits: vec4<u32>) -> vec4<f32> {
    // Through i32: converting u32 is several instructions on x86 and on some GPUs.
    return vec4<f32>(bitcast<vec4<i32>>(bits >> vec4<u32>(8u))) * 5.9604644775390625e-8;
}
