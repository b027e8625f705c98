//! Pools in two dimensions, channels last: `[n, h, w, c] → [n, oh, ow, c]`. Means are those of `resample2d`.

use super::{
    conv2d::Padding,
    resample2d::{Axis, Rule, Spans, image, real},
};
#[cfg(feature = "reference")]
use crate::reference::{Array, Case, Fill, indices};
use crate::{
    Precision, Shape,
    dispatch::{Dispatch, Program},
    op::{Backward, Io, Kind, Op, Type},
    tensor::Tensor,
};

/// The window of a pool, and how it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2d {
    /// Rows and columns of a window.
    pub window: [usize; 2],
    /// Rows and columns from one window to the next.
    pub stride: [usize; 2],
    /// Places around the image, fewer than a window has. They are never the largest.
    pub padding: Padding,
    /// Whether a last window counts that reaches beyond the padding, but begins before the image ends: `oh` is rounded up.
    pub ceil_mode: bool,
    /// Whether padding counts as zeros in a mean. What lies beyond the padding never does.
    pub count_include_pad: bool,
}

impl Pool2d {
    /// Square windows of `k` side by side, without padding.
    pub fn square(k: usize) -> Self {
        let padding = Padding::Explicit([0; 4]);
        Pool2d { window: [k; 2], stride: [k; 2], padding, ceil_mode: false, count_include_pad: true }
    }

    fn spans(&self, x: Shape) -> Result<Spans, String> {
        let [_, h, w, _] = image(x)?;
        Ok(Spans { rule: Rule::Windows, axes: [self.axis(0, h)?, self.axis(1, w)?] })
    }

    fn axis(&self, d: usize, size: usize) -> Result<Axis, String> {
        let (window, stride) = (self.window[d], self.stride[d]);
        if window == 0 || stride == 0 {
            return Err("window and stride are at least 1".into());
        }
        let [before, behind] = self.padding.around(d, size, window, stride);
        if before >= window || behind >= window {
            return Err(format!("a padding of {before} and {behind} holds a whole window of {window}"));
        }
        let padded = before + size + behind;
        let beyond = if self.ceil_mode { stride - 1 } else { 0 };
        let room = (padded + beyond).checked_sub(window);
        let room =
            room.ok_or_else(|| format!("a window of {window} does not fit {size} and {before} + {behind} of padding"))?;
        // A last window that begins behind the image sees nothing of it.
        let results = room / stride + usize::from(room / stride * stride < before + size);
        let counted = if self.count_include_pad { (0, padded) } else { (before, before + size) };
        Ok(Axis { size, results, window, stride, before, counted })
    }
}

impl Default for Pool2d {
    /// Windows of 2 × 2.
    fn default() -> Self {
        Pool2d::square(2)
    }
}

/// Which map between image `x`, result `y` and an image `v` of other values is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// `x → y`: the largest.
    Largest,
    /// `(x, v) → y`: what `v` holds in the place of the largest.
    Picked,
    /// `(x, y) → v`: the gradient of `Picked`.
    Image,
}

/// A pool of the largest values, and the two linear maps that it is made of at given `x`.
#[derive(Debug, Clone, Copy)]
struct MaxPool {
    wanted: Wanted,
    spans: Spans,
}

impl<'g> Tensor<'g> {
    /// The largest value of each window; of equal ones the first gets the gradient: `[n, h, w, c] → [n, oh, ow, c]`.
    ///
    /// ```
    /// # use halfgrad::{Graph, Precision, ops::{Padding, Pool2d}};
    /// let graph = Graph::new(Precision::F32);
    /// let x = graph.input("x", [2, 15, 15, 8]);
    /// assert_eq!(x.max_pool2d(Pool2d { ceil_mode: true, ..Pool2d::square(2) }).shape().to_string(), "[2, 8, 8, 8]");
    ///
    /// let padding = Padding::Explicit([2, 0, 0, 0]);
    /// let _ = x.max_pool2d(Pool2d { padding, ..Pool2d::square(2) });
    /// assert!(graph.check().unwrap_err().to_string().contains("a padding of 2 and 0 holds a whole window of 2"));
    /// ```
    #[track_caller]
    pub fn max_pool2d(self, how: Pool2d) -> Tensor<'g> {
        match how.spans(self.shape()) {
            Ok(spans) => self.widened(|x| x.graph.apply(MaxPool { wanted: Wanted::Largest, spans }, &[x])),
            Err(detail) => self.refuse("max_pool2d", &[], detail),
        }
    }

    /// The mean of each window: `[n, h, w, c] → [n, oh, ow, c]`.
    #[track_caller]
    pub fn avg_pool2d(self, how: Pool2d) -> Tensor<'g> {
        match how.spans(self.shape()) {
            Ok(spans) => self.resample(spans),
            Err(detail) => self.refuse("avg_pool2d", &[], detail),
        }
    }

    /// [`max_pool2d`](Self::max_pool2d) of `k` × `k` windows side by side: `[n, h, w, c] → [n, h / k, w / k, c]`.
    #[track_caller]
    pub fn max_pool(self, k: usize) -> Tensor<'g> {
        self.max_pool2d(Pool2d::square(k))
    }

    /// [`avg_pool2d`](Self::avg_pool2d) of `k` × `k` windows side by side: `[n, h, w, c] → [n, h / k, w / k, c]`.
    #[track_caller]
    pub fn avg_pool(self, k: usize) -> Tensor<'g> {
        self.avg_pool2d(Pool2d::square(k))
    }

    /// Means over windows that are chosen so that the result has this size: `[n, h, w, c] → [n, size[0], size[1], c]`.
    /// Result `i` is the mean from place `⌊i · h / oh⌋` up to `⌈(i + 1) · h / oh⌉`.
    #[track_caller]
    pub fn adaptive_avg_pool2d(self, size: [usize; 2]) -> Tensor<'g> {
        match Spans::resized(self.shape(), Rule::Adaptive, size) {
            Ok(spans) => self.resample(spans),
            Err(detail) => self.refuse("adaptive_avg_pool2d", &[], detail),
        }
    }

    /// The mean of each channel: `[n, h, w, c] → [n, c]`.
    #[track_caller]
    pub fn global_avg_pool(self) -> Tensor<'g> {
        match image(self.shape()) {
            Ok(_) => self.mean([1, 2]),
            Err(detail) => self.refuse("global_avg_pool", &[], detail),
        }
    }

    /// The largest value of each channel, whose gradient ties share: `[n, h, w, c] → [n, c]`.
    #[track_caller]
    pub fn global_max_pool(self) -> Tensor<'g> {
        match image(self.shape()) {
            Ok(_) => self.max([1, 2]),
            Err(detail) => self.refuse("global_max_pool", &[], detail),
        }
    }
}

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        match self.wanted {
            Wanted::Largest => "max_pool2d",
            Wanted::Picked => "max_pool2d_picked",
            Wanted::Image => "max_pool2d_image",
        }
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        real(x)?;
        Ok(vec![Type { shape: self.spans.shape(x[0].shape, self.wanted == Wanted::Image)?, ..x[0] }])
    }

    fn kind(&self) -> Kind {
        Kind::Head
    }

    fn repeats(&self) -> bool {
        true
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let pool = |wanted| Some(at.x[0].graph.apply(MaxPool { wanted, ..*self }, &[at.x[0], at.dy()]));
        match self.wanted {
            Wanted::Largest => vec![pool(Wanted::Image)],
            Wanted::Picked => vec![None, pool(Wanted::Image)],
            Wanted::Image => vec![None, pool(Wanted::Picked)],
        }
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let y = io.outputs[0];
        let (file, source) = match self.wanted {
            Wanted::Image => ("max_pool2d_image", include_str!("../../shaders/max_pool2d_image.wgsl")),
            _ => ("max_pool2d", include_str!("../../shaders/max_pool2d.wgsl")),
        };
        let mut shader = self.spans.constant(io.shader(file, source).padded(y.shape.last()));
        if self.wanted == Wanted::Picked {
            shader.declarations +=
                "@group(0) @binding(2) var<storage, read> picked: array<elem4>; // image [n, h, w, c]\n";
            let lane = |k| format!("unpack4(picked[best.at[{k}]])[{k}]");
            shader.splices.push(("pick", format!("    return vec4({});\n", [0, 1, 2, 3].map(lane).join(", "))));
        }
        let results = if self.wanted == Wanted::Image { io.inputs[1] } else { y };
        let disjoint = self.spans.axes.iter().all(|a| a.stride >= a.window);
        if self.wanted == Wanted::Image {
            shader = shader.constant("DISJOINT", disjoint.into());
        }
        let dispatch = Dispatch::new(io.label, shader).read(io.inputs[0]);
        let dispatch = match self.wanted {
            Wanted::Largest => dispatch.write(y),
            Wanted::Picked => dispatch.write(y).read(io.inputs[1]),
            // A window of its own is looked through before anything is written there.
            Wanted::Image if disjoint => dispatch.read(io.inputs[1]).write(y).yields(0, 2),
            Wanted::Image => dispatch.read(io.inputs[1]).write(y),
        };
        let by_window = self.wanted != Wanted::Image || disjoint;
        let dispatch = self.spans.params(dispatch, if by_window { results.shape } else { y.shape });
        let dispatch = dispatch.flops(results.shape.len() * self.spans.reach());
        program.push(dispatch.fuse("epilogue", io.chain));
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let shape = self.spans.shape(x[0].shape, self.wanted == Wanted::Image).expect("inferred");
        let mut y = Array::from_fn(shape, |_| 0.0);
        let results = if self.wanted == Wanted::Image { x[1].shape } else { shape };
        let flat = |i: [usize; 4]| i.iter().zip(x[0].shape.dims()).fold(0, |f, (i, d)| f * d + i);
        for (out, i) in indices(results).enumerate() {
            let places = |d: usize| self.spans.axes[d].shares(self.spans.rule, i[d + 1]).into_iter().map(|s| s.0);
            let window = places(0).flat_map(|row| places(1).map(move |column| (row, column)));
            let window = window.map(|(row, column)| flat([i[0], row, column, i[3]]));
            let largest = window.reduce(|best, at| if x[0].data[at] > x[0].data[best] { at } else { best });
            let largest = largest.expect("a window holds a place of the image");
            match self.wanted {
                Wanted::Largest => y.data[out] = x[0].data[largest],
                Wanted::Picked => y.data[out] = x[1].data[largest],
                Wanted::Image => y.data[largest] += x[1].data[out],
            }
        }
        vec![y]
    }
}

/// Strides below and above the window, every padding, windows that reach beyond it, means of every kind.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    let explicit = |p| Padding::Explicit(p);
    let plain = Pool2d::default();
    let pools: [([usize; 4], Pool2d); 10] = [
        ([2, 4, 6, 8], plain),
        ([2, 5, 7, 3], Pool2d { ceil_mode: true, ..plain }),
        ([1, 9, 8, 5], Pool2d { stride: [2, 2], padding: explicit([1; 4]), ..Pool2d::square(3) }),
        ([1, 7, 7, 2], Pool2d { stride: [1, 2], padding: Padding::Same, ..Pool2d::square(3) }),
        ([2, 5, 6, 17], Pool2d { window: [1, 3], stride: [3, 1], padding: explicit([0, 0, 2, 1]), ..plain }),
        ([1, 10, 9, 4], Pool2d { stride: [3, 4], ceil_mode: true, padding: explicit([0, 1, 1, 0]), ..plain }),
        // The last window would begin in the padding.
        (
            [1, 3, 3, 3],
            Pool2d { ceil_mode: true, stride: [2, 2], padding: explicit([0, 1, 0, 1]), ..Pool2d::square(2) },
        ),
        ([3, 1, 5, 65], Pool2d { window: [1, 5], stride: [1, 1], padding: explicit([0, 0, 4, 4]), ..plain }),
        ([1, 17, 1, 3], Pool2d { window: [17, 1], ..plain }),
        // The only window does not fit.
        ([2, 1, 3, 2], Pool2d { ceil_mode: true, ..plain }),
    ];
    let mut cases = vec![];
    for (x, pool) in pools {
        let spans = pool.spans(Shape::from(x)).expect("valid");
        let y = spans.shape(Shape::from(x), false).expect("valid").to_vec();
        let case = |wanted, second: &[usize]| Case::new(MaxPool { wanted, spans }, [&x, second]).terms(spans.reach());
        cases.push(Case::new(MaxPool { wanted: Wanted::Largest, spans }, [&x]).terms(spans.reach()));
        cases.extend([case(Wanted::Picked, &x), case(Wanted::Image, &y)]);
        // So few halves lie between these that many values are the largest.
        cases.push(case(Wanted::Image, &y).fill(0, Fill::Between(1.0, 1.003)).not_smooth());
        for count_include_pad in [true, false] {
            let spans = Pool2d { count_include_pad, ..pool }.spans(Shape::from(x)).expect("valid");
            cases.extend(super::resample2d::cases_of(x, spans));
        }
    }
    for (x, size) in [([2, 7, 7, 3], [3, 2]), ([1, 5, 4, 5], [1, 4]), ([1, 3, 5, 2], [5, 8])] {
        let spans = Spans::resized(Shape::from(x), Rule::Adaptive, size).expect("valid");
        cases.extend(super::resample2d::cases_of(x, spans));
    }
    cases
}
