//! How weights start.

use crate::{Shape, random::Random};

/// The distribution that a weight's first values are drawn from.
///
/// With shape algebra, for dense weights `[in, out]` and convolutions `[.., in, out]`, where `..` is the kernel:
/// `fan_in = .. · in` and `fan_out = .. · out`.
///
/// ```
/// use halfgrad::{Init, Shape};
/// let shape = Shape::from([784, 128]);
/// let weight = Init::Kaiming.values(&shape, 42, "fc1.weight");
/// assert_eq!(weight.len(), 784 * 128);
/// assert_eq!(weight, Init::Kaiming.values(&shape, 42, "fc1.weight"));   // same seed and name, same values
/// assert_ne!(weight, Init::Kaiming.values(&shape, 42, "fc2.weight"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// Normal of variance `2 / fan_in`: keeps the size of activations through ReLU (He et al., arXiv 1502.01852).
    Kaiming,
    /// Uniform of variance `2 / fan_in`.
    KaimingUniform,
    /// Uniform of variance `2 / (fan_in + fan_out)` (Glorot and Bengio, AISTATS 2010).
    Xavier,
    /// Normal of variance `2 / (fan_in + fan_out)`.
    XavierNormal,
    /// Normal of mean 0.
    Normal {
        /// The standard deviation.
        std: f32,
    },
    /// Uniform between `-bound` and `bound`.
    Uniform {
        /// The largest magnitude.
        bound: f32,
    },
    /// The same value everywhere.
    Constant(f32),
}

impl Init {
    /// The first values of the weight `name`, row-major without padding.
    ///
    /// The stream is chosen by seed and name and not by order, so that adding a layer leaves the others as they
    /// were; the values are f32 whatever the precision, so that every precision starts from the same network.
    pub fn values(&self, shape: &Shape, seed: u64, name: &str) -> Vec<f32> {
        let mut random = Random::new(seed, name);
        let (fan_in, fan_out) = fans(shape);
        let mut normal = |std: f64| {
            let pairs = (0..shape.len().div_ceil(2)).flat_map(|_| random.normals());
            pairs.take(shape.len()).map(|x| (x * std) as f32).collect()
        };
        match *self {
            Init::Kaiming => normal((2.0 / fan_in).sqrt()),
            Init::XavierNormal => normal((2.0 / (fan_in + fan_out)).sqrt()),
            Init::Normal { std } => normal(std.into()),
            Init::KaimingUniform => uniform(random, shape, (6.0 / fan_in).sqrt()),
            Init::Xavier => uniform(random, shape, (6.0 / (fan_in + fan_out)).sqrt()),
            Init::Uniform { bound } => uniform(random, shape, bound.into()),
            Init::Constant(value) => vec![value; shape.len()],
        }
    }
}

/// `shape.len()` values between `-bound` and `bound`.
fn uniform(mut random: Random, shape: &Shape, bound: f64) -> Vec<f32> {
    (0..shape.len()).map(|_| ((2.0 * random.uniform() - 1.0) * bound) as f32).collect()
}

/// How many values each output sums, and how many outputs each input reaches.
fn fans(shape: &Shape) -> (f64, f64) {
    let kernel: usize = shape.dims().rev().skip(2).product();
    let inputs = shape.dims().rev().nth(1).unwrap_or(1);
    // An axis of length 0 has no values to scale; 1 keeps the division finite.
    ((kernel * inputs).max(1) as f64, (kernel * shape.last()).max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_follow_the_fans() {
        let dense = Shape::from([300, 200]);
        let conv = Shape::from([3, 3, 32, 64]);
        let cases = [
            (Init::Kaiming, dense, 2.0 / 300.0),
            (Init::Kaiming, conv, 2.0 / 288.0),
            (Init::KaimingUniform, dense, 2.0 / 300.0),
            (Init::KaimingUniform, conv, 2.0 / 288.0),
            (Init::Xavier, dense, 2.0 / 500.0),
            (Init::Xavier, conv, 2.0 / 864.0),
            (Init::XavierNormal, conv, 2.0 / 864.0),
            (Init::Normal { std: 0.5 }, dense, 0.25),
            (Init::Uniform { bound: 3.0 }, dense, 3.0),
        ];
        for (init, shape, variance) in cases {
            let values = init.values(&shape, 1, "w");
            let n = shape.len() as f64;
            let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            let second = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n;
            // Four standard deviations of each estimate: sqrt(variance / n), and at most variance · sqrt(2 / n).
            assert!(mean.abs() < 4.0 * f64::sqrt(variance / n), "{init:?} {shape}: mean {mean}");
            assert!((second / variance - 1.0).abs() < 4.0 * f64::sqrt(2.0 / n), "{init:?} {shape}: {second}");
        }
    }

    #[test]
    fn the_values_never_change() {
        let bits =
            |init: Init| init.values(&Shape::from([3, 1]), 42, "fc1/weight").iter().map(|x| x.to_bits()).collect();
        let golden = [
            (Init::Kaiming, [0x3ed6832a, 0xbf883faa, 0x3ca6f4a5]),
            (Init::Xavier, [0x3e9d0cce, 0x3f4230dd, 0xbe1d3c27]),
        ];
        for (init, expected) in golden {
            let found: Vec<u32> = bits(init);
            assert_eq!(found, expected, "{init:?} {found:#x?}");
        }
    }

    #[test]
    fn every_shape_has_its_values() {
        for dims in [&[][..], &[1], &[7], &[0], &[0, 3], &[3, 0], &[5, 5], &[3, 3, 3, 5]] {
            let shape = Shape::new(dims).unwrap();
            for init in [Init::Kaiming, Init::Xavier, Init::Constant(0.5)] {
                let values = init.values(&shape, 0, "w");
                assert!(values.len() == shape.len() && values.iter().all(|x| x.is_finite()), "{init:?} {shape}");
            }
        }
    }

    #[test]
    fn a_longer_weight_starts_like_a_shorter_one_of_the_same_scale() {
        let (init, name) = (Init::Normal { std: 1.0 }, "b");
        let (long, short) = (init.values(&Shape::from([9]), 5, name), init.values(&Shape::from([4]), 5, name));
        assert_eq!(long[..4], short);
    }
}
