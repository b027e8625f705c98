// What is fused behind a kernel: the planner puts the chain between the marks. Each value passes through it, with the
// group g of the result where it goes, before it is stored.
fn epilogue(g: u32, v: vec4<acc>) -> vec4<acc> {
    //: epilogue
    return v;
    //: end
}
