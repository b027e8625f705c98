//! stub until the branch `cli` lands
fn main() {}
