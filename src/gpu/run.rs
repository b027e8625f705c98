//! Replay: buffers, bind groups and uniforms are made once; a step is one encoder and one compute pass.

use std::{ops::Range, sync::Arc, time::Duration};

use super::{
    device::Gpu,
    pipeline::Pipeline,
    slices::{estimates, slices, slices_of},
    stamps::Stamps,
};
use crate::{
    Dtype, Error, Result,
    dispatch::{Program, Source},
};

/// A program with everything that it needs on the device.
#[derive(Debug)]
pub struct Executable {
    calls: Vec<Call>,
    /// What each call may take, and what one submission may.
    times: Vec<Duration>,
    slice: Option<Duration>,
    parts: Vec<Range<usize>>,
    buffers: Vec<wgpu::Buffer>,
}

#[derive(Debug)]
struct Call {
    pipeline: Arc<Pipeline>,
    storage: wgpu::BindGroup,
    uniforms: wgpu::BindGroup,
    /// Where the file's uniforms and the fused chain's start.
    offsets: [u32; 2],
    grid: [u32; 3],
    observes: bool,
}

/// A storage buffer that can be written, read back and bound; zeros at first.
///
/// # Errors
/// [`Error::Memory`] if the device has no room for it; [`Error::Device`] if it is lost.
pub async fn buffer(gpu: &Gpu, label: &str, bytes: u64) -> Result<wgpu::Buffer> {
    gpu.check()?;
    let make = || {
        gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes.max(16),
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    };
    gpu.shared.asked(&format!("buffer {label:?} of {bytes} bytes"), make).await
}

impl Executable {
    /// Compiles what `program` runs and makes its buffers; `shared` gives those that others own.
    ///
    /// # Errors
    /// [`Error::Shader`], [`Error::Memory`] and [`Error::Device`]; nothing was run then.
    pub async fn new(gpu: &Gpu, program: &Program, shared: impl Fn(Source) -> wgpu::Buffer) -> Result<Self> {
        let mut buffers = vec![];
        let of_plan = |e| match e {
            Error::Memory(detail) => Error::Memory(format!("{detail}; {}", program.memory())),
            other => other,
        };
        for b in &program.buffers {
            let made = match b.source {
                Source::Plan => buffer(gpu, &b.name, b.bytes).await.map_err(of_plan)?,
                source => shared(source),
            };
            if !b.contents.is_empty() {
                let write = || gpu.queue().write_buffer(&made, 0, &b.contents);
                gpu.shared.asked("writing tables", write).await?;
            }
            buffers.push(made);
        }
        let (words, offsets) = uniforms(program, gpu.caps().uniform_alignment);
        let uniform = || {
            let uniform = gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("uniforms"),
                size: 4 * words.len() as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            gpu.queue().write_buffer(&uniform, 0, bytemuck::cast_slice(&words));
            uniform
        };
        let uniform = gpu.shared.asked("making room for uniforms", uniform).await?;

        let mut calls = vec![];
        let pipelines = gpu.pipelines(&program.dispatches).await?;
        for ((d, pipeline), offsets) in program.dispatches.iter().zip(pipelines).zip(offsets) {
            let entries: Vec<_> = d
                .bindings
                .iter()
                .enumerate()
                .map(|(i, (x, _))| wgpu::BindGroupEntry {
                    binding: i as u32,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: &buffers[x.buffer],
                        offset: x.offset,
                        size: wgpu::BufferSize::new(x.bytes()),
                    }),
                })
                .collect();
            let bound = |bytes: usize| {
                wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &uniform,
                    offset: 0,
                    size: wgpu::BufferSize::new(bytes.next_multiple_of(16).max(16) as u64),
                })
            };
            let group = |layout, entries: &[_]| {
                gpu.device().create_bind_group(&wgpu::BindGroupDescriptor { label: Some(&d.label), layout, entries })
            };
            let groups = || {
                let words = [
                    wgpu::BindGroupEntry { binding: 0, resource: bound(4 * d.params.len()) },
                    wgpu::BindGroupEntry { binding: 1, resource: bound(4 * d.chain.len()) },
                ];
                (group(&pipeline.storage, &entries), group(&pipeline.uniforms, &words))
            };
            let (storage, uniforms) = gpu.shared.asked(&d.label, groups).await?;
            calls.push(Call { pipeline, storage, uniforms, offsets, grid: d.grid, observes: d.observes });
        }
        let (times, slice) = (estimates(program), gpu.settings().slice_on(gpu.caps().kind));
        let parts = slices(times.iter().copied(), slice);
        Ok(Executable { calls, times, slice, parts, buffers })
    }

    /// The dispatches of a step, in parts that are submitted one by one.
    pub fn parts(&self) -> &[Range<usize>] {
        &self.parts
    }

    /// The buffer of this index in [`Program::buffers`].
    pub fn buffer(&self, index: usize) -> &wgpu::Buffer {
        &self.buffers[index]
    }

    /// Records the dispatches `range` into one compute pass, and those that observe only if that is wanted.
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder, range: Range<usize>, observe: bool) {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for call in self.calls[range].iter().filter(|call| observe || !call.observes) {
            call.record(&mut pass);
        }
    }

    /// Records the dispatches `range`, each in a pass of its own between two timestamps. Those that observe do nothing
    /// in it: their timestamps are there all the same, since none may be read that was never taken.
    fn encode_stamped(&self, encoder: &mut wgpu::CommandEncoder, range: Range<usize>, stamps: &Stamps) {
        let end = range.end;
        for i in range {
            let mut pass = encoder
                .begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes: Some(stamps.of(i)) });
            if !self.calls[i].observes {
                self.calls[i].record(&mut pass);
            }
        }
        if end == stamps.range.end {
            stamps.resolve(encoder);
        }
    }

    /// Submits so many runs of the dispatches `range`, one run after another, without those that observe; in parts as
    /// [`parts`](Self::parts) are, where all would take too long at once. With stamps for `range`, each dispatch is
    /// timed.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn submit(&self, gpu: &Gpu, range: Range<usize>, runs: usize, stamps: Option<&Stamps>) -> Result<()> {
        for part in slices_of(&self.times, range, runs, self.slice) {
            let submit = || {
                let mut encoder = gpu.device().create_command_encoder(&Default::default());
                for range in part {
                    match stamps {
                        Some(stamps) => self.encode_stamped(&mut encoder, range, stamps),
                        None => self.encode(&mut encoder, range, false),
                    }
                }
                gpu.queue().submit([encoder.finish()])
            };
            gpu.guarded("running dispatches", submit)?;
        }
        Ok(())
    }
}

impl Call {
    fn record(&self, pass: &mut wgpu::ComputePass) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.storage, &[]);
        pass.set_bind_group(1, &self.uniforms, &self.offsets);
        let [x, y, z] = self.grid;
        pass.dispatch_workgroups(x, y, z);
    }
}

/// All uniforms in one array, and where those of each dispatch start, in bytes.
fn uniforms(program: &Program, alignment: u64) -> (Vec<u32>, Vec<[u32; 2]>) {
    let mut words: Vec<u32> = vec![];
    let align = alignment as usize / 4;
    let mut offsets = vec![];
    for d in &program.dispatches {
        let params: Vec<u32> = d.params.iter().map(|(_, v)| *v).collect();
        offsets.push([&params, &d.chain].map(|part| {
            let start = words.len();
            words.extend(part);
            words.resize(words.len().next_multiple_of(align).max(start), 0);
            4 * start as u32
        }));
    }
    // An empty part may start at the end, and WebGPU asks that its sixteen bytes are there.
    words.resize(words.len() + align.max(64), 0);
    (words, offsets)
}

/// The bytes of `values` as a tensor of this shape and type lies in memory: rows padded with zeros.
pub fn stored(values: &[f32], shape: crate::Shape, dtype: Dtype) -> Vec<u8> {
    let mut bytes = vec![];
    store(values, shape, dtype, &mut bytes);
    bytes
}

/// [`stored`] in the place of what `bytes` holds.
pub(super) fn store(values: &[f32], shape: crate::Shape, dtype: Dtype, bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.resize(shape.stored() * dtype.bytes(), 0);
    let last = if lies_alike(shape) { values.len().max(1) } else { shape.storage().last() };
    let padded = last.next_multiple_of(crate::shape::GROUP);
    let rows = values.chunks_exact(last).zip(bytes.chunks_mut(padded * dtype.bytes()));
    for (row, to) in rows {
        match dtype {
            Dtype::F16 => {
                let to: &mut [half::f16] = bytemuck::cast_slice_mut(&mut to[..2 * last]);
                half::slice::HalfFloatSliceExt::convert_from_f32_slice(to, row);
            }
            _ => to[..4 * last].copy_from_slice(bytemuck::cast_slice(row)),
        }
    }
}

/// Whether rows lie in memory without padding, as the host has them.
pub(super) fn lies_alike(shape: crate::Shape) -> bool {
    shape.stored() == shape.len()
}

/// The reverse of [`stored`]: the values of a tensor without its padding.
pub fn loaded(bytes: &[u8], shape: crate::Shape, dtype: Dtype) -> Vec<f32> {
    let last = shape.storage().last();
    let padded = last.next_multiple_of(crate::shape::GROUP) * dtype.bytes();
    let value = |b: &[u8]| match dtype {
        Dtype::F16 => half::f16::from_le_bytes([b[0], b[1]]).to_f32(),
        Dtype::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        Dtype::U32 => u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32,
    };
    let rows = bytes.chunks_exact(padded);
    rows.flat_map(|row| row.chunks_exact(dtype.bytes()).take(last).map(value)).collect()
}
