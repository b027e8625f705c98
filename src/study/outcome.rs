use crate::{
    Error, Policy, Weights,
    dispatch::{Program, Role},
    error::Warning,
    plan::{Changes, Evaluation, Observation, Progress},
};

/// Bytes on the device, by what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct DeviceBytes {
    /// Weights, as the forward pass reads them.
    pub weights: u64,
    /// What the optimizer keeps, f32 master weights included.
    pub optimizer: u64,
    /// Gradients of the weights.
    pub gradients: u64,
    /// Inputs and everything between them and the loss.
    pub activations: u64,
    /// The sum of these. The 5 kB of counters and logged losses that every plan has are left out.
    pub total: u64,
}

impl DeviceBytes {
    /// The bytes of a program.
    pub fn of(program: &Program) -> Self {
        let roles = [Role::Weights, Role::Optimizer, Role::Gradients, Role::Activations];
        let [weights, optimizer, gradients, activations] = roles.map(|role| program.device_bytes(role));
        let total = weights + optimizer + gradients + activations;
        DeviceBytes { weights, optimizer, gradients, activations, total }
    }
}

/// The largest eigenvalue of a loss's Hessian.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sharpness {
    /// The eigenvalue.
    pub eigenvalue: f64,
    /// Products of the Hessian and a direction that were taken.
    pub products: usize,
    /// Whether it had settled by then.
    pub converged: bool,
}

/// What came of one run.
#[derive(Debug)]
pub struct Outcome {
    /// What it ran in.
    pub precision: Policy,
    /// The seed of its weights and its batches.
    pub seed: u64,
    /// Loss and accuracy over the test set.
    pub evaluation: Evaluation,
    /// e to the power of the test loss, of a language model: among how many equally likely tokens it would be as unsure.
    pub perplexity: Option<f64>,
    /// The logits of each test sample, or of each of its tokens, `[samples, classes]`.
    pub logits: Vec<f32>,
    /// The mean loss over the training samples of each epoch, as they were trained on.
    pub train_loss: Vec<f64>,
    /// The loss of each step.
    pub step_loss: Vec<f32>,
    /// The median time of a step in seconds, host and device; see [`train`](super::train).
    pub step_seconds: f64,
    /// Bytes on the device.
    pub bytes: DeviceBytes,
    /// Counts of steps and skipped steps.
    pub progress: Progress,
    /// What became of the changes of each weight, over a quarter of the steps, spread over the run.
    pub changes: Vec<Changes>,
    /// The same up to some twenty steps, which are counted from 1.
    pub changes_so_far: Vec<(usize, Vec<Changes>)>,
    /// What the tensors held, summed over the steps in which they were looked at: [`Setup::observe`](super::Setup).
    pub observations: Vec<Observation>,
    /// The sharpness of the loss after so many steps: [`Setup::sharpness`](super::Setup).
    pub sharpness: Vec<(usize, Sharpness)>,
    /// Why it ended early, if it did: the loss was no longer finite.
    pub failure: Option<Error>,
    /// Numbers of the user's that the precision cannot hold.
    pub warnings: Vec<Warning>,
    /// The weights that were tested: as they are now, or their average.
    pub weights: Weights,
}

impl Outcome {
    /// Changes of weights that rounding lost, and changes that were not zero.
    pub fn lost_changes(&self) -> (u64, u64) {
        self.changes.iter().fold((0, 0), |(lost, all), c| (lost + c.lost, all + c.all))
    }

    /// Of the changes of weights that were not zero, the share that rounding lost; `None` if there were no changes.
    pub fn lost_update_share(&self) -> Option<f64> {
        let (lost, all) = self.lost_changes();
        (all > 0).then(|| lost as f64 / all as f64)
    }
}

/// The mean; NaN of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The standard deviation of a sample; `None` if there are fewer than two values.
pub fn deviation(values: &[f64]) -> Option<f64> {
    let squares = |m: f64| values.iter().map(|v| (v - m).powi(2)).sum::<f64>();
    (values.len() > 1).then(|| (squares(mean(values)) / (values.len() - 1) as f64).sqrt())
}

/// The middle value, or the mean of the two in the middle; NaN of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (n, middle) if n % 2 == 1 => sorted[middle],
        (_, middle) => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics() {
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0]), median(&[5.0])), (2.0, 2.5, 5.0));
        assert_eq!((mean(&[1.0, 2.0, 6.0]), deviation(&[1.0, 3.0])), (3.0, Some(2f64.sqrt())));
        assert_eq!(deviation(&[1.0]), None);
        assert!(median(&[]).is_nan());
    }
}
