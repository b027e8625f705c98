//! One kernel by itself: its time and its distance from f64.

use std::{collections::BTreeMap, ops::Range};

use super::{
    report::Measured,
    suite::{self, Kernel, Make},
    timing::{Effort, Timing, Work},
};
use crate::{
    Dtype, Gpu, Graph, Plan, Precision, Result, Tensor, Weights,
    dispatch::{Dispatch, Program},
    graph::{Origin, Value},
    random::Random,
    reference::{Array, evaluate},
};

/// The most FLOPs that the f64 reference is asked for.
pub(super) const REFERENCE_FLOPS: u64 = 1 << 28;

/// Measures a kernel in a precision.
///
/// # Errors
/// What the adapter cannot run, compile or hold.
pub fn measure(gpu: &Gpu, kernel: &Kernel, precision: Precision, effort: Effort) -> Result<Measured> {
    let ready = Ready::new(gpu, kernel, precision)?;
    let error = ready.error()?;
    Ok(Measured { error, ..ready.measured(ready.work().measure(effort)?) })
}

/// A kernel that is compiled, has its operands and was run once.
#[derive(Debug)]
pub struct Ready {
    graph: Graph,
    plan: Plan,
    range: Range<usize>,
    given: BTreeMap<Value, Array>,
    /// What it computes, unless it is an update.
    result: Option<Value>,
}

impl Ready {
    /// Makes a kernel in a precision.
    ///
    /// # Errors
    /// What the adapter cannot run, compile or hold.
    pub fn new(gpu: &Gpu, kernel: &Kernel, precision: Precision) -> Result<Self> {
        let graph = Graph::new(precision);
        match kernel.family.make {
            Make::Tensor(build) => {
                let y = build(&graph, kernel.sizes);
                let weights = Weights::init(gpu, &graph, 1)?;
                let mut plan = Plan::infer(gpu, &weights, [y])?;
                let given = fill(&mut plan, &graph)?;
                plan.run();
                let (range, result) = (0..plan.program().dispatches.len(), Some(y.value));
                Ok(Ready { graph, plan, range, given, result })
            }
            Make::Update(optimizer) => {
                let loss = suite::weights(&graph, kernel.sizes[0]);
                let weights = Weights::init(gpu, &graph, 1)?;
                let mut plan = Plan::train_with(gpu, &weights, loss, &*optimizer(), Default::default())?;
                plan.run(); // the gradient, and the numbers that the update reads
                let updates = |d: &Dispatch| d.label.ends_with(" update");
                let first = plan.program().dispatches.iter().position(updates).expect("a plan that trains updates");
                let count = plan.program().dispatches[first..].iter().take_while(|d| updates(d)).count();
                Ok(Ready { graph, plan, range: first..first + count, given: BTreeMap::new(), result: None })
            }
        }
    }

    /// Its dispatches.
    pub fn work(&self) -> Work<'_> {
        work(&self.plan, self.range.clone())
    }

    /// What is known of it, its distance from f64 left out.
    pub fn measured(&self, timing: Timing) -> Measured {
        measured(&self.plan, self.range.clone(), timing)
    }

    /// Its distance from f64, where that takes no long time.
    fn error(&self) -> Result<Option<f64>> {
        let cheap = self.plan.program().flops() <= REFERENCE_FLOPS;
        let value = self.result.filter(|_| cheap);
        value.map(|value| error(&self.plan, Tensor { graph: &self.graph, value }, &self.given)).transpose()
    }
}

/// Some dispatches of a plan.
pub(super) fn work(plan: &Plan, range: Range<usize>) -> Work<'_> {
    Work { gpu: plan.gpu(), executable: plan.executable(), range }
}

/// What is known of them.
pub(super) fn measured(plan: &Plan, range: Range<usize>, timing: Timing) -> Measured {
    let part = Program { dispatches: plan.program().dispatches[range].to_vec(), ..Program::default() };
    Measured {
        timing,
        dispatches: part.dispatches.len(),
        flops: part.flops(),
        bytes: part.dispatches.iter().map(|d| d.bytes_read() + d.bytes_written()).sum(),
        device_bytes: plan.program().total_bytes(),
        error: None,
    }
}

/// Fills every input of a plan with numbers that its precision holds, and labels with classes.
pub(super) fn fill(plan: &mut Plan, graph: &Graph) -> Result<BTreeMap<Value, Array>> {
    // Numbers repeat after a prime count, so that rows differ.
    let mut random = Random::new(1, "bench");
    let block: Vec<f32> = (0..4099).map(|_| random.uniform() as f32 * 2.0 - 1.0).collect();
    let mut given = BTreeMap::new();
    let inputs = (0..graph.len()).filter(|&i| matches!(graph.node(i).origin, Origin::Input));
    for (i, node) in inputs.enumerate() {
        let x = Tensor { graph, value: Value { node, output: 0 } };
        if !plan.has(x) {
            continue;
        }
        let numbers = block.iter().cycle().skip(997 * i).take(x.shape().len());
        let data: Vec<f32> = match (x.dtype(), graph.precision().storage) {
            (Dtype::U32, _) => numbers.map(|v| ((v + 1.0) * 5.0).floor().min(9.0)).collect(),
            (_, Dtype::F16) => numbers.map(|&v| half::f16::from_f32(v).to_f32()).collect(),
            _ => numbers.copied().collect(),
        };
        plan.write_numbers(x, &data)?;
        given.insert(x.value, Array::new(x.shape(), data.into_iter().map(f64::from).collect()));
    }
    Ok(given)
}

/// The largest difference of a tensor from f64, over the largest magnitude; infinite where one is not finite.
pub(super) fn error(plan: &Plan, y: Tensor, given: &BTreeMap<Value, Array>) -> Result<f64> {
    let found = plan.read(y)?.wait()?;
    let expected = &evaluate(y.graph, given, &[y])?[0];
    let largest = expected.data.iter().fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let off = found.iter().zip(&expected.data).map(|(&f, e)| (f64::from(f) - e).abs());
    // max() would hide a NaN.
    Ok(off.fold(0.0, |m: f64, d| if d.is_nan() { f64::INFINITY } else { m.max(d) }) / largest)
}
