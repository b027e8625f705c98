//! Pipelines: made once for each composed text, checked inside an error scope.

use std::{collections::BTreeMap, sync::Arc};
#[cfg(not(target_arch = "wasm32"))]
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

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
    /// [`Error::Shader`] if the shader does not compose, compile or fit the dispatch.
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

    #[cfg(not(target_arch = "wasm32"))]
    async fn compile(&self, distinct: &[&Dispatch]) -> Vec<Result<Arc<Pipeline>>> {
        let made: Vec<_> = distinct.iter().map(|_| OnceLock::new()).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < distinct.len());
            while let Some(i) = take() {
                made[i].get_or_init(|| pollster::block_on(self.pipeline(distinct[i])));
            }
        };
        thread::scope(|scope| {
            (1..self.workers().min(distinct.len())).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        made.into_iter().map(|made| made.into_inner().expect("each was taken once")).collect()
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
        let made = Arc::new(self.compile(dispatch, module).await?);
        self.pipelines.lock().expect("no panic while it is held").insert(wgsl.text, made.clone());
        Ok(made)
    }

    async fn compile(&self, dispatch: &Dispatch, module: naga::Module) -> Result<Pipeline> {
        let device = &self.device;
        let entry = |binding: usize, ty, has_dynamic_offset| wgpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
            count: None,
        };
        let read_only = compose::bindings(&module);
        let storage: Vec<_> = read_only
            .iter()
            .enumerate()
            .map(|(i, &read_only)| entry(i, wgpu::BufferBindingType::Storage { read_only }, false))
            .collect();
        let uniforms = [0, 1].map(|i| entry(i, wgpu::BufferBindingType::Uniform, true));
        let name = dispatch.shader.name;
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let layout = |entries: &[_]| {
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(name), entries })
        };
        let (storage, uniforms) = (layout(&storage), layout(&uniforms));
        // Loops in our files count to a uniform or a constant, so they end; the guard that naga would add costs a
        // third of the matmul's speed and keeps drivers from unrolling. Bounds checks stay.
        let checks = match self.settings.trust {
            true => wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() },
            false => wgpu::ShaderRuntimeChecks::checked(),
        };
        // SAFETY: no loop is infinite, which is all that leaving out the guard asks.
        let module = unsafe {
            device.create_shader_module_trusted(
                wgpu::ShaderModuleDescriptor {
                    label: Some(name),
                    source: wgpu::ShaderSource::Naga(std::borrow::Cow::Owned(module)),
                },
                checks,
            )
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
        match scope.pop().await {
            None => self.lost.check().map(|()| Pipeline { pipeline, storage, uniforms }),
            Some(e) => Err(Error::Shader { shader: name.into(), detail: e.to_string() }),
        }
    }
}
