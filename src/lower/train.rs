//! The end of a training step: find overflow, settle the step, change all weights.

use std::ops::Range;

use super::{Control, FLAG_WORDS, Kept, LOSSES, Places, Record, Request, Training, clock, simulate};
use crate::{
    Dtype, LossScale, Precision, Result, Shape,
    arena::{self, Arena, Chunk, flat},
    dispatch::*,
    graph::Value,
    optim::{UpdateIo, factors, held},
    precision::Rounding,
    shape::GROUP,
};

/// Where weights, gradients and moments lie, in group numbers that all of them share.
#[derive(Default)]
pub struct Arenas {
    /// Runs of trained weights that are neighbours in every arena.
    runs: Vec<Run>,
    /// By chunk of the weights.
    weights: Vec<OfWeights>,
    /// By chunk of the gradients.
    gradients: Vec<OfGradients>,
    /// Sums of squares of gradients, those of a chunk behind those of the one before, where gradients are clipped.
    norms: Option<Operand>,
    /// What lives longer than a step.
    pub kept: Vec<Kept>,
}

/// The buffers that lie like a chunk of the weights.
struct OfWeights {
    weights: usize,
    precision: Precision,
    master: Option<usize>,
    /// The average, and its copy in the type of the weights.
    average: Option<[usize; 2]>,
}

/// The buffers that lie like a chunk of the gradients.
struct OfGradients {
    gradients: usize,
    /// Their sums over the runs of an update, where there are several.
    sums: Option<usize>,
    groups: usize,
    precision: Precision,
    moments: Vec<(&'static str, usize)>,
    /// What rounding has taken from the weights, where that is kept.
    missing: Option<usize>,
}

/// Invocations that add up the parts of a norm.
const SETTLING: u32 = 64;

impl OfGradients {
    /// Workgroups that share the sum of squares: 64 groups for each invocation, unless that makes too few or too many.
    fn norm_parts(&self) -> usize {
        (self.groups / 4096).clamp(64, 1024)
    }

    /// What lives longer than a step: what it is, the buffer, and its type.
    fn kept(&self) -> impl Iterator<Item = (&'static str, usize, Dtype)> {
        let missing = self.missing.map(|missing| ("missing", missing));
        let state = self.moments.iter().copied().chain(missing).map(|(what, b)| (what, b, self.precision.state()));
        state.chain(self.sums.map(|sums| ("sums", sums, Dtype::F32)))
    }
}

struct Run {
    weights: (usize, usize),
    gradients: (usize, usize),
    groups: usize,
    members: Vec<Member>,
}

/// A weight of a run.
struct Member {
    name: String,
    /// The run's groups that are its own.
    groups: Range<usize>,
    /// Factors of its learning rate and weight decay.
    factors: [f32; 2],
}

/// Makes the arenas of gradients, masters and moments, and gives each gradient its place; the weights lie in these chunks, from
/// the buffer `first` on.
pub fn arenas(
    request: &Request,
    (first, chunks): (usize, Vec<Chunk>),
    program: &mut Program,
    places: &mut Places,
) -> Result<Arenas> {
    let Some(training) = &request.training else { return Ok(Arenas::default()) };
    let (graph, policy) = (request.graph, request.graph.policy());
    let types = training.gradients.iter().map(|(w, _)| graph.type_of(*w)).map(|t| (t.shape, t.dtype));
    let lying = Arena::new(types, request.caps.binding_bytes)?;
    let runs = runs(request, training, first, &lying, places)?;

    let weights = chunks.iter().enumerate().map(|(c, chunk)| {
        let precision = policy.of_weights(chunk.dtype);
        let mut shared = |name: &str, source, dtype| {
            program.buffer(format!("{name}{c}"), Role::Optimizer, source, chunk.bytes(dtype))
        };
        let master = precision.master.then(|| shared("master", Source::Master(c), Dtype::F32));
        let average = training.average.map(|_| {
            let copy = shared("average copy", Source::AverageCopy(c), chunk.dtype);
            [shared("average", Source::Average(c), Dtype::F32), copy]
        });
        OfWeights { weights: first + c, precision, master, average }
    });
    let weights = weights.collect();
    let gradients = lying.chunks.iter().enumerate().map(|(c, chunk)| {
        let precision = policy.of_weights(chunk.dtype);
        let mut own =
            |name: &str, role, dtype| program.buffer(format!("{name}{c}"), role, Source::Plan, chunk.bytes(dtype));
        let gradients = own("g", Role::Gradients, chunk.dtype);
        let sums = (training.runs > 1).then(|| own("sums", Role::Gradients, Dtype::F32));
        let mut of_state = |name: &str| own(name, Role::Optimizer, precision.state());
        let moments = training.optimizer.moments().iter().map(|name| (*name, of_state(name))).collect();
        let compensated = precision.rounding_of_state() == Some(Rounding::Compensated);
        let missing = compensated.then(|| of_state("missing"));
        OfGradients { gradients, sums, groups: chunk.groups, precision, moments, missing }
    });
    let gradients: Vec<OfGradients> = gradients.collect();
    let norms = training.clip_norm.then(|| {
        let n = gradients.iter().map(OfGradients::norm_parts).sum::<usize>().next_multiple_of(GROUP);
        words(program.buffer("norms", Role::Control, Source::Plan, 4 * n as u64), n, Dtype::F32)
    });
    let mut kept = vec![];
    for ((w, g), (chunk, group)) in training.gradients.iter().zip(&lying.places) {
        let of = &gradients[*chunk];
        let place = |buffer, value, dtype| {
            let (offset, shape) = (arena::offset(*group, dtype), graph.type_of(value).shape);
            Operand { buffer, offset, shape, dtype }
        };
        places.operands.insert(*g, place(of.gradients, *g, of.precision.storage));
        let weight = graph.node(w.node).name.unwrap_or_default();
        kept.extend(of.kept().map(|(what, buffer, dtype)| Kept {
            what,
            weight: weight.clone(),
            values: place(buffer, *w, dtype),
        }));
    }
    Ok(Arenas { runs, weights, gradients, norms, kept })
}

/// Trained weights in runs; the gradients lie as `lying` says.
fn runs(request: &Request, training: &Training, first: usize, lying: &Arena, places: &Places) -> Result<Vec<Run>> {
    let node = |(w, _): &(Value, Value)| request.graph.node(w.node);
    let nodes = training.gradients.iter().map(node);
    let named: Vec<(String, Shape)> =
        nodes.map(|node| (node.name.unwrap_or_default(), node.outputs[0].shape)).collect();
    let factors = factors(training.groups, &named)?;
    let mut runs: Vec<Run> = vec![];
    for (i, (name, shape)) in named.into_iter().enumerate() {
        // A weight has its place already: its chunk, and its first group there.
        let x = places.operands[&training.gradients[i].0];
        let from = (x.buffer - first, x.offset as usize / (GROUP * x.dtype.bytes()));
        let (at, groups) = (lying.places[i], shape.groups().next_multiple_of(arena::ALIGN));
        let goes_on = |r: &Run| after(r.weights, r.groups) == from && after(r.gradients, r.groups) == at;
        let n = runs.iter().position(goes_on).unwrap_or_else(|| {
            runs.push(Run { weights: from, gradients: at, groups: 0, members: vec![] });
            runs.len() - 1
        });
        let run = &mut runs[n];
        run.members.push(Member { name, groups: run.groups..run.groups + groups, factors: factors[i] });
        run.groups += groups;
    }
    Ok(runs)
}

fn after((chunk, group): (usize, usize), groups: usize) -> (usize, usize) {
    (chunk, group + groups)
}

/// Appends the dispatches behind the backward pass.
pub fn lower(
    request: &Request,
    training: &Training,
    arenas: &Arenas,
    places: &Places,
    control: Control,
    program: &mut Program,
) -> Vec<Record> {
    let mut records = vec![];
    look_at_gradients(request.graph.precision(), training.runs, arenas, control, program);
    settle(request, training, arenas, places, control, program);
    for (n, run) in arenas.runs.iter().enumerate() {
        let (of_weights, of_gradients) = (&arenas.weights[run.weights.0], &arenas.gradients[run.gradients.0]);
        let precision = of_weights.precision;
        let part = |buffer, group: usize, dtype| flat(buffer, group..group + run.groups, dtype);
        let like_weights = |buffer, dtype| part(buffer, run.weights.1, dtype);
        let like_gradients = |buffer, dtype| part(buffer, run.gradients.1, dtype);
        let stored = like_weights(of_weights.weights, precision.storage);
        let weights = of_weights.master.map_or(stored, |master| like_weights(master, Dtype::F32));
        let missing = of_gradients.missing.map(|missing| like_gradients(missing, precision.state()));
        let factors = (!training.groups.is_empty()).then(|| run.table(program, n));
        let record = training.record_changes.then(|| run.records(program, n, &mut records));
        let io = UpdateIo {
            caps: request.caps,
            precision,
            weights,
            beside: missing.or(of_weights.master.map(|_| stored)),
            gradient: like_gradients(of_gradients.gradients, precision.storage),
            moments: of_gradients.moments.iter().map(|&(_, m)| like_gradients(m, precision.state())).collect(),
            factors,
            record,
            clock: clock(control),
            simulated: request.graph.simulation().weights,
            stream: STREAM + n,
        };
        training.optimizer.lower(&io, program);
        if let (Some(decay), Some([average, copy])) = (training.average, of_weights.average) {
            let copy = like_weights(copy, precision.storage);
            follow(precision, decay, weights, [like_weights(average, Dtype::F32), copy], control, program);
            if let Some(q) = request.graph.simulation().weights {
                program.push(simulate::round(copy, q, precision, control, STREAM + (1 << 28) + n, "average"));
            }
        }
    }
    program.warnings.extend(training.optimizer.warnings(request.graph.precision()));
    // Weights of another type lie elsewhere; the user's order is that of the graph.
    let names: Vec<_> = training.gradients.iter().map(|(w, _)| request.graph.node(w.node).name).collect();
    records.sort_by_key(|r| names.iter().position(|name| name.as_deref() == Some(&r.weight)));
    records
}

/// Random numbers of updates are of streams from here on; dropout counts its own from 0.
const STREAM: usize = 1 << 30;

impl Run {
    /// The factors of each [`arena::ALIGN`] groups.
    fn table(&self, program: &mut Program, n: usize) -> Operand {
        let blocks = |m: &Member| [m.factors].repeat(m.groups.len() / arena::ALIGN);
        program.table(format!("factors{n}"), self.members.iter().flat_map(blocks).flatten())
    }

    /// Room for four sums of each [`arena::ALIGN`] groups, and which of them are a weight's.
    fn records(&self, program: &mut Program, n: usize, records: &mut Vec<Record>) -> Operand {
        let (blocks, at) = (self.groups / arena::ALIGN, format!("changes{n}"));
        let sums = words(program.buffer(at, Role::Control, Source::Plan, 16 * blocks as u64), 4 * blocks, Dtype::F32);
        records.extend(self.members.iter().map(|m| {
            let blocks = m.groups.start / arena::ALIGN..m.groups.end / arena::ALIGN;
            Record { weight: m.name.clone(), sums: flat(sums.buffer, blocks, Dtype::F32) }
        }));
        sums
    }
}

fn words(buffer: usize, n: usize, dtype: Dtype) -> Operand {
    Operand { buffer, offset: 0, shape: Shape::from([n]), dtype }
}

/// Finds overflow where the loss scale depends on it, sums gradients over the runs of an update, and finds the norm where they
/// are clipped by it.
fn look_at_gradients(precision: Precision, runs: u32, arenas: &Arenas, control: Control, program: &mut Program) {
    let mut parts_before = 0;
    for chunk in &arenas.gradients {
        let all = flat(chunk.gradients, 0..chunk.groups, chunk.precision.storage);
        if let LossScale::Dynamic { .. } = precision.loss_scale {
            overflow(precision, all, words(control.flags, FLAG_WORDS, Dtype::U32), program);
        }
        if let Some(sums) = chunk.sums {
            sum_runs(precision, runs, all, flat(sums, 0..chunk.groups, Dtype::F32), control, program);
        }
        if let Some(norms) = arenas.norms {
            let source = include_str!("../../shaders/square_sum.wgsl");
            let shader = Shader::new("square_sum", source, all.dtype, precision).acc(Dtype::F32);
            program.push(
                Dispatch::new("square_sum", shader)
                    .unzeroed()
                    .read(all)
                    .update(norms)
                    .param("groups", all.shape.groups())
                    .param("first", parts_before)
                    .flops(2 * all.shape.len())
                    .workgroups(chunk.norm_parts()),
            );
            parts_before += chunk.norm_parts();
        }
    }
}

/// Decides whether and how the step changes the weights.
fn settle(
    request: &Request,
    training: &Training,
    arenas: &Arenas,
    places: &Places,
    control: Control,
    program: &mut Program,
) {
    let precision = request.graph.precision();
    let rates = training.optimizer.schedule().rates().iter().map(|r| held(*r, precision));
    let rates = program.table("learning rates", rates);
    let shader = Shader::new("step", include_str!("../../shaders/step.wgsl"), precision.wide(), precision);
    let shader = if training.runs > 1 { shader.constant("RUNS", training.runs) } else { shader };
    let d = Dispatch::new("step", shader)
        .unzeroed()
        .update(clock(control))
        .update(words(control.flags, FLAG_WORDS, Dtype::U32))
        .update(words(control.scale, 1, precision.wide()))
        .read(places.operands[&training.loss])
        .update(words(control.losses, LOSSES, Dtype::F32))
        .read(rates);
    program.push(match arenas.norms {
        Some(norms) => {
            d.extra(norms, Access::Read, "norms: array<f32>").constant("THREADS", SETTLING).splice("norm", SUM_OF_NORMS)
        }
        None => d,
    });
}

const SUM_OF_NORMS: &str = "    for (var i = lane; i < arrayLength(&norms); i += THREADS) { own += norms[i]; }\n";

/// Moves the average of a run of weights towards them.
fn follow(
    precision: Precision,
    decay: f32,
    weights: Operand,
    [average, copy]: [Operand; 2],
    control: Control,
    program: &mut Program,
) {
    let source = include_str!("../../shaders/follow.wgsl");
    let shader = Shader::new("follow", source, weights.dtype, precision).wide(copy.dtype).acc(Dtype::F32);
    let groups = weights.shape.groups();
    program.push(
        Dispatch::new("follow average", shader)
            .read(clock(control))
            .read(weights)
            .update(average)
            .write(copy)
            .param("groups", groups)
            .param_f32("decay", decay)
            .flops(3 * weights.shape.len())
            .workgroups(groups.div_ceil(64)),
    );
}

/// Adds gradients to those of the runs before, and puts the mean in their place in the last.
fn sum_runs(
    precision: Precision,
    runs: u32,
    gradients: Operand,
    sums: Operand,
    control: Control,
    program: &mut Program,
) {
    let source = include_str!("../../shaders/sum_runs.wgsl");
    let shader = Shader::new("sum_runs", source, gradients.dtype, precision).acc(Dtype::F32).constant("RUNS", runs);
    let groups = gradients.shape.groups();
    program.push(
        Dispatch::new("sum_runs", shader)
            .read(clock(control))
            .update(gradients)
            .update(sums)
            .param("groups", groups)
            .flops(gradients.shape.len())
            .workgroups(groups.div_ceil(64)),
    );
}

/// Raises the flag if a stored gradient is Inf or NaN, by its bits: comparisons are not to be trusted with those.
fn overflow(precision: Precision, gradient: Operand, flags: Operand, program: &mut Program) {
    let words = gradient.bytes() as usize / 16;
    let shader = Shader::new("overflow", include_str!("../../shaders/overflow.wgsl"), gradient.dtype, precision);
    let halves = u32::from(gradient.dtype == Dtype::F16);
    program.push(
        Dispatch::new("overflow", shader.constant("HALVES", halves))
            .read(gradient)
            .update(flags)
            .param("words", words)
            .workgroups(words.div_ceil(64 * 4)),
    );
}
