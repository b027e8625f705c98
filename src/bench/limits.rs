//! What an adapter can do: arithmetic, memory, and what it costs to ask for anything.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Instant, SystemTime},
};

use super::{
    Effort, Scope,
    report::{Limits, Rate, Sample},
    timing::{Work, sample},
};
use crate::{
    Caps, Dtype, Gpu, Precision, Result,
    dispatch::{Dispatch, Operand, Program, Role, Shader, Source},
    gpu::{Executable, Reading},
};

/// Invocations of the loop of multiply-adds.
const INVOCATIONS: usize = 1 << 17;
/// FLOPs of one of its rounds: eight chains of four values.
const ROUND: usize = 2 * 8 * 4;
/// How long the loop takes at least, in seconds: long enough that its launch does not count.
const LONG: f64 = 4e-3;
/// Dispatches in the submission that shows what one of them costs.
const MANY: usize = 256;

/// The elements that copies are made of: name, type, bytes, and whether they need native f16.
const ELEMENTS: [(&str, &str, usize, bool); 5] = [
    ("u32", "u32", 4, false),
    ("vec2 u32", "vec2<u32>", 8, false),
    ("vec4 u32", "vec4<u32>", 16, false),
    ("f16", "f16", 2, true),
    ("vec4 f16", "vec4<f16>", 8, true),
];

/// The loops of multiply-adds: name, precision, and whether each result is rounded as memory holds it.
const LOOPS: [(&str, Precision, u32); 3] =
    [("f32", Precision::F32, 0), ("f16", Precision::F16_STRICT, 0), (PACKED, Precision::F16, 1)];
/// The loop on halves in words, whatever the adapter can do.
const PACKED: &str = "f16 packed";

/// What is run on an adapter, and in which precision: for checks of shaders.
pub fn programs(caps: &Caps) -> Vec<(Program, Precision)> {
    let loops = LOOPS.into_iter().filter(|(_, precision, _)| caps.supports(*precision).is_ok());
    let loops = loops.map(|(_, precision, stored)| (loops_of(precision, stored, 0, INVOCATIONS, 1), precision));
    let copies = elements(caps).map(|(_, element, size, _)| (copy_of(element, size, 1 << 20), Precision::F32));
    loops.chain(copies).collect()
}

fn elements(caps: &Caps) -> impl Iterator<Item = (&'static str, &'static str, usize, bool)> {
    ELEMENTS.into_iter().filter(|(.., f16)| caps.shader_f16 || !f16)
}

/// Measures an adapter's limits.
///
/// # Errors
/// What the device cannot compile or hold.
pub fn measure(gpu: &Gpu, scope: &Scope) -> Result<Limits> {
    let effort = scope.effort();
    let packed = pollster::block_on(gpu.without_f16())?;
    let mut fma = vec![];
    for (name, precision, stored) in LOOPS {
        let gpu = if name == PACKED { &packed } else { gpu };
        if gpu.caps().supports(precision).is_ok() {
            fma.push(Rate { name: name.into(), rate: multiply_adds(gpu, precision, stored, effort)? });
        }
    }
    let bytes = gpu.caps().binding_bytes.min(if scope.quick { 32 << 20 } else { 128 << 20 }) as usize;
    let mut copy = vec![];
    for (name, element, size, _) in elements(gpu.caps()) {
        copy.push(Rate { name: name.into(), rate: copies(gpu, element, size, bytes, effort)? });
    }
    let (upload, readback) = transfers(gpu, bytes / 2, effort)?;
    let (dispatch_us, submit_us) = overheads(gpu, effort)?;
    let pipeline_ms = sample(effort, || compile(gpu))?.map(|t| 1e3 * t);
    Ok(Limits { fma, copy, upload, readback, dispatch_us, submit_us, pipeline_ms })
}

/// Buffers of `Source::Plan` only, so that nobody else is asked for any.
fn executable(gpu: &Gpu, program: &Program) -> Result<Executable> {
    pollster::block_on(Executable::new(gpu, program, |_| unreachable!("limits share no buffers")))
}

fn operand(program: &mut Program, bytes: usize, dtype: Dtype) -> Operand {
    let buffer = program.buffer("bench", Role::Activations, Source::Plan, bytes as u64);
    Operand { buffer, offset: 0, shape: [bytes / dtype.bytes()].into(), dtype }
}

/// The loop, for so many invocations and rounds.
fn loops_of(precision: Precision, stored: u32, salt: u32, invocations: usize, rounds: usize) -> Program {
    let source = include_str!("../../shaders/bench_fma.wgsl");
    let shader = Shader::new("bench_fma", source, precision.storage, precision);
    let mut program = Program::default();
    let y = operand(&mut program, invocations * 4 * precision.storage.bytes(), precision.storage);
    program.push(
        Dispatch::new("bench_fma", shader.constant("STORED", stored).constant("SALT", salt))
            .write(y)
            .param("rounds", rounds)
            .param_f32("factor", 0.5)
            .workgroups(invocations / 64),
    );
    program
}

/// A copy of so many bytes, element by element.
fn copy_of(element: &str, size: usize, bytes: usize) -> Program {
    // Types are those of f16 where the element is, so that the composition enables it.
    let dtype = if element.contains("f16") { Dtype::F16 } else { Dtype::F32 };
    let shader =
        Shader::new("bench_copy", include_str!("../../shaders/bench_copy.wgsl"), dtype, Precision::F32).acc(dtype);
    let mut program = Program::default();
    let [x, y] = [(); 2].map(|()| operand(&mut program, bytes, dtype));
    program.push(
        Dispatch::new("bench_copy", shader)
            .splice("element", format!("alias element = {element};"))
            .read(x)
            .write(y)
            .param("elements", bytes / size)
            .workgroups((bytes / size).div_ceil(64)),
    );
    program
}

/// FLOPs a second, in billions.
fn multiply_adds(gpu: &Gpu, precision: Precision, stored: u32, effort: Effort) -> Result<Sample> {
    let mut rounds = 1;
    loop {
        let executable = executable(gpu, &loops_of(precision, stored, 0, INVOCATIONS, rounds))?;
        let work = Work { gpu, executable: &executable, range: 0..1 };
        let seconds = work.repeat(1)?.min(work.repeat(1)?);
        if seconds >= LONG {
            let timing = work.measure(effort)?;
            return Ok(timing.device().map(|t| (INVOCATIONS * ROUND * rounds) as f64 / t / 1e9));
        }
        rounds *= 4;
    }
}

/// Bytes read and written a second, in billions.
fn copies(gpu: &Gpu, element: &str, size: usize, bytes: usize, effort: Effort) -> Result<Sample> {
    let executable = executable(gpu, &copy_of(element, size, bytes))?;
    let timing = Work { gpu, executable: &executable, range: 0..1 }.measure(effort)?;
    Ok(timing.device().map(|t| 2.0 * bytes as f64 / t / 1e9))
}

/// Gigabytes a second to the device and back, as [`Plan::write`](crate::Plan::write) and readings do it.
fn transfers(gpu: &Gpu, bytes: usize, effort: Effort) -> Result<(Sample, Sample)> {
    let buffer = pollster::block_on(crate::gpu::buffer(gpu, "bench", bytes as u64))?;
    let values = vec![1u8; bytes];
    let upload = || {
        let start = Instant::now();
        gpu.queue().write_buffer(&buffer, 0, &values);
        gpu.queue().submit([]);
        gpu.wait()?;
        Ok(start.elapsed().as_secs_f64())
    };
    let readback = || {
        let start = Instant::now();
        let copy = Reading::new(gpu, &[(&buffer, 0, bytes as u64)], |b| Ok(b.to_vec())).wait()?;
        let seconds = start.elapsed().as_secs_f64();
        assert_eq!(copy.len(), bytes);
        Ok(seconds)
    };
    let rate = |t: f64| bytes as f64 / t / 1e9;
    Ok((sample(effort, upload)?.map(rate), sample(effort, readback)?.map(rate)))
}

/// Microseconds of one dispatch more, and of a submission with the wait for it.
fn overheads(gpu: &Gpu, effort: Effort) -> Result<(Sample, Sample)> {
    let mut program = loops_of(Precision::F32, 0, 0, 64, 0);
    program.dispatches = vec![program.dispatches[0].clone(); MANY];
    let executable = executable(gpu, &program)?;
    let one = Work { gpu, executable: &executable, range: 0..1 };
    let many = Work { range: 0..MANY, ..one.clone() };
    many.repeat(1)?;
    let single = sample(effort, || one.repeat(1))?;
    let more = sample(effort, || many.repeat(1))?;
    let dispatch = more.map(|t| 1e6 * ((t - single.median) / (MANY - 1) as f64).max(0.0));
    Ok((dispatch, single.map(|t| 1e6 * t)))
}

/// Seconds that it takes to make a pipeline that was never made before.
fn compile(gpu: &Gpu) -> Result<f64> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Drivers keep pipelines on the disk, from run to run: only the time is always new.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_micros() as u32);
    let salt = now.wrapping_mul(2654435761).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
    let program = loops_of(Precision::F32, 0, salt, 64, 1);
    let start = Instant::now();
    pollster::block_on(gpu.pipeline(&program.dispatches[0]))?;
    Ok(start.elapsed().as_secs_f64())
}
