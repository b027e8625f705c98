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

impl Comparison {
    /// Compares logits `[samples, classes]` of the f32 network with another's, in f64.
    pub fn of(f32: &[f32], other: &[f32], classes: usize) -> Self {
        let mut found = Comparison::default();
        for (a, b) in f32.chunks_exact(classes).zip(other.chunks_exact(classes)) {
            let flip = class(a) != class(b);
            let certified = is_certified(&softmax(a), &softmax(b));
            found.samples += 1;
            found.flips += usize::from(flip);
            found.certified += usize::from(certified);
            found.certified_flips += usize::from(certified && flip);
        }
        found
    }

    /// The share of samples whose class cannot be another.
    pub fn certified_share(&self) -> f64 {
        self.certified as f64 / self.samples as f64
    }
}

/// Γ > 2δ; never where a probability is not a number.
fn is_certified(p: &[f64], q: &[f64]) -> bool {
    let (mut largest, mut second, mut delta) = (0.0, 0.0, 0.0);
    for (&p, &q) in p.iter().zip(q) {
        if p.is_nan() || q.is_nan() {
            return false;
        }
        (largest, second) = if p > largest { (p, largest) } else { (largest, p.max(second)) };
        delta = f64::max(delta, (p - q).abs());
    }
    largest - second > 2.0 * delta
}

/// The first largest value's place; none if one is not a number.
fn class(logits: &[f32]) -> Option<usize> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sound = !logits.iter().any(|v| v.is_nan());
    logits.iter().position(|&v| sound && v == largest)
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
