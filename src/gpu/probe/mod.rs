//! What an adapter's 16-bit arithmetic really does, found by running it.
//!
//! WGSL promises little: a result may be either neighbour of the exact one, subnormals may be flushed to zero, sums may
//! be re-associated, and compilers may assume that there are no NaN and no Inf. [`Gpu::probe`] finds what is the case.
//! It is one submission of four or five small dispatches, whose operands all come from memory, so that no compiler can
//! know them; what they should give is computed on the host in f64. The same adapter gives the same answers.
//!
//! * [`arithmetic`]: `+`, `*`, `fma`, comparisons, `max` and `select` on f32, and on native f16 where it exists. How
//!   a thousand sums and products are rounded; subnormals as operands and as results; overflow; whether `a * b + c` is
//!   contracted and `(a + b) - b` simplified; whether Knuth's two_sum and Kahan's sum survive the compiler; which tests
//!   find NaN and Inf.
//! * [`rounding`]: f32 to f16 as tensors are stored, by `pack2x16float`, by `quantizeToF16` and by this crate's integer
//!   code: four thousand normal numbers, ties among them, subnormals, the border of overflow, NaN; and a weight that is
//!   updated a thousand times by less than half an ulp, to nearest and compensated.
//! * [`functions`]: exp, log, tanh, pow, sqrt, inverseSqrt, division, sin and cos of every half (with a divisor from
//!   2^-14 to 2^14 and a usual exponent), in native f16 and in f32, and the functions of `shaders/lib/math.wgsl`. The
//!   worst error in ulp, and for how many arguments it is beyond what the specification allows; a flushed subnormal
//!   counts as allowed.
//!
//! What this crate relies on everywhere is [`Conversions::integers`] and tests by bits; `tests/probe.rs` asserts these.
//! [`Probe::conclusions`] says in words what the rest means for training.

pub mod arithmetic;
mod conclusions;
mod definitions;
pub mod functions;
pub(super) mod pack;
pub mod rounding;

use half::f16;

use self::{
    arithmetic::{Arithmetic, Table},
    functions::Function,
    rounding::Conversions,
};
use super::{Executable, Gpu, Reading};
use crate::{
    Caps, Dtype, Result,
    dispatch::{Dispatch, Operand, Program},
    format::Format,
};

/// What an adapter's arithmetic does.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct Probe {
    /// In f32.
    pub f32: Arithmetic,
    /// In native f16, where the adapter has `shader-f16`.
    pub f16: Option<Arithmetic>,
    /// From f32 to f16.
    pub conversions: Conversions,
    /// Whether every half that is loaded becomes the f32 of the same value.
    pub loads_exactly: bool,
    /// Elementary functions.
    pub functions: Vec<Function>,
}

/// How results are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum RoundingMode {
    /// To nearest, ties to even, without exception.
    NearestEven,
    /// Towards zero, without exception.
    TowardZero,
    /// Neither.
    Other,
}

impl RoundingMode {
    fn of(format: Format, results: impl Iterator<Item = (f64, f64)>) -> Self {
        let (mut nearest, mut toward_zero) = (true, true);
        for (exact, got) in results {
            nearest &= got == format.nearest(exact);
            toward_zero &= got == format.toward_zero(exact);
        }
        match (nearest, toward_zero) {
            (true, _) => RoundingMode::NearestEven,
            (_, true) => RoundingMode::TowardZero,
            _ => RoundingMode::Other,
        }
    }
}

/// What comes of a number beyond the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Overflow {
    /// Inf.
    Infinite,
    /// The largest number.
    Largest,
    /// NaN.
    Nan,
    /// Something else.
    Other,
}

impl Overflow {
    fn of(format: Format, got: f64) -> Self {
        match got {
            f64::INFINITY => Overflow::Infinite,
            v if v.is_nan() => Overflow::Nan,
            v if v == format.largest() => Overflow::Largest,
            _ => Overflow::Other,
        }
    }
}

/// A weight after a thousand updates, each of them less than half of its ulp.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct Update {
    /// The exact sum.
    pub exact: f64,
    /// With each update rounded to nearest: where it began, if all are lost.
    #[cfg_attr(feature = "cli", serde(deserialize_with = "null_is_infinite"))]
    pub nearest: f64,
    /// With compensation (Kahan).
    #[cfg_attr(feature = "cli", serde(deserialize_with = "null_is_infinite"))]
    pub compensated: f64,
}

impl Update {
    /// Whether the compensated sum is right to an ulp of `format`.
    pub fn is_compensated(&self, format: Format) -> bool {
        (self.compensated - self.exact).abs() <= format.ulp(self.exact)
    }
}

/// What is not finite is null in JSON.
#[cfg(feature = "cli")]
fn null_is_infinite<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<f64, D::Error> {
    use serde::Deserialize;
    Ok(Option::deserialize(from)?.unwrap_or(f64::INFINITY))
}

impl Gpu {
    /// Finds out what this adapter's arithmetic does; blocks until it is known.
    ///
    /// # Errors
    /// [`Error::Shader`](crate::Error::Shader), [`Error::Memory`](crate::Error::Memory) or
    /// [`Error::Device`](crate::Error::Device) if the adapter does not run the probe's 8 MB.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn probe(&self) -> Result<Probe> {
        pollster::block_on(self.probe_async())
    }

    /// As [`probe`](Self::probe), to be awaited.
    ///
    /// # Errors
    /// As [`probe`](Self::probe).
    pub async fn probe_async(&self) -> Result<Probe> {
        let Questions { program, tables, written, read } = Questions::new(self.caps().shader_f16);
        let results = run(self, &program, &written, &read).await?;
        let mut results = results.iter().map(Vec::as_slice);
        let mut next = || results.next().expect("one for each operand that was read");
        let mut arithmetic: Vec<Arithmetic> = tables.into_iter().map(|table| table.read(next())).collect();
        let f16 = if self.caps().shader_f16 { arithmetic.pop() } else { None };
        let conversions = rounding::read([next(), next(), next()]);
        let (functions, loads_exactly) = functions::read(&results.collect::<Vec<_>>());
        Ok(Probe { f32: arithmetic[0], f16, conversions, loads_exactly, functions })
    }
}

/// All that an adapter may be asked, as a program: for checks of its shaders.
pub fn program(caps: &Caps) -> Program {
    let mut program = Questions::new(caps.shader_f16).program;
    let values = program.scratch([1024].into(), Dtype::F32);
    let packed = program.scratch([1024].into(), Dtype::F16);
    program.push(Dispatch::new("probe_pack", pack::shader()).read(values).write(packed));
    program
}

/// The probe's dispatches, what they are given, and where their answers are.
struct Questions {
    program: Program,
    tables: Vec<Table>,
    written: Vec<(Operand, Vec<u8>)>,
    read: Vec<Operand>,
}

impl Questions {
    fn new(native: bool) -> Self {
        let mut program = Program::default();
        let tables = [Dtype::F32, Dtype::F16].into_iter().take(1 + usize::from(native)).map(Table::new);
        let tables: Vec<Table> = tables.collect();
        let (mut written, mut read): (Vec<_>, Vec<_>) = tables.iter().map(|t| t.push(&mut program)).unzip();
        let rounding = rounding::push(&mut program);
        written.push(rounding.x);
        read.extend(rounding.results);
        let functions = functions::push(&mut program, native);
        written.push(functions.operands);
        read.extend(functions.results);
        Questions { program, tables, written, read }
    }
}

/// Runs a program once: what is written first, and the bytes of what is read after.
async fn run(gpu: &Gpu, program: &Program, write: &[(Operand, Vec<u8>)], read: &[Operand]) -> Result<Vec<Vec<u8>>> {
    let executable = Executable::new(gpu, program, |_| unreachable!("all buffers are the program's own")).await?;
    for (operand, bytes) in write {
        gpu.queue().write_buffer(executable.buffer(operand.buffer), 0, bytes);
    }
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    executable.encode(&mut encoder, 0..program.dispatches.len(), false);
    gpu.queue().submit([encoder.finish()]);
    let sizes: Vec<usize> = read.iter().map(|operand| operand.bytes() as usize).collect();
    let ranges: Vec<_> = read.iter().map(|o| (executable.buffer(o.buffer), 0, o.bytes())).collect();
    let split = move |mut bytes: &[u8]| {
        let part = |&size: &usize| bytes.split_off(..size).expect("all of it was read").to_vec();
        Ok(sizes.iter().map(part).collect())
    };
    Reading::new(gpu, &ranges, split).await
}

/// Numbers as they lie in memory; each must be one of the type.
fn bits_of(values: impl IntoIterator<Item = f64>, dtype: Dtype) -> Vec<u8> {
    let values = values.into_iter();
    match dtype {
        Dtype::F16 => values.flat_map(|v| f16::from_f64(v).to_le_bytes()).collect(),
        _ => values.flat_map(|v| (v as f32).to_le_bytes()).collect(),
    }
}

/// The reverse of [`bits_of`].
fn numbers(bytes: &[u8], dtype: Dtype) -> Vec<f64> {
    match dtype {
        Dtype::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f64()).collect(),
        _ => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into()).collect(),
    }
}
