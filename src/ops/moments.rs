//! Mean and variance over a run of axes, and how the work on one is divided.

use super::reduce::{Run, TERMS, abreast, lanes, shares};
#[cfg(feature = "reference")]
use crate::reference::{Array, indices};
use crate::{
    Precision, Shape,
    dispatch::{Dispatch, Operand, Program, Shader},
    op::{Backward, Io, Op, Type},
    shape::GROUP,
    tensor::Tensor,
};

/// Variance and mean over a run of axes, which stay as axes of length 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moments {
    /// The first axis and the one behind the last.
    pub axes: (usize, usize),
    /// Whether the mean is taken off; else it is 0, and the variance the mean of the squares.
    pub centred: bool,
}

impl<'g> Tensor<'g> {
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
    pub(super) fn moments_if(self, axes: std::ops::Range<usize>, centred: bool) -> (Tensor<'g>, Tensor<'g>) {
        // A set of one value is known; where its axis is the last, that is not even stored.
        if !axes.is_empty() && self.shape().dims().skip(axes.start).take(axes.len()).eq(axes.clone().map(|_| 1)) {
            let x = self.cast(self.precision().wide());
            return if centred { (x, x.zeros_like()) } else { (x.zeros_like(), x.square()) };
        }
        let found = self.graph.apply_all(Moments { axes: (axes.start, axes.end), centred }, &[self]);
        (found[1], found[0])
    }

    /// Mean and variance of each sample and group of channels, for each channel: `[n, .., c] → [n, 1, .., c]` twice.
    ///
    /// Those of the channels make those of the group, so that nothing is moved: the variance of a group is the mean of
    /// its channels' and the variance of their means.
    #[track_caller]
    pub fn group_moments(self, groups: usize) -> (Tensor<'g>, Tensor<'g>) {
        let shape = self.shape();
        let (n, c, rank) = (shape.first(), shape.last(), shape.rank());
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
pub(super) struct Work {
    run: Run,
    pub groups: usize,
    /// Length of the last axis of the results.
    last: usize,
    lanes: u32,
    pub splits: usize,
    chunk: usize,
}

impl Work {
    pub fn new(x: Shape, axes: (usize, usize), y: Shape) -> Self {
        let (run, groups) = (Run::new(x, axes), y.groups());
        let most = if run.rows { 64 } else { 64 / abreast(groups) as u32 };
        let lanes = lanes(run.terms).min(most);
        let blocks = groups.div_ceil(64 / lanes as usize);
        let (splits, chunk) = shares(run.terms, lanes as usize * TERMS, blocks);
        Work { run, groups, last: y.storage().last(), lanes, splits, chunk }
    }

    /// The constants of `lib/span.wgsl` and of `lib/tail.wgsl`.
    pub fn shader(&self, shader: Shader) -> Shader {
        shader.constant("LANES", self.lanes).constant("OVER_ROWS", self.run.rows.into()).padded(self.last)
    }

    /// Its parameters and the grid.
    pub fn spread(&self, dispatch: Dispatch) -> Dispatch {
        let blocks = self.groups.div_ceil(64 / self.lanes as usize);
        dispatch
            .unzeroed()
            .param("groups", self.groups)
            .param("terms", self.run.terms)
            .param("inner", self.run.inner)
            .param("last_in", self.run.last)
            .param("last_out", self.last)
            .param("splits", self.splits)
            .param("chunk", self.chunk)
            .workgroups(blocks * self.splits)
    }

    /// A dispatch of `shader` that joins the parts of each result.
    pub fn join(&self, io: &Io, shader: Shader) -> Dispatch {
        let lanes = lanes(self.splits);
        Dispatch::new(io.label, shader.constant("LANES", lanes))
            .unzeroed()
            .second_pass()
            .workgroups((self.groups * lanes as usize).div_ceil(64))
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
pub(super) fn run_of(x: &Type, (first, end): (usize, usize)) -> Result<Shape, String> {
    x.number()?;
    if first >= end || end > x.shape.rank() {
        return Err(format!("{first}..{end} are no axes of {}", x.shape));
    }
    Ok(x.shape.keep(&(first..end).collect::<Vec<_>>()))
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
        let shader = work.shader(shader.wide(mean.dtype)).constant("CENTRED", self.centred.into());
        let dispatch = Dispatch::new(io.label, shader).read(x).write(parts[0]).write(parts[1]).flops(6 * x.shape.len());
        program.push(work.spread(dispatch));
        if work.splits > 1 {
            let source = include_str!("../../shaders/moments_join.wgsl");
            program.push(
                work.join(io, io.shader("moments_join", source).constant("OVER_ROWS", work.run.rows.into()))
                    .read(parts[0])
                    .read(parts[1])
                    .write(variance)
                    .write(mean)
                    .param("groups", work.groups)
                    .param("terms", work.run.terms)
                    .param("last_in", work.run.last)
                    .param("splits", work.splits)
                    .param("chunk", work.chunk)
                    .flops(6 * parts[0].shape.len()),
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
pub(super) fn folded(shape: Shape, over: Shape, f: impl Fn(&[usize]) -> f64) -> Array {
    let mut sums = Array::from_fn(shape, |_| 0.0);
    for i in indices(over) {
        let flat = i.iter().zip(shape.dims()).fold(0, |flat, (&i, d)| flat * d + i.min(d - 1));
        sums.data[flat] += f(&i);
    }
    sums
}
