//! From the start of a process to its first result, with an empty shader cache and with a warm one.
//!
//! `cargo bench --bench startup -- [regular expression]`; see "How to measure" in docs/performance.md.

use std::{
    env,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use criterion::{Criterion, SamplingMode};
use halfgrad::{Gpu, Graph, Plan, Precision, Sgd, Shape, Weights, study};

/// What a process does before it ends, and its name.
type Task = (&'static str, fn(&Gpu));

const TASKS: [Task; 3] =
    [("first matmul 512³", matmul), ("first step of mlp, batch 128", mlp), ("first step of lenet, batch 64", lenet)];
const TASK: &str = "HALFGRAD_BENCH_TASK";

fn main() {
    if let Ok(task) = env::var(TASK) {
        let task: usize = task.parse().expect("the place of a task");
        return TASKS[task].1(&Gpu::new().expect("an adapter"));
    }
    let (one, all) = (Duration::from_millis(1), Duration::from_secs(3));
    let criterion = Criterion::default().warm_up_time(one).measurement_time(all).sample_size(10);
    let mut criterion = criterion.without_plots().configure_from_args();
    for (i, (name, _)) in TASKS.iter().enumerate() {
        let mut group = criterion.benchmark_group(*name);
        group.sampling_mode(SamplingMode::Flat);
        let folder = tempfile::tempdir().expect("a folder for the driver's caches");
        let mut caches = 0..;
        group.bench_function("cold", |bencher| {
            let mut cold = || process(i, &folder.path().join(caches.next().expect("a number").to_string()));
            bencher.iter_custom(|processes| (0..processes).map(|_| cold()).sum());
        });
        let warm = || process(i, &folder.path().join("warm"));
        let mut first = None;
        group.bench_function("warm", |bencher| {
            first.get_or_insert_with(warm);
            bencher.iter_custom(|processes| (0..processes).map(|_| warm()).sum());
        });
    }
    criterion.final_summary();
}

/// From the start of a process to its end, its driver's shader cache being in `folder`.
fn process(task: usize, folder: &Path) -> Duration {
    let start = Instant::now();
    let mut command = Command::new(env::current_exe().expect("this program"));
    // Mesa's variable, NVIDIA's, and what others derive theirs from.
    for variable in ["MESA_SHADER_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH", "XDG_CACHE_HOME"] {
        command.env(variable, folder);
    }
    let ended = command.env(TASK, task.to_string()).status().expect("this program runs");
    assert!(ended.success());
    start.elapsed()
}

fn matmul(gpu: &Gpu) {
    let graph = Graph::new(Precision::F32);
    let (a, b) = (graph.input("a", [512, 512]), graph.input("b", [512, 512]));
    let y = a.matmul(b);
    let weights = Weights::init(gpu, &graph, 1).expect("no weights");
    let mut plan = Plan::infer(gpu, &weights, [y]).expect("a plan");
    plan.write(a, &vec![0.5; 512 * 512]).expect("an input");
    plan.write(b, &vec![0.25; 512 * 512]).expect("an input");
    plan.run();
    let found = plan.read(y).expect("an output").wait().expect("a result");
    assert!(found.iter().all(|&v| v == 64.0));
}

fn mlp(gpu: &Gpu) {
    step(gpu, "mlp", 128);
}

fn lenet(gpu: &Gpu) {
    step(gpu, "lenet", 64);
}

/// A training step on images of 28 × 28, to the loss.
fn step(gpu: &Gpu, model: &str, batch: usize) {
    let (graph, sample) = (Graph::new(Precision::F32), Shape::from([28, 28, 1]));
    let model = study::Model::named(model, &study::Model::usual_hidden(sample)).expect("a model");
    let network = model.build(&graph, batch, sample, 10).expect("a network");
    let weights = Weights::init(gpu, &graph, 1).expect("weights");
    let mut plan = Plan::train(gpu, &weights, network.loss, Sgd::new(0.05).momentum(0.9)).expect("a plan");
    plan.write(network.x, &vec![0.5; batch * sample.len()]).expect("images");
    plan.write(network.label, &vec![3; batch]).expect("labels");
    plan.run();
    let losses = plan.losses().wait().expect("a loss");
    assert!(losses.len() == 1 && losses[0].is_finite());
}
