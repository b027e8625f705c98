//! `Tensor`: a `Copy` handle on a node's result, with the operators of arithmetic.
//!
//! The methods that make ops stand beside the ops, in [`crate::ops`].

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::{
    Dtype, Error, Precision, Shape,
    error::Site,
    graph::{Graph, Value},
};

/// A tensor of a graph: a shape and a promise of values, not the values.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'g> {
    /// The graph that it belongs to.
    pub graph: &'g Graph,
    /// The node and result that it stands for.
    pub value: Value,
}

impl<'g> Tensor<'g> {
    /// The tensor's shape.
    pub fn shape(&self) -> Shape {
        self.graph.type_of(self.value).shape
    }

    /// The type of the tensor's values in memory.
    pub fn dtype(&self) -> Dtype {
        self.graph.type_of(self.value).dtype
    }

    /// What the tensor's layer is computed in.
    pub fn precision(&self) -> Precision {
        self.graph.layer_types(self.value).0
    }

    /// The type that it has for layers of the graph's own precision.
    pub(crate) fn outside(&self) -> Dtype {
        self.graph.layer_types(self.value).1
    }

    /// Names the tensor, for errors, listings and [`Port`](crate::graph::Port)s.
    pub fn named(self, name: &str) -> Self {
        self.graph.mark(self.value, Some(name), false);
        self
    }

    /// Keeps the tensor's values after a run, so that a plan can read them. A plan that trains computes it even if the loss does not
    /// depend on it, unless it depends on inputs that the plan has not; a plan that infers, only if an output depends on it.
    ///
    /// ```
    /// use halfgrad::{Gpu, Graph, Plan, Precision, Sgd, Weights, nn};
    /// let (gpu, graph) = (Gpu::new()?, Graph::new(Precision::F32));
    /// let x = graph.input("x", [4, 8]);
    /// let loss = nn::linear("fc", x, 3).square().mean_all();
    /// let bias = graph.shared("fc.bias");
    /// let gradient = graph.grad(loss, &[bias])[0].watch();
    /// let weights = Weights::init(&gpu, &graph, 1)?;
    /// let mut train = Plan::train(&gpu, &weights, loss, Sgd::new(0.1))?;
    /// train.write(x, &[1.0; 32])?;
    /// train.run();
    /// let (after, gradient) = (weights.get("fc.bias")?.wait()?, train.read(gradient)?.wait()?);
    /// assert!(after.iter().zip(gradient).all(|(b, g)| (b + 0.1 * g).abs() < 1e-6)); // biases start at 0
    /// # Ok::<(), halfgrad::Error>(())
    /// ```
    pub fn watch(self) -> Self {
        self.graph.mark(self.value, None, true);
        self
    }

    /// Keeps what is wrong with these operands as the graph's mistake, and stands in for the result.
    #[track_caller]
    pub(crate) fn refuse(self, op: &str, others: &[Tensor<'g>], detail: String) -> Self {
        let operands =
            [&[self], others].concat().iter().map(|t| format!("{} {}", t.dtype(), t.shape())).collect::<Vec<_>>();
        self.graph.mistake(Error::Op { op: op.into(), operands: operands.join(", "), detail, at: Site::here() })
    }

    /// A tensor of the same shape and type, filled with zeros.
    pub fn zeros_like(self) -> Self {
        self.graph.full(self.shape(), 0.0).cast(self.dtype())
    }
}

/// An operator between tensors, and between a tensor and a number.
macro_rules! arithmetic {
    ($($trait:ident $method:ident),*) => {$(
        impl<'g> $trait for Tensor<'g> {
            type Output = Tensor<'g>;
            #[track_caller]
            fn $method(self, other: Self) -> Self {
                Tensor::$method(self, other)
            }
        }
        impl<'g> $trait<f32> for Tensor<'g> {
            type Output = Tensor<'g>;
            #[track_caller]
            fn $method(self, number: f32) -> Self {
                Tensor::$method(self, self.number(number))
            }
        }
        impl<'g> $trait<Tensor<'g>> for f32 {
            type Output = Tensor<'g>;
            #[track_caller]
            fn $method(self, tensor: Tensor<'g>) -> Tensor<'g> {
                Tensor::$method(tensor.number(self), tensor)
            }
        }
    )*};
}
arithmetic!(Add add, Sub sub, Mul mul, Div div);

impl Neg for Tensor<'_> {
    type Output = Self;
    #[track_caller]
    fn neg(self) -> Self {
        Tensor::neg(self)
    }
}
