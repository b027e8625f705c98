//! Layers and networks, as functions of tensors: a name owns its weights.
//!
//! Normalisation adds ε = 1e-5 to variances, and 1e-3 where arithmetic is 16 bit, since f16 holds 1e-5 as a subnormal
//! number, if at all; what ends in `_with` takes another.
//!
//! The networks of arXiv 2305.10947 are built as its authors' code builds them (github.com/YUNBLAK/standalone_16bits_nn),
//! and their parameters are counted as Keras does: trained weights, and with them the running averages of normalisation.

pub mod transformer;
pub use transformer::{Gpt, gpt, multi_head_attention, vit};

use crate::{
    Dtype, Init, Shape, Tensor,
    ops::{Conv2d, Padding, Pool2d},
};

mod densenet;
mod mobilenet;
mod resnet;
mod vgg;
mod xception;

pub use densenet::{densenet121, densenet169};
pub use mobilenet::mobilenet;
pub use resnet::{Head, resnet};
pub use vgg::{vgg16, vgg19};
pub use xception::xception;

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
    linear_with(name, x, out, Init::Kaiming)
}

/// [`linear`] whose weights have this distribution at first.
#[track_caller]
pub fn linear_with<'g>(name: &str, x: Tensor<'g>, out: usize, init: Init) -> Tensor<'g> {
    biased(name, linear_unbiased(name, x, out, init))
}

/// As [`linear_with`], without the bias.
#[track_caller]
pub fn linear_unbiased<'g>(name: &str, x: Tensor<'g>, out: usize, init: Init) -> Tensor<'g> {
    x.matmul(x.graph.weight(&format!("{name}.weight"), [x.shape().last(), out], init))
}

/// Plus `name.bias`, `[out]` (zero).
#[track_caller]
fn biased<'g>(name: &str, y: Tensor<'g>) -> Tensor<'g> {
    y + y.graph.weight(&format!("{name}.bias"), [y.shape().last()], Init::Constant(0.0))
}

/// A row of `name.weight`, `[vocabulary, dim]`, for each token, `[..] → [.., dim]`.
///
/// ```
/// use halfgrad::{Graph, Init, Precision, nn};
/// let graph = Graph::new(Precision::F16);
/// let h = nn::embedding("words", graph.labels("text", [8, 32]), 5000, 64, Init::Normal { std: 0.02 });
/// assert_eq!(h.shape().to_string(), "[8, 32, 64]");
/// ```
#[track_caller]
pub fn embedding<'g>(name: &str, tokens: Tensor<'g>, vocabulary: usize, dim: usize, init: Init) -> Tensor<'g> {
    tokens.graph.weight(&format!("{name}.weight"), [vocabulary, dim], init).gather(tokens)
}

/// What normalisation adds to variances, if nothing else is said.
const EPSILON: f32 = 1e-5;

/// The ε of a normalisation: where its layer's arithmetic is 16 bit, which may not hold less, at least 1e-3.
fn held(epsilon: f32, name: &str, x: Tensor) -> f32 {
    if x.graph.policy().of(name).acc() == Dtype::F16 { epsilon.max(1e-3) } else { epsilon }
}

/// `name.weight` (ones) and `name.bias` (zeros), of the shape of the last axis.
#[track_caller]
fn affine<'g>(name: &str, x: Tensor<'g>) -> (Tensor<'g>, Tensor<'g>) {
    let weight = |part, value| x.graph.weight(&format!("{name}.{part}"), [x.shape().last()], Init::Constant(value));
    (weight("weight", 1.0), weight("bias", 0.0))
}

/// Batch normalisation (arXiv 1502.03167), `[.., c] → [.., c]`: each channel with mean 0 and variance 1 over all else, times
/// `name.weight`, plus `name.bias`.
///
/// Plans that infer take the running averages of mean and variance instead: the states `name.running_mean` (zero at
/// first) and `name.running_var` (one), which each training step moves by a tenth towards the batch's mean and its
/// variance as an estimate of the population's, Σ (x − mean)² / (n − 1). They are f32 unless everything is 16 bit; a
/// skipped step leaves them, and a statistic that is Inf or NaN is not taken in. See
/// [`Graph::average`](crate::Graph::average).
///
/// ```
/// # use halfgrad::{Graph, Precision, nn};
/// let graph = Graph::new(Precision::F16);
/// let y = nn::batch_norm("bn1", graph.input("x", [64, 28, 28, 32])).relu();
/// assert_eq!((y.shape().last(), graph.weights().len(), graph.states().len()), (32, 2, 2));
/// ```
#[track_caller]
pub fn batch_norm<'g>(name: &str, x: Tensor<'g>) -> Tensor<'g> {
    batch_norm_with(name, x, 0.1, held(EPSILON, name, x))
}

/// [`batch_norm`] whose running averages move by the share `momentum`, and with `epsilon` added to the variance.
#[track_caller]
pub fn batch_norm_with<'g>(name: &str, x: Tensor<'g>, momentum: f32, epsilon: f32) -> Tensor<'g> {
    let follow = |state, found, factor| x.graph.average_times(state, found, factor, momentum);
    // Its statistics are of its own layer and not of that of `x`.
    x.graph.within_layer(name.to_owned(), || batch_norm_following(name, x, epsilon, follow))
}

/// Batch normalisation whose running averages are moved by `follow(state, found, factor)`: towards what was found times that.
#[track_caller]
pub(crate) fn batch_norm_following<'g>(
    name: &str,
    x: Tensor<'g>,
    epsilon: f32,
    follow: impl Fn(Tensor<'g>, Tensor<'g>, f32),
) -> Tensor<'g> {
    let (weight, bias) = affine(name, x);
    let running = |part, value| x.graph.state(&format!("{name}.{part}"), [x.shape().last()], Init::Constant(value));
    let states = [running("running_mean", 0.0), running("running_var", 1.0)];
    let (mean, variance) = x.moments(0..x.shape().rank().saturating_sub(1));
    let n = (x.shape().len() / x.shape().last()) as f32;
    let unbiased = n / (n - 1.0).max(1.0);
    for (state, (found, factor)) in states.into_iter().zip([(mean, 1.0), (variance, unbiased)]) {
        follow(state, found.reshape(state.shape()), factor);
    }
    let [mean, variance] =
        [(mean, states[0]), (variance, states[1])].map(|(m, s)| m.at_inference(s.reshape(m.shape())));
    x.standardize((mean, variance), epsilon, weight, bias)
}

/// Layer normalisation (arXiv 1607.06450), `[.., d] → [.., d]`: each row with mean 0 and variance 1, times `name.weight`, plus
/// `name.bias`.
#[track_caller]
pub fn layer_norm<'g>(name: &str, x: Tensor<'g>) -> Tensor<'g> {
    layer_norm_with(name, x, held(EPSILON, name, x))
}

/// [`layer_norm`] with `epsilon` added to the variance.
#[track_caller]
pub fn layer_norm_with<'g>(name: &str, x: Tensor<'g>, epsilon: f32) -> Tensor<'g> {
    let (weight, bias) = affine(name, x);
    // Its statistics are of its own layer, and its kernel wants one type.
    x.graph.within_layer(name.to_owned(), || x.cast(weight.dtype()).layer_norm_with(epsilon, weight, bias))
}

/// Root mean square normalisation (arXiv 1910.07467), `[.., d] → [.., d]`: each row over the root of its mean square, times
/// `name.weight`.
#[track_caller]
pub fn rms_norm<'g>(name: &str, x: Tensor<'g>) -> Tensor<'g> {
    rms_norm_with(name, x, held(EPSILON, name, x))
}

/// [`rms_norm`] with `epsilon` added to the mean square.
#[track_caller]
pub fn rms_norm_with<'g>(name: &str, x: Tensor<'g>, epsilon: f32) -> Tensor<'g> {
    let weight = x.graph.weight(&format!("{name}.weight"), [x.shape().last()], Init::Constant(1.0));
    x.graph.within_layer(name.to_owned(), || x.cast(weight.dtype()).rms_norm_with(epsilon, weight))
}

/// Group normalisation (arXiv 1803.08494), `[n, .., c] → [n, .., c]`: of each sample, each of so many groups of neighbouring
/// channels with mean 0 and variance 1, times `name.weight`, plus `name.bias`.
#[track_caller]
pub fn group_norm<'g>(name: &str, x: Tensor<'g>, groups: usize) -> Tensor<'g> {
    group_norm_with(name, x, groups, held(EPSILON, name, x))
}

/// [`group_norm`] with `epsilon` added to the variance.
#[track_caller]
pub fn group_norm_with<'g>(name: &str, x: Tensor<'g>, groups: usize, epsilon: f32) -> Tensor<'g> {
    let (weight, bias) = affine(name, x);
    x.graph.within_layer(name.to_owned(), || x.standardize(x.group_moments(groups), epsilon, weight, bias))
}

/// Instance normalisation (arXiv 1607.08022), `[n, .., c] → [n, .., c]`: [`group_norm`] with each channel a group of its own.
#[track_caller]
pub fn instance_norm<'g>(name: &str, x: Tensor<'g>) -> Tensor<'g> {
    group_norm(name, x, x.shape().last())
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
    conv2d_with(name, x, out, size, same(1))
}

/// As [`conv2d`], with stride, padding, dilation and groups; the weights are `[size, size, in / groups, out]`.
#[track_caller]
pub fn conv2d_with<'g>(name: &str, x: Tensor<'g>, out: usize, size: usize, options: Conv2d) -> Tensor<'g> {
    biased(name, conv2d_unbiased(name, x, out, size, options))
}

/// As [`conv2d_with`], without the bias, which a normalisation that follows would take away again.
#[track_caller]
pub fn conv2d_unbiased<'g>(name: &str, x: Tensor<'g>, out: usize, size: usize, options: Conv2d) -> Tensor<'g> {
    let inner = x.shape().last() / options.groups.max(1);
    let weight = x.graph.weight(&format!("{name}.weight"), [size, size, inner, out], Init::Kaiming);
    x.conv2d(weight, options)
}

/// A convolution's way: this stride, and as much padding as `⌈size / stride⌉` results need.
fn same(stride: usize) -> Conv2d {
    Conv2d { stride: [stride; 2], padding: Padding::Same, ..Conv2d::default() }
}

/// [`batch_norm`] as Keras has it: running averages move by a hundredth.
#[track_caller]
fn keras_norm<'g>(name: &str, x: Tensor<'g>, least: f32) -> Tensor<'g> {
    batch_norm_with(name, x, 0.01, held(least, name, x))
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

/// A tiny convolutional network: 8 and 16 windows of 3 × 3, each with relu and pooling by 2, then 64 hidden values;
/// `[n, h, w, c] → [n, classes]`. It has 52,138 parameters for 28 × 28 × 1 and ten classes.
#[track_caller]
pub fn cnn(x: Tensor, classes: usize) -> Tensor {
    let h = conv2d("conv1", x, 8, 3).relu().max_pool(2);
    let h = conv2d("conv2", h, 16, 3).relu().max_pool(2);
    let h = linear("fc1", h.flatten(), 64).relu();
    linear("fc2", h, classes)
}

/// AlexNet for images of 32 × 32 as the authors of arXiv 2305.10947 coded it; `[n, 32, 32, c] → [n, classes]`. It has
/// 20,972,394 parameters for three colours and ten classes; their table prints "2.09" million.
#[track_caller]
pub fn alexnet(x: Tensor, classes: usize) -> Tensor {
    let overlapping = Pool2d { stride: [2, 2], ..Pool2d::square(3) };
    let h = conv2d_with("conv1", x, 64, 3, same(2)).relu().max_pool(2);
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

    /// The numbers of a network's trained parameters and of all that Keras counts, for samples of this shape, ten classes
    /// and so many results.
    fn counts(sample: [usize; 3], results: usize, network: impl for<'g> Fn(Tensor<'g>) -> Tensor<'g>) -> [usize; 2] {
        let graph = Graph::new(Precision::F16);
        let [h, w, c] = sample;
        let logits = network(graph.input("x", [2, h, w, c]));
        graph.check().unwrap();
        assert_eq!(logits.shape(), Shape::from([2, results]));
        let count = |tensors: Vec<Tensor>| tensors.iter().map(|w| w.shape().len()).sum::<usize>();
        let trained = count(graph.weights());
        [trained, trained + count(graph.states())]
    }

    const DIGIT: [usize; 3] = [28, 28, 1];
    const CIFAR: [usize; 3] = [32, 32, 3];

    #[test]
    fn networks_have_the_parameters_that_were_published_or_computed() {
        assert_eq!(counts(DIGIT, 10, |x| mlp(x, &[128], 10)), [101_770; 2]);
        assert_eq!(counts(DIGIT, 10, |x| cnn(x, 10)), [52_138; 2]);
        assert_eq!(counts(DIGIT, 10, |x| lenet(x, 10)), [421_642; 2]);
        assert_eq!(counts(CIFAR, 10, |x| alexnet(x, 10)), [20_972_394; 2]);
        assert_eq!(counts(CIFAR, 10, |x| vgg16(x, 10)), [33_641_162, 33_644_106]);
        assert_eq!(counts(CIFAR, 10, |x| vgg19(x, 10)), [38_950_858, 38_953_802]);
        assert_eq!(counts(CIFAR, 10, |x| mobilenet(x, 10)), [3_228_170, 3_250_058]);
        assert_eq!(counts(CIFAR, 10, |x| densenet121(x, 10)), [6_964_106, 7_047_754]);
        assert_eq!(counts(CIFAR, 10, |x| densenet169(x, 10)), [12_501_130, 12_659_530]);
        assert_eq!(counts(CIFAR, 10, |x| xception(x, 10)), [22_915_378, 22_969_906]);
    }

    #[test]
    fn resnets_have_the_parameters_of_the_authors_code_and_of_the_textbook() {
        let counted = |depth, head| {
            let results = if head == Head::AsCoded { 4096 } else { 10 };
            counts(CIFAR, results, |x| resnet(x, depth, head, 10))
        };
        assert_eq!(
            [20, 32, 56, 110].map(|depth| counted(depth, Head::AsCoded)[1]),
            [316_842, 512_618, 904_170, 1_785_162]
        );
        assert_eq!([20, 110].map(|depth| counted(depth, Head::Textbook)[0]), [270_410, 1_732_010]);
        assert_eq!(
            [20, 32, 56, 110].map(|depth| counted(depth, Head::Textbook)[1]),
            [271_786, 467_562, 859_114, 1_740_106]
        );
    }
}
