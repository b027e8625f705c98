//! Dropout: values are left out at random while a network is trained (Srivastava et al., JMLR 15, 2014).

#[cfg(feature = "reference")]
use crate::reference::{Array, Case};
use crate::{
    Precision,
    dispatch::{Dispatch, Program},
    op::{Backward, Io, Kind, Op, Type},
    tensor::Tensor,
};

const NAME: &str = "dropout";

/// Inverted dropout with a mask of its own.
#[derive(Debug, Clone, Copy)]
struct Dropout {
    /// The probability that a value becomes 0.
    p: f32,
    /// What tells this mask from others; the gradient has the same.
    stream: u32,
}

impl<'g> Tensor<'g> {
    /// Sets each value to 0 with probability `p`, in `[0, 1)`, and divides the others by `1 - p`, so that the mean
    /// stays. Only while training: [`Plan::infer`](crate::Plan::infer) leaves the tensor as it is.
    ///
    /// The mask follows from [`Options::seed`](crate::plan::Options::seed), the step, and how many dropouts the graph
    /// had before; so it is the same on every device and in every precision.
    ///
    /// ```
    /// # use halfgrad::{Graph, Precision};
    /// let graph = Graph::new(Precision::F32);
    /// let x = graph.input("x", [64, 10]);
    /// assert_eq!(x.dropout(0.5).shape(), x.shape());
    /// assert!(graph.check().is_ok());
    ///
    /// let _ = x.dropout(1.0);
    /// assert!(graph.check().unwrap_err().to_string().contains("p is 1, and must be in [0, 1)"));
    /// ```
    #[track_caller]
    pub fn dropout(self, p: f32) -> Tensor<'g> {
        if p == 0.0 {
            return self;
        }
        let stream = self.graph.count(&[NAME]) as u32;
        self.graph.apply(Dropout { p, stream }, &[self])
    }
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        NAME
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        x[0].number()?;
        if !(0.0..1.0).contains(&self.p) {
            return Err(format!("p is {}, and must be in [0, 1)", self.p));
        }
        Ok(vec![x[0]])
    }

    fn kind(&self) -> Kind {
        Kind::Head
    }

    fn hands_on(&self, inference: bool) -> Option<usize> {
        inference.then_some(0)
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        vec![Some(at.dy().graph.apply(*self, &[at.dy()]))]
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let y = io.outputs[0];
        let (groups, last) = (y.shape.groups(), y.shape.storage().last());
        let shader = io.shader(NAME, include_str!("../../shaders/dropout.wgsl")).padded(last);
        program.push(
            Dispatch::new(io.label, shader)
                .read(io.clock)
                .read(io.inputs[0])
                .write(y)
                .param("groups", groups)
                .param("last", last)
                .param("stream", self.stream as usize)
                .param("drop", (f64::from(self.p) * 2f64.powi(32)) as u32 as usize)
                .param_f32("scale", 1.0 / (1.0 - self.p))
                .flops(y.shape.len())
                .fuse("epilogue", io.chain)
                .workgroups(groups.div_ceil(64)),
        );
    }

    /// The mean over all masks.
    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        x.to_vec()
    }
}

/// The identity, as at inference; `tests/dropout.rs` looks at masks.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    [&[5, 17][..], &[65, 1]].map(|shape| Case::new(Dropout { p: 0.5, stream: 1 }, [shape])).to_vec()
}
