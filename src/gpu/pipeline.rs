//! Pipelines: made once for each composed text, checked inside an error scope.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};
#[cfg(not(target_arch = "wasm32"))]
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

#[cfg(not(target_arch = "wasm32"))]
use futures::{StreamExt, channel::mpsc};

use super::{
    compose::{self, compose},
    device::{Gpu, Shared},
};
use crate::{Error, Result, dispatch::Dispatch};

/// A compiled shader, and the layouts that its bind groups need.
#[derive(Debug)]
pub struct Pipeline {
    /// wgpu's pipeline.
    pub pipeline: wgpu::ComputePipeline,
    /// Layout of group 0: storage.
    pub storage: wgpu::BindGroupLayout,
    /// Layout of group 1: uniforms with dynamic offsets.
    pub uniforms: wgpu::BindGroupLayout,
}

impl Gpu {
    /// The pipeline of a dispatch's shader.
    ///
    /// # Errors
    /// [`Error::Shader`] if the shader does not compose, compile or fit the dispatch; [`Error::Device`] if the device is
    /// lost.
    pub async fn pipeline(&self, dispatch: &Dispatch) -> Result<Arc<Pipeline>> {
        self.shared.pipeline(dispatch).await
    }

    /// The pipelines of these dispatches, each shader looked up once, and compiled on several threads where there are some.
    ///
    /// # Errors
    /// That of the first dispatch whose [`pipeline`](Self::pipeline) fails.
    pub(super) async fn pipelines(&self, dispatches: &[Dispatch]) -> Result<Vec<Arc<Pipeline>>> {
        let mut numbers = BTreeMap::new();
        let mut distinct = vec![];
        for d in dispatches {
            numbers.entry(&d.shader).or_insert_with(|| {
                distinct.push(d);
                distinct.len() - 1
            });
        }
        let made = self.compile(&distinct).await;
        dispatches.iter().map(|d| made[numbers[&d.shader]].clone()).collect()
    }

    /// On threads of their own: who awaits is free meanwhile.
    #[cfg(not(target_arch = "wasm32"))]
    async fn compile(&self, distinct: &[&Dispatch]) -> Vec<Result<Arc<Pipeline>>> {
        let todo: Arc<[Dispatch]> = distinct.iter().map(|&d| d.clone()).collect();
        let next = Arc::new(AtomicUsize::new(0));
        let (send, mut made) = mpsc::unbounded();
        for _ in 0..self.workers().min(todo.len()) {
            let (gpu, todo, next, send) = (self.clone(), todo.clone(), next.clone(), send.clone());
            thread::spawn(move || {
                let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < todo.len());
                while let Some(i) = take() {
                    if send.unbounded_send((i, pollster::block_on(gpu.pipeline(&todo[i])))).is_err() {
                        break; // nobody awaits them any more
                    }
                }
            });
        }
        drop(send);
        let mut found = BTreeMap::new();
        while let Some((i, pipeline)) = made.next().await {
            found.insert(i, pipeline);
        }
        let lost = |d: &Dispatch| Error::Shader {
            shader: d.shader.name.into(),
            detail: "the driver's compiler failed".into(),
        };
        todo.iter().enumerate().map(|(i, d)| found.remove(&i).unwrap_or_else(|| Err(lost(d)))).collect()
    }

    #[cfg(target_arch = "wasm32")]
    async fn compile(&self, distinct: &[&Dispatch]) -> Vec<Result<Arc<Pipeline>>> {
        let mut made = vec![];
        for dispatch in distinct {
            made.push(self.pipeline(dispatch).await);
        }
        made
    }
}

impl Shared {
    pub(super) async fn pipeline(&self, dispatch: &Dispatch) -> Result<Arc<Pipeline>> {
        let wgsl = compose(&dispatch.shader, &self.caps)?;
        if let Some(p) = self.pipelines.lock().expect("no panic while it is held").get(&wgsl.text) {
            return Ok(p.clone());
        }
        let (module, _) = compose::parse(&dispatch.shader, &wgsl, &self.caps)?;
        compose::check(dispatch, &module)?;
        let read_only = compose::bindings(&module);
        // A browser has a compiler of its own, which takes the text as it is. What naga would write of f32's lowest number,
        // 3402823…, is none to it.
        let source = match cfg!(target_arch = "wasm32") {
            true => wgpu::ShaderSource::Wgsl(wgsl.text.clone().into()),
            false => wgpu::ShaderSource::Naga(Cow::Owned(module)),
        };
        let made = Arc::new(self.compile(dispatch, &read_only, source).await?);
        self.pipelines.lock().expect("no panic while it is held").insert(wgsl.text, made.clone());
        Ok(made)
    }

    async fn compile(
        &self,
        dispatch: &Dispatch,
        read_only: &[bool],
        source: wgpu::ShaderSource<'_>,
    ) -> Result<Pipeline> {
        let device = &self.device;
        let entry = |binding: usize, ty, has_dynamic_offset| wgpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
            count: None,
        };
        let storage: Vec<_> = read_only
            .iter()
            .enumerate()
            .map(|(i, &read_only)| entry(i, wgpu::BufferBindingType::Storage { read_only }, false))
            .collect();
        let uniforms = [0, 1].map(|i| entry(i, wgpu::BufferBindingType::Uniform, true));
        let name = dispatch.shader.name;
        let layout = |entries: &[_]| {
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(name), entries })
        };
        // Loops in our files count to a constant, a uniform, or what was made of these before they began; or they take bit after
        // bit from a word in a register, which has 32 (scatter). So they end; the guard that naga would add costs a third of the
        // matmul's speed and keeps drivers from unrolling. Bounds checks stay.
        let checks = match self.settings.trust {
            true => wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() },
            false => wgpu::ShaderRuntimeChecks::checked(),
        };
        let compile = || {
            let (storage, uniforms) = (layout(&storage), layout(&uniforms));
            // SAFETY: no loop is infinite, which is all that leaving out the guard asks.
            let module = unsafe {
                device.create_shader_module_trusted(wgpu::ShaderModuleDescriptor { label: Some(name), source }, checks)
            };
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(name),
                layout: Some(&device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                    label: Some(name),
                    bind_group_layouts: &[Some(&storage), Some(&uniforms)],
                    immediate_size: 0,
                })),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: dispatch.shader.zeroed || !self.settings.trust,
                    ..Default::default()
                },
                cache: None,
            });
            Pipeline { pipeline, storage, uniforms }
        };
        let made = self.asked("compiling", compile).await;
        // Of a device that is there, it is the compiler that refused.
        self.lost.check()?;
        made.map_err(|e| match e {
            Error::Device(detail) => Error::Shader { shader: name.into(), detail },
            other => other,
        })
    }
}
