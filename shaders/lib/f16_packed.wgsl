// Storage of halves two to a u32, for adapters without shader-f16. `acc`, the type of arithmetic,
// is an alias that the composition defines before: here always f32.
#import half

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
    let h = half_bits4(v);
    return h.xz | (h.yw << vec2<u32>(16u));
}
