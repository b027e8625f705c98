//! Inside an app that owns the device: the app submits, and its own shader reads the network's result where it lies.
//! Prints which of ten probabilities the app's shader found to be the largest, and that it is the one the host finds.
//!
//! `cargo run --example 07_embed`

use std::borrow::Cow;

use halfgrad::{
    Dtype, Gpu, Graph, Plan, Port, Precision, Weights, data,
    gpu::{self, Reading},
    nn, wgpu,
};

/// What the app keeps from frame to frame: the plan, handles that outlive the graph, its own pass, its result.
struct App {
    gpu: Gpu,
    plan: Plan,
    image: Port<'static>,
    probabilities: Port<'static>,
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    result: wgpu::Buffer,
}

impl App {
    async fn open() -> Result<Self, Box<dyn std::error::Error>> {
        // The app's own device. halfgrad uses the features and limits that it was opened with, and says which it would.
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let adapter = instance.request_adapter(&Default::default()).await?;
        let (required_features, required_limits) = gpu::wanted(&adapter);
        let descriptor = wgpu::DeviceDescriptor { required_features, required_limits, ..Default::default() };
        let (device, queue) = adapter.request_device(&descriptor).await?;
        let gpu = Gpu::from_wgpu(device, queue).await?;

        let graph = Graph::new(Precision::F16);
        let image = graph.input("image", [1, 8, 8, 1]);
        // In f32 for the app's shader; the network computes in 16 bit, on packed halves where there is no shader-f16.
        let probabilities = nn::mlp(image, &[32], 10).softmax().cast(Dtype::F32);
        let weights = Weights::init_async(&gpu, &graph, 42).await?;
        let plan = Plan::infer_async(&gpu, &weights, &[probabilities], Default::default()).await?;

        // The app's own pass. The network's result is bound where it lies, in a buffer that stays the plan's.
        let device = gpu.device();
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("the app's"),
            source: wgpu::ShaderSource::Wgsl(Cow::Borrowed(include_str!("07_embed.wgsl"))),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("the app's"),
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let result = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("the app's"),
            size: 16,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry {
                    binding: 0,
                    resource: wgpu::BindingResource::Buffer(plan.buffer(probabilities)?),
                },
                wgpu::BindGroupEntry { binding: 1, resource: result.as_entire_binding() },
            ],
        });
        let (image, probabilities) = (image.into(), probabilities.into());
        Ok(App { gpu, plan, image, probabilities, pipeline, group, result })
    }

    /// One frame: the network and the app's own pass in one submission.
    fn frame(&mut self, pixels: &[f32]) -> halfgrad::Result<()> {
        self.plan.write(self.image, pixels)?;
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        self.plan.encode(&mut encoder);
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
        drop(pass);
        self.gpu.queue().submit([encoder.finish()]);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut app = pollster::block_on(App::open())?;
    println!("on {}", app.gpu.caps().adapter);
    let digits = data::digits();
    app.frame(&digits.test.images()[..64])?;
    let best = |b: &[u8]| Ok(f32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
    let by_shader = Reading::new(&app.gpu, &[(&app.result, 0, 16)], best).wait()?;
    let probabilities = app.plan.read(app.probabilities)?.wait()?;
    let by_host = (0..10).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b])).unwrap();
    println!("largest of {probabilities:.3?}: number {by_shader} says the shader, {by_host} the host");
    assert_eq!(by_shader, by_host);
    Ok(())
}
