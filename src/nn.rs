//! Layers and networks, as functions of tensors: a name owns its weights.

use crate::{Init, Shape, Tensor};

/// A dense layer, `[.., in] → [.., out]`: `x·W + b` with weights `name.weight` `[in, out]` (Kaiming, for the relu that
/// usually follows; arXiv 1502.01852) and `name.bias` `[out]` (zero).
///
/// ```
/// use halfgrad::{Graph, Precision, nn};
/// let graph = Graph::new(Precision::F16);
/// let h = nn::linear("fc1", graph.input("x", [64, 784]), 128).relu();
/// assert_eq!(h.shape().to_string(), "[64, 128]");
/// assert_eq!(graph.weights().len(), 2);
/// ```
#[track_caller]
pub fn linear<'g>(name: &str, x: Tensor<'g>, out: usize) -> Tensor<'g> {
    let weight = x.graph.weight(&format!("{name}.weight"), [x.shape().last(), out], Init::Kaiming);
    let bias = x.graph.weight(&format!("{name}.bias"), [out], Init::Constant(0.0));
    x.matmul(weight) + bias
}

/// A multi-layer perceptron: `fc1`, `fc2`, … with relu between them; samples of any shape, `[n, ..] → [n, classes]`.
#[track_caller]
pub fn mlp<'g>(x: Tensor<'g>, hidden: &[usize], classes: usize) -> Tensor<'g> {
    let mut h = x.flatten();
    for (i, &width) in hidden.iter().enumerate() {
        h = linear(&format!("fc{}", i + 1), h, width).relu();
    }
    linear(&format!("fc{}", hidden.len() + 1), h, classes)
}

/// The shape of a batch of `n` samples.
pub fn batch_of(n: usize, sample: Shape) -> Option<Shape> {
    let dims: Vec<usize> = [n].into_iter().chain(sample.dims()).collect();
    Shape::new(&dims)
}
