const PADDED: u32 = 1u; // whether the last axis ends within a group

// Zeros beyond the end of the last axis: padding must never hold anything else, since 0 · NaN spreads.
fn tail(v: vec4<acc>, group: u32, last: u32) -> vec4<acc> {
    if PADDED == 0u {
        return v;
    }
    let first = group % ((last + 3u) / 4u) * 4u;
    return select(vec4<acc>(), v, vec4(first) + vec4(0u, 1u, 2u, 3u) < vec4(last));
}
