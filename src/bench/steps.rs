//! Whole training steps: forward, backward, update.

use super::{
    kernels::{REFERENCE_FLOPS, error, fill, measured, work},
    report::Measured,
    suite::Step,
    timing::Effort,
};
use crate::{
    Gpu, Graph, Plan, Precision, Result, Sgd, Shape, Weights,
    reference::Array,
    study::{Model, Network},
};

/// The classes of every data set that the networks are for.
const CLASSES: usize = 10;

/// Measures a step in a precision, with sgd and momentum; the error is that of the first loss.
///
/// # Errors
/// What the adapter cannot run, compile or hold.
pub fn measure(gpu: &Gpu, step: &Step, precision: Precision, effort: Effort) -> Result<Measured> {
    let (graph, sample) = (Graph::new(precision), Shape::from(step.sample));
    let model = Model::named(step.model, &Model::usual_hidden(sample)).expect("the suite names models");
    let Network { loss, .. } = model.build(&graph, step.batch, sample, CLASSES)?;
    let weights = Weights::init(gpu, &graph, 1)?;
    let mut plan = Plan::train(gpu, &weights, loss, Sgd::new(1e-3).momentum(0.9))?;
    let mut given = fill(&mut plan, &graph)?;
    for (w, values) in graph.weights().iter().zip(weights.read_all().wait()?) {
        given.insert(w.value, Array::new(w.shape(), values.into_iter().map(f64::from).collect()));
    }
    plan.run();
    // The forward pass is a third of the work. Where dropout leaves values out, there is no one right loss.
    let random = plan.program().dispatches.iter().any(|d| d.shader.name == "dropout");
    let cheap = plan.program().flops() / 3 <= REFERENCE_FLOPS && !random;
    let error = if cheap { Some(error(&plan, loss, &given)?) } else { None };
    let all = 0..plan.program().dispatches.len();
    let timing = work(&plan, all.clone()).measure(effort)?;
    Ok(Measured { error, ..measured(&plan, all, timing) })
}
