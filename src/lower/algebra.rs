//! Algebra that changes no op's result: what is computed twice is computed once, what leaves an operand as it is vanishes, and
//! what nobody reads then is left out.
//!
//! What somebody wants to read keeps a node of its own, but serves others that are equal to it. Gradients of weights serve
//! none: they lie in one buffer, which no dispatch can read and write.

use std::{
    any::{Any, TypeId},
    collections::{BTreeMap, BTreeSet},
};

use crate::{
    graph::{Node, Origin, Value},
    op::{Made, Op, Simpler, Type},
};

/// What makes two nodes equal: op, precision, what it is to compute once more, operands.
type Key = (TypeId, String, Vec<Value>);

/// Simplifies `nodes`, of which the `wanted` ones stay; among them are `gradients`.
pub fn simplify(nodes: &mut BTreeMap<usize, Node>, wanted: &BTreeSet<usize>, gradients: &BTreeSet<usize>) {
    let mut taken: BTreeMap<Value, Value> = BTreeMap::new();
    let mut known: BTreeMap<Key, usize> = BTreeMap::new();
    for n in nodes.keys().copied().collect::<Vec<_>>() {
        let mut node = nodes[&n].clone();
        node.inputs.iter_mut().for_each(|v| *v = *taken.get(v).unwrap_or(v));
        let same = shortened(nodes, &mut node);
        let results = (0..node.outputs.len()).map(|output| Value { node: n, output });
        if let Some(value) = same.filter(|_| !wanted.contains(&n)) {
            taken.insert(Value { node: n, output: 0 }, value);
        } else if let Some(key) = key(&node).filter(|_| !gradients.contains(&n)) {
            let first = *known.entry(key).or_insert(n);
            if first != n && !wanted.contains(&n) {
                taken.extend(results.map(|v| (v, Value { node: first, ..v })));
            }
        }
        nodes.insert(n, node);
    }
    let mut alive: BTreeSet<usize> = BTreeSet::new();
    let mut todo: Vec<usize> = wanted.iter().copied().collect();
    while let Some(n) = todo.pop() {
        if alive.insert(n) {
            todo.extend(nodes[&n].inputs.iter().map(|v| v.node));
        }
    }
    nodes.retain(|n, _| alive.contains(n));
}

/// Replaces a node's op by a simpler one, or finds the value that it makes.
fn shortened(nodes: &BTreeMap<usize, Node>, node: &mut Node) -> Option<Value> {
    let Origin::Op(op) = &node.origin else { return None };
    let made: Vec<Made> = node.inputs.iter().map(|v| made(nodes, *v)).collect();
    match op.simpler(&made, node.outputs[0])? {
        Simpler::Operand(k) => Some(node.inputs[k]),
        Simpler::Before => Some(nodes[&node.inputs[0].node].inputs[0]),
        Simpler::Op(op) => {
            node.inputs = vec![nodes[&node.inputs[0].node].inputs[0]];
            node.origin = Origin::Op(op);
            None
        }
    }
}

fn made(nodes: &BTreeMap<usize, Node>, value: Value) -> Made<'_> {
    let of = |v: Value| -> Type { nodes[&v.node].outputs[v.output] };
    let node = &nodes[&value.node];
    let op: Option<&dyn Op> = if let Origin::Op(op) = &node.origin { Some(&**op) } else { None };
    Made { ty: of(value), op, of: node.inputs.first().map(|v| of(*v)) }
}

fn key(node: &Node) -> Option<Key> {
    let Origin::Op(op) = &node.origin else { return None };
    let kind = (&**op as &dyn Any).type_id();
    op.repeats().then(|| (kind, format!("{op:?} {:?} {:?}", node.precision, node.again), node.inputs.clone()))
}
