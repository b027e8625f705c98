use super::{conv2d_unbiased, keras_norm, linear, same};
use crate::{
    Tensor,
    ops::{Conv2d, Padding, Pool2d},
};

/// Xception (arXiv 1610.02357) as Keras has it, with a dense layer of 1024 and relu before the last one as in the code of
/// arXiv 2305.10947, `[n, h, w, c] → [n, classes]`.
///
/// It has 22,915,378 trained parameters for three colours and ten classes, 22,969,906 with the running averages: the
/// 22.96 million of that paper's table.
#[track_caller]
pub fn xception(x: Tensor, classes: usize) -> Tensor {
    let halved = Conv2d { stride: [2; 2], ..Conv2d::default() };
    let h = conv2d_unbiased("block1.conv1", x, 32, 3, halved);
    let h = keras_norm("block1.norm1", h, EPSILON).relu();
    let h = conv2d_unbiased("block1.conv2", h, 64, 3, Conv2d::default());
    let mut h = keras_norm("block1.norm2", h, EPSILON).relu();
    for (i, channels) in [128, 256, 728].into_iter().enumerate() {
        let block = format!("block{}", i + 2);
        let ready = if i == 0 { h } else { h.relu() };
        let inner = separable(&block, 1, ready, channels).relu();
        h = pooled(separable(&block, 2, inner, channels)) + shortcut(&block, h, channels);
    }
    for i in 5..13 {
        let block = format!("block{i}");
        h = (1..=3).fold(h, |h, k| separable(&block, k, h.relu(), 728)) + h;
    }
    let inner = separable("block13", 1, h.relu(), 728).relu();
    let h = pooled(separable("block13", 2, inner, 1024)) + shortcut("block13", h, 1024);
    let h = separable("block14", 1, h, 1536).relu();
    let h = separable("block14", 2, h, 2048).relu();
    let h = linear("fc1", h.global_avg_pool(), 1024).relu();
    linear("fc2", h, classes)
}

const EPSILON: f32 = 1e-3;

/// A depthwise convolution of 3 × 3, a pointwise one and a normalisation: number `k` of its block.
#[track_caller]
fn separable<'g>(block: &str, k: usize, x: Tensor<'g>, channels: usize) -> Tensor<'g> {
    let inner = x.shape().last();
    let h = conv2d_unbiased(&format!("{block}.depthwise{k}"), x, inner, 3, Conv2d { groups: inner, ..same(1) });
    let h = conv2d_unbiased(&format!("{block}.pointwise{k}"), h, channels, 1, Conv2d::default());
    keras_norm(&format!("{block}.norm{k}"), h, EPSILON)
}

/// Half the height and width, by the largest of 3 × 3.
#[track_caller]
fn pooled(x: Tensor) -> Tensor {
    x.max_pool2d(Pool2d { stride: [2; 2], padding: Padding::Same, ..Pool2d::square(3) })
}

/// What is added to a block that [`pooled`] ends.
#[track_caller]
fn shortcut<'g>(block: &str, x: Tensor<'g>, channels: usize) -> Tensor<'g> {
    let h = conv2d_unbiased(&format!("{block}.shortcut"), x, channels, 1, same(2));
    keras_norm(&format!("{block}.shortcut_norm"), h, EPSILON)
}
