use super::{conv2d_with, keras_norm, linear, same};
use crate::{
    Tensor,
    ops::{Padding, Pool2d},
};

/// What follows the means of a [`resnet`]'s channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// As the authors of arXiv 2305.10947 coded it: a dense layer to the classes, another to 4096 values and relu, whose
    /// results are the logits of 4096 "classes". No label is above the true number of classes.
    AsCoded,
    /// One dense layer: its results are the logits of the classes.
    Textbook,
}

/// A residual network of 20, 32, 56, 110 or any `6n + 2` layers, `[n, h, w, c] → [n, classes]`, or `[n, 4096]` with the
/// authors' head: units of batch normalisation, relu and convolution, twice, beside a shortcut (arXiv 1603.05027); 16, 32
/// and 64 channels; where they double, the shortcut takes means of 2 × 2 and has zeros for the new channels.
///
/// For 32 × 32 × 3, ten classes and the depths named it has 316,842, 512,618, 904,170 and 1,785,162 parameters with the
/// authors' head, 45,056 fewer with the textbook's, running averages among them. The table of arXiv 2305.10947 prints 0.47
/// and 0.86 million for 32 and 56 layers, which is without the authors' head, and 1.78 million for 110, which is with it.
///
/// ```
/// use halfgrad::{Graph, Precision, nn};
/// let graph = Graph::new(Precision::F16);
/// let logits = nn::resnet(graph.input("x", [64, 32, 32, 3]), 20, nn::Head::Textbook, 10);
/// assert_eq!(logits.shape().to_string(), "[64, 10]");
/// ```
#[track_caller]
pub fn resnet(x: Tensor, depth: usize, head: Head, classes: usize) -> Tensor {
    if depth < 8 || depth % 6 != 2 {
        return x.refuse("resnet", &[], format!("there is no such network of {depth} layers: 8, 14, 20, …"));
    }
    let mut h = conv2d_with("conv1", x, 16, 3, same(1));
    for (block, channels) in [16, 32, 64].into_iter().enumerate() {
        for i in 0..(depth - 2) / 6 {
            h = unit(&format!("block{}.{i}", block + 1), h, channels, (block, i));
        }
    }
    let h = keras_norm("norm", h, EPSILON).relu().global_avg_pool();
    let logits = linear("head", h, classes);
    match head {
        Head::Textbook => logits,
        Head::AsCoded => linear("dense", logits, 4096).relu(),
    }
}

const EPSILON: f32 = 1e-3;

/// A unit of two convolutions; `place` is its block's and its own number.
#[track_caller]
fn unit<'g>(name: &str, x: Tensor<'g>, channels: usize, place: (usize, usize)) -> Tensor<'g> {
    let ready = keras_norm(&format!("{name}.norm1"), x, EPSILON).relu();
    let (stride, shortcut) = match place {
        (0, 0) => (1, ready),
        (_, 0) => (2, narrowed(x, channels)),
        _ => (1, x),
    };
    let h = conv2d_with(&format!("{name}.conv1"), ready, channels, 3, same(stride));
    let h = keras_norm(&format!("{name}.norm2"), h, EPSILON).relu();
    conv2d_with(&format!("{name}.conv2"), h, channels, 3, same(1)) + shortcut
}

/// Half the height and width, and zeros on both sides of the channels.
#[track_caller]
fn narrowed(x: Tensor, channels: usize) -> Tensor {
    let new = channels.saturating_sub(x.shape().last());
    let pool = Pool2d { padding: Padding::Same, count_include_pad: false, ..Pool2d::square(2) };
    x.avg_pool2d(pool).pad(3, new / 2, new / 2)
}
