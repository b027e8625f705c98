//! From nodes to dispatches.

use std::collections::{BTreeMap, BTreeSet};

use super::{Lowered, Part, Places, Request, beside, chain, clock, fuse, reach::Reached, value};
use crate::{
    Precision,
    dispatch::Operand,
    graph::{Origin, Value},
    op::{Io, Kind},
};

/// Which nodes become one dispatch.
pub struct Fused {
    pub groups: fuse::Groups,
    pub pairs: BTreeMap<usize, beside::Pair>,
}

impl Fused {
    pub fn new(request: &Request, reached: &Reached) -> Self {
        if !reached.fusion {
            return Fused { groups: fuse::singles(reached), pairs: BTreeMap::new() };
        }
        let groups = fuse::groups(reached, request.caps.storage_buffers);
        Fused { pairs: beside::pairs(reached, &groups), groups }
    }
}

/// A program in the making.
pub struct Lowering<'a> {
    pub request: &'a Request<'a>,
    pub reached: &'a Reached,
    pub fused: &'a Fused,
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
        let Fused { groups, pairs } = self.fused;
        for &n in reached.nodes.keys() {
            if let Some(&beside::Pair { product, sum }) = pairs.get(&n) {
                if n == product.min(sum) {
                    self.node(product, product, None, Some(sum));
                }
                continue;
            }
            let group = groups.of.get(&n).map(|g| &groups.groups[g[0]]);
            // A group runs in the place of its last member; what it reads is computed by then.
            if group.is_some_and(|g| g.members.last() != Some(&n)) || (group.is_none() && reached.is_inlined(n)) {
                continue;
            }
            let first = group.map_or(n, |g| g.head.unwrap_or(g.members[0]));
            if reached.kind(first) != Kind::View {
                self.node(n, first, group, None);
            } else if reached.is_wanted(n) {
                self.places.operands.insert(value(n, 0), self.places.of(reached, value(n, 0)));
            }
        }
    }

    /// The dispatches of the op of node `first`, of what is fused to it, and of the node that is made beside it; node `n` is
    /// the last of the first two.
    fn node(&mut self, n: usize, first: usize, group: Option<&fuse::Group>, beside: Option<usize>) {
        let (reached, precision) = (self.reached, self.reached.nodes[&first].precision);
        let Origin::Op(op) = &reached.nodes[&first].origin else { return };
        let (places, program) = (&mut self.places, &mut self.made.program);
        let kept = group.into_iter().flat_map(|g| &g.kept).copied();
        let values: Vec<Value> = [n].into_iter().chain(kept).chain(beside).flat_map(|n| results(reached, n)).collect();
        let mut operand = |v: &Value| {
            let ty = reached.nodes[&v.node].outputs[v.output];
            *places.operands.entry(*v).or_insert_with(|| program.scratch(ty.shape, ty.dtype))
        };
        let results: Vec<Operand> = values.iter().map(&mut operand).collect();
        let (outputs, others) = results.split_at(reached.nodes[&n].outputs.len());
        let inputs: Vec<Operand> = match group {
            Some(g) if g.head.is_none() => vec![],
            _ => reached.nodes[&first].inputs.iter().map(|v| places.of(reached, *v)).collect(),
        };
        let chain = group.map(|g| chain::write(reached, g, |v| places.of(reached, v)));
        let mut outputs = outputs.to_vec();
        if group.is_some_and(|g| g.head.is_some()) {
            // What is fused may be of another shape that lies alike.
            outputs[0] = outputs[0].seen_as(reached.nodes[&first].outputs[0].shape);
        }
        let label = label(reached, first, group, beside);
        let io = Io {
            caps: self.request.caps,
            precision,
            inputs: &inputs,
            outputs: &outputs,
            beside: beside.and_then(|_| others.first().copied()),
            clock: clock(self.made.control),
            chain: chain.as_ref(),
            label: &label,
        };
        op.lower(&io, program);
        let training = self.request.training.as_ref();
        let again = reached.nodes[&n].again;
        let part =
            if training.is_none_or(|t| again.unwrap_or(n) <= t.loss.node) { Part::Activation } else { Part::Backward };
        let is_gradient = |v: Value| training.is_some_and(|t| t.gradients.iter().any(|(_, g)| *g == v));
        for (&v, &x) in values.iter().zip(&results) {
            let part = if is_gradient(v) { Part::Gradient } else { part };
            self.simulate(v, x, part, &label);
            // Gradients of weights are looked at when all of them are there; what is computed again was looked at.
            if part != Part::Gradient && again.is_none() {
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

impl Places {
    /// Where a value lies; a view lies where that does which it is a view of.
    fn of(&self, reached: &Reached, v: Value) -> Operand {
        self.operands.get(&v).copied().unwrap_or_else(|| {
            let node = &reached.nodes[&v.node];
            debug_assert_eq!(reached.kind(v.node), Kind::View, "{:?} has no place", node.origin);
            self.of(reached, node.inputs[0]).seen_as(node.outputs[v.output].shape)
        })
    }
}

/// The results of a node.
fn results(reached: &Reached, n: usize) -> impl Iterator<Item = Value> {
    (0..reached.nodes[&n].outputs.len()).map(move |i| value(n, i))
}

/// The names of a group's ops, or of two that are computed side by side, and the layer: `matmul+add+relu fc1`.
fn label(reached: &Reached, first: usize, group: Option<&fuse::Group>, beside: Option<usize>) -> String {
    let name = |n: &usize| match &reached.nodes[n].origin {
        Origin::Op(op) => op.name(),
        _ => "",
    };
    let members = group.map_or(&[][..], |g| &g.members);
    let mut names: Vec<&str> = members.iter().map(name).collect();
    if !members.contains(&first) {
        names.insert(0, name(&first));
    }
    names.extend(beside.iter().map(name));
    if names.len() > 4 {
        names.splice(2..names.len() - 1, ["…"]);
    }
    format!("{} {}", names.join("+"), reached.nodes[&first].layer)
}
