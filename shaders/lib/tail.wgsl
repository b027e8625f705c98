#import axis

const PADDED: u32 = 1u; // whether the last axis ends within a group

// Zeros beyond the end of the last axis: padding must never hold anything else, since 0 · NaN spreads.
fn tail(v: vec4<acc>, group: u32, last: u32) -> vec4<acc> {
    return tail_along(v, place_of(group, last).k, last);
}

// The same of group k along that axis.
fn tail_along(v: vec4<acc>, k: u32, last: u32) -> vec4<acc> {
    if PADDED == 0u {
        return v;
    }
    return select(vec4<acc>(), v, inside(k, last));
}
