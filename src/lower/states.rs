//! The states at the end of a step. Values that they follow lie, where they can, as the states do: so that one dispatch
//! moves all states of an arena.

use std::collections::BTreeSet;

use super::{Control, Places, Request, clock, nodes::Fused, reach::Reached};
use crate::{
    arena::{self, flat},
    dispatch::*,
    graph::{Assignment, Origin, Value},
    op::Kind,
    shape::GROUP,
};

/// Gives the values that can be written there a place in arenas laid out as those of the states. Returns these.
pub fn arenas(
    request: &Request,
    reached: &Reached,
    fused: &Fused,
    program: &mut Program,
    places: &mut Places,
) -> BTreeSet<usize> {
    let mut placed: Vec<(Assignment, Value)> = vec![];
    for a in &reached.assignments {
        let once = |of: fn(&Assignment) -> Value| reached.assignments.iter().filter(|b| of(b) == of(a)).count() == 1;
        if let Some(value) = own(request, reached, a.value)
            && once(|a| a.state)
            && !placed.iter().any(|(_, v)| *v == value)
            && !places.operands.contains_key(&value)
        {
            placed.push((*a, value));
        }
    }
    // WebGPU has a buffer read or written in one dispatch, not both.
    let read: BTreeSet<usize> = placed.iter().flat_map(|(_, v)| read_beside(reached, fused, v.node)).collect();
    placed.retain(|(_, v)| !read.contains(&v.node));

    let mut made = BTreeSet::new();
    for chunk in 0..program.buffers.len() {
        let here: Vec<_> = placed.iter().filter(|(a, _)| places.operands[&a.state].buffer == chunk).collect();
        if here.is_empty() {
            continue;
        }
        let bytes = program.buffers[chunk].bytes;
        let buffer = program.buffer(format!("statistics{}", made.len()), Role::Activations, Source::Plan, bytes);
        for (a, v) in here {
            let shape = request.graph.type_of(*v).shape;
            places.operands.insert(*v, Operand { buffer, shape, ..places.operands[&a.state] });
        }
        made.insert(buffer);
    }
    places.pinned.extend(&made);
    made
}

/// What may be written into an arena as this value: it, or what it is a view of, if that is computed and no port.
fn own(request: &Request, reached: &Reached, mut value: Value) -> Option<Value> {
    loop {
        let node = &reached.nodes[&value.node];
        if node.watched || request.wanted.contains(&value) || !matches!(node.origin, Origin::Op(_)) {
            return None;
        }
        match reached.kind(value.node) {
            Kind::View => value = node.inputs[0],
            _ => return Some(value),
        }
    }
}

/// What the dispatch that makes node `n` reads.
fn read_beside(reached: &Reached, fused: &Fused, n: usize) -> BTreeSet<usize> {
    let of_groups = fused.groups.of.get(&n).into_iter().flatten().map(|&g| &fused.groups.groups[g]);
    let pair = fused.pairs.get(&n).into_iter().flat_map(|p| [p.product, p.sum]);
    let made: BTreeSet<usize> =
        of_groups.flat_map(|g| g.members.iter().copied().chain(g.head)).chain(pair).chain([n]).collect();
    let operands = made.iter().flat_map(|m| &reached.nodes[m].inputs).map(|v| reached.seen(*v).node);
    operands.filter(|operand| !made.contains(operand)).collect()
}

/// Neighbours that move together: from this state on so many groups, and for each [`arena::ALIGN`] of them the share and
/// the value's factor.
struct Run {
    name: String,
    state: Operand,
    value: Operand,
    groups: usize,
    factors: Vec<[f32; 2]>,
}

/// Changes the states, when the step is settled and all that reads them has run.
pub fn lower(
    request: &Request,
    reached: &Reached,
    arenas: &BTreeSet<usize>,
    places: &Places,
    control: Control,
    program: &mut Program,
) {
    let mut all: Vec<_> =
        reached.assignments.iter().map(|a| (a, places.operands[&a.state], places.operands[&a.value])).collect();
    all.sort_by_key(|(_, s, v)| arenas.get(&v.buffer).map(|&b| (b, s.offset)));
    let mut runs: Vec<Run> = vec![];
    for (a, state, value) in all {
        let shared = arenas.contains(&value.buffer);
        let groups = if shared { state.shape.groups().next_multiple_of(arena::ALIGN) } else { state.shape.groups() };
        let behind = |r: &Run, x: Operand| {
            x.buffer == r.value.buffer && x.offset == r.value.offset + arena::offset(r.groups, x.dtype)
        };
        match runs.last_mut().filter(|r| shared && behind(r, value)) {
            Some(run) => {
                run.name = "states".into();
                run.groups += groups;
            }
            None => {
                let name = request.graph.node(a.state.node).name.unwrap_or_default();
                runs.push(Run { name, state, value, groups, factors: vec![] });
            }
        }
        let run = runs.last_mut().expect("pushed if it was not there");
        run.factors.extend([[a.share, a.factor]].repeat(groups.div_ceil(arena::ALIGN)));
    }
    runs.into_iter().for_each(|r| r.lower(request, control, program));
}

impl Run {
    fn lower(self, request: &Request, control: Control, program: &mut Program) {
        let source = include_str!("../../shaders/average.wgsl");
        let shader = Shader::new("average", source, self.state.dtype, request.graph.precision());
        let part = |x: Operand| {
            let first = x.offset as usize / (GROUP * x.dtype.bytes());
            flat(x.buffer, first..first + self.groups, x.dtype)
        };
        let factors = program.table(format!("shares of {}", self.name), self.factors.into_iter().flatten());
        program.push(
            Dispatch::new(format!("average {}", self.name), shader)
                .read(clock(control))
                .read(part(self.value))
                .update(part(self.state))
                .read(factors)
                .param("groups", self.groups)
                .flops(4 * self.groups * GROUP)
                .workgroups(self.groups.div_ceil(64)),
        );
    }
}
