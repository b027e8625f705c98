//! Shape and place: ops that move values and leave each as it is, to the bit.

use std::{ops::Range, sync::Arc};

use super::far;
#[cfg(feature = "reference")]
use crate::reference::{Array, Case, Fill};
use crate::{
    Dtype, Precision, Shape,
    dispatch::{Dispatch, Operand, Program, Shader},
    op::{Backward, Io, Kind, Made, Op, Simpler, Type},
    shape::GROUP,
    tensor::Tensor,
};

/// An op that only moves values.
#[derive(Debug, Clone)]
enum Layout {
    /// The same values, in row-major order, in another shape.
    Reshape {
        to: Shape,
        /// Whether the memory can stay as it is.
        view: bool,
    },
    /// Axis `k` of the result is this axis of the operand.
    Permute(Vec<usize>),
    /// A part of an axis.
    Slice { axis: usize, start: usize, end: usize },
    /// Zeros before and behind an axis.
    Pad { axis: usize, before: usize, after: usize },
    /// Each of so many equal parts of the last axis with zeros behind it, or without its end.
    Parts { parts: usize, length: usize },
    /// Windows along the last axis: `[.., d] → [.., results, count]`.
    Windows(Windows),
    /// Operands one after another.
    Concat { axis: usize },
    /// The operand, without a gradient.
    Stop,
}

/// Value `k` of window `i` is value `i · stride + k · dilation − before` of an axis, or zero where there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    pub results: usize,
    pub count: usize,
    pub stride: usize,
    pub dilation: usize,
    pub before: usize,
}

impl Windows {
    /// Values that all windows see, from the first one's first to the last one's last.
    fn reach(&self) -> usize {
        (self.results - 1) * self.stride + (self.count - 1) * self.dilation + 1
    }

    /// The gradient to the axis, of `d` values: that of value `k` of each window goes where it came from.
    #[track_caller]
    fn grad<'g>(&self, dy: Tensor<'g>, x: Shape) -> Tensor<'g> {
        let (axis, d) = (x.rank() - 1, x.last());
        let spread = with_axis(x, axis, self.results * self.stride).expect("as many values as the gradient, and zeros");
        let terms = (0..self.count).filter_map(|k| {
            let at = k * self.dilation;
            let [cut, first] = [self.before.saturating_sub(at), at.saturating_sub(self.before)];
            let length = (spread.last().checked_sub(cut)?).min(d.checked_sub(first)?);
            let one = dy.slice(axis + 1, k..k + 1).pad(axis + 1, 0, self.stride - 1).reshape(spread);
            (length > 0).then(|| one.slice(axis, cut..cut + length).pad(axis, first, d - first - length))
        });
        terms.reduce(|sum, term| sum + term).unwrap_or_else(|| dy.graph.full(x, 0.0))
    }
}

impl<'g> Tensor<'g> {
    /// The same values, in row-major order, under another shape. Free where the padding of the last axis stays.
    #[track_caller]
    pub fn reshape(self, shape: impl Into<Shape>) -> Tensor<'g> {
        let to = shape.into();
        self.lay(Layout::Reshape { to, view: self.shape().lies_like(&to) }, &[])
    }

    /// All axes but the first as one: `[n, ..] → [n, d]`.
    #[track_caller]
    pub fn flatten(self) -> Tensor<'g> {
        let s = self.shape();
        let n = s.first();
        self.reshape([n, s.len() / n.max(1)])
    }

    /// All axes but the last as one: `[.., d] → [n, d]`.
    #[track_caller]
    pub fn flatten_rows(self) -> Tensor<'g> {
        let s = self.shape();
        self.reshape([s.len() / s.last().max(1), s.last()])
    }

    /// The last two axes swapped: `[.., m, n] → [.., n, m]`. A product takes either operand so without moving it:
    /// [`matmul_with`](Self::matmul_with).
    #[track_caller]
    pub fn transpose(self) -> Tensor<'g> {
        let rank = self.shape().rank().max(2);
        let mut axes: Vec<usize> = (0..rank).collect();
        axes.swap(rank - 2, rank - 1);
        self.permute(axes)
    }

    /// The axes in another order: axis `k` of the result is `axes[k]` of the operand. Free where only axes of length 1
    /// change places.
    ///
    /// ```
    /// # use halfgrad::{Graph, Precision};
    /// let graph = Graph::new(Precision::F32);
    /// let heads = graph.input("x", [2, 7, 3, 5]).permute([0, 2, 1, 3]);
    /// assert_eq!(heads.shape().to_string(), "[2, 3, 7, 5]");
    /// ```
    #[track_caller]
    pub fn permute(self, axes: impl AsRef<[usize]>) -> Tensor<'g> {
        let axes = axes.as_ref();
        match permuted(self.shape(), axes) {
            Ok(to) if axes.iter().filter(|&&a| self.shape()[a] > 1).is_sorted() => self.reshape(to),
            _ => self.graph.apply(Layout::Permute(axes.to_vec()), &[self]),
        }
    }

    /// The part `range` of an axis: `[.., d, ..] → [.., end - start, ..]`.
    ///
    /// ```
    /// # use halfgrad::{Graph, Precision};
    /// let graph = Graph::new(Precision::F32);
    /// let x = graph.input("x", [5, 17]);
    /// assert_eq!(x.slice(1, 3..8).shape().to_string(), "[5, 5]");
    /// let _ = x.slice(0, 3..8);
    /// assert!(graph.check().unwrap_err().to_string().contains("3..8 is no part of 5 values"));
    /// ```
    #[track_caller]
    pub fn slice(self, axis: usize, range: Range<usize>) -> Tensor<'g> {
        self.lay(Layout::Slice { axis, start: range.start, end: range.end }, &[])
    }

    /// Zeros put before and behind an axis: `[.., d, ..] → [.., before + d + after, ..]`.
    #[track_caller]
    pub fn pad(self, axis: usize, before: usize, after: usize) -> Tensor<'g> {
        self.lay(Layout::Pad { axis, before, after }, &[])
    }

    /// Each of so many equal parts of the last axis made as long as `length`, by zeros behind it or without its end:
    /// `[.., parts · d] → [.., parts · length]`.
    #[track_caller]
    pub(super) fn resized_parts(self, parts: usize, length: usize) -> Tensor<'g> {
        let (axis, own) = (self.shape().rank().saturating_sub(1), self.shape().last());
        match parts {
            1 if length < own => self.slice(axis, 0..length),
            1 => self.pad(axis, 0, length - own),
            _ => self.lay(Layout::Parts { parts, length }, &[]),
        }
    }

    /// Windows along the last axis: `[.., d] → [.., results, count]`.
    #[track_caller]
    pub(super) fn windows(self, windows: Windows) -> Tensor<'g> {
        self.lay(Layout::Windows(windows), &[])
    }

    /// This tensor and others, one after another along an axis: `[.., a, ..], [.., b, ..], … → [.., a + b + …, ..]`.
    ///
    /// ```
    /// # use halfgrad::{Graph, Precision};
    /// let graph = Graph::new(Precision::F32);
    /// let (a, b) = (graph.input("a", [5, 3]), graph.input("b", [5, 4]));
    /// assert_eq!(a.concat(1, &[b, a]).shape().to_string(), "[5, 10]");
    /// ```
    #[track_caller]
    pub fn concat(self, axis: usize, others: &[Tensor<'g>]) -> Tensor<'g> {
        self.lay(Layout::Concat { axis }, others)
    }

    /// The same values, which no gradient flows through.
    #[track_caller]
    pub fn stop_gradient(self) -> Tensor<'g> {
        self.graph.apply(Layout::Stop, &[self])
    }

    /// What `f`, which leaves the last axis as it is, makes of the tensor; in the company of zeros if that axis has length
    /// 1, since a lone last axis is not stored and kernels have no rows to walk along.
    #[track_caller]
    pub(super) fn widened(self, f: impl FnOnce(Tensor<'g>) -> Tensor<'g>) -> Tensor<'g> {
        let last = |x: Tensor| x.shape().rank().saturating_sub(1);
        match self.shape().last() {
            1 => {
                let y = f(self.pad(last(self), 0, 1));
                y.slice(last(y), 0..1)
            }
            _ => f(self),
        }
    }

    /// Applies an op that moves nothing if it leaves the shape as it is.
    #[track_caller]
    fn lay(self, op: Layout, others: &[Tensor<'g>]) -> Tensor<'g> {
        match op.shape(&[self.shape()]) {
            Ok(shape) if shape == self.shape() && others.is_empty() => self,
            _ => self.graph.apply(op, &[&[self], others].concat()),
        }
    }
}

/// `shape` with its axes in another order.
fn permuted(shape: Shape, axes: &[usize]) -> Result<Shape, String> {
    let mut sorted = axes.to_vec();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..shape.rank()) {
        return Err(format!("{axes:?} does not name each of {} axes once", shape.rank()));
    }
    Ok(Shape::new(&axes.iter().map(|&a| shape[a]).collect::<Vec<_>>()).expect("as many values as before"))
}

/// `shape` with another length of one axis.
fn with_axis(shape: Shape, axis: usize, length: usize) -> Result<Shape, String> {
    let mut dims = shape.to_vec();
    *dims.get_mut(axis).ok_or_else(|| no_axis(shape, axis))? = length;
    Shape::new(&dims).ok_or_else(|| "the result is too large".into())
}

fn no_axis(shape: Shape, axis: usize) -> String {
    format!("{shape} has no axis {axis}")
}

impl Layout {
    /// The result's shape.
    fn shape(&self, x: &[Shape]) -> Result<Shape, String> {
        let length = |axis| x[0].dims().nth(axis).ok_or_else(|| no_axis(x[0], axis));
        match *self {
            Layout::Reshape { to, .. } if x[0].len() != to.len() => {
                Err(format!("{} values do not fill {to}", x[0].len()))
            }
            Layout::Reshape { to, .. } => Ok(to),
            Layout::Permute(ref axes) => permuted(x[0], axes),
            Layout::Slice { axis, start, end } => match length(axis)? {
                n if start >= end || end > n => Err(format!("{start}..{end} is no part of {n} values")),
                _ => with_axis(x[0], axis, end - start),
            },
            Layout::Pad { axis, before, after } => {
                let sum = [before, after].iter().try_fold(length(axis)?, |n, &d| n.checked_add(d));
                with_axis(x[0], axis, sum.ok_or("the result is too large")?)
            }
            Layout::Parts { parts, length } => {
                let last = parts.checked_mul(length).ok_or("the result is too large")?;
                with_axis(x[0], x[0].rank().saturating_sub(1), last)
            }
            Layout::Windows(w) => {
                let mut dims = with_axis(x[0], x[0].rank().saturating_sub(1), w.results)?.to_vec();
                dims.push(w.count);
                Shape::new(&dims).ok_or_else(|| "the result is too large".into())
            }
            Layout::Concat { axis } => {
                let mut sum = 0;
                for &s in x {
                    if with_axis(s, axis, 1)? != with_axis(x[0], axis, 1)? {
                        return Err(format!("the operands differ in more than axis {axis}"));
                    }
                    sum += s[axis];
                }
                with_axis(x[0], axis, sum)
            }
            Layout::Stop => Ok(x[0]),
        }
    }

    /// The axis that is cut or joined, and where on it each operand starts, as seen from the result.
    fn starts(&self, x: &[Shape]) -> (usize, Vec<i64>) {
        match *self {
            Layout::Slice { axis, start, .. } => (axis, vec![-(start as i64)]),
            Layout::Pad { axis, before, .. } => (axis, vec![before as i64]),
            Layout::Concat { axis } => {
                let next = |at: &mut usize, s: &Shape| Some(std::mem::replace(at, *at + s[axis]) as i64);
                (axis, x.iter().scan(0, next).collect())
            }
            _ => (0, vec![0]),
        }
    }

    /// Whether each group of four values stays together: the last axis stays, or is cut at multiples of four.
    fn moves_groups(&self, x: &[Shape], y: Shape) -> bool {
        let stored = y.storage().rank();
        if stored == 0 || x.iter().any(|s| s.storage().rank() != stored) {
            return false;
        }
        let last = stored - 1;
        match self {
            Layout::Reshape { .. } | Layout::Windows(..) => false,
            Layout::Permute(axes) => axes[last] == last,
            Layout::Parts { parts, .. } => [x[0], y].iter().all(|s| (s.last() / parts).is_multiple_of(GROUP)),
            _ => {
                let (axis, starts) = self.starts(x);
                let torn = |n: i64| n % GROUP as i64 != 0;
                axis < last || !(x.iter().chain([&y]).any(|s| torn(s[last] as i64)) || starts.into_iter().any(torn))
            }
        }
    }
}

/// A tensor's axes in what moves as one: values without padding, or groups.
fn units(shape: Shape, groups: bool) -> Vec<usize> {
    let mut dims = shape.to_vec();
    if groups {
        let last = shape.storage().rank() - 1;
        dims[last] = dims[last].div_ceil(GROUP);
    }
    dims
}

/// For each axis of the permuted `x` its length and the distance of neighbours; axes that stay neighbours are one.
fn strides(x: &[usize], axes: &[usize]) -> Vec<[u32; 4]> {
    let mut found: Vec<[u32; 4]> = vec![];
    for &a in axes.iter().filter(|&&a| x[a] > 1) {
        let (length, stride) = (x[a] as u32, x[a + 1..].iter().product::<usize>() as u32);
        match found.last_mut() {
            Some(f) if f[1] == length * stride => *f = [f[0] * length, stride, 0, 0],
            _ => found.push([length, stride, 0, 0]),
        }
    }
    found
}

impl Op for Layout {
    fn name(&self) -> &'static str {
        match self {
            Layout::Reshape { .. } => "reshape",
            Layout::Permute(_) => "permute",
            Layout::Slice { .. } => "slice",
            Layout::Pad { .. } => "pad",
            Layout::Parts { .. } => "parts",
            Layout::Windows(..) => "windows",
            Layout::Concat { .. } => "concat",
            Layout::Stop => "stop_gradient",
        }
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        if x.iter().any(|t| t.dtype != x[0].dtype) {
            return Err("the operands are of different types: cast() makes them one".into());
        }
        let shape = self.shape(&x.iter().map(|t| t.shape).collect::<Vec<_>>())?;
        Ok(vec![Type { shape, ..x[0] }])
    }

    fn kind(&self) -> Kind {
        match self {
            Layout::Reshape { view: true, .. } | Layout::Stop => Kind::View,
            _ => Kind::Kernel,
        }
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn repeats(&self) -> bool {
        true
    }

    fn simpler(&self, x: &[Made], y: Type) -> Option<Simpler> {
        let from = x[0].of?;
        let one = match (self, x[0].by::<Layout>()?) {
            (Layout::Reshape { to, .. }, Layout::Reshape { .. }) => {
                Layout::Reshape { to: *to, view: from.shape.lies_like(to) }
            }
            (Layout::Permute(second), Layout::Permute(first)) => {
                Layout::Permute(second.iter().map(|&a| first[a]).collect())
            }
            _ => return None,
        };
        let stays = matches!(&one, Layout::Permute(axes) if !axes.is_sorted());
        Some(if from == y && !stays { Simpler::Before } else { Simpler::Op(Arc::new(one)) })
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let (x, dy) = (at.x[0].shape(), at.dy());
        let dx = match *self {
            Layout::Reshape { .. } => dy.reshape(x),
            Layout::Permute(ref axes) => {
                let mut inverse = vec![0; axes.len()];
                axes.iter().enumerate().for_each(|(k, &a)| inverse[a] = k);
                dy.permute(inverse)
            }
            Layout::Slice { axis, start, end } => dy.pad(axis, start, x[axis] - end),
            Layout::Pad { axis, before, .. } => dy.slice(axis, before..before + x[axis]),
            Layout::Parts { parts, .. } => dy.resized_parts(parts, x.last() / parts),
            Layout::Windows(windows) => windows.grad(dy, x),
            Layout::Concat { axis } => {
                let shapes: Vec<Shape> = at.x.iter().map(Tensor::shape).collect();
                let starts = self.starts(&shapes).1.into_iter().map(|s| s as usize);
                return starts.zip(&shapes).map(|(start, s)| Some(dy.slice(axis, start..start + s[axis]))).collect();
            }
            Layout::Stop => return vec![None],
        };
        vec![Some(dx)]
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let y = io.outputs[0];
        let shapes: Vec<Shape> = io.inputs.iter().map(|x| x.shape).collect();
        let whole = self.moves_groups(&shapes, y.shape);
        let (axis, starts) = self.starts(&shapes);
        // The result is rows, into which a row of each operand is laid, side by side.
        let width = |s: Shape| match *self {
            Layout::Parts { parts, .. } => units(s, whole).last().map_or(0, |last| last / parts),
            Layout::Windows(..) => s.last(),
            _ => units(s, whole)[axis..].iter().product::<usize>(),
        };
        let row = match *self {
            Layout::Windows(w) => w.reach(),
            _ => width(y.shape),
        };
        let lines = shapes[0].len() / width(shapes[0]);
        let column = |start: i64| match *self {
            Layout::Windows(w) => w.before as u32,
            _ => (start * row as i64 / y.shape[axis] as i64) as u32,
        };
        let sources: Vec<(Operand, [u32; 4])> = io
            .inputs
            .iter()
            .zip(starts)
            .map(|(&x, start)| {
                let last = x.shape.storage().last();
                let padding = last.next_multiple_of(GROUP) - last;
                (x, [width(x.shape) as u32, column(start), last as u32, padding as u32])
            })
            .collect();
        let axes = match self {
            Layout::Permute(axes) => strides(&units(shapes[0], whole), axes),
            Layout::Windows(w) => {
                let axes = [[lines, row], [w.results, w.stride], [w.count, w.dilation]];
                axes.map(|[n, by]| [n as u32, by as u32, 0, 0]).to_vec()
            }
            _ => vec![[row as u32, 1, 0, 0]],
        };
        let groups = y.shape.groups();
        let values = shapes.iter().chain([&y.shape]).map(Shape::len).max().unwrap_or_default();
        // Rows of windows are numbered with the zeros around them.
        let values = values.max(lines * row);
        // Eight bindings are what WebGPU promises, and one is the result. A later dispatch adds to it.
        for (i, sources) in sources.chunks(io.caps.storage_buffers.min(8) as usize - 1).enumerate() {
            // Bits are moved, whatever they mean, so the precision makes no variant.
            let mut shader =
                Shader::new("layout", include_str!("../../shaders/layout.wgsl"), Dtype::F32, Precision::F32)
                    .constant("HALVES", (y.dtype == Dtype::F16).into())
                    .constant("WHOLE", whole.into())
                    .constant("KEEP", (i > 0).into())
                    .constant("RANK", axes.len() as u32 - 1)
                    .constant("SOURCES", sources.len() as u32)
                    .constant("FAR", far(values));
            let mut more = String::new();
            for s in 1..sources.len() {
                let at = s + 1;
                shader.declarations +=
                    &format!("@group(0) @binding({at}) var<storage, read> x_{s}: array<vec2<u32>>;\n");
                more += &format!("    if source == {s}u {{ return x_{s}[at]; }}\n");
            }
            shader.splices.push(("more", more));
            let dispatch = Dispatch::new(io.label, shader);
            let dispatch = if i == 0 { dispatch.write(y) } else { dispatch.update(y) };
            let dispatch = sources.iter().fold(dispatch, |d, (x, _)| d.read(*x));
            let table = sources.iter().map(|(_, entry)| *entry).chain(axes.iter().copied());
            program.push(
                dispatch
                    .param("groups", groups)
                    .param("last", y.shape.storage().last())
                    .param("width", row)
                    .table(table)
                    .invocations(groups, io.lanes()),
            );
        }
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let shape = self.shape(&x.iter().map(|a| a.shape).collect::<Vec<_>>()).expect("inferred");
        vec![Array::from_fn(shape, |index| {
            let mut i = index.to_vec();
            match *self {
                Layout::Reshape { to, .. } => {
                    return x[0].data[index.iter().zip(to.dims()).fold(0, |flat, (i, d)| flat * d + i)];
                }
                Layout::Permute(ref axes) => axes.iter().zip(index).for_each(|(&a, &k)| i[a] = k),
                Layout::Slice { axis, start, .. } => i[axis] += start,
                Layout::Pad { axis, before, .. } => match i[axis].checked_sub(before) {
                    Some(k) if k < x[0].shape[axis] => i[axis] = k,
                    _ => return 0.0,
                },
                Layout::Parts { parts, length } => {
                    let (own, last) = (x[0].shape.last() / parts, i.len() - 1);
                    if i[last] % length >= own {
                        return 0.0;
                    }
                    i[last] = i[last] / length * own + i[last] % length;
                }
                Layout::Windows(w) => {
                    let k = i.pop().expect("an axis of windows");
                    let at = i.len() - 1;
                    match (i[at] * w.stride + k * w.dilation).checked_sub(w.before) {
                        Some(seen) if seen < x[0].shape.last() => i[at] = seen,
                        _ => return 0.0,
                    }
                }
                Layout::Concat { axis } => {
                    for a in x {
                        if i[axis] < a.shape[axis] {
                            return a.at(&i);
                        }
                        i[axis] -= a.shape[axis];
                    }
                }
                Layout::Stop => {}
            }
            x[0].at(&i)
        })]
    }
}

/// Every op along every kind of axis: with padding that moves and that stays, lone last axes, groups torn and whole.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    let reshapes: [(&[usize], &[usize]); 9] = [
        (&[5, 17], &[17, 5]),
        (&[3, 5], &[15]),
        (&[65], &[13, 5]),
        (&[65, 1], &[5, 13, 1]),
        (&[2, 5, 1, 3], &[10, 3]),
        (&[17], &[17, 1]),
        (&[3, 4, 8], &[12, 2, 4]),
        (&[2, 3, 1, 5, 1, 7], &[7, 30]),
        (&[1], &[]),
    ];
    let permutations: [(&[usize], &[usize]); 10] = [
        (&[5, 17], &[1, 0]),
        (&[65, 1], &[1, 0]),
        (&[3, 65, 5], &[0, 2, 1]),
        (&[3, 5, 17], &[1, 0, 2]),
        (&[3, 5, 17], &[2, 0, 1]),
        (&[3, 5, 1], &[1, 0, 2]),
        (&[3, 1, 5], &[2, 1, 0]),
        (&[2, 7, 3, 5], &[0, 2, 1, 3]),
        (&[2, 3, 1, 5, 2, 3], &[5, 3, 1, 0, 2, 4]),
        (&[3, 2, 1, 3, 2, 17], &[4, 3, 2, 1, 0, 5]),
    ];
    let slices: [(&[usize], usize, Range<usize>); 9] = [
        (&[17], 0, 3..8),
        (&[5, 17], 0, 1..4),
        (&[5, 17], 1, 16..17),
        (&[5, 17], 1, 0..1),
        (&[65, 1], 0, 5..65),
        (&[3, 5, 16], 2, 4..12),
        (&[3, 5, 17], 1, 4..5),
        (&[2, 3, 1, 5, 2, 3], 3, 2..5),
        (&[3, 5, 1], 0, 1..3),
    ];
    let pads: [(&[usize], usize, (usize, usize)); 9] = [
        (&[5], 0, (3, 0)),
        (&[1], 0, (1, 1)),
        (&[5, 17], 1, (1, 3)),
        (&[5, 17], 0, (2, 1)),
        (&[5, 4], 1, (4, 8)),
        (&[65, 1], 1, (1, 1)),
        (&[65, 1], 0, (0, 3)),
        (&[3, 1, 5], 1, (0, 2)),
        (&[2, 3, 1, 5, 2, 3], 2, (1, 1)),
    ];
    let parts: [(&[usize], usize, usize); 7] = [
        (&[5, 15], 3, 8),
        (&[2, 5, 24], 3, 5),
        (&[65, 3], 3, 4),
        (&[3, 8], 8, 4),
        (&[5, 24], 8, 1),
        (&[3, 8], 2, 12),
        (&[17], 17, 2),
    ];
    let windows: [(&[usize], [usize; 5]); 6] = [
        (&[17], [17, 3, 1, 1, 1]),
        (&[2, 3, 5], [5, 3, 1, 1, 1]),
        (&[3, 8], [4, 5, 2, 1, 2]),
        (&[5, 9], [3, 2, 4, 3, 0]),
        (&[2, 65], [20, 4, 3, 2, 0]),
        (&[2, 3], [6, 2, 1, 1, 3]),
    ];
    let concats: [(usize, &[&[usize]]); 10] = [
        (0, &[&[3], &[1], &[17]]),
        (0, &[&[1, 5], &[3, 5]]),
        (1, &[&[5, 3], &[5, 17], &[5, 1]]),
        (1, &[&[5, 1], &[5, 1]]),
        (1, &[&[3, 4], &[3, 8]]),
        (1, &[&[3, 5, 17], &[3, 1, 17]]),
        (1, &[&[3, 5, 1], &[3, 65, 1]]),
        (4, &[&[2, 3, 1, 5, 2, 3], &[2, 3, 1, 5, 3, 3]]),
        // More operands than one dispatch binds.
        (1, &[&[3, 1], &[3, 2], &[3, 3], &[3, 1], &[3, 5], &[3, 1], &[3, 2], &[3, 17], &[3, 3]]),
        (0, &[&[1, 5], &[2, 5], &[3, 5], &[1, 5], &[5, 5], &[1, 5], &[2, 5], &[17, 5], &[3, 5]]),
    ];
    let case = |op: Layout, shapes: &[&[usize]]| {
        let mut case = Case::new::<0>(op, []);
        let real = Fill::Between(-2.0, 2.0);
        case.inputs = shapes.iter().map(|s| (Shape::new(s).expect("a valid shape"), real)).collect();
        case
    };
    let reshape = |from: &[usize], to: &[usize]| {
        let shape = |s| Shape::new(s).expect("a valid shape");
        case(Layout::Reshape { to: shape(to), view: shape(from).lies_like(&shape(to)) }, &[from])
    };
    let mut all: Vec<Case> = reshapes.into_iter().map(|(from, to)| reshape(from, to)).collect();
    all.extend(permutations.into_iter().map(|(s, axes)| case(Layout::Permute(axes.to_vec()), &[s])));
    all.extend(slices.into_iter().map(|(s, axis, r)| case(Layout::Slice { axis, start: r.start, end: r.end }, &[s])));
    all.extend(pads.into_iter().map(|(s, axis, (before, after))| case(Layout::Pad { axis, before, after }, &[s])));
    all.extend(parts.into_iter().map(|(s, parts, length)| case(Layout::Parts { parts, length }, &[s])));
    all.extend(windows.into_iter().map(|(s, [results, count, stride, dilation, before])| {
        case(Layout::Windows(Windows { results, count, stride, dilation, before }), &[s])
    }));
    all.extend(concats.into_iter().map(|(axis, shapes)| case(Layout::Concat { axis }, shapes)));
    all.push(case(Layout::Stop, &[&[5, 17]]).not_smooth());
    // Labels move too.
    let labels = [reshape(&[5, 17], &[85]), case(Layout::Permute(vec![1, 0]), &[&[5, 17]])];
    all.extend(labels.map(|c| c.fill(0, Fill::Labels(10)).not_smooth()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Graph;

    #[test]
    fn what_cannot_be_is_an_error_in_words() {
        let mistake = |f: for<'g> fn(Tensor<'g>) -> Tensor<'g>| {
            let graph = Graph::new(Precision::F16);
            f(graph.input("x", [5, 3]));
            graph.check().unwrap_err().to_string()
        };
        for (found, expected) in [
            (mistake(|x| x.reshape([4, 4])), "reshape(f16 [5, 3]): 15 values do not fill [4, 4]"),
            (mistake(|x| x.permute([0, 2])), "permute(f16 [5, 3]): [0, 2] does not name each of 2 axes once"),
            (mistake(|x| x.permute([0])), "permute(f16 [5, 3]): [0] does not name each of 2 axes once"),
            (mistake(|x| x.reshape([15]).transpose()), "permute(f16 [15]): [1, 0] does not name each of 1 axes once"),
            (mistake(|x| x.slice(2, 0..1)), "slice(f16 [5, 3]): [5, 3] has no axis 2"),
            (mistake(|x| x.slice(0, 2..2)), "slice(f16 [5, 3]): 2..2 is no part of 5 values"),
            (mistake(|x| x.slice(0, 2..6)), "slice(f16 [5, 3]): 2..6 is no part of 5 values"),
            (mistake(|x| x.pad(2, 0, 0)), "pad(f16 [5, 3]): [5, 3] has no axis 2"),
            (mistake(|x| x.pad(0, usize::MAX, 1)), "pad(f16 [5, 3]): the result is too large"),
            (mistake(|x| x.concat(2, &[])), "concat(f16 [5, 3]): [5, 3] has no axis 2"),
            (
                mistake(|x| x.concat(0, &[x.slice(1, 0..2)])),
                "concat(f16 [5, 3], f16 [5, 2]): the operands differ in more than axis 0",
            ),
            (
                mistake(|x| x.concat(0, &[x.cast(Dtype::F32)])),
                "concat(f16 [5, 3], f32 [5, 3]): the operands are of different types",
            ),
        ] {
            assert!(found.starts_with(expected), "{found}");
        }
    }

    #[test]
    fn what_moves_nothing_runs_nothing() {
        let graph = Graph::new(Precision::F32);
        let x = graph.input("x", [5, 1]);
        for same in [x.slice(0, 0..5), x.pad(1, 0, 0), x.concat(0, &[]), x.permute([0, 1]), x.reshape([5, 1])] {
            assert_eq!(same.value, x.value);
        }
        let seen = x.transpose();
        assert_eq!(graph.node(seen.value.node).kind(), Some(Kind::View));
    }
}
