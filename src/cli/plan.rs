//! `halfgrad plan`: what a training step does, without a GPU.

use halfgrad::{Caps, Graph, Shape, dispatch::Program, gpu::Settings, plan};
use halfgrad::{plan::Options, study::DeviceBytes};
use serde::Serialize;

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
    if args.seq.is_some() && !gpt {
        super::note(&format!("note: {} reads no sequence, --seq changes nothing", args.network.model));
    }
    let sample = if gpt { Shape::from([args.seq.unwrap_or(128)]) } else { args.input };
    let classes = args.classes.unwrap_or(if gpt { 256 } else { 10 });
    let (model, optimizer) = (args.network.model(sample), args.optimizer.optimizer()?);
    let graph = Graph::new(&args.precision);
    let network = model.build(&graph, args.network.batch, sample, classes)?;
    let memory = match &args.memory {
        Some(bytes) => Settings::default().memory(bytes)?.memory,
        None => None,
    };
    let options = optimizer.options(Options { memory, ..Options::default() });
    let lowered = plan::lower_training(network.loss, &*optimizer.update(0), &Caps::reference(), &options)?;
    let model = super::describe(&model, sample, classes);
    let optimizer = super::describe_optimizer(&optimizer);
    if args.json {
        return super::print_json(&step(args, model, optimizer, &lowered.program));
    }
    let head = format!("{model}, batch {}, {}, {optimizer}", args.network.batch, args.precision);
    let program = &lowered.program;
    if args.all || program.dispatches.len() <= LISTED {
        return super::print(&format!("{head}\n{program}"));
    }
    super::print(&format!("{head}; by block, --all lists every dispatch\n{}", program.by_block()))
}

/// A program of more dispatches than this is listed by blocks, to fit on a screen.
const LISTED: usize = 60;

fn step<'a>(args: &PlanArgs, model: String, optimizer: String, program: &'a Program) -> Step<'a> {
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
        shapes: shapes.collect(),
        grid: d.grid,
        flops: d.flops,
        bytes_read: d.bytes_read(),
        bytes_written: d.bytes_written(),
    }
}
