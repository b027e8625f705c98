//! The end of a training step: find overflow, settle the step, change all weights.

use std::collections::BTreeMap;

use super::{Control, FLAG_WORDS, LOSSES, Places, Request, Training, clock};
use crate::{
    Dtype, Result, Shape,
    arena::{self, Arena, flat},
    dispatch::*,
    graph::{Assignment, Value},
    op::UpdateIo,
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
}

struct Run {
    weights: (usize, usize),
    gradients: (usize, usize),
    groups: usize,
}

/// Makes the arenas of gradients, masters and moments, and gives each gradient its place.
pub fn arenas(request: &Request, program: &mut Program, places: &mut Places) -> Result<Arenas> {
    let Some(training) = &request.training else { return Ok(Arenas::default()) };
    let precision = request.graph.precision();
    let all: Vec<Value> = request.graph.weights().iter().map(|w| w.value).collect();
    let shape = |v: &Value| request.graph.type_of(*v).shape;
    let weights = Arena::new(&all.iter().map(shape).collect::<Vec<_>>(), request.caps.binding_bytes)?;
    let trained: Vec<Value> = training.gradients.iter().map(|(w, _)| *w).collect();
    let gradients = Arena::new(&trained.iter().map(shape).collect::<Vec<_>>(), request.caps.binding_bytes)?;
    let place_of: BTreeMap<Value, (usize, usize)> = all.into_iter().zip(weights.places.iter().copied()).collect();

    let mut made = Arenas::default();
    for ((w, _), &at) in training.gradients.iter().zip(&gradients.places) {
        let (from, groups) = (place_of[w], shape(w).groups().next_multiple_of(arena::ALIGN));
        match made.runs.last_mut() {
            Some(r) if after(r.weights, r.groups) == from && after(r.gradients, r.groups) == at => r.groups += groups,
            _ => made.runs.push(Run { weights: from, gradients: at, groups }),
        }
    }

    made.weights = (0..weights.chunks.len())
        .map(|c| program.buffers.iter().position(|b| b.source == Source::Weights(c)).expect("placed before"))
        .collect();
    if precision.master {
        made.masters = (0..weights.chunks.len())
            .map(|c| {
                program.buffer(format!("master{c}"), Role::Optimizer, Source::Master(c), weights.bytes(c, Dtype::F32))
            })
            .collect();
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
) {
    let precision = request.graph.precision();
    let words = |buffer, n: usize, dtype| Operand { buffer, offset: 0, shape: Shape::from([n]), dtype };
    let flags = words(control.flags, FLAG_WORDS, Dtype::U32);

    if let crate::LossScale::Dynamic { .. } = precision.loss_scale {
        for &g in &arenas.gradients {
            overflow(
                precision,
                flat(g, 0..groups_of(program, g, precision.storage), precision.storage),
                flags,
                program,
            );
        }
    }
    let shader = Shader::new("step", include_str!("../../shaders/step.wgsl"), precision.wide(), precision);
    program.push(
        Dispatch::new("step", shader)
            .update(clock(control))
            .update(flags)
            .update(words(control.scale, 1, precision.wide()))
            .read(places.operands[&training.loss])
            .update(words(control.losses, LOSSES, Dtype::F32)),
    );
    for run in &arenas.runs {
        let part = |buffers: &[usize], (chunk, group): (usize, usize), dtype| {
            flat(buffers[chunk], group..group + run.groups, dtype)
        };
        let copy = part(&arenas.weights, run.weights, precision.storage);
        let weights = match precision.master {
            true => part(&arenas.masters, run.weights, Dtype::F32),
            false => copy,
        };
        let io = UpdateIo {
            caps: request.caps,
            precision,
            weights,
            copy: precision.master.then_some(copy),
            gradient: part(&arenas.gradients, run.gradients, precision.storage),
            moments: arenas.moments.iter().map(|m| part(m, run.gradients, precision.state())).collect(),
            clock: clock(control),
            flags,
            count: training.count_updates,
        };
        training.optimizer.lower(&io, program);
    }
    program.warnings.extend(training.optimizer.warnings(precision));
}

/// Changes a state, when the step is settled and all that reads it has run.
pub fn average(request: &Request, a: &Assignment, places: &Places, control: Control, program: &mut Program) {
    let (state, precision) = (places.operands[&a.state], request.graph.precision());
    let name = request.graph.node(a.state.node).name.unwrap_or_default();
    let shader = Shader::new("average", include_str!("../../shaders/average.wgsl"), state.dtype, precision);
    let groups = state.shape.groups();
    program.push(
        Dispatch::new(format!("average {name}"), shader)
            .read(clock(control))
            .read(places.operands[&a.value])
            .update(state)
            .param("groups", groups)
            .param_f32("share", a.share)
            .flops(3 * state.shape.len())
            .workgroups(groups.div_ceil(64)),
    );
}

fn groups_of(program: &Program, buffer: usize, dtype: Dtype) -> usize {
    program.buffers[buffer].bytes as usize / (GROUP * dtype.bytes())
}

/// Raises the flag if a stored gradient is Inf or NaN, by its bits: comparisons are not to be trusted with those.
fn overflow(precision: crate::Precision, gradient: Operand, flags: Operand, program: &mut Program) {
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
