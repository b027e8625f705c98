//! The one question whose answer every kernel needs that stores halves, asked when a device is opened.

use half::f16;

use super::run;
use crate::{
    Dtype, Error, Precision, Result,
    dispatch::{Dispatch, Operand, Program, Shader},
    gpu::Gpu,
    shape::GROUP,
};

/// How many values are stored.
const VALUES: usize = 1024;

pub(super) const SOURCE: &str = include_str!("../../../shaders/probe_pack.wgsl");

/// Adds the dispatch that stores each value of the first operand as a half in the second, as tensors are stored.
pub(super) fn push(program: &mut Program, source: &'static str) -> [Operand; 2] {
    let [x, y] = [Dtype::F32, Dtype::F16].map(|dtype| program.scratch([VALUES].into(), dtype));
    let shader = Shader::new("probe_pack", source, Dtype::F16, Precision::F16);
    program.push(Dispatch::new("probe_pack", shader).read(x).write(y).workgroups(VALUES / (64 * GROUP)));
    [x, y]
}

/// Values that tell the ways of rounding apart: ties, subnormals, the border of overflow, NaN, and a spread of ordinary values.
fn values() -> Vec<f32> {
    let special =
        [1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0, 65519.0, 65520.0, -1e6, f32::INFINITY, 6e-8, 1e-5, 2.9e-8, f32::NAN];
    let spread =
        (0..(VALUES - special.len()) as u32).map(|i| f32::from_bits((0x3380_0000 + i * 0x2_3457) | (i % 2) << 31));
    special.into_iter().chain(spread).collect()
}

/// Whether these are the halves nearest to the values, a NaN for a NaN.
fn are_nearest(values: &[f32], halves: &[u16]) -> bool {
    let pairs = values.iter().map(|&v| f16::from_f32(v)).zip(halves.iter().map(|&h| f16::from_bits(h)));
    let mut same = pairs.map(|(v, h)| v.to_bits() == h.to_bits() || v.is_nan() && h.is_nan());
    same.all(|same| same)
}

/// Whether halves that are stored, natively or by `pack2x16float` as the adapter's [`Caps`](crate::Caps) say so far, are rounded to
/// nearest even, keep subnormals and NaN and overflow to Inf. What a driver cannot compile does not: on such a device all that
/// needs no halves runs.
///
/// # Errors
/// [`Error::Device`] and [`Error::Memory`].
pub(in crate::gpu) async fn is_exact(gpu: &Gpu) -> Result<bool> {
    stores_exactly(gpu, SOURCE).await
}

async fn stores_exactly(gpu: &Gpu, source: &'static str) -> Result<bool> {
    let mut program = Program::default();
    let [x, y] = push(&mut program, source);
    let values = values();
    match run(gpu, &program, &[(x, bytemuck::cast_slice(&values).to_vec())], &[y]).await {
        Err(Error::Shader { .. }) => Ok(false),
        found => {
            let halves = found?[0].chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect::<Vec<_>>();
            Ok(are_nearest(&values, &halves))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    #[test]
    fn each_way_of_rounding_but_ieees_is_found() {
        let values = values();
        assert!(values.len().is_multiple_of(256));
        let stored = |way: fn(f32) -> f16| values.iter().map(|&v| way(v).to_bits()).collect::<Vec<u16>>();
        assert!(are_nearest(&values, &stored(f16::from_f32)));
        let inexact: [fn(f32) -> f16; 5] = [
            |v| f16::from_f64(Format::F16.toward_zero(v.into())),
            // Ties away from zero.
            |v| if v == 1.0 + 1.0 / 2048.0 { f16::from_f32(v.next_up()) } else { f16::from_f32(v) },
            |v| f16::from_f32(v.clamp(-65504.0, 65504.0)),
            |v| if v.abs() < 6.1e-5 { f16::ZERO } else { f16::from_f32(v) },
            |v| if v.is_nan() { f16::ZERO } else { f16::from_f32(v) },
        ];
        for (i, way) in inexact.into_iter().enumerate() {
            assert!(!are_nearest(&values, &stored(way)), "way {i}");
        }
    }

    #[test]
    fn what_does_not_compile_or_round_is_not_exact() {
        let gpu = Gpu::new().unwrap();
        let exact = |source| pollster::block_on(stores_exactly(&gpu, source));
        assert!(exact(SOURCE).is_ok());
        assert_eq!(exact("fn ("), Ok(false));
        let zeros = "@group(0) @binding(0) var<storage, read> x: array<f32>;
            @group(0) @binding(1) var<storage, read_write> y: array<u32>;
            @compute @workgroup_size(64)
            fn main(@builtin(global_invocation_id) id: vec3<u32>) { y[id.x] = u32(x[id.x]); }";
        assert_eq!(exact(zeros), Ok(false));
    }
}
