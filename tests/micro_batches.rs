//! Several runs that make one update: what one run on all of their batches gives, in every precision.

use halfgrad::{
    Adam, Error, Gpu, Graph, Init, LossScale, Plan, Precision, Result, Sgd, Weights, data, nn,
    optim::{Schedule, Update},
    plan::{Options, Progress, lower_training},
};

/// Samples that make an update.
const SAMPLES: usize = 64;
const UPDATES: usize = 3;

fn values(weights: &Weights) -> Vec<Vec<f32>> {
    weights.read_all().wait().unwrap()
}

fn scale_from(initial: f32) -> LossScale {
    LossScale::Dynamic { initial, growth: 2.0, backoff: 0.5, interval: 1000 }
}

/// The weights after some updates of a perceptron on digits, each by `runs` runs, and where it stands.
fn trained(
    gpu: &Gpu,
    precision: Precision,
    optimizer: &dyn Update,
    runs: usize,
    options: Options,
) -> (Vec<Vec<f32>>, Progress) {
    let (graph, batch) = (Graph::new(precision), SAMPLES / runs);
    let (x, label) = (graph.input("x", [batch, 8, 8, 1]), graph.labels("label", [batch]));
    let loss = nn::mlp(x, &[32], 10).cross_entropy(label);
    let weights = Weights::init(gpu, &graph, 1).unwrap();
    let options = Options { accumulate: runs as u32, ..options };
    let mut plan = Plan::train_with(gpu, &weights, loss, optimizer, options).unwrap();
    let digits = data::digits().train;
    for batch in digits.batches(batch).unwrap().into_iter().take(UPDATES * runs) {
        plan.write(x, &batch.images).unwrap();
        plan.write(label, &batch.labels).unwrap();
        plan.run();
    }
    (values(&weights), plan.progress().wait().unwrap())
}

#[test]
fn four_quarters_of_a_batch_update_as_the_whole_does() {
    let gpu = Gpu::new().unwrap();
    let optimizers: [&dyn Update; 2] = [&Sgd::new(0.1).momentum(0.9), &Adam::new(1e-3)];
    let nearest: Precision = "f16+nearest".parse().unwrap();
    // How much of a weight's largest change may be off: the rounding of each quarter's gradient; and of the weight itself.
    let mixed = Precision { loss_scale: scale_from(1024.0), ..Precision::MIXED };
    let precisions = [(Precision::F32, 1e-5, 1e-6), (mixed, 1e-2, 0.0), (nearest, 1e-2, 2f32.powi(-10))];
    for (precision, of_change, of_weight) in precisions {
        for optimizer in optimizers {
            for clip_norm in [None, Some(0.5)] {
                let run = |runs| {
                    let options = Options { clip_norm, ..Options::default() };
                    let (weights, progress) = trained(&gpu, precision, optimizer, runs, options);
                    assert_eq!((progress.updates as usize, progress.steps as usize), (UPDATES, runs * UPDATES));
                    (weights, progress)
                };
                let ((whole, a), (quarters, b)) = (run(1), run(4));
                let near = (a.gradient_norm - b.gradient_norm).abs() <= of_change * a.gradient_norm;
                assert!(near, "{precision}: norms {} and {}", a.gradient_norm, b.gradient_norm);
                let start = {
                    let graph = Graph::new(precision);
                    let x = graph.input("x", [SAMPLES, 8, 8, 1]);
                    let _ = nn::mlp(x, &[32], 10);
                    values(&Weights::init(&gpu, &graph, 1).unwrap())
                };
                for ((w, q), s) in whole.iter().zip(&quarters).zip(&start) {
                    let change = w.iter().zip(s).map(|(w, s)| (w - s).abs()).fold(0.0, f32::max);
                    let size = w.iter().map(|w| w.abs()).fold(0.0, f32::max);
                    let off = w.iter().zip(q).map(|(w, q)| (w - q).abs()).fold(0.0, f32::max);
                    let allowed = of_change * change + UPDATES as f32 * of_weight * size;
                    assert!(change > 0.0 && off <= allowed, "{precision} {optimizer:?}: {off} > {allowed}, {change}");
                }
            }
        }
    }
}

/// A plan of two runs an update whose gradient is its input.
fn linear<'g>(gpu: &Gpu, graph: &'g Graph, options: Options) -> (halfgrad::Tensor<'g>, Weights, Plan) {
    let (w, x) = (graph.weight("w", [4], Init::Constant(1.0)), graph.input("x", [4]));
    graph.average(graph.state("s", [4], Init::Constant(0.0)), x, 0.5);
    let loss = (w * x).sum_all();
    let weights = Weights::init(gpu, graph, 0).unwrap();
    let rates = Schedule::steps(0.5, 0.5, &[1]);
    let plan = Plan::train_with(gpu, &weights, loss, &Sgd::new(rates), Options { accumulate: 2, ..options }).unwrap();
    (x, weights, plan)
}

#[test]
fn one_run_that_overflows_skips_the_update_and_moves_the_scale_once() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision { loss_scale: scale_from(64.0), ..Precision::MIXED });
    let (x, weights, mut plan) = linear(&gpu, &graph, Options { stop_on_nan: false, ..Options::default() });
    // The gradient of the second, 64 times that, is more than f16 holds.
    for (value, w, updates, skipped, state) in [
        (2.0, 1.0, 0, 0, 1.0),
        (2000.0, 1.0, 0, 1, 1.0),
        (1.0, 1.0, 0, 1, 1.0),
        (3.0, 0.5, 1, 1, 2.0),
        (f32::INFINITY, 0.5, 1, 1, 2.0),
        (4.0, 0.5, 1, 2, 2.0),
        (4.0, 0.5, 1, 2, 3.0),
        (4.0, -0.5, 2, 2, 3.5),
    ] {
        plan.write(x, &[value; 4]).unwrap();
        plan.run();
        let progress = plan.progress().wait().unwrap();
        assert_eq!(values(&weights), [[w; 4], [state; 4]], "{value} {progress:?}");
        assert_eq!((progress.updates, progress.skipped, progress.halted), (updates, skipped, None), "{value}");
        assert_eq!(progress.loss_scale, 64.0 / 2f32.powi(skipped as i32), "{value}");
    }
}

#[test]
fn schedules_count_updates_and_a_loss_that_is_not_finite_halts_at_its_run() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision::F32);
    let (x, weights, mut plan) = linear(&gpu, &graph, Options::default());
    let mut rates = vec![];
    for value in [1.0, 1.0, 1.0, 3.0, f32::NAN, 1.0, 1.0] {
        plan.write(x, &[value; 4]).unwrap();
        plan.run();
        rates.push(plan.progress().wait().unwrap().learning_rate);
    }
    assert_eq!(rates[..4], [0.0, 0.5, 0.5, 0.25]);
    assert_eq!(values(&weights)[0], [1.0 - 0.5 - 0.25 * 2.0; 4]);
    let failure = plan.losses().wait().unwrap_err();
    assert!(matches!(failure, Error::NotFinite { step: 4, .. }), "{failure}");
}

#[test]
fn it_takes_four_bytes_a_weight_and_one_dispatch() -> Result<()> {
    let gpu = Gpu::new()?;
    let graph = Graph::new(Precision::F16);
    let loss = nn::linear("fc", graph.input("x", [4, 64]), 32).square().mean_all();
    let lowered = |accumulate| {
        let options = Options { accumulate, ..Options::default() };
        lower_training(loss, &Sgd::new(0.1), gpu.caps(), &options).map(|lowered| lowered.program)
    };
    let (one, two) = (lowered(1)?, lowered(2)?);
    assert_eq!(one.dispatches.len() + 1, two.dispatches.len());
    assert!(two.total_bytes() - one.total_bytes() < 4 * 65 * 32 + 1024);
    assert!(matches!(lowered(0).unwrap_err(), Error::Name { .. }));
    Ok(())
}
