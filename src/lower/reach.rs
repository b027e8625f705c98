//! What a plan needs of its graph.

use std::collections::{BTreeMap, BTreeSet};

use super::Request;
use crate::{
    Dtype, Graph,
    graph::{Assignment, Node, Origin},
    op::Kind,
};

/// The nodes that the wanted values depend on.
pub(crate) struct Reached {
    pub nodes: BTreeMap<usize, Node>,
    /// For each node, who reads which of its results.
    pub consumers: BTreeMap<usize, Vec<(usize, usize)>>,
    pub wanted: BTreeSet<usize>,
    /// What becomes of the states.
    pub assignments: Vec<Assignment>,
    inference: bool,
    pub fusion: bool,
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
    pub fn new(request: &Request) -> Self {
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
        Reached { nodes, consumers, wanted, assignments, inference, fusion: request.fusion }
    }

    pub fn kind(&self, n: usize) -> Kind {
        match &self.nodes[&n].origin {
            Origin::Op(op) if op.hands_on(self.inference).is_some() => Kind::View,
            Origin::Op(op) => op.kind(),
            _ => Kind::Kernel,
        }
    }

    /// Whether a value of this type can be read by what is fused behind node `n`.
    pub fn can_load(&self, n: usize, dtype: Dtype) -> bool {
        let node = &self.nodes[&n];
        let wide = dtype == node.precision.wide() && matches!(&node.origin, Origin::Op(op) if op.loads_wide());
        wide || dtype == node.outputs[0].dtype
    }

    pub fn is_wanted(&self, n: usize) -> bool {
        self.wanted.contains(&n)
    }

    /// Whether a constant must lie in memory: somebody wants it, or a kernel reads it.
    pub fn needs_memory(&self, n: usize) -> bool {
        let read = |c: &(usize, usize)| !matches!(self.kind(c.0), Kind::Map(_));
        self.is_wanted(n) || self.consumers.get(&n).is_some_and(|c| c.iter().any(read))
    }

    /// Whether a value is a constant that is written into the expressions which use it.
    pub fn is_inlined(&self, n: usize) -> bool {
        self.nodes[&n].inputs.is_empty() && matches!(self.kind(n), Kind::Map(_))
    }
}
