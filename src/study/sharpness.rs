//! How sharply a loss curves at given weights: the largest eigenvalue λ of its Hessian. Gradient descent is stable below a
//! learning rate of 2/λ (with momentum μ, of 2(1 + μ)/λ), and at 2/λ training tends to stay (arXiv 2103.00065).

use super::{Setup, Sharpness};
use crate::{
    Dtype, Error, Gpu, Graph, Plan, Port, Precision, Result, Tensor, Weights, data::Dataset, format::Simulation,
    random::Random,
};

/// How the largest eigenvalue is looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerIteration {
    /// Of the first direction.
    pub seed: u64,
    /// Products of the Hessian and a direction, at most.
    pub products: usize,
    /// The relative change of the eigenvalue at which it counts as found, when two products in a row change it by less.
    pub tolerance: f64,
    /// How far weights are moved to both sides to take a product, as a share of their norm. With relu the gradient jumps where
    /// a unit turns on or off; a step that takes in many such jumps sees their mean, and one that takes in few does not settle.
    pub step: f64,
}

impl Default for PowerIteration {
    fn default() -> Self {
        PowerIteration { seed: 0, products: 100, tolerance: 1e-3, step: 1e-2 }
    }
}

/// The largest eigenvalue of the Hessian of `loss` with respect to the weights that are trained, over so many batches: the
/// mean of their losses. `write` fills a plan's inputs with one of them, always the same. Dropout is off and normalisation
/// takes its running averages, as in all plans that infer.
///
/// Products of the Hessian and a direction are differences of gradients, (∇L(w + εv) − ∇L(w − εv)) / 2ε, in f32. The weights are
/// moved for that, and are what they were when this returns, to the bit.
///
/// ```
/// use halfgrad::{Gpu, Graph, Init, Precision, Weights, study::{PowerIteration, sharpness}};
/// let (gpu, graph) = (Gpu::new()?, Graph::new(Precision::F32));
/// let w = graph.weight("w", [8], Init::Constant(1.0));
/// let loss = (w.square() * graph.input("half the eigenvalues", [8])).sum_all();
/// let weights = Weights::init(&gpu, &graph, 1)?;
/// let write = |plan: &mut halfgrad::Plan, _| plan.write("half the eigenvalues", &[0.5, 1.0, 0.1, 3.5, 1.5, 0.0, 0.2, 0.3]);
/// let found = sharpness(&gpu, &weights, loss, 1, write, PowerIteration::default())?;
/// assert!((found.eigenvalue - 7.0).abs() < 0.07);
/// # Ok::<(), halfgrad::Error>(())
/// ```
///
/// # Errors
/// [`Error::Name`] if the network is not stored in f32, where alone such differences are precise enough; what making and
/// running a plan may meet.
pub fn sharpness<'g>(
    gpu: &Gpu,
    weights: &Weights,
    loss: Tensor<'g>,
    batches: usize,
    write: impl FnMut(&mut Plan, usize) -> Result<()> + 'g,
    how: PowerIteration,
) -> Result<Sharpness> {
    let graph = loss.graph;
    if graph.precision().storage != Dtype::F32 || graph.simulation() != Simulation::default() {
        let detail = "it is measured in Precision::F32 without simulated formats; set a copy of the weights there";
        return Err(Error::name("sharpness", detail));
    }
    let trained: Vec<Tensor> = graph.weights().into_iter().filter(|w| !graph.is_frozen(*w)).collect();
    let gradients = graph.grad(loss, &trained);
    let plan = Plan::infer(gpu, weights, gradients.iter().copied())?;
    let name = |w: &Tensor| graph.node(w.value.node).name.unwrap_or_default();
    let tensors = trained.iter().zip(gradients).map(|(w, g)| (name(w), g.into())).collect();
    let mut slopes = Slopes { plan, weights, tensors, batches, write };
    let before = slopes.weights()?;
    let found = slopes.largest(&before, how);
    slopes.set(before.iter().map(|w| w.as_slice()))?;
    found
}

/// The gradient as a function of the weights.
struct Slopes<'a, W> {
    plan: Plan,
    weights: &'a Weights,
    /// The trained weights' names, and where their gradients are.
    tensors: Vec<(String, Port<'static>)>,
    batches: usize,
    write: W,
}

impl<W: FnMut(&mut Plan, usize) -> Result<()>> Slopes<'_, W> {
    /// The trained weights as they are.
    fn weights(&self) -> Result<Vec<Vec<f32>>> {
        self.tensors.iter().map(|(name, _)| self.weights.get(name)?.wait()).collect()
    }

    fn set<'v>(&self, values: impl Iterator<Item = &'v [f32]>) -> Result<()> {
        self.tensors.iter().zip(values).try_for_each(|((name, _), values)| self.weights.set(name, values))
    }

    /// The sum of the batches' gradients where the weights are `w + t v`.
    fn at(&mut self, w: &[Vec<f32>], t: f64, v: &[f64]) -> Result<Vec<f64>> {
        let mut v = v.iter();
        let moved: Vec<Vec<f32>> =
            w.iter().map(|w| w.iter().zip(&mut v).map(|(w, v)| (f64::from(*w) + t * v) as f32).collect()).collect();
        self.set(moved.iter().map(|w| w.as_slice()))?;
        let mut sum = vec![];
        for batch in 0..self.batches {
            (self.write)(&mut self.plan, batch)?;
            self.plan.run();
            let readings: Result<Vec<_>> = self.tensors.iter().map(|(_, port)| self.plan.read(*port)).collect();
            let mut gradient = vec![];
            for reading in readings? {
                gradient.extend(reading.wait()?.into_iter().map(f64::from));
            }
            sum.resize(gradient.len(), 0.0);
            sum.iter_mut().zip(gradient).for_each(|(sum, g): (&mut f64, f64)| *sum += g);
        }
        Ok(sum)
    }

    /// Power iteration, and where the eigenvalue of largest magnitude is negative once more, moved by it.
    fn largest(&mut self, w: &[Vec<f32>], how: PowerIteration) -> Result<Sharpness> {
        let found = self.dominant(w, 0.0, how)?;
        if found.eigenvalue >= 0.0 || found.eigenvalue.is_nan() {
            return Ok(found);
        }
        let moved = self.dominant(w, -found.eigenvalue, how)?;
        Ok(Sharpness { products: found.products + moved.products, ..moved })
    }

    /// The eigenvalue of the Hessian for which that of the Hessian + `shift` has the largest magnitude.
    fn dominant(&mut self, w: &[Vec<f32>], shift: f64, how: PowerIteration) -> Result<Sharpness> {
        let size = norm(w.iter().flatten().map(|&w| f64::from(w)));
        let step = how.step * if size > 0.0 { size } else { 1.0 };
        let mut random = Random::new(how.seed, "sharpness");
        let mut v: Vec<f64> = w.iter().flatten().map(|_| random.normals()[0]).collect();
        let (mut eigenvalue, mut settled) = (f64::NAN, 0);
        for products in 1..=how.products {
            let length = norm(v.iter().copied());
            v.iter_mut().for_each(|v| *v /= length);
            let (above, below) = (self.at(w, step, &v)?, self.at(w, -step, &v)?);
            let factor = 1.0 / (2.0 * step * self.batches as f64);
            let product: Vec<f64> = above.iter().zip(&below).map(|(a, b)| (a - b) * factor).collect();
            let next: f64 = v.iter().zip(&product).map(|(v, h)| v * h).sum();
            let near = (next - eigenvalue).abs() <= how.tolerance * (next + shift).abs();
            settled = if near { settled + 1 } else { 0 };
            eigenvalue = next;
            v = v.iter().zip(&product).map(|(v, h)| h + shift * v).collect();
            let ended = !next.is_finite() || v.iter().all(|v| *v == 0.0);
            if settled == 2 || ended {
                return Ok(Sharpness { eigenvalue, products, converged: eigenvalue.is_finite() });
            }
        }
        Ok(Sharpness { eigenvalue, products: how.products, converged: false })
    }
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// Batches that a study measures the sharpness over.
const BATCHES: usize = 4;

/// The sharpness of a study's loss at these weights, of any precision, over the first batches of a shuffled epoch.
///
/// # Errors
/// As [`sharpness`].
pub fn sharpness_of(gpu: &Gpu, data: &Dataset, setup: &Setup, weights: &Weights, seed: u64) -> Result<Sharpness> {
    let graph = Graph::new(Precision::F32);
    let network = setup.model.build(&graph, setup.batch, data.shape(), data.classes())?;
    let copy = weights.for_graph(gpu, &graph)?;
    let all: Vec<_> = data.batches(setup.batch)?.shuffled(seed).epoch(0).take(BATCHES).collect();
    let write = |plan: &mut Plan, batch: usize| network.write(plan, &all[batch]);
    sharpness(gpu, &copy, network.loss, all.len(), write, PowerIteration { seed, ..PowerIteration::default() })
}
