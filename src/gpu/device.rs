//! Adapters and devices: choice, features, limits, and devices that belong to somebody else.

use std::{
    collections::BTreeMap,
    env,
    sync::{Arc, Mutex},
};

#[cfg(target_arch = "wasm32")]
use super::lost::Scopes;
use super::{lost::Lost, pipeline::Pipeline, probe, settings::Settings};
use crate::{
    Dtype, Error, Result,
    caps::{Caps, Kind, Matrices},
};

/// A device with its queue, what its adapter can do, and the pipelines made so far. Cloning shares all of it.
#[derive(Debug, Clone)]
pub struct Gpu {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub caps: Caps,
    pub settings: Settings,
    pub info: wgpu::AdapterInfo,
    /// The cooperative matrices that the device has, whether they are used or not.
    pub matrices: Vec<Matrices>,
    /// By the composed text: equal shaders are one pipeline.
    pub pipelines: Mutex<BTreeMap<String, Arc<Pipeline>>>,
    pub lost: Lost,
}

/// Which adapter to take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice {
    /// What the environment names (`HALFGRAD_ADAPTER`, `WGPU_ADAPTER_NAME`), else discrete, integrated, software.
    #[default]
    Best,
    /// By its place in [`adapters`].
    Index(usize),
    /// By a part of "backend name driver", in any case: `radeon`, `vulkan llvmpipe`. A number is a place, where there
    /// are so many adapters: `1` is the second of two, and `3060` a part of a name.
    Name(String),
}

impl From<&str> for Choice {
    fn from(s: &str) -> Self {
        Choice::Name(s.to_owned())
    }
}

/// Features that are used where the adapter has them.
const WANTED: wgpu::Features = wgpu::Features::SHADER_F16
    .union(wgpu::Features::SHADER_INT64)
    .union(wgpu::Features::SUBGROUP)
    .union(wgpu::Features::TIMESTAMP_QUERY);

/// What is used where the user has switched it on.
const COOPERATIVE: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env())
}

/// Every adapter, in wgpu's order, as `WGPU_BACKEND` allows.
pub async fn adapters() -> Vec<wgpu::Adapter> {
    instance().enumerate_adapters(wgpu::Backends::all()).await
}

/// The features and limits that are used where an adapter has them: what an app that opens the device itself may ask for.
pub fn wanted(adapter: &wgpu::Adapter) -> (wgpu::Features, wgpu::Limits) {
    (adapter.features() & WANTED, adapter.limits())
}

/// "Vulkan llvmpipe (LLVM 15.0.6, 256 bits)": backend and name.
pub fn title(info: &wgpu::AdapterInfo) -> String {
    format!("{:?} {}", info.backend, info.name)
}

fn kind(info: &wgpu::AdapterInfo) -> Kind {
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => Kind::Discrete,
        wgpu::DeviceType::IntegratedGpu => Kind::Integrated,
        wgpu::DeviceType::Cpu => Kind::Software,
        _ => Kind::Virtual,
    }
}

/// Where an adapter stands in the default order: kind first, then what can do f16, then native APIs before GL.
/// `WGPU_POWER_PREF=low` puts integrated GPUs before discrete ones.
fn rank(adapter: &wgpu::Adapter) -> impl Ord {
    let info = adapter.get_info();
    let kind = kind(&info);
    let thrifty = wgpu::PowerPreference::from_env() == Some(wgpu::PowerPreference::LowPower);
    let second = thrifty && kind == Kind::Discrete;
    let f16 = adapter.features().contains(wgpu::Features::SHADER_F16);
    (kind > Kind::Integrated, second, kind, !f16, info.backend == wgpu::Backend::Gl)
}

/// The place in `found` of the adapter that `choice` takes.
///
/// # Errors
/// [`Error::Adapter`] if none fits, with a list of those there are.
pub fn choose(choice: &Choice, found: &[wgpu::Adapter]) -> Result<usize> {
    let named = ["HALFGRAD_ADAPTER", "WGPU_ADAPTER_NAME"].iter().find_map(|v| env::var(v).ok());
    let named = match (choice, named) {
        (Choice::Best, Some(name)) if !name.is_empty() => Some(Choice::Name(name)),
        _ => None,
    };
    let choice = named.as_ref().unwrap_or(choice);
    let list = || {
        let lines = found.iter().enumerate().map(|(i, a)| format!("{i}: {}", title(&a.get_info())));
        lines.collect::<Vec<_>>().join("; ")
    };
    if found.is_empty() {
        let advice = match env::var("WGPU_BACKEND") {
            Ok(backend) => format!("WGPU_BACKEND is {backend:?}, which may leave none"),
            Err(_) => "install a driver for Vulkan, Metal or DX12 (Debian and Ubuntu: mesa-vulkan-drivers)".to_owned(),
        };
        return Err(Error::Adapter(format!("no adapter found: {advice}")));
    }
    let chosen = match choice {
        Choice::Best => (0..found.len()).min_by_key(|&i| rank(&found[i])),
        Choice::Index(i) => (*i < found.len()).then_some(*i),
        Choice::Name(place) if place.parse().is_ok_and(|i: usize| i < found.len()) => place.parse().ok(),
        Choice::Name(part) => {
            let part = part.to_lowercase();
            let fits = |i: &usize| {
                let info = found[*i].get_info();
                format!("{} {}", title(&info), info.driver).to_lowercase().contains(&part)
            };
            (0..found.len()).filter(fits).min_by_key(|&i| rank(&found[i]))
        }
    };
    chosen.ok_or_else(|| {
        Error::Adapter(match choice {
            Choice::Index(i) => format!("no adapter has the number {i}; there are {}", list()),
            Choice::Name(n) if n.parse::<usize>().is_ok() => {
                format!("no adapter has the number {n} or is called so; there are {}", list())
            }
            Choice::Name(part) => format!("no adapter is called {part:?}; there are {}", list()),
            Choice::Best => unreachable!("any adapter will do"),
        })
    })
}

impl Gpu {
    /// The adapter that the environment names, else the best one.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new() -> Result<Self> {
        pollster::block_on(Self::request(Choice::Best))
    }

    /// The adapter of this index or part of a name.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn named(choice: impl Into<Choice>) -> Result<Self> {
        pollster::block_on(Self::request(choice.into()))
    }

    /// Opens a device on the chosen adapter, with all limits and the features that this crate uses.
    ///
    /// # Errors
    /// [`Error::Adapter`] if none fits, with a list of those there are; [`Error::Device`] if it does not open;
    /// [`Error::Name`] if the environment has settings that cannot be read.
    pub async fn request(choice: Choice) -> Result<Self> {
        let settings = Settings::from_env()?;
        let mut found = adapters().await;
        let adapter = found.swap_remove(choose(&choice, &found)?);
        let (mut required_features, required_limits) = wanted(&adapter);
        if settings.cooperative {
            required_features |= adapter.features() & COOPERATIVE;
        }
        let experimental_features = match required_features.contains(COOPERATIVE) {
            // SAFETY: wgpu asks to be told of the bugs that these features have, and the user has switched them on. Our shaders
            // load matrices from workgroup memory alone, by whole subgroups.
            true => unsafe { wgpu::ExperimentalFeatures::enabled() },
            false => wgpu::ExperimentalFeatures::disabled(),
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("halfgrad"),
            required_features,
            experimental_features,
            required_limits,
            ..Default::default()
        };
        let opened = adapter.request_device(&descriptor).await;
        let (device, queue) = opened.map_err(|e| Error::Device(format!("{}: {e}", title(&adapter.get_info()))))?;
        let (lost, matrices) = (Lost::of(&device), matrices(&adapter, &device));
        Self::from_parts(device, queue, adapter.get_info(), matrices, settings, lost).await
    }

    /// Uses a device and queue that an app owns already; only features enabled on the device are used, of which [`wanted`] tells what
    /// to ask for. It is called once and the `Gpu` cloned: weights and plans of two calls do not belong together.
    ///
    /// # Errors
    /// [`Error::Unsupported`] naming the limit that is too low; [`Error::Name`] for an environment variable that says nothing known;
    /// [`Error::Device`] or [`Error::Memory`] if the device does not run what tells how it rounds.
    pub async fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        let info = device.adapter_info();
        Self::from_parts(device, queue, info, vec![], Settings::from_env()?, Lost::default()).await
    }

    /// As [`from_wgpu`](Self::from_wgpu), with settings, and with the device's adapter, which alone says what cooperative matrices
    /// there are: they are used if the device was opened with wgpu's feature and [`Settings::cooperative`] is set.
    ///
    /// # Errors
    /// As [`from_wgpu`](Self::from_wgpu).
    pub async fn from_adapter(
        adapter: &wgpu::Adapter,
        device: wgpu::Device,
        queue: wgpu::Queue,
        settings: Settings,
    ) -> Result<Self> {
        let matrices = matrices(adapter, &device);
        Self::from_parts(device, queue, adapter.get_info(), matrices, settings, Lost::default()).await
    }

    async fn from_parts(
        device: wgpu::Device,
        queue: wgpu::Queue,
        info: wgpu::AdapterInfo,
        matrices: Vec<Matrices>,
        settings: Settings,
        lost: Lost,
    ) -> Result<Self> {
        lost.check()?;
        let mut caps = caps(&info, &device.features(), &device.limits());
        let least = [
            ("max_storage_buffers_per_shader_stage", caps.storage_buffers, 8),
            ("max_compute_invocations_per_workgroup", caps.invocations, 64),
            ("max_compute_workgroups_per_dimension", caps.workgroups, 32768),
            ("max_compute_workgroup_storage_size", caps.workgroup_bytes, Caps::LEAST_WORKGROUP_BYTES),
            // The log of losses.
            ("max_storage_buffer_binding_size", caps.binding_bytes.try_into().unwrap_or(u32::MAX), 4096),
        ];
        if let Some((limit, has, needs)) = least.into_iter().find(|(_, has, needs)| has < needs) {
            let detail =
                format!("{limit} is {has} and must be {needs}; ask for wgpu::Limits::default() or adapter.limits()");
            return Err(Error::Unsupported { adapter: caps.adapter, detail });
        }
        (caps.shader_f16, caps.memory) = (caps.shader_f16 && settings.f16, settings.memory);
        caps.kind = settings.kind.unwrap_or(caps.kind);
        if !settings.subgroups {
            caps.subgroup = (0, 0);
        }
        if settings.cooperative {
            caps.matrices.clone_from(&matrices);
        }
        let gpu = |caps: &Caps| {
            let (device, queue, lost) = (device.clone(), queue.clone(), lost.clone());
            let (caps, settings, info, matrices) = (caps.clone(), settings.clone(), info.clone(), matrices.clone());
            let pipelines = Mutex::default();
            Gpu { shared: Arc::new(Shared { device, queue, caps, settings, info, matrices, pipelines, lost }) }
        };
        // A native way that is inexact leaves the packed one, which may be inexact too.
        if caps.native_halves(Dtype::F32) {
            caps.store_exact = probe::pack::is_exact(&gpu(&caps)).await?;
        }
        if !caps.native_halves(Dtype::F32) {
            caps.pack_exact = probe::pack::is_exact(&gpu(&caps)).await?;
        }
        Ok(gpu(&caps))
    }

    /// The same device under other settings; plans made with either may share weights.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn with(&self, settings: Settings) -> Result<Self> {
        let Shared { device, queue, info, matrices, lost, .. } = &*self.shared;
        Self::from_parts(device.clone(), queue.clone(), info.clone(), matrices.clone(), settings, lost.clone()).await
    }

    /// What the device is used with.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Fails if the device is known to be lost.
    pub(crate) fn check(&self) -> Result<()> {
        self.shared.lost.check()
    }

    /// What the adapter can do.
    pub fn caps(&self) -> &Caps {
        &self.shared.caps
    }

    /// The adapter, as wgpu describes it.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.shared.info
    }

    /// The device.
    pub fn device(&self) -> &wgpu::Device {
        &self.shared.device
    }

    /// The queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.shared.queue
    }

    /// How many threads may use the device at once.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn workers(&self) -> usize {
        match self.info().backend {
            // Of threads that share a GL context, wgpu panics in one that has waited six seconds for it.
            wgpu::Backend::Gl => 1,
            _ => std::thread::available_parallelism().map_or(1, |n| n.get().min(8)),
        }
    }

    /// Waits until the device has done everything submitted so far. Callbacks that are due run meanwhile, an app's own
    /// too: where one of them panics, so does the wait.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn wait(&self) -> Result<()> {
        self.wait_for(None)
    }

    /// Waits until the device has done a submission, or all of them.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn wait_for(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        super::readback::wait(&self.shared, submission)
    }

    /// Asks the device for something that it may refuse, without a wait: in a browser nobody hears of an error then.
    ///
    /// # Errors
    /// [`Error::Memory`] and [`Error::Device`].
    pub(crate) fn guarded<T>(&self, doing: &str, ask: impl FnOnce() -> T) -> Result<T> {
        #[cfg(not(target_arch = "wasm32"))]
        return pollster::block_on(self.shared.asked(doing, ask));
        #[cfg(target_arch = "wasm32")]
        {
            let _ = doing;
            let scopes = Scopes::push(self.device());
            let made = ask();
            drop(scopes.pop());
            Ok(made)
        }
    }

    /// Remembers what nobody could be told who asked for it: whatever is read next fails, since it would not be right.
    pub(crate) fn remember<T>(&self, told: Result<T>) {
        match told {
            Ok(_) => {}
            Err(Error::Device(why)) => self.shared.lost.lose(why),
            Err(e) => self.shared.lost.lose(e.to_string()),
        }
    }

    /// Whether both stand for one device, as clones do. wgpu's own comparison takes devices of two instances for equal.
    pub(crate) fn shares_device(&self, other: &Gpu) -> bool {
        self.shared.lost == other.shared.lost
    }

    /// The same device with the feature left out, as if the adapter did not have it.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn without_f16(&self) -> Result<Self> {
        self.with(Settings { f16: false, ..self.settings().clone() }).await
    }
}

/// The cooperative matrices that a device may use: square ones of floats.
fn matrices(adapter: &wgpu::Adapter, device: &wgpu::Device) -> Vec<Matrices> {
    let dtype = |scalar| match scalar {
        wgpu::CooperativeScalarType::F16 => Some(Dtype::F16),
        wgpu::CooperativeScalarType::F32 => Some(Dtype::F32),
        _ => None,
    };
    let square = |m: &wgpu::CooperativeMatrixProperties| {
        let same = m.m_size == m.n_size && m.n_size == m.k_size;
        same.then_some(Matrices { size: m.m_size, operands: dtype(m.ab_type)?, sums: dtype(m.cr_type)? })
    };
    match device.features().contains(COOPERATIVE) {
        true => adapter.cooperative_matrix_properties().iter().filter_map(square).collect(),
        false => vec![],
    }
}

/// What an adapter or a device is, as plain data.
pub fn caps(info: &wgpu::AdapterInfo, features: &wgpu::Features, limits: &wgpu::Limits) -> Caps {
    Caps {
        adapter: title(info),
        kind: kind(info),
        shader_f16: features.contains(wgpu::Features::SHADER_F16),
        shader_int64: features.contains(wgpu::Features::SHADER_INT64),
        store_exact: true,
        pack_exact: true,
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        // Browsers ask for `enable subgroups;`, which naga refuses.
        subgroup: match features.contains(wgpu::Features::SUBGROUP) && info.backend != wgpu::Backend::BrowserWebGpu {
            true => (info.subgroup_min_size, info.subgroup_max_size),
            false => (0, 0),
        },
        matrices: vec![],
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
        binding_bytes: limits.max_storage_buffer_binding_size & !15,
        buffer_bytes: limits.max_buffer_size & !15,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        invocations: limits.max_compute_invocations_per_workgroup,
        workgroups: limits.max_compute_workgroups_per_dimension,
        storage_alignment: limits.min_storage_buffer_offset_alignment.into(),
        uniform_alignment: limits.min_uniform_buffer_offset_alignment.into(),
        memory: None,
        fastest: Arc::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Adam, Graph, Init, Plan, Precision, Weights};

    /// The same device, as if its native stores and `pack2x16float` rounded toward zero.
    fn inexact(gpu: &Gpu) -> Gpu {
        let Shared { device, queue, caps, settings, info, matrices, lost, .. } = &*gpu.shared;
        let shared = Shared {
            device: device.clone(),
            queue: queue.clone(),
            caps: Caps { store_exact: false, pack_exact: false, ..caps.clone() },
            settings: settings.clone(),
            info: info.clone(),
            matrices: matrices.clone(),
            pipelines: Mutex::default(),
            lost: lost.clone(),
        };
        Gpu { shared: Arc::new(shared) }
    }

    fn trained(gpu: &Gpu, precision: Precision) -> Vec<u32> {
        let graph = Graph::new(precision);
        let (first, second) =
            (graph.weight("first", [8, 16], Init::Kaiming), graph.weight("second", [16, 3], Init::Kaiming));
        let loss = graph.input("x", [5, 8]).matmul(first).relu().matmul(second).square().mean_all();
        let weights = Weights::init(gpu, &graph, 7).unwrap();
        let mut plan = Plan::train(gpu, &weights, loss, Adam::new(1e-2)).unwrap();
        plan.write("x", &[0.3f32; 40].map(|v| v * 1.1)).unwrap();
        (0..9).for_each(|_| plan.run());
        let values = ["first", "second"].map(|name| weights.get(name).unwrap().wait().unwrap());
        values.into_iter().flatten().map(f32::to_bits).collect()
    }

    #[test]
    fn where_native_stores_are_inexact_halves_are_packed_and_train_to_the_same_bits() {
        let gpu = Gpu::new().unwrap();
        let settings = Settings { kind: Some(Kind::Discrete), ..gpu.settings().clone() };
        let exact = pollster::block_on(gpu.with(settings)).unwrap();
        let inexact = inexact(&exact);
        for text in ["f16", "f16+nearest", "mixed", "f16-strict"] {
            let precision: Precision = text.parse().unwrap();
            if exact.caps().supports(precision).is_ok() {
                assert_eq!(inexact.caps().how(precision), if text == "f16-strict" { "native" } else { "packed" });
                assert_eq!(trained(&exact, precision), trained(&inexact, precision), "{text}");
            }
        }
    }
}
