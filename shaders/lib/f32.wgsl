// Storage of f32. `acc`, the type of arithmetic, is an alias that the composition defines before.
alias elem4 = vec4<f32>;

fn unpack4(v: elem4) -> vec4<acc> {
    return vec4<acc>(v);
}

fn plain_unpack4(v: elem4) -> vec4<acc> {
    return unpack4(v);
}

fn pack4(v: vec4<acc>) -> elem4 {
    return vec4<f32>(v);
}
