//! Reverse-mode differentiation: one walk from the loss back to the inputs, which appends nodes to the graph.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Error,
    error::Site,
    graph::{Graph, Origin, Value},
    op::{Backward, Kind, Op},
    tensor::Tensor,
};

impl Graph {
    /// The gradient of the sum of `y`'s values with respect to each of `xs`, as tensors of the graph.
    ///
    /// `xs` may be inputs, weights or anything between; where `y` does not depend on one, its gradient is zero. A gradient of the
    /// gradient of a fused op, cross-entropy, attention or a norm, is a mistake of the graph's: those have no second one.
    ///
    /// ```
    /// use halfgrad::{Graph, Precision};
    /// let graph = Graph::new(Precision::F32);
    /// let x = graph.input("x", [3]);
    /// let dx = graph.grad((x * x).sum_all(), &[x])[0];    // 2x
    /// assert_eq!(dx.shape(), x.shape());
    /// ```
    #[track_caller]
    pub fn grad<'g>(&'g self, y: Tensor<'g>, xs: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        let ones = self.full(y.shape(), 1.0).cast(y.dtype());
        self.grad_from(y, ones, xs)
    }

    /// As [`grad`](Self::grad), with `seed` for the gradient of `y`.
    #[track_caller]
    pub(crate) fn grad_from<'g>(&'g self, y: Tensor<'g>, seed: Tensor<'g>, xs: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        let gradients = self.grad_keeping(y, seed, xs, None);
        gradients.into_iter().zip(xs).map(|(dx, x)| dx.unwrap_or_else(|| x.zeros_like())).collect()
    }

    /// As [`grad_from`](Self::grad_from); where some ops' results are `kept`, those of others are computed again when the walk
    /// gets to what needs them.
    #[track_caller]
    pub(crate) fn grad_keeping<'g>(
        &'g self,
        y: Tensor<'g>,
        seed: Tensor<'g>,
        xs: &[Tensor<'g>],
        kept: Option<&BTreeSet<usize>>,
    ) -> Vec<Option<Tensor<'g>>> {
        if xs.iter().any(|x| x.graph.id() != self.id()) || y.graph.id() != self.id() {
            self.mistake(Error::Port("grad was given a tensor of another graph".into()));
            return xs.iter().copied().map(Some).collect();
        }
        let asked = Site::here();
        let mut dy = BTreeMap::from([(y.value, seed)]);
        let depends = self.depends_on(xs, y.value.node);
        let mut again = Again { graph: self, kept, copies: BTreeMap::new() };
        for index in (0..=y.value.node).rev() {
            let node = self.node(index);
            let Origin::Op(op) = &node.origin else { continue };
            let results = (0..node.outputs.len()).map(|output| Value { node: index, output });
            let grads: Vec<_> = results.clone().map(|v| dy.get(&v).copied()).collect();
            if !depends[index] || grads.iter().all(Option::is_none) {
                continue;
            }
            if kept.is_some() {
                // What makes an operand reads values of which its gradient needs some, and sums of rows are made beside products: what
                // those read must be there first.
                node.inputs.iter().for_each(|v| again.operands(*v));
            }
            let mut tensor = |value| Tensor { graph: self, value: again.value(value) };
            let at = Backward {
                x: node.inputs.iter().copied().map(&mut tensor).collect(),
                y: results.map(&mut tensor).collect(),
                dy: grads,
            };
            self.within_layer(node.layer.clone(), || {
                let grads = op.grad(&at);
                if let Some(detail) = self.ungraded(&**op, &node.inputs, &grads) {
                    let operands: Vec<String> = node.inputs.iter().map(|&v| self.type_of(v).to_string()).collect();
                    let (op, operands) = (op.name().to_owned(), operands.join(", "));
                    self.mistake(Error::Op { op, operands, detail, at: asked });
                    return;
                }
                for (&x, dx) in node.inputs.iter().zip(grads) {
                    let Some(dx) = dx.filter(|_| depends[x.node]) else { continue };
                    let dx = dx.cast(self.type_of(x).dtype);
                    let layer = || self.node(x.node).layer;
                    dy.entry(x).and_modify(|sum| *sum = self.within_layer(layer(), || *sum + dx)).or_insert(dx);
                }
            });
        }
        xs.iter().map(|x| dy.get(&x.value).copied()).collect()
    }

    /// What is wrong with the gradient of an op, if anything is.
    fn ungraded(&self, op: &dyn Op, inputs: &[Value], grads: &[Option<Tensor>]) -> Option<String> {
        if !op.is_differentiable() {
            return Some("it has no gradient, and one is asked for: stop_gradient() makes it a constant".into());
        }
        if grads.len() != inputs.len() {
            return Some(format!("its gradient has {} parts for {} operands", grads.len(), inputs.len()));
        }
        let unlike = |(&x, dx): (&Value, &Option<Tensor>)| {
            let (shape, of) = (dx.as_ref()?.shape(), self.type_of(x).shape);
            (shape != of).then(|| format!("its gradient for an operand {of} is {shape}"))
        };
        inputs.iter().zip(grads).find_map(unlike)
    }

    /// For each node up to `last`, whether it depends on one of `xs`.
    fn depends_on(&self, xs: &[Tensor], last: usize) -> Vec<bool> {
        let mut depends = vec![false; last + 1];
        xs.iter().filter(|x| x.value.node <= last).for_each(|x| depends[x.value.node] = true);
        for index in 0..=last {
            depends[index] |= self.node(index).inputs.iter().any(|v| depends[v.node]);
        }
        depends
    }
}

/// What of the forward pass the backward pass computes again.
struct Again<'a> {
    graph: &'a Graph,
    /// The ops whose results are there; all, if it does not say.
    kept: Option<&'a BTreeSet<usize>>,
    /// What was appended for a node.
    copies: BTreeMap<usize, usize>,
}

impl Again<'_> {
    /// The value itself, or what it is computed again as, from the nearest values that are kept.
    fn value(&mut self, value: Value) -> Value {
        let kept = |n: usize| self.kept.is_none_or(|kept| kept.contains(&n));
        let mut todo = vec![value.node];
        while let Some(&n) = todo.last() {
            let node = self.graph.node(n);
            let is_there = kept(n) || node.inputs.is_empty() || self.copies.contains_key(&n);
            let missing = |v: &&Value| {
                let inputs = self.graph.node(v.node).inputs;
                !kept(v.node) && !inputs.is_empty() && !self.copies.contains_key(&v.node)
            };
            match node.inputs.iter().find(missing).filter(|_| !is_there) {
                Some(v) => todo.push(v.node),
                None => {
                    if !is_there {
                        let inputs = node.inputs.iter().map(|&v| self.copied(v)).collect();
                        self.copies.insert(n, self.graph.append_again(n, inputs));
                    }
                    todo.pop();
                }
            }
        }
        self.copied(value)
    }

    /// Has the operands of the op that makes a value, or what that is a view of.
    fn operands(&mut self, mut value: Value) {
        while self.graph.node(value.node).kind() == Some(Kind::View) {
            value = self.graph.node(value.node).inputs[0];
        }
        self.graph.node(value.node).inputs.into_iter().for_each(|v| {
            self.value(v);
        });
    }

    fn copied(&self, value: Value) -> Value {
        self.copies.get(&value.node).map_or(value, |&node| Value { node, ..value })
    }
}
