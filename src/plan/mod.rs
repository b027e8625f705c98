//! `Plan`: a program on a device, ready to be run again and again.

mod again;
mod changes;
mod evaluate;
mod inspect;
mod observe;
#[cfg(not(target_arch = "wasm32"))]
mod profile;
mod save;
mod training;
#[cfg(not(target_arch = "wasm32"))]
mod tune;

use std::{
    collections::BTreeMap,
    fmt,
    num::NonZeroU64,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{
    Caps, Dtype, Error, Gpu, LossScale, Port, Precision, Result, Shape, Tensor, Weights,
    dispatch::{Operand, Program, Source},
    error::Warning,
    gpu::{self, Executable, Reading, Uploads},
    graph::{Graph, Value},
    lower::{self, CLOCK_WORDS, LOSSES, Lowered, Request},
    op::Type,
    optim::{Group, Update, held},
};

pub use crate::lower::Part;
pub use changes::Changes;
pub use evaluate::{Evaluation, class};
pub use observe::Observation;
pub use training::lower_training;
#[cfg(not(target_arch = "wasm32"))]
use tune::tuned;

/// In a browser there are neither files nor waits.
#[cfg(target_arch = "wasm32")]
async fn tuned(gpu: &Gpu, lower: impl Fn(&crate::Caps) -> Result<Lowered>) -> Result<Lowered> {
    lower(gpu.caps())
}

/// How a plan is made and run.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The seed of dropout and other random numbers on the device.
    pub seed: u32,
    /// Whether a loss that is not finite halts training: the weights stay as they were before that step.
    /// If not, the step is skipped.
    pub stop_on_nan: bool,
    /// Whether what becomes of the changes of weights can be recorded; see [`Plan::changes`].
    pub record_changes: bool,
    /// Weights whose learning rate and weight decay differ; of several that a weight belongs to, the first counts.
    pub groups: Vec<Group>,
    /// The largest Euclidean norm that all gradients together may have: longer ones are shortened to it, after the loss
    /// scale is taken out. The sum of squares is f32. A step whose norm is not finite is skipped.
    pub clip_norm: Option<f32>,
    /// The decay `d` of an exponential moving average of the weights, which [`Plan::averaged`] returns: `a ← d·a + (1 − d)·w`
    /// after each update, with `(1 + t) / (10 + t)` for `d` where that is less, so that the first steps are soon forgotten.
    pub average: Option<f32>,
    /// How many runs make one update, by the mean of their gradients: what one run on all of their batches together gives where
    /// the loss is a mean. Gradients are summed in f32. An update is skipped if one of its runs overflowed or had a loss that is not
    /// finite; schedules count updates, skipped ones too. A batch norm looks at the batch of one run, and states follow each run.
    pub accumulate: u32,
    /// The bytes that the plan may take on the device with its weights. Where it would take more, activations are computed again in
    /// the backward pass, with the same random numbers and so to the same values, as few as will do; the program says how many
    /// operations that adds ([`Program::again`]).
    pub memory: Option<u64>,
    /// Whether steps can be observed; see [`Plan::observe`].
    pub observe: bool,
    /// Whether elementwise nodes are fused.
    pub fusion: bool,
    /// Whether nodes that repeat others, or change nothing, are left out. In 16 bit a value that several nodes then share is stored, and
    /// so rounded, where each would have kept its own in registers.
    pub algebra: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            seed: 0,
            stop_on_nan: true,
            record_changes: false,
            groups: vec![],
            clip_norm: None,
            average: None,
            accumulate: 1,
            memory: None,
            observe: false,
            fusion: true,
            algebra: true,
        }
    }
}

impl Options {
    /// The bytes that a plan may take, by what is said here and by the device's limit.
    fn budget(&self, caps: &Caps) -> Option<u64> {
        self.memory.map(|memory| caps.memory.map_or(memory, |most| most.min(memory)))
    }

    /// These options on a device whose settings may switch off more.
    fn within(self, gpu: &Gpu) -> Self {
        let on = gpu.settings().fusion;
        Options { fusion: self.fusion && on, algebra: self.algebra && on, ..self }
    }
}

/// What a training plan has done so far.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Steps run, skipped ones too; with [`Options::accumulate`] several make one update.
    pub steps: u32,
    /// Steps that changed the weights.
    pub updates: u32,
    /// Steps whose gradients overflowed, and which changed nothing; of [`Options::accumulate`] those that should have.
    pub skipped: u32,
    /// The first step whose loss was not finite, if training halted there.
    pub halted: Option<u32>,
    /// The factor on the loss at the next step.
    pub loss_scale: f32,
    /// The learning rate of the last step.
    pub learning_rate: f32,
    /// The norm of all gradients in the last step, before they were clipped; 0 without [`Options::clip_norm`].
    pub gradient_norm: f32,
}

/// `struct Clock` of `shaders/lib/clock.wgsl`; a test compares the two.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
struct Clock {
    step: u32,
    updates: u32,
    skipped: u32,
    seed: u32,
    learning_rate: f32,
    unscale: f32,
    apply: u32,
    halted: u32,
    stop: u32,
    dynamic: u32,
    growth: f32,
    backoff: f32,
    interval: u32,
    clean: u32,
    recording: u32,
    scheduled: u32,
    clip: f32,
    norm: f32,
    follows: u32,
    spare: u32,
}
const _: () = assert!(size_of::<Clock>() == 4 * CLOCK_WORDS);

/// A network on a device, compiled and allocated: [`run`](Self::run) is one step.
///
/// A plan owns what it needs; the graph may be dropped, and tensors kept as [`Port`]s.
pub struct Plan {
    core: Arc<Core>,
    graph: u32,
    names: BTreeMap<String, Value>,
    precision: Precision,
}

/// What a plan runs, shared with the readings that are on their way.
struct Core {
    gpu: Gpu,
    weights: Weights,
    averaged: Option<Weights>,
    lowered: Lowered,
    executable: Executable,
    uploads: Mutex<Uploads>,
    /// Steps whose losses were read.
    read: AtomicU32,
}

impl Core {
    /// What the buffer of this index holds.
    fn buffer(&self, index: usize) -> &wgpu::Buffer {
        self.executable.buffer(index)
    }

    /// A tensor on its way to the host.
    fn read(&self, x: Operand) -> Reading<Vec<f32>> {
        let range = (self.buffer(x.buffer), x.offset, x.bytes());
        Reading::new(&self.gpu, &[range], move |b| Ok(gpu::loaded(b, x.shape, x.dtype)))
    }

    /// What is written for the next step.
    fn uploads(&self) -> MutexGuard<'_, Uploads> {
        self.uploads.lock().expect("no panic while it is held")
    }

    /// Records that inputs take the values written for them.
    fn upload(&self, encoder: &mut wgpu::CommandEncoder) {
        self.uploads().record(encoder, |input| self.buffer(input));
    }

    /// Has inputs take the values written for them before the next step does.
    fn flush(&self) -> Result<()> {
        let written = self.uploads().is_written();
        if written { self.submit(|_| {}) } else { Ok(()) }
    }

    /// Has inputs take the values written for them, and then the device do what `record` records.
    fn submit(&self, record: impl FnOnce(&mut wgpu::CommandEncoder)) -> Result<()> {
        let submit = || {
            let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
            self.upload(&mut encoder);
            record(&mut encoder);
            self.gpu.queue().submit([encoder.finish()])
        };
        let submission = self.gpu.guarded("running a step", submit)?;
        self.uploads().submitted(submission);
        Ok(())
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Plan of {} dispatches in {}", self.program().dispatches.len(), self.precision)
    }
}

/// A number that [`Plan::write`] takes: `f32` for inputs, `u32` for labels.
pub trait Element: word::Word {}
impl Element for f32 {}
impl Element for u32 {}

/// What keeps others from writing numbers of other sizes.
mod word {
    pub trait Word: bytemuck::NoUninit {
        /// Whether the values are labels.
        const LABEL: bool;
    }
    impl Word for f32 {
        const LABEL: bool = false;
    }
    impl Word for u32 {
        const LABEL: bool = true;
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Plan {
    /// A plan whose steps train: forward, backward, update of every weight that the loss depends on and that is not frozen.
    ///
    /// # Errors
    /// The graph's first mistake; a loss that is not a scalar; numbers of the optimizer that mean nothing; what the device cannot
    /// hold or compile.
    pub fn train(gpu: &Gpu, weights: &Weights, loss: Tensor, optimizer: impl Update) -> Result<Self> {
        pollster::block_on(Self::train_async(gpu, weights, loss, &optimizer, Options::default()))
    }

    /// As [`train`](Self::train), with options.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn train_with(
        gpu: &Gpu,
        weights: &Weights,
        loss: Tensor,
        optimizer: &dyn Update,
        options: Options,
    ) -> Result<Self> {
        pollster::block_on(Self::train_async(gpu, weights, loss, optimizer, options))
    }

    /// A plan that only computes `outputs`: dropout is off.
    ///
    /// # Errors
    /// The graph's first mistake; what the device cannot hold or compile.
    pub fn infer<'g>(gpu: &Gpu, weights: &Weights, outputs: impl IntoIterator<Item = Tensor<'g>>) -> Result<Self> {
        let outputs: Vec<_> = outputs.into_iter().collect();
        Self::infer_with(gpu, weights, &outputs, Options::default())
    }

    /// As [`infer`](Self::infer), with options: of those, `seed`, `memory`, `observe`, `fusion` and `algebra` say something here.
    ///
    /// # Errors
    /// As [`infer`](Self::infer); [`Error::Memory`] if it takes more than [`Options::memory`].
    pub fn infer_with(gpu: &Gpu, weights: &Weights, outputs: &[Tensor], options: Options) -> Result<Self> {
        pollster::block_on(Self::infer_async(gpu, weights, outputs, options))
    }
}

impl Plan {
    /// [`train_with`](Self::train_with), without blocking.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub async fn train_async(
        gpu: &Gpu,
        weights: &Weights,
        loss: Tensor<'_>,
        optimizer: &dyn Update,
        options: Options,
    ) -> Result<Self> {
        let options = options.within(gpu);
        let lowered = tuned(gpu, |caps| lower_training(loss, optimizer, caps, &options)).await?;
        let follower = match options.average {
            Some(_) => Some(weights.follower().await?),
            None => None,
        };
        let plan = Self::new(gpu, weights, follower, loss.graph, lowered).await?;
        plan.start(&options);
        Ok(plan)
    }

    /// [`infer_with`](Self::infer_with), without blocking.
    ///
    /// # Errors
    /// As [`infer`](Self::infer).
    pub async fn infer_async(gpu: &Gpu, weights: &Weights, outputs: &[Tensor<'_>], options: Options) -> Result<Self> {
        let Some(first) = outputs.first() else {
            return Err(Error::Port("a plan needs an output to compute".into()));
        };
        let graph = first.graph;
        if outputs.iter().any(|t| t.graph.id() != graph.id()) {
            return Err(Error::Port("the outputs belong to different graphs".into()));
        }
        let wanted: Vec<Value> = outputs.iter().map(|t| t.value).collect();
        let options = options.within(gpu);
        let lowered = tuned(gpu, |caps| {
            lower::lower(&Request {
                graph,
                caps: &Caps { memory: options.budget(caps).or(caps.memory), ..caps.clone() },
                wanted: wanted.clone(),
                training: None,
                observe: options.observe,
                fusion: options.fusion,
                algebra: options.algebra,
            })
        });
        let lowered = lowered.await?;
        let plan = Self::new(gpu, weights, None, graph, lowered).await?;
        plan.start(&options);
        Ok(plan)
    }

    async fn new(
        gpu: &Gpu,
        weights: &Weights,
        averaged: Option<Weights>,
        graph: &Graph,
        mut lowered: Lowered,
    ) -> Result<Self> {
        weights.belong_to(graph, gpu)?;
        lowered.program.warnings.extend(gpu::too_long(&lowered.program, gpu.settings().slice_on(gpu.caps().kind)));
        let shared = |source| match (source, &averaged) {
            (Source::Average(c), Some(f)) => f.buffer(Source::Master(c)),
            (Source::AverageCopy(c), Some(f)) => f.buffer(Source::Weights(c)),
            _ => weights.buffer(source),
        };
        let executable = Executable::new(gpu, &lowered.program, |source| shared(source).clone()).await?;
        let uploads =
            Mutex::new(Uploads::new(&lowered.program, lowered.inputs.iter().copied(), gpu.caps().buffer_bytes));
        let precision = graph.precision();
        let scale = gpu::stored(&[precision.loss_scale.initial(graph.batch())], Shape::default(), precision.wide());
        gpu.queue().write_buffer(executable.buffer(lowered.control.scale), 0, &scale);
        Ok(Plan {
            core: Arc::new(Core {
                gpu: gpu.clone(),
                weights: weights.clone(),
                averaged,
                lowered,
                executable,
                uploads,
                read: AtomicU32::new(0),
            }),
            graph: graph.id(),
            names: graph.names(),
            precision,
        })
    }

    /// Writes the state that a run starts from.
    fn start(&self, options: &Options) {
        let mut clock = Clock {
            seed: options.seed,
            scheduled: 1,
            clip: options.clip_norm.unwrap_or(0.0),
            stop: options.stop_on_nan.into(),
            recording: options.record_changes.into(),
            ..Clock::default()
        };
        if let LossScale::Dynamic { growth, backoff, interval, .. } = self.precision.loss_scale {
            clock = Clock { dynamic: 1, growth, backoff, interval, ..clock };
        }
        let buffer = self.core.buffer(self.core.lowered.control.clock);
        self.core.gpu.queue().write_buffer(buffer, 0, bytemuck::bytes_of(&clock));
    }

    /// Sets the learning rate from the next step on, in the place of the optimizer's schedule.
    pub fn set_learning_rate(&mut self, learning_rate: f32) {
        let learning_rate = held(learning_rate, self.precision);
        self.set(std::mem::offset_of!(Clock, learning_rate), &learning_rate.to_le_bytes());
        self.set(std::mem::offset_of!(Clock, scheduled), &0u32.to_le_bytes());
    }

    /// Sets a word of the clock.
    fn set(&self, offset: usize, value: &[u8; 4]) {
        let buffer = self.core.buffer(self.core.lowered.control.clock);
        self.core.gpu.queue().write_buffer(buffer, offset as u64, value);
    }

    /// Fills an input or labels for the next step: values in row-major order, without padding. They are copied and may be dropped
    /// at once; steps that are under way neither see them nor hold this up, unless 64 of them or more than 64 MiB wait.
    ///
    /// # Errors
    /// [`Error::Port`] if it is no input of this plan or of the other kind; [`Error::Length`]; [`Error::Memory`] and
    /// [`Error::Device`].
    pub fn write<'p, T: Element>(&mut self, port: impl Into<Port<'p>>, values: &[T]) -> Result<()> {
        let port = port.into();
        let x = self.find(port)?;
        if !self.core.lowered.inputs.contains(&x.buffer) {
            return Err(Error::Port(format!("{} is no input; Weights::set writes a weight", self.name(port))));
        }
        if (x.dtype == Dtype::U32) != T::LABEL {
            let wants = if T::LABEL { "f32" } else { "u32" };
            return Err(Error::Port(format!("{} takes {wants} values", self.name(port))));
        }
        if values.len() != x.shape.len() {
            let (expected, found) = (x.shape.len(), values.len());
            return Err(Error::Length { name: self.name(port), shape: x.shape, expected, found });
        }
        self.gpu().check()?;
        // Labels are words, and so are f32: the bits are laid out alike.
        let dtype = if T::LABEL { Dtype::F32 } else { x.dtype };
        self.core.uploads().write(self.gpu(), x.buffer, bytemuck::cast_slice(values), x.shape, dtype)
    }

    /// [`write`](Self::write) of numbers, which become labels where the port takes those: a batch of data, whose samples may be
    /// tokens.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_numbers<'p>(&mut self, port: impl Into<Port<'p>>, values: &[f32]) -> Result<()> {
        let port = port.into();
        match self.find(port)?.dtype {
            Dtype::U32 => self.write(port, &values.iter().map(|&v| v as u32).collect::<Vec<_>>()),
            _ => self.write(port, values),
        }
    }

    /// One step: everything once; returns at once. It is one submission, or several where a long one may end in a reset of the
    /// GPU: [`Settings::slice`](crate::gpu::Settings::slice). What goes wrong is told by whatever is read next.
    pub fn run(&mut self) {
        self.submit(false);
    }

    fn submit(&mut self, observe: bool) {
        for part in self.core.executable.parts() {
            let encode = |encoder: &mut _| self.core.executable.encode(encoder, part.clone(), observe);
            self.gpu().remember(self.core.submit(encode));
        }
    }

    /// Records one whole step into an encoder that the app submits, and before it the inputs written since the last: an encoder
    /// that is dropped takes them along. It is one piece, however long the step: what [`run`](Self::run) cuts into several submissions,
    /// so that no GPU is reset, the app submits at once.
    pub fn encode(&mut self, encoder: &mut wgpu::CommandEncoder) {
        self.gpu().remember(self.gpu().guarded("writing inputs", || self.core.upload(encoder)));
        self.core.executable.encode(encoder, 0..self.program().dispatches.len(), false);
    }

    /// Whether this plan reads or keeps a tensor, so that it can be written or read.
    pub fn has<'p>(&self, port: impl Into<Port<'p>>) -> bool {
        self.find(port.into()).is_ok()
    }

    /// Shape and type, as it lies in memory, of what this plan reads or keeps.
    ///
    /// # Errors
    /// [`Error::Port`] if this plan does not keep it.
    pub fn type_of<'p>(&self, port: impl Into<Port<'p>>) -> Result<Type> {
        let x = self.find(port.into())?;
        Ok(Type { shape: x.shape, dtype: x.dtype })
    }

    /// The values of an output, an input or a watched tensor after the steps run so far.
    ///
    /// # Errors
    /// [`Error::Port`] if this plan does not keep it; [`Error::Device`] if what was written for it does not get there.
    pub fn read<'p>(&self, port: impl Into<Port<'p>>) -> Result<Reading<Vec<f32>>> {
        let x = self.find(port.into())?;
        self.core.flush()?;
        Ok(self.core.read(x))
    }

    /// Where an output, an input or a watched tensor lies, to be bound without a copy: values of its [type](Self::type_of), rows
    /// padded to a multiple of four.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn buffer<'p>(&self, port: impl Into<Port<'p>>) -> Result<wgpu::BufferBinding<'_>> {
        let x = self.find(port.into())?;
        self.core.flush()?;
        Ok(wgpu::BufferBinding {
            buffer: self.core.buffer(x.buffer),
            offset: x.offset,
            size: NonZeroU64::new(x.bytes()),
        })
    }

    /// The losses of the steps that the device did since those that were read before, at most the last 1024; none of a plan
    /// that infers.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if training halted, with what [`diagnose`](Self::diagnose) finds, for which it waits.
    pub fn losses(&mut self) -> Reading<Vec<f32>> {
        let core = self.core.clone();
        let control = core.lowered.control;
        let clock = (self.core.buffer(control.clock), 0, 4 * CLOCK_WORDS as u64);
        let log = self.core.buffer(control.losses);
        Reading::new(&self.core.gpu, &[clock, (log, 0, log.size())], move |b| {
            let (clock, log) = b.split_at(4 * CLOCK_WORDS);
            let Clock { step, halted, .. } = bytemuck::pod_read_unaligned(clock);
            let log: Vec<f32> = log.chunks_exact(4).map(|v| f32::from_le_bytes([v[0], v[1], v[2], v[3]])).collect();
            let at = |step: u32| log[step as usize % log.len()];
            let end = halted.checked_sub(1).unwrap_or(step);
            let read = core.read.fetch_max(end, Ordering::Relaxed);
            let losses = (read.max(step.saturating_sub(LOSSES as u32))..end).map(at).collect();
            match halted {
                0 => Ok(losses),
                _ => Err(Error::NotFinite { step: end, loss: at(end), layer: core.first_bad()?, before: losses }),
            }
        })
    }

    /// Counts of steps and skipped steps, the loss scale, the learning rate.
    pub fn progress(&self) -> Reading<Progress> {
        let control = self.core.lowered.control;
        let part = |index, words: usize| (self.core.buffer(index), 0, 4 * words as u64);
        let scale = self.core.buffer(control.scale);
        let scale_bytes = self.program().buffers[control.scale].bytes;
        let dtype = self.precision.wide();
        let ranges = [part(control.clock, CLOCK_WORDS), (scale, 0, scale_bytes)];
        Reading::new(&self.core.gpu, &ranges, move |b| {
            let (clock, scale) = b.split_at(4 * CLOCK_WORDS);
            let clock: Clock = bytemuck::pod_read_unaligned(clock);
            Ok(Progress {
                steps: clock.step,
                updates: clock.updates,
                skipped: clock.skipped,
                halted: clock.halted.checked_sub(1),
                loss_scale: gpu::loaded(scale, Shape::default(), dtype)[0],
                learning_rate: clock.learning_rate,
                gradient_norm: clock.norm,
            })
        })
    }

    /// The moving average of the weights that the plan trains, if it was made with [`Options::average`]: weights for plans that
    /// infer, always as of the last step. It is kept in f32 in every precision; the states are those of the trained weights.
    ///
    /// ```
    /// use halfgrad::{Gpu, Graph, Plan, Precision, Sgd, Weights, nn, plan::Options};
    /// let (gpu, graph) = (Gpu::new()?, Graph::new(Precision::F16));
    /// let y = nn::linear("fc", graph.input("x", [4, 8]), 3);
    /// let weights = Weights::init(&gpu, &graph, 1)?;
    /// let options = Options { average: Some(0.999), ..Options::default() };
    /// let train = Plan::train_with(&gpu, &weights, y.square().mean_all(), &Sgd::new(0.1), options)?;
    /// let infer = Plan::infer(&gpu, train.averaged().unwrap(), [y])?;
    /// # Ok::<(), halfgrad::Error>(())
    /// ```
    pub fn averaged(&self) -> Option<&Weights> {
        self.core.averaged.as_ref()
    }

    /// The dispatches of one step.
    pub fn program(&self) -> &Program {
        &self.core.lowered.program
    }

    /// Values of the user's that this precision cannot hold.
    pub fn warnings(&self) -> &[Warning] {
        &self.core.lowered.program.warnings
    }

    /// The device that the plan runs on.
    pub fn gpu(&self) -> &Gpu {
        &self.core.gpu
    }

    /// Where a tensor lies.
    fn find(&self, port: Port) -> Result<Operand> {
        let value = match port {
            Port::Value { graph, .. } if graph != self.graph => {
                return Err(Error::Port("the tensor belongs to another graph than the plan".into()));
            }
            Port::Value { value, .. } => value,
            Port::Name(name) => {
                *self.names.get(name).ok_or_else(|| Error::name(name, "no tensor of the plan's graph has this name"))?
            }
        };
        let lost = || {
            Error::Port(format!(
                "{} is not in this plan: it reads no such input, or must be told to keep it by watch() before the plan is made",
                self.name(port)
            ))
        };
        self.core.lowered.ports.get(&value).copied().ok_or_else(lost)
    }

    /// What to call a tensor in messages.
    fn name(&self, port: Port) -> String {
        match port {
            Port::Name(name) => format!("{name:?}"),
            Port::Value { value, .. } => {
                let named = self.names.iter().find(|(_, v)| **v == value);
                named.map_or_else(|| format!("tensor {}", value.node), |(name, _)| format!("{name:?}"))
            }
        }
    }
}
