//! The harness: one case of one op, held against its f64 reference. For the tests, the self-test and an app's own ops.

mod fault;
mod rules;
mod selftest;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    Caps, Dtype, Error, Gpu, Graph, Plan, Precision, Result, Shape, Tensor, Weights,
    dispatch::Program,
    graph::{IGNORE, Value},
    lower::{Request, lower},
    op::{Backward, Io, Kind, Op, Type},
    plan::Options,
    random::Random,
    reference::{Array, Case, Fill, evaluate},
};

use fault::compare;
pub use fault::{Cause, Fault};
pub use rules::{Rule, rules};
pub use selftest::{Report, Row, selftest};

/// An op behind a pointer is an op, so that cases can be put into graphs.
#[derive(Debug, Clone)]
struct Shared(Arc<dyn Op>);

impl Op for Shared {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn infer(&self, x: &[Type], precision: Precision) -> Result<Vec<Type>, String> {
        self.0.infer(x, precision)
    }
    fn kind(&self) -> Kind {
        self.0.kind()
    }
    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        self.0.grad(at)
    }
    fn is_differentiable(&self) -> bool {
        self.0.is_differentiable()
    }
    fn lower(&self, io: &Io, program: &mut Program) {
        self.0.lower(io, program);
    }
    fn loads_wide(&self) -> bool {
        self.0.loads_wide()
    }
    fn casts_result(&self) -> bool {
        self.0.casts_result()
    }
    fn sums_rows(&self, x: &[Type]) -> bool {
        self.0.sums_rows(x)
    }
    fn sums_beside(&self, x: &[Type]) -> Option<usize> {
        self.0.sums_beside(x)
    }
    fn hands_on(&self, inference: bool) -> Option<usize> {
        self.0.hands_on(inference)
    }
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        self.0.reference(x)
    }
}

/// A graph around a case: operands, results, a loss that weighs the first result, gradients of the real operands.
struct Bench<'g> {
    inputs: Vec<Tensor<'g>>,
    results: Vec<Tensor<'g>>,
    gradients: Vec<Tensor<'g>>,
    given: BTreeMap<Value, Array>,
}

impl<'g> Bench<'g> {
    fn new(graph: &'g Graph, case: &Case) -> Result<Self> {
        let storage = graph.precision().storage;
        let inputs: Vec<Tensor> = case
            .inputs
            .iter()
            .enumerate()
            .map(|(i, (shape, fill))| match fill {
                Fill::Between(..) => graph.input(&format!("x{i}"), *shape),
                Fill::Labels(_) => graph.labels(&format!("x{i}"), *shape),
            })
            .collect();
        let results = graph.apply_all(Shared(case.op.clone()), &inputs);
        graph.check()?;
        let mut given = BTreeMap::new();
        for (x, (shape, fill)) in inputs.iter().zip(&case.inputs) {
            given.insert(x.value, values(*shape, *fill, storage, x.value.node));
        }
        let mut gradients = vec![];
        if case.smooth {
            let weight = graph.input("weight", results[0].shape());
            given.insert(weight.value, values(weight.shape(), Fill::Between(-1.0, 1.0), storage, 99));
            let real: Vec<Tensor> = inputs.iter().copied().filter(|x| x.dtype() != Dtype::U32).collect();
            gradients = graph.grad_from(results[0], weight.cast(results[0].dtype()), &real);
        }
        graph.check()?;
        Ok(Bench { inputs, results, gradients, given })
    }
}

/// Values that the storage type holds exactly, the same for the same operand.
fn values(shape: Shape, fill: Fill, storage: Dtype, stream: usize) -> Array {
    let mut random = Random::new(stream as u64, "case");
    Array::from_fn(shape, |_| match fill {
        Fill::Between(low, high) => {
            let v = low + (high - low) * random.uniform();
            if storage == Dtype::F16 { half::f16::from_f64(v).to_f64() } else { f64::from(v as f32) }
        }
        Fill::Labels(classes) => match (random.uniform() * 8.0) as u32 {
            0 => f64::from(IGNORE),
            _ => (random.uniform() * f64::from(classes)).floor(),
        },
    })
}

/// How far a result may be from its reference: rounding of what is stored, and of `terms` additions in registers, for
/// results of this size. The one place that tolerances come from.
pub fn tolerance(precision: Precision, terms: usize, size: f64) -> f64 {
    let unit = |d: Dtype| if d == Dtype::F16 { 2f64.powi(-11) } else { 2f64.powi(-24) };
    let sums = if precision.rounds_sums() { Dtype::F16 } else { precision.acc() };
    (16.0 * unit(precision.storage) + 4.0 * terms as f64 * unit(sums)) * size.max(1.0)
}

/// Shape rule and gradient, without a GPU: the gradient against central differences of the f64 reference.
///
/// # Errors
/// What differs, in words.
pub fn definition(case: &Case) -> Result<(), String> {
    let graph = Graph::new(Precision::F32);
    let bench = Bench::new(&graph, case).map_err(|e| e.to_string())?;
    let of =
        |given: &BTreeMap<Value, Array>, wanted: &[Tensor]| evaluate(&graph, given, wanted).map_err(|e| e.to_string());
    for (result, y) in bench.results.iter().zip(of(&bench.given, &bench.results)?) {
        if result.shape() != y.shape {
            return Err(format!("the shape rule says {}, the reference {}", result.shape(), y.shape));
        }
    }
    if !case.smooth {
        return Ok(());
    }
    let weight = values(bench.results[0].shape(), Fill::Between(-1.0, 1.0), Dtype::F32, 99);
    let loss = |given: &BTreeMap<Value, Array>| -> Result<f64, String> {
        Ok(of(given, &bench.results)?[0].data.iter().zip(&weight.data).map(|(y, w)| y * w).sum())
    };
    let real = bench.inputs.iter().filter(|x| x.dtype() != Dtype::U32);
    for (x, dx) in real.zip(of(&bench.given, &bench.gradients)?) {
        let n = dx.data.len();
        // All of a small operand, a spread of a large one.
        for i in (0..n).step_by(n.div_ceil(64)) {
            let h = 1e-6;
            let at = |step: f64| {
                let mut given = bench.given.clone();
                given.get_mut(&x.value).expect("given").data[i] += step;
                loss(&given)
            };
            let slope = (at(h)? - at(-h)?) / (2.0 * h);
            let size = slope.abs().max(dx.data[i].abs()).max(1.0);
            if (slope - dx.data[i]).abs() > 1e-6 * size {
                return Err(format!(
                    "gradient of operand {} at {i}: {} by op, {slope} by differences",
                    x.value.node, dx.data[i]
                ));
            }
        }
    }
    Ok(())
}

/// The program that computes a case and its gradients; needs no GPU.
///
/// # Errors
/// The graph's first mistake, or what the adapter cannot do.
pub fn program(caps: &Caps, precision: Precision, case: &Case) -> Result<Program> {
    program_with(caps, true, precision, case)
}

fn program_with(caps: &Caps, fusion: bool, precision: Precision, case: &Case) -> Result<Program> {
    let graph = Graph::new(precision);
    let bench = Bench::new(&graph, case)?;
    let wanted = bench.results.iter().chain(&bench.gradients).map(|t| t.value).collect();
    Ok(lower(&Request { graph: &graph, caps, wanted, training: None, observe: false, fusion, algebra: fusion })?
        .program)
}

/// Forward and gradient on a device against the reference. Every temporary holds NaN before the run, and the padding
/// of every result is looked at afterwards.
///
/// # Errors
/// The first tensor with a wrong value, and the shaders that it comes from.
pub fn on_device(gpu: &Gpu, precision: Precision, case: &Case) -> Result<(), Box<Fault>> {
    let graph = Graph::new(precision);
    let shapes: Vec<String> = case.inputs.iter().map(|(shape, _)| shape.to_string()).collect();
    let fault = |files, cause| {
        Box::new(Fault { files, case: format!("{} {}", case.op.name(), shapes.join(" ")), precision, cause })
    };
    let failed = |e: Error| {
        let made = program_with(gpu.caps(), gpu.settings().fusion, precision, case);
        let files = made.map(|p| files(&p)).unwrap_or_default();
        fault(blamed(&e, &files), Cause::Other(e.to_string()))
    };
    let bench = Bench::new(&graph, case).map_err(failed)?;
    let wanted: Vec<Tensor> = bench.results.iter().chain(&bench.gradients).copied().collect();
    let plan = bench.run(gpu, &graph, &wanted).map_err(failed)?;
    let expected = evaluate(&graph, &bench.given, &wanted).map_err(failed)?;
    for (i, (t, expected)) in wanted.iter().zip(expected).enumerate() {
        let what = match i.checked_sub(bench.results.len()) {
            None => format!("result {i}"),
            Some(i) => format!("gradient {i}"),
        };
        let found = plan.read(*t).and_then(|r| r.wait()).map_err(failed)?;
        let size = expected.data.iter().fold(0f64, |m, v| m.max(v.abs()));
        let allowed = tolerance(precision, case.terms, size);
        let clean = plan.padding_is_zero(*t).map_err(failed)?;
        let padding =
            || Some(Cause::Other(format!("{what} {}: the padding is not zero", t.shape()))).filter(|_| !clean);
        let cause = compare(what.clone(), t.shape(), &found, &expected.data, allowed).or_else(padding);
        if let Some(cause) = cause {
            return Err(fault(suspects(gpu, &graph, *t, &wanted[..i]), cause));
        }
    }
    Ok(())
}

impl Bench<'_> {
    /// A plan of `wanted` that has run once.
    fn run(&self, gpu: &Gpu, graph: &Graph, wanted: &[Tensor]) -> Result<Plan> {
        let weights = Weights::init(gpu, graph, 0)?;
        let mut plan = Plan::infer_with(gpu, &weights, wanted, Options::default())?;
        plan.fill_with_nan();
        for (value, array) in &self.given {
            let port = Tensor { graph, value: *value };
            // A gradient that does not depend on an operand leaves it out of the plan.
            if !plan.has(port) {
                continue;
            }
            plan.write_numbers(port, &array.data.iter().map(|&v| v as f32).collect::<Vec<_>>())?;
        }
        plan.run();
        Ok(plan)
    }
}

/// The files that an error speaks of, of those that ran.
fn blamed(e: &Error, files: &BTreeSet<&'static str>) -> Vec<&'static str> {
    match e {
        Error::Shader { shader, .. } => files.iter().copied().filter(|file| file == shader).collect(),
        _ => files.iter().copied().collect(),
    }
}

/// The shader files of a program.
fn files(program: &Program) -> BTreeSet<&'static str> {
    program.dispatches.iter().map(|d| d.shader.name).collect()
}

/// The files that `wrong` comes from, without those that a right value came from, unless that leaves none.
fn suspects(gpu: &Gpu, graph: &Graph, wrong: Tensor, right: &[Tensor]) -> Vec<&'static str> {
    let of = |t: &Tensor| {
        let wanted = vec![t.value];
        let (caps, fusion) = (gpu.caps(), gpu.settings().fusion);
        let request = Request { graph, caps, wanted, training: None, observe: false, fusion, algebra: fusion };
        lower(&request).map(|made| files(&made.program)).unwrap_or_default()
    };
    let (all, cleared) = (of(&wrong), right.iter().flat_map(of).collect());
    let left: Vec<_> = all.difference(&cleared).copied().collect();
    if left.is_empty() { all.into_iter().collect() } else { left }
}
