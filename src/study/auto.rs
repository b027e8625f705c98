//! A policy from what is measured: 16 bit for the layers where that is safe, f32 for those where it is not, and why.

use std::fmt;

use super::{
    Noise, Outcome, Setup, Stand,
    search::{EVERY, Next, Search},
    train,
};
use crate::{Dtype, Gpu, Policy, Precision, Result, data::Split};

/// Why a layer is in f32 that has no reason of its own.
pub(super) const AS_OTHERS: &str = "as the others: no policy trained as f32 does";

/// How a precision is found for each layer: [`Precision::AUTO`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auto {
    /// How many policies are tried, at most, before f32 is the answer.
    pub trials: usize,
}

impl Precision {
    /// No precision yet, but a way to find one for each layer of a network, on its data: [`Auto::policy`].
    ///
    /// ```no_run
    /// use halfgrad::{Gpu, Graph, Precision, data, study::{Model, Optimizer, Setup}};
    /// let (gpu, digits) = (Gpu::new()?, data::digits());
    /// let (model, sgd) = (Model::named("lenet", &[]).unwrap(), Optimizer::named("sgd", 0.05).unwrap());
    /// let setup = Setup::new(model, sgd, 64, 200);
    /// let found = Precision::AUTO.policy(&gpu, &digits, &setup, 1, &mut |_, _| Ok(()))?;
    /// println!("{found}"); // layer by layer, with reasons
    /// let graph = Graph::new(found.policy);
    /// # Ok::<(), halfgrad::Error>(())
    /// ```
    pub const AUTO: Auto = Auto { trials: 8 };
}

/// A policy, and why it is this one. Printed, it is a table of the layers, with reasons.
#[derive(Debug, Clone, PartialEq)]
pub struct Prescription {
    /// What to train in.
    pub policy: Policy,
    /// Each layer of the network, in its order.
    pub layers: Vec<Choice>,
    /// What was tried, in order.
    pub trials: Vec<Trial>,
    /// The late loss of f32.
    pub loss: f64,
    /// Up to how many times that loss is no more than chance.
    pub allowed: f64,
}

/// What one layer is trained in.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Its name.
    pub layer: String,
    /// Whether it is in 16 bit or in f32.
    pub dtype: Dtype,
    /// The largest magnitude in f32 of what it hands on and of its weights.
    pub largest: f32,
    /// The largest magnitude of its gradients.
    pub gradient: f32,
    /// Of its gradients' values the share that is 0 in f16, where that is largest, with the policy's loss scale.
    pub underflow: f64,
    /// Why it is in f32, or that it may be in 16 bit.
    pub why: String,
}

/// A policy that was tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// The policy.
    pub policy: Policy,
    /// The late loss.
    pub loss: f64,
    /// Whether it trains as f32 does.
    pub sound: bool,
    /// What came of it, in words.
    pub result: String,
}

impl Auto {
    /// Finds the policy: a run of `setup` in f32, three that show what chance does, and a run for each policy that is tried.
    ///
    /// # Errors
    /// As [`train`].
    pub fn policy(
        &self,
        gpu: &Gpu,
        data: &Split,
        setup: &Setup,
        seed: u64,
        watch: &mut dyn FnMut(&Policy, Stand) -> Result<()>,
    ) -> Result<Prescription> {
        let f32 = Policy::from(Precision::F32);
        let observed = Setup { observe: Some(EVERY), ..setup.clone() };
        let twin = train(gpu, data, &observed, &f32, seed, &mut |at| watch(&f32, at))?;
        let noise = Noise::measure(gpu, data, setup, &twin, &mut |at| watch(&f32, at))?;
        let mut run = |policy: &Policy| train(gpu, data, &observed, policy, seed, &mut |at| watch(policy, at));
        self.prescribe(&twin, &noise, &[], &mut run)
    }

    /// The same from a run in f32 and its noise; `known` runs need not be made again.
    pub(super) fn prescribe(
        &self,
        twin: &Outcome,
        noise: &Noise,
        known: &[Outcome],
        run: &mut dyn FnMut(&Policy) -> Result<Outcome>,
    ) -> Result<Prescription> {
        let mut search = Search::new(twin, noise);
        while search.trials.len() < self.trials && twin.failure.is_none() && !search.left().is_empty() {
            let policy = search.policy();
            let next = match known.iter().find(|r| r.precision == policy) {
                Some(known) => search.learn(known),
                None => search.learn(&run(&policy)?),
            };
            match next {
                Next::Done => return Ok(search.prescription(policy)),
                Next::Try => {}
                Next::GiveUp => break,
            }
        }
        Ok(search.prescription(Precision::F32.into()))
    }
}

impl fmt::Display for Prescription {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let width = self.layers.iter().map(|c| c.layer.len()).max().unwrap_or(0).max("layer".len());
        writeln!(f, "{:width$}  in   largest value  largest gradient  gradients 0 in f16", "layer")?;
        for Choice { layer, dtype, largest, gradient, underflow, .. } in &self.layers {
            writeln!(f, "{layer:width$}  {dtype}  {largest:>13.1e}  {gradient:>16.1e}  {:>16.2} %", 100.0 * underflow)?;
        }
        let in_f32: Vec<_> = self.layers.iter().filter(|c| c.dtype == Dtype::F32).collect();
        in_f32
            .iter()
            .filter(|c| c.why != AS_OTHERS)
            .try_for_each(|c| writeln!(f, "* {} in f32: {}", c.layer, c.why))?;
        let advice = match (self.policy == Precision::F32, in_f32.len()) {
            (true, _) if self.trials.is_empty() => "no layer is safe in 16 bit".to_owned(),
            (true, _) => "nothing that was tried in 16 bit ends as f32 does here".to_owned(),
            (false, 0) => "all layers in 16 bit, and the loss ends as that of f32 does".to_owned(),
            (false, n) => format!("{n} of {} layers in f32, and the loss ends as that of f32 does", self.layers.len()),
        };
        for Trial { policy, loss, result, .. } in &self.trials {
            writeln!(f, "* tried {policy}: loss {loss:.4}, that of f32 {:.4}: {result}", self.loss)?;
        }
        write!(f, "\nAdvice: train in {}: {advice}.", self.policy)
    }
}
