//! The operators: one Rust file and one WGSL file of the same stem each; an elementwise op is a row in `map`.

mod conv2d;
mod cross_entropy;
mod dropout;
mod layout;
mod loss;
mod map;
mod matmul;
mod norm;
mod reduce;
mod softmax;

pub use conv2d::{Conv2d, Padding};
pub use cross_entropy::CrossEntropy;

/// Every op on operands worth trying: what the test harness, the self-test and the shader checks walk.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<crate::reference::Case> {
    [
        map::cases(),
        matmul::cases(),
        reduce::cases(),
        layout::cases(),
        dropout::cases(),
        softmax::cases(),
        cross_entropy::cases(),
        conv2d::cases(),
        norm::cases(),
    ]
    .concat()
}
