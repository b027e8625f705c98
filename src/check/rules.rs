//! Optimizers against plain f64 code: each rule of update, clipping, the average of the weights, states, what is observed.

use super::{Cause, Fault, blamed, compare, files, tolerance, values};
use crate::{
    Adam, AdamW, Caps, Dtype, Error, Gpu, Graph, Init, LossScale, Plan, Precision, Result, RmsProp, Sgd, Shape, Tensor,
    Weights,
    dispatch::Program,
    optim::{Form, Update},
    plan::{Options, Part, lower_training},
    reference::{Array, Fill},
};

/// One step in f64: weight, gradient, two moments, the number of the step from 1.
type Step = fn(w: &mut f64, g: f64, m: &mut f64, v: &mut f64, t: i32);

/// An optimizer and its definition.
#[derive(Debug)]
pub struct Rule {
    /// What it is called in reports.
    pub name: &'static str,
    optimizer: Box<dyn Update>,
    step: Step,
}

/// Numbers that f16 holds exactly: rates, decays, and what Adam and RMSProp add to a root.
const RATE: f32 = 0.0625;
const DECAY: f32 = 0.125;
const KEEP: [f32; 2] = [0.875, 0.96875];
const EPSILON: f32 = 1.0 / 1024.0;

/// Values in the weight: some padding, more than one workgroup.
const LENGTH: usize = 301;
/// Steps that each rule is followed for.
const STEPS: usize = 6;
/// The norm that gradients are clipped to, which some steps exceed, and how slowly the average follows.
const CLIP: f32 = 5.0;
const AVERAGE: f32 = 0.25;
/// Runs that make an update.
const RUNS: u32 = 2;

/// Every optimizer, in each of its forms.
pub fn rules() -> Vec<Rule> {
    fn moments(g: f64, m: &mut f64, v: &mut f64, t: i32) -> (f64, f64) {
        let [keep1, keep2] = KEEP.map(f64::from);
        *m = keep1 * *m + (1.0 - keep1) * g;
        *v = keep2 * *v + (1.0 - keep2) * g * g;
        (*m / (1.0 - keep1.powi(t)), *v / (1.0 - keep2.powi(t)))
    }
    fn adam(g: f64, m: &mut f64, v: &mut f64, t: i32) -> f64 {
        let (m, v) = moments(g, m, v, t);
        f64::from(RATE) * m / (v.sqrt() + f64::from(EPSILON))
    }
    let (rate, decay) = (RATE, DECAY);
    let new = || Adam::new(rate).betas(KEEP[0], KEEP[1]).epsilon(EPSILON);
    let adamw = || AdamW::new(rate).betas(KEEP[0], KEEP[1]).epsilon(EPSILON);
    let rmsprop = RmsProp::new(rate).alpha(KEEP[1]).epsilon(EPSILON).weight_decay(decay);
    let rule = |name, optimizer: Box<dyn Update>, step: Step| Rule { name, optimizer, step };
    vec![
        rule("sgd", Box::new(Sgd::new(rate).weight_decay(decay)), |w, g, _, _, _| {
            *w -= f64::from(RATE) * (g + f64::from(DECAY) * *w);
        }),
        rule("momentum", Box::new(Sgd::new(rate).momentum(KEEP[0]).weight_decay(decay)), |w, g, m, _, _| {
            *m = f64::from(KEEP[0]) * *m + g + f64::from(DECAY) * *w;
            *w -= f64::from(RATE) * *m;
        }),
        rule("nesterov", Box::new(Sgd::new(rate).momentum(KEEP[0]).nesterov()), |w, g, m, _, _| {
            *m = f64::from(KEEP[0]) * *m + g;
            *w -= f64::from(RATE) * (g + f64::from(KEEP[0]) * *m);
        }),
        rule("adam", Box::new(new().weight_decay(decay)), |w, g, m, v, t| {
            *w -= adam(g + f64::from(DECAY) * *w, m, v, t);
        }),
        rule("adam textbook", Box::new(new().form(Form::Textbook)), |w, g, m, v, t| *w -= adam(g, m, v, t)),
        rule("adam floor", Box::new(new().form(Form::Floor)), |w, g, m, v, t| {
            let (m, v) = moments(g, m, v, t);
            *w -= f64::from(RATE) * m / v.max(f64::from(EPSILON)).sqrt();
        }),
        rule("adamw", Box::new(adamw().weight_decay(decay)), |w, g, m, v, t| {
            let step = adam(g, m, v, t);
            *w -= f64::from(RATE) * f64::from(DECAY) * *w + step;
        }),
        rule("rmsprop", Box::new(rmsprop), |w, g, _, v, _| {
            let g = g + f64::from(DECAY) * *w;
            *v = f64::from(KEEP[1]) * *v + (1.0 - f64::from(KEEP[1])) * g * g;
            *w -= f64::from(RATE) * g / (v.sqrt() + f64::from(EPSILON));
        }),
    ]
}

/// What a run leaves, or should leave.
struct End {
    weight: Vec<f64>,
    average: Vec<f64>,
    state: Vec<f64>,
    dropped: Vec<f64>,
    norm: f64,
    largest: f64,
}

/// The input and the loss `w · x`, so that the gradient of `w` is `x` in every precision, without rounding; and beside
/// that a state, and dropout, which only training does.
fn network(graph: &Graph) -> (Tensor<'_>, Tensor<'_>) {
    let (w, x) = (graph.weight("w", [LENGTH], Init::Constant(0.0)), graph.input("x", [LENGTH]));
    graph.average(graph.state("s", [LENGTH], Init::Constant(0.0)), x, AVERAGE);
    let dropped = x.dropout(0.5).named("dropped").watch();
    (x, (w * x).sum_all() + dropped.sum_all() * 0.0)
}

fn options() -> Options {
    Options { clip_norm: Some(CLIP), average: Some(AVERAGE), accumulate: RUNS, observe: true, ..Options::default() }
}

impl Rule {
    /// A few steps on a device, with gradients clipped and an average that follows, against the same in f64.
    ///
    /// # Errors
    /// The first tensor with a wrong value.
    pub fn on_device(&self, gpu: &Gpu, precision: Precision) -> Result<(), Box<Fault>> {
        let fault =
            |files, cause| Box::new(Fault { files, case: format!("optimizer {}", self.name), precision, cause });
        let shape = Shape::from([LENGTH]);
        let gradients: Vec<Array> =
            (0..STEPS).map(|t| values(shape, Fill::Between(-0.5, 0.5), Dtype::F16, t)).collect();
        let first = values(shape, Fill::Between(-1.0, 1.0), Dtype::F16, STEPS).data;
        let files = self.program(gpu.caps(), gpu.settings().fusion, precision).map(|p| files(&p)).unwrap_or_default();
        let found = self.run(gpu, precision, &first, &gradients);
        let found = found.map_err(|e| fault(blamed(&e, &files), Cause::Other(e.to_string())))?;
        let mut expected = self.expect(&first, &gradients);
        // Which values are dropped is for the device to say.
        expected.dropped.iter_mut().zip(&found.dropped).filter(|(_, f)| **f == 0.0).for_each(|(e, _)| *e = 0.0);
        let zeros = found.dropped.iter().filter(|v| **v == 0.0).count();
        let uneven = Cause::Other(format!("dropout with p = 0.5 drops {zeros} of {LENGTH} values"));
        let uneven = Some(uneven).filter(|_| !(LENGTH / 4..=LENGTH * 3 / 4).contains(&zeros));
        let held = Precision { storage: precision.state(), ..precision };
        let near = |what: &str, found: &[f64], expected: &[f64], precision| {
            let found: Vec<f32> = found.iter().map(|&v| v as f32).collect();
            let size = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
            let allowed = tolerance(precision, 4 * STEPS, size);
            compare(what.into(), Shape::from([found.len()]), &found, expected, allowed)
        };
        let wide = Precision { storage: precision.wide(), ..precision };
        let compared = [
            ("square_sum", near("norm of the gradients", &[found.norm], &[expected.norm], wide)),
            (self.optimizer.name(), near("weight", &found.weight, &expected.weight, held)),
            ("follow", near("average of the weight", &found.average, &expected.average, held)),
            ("average", near("state", &found.state, &expected.state, wide)),
            ("dropout", uneven),
            ("dropout", near("what dropout leaves", &found.dropped, &expected.dropped, wide)),
            ("observe", near("largest gradient", &[found.largest], &[expected.largest], wide)),
        ];
        match compared.into_iter().find_map(|(file, cause)| Some((file, cause?))) {
            Some((file, cause)) => {
                Err(fault(files.into_iter().filter(|f| *f == file || *f == "step").collect(), cause))
            }
            None => Ok(()),
        }
    }

    /// What it runs.
    ///
    /// # Errors
    /// A precision that the adapter cannot run.
    pub fn program(&self, caps: &Caps, fusion: bool, precision: Precision) -> Result<Program> {
        let graph = Graph::new(precision);
        let (_, loss) = network(&graph);
        let options = Options { fusion, ..options() };
        Ok(lower_training(loss, &*self.optimizer, caps, &options)?.program)
    }

    fn run(&self, gpu: &Gpu, precision: Precision, first: &[f64], gradients: &[Array]) -> Result<End> {
        // The first loss scale of mixed is more than f16 holds where nothing is fused; then steps are skipped, as they should.
        let loss_scale = match precision.loss_scale {
            LossScale::Dynamic { growth, backoff, interval, .. } => {
                LossScale::Dynamic { initial: 1024.0, growth, backoff, interval }
            }
            fixed => fixed,
        };
        let graph = Graph::new(Precision { loss_scale, ..precision });
        let (x, loss) = network(&graph);
        let weights = Weights::init(gpu, &graph, 0)?;
        weights.set("w", &first.iter().map(|&v| v as f32).collect::<Vec<_>>())?;
        let mut plan = Plan::train_with(gpu, &weights, loss, &*self.optimizer, options())?;
        for gradient in gradients {
            // Nothing, and then twice the gradient.
            plan.write(x, &vec![0f32; gradient.data.len()])?;
            plan.run();
            plan.write(x, &gradient.data.iter().map(|&v| RUNS as f32 * v as f32).collect::<Vec<_>>())?;
            plan.observe();
        }
        let progress = plan.progress().wait()?;
        if progress.updates as usize != gradients.len() {
            return Err(Error::Device(format!("{progress:?}: not every step changed the weights")));
        }
        let seen = plan.observations().wait()?;
        let gradient = seen.iter().find(|o| o.part == Part::Gradient).map_or(f32::NAN, |o| o.largest);
        let read = |weights: &Weights, name| -> Result<Vec<f64>> {
            Ok(weights.get(name)?.wait()?.into_iter().map(f64::from).collect())
        };
        let average = plan.averaged().expect("it was asked for");
        Ok(End {
            weight: read(&weights, "w")?,
            average: read(average, "w")?,
            state: read(&weights, "s")?,
            dropped: plan.read("dropped")?.wait()?.into_iter().map(f64::from).collect(),
            norm: progress.gradient_norm.into(),
            largest: f64::from(gradient) / f64::from(progress.loss_scale),
        })
    }

    /// The same in f64.
    fn expect(&self, first: &[f64], gradients: &[Array]) -> End {
        let (mut w, mut average, mut state) = (first.to_vec(), first.to_vec(), vec![0.0; first.len()]);
        let (mut m, mut v) = (state.clone(), state.clone());
        let (mut norm, mut largest) = (0.0, 0.0);
        for (gradient, t) in gradients.iter().zip(1..) {
            norm = gradient.data.iter().map(|g| g * g).sum::<f64>().sqrt();
            largest = f64::from(RUNS) * gradient.data.iter().fold(0f64, |m, v| m.max(v.abs()));
            let shorter = (f64::from(CLIP) / norm).min(1.0);
            let keep = (f64::from(1 + t) / f64::from(10 + t)).min(AVERAGE.into());
            for (i, g) in gradient.data.iter().enumerate() {
                (self.step)(&mut w[i], g * shorter, &mut m[i], &mut v[i], t);
                average[i] = keep * average[i] + (1.0 - keep) * w[i];
                // States follow each run.
                state[i] -= f64::from(AVERAGE) * state[i];
                state[i] += f64::from(AVERAGE) * (f64::from(RUNS) * g - state[i]);
            }
        }
        let dropped =
            gradients.last().map(|g| g.data.iter().map(|v| 2.0 * f64::from(RUNS) * v).collect()).unwrap_or_default();
        End { weight: w, average, state, dropped, norm, largest }
    }
}
