//! A data set that is made by rule.

use super::{Dataset, Split};
use crate::{Shape, random::Random};

/// The strokes that stand for the ten digits.
const TEMPLATES: [[f64; 12]; 10] = [
    [5.0, 6.0, 6.5, 6.75, 7.0, 7.0, 7.0, 7.0, 6.75, 6.5, 6.0, 5.0],
    [5.0, 3.0, 3.0, 3.4, 3.8, 4.2, 4.6, 5.0, 5.4, 5.8, 5.0, 5.0],
    [5.0, 6.0, 6.5, 6.5, 6.0, 5.25, 4.75, 4.0, 3.5, 3.5, 4.0, 5.0],
    [5.0, 6.0, 6.5, 6.5, 6.0, 5.0, 5.0, 6.0, 6.5, 6.5, 6.0, 5.0],
    [5.0, 4.4, 3.8, 3.2, 2.6, 2.6, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0],
    [5.0, 3.0, 3.0, 3.0, 3.0, 5.0, 6.0, 6.5, 6.5, 6.0, 4.5, 5.0],
    [5.0, 4.0, 3.5, 3.25, 3.0, 3.0, 3.0, 3.0, 3.25, 3.5, 4.0, 5.0],
    [5.0, 7.0, 7.0, 6.6, 6.2, 5.8, 5.4, 5.0, 4.6, 4.2, 5.0, 5.0],
    [5.0, 4.0, 3.5, 3.5, 4.0, 5.0, 5.0, 4.0, 3.5, 3.5, 4.0, 5.0],
    [5.0, 4.0, 3.5, 3.5, 4.0, 5.0, 5.0, 5.0, 5.0, 4.7, 4.3, 5.0],
];

/// Values that are padded to this many before noise comes in.
const PADDED: usize = 72;
/// Values of a sample.
const LENGTH: usize = 40;

/// MNIST-1D (arXiv 2011.14439): ten strokes, padded, scaled, moved, sheared and in noise, as 40 values each; 4000 to learn from and
/// 1000 to test on. It tells networks apart better than images do: linear classifiers reach 32 %, perceptrons 68 %,
/// convolutions 94 %.
///
/// Samples have the shape `[40, 1, 1]`. The rule and its numbers are those of the publication; the random numbers are this crate's,
/// so that each seed gives the same set everywhere, and none is the published file.
///
/// ```
/// let strokes = halfgrad::data::mnist1d(42);
/// assert_eq!((strokes.train.len(), strokes.test.len()), (4000, 1000));
/// ```
pub fn mnist1d(seed: u64) -> Split {
    let mut order: Vec<u32> = (0..5000).collect();
    Random::new(seed, "MNIST-1D").shuffle(&mut order);
    let strokes = TEMPLATES.map(stroke);
    let values: Vec<f32> = order.iter().flat_map(|&i| sample(&strokes[i as usize % 10], seed, i)).collect();
    let labels: Vec<u32> = order.iter().map(|i| i % 10).collect();
    let part = |from: usize, to: usize| {
        let values = values[from * LENGTH..to * LENGTH].to_vec();
        Dataset::new(values, labels[from..to].to_vec(), Shape::from([LENGTH, 1, 1]), 10)
    };
    let split = || Split::standardized("mnist-1d", part(0, 4000)?, part(4000, 5000)?);
    split().expect("the parts are alike")
}

/// A template with deviation 1/6 that starts and ends at 0.
fn stroke(template: [f64; 12]) -> [f64; 12] {
    let mean = template.iter().sum::<f64>() / 12.0;
    let deviation = (template.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 12.0).sqrt();
    template.map(|v| (v - template[0]) / deviation / 6.0)
}

fn sample(stroke: &[f64; 12], seed: u64, index: u32) -> Vec<f32> {
    let mut random = Random::new(seed, &format!("MNIST-1D {index}"));
    let normals = |random: &mut Random, n: usize| (0..n).map(|_| random.normals()[0]).collect::<Vec<f64>>();
    // Padded with 36 to 60 zeros; what is part of the stroke, though it be 0, is told apart by a little.
    let mut x: Vec<f64> = stroke.iter().map(|v| v + 1e-8).collect();
    x.resize(12 + 36 + random.below(25) as usize, 0.0);
    let mut x = resampled(&x, PADDED);
    let scale = 1.0 + 0.4 * (random.uniform() - 0.5);
    x.iter_mut().for_each(|v| *v *= scale);
    x.rotate_right(random.below(48) as usize);
    let noise = smoothed(&normals(&mut random, PADDED));
    for (v, noise) in x.iter_mut().zip(noise).filter(|(v, _)| **v == 0.0) {
        *v = 0.25 * noise;
    }
    x.iter_mut().zip(normals(&mut random, PADDED)).for_each(|(v, noise)| *v += 0.02 * noise);
    let shear = 0.75 * (random.uniform() - 0.5);
    let sheared = x.iter().enumerate().map(|(i, v)| v - shear * (i as f64 / (PADDED - 1) as f64 - 0.5));
    resampled(&sheared.collect::<Vec<f64>>(), LENGTH).into_iter().map(|v| v as f32).collect()
}

/// The values at `n` places from the first to the last, by straight lines between neighbours.
fn resampled(x: &[f64], n: usize) -> Vec<f64> {
    let value = |i: usize| {
        let at = (i * (x.len() - 1)) as f64 / (n - 1) as f64;
        let (low, part) = (at.floor() as usize, at.fract());
        let high = (low + 1).min(x.len() - 1);
        x[low] + part * (x[high] - x[low])
    };
    (0..n).map(value).collect()
}

/// Under a Gaussian of deviation 2, which ends at four deviations; values beyond the ends are mirrored.
fn smoothed(x: &[f64]) -> Vec<f64> {
    let weights: Vec<f64> = (-8i32..=8).map(|d| (-f64::from(d * d) / 8.0).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let n = x.len() as i32;
    let mirrored = |i: i32| if i < 0 { -1 - i } else { i.min(2 * n - 1 - i) };
    let value = |i: i32| (-8..=8).zip(&weights).map(|(d, w)| w * x[mirrored(i + d) as usize]).sum::<f64>() / sum;
    (0..n).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_has_the_published_size_and_is_the_seeds() {
        let [a, b, c] = [42, 42, 43].map(mnist1d);
        assert_eq!((a.train.len(), a.test.len(), a.train.shape().len(), a.train.classes()), (4000, 1000, 40, 10));
        assert_eq!(a, b);
        assert_ne!(a.train.images(), c.train.images());
        let counts = |class| a.train.labels().iter().chain(a.test.labels()).filter(|&&l| l == class).count();
        assert!((0..10).all(|class| counts(class) == 500));
        let (mean, deviation) = a.train.moments();
        assert!(mean.abs() < 1e-5 && (deviation - 1.0).abs() < 1e-5);
    }

    #[test]
    fn values_are_resampled_and_smoothed_as_said() {
        assert_eq!(resampled(&[0.0, 1.0, 4.0], 5), [0.0, 0.5, 1.0, 2.5, 4.0]);
        assert!(smoothed(&[3.0; 20]).iter().all(|v| (v - 3.0).abs() < 1e-12));
        let mut impulse = [0.0; 40];
        impulse[20] = 1.0;
        let found = smoothed(&impulse);
        // 1 / (2 √(2π)), and that times e^(-1/2) two places on.
        assert!((found[20] - 0.19947).abs() < 1e-4 && (found[22] - 0.12098).abs() < 1e-4, "{found:?}");
    }

    #[test]
    fn strokes_start_and_end_at_zero() {
        for template in TEMPLATES {
            let s = stroke(template);
            assert_eq!((s[0], s[11]), (0.0, 0.0));
        }
    }
}
