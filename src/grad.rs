//! Reverse-mode differentiation: one walk from the loss back to the inputs, which appends nodes to the graph.

use std::collections::BTreeMap;

use crate::{
    Error,
    graph::{Graph, Origin, Value},
    op::Backward,
    tensor::Tensor,
};

impl Graph {
    /// The gradient of the sum of `y`'s values with respect to each of `xs`, as tensors of the graph.
    ///
    /// `xs` may be inputs, weights or anything between; where `y` does not depend on one, its gradient is zero.
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
    pub(crate) fn grad_from<'g>(&'g self, y: Tensor<'g>, seed: Tensor<'g>, xs: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        if xs.iter().any(|x| x.graph.id() != self.id()) || y.graph.id() != self.id() {
            self.mistake(Error::Port("grad was given a tensor of another graph".into()));
            return xs.to_vec();
        }
        let mut dy = BTreeMap::from([(y.value, seed)]);
        let depends = self.depends_on(xs, y.value.node);
        for index in (0..=y.value.node).rev() {
            let node = self.node(index);
            let Origin::Op(op) = &node.origin else { continue };
            let results = (0..node.outputs.len()).map(|output| Value { node: index, output });
            let grads: Vec<_> = results.clone().map(|v| dy.get(&v).copied()).collect();
            if !depends[index] || grads.iter().all(Option::is_none) {
                continue;
            }
            let tensor = |value| Tensor { graph: self, value };
            let at = Backward {
                x: node.inputs.iter().copied().map(tensor).collect(),
                y: results.map(tensor).collect(),
                dy: grads,
            };
            self.within_layer(node.layer.clone(), || {
                for (x, dx) in at.x.iter().zip(op.grad(&at)) {
                    let Some(dx) = dx.filter(|_| depends[x.value.node]) else { continue };
                    let dx = dx.cast(x.dtype());
                    let layer = || self.node(x.value.node).layer;
                    dy.entry(x.value).and_modify(|sum| *sum = self.within_layer(layer(), || *sum + dx)).or_insert(dx);
                }
            });
        }
        xs.iter().map(|x| dy.get(&x.value).copied().unwrap_or_else(|| x.zeros_like())).collect()
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
