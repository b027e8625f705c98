//! States: what is kept from step to step beside the weights.

mod common;

use halfgrad::{
    Caps, Gpu, Graph, Init, Plan, Precision, Sgd, Tensor, Weights, data,
    dispatch::Access,
    nn,
    plan::{Options, lower_training},
};

const SHAPE: [usize; 2] = [37, 6];
const PRECISIONS: [Precision; 4] = [Precision::F32, Precision::F16, Precision::F16_STRICT, Precision::MIXED];

fn gpu() -> Gpu {
    static GPU: std::sync::OnceLock<Gpu> = std::sync::OnceLock::new();
    GPU.get_or_init(|| Gpu::new().expect("an adapter")).clone()
}

/// The batch of a step: another mean and spread for each channel and step.
fn batch(step: usize) -> Vec<f32> {
    let value = |i: usize| {
        let (row, c) = (i / SHAPE[1], i % SHAPE[1]);
        let noise = ((row * 7 + c * 3 + step * 5) % 37) as f32 / 18.0 - 1.0;
        half::f16::from_f32(c as f32 + noise * (step + 1) as f32).to_f32()
    };
    (0..SHAPE[0] * SHAPE[1]).map(value).collect()
}

fn network(graph: &Graph) -> (Tensor<'_>, Tensor<'_>) {
    let y = nn::batch_norm("bn1", graph.input("x", SHAPE));
    (y, y.square().mean_all())
}

fn state(weights: &Weights, name: &str) -> Vec<f32> {
    weights.get(name).unwrap().wait().unwrap()
}

/// Means and variances by PyTorch's rule, in f64.
fn host(steps: usize) -> [Vec<f64>; 2] {
    let [rows, c] = SHAPE;
    let (mut means, mut variances) = (vec![0.0; c], vec![1.0; c]);
    for step in 0..steps {
        let x = batch(step);
        for k in 0..c {
            let column: Vec<f64> = (0..rows).map(|r| f64::from(x[r * c + k])).collect();
            let mean = column.iter().sum::<f64>() / rows as f64;
            let variance = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (rows - 1) as f64;
            means[k] += 0.1 * (mean - means[k]);
            variances[k] += 0.1 * (variance - variances[k]);
        }
    }
    [means, variances]
}

fn close(found: &[f32], expected: &[f64], relative: f64) {
    for (&f, &e) in found.iter().zip(expected) {
        assert!((f64::from(f) - e).abs() <= relative * e.abs().max(1.0), "{found:?} instead of {expected:?}");
    }
}

#[test]
fn running_averages_are_the_hosts_survive_a_file_and_serve_inference() {
    let gpu = gpu();
    let folder = tempfile::tempdir().unwrap();
    for precision in PRECISIONS.into_iter().filter(|&p| gpu.caps().supports(p).is_ok()) {
        let strict = precision == Precision::F16_STRICT;
        let relative = if strict { 2e-2 } else { 1e-5 };
        let graph = Graph::new(precision);
        let (y, loss) = network(&graph);
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        // A rate of 0 leaves gain and bias; a loss scale of 2^16 would skip steps in f16.
        let mut plan = Plan::train(&gpu, &weights, loss, Sgd::new(0.0)).unwrap();
        for step in 0..5 {
            plan.write("x", &batch(step)).unwrap();
            plan.run();
        }
        assert_eq!(plan.progress().wait().unwrap().skipped, 0, "{precision}");
        let [means, variances] = host(5);
        close(&state(&weights, "bn1.running_mean"), &means, relative);
        close(&state(&weights, "bn1.running_var"), &variances, relative);

        let path = folder.path().join(precision.to_string());
        weights.save(&path).unwrap();
        let loaded = Weights::load(&gpu, &graph, &path).unwrap();
        assert_eq!(loaded.read_all().wait().unwrap(), weights.read_all().wait().unwrap());

        let expected = |x: &[f32], [means, variances]: &[Vec<f64>; 2]| -> Vec<f64> {
            let value = |(i, &v): (usize, &f32)| {
                let c = i % SHAPE[1];
                (f64::from(v) - means[c]) / (variances[c] + if strict { 1e-3 } else { 1e-5 }).sqrt()
            };
            x.iter().enumerate().map(value).collect()
        };
        for weights in [&weights, &loaded] {
            let mut infer = Plan::infer(&gpu, weights, [y]).unwrap();
            infer.write("x", &batch(9)).unwrap();
            infer.run();
            infer.run();
            let found = infer.read(y).unwrap().wait().unwrap();
            let relative = if precision == Precision::F32 { 1e-5 } else { 2e-2 };
            close(&found, &expected(&batch(9), &[means.clone(), variances.clone()]), relative);
        }
        close(&state(&weights, "bn1.running_mean"), &means, relative);
    }
}

/// Two epochs of digits, evaluated with the running averages.
#[test]
fn a_normalised_network_learns_in_every_precision() {
    let gpu = gpu();
    let digits = data::digits();
    for precision in PRECISIONS.into_iter().filter(|&p| gpu.caps().supports(p).is_ok()) {
        let graph = Graph::new(precision);
        let x = graph.input("x", [64, 8, 8, 1]);
        let h = nn::batch_norm("bn1", nn::conv2d("conv1", x, 12, 3)).relu().max_pool(2);
        let h = nn::layer_norm("ln", nn::linear("fc1", h.flatten(), 32)).relu();
        let logits = nn::linear("fc2", h, 10);
        let loss = logits.cross_entropy(graph.labels("label", [64]));
        let weights = Weights::init(&gpu, &graph, 1).unwrap();
        let mut plan = Plan::train(&gpu, &weights, loss, Sgd::new(0.05).momentum(0.9)).unwrap();
        for epoch in 0..2 {
            for batch in digits.train.batches(64).unwrap().shuffled(epoch) {
                plan.write("x", &batch.images).unwrap();
                plan.write("label", &batch.labels).unwrap();
                plan.run();
            }
        }
        let losses = plan.losses().wait().unwrap();
        let mut infer = Plan::infer(&gpu, &weights, [logits]).unwrap();
        let accuracy = infer.evaluate("x", logits, &digits.test).unwrap().accuracy;
        assert!(accuracy > 0.88, "{precision}: accuracy {accuracy} after losses {losses:?}");
    }
}

#[test]
fn gradients_of_inference_take_the_running_statistics() {
    let gpu = gpu();
    let graph = Graph::new(Precision::F32);
    let x = graph.input("x", SHAPE);
    let y = nn::batch_norm("bn1", x);
    let dx = graph.grad(y.square().sum_all(), &[x])[0];
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    weights.set("bn1.running_var", &[4.0; 6]).unwrap();
    let mut plan = Plan::infer(&gpu, &weights, [dx]).unwrap();
    plan.write("x", &batch(0)).unwrap();
    plan.run();
    let expected: Vec<f64> = batch(0).iter().map(|&v| 2.0 * f64::from(v) / (4.0 + 1e-5)).collect();
    close(&plan.read(dx).unwrap().wait().unwrap(), &expected, 1e-5);
}

#[test]
fn statistics_that_are_not_finite_are_not_taken_in() {
    let gpu = gpu();
    for bad in [f32::NAN, f32::INFINITY] {
        let graph = Graph::new(Precision::F32);
        let x = graph.input("x", [5]);
        let kept = graph.state("kept", [5], Init::Constant(1.0));
        graph.average(kept, x, 0.5);
        // The loss knows nothing of x's bad value.
        let w = graph.weight("w", [1], Init::Constant(1.0));
        let loss = (w * x.slice(0, 0..2)).sum_all();
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        let mut plan = Plan::train(&gpu, &weights, loss, Sgd::new(0.1)).unwrap();
        plan.write(x, &[3.0, 5.0, bad, -1.0, -bad]).unwrap();
        plan.run();
        assert_eq!(state(&weights, "kept"), [2.0, 3.0, 1.0, 0.0, 1.0]);
        // A step whose loss is bad changes nothing at all.
        plan.write(x, &[bad, 5.0, 5.0, 5.0, 5.0]).unwrap();
        plan.run();
        plan.write(x, &[5.0; 5]).unwrap();
        plan.run();
        assert!(plan.progress().wait().unwrap().halted.is_some());
        assert_eq!(state(&weights, "kept"), [2.0, 3.0, 1.0, 0.0, 1.0]);
    }
}

#[test]
fn a_skipped_step_leaves_states_as_it_leaves_weights() {
    let gpu = gpu();
    let graph = Graph::new(Precision::MIXED);
    let y = nn::batch_norm("bn1", graph.input("x", SHAPE));
    // Under a loss scale of 2^16 no f16 holds the first gradients.
    let loss = (y * graph.input("u", [1])).sum_all();
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let mut plan = Plan::train(&gpu, &weights, loss, Sgd::new(0.0)).unwrap();
    plan.write("x", &batch(0)).unwrap();
    plan.write("u", &[100.0]).unwrap();
    plan.run();
    assert_eq!((plan.progress().wait().unwrap().skipped, state(&weights, "bn1.running_var")), (1, vec![1.0; 6]));
    plan.write("u", &[1e-3]).unwrap();
    plan.run();
    close(&state(&weights, "bn1.running_var"), &host(1)[1], 1e-5);
}

#[test]
fn a_batch_may_be_one_sample() {
    let gpu = gpu();
    for precision in [Precision::F32, Precision::F16] {
        let graph = Graph::new(precision);
        let x = graph.input("x", [1, 3]);
        let y = nn::batch_norm("bn1", x);
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        let mut plan = Plan::train(&gpu, &weights, y.sum_all(), Sgd::new(0.0)).unwrap();
        plan.write(x, &[10.0, 20.0, -30.0]).unwrap();
        plan.run();
        close(&state(&weights, "bn1.running_mean"), &[1.0, 2.0, -3.0], 1e-6);
        close(&state(&weights, "bn1.running_var"), &[0.9; 3], 1e-6);
        let mut plan = Plan::infer(&gpu, &weights, [y]).unwrap();
        plan.write(x, &[1.0, 2.0, 6.0]).unwrap();
        plan.run();
        let expected = [0.0, 0.0, 9.0 / (0.9f64 + 1e-5).sqrt()];
        close(&plan.read(y).unwrap().wait().unwrap(), &expected, 1e-3);
    }
}

/// Readers before and after the assignment in the graph, a swap, a count.
#[test]
fn all_of_a_step_reads_the_old_value() {
    let gpu = gpu();
    let graph = Graph::new(Precision::F16);
    let (a, b) = (graph.state("a", [3], Init::Constant(1.0)), graph.state("b", [3, 1], Init::Constant(2.0)));
    let count = graph.state("count", [], Init::Constant(0.0));
    graph.assign(a, b.reshape([3]));
    graph.assign(b, a.reshape([3, 1]));
    graph.assign(count, count + 1.0);
    let late = (a * 10.0).copied().watch();
    let w = graph.weight("w", [3], Init::Constant(1.0));
    let loss = (w * late.cast(w.dtype())).sum_all();
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let mut plan = Plan::train(&gpu, &weights, loss, Sgd::new(0.0)).unwrap();
    let mut found = vec![];
    for _ in 0..3 {
        plan.run();
        found.push(plan.read(late).unwrap().wait().unwrap()[0]);
    }
    assert_eq!(found, [10.0, 20.0, 10.0]);
    assert_eq!((state(&weights, "a"), state(&weights, "b")), (vec![2.0; 3], vec![1.0; 3]));
    assert_eq!(state(&weights, "count"), [3.0]);
    assert_eq!(plan.diagnose().unwrap(), None);
    assert_eq!(state(&weights, "count"), [3.0]);
}

/// Two values that states follow, one of them read by what is fused behind the other.
fn two_moments(graph: &Graph) -> Tensor<'_> {
    let x = graph.input("x", SHAPE);
    let w = graph.weight("w", [SHAPE[1]], Init::Constant(1.0));
    let (mean, square) = ((x * w).mean([0]), x.square().mean([0]));
    graph.average(graph.state("mean", [SHAPE[1]], Init::Constant(0.0)), mean, 0.1);
    graph.average(graph.state("square", [SHAPE[1]], Init::Constant(0.0)), square, 0.1);
    (square - mean.square()).sum_all() * 1e-3
}

#[test]
fn values_that_states_follow_may_be_made_of_each_other() {
    let gpu = gpu();
    for precision in PRECISIONS.into_iter().filter(|&p| gpu.caps().supports(p).is_ok()) {
        let graph = Graph::new(precision);
        let loss = two_moments(&graph);
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        let mut plan = Plan::train(&gpu, &weights, loss, Sgd::new(0.0)).unwrap();
        plan.write("x", &batch(0)).unwrap();
        plan.run();
        let column = |power: i32| -> Vec<f64> {
            let sum =
                |c: usize| batch(0).iter().skip(c).step_by(SHAPE[1]).map(|v| f64::from(*v).powi(power)).sum::<f64>();
            (0..SHAPE[1]).map(|c| 0.1 * sum(c) / SHAPE[0] as f64).collect()
        };
        let relative = if precision == Precision::F16_STRICT { 2e-2 } else { 2e-3 };
        close(&state(&weights, "mean"), &column(1), relative);
        close(&state(&weights, "square"), &column(2), relative);
    }
}

#[test]
fn a_weight_that_a_state_follows_is_that_of_the_forward_pass() {
    let gpu = gpu();
    for precision in PRECISIONS.into_iter().filter(|&p| gpu.caps().supports(p).is_ok()) {
        let graph = Graph::new(precision);
        let w = graph.weight("w", [3], Init::Constant(1.0));
        graph.assign(graph.state("before", [3], Init::Constant(0.0)), w);
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        let mut plan = Plan::train(&gpu, &weights, (w / 64.0).sum_all(), Sgd::new(16.0)).unwrap();
        (0..2).for_each(|_| plan.run());
        assert_eq!((state(&weights, "before"), state(&weights, "w")), (vec![0.75; 3], vec![0.5; 3]), "{precision}");
    }
}

#[test]
fn programs_with_states_keep_the_rules() {
    for (_, precision) in Precision::PRESETS {
        let graph = Graph::new(precision);
        let moments = lower_training(two_moments(&graph), &Sgd::new(0.1), &Caps::reference(), &Options::default());
        common::keeps_the_rules(&moments.unwrap().program, &Caps::reference()).unwrap();
        let graph = Graph::new(precision);
        let (_, loss) = network(&graph);
        // An input of another network: this plan must not ask for it.
        let other = graph.input("other", [5]);
        graph.assign(graph.state("s", [5], Init::Constant(0.0)), other * 2.0);
        let program = lower_training(loss, &Sgd::new(0.1), &Caps::reference(), &Options::default()).unwrap().program;
        common::keeps_the_rules(&program, &Caps::reference()).unwrap();
        common::shaders_are_valid(&program, precision).unwrap();
        let changed = |label: &str| program.dispatches.iter().any(|d| d.label == label);
        assert!(changed("average states") && !changed("average s"));
        let first = program.dispatches.iter().position(|d| d.label.starts_with("average")).unwrap();
        let states = |b: usize| program.buffers[b].name.starts_with("state");
        for d in &program.dispatches[..first] {
            assert!(d.bindings.iter().all(|(x, a)| *a == Access::Read || !states(x.buffer)));
        }
    }
}

#[test]
fn mistakes_are_named() {
    let graph = Graph::new(Precision::F32);
    let x = graph.input("x", [3]);
    graph.assign(x, x + 1.0);
    assert!(graph.check().unwrap_err().to_string().contains("a state takes a value of its own shape"));
}
