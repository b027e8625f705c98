//! Matrix multiplication: `[.., m, k] · [.., k, n] → [.., m, n]`, with either operand transposed in place.

use super::gemm::{self, Product, There};
#[cfg(feature = "reference")]
use crate::reference::{Array, Case};
use crate::{
    Dtype, Precision, Shape,
    dispatch::{Dispatch, Operand, Program, Shader},
    op::{Backward, Io, Kind, Op, Type},
    shape::GROUP,
    tensor::Tensor,
};

/// A matrix product; leading axes are a batch, and a right-hand matrix may serve the whole batch.
#[derive(Debug, Clone, Copy)]
struct Matmul {
    /// Whether the left operand lies as `[.., k, m]`.
    ta: bool,
    /// Whether the right operand lies as `[.., n, k]`.
    tb: bool,
}

/// The sizes of one product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Products with a right-hand matrix of their own.
    pub batch: usize,
    pub m: usize,
    pub k: usize,
    pub n: usize,
}

/// A matrix for each member of a batch, and how these lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrices {
    pub x: Operand,
    pub transposed: bool,
    /// Members whose rows lie side by side, as `[_, rows, heads, columns]`; 1 if each follows the one before.
    pub heads: usize,
}

impl<'g> Tensor<'g> {
    /// The matrix product `[.., m, k] · [k, n] → [.., m, n]`, or `[.., m, k] · [.., k, n] → [.., m, n]` with equal
    /// leading axes.
    ///
    /// ```
    /// # use halfgrad::{Graph, Precision};
    /// let graph = Graph::new(Precision::F32);
    /// let y = graph.input("x", [2, 5, 3]).matmul(graph.input("w", [3, 4]));
    /// assert_eq!(y.shape().to_string(), "[2, 5, 4]");
    /// ```
    #[track_caller]
    pub fn matmul(self, b: Tensor<'g>) -> Tensor<'g> {
        self.matmul_with(b, false, false)
    }

    /// The product with the left operand as `[.., k, m]` if `ta`, and the right as `[.., n, k]` if `tb`.
    #[track_caller]
    pub fn matmul_with(self, b: Tensor<'g>, ta: bool, tb: bool) -> Tensor<'g> {
        let op = Matmul { ta, tb };
        match op.sizes(self.shape(), b.shape()) {
            Ok((s, y)) if s.k == 1 || s.batch > 1 && s.m == 1 && s.n == 1 => self.thin(b, s, y),
            // The rows of a batch are rows of one product only where they follow each other in memory.
            Ok((_, y))
                if !ta
                    && self.shape().rank() > 2
                    && b.shape().rank() == 2
                    && self.shape().last().min(y.last()) == 1 =>
            {
                self.flatten_rows().matmul_with(b, false, tb).reshape(y)
            }
            _ => self.graph.apply(op, &[self, b]),
        }
    }

    /// Products without a sum, or a batch of products of lines, which are stored as such: elementwise.
    #[track_caller]
    fn thin(self, b: Tensor<'g>, s: Sizes, y: Shape) -> Tensor<'g> {
        // As in registers: neither the terms nor those of the gradients' sums are rounded before they are added.
        let dtype = self.graph.precision_of(&[self, b]).wide();
        let [a, b] = [self, b].map(|t| t.cast(dtype));
        let product = match s.k {
            1 => a.reshape([s.batch, s.m, 1]) * b.reshape([s.batch, 1, s.n]),
            k => (a.reshape([s.batch, k]) * b.reshape([s.batch, k])).sum([1]),
        };
        product.cast(self.dtype()).reshape(y)
    }
}

impl Matmul {
    fn sizes(&self, a: Shape, b: Shape) -> Result<(Sizes, Shape), String> {
        let (ra, rb) = (a.rank(), b.rank());
        if ra < 2 || rb < 2 {
            return Err("both operands need two axes or more".into());
        }
        let last_two = |s: Shape, transposed| match transposed {
            false => (s[s.rank() - 2], s[s.rank() - 1]),
            true => (s[s.rank() - 1], s[s.rank() - 2]),
        };
        let ((m, k), (kb, n)) = (last_two(a, self.ta), last_two(b, self.tb));
        if k != kb {
            return Err(format!("the inner sizes {k} and {kb} differ"));
        }
        let lead: Vec<usize> = a.dims().take(ra - 2).collect();
        let batch: usize = lead.iter().product();
        let out: Vec<usize> = lead.iter().copied().chain([m, n]).collect();
        let out = Shape::new(&out).ok_or("the result is too large")?;
        // Rows of a batch that shares its right-hand matrix are rows of one product, unless the left is transposed.
        let sizes = match rb {
            2 if !self.ta => Sizes { batch: 1, m: batch * m, k, n },
            2 if batch == 1 => Sizes { batch: 1, m, k, n },
            2 => return Err("a transposed batch needs a right-hand matrix for each of its members".into()),
            _ if lead == b.dims().take(rb - 2).collect::<Vec<_>>() => Sizes { batch, m, k, n },
            _ => return Err("the leading axes differ".into()),
        };
        Ok((sizes, out))
    }
}

impl Op for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        if x[0].dtype != x[1].dtype || x[0].dtype == Dtype::U32 {
            return Err("the operands need one real type; cast one of them".into());
        }
        let (_, shape) = self.sizes(x[0].shape, x[1].shape)?;
        Ok(vec![Type { shape, ..x[0] }])
    }

    fn kind(&self) -> Kind {
        Kind::Head
    }

    fn loads_wide(&self) -> bool {
        true
    }

    fn sums_beside(&self, x: &[Type]) -> Option<usize> {
        let plain = x.iter().all(|t| t.shape.rank() == 2 && t.shape.last() > 1);
        (self.ta && !self.tb && plain).then_some(1)
    }

    fn casts_result(&self) -> bool {
        true
    }

    fn repeats(&self) -> bool {
        true
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let (a, b, dy) = (at.x[0], at.x[1], at.dy());
        // Y = A·B: dA = dY·Bᵀ, dB = Aᵀ·dY; an operand that lies transposed gets the transpose of that.
        // A matrix that serves a batch gets the sum over the batch: one product of all rows.
        let rows = |t: Tensor<'g>| if b.shape().rank() == 2 { t.flatten_rows() } else { t };
        let da = match self.ta {
            false => dy.matmul_with(b, false, !self.tb),
            true => b.matmul_with(rows(dy), self.tb, true).reshape(a.shape()),
        };
        let db = match self.tb {
            false => rows(a).matmul_with(rows(dy), !self.ta, false),
            true => rows(dy).matmul_with(rows(a), true, self.ta),
        };
        vec![Some(da), Some(db)]
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let (mut a, mut b, y) = (io.inputs[0], io.inputs[1], io.outputs[0]);
        let (mut s, _) = self.sizes(a.shape, b.shape).expect("inferred");
        // A lone last axis is not stored: such a matrix lies in memory as its transpose does.
        let lone = |x: Operand| x.shape.last() == 1;
        let (mut ta, mut tb) = (self.ta != lone(a), self.tb != lone(b));
        if lone(y) {
            // Yᵀ = Bᵀ·Aᵀ
            (a, b, ta, tb) = (b, a, !tb, !ta);
            (s.m, s.n) = (s.n, s.m);
        }
        let lies = |x, transposed| Matrices { x, transposed, heads: 1 };
        lower(io, program, s, lies(a, ta), lies(b, tb), lies(y, false));
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let (a, b) = (&x[0], &x[1]);
        let (s, shape) = self.sizes(a.shape, b.shape).expect("inferred");
        let mut data = vec![0.0; shape.len()];
        for (i, y) in data.iter_mut().enumerate() {
            let (batch, row, column) = (i / (s.m * s.n), i / s.n % s.m, i % s.n);
            let left = |k| batch * s.m * s.k + if self.ta { k * s.m + row } else { row * s.k + k };
            let right = |k| batch * s.k * s.n + if self.tb { column * s.k + k } else { k * s.n + column };
            *y = (0..s.k).map(|k| a.data[left(k)] * b.data[right(k)]).sum();
        }
        vec![Array { shape, data }]
    }
}

/// Appends `y = a · b` for each member of a batch.
pub(super) fn lower(io: &Io, program: &mut Program, s: Sizes, a: Matrices, b: Matrices, y: Matrices) {
    let shader = Shader::new("matmul", include_str!("../../shaders/matmul.wgsl"), a.x.dtype, io.precision)
        .constant("ALONG_A", (!a.transposed).into())
        .constant("ALONG_B", b.transposed.into())
        .constant("HEADS_A", a.heads as u32)
        .constant("HEADS_B", b.heads as u32)
        .constant("HEADS_Y", y.heads as u32)
        .accumulating(io.precision);
    let [down, wide, steps] = [s.m, s.n, s.k].map(|size| size.div_ceil(GROUP));
    let whole = s.k.is_multiple_of(GROUP);
    let product = Product {
        members: s.batch,
        down,
        wide,
        taps: 1,
        steps,
        alike: true,
        // What the sum runs along is padded with zeros.
        there: [!a.transposed || whole, b.transposed || whole].map(There::always_if),
        lone: s.m == 1,
        pairs: [a.transposed && down % 2 == 0, !b.transposed && wide % 2 == 0],
        elem: a.x.dtype,
    };
    let dispatch = Dispatch::new(io.label, shader)
        .read(a.x)
        .read(b.x)
        .param("batch", s.batch)
        .param("m", s.m)
        .param("k", s.k)
        .param("n", s.n)
        .flops(2 * s.batch * s.m * s.k * s.n);
    gemm::lower(io, program, dispatch, &product, y.x);
}

/// Odd sizes, all transposed forms, batches, and products large enough for each variant.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for (m, k, n) in [(1, 1, 1), (3, 5, 17), (17, 3, 1), (1, 3, 17), (17, 1, 5), (1, 65, 5), (65, 17, 33), (5, 257, 3)]
    {
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let a = if ta { [k, m] } else { [m, k] };
            let b = if tb { [n, k] } else { [k, n] };
            cases.push(Case::new(Matmul { ta, tb }, [&a, &b]).terms(k));
        }
    }
    let plain = Matmul { ta: false, tb: false };
    cases.push(Case::new(plain, [&[2, 3, 5], &[5, 4]]).terms(5));
    cases.push(Case::new(plain, [&[3, 5, 2], &[3, 2, 1]]).terms(2));
    cases.push(Case::new(plain, [&[3, 1, 5], &[3, 5, 4]]).terms(5));
    for (ta, tb) in [(false, false), (true, false), (false, true)] {
        let a: [usize; 4] = if ta { [2, 3, 5, 7] } else { [2, 3, 7, 5] };
        let b: [usize; 4] = if tb { [2, 3, 6, 5] } else { [2, 3, 5, 6] };
        cases.push(Case::new(Matmul { ta, tb }, [&a, &b]).terms(5));
    }
    // Even numbers of blocks, which processors load in pairs, and whose last may be a part of one.
    for (m, k, n) in [(31, 14, 22), (72, 24, 40)] {
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let a = if ta { [k, m] } else { [m, k] };
            let b = if tb { [n, k] } else { [k, n] };
            cases.push(Case::new(Matmul { ta, tb }, [&a, &b]).terms(k));
        }
    }
    // Tiles of each size, sums in parts, and more of each than fits.
    let large = [
        (1024, 20, 1021),
        (510, 64, 1021),
        (16380, 9, 31),
        (31, 9, 16380),
        (16380, 12, 15),
        (16, 9, 16380),
        (61, 1030, 63),
        (10, 4096, 64),
        (3, 512, 8190),
    ];
    for (i, (m, k, n)) in large.into_iter().enumerate() {
        for (ta, tb) in [(false, false), (true, false), (false, true)].into_iter().take(if i < 2 { 3 } else { 1 }) {
            let a = if ta { [k, m] } else { [m, k] };
            let b = if tb { [n, k] } else { [k, n] };
            cases.push(Case::new(Matmul { ta, tb }, [&a, &b]).terms(k).not_smooth());
        }
    }
    cases
}
