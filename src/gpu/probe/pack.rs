//! The one question whose answer every packed kernel needs, asked when a device is opened.

use half::f16;

use crate::{
    Dtype, Error, Precision, Result,
    dispatch::Shader,
    gpu::{compose::compose, device::Shared, readback},
};

/// The shader that packs each value of its first buffer into its second.
pub fn shader() -> Shader {
    let source = include_str!("../../../shaders/probe_pack.wgsl");
    Shader::new("probe_pack", source, Dtype::F32, Precision::F32)
}

/// Whether `pack2x16float` rounds to nearest even, keeps subnormals and overflows to Inf.
pub(in crate::gpu) async fn pack_is_exact(shared: &Shared) -> Result<bool> {
    let device = &shared.device;
    // Ties, subnormals, the border of overflow, and a spread of ordinary values.
    let special =
        [1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0, 65519.0, 65520.0, 1e6, f32::INFINITY, 6e-8, 1e-5, 2.9e-8, 0.1];
    let spread = (0..1014u32).map(|i| f32::from_bits(0x3380_0000 + i * 0x2_3457));
    let values: Vec<f32> = special.into_iter().chain(spread).collect();

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
    let buffer = |usage| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("probe"),
            size: 4 * values.len() as u64,
            usage,
            mapped_at_creation: false,
        })
    };
    let x = buffer(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST);
    let y = buffer(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
    let staging = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
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
    pass.dispatch_workgroups(values.len() as u32 / 64, 1, 1);
    drop(pass);
    encoder.copy_buffer_to_buffer(&y, 0, &staging, 0, None);
    let (send, mapped) = futures::channel::oneshot::channel();
    encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, .., move |r| {
        let _ = send.send(r);
    });
    shared.queue.submit([encoder.finish()]);
    #[cfg(not(target_arch = "wasm32"))]
    readback::wait(shared, None)?;
    let failed = |e: String| Error::Device(format!("probing pack2x16float: {e}"));
    mapped.await.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
    let view = staging.get_mapped_range(..).map_err(|e| failed(e.to_string()))?;
    let packed: &[u32] = bytemuck::cast_slice(&view);
    Ok(values.iter().zip(packed).all(|(&v, &p)| f16::from_f32(v).to_bits() == p as u16))
}
