//! Times of what runs on a device, repeated until their median is steady.

use std::{
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
    /// The time after which no repetition is begun, once there are enough.
    pub budget: Duration,
    /// The fewest repetitions.
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
        let stamps = Stamps::new(self.gpu, self.range.clone());
        let gpu = stamps.map(|stamps| sample(effort, || self.stamped(&stamps)));
        // A device whose clock stands still has none.
        let gpu = gpu.transpose()?.filter(|gpu| gpu.median > 0.0);
        Ok(Timing { first, wall, gpu })
    }

    /// The seconds of so many runs in one submission, or in several where that could take too long; submitting and the wait for the
    /// end included.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    pub fn repeat(&self, runs: usize) -> Result<f64> {
        let start = Instant::now();
        self.executable.submit(self.gpu, self.range.clone(), runs, None);
        self.gpu.wait()?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// The seconds of one run by the device's clock, the sum of its dispatches.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    pub fn stamped(&self, stamps: &Stamps) -> Result<f64> {
        self.executable.submit(self.gpu, self.range.clone(), 1, Some(stamps));
        Ok(stamps.read(self.gpu).wait()?.iter().sum())
    }
}

/// Repeats `once`, which gives seconds, until the median is steady or the time is over.
///
/// # Errors
/// The first error of `once`.
pub fn sample(effort: Effort, mut once: impl FnMut() -> Result<f64>) -> Result<Sample> {
    let (start, mut times) = (Instant::now(), vec![]);
    loop {
        times.push(once()?);
        let found = summary(&times);
        let steady = times.len() >= 7 && found.high - found.low <= effort.steady * found.median;
        let over = start.elapsed() >= effort.budget || times.len() >= effort.most;
        if times.len() >= effort.least && (steady || over) {
            return Ok(found);
        }
    }
}

/// The median and the interval that holds the true one with 95 %, from the order of the values alone: no distribution
/// is assumed. Of fewer than six values no interval is so sure; theirs is all of them.
pub fn summary(times: &[f64]) -> Sample {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    let half = 0.98 * (n as f64).sqrt();
    let low = (n as f64 / 2.0 - half).floor().max(0.0) as usize;
    Sample { median: median(times), low: sorted[low], high: sorted[n - 1 - low], runs: n }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_between_order_statistics() {
        let times: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(summary(&times), Sample { median: 50.5, low: 41.0, high: 60.0, runs: 100 });
        assert_eq!(summary(&[2.0, 1.0, 4.0]), Sample { median: 2.0, low: 1.0, high: 4.0, runs: 3 });
    }

    #[test]
    fn sampling_ends_when_steady_or_when_enough() {
        let effort = Effort { budget: Duration::from_secs(60), least: 3, most: 50, steady: 0.01 };
        assert_eq!(sample(effort, || Ok(1.0)).unwrap().runs, 7);
        let mut n = 0.0;
        let rising = || {
            n += 1.0;
            Ok(n)
        };
        assert_eq!(sample(effort, rising).unwrap().runs, 50);
        assert_eq!(sample(Effort { budget: Duration::ZERO, ..effort }, || Ok(1.0)).unwrap().runs, 3);
    }
}
