// Storage of halves two to a u32, for adapters without shader-f16. `acc`, the type of arithmetic,
// is an alias that the composition defines before: here always f32.
alias elem4 = vec2<u32>;

// The host writes 0u where its probe finds pack2x16float inexact (SwiftShader: an overflow becomes
// NaN, and some values are rounded the wrong way), or where unpack4(pack4(v)) must round although
// nothing is stored in between: Mesa 25 folds the pair of builtins to v.
const PACK_EXACT: u32 = 1u;

// unpack2x16float was exact for all 65536 halves on every adapter tried.
fn unpack4(v: elem4) -> vec4<acc> {
    return vec4<acc>(unpack2x16float(v.x), unpack2x16float(v.y));
}

// Round to nearest, ties to even; from 65520 on inf, NaN stays NaN.
fn pack4(v: vec4<acc>) -> elem4 {
    if PACK_EXACT == 1u {
        return vec2<u32>(pack2x16float(v.xy), pack2x16float(v.zw));
    }
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
    h |= (u >> vec4<u32>(16u)) & vec4<u32>(0x8000u);
    return h.xz | (h.yw << vec2<u32>(16u));
}
