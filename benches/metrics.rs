//! What looking at a network costs: training steps of which one in ten is observed and recorded, against plain ones.
//!
//! Within a tenth is the aim; what was found is in docs/performance.md. Both take turns, as in `steps`.
//!
//! `cargo bench --bench metrics -- [part of a name]`

mod common;

use std::time::Instant;

use halfgrad::{
    Gpu, Graph, Plan, Precision, Sgd, Shape, Weights,
    plan::Options,
    study::{Model, Network, median},
};

/// Steps of which the first is looked at.
const STEPS: usize = 10;
/// How often either is timed, in turn.
const ROUNDS: usize = 15;

fn main() {
    let Some(filter) = common::filter() else { return };
    let gpu = Gpu::new().expect("an adapter");
    println!("{}", gpu.caps().adapter);
    for (name, hidden, sample, batch) in
        [("mlp", &[512, 512][..], &[784][..], 128), ("lenet", &[][..], &[28, 28, 1][..], 64)]
    {
        for precision in [Precision::F32, Precision::F16].into_iter().filter(|_| name.contains(&filter)) {
            let model = Model::named(name, hidden).expect("a model");
            let graph = Graph::new(precision);
            let network = model.build(&graph, batch, Shape::new(sample).expect("a shape"), 10).expect("a network");
            let found = measure(&gpu, &graph, &network, batch).expect("a run");
            let [plain, looked_at, one] = found.map(|seconds| 1e3 * median(&seconds));
            println!(
                "{name:<6} {precision:<4} a step {:>7.2} ms, one that is looked at {one:>7.2} ms; \
                 one in ten of these: {:>+6.1} %",
                plain / STEPS as f64,
                100.0 * (looked_at / plain - 1.0)
            );
        }
    }
}

/// Seconds of ten plain steps, of ten of which one is looked at, and of that one.
fn measure(gpu: &Gpu, graph: &Graph, network: &Network, batch: usize) -> halfgrad::Result<[Vec<f64>; 3]> {
    let plan = |options: Options| -> halfgrad::Result<Plan> {
        let weights = Weights::init(gpu, graph, 1)?;
        let mut plan = Plan::train_with(gpu, &weights, network.loss, &Sgd::new(0.01).momentum(0.9), options)?;
        let values = (0..network.x.shape().len()).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0);
        plan.write(network.x, &values.collect::<Vec<_>>())?;
        plan.write(network.label, &(0..batch as u32).map(|i| i % 10).collect::<Vec<_>>())?;
        Ok(plan)
    };
    let mut plain = plan(Options::default())?;
    let mut looked_at = plan(Options { observe: true, record_changes: true, ..Options::default() })?;
    let mut seconds = [vec![], vec![], vec![]];
    for round in 0..=ROUNDS {
        let start = Instant::now();
        (0..STEPS).for_each(|_| plain.run());
        gpu.wait()?;
        let between = Instant::now();
        looked_at.record_changes(true);
        looked_at.observe();
        let seen = looked_at.observations().wait()?;
        let one = Instant::now();
        looked_at.record_changes(false);
        (1..STEPS).for_each(|_| looked_at.run());
        gpu.wait()?;
        assert!(!seen.is_empty());
        // The first round warms up.
        if round > 0 {
            let times = [between - start, between.elapsed(), one - between];
            seconds.iter_mut().zip(times).for_each(|(all, time)| all.push(time.as_secs_f64()));
        }
    }
    Ok(seconds)
}
