//! Attention as matrix products and what is between them, for processors: they have no memory of a workgroup to keep a tile in,
//! and their products are several times as fast as such a tile. Scores and shares are in memory while a pass runs, no longer.

use super::{
    attention::{Attention, Sizes},
    matmul::Matmul,
};
use crate::{
    Caps, Dtype, Shape,
    caps::Kind,
    dispatch::{Dispatch, Operand, Program},
    op::{Io, Op},
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

/// Appends the product of `a` and `b`, as they lie or transposed.
fn product(io: &Io, program: &mut Program, (a, ta): (Operand, bool), (b, tb): (Operand, bool), y: Operand) {
    let io = Io { inputs: &[a, b], outputs: &[y], chain: None, beside: None, ..*io };
    Matmul { ta, tb }.lower(&io, program);
}

/// A dispatch over fours of queries.
fn over_queries(
    how: Attention,
    io: &Io,
    file: (&'static str, &'static str),
    mask: Option<Operand>,
    bind: impl FnOnce(Dispatch) -> Dispatch,
) -> Dispatch {
    let s = Sizes::of(io.inputs[0].shape, io.inputs[1].shape);
    let blocks = s.members * s.t.div_ceil(GROUP);
    how.dispatch(io, file, mask, bind).flops(6 * s.members * s.t * s.s).workgroups(blocks.div_ceil(64))
}

/// A matrix of scores for each head.
fn scores(io: &Io) -> Shape {
    let (q, k) = (io.inputs[0].shape, io.inputs[1].shape);
    Shape::from([q[0], q[1], q[2], k[2]])
}

/// The forward pass: scores, shares, result.
pub(super) fn forward(how: Attention, io: &Io, mask: Option<Operand>, program: &mut Program) {
    let [q, k, v, ..] = *io.inputs else { unreachable!("three operands or four") };
    let x = program.scratch(scores(io), io.precision.wide());
    let shares = program.scratch(scores(io), q.dtype);
    product(io, program, (q, false), (k, true), x);
    let file = ("attention_shares", include_str!("../../shaders/attention_shares.wgsl"));
    program.push(over_queries(how, io, file, mask, |d| d.read(x).write(shares).write(io.outputs[1])));
    product(io, program, (shares, false), (v, false), io.outputs[0]);
}

/// The backward pass, given what `attention_rows.wgsl` found.
pub(super) fn backward(how: Attention, io: &Io, rows: Operand, mask: Option<Operand>, program: &mut Program) {
    let [q, k, v, _, _, dy, ..] = *io.inputs else { unreachable!("six operands or seven") };
    let [dq, dk, dv] = *io.outputs else { unreachable!("three results") };
    let [x, of_shares] = [0; 2].map(|_| program.scratch(scores(io), io.precision.wide()));
    let [shares, slopes] = [0; 2].map(|_| program.scratch(scores(io), q.dtype));
    product(io, program, (q, false), (k, true), x);
    product(io, program, (dy, false), (v, true), of_shares);
    let file = ("attention_slopes", include_str!("../../shaders/attention_slopes.wgsl"));
    let bind = |d: Dispatch| d.read(x).read(of_shares).read(rows).write(shares).write(slopes);
    program.push(over_queries(how, io, file, mask, bind));
    product(io, program, (shares, true), (dy, false), dv);
    product(io, program, (slopes, false), (k, false), dq);
    product(io, program, (slopes, true), (q, false), dk);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gemm::tests::adapters;

    #[test]
    fn processors_compose_what_is_small() {
        let vit = Sizes { members: 32 * 4, heads: 4, t: 25, s: 25, d: 64 };
        let long = Sizes { t: 4096, s: 4096, ..vit };
        for caps in adapters() {
            assert_eq!(pays(&caps, vit), caps.kind == Kind::Software, "{}", caps.adapter);
            assert!(!pays(&caps, long) && !pays(&Caps { memory: Some(1 << 20), ..caps }, vit));
        }
    }
}
