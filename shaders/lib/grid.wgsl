// A line of workgroups may be folded into two axes, since one axis holds 65,535.
fn linear_id(workgroup: vec3<u32>) -> u32 {
    return workgroup.y * 32768u + workgroup.x;
}
