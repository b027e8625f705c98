use crate::{plan::class, random::Random};

/// How the answers of a network differ from those of the same network in f32, sample by sample.
///
/// With probabilities p of the f32 network and q of the other, δ = max |pᵢ − qᵢ| and Γ the margin between the
/// largest and the second largest p (arXiv 2301.12809): **where Γ > 2δ, both choose the same class.** The winner
/// loses at most δ and every rival gains at most δ. The papers write ≥, which a tie would break.
///
/// It holds for the rounded numbers too: if a rival r came out on top of the winner w, then pʷ − pʳ ≤ (pʷ − qʷ) + (qʳ − pʳ)
/// ≤ 2δ exactly, and rounding is monotone and doubling exact. So a certified sample that flips is a bug.
///
/// ```
/// use halfgrad::study::Comparison;
/// let (f32, f16) = ([2.0, 0.0, 0.0, 0.1], [1.9, 0.0, 0.1, 0.0]);     // two samples of two classes, as logits
/// let c = Comparison::of(&f32, &f16, 2);
/// assert_eq!((c.samples, c.flips, c.certified, c.certified_flips), (2, 1, 1, 0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Comparison {
    /// How many samples were compared.
    pub samples: usize,
    /// Samples of which the class is another.
    pub flips: usize,
    /// Samples with Γ > 2δ.
    pub certified: usize,
    /// Certified samples of which the class is another: none.
    pub certified_flips: usize,
}

/// Of one sample, what the theorem of [`Comparison`] speaks of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Γ, the margin in f32 between the largest and the second largest probability; NaN if one of either network is NaN.
    pub gamma: f64,
    /// δ, the largest change of a probability; NaN likewise.
    pub delta: f64,
    /// Whether the class is another.
    pub flips: bool,
}

impl Sample {
    /// The samples of logits `[samples, classes]`, of the f32 network and of another, in f64.
    pub fn of<'a>(f32: &'a [f32], other: &'a [f32], classes: usize) -> impl Iterator<Item = Self> + 'a {
        f32.chunks_exact(classes).zip(other.chunks_exact(classes)).map(|(a, b)| {
            let (gamma, delta) = margin_and_change(&softmax(a), &softmax(b));
            Sample { gamma, delta, flips: class(a) != class(b) }
        })
    }

    /// At most so many of the samples, each as likely as any other, in their order.
    pub fn drawn(samples: &[Self], most: usize, seed: u64) -> Vec<Self> {
        let mut order: Vec<u32> = (0..samples.len() as u32).collect();
        Random::new(seed, "drawn samples").shuffle(&mut order);
        order.truncate(most);
        order.sort_unstable();
        order.into_iter().map(|i| samples[i as usize]).collect()
    }

    /// Γ > 2δ: the class cannot be another.
    pub fn is_certified(&self) -> bool {
        self.gamma > 2.0 * self.delta
    }
}

impl Comparison {
    /// Compares logits `[samples, classes]` of the f32 network with another's, in f64.
    pub fn of(f32: &[f32], other: &[f32], classes: usize) -> Self {
        Self::counted(Sample::of(f32, other, classes))
    }

    /// Counts samples.
    pub fn counted(samples: impl IntoIterator<Item = Sample>) -> Self {
        let mut found = Comparison::default();
        for sample in samples {
            found.samples += 1;
            found.flips += usize::from(sample.flips);
            found.certified += usize::from(sample.is_certified());
            found.certified_flips += usize::from(sample.is_certified() && sample.flips);
        }
        found
    }

    /// The share of samples whose class cannot be another.
    pub fn certified_share(&self) -> f64 {
        self.certified as f64 / self.samples as f64
    }
}

/// Γ of `p` and δ between both; NaN where a probability is not a number.
fn margin_and_change(p: &[f64], q: &[f64]) -> (f64, f64) {
    let (mut largest, mut second, mut delta) = (0.0, 0.0, 0.0);
    for (&p, &q) in p.iter().zip(q) {
        if p.is_nan() || q.is_nan() {
            return (f64::NAN, f64::NAN);
        }
        (largest, second) = if p > largest { (p, largest) } else { (largest, p.max(second)) };
        delta = f64::max(delta, (p - q).abs());
    }
    (largest - second, delta)
}

/// The probabilities that logits stand for.
fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let powers: Vec<f64> = logits.iter().map(|&v| (f64::from(v) - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|p| p / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_certified(p: &[f64], q: &[f64]) -> bool {
        let (gamma, delta) = margin_and_change(p, q);
        Sample { gamma, delta, flips: false }.is_certified()
    }

    #[test]
    fn equality_is_no_certificate() {
        // Γ = 1/2, δ = 1/4: both classes end at 1/2.
        assert!(!is_certified(&[0.75, 0.25], &[0.5, 0.5]));
        assert!(is_certified(&[0.75, 0.25], &[0.5 + f64::EPSILON, 0.5 - f64::EPSILON]));
        // A tie in f32 is certified by nothing, an unchanged answer without one is.
        assert!(!is_certified(&[0.5, 0.5], &[0.5, 0.5]));
        assert!(is_certified(&[0.5 + 1e-9, 0.5 - 1e-9], &[0.5 + 1e-9, 0.5 - 1e-9]));
        // The second largest counts, wherever it stands.
        assert!(!is_certified(&[0.45, 0.1, 0.44, 0.01], &[0.44, 0.1, 0.45, 0.01]));
        assert!(!is_certified(&[0.44, 0.45, 0.11], &[0.45, 0.44, 0.11]));
    }

    #[test]
    fn networks_that_broke_are_never_certified() {
        let nan = f32::NAN;
        for broken in [[nan, 0.0], [nan, nan], [f32::INFINITY, 0.0]] {
            let c = Comparison::of(&[9.0, 0.0], &broken, 2);
            assert_eq!((c.certified, c.certified_flips), (0, 0), "{broken:?}");
        }
        assert_eq!(Comparison::of(&[9.0, 0.0], &[nan, 0.0], 2).flips, 1);
    }

    #[test]
    fn the_counts_are_those_of_the_samples() {
        let f32 = [5.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 7.0];
        let f16 = [4.5, 0.1, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 7.0];
        let c = Comparison::of(&f32, &f16, 3);
        assert_eq!(c, Comparison { samples: 3, flips: 1, certified: 2, certified_flips: 0 });
        assert_eq!(c.certified_share(), 2.0 / 3.0);
        let samples: Vec<Sample> = Sample::of(&f32, &f16, 3).collect();
        assert!(samples[0].gamma > 0.97 && samples[0].delta < 0.01 && !samples[0].flips);
        assert!(samples[1].flips && samples[1].gamma < 2.0 * samples[1].delta);
        assert_eq!(Sample::drawn(&samples, 9, 1), samples);
        assert_eq!(Sample::drawn(&samples, 2, 1).len(), 2);
        assert!(Sample::of(&[1.0, 0.0], &[f32::NAN, 0.0], 2).all(|s| s.gamma.is_nan() && !s.is_certified()));
    }

    /// Pairs of logits that lie close to the border: the second is the first, a little changed.
    fn pairs() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        let logit = prop_oneof![-8f32..8.0, -0.01f32..0.01, Just(0.0), Just(60.0), Just(-90.0)];
        let change = prop_oneof![-2f32..2.0, -1e-3f32..1e-3, -1e-7f32..1e-7, Just(0.0)];
        prop::collection::vec((logit, change), 2..12).prop_map(|v| v.into_iter().map(|(x, d)| (x, x + d)).unzip())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_certified_sample_never_flips((f32, other) in pairs()) {
            prop_assert_eq!(Comparison::of(&f32, &other, f32.len()).certified_flips, 0);
        }

        #[test]
        fn the_border_is_sharp(gap in 1e-6f64..0.9, part in 0.0f64..1.0) {
            // Two classes: δ just under half of the gap keeps the class, just over it changes it.
            let p = [0.5 + gap / 2.0, 0.5 - gap / 2.0];
            let moved = |d: f64| [p[0] - d, p[1] + d];
            let inside = gap / 2.0 * (1.0 - 1e-6 - part * 0.5);
            prop_assert!(is_certified(&p, &moved(inside)) && moved(inside)[0] > moved(inside)[1]);
            let outside = gap / 2.0 * (1.0 + 1e-6 + part * 0.5);
            prop_assert!(!is_certified(&p, &moved(outside)) && moved(outside)[0] < moved(outside)[1]);
        }
    }
}
