#import nan

// The larger of two; NaN, which `max` may drop, is larger than any number.
fn larger(u: vec4<acc>, v: vec4<acc>) -> vec4<acc> {
    return select(select(max(u, v), v, is_nan4(vec4<f32>(v))), u, is_nan4(vec4<f32>(u)));
}
