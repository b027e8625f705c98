//! Normalisation of rows: one kernel for statistics and result, since those who share a row know all of it at once; one for
//! the gradient to the rows, and the kernel of [`super::norm`] for the sums that gain and bias get.

use super::{
    norm::{warn_of, write_sums},
    stretches::{Pass, push},
};
#[cfg(feature = "reference")]
use crate::reference::{Array, Case};
use crate::{
    Precision, Shape,
    dispatch::{Access, Dispatch, Operand, Program, Shader},
    op::{Backward, Io, Kind, Op, Type},
    shape::GROUP,
    tensor::Tensor,
};

/// (x − mean) / √(variance + ε) · gain + bias of each row, for operands x, gain and bias, of which the last may be missing;
/// and of each row a group: mean, 1 / √(variance + ε), 0, 0.
#[derive(Debug, Clone, Copy)]
struct LayerNorm {
    epsilon: f32,
    /// Whether the mean is taken off; else it is 0, and the variance the mean of the squares.
    centred: bool,
}

/// The gradient of [`LayerNorm`] to x, for operands x, dy, statistics and gain, if there is one. It has none itself.
#[derive(Debug, Clone, Copy)]
struct LayerNormBackward {
    centred: bool,
}

/// The gradients of [`LayerNorm`] to gain and bias, for operands x, dy, statistics. They have none themselves.
#[derive(Debug, Clone, Copy)]
struct LayerNormSums;

impl<'g> Tensor<'g> {
    /// Each row with mean 0 and variance 1: `[.., d] → [.., d]` (arXiv 1607.06450). See [`crate::nn::layer_norm`].
    #[track_caller]
    pub fn layer_norm(self, epsilon: f32) -> Tensor<'g> {
        self.normalised(epsilon, true, &[])
    }

    /// [`layer_norm`](Self::layer_norm), times `gain` `[d]`, plus `bias` `[d]`.
    #[track_caller]
    pub fn layer_norm_with(self, epsilon: f32, gain: Tensor<'g>, bias: Tensor<'g>) -> Tensor<'g> {
        self.normalised(epsilon, true, &[gain, bias])
    }

    /// Each row over the root of its mean square: `[.., d] → [.., d]` (arXiv 1910.07467). See [`crate::nn::rms_norm`].
    #[track_caller]
    pub fn rms_norm(self, epsilon: f32) -> Tensor<'g> {
        self.normalised(epsilon, false, &[])
    }

    /// [`rms_norm`](Self::rms_norm), times `gain` `[d]`.
    #[track_caller]
    pub fn rms_norm_with(self, epsilon: f32, gain: Tensor<'g>) -> Tensor<'g> {
        self.normalised(epsilon, false, &[gain])
    }

    #[track_caller]
    fn normalised(self, epsilon: f32, centred: bool, affine: &[Tensor<'g>]) -> Tensor<'g> {
        let (d, axis) = (self.shape().last(), self.shape().rank().saturating_sub(1));
        if let Some(wrong) = affine.iter().find(|t| t.shape() != Shape::from([d])) {
            return self.refuse("normalisation", &[*wrong], format!("a gain and a bias have the shape [{d}]"));
        }
        // A lone last axis is not stored, so there are no rows; and gains of another type have no kernel.
        let alike = |t: &Tensor| t.dtype() == self.dtype();
        if d == 1 || !affine.iter().all(alike) {
            let number = |i: usize, value| affine.get(i).copied().unwrap_or_else(|| self.number(value));
            return self.standardize(self.moments_if(axis..axis + 1, centred), epsilon, number(0, 1.0), number(1, 0.0));
        }
        warn_of(epsilon, self);
        self.graph.apply_all(LayerNorm { epsilon, centred }, &[&[self], affine].concat())[0]
    }
}

/// Rows of a tensor.
fn rows(x: Shape) -> usize {
    x.len() / x.last()
}

/// A dispatch over rows, which reads these operands.
fn over_rows(io: &Io, shader: &Shader, reads: &[Operand], centred: bool, pass: Pass) -> Dispatch {
    let x = io.inputs[0].shape;
    let shader = shader.clone().constant("CENTRED", centred.into()).padded(x.last());
    let dispatch = reads.iter().fold(Dispatch::new(io.label, shader), |d, &x| d.read(x));
    dispatch.param("rows", rows(x)).param("last", x.last()).flops(pass.flops(8 * x.len()))
}

/// The sizes that [`push`] wants of a kernel that holds so many arrays of its rows.
fn sizes(x: Operand, arrays: usize) -> [usize; 3] {
    [rows(x.shape), x.shape.last().div_ceil(GROUP), arrays]
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        if self.centred { "layer_norm" } else { "rms_norm" }
    }

    fn infer(&self, x: &[Type], precision: Precision) -> Result<Vec<Type>, String> {
        let stats = Type::new([rows(x[0].shape), GROUP], precision.wide());
        Ok(vec![x[0].number()?, stats])
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let (x, dy, stats, graph) = (at.x[0], at.dy(), at.y[1], at.x[0].graph);
        let gain = &at.x[1..at.x.len().min(2)];
        let of_x = graph.apply(LayerNormBackward { centred: self.centred }, &[&[x, dy, stats], gain].concat());
        let of_affine = if gain.is_empty() { vec![] } else { graph.apply_all(LayerNormSums, &[x, dy, stats]) };
        [vec![of_x], of_affine].concat().into_iter().take(at.x.len()).map(Some).collect()
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let shader = io.shader("layer_norm", include_str!("../../shaders/layer_norm.wgsl"));
        push(io, program, sizes(io.inputs[0], 1), |pass| {
            let mut d = over_rows(io, &shader, &io.inputs[..1], self.centred, pass)
                .write(pass.result(io.outputs[0]))
                .write(pass.result(io.outputs[1]))
                .param_f32("epsilon", self.epsilon);
            let mut value = "v".to_owned();
            let affine = if pass == Pass::First { &[] } else { &io.inputs[1..] };
            for (x, (name, sign)) in affine.iter().zip([("gain", "*"), ("bias", "+")]) {
                d = d.extra(*x, Access::Read, &format!("{name}: array<elem4>"));
                value += &format!(" {sign} unpack4({name}[k])");
            }
            d.splice("affine", format!("    return {value};\n"))
        });
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let d = x[0].shape.last();
        let affine = |i: usize, k: usize, missing| x.get(i).map_or(missing, |a| a.data[k]);
        let (mut y, mut stats) = (vec![], vec![]);
        for row in x[0].data.chunks(d) {
            let mean = if self.centred { row.iter().sum::<f64>() / d as f64 } else { 0.0 };
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / d as f64;
            let rstd = (variance + f64::from(self.epsilon)).powf(-0.5);
            let value = |(k, v): (usize, &f64)| (v - mean) * rstd * affine(1, k, 1.0) + affine(2, k, 0.0);
            y.extend(row.iter().enumerate().map(value));
            stats.extend([mean, rstd, 0.0, 0.0]);
        }
        vec![Array::new(x[0].shape, y), Array::new([rows(x[0].shape), GROUP], stats)]
    }
}

impl Op for LayerNormBackward {
    fn name(&self) -> &'static str {
        if self.centred { "layer_norm_backward" } else { "rms_norm_backward" }
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        Ok(vec![x[0]])
    }

    fn kind(&self) -> Kind {
        Kind::Head
    }

    fn loads_wide(&self) -> bool {
        true
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        vec![None; at.x.len()]
    }

    fn is_differentiable(&self) -> bool {
        false
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let shader = io.shader("layer_norm_backward", include_str!("../../shaders/layer_norm_backward.wgsl"));
        push(io, program, sizes(io.inputs[0], 2), |pass| {
            let d = over_rows(io, &shader, &io.inputs[..3], self.centred, pass).write(pass.result(io.outputs[0]));
            match io.inputs.get(3) {
                Some(&gain) => d
                    .extra(gain, Access::Read, "gain: array<elem4>")
                    .splice("gain", "    return d * unpack4(gain[k]);\n"),
                None => d,
            }
        });
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let d = x[0].shape.last();
        let mut dx = vec![];
        for (i, (row, dy)) in x[0].data.chunks(d).zip(x[1].data.chunks(d)).enumerate() {
            let (mean, rstd) = (x[2].data[i * GROUP], x[2].data[i * GROUP + 1]);
            let weighted: Vec<f64> = (0..d).map(|k| dy[k] * x.get(3).map_or(1.0, |g| g.data[k])).collect();
            let plain: Vec<f64> = row.iter().map(|v| (v - mean) * rstd).collect();
            let along = weighted.iter().zip(&plain).map(|(w, h)| w * h).sum::<f64>() / d as f64;
            let all = if self.centred { weighted.iter().sum::<f64>() / d as f64 } else { 0.0 };
            dx.extend(weighted.iter().zip(&plain).map(|(w, h)| rstd * (w - all - h * along)));
        }
        vec![Array::new(x[0].shape, dx)]
    }
}

impl Op for LayerNormSums {
    fn name(&self) -> &'static str {
        "layer_norm_sums"
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        Ok(vec![Type::new([x[0].shape.last()], x[0].dtype); 2])
    }

    fn grad<'g>(&self, _: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        vec![None; 3]
    }

    fn is_differentiable(&self) -> bool {
        false
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let [x, dy, stats] = io.inputs[..] else { unreachable!("three operands") };
        let seen = |t: Operand| t.seen_as(Shape::from([rows(x.shape), x.shape.last()]));
        let (work, sums) = write_sums(io, [seen(x), seen(dy), stats], (0, 1), true, program);
        let last = x.shape.last();
        let shader =
            io.shader("sums_join", include_str!("../../shaders/sums_join.wgsl")).wide(stats.dtype).padded(last);
        program.push(
            work.join(io, shader)
                .read(sums)
                .write(io.outputs[0])
                .write(io.outputs[1])
                .param("groups", work.groups)
                .param("splits", work.splits)
                .param("last", last)
                .flops(sums.shape.len()),
        );
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let d = x[0].shape.last();
        let mut sums = [vec![0.0; d], vec![0.0; d]];
        for (i, (v, dy)) in x[0].data.iter().zip(&x[1].data).enumerate() {
            let (mean, rstd) = (x[2].data[i / d * GROUP], x[2].data[i / d * GROUP + 1]);
            sums[0][i % d] += dy * (v - mean) * rstd;
            sums[1][i % d] += dy;
        }
        sums.map(|s| Array::new([d], s)).to_vec()
    }
}

/// One lane to many, rows that registers hold and others, padding, with gain and bias, with one and with none.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    let shapes: [&[usize]; 10] = [
        &[3],
        &[1, 5],
        &[5, 17],
        &[2, 3, 65],
        &[5, 257],
        &[3, 1000],
        &[257, 17],
        &[1000, 3],
        &[2, 8203],
        &[2, 16_389], // cut in stretches
    ];
    let of = |dims: &'static [usize]| {
        let d = &dims[dims.len() - 1..];
        let n: usize = dims.iter().product();
        let op = |centred| LayerNorm { epsilon: 0.125, centred };
        [Case::new(op(true), [dims]), Case::new(op(false), [dims, d]), Case::new(op(true), [dims, d, d])]
            .map(|c| c.terms(d[0].max(n / d[0])))
    };
    shapes.into_iter().flat_map(of).collect()
}
