// Storage of halves two to a u32, for adapters without shader-f16. `acc`, the type of arithmetic,
// is an alias that the composition defines before: here always f32; and so is `pair`, how two of them lie, by `word32` or `word64`.
#import half

alias elem4 = pair;

// The host writes 0u where its probe finds pack2x16float inexact (SwiftShader: an overflow becomes
// NaN, and some values are rounded the wrong way), or where unpack4(pack4(v)) must round although
// nothing is stored in between: Mesa 25 folds the pair of builtins to v.
const PACK_EXACT: u32 = 1u;
// Whether a processor runs this: Mesa has pack2x16float take three times as many instructions as half_bits4.
const PROCESSOR: u32 = 0u;

// What is only multiplied. unpack2x16float was exact for all 65536 halves on every adapter tried.
fn plain_unpack4(v: elem4) -> vec4<acc> {
    let w = words_of(v);
    return vec4<acc>(unpack2x16float(w.x), unpack2x16float(w.y));
}

fn unpack4(v: elem4) -> vec4<acc> {
    let u = plain_unpack4(v);
    if PROCESSOR == 1u {
        // Where LLVM sees that what is compared was a half, it compares halves, one by one, for want of an instruction. So it
        // must not see that: a square is 0 or 1 modulo 4, and this is zero, which LLVM does not know.
        let word = words_of(v).x;
        let square = word * word;
        return bitcast<vec4<acc>>(bitcast<vec4<u32>>(u) | vec4<u32>((square * (square - 1u)) & 2u));
    }
    return u;
}

// Round to nearest, ties to even; from 65520 on inf, NaN stays NaN.
fn pack4(v: vec4<acc>) -> elem4 {
    if PACK_EXACT == 1u && PROCESSOR == 0u {
        return pair_from(vec2<u32>(pack2x16float(v.xy), pack2x16float(v.zw)));
    }
    return half_pack4(half_bits4(v));
}

// Of binary16 numbers given by their bits.
fn half_pack4(h: vec4<u32>) -> elem4 {
    return pair_from(half_words4(h));
}
