//! The one question whose answer every kernel needs that stores halves, asked when a device is opened.

use half::f16;

use crate::{
    Dtype, Error, Precision, Result,
    dispatch::Shader,
    gpu::{compose::compose, device::Shared, readback},
};

/// The shader that stores each value of its first buffer as a half in its second, as tensors are stored.
pub fn shader() -> Shader {
    let source = include_str!("../../../shaders/probe_pack.wgsl");
    Shader::new("probe_pack", source, Dtype::F16, Precision::F16)
}

/// Values that tell the ways of rounding apart: ties, subnormals, the border of overflow, NaN, and a spread of ordinary values.
fn values() -> Vec<f32> {
    let special =
        [1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0, 65519.0, 65520.0, -1e6, f32::INFINITY, 6e-8, 1e-5, 2.9e-8, f32::NAN];
    let spread = (0..1014u32).map(|i| f32::from_bits((0x3380_0000 + i * 0x2_3457) | (i % 2) << 31));
    special.into_iter().chain(spread).collect()
}

/// Whether these are the halves nearest to the values, a NaN for a NaN.
fn are_nearest(values: &[f32], halves: &[u16]) -> bool {
    let pairs = values.iter().map(|&v| f16::from_f32(v)).zip(halves.iter().map(|&h| f16::from_bits(h)));
    let mut same = pairs.map(|(v, h)| v.to_bits() == h.to_bits() || v.is_nan() && h.is_nan());
    same.all(|same| same)
}

/// Whether halves that are stored, natively or by `pack2x16float` as the adapter's [`Caps`](crate::Caps) say so far, are rounded to
/// nearest even, keep subnormals and NaN and overflow to Inf.
pub(in crate::gpu) async fn pack_is_exact(shared: &Shared) -> Result<bool> {
    let device = &shared.device;
    let values = values();

    let wgsl = compose(&shader(), &shared.caps)?;
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("probe_pack"),
        source: wgpu::ShaderSource::Wgsl(wgsl.text.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("probe_pack"),
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    });
    let buffer = |dtype: Dtype, usage| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("probe"),
            size: (dtype.bytes() * values.len()) as u64,
            usage,
            mapped_at_creation: false,
        })
    };
    let x = buffer(Dtype::F32, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST);
    let y = buffer(Dtype::F16, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
    let staging = buffer(Dtype::F16, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    shared.queue.write_buffer(&x, 0, bytemuck::cast_slice(&values));
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("probe"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            wgpu::BindGroupEntry { binding: 0, resource: x.as_entire_binding() },
            wgpu::BindGroupEntry { binding: 1, resource: y.as_entire_binding() },
        ],
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &group, &[]);
    pass.dispatch_workgroups(values.len() as u32 / 256, 1, 1);
    drop(pass);
    encoder.copy_buffer_to_buffer(&y, 0, &staging, 0, None);
    let (send, mapped) = futures::channel::oneshot::channel();
    encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, .., move |r| {
        let _ = send.send(r);
    });
    shared.queue.submit([encoder.finish()]);
    #[cfg(not(target_arch = "wasm32"))]
    readback::wait(shared, None)?;
    let failed = |e: String| Error::Device(format!("probing how halves are stored: {e}"));
    mapped.await.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
    let view = staging.get_mapped_range(..).map_err(|e| failed(e.to_string()))?;
    Ok(are_nearest(&values, bytemuck::cast_slice(&view)))
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
}
