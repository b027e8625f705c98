//! Normalisation: mean and variance over a run of axes, and what is made of them.
//!
//! [`Tensor::moments`] has a kernel; (x − mean) / √(variance + ε) · gain + bias is elementwise, so it fuses with what
//! follows, and at inference with the convolution before. Its gradient has a kernel for the sums. Batch, layer, group
//! and instance normalisation differ in the axes only; mean and variance are in the wide type, as all sums are.

use super::reduce::{Run, lanes, sum_of_parts};
#[cfg(feature = "reference")]
use crate::reference::{Array, Case, Fill, indices};
use crate::{
    Dtype, Precision, Shape,
    dispatch::{Dispatch, Operand, Program, Shader},
    error::Warning,
    op::{Backward, Expression, Io, Kind, Op, Type},
    shape::GROUP,
    tensor::Tensor,
};

/// Variance and mean over a run of axes, which stay as axes of length 1.
#[derive(Debug, Clone, Copy)]
struct Moments {
    /// The first axis and the one behind the last.
    axes: (usize, usize),
    /// Whether the mean is taken off; else it is 0, and the variance the mean of the squares.
    centred: bool,
}

/// (x − mean) · rstd · gain + bias, for operands in this order.
#[derive(Debug, Clone, Copy)]
struct Standardize;

/// Σ dy · (x − mean) and Σ dy over a run of axes, for operands x, dy, mean, factor.
#[derive(Debug, Clone, Copy)]
struct StandardizeBackward {
    /// The first axis and the one behind the last.
    axes: (usize, usize),
    factor: Factor,
}

/// What the factor does in [`StandardizeBackward`].
#[derive(Debug, Clone, Copy, PartialEq)]
enum Factor {
    /// Nothing.
    None,
    /// It has the shape of the last axis, and is on both sums.
    OnBoth,
    /// It has the shape of the mean, and is on the first sum. The mean is not of the sum's axes, but of the others.
    OnFirst,
}

/// One operand while the network is trained, the other when it is not.
#[derive(Debug, Clone, Copy)]
struct AtInference;

impl<'g> Tensor<'g> {
    /// This tensor in plans that train, `other`, of the same shape, in those that infer: batch statistics and their
    /// running averages. The one that a plan does not take is not computed.
    #[track_caller]
    pub fn at_inference(self, other: Tensor<'g>) -> Tensor<'g> {
        self.graph.apply(AtInference, &[self, other])
    }

    /// Mean and variance (that of the values as they are: divided by their number) over neighbouring axes, which stay
    /// with length 1: `[.., d, ..] → [.., 1, ..] · [.., 1, ..]`, in f32 unless everything is 16 bit.
    ///
    /// ```
    /// # use halfgrad::{Graph, Precision};
    /// let graph = Graph::new(Precision::F16);
    /// let (mean, variance) = graph.input("x", [8, 5, 5, 3]).moments(0..3);
    /// assert_eq!(mean.shape().to_string(), "[1, 1, 1, 3]");
    /// assert_eq!(variance.dtype(), halfgrad::Dtype::F32);
    /// ```
    #[track_caller]
    pub fn moments(self, axes: std::ops::Range<usize>) -> (Tensor<'g>, Tensor<'g>) {
        self.moments_if(axes, true)
    }

    /// As [`moments`](Self::moments), with 0 for the mean: what is called variance is the mean of the squares.
    #[track_caller]
    pub fn moments_about_zero(self, axes: std::ops::Range<usize>) -> (Tensor<'g>, Tensor<'g>) {
        self.moments_if(axes, false)
    }

    #[track_caller]
    fn moments_if(self, axes: std::ops::Range<usize>, centred: bool) -> (Tensor<'g>, Tensor<'g>) {
        // A set of one value is known; where its axis is the last, that is not even stored.
        if !axes.is_empty() && self.shape().dims().skip(axes.start).take(axes.len()).eq(axes.clone().map(|_| 1)) {
            let x = self.cast(self.graph.precision().wide());
            return if centred { (x, x.zeros_like()) } else { (x.zeros_like(), x.square()) };
        }
        let found = self.graph.apply_all(Moments { axes: (axes.start, axes.end), centred }, &[self]);
        (found[1], found[0])
    }

    /// (x − mean) / √(variance + ε) · gain + bias. Mean and variance are as [`moments`](Self::moments) makes them; gain
    /// and bias have the shape of the last axis, or are numbers. The gradient goes to each of them; there is no second
    /// one. An ε that f16 holds not at all or as a subnormal number is among the program's warnings in strict 16 bit.
    #[track_caller]
    pub fn standardize(
        self,
        (mean, variance): (Tensor<'g>, Tensor<'g>),
        epsilon: f32,
        gain: Tensor<'g>,
        bias: Tensor<'g>,
    ) -> Tensor<'g> {
        let graph = self.graph;
        let smallest = half::f16::MIN_POSITIVE.to_f32();
        if graph.precision().acc() == Dtype::F16 && epsilon.abs() < smallest {
            let what =
                format!("an epsilon of {epsilon} is less than the {smallest:e} from which on f16 is sure to hold it");
            graph.warn(Warning { what, cure: "use 1e-3, or a precision that computes in f32".into() });
        }
        let rstd = (variance + epsilon).rsqrt();
        // Where nothing is stretched there is nothing to sum.
        if mean.shape().len() == self.shape().len() {
            return ((self - mean) * rstd * gain + bias).cast(self.dtype());
        }
        // A row by itself is one of a matrix: the sums need an axis for the others.
        let rows = if self.shape().rank() == 1 { self.reshape([1, self.shape().last()]) } else { self };
        let of_row = |t: Tensor<'g>| if self.shape().rank() == 1 { t.reshape([1, 1]) } else { t };
        graph.apply(Standardize, &[rows, of_row(mean), of_row(rstd), gain, bias]).reshape(self.shape())
    }

    /// Each row with mean 0 and variance 1: `[.., d] → [.., d]` (arXiv 1607.06450). See [`crate::nn::layer_norm`].
    #[track_caller]
    pub fn layer_norm(self, epsilon: f32) -> Tensor<'g> {
        let last = self.shape().rank().saturating_sub(1);
        self.standardize(self.moments(last..last + 1), epsilon, self.number(1.0), self.number(0.0))
    }

    /// Each row over the root of its mean square: `[.., d] → [.., d]` (arXiv 1910.07467). See [`crate::nn::rms_norm`].
    #[track_caller]
    pub fn rms_norm(self, epsilon: f32) -> Tensor<'g> {
        let last = self.shape().rank().saturating_sub(1);
        self.standardize(self.moments_about_zero(last..last + 1), epsilon, self.number(1.0), self.number(0.0))
    }

    /// Mean and variance of each sample and group of channels, for each channel: `[n, .., c] → [n, 1, .., c]` twice.
    ///
    /// Those of the channels make those of the group, so that nothing is moved: the variance of a group is the mean of
    /// its channels' and the variance of their means.
    #[track_caller]
    pub fn group_moments(self, groups: usize) -> (Tensor<'g>, Tensor<'g>) {
        let shape = self.shape();
        let (n, c, rank) = (shape.dims().next().unwrap_or(1), shape.last(), shape.rank());
        if rank < 2 || groups == 0 || c % groups != 0 {
            let wrong = self.refuse("group_norm", &[], format!("{c} channels of [n, .., c] are not {groups} groups"));
            return (wrong, wrong);
        }
        let each = match rank {
            2 => self.reshape([n, 1, c]).moments(1..2),
            _ => self.moments(1..rank - 1),
        };
        let kept = shape.keep(&(1..rank - 1).collect::<Vec<_>>());
        if groups == c {
            return (each.0.reshape(kept), each.1.reshape(kept));
        }
        let by_group = |t: Tensor<'g>| t.reshape([n, groups, c / groups]);
        let (means, variances) = (by_group(each.0), by_group(each.1));
        let mean = means.mean([2]).reshape([n, groups, 1]);
        let variance = (variances + (means - mean).square()).mean([2]).reshape([n, groups, 1]);
        let by_channel = |t: Tensor<'g>| t.broadcast_to([n, groups, c / groups]).reshape(kept);
        (by_channel(mean), by_channel(variance))
    }
}

/// How the work on a run of axes is divided among invocations.
struct Work {
    run: Run,
    groups: usize,
    lanes: u32,
    splits: usize,
    chunk: usize,
}

/// Terms for each invocation, at least, before more workgroups share a column.
const TERMS: usize = 32;
/// Workgroups, at most, when a column is shared.
const WORKGROUPS: usize = 512;

impl Work {
    fn new(x: Shape, axes: (usize, usize), y: Shape) -> Self {
        let (run, groups) = (Run::new(x, axes), y.groups());
        // Neighbours read neighbouring columns where there are some, sixteen times 16 bytes.
        let most = if run.rows { 64 } else { 64 / groups.next_power_of_two().min(16) as u32 };
        let lanes = lanes(run.terms).min(most);
        let blocks = groups.div_ceil(64 / lanes as usize);
        let wanted = run.terms / (lanes as usize * TERMS);
        let splits = if run.rows { 1 } else { wanted.clamp(1, (WORKGROUPS / blocks).max(1)) };
        let chunk = run.terms.div_ceil(splits);
        Work { splits: run.terms.div_ceil(chunk), run, groups, lanes, chunk }
    }

    /// The constants of `lib/span.wgsl`.
    fn shader(&self, shader: Shader) -> Shader {
        shader.constant("LANES", self.lanes).constant("OVER_ROWS", self.run.rows.into())
    }

    /// Its parameters and the grid.
    fn spread(&self, dispatch: Dispatch, y: Operand) -> Dispatch {
        let blocks = self.groups.div_ceil(64 / self.lanes as usize);
        dispatch
            .param("groups", self.groups)
            .param("terms", self.run.terms)
            .param("inner", self.run.inner)
            .param("last_in", self.run.last)
            .param("last_out", y.shape.storage().last())
            .param("splits", self.splits)
            .param("chunk", self.chunk)
            .workgroups(blocks * self.splits)
    }

    /// Where the parts go: to the result itself if there is one part.
    fn parts(&self, y: Operand, program: &mut Program) -> Operand {
        match self.splits {
            1 => y,
            n => program.scratch(Shape::from([n, self.groups * GROUP]), y.dtype),
        }
    }
}

/// A real operand with these axes.
fn run_of(x: &Type, (first, end): (usize, usize)) -> Result<Shape, String> {
    x.number()?;
    if first >= end || end > x.shape.rank() {
        return Err(format!("{first}..{end} are no axes of {}", x.shape));
    }
    Ok(x.shape.keep(&(first..end).collect::<Vec<_>>()))
}

/// The axes of `x` along which `mean` has length 1, as a run; axes of length 1 are left out at its ends.
fn stretched(x: Shape, mean: Shape) -> Option<(usize, usize)> {
    let differs: Vec<usize> = (0..x.rank().min(mean.rank())).filter(|&k| x[k] != mean[k]).collect();
    let (&first, &last) = (differs.first()?, differs.last()?);
    let axes: Vec<usize> = (first..=last).collect();
    (x.keep(&axes) == mean).then_some((first, last + 1))
}

impl Op for AtInference {
    fn name(&self) -> &'static str {
        "at_inference"
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        if x[0] != x[1] {
            return Err("one stands for the other, so they have the same shape and type".into());
        }
        Ok(vec![x[0]])
    }

    fn kind(&self) -> Kind {
        Kind::View
    }

    fn hands_on(&self, inference: bool) -> Option<usize> {
        Some(usize::from(inference))
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let (dy, none) = (at.dy(), at.dy().zeros_like());
        vec![Some(dy.at_inference(none)), Some(none.at_inference(dy))]
    }

    /// As while training.
    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        vec![x[0].clone()]
    }
}

impl Op for Moments {
    fn name(&self) -> &'static str {
        "moments"
    }

    fn infer(&self, x: &[Type], precision: Precision) -> Result<Vec<Type>, String> {
        let shape = run_of(&x[0], self.axes)?;
        Ok(vec![Type { shape, dtype: precision.wide() }; 2])
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let (x, mean) = (at.x[0], at.y[1]);
        let one = mean.shape().len() as f32 / x.shape().len() as f32;
        let of_mean = at.dy[1].filter(|_| self.centred).map(|d| (d * one).broadcast_to(x.shape()));
        let of_variance = at.dy[0].map(|d| (d * (2.0 * one)) * (if self.centred { x - mean } else { x }));
        let both = [of_variance, of_mean].into_iter().flatten().reduce(|a, b| a + b);
        vec![Some(both.unwrap_or_else(|| x.zeros_like()))]
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let (x, variance, mean) = (io.inputs[0], io.outputs[0], io.outputs[1]);
        let work = Work::new(x.shape, self.axes, mean.shape);
        let shader = Shader::new("moments", include_str!("../../shaders/moments.wgsl"), x.dtype, io.precision);
        let parts = [variance, mean].map(|y| work.parts(y, program));
        let dispatch =
            Dispatch::new(io.label, work.shader(shader.wide(mean.dtype)).constant("CENTRED", self.centred.into()))
                .read(x)
                .write(parts[0])
                .write(parts[1])
                .flops(6 * x.shape.len());
        program.push(work.spread(dispatch, if work.splits == 1 { mean } else { parts[1] }));
        if work.splits > 1 {
            let lanes = lanes(work.splits);
            let source = include_str!("../../shaders/moments_join.wgsl");
            program.push(
                Dispatch::new(io.label, io.shader("moments_join", source).constant("LANES", lanes))
                    .read(parts[0])
                    .read(parts[1])
                    .write(variance)
                    .write(mean)
                    .param("groups", work.groups)
                    .param("terms", work.run.terms)
                    .param("splits", work.splits)
                    .param("chunk", work.chunk)
                    .flops(6 * parts[0].shape.len())
                    .workgroups((work.groups * lanes as usize).div_ceil(64)),
            );
        }
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let shape = x[0].shape.keep(&(self.axes.0..self.axes.1).collect::<Vec<_>>());
        let n = (x[0].shape.len() / shape.len()) as f64;
        let mean = folded(shape, x[0].shape, |i| x[0].at(i) / n);
        let mean = if self.centred { mean } else { mean.map(|_| 0.0) };
        let variance = folded(shape, x[0].shape, |i| (x[0].at(i) - mean.at(i)).powi(2) / n);
        vec![variance, mean]
    }
}

/// The sums of `f(index)` in `shape`, whose axes of length 1 take all indices of `over`.
#[cfg(feature = "reference")]
fn folded(shape: Shape, over: Shape, f: impl Fn(&[usize]) -> f64) -> Array {
    let mut sums = Array::from_fn(shape, |_| 0.0);
    for i in indices(over) {
        let flat = i.iter().zip(shape.dims()).fold(0, |flat, (&i, d)| flat * d + i.min(d - 1));
        sums.data[flat] += f(&i);
    }
    sums
}

impl Op for Standardize {
    fn name(&self) -> &'static str {
        "standardize"
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        let [x, mean, rstd, affine @ ..] = x else { unreachable!("five operands") };
        x.number()?;
        if x.shape.rank() < 2 || mean != rstd || stretched(x.shape, mean.shape).is_none() {
            return Err("mean and variance have the first operand's shape with 1 for some neighbouring axes".into());
        }
        if affine.iter().any(|t| t.shape.len() > 1 && t.shape != Shape::from([x.shape.last()])) {
            return Err("gain and bias have the shape of the last axis".into());
        }
        Ok(vec![*x])
    }

    fn kind(&self) -> Kind {
        Kind::Map(Expression { name: "standardize", body: "(a - b) * c * d + e".into(), params: vec![] })
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let [x, mean, rstd, gain, bias] = at.x[..] else { unreachable!("five operands") };
        let (dy, wide, rank) = (at.dy(), x.graph.precision().wide(), x.shape().rank());
        let (mean, rstd) = (mean.cast(wide), rstd.cast(wide));
        let axes = stretched(x.shape(), mean.shape()).expect("inferred");
        let sums = |axes, factor, by: Tensor<'g>| {
            let sums = x.graph.apply_all(StandardizeBackward { axes, factor }, &[x, dy, mean, by]);
            (sums[0], sums[1])
        };
        let by_row = axes.1 == rank && gain.shape().len().max(bias.shape().len()) > 1;
        let (of_x, of_mean, of_rstd, of_gain, of_bias) = if by_row {
            let weight = gain.broadcast_to([x.shape().last()]).cast(wide);
            let (of_rstd, of_rest) = sums(axes, Factor::OnBoth, weight);
            let (of_gain, of_bias) = sums((0, rank - 1), Factor::OnFirst, rstd);
            (dy * rstd * gain, -(of_rest * rstd), of_rstd, of_gain, of_bias)
        } else {
            // Gain and bias are the same all along the axes.
            let (first, second) = sums(axes, Factor::None, mean);
            let scale = rstd * gain;
            (dy * scale, -(second * scale), first * gain, first * rstd, second)
        };
        vec![
            Some(of_x),
            Some(of_mean),
            Some(of_rstd),
            Some(of_gain.sum_to(gain.shape())),
            Some(of_bias.sum_to(bias.shape())),
        ]
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let [x, mean, rstd, gain, bias] = x else { unreachable!("five operands") };
        let value = |i: &[usize]| (x.at(i) - mean.at(i)) * rstd.at(i) * gain.at(i) + bias.at(i);
        vec![Array::from_fn(x.shape, value)]
    }
}

impl Op for StandardizeBackward {
    fn name(&self) -> &'static str {
        "standardize_backward"
    }

    fn infer(&self, x: &[Type], precision: Precision) -> Result<Vec<Type>, String> {
        let shape = run_of(&x[0], self.axes)?;
        Ok(vec![Type { shape, dtype: precision.wide() }; 2])
    }

    /// It has no gradient: normalisation has no second one.
    fn grad<'g>(&self, _: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        vec![None; 4]
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let [x, dy, mean, factor] = io.inputs[..] else { unreachable!("four operands") };
        let work = Work::new(x.shape, self.axes, io.outputs[0].shape);
        let source = include_str!("../../shaders/standardize_backward.wgsl");
        let shader = Shader::new("standardize_backward", source, x.dtype, io.precision)
            .wide(mean.dtype)
            .constant("BY_TERM", (self.factor == Factor::OnFirst).into())
            .constant("WEIGHTED", (self.factor == Factor::OnBoth).into());
        let parts: Vec<Operand> = io.outputs.iter().map(|&y| work.parts(y, program)).collect();
        // Rows of x that have one mean in common.
        let lines = x.shape.len() / x.shape.last() / mean.shape.len();
        let dispatch = Dispatch::new(io.label, work.shader(shader))
            .read(x)
            .read(dy)
            .read(mean)
            .read(factor)
            .write(parts[0])
            .write(parts[1])
            .flops(4 * x.shape.len());
        program.push(
            work.spread(dispatch, if work.splits == 1 { io.outputs[0] } else { parts[0] })
                .param("lines", lines)
                .param("last_mean", mean.shape.storage().last()),
        );
        if work.splits > 1 {
            parts.iter().zip(io.outputs).for_each(|(&x, &y)| program.push(sum_of_parts(io, x, y)));
        }
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let [x, dy, mean, factor] = x else { unreachable!("four operands") };
        let shape = x.shape.keep(&(self.axes.0..self.axes.1).collect::<Vec<_>>());
        let (first, second) = match self.factor {
            Factor::None => (false, false),
            Factor::OnBoth => (true, true),
            Factor::OnFirst => (true, false),
        };
        let factor = |on: bool, i: &[usize]| if on { factor.at(i) } else { 1.0 };
        vec![
            folded(shape, x.shape, |i| dy.at(i) * (x.at(i) - mean.at(i)) * factor(first, i)),
            folded(shape, x.shape, |i| dy.at(i) * factor(second, i)),
        ]
    }
}

/// Rows and columns, few and many, in one part and in several, with padding and without.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    let shapes: [(&[usize], (usize, usize)); 19] = [
        (&[3], (0, 1)),
        (&[1, 5], (1, 2)),
        (&[5, 17], (1, 2)),
        (&[2, 3, 65], (2, 3)),
        (&[5, 257], (1, 2)),
        (&[3, 1000], (1, 2)),
        (&[257, 17], (1, 2)),
        (&[1000, 3], (1, 2)),
        (&[3, 5, 7], (1, 3)),
        (&[1, 3], (0, 1)),
        (&[5, 17], (0, 1)),
        (&[65, 1], (0, 1)),
        (&[3, 5, 5, 1], (0, 3)),
        (&[2, 5, 13, 3], (0, 3)),
        (&[3, 5, 17, 65], (1, 3)),
        (&[3, 1000], (0, 1)),
        (&[257, 17], (0, 1)),
        (&[1000, 65], (0, 1)),
        (&[7, 10, 100, 3], (0, 3)),
    ];
    let near_one = Fill::Between(0.5, 1.5);
    let of = |(dims, axes): (&'static [usize], (usize, usize))| {
        let x = Shape::new(dims).expect("valid");
        let mean = x.keep(&(axes.0..axes.1).collect::<Vec<_>>()).to_vec();
        let (terms, last) = (x.len() / mean.iter().product::<usize>(), [x.last()]);
        let mut found = vec![Case::new(Moments { axes, centred: true }, [dims]).terms(terms)];
        if terms > 1 && x.rank() > 1 {
            let five = [dims, &mean, &mean, &last, &last];
            found.push(Case::new(Standardize, five).fill(2, near_one).terms(x.len() / x.last().min(terms)));
        }
        found
    };
    let about_zero = |dims, axes| Case::new(Moments { axes, centred: false }, [dims]).terms(17);
    let others = [about_zero(&[5, 17], (1, 2)), about_zero(&[17, 5], (0, 1))];
    shapes.into_iter().flat_map(of).chain(others).collect()
}
