// What two invocations that meet make of what they hold.
fn combine(u: vec4<acc>, v: vec4<acc>, largest: bool) -> vec4<acc> {
    if largest {
        return max(u, v);
    }
    return u + v;
}
