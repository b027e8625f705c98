//! f32 to f16, in every way that there is.

use half::f16;

use super::{Overflow, RoundingMode, Update, arithmetic::UPDATES, bits_of, numbers};
use crate::{
    Dtype, Precision,
    dispatch::{Dispatch, Operand, Program, Shader},
    format::Format,
};

/// What one way of rounding f32 to f16 does.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct Conversion {
    /// Over four thousand numbers with normal results, ties among them.
    pub rounding: RoundingMode,
    /// Whether numbers below 2^-14 become subnormal halves, not zeros.
    pub keeps_subnormals: bool,
    /// What is made of 65519, 65520, 65536 and 10^6: IEEE asks for the largest half, then Inf.
    pub large: [(u32, Overflow); 4],
    /// Whether a NaN stays one.
    pub keeps_nan: bool,
}

impl Conversion {
    /// Whether it is what IEEE asks for.
    pub fn is_exact(&self) -> bool {
        let ieee = [Overflow::Largest, Overflow::Infinite, Overflow::Infinite, Overflow::Infinite];
        self.rounding == RoundingMode::NearestEven
            && self.keeps_subnormals
            && self.large.map(|(_, gives)| gives) == ieee
            && self.keeps_nan
    }
}

/// The ways from f32 to f16, and what becomes of a weight.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct Conversions {
    /// As this crate stores f16 tensors: natively, or packed as the adapter allows.
    pub stored: Conversion,
    /// WGSL's `pack2x16float`.
    pub pack2x16float: Conversion,
    /// WGSL's `quantizeToF16`.
    pub quantize_to_f16: Conversion,
    /// This crate's integers, `shaders/lib/half.wgsl`.
    pub integers: Conversion,
    /// Whether f32 → f16 → f32 rounds where nothing is stored in between.
    pub rounds_in_registers: bool,
    /// A thousand updates of a half in f32 registers, rounded by integers.
    pub update: Update,
}

const LARGE: [u32; 4] = [65519, 65520, 65536, 1_000_000];
const NORMAL: usize = 4000;
/// After the normal ones: subnormals, [`LARGE`], NaN.
const SUBNORMAL: usize = 124;

fn inputs() -> Vec<f64> {
    // Steps of a quarter of an ulp and the least bit that f32 has beyond: ties, both sides of them, and all between.
    let normal = (0..NORMAL as i32).map(|i| {
        let sign = if i % 3 == 0 { -1.0 } else { 1.0 };
        let beyond = f64::from(i % 3 - 1) * 2f64.powi(-23);
        sign * 2f64.powi(i % 24 - 12) * (1.0 + f64::from(1 + i * 4177 % 4095) / 4096.0 + beyond)
    });
    let subnormal = (1..=SUBNORMAL).map(|i| i as f64 * 33.25 * 2f64.powi(-26));
    let mut all: Vec<f64> = normal.chain(subnormal).chain(LARGE.map(f64::from)).chain([f64::NAN]).collect();
    all.resize(all.len().next_multiple_of(4), 1.0);
    all
}

/// What the dispatch reads and writes.
pub(super) struct Bound {
    pub x: (Operand, Vec<u8>),
    /// `stored`, `packed`, `floats`.
    pub results: [Operand; 3],
}

/// Adds the dispatch to a program.
pub(super) fn push(program: &mut Program) -> Bound {
    let values = inputs();
    let n = values.len();
    let x = program.scratch([n].into(), Dtype::F32);
    let stored = program.scratch([n].into(), Dtype::F16);
    let packed = program.scratch([3 * n].into(), Dtype::F16);
    let floats = program.scratch([n + 8].into(), Dtype::F32);
    let source = include_str!("../../../shaders/probe_round.wgsl");
    let (weight, change) = toy();
    program.push(
        Dispatch::new("probe_round", Shader::new("probe_round", source, Dtype::F16, Precision::F16))
            .read(x)
            .write(stored)
            .write(packed)
            .write(floats)
            .param("groups", n / 4)
            .param("updates", UPDATES)
            .param_f32("first", weight)
            .param_f32("change", change)
            .workgroups(n.div_ceil(256)),
    );
    Bound { x: (x, bits_of(values, Dtype::F32)), results: [stored, packed, floats] }
}

/// A weight, and what is added to it each time, as f16 holds them.
fn toy() -> (f32, f32) {
    (f16::from_f32(0.1).to_f32(), f16::from_f32(-2e-5).to_f32())
}

/// What the results say.
pub(super) fn read([stored, packed, floats]: [&[u8]; 3]) -> Conversions {
    let values = inputs();
    let (stored, packed, floats) =
        (numbers(stored, Dtype::F16), numbers(packed, Dtype::F16), numbers(floats, Dtype::F32));
    let column = |i: usize| conversion(&values, &packed[i * values.len()..][..values.len()]);
    let (weight, change) = toy();
    Conversions {
        stored: conversion(&values, &stored),
        pack2x16float: column(0),
        quantize_to_f16: column(1),
        integers: column(2),
        rounds_in_registers: floats[8..][..NORMAL] == stored[..NORMAL],
        update: Update {
            exact: f64::from(weight) + UPDATES as f64 * f64::from(change),
            nearest: floats[0],
            compensated: floats[4],
        },
    }
}

fn conversion(values: &[f64], halves: &[f64]) -> Conversion {
    let (x, h) = (&values[NORMAL..], &halves[NORMAL..]);
    let pairs = |n| values[..n].iter().copied().zip(halves[..n].iter().copied());
    // Not a question of how they are rounded: half an ulp, or a whole one.
    let near = |i: usize| h[i] != 0.0 && (h[i] - x[i]).abs() <= Format::F16.least();
    let large = &h[SUBNORMAL..];
    Conversion {
        rounding: RoundingMode::of(Format::F16, pairs(NORMAL)),
        keeps_subnormals: (0..SUBNORMAL).all(near),
        large: [0, 1, 2, 3].map(|i| (LARGE[i], Overflow::of(Format::F16, large[i]))),
        keeps_nan: large[LARGE.len()].is_nan(),
    }
}
