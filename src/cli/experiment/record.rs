//! What `halfgrad study --experiment` writes in its folder, as JSON; the names of the fields are the format.
//!
//! ```text
//! <run>.json           one finished run, written whole when it ends         Run
//! <run>.safetensors    the weights of an f32 run, which others are held against
//! <table>.json         what was measured without training                   Table
//! probe.json           what `halfgrad devices --probe --json` prints
//! experiment.json      the summary, which can be rebuilt from the others     Experiment
//! ```
//!
//! Shares lie between 0 and 1; accuracies too, but differences between them are in points (hundredths). What cannot be said
//! is null: comparisons of f32 with itself, the mean of no numbers, numbers that are not finite.

use halfgrad::study::DeviceBytes;
use serde::{Deserialize, Serialize};

use crate::cli::record::{Adapter, Data};

/// The number of this format; files of another are refused.
pub const FORMAT: u32 = 1;

/// `experiment.json`: what was asked, and what came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    pub format: u32,
    /// `e1`.
    pub name: String,
    pub title: String,
    /// What it is to find out, in a sentence.
    pub question: String,
    /// What is expected, and by whom: published figures or a derivation.
    pub expected: String,
    /// The command that made it, word by word.
    pub command: Vec<String>,
    /// The version of the crate.
    pub halfgrad: String,
    pub adapter: Adapter,
    /// As in a run's setup.
    #[serde(default)]
    pub settings: String,
    /// What the command asks for, also what was not run yet.
    #[serde(default)]
    pub asked: Vec<Asked>,
    /// What is compared with each other; an experiment of tables only has none.
    pub groups: Vec<Group>,
    pub tables: Vec<Table>,
}

/// The runs of a group that are to be: each precision that the adapter can run, from each seed between two, both included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    pub group: String,
    pub variants: Vec<String>,
    pub seeds: [u64; 2],
}

/// One network trained in one way, in several precisions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// What sets it apart from the other groups: `batch 16, lr 0.1`; empty if it is the only one.
    pub name: String,
    /// Of its runs; `precision` is that of the first.
    pub setup: Setup,
    /// Of the runs that are there.
    pub seeds: Vec<u64>,
    /// How two f32 runs of different seeds differ: what no precision can be blamed for.
    pub noise: Option<Noise>,
    /// In the order of the table, f32 first.
    pub variants: Vec<Variant>,
}

/// The differences between f32 runs of different seeds, each with the next and the last with the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// How many pairs of runs there are.
    pub pairs: usize,
    /// The share of test samples with another class, mean over the pairs.
    pub flips: f64,
    /// The difference of accuracies without its sign, in points, mean over the pairs.
    pub accuracy_points: f64,
}

/// All runs of one precision in a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// The precision as text: `f16+nearest`.
    pub name: String,
    /// The names of its run files without `.json`, in the order of the seeds.
    pub runs: Vec<String>,
    /// Test accuracy over the seeds.
    pub accuracy: Spread,
    /// Perplexity, of language models.
    pub perplexity: Option<Spread>,
    /// Accuracy less that of f32, paired by seed, in points; null for f32, and of fewer than two seeds.
    pub difference: Option<Interval>,
    /// Whether it is as good as f32.
    pub verdict: Option<Verdict>,
    /// The weights that f32 trained, in this precision; over all seeds.
    pub cast: Option<Agreement>,
    /// Trained in this precision; over all seeds.
    pub trained: Option<Agreement>,
    /// Median over the runs.
    pub step_ms: Option<f64>,
    /// Whole runs, tests included, mean.
    pub seconds: f64,
    pub device_bytes: DeviceBytes,
    /// Over all runs.
    pub skipped_steps: u64,
    /// Of the changes of weights that were not zero, the share that rounding lost, over all runs.
    pub lost: Option<f64>,
    /// `seed 3: …` for each run that broke.
    pub failures: Vec<String>,
    /// What was published for the same network, if anything was.
    pub published: Option<Published>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub mean: f64,
    /// The standard deviation of a sample; null of one run.
    pub deviation: Option<f64>,
}

/// A mean with the interval that holds it at 95 %, by Student's t.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
    /// How many pairs there are.
    pub pairs: usize,
}

/// The outcome of two one-sided tests at ± `margin` points, and of the paired t test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// `equivalent`, `different` or `inconclusive`.
    pub kind: String,
    /// In points.
    pub margin: f64,
    /// How many seeds would settle it, if mean and deviation stay as they are: only of `inconclusive`.
    pub seeds_needed: Option<usize>,
}

/// How many test samples keep their class, over all runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    pub samples: u64,
    /// Samples of which the class is another than in f32.
    pub flips: u64,
    /// Samples with Γ > 2δ, which cannot flip.
    pub certified: u64,
    /// Must be 0.
    pub certified_flips: u64,
}

/// From arXiv 2305.10947, table 5: a 16-bit, f32 or mixed run of the authors, on their GPU and CIFAR-10.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// Mean test accuracy, 0 to 1.
    pub accuracy: f64,
    /// Its standard deviation, 0 to 1.
    pub deviation: f64,
    /// Of 100 epochs.
    pub seconds: f64,
}

/// One finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub format: u32,
    /// The experiment that it was made for.
    pub experiment: String,
    /// The file's name without `.json`.
    pub name: String,
    pub group: String,
    /// The precision as text.
    pub variant: String,
    pub seed: u64,
    /// All that determines it.
    pub setup: Setup,
    /// On the test set.
    pub accuracy: f64,
    /// Mean test loss.
    pub loss: Option<f64>,
    /// Of language models.
    pub perplexity: Option<f64>,
    /// The training loss, at most 300 points.
    pub curve: Vec<Point>,
    /// The mean training loss of each epoch.
    pub train_loss: Vec<f64>,
    /// Steps done.
    pub steps: u32,
    pub skipped_steps: u32,
    /// At the end.
    pub loss_scale: f32,
    /// Median, host and device, warm.
    pub step_ms: Option<f64>,
    /// Of the whole run, test included.
    pub seconds: f64,
    pub device_bytes: DeviceBytes,
    /// What became of the changes of each trained weight.
    pub changes: Vec<Changes>,
    /// What tensors held in the steps that were looked at, summed.
    pub tensors: Vec<Tensor>,
    /// Why it ended early.
    pub failure: Option<Failure>,
    pub warnings: Vec<String>,
    /// The class given to each test sample, or to each of its tokens; -1 where a logit is NaN.
    pub predicted: Vec<i32>,
    /// Null for f32.
    pub against_f32: Option<Against>,
}

/// All that determines a run but its seed. Files of another setup are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The version of the crate.
    pub halfgrad: String,
    pub adapter: Adapter,
    /// What is unusual in how the device is used, as `halfgrad study` prints it; empty as a rule.
    pub settings: String,
    /// Name, size and standardisation of the data.
    pub data: Data,
    /// `mlp 64-128-10`.
    pub model: String,
    /// `sgd, lr 0.05, momentum 0.9`.
    pub optimizer: String,
    pub batch: usize,
    pub steps: usize,
    /// `flip,crop=2`; empty without augmentation.
    pub augment: String,
    pub precision: String,
}

/// The mean loss of some steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The last of them, counted from 1.
    pub step: u32,
    pub loss: f64,
}

/// What became of the changes of one weight, over a quarter of the steps, spread over the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    pub weight: String,
    /// Changes that were not zero.
    pub all: u64,
    /// Those of them that rounding lost.
    pub lost: u64,
    /// Effective descent quality: 1 where all changes arrive, 0 where none does.
    pub quality: Option<f64>,
    /// The same, some twenty times; each line counts what came since the one before it.
    pub over_time: Vec<Lost>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lost {
    /// Up to and with this step, counted from 1.
    pub step: u32,
    pub all: u64,
    pub lost: u64,
}

/// What one tensor held, summed over the steps in which it was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tensor {
    /// A weight's name, or the ops and the layer that made it.
    pub name: String,
    /// `weight`, `gradient` (of a weight, times the loss scale), `activation`, or `backward`: the gradient of an activation,
    /// times the loss scale.
    pub part: String,
    /// `f32` or `f16`.
    pub dtype: String,
    pub values: u64,
    pub zeros: u64,
    pub not_finite: u64,
    /// What f16 cannot hold: from 2^16 on, Inf or NaN.
    pub overflowing: u64,
    /// Below 2^-14, f16's smallest normal number, and not 0.
    pub subnormal: u64,
    /// Below 2^-24, f16's smallest number, and not 0: none in a tensor of f16.
    pub underflowing: u64,
    /// The largest finite magnitude.
    pub largest: f32,
    /// 32 bins: bin `b` counts magnitudes from `2^(2b − 40)` to below `2^(2b − 38)`; the first takes all that are smaller
    /// and not 0, the last all that are larger and finite.
    pub exponents: Vec<u64>,
}

/// Why a run ended early.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Counted from 0.
    pub step: Option<u64>,
    /// Where the first value appeared that was not finite.
    pub layer: Option<String>,
    pub message: String,
}

/// How the answers differ from those of the f32 run of the same group and seed, both ways.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Against {
    /// The name of the f32 run.
    pub run: String,
    /// The weights that f32 trained, run in this precision: the error of the forward pass alone.
    pub cast: Theorem,
    /// Trained in this precision.
    pub trained: Theorem,
}

/// Γ, the margin in f32 between the two largest probabilities, and δ, the largest change of a probability; by sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Theorem {
    /// The test accuracy of the network that is not f32, 0 to 1.
    pub accuracy: f64,
    pub agreement: Agreement,
    /// Samples with a probability that is NaN; they are in none of the following.
    pub not_finite: u64,
    /// At 50, 75, 90, 99 and 100 %; empty if there is no sample.
    pub delta: Vec<f64>,
    /// At 0, 1, 5, 25 and 50 %; empty if there is no sample.
    pub gamma: Vec<f64>,
    /// At most 2000 samples, drawn by the run's seed: three lists of one length.
    pub points: Points,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Points {
    pub gamma: Vec<f32>,
    pub delta: Vec<f32>,
    /// Whether the class is another.
    pub flip: Vec<bool>,
}

/// What was measured without training a network: `<name>.json`, and in the summary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    pub format: u32,
    pub experiment: String,
    /// The file's name without `.json`.
    pub name: String,
    pub title: String,
    pub header: Vec<String>,
    /// As many cells as the header has.
    pub rows: Vec<Vec<Cell>>,
    /// How to read it.
    pub note: String,
    /// The version of the crate.
    pub halfgrad: String,
    pub adapter: Adapter,
    /// As in a run's setup.
    pub settings: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    Number(f64),
    Text(String),
}
