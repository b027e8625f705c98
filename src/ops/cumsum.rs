//! Cumulative sums.

use super::gemm::TURNS;
#[cfg(feature = "reference")]
use crate::reference::{Array, Case};
use crate::{
    Precision, Shape, caps,
    dispatch::{Dispatch, Program},
    op::{Backward, Io, Kind, Op, Type},
    shape::GROUP,
    tensor::Tensor,
};

/// The sums up to each place of an axis, or from it on.
#[derive(Debug, Clone, Copy)]
struct Cumsum {
    axis: usize,
    reverse: bool,
}

impl<'g> Tensor<'g> {
    /// The sum of all values up to each place of an axis, that place included: `[.., d, ..] → [.., d, ..]`. Values are
    /// added in their order, one after the other.
    #[track_caller]
    pub fn cumsum(self, axis: usize) -> Tensor<'g> {
        match self.shape().dims().nth(axis) {
            Some(1) => self,
            _ => self.graph.apply(Cumsum { axis, reverse: false }, &[self]),
        }
    }
}

/// What stands in the place of `carry` in `cumsum.wgsl` where one dispatch may not take as many turns as there are terms.
const CARRY: &str = "\
@group(0) @binding(2) var<storage, read_write> sums_before: array<wide4>;
fn carried(line: u32) -> vec4<acc> {
    return select(unpack4_wide(sums_before[line]), vec4<acc>(), p.first == 0u);
}
fn carry(line: u32, v: vec4<acc>) {
    sums_before[line] = pack4_wide(v);
}";

impl Op for Cumsum {
    fn name(&self) -> &'static str {
        "cumsum"
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        x[0].number()?;
        match self.axis < x[0].shape.rank() {
            true => Ok(x.to_vec()),
            false => Err(format!("{} has no axis {}", x[0].shape, self.axis)),
        }
    }

    fn kind(&self) -> Kind {
        Kind::Head
    }

    fn repeats(&self) -> bool {
        true
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let back = Cumsum { reverse: !self.reverse, ..*self };
        vec![Some(at.dy().graph.apply(back, &[at.dy()]))]
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let (x, y) = (io.inputs[0], io.outputs[0]);
        let dims = x.shape.storage().to_vec();
        let last = x.shape.storage().last();
        let along_rows = self.axis + 1 == dims.len();
        let (terms, inner) = match along_rows {
            true => (last.div_ceil(GROUP), 1),
            false => {
                (dims[self.axis], dims[self.axis + 1..dims.len() - 1].iter().product::<usize>() * last.div_ceil(GROUP))
            }
        };
        let lines = x.shape.groups() / terms;
        let shader = io
            .shader("cumsum", include_str!("../../shaders/cumsum.wgsl"))
            .constant("ALONG_ROWS", along_rows.into())
            .constant("REVERSE", self.reverse.into())
            .padded(last);
        let most = if io.caps.kind == caps::Kind::Software { TURNS / 2 } else { terms };
        let carried = (terms > most).then(|| program.scratch(Shape::from([lines, GROUP]), shader.acc));
        for first in (0..terms).step_by(most) {
            let bind = |d: Dispatch, t| if first == 0 { d.write(t) } else { d.update(t) };
            let dispatch = bind(Dispatch::new(io.label, shader.clone()).read(x), y);
            let dispatch = match carried {
                Some(sums) => bind(dispatch.wide(sums.dtype).splice("carry", CARRY), sums),
                None => dispatch,
            };
            let share = x.shape.len() * most.min(terms - first) / terms;
            program.push(
                dispatch
                    .param("lines", lines)
                    .param("terms", terms)
                    .param("inner", inner)
                    .param("last", last)
                    .param("first", first)
                    .param("end", terms.min(first + most))
                    .flops(share)
                    .fuse("epilogue", io.chain)
                    .workgroups(lines.div_ceil(64)),
            );
        }
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let mut y = x[0].clone();
        let d = y.shape[self.axis];
        let inner: usize = y.shape.dims().skip(self.axis + 1).product();
        for line in y.data.chunks_mut(d * inner) {
            for i in inner..line.len() {
                let (to, before) =
                    if self.reverse { (line.len() - 1 - i, line.len() - 1 - i + inner) } else { (i, i - inner) };
                line[to] += line[before];
            }
        }
        vec![y]
    }
}

/// Every kind of axis, in both directions.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    let shapes: [(&[usize], usize); 9] = [
        (&[5, 17], 0),
        (&[5, 17], 1),
        (&[65], 0),
        (&[3, 65, 1], 1),
        (&[3, 65, 1], 0),
        (&[2, 3, 5, 7], 1),
        (&[2, 3, 5, 7], 2),
        (&[2, 3, 5, 4], 3),
        (&[257, 3], 0),
    ];
    let case =
        |(shape, axis): (&[usize], usize), reverse| Case::new(Cumsum { axis, reverse }, [shape]).terms(shape[axis]);
    shapes.into_iter().flat_map(|s| [false, true].map(|reverse| case(s, reverse))).collect()
}
