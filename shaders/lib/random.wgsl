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

// Stochastic rounding to a value that binary16 represents exactly: up or down in magnitude, with
// the probability that makes the mean equal x. All on the bits: unaffected by the adapter's float
// rounding, and by a compiler that folds (x + c) - c.
//
// From 2^-14 on: the 13 bits that binary16 lacks are rounded by adding 13 random ones; a carry runs
// into the exponent, which is right. Not clamped: 65504 may round up to 65536, and what is beyond
// stays there, so that a following conversion to f16 gives inf and an overflow stays visible.
// Below 2^-14: |x| * 2^45 (below 2^31, so exact in i32 but for what is below 2^-45, dropped) plus
// 21 random bits counts steps of 2^-24, the smallest subnormal half. NaN and inf are kept.
fn round_stochastic4(x: vec4<f32>, bits: vec4<u32>) -> vec4<f32> {
    let u = bitcast<vec4<u32>>(x);
    let a = u & vec4<u32>(0x7fffffffu);
    let normal = (a + (bits >> vec4<u32>(19u))) & vec4<u32>(0xffffe000u);
    // 0.0 in the lanes where the product does not fit an i32: they are not used.
    let tiny = a < vec4<u32>(0x38800000u);
    let scaled = bitcast<vec4<f32>>(select(vec4<u32>(0u), a, tiny)) * 35184372088832.0;
    let fixed = bitcast<vec4<u32>>(vec4<i32>(scaled)) + (bits >> vec4<u32>(11u));
    let steps = vec4<f32>(bitcast<vec4<i32>>(fixed >> vec4<u32>(21u))) * 5.9604644775390625e-8;
    var r = select(normal, bitcast<vec4<u32>>(steps), tiny);
    r = select(r, a, a >= vec4<u32>(0x7f800000u));
    return bitcast<vec4<f32>>(r | (u & vec4<u32>(0x80000000u)));
}
