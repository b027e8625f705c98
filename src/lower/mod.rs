//! From a graph to a [`Program`]: reach → fuse → lower → slots. No GPU in sight.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Dtype, Error, Graph, Result, Shape, Tensor,
    arena::{self, Arena},
    caps::Caps,
    dispatch::*,
    graph::{Assignment, Node, Origin, Value},
    op::{Io, Kind},
    optim::{Group, Update},
};

mod fuse;
mod slots;
mod train;

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
    /// Whether elementwise nodes are fused.
    pub fusion: bool,
}

/// What a training plan does after the backward pass.
pub struct Training<'a> {
    /// The loss.
    pub loss: Value,
    /// The rule that changes the weights.
    pub optimizer: &'a dyn Update,
    /// Each trained weight, in the order of the graph, and its gradient.
    pub gradients: Vec<(Value, Value)>,
    /// Whether changes that rounding loses are counted.
    pub count_updates: bool,
    /// Weights with factors of their own.
    pub groups: &'a [Group],
    /// Whether the norm of all gradients is taken, to clip them by.
    pub clip_norm: bool,
    /// How slowly an average follows the weights, if there is one.
    pub average: Option<f32>,
}

/// A program, and where to find what the host reads and writes.
#[derive(Debug, Clone)]
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
}

/// The small buffers that carry a run's state from step to step.
#[derive(Debug, Clone, Copy)]
pub struct Control {
    /// `struct Clock` of `lib/clock.wgsl`.
    pub clock: usize,
    /// The loss scale, as a tensor.
    pub scale: usize,
    /// Counters that any invocation may add to.
    pub flags: usize,
    /// The losses of the last [`LOSSES`] steps.
    pub losses: usize,
}

/// How many steps' losses the device keeps for the host.
pub const LOSSES: usize = 1024;
/// Words in `struct Clock`.
pub const CLOCK_WORDS: usize = 20;
/// Words of `flags`: overflow; lost updates and all updates, two words each.
pub const FLAG_WORDS: usize = 8;

/// The nodes that the wanted values depend on.
pub(crate) struct Reached {
    nodes: BTreeMap<usize, Node>,
    /// For each node, who reads which of its results.
    consumers: BTreeMap<usize, Vec<(usize, usize)>>,
    wanted: BTreeSet<usize>,
    /// What becomes of the states.
    assignments: Vec<Assignment>,
    inference: bool,
    fusion: bool,
    /// The type of statistics.
    wide: Dtype,
}

/// The nodes `from`, and all that they depend on; a node that hands on an operand depends on no other.
fn ancestors(graph: &Graph, from: impl IntoIterator<Item = usize>, inference: bool) -> BTreeMap<usize, Node> {
    let mut nodes: BTreeMap<usize, Node> = BTreeMap::new();
    let mut todo: Vec<usize> = from.into_iter().collect();
    while let Some(n) = todo.pop() {
        nodes.entry(n).or_insert_with(|| {
            let mut node = graph.node(n);
            if let Origin::Op(op) = &node.origin
                && let Some(k) = op.hands_on(inference)
            {
                node.inputs = vec![node.inputs[k]];
            }
            todo.extend(node.inputs.iter().map(|v| v.node));
            node
        });
    }
    nodes
}

impl Reached {
    fn new(request: &Request) -> Self {
        let mut roots = request.wanted.clone();
        if let Some(t) = &request.training {
            roots.push(t.loss);
            roots.extend(t.gradients.iter().map(|g| g.1));
        }
        let mut wanted: BTreeSet<usize> = roots.iter().map(|v| v.node).collect();
        let inference = request.training.is_none();
        let mut nodes = ancestors(request.graph, wanted.iter().copied(), inference);
        let mut assignments = if inference { vec![] } else { request.graph.assignments() };
        let is_input = |node: &Node| matches!(node.origin, Origin::Input);
        let needed = nodes.keys().copied().collect::<BTreeSet<_>>();
        assignments.retain(|a| {
            let more = ancestors(request.graph, [a.value.node], inference);
            let fits = more.iter().all(|(n, node)| !is_input(node) || needed.contains(n));
            if fits {
                nodes.extend(more);
            }
            fits
        });
        wanted.extend(assignments.iter().map(|a| a.value.node));
        wanted.extend(nodes.iter().filter(|(_, node)| node.watched).map(|(&n, _)| n));
        let mut consumers: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        for (&n, node) in &nodes {
            for v in &node.inputs {
                consumers.entry(v.node).or_default().push((n, v.output));
            }
        }
        let wide = request.graph.precision().wide();
        Reached { nodes, consumers, wanted, assignments, inference, fusion: request.fusion, wide }
    }

    fn kind(&self, n: usize) -> Kind {
        match &self.nodes[&n].origin {
            Origin::Op(op) if op.hands_on(self.inference).is_some() => Kind::View,
            Origin::Op(op) => op.kind(),
            _ => Kind::Kernel,
        }
    }

    /// Whether a value of this type can be read by what is fused behind node `n`.
    fn can_load(&self, n: usize, dtype: Dtype) -> bool {
        let node = &self.nodes[&n];
        let wide = dtype == self.wide && matches!(&node.origin, Origin::Op(op) if op.loads_wide());
        wide || dtype == node.outputs[0].dtype
    }

    fn is_wanted(&self, n: usize) -> bool {
        self.wanted.contains(&n)
    }

    /// Whether a constant must lie in memory: somebody wants it, or a kernel reads it.
    fn needs_memory(&self, n: usize) -> bool {
        let read = |c: &(usize, usize)| !matches!(self.kind(c.0), Kind::Map(_));
        self.is_wanted(n) || self.consumers.get(&n).is_some_and(|c| c.iter().any(read))
    }

    /// Whether a value is a constant that is written into the expressions which use it.
    fn is_inlined(&self, n: usize) -> bool {
        self.nodes[&n].inputs.is_empty() && matches!(self.kind(n), Kind::Map(_))
    }
}

/// Makes the program that computes what `request` wants.
///
/// # Errors
/// The graph's first mistake, a precision that the adapter cannot run, a tensor that it cannot bind.
pub fn lower(request: &Request) -> Result<Lowered> {
    request.graph.check()?;
    let precision = request.graph.precision();
    request.caps.supports(precision)?;
    let scale = precision.loss_scale.initial();
    if precision.wide() == Dtype::F16 && half::f16::from_f32(scale).is_infinite() {
        let detail = format!("{scale} is more than f16 holds, in which {precision} keeps it; use at most 32768");
        return Err(Error::name("loss scale", detail));
    }

    let reached = Reached::new(request);
    let mut program = Program { warnings: request.graph.warnings(), ..Program::default() };
    let control = control_buffers(&mut program, request);
    let mut places = Places { operands: BTreeMap::new(), pinned: BTreeSet::new() };
    place_weights(request, &mut program, &mut places)?;
    let arenas = train::arenas(request, &mut program, &mut places)?;
    place_inputs(&reached, &mut program, &mut places, control);

    let groups =
        if reached.fusion { fuse::groups(&reached, request.caps.storage_buffers) } else { fuse::singles(&reached) };
    let mut layers = vec![];
    for (&n, node) in &reached.nodes {
        let group = groups.of.get(&n).map(|&g| &groups.groups[g]);
        // A group runs in the place of its last member; what it reads is computed by then.
        if group.is_some_and(|g| g.members.last() != Some(&n)) || (group.is_none() && reached.is_inlined(n)) {
            continue;
        }
        let first = group.map_or(n, |g| g.head.unwrap_or(g.members[0]));
        let Origin::Op(op) = &reached.nodes[&first].origin else { continue };
        if reached.kind(first) == Kind::View {
            let seen = places.operands[&node.inputs[0]].seen_as(node.outputs[0].shape);
            places.operands.insert(value(n, 0), seen);
            continue;
        }
        let outputs: Vec<Operand> = node
            .outputs
            .iter()
            .enumerate()
            .map(|(i, ty)| *places.operands.entry(value(n, i)).or_insert_with(|| program.scratch(ty.shape, ty.dtype)))
            .collect();
        let inputs: Vec<Operand> = match group {
            Some(g) if g.head.is_none() => vec![],
            _ => reached.nodes[&first].inputs.iter().map(|v| places.operands[v]).collect(),
        };
        let chain = group.map(|g| fuse::chain(&reached, g, |v| places.operands[&v]));
        let label = label(&reached, first, group);
        let io = Io {
            caps: request.caps,
            precision,
            inputs: &inputs,
            outputs: &outputs,
            clock: clock(control),
            chain: chain.as_ref(),
            label: &label,
        };
        op.lower(&io, &mut program);
        layers.resize(program.dispatches.len(), label);
    }

    if let Some(training) = &request.training {
        train::lower(request, training, &arenas, &places, control, &mut program);
        reached.assignments.iter().for_each(|a| train::average(request, a, &places, control, &mut program));
    }
    finish(request, &reached, program, places, control, layers)
}

/// Shares memory between what is never needed together, and checks that the device can hold the rest.
fn finish(
    request: &Request,
    reached: &Reached,
    mut program: Program,
    mut places: Places,
    mut control: Control,
    layers: Vec<String>,
) -> Result<Lowered> {
    // A weight or state that nothing reached has a place but no node here.
    let is_input = |v: &Value| reached.nodes.get(&v.node).is_some_and(|n| matches!(n.origin, Origin::Input));
    let ports: BTreeMap<Value, Operand> = places
        .operands
        .iter()
        .filter(|(v, _)| reached.is_wanted(v.node) || is_input(v))
        .map(|(v, x)| (*v, *x))
        .collect();
    places.pinned.extend(ports.values().map(|x| x.buffer));
    let index = slots::assign(&mut program, &places.pinned);
    let moved = |x: Operand| Operand { buffer: index[x.buffer], ..x };
    let ports: BTreeMap<Value, Operand> = ports.into_iter().map(|(v, x)| (v, moved(x))).collect();
    let inputs = ports.iter().filter(|(v, _)| is_input(v)).map(|(_, x)| x.buffer).collect();
    for slot in [&mut control.clock, &mut control.scale, &mut control.flags, &mut control.losses] {
        *slot = index[*slot];
    }
    check_limits(&program, request.caps)?;
    program.parameters = request.graph.weights().iter().map(|w| w.shape().len()).sum();
    Ok(Lowered { program, ports, inputs, control, layers })
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

/// Gives each weight and state its place in the arena of its kind.
fn place_weights(request: &Request, program: &mut Program, places: &mut Places) -> Result<()> {
    let (graph, precision) = (request.graph, request.graph.precision());
    let mut place = |tensors: Vec<Tensor>, name: &str, dtype: Dtype, source: fn(usize) -> Source| -> Result<()> {
        let shapes: Vec<Shape> = tensors.iter().map(|t| t.shape()).collect();
        let arena = Arena::new(&shapes, request.caps.binding_bytes)?;
        let first = program.buffers.len();
        for chunk in 0..arena.chunks.len() {
            program.buffer(format!("{name}{chunk}"), Role::Weights, source(chunk), arena.bytes(chunk, dtype));
        }
        for (t, (chunk, group)) in tensors.iter().zip(&arena.places) {
            let offset = arena::offset(*group, dtype);
            places.operands.insert(t.value, Operand { buffer: first + chunk, offset, shape: t.shape(), dtype });
        }
        Ok(())
    };
    place(graph.weights(), "w", precision.storage, Source::Weights)?;
    place(graph.states(), "state", precision.wide(), Source::States)
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

/// The names of a group's ops and the layer: `matmul+add+relu fc1`.
fn label(reached: &Reached, first: usize, group: Option<&fuse::Group>) -> String {
    let name = |n: &usize| match &reached.nodes[n].origin {
        Origin::Op(op) => op.name(),
        _ => "",
    };
    let members = group.map_or(&[][..], |g| &g.members);
    let mut names: Vec<&str> = members.iter().map(name).collect();
    if !members.contains(&first) {
        names.insert(0, name(&first));
    }
    if names.len() > 4 {
        names.splice(2..names.len() - 1, ["…"]);
    }
    format!("{} {}", names.join("+"), reached.nodes[&first].layer)
}

/// Fails, before anything is allocated, if a buffer or a binding is larger than the device allows.
fn check_limits(program: &Program, caps: &Caps) -> Result<()> {
    let total = program.total_bytes();
    let advice = "a smaller batch or 16 bit would need less";
    if let Some(b) = program.buffers.iter().find(|b| b.bytes > caps.buffer_bytes) {
        return Err(Error::Memory(format!(
            "buffer {:?} takes {} bytes of the plan's {total}, {:?} allows {} a buffer; {advice}",
            b.name, b.bytes, caps.adapter, caps.buffer_bytes
        )));
    }
    for d in &program.dispatches {
        if let Some((x, _)) = d.bindings.iter().find(|(x, _)| x.bytes() > caps.binding_bytes) {
            return Err(Error::Memory(format!(
                "{:?} binds {} {} of {} bytes, {:?} allows {} a binding; {advice}",
                d.label,
                x.dtype,
                x.shape,
                x.bytes(),
                caps.adapter,
                caps.binding_bytes
            )));
        }
        if d.bindings.len() as u32 > caps.storage_buffers {
            return Err(Error::Unsupported {
                adapter: caps.adapter.clone(),
                detail: format!(
                    "{:?} binds {} storage buffers, it allows {}",
                    d.label,
                    d.bindings.len(),
                    caps.storage_buffers
                ),
            });
        }
    }
    Ok(())
}
