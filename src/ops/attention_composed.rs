//! Attention as matrix products and what is between them, for processors: they have no memory of a workgroup to keep a tile in,
//! and their products are several times as fast as such a tile. Scores and shares are in memory while a pass runs, no longer.

use super::{
    attention::{Attention, Sizes},
    gemm::{self, Product},
};
use crate::{
    Caps, Dtype, Shape,
    caps::Kind,
    dispatch::{Dispatch, Operand, Program, Shader},
    op::Io,
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

/// One operand of a product, as it lies or transposed.
#[derive(Debug, Clone, Copy)]
enum Side {
    /// Rows of queries, keys or values: `[rows, d]`.
    Rows(Operand),
    /// The same as `[d, rows]`.
    Columns(Operand),
    /// Scores or shares: `[t, s]`.
    Scores(Operand),
    /// The same as `[s, t]`.
    Transposed(Operand),
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
    fn scores(&self, program: &mut Program, dtype: Dtype) -> Operand {
        program.scratch(Shape::from([self.sizes.members, self.sizes.t, self.sizes.s]), dtype)
    }

    /// Appends the product of two matrices of each head, `[m, k] · [k, n]`; rows of `y` are joined as those of queries are if
    /// `y` is none of scores.
    fn product(&self, program: &mut Program, [m, k, n]: [usize; 3], a: Side, b: Side, y: Operand) {
        let s = self.sizes;
        // The operand, whether it lies transposed, and whether its heads lie side by side.
        let lies = |side| match side {
            Side::Rows(x) => (x, false, s.joined),
            Side::Columns(x) => (x, true, s.joined),
            Side::Scores(x) => (x, false, false),
            Side::Transposed(x) => (x, true, false),
        };
        let ((a, ta, joined_a), (b, tb, joined_b)) = (lies(a), lies(b));
        let joined_y = s.joined && y.shape.rank() == 4;
        let source = include_str!("../../shaders/attention_product.wgsl");
        let shader = Shader::new("attention_product", source, a.dtype, self.io.precision)
            .constant("ALONG_A", (!ta).into())
            .constant("ALONG_B", tb.into())
            .constant("JOINED_A", joined_a.into())
            .constant("JOINED_B", joined_b.into())
            .constant("JOINED_Y", joined_y.into())
            .accumulating(self.io.precision);
        let [down, steps, wide] = [m, k, n].map(|size| size.div_ceil(GROUP));
        // What the sum runs along is padded with zeros.
        let whole = k.is_multiple_of(GROUP);
        let (whole_a, whole_b) = (!ta || whole, tb || whole);
        let (lone, elem) = (false, a.dtype);
        let product = Product { members: s.members, down, wide, taps: 1, steps, whole_a, whole_b, lone, elem };
        let dispatch = Dispatch::new(self.io.label, shader)
            .read(a)
            .read(b)
            .param("members", s.members)
            .param("heads", s.heads)
            .param("m", m)
            .param("k", k)
            .param("n", n)
            .flops(2 * s.members * m * k * n);
        gemm::lower(&Io { chain: None, beside: None, ..*self.io }, program, dispatch, &product, y);
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

/// The forward pass: scores, shares, result.
pub(super) fn forward(how: Attention, io: &Io, mask: Option<Operand>, program: &mut Program) {
    let [q, k, v, ..] = *io.inputs else { unreachable!("three operands or four") };
    let work = Work::new(how, io, mask);
    let Sizes { t, s, d, .. } = work.sizes;
    let x = work.scores(program, io.precision.wide());
    let shares = work.scores(program, q.dtype);
    work.product(program, [t, d, s], Side::Rows(q), Side::Columns(k), x);
    let file = ("attention_shares", include_str!("../../shaders/attention_shares.wgsl"));
    work.over_queries(program, file, |d| d.read(x).write(shares).write(io.outputs[1]).yields(0, 1));
    work.product(program, [t, s, d], Side::Scores(shares), Side::Rows(v), io.outputs[0]);
}

/// The backward pass, given what `attention_rows.wgsl` found.
pub(super) fn backward(how: Attention, io: &Io, rows: Operand, mask: Option<Operand>, program: &mut Program) {
    let [q, k, v, _, _, dy, ..] = *io.inputs else { unreachable!("six operands or seven") };
    let [dq, dk, dv] = *io.outputs else { unreachable!("three results") };
    let work = Work::new(how, io, mask);
    let Sizes { t, s, d, .. } = work.sizes;
    let [x, of_shares] = [0; 2].map(|_| work.scores(program, io.precision.wide()));
    let [shares, slopes] = [0; 2].map(|_| work.scores(program, q.dtype));
    work.product(program, [t, d, s], Side::Rows(q), Side::Columns(k), x);
    work.product(program, [t, d, s], Side::Rows(dy), Side::Columns(v), of_shares);
    let file = ("attention_slopes", include_str!("../../shaders/attention_slopes.wgsl"));
    work.over_queries(program, file, |d| {
        d.read(x).read(of_shares).read(rows).write(shares).write(slopes).yields(0, 3).yields(1, 4)
    });
    work.product(program, [s, t, d], Side::Transposed(shares), Side::Rows(dy), dv);
    work.product(program, [t, s, d], Side::Scores(slopes), Side::Rows(k), dq);
    work.product(program, [s, t, d], Side::Transposed(slopes), Side::Rows(q), dk);
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
