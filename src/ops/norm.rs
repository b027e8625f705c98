//! Normalisation: mean and variance over a run of axes, and what is made of them.
//!
//! [`Tensor::moments`] has a kernel; (x − mean) / √(variance + ε) · gain + bias is elementwise, so it fuses with what
//! follows, and at inference with the convolution before. Its gradient has a kernel for the sums, which join to all that is
//! one value for many. Batch, group and instance normalisation differ in the axes only, and [`super::layer_norm`] takes
//! rows; mean and variance are in the wide type, as all sums are.

#[cfg(feature = "reference")]
use super::moments::{Moments, folded};
use super::moments::{Work, run_of};
#[cfg(feature = "reference")]
use crate::reference::{Array, Case, Fill};
use crate::{
    Dtype, Precision, Shape,
    dispatch::{Access, Dispatch, Operand, Program, Shader},
    error::Warning,
    op::{Backward, Expression, Io, Kind, Op, Type},
    shape::GROUP,
    tensor::Tensor,
};

/// (x − mean) / √(variance + ε) · gain + bias, for operands in this order.
#[derive(Debug, Clone, Copy)]
struct Standardize {
    epsilon: f32,
}

/// The gradient of [`Standardize`], for operands x, dy, mean, variance, gain: what dy is taken times for that of x, and the
/// gradients of mean, variance, gain and bias. It has no gradient itself.
#[derive(Debug, Clone, Copy)]
struct StandardizeBackward {
    epsilon: f32,
    /// The first axis that is summed over and the one behind the last.
    axes: (usize, usize),
    /// Whether gain and bias are of the operand's type and have a value for each of the mean's: so are their gradients then.
    /// Else these are as those of the mean.
    own: bool,
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
        warn_of(epsilon, self);
        // Where nothing is stretched there is nothing to sum.
        if mean.shape().len() == self.shape().len() {
            return ((self - mean) * (variance + epsilon).rsqrt() * gain + bias).cast(self.dtype());
        }
        // The gradient's kernel has one gain for all that it sums.
        let in_rows = stretched(self.shape(), mean.shape()).is_some_and(|axes| axes.1 == self.shape().rank());
        if in_rows && gain.shape().len().max(bias.shape().len()) > 1 {
            let plain = self.standardize((mean, variance), epsilon, self.number(1.0), self.number(0.0));
            return (plain * gain + bias).cast(self.dtype());
        }
        // A row by itself is one of a matrix: the sums need an axis for the others.
        let rows = if self.shape().rank() == 1 { self.reshape([1, self.shape().last()]) } else { self };
        let of_row = |t: Tensor<'g>| if self.shape().rank() == 1 { t.reshape([1, 1]) } else { t };
        let operands = [rows, of_row(mean), of_row(variance), gain, bias];
        self.graph.apply(Standardize { epsilon }, &operands).reshape(self.shape())
    }
}

/// Warns of an ε that arithmetic cannot hold.
pub(super) fn warn_of(epsilon: f32, x: Tensor) {
    let smallest = half::f16::MIN_POSITIVE.to_f32();
    if x.graph.precision_of(&[x]).acc() == Dtype::F16 && epsilon.abs() < smallest {
        let what =
            format!("an epsilon of {epsilon} is less than the {smallest:e} from which on f16 is sure to hold it");
        x.graph.warn(Warning { what, cure: "use 1e-3, or a precision that computes in f32".into() });
    }
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

impl Op for Standardize {
    fn name(&self) -> &'static str {
        "standardize"
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        let [x, mean, variance, affine @ ..] = x else { unreachable!("five operands") };
        x.number().and(mean.number())?;
        if x.shape.rank() < 2 || mean != variance || stretched(x.shape, mean.shape).is_none() {
            return Err("mean and variance have the first operand's shape with 1 for some neighbouring axes".into());
        }
        if affine.iter().any(|t| t.shape.len() > 1 && t.shape != Shape::from([x.shape.last()])) {
            return Err("gain and bias have the shape of the last axis".into());
        }
        Ok(vec![*x])
    }

    fn kind(&self) -> Kind {
        let body = "(a - b) * inverseSqrt(c + acc(p.x)) * d + e".into();
        Kind::Map(Expression { name: "standardize", body, params: vec![self.epsilon] })
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let [x, mean, variance, gain, bias] = at.x[..] else { unreachable!("five operands") };
        let (dy, wide) = (at.dy(), x.precision().wide());
        let axes = stretched(x.shape(), mean.shape()).expect("inferred");
        let like = |t: Tensor| t.dtype() == x.dtype() && t.shape().len() == mean.shape().len();
        let op = StandardizeBackward { epsilon: self.epsilon, axes, own: like(gain) && like(bias) };
        let gained = if gain.dtype() == x.dtype() { gain } else { gain.cast(wide) };
        let found = x.graph.apply_all(op, &[x, dy, mean.cast(wide), variance.cast(wide), gained]);
        let [scale, of_mean, of_variance, of_gain, of_bias] = found[..] else { return vec![None; 5] };
        vec![
            Some(dy * scale),
            Some(of_mean),
            Some(of_variance),
            Some(of_gain.sum_to(gain.shape())),
            Some(of_bias.sum_to(bias.shape())),
        ]
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let [x, mean, variance, gain, bias] = x else { unreachable!("five operands") };
        let rstd = variance.map(|v| (v + f64::from(self.epsilon)).powf(-0.5));
        let value = |i: &[usize]| (x.at(i) - mean.at(i)) * rstd.at(i) * gain.at(i) + bias.at(i);
        vec![Array::from_fn(x.shape, value)]
    }
}

/// The dispatch that sums dy · (x − mean) and dy over `axes` of `[x, dy, mean]`: the parts that are left of both. Or, if
/// `by_row`, with a group in the place of the mean for each row, the first axis: mean and 1 / √(variance + ε), by which it
/// is multiplied too.
pub(super) fn write_sums(
    io: &Io,
    [x, dy, mean]: [Operand; 3],
    axes: (usize, usize),
    by_row: bool,
    program: &mut Program,
) -> (Work, Operand) {
    let result = Operand { shape: x.shape.keep(&(axes.0..axes.1).collect::<Vec<_>>()), ..mean };
    let work = Work::new(x.shape, axes, result.shape);
    let source = include_str!("../../shaders/standardize_backward.wgsl");
    let shader = Shader::new("standardize_backward", source, x.dtype, io.precision)
        .wide(mean.dtype)
        .constant("BY_TERM", by_row.into());
    let sums = program.scratch(Shape::from([2 * work.splits, work.groups * GROUP]), mean.dtype);
    let dispatch =
        Dispatch::new(io.label, work.shader(shader)).read(x).read(dy).read(mean).write(sums).flops(4 * x.shape.len());
    program.push(work.spread(dispatch));
    (work, sums)
}

impl Op for StandardizeBackward {
    fn name(&self) -> &'static str {
        "standardize_backward"
    }

    fn infer(&self, x: &[Type], precision: Precision) -> Result<Vec<Type>, String> {
        let of_mean = Type { shape: run_of(&x[0], self.axes)?, dtype: precision.wide() };
        let of_gain = if self.own { Type { shape: x[4].shape, dtype: x[0].dtype } } else { of_mean };
        Ok(vec![of_mean, of_mean, of_mean, of_gain, of_gain])
    }

    fn grad<'g>(&self, _: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        vec![None; 5]
    }

    fn is_differentiable(&self) -> bool {
        false
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let [x, dy, mean, variance, gain] = io.inputs[..] else { unreachable!("five operands") };
        let (work, sums) = write_sums(io, [x, dy, mean], self.axes, false, program);
        let source = include_str!("../../shaders/standardize_join.wgsl");
        let last = mean.shape.storage().last();
        let shader = Shader::new("standardize_join", source, x.dtype, io.precision).wide(mean.dtype).padded(last);
        let dispatch = work.join(io, shader).read(sums).read(variance);
        let dispatch = io.outputs[..3].iter().fold(dispatch, |d, &y| d.write(y));
        // What belongs to gain and bias is of the operand's type or of the mean's.
        let suffix = |t: Operand| if t.dtype == x.dtype { ("elem4", "") } else { ("wide4", "_wide") };
        let (four, wide) = suffix(io.outputs[3]);
        let dispatch = dispatch
            .extra(io.outputs[3], Access::Write, &format!("gains: array<{four}>"))
            .extra(io.outputs[4], Access::Write, &format!("biases: array<{four}>"))
            .splice("store", format!("    gains[g] = pack4{wide}(of_gain);\n    biases[g] = pack4{wide}(of_bias);\n"));
        let (four, wide) = suffix(gain);
        let one = match gain.shape.len() {
            1 => format!("vec4(unpack4{wide}(gain[0]).x)"),
            _ => format!("unpack4{wide}(gain[g % p.gains])"),
        };
        program.push(
            dispatch
                .extra(gain, Access::Read, &format!("gain: array<{four}>"))
                .splice("gain", format!("    return {one};\n"))
                .param("groups", work.groups)
                .param("splits", work.splits)
                .param("last", last)
                .param("gains", gain.shape.groups())
                .param_f32("epsilon", self.epsilon)
                .flops(2 * sums.shape.len()),
        );
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let [x, dy, mean, variance, gain] = x else { unreachable!("five operands") };
        let first = folded(mean.shape, x.shape, |i| dy.at(i) * (x.at(i) - mean.at(i)));
        let second = folded(mean.shape, x.shape, |i| dy.at(i));
        let each = |f: &dyn Fn(f64, f64, f64, f64) -> f64| {
            Array::from_fn(mean.shape, |i| {
                f(first.at(i), second.at(i), (variance.at(i) + f64::from(self.epsilon)).powf(-0.5), gain.at(i))
            })
        };
        let affine = |a: Array| if self.own { Array::new(gain.shape, a.data) } else { a };
        vec![
            each(&|_, _, rstd, gain| rstd * gain),
            each(&|_, sum, rstd, gain| -sum * rstd * gain),
            each(&|sum, _, rstd, gain| -0.5 * sum * gain * rstd.powi(3)),
            affine(each(&|sum, _, rstd, _| sum * rstd)),
            affine(each(&|_, sum, _, _| sum)),
        ]
    }
}

/// Rows and columns, few and many, in one part and in several, with padding and without.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    let shapes: [(&[usize], (usize, usize)); 20] = [
        (&[3], (0, 1)),
        (&[1, 5], (1, 2)),
        (&[5, 17], (1, 2)),
        (&[2, 3, 65], (2, 3)),
        (&[5, 257], (1, 2)),
        (&[3, 1000], (1, 2)),
        (&[257, 17], (1, 2)),
        (&[1000, 3], (1, 2)),
        (&[3, 5, 7], (1, 3)),
        (&[2, 130, 127], (1, 3)),
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
            let affine = if axes.1 == x.rank() { &[][..] } else { &last };
            let op = Standardize { epsilon: 0.125 };
            let case = Case::new(op, [dims, &mean, &mean, affine, affine]).fill(2, near_one);
            // One gain for all of a row is one for all values.
            found.push(case.terms(if axes.1 == x.rank() { x.len() } else { x.len() / x.last().min(terms) }));
        }
        found
    };
    let about_zero = |dims, axes| Case::new(Moments { axes, centred: false }, [dims]).terms(17);
    let others = [about_zero(&[5, 17], (1, 2)), about_zero(&[17, 5], (0, 1))];
    shapes.into_iter().flat_map(of).chain(others).collect()
}
