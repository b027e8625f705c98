//! `halfgrad plan`: what a training step does, without a GPU; or what each dispatch of it takes on one.

use std::time::Instant;

use anyhow::ensure;
use comfy_table::Table;
use halfgrad::{
    Caps, Graph, Plan, Shape, Weights,
    dispatch::Program,
    gpu::Settings,
    plan,
    plan::Options,
    study::{self, DeviceBytes},
};
use serde::Serialize;

use super::data::SEQUENCE;
use crate::PlanArgs;

#[derive(Serialize)]
struct Step<'a> {
    model: String,
    precision: String,
    optimizer: String,
    batch: usize,
    dispatches: Vec<Dispatch<'a>>,
    totals: Totals,
    device_bytes: DeviceBytes,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Dispatch<'a> {
    op: &'a str,
    shader: &'a str,
    /// Of those that compute the same.
    variant: Option<&'a str>,
    shapes: Vec<Operand<'a>>,
    grid: [u32; 3],
    flops: u64,
    bytes_read: u64,
    bytes_written: u64,
}

#[derive(Serialize)]
struct Operand<'a> {
    buffer: &'a str,
    access: &'static str,
    dtype: String,
    shape: Vec<usize>,
}

#[derive(Serialize)]
struct Totals {
    dispatches: usize,
    /// Of these, the second passes of sums.
    second_passes: usize,
    parameters: usize,
    flops: u64,
    /// Of these, what computes once more what was not kept.
    flops_again: u64,
    bytes_read: u64,
    bytes_written: u64,
    /// What the temporaries take, and the most of them that is needed at once.
    temporary_bytes: u64,
    least_temporary_bytes: u64,
}

/// Prints the program of a step.
pub fn run(args: &PlanArgs) -> anyhow::Result<()> {
    let gpt = args.network.model == "gpt";
    ensure!(gpt || args.seq.is_none(), "{} reads no sequence: --seq is for gpt", args.network.model);
    ensure!(!gpt || args.input.is_none(), "gpt reads sequences, whose length is --seq, and no --input");
    let sample = match gpt {
        true => Shape::from([args.seq.unwrap_or(SEQUENCE)]),
        false => args.input.unwrap_or(Shape::from([28, 28, 1])),
    };
    let classes = args.classes.unwrap_or(if gpt { 256 } else { 10 });
    let (model, optimizer) = (args.network.model(sample)?, args.optimizer.optimizer()?);
    let graph = Graph::new(&args.precision);
    let network = model.build(&graph, args.network.batch, sample, classes)?;
    let memory = match &args.memory {
        Some(bytes) => Settings::default().memory(bytes)?.memory,
        None => None,
    };
    let options = optimizer.options(Options { memory, ..Options::default() });
    let described = (super::describe(&model, sample, classes), super::describe_optimizer(&optimizer));
    let head = format!("{}, batch {}, {}, {}", described.0, args.network.batch, args.precision, described.1);
    if let Some(steps) = args.profile {
        let gpu = super::request(args.adapter.as_deref())?;
        let weights = Weights::init(&gpu, &graph, 1)?;
        let plan = Plan::train_with(&gpu, &weights, network.loss, &*optimizer.update(0), options)?;
        let on = format!("{}{}", gpu.caps().adapter, super::describe_settings(&gpu));
        return super::print(&format!("{head}, on {on}\n{}", profile(plan, steps, args.all)?));
    }
    let lowered = plan::lower_training(network.loss, &*optimizer.update(0), &Caps::reference(), &options)?;
    if args.json {
        return super::print_json(&step(args, described, &lowered.program));
    }
    let program = &lowered.program;
    if args.all || program.dispatches.len() <= LISTED {
        return super::print(&format!("{head}\n{program}"));
    }
    super::print(&format!("{head}; by block, --all lists every dispatch\n{}", program.by_block()))
}

/// The slowest dispatches of so many steps on zeros, or `all`, and what they reach.
fn profile(mut plan: Plan, steps: usize, all: bool) -> anyhow::Result<String> {
    // Drivers do at the first run what they put off.
    plan.profile(2)?;
    let seconds: Vec<f64> = plan.profile(steps)?.iter().map(|times| study::median(times)).collect();
    let start = Instant::now();
    (0..steps).for_each(|_| plan.run());
    plan.losses().wait()?;
    let whole = 1e3 * start.elapsed().as_secs_f64() / steps as f64;
    let sum: f64 = seconds.iter().sum();
    let mut slowest: Vec<usize> = (0..seconds.len()).collect();
    slowest.sort_by(|&a, &b| seconds[b].total_cmp(&seconds[a]));
    let shown = if all { slowest.len() } else { slowest.len().min(SLOWEST) };
    let mut table = Table::new();
    table.load_style(super::TABLE).set_header(["", "dispatch", "by", "ms", "share", "GFLOP/s", "GB/s"]);
    for &i in &slowest[..shown] {
        let (d, s) = (&plan.program().dispatches[i], seconds[i]);
        let rate = |n: u64| if n > 0 && s > 0.0 { format!("{:.1}", n as f64 / s / 1e9) } else { String::new() };
        let by = d.choice.as_ref().map_or(d.shader.name, |c| &c.variant);
        let (ms, share) = (format!("{:.3}", 1e3 * s), format!("{:.1} %", 100.0 * s / sum));
        table.add_row([
            &i.to_string(),
            &d.label,
            by,
            &ms,
            &share,
            &rate(d.flops),
            &rate(d.bytes_read() + d.bytes_written()),
        ]);
    }
    super::align_right(&mut table, 3, 1);
    let rest: f64 = slowest[shown..].iter().map(|&i| seconds[i]).sum();
    let rest = match slowest.len() - shown {
        0 => String::new(),
        n => format!("{n} more take {:.3} ms, --all lists them\n", 1e3 * rest),
    };
    let sum = 1e3 * sum;
    Ok(format!(
        "{table}\n{rest}{sum:.3} ms one by one, by the device's clock; a step {whole:.3} ms, by the host's; {steps} steps\n"
    ))
}

/// A profile lists so many dispatches.
const SLOWEST: usize = 25;

/// A program of more dispatches than this is listed by blocks, to fit on a screen.
const LISTED: usize = 60;

fn step<'a>(args: &PlanArgs, (model, optimizer): (String, String), program: &'a Program) -> Step<'a> {
    let dispatches: Vec<_> = program.dispatches.iter().map(|d| dispatch(program, d)).collect();
    let totals = Totals {
        dispatches: dispatches.len(),
        second_passes: program.second_passes(),
        parameters: program.parameters,
        flops: program.flops(),
        flops_again: program.again,
        bytes_read: dispatches.iter().map(|d| d.bytes_read).sum(),
        bytes_written: dispatches.iter().map(|d| d.bytes_written).sum(),
        temporary_bytes: program.temporaries.bytes,
        least_temporary_bytes: program.temporaries.least,
    };
    Step {
        model,
        precision: args.precision.to_string(),
        optimizer,
        batch: args.network.batch,
        dispatches,
        totals,
        device_bytes: DeviceBytes::of(program),
        warnings: program.warnings.iter().map(ToString::to_string).collect(),
    }
}

fn dispatch<'a>(program: &'a Program, d: &'a halfgrad::dispatch::Dispatch) -> Dispatch<'a> {
    use halfgrad::dispatch::Access;
    let shapes = d.bindings.iter().map(|(x, access)| Operand {
        buffer: &program.buffers[x.buffer].name,
        access: match access {
            Access::Read => "read",
            Access::Write => "write",
            Access::ReadWrite => "read_write",
        },
        dtype: x.dtype.to_string(),
        shape: x.shape.to_vec(),
    });
    Dispatch {
        op: &d.label,
        shader: d.shader.name,
        variant: d.choice.as_ref().map(|c| c.variant.as_str()),
        shapes: shapes.collect(),
        grid: d.grid,
        flops: d.flops,
        bytes_read: d.bytes_read(),
        bytes_written: d.bytes_written(),
    }
}
