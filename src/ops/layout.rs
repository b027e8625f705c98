//! Shape and place: reshape, and more to come.

#[cfg(feature = "reference")]
use crate::reference::{Array, Case};
use crate::{
    Precision, Shape,
    dispatch::Program,
    op::{Backward, Io, Kind, Op, Type},
    tensor::Tensor,
};

/// The same values in another shape.
#[derive(Debug, Clone, Copy)]
struct Reshape {
    to: Shape,
    /// Whether the memory can stay as it is.
    view: bool,
}

impl<'g> Tensor<'g> {
    /// The same values, in row-major order, under another shape. Free where the padding of the last axis stays.
    #[track_caller]
    pub fn reshape(self, shape: impl Into<Shape>) -> Tensor<'g> {
        let to = shape.into();
        if to == self.shape() {
            return self;
        }
        self.graph.apply(Reshape { to, view: self.shape().lies_like(&to) }, &[self])
    }

    /// All axes but the first as one: `[n, ..] → [n, d]`.
    #[track_caller]
    pub fn flatten(self) -> Tensor<'g> {
        let s = self.shape();
        let n = s.dims().next().unwrap_or(1);
        self.reshape([n, s.len() / n.max(1)])
    }

    /// All axes but the last as one: `[.., d] → [n, d]`.
    #[track_caller]
    pub fn flatten_rows(self) -> Tensor<'g> {
        let s = self.shape();
        self.reshape([s.len() / s.last().max(1), s.last()])
    }
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }
    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        if x[0].shape.len() != self.to.len() {
            return Err(format!("{} values do not fill {}", x[0].shape.len(), self.to));
        }
        Ok(vec![Type { shape: self.to, ..x[0] }])
    }
    fn kind(&self) -> Kind {
        if self.view { Kind::View } else { Kind::Kernel }
    }
    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        vec![Some(at.dy().reshape(at.x[0].shape()))]
    }
    fn lower(&self, _io: &Io, _program: &mut Program) {
        unimplemented!("helper")
    }
    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        vec![Array { shape: self.to, data: x[0].data.clone() }]
    }
}

#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    vec![]
}
