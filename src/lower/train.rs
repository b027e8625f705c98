//! The end of a training step: find overflow, settle the step, change all weights.

use std::ops::Range;

use super::{Control, FLAG_WORDS, LOSSES, Places, Record, Request, Training, clock, simulate};
use crate::{
    Dtype, LossScale, Precision, Result, Shape,
    arena::{self, Arena, flat},
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
    gradients: Vec<usize>,
    moments: Vec<Vec<usize>>,
    weights: Vec<usize>,
    masters: Vec<usize>,
    /// What rounding has taken from the weights, where that is kept.
    missing: Vec<usize>,
    /// The average of the weights, and its copy in the storage type.
    averages: Vec<[usize; 2]>,
    /// Sums of squares of gradients, [`NORM_PARTS`] a chunk, where gradients are clipped.
    norms: Option<Operand>,
}

/// Workgroups that share the sum of squares of a chunk of gradients.
const NORM_PARTS: usize = 64;

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

/// Makes the arenas of gradients, masters and moments, and gives each gradient its place.
pub fn arenas(request: &Request, program: &mut Program, places: &mut Places) -> Result<Arenas> {
    let Some(training) = &request.training else { return Ok(Arenas::default()) };
    let precision = request.graph.precision();
    let shape = |v: &Value| request.graph.type_of(*v).shape;
    let name = |v: &Value| request.graph.node(v.node).name.unwrap_or_default();
    let trained: Vec<Value> = training.gradients.iter().map(|(w, _)| *w).collect();
    let gradients = Arena::new(&trained.iter().map(shape).collect::<Vec<_>>(), request.caps.binding_bytes)?;
    let of_weights = |b: &Buffer| matches!(b.source, Source::Weights(_));
    let mut made = Arenas {
        weights: (0..program.buffers.len()).filter(|&b| of_weights(&program.buffers[b])).collect(),
        ..Arenas::default()
    };
    // A weight has its place already: its chunk, and its first group there.
    let place_of = |w: &Value| {
        let x = places.operands[w];
        let chunk = made.weights.iter().position(|&b| b == x.buffer).expect("a weight lies among the weights");
        (chunk, x.offset as usize / (GROUP * x.dtype.bytes()))
    };
    let places_of: Vec<(usize, usize)> = trained.iter().map(place_of).collect();
    let named: Vec<(String, Shape)> = trained.iter().map(|w| (name(w), shape(w))).collect();
    let factors = factors(training.groups, &named)?;
    for (((w, from), &at), factors) in trained.iter().zip(places_of).zip(&gradients.places).zip(factors) {
        let groups = shape(w).groups().next_multiple_of(arena::ALIGN);
        match made.runs.last() {
            Some(r) if after(r.weights, r.groups) == from && after(r.gradients, r.groups) == at => {}
            _ => made.runs.push(Run { weights: from, gradients: at, groups: 0, members: vec![] }),
        }
        let run = made.runs.last_mut().expect("pushed if it was not there");
        run.members.push(Member { name: name(w), groups: run.groups..run.groups + groups, factors });
        run.groups += groups;
    }

    let chunks = 0..made.weights.len();
    let mut shared = |name: &str, source: Source, c: usize, dtype| {
        let groups = groups_of(program, made.weights[c], precision.storage);
        program.buffer(format!("{name}{c}"), Role::Optimizer, source, arena::offset(groups, dtype))
    };
    if precision.master {
        made.masters = chunks.clone().map(|c| shared("master", Source::Master(c), c, Dtype::F32)).collect();
    }
    if training.average.is_some() {
        let pair = |c| {
            let copy = shared("average copy", Source::AverageCopy(c), c, precision.storage);
            [shared("average", Source::Average(c), c, Dtype::F32), copy]
        };
        made.averages = chunks.map(pair).collect();
    }
    let mut chunks = |name: &str, role, dtype| -> Vec<usize> {
        (0..gradients.chunks.len())
            .map(|c| program.buffer(format!("{name}{c}"), role, Source::Plan, gradients.bytes(c, dtype)))
            .collect()
    };
    made.gradients = chunks("g", Role::Gradients, precision.storage);
    made.moments = (0..training.optimizer.moments())
        .map(|k| chunks(["m", "v", "u"][k], Role::Optimizer, precision.state()))
        .collect();
    if precision.rounding_of_state() == Some(Rounding::Compensated) {
        made.missing = chunks("missing", Role::Optimizer, precision.state());
    }
    if training.clip_norm {
        let n = NORM_PARTS * gradients.chunks.len();
        let buffer = program.buffer("norms", Role::Control, Source::Plan, 4 * n as u64);
        made.norms = Some(words(buffer, n, Dtype::F32));
    }
    for ((_, g), (chunk, group)) in training.gradients.iter().zip(&gradients.places) {
        let dtype = precision.storage;
        let offset = arena::offset(*group, dtype);
        let buffer = made.gradients[*chunk];
        places.operands.insert(*g, Operand { buffer, offset, shape: shape(g), dtype });
    }
    Ok(made)
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
    let precision = request.graph.precision();
    let mut records = vec![];
    look_at_gradients(precision, arenas, control, program);
    settle(request, training, arenas, places, control, program);
    for (n, run) in arenas.runs.iter().enumerate() {
        let part = |buffers: &[usize], (chunk, group): (usize, usize), dtype| {
            flat(buffers[chunk], group..group + run.groups, dtype)
        };
        let stored = part(&arenas.weights, run.weights, precision.storage);
        let weights = match precision.master {
            true => part(&arenas.masters, run.weights, Dtype::F32),
            false => stored,
        };
        let beside = match arenas.missing.is_empty() {
            true => precision.master.then_some(stored),
            false => Some(part(&arenas.missing, run.gradients, precision.state())),
        };
        let factors = (!training.groups.is_empty()).then(|| run.table(program, n));
        let record = training.record_changes.then(|| run.records(program, n, &mut records));
        let io = UpdateIo {
            caps: request.caps,
            precision,
            weights,
            beside,
            gradient: part(&arenas.gradients, run.gradients, precision.storage),
            moments: arenas.moments.iter().map(|m| part(m, run.gradients, precision.state())).collect(),
            factors,
            record,
            clock: clock(control),
            simulated: request.graph.simulation().weights,
            stream: STREAM + n,
        };
        training.optimizer.lower(&io, program);
        if let (Some(decay), (chunk, group)) = (training.average, run.weights) {
            let [average, copy] = arenas.averages[chunk];
            let part = |buffer, dtype| flat(buffer, group..group + run.groups, dtype);
            follow(
                precision,
                decay,
                weights,
                part(average, Dtype::F32),
                part(copy, precision.storage),
                control,
                program,
            );
            if let Some(q) = request.graph.simulation().weights {
                let copy = part(copy, precision.storage);
                program.push(simulate::round(copy, q, precision, control, STREAM + (1 << 28) + n, "average"));
            }
        }
    }
    program.warnings.extend(training.optimizer.warnings(precision));
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

/// Finds overflow where the loss scale depends on it, and the norm where gradients are clipped by it.
fn look_at_gradients(precision: Precision, arenas: &Arenas, control: Control, program: &mut Program) {
    for (c, &g) in arenas.gradients.iter().enumerate() {
        let all = flat(g, 0..groups_of(program, g, precision.storage), precision.storage);
        if let LossScale::Dynamic { .. } = precision.loss_scale {
            overflow(precision, all, words(control.flags, FLAG_WORDS, Dtype::U32), program);
        }
        if let Some(norms) = arenas.norms {
            let source = include_str!("../../shaders/square_sum.wgsl");
            let shader = Shader::new("square_sum", source, precision.storage, precision).acc(Dtype::F32);
            program.push(
                Dispatch::new("square_sum", shader)
                    .read(all)
                    .update(norms)
                    .param("groups", all.shape.groups())
                    .param("first", c * NORM_PARTS)
                    .flops(2 * all.shape.len())
                    .workgroups(NORM_PARTS),
            );
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
    let d = Dispatch::new("step", shader)
        .update(clock(control))
        .update(words(control.flags, FLAG_WORDS, Dtype::U32))
        .update(words(control.scale, 1, precision.wide()))
        .read(places.operands[&training.loss])
        .update(words(control.losses, LOSSES, Dtype::F32))
        .read(rates);
    program.push(match arenas.norms {
        Some(norms) => d.extra(norms, Access::Read, "norms: array<f32>").splice("norm", SUM_OF_NORMS),
        None => d,
    });
}

const SUM_OF_NORMS: &str = "    for (var i = 0u; i < arrayLength(&norms); i++) { squares += norms[i]; }\n";

/// Moves the average of a run of weights towards them.
fn follow(
    precision: Precision,
    decay: f32,
    weights: Operand,
    average: Operand,
    copy: Operand,
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

fn groups_of(program: &Program, buffer: usize, dtype: Dtype) -> usize {
    program.buffers[buffer].bytes as usize / (GROUP * dtype.bytes())
}

/// Raises the flag if a stored gradient is Inf or NaN, by its bits: comparisons are not to be trusted with those.
fn overflow(precision: Precision, gradient: Operand, flags: Operand, program: &mut Program) {
    let words = gradient.bytes() as usize / 16;
    let shader = Shader::new("overflow", include_str!("../../shaders/overflow.wgsl"), precision.storage, precision);
    let halves = u32::from(gradient.dtype == Dtype::F16);
    program.push(
        Dispatch::new("overflow", shader.constant("HALVES", halves))
            .read(gradient)
            .update(flags)
            .param("words", words)
            .workgroups(words.div_ceil(64 * 4)),
    );
}
