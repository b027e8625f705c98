//! A policy for each layer: how `--precision auto` finds it, and how it is told.

use comfy_table::Table;
use halfgrad::{
    Dtype, Gpu, Policy, Precision,
    data::Split,
    study::{Choice, Prescription, Setup, Stand},
};

use super::{note, numbers::NONE, print};

/// Steps of each run that a policy is found by, at most.
const STEPS: usize = 200;

/// Finds a policy for a network and prints it.
pub fn find(gpu: &Gpu, data: &Split, setup: &Setup, seed: u64) -> anyhow::Result<Policy> {
    let setup = Setup { steps: setup.steps.min(STEPS), pause: None, ..setup.clone() };
    let found = Precision::AUTO.policy(gpu, data, &setup, seed, &mut noting())?;
    print(&(render(&found) + "\n"))?;
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
pub fn render(found: &Prescription) -> String {
    let mut table = Table::new();
    table.load_style(super::TABLE).set_header([
        "layer",
        "in",
        "largest\nvalue",
        "largest\ngradient",
        "gradients\n0 in f16",
    ]);
    let size = |v: f32| if v == 0.0 { NONE.to_owned() } else { format!("{v:.1e}") };
    for c in &found.layers {
        let underflow = format!("{:.2} %", 100.0 * c.underflow);
        table.add_row([c.layer.clone(), c.dtype.to_string(), size(c.largest), size(c.gradient), underflow]);
    }
    super::align_right(&mut table, 2, 2);
    let mut text = format!("{table}\n");
    for c in found.layers.iter().filter(|c| c.dtype == Dtype::F32) {
        text += &format!("* {} in f32: {}\n", c.layer, c.why);
    }
    for t in &found.trials {
        text += &format!("* tried {}: {}\n", t.policy, t.result);
    }
    text + &format!("\n{}\n", verdict(found))
}

/// The policy in one sentence.
fn verdict(found: &Prescription) -> String {
    let policy = &found.policy;
    if *policy == Precision::F32 {
        return "Advice: train in f32: nothing that was tried in 16 bit ends as f32 does here.".into();
    }
    let in_f32 = found.layers.iter().filter(|c| c.dtype == Dtype::F32).count();
    let layers = match in_f32 {
        0 => "all layers in 16 bit".to_owned(),
        n => format!("{n} of {} layers in f32", found.layers.len()),
    };
    format!("Advice: train in {policy}: {layers}, and the loss ends as that of f32 does (--precision '{policy}').")
}

/// The same as JSON.
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
