//! Random graphs against the f64 reference: values and gradients, fused, unfused and in 16 bit, and a training step.

mod common;

use std::{collections::BTreeMap, fmt::Write};

use halfgrad::{
    Dtype, Error, Gpu, Graph, Init, LossScale, Plan, Precision, Sgd, Shape, Tensor, Weights,
    graph::Value,
    plan::Options,
    reference::{Array, evaluate},
};
use proptest::{
    collection::vec,
    prelude::any,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};

/// A graph is written down as steps of four numbers: what to do, on which tensor, and two choices.
type Step = [u8; 4];

const LENGTHS: [usize; 8] = [1, 2, 3, 4, 5, 7, 8, 17];

struct Built<'g> {
    graph: &'g Graph,
    /// Whether what a graph starts from are weights.
    trained: bool,
    /// Tensors so far, each with a bound on its values, so that nothing overflows.
    pool: Vec<(Tensor<'g>, f64)>,
    inputs: Vec<Tensor<'g>>,
    watched: Vec<Tensor<'g>>,
    text: String,
}

impl<'g> Built<'g> {
    fn new(graph: &'g Graph, trained: bool, steps: &[Step]) -> Self {
        let mut b = Built { graph, trained, pool: vec![], inputs: vec![], watched: vec![], text: String::new() };
        for (i, dims) in [&[3, 5][..], &[2, 3, 4], &[7, 1]].into_iter().enumerate() {
            let x = b.input(dims);
            b.keep(x, 2.0, &format!("input {i}"));
        }
        steps.iter().for_each(|s| b.step(*s));
        b
    }

    fn input(&mut self, dims: &[usize]) -> Tensor<'g> {
        let (name, shape) = (format!("x{}", self.inputs.len()), Shape::new(dims).unwrap());
        let x = match self.trained {
            true => self.graph.weight(&name, shape, Init::Constant(0.0)),
            false => self.graph.input(&name, shape),
        };
        self.inputs.push(x);
        x
    }

    fn keep(&mut self, t: Tensor<'g>, bound: f64, how: &str) {
        let (t, bound) = if bound > 8.0 { (t.tanh(), 1.0) } else { (t, bound) };
        let _ = writeln!(self.text, "  t{} = {how} {} ≤ {bound}", self.pool.len(), t.shape());
        self.pool.push((t, bound));
    }

    fn step(&mut self, [what, on, c, d]: Step) {
        let at = on as usize % self.pool.len();
        let (x, m) = self.pool[at];
        let dims = x.shape().to_vec();
        let (length, number) = (LENGTHS[d as usize % 8], f32::from(d) / 64.0 - 2.0);
        let how = |name: &str| format!("{name}(t{at}; {c}, {d})");
        match what % 16 {
            0..=3 => self.unary(x, m, c, number, &how("unary")),
            4..=7 => self.binary(x, m, c, d, &how("binary")),
            8 | 9 => {
                let rows = if dims.len() == 2 { x } else { x.flatten_rows() };
                let (ta, tb) = (c & 1 == 1, c & 2 == 2);
                let k = rows.shape()[usize::from(!ta)];
                let b = self.input(&if tb { [length, k] } else { [k, length] });
                self.keep(rows.matmul_with(b, ta, tb), m * 2.0 * k as f64, &how("matmul"));
            }
            10 if dims.len() >= 3 => {
                let mut other = dims.clone();
                let k = dims[dims.len() - 1];
                let n = other.len();
                (other[n - 2], other[n - 1]) = if c & 2 == 2 { (length, k) } else { (k, length) };
                let b = self.input(&other);
                self.keep(x.matmul_with(b, false, c & 2 == 2), m * 2.0 * k as f64, &how("batched"));
            }
            10 | 11 => {
                let axes: Vec<usize> = (0..dims.len()).filter(|a| (c >> a) & 1 == 1).collect();
                let n: usize = axes.iter().map(|&a| dims[a]).product();
                match d % 4 {
                    0 => self.keep(x.sum(&axes), m * n as f64, &how("sum")),
                    1 => self.keep(x.mean(&axes), m, &how("mean")),
                    2 => {
                        // Kept axes: what follows is fused into the reduction.
                        let kept = x.sum_to(x.shape().keep(&axes));
                        self.keep(kept.less(x.mean_all().cast(x.dtype())), 1.0, &how("sum_to"));
                    }
                    _ => self.keep(x.max(&axes) * x.mean_all().cast(x.dtype()), m * m, &how("max")),
                }
            }
            12 if c < 128 => {
                let (n, last) = (x.shape().len(), x.shape().last());
                let mut seen = vec![vec![n / last, last], vec![n], vec![n, 1], dims.iter().rev().copied().collect()];
                seen.extend([[&[1], &dims[..]].concat(), [&dims[..], &[1]].concat()]);
                seen.push(dims.iter().copied().filter(|&d| d > 1).collect());
                let to = Shape::new(&seen[c as usize % seen.len()]).unwrap();
                if to.rank() < 5 {
                    self.keep(x.reshape(to), m, &how("reshape"));
                }
            }
            12 if !dims.is_empty() => {
                let axis = c as usize % dims.len();
                match d % 6 {
                    0 => self.keep(x.slice(axis, dims[axis] / 2..dims[axis]), m, &how("slice")),
                    1 => self.keep(x.pad(axis, 1, 2), m, &how("pad")),
                    2 => self.keep(x.permute((0..dims.len()).rev().collect::<Vec<_>>()), m, &how("permute")),
                    3 => self.keep(x.softmax(), 1.0, &how("softmax")),
                    4 if x.shape().len() < 500 => self.keep(x.concat(axis, &[x.tanh(), x]), m, &how("concat")),
                    _ => self.keep(x.stop_gradient(), m, &how("stop")),
                }
            }
            13 if dims.len() < 4 && x.shape().len() * length < 1000 => {
                self.keep(x.broadcast_to(Shape::new(&[&[length], &dims[..]].concat()).unwrap()), m, &how("broadcast"));
            }
            14 => {
                // A constant that a kernel reads, and one that is inlined.
                let full = self.graph.full(x.shape(), number);
                let b = f64::from(number.abs());
                self.keep(if c & 1 == 1 { full * x } else { full + x }, m.max(1.0) * b + m, &how("constant"));
                let rows = full.flatten_rows().sum([usize::from(c & 2 == 2)]);
                self.keep(rows, 1e3, &how("sum of constant"));
            }
            15 if c < 128 => self.watched.push(x.watch()),
            // What algebra finds: nothing is changed, or twice the same is made.
            15 => {
                let same = match d % 6 {
                    0 => -(-x),
                    1 => 1.0 * x - 0.0,
                    2 => x / 1.0 + -0.0,
                    3 => x.reshape([x.shape().len()]).reshape(x.shape()),
                    4 if dims.len() > 1 => x.transpose().transpose(),
                    _ => x.cast(Dtype::F32).cast(x.dtype()),
                };
                self.keep(same.tanh() + x.tanh() * x.sum_all().tanh().cast(x.dtype()), 2.0, &how("same"));
                self.keep(same.abs() - x.sum_all().tanh().cast(x.dtype()), m + 1.0, &how("again"));
            }
            _ => {}
        }
    }

    fn unary(&mut self, x: Tensor<'g>, m: f64, c: u8, number: f32, how: &str) {
        let positive = x.abs() + 0.5;
        let (y, bound) = match c % 22 {
            0 => (x.tanh(), 1.0),
            1 => (x.sigmoid(), 1.0),
            2 => (x.relu(), m),
            3 => (x.gelu(), m),
            4 => (x.silu(), m),
            5 => (x.softplus(), m + 1.0),
            6 => (x.square(), m * m),
            7 => (positive.log(), m),
            8 => (positive.sqrt(), m),
            9 => (positive.rsqrt(), 1.5),
            10 => (x.tanh().exp(), 3.0),
            11 => (x.leaky_relu(0.1), m),
            12 => (x * number, m * f64::from(number.abs())),
            13 => (number - x, m + 2.0),
            14 => (number / positive, 4.0),
            15 => (-x, m),
            16 => (x.clamp(-0.7, 0.9), 0.9),
            17 => (x.erf(), 1.0),
            18 => (x.gelu_tanh(), m),
            // A statistic, which is f32 beside 16 bit.
            19 | 20 => (x * x.mean_all().cast(x.dtype()), m * m),
            _ => (x + x, 2.0 * m),
        };
        self.keep(y, bound, &format!("{how}.{}", c % 22));
    }

    /// With a tensor of the pool if the shapes allow, else with a new input some of whose axes stretch.
    fn binary(&mut self, x: Tensor<'g>, m: f64, c: u8, d: u8, how: &str) {
        let other = self.pool[d as usize % self.pool.len()];
        let fits = x.shape().broadcast(&other.0.shape()).is_some_and(|s| s.len() < 1000 && s.rank() < 5);
        let (y, n) = if fits && c & 0x80 == 0 {
            other
        } else {
            let dims = x.shape().to_vec();
            let dims: Vec<usize> =
                dims.iter().enumerate().map(|(k, &l)| if (d >> k) & 1 == 1 { 1 } else { l }).collect();
            let skip = usize::from(d & 0x80 != 0).min(dims.len());
            (self.input(&dims[skip..]), 2.0)
        };
        let (y, bound) = match c % 8 {
            0 | 1 => (x + y, m + n),
            2 => (x - y, m + n),
            3 | 4 => (x * y, m * n),
            5 => (x / (y.abs() + 0.5), 2.0 * m),
            6 => (x.maximum(y), m.max(n)),
            _ => (x.less(y).select(y, x * 0.5), m.max(n)),
        };
        self.keep(y, bound, &format!("{how} {}", y.shape()));
    }

    fn loss(&self) -> Tensor<'g> {
        let last = self.pool.iter().rev().take(3);
        last.map(|(t, _)| t.mean_all()).reduce(|a, b| a + b).unwrap()
    }

    /// The last tensor, what is watched, the loss, its gradients.
    fn wanted(&self) -> Vec<Tensor<'g>> {
        let loss = self.loss();
        let gradients = self.graph.grad(loss, &self.inputs);
        [&[loss, self.pool.last().unwrap().0][..], &self.watched, &gradients].concat()
    }
}

/// Numbers in [-1, 1) that only depend on where they are.
fn noise(seed: u64) -> f64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn values(inputs: &[Tensor]) -> BTreeMap<Value, Array> {
    let array = |(i, x): (usize, &Tensor)| {
        let data =
            (0..x.shape().len()).map(|k| f64::from((noise((i * 100_000 + k) as u64) * 1024.0).round() as f32 / 512.0));
        (x.value, Array::new(x.shape(), data.collect()))
    };
    inputs.iter().enumerate().map(array).collect()
}

/// How far each wanted tensor may be off: what moving all inputs by `by` of themselves changes, and `by` of its size.
fn allowed(graph: &Graph, given: &BTreeMap<Value, Array>, wanted: &[Tensor], expected: &[Array], by: f64) -> Vec<f64> {
    let mut most: Vec<f64> =
        expected.iter().map(|e| e.data.iter().fold(1.0, |m: f64, v| m.max(v.abs())) * by).collect();
    for round in 0..3 {
        let mut moved = given.clone();
        for (i, v) in moved.values_mut().flat_map(|a| &mut a.data).enumerate() {
            *v += by * (1.0 + v.abs()) * noise((7_000_000 * (round + 1) + i) as u64);
        }
        for ((m, e), f) in most.iter_mut().zip(expected).zip(evaluate(graph, &moved, wanted).unwrap()) {
            *m = e.data.iter().zip(&f.data).fold(*m, |m, (a, b)| m.max(2.0 * (a - b).abs()));
        }
    }
    most
}

fn trial(gpu: &Gpu, precision: Precision, fusion: bool, steps: &[Step]) -> Result<(), String> {
    let graph = Graph::new(precision);
    let built = Built::new(&graph, false, steps);
    let wanted = built.wanted();
    let tell = |what: String| format!("{what}\n{precision}, fusion {fusion}, steps {steps:?}\n{}", built.text);
    graph.check().map_err(|e| tell(e.to_string()))?;
    let given = values(&built.inputs);
    let expected = evaluate(&graph, &given, &wanted).unwrap();
    let by = if precision == Precision::F32 { 2f64.powi(-17) } else { 2f64.powi(-7) };
    let allowed = allowed(&graph, &given, &wanted, &expected, by);

    let weights = Weights::init(gpu, &graph, 0).map_err(|e| tell(e.to_string()))?;
    let options = Options { fusion, ..Options::default() };
    let plan = Plan::infer_with(gpu, &weights, &wanted, options);
    let mut plan = plan.map_err(|e| tell(e.to_string()))?;
    common::keeps_the_rules(plan.program(), gpu.caps()).map_err(tell)?;
    plan.fill_with_nan();
    for x in &built.inputs {
        let data: Vec<f32> = given[&x.value].data.iter().map(|&v| v as f32).collect();
        // An input that nothing depends on is not in the plan.
        let _ = plan.write(*x, &data);
    }
    plan.run();
    for (i, ((t, expected), allowed)) in wanted.iter().zip(&expected).zip(&allowed).enumerate() {
        let found = plan.read(*t).and_then(|r| r.wait()).map_err(|e| tell(e.to_string()))?;
        for (k, (&f, &e)) in found.iter().zip(&expected.data).enumerate() {
            let off = (f64::from(f) - e).abs();
            if off.is_nan() || off > *allowed {
                let shape = t.shape();
                let what = format!("wanted {i} {shape} at {k}: {f}, expected {e}, allowed {allowed:.1e}");
                return Err(tell(format!("{what}\n{}", plan.program())));
            }
        }
        if !plan.padding_is_zero(*t).map_err(|e| e.to_string())? {
            return Err(tell(format!("wanted {i} {}: the padding is not zero\n{}", t.shape(), plan.program())));
        }
    }
    Ok(())
}

/// What algebra leaves out changes no bit: without fusion, which would round less.
fn algebra(gpu: &Gpu, precision: Precision, steps: &[Step]) -> Result<(), String> {
    let graph = Graph::new(precision);
    let built = Built::new(&graph, false, steps);
    let wanted = built.wanted();
    let given = values(&built.inputs);
    let weights = Weights::init(gpu, &graph, 0).map_err(|e| e.to_string())?;
    let run = |algebra: bool| -> Result<(usize, Vec<Vec<u32>>), Error> {
        let options = Options { fusion: false, algebra, ..Options::default() };
        let mut plan = Plan::infer_with(gpu, &weights, &wanted, options)?;
        for x in &built.inputs {
            let _ = plan.write(*x, &given[&x.value].data.iter().map(|&v| v as f32).collect::<Vec<_>>());
        }
        plan.run();
        let bits = |t: &Tensor| Ok(plan.read(*t)?.wait()?.iter().map(|v| v.to_bits()).collect());
        Ok((plan.program().dispatches.len(), wanted.iter().map(bits).collect::<Result<_, Error>>()?))
    };
    let ((least, with), (most, without)) =
        (run(true).map_err(|e| e.to_string())?, run(false).map_err(|e| e.to_string())?);
    let differs = with.iter().zip(&without).position(|(a, b)| a != b);
    match differs {
        None if least <= most => Ok(()),
        _ => Err(format!("{precision}: wanted {differs:?} differs, {least} {most}, steps {steps:?}\n{}", built.text)),
    }
}

/// One step of descent with learning rate 1, in which every third weight is frozen, moves each other by its gradient.
fn step(gpu: &Gpu, precision: Precision, steps: &[Step]) -> Result<(), String> {
    let graph = Graph::new(precision);
    let built = Built::new(&graph, true, steps);
    let tell = |what: String| format!("{what}\n{precision}, one step of steps {steps:?}\n{}", built.text);
    let gradients = graph.grad(built.loss(), &built.inputs);
    let given = values(&built.inputs);
    let expected = evaluate(&graph, &given, &gradients).unwrap();
    let by = if precision == Precision::F32 { 2f64.powi(-17) } else { 2f64.powi(-7) };
    let allowed = allowed(&graph, &given, &gradients, &expected, by);
    (0..built.inputs.len()).step_by(3).for_each(|i| graph.freeze(&format!("x{i}")));

    let weights = Weights::init(gpu, &graph, 0).map_err(|e| tell(e.to_string()))?;
    for (i, x) in built.inputs.iter().enumerate() {
        let data: Vec<f32> = given[&x.value].data.iter().map(|&v| v as f32).collect();
        weights.set(&format!("x{i}"), &data).unwrap();
    }
    let mut plan = Plan::train(gpu, &weights, built.loss(), Sgd::new(1.0)).map_err(|e| tell(e.to_string()))?;
    common::keeps_the_rules(plan.program(), gpu.caps()).map_err(tell)?;
    plan.fill_with_nan();
    plan.run();
    let after = weights.read_all().wait().map_err(|e| tell(e.to_string()))?;
    for (i, x) in built.inputs.iter().enumerate() {
        for (k, &before) in given[&x.value].data.iter().enumerate() {
            let change = if i % 3 == 0 { 0.0 } else { expected[i].data[k] };
            let (found, allowed) = (before - f64::from(after[i][k]), if i % 3 == 0 { 0.0 } else { allowed[i] });
            let off = (found - change).abs();
            if off.is_nan() || off > allowed {
                let what =
                    format!("weight {i} {} at {k} moved by {found}, expected {change} ± {allowed:.1e}", x.shape());
                return Err(tell(format!("{what}\n{}", plan.program())));
            }
        }
    }
    Ok(())
}

#[test]
fn random_graphs_agree_with_the_reference() {
    let gpu = Gpu::new().unwrap();
    let cases = std::env::var("GRAPHS").map_or(50, |n| n.parse().unwrap());
    let seed = std::env::var("GRAPHS_SEED").map_or(1, |n| n.parse().unwrap());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]));
    let ran = runner.run(&vec(any::<Step>(), 3..20), |steps| {
        let tried = trial(&gpu, Precision::F32, true, &steps)
            .and_then(|()| trial(&gpu, Precision::F32, false, &steps))
            .and_then(|()| trial(&gpu, Precision::F16, true, &steps))
            .and_then(|()| algebra(&gpu, Precision::F32, &steps))
            .and_then(|()| algebra(&gpu, Precision::F16, &steps))
            .and_then(|()| step(&gpu, Precision::F32, &steps))
            .and_then(|()| step(&gpu, Precision { loss_scale: LossScale::Static(64.0), ..Precision::MIXED }, &steps));
        tried.map_err(TestCaseError::fail)
    });
    ran.unwrap_or_else(|e| panic!("{e}"));
}
