// The bits of four binary16 numbers, from those of f32: `normal` from 2^-14 on, `tiny` below; u is what is rounded, a without sign.
fn half_from4(normal: vec4<u32>, tiny: vec4<u32>, u: vec4<u32>, a: vec4<u32>) -> vec4<u32> {
    var h = select(min(normal, vec4<u32>(0x7c00u)), tiny, a < vec4<u32>(0x38800000u));
    h = select(h, vec4<u32>(0x7e00u), a > vec4<u32>(0x7f800000u));
    return h | ((u >> vec4<u32>(16u)) & vec4<u32>(0x8000u));
}

// The bits of the binary16 numbers nearest to four f32, ties to even; from 65520 on inf, NaN stays NaN. By integers:
// conversions to f16 and back are folded to nothing by some compilers (Mesa 25), and inexact in others (SwiftShader).
fn half_bits4(v: vec4<f32>) -> vec4<u32> {
    let u = bitcast<vec4<u32>>(v);
    let a = u & vec4<u32>(0x7fffffffu);
    // 0x38000000 is the difference of the exponent biases, 0xfff and the last kept bit round to even.
    let even = (a >> vec4<u32>(13u)) & vec4<u32>(1u);
    let normal = (a + even - vec4<u32>(0x37fff001u)) >> vec4<u32>(13u);
    // Below 2^-14: 0.5 has the spacing 2^-24 of the subnormal halves, so the addition rounds to it.
    // Only bits are subtracted after, so (x + 0.5) - 0.5 is not there to be folded.
    let tiny = bitcast<vec4<u32>>(bitcast<vec4<f32>>(a) + 0.5) - vec4<u32>(0x3f000000u);
    return half_from4(normal, tiny, u, a);
}

// The bits of one of the two binary16 numbers around each of four f32: up or down in magnitude, with the probability that
// makes the mean equal v. `random` has 32 uniform bits for each. Unaffected by the adapter's float rounding.
//
// From 2^-14 on: the 13 bits that binary16 lacks are rounded by adding 13 random ones; a carry runs into the exponent, which
// is right. 65504 may round up to inf, and what is beyond is inf: an overflow stays visible.
// Below 2^-14: |v| · 2^45 (below 2^31, so exact in i32 but for what is below 2^-45, dropped) plus 21 random bits counts
// steps of 2^-24, the smallest subnormal half. NaN and inf are kept.
fn half_bits_stochastic4(v: vec4<f32>, random: vec4<u32>) -> vec4<u32> {
    let u = bitcast<vec4<u32>>(v);
    let a = u & vec4<u32>(0x7fffffffu);
    let normal = (a + (random >> vec4<u32>(19u)) - vec4<u32>(0x38000000u)) >> vec4<u32>(13u);
    // 0.0 where the product does not fit an i32: it is not used there.
    let small = select(vec4<u32>(0u), a, a < vec4<u32>(0x38800000u));
    let scaled = bitcast<vec4<f32>>(small) * 35184372088832.0;
    let tiny = (bitcast<vec4<u32>>(vec4<i32>(scaled)) + (random >> vec4<u32>(11u))) >> vec4<u32>(21u);
    return half_from4(normal, tiny, u, a);
}

// Four f32 rounded to binary16 numbers.
fn half4(v: vec4<f32>) -> vec4<f32> {
    return half_values4(half_bits4(v));
}

// What four binary16 numbers are, given by their bits.
fn half_values4(h: vec4<u32>) -> vec4<f32> {
    let w = half_words4(h);
    return vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y));
}

// The bits of four, two to a word.
fn half_words4(h: vec4<u32>) -> vec2<u32> {
    return h.xz | (h.yw << vec2<u32>(16u));
}
