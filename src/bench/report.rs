//! What a run found. With feature `cli` these types are the format of `bench --json`; a change of it is a new
//! [`FORMAT`].

use std::time::SystemTime;

#[cfg(feature = "cli")]
use serde::{Deserialize, Serialize};

use super::{Scope, suite, timing::Timing};
use crate::{Gpu, Precision};

/// The version of the format.
pub const FORMAT: u32 = 2;

/// One run on one adapter.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "cli", derive(Serialize, Deserialize))]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of this crate.
    pub halfgrad: String,
    /// Which workloads: [`suite::name`].
    pub suite: String,
    /// When, in seconds since 1970.
    pub unix_time: u64,
    /// How long all of it took, in seconds.
    pub seconds: f64,
    /// The precisions that were asked for.
    pub precisions: Vec<String>,
    /// On what.
    pub adapter: Adapter,
    /// What is unusual in how it was used: [`Settings::description`](crate::gpu::Settings::description).
    pub settings: String,
    /// Clock rates at the start and the end, as far as the system tells them.
    pub clocks: Vec<Clock>,
    /// What the adapter can do.
    pub limits: Limits,
    /// Kernels by themselves.
    pub kernels: Vec<Entry>,
    /// Whole training steps.
    pub steps: Vec<Entry>,
    /// What is missing, and why.
    pub not_run: Vec<NotRun>,
    /// How the device was lost and in what, if it was: then all that should have followed is missing.
    pub lost: Option<String>,
}

impl Report {
    /// A report of which only the limits are known.
    pub(super) fn empty(gpu: &Gpu, scope: &Scope, limits: Limits) -> Self {
        Report {
            format: FORMAT,
            halfgrad: env!("CARGO_PKG_VERSION").into(),
            suite: suite::name(scope.quick),
            unix_time: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_secs()),
            seconds: 0.0,
            precisions: scope.precisions.iter().map(ToString::to_string).collect(),
            adapter: Adapter::of(gpu),
            settings: gpu.settings().description(),
            clocks: vec![],
            limits,
            kernels: vec![],
            steps: vec![],
            not_run: vec![],
            lost: None,
        }
    }
}

/// An adapter and its driver.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "cli", derive(Serialize, Deserialize))]
pub struct Adapter {
    /// As the driver calls it.
    pub name: String,
    /// Vulkan, Metal, Dx12 or Gl.
    pub backend: String,
    /// Discrete, integrated, software.
    pub kind: String,
    /// PCI identifiers of vendor and device.
    pub vendor: u32,
    /// See `vendor`.
    pub device: u32,
    /// The driver's name.
    pub driver: String,
    /// Its version.
    pub driver_info: String,
    /// The operating system and the processor's architecture.
    pub system: String,
    /// Whether shaders may use f16; if not, halves are packed in words.
    pub shader_f16: bool,
    /// Whether there is GPU time.
    pub timestamps: bool,
    /// Smallest and largest subgroup, or zeros.
    pub subgroup: (u32, u32),
    /// Bytes of the largest binding.
    pub binding_bytes: u64,
    /// Bytes of memory that a workgroup shares.
    pub workgroup_bytes: u32,
    /// Invocations of the largest workgroup.
    pub invocations: u32,
}

impl Adapter {
    /// The adapter behind a device.
    pub fn of(gpu: &Gpu) -> Self {
        let (info, caps) = (gpu.info(), gpu.caps());
        Adapter {
            name: info.name.clone(),
            backend: format!("{:?}", info.backend),
            kind: caps.kind.name().into(),
            vendor: info.vendor,
            device: info.device,
            driver: info.driver.clone(),
            driver_info: info.driver_info.clone(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            shader_f16: caps.shader_f16,
            timestamps: caps.timestamps,
            subgroup: caps.subgroup,
            binding_bytes: caps.binding_bytes,
            workgroup_bytes: caps.workgroup_bytes,
            invocations: caps.invocations,
        }
    }
}

/// A clock rate, in megahertz.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "cli", derive(Serialize, Deserialize))]
pub struct Clock {
    /// Whose.
    pub of: String,
    /// Before the first entry.
    pub start_mhz: f64,
    /// After the last.
    pub end_mhz: f64,
}

/// A median with its interval of 95 %; of fewer than six runs, with the least and the largest value.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "cli", derive(Serialize, Deserialize))]
pub struct Sample {
    /// The median.
    pub median: f64,
    /// Where the interval begins, or the least value.
    pub low: f64,
    /// Where it ends, or the largest.
    pub high: f64,
    /// How many repetitions.
    pub runs: usize,
}

impl Sample {
    /// The interval that holds the true median at 95 %; even all of five values are not so sure.
    pub fn interval(&self) -> Option<(f64, f64)> {
        (self.runs >= 6).then_some((self.low, self.high))
    }

    /// The sample with `f`, which may turn the order round, applied to its values.
    pub fn map(self, f: impl Fn(f64) -> f64) -> Self {
        let (a, b) = (f(self.low), f(self.high));
        Sample { median: f(self.median), low: a.min(b), high: a.max(b), runs: self.runs }
    }
}

/// A rate of the adapter's.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "cli", derive(Serialize, Deserialize))]
pub struct Rate {
    /// Of what.
    pub name: String,
    /// How much.
    pub rate: Sample,
}

/// What an adapter can do, measured.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "cli", derive(Serialize, Deserialize))]
pub struct Limits {
    /// Multiply-adds in registers, in GFLOP/s: `f32`; `f16` in native registers; `f16 packed`, rounded to halves in a
    /// word after each.
    pub fma: Vec<Rate>,
    /// Copies from buffer to buffer by the type of an element, in GB/s read and written.
    pub copy: Vec<Rate>,
    /// Host to device, in GB/s.
    pub upload: Sample,
    /// Device to host, in GB/s.
    pub readback: Sample,
    /// One dispatch more in a submission, in microseconds.
    pub dispatch_us: Sample,
    /// A submission of one dispatch, with the wait for its end, in microseconds.
    pub submit_us: Sample,
    /// A pipeline that no cache knows, in milliseconds.
    pub pipeline_ms: Sample,
}

impl Limits {
    /// The multiply-adds that kernels of this precision can do, in FLOP/s: by the type of their registers.
    pub fn flops(&self, precision: Precision) -> f64 {
        let name = precision.acc().to_string();
        self.fma.iter().find(|r| r.name == name).map_or(f64::NAN, |r| 1e9 * r.rate.median)
    }

    /// The seconds that the limits allow for so many operations on so many bytes: the longer of both.
    pub fn seconds(&self, precision: Precision, flops: u64, bytes: u64) -> f64 {
        (flops as f64 / self.flops(precision)).max(bytes as f64 / self.bandwidth())
    }

    /// The fastest copy, in bytes a second.
    pub fn bandwidth(&self) -> f64 {
        1e9 * self.copy.iter().map(|r| r.rate.median).fold(0.0, f64::max)
    }
}

/// A kernel or a step, in one precision.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "cli", derive(Serialize, Deserialize))]
pub struct Entry {
    /// What was done: `matmul 64×64×64`, `mlp batch 16`.
    pub id: String,
    /// In which precision.
    pub precision: String,
    /// `native` or `packed`.
    pub how: String,
    /// Dispatches in one run.
    pub dispatches: usize,
    /// Floating-point operations in one run, a multiply-add counted as two.
    pub flops: u64,
    /// Bytes read and written, each operand counted once a dispatch.
    pub bytes: u64,
    /// Bytes of buffers on the device.
    pub device_bytes: u64,
    /// The first run, in milliseconds.
    pub first_ms: f64,
    /// By the host's clock, in milliseconds.
    pub wall_ms: Sample,
    /// By the device's, in milliseconds.
    pub gpu_ms: Option<Sample>,
    /// FLOPs a second, in billions, by the device's clock if there is one.
    pub gflops: f64,
    /// Bytes a second, in billions.
    pub gbps: f64,
    /// The time that the measured limits allow, over the time that it took. More than 1 where operands fit a cache that
    /// those of the measured copy do not.
    pub roofline: f64,
    /// The largest difference from f64, over the largest magnitude; of a step, that of its first loss. `None` where f64
    /// would take too long, or there is no reference.
    pub error: Option<f64>,
}

impl Entry {
    /// The time that counts: the device's if there is one, else the host's.
    pub fn ms(&self) -> Sample {
        self.gpu_ms.unwrap_or(self.wall_ms)
    }

    /// FLOPs a byte.
    pub fn intensity(&self) -> f64 {
        self.flops as f64 / self.bytes as f64
    }
}

/// What could not be measured.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "cli", derive(Serialize, Deserialize))]
pub struct NotRun {
    /// What should have been done.
    pub id: String,
    /// In which precision.
    pub precision: String,
    /// Why it was not.
    pub reason: String,
}

/// What is known of an entry before it is held against the limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// How long it took.
    pub timing: Timing,
    /// Dispatches in one run.
    pub dispatches: usize,
    /// See [`Entry::flops`].
    pub flops: u64,
    /// See [`Entry::bytes`].
    pub bytes: u64,
    /// See [`Entry::device_bytes`].
    pub device_bytes: u64,
    /// See [`Entry::error`].
    pub error: Option<f64>,
}

impl Measured {
    /// Held against the limits, the line of a report.
    pub fn entry(self, id: String, precision: Precision, gpu: &Gpu, limits: &Limits) -> Entry {
        let (flops, bytes) = (self.flops as f64, self.bytes as f64);
        let seconds = self.timing.device().median;
        Entry {
            id,
            precision: precision.to_string(),
            how: gpu.caps().how(precision).into(),
            dispatches: self.dispatches,
            flops: self.flops,
            bytes: self.bytes,
            device_bytes: self.device_bytes,
            first_ms: 1e3 * self.timing.first,
            wall_ms: self.timing.wall.map(|t| 1e3 * t),
            gpu_ms: self.timing.gpu.map(|sample| sample.map(|t| 1e3 * t)),
            gflops: flops / seconds / 1e9,
            gbps: bytes / seconds / 1e9,
            roofline: limits.seconds(precision, self.flops, self.bytes) / seconds,
            error: self.error,
        }
    }
}
