use super::{conv2d_unbiased, keras_norm, linear, same};
use crate::{
    Tensor,
    ops::{Conv2d, Padding, Pool2d},
};

/// DenseNet-121 (arXiv 1608.06993) as Keras has it, `[n, h, w, c] → [n, classes]`: dense blocks of 6, 12, 24 and 16
/// layers, each of which puts 32 channels beside those before it; between blocks channels, height and width are halved.
/// Images are halved five times and need 32 rows and columns.
///
/// It has 6,964,106 trained parameters for three colours and ten classes, 7,047,754 with the running averages: the 7.04
/// million of the table of arXiv 2305.10947, whose networks have this head.
#[track_caller]
pub fn densenet121(x: Tensor, classes: usize) -> Tensor {
    densenet(x, classes, [6, 12, 24, 16])
}

/// [`densenet121`] with blocks of 6, 12, 32 and 32 layers: 12,501,130 trained parameters, 12,659,530 with the running
/// averages: 12.65 million in that table.
#[track_caller]
pub fn densenet169(x: Tensor, classes: usize) -> Tensor {
    densenet(x, classes, [6, 12, 32, 32])
}

const EPSILON: f32 = 1.001e-5;

#[track_caller]
fn densenet(x: Tensor, classes: usize, depths: [usize; 4]) -> Tensor {
    let around = |stride, padding| Conv2d { stride: [stride; 2], padding, ..Conv2d::default() };
    let h = conv2d_unbiased("conv", x, 64, 7, around(2, Padding::Explicit([3; 4])));
    let pool = Pool2d { stride: [2; 2], padding: Padding::Explicit([1; 4]), ..Pool2d::square(3) };
    let mut h = keras_norm("norm1", h, EPSILON).relu().max_pool2d(pool);
    for (i, depth) in depths.into_iter().enumerate() {
        let block = i + 1;
        for k in 1..=depth {
            h = layer(&format!("block{block}.{k}"), h);
        }
        if block < depths.len() {
            let ready = keras_norm(&format!("block{block}.norm"), h, EPSILON).relu();
            let half = h.shape().last() / 2;
            h = conv2d_unbiased(&format!("block{block}.conv"), ready, half.max(1), 1, Conv2d::default()).avg_pool(2);
        }
    }
    linear("fc", keras_norm("norm2", h, EPSILON).relu().global_avg_pool(), classes)
}

/// `x`, and beside it 32 channels made of it.
#[track_caller]
fn layer<'g>(name: &str, x: Tensor<'g>) -> Tensor<'g> {
    let h = keras_norm(&format!("{name}.norm1"), x, EPSILON).relu();
    let h = conv2d_unbiased(&format!("{name}.conv1"), h, 4 * 32, 1, Conv2d::default());
    let h = keras_norm(&format!("{name}.norm2"), h, EPSILON).relu();
    x.concat(3, &[conv2d_unbiased(&format!("{name}.conv2"), h, 32, 3, same(1))])
}
