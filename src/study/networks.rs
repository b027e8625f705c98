//! Networks that only experiments train.

use super::setup::Classifier;
use crate::{
    Dtype, Init, Tensor,
    format::Format,
    nn::{batch_norm_following, batch_norm_with, conv2d_unbiased, linear},
    ops::{Conv2d, Padding},
};

/// Each by the name that [`Model::named`](crate::study::Model) knows it by.
pub const NETWORKS: [(&str, Classifier); 6] = [
    ("cnn-norm", |x, classes| normalised(x, classes, Norm { share: 0.1, epsilon: 1e-3, halves: false })),
    ("cnn-norm-eps-1e-5", |x, classes| normalised(x, classes, Norm { share: 0.1, epsilon: 1e-5, halves: false })),
    ("cnn-norm-momentum-0.99", |x, classes| normalised(x, classes, Norm { share: 0.01, epsilon: 1e-3, halves: false })),
    ("cnn-norm-running-f16", |x, classes| normalised(x, classes, Norm { share: 0.1, epsilon: 1e-3, halves: true })),
    ("cnn-norm-momentum-0.99-running-f16", |x, classes| {
        normalised(x, classes, Norm { share: 0.01, epsilon: 1e-3, halves: true })
    }),
    ("cnn1d", cnn1d),
];

/// How a network is normalised.
#[derive(Clone, Copy)]
struct Norm {
    /// By which share running averages move in a step: 1 less what Keras calls momentum.
    share: f32,
    /// What is added to variances.
    epsilon: f32,
    /// Whether running averages are rounded to f16 where weights are.
    halves: bool,
}

/// [`nn::cnn`](crate::nn::cnn) with batch normalisation behind each convolution.
fn normalised(x: Tensor, classes: usize, norm: Norm) -> Tensor {
    let same = Conv2d { padding: Padding::Same, ..Conv2d::default() };
    let block = |name: &str, h, width| {
        let h = conv2d_unbiased(&format!("conv{name}"), h, width, 3, same);
        batch_norm(&format!("bn{name}"), h, norm).relu().max_pool(2)
    };
    let h = block("2", block("1", x, 8), 16);
    let h = linear("fc1", h.flatten(), 64).relu();
    linear("fc2", h, classes)
}

/// As [`batch_norm_with`], with running averages that are rounded as one asks.
fn batch_norm<'g>(name: &str, x: Tensor<'g>, norm: Norm) -> Tensor<'g> {
    if !(norm.halves && x.graph.precision().storage == Dtype::F16) {
        return batch_norm_with(name, x, norm.share, norm.epsilon);
    }
    batch_norm_following(name, x, norm.epsilon, |state, found, factor| {
        let moved = state * (1.0 - norm.share) + found * factor * norm.share;
        x.graph.assign(state, moved.rounded_to(Format::F16));
    })
}

/// The convolutional network of arXiv 2011.14439 for signals `[n, length, 1, 1]`: three convolutions with relu, of 25 channels,
/// windows of 5, 3 and 3 and stride 2, and a dense layer.
fn cnn1d(x: Tensor, classes: usize) -> Tensor {
    fn conv<'g>(name: &str, h: Tensor<'g>, size: usize) -> Tensor<'g> {
        let options = Conv2d { stride: [2, 1], padding: Padding::Explicit([1, 1, 0, 0]), ..Conv2d::default() };
        let weight = h.graph.weight(&format!("{name}.weight"), [size, 1, h.shape().last(), 25], Init::Kaiming);
        (h.conv2d(weight, options) + h.graph.weight(&format!("{name}.bias"), [25], Init::Constant(0.0))).relu()
    }
    let h = conv("conv3", conv("conv2", conv("conv1", x, 5), 3), 3);
    linear("fc1", h.flatten(), classes)
}
