//! Layers and networks, as functions of tensors: a name owns its weights.

use crate::{
    Init, Shape, Tensor,
    ops::{Conv2d, Padding, Pool2d},
};

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

/// A convolution with windows of `size × size` that keeps height and width, `[n, h, w, in] → [n, h, w, out]`, with weights
/// `name.weight` `[size, size, in, out]` (Kaiming) and `name.bias` `[out]` (zero).
///
/// ```
/// use halfgrad::{Graph, Precision, nn};
/// let graph = Graph::new(Precision::F16);
/// let h = nn::conv2d("conv1", graph.input("x", [64, 28, 28, 1]), 32, 3).relu().max_pool(2);
/// assert_eq!(h.shape().to_string(), "[64, 14, 14, 32]");
/// ```
#[track_caller]
pub fn conv2d<'g>(name: &str, x: Tensor<'g>, out: usize, size: usize) -> Tensor<'g> {
    conv2d_with(name, x, out, size, Conv2d { padding: Padding::Same, ..Conv2d::default() })
}

/// As [`conv2d`], with stride, padding, dilation and groups; the weights are `[size, size, in / groups, out]`.
#[track_caller]
pub fn conv2d_with<'g>(name: &str, x: Tensor<'g>, out: usize, size: usize, options: Conv2d) -> Tensor<'g> {
    let inner = x.shape().last() / options.groups.max(1);
    let weight = x.graph.weight(&format!("{name}.weight"), [size, size, inner, out], Init::Kaiming);
    let bias = x.graph.weight(&format!("{name}.bias"), [out], Init::Constant(0.0));
    x.conv2d(weight, options) + bias
}

/// A small convolutional network, after LeNet: 32 and 64 windows of 3 × 3, each with relu and pooling by 2, then 128
/// hidden values; `[n, h, w, c] → [n, classes]`. It has 421,642 parameters for 28 × 28 × 1 and ten classes.
#[track_caller]
pub fn lenet(x: Tensor, classes: usize) -> Tensor {
    let h = conv2d("conv1", x, 32, 3).relu().max_pool(2);
    let h = conv2d("conv2", h, 64, 3).relu().max_pool(2);
    let h = linear("fc1", h.flatten(), 128).relu();
    linear("fc2", h, classes)
}

/// AlexNet for images of 32 × 32 as the authors of arXiv 2305.10947 coded it; `[n, 32, 32, c] → [n, classes]`. It has
/// 20,972,394 parameters for three colours and ten classes; their table prints "2.09" million.
#[track_caller]
pub fn alexnet(x: Tensor, classes: usize) -> Tensor {
    let overlapping = Pool2d { stride: [2, 2], ..Pool2d::square(3) };
    let stride = Conv2d { stride: [2, 2], padding: Padding::Same, ..Conv2d::default() };
    let h = conv2d_with("conv1", x, 64, 3, stride).relu().max_pool(2);
    let h = conv2d("conv2", h, 96, 3).relu().max_pool2d(overlapping);
    let h = conv2d("conv3", h, 256, 3).relu();
    let h = conv2d("conv4", h, 256, 3).relu();
    let h = conv2d("conv5", h, 512, 3).relu().max_pool2d(overlapping);
    let h = linear("fc1", h.flatten(), 4096).tanh().dropout(0.5);
    let h = linear("fc2", h, 4096).tanh().dropout(0.5);
    linear("fc3", h, classes)
}

/// The shape of a batch of `n` samples, `[n, ..]`; `None` if that has too many axes.
pub fn batch_of(n: usize, sample: Shape) -> Option<Shape> {
    let dims: Vec<usize> = [n].into_iter().chain(sample.dims()).collect();
    Shape::new(&dims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Graph, Precision};

    /// The number of parameters of a network for samples of this shape and ten classes.
    fn parameters(sample: [usize; 3], network: impl for<'g> Fn(Tensor<'g>) -> Tensor<'g>) -> usize {
        let graph = Graph::new(Precision::F16);
        let [h, w, c] = sample;
        let logits = network(graph.input("x", [2, h, w, c]));
        graph.check().unwrap();
        assert_eq!(logits.shape(), Shape::from([2, 10]));
        graph.weights().iter().map(|w| w.shape().len()).sum()
    }

    #[test]
    fn networks_have_the_parameters_that_were_published_or_computed() {
        assert_eq!(parameters([28, 28, 1], |x| mlp(x, &[128], 10)), 101_770);
        assert_eq!(parameters([28, 28, 1], |x| lenet(x, 10)), 421_642);
        assert_eq!(parameters([32, 32, 3], |x| alexnet(x, 10)), 20_972_394);
    }
}
