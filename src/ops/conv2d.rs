//! Convolution in two dimensions, channels last: `[n, h, w, in] * [kh, kw, in / groups, out] → [n, oh, ow, out]`.
//!
//! An implicit matrix product on the body of `matmul` (`lib/gemm.wgsl`), so no patch is ever copied, but for rows of a window that
//! sees one channel; windows of one pixel are a plain product, and channels that are convolved by themselves have kernels of
//! their own. Forward, gradient to the input and gradient to the weights are three linear ops, and each is the gradient of the
//! other two: all orders of gradients follow.

use super::{
    far,
    gemm::{self, Product, There},
    layout::Windows,
    reduce::{TERMS, lanes, neighbours, shares, sum_of_parts},
    rows::FARTHEST,
};
#[cfg(feature = "reference")]
use crate::reference::{Array, Case, indices};
use crate::{
    Caps, Dtype, Precision, Shape, caps,
    dispatch::{Dispatch, Program, Shader},
    op::{Backward, Io, Kind, Op, Type},
    shape::GROUP,
    tensor::Tensor,
};

/// How the window moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2d {
    /// Rows and columns from one window to the next.
    pub stride: [usize; 2],
    /// Zeros around the image.
    pub padding: Padding,
    /// Rows and columns from one weight to the next.
    pub dilation: [usize; 2],
    /// Parts of the channels that do not see each other.
    pub groups: usize,
}

/// Zeros around an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Padding {
    /// As many as keep `⌈size / stride⌉` windows; an odd one goes behind.
    Same,
    /// Above, below, left, right.
    Explicit([usize; 4]),
}

impl Padding {
    /// Places before and behind axis `d`, which a window of `reach` crosses in steps of `stride`.
    pub(super) fn around(self, d: usize, size: usize, reach: usize, stride: usize) -> [usize; 2] {
        match self {
            Padding::Same => {
                let total = ((size.div_ceil(stride) - 1) * stride + reach).saturating_sub(size);
                [total / 2, total.div_ceil(2)]
            }
            Padding::Explicit(p) => [p[2 * d], p[2 * d + 1]],
        }
    }
}

impl Default for Conv2d {
    fn default() -> Self {
        Conv2d { stride: [1; 2], padding: Padding::Explicit([0; 4]), dilation: [1; 2], groups: 1 }
    }
}

/// The largest stride, dilation or padding.
const MOST: usize = 1 << 16;

/// Which of the three linear maps between image `x`, weights `w` and result `y` is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// `(x, w) → y`
    Result,
    /// `(y, w) → x`
    Image,
    /// `(x, y) → w`
    Weights,
}

/// One of the three maps, all sizes known.
#[derive(Debug, Clone, Copy)]
struct Conv {
    wanted: Wanted,
    sizes: Sizes,
}

/// A convolution's sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    /// Channels and results may have more, zeros, behind those of each group: kernels take no lone channel, since that is not
    /// stored as an axis, and groups that start at groups of four.
    image: [usize; 4],
    /// Channels of a group that weights see.
    inner: usize,
    window: [usize; 2],
    result: [usize; 4],
    stride: [usize; 2],
    /// Above and left: what is behind follows from the other sizes.
    before: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
}

/// What `conv2d_image.wgsl` says of the image's pixels along an axis: every `stride`-th has the same phase, and meets the same weights.
struct Phases {
    count: usize,
    /// Of the phase that has the most.
    pixels: usize,
    /// Weights that a phase meets, at most.
    taps: usize,
    /// From one of these to the next.
    step: usize,
    /// And from what is seen with it, back to what is seen with the next.
    hop: usize,
    /// hop · inverse = 1 modulo step.
    inverse: usize,
}

impl Sizes {
    fn new(x: Shape, w: Shape, options: Conv2d) -> Result<Self, String> {
        let (Ok(image), Ok([kh, kw, inner, out])) =
            (<[usize; 4]>::try_from(x.to_vec()), <[usize; 4]>::try_from(w.to_vec()))
        else {
            return Err("the image is [n, h, w, in] and the weights are [kh, kw, in / groups, out]".into());
        };
        let Conv2d { stride, padding, dilation, groups } = options;
        if stride.contains(&0) || dilation.contains(&0) || groups == 0 {
            return Err("stride, dilation and groups are at least 1".into());
        }
        let explicit = if let Padding::Explicit(places) = padding { places } else { [0; 4] };
        if stride.into_iter().chain(dilation).chain(explicit).any(|n| n > MOST) {
            return Err(format!("stride, dilation and padding are at most {MOST}"));
        }
        if groups > image[3] || inner * groups != image[3] || out % groups != 0 {
            return Err(format!(
                "{groups} groups of {inner} channels do not make {} channels and {out} results",
                image[3]
            ));
        }
        let mut before = [0; 2];
        let mut result = [image[0], 0, 0, out];
        for (d, window) in [kh, kw].into_iter().enumerate() {
            let reach = dilation[d] * (window - 1) + 1;
            let size = image[d + 1];
            let [above, behind] = padding.around(d, size, reach, stride[d]);
            before[d] = above;
            let total = above + behind;
            let room = (size + total).checked_sub(reach);
            let room = room.ok_or_else(|| format!("a window of {reach} does not fit {size} and {total} of padding"))?;
            result[d + 1] = room / stride[d] + 1;
        }
        Ok(Sizes { image, inner, window: [kh, kw], result, stride, before, dilation, groups })
    }

    /// The sizes of the convolution that makes `y` of the smallest image that it can, or of one so much larger.
    fn transposed(y: Shape, w: Shape, options: Conv2d, extra: [usize; 2]) -> Result<Self, String> {
        let (&[n, h, width, _], &[kh, kw, part, _]) = (&y.to_vec()[..], &w.to_vec()[..]) else {
            return Err("the image is [n, h, w, in] and the weights are [kh, kw, out / groups, in]".into());
        };
        let size = |d: usize, results: usize, window: usize| {
            let Padding::Explicit(padding) = options.padding else { return Ok(results * options.stride[d]) };
            let whole = (results - 1) * options.stride[d] + options.dilation[d] * (window - 1) + 1 + extra[d];
            let size = whole.checked_sub(padding[2 * d] + padding[2 * d + 1]).filter(|&s| s > 0);
            size.ok_or("the padding leaves nothing")
        };
        if options.padding == Padding::Same && extra != [0; 2] {
            return Err(
                "padding `same` makes the result as many times larger as the stride, and leaves nothing extra".into()
            );
        }
        let image = Shape::from([n, size(0, h, kh)?, size(1, width, kw)?, part * options.groups]);
        let sizes = Sizes::new(image, w, options)?;
        match y.dims().eq(sizes.result) {
            true => Ok(sizes),
            false => Err(format!("{y} is no result of these weights and strides")),
        }
    }

    fn weights(&self) -> [usize; 4] {
        [self.window[0], self.window[1], self.inner, self.result[3]]
    }

    fn taps(&self) -> usize {
        self.window[0] * self.window[1]
    }

    /// The phases of axis `d` of the image.
    fn phases(&self, d: usize) -> Phases {
        let (stride, dilation) = (self.stride[d], self.dilation[d]);
        let common = (1..=stride).rev().find(|g| stride % g == 0 && dilation % g == 0).unwrap_or(1);
        let (step, hop) = (stride / common, dilation / common);
        Phases {
            count: stride.min(self.image[d + 1]),
            pixels: self.image[d + 1].div_ceil(stride),
            taps: self.window[d].div_ceil(step),
            step,
            hop,
            inverse: (0..step).find(|i| hop * i % step == 1 % step).unwrap_or(0),
        }
    }

    /// The largest number of pixels that a shader takes apart, with the margin that some go beyond.
    fn pixels(&self) -> usize {
        let pixels = [self.image, self.result].map(|t| t[..3].iter().product::<usize>());
        let beyond = |d: usize| {
            let stride = self.stride[d];
            stride * (stride + GROUP) + self.window[d] * self.dilation[d] + self.before[d]
        };
        pixels[0].max(pixels[1]) + beyond(0) + beyond(1)
    }

    /// Whether each channel is convolved by itself.
    fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.image[3] == self.groups && self.result[3] == self.groups
    }

    /// Whether each pixel is seen by itself.
    fn is_product(&self) -> bool {
        let still = self.stride == [1; 2] && self.before == [0; 2] && self.image[1..3] == self.result[1..3];
        self.window == [1; 2] && self.groups == 1 && still
    }

    /// Whether gradients to weights sum each pixel over images, not rows of pixels over columns: what a tile loads at once is then of
    /// one pixel. Processors gain nothing, and stay in the order of memory.
    fn sums_over_images(&self, caps: &Caps) -> bool {
        self.image[0].is_multiple_of(4 * GROUP) && caps.kind != caps::Kind::Software
    }

    /// Whether some window sees beyond the image.
    fn is_padded(&self) -> bool {
        let last = |d: usize| (self.result[d + 1] - 1) * self.stride[d] + (self.window[d] - 1) * self.dilation[d];
        (0..2).any(|d| self.before[d] > 0 || last(d) >= self.image[d + 1])
    }

    /// Multiplications of one product.
    fn products(&self) -> usize {
        self.result.iter().product::<usize>() * self.taps() * self.inner
    }

    /// Where the window at `out` sees the image with weight `k`, along one axis.
    #[cfg(feature = "reference")]
    fn seen(&self, axis: usize, out: usize, k: usize) -> Option<usize> {
        (out * self.stride[axis] + k * self.dilation[axis])
            .checked_sub(self.before[axis])
            .filter(|&i| i < self.image[axis + 1])
    }
}

impl<'g> Tensor<'g> {
    /// Convolution: `[n, h, w, in] * [kh, kw, in / groups, out] → [n, oh, ow, out]`.
    ///
    /// ```
    /// # use halfgrad::{Graph, Precision, ops::{Conv2d, Padding}};
    /// let graph = Graph::new(Precision::F32);
    /// let (x, w) = (graph.input("x", [2, 28, 28, 3]), graph.input("w", [3, 3, 3, 16]));
    /// let y = x.conv2d(w, Conv2d { stride: [2, 2], padding: Padding::Same, ..Conv2d::default() });
    /// assert_eq!(y.shape().to_string(), "[2, 14, 14, 16]");
    /// ```
    #[track_caller]
    pub fn conv2d(self, w: Tensor<'g>, options: Conv2d) -> Tensor<'g> {
        let sizes = match Sizes::new(self.shape(), w.shape(), options) {
            Ok(sizes) => sizes,
            Err(detail) => return self.refuse("conv2d", &[w], detail),
        };
        convolve(Wanted::Result, sizes, self, w)
    }

    /// Convolution along one axis: `[n, l, in] * [k, in / groups, out] → [n, ol, out]`. It is that of an image of one row:
    /// of the options, what is said of columns counts.
    #[track_caller]
    pub fn conv1d(self, w: Tensor<'g>, options: Conv2d) -> Tensor<'g> {
        let (x, k) = (self.shape().to_vec(), w.shape().to_vec());
        let options = Conv2d {
            padding: match options.padding {
                Padding::Same => Padding::Same,
                Padding::Explicit([_, _, left, right]) => Padding::Explicit([0, 0, left, right]),
            },
            ..options
        };
        match (&x[..], &k[..]) {
            (&[n, l, inner], &[width, part, out]) => {
                let y = self.reshape([n, 1, l, inner]).conv2d(w.reshape([1, width, part, out]), options);
                let [_, _, length, _] = y.shape().to_vec()[..] else { return y };
                y.reshape([n, length, out])
            }
            _ => {
                let detail = "the signal is [n, l, in] and the weights are [k, in / groups, out]";
                self.refuse("conv1d", &[w], detail.into())
            }
        }
    }

    /// Transposed convolution, the gradient of [`conv2d`](Self::conv2d) to its image:
    /// `[n, h, w, in] * [kh, kw, out / groups, in] → [n, oh, ow, out]`, with `oh = (h − 1)·stride + reach − padding + extra`;
    /// or with `oh = h·stride` where the padding is [`Padding::Same`].
    #[track_caller]
    pub fn conv_transpose2d(self, w: Tensor<'g>, options: Conv2d, extra: [usize; 2]) -> Tensor<'g> {
        match Sizes::transposed(self.shape(), w.shape(), options, extra) {
            Ok(sizes) => convolve(Wanted::Image, sizes, self, w),
            Err(detail) => self.refuse("conv_transpose2d", &[w], detail),
        }
    }
}

/// One of the three maps by the ops that there are: a plain product, or a kernel for channels that it can take.
#[track_caller]
fn convolve<'g>(wanted: Wanted, s: Sizes, a: Tensor<'g>, b: Tensor<'g>) -> Tensor<'g> {
    if s.is_product() {
        return product(wanted, s, a, b);
    }
    if wanted == Wanted::Result && s.image[3] == 1 && s.window[1] > 1 {
        return of_windows(s, a, b);
    }
    let stored = [s.image[3], s.result[3]].map(|channels| channels / s.groups);
    let whole = match s.groups {
        _ if s.is_depthwise() => stored,
        1 => stored.map(|channels| channels.max(2)),
        _ => stored.map(|channels| channels.next_multiple_of(GROUP)),
    };
    if whole != stored {
        return widened(wanted, s, stored, whole, a, b);
    }
    a.graph.apply(Conv { wanted, sizes: s }, &[a, b])
}

/// A convolution of single pixels: each is a row of a matrix.
#[track_caller]
fn product<'g>(wanted: Wanted, s: Sizes, a: Tensor<'g>, b: Tensor<'g>) -> Tensor<'g> {
    let matrix = |w: Tensor<'g>| w.reshape([s.image[3], s.result[3]]);
    match wanted {
        Wanted::Result => a.matmul(matrix(b)),
        Wanted::Image => a.matmul_with(matrix(b), false, true),
        Wanted::Weights => a.flatten_rows().matmul_with(b.flatten_rows(), true, false).reshape(s.weights()),
    }
}

/// The convolution of a lone channel, which would fill a quarter of a group of four: what a row of the window sees are the channels.
#[track_caller]
fn of_windows<'g>(s: Sizes, x: Tensor<'g>, w: Tensor<'g>) -> Tensor<'g> {
    let ([n, h, width, _], [kh, kw], [.., results, out]) = (s.image, s.window, s.result);
    let [stride, dilation, before] = [s.stride, s.dilation, s.before].map(|each| each[1]);
    let seen = x.reshape([n, h, width]).windows(Windows { results, count: kw, stride, dilation, before });
    let rows = Sizes {
        image: [n, h, results, kw],
        inner: kw,
        window: [kh, 1],
        stride: [s.stride[0], 1],
        dilation: [s.dilation[0], 1],
        before: [s.before[0], 0],
        ..s
    };
    convolve(Wanted::Result, rows, seen, w.reshape([kh, 1, kw, out]))
}

/// The convolution with as many channels and results for each group as kernels take, those added zero.
#[track_caller]
fn widened<'g>(
    wanted: Wanted,
    s: Sizes,
    own: [usize; 2],
    whole: [usize; 2],
    a: Tensor<'g>,
    b: Tensor<'g>,
) -> Tensor<'g> {
    let mut wide = s;
    wide.image[3] = s.groups * whole[0];
    wide.result[3] = s.groups * whole[1];
    // Weights have the axis of results, and of channels only those that they see.
    let channels = |t: Tensor<'g>| t.resized_parts(s.groups, whole[0]);
    let results = |t: Tensor<'g>| t.resized_parts(s.groups, whole[1]);
    match wanted {
        Wanted::Result => convolve(wanted, wide, channels(a), results(b)).resized_parts(s.groups, own[1]),
        Wanted::Image => convolve(wanted, wide, results(a), results(b)).resized_parts(s.groups, own[0]),
        Wanted::Weights => convolve(wanted, wide, channels(a), results(b)).resized_parts(s.groups, own[1]),
    }
}

impl Op for Conv {
    fn name(&self) -> &'static str {
        match self.wanted {
            Wanted::Result => "conv2d",
            Wanted::Image => "conv2d_image",
            Wanted::Weights => "conv2d_weights",
        }
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        if x[0].dtype != x[1].dtype {
            return Err("the operands need one type; cast one of them".into());
        }
        x[0].number()?;
        let shape = match self.wanted {
            Wanted::Result => self.sizes.result,
            Wanted::Image => self.sizes.image,
            Wanted::Weights => self.sizes.weights(),
        };
        Ok(vec![Type { shape: Shape::from(shape), ..x[0] }])
    }

    fn kind(&self) -> Kind {
        Kind::Head
    }

    fn loads_wide(&self) -> bool {
        true
    }

    fn sums_beside(&self, _: &[Type]) -> Option<usize> {
        (self.wanted == Wanted::Weights && !self.sizes.is_depthwise()).then_some(1)
    }

    fn casts_result(&self) -> bool {
        !self.sizes.is_depthwise()
    }

    fn repeats(&self) -> bool {
        true
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let (a, b, dy) = (at.x[0], at.x[1], at.dy());
        let conv = |wanted, a: Tensor<'g>, b| Some(a.graph.apply(Conv { wanted, ..*self }, &[a, b]));
        match self.wanted {
            Wanted::Result => vec![conv(Wanted::Image, dy, b), conv(Wanted::Weights, a, dy)],
            Wanted::Image => vec![conv(Wanted::Result, dy, b), conv(Wanted::Weights, dy, a)],
            Wanted::Weights => vec![conv(Wanted::Image, b, dy), conv(Wanted::Result, a, dy)],
        }
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let s = self.sizes;
        if s.is_depthwise() {
            return self.lower_depthwise(io, program);
        }
        let (file, source, along) = match self.wanted {
            Wanted::Result => ("conv2d", include_str!("../../shaders/conv2d.wgsl"), [1, 0]),
            Wanted::Image => ("conv2d_image", include_str!("../../shaders/conv2d_image.wgsl"), [1, 1]),
            Wanted::Weights => ("conv2d_weights", include_str!("../../shaders/conv2d_weights.wgsl"), [0, 0]),
        };
        let mut shader = io
            .shader_of_operands(file, source)
            .constant("ALONG_A", along[0])
            .constant("ALONG_B", along[1])
            .accumulating(io.precision);
        if self.wanted == Wanted::Image {
            shader = shader.constant("STRIDED", u32::from(s.stride != [1; 2]));
        }
        if self.wanted == Wanted::Weights {
            shader = shader.constant("BY_IMAGE", s.sums_over_images(io.caps).into());
        }
        let p = self.product(io.caps, io.inputs[0].dtype);
        let dispatch = self.dispatch(io, shader, [p.members, p.down, p.wide, p.taps, p.steps]);
        gemm::lower(io, program, dispatch, &p, io.outputs[0]);
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let s = self.sizes;
        let (image, weights, result) = (Shape::from(s.image), Shape::from(s.weights()), Shape::from(s.result));
        let target = match self.wanted {
            Wanted::Result => result,
            Wanted::Image => image,
            Wanted::Weights => weights,
        };
        let mut y = Array::from_fn(target, |_| 0.0);
        let flat = |shape: Shape, i: [usize; 4]| i.iter().zip(shape.dims()).fold(0, |f, (i, d)| f * d + i);
        let (stored, out) = (s.image[3] / s.groups, s.result[3] / s.groups);
        for r in indices(result) {
            for k in indices(Shape::from([s.window[0], s.window[1], s.inner])) {
                let (Some(row), Some(column)) = (s.seen(0, r[1], k[0]), s.seen(1, r[2], k[1])) else { continue };
                let at_image = flat(image, [r[0], row, column, r[3] / out * stored + k[2]]);
                let at_weights = flat(weights, [k[0], k[1], k[2], r[3]]);
                let at_result = flat(result, [r[0], r[1], r[2], r[3]]);
                match self.wanted {
                    Wanted::Result => y.data[at_result] += x[0].data[at_image] * x[1].data[at_weights],
                    Wanted::Image => y.data[at_image] += x[0].data[at_result] * x[1].data[at_weights],
                    Wanted::Weights => y.data[at_weights] += x[0].data[at_image] * x[1].data[at_result],
                }
            }
        }
        vec![y]
    }
}

impl Conv {
    /// The product of matrices that it is.
    fn product(&self, caps: &Caps, elem: Dtype) -> Product {
        let s = self.sizes;
        let [inner, out, columns] = [s.inner, s.result[3] / s.groups, s.result[2]];
        let blocks = |n: usize| n.div_ceil(GROUP);
        // A pixel is beyond the image for all channels, or for all images.
        let pixels = if s.is_padded() { There::Tapwise } else { There::Always };
        let by_image = s.sums_over_images(caps);
        let whole = columns % GROUP == 0;
        let [rows, across] = [0, 1].map(|d| s.phases(d));
        let [down, wide, taps, steps] = match self.wanted {
            Wanted::Result => [blocks(s.result[..3].iter().product()), blocks(out), s.taps(), blocks(inner)],
            Wanted::Image => {
                [blocks(s.image[0] * rows.pixels * across.pixels), blocks(inner), rows.taps * across.taps, blocks(out)]
            }
            Wanted::Weights => {
                let [n, oh, ow, _] = s.result;
                let [matrices, terms] = if by_image { [oh * ow, n] } else { [n * oh, ow] };
                [s.taps() * blocks(inner), blocks(out), matrices, blocks(terms)]
            }
        };
        let there = match self.wanted {
            Wanted::Result => [pixels, There::always_if(inner % GROUP == 0)],
            Wanted::Image => [There::Tapwise, There::Always],
            Wanted::Weights if by_image => [pixels, There::Always],
            Wanted::Weights => [!s.is_padded() && whole, whole].map(There::always_if),
        };
        let members = if self.wanted == Wanted::Image { s.groups * rows.count * across.count } else { s.groups };
        // Phases differ in the weights that they meet.
        let alike = self.wanted != Wanted::Image || rows.count * across.count == 1;
        let pairs = match self.wanted {
            Wanted::Result => [false, blocks(out) % 2 == 0],
            Wanted::Image => [false; 2],
            Wanted::Weights => [inner, out].map(|channels| blocks(channels) % 2 == 0),
        };
        Product { members, down, wide, taps, steps, alike, there, lone: false, pairs, elem }
    }

    /// Each channel by itself: no product of matrices, but one of values, for each weight.
    fn lower_depthwise(&self, io: &Io, program: &mut Program) {
        let s = self.sizes;
        if self.wanted == Wanted::Weights {
            return self.lower_depthwise_weights(io, program);
        }
        let wide = s.image[3].div_ceil(GROUP);
        let to_image = self.wanted == Wanted::Image;
        let target = if to_image { s.image } else { s.result };
        let pixels: usize = target[..3].iter().product();
        let invocations = pixels.div_ceil(GROUP) * wide;
        let shader = io
            .shader("conv2d_depthwise", include_str!("../../shaders/conv2d_depthwise.wgsl"))
            .padded(s.image[3])
            .accumulating(io.precision)
            .constant("TRANSPOSED", to_image.into())
            .constant("MANY", far(invocations + 64));
        let dispatch = self.dispatch(io, shader, [1, pixels, wide, s.taps(), 1]).param("part", 1).write(io.outputs[0]);
        program.push(dispatch.fuse("epilogue", io.chain).workgroups(invocations.div_ceil(64)));
    }

    /// Its gradient to the weights: each sums over all pixels, row by row. Few long rows are cut.
    fn lower_depthwise_weights(&self, io: &Io, program: &mut Program) {
        let (s, y) = (self.sizes, io.outputs[0]);
        let ([n, down, across, _], wide) = (s.result, s.image[3].div_ceil(GROUP));
        let steps = across.div_ceil((ROWS / (n * down)).clamp(1, (across / TERMS).max(1)));
        let rows = n * down * across.div_ceil(steps);
        // A processor gains nothing from more workgroups, but its invocations may not walk too far.
        let least = if io.caps.kind == caps::Kind::Software { FARTHEST } else { TERMS };
        let lanes = (lanes(rows * steps) as usize).min(64 / neighbours(io.caps, wide));
        let (groups, results) = (s.taps() * wide, 64 / lanes);
        let blocks = groups.div_ceil(results);
        let (splits, part) = shares(rows, lanes * least.div_ceil(steps), blocks);
        let shader = io
            .shader("conv2d_depthwise_weights", include_str!("../../shaders/conv2d_depthwise_weights.wgsl"))
            .accumulating(io.precision)
            .constant("LANES", lanes as u32)
            .constant("MANY", far(64 * blocks * splits));
        let acc = shader.acc;
        let dispatch = self.dispatch(io, shader, [1, rows, wide, s.taps(), steps]).param("part", part);
        let dispatch = dispatch.unzeroed().workgroups(blocks * splits);
        if splits == 1 {
            return program.push(dispatch.write(y).fuse("epilogue", io.chain));
        }
        let parts = program.scratch(Shape::from([splits, groups * GROUP]), acc);
        program.push(dispatch.wide(acc).splice("result", gemm::PARTS).write(parts));
        program.push(sum_of_parts(io, parts, y).fuse("epilogue", io.chain));
    }

    /// A dispatch with its operands and the uniforms of `lib/conv.wgsl` but for the last, the first five as given.
    fn dispatch(&self, io: &Io, shader: Shader, product: [usize; 5]) -> Dispatch {
        let s = self.sizes;
        let names = [
            &["members", "down", "wide", "taps", "steps"][..],
            &["n", "h", "w", "c", "oh", "ow", "o", "inner", "outer", "kh", "kw"],
            &["stride_h", "stride_w", "before_h", "before_w", "dilation_h", "dilation_w"],
            &["pixels_h", "pixels_w", "step_h", "step_w", "hop_h", "hop_w", "inverse_h", "inverse_w"],
        ];
        let each = [s.inner, s.result[3] / s.groups];
        let [v, u] = [0, 1].map(|d| s.phases(d));
        let phases = [v.pixels, u.pixels, v.step, u.step, v.hop, u.hop, v.inverse, u.inverse];
        let sizes = [&product[..], &s.image, &s.result[1..], &each, &s.window, &s.stride, &s.before, &s.dilation];
        let values = [sizes.concat(), phases.to_vec()];
        let shader = shader.constant("VAST", far(s.pixels()));
        let dispatch = Dispatch::new(io.label, shader).read(io.inputs[0]).read(io.inputs[1]);
        let members = names.concat().into_iter().zip(values.concat());
        members.fold(dispatch, |d, (name, value)| d.param(name, value)).flops(2 * s.products())
    }
}

/// Rows, or stretches of rows, that gradients to the weights of a depthwise convolution are summed over, where there
/// are pixels enough: each invocation of a workgroup has some.
const ROWS: usize = 2048;

/// Strides, paddings, dilations and groups; the gradients of each are cases of the other two.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    let plain = Conv2d::default();
    let explicit = |p| Conv2d { padding: Padding::Explicit(p), ..plain };
    let same = Conv2d { padding: Padding::Same, ..plain };
    let shapes: [([usize; 4], [usize; 4], Conv2d); 25] = [
        ([2, 5, 7, 3], [3, 3, 3, 5], plain),
        ([1, 8, 8, 4], [3, 3, 4, 8], explicit([1; 4])),
        ([2, 7, 6, 1], [3, 2, 1, 5], Conv2d { stride: [1, 2], padding: Padding::Same, ..plain }),
        ([2, 7, 6, 5], [3, 2, 5, 6], explicit([0, 2, 1, 3])),
        ([1, 9, 8, 3], [3, 3, 3, 4], Conv2d { stride: [2, 3], padding: Padding::Same, ..plain }),
        ([1, 9, 9, 4], [3, 3, 4, 4], Conv2d { dilation: [2, 2], ..explicit([2; 4]) }),
        ([1, 10, 7, 6], [3, 2, 6, 5], Conv2d { stride: [3, 2], dilation: [1, 2], ..explicit([1, 0, 2, 1]) }),
        ([1, 11, 17, 4], [3, 4, 4, 4], Conv2d { stride: [3, 4], dilation: [2, 6], ..explicit([1, 2, 3, 0]) }),
        ([2, 3, 4, 5], [2, 2, 5, 3], Conv2d { stride: [5, 9], ..plain }),
        ([1, 5, 5, 8], [3, 3, 4, 8], Conv2d { groups: 2, ..explicit([1; 4]) }),
        ([2, 17, 5, 17], [1, 1, 17, 3], plain),
        ([1, 14, 14, 8], [3, 3, 8, 16], same),
        ([3, 1, 9, 3], [1, 3, 3, 5], same),
        // Whole turns of tiles: of one tap, of two and of more, loaded in passes that are of one, reach the next or more.
        ([1, 8, 28, 8], [3, 3, 8, 32], same),
        ([1, 4, 6, 16], [2, 4, 16, 8], same),
        ([2, 4, 10, 4], [2, 4, 4, 20], same),
        // Images enough that gradients to weights are summed over them, in whole turns of one pixel, of two and of none whole.
        ([32, 3, 4, 4], [3, 2, 4, 8], Conv2d { dilation: [1, 2], ..same }),
        ([16, 5, 3, 8], [2, 3, 4, 8], Conv2d { groups: 2, stride: [2, 1], ..explicit([1, 0, 1, 2]) }),
        ([48, 3, 3, 5], [3, 3, 5, 3], explicit([1; 4])),
        ([2, 5, 6, 5], [3, 3, 1, 5], Conv2d { groups: 5, ..explicit([1; 4]) }),
        ([1, 9, 8, 8], [3, 2, 1, 8], Conv2d { groups: 8, stride: [2, 3], padding: Padding::Same, ..plain }),
        ([1, 9, 7, 2], [2, 3, 1, 2], Conv2d { groups: 2, stride: [1, 2], dilation: [3, 2], ..explicit([2, 0, 1, 3]) }),
        ([3, 33, 5, 17], [5, 1, 1, 17], Conv2d { groups: 17, padding: Padding::Same, ..plain }),
        // Gradients to weights in parts, the last of them shorter; a long row in stretches.
        ([2, 43, 7, 18], [2, 3, 1, 18], Conv2d { groups: 18, ..explicit([1; 4]) }),
        ([1, 1, 201, 3], [1, 3, 1, 3], Conv2d { groups: 3, stride: [1, 2], ..same }),
    ];
    let case = |(x, w, options): ([usize; 4], [usize; 4], Conv2d), wanted| {
        let mut sizes = Sizes::new(Shape::from(x), Shape::from(w), options).expect("valid");
        if sizes.inner == 1 && sizes.groups == 1 {
            sizes.image[3] = 2;
        }
        let (operands, terms) = match wanted {
            Wanted::Result => ([sizes.image, w], sizes.products() / sizes.result.iter().product::<usize>()),
            Wanted::Image => ([sizes.result, w], sizes.taps() * w[3] / sizes.groups),
            Wanted::Weights => ([sizes.image, sizes.result], sizes.result[..3].iter().product()),
        };
        Case::new(Conv { wanted, sizes }, [&operands[0], &operands[1]]).terms(terms)
    };
    shapes.into_iter().flat_map(|s| [Wanted::Result, Wanted::Image, Wanted::Weights].map(|w| case(s, w))).collect()
}
