//! From nodes to dispatches.

use std::collections::BTreeSet;

use super::{Lowered, Part, Places, Request, clock, fuse, reach::Reached, value};
use crate::{
    Precision,
    dispatch::Operand,
    graph::{Origin, Value},
    op::{Io, Kind, Op},
};

/// A program in the making.
pub struct Lowering<'a> {
    pub request: &'a Request<'a>,
    pub reached: &'a Reached,
    /// What a network of 16 bit keeps in f32.
    pub wide: BTreeSet<Value>,
    pub places: Places,
    pub made: Lowered,
}

impl Lowering<'_> {
    /// The dispatches of all nodes, forward and backward.
    pub fn nodes(&mut self) {
        let reached = self.reached;
        for (&n, node) in reached.nodes.iter().filter(|(_, node)| matches!(node.origin, Origin::Input)) {
            let label = format!("input {}", node.layer);
            self.simulate(value(n, 0), self.places.operands[&value(n, 0)], Part::Activation, &label);
            self.made.layers.resize(self.made.program.dispatches.len(), label);
        }
        let groups = match reached.fusion {
            true => fuse::groups(reached, self.request.caps.storage_buffers),
            false => fuse::singles(reached),
        };
        for (&n, node) in &reached.nodes {
            let group = groups.of.get(&n).map(|&g| &groups.groups[g]);
            // A group runs in the place of its last member; what it reads is computed by then.
            if group.is_some_and(|g| g.members.last() != Some(&n)) || (group.is_none() && reached.is_inlined(n)) {
                continue;
            }
            let first = group.map_or(n, |g| g.head.unwrap_or(g.members[0]));
            if reached.kind(first) == Kind::View {
                let seen = self.places.operands[&node.inputs[0]].seen_as(node.outputs[0].shape);
                self.places.operands.insert(value(n, 0), seen);
            } else if let Origin::Op(op) = &reached.nodes[&first].origin {
                self.node(n, first, &**op, group);
            }
        }
    }

    /// The dispatches of `op`, the node `first`, and of what is fused to it; node `n` is the last of these.
    fn node(&mut self, n: usize, first: usize, op: &dyn Op, group: Option<&fuse::Group>) {
        let (reached, precision) = (self.reached, self.reached.nodes[&first].precision);
        let (places, program) = (&mut self.places, &mut self.made.program);
        let types = reached.nodes[&n].outputs.iter().enumerate();
        let outputs: Vec<Operand> = types
            .map(|(i, ty)| *places.operands.entry(value(n, i)).or_insert_with(|| program.scratch(ty.shape, ty.dtype)))
            .collect();
        let inputs: Vec<Operand> = match group {
            Some(g) if g.head.is_none() => vec![],
            _ => reached.nodes[&first].inputs.iter().map(|v| places.operands[v]).collect(),
        };
        let chain = group.map(|g| fuse::chain(reached, g, |v| places.operands[&v]));
        let label = label(reached, first, group);
        let io = Io {
            caps: self.request.caps,
            precision,
            inputs: &inputs,
            outputs: &outputs,
            clock: clock(self.made.control),
            chain: chain.as_ref(),
            label: &label,
        };
        op.lower(&io, program);
        let training = self.request.training.as_ref();
        let part = if training.is_none_or(|t| n <= t.loss.node) { Part::Activation } else { Part::Backward };
        let is_gradient = |v: Value| training.is_some_and(|t| t.gradients.iter().any(|(_, g)| *g == v));
        for (i, x) in outputs.into_iter().enumerate() {
            let part = if is_gradient(value(n, i)) { Part::Gradient } else { part };
            self.simulate(value(n, i), x, part, &label);
            // Gradients of weights are looked at when all of them are there.
            if part != Part::Gradient {
                self.made.look(x, part, &label, precision);
            }
        }
        self.made.layers.resize(self.made.program.dispatches.len(), label);
    }
}

impl Lowered {
    pub(super) fn look(&mut self, x: Operand, part: Part, name: &str, precision: Precision) {
        self.observer.look(x, part, name, precision, &mut self.program);
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
