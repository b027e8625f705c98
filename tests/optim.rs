//! Optimizers: what 16 bit does to them and what cures it, schedules, clipping, groups, averages.

use halfgrad::{
    Adam, AdamW, Error, Gpu, Graph, Init, Plan, Precision, RmsProp, Sgd, Weights, data, nn,
    optim::{Form, Group, Schedule, Update},
    plan::Options,
    precision::Rounding,
};

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::F16, Precision::MIXED];

/// Weights `w`, `[n]` of 0.1, after so many steps along the gradient 2e-5, with learning rate 1.
fn toy(gpu: &Gpu, precision: Precision, n: usize, steps: usize) -> Vec<f32> {
    let graph = Graph::new(precision);
    let w = graph.weight("w", [n], Init::Constant(0.1));
    let x = graph.input("x", [n]);
    let weights = Weights::init(gpu, &graph, 0).unwrap();
    let options = Options { seed: 3, ..Options::default() };
    let mut plan = Plan::train_with(gpu, &weights, (w * x).sum_all(), &Sgd::new(1.0), options).unwrap();
    plan.write(x, &vec![2e-5; n]).unwrap();
    (0..steps).for_each(|_| plan.run());
    weights.get("w").unwrap().wait().unwrap()
}

#[test]
fn small_changes_arrive_if_rounding_lets_them() {
    let gpu = Gpu::new().unwrap();
    let with = |rounding| Precision { rounding, ..Precision::F16 };
    let all = |values: &[f32], range: std::ops::RangeInclusive<f32>| values.iter().all(|v| range.contains(v));
    // Exact, from the numbers that f16 makes of 0.1 and 2e-5: 0.07995.
    let nearest = toy(&gpu, with(Rounding::Nearest), 8, 1000);
    assert!(all(&nearest, 0.09997..=0.09999), "{nearest:?}");
    let compensated = toy(&gpu, with(Rounding::Compensated), 8, 1000);
    assert!(all(&compensated, 0.0799..=0.0800), "{compensated:?}");
    let stochastic = toy(&gpu, with(Rounding::Stochastic), 1024, 1000);
    let mean = stochastic.iter().sum::<f32>() / 1024.0;
    assert!((mean - 0.07995).abs() < 2e-4, "{mean}");
    // They are independent of each other: sd 8.1e-4 (arithmetic of 1000 roundings between numbers 6.1e-5 apart).
    let sd = (stochastic.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 1024.0).sqrt();
    assert!((5e-4..1.2e-3).contains(&sd), "{sd}");
    for precision in [Precision::F32, Precision::MIXED] {
        assert!(all(&toy(&gpu, precision, 8, 1000), 0.0799..=0.0801), "{precision}");
    }
}

#[test]
fn what_is_compensated_or_stochastic_is_not_counted_as_lost() {
    let gpu = Gpu::new().unwrap();
    for (rounding, lost) in [(Rounding::Nearest, 8), (Rounding::Stochastic, 0), (Rounding::Compensated, 0)] {
        let graph = Graph::new(Precision { rounding, ..Precision::F16 });
        let w = graph.weight("w", [8], Init::Constant(0.1));
        let x = graph.input("x", [8]);
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        let options = Options { record_changes: true, ..Options::default() };
        let mut plan = Plan::train_with(&gpu, &weights, (w * x).sum_all(), &Sgd::new(1.0), options).unwrap();
        plan.write(x, &[2e-5; 8]).unwrap();
        plan.run();
        let changes = plan.changes().wait().unwrap();
        assert_eq!((changes[0].weight.as_str(), changes[0].lost, changes[0].all), ("w", lost, 8), "{rounding:?}");
    }
}

/// Four changes that f32 loses too, and which do not count; two that only f16 loses; two that arrive.
#[test]
fn changes_below_the_resolution_of_f32_do_not_count() {
    let gpu = Gpu::new().unwrap();
    for (precision, lost) in [
        (Precision::F32, 0),
        (Precision::F16, 0),
        (Precision { rounding: Rounding::Nearest, ..Precision::F16 }, 2),
        (Precision::MIXED, 0),
    ] {
        let graph = Graph::new(precision);
        let w = graph.weight("w", [8], Init::Constant(1.0));
        let x = graph.input("x", [8]);
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        let options = Options { record_changes: true, ..Options::default() };
        let mut plan = Plan::train_with(&gpu, &weights, (w * x).sum_all(), &Sgd::new(1.0 / 1024.0), options).unwrap();
        // The gradient in f16 ends at 2^-24; the rate makes it 2^-34.
        plan.write(x, &[2f32.powi(-24), 2f32.powi(-20), 2f32.powi(-17), 0.0, 2f32.powi(-8), 2f32.powi(-4), 2.0, 4.0])
            .unwrap();
        while plan.progress().wait().unwrap().updates == 0 {
            plan.run();
        }
        let changes = &plan.changes().wait().unwrap()[0];
        assert_eq!((changes.lost, changes.all), (lost, 4), "{precision}");
    }
}

#[test]
fn the_quality_of_a_descent_is_what_arrives_of_it() {
    let gpu = Gpu::new().unwrap();
    for (rounding, expected) in [(Rounding::Nearest, 0.0), (Rounding::Stochastic, 1.0), (Rounding::Compensated, 1.0)] {
        let graph = Graph::new(Precision { rounding, ..Precision::F16 });
        // Two weights, so that each has to find its own sums; the second moves in steps that f16 can hold.
        let (small, large) =
            (graph.weight("small", [1000], Init::Constant(0.1)), graph.weight("large", [5], Init::Constant(0.0)));
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        let loss = (small * 2e-5).sum_all() + large.sum_all();
        let options = Options { record_changes: true, ..Options::default() };
        let mut plan = Plan::train_with(&gpu, &weights, loss, &Sgd::new(1.0), options).unwrap();
        (0..200).for_each(|_| plan.run());
        let changes = plan.changes().wait().unwrap();
        assert!((changes[0].quality - expected).abs() < 0.05, "{rounding:?}: {changes:?}");
        assert!((changes[1].quality - 1.0).abs() < 1e-6 && changes[1].all == 1000, "{rounding:?}: {changes:?}");
        plan.record_changes(false);
        plan.run();
        assert_eq!(plan.changes().wait().unwrap(), changes);
    }
}

/// Accuracy on digits after twelve epochs, or what went wrong.
fn digits(gpu: &Gpu, precision: Precision, optimizer: &dyn Update, seed: u64) -> Result<f64, Error> {
    let graph = Graph::new(precision);
    let (x, label) = (graph.input("x", [64, 8, 8, 1]), graph.labels("label", [64]));
    let logits = nn::mlp(x, &[128], 10);
    let weights = Weights::init(gpu, &graph, seed)?;
    let options = Options { seed: seed as u32, ..Options::default() };
    let mut train = Plan::train_with(gpu, &weights, logits.cross_entropy(label), optimizer, options)?;
    let digits = data::digits();
    let batches = digits.train.batches(64)?.shuffled(seed);
    for batch in (0..12).flat_map(|e| batches.epoch(e)) {
        train.write(x, &batch.images)?;
        train.write(label, &batch.labels)?;
        train.run();
    }
    train.losses().wait()?;
    let mut infer = Plan::infer(gpu, &weights, [logits])?;
    Ok(infer.evaluate(x, logits, &digits.test)?.accuracy)
}

#[test]
fn adam_of_the_textbook_breaks_in_f16_and_the_crates_form_does_not() {
    let gpu = Gpu::new().unwrap();
    let textbook = Adam::new(1e-3).form(Form::Textbook);
    match digits(&gpu, Precision::F16, &textbook, 1) {
        Ok(accuracy) => assert!(accuracy < 0.5, "{accuracy}"),
        Err(e) => assert!(matches!(e, Error::NotFinite { .. }), "{e}"),
    }
    assert!(digits(&gpu, Precision::F32, &textbook, 1).unwrap() > 0.95);
    let mean = |precision, form| {
        let run = |seed| digits(&gpu, precision, &Adam::new(1e-3).form(form), seed).unwrap();
        (1..=5).map(run).sum::<f64>() / 5.0
    };
    let f32 = mean(Precision::F32, Form::Root);
    for form in [Form::Root, Form::Floor] {
        let f16 = mean(Precision::F16, form);
        assert!((f16 - f32).abs() < 0.01, "{form:?}: {f16}, in f32 {f32}");
    }
}

#[test]
fn numbers_that_mean_nothing_are_refused() {
    let gpu = Gpu::new().unwrap();
    let refused = |precision, optimizer: &dyn Update| {
        let graph = Graph::new(precision);
        let loss = graph.weight("w", [4], Init::Constant(1.0)).square().sum_all();
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        Plan::train_with(&gpu, &weights, loss, optimizer, Options::default()).err().map(|e| e.to_string())
    };
    let adam = |beta2| Adam::new(0.01).betas(0.9, beta2);
    assert_eq!(refused(Precision::F32, &adam(0.9999)), None);
    let rounds = refused(Precision::F16, &adam(0.9999)).unwrap();
    assert_eq!(rounds, r#""Adam: beta2": 0.9999 rounds to 1 in f16: use at most 0.999, or Precision::MIXED"#);
    for (optimizer, what) in [
        (&adam(1.0) as &dyn Update, "beta2"),
        (&Adam::new(0.01).epsilon(-1.0), "epsilon"),
        (&Sgd::new(f32::NAN), "learning rate"),
        (&Sgd::new(-0.1), "learning rate"),
        (&Sgd::new(0.1).nesterov(), "nesterov"),
        (&RmsProp::new(0.1).alpha(1.5), "alpha"),
    ] {
        assert!(refused(Precision::F32, optimizer).is_some_and(|said| said.contains(what)), "{optimizer:?}");
    }
}

#[test]
fn schedules_are_followed_on_the_device() {
    let gpu = Gpu::new().unwrap();
    let schedule = Schedule::one_cycle(0.5, 9).warm_up(2);
    let graph = Graph::new(Precision::F32);
    let w = graph.weight("w", [1], Init::Constant(0.0));
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let mut plan = Plan::train(&gpu, &weights, w.sum_all(), Sgd::new(schedule.clone())).unwrap();
    let mut host = 0.0;
    for step in 0..20 {
        plan.run();
        let rate = schedule.rates()[step.min(schedule.rates().len() - 1)];
        host -= f64::from(rate);
        let found = weights.get("w").unwrap().wait().unwrap()[0];
        assert!((f64::from(found) - host).abs() < 1e-6, "step {step}: {found} {host}");
        assert_eq!(plan.progress().wait().unwrap().learning_rate, rate);
    }
    plan.set_learning_rate(0.25);
    plan.run();
    assert!((f64::from(weights.get("w").unwrap().wait().unwrap()[0]) - (host - 0.25)).abs() < 1e-6);
}

#[test]
fn gradients_are_clipped_by_their_common_norm() {
    let gpu = Gpu::new().unwrap();
    for precision in PRECISIONS {
        // 300 gradients of 200: the squares of f16 would be infinite.
        let graph = Graph::new(precision);
        let (a, b) = (graph.weight("a", [299], Init::Constant(1.0)), graph.weight("b", [1], Init::Constant(1.0)));
        let loss = a.sum_all() * 200.0 + b.sum_all() * 200.0;
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        for (clip_norm, expected) in [(Some(3.0), 3.0 / 300f32.sqrt()), (Some(1e5), 200.0), (None, 200.0)] {
            weights.set("a", &[1.0; 299]).unwrap();
            weights.set("b", &[1.0]).unwrap();
            let options = Options { clip_norm, ..Options::default() };
            let mut plan = Plan::train_with(&gpu, &weights, loss, &Sgd::new(1.0), options).unwrap();
            // The first loss scale of mixed is too large for these: it comes down.
            while plan.progress().wait().unwrap().updates == 0 {
                plan.run();
            }
            let progress = plan.progress().wait().unwrap();
            let norm = clip_norm.map_or(0.0, |_| 200.0 * 300f32.sqrt());
            assert!((progress.gradient_norm - norm).abs() <= 1e-3 * norm, "{precision}: {progress:?}");
            for w in weights.read_all().wait().unwrap().concat() {
                assert!((1.0 - w - expected).abs() < 2e-3 * expected.max(1.0), "{precision} {clip_norm:?}: {w}");
            }
        }
    }
}

/// Of more parts than invocations add up, which fill no group.
#[test]
fn a_norm_of_many_gradients_is_summed_in_parts() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision::F32);
    let (w, n) = (graph.weight("w", [1_100_000], Init::Constant(1.0)), 1.1e6_f32);
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let options = Options { clip_norm: Some(1.0), ..Options::default() };
    let mut plan = Plan::train_with(&gpu, &weights, w.sum_all() * 0.5, &Sgd::new(1.0), options).unwrap();
    plan.run();
    let norm = plan.progress().wait().unwrap().gradient_norm;
    assert!((norm / (0.5 * n.sqrt()) - 1.0).abs() < 1e-5, "{norm}");
}

#[test]
fn a_norm_that_is_not_finite_skips_the_step() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision::F32);
    let (w, x) = (graph.weight("w", [4], Init::Constant(1.0)), graph.input("x", [4]));
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let options = Options { clip_norm: Some(1.0), ..Options::default() };
    let mut plan = Plan::train_with(&gpu, &weights, (w * x).sum_all(), &Sgd::new(1.0), options).unwrap();
    plan.write(x, &[3e38, -3e38, 0.0, 0.0]).unwrap(); // the loss is 0, the squares are infinite
    plan.run();
    let p = plan.progress().wait().unwrap();
    assert_eq!((p.updates, p.skipped, p.halted), (0, 1, None));
    assert_eq!(weights.get("w").unwrap().wait().unwrap(), [1.0; 4]);
}

#[test]
fn groups_have_rates_of_their_own() {
    let gpu = Gpu::new().unwrap();
    for precision in PRECISIONS {
        for optimizer in [&Sgd::new(0.1).weight_decay(0.5) as &dyn Update, &AdamW::new(0.1).weight_decay(0.5)] {
            // Nothing but decay: the loss does not depend on the weights' values.
            let graph = Graph::new(precision);
            let shapes =
                [("a.weight", vec![70, 6]), ("a.bias", vec![6]), ("b.weight", vec![6, 300]), ("b.bias", vec![300])];
            let w = shapes
                .map(|(name, shape)| graph.weight(name, halfgrad::Shape::new(&shape).unwrap(), Init::Constant(1.0)));
            let loss = w.iter().map(|w| (*w * 0.0).sum_all()).reduce(|a, b| a + b).unwrap();
            let weights = Weights::init(&gpu, &graph, 0).unwrap();
            let groups = vec![Group::vectors().weight_decay(0.0), Group::named("b.*").learning_rate(2.0)];
            let options = Options { groups, ..Options::default() };
            let mut plan = Plan::train_with(&gpu, &weights, loss, optimizer, options).unwrap();
            plan.run();
            let after = weights.read_all().wait().unwrap();
            for (values, expected) in after.iter().zip([0.95, 1.0, 0.9, 1.0]) {
                assert!(values.iter().all(|v| (v - expected).abs() < 1e-3), "{precision} {optimizer:?}: {values:?}");
            }
        }
    }
    let graph = Graph::new(Precision::F32);
    let w = graph.weight("w", [4], Init::Constant(1.0));
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let options = Options { groups: vec![Group::named("v")], ..Options::default() };
    let error = Plan::train_with(&gpu, &weights, w.sum_all(), &Sgd::new(1.0), options).unwrap_err();
    assert_eq!(error.to_string(), "\"v\": no weight that is trained belongs to this group; there are w");
}

#[test]
fn an_average_follows_the_weights() {
    let gpu = Gpu::new().unwrap();
    for precision in PRECISIONS {
        let graph = Graph::new(precision);
        let (w, frozen) = (graph.weight("w", [5], Init::Constant(1.0)), graph.weight("v", [3], Init::Constant(2.0)));
        graph.freeze("v");
        // Halved, so that the first loss scale of mixed, 2^16, does not overflow.
        let loss = (w.sum_all() + frozen.sum_all()) * 0.5;
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        let options = Options { average: Some(0.8), ..Options::default() };
        let mut plan = Plan::train_with(&gpu, &weights, loss, &Sgd::new(0.25), options).unwrap();
        let average = plan.averaged().unwrap().clone();
        let mut infer = Plan::infer(&gpu, &average, [loss]).unwrap();
        let (mut host, mut followed) = (1.0f64, 1.0);
        for t in 1..=40 {
            plan.run();
            host -= 0.125;
            let d = (f64::from(1 + t) / f64::from(10 + t)).min(0.8);
            followed = d * followed + (1.0 - d) * host;
        }
        assert_eq!(plan.progress().wait().unwrap().updates, 40);
        let found = average.get("w").unwrap().wait().unwrap();
        assert!(found.iter().all(|v| (f64::from(*v) - followed).abs() < 1e-5), "{precision}: {found:?} {followed}");
        assert_eq!(average.get("v").unwrap().wait().unwrap(), [2.0; 3]);
        infer.run();
        let sum = infer.read(loss).unwrap().wait().unwrap()[0];
        assert!((f64::from(sum) - (2.5 * followed + 3.0)).abs() < 1e-2, "{precision}: {sum}");
    }
}

#[test]
fn numbers_that_sixteen_bits_cannot_hold_are_told() {
    let gpu = Gpu::new().unwrap();
    let warnings = |precision, optimizer: &dyn Update| {
        let graph = Graph::new(precision);
        let loss = nn::linear("fc", graph.input("x", [4, 5]), 3).square().mean_all();
        let weights = Weights::init(&gpu, &graph, 1).unwrap();
        let mut plan = Plan::train_with(&gpu, &weights, loss, optimizer, Options::default()).unwrap();
        plan.write("x", &[1.0; 20]).unwrap();
        (0..3).for_each(|_| plan.run());
        assert!(plan.losses().wait().unwrap()[0].is_finite());
        plan.warnings().len()
    };
    let small = Adam::new(1e-3).epsilon(1e-8);
    assert_eq!(PRECISIONS.map(|p| warnings(p, &small)), [0, 1, 0]);
    assert_eq!(PRECISIONS.map(|p| warnings(p, &Adam::new(1e-3))), [0; 3]);
    assert_eq!(PRECISIONS.map(|p| warnings(p, &RmsProp::new(1e-3).epsilon(1e-8))), [0, 1, 0]);
    assert_eq!(PRECISIONS.map(|p| warnings(p, &Sgd::new(0.1).momentum(0.9))), [0; 3]);
}

#[test]
fn an_epsilon_of_zero_leaves_the_padding_alone() {
    let gpu = Gpu::new().unwrap();
    for precision in PRECISIONS {
        for optimizer in [&Adam::new(1e-3).epsilon(0.0) as &dyn Update, &RmsProp::new(1e-3).epsilon(0.0)] {
            let graph = Graph::new(precision);
            let loss = nn::mlp(graph.input("x", [5, 5]), &[7], 3).square().mean_all();
            let weights = Weights::init(&gpu, &graph, 1).unwrap();
            let mut plan = Plan::train_with(&gpu, &weights, loss, optimizer, Options::default()).unwrap();
            // The last feature is never on: the gradient of its row is 0. That of the one before is so small that its square is 0.
            plan.write("x", &[1.0, -1.0, 0.5, 1e-25, 0.0].repeat(5)).unwrap();
            (0..5).for_each(|_| plan.run());
            let losses = plan.losses().wait();
            assert!(losses.is_ok_and(|l| l.iter().all(|v| v.is_finite())), "{precision} {optimizer:?}");
        }
    }
}
