//! Training, end to end: accuracy in every precision, same bits, short batches, frozen and shared weights, overflow,
//! NaN, files.

use std::collections::BTreeSet;

use halfgrad::{
    Adam, AdamW, Error, Gpu, Graph, Init, LossScale, Plan, Precision, Sgd, Tensor, Weights,
    data::{self, IGNORE},
    nn,
    ops::Attention,
    plan::Options,
};

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::F16, Precision::MIXED];

/// Those, and strict where the adapter has it.
fn all_precisions(gpu: &Gpu) -> impl Iterator<Item = Precision> {
    PRECISIONS.into_iter().chain(gpu.caps().shader_f16.then_some(Precision::F16_STRICT))
}

/// The digits' network: input, labels, logits, loss.
fn digits_net(graph: &Graph, batch: usize) -> (Tensor<'_>, Tensor<'_>, Tensor<'_>, Tensor<'_>) {
    let x = graph.input("x", [batch, 8, 8, 1]);
    let label = graph.labels("label", [batch]);
    let logits = nn::mlp(x, &[128], 10);
    (x, label, logits, logits.cross_entropy(label))
}

/// Trains on digits; returns the test accuracy and all weights.
fn train_digits(gpu: &Gpu, precision: Precision, seed: u64, epochs: u32) -> Result<(f64, Vec<Vec<f32>>), Error> {
    let graph = Graph::new(precision);
    let (x, label, logits, loss) = digits_net(&graph, 64);
    let weights = Weights::init(gpu, &graph, seed)?;
    let mut train = Plan::train(gpu, &weights, loss, Sgd::new(0.05).momentum(0.9))?;
    let mut infer = Plan::infer(gpu, &weights, [logits])?;
    let digits = data::digits();
    let batches = digits.train.batches(64)?.shuffled(seed);
    for batch in (0..epochs).flat_map(|e| batches.epoch(e)) {
        train.write(x, &batch.images)?;
        train.write(label, &batch.labels)?;
        train.run();
    }
    train.losses().wait()?;
    Ok((infer.evaluate(x, logits, &digits.test)?.accuracy, weights.read_all().wait()?))
}

#[test]
fn digits_reach_the_bound_in_every_precision() {
    let gpu = Gpu::new().unwrap();
    for precision in PRECISIONS {
        for seed in [1, 2, 3] {
            let (accuracy, _) = train_digits(&gpu, precision, seed, 30).unwrap();
            assert!(accuracy >= 0.96, "{precision}, seed {seed}: {accuracy}");
        }
    }
    // Strict may stop, but it says so.
    match train_digits(&gpu, Precision::F16_STRICT, 1, 3) {
        Ok((accuracy, _)) => assert!(accuracy > 0.5, "{accuracy}"),
        Err(e) => assert!(matches!(e, Error::NotFinite { .. } | Error::Unsupported { .. }), "{e}"),
    }
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let gpu = Gpu::new().unwrap();
    for precision in PRECISIONS {
        let bits = || -> Vec<u32> {
            let (_, weights) = train_digits(&gpu, precision, 3, 2).unwrap();
            weights.into_iter().flatten().map(f32::to_bits).collect()
        };
        assert!(bits() == bits(), "{precision}");
    }
}

#[test]
fn a_short_batch_is_the_mean_over_its_rows() {
    let gpu = Gpu::new().unwrap();
    let (data, rows) = (data::digits().train, 29);
    for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::F16, 2e-2), (Precision::MIXED, 2e-2)] {
        // With learning rate 1 and no momentum the change of a weight is its gradient.
        let graph = Graph::new(precision);
        let (x, label, _, loss) = digits_net(&graph, 64);
        let weights = Weights::init(&gpu, &graph, 5).unwrap();
        let before = weights.read_all().wait().unwrap();
        let mut plan = Plan::train(&gpu, &weights, loss, Sgd::new(1.0)).unwrap();
        let mut images = vec![0.0; 64 * 64];
        images[..rows * 64].copy_from_slice(&data.images()[..rows * 64]);
        let mut labels = vec![IGNORE; 64];
        labels[..rows].copy_from_slice(&data.labels()[..rows]);
        plan.write(x, &images).unwrap();
        plan.write(label, &labels).unwrap();
        plan.run();
        let loss_of_batch = f64::from(plan.losses().wait().unwrap()[0]);
        let after = weights.read_all().wait().unwrap();

        let single = Graph::new(Precision::F32);
        let (x, label, _, loss) = digits_net(&single, 1);
        let gradients = single.grad(loss, &single.weights());
        let same = Weights::init(&gpu, &single, 5).unwrap();
        for ((name, _), values) in weights.names().iter().zip(&before) {
            same.set(name, values).unwrap();
        }
        let mut one = Plan::infer(&gpu, &same, gradients.iter().copied().chain([loss])).unwrap();
        let mut mean: Vec<Vec<f64>> = before.iter().map(|w| vec![0.0; w.len()]).collect();
        let mut mean_loss = 0.0;
        for row in 0..rows {
            one.write(x, &images[row * 64..][..64]).unwrap();
            one.write(label, &labels[row..=row]).unwrap();
            one.run();
            mean_loss += f64::from(one.read(loss).unwrap().wait().unwrap()[0]) / rows as f64;
            for (m, g) in mean.iter_mut().zip(&gradients) {
                let values = one.read(*g).unwrap().wait().unwrap();
                m.iter_mut().zip(values).for_each(|(m, v)| *m += f64::from(v) / rows as f64);
            }
        }
        assert!((mean_loss - loss_of_batch).abs() <= tolerance * mean_loss, "{precision}: {mean_loss} {loss_of_batch}");
        for (i, ((b, a), m)) in before.iter().zip(&after).zip(&mean).enumerate() {
            // As norms: rounding in 16 bit may switch a single relu, and with it a single sample's part.
            let changes = b.iter().zip(a).map(|(&b, &a)| f64::from(b) - f64::from(a));
            let off = changes.zip(m).map(|(c, m)| (c - m).powi(2)).sum::<f64>().sqrt();
            let size = m.iter().map(|m| m * m).sum::<f64>().sqrt();
            assert!(off <= tolerance * size, "{precision}, weight {i}: off by {off} of {size}");
        }
    }
}

/// A scalar problem around one weight of seven values: `loss` is made from it and the input `x`.
fn one_weight(
    gpu: &Gpu,
    loss: impl for<'g> Fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let graph = Graph::new(Precision::F32);
    let (w, x) = (graph.weight("w", [7], Init::Uniform { bound: 1.0 }), graph.input("x", [7]));
    let loss = loss(w, x);
    let weights = Weights::init(gpu, &graph, 0).unwrap();
    let before = weights.get("w").unwrap().wait().unwrap();
    let mut plan = Plan::train(gpu, &weights, loss, Sgd::new(1.0)).unwrap();
    let xs: Vec<f32> = (0..7).map(|i| i as f32 / 8.0).collect();
    // A loss that does not depend on x leaves it out of the plan.
    let _ = plan.write(x, &xs);
    plan.run();
    (before, xs, weights.get("w").unwrap().wait().unwrap())
}

#[test]
fn a_shared_weight_gets_the_sum_of_its_gradients() {
    let gpu = Gpu::new().unwrap();
    let (w, x, after) = one_weight(&gpu, |w, x| (w * x * w.graph.shared("w")).sum_all());
    for i in 0..7 {
        assert!((after[i] - (w[i] - 2.0 * w[i] * x[i])).abs() < 1e-6, "{i}");
    }
    let (w, x, after) = one_weight(&gpu, |w, x| (w * x * w.graph.shared("w").stop_gradient()).sum_all());
    for i in 0..7 {
        assert!((after[i] - (w[i] - w[i] * x[i])).abs() < 1e-6, "{i}");
    }
    // A loss that does not depend on the weight, the weight itself as the loss, two weights with one gradient.
    let (w, _, after) = one_weight(&gpu, |_, x| x.sum_all());
    assert_eq!(w, after);
    let (w, _, after) = one_weight(&gpu, |w, _| w.sum_all());
    assert!(w.iter().zip(after).all(|(w, a)| (a - (w - 1.0)).abs() < 1e-6));
}

#[test]
fn weights_with_one_gradient_each_get_it() {
    let gpu = Gpu::new().unwrap();
    for precision in [Precision::F32, Precision::F16, scaled(64.0)] {
        let graph = Graph::new(precision);
        let [a, b, c] = ["a", "b", "c"].map(|n| graph.weight(n, [3, 5], Init::Constant(1.0)));
        // The gradients of a and b are one node, which that of c is computed from.
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        let x = graph.input("x", [3, 5]);
        let sum = a + b + c * x;
        let mut plan = Plan::train(&gpu, &weights, sum.square().mean_all(), Sgd::new(0.5)).unwrap();
        plan.write(x, &[2.0; 15]).unwrap();
        plan.run();
        let after = weights.read_all().wait().unwrap();
        let g = 2.0 * 4.0 / 15.0;
        for (w, g) in after.iter().zip([g, g, 2.0 * g]) {
            assert!(w.iter().all(|v| (v - (1.0 - 0.5 * g)).abs() < 2e-3), "{precision}: {w:?}");
        }
    }
}

/// As products of several features, products of one add up terms that f16 does not hold.
#[test]
fn the_gradient_of_one_feature_is_summed_in_registers() {
    let gpu = Gpu::new().unwrap();
    for precision in [Precision::F16, Precision::MIXED] {
        let graph = Graph::new(precision);
        let (x, w) = (graph.input("x", [1024, 1]), graph.weight("w", [1, 8], Init::Constant(0.0)));
        let dw = graph.grad((x.matmul(w) * 1e-6).sum_all(), &[w])[0];
        let (a, b) = (graph.input("a", [2, 1, 256]), graph.input("b", [2, 256, 1]));
        let dots = a.matmul(b);
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        let mut plan = Plan::infer(&gpu, &weights, [dw, dots]).unwrap();
        plan.write(x, &[0.01; 1024]).unwrap();
        let signs: Vec<f32> = (0..512).map(|i| if i % 2 == 0 { 300.0 } else { -300.0 }).collect();
        plan.write(a, &signs).unwrap();
        plan.write(b, &[300.0; 512]).unwrap();
        plan.run();
        let read = |t| plan.read(t).unwrap().wait().unwrap();
        assert!(read(dw).iter().all(|v| (v / 1.024e-5 - 1.0).abs() < 0.05), "{precision}: {:?}", read(dw));
        assert_eq!(read(dots), [0.0; 2], "{precision}");
    }
}

/// Two losses on one body: a plan of one of them leaves the other's head alone, and does not let it decay.
#[test]
fn weights_that_the_loss_does_not_depend_on_stay() {
    let gpu = Gpu::new().unwrap();
    for precision in all_precisions(&gpu) {
        let graph = Graph::new(precision);
        let body = nn::linear("body", graph.input("x", [4, 5]), 6).relu();
        let [first, second] = ["first", "second"].map(|name| nn::linear(name, body, 3).square().mean_all());
        let weights = Weights::init(&gpu, &graph, 1).unwrap();
        let before = weights.read_all().wait().unwrap();
        let step = |loss| {
            let mut plan = Plan::train(&gpu, &weights, loss, AdamW::new(0.01).weight_decay(0.5)).unwrap();
            plan.write("x", &[0.5; 20]).unwrap();
            // The first ones find a loss scale.
            (0..12).for_each(|_| plan.run());
            weights.read_all().wait().unwrap()
        };
        let one = step(first);
        assert!(one[..4] != before[..4] && one[4..] == before[4..], "{precision}");
        let two = step(second);
        assert!(two[2..4] == one[2..4] && two[4] != one[4], "{precision}");
    }
}

#[test]
fn frozen_weights_stay() {
    let gpu = Gpu::new().unwrap();
    for precision in PRECISIONS {
        let graph = Graph::new(precision);
        let x = graph.input("x", [4, 5]);
        let loss = nn::mlp(x, &[6, 7], 3).square().mean_all();
        graph.freeze("fc2.*");
        graph.freeze("*.bias");
        let weights = Weights::init(&gpu, &graph, 1).unwrap();
        let before = weights.read_all().wait().unwrap();
        let mut plan = Plan::train(&gpu, &weights, loss, Adam::new(0.01)).unwrap();
        plan.write(x, &[0.5; 20]).unwrap();
        (0..3).for_each(|_| plan.run());
        let after = weights.read_all().wait().unwrap();
        for (((name, _), b), a) in weights.names().iter().zip(&before).zip(&after) {
            let frozen = name.starts_with("fc2.") || name.ends_with(".bias");
            assert_eq!(a == b, frozen, "{precision} {name}");
        }
    }
    let graph = Graph::new(Precision::F32);
    let loss = nn::linear("fc1", graph.input("x", [4, 5]), 3).mean_all();
    graph.freeze("conv*");
    let error = Weights::init(&gpu, &graph, 1).map(|_| loss).unwrap_err();
    assert!(matches!(&error, Error::Name { name, .. } if name == "conv*"), "{error}");
}

fn scaled(initial: f32) -> Precision {
    let loss_scale = LossScale::Dynamic { initial, growth: 2.0, backoff: 0.5, interval: 5 };
    Precision { loss_scale, ..Precision::MIXED }
}

/// A small network in `precision` with the loss's plan.
fn small(gpu: &Gpu, precision: Precision, options: Options) -> (Weights, Plan) {
    let graph = Graph::new(precision);
    let loss = nn::mlp(graph.input("x", [4, 5]), &[6], 3).square().mean_all();
    let weights = Weights::init(gpu, &graph, 1).unwrap();
    let mut plan = Plan::train_with(gpu, &weights, loss, &Sgd::new(0.01).momentum(0.9), options).unwrap();
    let x: Vec<f32> = (0..20).map(|i| (i * 7 % 20) as f32 / 10.0 - 1.0).collect();
    plan.write("x", &x).unwrap();
    (weights, plan)
}

#[test]
fn an_overflow_skips_the_step_and_halves_the_scale() {
    let gpu = Gpu::new().unwrap();
    let (weights, mut plan) = small(&gpu, scaled(2f32.powi(40)), Options::default());
    let before = weights.read_all().wait().unwrap();
    for step in 1..=3 {
        plan.run();
        let p = plan.progress().wait().unwrap();
        assert_eq!((p.steps, p.updates, p.skipped, p.halted), (step, 0, step, None));
        assert_eq!(p.loss_scale, 2f32.powi(40 - step as i32));
        assert_eq!(weights.read_all().wait().unwrap(), before);
    }
    // It comes down until steps are clean, and from then on goes up after every fifth.
    (0..60).for_each(|_| plan.run());
    let p = plan.progress().wait().unwrap();
    assert!(p.updates > 20 && p.steps == 63 && p.skipped + p.updates == 63, "{p:?}");
    assert!(plan.losses().wait().unwrap().iter().all(|l| l.is_finite()));
}

#[test]
fn the_scale_doubles_after_clean_steps() {
    let gpu = Gpu::new().unwrap();
    let (_, mut plan) = small(&gpu, scaled(8.0), Options::default());
    for (steps, scale) in [(4, 8.0), (1, 16.0), (4, 16.0), (1, 32.0)] {
        (0..steps).for_each(|_| plan.run());
        assert_eq!(plan.progress().wait().unwrap().loss_scale, scale);
    }
}

#[test]
fn the_scale_does_not_change_the_update() {
    let gpu = Gpu::new().unwrap();
    let trained = |initial| {
        let (weights, mut plan) = small(&gpu, scaled(initial), Options::default());
        (0..4).for_each(|_| plan.run());
        weights.read_all().wait().unwrap().concat()
    };
    // Powers of two move no digit unless something underflows.
    for (a, b) in trained(16.0).into_iter().zip(trained(1024.0)) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

#[test]
fn a_loss_that_is_not_finite_halts_and_names_the_layer() {
    let gpu = Gpu::new().unwrap();
    for precision in PRECISIONS {
        let (weights, mut plan) = small(&gpu, precision, Options::default());
        (0..2).for_each(|_| plan.run());
        let before = weights.read_all().wait().unwrap();
        // Finite in the storage type, but not what the first layer makes of it.
        let largest = if precision == Precision::F32 { 3e38 } else { 6e4 };
        plan.write("x", &[largest; 20]).unwrap();
        (0..3).for_each(|_| plan.run());
        let skipped_first = plan.progress().wait().unwrap();
        assert_eq!(skipped_first.halted, Some(2), "{precision}: {skipped_first:?}");
        let error = plan.losses().wait().unwrap_err();
        let Error::NotFinite { step: 2, layer, before: losses, .. } = &error else { panic!("{error}") };
        assert!(layer.contains("fc1") && losses.len() == 2 && losses.iter().all(|l| l.is_finite()), "{error:?}");
        let clean = plan.progress().wait().unwrap();
        assert_eq!((clean.updates, clean.halted, clean.steps), (2, Some(2), 5), "{precision}");
        assert_eq!(weights.read_all().wait().unwrap(), before, "{precision}");

        let (weights, mut plan) = small(&gpu, precision, Options { stop_on_nan: false, ..Options::default() });
        let good: Vec<f32> = plan.read("x").unwrap().wait().unwrap();
        plan.write("x", &[largest; 20]).unwrap();
        plan.run();
        let before = weights.read_all().wait().unwrap();
        plan.write("x", &good).unwrap();
        (0..3).for_each(|_| plan.run());
        let p = plan.progress().wait().unwrap();
        assert_eq!((p.skipped, p.updates, p.halted), (1, 3, None), "{precision}");
        let losses = plan.losses().wait().unwrap();
        assert!(!losses[0].is_finite() && losses[1..].iter().all(|l| l.is_finite()), "{precision}: {losses:?}");
        assert_ne!(weights.read_all().wait().unwrap(), before);
    }
}

#[test]
fn looking_for_the_bad_layer_changes_nothing() {
    let gpu = Gpu::new().unwrap();
    let (weights, mut plan) = small(&gpu, Precision::MIXED, Options::default());
    plan.run();
    let (before, progress) = (weights.read_all().wait().unwrap(), plan.progress().wait().unwrap());
    assert_eq!(plan.diagnose().unwrap(), None);
    assert_eq!((weights.read_all().wait().unwrap(), plan.progress().wait().unwrap()), (before, progress));
    weights.set("fc2.bias", &[0.0, f32::NAN, 0.0]).unwrap();
    assert!(plan.diagnose().unwrap().is_some_and(|l| l.contains("fc2.bias")));
}

#[test]
fn weights_survive_a_file() {
    let gpu = Gpu::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    for (_, precision) in Precision::PRESETS.into_iter().filter(|(_, p)| gpu.caps().supports(*p).is_ok()) {
        let graph = Graph::new(precision);
        let loss = nn::mlp(graph.input("x", [4, 5]), &[6], 3).square().mean_all();
        let weights = Weights::init(&gpu, &graph, 1).unwrap();
        let mut plan = Plan::train(&gpu, &weights, loss, Sgd::new(0.01)).unwrap();
        plan.write("x", &[0.3; 20]).unwrap();
        plan.run();
        weights.save(&path).unwrap();
        let again = Weights::load(&gpu, &graph, &path).unwrap();
        assert_eq!(weights.read_all().wait().unwrap(), again.read_all().wait().unwrap(), "{precision}");
    }
    let other = |out: usize, more: bool| {
        let graph = Graph::new(Precision::F32);
        nn::mlp(graph.input("x", [4, 5]), &[6], out);
        if more {
            nn::linear("extra", graph.input("y", [4, 5]), 2);
        }
        Weights::load(&gpu, &graph, &path).unwrap_err().to_string()
    };
    let (shape, missing) = (other(4, false), other(3, true));
    assert!(shape.contains("fc2.weight") && shape.contains("[6, 3]") && shape.contains("[6, 4]"), "{shape}");
    assert!(missing.contains("extra.weight"), "{missing}");
    assert!(Weights::load(&gpu, &Graph::new(Precision::F32), folder.path().join("none")).is_err());
}

#[test]
fn weights_go_to_another_batch_and_to_another_network() {
    let gpu = Gpu::new().unwrap();
    let net = |precision, batch: usize, classes| {
        let graph = Graph::new(precision);
        nn::batch_norm("bn", nn::mlp(graph.input("x", [batch, 5]), &[6], classes));
        graph
    };
    let trained = Weights::init(&gpu, &net(Precision::MIXED, 64, 3), 1).unwrap();
    trained.set("bn.running_mean", &[1.0, 2.0, 3.0]).unwrap();
    let all = |weights: &Weights| weights.read_all().wait().unwrap();
    // Masters and states go along: not a bit is lost on the way to f32 and back.
    let there = trained.for_graph(&gpu, &net(Precision::F32, 1, 3)).unwrap();
    let back = there.for_graph(&gpu, &net(Precision::MIXED, 64, 3)).unwrap();
    assert_eq!((all(&there), all(&back)), (all(&trained), all(&trained)));
    let refused = |graph: &Graph| trained.for_graph(&gpu, graph).unwrap_err().to_string();
    let (other, more) = (net(Precision::F32, 1, 4), net(Precision::F32, 1, 3));
    nn::linear("extra", more.input("y", [4, 5]), 2);
    assert_eq!(refused(&other), r#""bn.bias": it is [3] in the one graph and [4] in the other"#);
    assert_eq!(refused(&more), r#""extra.bias": it is not there in the one graph and [2] in the other"#);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    trained.save(&path).unwrap();
    let fresh = Weights::init(&gpu, &other, 2).unwrap();
    let before = all(&fresh);
    let left = fresh.fill_from(&path).unwrap();
    let head = ["fc2.weight", "fc2.bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"];
    assert_eq!(left.missing, head);
    assert_eq!(BTreeSet::from_iter(left.unused), BTreeSet::from(head.map(str::to_owned)));
    let (after, trained) = (all(&fresh), all(&trained));
    assert_eq!((&after[..2], &after[2..]), (&trained[..2], &before[2..]));
    std::fs::write(&path, b"no such file").unwrap();
    assert!(matches!(fresh.fill_from(&path), Err(Error::File { .. })));
    assert_eq!(all(&fresh), after);
}

/// What is watched is computed in training too, after the weights that the step began with; what needs other inputs is left out.
#[test]
fn what_is_watched_is_there_though_the_loss_does_not_need_it() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision::F32);
    let (x, other) = (graph.input("x", [2, 3]), graph.input("other", [2, 3]));
    let w = graph.weight("w", [3, 1], Init::Constant(1.0));
    let loss = x.matmul(w).sum_all();
    let (gradient, beside) = (graph.grad(loss, &[w])[0].watch(), (x * other).watch());
    let doubled = (w * 2.0).watch();
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let mut plan = Plan::train(&gpu, &weights, loss, Sgd::new(0.5)).unwrap();
    plan.write(x, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    plan.run();
    let read = |t| plan.read(t).unwrap().wait().unwrap();
    assert_eq!((read(gradient), read(doubled)), (vec![5.0, 7.0, 9.0], vec![2.0; 3]));
    assert!(!plan.has(beside) && !plan.has(other));
}

#[test]
fn nan_gets_through_to_the_loss() {
    let gpu = Gpu::new().unwrap();
    for precision in PRECISIONS {
        let graph = Graph::new(precision);
        let x = graph.input("x", [4]);
        let mut ys = vec![x.silu(), x.gelu(), x.tanh(), x.softplus()];
        // Mesa's GL makes min and max of these, which drop NaN.
        if gpu.info().backend != wgpu::Backend::Gl {
            ys.extend([x.relu(), x.leaky_relu(0.1), x.clamp(-1.0, 2.0)]);
        }
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        let mut plan = Plan::infer(&gpu, &weights, ys.clone()).unwrap();
        plan.write(x, &[1.0, f32::NAN, -1.0, f32::INFINITY]).unwrap();
        plan.run();
        for (i, y) in ys.into_iter().enumerate() {
            let found = plan.read(y).unwrap().wait().unwrap();
            assert!(found[1].is_nan() && !found[0].is_nan() && !found[2].is_nan(), "{precision} {i} {found:?}");
        }
    }
}

#[test]
fn a_mean_over_axes_that_are_no_neighbours_may_have_partial_sums_beyond_f16() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision::F16);
    let x = graph.input("x", [2, 3, 2000]);
    let mean = x.mean([0, 2]);
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let mut plan = Plan::infer(&gpu, &weights, [mean]).unwrap();
    plan.write(x, &vec![100.0; 2 * 3 * 2000]).unwrap();
    plan.run();
    assert_eq!(plan.read(mean).unwrap().wait().unwrap(), [100.0; 3]);
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let gpu = Gpu::new().unwrap();
    let refused = |loss_scale, options| {
        let graph = Graph::new(Precision { loss_scale, ..Precision::F16 });
        let loss = nn::linear("fc", graph.input("x", [4, 5]), 3).square().mean_all();
        let weights = Weights::init(&gpu, &graph, 1).unwrap();
        let made = Plan::train_with(&gpu, &weights, loss, &Sgd::new(0.1), options);
        assert!(matches!(&made, Err(Error::Name { .. })), "{made:?}");
    };
    for norm in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        refused(LossScale::Static(1.0), Options { clip_norm: Some(norm), ..Options::default() });
    }
    for decay in [-0.5, 1.0, f32::NAN] {
        refused(LossScale::Static(1.0), Options { average: Some(decay), ..Options::default() });
    }
    let dynamic = |initial, growth, backoff, interval| LossScale::Dynamic { initial, growth, backoff, interval };
    for scale in [
        LossScale::Static(0.0),
        LossScale::Static(f32::NAN),
        dynamic(f32::INFINITY, 2.0, 0.5, 100),
        dynamic(64.0, 0.5, 0.5, 100),
        dynamic(64.0, 2.0, 1.0, 100),
        dynamic(64.0, 2.0, 0.5, 0),
    ] {
        refused(scale, Options::default());
    }
}

/// What is put in comes out of `ys`, in a precision that the adapter has.
fn inferred<'g>(gpu: &Gpu, graph: &'g Graph, x: &[(Tensor<'g>, Vec<f32>)], ys: &[Tensor<'g>]) -> Vec<Vec<f32>> {
    let weights = Weights::init(gpu, graph, 0).unwrap();
    let mut plan = Plan::infer(gpu, &weights, ys.iter().copied()).unwrap();
    x.iter().for_each(|(x, values)| plan.write(*x, values).unwrap());
    plan.run();
    ys.iter().map(|y| plan.read(*y).unwrap().wait().unwrap()).collect()
}

#[test]
fn nan_is_larger_than_any_number() {
    let gpu = Gpu::new().unwrap();
    for precision in all_precisions(&gpu) {
        let graph = Graph::new(precision);
        let x = graph.input("x", [1, 4, 4, 2]);
        // The second channel's first window has one, in the middle of its values.
        let mut values: Vec<f32> = (0..32).map(|i| i as f32).collect();
        values[3] = f32::NAN;
        let rows = x.reshape([4, 8]);
        let ys = [x.max_pool(2), x.max([1, 2]), rows.max([1]), rows.argmax(), x.max([0, 1, 2, 3])];
        let found = inferred(&gpu, &graph, &[(x, values)], &ys);
        let nans: Vec<Vec<bool>> = found.iter().map(|y| y.iter().map(|v| v.is_nan()).collect()).collect();
        let [t, f] = [true, false];
        let expected = [vec![f, t, f, f, f, f, f, f], vec![f, t], vec![t, f, f, f], vec![f; 4], vec![t]];
        assert_eq!(nans, expected, "{precision}: {found:?}");
        assert_eq!(found[3], [3.0, 7.0, 7.0, 7.0], "{precision}");
    }
}

#[test]
fn a_mean_that_f16_holds_may_have_a_sum_that_it_does_not() {
    let gpu = Gpu::new().unwrap();
    for precision in all_precisions(&gpu) {
        let graph = Graph::new(precision);
        let x = graph.input("x", [40, 50, 60]);
        let logits = graph.input("logits", [80_000, 4]);
        let loss = logits.cross_entropy(graph.labels("label", [80_000]));
        let ys = [x.mean_all(), x.mean([0, 2]), x.mean([2]), x.mean([0]), loss];
        let inputs = [(x, vec![30.0; 120_000]), (logits, vec![5.0; 320_000])];
        for (i, y) in inferred(&gpu, &graph, &inputs, &ys).into_iter().enumerate() {
            let expected = if i == 4 { 4f32.ln() } else { 30.0 };
            assert!(y.iter().all(|v| (v / expected - 1.0).abs() < 2e-3), "{precision} {i}: {} for {expected}", y[0]);
        }
    }
}

#[test]
fn attention_takes_any_score() {
    let gpu = Gpu::new().unwrap();
    for keys in [1, 40] {
        let graph = Graph::new(Precision::F32);
        let [q, k, v] = [("q", 20), ("k", keys), ("v", keys)].map(|(name, t)| graph.input(name, [1, 1, t, 4]));
        let y = q.attention(k, v, Attention::default());
        let all = |t: usize, value: f32| vec![value; 4 * t];
        let found = inferred(&gpu, &graph, &[(q, all(20, -400.0)), (k, all(keys, 400.0)), (v, all(keys, 3.0))], &[y]);
        assert!(found[0].iter().all(|v| (v - 3.0).abs() < 1e-5), "{keys}: {:?}", found[0]);
    }
}

#[test]
fn in_strict_a_loss_scale_grows_as_far_as_f16_goes_and_is_taken_out_exactly() {
    let gpu = Gpu::new().unwrap();
    if !gpu.caps().shader_f16 {
        return;
    }
    let loss_scale = LossScale::Dynamic { initial: 8192.0, growth: 2.0, backoff: 0.5, interval: 1 };
    let graph = Graph::new(Precision { loss_scale, ..Precision::F16_STRICT });
    let w = graph.weight("w", [1000], Init::Constant(0.0));
    let loss = (w * 1.5).sum_all();
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let options = Options { clip_norm: Some(1.0), ..Options::default() };
    let mut plan = Plan::train_with(&gpu, &weights, loss, &Sgd::new(1.0), options).unwrap();
    let scales: Vec<f32> = (0..4)
        .map(|_| {
            plan.run();
            plan.progress().wait().unwrap().loss_scale
        })
        .collect();
    assert_eq!(scales, [16384.0, 32768.0, 32768.0, 32768.0]);
    assert_eq!(plan.progress().wait().unwrap().skipped, 0);
    // All gradients are 1.5, of a norm of 1.5 √1000, which is clipped to 1.
    let expected = -4.0 / 1000f32.sqrt();
    let found = weights.get("w").unwrap().wait().unwrap();
    assert!(found.iter().all(|v| (v / expected - 1.0).abs() < 2e-3), "{} for {expected}", found[0]);
}

#[test]
fn a_loss_scale_that_strict_cannot_hold_is_refused() {
    let gpu = Gpu::new().unwrap();
    if !gpu.caps().shader_f16 {
        return;
    }
    let graph = Graph::new(Precision { loss_scale: LossScale::DYNAMIC, ..Precision::F16_STRICT });
    let (_, _, _, loss) = digits_net(&graph, 8);
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let refused = Plan::train(&gpu, &weights, loss, Sgd::new(0.1)).unwrap_err();
    assert!(refused.to_string().contains("32768"), "{refused}");
}

/// Rows enough for sums in parts, and channels that are no whole groups.
#[test]
fn biases_get_the_same_beside_a_product_as_by_themselves() {
    let gpu = Gpu::new().unwrap();
    for (precision, relative) in [(Precision::F32, 1e-4), (Precision::F16, 2e-2)] {
        let [beside, alone] = [true, false].map(|fusion| {
            let graph = Graph::new(precision);
            let x = graph.input("x", [32, 32, 32, 3]);
            let h = nn::conv2d("conv", x, 5, 3).tanh();
            let loss = (nn::linear("fc", h.global_avg_pool(), 3) + 1.0).square().mean_all() * 100.0;
            let weights = Weights::init(&gpu, &graph, 5).unwrap();
            let options = Options { fusion, ..Options::default() };
            let mut plan = Plan::train_with(&gpu, &weights, loss, &Sgd::new(1.0), options).unwrap();
            let sums = plan.program().dispatches.iter().filter(|d| !d.joins && d.label.contains("+sum")).count();
            assert_eq!(sums, if fusion { 2 } else { 0 });
            let values: Vec<f32> = (0..x.shape().len()).map(|i| (i as f32 * 0.37).sin()).collect();
            plan.write(x, &values).unwrap();
            plan.run();
            ["conv.bias", "fc.bias"].map(|name| weights.get(name).unwrap().wait().unwrap())
        });
        for (found, expected) in beside.concat().into_iter().zip(alone.concat()) {
            assert!((found - expected).abs() <= relative * expected.abs(), "{precision}: {found} {expected}");
        }
        assert!(alone.concat().iter().all(|v| *v != 0.0), "{precision}: {alone:?}");
    }
}
