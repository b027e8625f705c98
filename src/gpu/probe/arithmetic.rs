//! Addition, multiplication, comparison, and what compilers make of expressions, in one type.

use super::{Overflow, RoundingMode, Update, bits_of, numbers};
use crate::{
    Dtype, Precision,
    dispatch::{Dispatch, Operand, Program, Shader},
    format::Format,
};

/// Updates of a weight in the sums that plain addition gets stuck in.
pub(super) const UPDATES: usize = 1000;
/// Rows of ordinary numbers, to see how results are rounded.
const SPREAD: usize = 1000;

/// What an adapter's arithmetic in one type does.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct Arithmetic {
    /// Of `a + b`, over a thousand pairs with normal results.
    pub add: RoundingMode,
    /// Of `a * b`, over a thousand pairs with normal results.
    pub multiply: RoundingMode,
    /// Where subnormals are kept.
    pub subnormals: Subnormals,
    /// What an addition beyond the largest number gives.
    pub add_overflow: Overflow,
    /// What a product beyond the largest number gives.
    pub multiply_overflow: Overflow,
    /// Whether `a * b + c` is computed with one rounding.
    pub contracts: bool,
    /// Whether `fma(a, b, c)` is computed with one rounding.
    pub fma_is_fused: bool,
    /// Whether `(a + b) - b` is taken for `a`.
    pub simplifies: bool,
    /// Whether Knuth's two_sum finds what an addition loses.
    pub two_sum: bool,
    /// A thousand small updates of a weight, by additions in this type.
    pub update: Update,
    /// What comparisons see of NaN and Inf.
    pub specials: Specials,
}

/// Where subnormal numbers are kept; what is not kept is taken for zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct Subnormals {
    /// By a load and a store.
    pub stored: bool,
    /// As an operand of an addition.
    pub added: bool,
    /// As an operand of a product.
    pub multiplied: bool,
    /// As the sum of normal numbers.
    pub sum: bool,
    /// As the product of normal numbers.
    pub product: bool,
}

impl Subnormals {
    /// Whether they are kept everywhere.
    pub fn kept(&self) -> bool {
        self.stored && self.added && self.multiplied && self.sum && self.product
    }
}

/// Which tests find NaN and Inf, and what keeps a NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct Specials {
    /// `a != a` is true of a NaN.
    pub nan_by_not_equal: bool,
    /// `a == a` is false of a NaN.
    pub nan_by_equal: bool,
    /// `abs(a) > largest` is true of an Inf that was loaded.
    pub inf_by_greater: bool,
    /// `abs(a * b) > largest` is true of a product that overflows.
    pub overflow_by_greater: bool,
    /// A test of exponent bits is true of NaN, Inf and -Inf, and false of the largest number.
    pub by_bits: bool,
    /// Inf - Inf is a NaN.
    pub made: bool,
    /// `max(a, b)` is NaN where `a` is.
    pub nan_survives_max: bool,
    /// `select(a, b, a < b)` is NaN where `a` is.
    pub nan_survives_select: bool,
}

/// The columns of `shaders/probe.wgsl`.
#[derive(Clone, Copy)]
enum Column {
    Copy,
    Sum,
    Product,
    ProductSum,
    Fma,
    Back,
    TwoSum,
    NotEqual,
    Equal,
    Greater,
    ProductGreater,
    Bits,
    Max,
    Select,
    Plain,
    Kahan,
}
const COLUMNS: usize = Column::Kahan as usize + 1;

/// The rows that are not there for their rounding.
#[derive(Clone, Copy)]
enum Row {
    Toy,
    SubnormalFactor,
    SubnormalTerm,
    SubnormalProduct,
    SubnormalSum,
    SumBeyond,
    ProductBeyond,
    Square,
    Back,
    Lost,
    Nan,
    Inf,
    MinusInf,
    Largest,
}
const SPECIAL_ROWS: usize = Row::Largest as usize + 1;

/// The operands of one type, and the results where they are there.
pub(super) struct Table {
    format: Format,
    dtype: Dtype,
    rows: Vec<[f64; 3]>,
    results: Vec<f64>,
}

impl Table {
    pub fn new(dtype: Dtype) -> Self {
        let format = if dtype == Dtype::F16 { Format::F16 } else { Format::F32 };
        let (normal, tiny, largest) = (format.least_normal(), format.least(), format.largest());
        let half_ulp = format.ulp(largest) / 2.0;
        let epsilon = format.ulp(1.0);
        let step = 1.0 + format.nearest(0.5 * epsilon.sqrt()).log2().floor().exp2();
        // As much below half an ulp of the weight in each type.
        let (weight, change) = (format.nearest(0.1), format.nearest(-2e-5 * 1024.0 * epsilon));
        // In the order of `Row`.
        let rows: [_; SPECIAL_ROWS] = [
            [weight, change, 0.0],
            // Subnormal operands with normal results, then normal operands with subnormal results.
            [3.0 * tiny, 2.0 / epsilon, 0.0],
            [normal, normal / 2.0, 0.0],
            [normal, 0.5, 0.0],
            [1.5 * normal, -normal, 0.0],
            [largest, half_ulp, 0.0],
            [largest, 2.0, largest],
            // The square of 1 + e is 1 + 2e + e², and e² is below half an ulp.
            [step, step, 1.0 - 2.0 * step],
            [format.nearest(0.1), 1000.0, 0.0],
            [1.0, epsilon / 8.0, 0.0],
            [f64::NAN, 1.0, largest],
            [f64::INFINITY, f64::NEG_INFINITY, largest],
            [f64::NEG_INFINITY, 1.0, largest],
            [largest, 1.0, largest],
        ];
        let mut table = Table { format, dtype, rows: rows.to_vec(), results: vec![] };
        table.rows.extend((0..SPREAD as u32).map(|i| [2 * i, 2 * i + 1, 0].map(|n| spread(format, n))));
        table.rows.resize(table.rows.len().next_multiple_of(4), [1.0; 3]);
        table
    }

    /// Adds the dispatch to a program: what to write into which operand, and what to read.
    pub fn push(&self, program: &mut Program) -> ((Operand, Vec<u8>), Operand) {
        let rows = self.rows.len();
        let operands = program.scratch([3 * rows].into(), self.dtype);
        let results = program.scratch([COLUMNS * rows].into(), self.dtype);
        let precision = if self.dtype == Dtype::F16 { Precision::F16_STRICT } else { Precision::F32 };
        let source = include_str!("../../../shaders/probe.wgsl");
        program.push(
            Dispatch::new("probe", Shader::new("probe", source, self.dtype, precision))
                .read(operands)
                .write(results)
                .param("groups", rows / 4)
                .param("updates", UPDATES)
                .workgroups(rows.div_ceil(256)),
        );
        let columns = (0..3).flat_map(|k| self.rows.iter().map(move |row| row[k]));
        ((operands, bits_of(columns, self.dtype)), results)
    }

    fn at(&self, column: Column, row: Row) -> f64 {
        self.column(column)[row as usize]
    }

    fn column(&self, column: Column) -> &[f64] {
        &self.results[column as usize * self.rows.len()..][..self.rows.len()]
    }

    pub fn read(mut self, bytes: &[u8]) -> Arithmetic {
        self.results = numbers(bytes, self.dtype);
        use Column::*;
        let f = self.format;
        let normal = f.least_normal();
        Arithmetic {
            add: self.rounding(Sum, |[a, b, _]| a + b),
            multiply: self.rounding(Product, |[a, b, _]| a * b),
            subnormals: Subnormals {
                stored: self.at(Copy, Row::SubnormalFactor) == self.rows[Row::SubnormalFactor as usize][0],
                added: self.at(Sum, Row::SubnormalTerm) == 1.5 * normal,
                multiplied: self.at(Product, Row::SubnormalFactor)
                    == self.rows[Row::SubnormalFactor as usize][0] * self.rows[Row::SubnormalFactor as usize][1],
                sum: self.at(Sum, Row::SubnormalSum) == normal / 2.0,
                product: self.at(Product, Row::SubnormalProduct) == normal / 2.0,
            },
            add_overflow: Overflow::of(f, self.at(Sum, Row::SumBeyond)),
            multiply_overflow: Overflow::of(f, self.at(Product, Row::ProductBeyond)),
            contracts: self.at(ProductSum, Row::Square) != 0.0,
            fma_is_fused: self.at(Fma, Row::Square) != 0.0,
            simplifies: self.at(Back, Row::Back) == self.rows[Row::Back as usize][0],
            two_sum: self.at(TwoSum, Row::Lost) == self.rows[Row::Lost as usize][1],
            update: Update {
                exact: self.rows[Row::Toy as usize][0] + UPDATES as f64 * self.rows[Row::Toy as usize][1],
                nearest: self.at(Plain, Row::Toy),
                compensated: self.at(Kahan, Row::Toy),
            },
            specials: self.specials(),
        }
    }

    fn specials(&self) -> Specials {
        use Column::*;
        let is = |column, row| self.at(column, row) == 1.0;
        Specials {
            nan_by_not_equal: is(NotEqual, Row::Nan),
            nan_by_equal: self.at(Equal, Row::Nan) == 0.0,
            inf_by_greater: is(Greater, Row::Inf) && is(Greater, Row::MinusInf) && !is(Greater, Row::Largest),
            overflow_by_greater: is(ProductGreater, Row::ProductBeyond) && !is(ProductGreater, Row::Largest),
            by_bits: is(Bits, Row::Nan) && is(Bits, Row::Inf) && is(Bits, Row::MinusInf) && !is(Bits, Row::Largest),
            made: self.at(Sum, Row::Inf).is_nan(),
            nan_survives_max: self.at(Max, Row::Nan).is_nan(),
            nan_survives_select: self.at(Select, Row::Nan).is_nan(),
        }
    }

    /// The exact result is one that f64 holds.
    fn rounding(&self, column: Column, exact: fn([f64; 3]) -> f64) -> RoundingMode {
        let rows = SPECIAL_ROWS..SPECIAL_ROWS + SPREAD;
        let normal = rows.filter(|&i| exact(self.rows[i]).abs() >= self.format.least_normal());
        RoundingMode::of(self.format, normal.map(|i| (exact(self.rows[i]), self.column(column)[i])))
    }
}

/// Number `i` of an ordinary spread from 2^-6 to 2^6: random bits, the same each time.
fn spread(format: Format, i: u32) -> f64 {
    let mut bits = i.wrapping_mul(0x9e37_79b9) ^ 0x85eb_ca6b;
    bits = (bits ^ (bits >> 15)).wrapping_mul(0x2c1b_3c6d);
    bits ^= bits >> 12;
    let mantissa = 1.0 + f64::from(bits & ((1 << format.mantissa) - 1)) * 2f64.powi(-(format.mantissa as i32));
    let exponent = (bits >> 24) % 12;
    let sign = if bits >> 31 == 0 { 1.0 } else { -1.0 };
    sign * mantissa * 2f64.powi(exponent as i32 - 6)
}
