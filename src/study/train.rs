use std::{ops::Range, time::Instant};

use super::{DeviceBytes, Network, Outcome, Setup, Sharpness, median, sharpness_of};
use crate::{
    Error, Gpu, Graph, Plan, Policy, Result, Weights,
    data::{Augment, Batch, Batches, Dataset, Split},
    format::Format,
    plan::{Changes, Evaluation, Observation, Options},
    random::Random,
};

/// The most steps between two looks at the device: long enough to keep it busy, short enough to show that it lives, and far
/// below the number of losses that it keeps. Short runs have eight windows.
const WINDOW: usize = 16;

/// In one window of so many, lost updates are counted; the others, which it would slow down, are timed.
const COUNTED: usize = 4;

/// How many times a run writes down what became of the changes of weights so far.
const RECORDED: usize = 20;

/// Where a run stands when the caller is told.
#[derive(Debug)]
pub struct Stand<'a> {
    /// Steps done.
    pub step: usize,
    /// The epoch of the last step, counted from 0.
    pub epoch: usize,
    /// The last step's loss.
    pub loss: f32,
    /// The weights as they are now.
    pub weights: &'a Weights,
}

/// One run: trains in a precision, or each layer in that of a [`Policy`], from the weights and in the order that `seed` or the
/// setup gives, then tests.
///
/// Weights and batches do not depend on the precision. `watch` is told every few steps, at the end of each epoch and
/// after each [`Setup::pause`] steps. Training that meets a loss which is not finite ends there, and the outcome says so.
///
/// A step's time is the wall time of sixteen steps, or of an eighth of a short run, with all that the host does for them, from
/// one wait for the device to the next, divided by their number; the median of those. The first of these, which warm up, a quarter of the
/// others, in which lost updates are counted, and those in which tensors are looked at are not timed.
///
/// # Errors
/// What a plan's making and running may meet; what `watch` returns.
pub fn train(
    gpu: &Gpu,
    data: &Split,
    setup: &Setup,
    policy: impl Into<Policy>,
    seed: u64,
    watch: &mut dyn FnMut(Stand) -> Result<()>,
) -> Result<Outcome> {
    let policy = policy.into();
    setup.check(gpu.caps(), &policy, data.train.shape(), data.train.classes())?;
    let graph = Graph::new(&policy);
    graph.simulate(setup.simulate);
    let network = setup.model.build(&graph, setup.batch, data.train.shape(), data.train.classes())?;
    let weights = match &setup.init {
        Some(path) => Weights::load(gpu, &graph, path)?,
        None => Weights::init(gpu, &graph, seed)?,
    };
    if let Some(seed) = setup.nudge {
        nudge(&weights, seed)?;
    }
    let options = Options { seed: seed as u32, ..setup.options(gpu.caps()) };
    let plan = Plan::train_with(gpu, &weights, network.loss, &*setup.optimizer.update(setup.steps), options)?;
    let order = Order::new(&data.train, setup, seed)?;
    let mut run = Run {
        plan,
        network,
        weights: &weights,
        order,
        observe: setup.observe,
        windows: vec![],
        losses: vec![],
        epochs: vec![],
        observations: vec![],
        sharpness: vec![],
        changes: vec![],
    };
    let failure = run.train(setup, watch)?;

    let tested = run.plan.averaged().unwrap_or(&weights).clone();
    let mut infer = Plan::infer(gpu, &tested, [network.logits])?;
    let logits = infer.predict(network.x, network.logits, &data.test)?;
    let evaluation = Evaluation::of(&logits, &data.test.targets(network.reads_tokens()));
    Ok(Outcome {
        precision: policy,
        seed,
        evaluation,
        perplexity: network.reads_tokens().then(|| evaluation.loss.exp()),
        logits,
        train_loss: run.epochs,
        step_loss: run.losses,
        step_seconds: median(&warm(&run.windows)),
        bytes: DeviceBytes::of(run.plan.program()),
        progress: run.plan.progress().wait()?,
        changes: run.plan.changes().wait()?,
        changes_so_far: run.changes,
        observations: run.observations,
        sharpness: run.sharpness,
        failure,
        warnings: run.plan.warnings().to_vec(),
        weights: tested,
    })
}

/// What weights, trained in whatever precision, are worth in another: loss and accuracy over the test set, and its logits
/// `[samples, classes]`.
///
/// # Errors
/// What a plan's making and running may meet.
pub fn evaluate(
    gpu: &Gpu,
    data: &Split,
    setup: &Setup,
    policy: impl Into<Policy>,
    trained: &Weights,
) -> Result<(Evaluation, Vec<f32>)> {
    let graph = Graph::new(policy);
    graph.simulate(setup.simulate);
    let network = setup.model.build(&graph, setup.batch, data.train.shape(), data.train.classes())?;
    let logits = Plan::infer(gpu, &trained.for_graph(gpu, &graph)?, [network.logits])?.predict(
        network.x,
        network.logits,
        &data.test,
    )?;
    Ok((Evaluation::of(&logits, &data.test.targets(network.reads_tokens())), logits))
}

/// Steps side by side, between two waits for the device.
struct Window {
    steps: usize,
    /// Of each step.
    seconds: f64,
    /// Whether lost updates were counted, or tensors looked at, which takes time.
    looked: bool,
}

/// Rounds all weights to the 11 bits of f16, up or down by chance; the range stays that of f32.
fn nudge(weights: &Weights, seed: u32) -> Result<()> {
    let format = Format { mantissa: Format::F16.mantissa, ..Format::F32 };
    for ((name, _), values) in weights.names().iter().zip(weights.read_all().wait()?) {
        let mut random = Random::new(seed.into(), name);
        let mut rounded = |w: f64| format.nearest(w + (random.uniform() - 0.5) * format.ulp(w)) as f32;
        weights.set(name, &values.into_iter().map(|w| rounded(w.into())).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// A plan under way.
struct Run<'a, 'g> {
    plan: Plan,
    network: Network<'g>,
    weights: &'a Weights,
    order: Order<'a>,
    windows: Vec<Window>,
    /// The loss of each step.
    losses: Vec<f32>,
    /// Each epoch's mean loss.
    epochs: Vec<f64>,
    /// After how many steps, each time, tensors are looked at.
    observe: Option<usize>,
    /// What they held, summed.
    observations: Vec<Observation>,
    /// The sharpness of the loss after so many steps.
    sharpness: Vec<(usize, Sharpness)>,
    /// What became of the changes of weights up to so many steps.
    changes: Vec<(usize, Vec<Changes>)>,
}

impl Run<'_, '_> {
    /// Trains to the end, or to the first loss that is not finite, and says what was wrong.
    fn train(&mut self, setup: &Setup, watch: &mut dyn FnMut(Stand) -> Result<()>) -> Result<Option<Error>> {
        let (mut step, most) = (0, setup.steps.div_ceil(8).min(WINDOW));
        while step < setup.steps {
            let epoch = self.epochs.len();
            let batches = self.order.epoch(epoch)?;
            let mut batches = batches.epoch(epoch as u32);
            let end = setup.steps.min(step + batches.len());
            let (mut sum, mut count) = (0.0, 0);
            while step < end {
                let pauses = [setup.pause, setup.sharpness].into_iter().flatten();
                let pause = pauses.map(|every| (step + 1).next_multiple_of(every)).min().unwrap_or(end);
                let window = step..end.min(pause).min(step + most);
                step = window.end;
                let counts = self.steps(window, &mut batches)?;
                let losses = match self.plan.losses().wait() {
                    Ok(losses) => losses,
                    Err(e @ Error::NotFinite { .. }) => return self.diagnosed(e).map(Some),
                    Err(e) => return Err(e),
                };
                sum += losses.iter().zip(&counts).map(|(&loss, &n)| f64::from(loss) * n as f64).sum::<f64>();
                count += counts.iter().sum::<usize>();
                let loss = losses.last().copied().unwrap_or(f32::NAN);
                self.losses.extend(losses);
                self.record(step, setup.steps)?;
                watch(Stand { step, epoch, loss, weights: self.weights })?;
                if setup.sharpness.is_some_and(|every| step % every == 0 || step == setup.steps) {
                    let Order { data, seed, .. } = self.order;
                    self.sharpness.push((step, sharpness_of(self.plan.gpu(), data, setup, self.weights, seed)?));
                }
            }
            self.epochs.push(sum / count as f64);
        }
        Ok(None)
    }

    /// Runs the steps of one window and waits for the device: how many samples each step had.
    fn steps(&mut self, window: Range<usize>, batches: &mut crate::data::Epoch) -> Result<Vec<usize>> {
        let counted = self.windows.len().is_multiple_of(COUNTED);
        self.plan.record_changes(counted);
        let due = |step: usize, every: usize| step.is_multiple_of(every);
        let looked = counted || self.observe.is_some_and(|every| window.clone().any(|step| due(step, every)));
        let (start, mut counts, mut batch) = (Instant::now(), vec![], Batch::default());
        for step in window {
            batches.fill(&mut batch);
            self.network.write(&mut self.plan, &batch)?;
            match self.observe {
                Some(every) if due(step, every) => self.look()?,
                _ => self.plan.run(),
            }
            counts.push(batch.count);
        }
        self.plan.gpu().wait()?;
        let seconds = start.elapsed().as_secs_f64() / counts.len() as f64;
        self.windows.push(Window { steps: counts.len(), seconds, looked });
        Ok(counts)
    }

    /// Writes down what became of the changes of weights, if a twentieth of the run has gone by since it last did.
    fn record(&mut self, step: usize, steps: usize) -> Result<()> {
        let counted = (self.windows.len() - 1).is_multiple_of(COUNTED);
        let last = self.changes.last().map_or(0, |(step, _)| *step);
        if counted && (step - last) * RECORDED >= steps {
            self.changes.push((step, self.plan.changes().wait()?));
        }
        Ok(())
    }

    /// Runs a step and looks at all tensors.
    fn look(&mut self) -> Result<()> {
        self.plan.observe();
        let seen = self.plan.observations().wait()?;
        match self.observations.is_empty() {
            true => self.observations = seen,
            false => self.observations.iter_mut().zip(&seen).for_each(|(all, one)| all.add(one)),
        }
        Ok(())
    }

    /// Finds the layer of a loss that is not finite, by the batch that it happened on: the weights did not change since.
    fn diagnosed(&mut self, error: Error) -> Result<Error> {
        let Error::NotFinite { step, loss, before, .. } = error else { return Ok(error) };
        let (epoch, at) = (step as usize / self.order.steps, step as usize % self.order.steps);
        let batch = self.order.epoch(epoch)?.epoch(epoch as u32).nth(at);
        self.network.write(&mut self.plan, &batch.expect("the step was run"))?;
        let layer = self.plan.diagnose()?.unwrap_or_else(|| "none but the loss".into());
        if self.observe.is_some() {
            self.look()?;
        }
        Ok(Error::NotFinite { step, loss, layer, before })
    }
}

/// Which samples are used when.
struct Order<'a> {
    data: &'a Dataset,
    batch: usize,
    /// Steps in an epoch.
    steps: usize,
    seed: u64,
    given: Option<&'a [u32]>,
    augment: Option<Augment>,
}

impl<'a> Order<'a> {
    fn new(data: &'a Dataset, setup: &'a Setup, seed: u64) -> Result<Self> {
        let (batch, steps) = (setup.batch, data.batches(setup.batch)?.len());
        let given = setup.order.as_deref();
        if let Some(enough) = given.map(|order| order.len().div_ceil(batch)).filter(|&enough| enough < setup.steps) {
            return Err(Error::Data(format!(
                "the order of the samples ends after {enough} steps of {batch}, {} are to be done",
                setup.steps
            )));
        }
        Ok(Order { data, batch, steps, seed, given, augment: setup.augment })
    }

    /// The batches of an epoch, of which a given order has as many as a shuffled one.
    fn epoch(&self, epoch: usize) -> Result<Batches> {
        let mut batches = self.data.batches(self.batch)?;
        if let Some(augment) = self.augment {
            batches = batches.augmented(augment.seeded(self.seed))?;
        }
        match self.given {
            None => Ok(batches.shuffled(self.seed)),
            Some(order) => {
                let part = order.chunks(self.steps * self.batch).nth(epoch);
                batches.order(part.unwrap_or_default().to_vec())
            }
        }
    }
}

/// The times of windows in which nothing was looked at and that are not much shorter than others; of a very short run, of
/// all.
fn warm(windows: &[Window]) -> Vec<f64> {
    let plain: Vec<&Window> = windows.iter().filter(|w| !w.looked).collect();
    let timed = if plain.is_empty() { windows.iter().collect() } else { plain };
    let longest = timed.iter().map(|w| w.steps).max().unwrap_or(0);
    timed.into_iter().filter(|w| 2 * w.steps >= longest).map(|w| w.seconds).collect()
}
