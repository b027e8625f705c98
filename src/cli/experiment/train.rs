//! One run of an experiment, and what is kept of it.

use std::{path::Path, time::Instant};

use halfgrad::{
    Error, Gpu, Graph, Precision, Weights,
    data::Split,
    plan::{self, Part, class},
    study::{self, Outcome, Sample, Stand, statistics::quantile},
};

use super::record::{Against, Agreement, Changes, FORMAT, Failure, Lost, Point, Points, Run, Setup, Tensor, Theorem};
use crate::cli;

/// The most points of a curve of losses.
const CURVE: usize = 300;
/// The most samples whose Γ and δ are kept.
const POINTS: usize = 2000;

/// What runs of a group and a seed are held against: the f32 run.
pub struct Twin {
    pub run: String,
    pub weights: Weights,
    pub logits: Vec<f32>,
}

/// Which run it is.
pub struct Id<'a> {
    pub experiment: &'a str,
    pub group: &'a str,
    pub precision: Precision,
    pub seed: u64,
}

impl Id<'_> {
    /// The file's name without its ending: what sets it apart, in characters that any file system takes.
    pub fn name(&self) -> String {
        let words = format!("{} {} seed{}", self.group, self.precision, self.seed);
        let plain = |c: char| c.is_ascii_alphanumeric() || ".+=".contains(c);
        let parts = words.split(|c| !plain(c)).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join("-").to_lowercase()
    }
}

/// What all runs of a group have in common.
#[derive(Clone, Copy)]
pub struct Bench<'a> {
    pub gpu: &'a Gpu,
    pub data: &'a Split,
    pub setup: &'a study::Setup,
}

impl Bench<'_> {
    /// All that determines a run in this precision, but its seed.
    pub fn record(&self, precision: &str) -> Setup {
        let (data, setup) = (self.data, self.setup);
        let (sample, classes) = (data.train.shape(), data.train.classes());
        Setup {
            halfgrad: env!("CARGO_PKG_VERSION").into(),
            adapter: cli::record::Adapter::of_gpu(self.gpu),
            settings: self.gpu.settings().description(),
            data: cli::record::Data::of(data),
            model: cli::describe(&setup.model, sample, classes),
            optimizer: cli::describe_optimizer(&setup.optimizer),
            batch: setup.batch,
            steps: setup.steps,
            augment: setup.augment.map(|augment| augment.to_string()).unwrap_or_default(),
            precision: precision.into(),
        }
    }

    /// Trains; gives what is kept, and what other runs are held against.
    pub fn train(&self, id: &Id, twin: Option<&Twin>, watch: &mut dyn FnMut(&Stand)) -> anyhow::Result<(Run, Twin)> {
        let started = Instant::now();
        let mut watched = |at: Stand| {
            watch(&at);
            Ok(())
        };
        let outcome = study::train(self.gpu, self.data, self.setup, id.precision, id.seed, &mut watched)?;
        let seconds = started.elapsed().as_secs_f64();
        let against_f32 = twin.map(|twin| self.against(twin, &outcome)).transpose()?;
        let run = record(
            id,
            self.record(&id.precision.to_string()),
            &outcome,
            seconds,
            self.data.train.classes(),
            against_f32,
        );
        let twin = Twin { run: run.name.clone(), weights: outcome.weights, logits: outcome.logits };
        Ok((run, twin))
    }

    /// The f32 run of this name, by its weights.
    pub fn restore(&self, run: String, path: &Path) -> anyhow::Result<Twin> {
        let graph = Graph::new(Precision::F32);
        self.setup.model.build(&graph, self.setup.batch, self.data.train.shape(), self.data.train.classes())?;
        let weights = Weights::load(self.gpu, &graph, path)?;
        let (_, logits) = study::evaluate(self.gpu, self.data, self.setup, Precision::F32, &weights)?;
        Ok(Twin { run, weights, logits })
    }

    /// Holds a run against f32, both ways.
    fn against(&self, twin: &Twin, outcome: &Outcome) -> anyhow::Result<Against> {
        let (evaluation, cast) = study::evaluate(self.gpu, self.data, self.setup, &outcome.precision, &twin.weights)?;
        let classes = self.data.train.classes();
        let theorem = |logits: &[f32], accuracy| {
            let samples: Vec<Sample> = Sample::of(&twin.logits, logits, classes).collect();
            theorem(&samples, accuracy, outcome.seed)
        };
        Ok(Against {
            run: twin.run.clone(),
            cast: theorem(&cast, evaluation.accuracy),
            trained: theorem(&outcome.logits, outcome.evaluation.accuracy),
        })
    }
}

fn record(id: &Id, setup: Setup, run: &Outcome, seconds: f64, classes: usize, against_f32: Option<Against>) -> Run {
    let finite = |x: f64| Some(x).filter(|x| x.is_finite());
    Run {
        format: FORMAT,
        experiment: id.experiment.into(),
        name: id.name(),
        group: id.group.into(),
        variant: id.precision.to_string(),
        seed: id.seed,
        setup,
        accuracy: run.evaluation.accuracy,
        loss: finite(run.evaluation.loss),
        perplexity: run.perplexity.and_then(finite),
        curve: curve(&run.step_loss),
        train_loss: run.train_loss.clone(),
        steps: run.progress.halted.unwrap_or(run.progress.steps),
        skipped_steps: run.progress.skipped,
        loss_scale: run.progress.loss_scale,
        step_ms: finite(1e3 * run.step_seconds),
        seconds,
        device_bytes: run.bytes,
        changes: run.changes.iter().enumerate().map(|(i, all)| changes(all, i, &run.changes_so_far)).collect(),
        tensors: run.observations.iter().map(tensor).collect(),
        failure: run.failure.as_ref().map(failure),
        warnings: run.warnings.iter().map(ToString::to_string).collect(),
        predicted: run.logits.chunks_exact(classes).map(|row| class(row).map_or(-1, |class| class as i32)).collect(),
        against_f32,
    }
}

/// Losses of steps, as means of as many as make few points.
fn curve(losses: &[f32]) -> Vec<Point> {
    let every = losses.len().div_ceil(CURVE).max(1);
    let point = |(i, part): (usize, &[f32])| {
        let loss = part.iter().map(|&loss| f64::from(loss)).sum::<f64>() / part.len() as f64;
        Point { step: (i * every + part.len()) as u32, loss }
    };
    losses.chunks(every).enumerate().map(point).collect()
}

/// The changes of the weight of this index, in all and over time.
fn changes(all: &plan::Changes, index: usize, so_far: &[(usize, Vec<plan::Changes>)]) -> Changes {
    let (mut over_time, mut before) = (vec![], (0, 0));
    for (step, changes) in so_far {
        let now = (changes[index].all, changes[index].lost);
        over_time.push(Lost { step: *step as u32, all: now.0 - before.0, lost: now.1 - before.1 });
        before = now;
    }
    let quality = Some(all.quality).filter(|q| q.is_finite());
    Changes { weight: all.weight.clone(), all: all.all, lost: all.lost, quality, over_time }
}

fn tensor(seen: &plan::Observation) -> Tensor {
    let part = match seen.part {
        Part::Activation => "activation",
        Part::Backward => "backward",
        Part::Weight => "weight",
        Part::Gradient => "gradient",
    };
    Tensor {
        name: seen.name.clone(),
        part: part.into(),
        dtype: seen.dtype.to_string(),
        values: seen.values,
        zeros: seen.zeros,
        not_finite: seen.not_finite,
        overflowing: seen.overflowing(),
        subnormal: seen.subnormal(),
        underflowing: seen.underflowing(),
        largest: seen.largest,
        exponents: seen.exponents.to_vec(),
    }
}

fn failure(e: &Error) -> Failure {
    let (step, layer) = match e {
        Error::NotFinite { step, layer, .. } => (Some(u64::from(*step)), Some(layer.clone())),
        _ => (None, None),
    };
    Failure { step, layer, message: e.to_string() }
}

fn theorem(samples: &[Sample], accuracy: f64, seed: u64) -> Theorem {
    let sound: Vec<Sample> = samples.iter().copied().filter(|s| !s.delta.is_nan()).collect();
    let quantiles = |part: fn(&Sample) -> f64, at: [f64; 5]| {
        let mut values: Vec<f64> = sound.iter().map(part).collect();
        values.sort_by(f64::total_cmp);
        if values.is_empty() { vec![] } else { at.map(|p| quantile(&values, p)).to_vec() }
    };
    let drawn = Sample::drawn(&sound, POINTS, seed);
    Theorem {
        accuracy,
        agreement: Agreement::of(&study::Comparison::counted(samples.iter().copied())),
        not_finite: (samples.len() - sound.len()) as u64,
        delta: quantiles(|s| s.delta, [0.5, 0.75, 0.9, 0.99, 1.0]),
        gamma: quantiles(|s| s.gamma, [0.0, 0.01, 0.05, 0.25, 0.5]),
        points: Points {
            gamma: drawn.iter().map(|s| s.gamma as f32).collect(),
            delta: drawn.iter().map(|s| s.delta as f32).collect(),
            flip: drawn.iter().map(|s| s.flips).collect(),
        },
    }
}

impl Agreement {
    fn of(counts: &study::Comparison) -> Self {
        Agreement {
            samples: counts.samples as u64,
            flips: counts.flips as u64,
            certified: counts.certified as u64,
            certified_flips: counts.certified_flips as u64,
        }
    }
}
