//! Means over spans of rows and columns, channels last: `[n, h, w, c] → [n, oh, ow, c]`. Average pools and upsampling are
//! this one op with different [`Rule`]s, and its gradient is the same kernel seen from the other side.

use super::far;
#[cfg(feature = "reference")]
use crate::reference::{Array, Case, indices};
use crate::{
    Dtype, Precision, Shape,
    dispatch::{Dispatch, Program, Shader},
    op::{Backward, Io, Kind, Op, Type},
    tensor::Tensor,
};

/// Which places a result is made of: a constant of `lib/resample.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Those in a window.
    Windows,
    /// Those that it covers when both lengths are laid over each other.
    Adaptive,
    /// The one where it begins.
    Nearest,
    /// The two around its middle.
    Bilinear,
}

/// The two lengths of an axis and what belongs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Axis {
    /// Places of the image.
    pub size: usize,
    pub results: usize,
    /// Places a window, padding included.
    pub window: usize,
    pub stride: usize,
    /// Padding before the first place.
    pub before: usize,
    /// The part of the padded axis that counts in a mean.
    pub counted: (usize, usize),
}

impl Axis {
    /// An axis without windows, of another length afterwards.
    fn resized(size: usize, results: usize) -> Result<Self, String> {
        match size.checked_mul(results) {
            Some(0) => Err("there is nothing to make of nothing".into()),
            Some(n) if n < 1 << 29 => Ok(Axis { size, results, window: 0, stride: 0, before: 0, counted: (0, 0) }),
            _ => Err(format!("{size} and {results} places are too many to lay over each other")),
        }
    }

    /// The places that a result is the mean of, and their weights.
    #[cfg(feature = "reference")]
    pub fn shares(&self, rule: Rule, result: usize) -> Vec<(usize, f64)> {
        let (size, results) = (self.size as f64, self.results as f64);
        match rule {
            Rule::Windows => {
                let window = result * self.stride..result * self.stride + self.window;
                let counted = window.clone().filter(|i| (self.counted.0..self.counted.1).contains(i)).count();
                let image = self.before..self.before + self.size;
                window.filter(|i| image.contains(i)).map(|i| (i - self.before, 1.0 / counted as f64)).collect()
            }
            Rule::Adaptive => {
                let (first, end) =
                    (result * self.size / self.results, ((result + 1) * self.size).div_ceil(self.results));
                (first..end).map(|i| (i, 1.0 / (end - first) as f64)).collect()
            }
            Rule::Nearest => vec![(result * self.size / self.results, 1.0)],
            Rule::Bilinear => {
                let at = ((result as f64 + 0.5) * size / results - 0.5).clamp(0.0, size - 1.0);
                let next = (at as usize + 1).min(self.size - 1);
                vec![(at as usize, 1.0 - at.fract()), (next, at.fract())]
            }
        }
    }
}

/// How rows and columns of image and result belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spans {
    pub rule: Rule,
    pub axes: [Axis; 2],
}

impl Spans {
    /// Spans that depend on the two sizes alone.
    pub fn resized(x: Shape, rule: Rule, size: [usize; 2]) -> Result<Self, String> {
        let [_, h, w, _] = image(x)?;
        Ok(Spans { rule, axes: [Axis::resized(h, size[0])?, Axis::resized(w, size[1])?] })
    }

    /// The result's shape for an image's, or the other way round.
    pub fn shape(&self, x: Shape, to_image: bool) -> Result<Shape, String> {
        let [n, _, _, c] = image(x)?;
        let [h, w] = self.axes.map(|a| if to_image { a.size } else { a.results });
        Ok(Shape::from([n, h, w, c]))
    }

    /// Sets the constant of `lib/resample.wgsl`.
    pub fn constant(&self, shader: Shader) -> Shader {
        shader.constant("RULE", self.rule as u32)
    }

    /// Sets the uniforms of `lib/resample.wgsl`, and as many invocations as `y` has groups.
    pub fn params(&self, dispatch: Dispatch, y: Shape) -> Dispatch {
        let names = [
            ["h", "oh", "window_h", "stride_h", "before_h", "first_h", "end_h"],
            ["w", "ow", "window_w", "stride_w", "before_w", "first_w", "end_w"],
        ];
        let values = self.axes.map(|a| [a.size, a.results, a.window, a.stride, a.before, a.counted.0, a.counted.1]);
        let members = names.iter().flatten().zip(values.iter().flatten());
        let most = |a: &Axis| {
            let side = a.size.max(a.results) + a.window + a.stride;
            if self.rule == Rule::Windows { side } else { side * (2 * side + 3) }
        };
        let most = self.axes.iter().map(most).max().unwrap_or_default().max(y.groups());
        members
            .fold(
                dispatch.constant("FAR", far(most)).param("groups", y.groups()).param("c", y.last()),
                |d, (name, value)| d.param(name, *value),
            )
            .workgroups(y.groups().div_ceil(64))
    }

    /// Places that one result is made of, about.
    pub fn reach(&self) -> usize {
        self.axes
            .map(|a| if self.rule == Rule::Windows { a.window } else { a.size.div_ceil(a.results) + 1 })
            .iter()
            .product()
    }
}

/// The axes of an image.
pub(super) fn image(x: Shape) -> Result<[usize; 4], String> {
    x.to_vec().try_into().map_err(|_| "an image is [n, h, w, c]".into())
}

/// What every op on images asks of their type.
pub(super) fn real(x: &[Type]) -> Result<(), String> {
    match x.iter().all(|t| t.dtype == x[0].dtype && t.dtype != Dtype::U32) {
        true => Ok(()),
        false => Err("the operands need one real type; cast one of them".into()),
    }
}

/// Means over spans, or their gradient.
#[derive(Debug, Clone, Copy)]
struct Resample {
    spans: Spans,
    transposed: bool,
}

/// Between what values an image grows or shrinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upsample {
    /// Each result is the value at `⌊i · size / results⌋`.
    Nearest,
    /// Each result lies between the two nearest values of each axis, the corners of the images laid over each other:
    /// elsewhere `align_corners = false`.
    Bilinear,
}

impl<'g> Tensor<'g> {
    /// The image in another size, larger or smaller: `[n, h, w, c] → [n, size[0], size[1], c]`.
    ///
    /// ```
    /// # use halfgrad::{Graph, Precision, ops::Upsample};
    /// let graph = Graph::new(Precision::F32);
    /// let y = graph.input("x", [2, 7, 7, 3]).upsample2d([14, 14], Upsample::Bilinear);
    /// assert_eq!(y.shape().to_string(), "[2, 14, 14, 3]");
    /// ```
    #[track_caller]
    pub fn upsample2d(self, size: [usize; 2], how: Upsample) -> Tensor<'g> {
        let rule = match how {
            Upsample::Nearest => Rule::Nearest,
            Upsample::Bilinear => Rule::Bilinear,
        };
        match Spans::resized(self.shape(), rule, size) {
            Ok(spans) => self.resample(spans),
            Err(detail) => self.refuse("upsample2d", &[], detail),
        }
    }

    #[track_caller]
    pub(super) fn resample(self, spans: Spans) -> Tensor<'g> {
        self.widened(|x| x.graph.apply(Resample { spans, transposed: false }, &[x]))
    }
}

impl Op for Resample {
    fn name(&self) -> &'static str {
        match (self.spans.rule, self.transposed) {
            (Rule::Windows | Rule::Adaptive, false) => "avg_pool2d",
            (Rule::Windows | Rule::Adaptive, true) => "avg_pool2d_image",
            (_, false) => "upsample2d",
            (_, true) => "upsample2d_image",
        }
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        real(x)?;
        Ok(vec![Type { shape: self.spans.shape(x[0].shape, self.transposed)?, ..x[0] }])
    }

    fn kind(&self) -> Kind {
        Kind::Head
    }

    fn repeats(&self) -> bool {
        true
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let other = Resample { transposed: !self.transposed, ..*self };
        vec![Some(at.dy().graph.apply(other, &[at.dy()]))]
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let (x, y) = (io.inputs[0], io.outputs[0]);
        let shader =
            io.shader("resample2d", include_str!("../../shaders/resample2d.wgsl")).padded(io.outputs[0].shape.last());
        let shader = self.spans.constant(shader).constant("TRANSPOSED", self.transposed.into());
        let results = if self.transposed { x } else { y };
        let dispatch = self.spans.params(Dispatch::new(io.label, shader).read(x).write(y), y.shape);
        program.push(dispatch.flops(2 * results.shape.len() * self.spans.reach()).fuse("epilogue", io.chain));
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let shape = self.spans.shape(x[0].shape, self.transposed).expect("inferred");
        let mut y = Array::from_fn(shape, |_| 0.0);
        let results = if self.transposed { x[0].shape } else { shape };
        let flat = |shape: Shape, i: [usize; 4]| i.iter().zip(shape.dims()).fold(0, |f, (i, d)| f * d + i);
        for i in indices(results) {
            let [rows, columns] = [0, 1].map(|d| self.spans.axes[d].shares(self.spans.rule, i[d + 1]));
            for (row, a) in rows {
                for &(column, b) in &columns {
                    let (mut from, mut to) = ([i[0], row, column, i[3]], [i[0], i[1], i[2], i[3]]);
                    if self.transposed {
                        (from, to) = (to, from);
                    }
                    y.data[flat(shape, to)] += a * b * x[0].data[flat(x[0].shape, from)];
                }
            }
        }
        vec![y]
    }
}

/// A case of means over `spans`, forward and backward.
#[cfg(feature = "reference")]
pub(super) fn cases_of(x: [usize; 4], spans: Spans) -> [Case; 2] {
    let y = spans.shape(Shape::from(x), false).expect("valid").to_vec();
    let case = |transposed, x: &[usize]| Case::new(Resample { spans, transposed }, [x]).terms(spans.reach());
    [case(false, &x), case(true, &y)]
}

/// Larger and smaller, by whole factors and odd ones.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    let sizes: [([usize; 4], [usize; 2]); 6] = [
        ([2, 3, 5, 3], [6, 10]),
        ([1, 5, 3, 5], [7, 17]),
        ([1, 7, 5, 4], [3, 4]),
        ([3, 1, 2, 2], [5, 1]),
        ([1, 17, 9, 2], [2, 9]),
        ([2, 4, 4, 65], [8, 5]),
    ];
    let spans = |(x, size), rule| (x, Spans::resized(Shape::from(x), rule, size).expect("valid"));
    let all = sizes.into_iter().flat_map(|s| [Rule::Nearest, Rule::Bilinear].map(|rule| spans(s, rule)));
    all.flat_map(|(x, spans)| cases_of(x, spans)).collect()
}
