//! Slow and obvious: arrays of f64 and an interpreter of graphs. Every kernel is held against this.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Shape,
    error::{Error, Result},
    graph::{Graph, Origin, Value},
    op::Op,
    tensor::Tensor,
};

/// A dense array of f64 in row-major order, without padding.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Lengths of the axes.
    pub shape: Shape,
    /// The values.
    pub data: Vec<f64>,
}

impl Array {
    /// An array of these values.
    pub fn new(shape: impl Into<Shape>, data: Vec<f64>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.len(), data.len(), "an array of shape {shape}");
        Array { shape, data }
    }

    /// An array whose value at each index is `f(index)`.
    pub fn from_fn(shape: Shape, mut f: impl FnMut(&[usize]) -> f64) -> Self {
        let data = indices(shape).map(|i| f(&i)).collect();
        Array { shape, data }
    }

    /// The value at an index; axes of length 1 stretch, missing leading axes too.
    pub fn at(&self, index: &[usize]) -> f64 {
        let skip = index.len() - self.shape.rank();
        let flat = index[skip..].iter().zip(self.shape.dims()).fold(0, |flat, (&i, d)| flat * d + i.min(d - 1));
        self.data[flat]
    }

    /// The array with `f` applied to each value.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Array { shape: self.shape, data: self.data.iter().map(|&v| f(v)).collect() }
    }
}

/// Every index of a shape, in row-major order.
pub fn indices(shape: Shape) -> impl Iterator<Item = Vec<usize>> {
    (0..shape.len()).map(move |mut flat| {
        let mut index = vec![0; shape.rank()];
        for (i, d) in index.iter_mut().zip(shape.dims()).rev() {
            (*i, flat) = (flat % d, flat / d);
        }
        index
    })
}

/// What to fill an operand of a [`Case`] with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fill {
    /// Reals between the two bounds.
    Between(f64, f64),
    /// Class indices below the bound, one in eight of them [`crate::data::IGNORE`].
    Labels(u32),
}

/// An op and operands to try it on.
#[derive(Debug, Clone)]
pub struct Case {
    /// The op.
    pub op: Arc<dyn Op>,
    /// Shape and filling of each operand.
    pub inputs: Vec<(Shape, Fill)>,
    /// How many terms are summed for one value of the result: what the tolerance is computed from.
    pub terms: usize,
    /// Whether the gradient is compared with finite differences.
    pub smooth: bool,
}

impl Case {
    /// A case whose operands are reals in [-2, 2].
    pub fn new<const N: usize>(op: impl Op + 'static, shapes: [&[usize]; N]) -> Self {
        let inputs = shapes.map(|s| (Shape::new(s).expect("a valid shape"), Fill::Between(-2.0, 2.0))).to_vec();
        Case { op: Arc::new(op), inputs, terms: 1, smooth: true }
    }

    /// Fills operand `i` otherwise.
    pub fn fill(mut self, i: usize, fill: Fill) -> Self {
        self.inputs[i].1 = fill;
        self
    }

    /// Each value of the result is a sum of `terms` terms.
    pub fn terms(self, terms: usize) -> Self {
        Case { terms, ..self }
    }

    /// The op has no gradient, or none that finite differences would find.
    pub fn not_smooth(self) -> Self {
        Case { smooth: false, ..self }
    }
}

/// The values of `wanted`, given those of all inputs and weights that it depends on.
///
/// Dropout keeps everything here: it is its mean. States are as they start.
///
/// # Errors
/// [`Error::Name`] of an op that has no [`Op::reference`], as the crate's own have none without the feature `reference`, or of an
/// input or weight without values.
pub fn evaluate(graph: &Graph, given: &BTreeMap<Value, Array>, wanted: &[Tensor]) -> Result<Vec<Array>> {
    let mut known = given.clone();
    let last = wanted.iter().map(|t| t.value.node).max().unwrap_or(0);
    let mut needed = vec![false; last + 1];
    wanted.iter().for_each(|t| needed[t.value.node] = true);
    for index in (0..=last).rev().filter(|&i| graph.len() > i) {
        if needed[index] && !given.contains_key(&Value { node: index, output: 0 }) {
            graph.node(index).inputs.iter().for_each(|v| needed[v.node] = true);
        }
    }
    for index in (0..=last).filter(|&i| needed[i]) {
        if known.contains_key(&Value { node: index, output: 0 }) {
            continue;
        }
        let node = graph.node(index);
        let results = match &node.origin {
            Origin::Op(op) => {
                let inputs: Vec<Array> = node.inputs.iter().map(|v| known[v].clone()).collect();
                let results = op.reference(&inputs);
                if results.is_empty() {
                    return Err(Error::name(op.name(), "the op has no definition in f64: Op::reference"));
                }
                results
            }
            Origin::State(init) => {
                let shape = node.outputs[0].shape;
                let values = init.values(&shape, 0, node.name.as_deref().unwrap_or_default());
                vec![Array::new(shape, values.into_iter().map(f64::from).collect())]
            }
            Origin::LossScale => vec![Array::new([], vec![1.0])],
            _ => return Err(Error::name(node.name.unwrap_or_default(), "it was given no values")),
        };
        for (output, array) in results.into_iter().enumerate() {
            debug_assert_eq!(array.shape, node.outputs[output].shape, "{:?}", node.origin);
            known.insert(Value { node: index, output }, array);
        }
    }
    Ok(wanted.iter().map(|t| known[&t.value].clone()).collect())
}
