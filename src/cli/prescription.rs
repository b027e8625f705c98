//! A policy for each layer: how `--precision auto` finds it, and how it is told.

use halfgrad::{
    Gpu, Policy, Precision,
    data::Split,
    study::{Choice, Prescription, Setup, Stand},
};

use super::{note, print};

/// Steps of each run that a policy is found by, at most.
const STEPS: usize = 200;

/// Finds a policy for a network and prints it.
pub fn find(gpu: &Gpu, data: &Split, setup: &Setup, seed: u64) -> anyhow::Result<Policy> {
    let mut setup = Setup { steps: setup.steps.min(STEPS), pause: None, ..setup.clone() };
    // The longest warm-up that a short run has room for.
    setup.optimizer.warm_up = setup.optimizer.warm_up.min(setup.optimizer.updates(setup.steps));
    let found = Precision::AUTO.policy(gpu, data, &setup, seed, &mut noting())?;
    print(&format!("{found}\n\n"))?;
    Ok(found.policy)
}

/// Writes a line when another precision's turn comes.
pub fn noting() -> impl FnMut(&Policy, Stand) -> halfgrad::Result<()> {
    let mut told = None;
    move |policy, _| {
        if told.as_ref() != Some(policy) {
            note(&format!("training in {policy} …"));
            told = Some(policy.clone());
        }
        Ok(())
    }
}

/// The policy, layer by layer, with its reasons.
pub fn json(found: &Prescription) -> serde_json::Value {
    let layer = |c: &Choice| {
        serde_json::json!({
            "layer": c.layer, "dtype": c.dtype.to_string(), "largest": c.largest, "largest_gradient": c.gradient,
            "underflow": c.underflow, "why": c.why,
        })
    };
    serde_json::json!({
        "policy": found.policy.to_string(),
        "layers": found.layers.iter().map(layer).collect::<Vec<_>>(),
        "trials": found.trials.iter().map(|t| serde_json::json!({
            "policy": t.policy.to_string(), "late_loss": t.loss, "trains_as_f32": t.sound, "result": t.result,
        })).collect::<Vec<_>>(),
    })
}
