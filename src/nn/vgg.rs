use super::{conv2d, keras_norm, linear};
use crate::Tensor;

/// VGG-16 for images of 32 × 32 as the authors of arXiv 2305.10947 coded it, `[n, 32, 32, c] → [n, classes]`: thirteen
/// convolutions of 3 × 3 with relu; after each of the first four pools and after the last a batch normalisation; 4096 and
/// 4096 hidden values.
///
/// It has 33,641,162 trained parameters for three colours and ten classes, 33,644,106 with the running averages; the
/// authors' table prints 33.76 million.
#[track_caller]
pub fn vgg16(x: Tensor, classes: usize) -> Tensor {
    vgg(x, classes, [2, 2, 3, 3, 3])
}

/// [`vgg16`] with sixteen convolutions: 38,950,858 trained parameters, 38,953,802 with the running averages; the authors'
/// table prints 38.36 million.
#[track_caller]
pub fn vgg19(x: Tensor, classes: usize) -> Tensor {
    vgg(x, classes, [2, 2, 4, 4, 4])
}

#[track_caller]
fn vgg(x: Tensor, classes: usize, depths: [usize; 5]) -> Tensor {
    let mut h = x;
    for (i, (channels, depth)) in [64, 128, 256, 512, 512].into_iter().zip(depths).enumerate() {
        let block = i + 1;
        for k in 1..=depth {
            h = conv2d(&format!("block{block}.conv{k}"), h, channels, 3).relu();
        }
        h = h.max_pool(2);
        if block == depths.len() {
            h = h.flatten(); // a mean and a variance for each place and channel
        }
        h = keras_norm(&format!("block{block}.norm"), h, 1e-3);
    }
    let h = linear("fc1", h, 4096).relu();
    let h = linear("fc2", h, 4096).relu();
    linear("fc3", h, classes)
}
