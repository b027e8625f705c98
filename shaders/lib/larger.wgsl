#import nan

// The larger of two; NaN, which `max` may drop, is larger than any number.
fn larger(u: vec4<acc>, v: vec4<acc>) -> vec4<acc> {
    return select(select(max(u, v), v, is_nan(v)), u, is_nan(u));
}
