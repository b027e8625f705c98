//! Bias gradients: a sum over rows that a product reads too is made beside the product, in the same dispatch.

use std::collections::BTreeMap;

use super::{fuse::Groups, reach::Reached};
use crate::{
    graph::{Origin, Value},
    op::{Op, Type},
};

/// A product, and the sum over the rows of its operand that it makes too.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    pub product: usize,
    pub sum: usize,
}

/// The pairs, under the numbers of both of their nodes.
pub fn pairs(reached: &Reached, groups: &Groups) -> BTreeMap<usize, Pair> {
    let mut found = BTreeMap::new();
    let mut sums: BTreeMap<Value, usize> = BTreeMap::new();
    let alone = |n: &usize| !groups.of.contains_key(n);
    for (n, op) in ops(reached).filter(|(n, op)| alone(n) && op.sums_rows(&types(reached, *n))) {
        debug_assert_eq!(reached.nodes[&n].outputs.len(), 1, "{op:?}");
        sums.insert(reached.seen(reached.nodes[&n].inputs[0]), n);
    }
    for (product, op) in ops(reached).filter(|(n, _)| alone(n)) {
        let types = types(reached, product);
        let node = &reached.nodes[&product];
        if let Some(k) = op.sums_beside(&types)
            && let Some(&sum) = sums.get(&reached.seen(node.inputs[k]))
            && !found.contains_key(&sum)
            && reached.nodes[&sum].precision == node.precision
            && types[k].shape.last() == reached.nodes[&sum].outputs[0].shape.last()
            // Both run where the first of them would.
            && node.inputs.iter().all(|v| groups.made(reached.seen(*v).node) < sum)
        {
            found.insert(product, Pair { product, sum });
            found.insert(sum, Pair { product, sum });
        }
    }
    found
}

fn ops(reached: &Reached) -> impl Iterator<Item = (usize, &dyn Op)> {
    reached.nodes.iter().filter_map(|(&n, node)| match &node.origin {
        Origin::Op(op) => Some((n, &**op)),
        _ => None,
    })
}

fn types(reached: &Reached, n: usize) -> Vec<Type> {
    reached.nodes[&n].inputs.iter().map(|v| reached.nodes[&v.node].outputs[v.output]).collect()
}
