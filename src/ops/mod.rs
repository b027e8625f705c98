//! The operators: one Rust file and one WGSL file of the same stem each; an elementwise op is a row in `map`.

mod attention;
mod attention_composed;
mod beside;
mod conv2d;
mod cross_entropy;
mod cumsum;
mod dropout;
mod gather;
mod gemm;
mod labels;
mod layer_norm;
mod layout;
mod loss;
mod map;
mod matmul;
mod moments;
mod norm;
mod pool2d;
mod reduce;
mod resample2d;
mod rounded;
mod rows;
mod softmax;

pub use attention::Attention;
pub use conv2d::{Conv2d, Padding};
pub use cross_entropy::CrossEntropy;
pub use pool2d::Pool2d;
pub use resample2d::Upsample;

/// Every op on operands worth trying: what the test harness, the self-test and the shader checks walk.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<crate::reference::Case> {
    [
        map::cases(),
        matmul::cases(),
        reduce::cases(),
        layout::cases(),
        dropout::cases(),
        rounded::cases(),
        softmax::cases(),
        attention::cases(),
        cross_entropy::cases(),
        conv2d::cases(),
        norm::cases(),
        layer_norm::cases(),
        pool2d::cases(),
        resample2d::cases(),
        gather::cases(),
        labels::cases(),
        cumsum::cases(),
    ]
    .concat()
}
