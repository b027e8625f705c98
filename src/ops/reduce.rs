//! Sums, means and largest values over axes.

use super::{
    gemm::busy,
    rows::{FARTHEST, WIDEST, choose},
};
#[cfg(feature = "reference")]
use crate::reference::{Array, Case, indices};
use crate::{
    Caps, Dtype, Precision, Shape, caps,
    dispatch::{Dispatch, Operand, Program},
    op::{Backward, Io, Kind, Op, Type},
    precision::Accumulate,
    shape::GROUP,
    tensor::Tensor,
};

/// What is made of the values.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fold {
    /// Their sum, times a factor: 1, or one over their number.
    Sum(f32),
    /// The largest.
    Max,
}

impl Fold {
    fn is_mean(self) -> bool {
        matches!(self, Fold::Sum(factor) if factor != 1.0)
    }
}

/// In which type a result is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kept {
    /// The operand's.
    Own,
    /// That of losses and statistics: f32 unless everything is 16 bit.
    Wide,
    /// That of activations.
    Storage,
}

/// A reduction over neighbouring axes, which stay as axes of length 1 unless the result has a shape of its own.
#[derive(Debug, Clone, Copy)]
struct Reduce {
    fold: Fold,
    /// The first axis and the one behind the last.
    axes: (usize, usize),
    /// The type of the result.
    kept: Kept,
    /// The result's shape, which differs in axes of length 1 only: so no view stands between it and what follows.
    to: Option<Shape>,
}

impl<'g> Tensor<'g> {
    /// The sum over `axes`, which vanish: `[.., d, ..] → [.., ..]`.
    #[track_caller]
    pub fn sum(self, axes: impl AsRef<[usize]>) -> Tensor<'g> {
        self.reduce(Fold::Sum(1.0), axes.as_ref(), false, None)
    }

    /// The mean over `axes`, which vanish.
    #[track_caller]
    pub fn mean(self, axes: impl AsRef<[usize]>) -> Tensor<'g> {
        let n = self.count(axes.as_ref());
        self.reduce(Fold::Sum(1.0 / n), axes.as_ref(), false, None)
    }

    /// The largest value over `axes`, which vanish. Ties share the gradient.
    #[track_caller]
    pub fn max(self, axes: impl AsRef<[usize]>) -> Tensor<'g> {
        self.reduce(Fold::Max, axes.as_ref(), false, None)
    }

    /// The sum of all values, as a loss: a scalar in f32 unless everything is 16 bit.
    #[track_caller]
    pub fn sum_all(self) -> Tensor<'g> {
        self.total(1.0)
    }

    /// The mean of all values, as a loss: a scalar in f32 unless everything is 16 bit.
    #[track_caller]
    pub fn mean_all(self) -> Tensor<'g> {
        self.total(1.0 / self.shape().len() as f32)
    }

    /// `factor` times the sum of all values, as a loss.
    #[track_caller]
    pub(super) fn total(self, factor: f32) -> Tensor<'g> {
        let axes: Vec<usize> = (0..self.shape().rank()).collect();
        self.reduce(Fold::Sum(factor), &axes, true, None)
    }

    /// The sum over what broadcasting stretched: the tensor in a shape that broadcasts to its own.
    #[track_caller]
    pub fn sum_to(self, shape: Shape) -> Tensor<'g> {
        let ours = self.shape();
        if ours == shape {
            return self;
        }
        if shape.broadcast(&ours) != Some(ours) {
            return self.refuse("sum_to", &[], format!("{shape} does not stretch to it"));
        }
        let lead = ours.rank() - shape.rank();
        let stretched = |&k: &usize| ours[k] > 1 && (k < lead || shape[k - lead] == 1);
        let axes: Vec<usize> = (0..ours.rank()).filter(stretched).collect();
        self.reduce(Fold::Sum(1.0), &axes, false, Some(shape))
    }

    fn count(self, axes: &[usize]) -> f32 {
        let shape = self.shape();
        axes.iter().filter(|&&a| a < shape.rank()).map(|&a| shape[a]).product::<usize>() as f32
    }

    /// One node for each run of neighbouring axes, from the last: their order in memory makes those cheap. The axes
    /// vanish, unless the result has a shape of its own.
    #[track_caller]
    fn reduce(self, fold: Fold, axes: &[usize], wide: bool, to: Option<Shape>) -> Tensor<'g> {
        let shape = self.shape();
        let mut wanted = axes.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.len() != axes.len() || wanted.iter().any(|&a| a >= shape.rank()) {
            let detail = format!("the axes {axes:?} are not distinct axes of rank {}", shape.rank());
            return self.refuse("reduce", &[], detail);
        }
        let kept: Vec<usize> = (0..shape.rank()).filter(|a| !wanted.contains(a)).map(|a| shape[a]).collect();
        let to = to.unwrap_or(Shape::new(&kept).expect("fewer axes than before"));
        // There is nothing to fold along an axis of length 1, and a trailing one is not even stored.
        wanted.retain(|&a| shape[a] > 1);
        let mut result = self;
        let mut runs = runs(&wanted);
        let several = runs.len() > 1 && self.dtype() == Dtype::F16;
        let means = fold.is_mean() && self.precision().wide() == Dtype::F16;
        let mut meant = 1.0;
        while let Some(run) = runs.pop() {
            let fold = match fold {
                Fold::Sum(factor) if runs.is_empty() => Fold::Sum(factor * meant),
                // Partial sums of what is all in 16 bits may be too large for them, means are not.
                Fold::Sum(_) if means => {
                    let terms = (run.0..run.1).map(|a| shape[a]).product::<usize>() as f32;
                    meant *= terms;
                    Fold::Sum(1.0 / terms)
                }
                Fold::Sum(_) => Fold::Sum(1.0),
                Fold::Max => Fold::Max,
            };
            let to = runs.is_empty().then_some(to);
            // Partial sums may be beyond f16 where the whole is a mean.
            let kept = match runs.is_empty() {
                _ if wide => Kept::Wide,
                true if several => Kept::Storage,
                false if several => Kept::Wide,
                _ => Kept::Own,
            };
            result = self.graph.apply(Reduce { fold, axes: run, kept, to }, &[result]);
        }
        let wide = if wide { self.precision().wide() } else { self.dtype() };
        result.cast(wide).reshape(to)
    }
}

/// How many values of a row are reduced by another dispatch, at least, if that is to pay.
const PART: usize = 1 << 13;
/// Parts of a row, at most.
const MOST_PARTS: usize = 1024;
/// How many terms of a column one workgroup reduces, at least, where several share it.
const COLUMN: usize = 512;
/// Workgroups, at most, where several share a column.
const WORKGROUPS: usize = 512;

/// Terms for each invocation, at least, before more workgroups share a column.
pub(super) const TERMS: usize = 32;

/// Parts that a column's terms are taken in, and terms of a part: a workgroup each, of `blocks` for all columns in one part,
/// none of which is to have fewer terms than `least`.
pub(super) fn shares(terms: usize, least: usize, blocks: usize) -> (usize, usize) {
    let wanted = (terms / least).clamp(1, (WORKGROUPS / blocks).max(1));
    let part = terms.div_ceil(wanted);
    (terms.div_ceil(part), part)
}

/// Sorted axes as half-open runs of neighbours.
fn runs(axes: &[usize]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = vec![];
    for &a in axes {
        match found.last_mut() {
            Some(run) if run.1 == a => run.1 += 1,
            _ => found.push((a, a + 1)),
        }
    }
    found
}

/// Invocations for one result of so many terms: each has a handful, and all fit a workgroup of 64.
pub(super) fn lanes(terms: usize) -> u32 {
    (terms / 8).clamp(1, 64).next_power_of_two() as u32
}

/// Invocations that read neighbouring columns, of which so many groups lie side by side: up to sixteen times 16 bytes.
pub(super) fn abreast(groups: usize) -> usize {
    groups.next_power_of_two().min(16)
}

/// The same where processors, which gain nothing by it, may have another order.
pub(super) fn neighbours(caps: &Caps, groups: usize) -> usize {
    if caps.kind == caps::Kind::Software { 1 } else { abreast(groups) }
}

/// How a run of axes lies in memory, in groups.
pub(super) struct Run {
    /// Whether the last stored axis is among them: four results are four rows, each a run of groups. Else over
    /// columns: a result is a group of columns.
    pub rows: bool,
    /// Groups that one result is made of.
    pub terms: usize,
    /// Groups between two terms of a column.
    pub inner: usize,
    /// Length of the last stored axis.
    pub last: usize,
}

impl Run {
    pub(super) fn new(x: Shape, axes: (usize, usize)) -> Self {
        let dims = x.storage().to_vec();
        let (first, end) = (axes.0.min(dims.len()), axes.1.min(dims.len()));
        let last = dims.last().copied().unwrap_or(1);
        let product = |d: &[usize]| d.iter().product::<usize>();
        let groups_in = |d: &[usize]| if d.is_empty() { 1 } else { product(&d[..d.len() - 1]) * last.div_ceil(GROUP) };
        let rows = end == dims.len();
        let (terms, inner) = match rows {
            true => (groups_in(&dims[first..]), 1),
            false => (product(&dims[first..end]), groups_in(&dims[end..])),
        };
        Run { rows, terms, inner, last }
    }
}

/// The dispatch that sums what several workgroups left of `y`, `[parts, ..]` for `[..]`, in order.
pub(super) fn sum_of_parts(io: &Io, x: Operand, y: Operand) -> Dispatch {
    let sum =
        Reduce { fold: Fold::Sum(1.0), axes: (0, 1), kept: Kept::Wide, to: None }.dispatch(io, x, y).second_pass();
    // Chunks were added up in f32 as it is.
    let rounded = io.precision.rounds_sums() && io.precision.accumulate == Accumulate::F16;
    sum.constant("SUM_IN_F16", rounded.into())
}

impl Reduce {
    fn kept(&self, shape: Shape) -> Shape {
        shape.keep(&(self.axes.0..self.axes.1).collect::<Vec<_>>())
    }
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        match self.fold {
            Fold::Sum(1.0) => "sum",
            Fold::Sum(_) => "mean",
            Fold::Max => "max",
        }
    }

    fn infer(&self, x: &[Type], precision: Precision) -> Result<Vec<Type>, String> {
        x[0].number()?;
        let dtype = match self.kept {
            Kept::Own => x[0].dtype,
            Kept::Wide => precision.wide(),
            Kept::Storage => precision.storage,
        };
        let kept = self.kept(x[0].shape);
        match self.to {
            Some(to) if !to.lies_like(&kept) => Err(format!("{kept} does not lie like {to}")),
            to => Ok(vec![Type { shape: to.unwrap_or(kept), dtype }]),
        }
    }

    fn kind(&self) -> Kind {
        Kind::Head
    }

    fn sums_rows(&self, x: &[Type]) -> bool {
        let rows = self.axes == (0, x[0].shape.rank() - 1) && x[0].shape.last() > 1;
        self.fold == Fold::Sum(1.0) && self.kept == Kept::Own && rows
    }

    fn repeats(&self) -> bool {
        true
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        // With the axes that vanished, but for a single value, which stretches as it is.
        let kept = self.kept(at.x[0].shape());
        let seen = |t: Tensor<'g>| if t.shape().rank() == 0 { t } else { t.reshape(kept) };
        let (x, y, dy) = (at.x[0], seen(at.y[0]), seen(at.dy()));
        let dx = match self.fold {
            Fold::Sum(1.0) => dy,
            Fold::Sum(factor) => dy * factor,
            Fold::Max => {
                let largest = x.equal(y);
                let ties = self.on(largest, Fold::Sum(1.0));
                largest * (dy / ties)
            }
        };
        vec![Some(dx.broadcast_to(x.shape()))]
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let (x, y) = (io.inputs[0], io.outputs[0]);
        let Some((seen, axes, parts)) = self.split(io.caps, x.shape) else {
            return program.push(self.dispatch(io, x, y).fuse("epilogue", io.chain));
        };
        // Parts of a mean may be too large for the mean's type.
        let wide = if y.dtype == Dtype::F16 { io.precision.wide() } else { y.dtype };
        let parts = program.scratch(parts, wide);
        let (first, second) = match self.fold {
            // Where no type is wider, parts of a mean are means.
            Fold::Sum(factor) if self.fold.is_mean() && wide == Dtype::F16 => {
                let count = parts.shape[1] as f32;
                (Fold::Sum(factor * count), Fold::Sum(1.0 / count))
            }
            Fold::Sum(_) => (Fold::Sum(1.0), self.fold),
            Fold::Max => (Fold::Max, Fold::Max),
        };
        program.push(Reduce { fold: first, axes, ..*self }.dispatch(io, x.seen_as(seen), parts));
        let rest = Reduce { fold: second, axes: (1, 2), ..*self };
        // Of columns there are as many as there were, each with its parts before it.
        let whole = if parts.shape.rank() < 3 { y } else { y.seen_as(Shape::from([parts.shape[0], parts.shape[2]])) };
        program.push(rest.dispatch(io, parts, whole).second_pass().fuse("epilogue", io.chain));
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let shape = self.kept(x[0].shape);
        let start = if self.fold == Fold::Max { f64::NEG_INFINITY } else { 0.0 };
        let mut y = Array::from_fn(shape, |_| start);
        for (i, &v) in indices(x[0].shape).zip(&x[0].data) {
            let flat = i.iter().zip(shape.dims()).fold(0, |flat, (&i, d)| flat * d + i.min(d - 1));
            let slot = &mut y.data[flat];
            *slot = if self.fold == Fold::Max { slot.max(v) } else { *slot + v };
        }
        let factor = if let Fold::Sum(f) = self.fold { f64::from(f) } else { 1.0 };
        let data = y.data.into_iter().map(|v| v * factor).collect();
        vec![Array::new(self.to.unwrap_or(shape), data)]
    }
}

impl Reduce {
    /// How a fold of `x` is done by more workgroups than it has results, if that helps: another shape of `x`, the axes that
    /// vanish first, and the shape of what is left then, whose axis 1 vanishes at last.
    fn split(&self, caps: &Caps, x: Shape) -> Option<(Shape, (usize, usize), Shape)> {
        let run = Run::new(x, self.axes);
        if run.rows {
            return self.split_rows(caps, x.storage());
        }
        let columns = self.kept(x).groups();
        let lanes = (lanes(run.terms) as usize).min(64 / neighbours(caps, run.inner));
        let (splits, _) = shares(run.terms, (lanes * TERMS).min(COLUMN), columns.div_ceil(64 / lanes));
        let left = Shape::from([columns / run.inner, splits, run.inner * GROUP]);
        (splits > 1).then_some((x, self.axes, left))
    }

    /// The same of rows, where they are few and long: each is cut into parts of its first axis, or of its only one, whose
    /// results lie side by side.
    fn split_rows(&self, caps: &Caps, x: Shape) -> Option<(Shape, (usize, usize), Shape)> {
        let first = self.axes.0.min(x.rank());
        let dims = x.to_vec();
        let (rows, row): (usize, usize) = (dims[..first].iter().product(), dims[first..].iter().product());
        let wanted = (busy(caps.kind) / rows).min(row / PART);
        if wanted < 2 {
            return None;
        }
        let cut = |n: usize, whole: usize| {
            (2..=n.min(MOST_PARTS).min(wanted)).rev().find(|parts| n.is_multiple_of(parts * whole))
        };
        let parts = match &dims[first..] {
            [n] => cut(*n, GROUP)?,
            [n, ..] => cut(*n, 1)?,
            [] => return None,
        };
        let seen: Vec<usize> = [&[rows, parts, dims[first] / parts], &dims[first + 1..]].concat();
        let seen = Shape::new(&seen)?;
        Some((seen, (2, seen.rank()), Shape::from([rows, parts])))
    }

    /// The dispatch that folds `x` into `y`.
    fn dispatch(&self, io: &Io, x: Operand, y: Operand) -> Dispatch {
        let run = Run::new(x.shape, self.axes);
        let (name, source) = match run.rows {
            true => ("reduce_rows", include_str!("../../shaders/reduce_rows.wgsl")),
            false => ("reduce", include_str!("../../shaders/reduce.wgsl")),
        };
        let mut shader = io.shader(name, source).wide(x.dtype).constant("MAX", u32::from(self.fold == Fold::Max));
        shader.elem = y.dtype;
        // The sum of what has a mean that f16 holds may be beyond it.
        shader.acc = if x.dtype == Dtype::F32 || self.fold.is_mean() { Dtype::F32 } else { io.precision.acc() };
        if self.kept != Kept::Wide {
            shader = shader.accumulating(io.precision);
        }
        let (groups, last) = (y.shape.groups(), y.shape.storage().last());
        let dispatch = Dispatch::new(io.label, shader.padded(last))
            .unzeroed()
            .read(x)
            .write(y)
            .param("groups", groups)
            .param("terms", run.terms)
            .flops(x.shape.len());
        let factor = if let Fold::Sum(f) = self.fold { f } else { 1.0 };
        if run.rows {
            let dispatch = dispatch.param("last_in", run.last).param("last_out", last).param_f32("factor", factor);
            return choose(io.caps, groups, run.terms, 0).over(groups, dispatch);
        }
        let splits = groups / self.kept(x.shape).groups();
        let chunk = run.terms.div_ceil(splits);
        // Rather columns that are far apart than an idle adapter; and an invocation of a processor may not walk too
        // far.
        let idle = (busy(io.caps.kind) / groups).clamp(1, 64).next_power_of_two();
        let most = idle.max(64 / neighbours(io.caps, run.inner));
        let long = io.caps.kind == caps::Kind::Software && chunk > 64 * FARTHEST;
        let (threads, lanes) = if long { (WIDEST, WIDEST) } else { (64, (lanes(chunk) as usize).min(most)) };
        dispatch
            .param("inner", run.inner)
            .param("splits", splits)
            .param("chunk", chunk)
            .param("last_out", last)
            .param_f32("factor", factor)
            .constant("THREADS", threads as u32)
            .constant("LANES", lanes as u32)
            .workgroups((groups * lanes).div_ceil(threads))
    }

    /// Another fold over the same axes.
    fn on<'g>(&self, x: Tensor<'g>, fold: Fold) -> Tensor<'g> {
        x.graph.apply(Reduce { fold, kept: Kept::Own, to: None, ..*self }, &[x])
    }
}

/// First, middle and last axes, long and short, with lone last axes and padding.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    let shapes: [(&[usize], (usize, usize)); 18] = [
        (&[5, 17], (0, 1)),
        (&[5, 17], (1, 2)),
        (&[5, 17], (0, 2)),
        (&[1000, 3], (0, 1)),
        (&[3, 1000], (1, 2)),
        (&[65, 1], (0, 1)),
        (&[3, 65, 1], (1, 2)),
        (&[2, 3, 5, 7], (1, 3)),
        (&[2, 3, 5, 7], (2, 4)),
        (&[2, 3, 5, 1], (0, 2)),
        (&[257], (0, 1)),
        (&[6, 1, 2], (1, 2)),
        (&[33, 1001], (0, 2)),
        (&[2, 32768], (1, 2)),
        (&[3, 8, 45, 47], (1, 4)),
        (&[3, 5, 500, 5], (1, 3)),
        // In parts of which the last is shorter.
        (&[1037, 17], (0, 1)),
        (&[2, 1031, 6], (1, 2)),
    ];
    let folds = [Fold::Sum(1.0), Fold::Sum(0.125), Fold::Max];
    let case = |(shape, axes): (&[usize], (usize, usize)), fold| {
        let terms = shape[axes.0..axes.1].iter().product();
        Case::new(Reduce { fold, axes, kept: Kept::Own, to: None }, [shape]).terms(if fold == Fold::Max {
            1
        } else {
            terms
        })
    };
    shapes.into_iter().flat_map(|s| folds.map(|f| case(s, f))).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::gemm::tests::adapters, *};

    #[test]
    fn long_columns_are_cut_whatever_their_length() {
        let sum = Reduce { fold: Fold::Sum(1.0), axes: (0, 1), kept: Kept::Own, to: None };
        for caps in adapters() {
            let (.., left) = sum.split(&caps, Shape::from([1_000_003, 8])).expect("parts");
            let parts = if caps.kind == caps::Kind::Software { 256 } else { 512 };
            assert_eq!(left, Shape::from([1, parts, 8]), "{}", caps.adapter);
            assert_eq!(sum.split(&caps, Shape::from([100, 8])), None, "{}", caps.adapter);
        }
    }
}
