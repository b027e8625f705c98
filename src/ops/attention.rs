//! Attention without the matrix of shares: the forward pass keeps two numbers a query, the backward pass makes the shares
//! again from them. Where that pays, they are in memory while one of both runs: [`super::attention_composed`].

use super::attention_composed as composed;
#[cfg(feature = "reference")]
use crate::reference::{Array, Case, Fill};
use crate::{
    Dtype, Precision, Shape,
    dispatch::{Access, Dispatch, Operand, Program, Shader},
    op::{Backward, Io, Op, Type},
    shape::GROUP,
    tensor::Tensor,
};

/// How [`Tensor::attention`] weighs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Attention {
    /// Whether a query sees only the keys up to its own place; the last query sees all, whatever the lengths.
    pub causal: bool,
    /// The factor on the products of queries and keys; `1 / √d` if there is none.
    pub scale: Option<f32>,
    /// Whether the heads of a place lie side by side, `[batch, t, heads, d]`, as a product leaves them: nothing is moved then.
    pub joined: bool,
}

/// The gradient of [`Attention`] with respect to queries, keys and values. It has no gradient itself.
#[derive(Debug, Clone, Copy)]
struct AttentionBackward(Attention);

/// Rows that a workgroup owns.
const TILE: usize = 16;

impl<'g> Tensor<'g> {
    /// Scaled dot-product attention of queries to keys and values, `softmax(q · kᵀ / √d) · v` in each head:
    /// `[batch, heads, t, d] · [batch, heads, s, d] · [batch, heads, s, d] → [batch, heads, t, d]`, or the axes as
    /// [`Attention::joined`] says.
    ///
    /// Nothing of the size `t · s` is kept between forward and backward pass, nor, but on processors where it is small, within
    /// them (arXiv 2205.14135). It has no second gradient.
    ///
    /// ```
    /// # use halfgrad::{Graph, Precision, ops::Attention};
    /// let graph = Graph::new(Precision::F16);
    /// let [q, k, v] = ["q", "k", "v"].map(|name| graph.input(name, [8, 4, 128, 64]));
    /// let y = q.attention(k, v, Attention { causal: true, ..Attention::default() });
    /// assert_eq!(y.shape(), q.shape());
    /// ```
    #[track_caller]
    pub fn attention(self, k: Tensor<'g>, v: Tensor<'g>, how: Attention) -> Tensor<'g> {
        self.attend(&[k, v], how)
    }

    /// [`attention`](Self::attention) in which a query sees a key only where the mask is not 0; one that sees none gets
    /// zeros. The mask holds labels: `[t, s]`, `[heads, t, s]` or `[batch, heads, t, s]`, where `batch` and `heads` may be 1.
    #[track_caller]
    pub fn attention_masked(self, k: Tensor<'g>, v: Tensor<'g>, mask: Tensor<'g>, how: Attention) -> Tensor<'g> {
        self.attend(&[k, v, mask], how)
    }

    #[track_caller]
    fn attend(self, others: &[Tensor<'g>], how: Attention) -> Tensor<'g> {
        // A last axis of length 1 is not stored, so such heads have no rows; a zero beside it changes no score.
        if self.shape().rank() == 4 && self.shape().last() == 1 {
            let how = Attention { scale: how.scale.or(Some(1.0)), ..how };
            let wide =
                |x: Tensor<'g>| if x.dtype() != Dtype::U32 && x.shape().rank() == 4 { x.pad(3, 0, 1) } else { x };
            let others: Vec<_> = others.iter().map(|&x| wide(x)).collect();
            return wide(self).attend(&others, how).slice(3, 0..1);
        }
        self.graph.apply_all(how, &[&[self], others].concat())[0]
    }
}

/// The sizes of one attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Batch · heads.
    pub members: usize,
    pub heads: usize,
    pub t: usize,
    pub s: usize,
    pub d: usize,
    pub joined: bool,
}

impl Sizes {
    /// Where a row of `length` begins.
    #[cfg(feature = "reference")]
    fn place(&self, member: usize, row: usize, length: usize) -> usize {
        let (sample, head) = (member / self.heads, member % self.heads);
        self.d * if self.joined { (sample * length + row) * self.heads + head } else { member * length + row }
    }

    /// Values of the mask between two samples, and between two heads.
    fn mask_strides(mask: Shape) -> [usize; 2] {
        let dims = mask.to_vec();
        let (lead, last) = dims.split_at(dims.len() - 2);
        let (one, heads) = (last.iter().product::<usize>(), lead.last().copied().unwrap_or(1));
        [if lead.len() == 2 && lead[0] > 1 { one * heads } else { 0 }, if heads > 1 { one } else { 0 }]
    }
}

impl Attention {
    /// The axes of places and of heads.
    fn axes(&self) -> [usize; 2] {
        if self.joined { [1, 2] } else { [2, 1] }
    }

    pub(super) fn sizes(&self, q: Shape, k: Shape) -> Sizes {
        let [places, heads] = self.axes();
        let (members, heads) = (q[0] * q[heads], q[heads]);
        Sizes { members, heads, t: q[places], s: k[places], d: q[3], joined: self.joined }
    }

    fn scale(&self, d: usize) -> f32 {
        self.scale.unwrap_or(1.0 / (d as f32).sqrt())
    }

    /// A dispatch of a file that imports `attention_sees`; what it binds is bound, but not the mask, which comes last.
    pub(super) fn dispatch(
        &self,
        io: &Io,
        (name, source): (&'static str, &'static str),
        mask: Option<Operand>,
        bind: impl FnOnce(Dispatch) -> Dispatch,
    ) -> Dispatch {
        let s = self.sizes(io.inputs[0].shape, io.inputs[1].shape);
        let shader = io.shader_of_operands(name, source).constant("CAUSAL", self.causal.into());
        let [batch, head] = mask.map_or([0; 2], |m| Sizes::mask_strides(m.shape));
        let dispatch = bind(Dispatch::new(io.label, shader))
            .param("members", s.members)
            .param("heads", s.heads)
            .param("t", s.t)
            .param("s", s.s)
            .param("d", s.d.div_ceil(GROUP))
            .param_f32("scale", self.scale(s.d))
            .param("mask_batch", batch)
            .param("mask_head", head)
            .param("mask_last", mask.map_or(1, |m| m.shape.storage().last()));
        let Some(mask) = mask else { return dispatch };
        let place = "member / p.heads * p.mask_batch + member % p.heads * p.mask_head + row * p.s + column";
        dispatch
            .extra(mask, Access::Read, "mask: array<u32>")
            .splice("mask", format!("    if mask[label_place({place}, p.mask_last)] == 0u {{ return false; }}\n"))
    }

    /// The same over tiles of `rows` rows of each member.
    fn tiles(
        &self,
        io: &Io,
        file: (&'static str, &'static str),
        mask: Option<Operand>,
        rows: usize,
        bind: impl FnOnce(Dispatch) -> Dispatch,
    ) -> Dispatch {
        let s = self.sizes(io.inputs[0].shape, io.inputs[1].shape);
        let wide = s.d.div_ceil(GROUP * 16) as u32;
        let dispatch = self.dispatch(io, file, mask, bind).unzeroed().constant("JOINED", self.joined.into());
        dispatch.constant("WIDE", wide).workgroups(s.members * rows.div_ceil(TILE))
    }

    /// Of each query of each member the keys' scores (none where hidden), the largest (0 if all are hidden), and Σ exp.
    #[cfg(feature = "reference")]
    fn scores(&self, x: &[Array], mask: Option<&Array>) -> Vec<(Vec<Option<f64>>, f64, f64)> {
        let s = self.sizes(x[0].shape, x[1].shape);
        let row = |x: &Array, at: usize| x.data[at..at + s.d].to_vec();
        let mut found = vec![];
        for i in 0..s.members * s.t {
            let (member, t) = (i / s.t, i % s.t);
            let q = row(&x[0], s.place(member, t, s.t));
            let score = |k: usize| {
                let hidden = self.causal && k + s.t > t + s.s
                    || mask.is_some_and(|m| m.at(&[member / s.heads, member % s.heads, t, k]) == 0.0);
                let dot: f64 = q.iter().zip(row(&x[1], s.place(member, k, s.s))).map(|(a, b)| a * b).sum();
                (!hidden).then_some(dot * f64::from(self.scale(s.d)))
            };
            let scores: Vec<_> = (0..s.s).map(score).collect();
            let top = scores.iter().flatten().copied().reduce(f64::max).unwrap_or(0.0);
            let sum = scores.iter().flatten().map(|v| (v - top).exp()).sum();
            found.push((scores, top, sum));
        }
        found
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    /// The result; of each four queries their largest scores and their Σ exp.
    fn infer(&self, x: &[Type], precision: Precision) -> Result<Vec<Type>, String> {
        let (q, k) = (x[0], x[1]);
        if x[..3].iter().any(|x| x.dtype != q.dtype || x.dtype == Dtype::U32) {
            return Err("the operands need one real type; cast some of them".into());
        }
        if x[..3].iter().any(|x| x.shape.rank() != 4) {
            return Err(
                "queries, keys and values have four axes: batch, heads, places, values, or places before heads".into(),
            );
        }
        if k != x[2] || [0, self.axes()[1], 3].into_iter().any(|axis| q.shape[axis] != k.shape[axis]) {
            return Err("keys and values are alike, and queries differ from them in the number of places only".into());
        }
        let s = self.sizes(q.shape, k.shape);
        if let Some(mask) = x.get(3) {
            let dims = mask.shape.to_vec();
            let full = [q.shape[0], s.heads, s.t, s.s];
            let fits = (2..=4).contains(&dims.len())
                && dims.ends_with(&full[2..])
                && dims.iter().rev().zip(full.iter().rev()).skip(2).all(|(&m, &f)| m == f || m == 1);
            if !fits || mask.dtype != Dtype::U32 {
                return Err(format!("the mask holds labels for {} queries and {} keys", s.t, s.s));
            }
        }
        let rows = Shape::new(&[s.members, s.t.div_ceil(GROUP), 2 * GROUP]).ok_or("the operands are too large")?;
        Ok(vec![q, Type { shape: rows, dtype: precision.wide() }])
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let mut inputs = vec![at.x[0], at.x[1], at.x[2], at.y[0], at.y[1], at.dy()];
        inputs.extend(at.x.get(3));
        let found = at.x[0].graph.apply_all(AttentionBackward(*self), &inputs);
        let mut gradients: Vec<_> = found.into_iter().map(Some).collect();
        gradients.resize(at.x.len(), None);
        gradients
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let s = self.sizes(io.inputs[0].shape, io.inputs[1].shape);
        let mask = io.inputs.get(3).copied();
        let bind = |d: Dispatch| {
            let d = io.inputs[..3].iter().fold(d, |d, &x| d.read(x));
            d.write(io.outputs[0]).write(io.outputs[1])
        };
        if composed::pays(io.caps, s) {
            return composed::forward(*self, io, mask, program);
        }
        let file = ("attention", include_str!("../../shaders/attention.wgsl"));
        let dispatch = self.tiles(io, file, mask, s.t, bind);
        program.push(dispatch.flops(4 * s.members * s.t * s.s * s.d));
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let s = self.sizes(x[0].shape, x[1].shape);
        let blocks = s.t.div_ceil(GROUP);
        let mut y = vec![0.0; x[0].data.len()];
        let mut rows = vec![0.0; s.members * blocks * 2 * GROUP];
        for (i, (scores, top, sum)) in self.scores(x, x.get(3)).into_iter().enumerate() {
            let (member, t) = (i / s.t, i % s.t);
            for (k, score) in scores.iter().enumerate().filter_map(|(k, v)| v.map(|v| (k, v))) {
                let share = (score - top).exp() / sum;
                for n in 0..s.d {
                    y[s.place(member, t, s.t) + n] += share * x[2].data[s.place(member, k, s.s) + n];
                }
            }
            let at = (member * blocks + t / GROUP) * 2 * GROUP + t % GROUP;
            (rows[at], rows[at + GROUP]) = (top, sum);
        }
        vec![Array::new(x[0].shape, y), Array::new([s.members, blocks, 2 * GROUP], rows)]
    }
}

impl Op for AttentionBackward {
    fn name(&self) -> &'static str {
        "attention_backward"
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        Ok(x[..3].to_vec())
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        vec![None; at.x.len()]
    }

    fn is_differentiable(&self) -> bool {
        false
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let [q, k, v, y, rows, dy] = io.inputs[..6] else { unreachable!() };
        let [dq, dk, dv] = io.outputs[..] else { unreachable!() };
        let mask = io.inputs.get(6).copied();
        let s = self.0.sizes(q.shape, k.shape);
        let blocks = s.t.div_ceil(GROUP);
        let all = program.scratch(Shape::from([s.members, blocks, 3 * GROUP]), rows.dtype);
        let source = include_str!("../../shaders/attention_rows.wgsl");
        program.push(
            Dispatch::new(
                io.label,
                Shader::new("attention_rows", source, q.dtype, io.precision).constant("JOINED", s.joined.into()),
            )
            .read(y)
            .read(dy)
            .read(rows)
            .write(all)
            .param("members", s.members)
            .param("heads", s.heads)
            .param("t", s.t)
            .param("d", s.d.div_ceil(GROUP))
            .flops(2 * y.shape.len())
            .workgroups((s.members * blocks).div_ceil(64)),
        );
        if composed::pays(io.caps, s) {
            return composed::backward(self.0, io, all, mask, program);
        }
        let read = |d: Dispatch| [q, k, v, all, dy].into_iter().fold(d, Dispatch::read);
        let product = 2 * s.members * s.t * s.s * s.d;
        let file = ("attention_queries", include_str!("../../shaders/attention_queries.wgsl"));
        let of_queries = self.0.tiles(io, file, mask, s.t, |d| read(d).write(dq));
        program.push(of_queries.flops(3 * product));
        let file = ("attention_keys", include_str!("../../shaders/attention_keys.wgsl"));
        let of_keys = self.0.tiles(io, file, mask, s.s, |d| read(d).write(dk).write(dv));
        program.push(of_keys.flops(4 * product));
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let s = self.0.sizes(x[0].shape, x[1].shape);
        let scale = f64::from(self.0.scale(s.d));
        let [mut dq, mut dk, mut dv] = [0, 1, 2].map(|i| x[i].clone().map(|_| 0.0));
        for (i, (scores, top, sum)) in self.0.scores(x, x.get(6)).into_iter().enumerate() {
            let of = s.place(i / s.t, i % s.t, s.t);
            let (y, dy) = (&x[3].data[of..][..s.d], &x[5].data[of..][..s.d]);
            let mean: f64 = y.iter().zip(dy).map(|(a, b)| a * b).sum();
            for (k, score) in scores.iter().enumerate().filter_map(|(k, v)| v.map(|v| (k, v))) {
                let at = s.place(i / s.t, k, s.s);
                let share = (score - top).exp() / sum;
                let of_share: f64 = dy.iter().zip(&x[2].data[at..]).map(|(a, b)| a * b).sum();
                let slope = share * (of_share - mean) * scale;
                for (n, dy) in dy.iter().enumerate() {
                    dq.data[of + n] += slope * x[1].data[at + n];
                    dk.data[at + n] += slope * x[0].data[of + n];
                    dv.data[at + n] += share * dy;
                }
            }
        }
        vec![dq, dk, dv]
    }
}

/// Odd sizes, one and many tiles, causal with unlike lengths, masks of each form.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    let (plain, causal) = (Attention::default(), Attention { causal: true, ..Attention::default() });
    let shapes = [
        ([1, 1, 1, 3], 1, plain),
        ([2, 3, 5, 5], 7, plain),
        ([1, 2, 17, 17], 17, causal),
        ([2, 1, 3, 4], 65, plain),
        ([1, 1, 67, 3], 70, causal),
        ([1, 1, 5, 8], 3, causal),
        ([1, 2, 6, 65], 6, Attention { scale: Some(0.3), ..causal }),
        ([1, 1, 3, 130], 4, plain),
        ([2, 4, 25, 64], 25, plain),
        ([2, 3, 17, 5], 21, Attention { joined: true, ..causal }),
        ([3, 2, 18, 64], 18, Attention { joined: true, ..plain }),
    ];
    let case = |([b, h, t, d], s, how): ([usize; 4], usize, Attention)| {
        let [q, k] = [t, s].map(|length| if how.joined { [b, length, h, d] } else { [b, h, length, d] });
        Case::new(how, [&q, &k, &k]).terms(s + d)
    };
    let masked = |of: ([usize; 4], usize, Attention), mask: &[usize]| {
        let mut case = case(of);
        case.inputs.push((Shape::new(mask).expect("valid"), Fill::Labels(2)));
        case
    };
    let mut cases: Vec<Case> = shapes.map(case).to_vec();
    cases.push(masked(([2, 2, 5, 6], 9, plain), &[5, 9]));
    cases.push(masked(([2, 2, 5, 6], 9, plain), &[2, 1, 5, 9]));
    cases.push(masked(([2, 2, 5, 6], 5, causal), &[2, 5, 5]));
    cases.push(masked(([2, 2, 5, 6], 5, Attention { joined: true, ..plain }), &[2, 5, 5]));
    cases.push(masked(([2, 2, 5, 6], 1, plain), &[2, 2, 5, 1]));
    let large = case(([1, 1, 9, 16], 20, plain));
    cases.push(large.fill(0, Fill::Between(-16.0, 16.0)).fill(1, Fill::Between(-16.0, 16.0)).not_smooth());
    cases
}
