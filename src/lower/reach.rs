//! What a plan needs of its graph.

use std::collections::{BTreeMap, BTreeSet};

use super::{Request, algebra};
use crate::{
    Dtype, Graph, Shape,
    format::Simulation,
    graph::{Assignment, Node, Origin, Value},
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
    /// What is not fused to what reads it.
    pub stored: BTreeSet<usize>,
}

/// Who reads a node's result, and in which shape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader {
    pub node: usize,
    pub output: usize,
    pub shape: Shape,
}

/// The nodes `from`, and all that they depend on, but for those known already; a node that hands on an operand depends on no other.
fn ancestors(
    graph: &Graph,
    from: impl IntoIterator<Item = usize>,
    inference: bool,
    known: &BTreeMap<usize, Node>,
) -> BTreeMap<usize, Node> {
    let mut nodes: BTreeMap<usize, Node> = BTreeMap::new();
    let mut todo: Vec<usize> = from.into_iter().collect();
    while let Some(n) = todo.pop() {
        if known.contains_key(&n) {
            continue;
        }
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
        let mut nodes = ancestors(request.graph, wanted.iter().copied(), inference, &BTreeMap::new());
        // What a step computes besides its loss and gradients, if that needs no further input.
        let mut beside = |n: usize| {
            let more = ancestors(request.graph, [n], inference, &nodes);
            let fits = more.values().all(|node| !matches!(node.origin, Origin::Input));
            if fits {
                nodes.extend(more);
            }
            fits
        };
        let mut assignments = if inference { vec![] } else { request.graph.assignments() };
        assignments.retain(|a| beside(a.value.node));
        if !inference {
            request.graph.watched().into_iter().for_each(|n| _ = beside(n));
        }
        wanted.extend(assignments.iter().map(|a| a.value.node));
        wanted.extend(nodes.iter().filter(|(_, node)| node.watched).map(|(&n, _)| n));
        // Equal nodes are rounded by chance each by itself where formats are simulated.
        if request.algebra && request.graph.simulation() == Simulation::default() {
            let gradients = request.training.iter().flat_map(|t| &t.gradients).map(|g| g.1.node).collect();
            algebra::simplify(&mut nodes, &wanted, &gradients);
        }
        let stored = request.training.as_ref().and_then(|t| t.stored);
        let is_stored = |n: usize, node: &Node| stored.is_some_and(|s| s.contains(&node.again.unwrap_or(n)));
        let stored = nodes.iter().filter(|(n, node)| is_stored(**n, node)).map(|(&n, _)| n).collect();
        let mut consumers: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        for (&n, node) in &nodes {
            for v in &node.inputs {
                consumers.entry(v.node).or_default().push((n, v.output));
            }
        }
        Reached { nodes, consumers, wanted, assignments, inference, fusion: request.fusion, stored }
    }

    pub fn kind(&self, n: usize) -> Kind {
        match &self.nodes[&n].origin {
            Origin::Op(op) if op.hands_on(self.inference).is_some() => Kind::View,
            Origin::Op(op) => op.kind(),
            _ => Kind::Kernel,
        }
    }

    /// What a value is a view of.
    pub fn seen(&self, mut value: Value) -> Value {
        while self.kind(value.node) == Kind::View {
            value = self.nodes[&value.node].inputs[0];
        }
        value
    }

    /// Who reads node `n`, itself or as a view.
    pub fn readers(&self, n: usize) -> Vec<Reader> {
        let mut found = vec![];
        for &(c, output) in self.consumers.get(&n).into_iter().flatten() {
            match self.kind(c) {
                // What nobody reads under its own name.
                Kind::View if !self.is_wanted(c) => {
                    found.extend(self.readers(c).into_iter().map(|r| Reader { output, ..r }));
                }
                _ => found.push(Reader { node: c, output, shape: self.nodes[&n].outputs[output].shape }),
            }
        }
        found
    }

    /// Whether what is fused behind node `n` may make a result of this type, and read values of these.
    pub fn can_epilogue(&self, n: usize, result: Dtype, mut reads: impl Iterator<Item = Dtype>) -> bool {
        let node = &self.nodes[&n];
        let (Origin::Op(op), own) = (&node.origin, node.outputs[0].dtype) else { return false };
        if result != own {
            // Parts of a sum are f32, so one of f16 that becomes f32 can bind nothing else.
            return op.casts_result() && reads.all(|t| t == result || own == Dtype::F32 && t == own);
        }
        reads.all(|t| t == own || t == node.precision.wide() && op.loads_wide())
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
