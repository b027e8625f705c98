// Storage of native f16. `acc`, the type of arithmetic, is an alias that the composition defines
// before; it also writes `enable f16;` at the top.
#import half

alias elem4 = vec4<f16>;

fn unpack4(v: elem4) -> vec4<acc> {
    return vec4<acc>(v);
}

fn plain_unpack4(v: elem4) -> vec4<acc> {
    return unpack4(v);
}

// Not clamped: beyond 65504 the conversion gives inf, so that an overflow stays visible. It rounds
// when stored: Mesa 25 folds f32 -> f16 -> f32 in registers to nothing, overflow and all. WGSL leaves open how; where
// a probe finds that it is not to nearest even, f16_packed.wgsl is taken.
fn pack4(v: vec4<acc>) -> elem4 {
    return vec4<f16>(v);
}

// Of binary16 numbers given by their bits.
fn half_pack4(h: vec4<u32>) -> elem4 {
    return vec4<f16>(half_values4(h));
}
