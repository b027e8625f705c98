//! Attention as matrix products and what is between them, for processors: they have no memory of a workgroup to keep a tile in,
//! and their products are several times as fast as such a tile. Scores and shares are in memory while a pass runs, no longer.

use super::{
    attention::{Attention, Sizes},
    matmul::{self, Matrices},
};
use crate::{
    Caps, Dtype, Precision, Shape,
    caps::Kind,
    dispatch::{Dispatch, Operand, Program},
    op::Io,
    precision::Accumulate,
    shape::GROUP,
};

/// Bytes that scores, shares and their gradients may take, in f32.
const MOST_BYTES: usize = 256 << 20;

/// Whether an attention of these sizes is composed.
pub(super) fn pays(caps: &Caps, s: Sizes) -> bool {
    let each = s.members * s.t * s.s.next_multiple_of(GROUP) * Dtype::F32.bytes();
    // Of memory that is counted, an eighth.
    let most = caps.memory.map_or(MOST_BYTES, |bytes| MOST_BYTES.min(bytes as usize / 8));
    // A lone key is not stored as a row.
    caps.kind == Kind::Software && s.s > 1 && 4 * each <= most && each as u64 <= caps.binding_bytes
}

/// An attention that is lowered.
struct Work<'a> {
    how: Attention,
    io: &'a Io<'a>,
    sizes: Sizes,
    mask: Option<Operand>,
}

impl<'a> Work<'a> {
    fn new(how: Attention, io: &'a Io<'a>, mask: Option<Operand>) -> Self {
        Work { how, io, sizes: how.sizes(io.inputs[0].shape, io.inputs[1].shape), mask }
    }

    /// Memory for a matrix `[t, s]` of each head.
    fn matrix(&self, program: &mut Program, dtype: Dtype) -> Operand {
        program.scratch(Shape::from([self.sizes.members, self.sizes.t, self.sizes.s]), dtype)
    }

    /// Queries, keys, values or their gradients: `[rows, d]` of each head.
    fn rows(&self, x: Operand) -> Matrices {
        Matrices { x, transposed: false, heads: if self.sizes.joined { self.sizes.heads } else { 1 } }
    }

    /// Appends the product of two matrices of each head, `[m, k] · [k, n]`.
    fn product(&self, program: &mut Program, [m, k, n]: [usize; 3], a: Matrices, b: Matrices, y: Matrices) {
        let sizes = matmul::Sizes { batch: self.sizes.members, m, k, n };
        // Its sums are kept in registers, whatever other products do.
        let accumulate = if self.io.precision.acc() == Dtype::F16 { Accumulate::F16 } else { Accumulate::F32 };
        let precision = Precision { accumulate, ..self.io.precision };
        matmul::lower(&Io { chain: None, beside: None, precision, ..*self.io }, program, sizes, a, b, y);
    }

    /// Appends a dispatch over fours of queries.
    fn over_queries(
        &self,
        program: &mut Program,
        file: (&'static str, &'static str),
        bind: impl FnOnce(Dispatch) -> Dispatch,
    ) {
        let s = self.sizes;
        let blocks = s.members * s.t.div_ceil(GROUP);
        let dispatch = self.how.dispatch(self.io, file, self.mask, bind);
        program.push(dispatch.flops(6 * s.members * s.t * s.s).workgroups(blocks.div_ceil(64)));
    }
}

/// Scores or shares: `[t, s]` of each head.
fn scores(x: Operand) -> Matrices {
    Matrices { x, transposed: false, heads: 1 }
}

fn transposed(of: Matrices) -> Matrices {
    Matrices { transposed: !of.transposed, ..of }
}

/// The forward pass: scores, shares, result.
pub(super) fn forward(how: Attention, io: &Io, mask: Option<Operand>, program: &mut Program) {
    let [q, k, v, ..] = *io.inputs else { unreachable!("three operands or four") };
    let work = Work::new(how, io, mask);
    let Sizes { t, s, d, .. } = work.sizes;
    let x = work.matrix(program, io.precision.wide());
    let shares = work.matrix(program, q.dtype);
    work.product(program, [t, d, s], work.rows(q), transposed(work.rows(k)), scores(x));
    let file = ("attention_shares", include_str!("../../shaders/attention_shares.wgsl"));
    work.over_queries(program, file, |d| d.read(x).write(shares).write(io.outputs[1]).yields(0, 1));
    work.product(program, [t, s, d], scores(shares), work.rows(v), work.rows(io.outputs[0]));
}

/// The backward pass, given what `attention_rows.wgsl` found.
pub(super) fn backward(how: Attention, io: &Io, rows: Operand, mask: Option<Operand>, program: &mut Program) {
    let [q, k, v, _, _, dy, ..] = *io.inputs else { unreachable!("six operands or seven") };
    let [dq, dk, dv] = *io.outputs else { unreachable!("three results") };
    let work = Work::new(how, io, mask);
    let Sizes { t, s, d, .. } = work.sizes;
    let [x, of_shares] = [0; 2].map(|_| work.matrix(program, io.precision.wide()));
    let [shares, slopes] = [0; 2].map(|_| work.matrix(program, q.dtype));
    work.product(program, [t, d, s], work.rows(q), transposed(work.rows(k)), scores(x));
    work.product(program, [t, d, s], work.rows(dy), transposed(work.rows(v)), scores(of_shares));
    let file = ("attention_slopes", include_str!("../../shaders/attention_slopes.wgsl"));
    work.over_queries(program, file, |d| {
        d.read(x).read(of_shares).read(rows).write(shares).write(slopes).yields(0, 3).yields(1, 4)
    });
    work.product(program, [s, t, d], transposed(scores(shares)), work.rows(dy), work.rows(dv));
    work.product(program, [t, s, d], scores(slopes), work.rows(k), work.rows(dq));
    work.product(program, [s, t, d], transposed(scores(slopes)), work.rows(q), work.rows(dk));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gemm::tests::adapters;

    #[test]
    fn processors_compose_what_is_small() {
        let vit = Sizes { members: 32 * 4, heads: 4, t: 25, s: 25, d: 64, joined: true };
        let long = Sizes { t: 4096, s: 4096, ..vit };
        for caps in adapters() {
            assert_eq!(pays(&caps, vit), caps.kind == Kind::Software, "{}", caps.adapter);
            assert!(!pays(&caps, long) && !pays(&Caps { memory: Some(1 << 20), ..caps }, vit));
        }
    }
}
