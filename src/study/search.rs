//! The search for a policy: from a run in f32, and from trials.
//!
//! The run in f32, with all tensors looked at, says which layers hold values that f16 cannot, and whether gradients need a loss
//! scale. Policies are then tried against that run and against what chance does to it ([`Noise`]); what a trial breaks on, or
//! else the layers that 16 bit harms most, go to f32 until training ends as it does there.

use super::{Choice, Noise, Outcome, Prescription, Trial, auto::AS_OTHERS, late_loss};
use crate::{
    Dtype, LossScale, Policy, Precision,
    plan::{Observation, Part},
};

/// Steps between two looks at all tensors.
pub const EVERY: usize = 10;
/// The share of a gradient's values that may become zero without a word.
pub const UNDERFLOW: f64 = 0.01;
/// Where f16 ends.
const END: f32 = 65504.0;
/// From here on a value is too near to that: a quarter of it.
pub const NEAR: f32 = 16384.0;

/// What to do after a trial.
pub enum Next {
    Done,
    Try,
    GiveUp,
}

/// The state of the search.
pub struct Search<'a> {
    twin: &'a Outcome,
    noise: &'a Noise,
    base: Precision,
    /// The layers in f32, and why.
    kept: Vec<(String, String)>,
    pub trials: Vec<Trial>,
}

impl<'a> Search<'a> {
    /// Before the first trial, with what the run in f32 tells.
    pub fn new(twin: &'a Outcome, noise: &'a Noise) -> Self {
        let scale = loss_scale(&twin.observations);
        let base = scale.map_or(Precision::F16, |s| Precision { loss_scale: LossScale::Static(s), ..Precision::F16 });
        let mut search = Search { twin, noise, base, kept: vec![], trials: vec![] };
        for o in twin.observations.iter().filter(|o| o.largest >= NEAR) {
            let what = match o.part {
                Part::Activation => "values",
                Part::Weight => "weights",
                Part::Backward | Part::Gradient => "gradients",
            };
            let how = if o.largest > END { "beyond" } else { "within a factor of four of" };
            search.keep(o.layer(), &format!("its {what} reach {:.1e}, {how} the end of f16, 65504", o.largest));
        }
        search
    }

    /// What to try next.
    pub fn policy(&self) -> Policy {
        Policy { base: self.base, kept: self.kept.iter().map(|(layer, _)| layer.clone()).collect() }
    }

    /// Keeps a layer in f32; whether it was not yet.
    fn keep(&mut self, layer: &str, why: &str) -> bool {
        let new = !layer.is_empty() && !self.kept.iter().any(|(known, _)| known == layer);
        if new {
            self.kept.push((layer.to_owned(), why.to_owned()));
        }
        new
    }

    /// What a run teaches.
    pub fn learn(&mut self, run: &Outcome) -> Next {
        let sound = self.noise.trains_as(run, self.twin);
        let (next, result) = match sound {
            true => (Next::Done, "trains as f32 does".to_owned()),
            false => self.change(run),
        };
        self.trials.push(Trial { policy: run.precision.clone(), loss: late_loss(run), sound, result });
        next
    }

    /// Keeps more layers in f32, or f32 masters of all weights, because of what a run did.
    fn change(&mut self, run: &Outcome) -> (Next, String) {
        let mostly_skipped = 2 * run.progress.skipped > run.progress.steps;
        let broken = |part: Part| run.observations.iter().find(move |o| o.part == part && o.not_finite > 0);
        let activation = broken(Part::Activation).filter(|_| broken(Part::Weight).is_none());
        let backward = broken(Part::Backward).or(broken(Part::Gradient)).filter(|_| mostly_skipped);
        if let Some(o) = activation.or(backward) {
            let result = format!("Inf or NaN comes from {}", o.name);
            let why = format!("Inf or NaN came from {} in {}", o.name, run.precision);
            // A layer that is in f32 already was given what had overflowed.
            return match self.keep(o.layer(), &why) || self.keep("x", &why) {
                true => (Next::Try, result),
                false => (Next::GiveUp, result),
            };
        }
        let result = match &run.failure {
            Some(e) => e.to_string(),
            None => format!("its loss is {:.2} times that of f32", late_loss(run) / late_loss(self.twin)),
        };
        if self.base != Precision::MIXED {
            self.base = Precision::MIXED;
            return (Next::Try, result + "; next with f32 masters of all weights");
        }
        let left = self.ranked(run);
        let worst = left.len().div_ceil(2);
        for (harm, layer) in &left[..worst] {
            let why = format!("in {} {result}, and 16 bit took {:.1} % from it", run.precision, 100.0 * harm);
            self.keep(layer, &why);
        }
        (if worst > 0 { Next::Try } else { Next::GiveUp }, result)
    }

    /// The layers that are in 16 bit.
    pub fn left(&self) -> Vec<String> {
        let mut names = layers(&self.twin.observations);
        names.retain(|name| !self.kept.iter().any(|(kept, _)| kept == name));
        names
    }

    /// The same, those that it harms most first: by the share of a gradient that underflows, or by what is
    /// missing in the weights' descent.
    fn ranked(&self, run: &Outcome) -> Vec<(f64, String)> {
        let harm = |layer: &str| {
            let quality = |o: &Observation| run.changes.iter().find(|c| c.weight == o.name).map_or(1.0, |c| c.quality);
            let of = run.observations.iter().filter(|o| o.layer() == layer);
            of.map(|o| self.underflow(o).max((1.0 - quality(o)).abs())).fold(0.0, f64::max)
        };
        let mut left: Vec<_> = self.left().into_iter().map(|name| (harm(&name), name)).collect();
        left.sort_by(|a, b| b.0.total_cmp(&a.0));
        left
    }

    /// The share of a gradient of f32 that is 0 in f16, with the loss scale.
    fn underflow(&self, o: &Observation) -> f64 {
        let is_gradient = matches!(o.part, Part::Gradient | Part::Backward) && o.dtype == Dtype::F32;
        let shift = self.base.loss_scale.initial(1).log2().round() as i32;
        if is_gradient { share_below(o, -24 - shift / 2 * 2) } else { 0.0 }
    }

    /// What came of it.
    pub fn prescription(self, policy: Policy) -> Prescription {
        let mut names = layers(&self.twin.observations);
        let more: Vec<_> =
            self.kept.iter().map(|(name, _)| name.clone()).filter(|name| !names.contains(name)).collect();
        names.extend(more);
        let choice = |layer: String| {
            let of = |parts: [Part; 2]| {
                let seen = self.twin.observations.iter().filter(move |o| parts.contains(&o.part));
                let layer = layer.clone();
                seen.filter(move |o| o.layer() == layer)
            };
            let forward = [Part::Activation, Part::Weight];
            let backward = [Part::Backward, Part::Gradient];
            let largest = |parts| of(parts).map(|o| o.largest).fold(0.0, f32::max);
            let why = match self.kept.iter().find(|(name, _)| *name == layer) {
                Some((_, why)) => why.clone(),
                None if policy == Precision::F32 => AS_OTHERS.into(),
                None => "fits".into(),
            };
            Choice {
                dtype: policy.of(&layer).storage,
                largest: largest(forward),
                gradient: largest(backward),
                underflow: of(backward).map(|o| self.underflow(o)).fold(0.0, f64::max),
                why,
                layer,
            }
        };
        let layers = names.into_iter().map(choice).collect();
        Prescription { layers, loss: late_loss(self.twin), allowed: self.noise.allowed(), trials: self.trials, policy }
    }
}

/// The layers that have weights, in the order of the network.
fn layers(seen: &[Observation]) -> Vec<String> {
    let mut names: Vec<String> = vec![];
    for o in seen.iter().filter(|o| o.part == Part::Weight) {
        if !names.iter().any(|name| name == o.layer()) {
            names.push(o.layer().to_owned());
        }
    }
    names
}

/// What goes back.
pub fn gradients(seen: &[Observation]) -> impl Iterator<Item = &Observation> {
    seen.iter().filter(|o| matches!(o.part, Part::Gradient | Part::Backward))
}

/// Of the values that are not 0, the share below `2^exponent`.
pub fn share_below(seen: &Observation, exponent: i32) -> f64 {
    seen.below(exponent) as f64 / (seen.values - seen.zeros).max(1) as f64
}

/// The smallest loss scale, a power of 4, that brings the gradients' underflow down to [`UNDERFLOW`], or as far as the largest of them
/// allows; none if nothing is to be cured.
pub fn loss_scale(seen: &[Observation]) -> Option<f32> {
    let worst = |shift: i32| gradients(seen).map(|o| share_below(o, -24 - shift)).fold(0.0, f64::max);
    // A gradient that does not fit as it is belongs in f32, and no scale is made for it.
    let largest = gradients(seen).map(|o| o.largest).filter(|&largest| largest < NEAR).fold(0.0, f32::max);
    if worst(0) <= UNDERFLOW {
        return None;
    }
    // Below 2^14, so that a gradient may be four times as large as any that was seen.
    let fits = |shift: &i32| largest * (*shift as f32).exp2() < NEAR;
    let shifts: Vec<i32> = (2..=16).step_by(2).filter(fits).collect();
    let enough = shifts.iter().find(|&&shift| worst(shift) <= UNDERFLOW);
    enough.or(shifts.last()).map(|&shift| (shift as f32).exp2())
}
