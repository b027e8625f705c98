//! May this network be trained in 16 bit on this adapter, what goes wrong, and which setting cures it?
//!
//! [`examine`] trains the network for some hundred steps in f32 with all tensors looked at, and on the same batches in f16
//! with weights rounded to nearest, in f16 as it is, with a loss scale if gradients underflow, and mixed. What it finds is
//! measured, not guessed: numbers of f32 that f16 cannot hold, changes of weights that rounding loses, losses that part by
//! more than chance makes them.

use super::{
    Comparison, Noise, Outcome, Prescription, Setup, Stand, evaluate, late_loss,
    search::{EVERY, NEAR, UNDERFLOW, gradients, loss_scale, share_below},
    train,
};
use crate::{
    Error, Gpu, LossScale, Policy, Precision, Result,
    data::Split,
    error::Warning,
    optim::Form,
    plan::{Observation, Part},
    precision::Rounding,
};

/// The share of a weight's changes that may be lost without a word.
const LOST: f64 = 0.1;

/// What the doctor found.
#[derive(Debug)]
pub struct Examination {
    /// The runs, f32 first; each on the same batches from the same weights.
    pub runs: Vec<Outcome>,
    /// What chance alone does to the loss.
    pub noise: Noise,
    /// One line for each trained weight.
    pub layers: Vec<Layer>,
    /// What goes wrong in 16 bit, and what cures it.
    pub findings: Vec<Finding>,
    /// The weights that f32 trained, rounded to f16 and tested there, against the same in f32.
    pub rounded: Comparison,
    /// What to train in, and why.
    pub advice: Prescription,
}

/// What f16 does to one weight and its gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The weight's name.
    pub weight: String,
    /// The largest magnitude of its gradient in f32.
    pub largest_gradient: f32,
    /// Of the gradient's values that are not 0 in f32, the share that f16 makes 0.
    pub underflow: f64,
    /// The share that is subnormal in f16: precise no more, and 0 on devices that flush.
    pub subnormal: f64,
    /// Of its changes, the share that rounding to nearest loses.
    pub lost: f64,
    /// Effective descent quality when weights are rounded to nearest, and stochastically.
    pub quality: [f64; 2],
}

/// Something that goes wrong in 16 bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The layer, the weight, or the optimizer.
    pub place: String,
    /// What goes wrong, with its size.
    pub what: String,
    /// What cures it.
    pub cure: String,
}

/// Trains in several ways and compares.
///
/// # Errors
/// As [`train`].
pub fn examine(
    gpu: &Gpu,
    data: &Split,
    setup: &Setup,
    seed: u64,
    watch: &mut dyn FnMut(&Policy, Stand) -> Result<()>,
) -> Result<Examination> {
    let observed = Setup { observe: Some(EVERY), ..setup.clone() };
    let mut run = |policy: &Policy| train(gpu, data, &observed, policy, seed, &mut |at| watch(policy, at));
    let f32 = Policy::from(Precision::F32);
    let twin = run(&f32)?;
    let scale = loss_scale(&twin.observations);
    let scaled = scale.map(|scale| Precision { loss_scale: LossScale::Static(scale), ..Precision::F16 });
    let nearest = Precision { rounding: Rounding::Nearest, ..Precision::F16 };
    let mut runs = vec![twin];
    for precision in [Some(nearest), Some(Precision::F16), scaled, Some(Precision::MIXED)].into_iter().flatten() {
        runs.push(run(&precision.into())?);
    }
    let noise = Noise::measure(gpu, data, setup, &runs[0], &mut |at| watch(&f32, at))?;
    let mut run = |policy: &Policy| train(gpu, data, &observed, policy, seed, &mut |at| watch(policy, at));
    let advice = Precision::AUTO.prescribe(&runs[0], &noise, &runs[1..], &mut run)?;
    let layers = layers(&runs);
    let findings = findings(setup, &runs, &noise, &layers, scale);
    let rounded = rounded(gpu, data, setup, &runs[0])?;
    Ok(Examination { runs, noise, layers, findings, rounded, advice })
}

fn layers(runs: &[Outcome]) -> Vec<Layer> {
    let changes = |rounding: Rounding, weight: &str| {
        let run = runs.iter().find(|r| r.precision == Precision { rounding, ..Precision::F16 });
        run.and_then(|r| r.changes.iter().find(|c| c.weight == weight))
    };
    let of = |o: &Observation| {
        let nearest = changes(Rounding::Nearest, &o.name);
        let quality = [nearest, changes(Rounding::Stochastic, &o.name)].map(|c| c.map_or(f64::NAN, |c| c.quality));
        Layer {
            weight: o.name.clone(),
            largest_gradient: o.largest,
            underflow: share_below(o, -24),
            subnormal: share_below(o, -14),
            lost: nearest.map_or(f64::NAN, |c| c.lost as f64 / c.all.max(1) as f64),
            quality,
        }
    };
    runs[0].observations.iter().filter(|o| o.part == Part::Gradient).map(of).collect()
}

fn findings(setup: &Setup, runs: &[Outcome], noise: &Noise, layers: &[Layer], scale: Option<f32>) -> Vec<Finding> {
    let mut found = overflows(&runs[0].observations);
    let cure = match scale {
        Some(scale) => format!("a loss scale of {scale} (f16+scale={scale}), or mixed, which finds its own"),
        None => "none is needed".into(),
    };
    for o in gradients(&runs[0].observations).filter(|o| share_below(o, -24) > UNDERFLOW) {
        let what = match o.part {
            Part::Gradient => "its gradient",
            _ => "the gradient that goes back through it",
        };
        let what = format!("{:.1} % of {what} underflows to 0 in f16", 100.0 * share_below(o, -24));
        found.push(Finding { place: o.name.clone(), what, cure: cure.clone() });
    }
    for layer in layers.iter().filter(|l| l.lost > LOST) {
        let what = format!(
            "rounding to nearest loses {:.0} % of its changes (quality of descent {:.2})",
            100.0 * layer.lost,
            layer.quality[0]
        );
        let cure = "stochastic rounding, as f16 has it, or masters (mixed)".to_owned();
        found.push(Finding { place: layer.weight.clone(), what, cure });
    }
    found.extend(optimizer(setup, &runs[0].observations, runs));
    found.extend(runs[1..].iter().filter(|r| !noise.trains_as(r, &runs[0])).map(|r| departs(r, &runs[0])));
    found
}

/// Values of f32 that f16 cannot hold, or nearly so.
fn overflows(seen: &[Observation]) -> Vec<Finding> {
    let mut found = vec![];
    for o in seen.iter().filter(|o| o.part != Part::Weight && (o.overflowing() > 0 || o.largest >= NEAR)) {
        let what = match o.overflowing() {
            0 => format!("its largest value, {:.0}, is within a factor of four of the end of f16, 65504", o.largest),
            n => {
                format!("{n} of {} values are beyond 65504, where f16 ends; the largest is {:.2e}", o.values, o.largest)
            }
        };
        let cure = "keep this layer in f32 (--precision auto), or normalise what goes in: mixed skips such steps, and does not cure them";
        found.push(Finding { place: o.name.clone(), what, cure: cure.into() });
    }
    found
}

/// What the optimizer's own numbers do in 16 bit.
fn optimizer(setup: &Setup, seen: &[Observation], runs: &[Outcome]) -> Vec<Finding> {
    let place = setup.optimizer.name.to_owned();
    let mut found: Vec<Finding> = vec![];
    let f16 = runs.iter().find(|r| r.precision == Precision::F16);
    for warning in f16.map_or(&[][..], |r| &r.warnings) {
        let Warning { what, cure } = warning.clone();
        found.push(Finding { place: place.clone(), what, cure });
    }
    if setup.optimizer.form == Form::Textbook && setup.optimizer.name.starts_with("adam") {
        // (1 − β₂) g² is below half of f16's smallest number for |g| < 5.5e-3; bins end at 2^-8 = 3.9e-3.
        let all: Vec<&Observation> = seen.iter().filter(|o| o.part == Part::Gradient).collect();
        let small: u64 = all.iter().map(|o| o.below(-8)).sum();
        let values: u64 = all.iter().map(|o| o.values - o.zeros).sum();
        let what = format!(
            "v = (1 − β₂) g² rounds to 0 for {:.0} % of all gradients, so that their steps are divided by ε alone",
            100.0 * small as f64 / values.max(1) as f64
        );
        let cure = "the form that keeps √v, which is the crate's own (--form root)".into();
        found.push(Finding { place, what, cure });
    }
    found
}

/// A run that does not end as that of f32 does.
fn departs(run: &Outcome, twin: &Outcome) -> Finding {
    let what = match &run.failure {
        Some(Error::NotFinite { step, layer, .. }) => {
            format!("training breaks at step {step}: Inf or NaN comes from {layer}")
        }
        Some(e) => e.to_string(),
        None => format!("the loss ends at {:.4}, that of f32 at {:.4}", late_loss(run), late_loss(twin)),
    };
    let cure = "another of the precisions listed, or what is said of the layers above".into();
    Finding { place: run.precision.to_string(), what, cure }
}

/// The weights that f32 trained, tested in f16.
fn rounded(gpu: &Gpu, data: &Split, setup: &Setup, twin: &Outcome) -> Result<Comparison> {
    let (_, logits) = evaluate(gpu, data, setup, Precision::F16, &twin.weights)?;
    Ok(Comparison::of(&twin.logits, &logits, data.test.classes()))
}
