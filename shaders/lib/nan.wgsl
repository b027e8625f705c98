// By bits: compilers take x != x to be false.
fn is_nan4(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}

// Of what registers hold.
fn is_nan(x: vec4<acc>) -> vec4<bool> {
    return is_nan4(vec4<f32>(x));
}
