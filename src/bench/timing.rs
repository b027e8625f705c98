//! Times of what runs on a device, repeated until their median is steady.

use std::{
    f64::consts::LN_2,
    ops::Range,
    time::{Duration, Instant},
};

use super::report::Sample;
use crate::{
    Gpu, Result,
    gpu::{Executable, Stamps},
    study::median,
};

/// How long to go on.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// The time after which no repetition is begun, once there are enough; three times as much for the six that an
    /// interval takes.
    pub budget: Duration,
    /// The fewest repetitions, however long they take.
    pub least: usize,
    /// The most.
    pub most: usize,
    /// The width of the median's interval, relative to it, that is narrow enough.
    pub steady: f64,
}

/// Dispatches of an executable, to be run again and again.
#[derive(Debug, Clone)]
pub struct Work<'a> {
    /// The device.
    pub gpu: &'a Gpu,
    /// What runs.
    pub executable: &'a Executable,
    /// Which dispatches.
    pub range: Range<usize>,
}

/// What was found of some work.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// The seconds of the very first run, in which drivers do what they put off.
    pub first: f64,
    /// Seconds by the host's clock: submission to the end of the device's work, many runs in one if one is short.
    pub wall: Sample,
    /// Seconds by the device's clock, one pass a dispatch; the sum of the dispatches.
    pub gpu: Option<Sample>,
}

impl Timing {
    /// The device's time if there is one, else the host's.
    pub fn device(&self) -> Sample {
        self.gpu.unwrap_or(self.wall)
    }
}

impl Work<'_> {
    /// Warms up, then measures by the host's clock, then by the device's if it has one.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device was lost.
    pub fn measure(&self, effort: Effort) -> Result<Timing> {
        let first = self.repeat(1)?;
        let warm = self.repeat(1)?;
        // So many runs in a submission that its own cost does not count.
        let runs = (2e-3 / warm.max(1e-6)).ceil().clamp(1.0, 64.0) as usize;
        let wall = sample(effort, || Ok(self.repeat(runs)? / runs as f64))?;
        let stamps = Stamps::new(self.gpu, self.range.clone())?;
        let gpu = stamps.map(|stamps| sample(effort, || self.stamped(&stamps)));
        // A device whose clock stands still has none.
        let gpu = gpu.transpose()?.filter(|gpu| gpu.median > 0.0);
        Ok(Timing { first, wall, gpu })
    }

    /// The seconds of so many runs in one submission, or in several where that could take too long; submitting and the
    /// wait for the end included.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    pub fn repeat(&self, runs: usize) -> Result<f64> {
        let start = Instant::now();
        self.executable.submit(self.gpu, self.range.clone(), runs, None)?;
        self.gpu.wait()?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// The seconds of one run by the device's clock, the sum of its dispatches.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    pub fn stamped(&self, stamps: &Stamps) -> Result<f64> {
        self.executable.submit(self.gpu, self.range.clone(), 1, Some(stamps))?;
        Ok(stamps.read(self.gpu).wait()?.iter().sum())
    }
}

/// So many budgets are spent where an interval takes them.
const PATIENCE: u32 = 3;

/// Repeats `once`, which gives seconds, until the median is steady or the time is over.
///
/// # Errors
/// The first error of `once`.
pub fn sample(effort: Effort, mut once: impl FnMut() -> Result<f64>) -> Result<Sample> {
    let (start, mut times) = (Instant::now(), vec![]);
    loop {
        times.push(once()?);
        let (found, time) = (summary(&times), start.elapsed());
        let steady = found.interval().is_some_and(|(low, high)| high - low <= effort.steady * found.median);
        let over = time >= effort.budget && found.interval().is_some() || time >= PATIENCE * effort.budget;
        if times.len() >= effort.least && (steady || over || times.len() >= effort.most) {
            return Ok(found);
        }
    }
}

/// The median and the interval that holds the true one with 95 %, from the order of the values alone: no distribution
/// is assumed. Of fewer than six values no interval is so sure; the least and the largest stand in its place.
pub fn summary(times: &[f64]) -> Sample {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (n, rank) = (sorted.len(), rank(sorted.len()));
    Sample { median: median(times), low: sorted[rank], high: sorted[n - 1 - rank], runs: n }
}

/// How many of `n` values lie below the interval, and above it: the most that leave 95 %. Each value lies below the
/// true median as often as above it, so the chance that so few lie on one side is binomial.
fn rank(n: usize) -> usize {
    // The logarithm: 2⁻ⁿ itself is soon 0.
    let (mut chance, mut below) = (-(n as f64) * LN_2, 0.0);
    let within = (0..n / 2).take_while(|&k| {
        below += chance.exp();
        chance += ((n - k) as f64 / (k + 1) as f64).ln();
        2.0 * below <= 0.05
    });
    within.count().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_between_order_statistics() {
        let times: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(summary(&times), Sample { median: 50.5, low: 40.0, high: 61.0, runs: 100 });
        assert_eq!(summary(&times).interval(), Some((40.0, 61.0)));
        let three = summary(&[2.0, 1.0, 4.0]);
        assert_eq!((three, three.interval()), (Sample { median: 2.0, low: 1.0, high: 4.0, runs: 3 }, None));
    }

    #[test]
    fn the_interval_is_the_narrowest_that_holds_the_median_at_95_percent() {
        // The chance that the true median lies between the value with so many below it and its twin.
        let sure = |n: usize, rank: usize| {
            let (mut ways, mut below) = (1.0, 0.0);
            for k in 0..=rank {
                below += ways;
                ways *= (n - k) as f64 / (k + 1) as f64;
            }
            1.0 - 2.0 * below / 2f64.powi(n as i32)
        };
        assert_eq!([sure(6, 0), sure(8, 0), sure(9, 1)], [0.96875, 0.9921875, 0.9609375]);
        for n in 6..=1000 {
            let found = rank(n);
            assert!(sure(n, found) >= 0.95 && sure(n, found + 1) < 0.95, "{n}: {found}");
        }
        assert!(sure(5, 0) < 0.95 && (1..6).all(|n| rank(n) == 0));
        assert_eq!(rank(10_000), 4901);
    }

    #[test]
    fn sampling_ends_when_steady_or_when_enough() {
        let effort = Effort { budget: Duration::from_secs(60), least: 3, most: 50, steady: 0.01 };
        assert_eq!(sample(effort, || Ok(1.0)).unwrap().runs, 6);
        let mut n = 0.0;
        let rising = || {
            n += 1.0;
            Ok(n)
        };
        assert_eq!(sample(effort, rising).unwrap().runs, 50);
        assert_eq!(sample(Effort { budget: Duration::ZERO, ..effort }, || Ok(1.0)).unwrap().runs, 3);
        // What is slow takes more than its budget for an interval, unless that would be too much.
        let mut slow = |ms: u64| {
            n = 1.0;
            let once = || {
                std::thread::sleep(Duration::from_millis(ms));
                n *= 2.0;
                Ok(n)
            };
            sample(Effort { budget: Duration::from_millis(100), ..effort }, once).unwrap().runs
        };
        assert_eq!((slow(20), slow(110)), (6, 3));
    }
}
