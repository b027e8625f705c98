//! What chance alone does to a run: the measure for what 16 bit does.

use super::{Outcome, Setup, Stand, mean, statistics::t_quantile, train};
use crate::{Gpu, Precision, Result, data::Split};

/// A loss that is so many times that of f32, over the last quarter of the steps, may be another result.
const WORSE: f64 = 1.03;
/// How many runs are made to see what chance does.
const RUNS: u32 = 3;
/// Chance goes beyond what is allowed in one case of forty.
const SURE: f64 = 0.975;

/// How far runs in f32 end from each other that should not differ: [`Setup::nudge`].
#[derive(Debug, Clone, PartialEq)]
pub struct Noise {
    /// The late loss of each run over that of the run it was made from.
    pub ratios: Vec<f64>,
}

impl Noise {
    /// Repeats the run `twin`, which was in f32, from slightly different weights.
    ///
    /// # Errors
    /// As [`train`].
    pub fn measure(
        gpu: &Gpu,
        data: &Split,
        setup: &Setup,
        twin: &Outcome,
        watch: &mut dyn FnMut(Stand) -> Result<()>,
    ) -> Result<Self> {
        let ratio = |nudge| {
            let setup = Setup { nudge: Some(nudge), observe: None, ..setup.clone() };
            let run = train(gpu, data, &setup, Precision::F32, twin.seed, watch)?;
            Ok(late_loss(&run) / late_loss(twin))
        };
        Ok(Noise { ratios: (0..RUNS).map(ratio).collect::<Result<_>>()? })
    }

    /// How many times the loss of f32 a run may end at, and chance still do as much in one case of forty; 1.03 at least.
    pub fn allowed(&self) -> f64 {
        let squares: Vec<f64> = self.ratios.iter().map(|r| r.ln().powi(2)).collect();
        WORSE.max((t_quantile(SURE, squares.len() as f64) * mean(&squares).sqrt()).exp())
    }

    /// Whether a run ended well, with a loss like that of f32.
    pub fn trains_as(&self, run: &Outcome, twin: &Outcome) -> bool {
        run.failure.is_none() && twin.failure.is_none() && late_loss(run) <= late_loss(twin) * self.allowed()
    }
}

/// The mean loss over the last quarter of the steps.
pub fn late_loss(run: &Outcome) -> f64 {
    let from = run.step_loss.len() - run.step_loss.len().div_ceil(4);
    mean(&run.step_loss[from..].iter().map(|&loss| f64::from(loss)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_allows_what_it_does_itself_and_never_less_than_three_percent() {
        let allowed = |ratios: [f64; 3]| Noise { ratios: ratios.to_vec() }.allowed();
        assert_eq!(allowed([1.0, 1.005, 0.995]), WORSE);
        // Student's t of three degrees of freedom: 3.182.
        assert!((allowed([2.0, 0.5, 2.0]) / 2f64.powf(t_quantile(SURE, 3.0)) - 1.0).abs() < 1e-12);
    }
}
