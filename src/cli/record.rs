//! What the tool writes as JSON; the names of the fields are the format.

use halfgrad::{
    Caps, Gpu,
    data::Split,
    study::{self, Comparison, DeviceBytes, Outcome},
};
use serde::{Deserialize, Serialize};

/// An adapter and its driver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adapter {
    pub name: String,
    pub backend: String,
    pub r#type: String,
    pub driver: String,
    pub driver_info: String,
}

impl Adapter {
    pub fn of(info: &wgpu::AdapterInfo, caps: &Caps) -> Self {
        Adapter {
            name: info.name.clone(),
            backend: format!("{:?}", info.backend),
            r#type: caps.kind.name().into(),
            driver: info.driver.clone(),
            driver_info: info.driver_info.clone(),
        }
    }

    pub fn of_gpu(gpu: &Gpu) -> Self {
        Adapter::of(gpu.info(), gpu.caps())
    }

    /// "llvmpipe Mesa 22.3.6 (LLVM 15.0.6)": the driver, as far as it says what it is.
    pub fn driver_line(&self) -> String {
        let parts = [&self.driver, &self.driver_info].map(|part| part.trim());
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// `study.json`.
#[derive(Debug, Serialize)]
pub struct Study {
    pub command: Vec<String>,
    pub adapter: Adapter,
    /// What is unusual in how it is used, as `halfgrad study` prints it; empty as a rule.
    pub settings: String,
    pub versions: Versions,
    pub data: Data,
    pub network: Network,
    pub runs: Vec<Run>,
}

#[derive(Debug, Serialize)]
pub struct Versions {
    pub halfgrad: &'static str,
    pub driver: String,
}

/// What was learnt from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Data {
    pub name: String,
    /// Numbers of samples.
    pub train: usize,
    pub test: usize,
    /// The shape of a sample.
    pub sample: Vec<usize>,
    pub classes: usize,
    /// What was taken from pixels, and what they were then divided by.
    pub mean: f32,
    pub std: f32,
    /// In `study.json`, for the digits: the row of `data/digits.csv.gz` of each training sample, then of each test sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Vec<u32>>,
}

impl Data {
    pub fn of(data: &Split) -> Self {
        Data {
            name: data.name.clone(),
            train: data.train.len(),
            test: data.test.len(),
            sample: data.train.shape().to_vec(),
            classes: data.train.classes(),
            mean: data.mean,
            std: data.std,
            rows: None,
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Network {
    pub model: String,
    pub optimizer: String,
    pub batch: usize,
    pub steps: usize,
    /// What is rounded to formats that no adapter need have: `weights=e4m3+stochastic,gradients=e5m2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simulated: Option<String>,
}

/// One run; what cannot be said is null: comparisons without f32, the share of no updates.
#[derive(Debug, Serialize)]
pub struct Run {
    pub precision: String,
    pub seed: u64,
    pub test_accuracy: f64,
    pub test_loss: Option<f64>,
    /// Of a language model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_perplexity: Option<f64>,
    pub train_loss: Vec<f64>,
    pub step_loss: Vec<f32>,
    pub steps: u32,
    pub step_ms_median: f64,
    pub device_bytes: DeviceBytes,
    pub class_flips: Option<usize>,
    pub certified_share: Option<f64>,
    pub certified_flips: Option<usize>,
    pub skipped_steps: u32,
    pub lost_update_share: Option<f64>,
    pub loss_scale: f32,
    /// The largest eigenvalue of the loss's Hessian, where it was measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sharpness: Vec<Sharpness>,
    /// Why the run ended early.
    pub failure: Option<String>,
    pub warnings: Vec<String>,
}

impl Run {
    pub fn of(run: &Outcome, against_f32: Option<&Comparison>) -> Self {
        Run {
            precision: run.precision.to_string(),
            seed: run.seed,
            test_accuracy: run.evaluation.accuracy,
            test_loss: Some(run.evaluation.loss).filter(|loss| loss.is_finite()),
            test_perplexity: run.perplexity.filter(|p| p.is_finite()),
            train_loss: run.train_loss.clone(),
            step_loss: run.step_loss.clone(),
            steps: run.progress.halted.unwrap_or(run.progress.steps),
            step_ms_median: run.step_seconds * 1e3,
            device_bytes: run.bytes,
            class_flips: against_f32.map(|c| c.flips),
            certified_share: against_f32.map(Comparison::certified_share),
            certified_flips: against_f32.map(|c| c.certified_flips),
            skipped_steps: run.progress.skipped,
            lost_update_share: run.lost_update_share(),
            loss_scale: run.progress.loss_scale,
            sharpness: run.sharpness.iter().map(|(step, found)| Sharpness::of(*step, found)).collect(),
            failure: run.failure.as_ref().map(ToString::to_string),
            warnings: run.warnings.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The largest eigenvalue of the loss's Hessian after so many steps; null if it is not finite.
#[derive(Debug, Serialize)]
pub struct Sharpness {
    pub step: usize,
    pub eigenvalue: Option<f64>,
    /// Products of the Hessian and a direction that it took.
    pub products: usize,
    pub converged: bool,
}

impl Sharpness {
    fn of(step: usize, found: &study::Sharpness) -> Self {
        let eigenvalue = Some(found.eigenvalue).filter(|e| e.is_finite());
        Sharpness { step, eigenvalue, products: found.products, converged: found.converged }
    }
}
