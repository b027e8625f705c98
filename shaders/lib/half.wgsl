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
    var h = select(min(normal, vec4<u32>(0x7c00u)), tiny, a < vec4<u32>(0x38800000u));
    h = select(h, vec4<u32>(0x7e00u), a > vec4<u32>(0x7f800000u));
    return h | ((u >> vec4<u32>(16u)) & vec4<u32>(0x8000u));
}

// Four f32 rounded to binary16 numbers.
fn half4(v: vec4<f32>) -> vec4<f32> {
    let h = half_bits4(v);
    return vec4<f32>(unpack2x16float(h.x | (h.y << 16u)), unpack2x16float(h.z | (h.w << 16u)));
}
