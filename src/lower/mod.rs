//! From a graph to a [`Program`]: reach → algebra → fuse → lower → slots. No GPU in sight.

use std::collections::{BTreeMap, BTreeSet};

use self::{
    nodes::{Fused, Lowering},
    reach::Reached,
};
use crate::{
    Dtype, Error, Graph, Result, Shape, Tensor,
    arena::{self, Arena, Chunk},
    caps::Caps,
    dispatch::*,
    graph::{Origin, Value},
    optim::{Group, Update},
};

mod algebra;
mod beside;
mod chain;
mod fuse;
mod nodes;
mod observe;
mod pools;
mod reach;
mod simulate;
mod slots;
mod states;
mod train;

pub use observe::{Observer, Part, WORDS, Watched};

/// What a plan is made for.
pub struct Request<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// The adapter.
    pub caps: &'a Caps,
    /// What the user wants to read.
    pub wanted: Vec<Value>,
    /// The updates to make, if the plan trains.
    pub training: Option<Training<'a>>,
    /// Whether tensors can be looked at.
    pub observe: bool,
    /// Whether elementwise nodes are fused.
    pub fusion: bool,
    /// Whether nodes that repeat others, or change nothing, are left out.
    pub algebra: bool,
}

/// What a training plan does after the backward pass.
pub struct Training<'a> {
    /// The loss.
    pub loss: Value,
    /// The rule that changes the weights.
    pub optimizer: &'a dyn Update,
    /// Each trained weight, in the order of the graph, and its gradient.
    pub gradients: Vec<(Value, Value)>,
    /// Whether what becomes of the changes of weights is recorded.
    pub record_changes: bool,
    /// Weights with factors of their own.
    pub groups: &'a [Group],
    /// Whether the norm of all gradients is taken, to clip them by.
    pub clip_norm: bool,
    /// How slowly an average follows the weights, if there is one.
    pub average: Option<f32>,
    /// How many runs make one update.
    pub runs: u32,
    /// The nodes whose results are to lie in memory, and those of what computes them again, so that both are rounded alike.
    pub stored: Option<&'a BTreeSet<usize>>,
}

/// A program, and where to find what the host reads and writes.
#[derive(Debug, Clone, Default)]
pub struct Lowered {
    /// The dispatches and buffers.
    pub program: Program,
    /// Where inputs, wanted and watched values lie.
    pub ports: BTreeMap<Value, Operand>,
    /// The buffers of the inputs.
    pub inputs: BTreeSet<usize>,
    /// The buffers of a run's state.
    pub control: Control,
    /// For each dispatch of the forward and backward pass its ops and layer, for error messages.
    pub layers: Vec<String>,
    /// Where changes of weights are recorded.
    pub records: Vec<Record>,
    /// What the plan itself keeps of each trained weight from step to step.
    pub kept: Vec<Kept>,
    /// The tensors that observed steps look at.
    pub observer: Observer,
    /// The nodes whose results lie in memory; those of others are in registers only.
    pub stored: BTreeSet<usize>,
    /// Whether a run changes weights.
    pub trains: bool,
}

/// Where it is recorded what became of the changes of one weight.
#[derive(Debug, Clone)]
pub struct Record {
    /// The weight's name.
    pub weight: String,
    /// Rows of four sums: see `lib/update.wgsl`.
    pub sums: Operand,
}

/// What a plan keeps of one weight from step to step: a moment, what rounding has taken, a sum of gradients.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What it is: one of [`Update::moments`], `missing` or `sums`.
    pub what: &'static str,
    /// The weight's name.
    pub weight: String,
    /// Where it lies, in the weight's shape.
    pub values: Operand,
}

/// The small buffers that carry a run's state from step to step.
#[derive(Debug, Clone, Copy, Default)]
pub struct Control {
    /// `struct Clock` of `lib/clock.wgsl`.
    pub clock: usize,
    /// The loss scale, as a tensor.
    pub scale: usize,
    /// Whether gradients overflowed: any invocation may say so.
    pub flags: usize,
    /// The losses of the last [`LOSSES`] steps.
    pub losses: usize,
}

/// How many steps' losses the device keeps for the host.
pub const LOSSES: usize = 1024;
/// Words in `struct Clock`.
pub const CLOCK_WORDS: usize = 20;
/// Words of `flags`: overflow, and three that fill its group.
pub const FLAG_WORDS: usize = 4;

/// Makes the program that computes what `request` wants.
///
/// # Errors
/// The graph's first mistake, a precision that the adapter cannot run, a tensor that it cannot bind.
pub fn lower(request: &Request) -> Result<Lowered> {
    request.graph.check()?;
    let precision = request.graph.precision();
    request.caps.supports(precision)?;
    if let Some(detail) = precision.loss_scale.mistake() {
        return Err(Error::name("loss scale", detail));
    }
    let scale = precision.loss_scale.initial(request.graph.batch());
    if precision.wide() == Dtype::F16 && half::f16::from_f32(scale).is_infinite() {
        let detail = format!("{scale} is more than f16 holds, in which {precision} keeps it; use at most 32768");
        return Err(Error::name("loss scale", detail));
    }

    simulate::check(request)?;
    let reached = Reached::new(request);
    let mut program = Program { warnings: request.graph.warnings(), ..Program::default() };
    let control = control_buffers(&mut program, request);
    let mut places = Places { operands: BTreeMap::new(), pinned: BTreeSet::new() };
    let weights = place_weights(request, &mut program, &mut places)?;
    let arenas = train::arenas(request, weights, &mut program, &mut places)?;
    let fused = Fused::new(request, &reached);
    let statistics = states::arenas(request, &reached, &fused, &mut program, &mut places);
    place_inputs(&reached, &mut program, &mut places, control);

    let observer = match request.observe {
        true => Observer::new(&mut program, 2 * reached.nodes.len()),
        false => Observer::default(),
    };
    let trains = request.training.is_some();
    let made = Lowered { program, control, observer, trains, ..Lowered::default() };
    let wide = simulate::wide(&reached);
    let mut lowering = Lowering { request, reached: &reached, fused: &fused, wide, places, made };
    lowering.nodes();
    let Lowering { places, mut made, .. } = lowering;
    made.stored = places.operands.keys().map(|v| v.node).collect();

    if let Some(training) = &request.training {
        for (w, g) in &training.gradients {
            let name = request.graph.node(w.node).name.unwrap_or_default();
            made.look(places.operands[w], Part::Weight, &name, precision);
            made.look(places.operands[g], Part::Gradient, &name, precision);
        }
        made.records = train::lower(request, training, &arenas, &places, control, &mut made.program);
        made.kept = arenas.kept;
        states::lower(request, &reached, &statistics, &places, control, &mut made.program);
    }
    finish(request, &reached, places, made)
}

/// Shares memory between what is never needed together, and checks that the device can hold the rest.
fn finish(request: &Request, reached: &Reached, mut places: Places, mut made: Lowered) -> Result<Lowered> {
    // A weight or state that nothing reached has a place but no node here.
    let is_input = |v: &Value| reached.nodes.get(&v.node).is_some_and(|n| matches!(n.origin, Origin::Input));
    let ports: BTreeMap<Value, Operand> = places
        .operands
        .iter()
        .filter(|(v, _)| reached.is_wanted(v.node) || is_input(v))
        .map(|(v, x)| (*v, *x))
        .collect();
    places.pinned.extend(ports.values().map(|x| x.buffer));
    let index = slots::assign(&mut made.program, &places.pinned, request.caps.buffer_bytes);
    let moved = |x: Operand| Operand { buffer: index[x.buffer].0, offset: x.offset + index[x.buffer].1, ..x };
    made.ports = ports.into_iter().map(|(v, x)| (v, moved(x))).collect();
    made.inputs = made.ports.iter().filter(|(v, _)| is_input(v)).map(|(_, x)| x.buffer).collect();
    let control = &mut made.control;
    for slot in [&mut control.clock, &mut control.scale, &mut control.flags, &mut control.losses] {
        *slot = index[*slot].0;
    }
    made.records.iter_mut().for_each(|r| r.sums = moved(r.sums));
    made.kept.iter_mut().for_each(|k| k.values = moved(k.values));
    made.observer.counts = made.observer.counts.map(|c| index[c].0);
    check_limits(&made.program, request.caps)?;
    made.program.parameters = request.graph.weights().iter().map(|w| w.shape().len()).sum();
    Ok(made)
}

/// Where values lie, and which buffers are not shared.
pub(crate) struct Places {
    operands: BTreeMap<Value, Operand>,
    pinned: BTreeSet<usize>,
}

fn value(node: usize, output: usize) -> Value {
    Value { node, output }
}

fn clock(control: Control) -> Operand {
    Operand { buffer: control.clock, offset: 0, shape: Shape::from([CLOCK_WORDS]), dtype: Dtype::U32 }
}

fn control_buffers(program: &mut Program, request: &Request) -> Control {
    let precision = request.graph.precision();
    let mut words = |name: &str, n: usize| program.buffer(name, Role::Control, Source::Plan, 4 * n as u64);
    Control {
        clock: words("clock", CLOCK_WORDS),
        flags: words("flags", FLAG_WORDS),
        losses: words("losses", if request.training.is_some() { LOSSES } else { 1 }),
        // One group in the type of losses.
        scale: words("scale", precision.wide().bytes()),
    }
}

/// Gives each weight and state its place in the arena of its kind; the first buffer of the weights, and their chunks.
fn place_weights(request: &Request, program: &mut Program, places: &mut Places) -> Result<(usize, Vec<Chunk>)> {
    let mut place = |tensors: Vec<Tensor>, name: &str, source: fn(usize) -> Source| -> Result<_> {
        let arena = Arena::new(tensors.iter().map(|t| (t.shape(), t.dtype())), request.caps.binding_bytes)?;
        let first = program.buffers.len();
        for (c, chunk) in arena.chunks.iter().enumerate() {
            program.buffer(format!("{name}{c}"), Role::Weights, source(c), chunk.bytes(chunk.dtype));
        }
        for (t, (chunk, group)) in tensors.iter().zip(&arena.places) {
            let (shape, dtype) = (t.shape(), t.dtype());
            let offset = arena::offset(*group, dtype);
            places.operands.insert(t.value, Operand { buffer: first + chunk, offset, shape, dtype });
        }
        Ok((first, arena.chunks))
    };
    let weights = place(request.graph.weights(), "w", Source::Weights)?;
    place(request.graph.states(), "state", Source::States)?;
    Ok(weights)
}

/// Gives each input a buffer that the host writes.
fn place_inputs(reached: &Reached, program: &mut Program, places: &mut Places, control: Control) {
    for (&n, node) in &reached.nodes {
        let ty = node.outputs[0];
        let buffer = match node.origin {
            Origin::Input => {
                let name = node.name.clone().unwrap_or_default();
                program.buffer(name, Role::Activations, Source::Plan, bytes(ty.shape, ty.dtype))
            }
            Origin::LossScale => control.scale,
            _ => continue,
        };
        places.operands.insert(value(n, 0), Operand { buffer, offset: 0, shape: ty.shape, dtype: ty.dtype });
    }
}

/// Fails, before anything is allocated, if the plan, a buffer or a binding is larger than the device allows.
fn check_limits(program: &Program, caps: &Caps) -> Result<()> {
    let memory = |detail: String| {
        let advice = "a smaller batch or 16 bit would need less";
        Err(Error::Memory(format!("{}, {detail}; {advice}", program.memory())))
    };
    if let Some(limit) = caps.memory.filter(|&limit| program.total_bytes() > limit) {
        return memory(format!("the limit is {}B", count(limit)));
    }
    if let Some(b) = program.buffers.iter().find(|b| b.bytes > caps.buffer_bytes) {
        return memory(format!(
            "{:?} allows {}B a buffer and {:?} is larger",
            caps.adapter,
            count(caps.buffer_bytes),
            b.name
        ));
    }
    for d in &program.dispatches {
        if let Some((x, _)) = d.bindings.iter().find(|(x, _)| x.bytes() > caps.binding_bytes) {
            let (bytes, limit) = (count(x.bytes()), count(caps.binding_bytes));
            return memory(format!(
                "{:?} binds a tensor {} {} of {bytes}B, {:?} allows {limit}B a binding",
                d.label, x.dtype, x.shape, caps.adapter
            ));
        }
        if d.bindings.len() as u32 > caps.storage_buffers {
            let detail =
                format!("{:?} binds {} storage buffers, it allows {}", d.label, d.bindings.len(), caps.storage_buffers);
            return Err(Error::Unsupported { adapter: caps.adapter.clone(), detail });
        }
    }
    Ok(())
}
