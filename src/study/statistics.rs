//! What a few paired runs say, and what they do not: Student's t, intervals, two one-sided tests.

use super::{deviation, mean};

/// What an interval reaches to on each side, so that it holds the truth at 95 %.
const SIDE: f64 = 0.975;

/// The most seeds that anyone is told to run.
const MANY: usize = 1000;

/// Whether a difference is smaller than a margin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It lies within the margin, as the whole interval at 95 % does: two one-sided tests (TOST) at 97.5 % each.
    Equivalent,
    /// It is not zero, which the interval at 95 % leaves out, nor does that lie within the margin.
    Different,
    /// Neither was shown.
    Inconclusive {
        /// With how many pairs one of them would be shown in four of five studies, if mean and deviation are what they seem;
        /// `None` for more than a thousand.
        pairs: Option<usize>,
    },
}

/// What pairs of runs say of the difference between both ways.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paired {
    /// The mean difference.
    pub mean: f64,
    /// Where it lies at 95 %.
    pub low: f64,
    /// The other end.
    pub high: f64,
    /// How many pairs there are.
    pub pairs: usize,
    /// Whether it is smaller than the margin.
    pub verdict: Verdict,
}

impl Paired {
    /// Of the differences of pairs; `None` of fewer than two, from which nothing follows. Each was measured in multiples of
    /// `resolution`, whose rounding is added to their variance: equal differences are no proof of certainty.
    ///
    /// ```
    /// use halfgrad::study::statistics::{Paired, Verdict};
    /// let found = Paired::of(&[0.1, -0.1, 0.0, 0.2, -0.2], 0.5, 0.01).unwrap();
    /// assert_eq!((found.mean.abs() < 1e-9, found.verdict), (true, Verdict::Equivalent));
    /// assert!((found.high - 0.1963).abs() < 1e-3); // 2.776 · 0.158 / √5
    /// ```
    pub fn of(differences: &[f64], margin: f64, resolution: f64) -> Option<Self> {
        let (mean, pairs) = (mean(differences), differences.len());
        let deviation = deviation(differences)?.hypot(resolution / 12f64.sqrt());
        let reach = t_quantile(SIDE, (pairs - 1) as f64) * deviation / (pairs as f64).sqrt();
        let verdict = if mean.abs() + reach < margin {
            Verdict::Equivalent
        } else if mean.abs() > reach {
            Verdict::Different
        } else {
            Verdict::Inconclusive { pairs: enough(mean.abs(), deviation, margin) }
        };
        Some(Paired { mean, low: mean - reach, high: mean + reach, pairs, verdict })
    }
}

/// With how many pairs [`Verdict::Equivalent`] or [`Verdict::Different`] is found in four of five studies.
fn enough(mean: f64, deviation: f64, margin: f64) -> Option<usize> {
    (3..=MANY).find(|&n| {
        let standard = deviation / (n as f64).sqrt();
        let t = |p: f64| t_quantile(p, (n - 1) as f64);
        // Both one-sided tests must hold, so that each may fail in one of ten.
        let equivalent = margin - mean > (t(SIDE) + t(0.9)) * standard;
        equivalent || mean > (t(SIDE) + t(0.8)) * standard
    })
}

/// The probability that Student's t of so many degrees of freedom is at most `t`.
pub fn t_cdf(t: f64, freedom: f64) -> f64 {
    let tail = 0.5 * incomplete_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5);
    if t > 0.0 { 1.0 - tail } else { tail }
}

/// What Student's t of so many degrees of freedom exceeds with the probability `1 − p`, for `p` from one half up.
pub fn t_quantile(p: f64, freedom: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while t_cdf(high, freedom) < p && high < 1e9 {
        (low, high) = (high, high * 2.0);
    }
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if t_cdf(middle, freedom) < p { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// The regularised incomplete beta function, by its continued fraction (DLMF 8.17.22) after Lentz.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a); // where the fraction converges fast
    }
    if x <= 0.0 {
        return 0.0;
    }
    let beta = libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
    let front = (a * x.ln() + b * (-x).ln_1p() - beta).exp() / a;
    let (mut f, mut c, mut d) = (1.0, 1.0, 0.0);
    for i in 0..300 {
        let m = f64::from(i / 2);
        let term = match i {
            0 => 1.0,
            i if i % 2 == 0 => m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            _ => -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        };
        d = 1.0 / nonzero(1.0 + term * d);
        c = nonzero(1.0 + term / c);
        f *= c * d;
        if (1.0 - c * d).abs() < 1e-15 {
            break;
        }
    }
    front * (f - 1.0)
}

fn nonzero(x: f64) -> f64 {
    if x.abs() < 1e-300 { 1e-300 } else { x }
}

/// The value below which the share `p` of sorted values lies, between neighbours by the straight line; NaN of nothing.
pub fn quantile(sorted: &[f64], p: f64) -> f64 {
    let at = p * sorted.len().saturating_sub(1) as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    match (sorted.get(low), sorted.get(low + 1)) {
        (Some(a), Some(b)) => a + part * (b - a),
        (Some(a), None) => *a,
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn students_t_is_that_of_the_tables() {
        // One and two degrees of freedom have closed forms.
        for t in [-30.0, -1.0f64, 0.0, 0.3, 1.0, 12.7, 400.0] {
            let (cauchy, two) = (0.5 + t.atan() / std::f64::consts::PI, 0.5 + t / (2.0 * (2.0 + t * t).sqrt()));
            assert!((t_cdf(t, 1.0) - cauchy).abs() < 1e-12, "{t}");
            assert!((t_cdf(t, 2.0) - two).abs() < 1e-12, "{t}");
        }
        // NIST/SEMATECH e-Handbook of Statistical Methods, table 1.3.6.7.2.
        let table = [
            (0.975, 1, 12.706),
            (0.975, 2, 4.303),
            (0.95, 4, 2.132),
            (0.90, 9, 1.383),
            (0.95, 9, 1.833),
            (0.975, 9, 2.262),
            (0.995, 9, 3.250),
            (0.975, 29, 2.045),
            (0.975, 100, 1.984),
        ];
        for (p, freedom, t) in table {
            assert!((t_quantile(p, f64::from(freedom)) - t).abs() < 6e-4, "{p} of {freedom}");
        }
        assert!((t_quantile(0.975, 1e6) - 1.959_966).abs() < 1e-4, "the normal distribution");
    }

    #[test]
    fn verdicts() {
        let of = |differences: &[f64]| Paired::of(differences, 0.5, 0.0).unwrap();
        assert_eq!(of(&[0.0, 0.1, -0.1, 0.05]).verdict, Verdict::Equivalent);
        // Of -1, -2, -3: t = 2 √3 = 3.46 < 4.303, so zero is not left out; with -1.5, -2, -2.5 it is.
        let wide = of(&[-1.0, -2.0, -3.0]);
        assert!((wide.low + 4.484).abs() < 1e-3 && (wide.high - 0.484).abs() < 1e-3, "{wide:?}");
        // With five, (2.776 + 0.941) / √5 = 1.66 < 2: enough; with four, (3.182 + 0.978) / 2 = 2.08 is not.
        assert_eq!(wide.verdict, Verdict::Inconclusive { pairs: Some(5) }, "{wide:?}");
        assert_eq!(of(&[-1.5, -2.0, -2.5]).verdict, Verdict::Different);
        // A difference that is sure but small is still within the margin.
        assert_eq!(of(&[0.2, 0.21, 0.19]).verdict, Verdict::Equivalent);
        assert_eq!(Paired::of(&[0.3], 0.5, 0.1), None);
    }

    #[test]
    fn equal_differences_are_as_sure_as_their_resolution() {
        let two = Paired::of(&[0.0, 0.0], 0.5, 1.0).unwrap();
        // 12.706 / √12 / √2
        assert!((two.high - 2.594).abs() < 1e-3 && two.low == -two.high, "{two:?}");
        assert!(matches!(two.verdict, Verdict::Inconclusive { pairs: Some(_) }));
        assert_eq!(Paired::of(&[0.0; 10], 0.5, 1.0).unwrap().verdict, Verdict::Equivalent);
    }

    #[test]
    fn pairs_that_are_enough_are_the_fewest_that_are() {
        // Around 0, sd 1, margin 0.5, by the normal approximation (1.960 + 1.282)² · 4 = 42.0; t asks for a little more.
        let n = enough(0.0, 1.0, 0.5).unwrap();
        assert!((43..=46).contains(&n), "{n}");
        assert_eq!(enough(0.5, 100.0, 0.5), None);
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        let sorted = [1.0, 2.0, 4.0];
        assert_eq!([0.0, 0.25, 0.5, 0.75, 1.0].map(|p| quantile(&sorted, p)), [1.0, 1.5, 2.0, 3.0, 4.0]);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
