// A line of workgroups may be folded into two axes, since one axis holds 65,535.
fn linear_id(workgroup: vec3<u32>) -> u32 {
    return workgroup.y * 32768u + workgroup.x;
}

// The number of an invocation among those of all workgroups, of 64 each.
fn invocation(workgroup: vec3<u32>, lane: u32) -> u32 {
    return 64u * linear_id(workgroup) + lane;
}
