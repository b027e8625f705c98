//! What a step costs the host once a plan runs: allocations, waits, and time by wgpu's own calls and by ours.
//!
//! `cargo bench --bench steady -- [part of a name]`

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use halfgrad::{Gpu, Graph, Plan, Precision, Sgd, Shape, Weights, study};

#[path = "../tests/common/allocations.rs"]
mod allocations;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

/// Steps whose losses are read at once.
const BLOCK: usize = 16;
/// Blocks that are timed, and those whose allocations are counted.
const TIMED: usize = 12;
const COUNTED: usize = 2;

fn main() {
    let Some(filter) = common::filter() else { return };
    allocations::prepare();
    let gpu = Gpu::new().expect("an adapter");
    println!("{}", gpu.caps().adapter);
    for (model, batch) in [("mlp", 128), ("lenet", 64), ("resnet20", 8)] {
        for precision in [Precision::F32, Precision::F16] {
            let name = format!("{model}, batch {batch}, {precision}");
            if name.contains(&filter) {
                println!("\n{name}");
                measure(&gpu, model, batch, precision);
            }
        }
    }
}

/// The batch of a step, put in an input's form once.
struct Batch {
    images: Vec<f32>,
    labels: Vec<u32>,
}

/// What the host does in a step, one after another. To record is four calls of wgpu's for each dispatch, and a loop.
const PHASES: [&str; 5] = ["write", "record", "finish", "submit", "losses"];

fn measure(gpu: &Gpu, model: &str, batch: usize, precision: Precision) {
    let (graph, sample) = (Graph::new(precision), Shape::from([28, 28, 1]));
    let model = study::Model::named(model, &study::Model::usual_hidden(sample)).expect("a model");
    let network = model.build(&graph, batch, sample, 10).expect("a network");
    let weights = Weights::init(gpu, &graph, 1).expect("weights");
    let mut plan = Plan::train(gpu, &weights, network.loss, Sgd::new(1e-3).momentum(0.9)).expect("a plan");
    let batch = Batch { images: vec![0.5; batch * sample.len()], labels: vec![3; batch] };
    let dispatches = plan.program().dispatches.len();

    let mut seconds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for block in 0..=TIMED {
        let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        run_block(&mut plan, &network, &batch, &mut |phase, time| times.entry(phase).or_default().push(time));
        // The first block warms up.
        if block > 0 {
            times.into_iter().for_each(|(phase, times)| seconds.entry(phase).or_default().extend(times));
        }
    }
    let mut counted: BTreeMap<&str, Vec<allocations::Allocation>> = BTreeMap::new();
    for block in 0..=COUNTED {
        count_block(&mut plan, &network, &batch, &mut counted);
        // The first block fills the ring of uploads, since no step waits for the one before.
        if block == 0 {
            counted.clear();
        }
    }
    println!("  {dispatches} dispatches; a step, but for losses, which are read for {BLOCK} steps:");
    for phase in PHASES {
        let found = counted.remove(phase).unwrap_or_default();
        let per = |ours: bool| {
            let of: Vec<_> = found.iter().filter(|a| a.ours.is_some() == ours).collect();
            let runs = COUNTED * if phase == "losses" { 1 } else { BLOCK };
            let bytes = of.iter().map(|a| a.bytes).sum::<usize>() / runs;
            format!("{:.1} allocations of {bytes} B", of.len() as f64 / runs as f64)
        };
        let time = 1e6 * study::median(&seconds[phase]);
        println!("  {phase:<7} {time:>9.1} µs, ours {}, wgpu's {}", per(true), per(false));
        let lines: BTreeSet<_> = found.iter().filter_map(|a| a.ours.as_deref()).collect();
        lines.iter().for_each(|line| println!("          {line}"));
    }
    let per = |phases: &[&str]| {
        let seconds: f64 = phases.iter().map(|phase| study::median(&seconds[phase])).sum();
        1e6 * seconds / dispatches as f64
    };
    println!("  {:.2} µs a dispatch to write, {:.2} in wgpu's calls", per(&PHASES[..1]), per(&PHASES[1..4]));
}

/// The steps of a block, then their losses; `note` gets the seconds of each phase.
fn run_block(plan: &mut Plan, network: &study::Network, batch: &Batch, note: &mut dyn FnMut(&'static str, f64)) {
    let mut last = Instant::now();
    let mut lap = |phase| {
        note(phase, last.elapsed().as_secs_f64());
        last = Instant::now();
    };
    for _ in 0..BLOCK {
        lap("");
        plan.write(network.x, &batch.images).expect("images");
        plan.write(network.label, &batch.labels).expect("labels");
        lap("write");
        let mut encoder = plan.gpu().device().create_command_encoder(&Default::default());
        plan.encode(&mut encoder);
        lap("record");
        let commands = encoder.finish();
        lap("finish");
        plan.gpu().queue().submit([commands]);
        lap("submit");
        // A driver may have the host wait for the step before.
        plan.gpu().wait().expect("a device");
    }
    lap("");
    let losses = plan.losses().wait().expect("losses");
    lap("losses");
    assert_eq!(losses.len(), BLOCK);
}

type Counted = BTreeMap<&'static str, Vec<allocations::Allocation>>;

/// The same, with what each phase allocates.
fn count_block(plan: &mut Plan, network: &study::Network, batch: &Batch, found: &mut Counted) {
    let mut count = |phase, work: &mut dyn FnMut()| {
        found.entry(phase).or_default().extend(allocations::during(work));
    };
    for _ in 0..BLOCK {
        count("write", &mut || {
            plan.write(network.x, &batch.images).expect("images");
            plan.write(network.label, &batch.labels).expect("labels");
        });
        let device = plan.gpu().device().clone();
        let mut encoder = None;
        count("record", &mut || {
            let mut made = device.create_command_encoder(&Default::default());
            plan.encode(&mut made);
            encoder = Some(made);
        });
        let mut commands = None;
        count("finish", &mut || commands = encoder.take().map(wgpu::CommandEncoder::finish));
        count("submit", &mut || _ = plan.gpu().queue().submit(commands.take()));
    }
    plan.gpu().wait().expect("a device");
    count("losses", &mut || assert_eq!(plan.losses().wait().expect("losses").len(), BLOCK));
}
