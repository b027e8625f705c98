//! Elementary functions of all 65,536 halves, held against f64 and against what the WGSL specification allows.

use half::f16;

use super::{
    bits_of,
    definitions::{Arguments, Definition, F16, F32, FUNCTIONS, Type},
    numbers,
};
use crate::{
    Dtype, Precision,
    dispatch::{Dispatch, Operand, Program, Shader},
    format::Format,
};

/// How a function comes out in each way of computing it.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct Function {
    /// WGSL's name for it, or this crate's.
    pub name: String,
    /// WGSL's own on f16, where the adapter has `shader-f16`.
    pub native: Option<Accuracy>,
    /// WGSL's own on f32.
    pub f32: Option<Accuracy>,
    /// That of `shaders/lib/math.wgsl`, which computes in f32.
    pub own: Option<Accuracy>,
}

/// How far results are from the exact ones, where these are up to half the largest number.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct Accuracy {
    /// The largest error where argument and result are normal numbers, in ulp of the type computed in.
    pub worst: Worst,
    /// The largest error where one of them is subnormal: 1024 ulp and less if they are flushed to zero.
    pub subnormal: Worst,
    /// The largest error after the result is rounded to f16, in ulp of f16; half an ulp is perfect.
    pub rounded: Worst,
    /// For how many arguments the error is beyond what WGSL allows; none where it promises nothing.
    pub outside: Option<usize>,
    /// Of NaN, Inf, -Inf, 0 and -1: those whose result is not the one of mathematics.
    pub special: Vec<Special>,
}

/// An error, and where it is.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct Worst {
    /// In units of the last place; Inf for a NaN or Inf that should be a number (in JSON: null).
    #[cfg_attr(feature = "cli", serde(deserialize_with = "super::null_is_infinite"))]
    pub ulp: f64,
    /// The argument that has it.
    pub at: f64,
}

/// A wrong result, as text, since JSON has no NaN.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct Special {
    /// The argument.
    pub at: String,
    /// What comes of it.
    pub gives: String,
}

impl Worst {
    const NONE: Self = Worst { ulp: 0.0, at: 0.0 };

    fn update(&mut self, ulp: f64, at: f64) {
        let ulp = if ulp.is_nan() { f64::INFINITY } else { ulp };
        if ulp > self.ulp {
            *self = Worst { ulp, at };
        }
    }
}

const HALVES: usize = 1 << 16;
const COLUMNS: usize = 10;

/// What the dispatches read and write.
pub(super) struct Bound {
    pub operands: (Operand, Vec<u8>),
    /// WGSL's own in f32, this crate's, WGSL's own in f16 where that exists.
    pub results: Vec<Operand>,
}

/// The arguments: x is each half; divisors are what WGSL promises something for, 2^-14 to 2^14; exponents are usual.
fn arguments() -> Vec<Arguments> {
    const EXPONENTS: [f64; 8] = [0.5, 2.0, -0.5, 3.0, 1.5, -1.0, -2.0, 0.25];
    let argument = |i: usize| {
        let mixed = (i as u32).wrapping_mul(40503).wrapping_add(12345);
        let divisor = (mixed & 0x83ff) + ((1 + (mixed >> 16) % 28) << 10);
        let half = |bits: u32| f16::from_bits(bits as u16).to_f64();
        Arguments { x: half(i as u32), divisor: half(divisor), exponent: EXPONENTS[i % 8] }
    };
    (0..HALVES).map(argument).collect()
}

/// Adds the dispatches to a program.
pub(super) fn push(program: &mut Program, native: bool) -> Bound {
    let operands = program.scratch([3 * HALVES].into(), Dtype::F16);
    let source = include_str!("../../../shaders/probe_functions.wgsl");
    let mut results = vec![];
    let ways = [(Precision::F16, 0), (Precision::F16, 1), (Precision::F16_STRICT, 0)];
    for (precision, own) in ways.into_iter().take(if native { 3 } else { 2 }) {
        let y = program.scratch([COLUMNS * HALVES].into(), precision.wide());
        let shader = Shader::new("probe_functions", source, Dtype::F16, precision).constant("OWN", own);
        program.push(
            Dispatch::new("probe_functions", shader)
                .read(operands)
                .write(y)
                .param("groups", HALVES / 4)
                .workgroups(HALVES / 256),
        );
        results.push(y);
    }
    let arguments = arguments();
    let parts: [fn(&Arguments) -> f64; 3] = [|a| a.x, |a| a.divisor, |a| a.exponent];
    let values = parts.into_iter().flat_map(|part| arguments.iter().map(part));
    Bound { operands: (operands, bits_of(values, Dtype::F16)), results }
}

/// What the results say; and whether f32 that were read as halves are exact.
pub(super) fn read(results: &[&[u8]]) -> (Vec<Function>, bool) {
    let arguments = arguments();
    let wgsl = numbers(results[0], Dtype::F32);
    let own = numbers(results[1], Dtype::F32);
    let native = results.get(2).map(|bytes| numbers(bytes, Dtype::F16));
    let column = |values: &[f64], k: usize| values[k * HALVES..][..HALVES].to_vec();
    let functions = FUNCTIONS.iter().map(|f| {
        let exact: Vec<f64> = arguments.iter().map(f.exact).collect();
        let judged = |t: &Type, values: &[f64], k| Accuracy::of(t, f, &arguments, &exact, &column(values, k));
        let [theirs, ours] = f.columns;
        Function {
            name: f.name.into(),
            native: theirs.zip(native.as_ref()).map(|(k, values)| judged(&F16, values, k)),
            f32: theirs.map(|k| judged(&F32, &wgsl, k)),
            own: ours.map(|k| judged(&F32, &own, k)),
        }
    });
    let loaded = column(&wgsl, 9);
    let exact = loaded.iter().zip(&arguments).all(|(y, a)| *y == a.x || (y.is_nan() && a.x.is_nan()));
    (functions.collect(), exact)
}

impl Accuracy {
    fn of(t: &Type, f: &Definition, arguments: &[Arguments], exact: &[f64], found: &[f64]) -> Self {
        let mut accuracy = Accuracy {
            worst: Worst::NONE,
            subnormal: Worst::NONE,
            rounded: Worst::NONE,
            outside: f.bound.map(|_| 0),
            special: vec![],
        };
        for bits in SPECIAL {
            let (a, got) = (&arguments[bits], found[bits]);
            if !same(exact[bits], got) {
                accuracy.special.push(Special { at: a.x.to_string(), gives: (got as f32).to_string() });
            }
        }
        for ((a, &y), &got) in arguments.iter().zip(exact).zip(found) {
            // WGSL leaves open what overflows, and an error within its bounds may overflow. Zero has no last place.
            if !a.x.is_finite() || !y.is_finite() || y == 0.0 || y.abs() > t.format.largest() / 2.0 {
                continue;
            }
            let error = (got - y).abs();
            let small = |v: f64| v != 0.0 && v.abs() < t.format.least_normal();
            let place = if small(a.x) || small(y) { &mut accuracy.subnormal } else { &mut accuracy.worst };
            place.update(error / t.ulp(y), a.x);
            if y.abs() <= Format::F16.largest() / 2.0 {
                accuracy.rounded.update((Format::F16.nearest(got) - y).abs() / Format::F16.ulp(y), a.x);
            }
            if let (Some(outside), Some(bound)) = (&mut accuracy.outside, f.bound.and_then(|bound| bound(t, a, y))) {
                // The nearest number is right whatever the bound; and what is subnormal may be flushed.
                let right = error <= bound.max(0.5 * t.ulp(y)) || (small(y) && got == 0.0) || {
                    let flushed = (f.exact)(&Arguments { x: 0.0, ..*a });
                    small(a.x) && (same(flushed, got) || (got - flushed).abs() <= bound)
                };
                *outside += usize::from(!right);
            }
        }
        accuracy
    }
}

/// The bits of NaN, Inf, -Inf, 0 and -1.
const SPECIAL: [usize; 5] = [0x7e00, 0x7c00, 0xfc00, 0, 0xbc00];

/// Whether two results are both NaN, the same infinity, both zero for f16, or numbers; of those, the error is measured.
fn same(expected: f64, got: f64) -> bool {
    match expected {
        0.0 => got.abs() <= Format::F16.least() / 2.0,
        _ if expected.is_finite() => got.is_finite(),
        _ => expected == got || (expected.is_nan() && got.is_nan()),
    }
}
