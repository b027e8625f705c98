//! stub until merge
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub enum Init { Kaiming, KaimingUniform, Xavier, XavierNormal, Normal { std: f32 }, Uniform { bound: f32 }, Constant(f32) }
