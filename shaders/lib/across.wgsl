// The sum of four values, always in the same order.
fn across(v: vec4<acc>) -> acc {
    return (v.x + v.y) + (v.z + v.w);
}
