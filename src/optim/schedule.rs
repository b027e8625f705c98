//! Learning rates that change with the step.

use std::f64::consts::PI;

/// The learning rate as a function of the step. A number alone is a constant rate.
///
/// The rates of all steps are computed on the host, in f64, and lie in a table on the device, 4 bytes a step: no step waits
/// for the host. Steps that are skipped count. Behind the last entry the rate stays.
///
/// ```
/// use halfgrad::optim::Schedule;
/// let schedule = Schedule::cosine(0.1, 100).warm_up(10);
/// let rates = schedule.rates();
/// assert_eq!((rates.len(), rates[0], rates[9]), (111, 0.01, 0.1));
/// assert!((rates[60] - 0.05).abs() < 1e-6 && rates[110] < 1e-9);
/// assert_eq!(Schedule::from(0.05).rates(), [0.05]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Schedule {
    rates: Vec<f32>,
}

impl Schedule {
    /// The same rate at each step.
    pub fn constant(rate: f32) -> Self {
        Schedule { rates: vec![rate] }
    }

    /// `rate`, multiplied by `factor` at each of the steps `at`.
    pub fn steps(rate: f32, factor: f32, at: &[usize]) -> Self {
        let passed = |step: usize| at.iter().filter(|&&s| s <= step).count() as i32;
        let end = at.iter().copied().max().unwrap_or(0);
        Self::of(end + 1, |step| f64::from(rate) * f64::from(factor).powi(passed(step)))
    }

    /// From `rate` to 0 over `steps` along half a cosine (arXiv 1608.03983, equation 5, without restarts).
    pub fn cosine(rate: f32, steps: usize) -> Self {
        Self::of(steps + 1, |step| f64::from(rate) * falling(step, steps))
    }

    /// One cycle (arXiv 1708.07120): up from `rate / 25` to `rate` over the first 30 % of the steps, then down to
    /// `rate / 250,000`, both along half a cosine.
    pub fn one_cycle(rate: f32, steps: usize) -> Self {
        let (peak, rise) = (f64::from(rate), steps * 3 / 10);
        let between = |from: f64, to: f64, left: f64| to + (from - to) * left;
        Self::of(steps + 1, |step| match step.checked_sub(rise) {
            None => between(peak / 25.0, peak, falling(step, rise)),
            Some(since) => between(peak, peak / 250_000.0, falling(since, steps - rise)),
        })
    }

    /// Any rule: `rate(step)` for the first `steps` steps.
    pub fn of(steps: usize, rate: impl Fn(usize) -> f64) -> Self {
        Schedule { rates: (0..steps.max(1)).map(|step| rate(step) as f32).collect() }
    }

    /// Puts `steps` in front that rise evenly to this schedule's first rate, the last of them to the rate itself.
    pub fn warm_up(self, steps: usize) -> Self {
        let first = f64::from(self.rates[0]);
        let rise = (1..=steps).map(|step| (first * step as f64 / steps as f64) as f32);
        Schedule { rates: rise.chain(self.rates.iter().copied()).collect() }
    }

    /// The rate of each step; the last one is also that of all later steps.
    pub fn rates(&self) -> &[f32] {
        &self.rates
    }

    /// The largest of the rates.
    pub fn largest(&self) -> f32 {
        self.rates.iter().copied().fold(0.0, f32::max)
    }

    /// A rate that is none, negative or not finite, or the largest.
    pub(super) fn worst(&self) -> f32 {
        self.rates.iter().copied().find(|rate| !(*rate >= 0.0 && rate.is_finite())).unwrap_or(self.largest())
    }
}

/// Half a cosine, from 1 at step 0 to 0 at the last.
fn falling(step: usize, last: usize) -> f64 {
    0.5 + 0.5 * (PI * step as f64 / last.max(1) as f64).cos()
}

impl From<f32> for Schedule {
    fn from(rate: f32) -> Self {
        Schedule::constant(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_schedule_goes_through_its_corners() {
        let near = |a: f32, b: f64| (f64::from(a) - b).abs() <= 1e-7 * b.abs().max(1e-3);
        let all = |schedule: &Schedule, corners: &[(usize, f64)]| {
            corners.iter().for_each(|&(step, rate)| assert!(near(schedule.rates()[step], rate), "{step} {schedule:?}"));
        };
        all(&Schedule::steps(0.1, 0.1, &[30, 60]), &[(0, 0.1), (29, 0.1), (30, 0.01), (59, 0.01), (60, 0.001)]);
        all(&Schedule::cosine(0.2, 8), &[(0, 0.2), (4, 0.1), (8, 0.0)]);
        all(&Schedule::one_cycle(0.5, 10), &[(0, 0.02), (3, 0.5), (10, 2e-6)]);
        all(&Schedule::constant(0.3).warm_up(3), &[(0, 0.1), (1, 0.2), (2, 0.3), (3, 0.3)]);
        let cycle = Schedule::one_cycle(0.5, 1000);
        let top = cycle.rates().iter().position(|&r| r == 0.5);
        assert_eq!((cycle.rates().len(), top), (1001, Some(300)));
    }

    #[test]
    fn the_shortest_schedules_are_no_accident() {
        for schedule in [Schedule::cosine(0.1, 0), Schedule::steps(0.1, 0.5, &[]), Schedule::of(0, |_| 0.1)] {
            assert_eq!(schedule.rates(), [0.1]);
        }
        assert!(Schedule::one_cycle(0.1, 1).rates().iter().all(|r| r.is_finite()));
    }
}
