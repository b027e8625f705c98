//! The one question whose answer every packed kernel needs, asked when a device is opened.

use half::f16;

use super::run;
use crate::{
    Dtype, Error, Precision, Result,
    dispatch::{Dispatch, Operand, Program, Shader},
    gpu::Gpu,
};

/// How many values are packed, and by each workgroup.
const VALUES: usize = 1024;
const WORKGROUP: usize = 64;

pub(super) const SOURCE: &str = include_str!("../../../shaders/probe_pack.wgsl");

/// Adds the dispatch that packs each value of the first operand into the second.
pub(super) fn push(program: &mut Program, source: &'static str) -> [Operand; 2] {
    let [x, packed] = [(); 2].map(|()| program.scratch([VALUES].into(), Dtype::F32));
    let shader = Shader::new("probe_pack", source, Dtype::F32, Precision::F32);
    program.push(Dispatch::new("probe_pack", shader).read(x).write(packed).workgroups(VALUES / WORKGROUP));
    [x, packed]
}

/// Whether `pack2x16float` rounds to nearest even, keeps subnormals and overflows to Inf. What a driver cannot compile
/// does not: on such a device all that needs no halves runs.
///
/// # Errors
/// [`Error::Device`] and [`Error::Memory`].
pub(in crate::gpu) async fn is_exact(gpu: &Gpu) -> Result<bool> {
    packs_exactly(gpu, SOURCE).await
}

async fn packs_exactly(gpu: &Gpu, source: &'static str) -> Result<bool> {
    let mut program = Program::default();
    let [x, packed] = push(&mut program, source);
    // Ties, subnormals, the border of overflow, and a spread of ordinary values.
    let special =
        [1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0, 65519.0, 65520.0, 1e6, f32::INFINITY, 6e-8, 1e-5, 2.9e-8, 0.1];
    let spread = (0..(VALUES - special.len()) as u32).map(|i| f32::from_bits(0x3380_0000 + i * 0x2_3457));
    let values: Vec<f32> = special.into_iter().chain(spread).collect();
    let found = run(gpu, &program, &[(x, bytemuck::cast_slice(&values).to_vec())], &[packed]).await;
    let found = match found {
        Err(Error::Shader { .. }) => return Ok(false),
        found => found?,
    };
    let words = found[0].chunks_exact(4);
    Ok(values.iter().zip(words).all(|(&v, word)| f16::from_f32(v).to_le_bytes() == word[..2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_compile_or_round_is_not_exact() {
        let gpu = Gpu::new().unwrap();
        let exact = |source| pollster::block_on(packs_exactly(&gpu, source));
        assert!(exact(SOURCE).is_ok());
        assert_eq!(exact("fn ("), Ok(false));
        let zeros = "@group(0) @binding(0) var<storage, read> x: array<f32>;
            @group(0) @binding(1) var<storage, read_write> y: array<u32>;
            @compute @workgroup_size(64)
            fn main(@builtin(global_invocation_id) id: vec3<u32>) { y[id.x] = u32(x[id.x]); }";
        assert_eq!(exact(zeros), Ok(false));
    }
}
