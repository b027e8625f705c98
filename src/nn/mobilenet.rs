use super::{conv2d, conv2d_with, keras_norm, linear, same};
use crate::{Tensor, ops::Conv2d};

/// The "MobileNetV2" of arXiv 2305.10947 as its authors coded it, which is MobileNet's first version (arXiv 1704.04861)
/// for images of 32 × 32, `[n, h, w, c] → [n, classes]`: after a convolution thirteen pairs of a depthwise 3 × 3 and a
/// pointwise one, each with bias, batch normalisation and relu; four of the depthwise ones halve height and width.
///
/// It has 3,228,170 trained parameters for three colours and ten classes, 3,250,058 with the running averages. The
/// authors' table prints 2.27 million, which is what a true second version has in a file of theirs that no script uses
/// (2,270,666).
#[track_caller]
pub fn mobilenet(x: Tensor, classes: usize) -> Tensor {
    let mut h = keras_norm("norm", conv2d("conv", x, 32, 3), 1e-3).relu();
    let narrow = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)];
    let wide = [(1024, 2), (1024, 1)];
    let blocks = narrow.into_iter().chain([(512, 1); 5]).chain(wide);
    for (i, (channels, stride)) in blocks.enumerate() {
        let block = format!("block{}", i + 1);
        let inner = h.shape().last();
        let options = Conv2d { groups: inner, ..same(stride) };
        h = conv2d_with(&format!("{block}.depthwise"), h, inner, 3, options);
        h = keras_norm(&format!("{block}.norm1"), h, 1e-3).relu();
        h = conv2d(&format!("{block}.pointwise"), h, channels, 1);
        h = keras_norm(&format!("{block}.norm2"), h, 1e-3).relu();
    }
    linear("fc", h.global_avg_pool(), classes)
}
