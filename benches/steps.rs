//! Whole training steps: time by precision, dispatches, bytes, the share of the adapter's measured limits that the dispatches reach,
//! what the host does for one, and how time grows with work. Not on criterion, which takes all samples of one entry before the
//! next: here plans that are compared take turns, so that noise hits all alike.
//!
//! `cargo bench --features reference --bench steps -- [part of a name]`

mod common;

use std::time::{Duration, Instant};

use halfgrad::{
    Adam, Gpu, Graph, Plan, Precision, Sgd, Shape, Weights,
    bench::{Scope, limits, report::Limits},
    dispatch::Dispatch,
    optim::Update,
    study,
};

/// How long the plans that are compared run in turns.
const TIME: Duration = Duration::from_secs(6);
const LEAST: usize = 5;

/// A network and its batch.
struct Workload {
    name: &'static str,
    model: &'static str,
    hidden: Vec<usize>,
    sample: [usize; 3],
    batch: usize,
    adam: bool,
}

impl Workload {
    fn plan(&self, gpu: &Gpu, precision: Precision) -> Plan {
        let (graph, sample) = (Graph::new(precision), Shape::from(self.sample));
        let model = study::Model::named(self.model, &self.hidden).expect("a model");
        let network = model.build(&graph, self.batch, sample, 10).expect("a network");
        let weights = Weights::init(gpu, &graph, 1).expect("weights");
        let (sgd, adam) = (Sgd::new(1e-3).momentum(0.9), Adam::new(1e-4));
        let optimizer: &dyn Update = if self.adam { &adam } else { &sgd };
        let mut plan = Plan::train_with(gpu, &weights, network.loss, optimizer, Default::default()).expect("a plan");
        let pixels = (0..self.batch * sample.len()).map(|i| (i * 7919 % 1024) as f32 / 512.0 - 1.0);
        plan.write(network.x, &pixels.collect::<Vec<_>>()).expect("images");
        plan.write(network.label, &(0..self.batch as u32).map(|i| i % 10).collect::<Vec<_>>()).expect("labels");
        plan
    }
}

fn mlp(name: &'static str, hidden: Vec<usize>, batch: usize, adam: bool) -> Workload {
    Workload { name, model: "mlp", hidden, sample: [28, 28, 1], batch, adam }
}

fn main() {
    let Some(filter) = common::filter() else { return };
    let gpu = Gpu::new().expect("an adapter");
    println!("{}", gpu.caps().adapter);
    let deep = |name, model, sample, batch| Workload { name, model, hidden: vec![], sample, batch, adam: false };
    let workloads = [
        mlp("mlp 784-512-512-10, batch 128, sgd", vec![512, 512], 128, false),
        mlp("mlp 784-512-512-10, batch 128, adam", vec![512, 512], 128, true),
        deep("lenet, batch 64, sgd", "lenet", [28, 28, 1], 64),
        deep("resnet20, batch 32, sgd", "resnet20", [32, 32, 3], 32),
        deep("vit8, batch 32, sgd", "vit8", [32, 32, 3], 32),
    ];
    let limits = limits::measure(&gpu, &Scope::new(true)).expect("limits");
    workloads.iter().filter(|w| w.name.contains(&filter)).for_each(|w| precisions(&gpu, w, &limits));

    let batches = [32, 64, 128, 256, 512, 1024].map(|batch| (batch, vec![512, 512], batch));
    let widths = [128, 256, 512, 1024, 2048].map(|width| (width, vec![width, width], 128));
    let depths = [2, 4, 8, 16, 32, 64].map(|depth| (depth, vec![128; depth], 128));
    grow(&gpu, &filter, "mlp as its batch grows", &batches);
    grow(&gpu, &filter, "mlp as its width grows", &widths);
    grow(&gpu, &filter, "mlp as its depth grows", &depths);
}

/// The median seconds of a step of each plan; they take turns, so that all meet the same weather.
fn in_turns(plans: &mut [Plan]) -> Vec<f64> {
    let mut seconds = vec![vec![]; plans.len()];
    plans.iter_mut().for_each(|plan| plan.run());
    let start = Instant::now();
    while seconds[0].len() < LEAST || start.elapsed() < TIME {
        for (plan, seconds) in plans.iter_mut().zip(&mut seconds) {
            plan.gpu().wait().expect("a device");
            let start = Instant::now();
            plan.run();
            plan.gpu().wait().expect("a device");
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    seconds.iter().map(|seconds| study::median(seconds)).collect()
}

fn precisions(gpu: &Gpu, workload: &Workload, limits: &Limits) {
    println!("\n{}", workload.name);
    let able = Precision::PRESETS.iter().filter(|(_, p)| gpu.caps().supports(*p).is_ok());
    let able: Vec<_> = able.copied().collect();
    let mut plans: Vec<Plan> = able.iter().map(|(_, p)| workload.plan(gpu, *p)).collect();
    let seconds = in_turns(&mut plans);
    let bytes = |plan: &Plan| plan.program().total_bytes() as f64;
    for (((name, precision), plan), time) in able.iter().zip(&mut plans).zip(&seconds) {
        let program = plan.program();
        let least = |d: &Dispatch| limits.seconds(*precision, d.flops, d.bytes_read() + d.bytes_written());
        let roof: f64 = program.dispatches.iter().map(least).sum();
        let (dispatches, flops, total) = (program.dispatches.len(), program.flops() as f64, bytes(plan));
        println!(
            "  {name:<11} {:>9.2} ms, {:>6.2} GFLOP/s, {:>3.0} % of roof, {dispatches:>4} dispatches, {:>8.2} MB, the host {:>5.2} µs a dispatch",
            1e3 * time,
            flops / time / 1e9,
            1e2 * roof / time,
            total / 1e6,
            1e6 * host(plan) / dispatches as f64,
        );
    }
    for (((name, _), plan), time) in able.iter().zip(&plans).zip(&seconds).skip(1) {
        let (time, memory) = (time / seconds[0], bytes(plan) / bytes(&plans[0]));
        println!("  {name:<11} over f32: time {time:.2}, bytes {memory:.2}");
    }
}

/// The median seconds that a step keeps the host from other work.
fn host(plan: &mut Plan) -> f64 {
    let once = |_| {
        plan.gpu().wait().expect("a device");
        let start = Instant::now();
        plan.run();
        start.elapsed().as_secs_f64()
    };
    study::median(&(0..20).map(once).collect::<Vec<_>>())
}

/// Steps in f32 and f16 of networks that differ in one size: `(size, hidden, batch)`.
fn grow(gpu: &Gpu, filter: &str, name: &'static str, sizes: &[(usize, Vec<usize>, usize)]) {
    if !name.contains(filter) {
        return;
    }
    for precision in [Precision::F32, Precision::F16] {
        println!("\n{name}, {precision}");
        let plan = |(_, hidden, batch): &(usize, Vec<usize>, usize)| {
            mlp(name, hidden.clone(), *batch, false).plan(gpu, precision)
        };
        let mut plans: Vec<Plan> = sizes.iter().map(plan).collect();
        let seconds = in_turns(&mut plans);
        for ((size, plan), seconds) in sizes.iter().map(|s| s.0).zip(&plans).zip(seconds) {
            let (program, per) = (plan.program(), |n: f64| 1e9 * seconds / n);
            println!(
                "  {size:>5} {:>9.2} ms, {:>8.2} MFLOP, {:>6.2} ms a GFLOP, {:>4} dispatches, {:>8.2} MB",
                1e3 * seconds,
                program.flops() as f64 / 1e6,
                1e3 * per(program.flops() as f64),
                program.dispatches.len(),
                program.total_bytes() as f64 / 1e6,
            );
        }
    }
}
