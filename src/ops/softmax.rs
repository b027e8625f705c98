//! Softmax over the last axis, and its logarithm. Sums are in registers of the accumulators' type.

use super::stretches::{Pass, push};
#[cfg(feature = "reference")]
use crate::reference::{Array, Case, Fill};
use crate::{
    Precision,
    dispatch::{Dispatch, Operand, Program, Shader},
    op::{Backward, Io, Kind, Op, Type},
    shape::GROUP,
    tensor::Tensor,
};

/// Softmax of each row.
#[derive(Debug, Clone, Copy)]
struct Softmax {
    log: bool,
}

/// The gradient of [`Softmax`], from its result and the result's gradient: less to read, and to round, than a chain
/// of ops.
#[derive(Debug, Clone, Copy)]
struct SoftmaxBackward {
    log: bool,
}

impl<'g> Tensor<'g> {
    /// e^x / Σ e^x along the last axis: `[.., d] → [.., d]`, each row of sum 1.
    #[track_caller]
    pub fn softmax(self) -> Tensor<'g> {
        // A last axis of length 1 is not stored, so it has no rows; its result is known.
        if self.shape().last() == 1 {
            return self.graph.full(self.shape(), 1.0).cast(self.dtype());
        }
        self.graph.apply(Softmax { log: false }, &[self])
    }

    /// x − log Σ e^x along the last axis: `[.., d] → [.., d]`. More precise than `softmax().log()`.
    #[track_caller]
    pub fn log_softmax(self) -> Tensor<'g> {
        if self.shape().last() == 1 {
            return self.zeros_like();
        }
        self.graph.apply(Softmax { log: true }, &[self])
    }

    /// The sum along the last axis, which stays with length 1.
    fn sum_of_rows(self) -> Tensor<'g> {
        let last = self.shape().rank() - 1;
        self.sum_to(self.shape().keep(&[last]))
    }
}

/// The type of the result, that of the first operand.
fn infer(x: &[Type]) -> Result<Vec<Type>, String> {
    Ok(vec![x[0].number()?])
}

/// Rows of a tensor, and groups of a row.
fn sizes(x: Operand) -> [usize; 2] {
    [x.shape.len() / x.shape.last(), x.shape.last().div_ceil(GROUP)]
}

/// A dispatch over the rows of the operands.
fn over_rows(log: bool, shader: &Shader, io: &Io, pass: Pass) -> Dispatch {
    let y = io.outputs[0];
    let dispatch = Dispatch::new(io.label, shader.clone().constant("LOG", log.into()).padded(y.shape.last()));
    let dispatch = io.inputs.iter().fold(dispatch, |d, &x| d.read(x)).write(pass.result(y));
    sized(dispatch, y).flops(pass.flops(5 * y.shape.len()))
}

/// With the uniforms of rows like those of `x`.
fn sized(dispatch: Dispatch, x: Operand) -> Dispatch {
    dispatch.param("rows", sizes(x)[0]).param("last", x.shape.last())
}

/// The first pass over the rows of `x`, where they are cut, of what is made of their exponentials.
pub(super) fn row_exponentials(io: &Io, x: Operand) -> Dispatch {
    let source = include_str!("../../shaders/row_exponentials.wgsl");
    let dispatch = Dispatch::new(io.label, Shader::new("row_exponentials", source, x.dtype, io.precision)).read(x);
    sized(dispatch, x).flops(4 * x.shape.len())
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        infer(x)
    }

    fn kind(&self) -> Kind {
        Kind::Head
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn repeats(&self) -> bool {
        true
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        vec![Some(at.y[0].graph.apply(SoftmaxBackward { log: self.log }, &[at.y[0], at.dy()]))]
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let shader = io.shader("softmax", include_str!("../../shaders/softmax.wgsl"));
        let [rows, groups] = sizes(io.inputs[0]);
        push(io, program, [rows, groups, 1], |pass| match pass {
            Pass::First => row_exponentials(io, io.inputs[0]),
            _ => over_rows(self.log, &shader, io, pass),
        });
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let rows = x[0].data.chunks(x[0].shape.last()).flat_map(|row| {
            let lse = log_sum_exp(row);
            row.iter().map(move |v| if self.log { v - lse } else { (v - lse).exp() })
        });
        vec![Array::new(x[0].shape, rows.collect())]
    }
}

impl Op for SoftmaxBackward {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax_backward" } else { "softmax_backward" }
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        infer(x)
    }

    fn kind(&self) -> Kind {
        Kind::Head
    }

    fn repeats(&self) -> bool {
        true
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let (y, dy, u) = (at.x[0], at.x[1], at.dy());
        let (of_y, of_dy) = match self.log {
            true => {
                let p = y.exp();
                (-(u * p * dy.sum_of_rows()), u - (u * p).sum_of_rows())
            }
            false => (u * (dy - (dy * y).sum_of_rows()) - dy * (u * y).sum_of_rows(), y * (u - (u * y).sum_of_rows())),
        };
        vec![Some(of_y), Some(of_dy)]
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let shader = io.shader("softmax_backward", include_str!("../../shaders/softmax_backward.wgsl"));
        let [rows, groups] = sizes(io.inputs[0]);
        push(io, program, [rows, groups, 2], |pass| over_rows(self.log, &shader, io, pass));
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let last = x[0].shape.last();
        let rows = x[0].data.chunks(last).zip(x[1].data.chunks(last)).flat_map(|(y, dy)| {
            let sum: f64 = y.iter().zip(dy).map(|(y, d)| if self.log { *d } else { d * y }).sum();
            y.iter().zip(dy).map(move |(y, d)| if self.log { d - y.exp() * sum } else { y * (d - sum) })
        });
        vec![Array::new(x[0].shape, rows.collect())]
    }
}

/// log Σ e^x of a row.
#[cfg(feature = "reference")]
pub(super) fn log_sum_exp(row: &[f64]) -> f64 {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + row.iter().map(|v| (v - largest).exp()).sum::<f64>().ln()
}

/// One lane to many, rows that registers hold and others, padding, large values, both passes.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    let shapes: [&[usize]; 7] = [&[3], &[5, 2], &[65, 10], &[2, 3, 17], &[5, 257], &[1, 1000], &[65, 64]];
    let of = |shape: &'static [usize], log, size: f64| {
        let terms = crate::Shape::new(shape).expect("valid").last();
        let forward = Case::new(Softmax { log }, [shape]).fill(0, Fill::Between(-size, size));
        [forward, Case::new(SoftmaxBackward { log }, [shape, shape])].map(|c| c.terms(terms))
    };
    let plain = shapes.into_iter().flat_map(|s| [of(s, false, 2.0), of(s, true, 2.0)]);
    // Differences of a sum of so many values say nothing.
    let long: [&[usize]; 2] = [&[2, 8203], &[2, 16_389]]; // the second cut in stretches
    let long = long.into_iter().flat_map(|s| [false, true].map(|log| of(s, log, 2.0).map(Case::not_smooth)));
    plain.chain([of(&[5, 17], false, 60.0), of(&[5, 17], true, 60.0)]).chain(long).flatten().collect()
}
