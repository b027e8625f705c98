//! What observed steps see, and that seeing changes nothing.

use halfgrad::{
    Gpu, Graph, Init, Plan, Precision, Sgd, Weights, nn,
    plan::{Observation, Options, Part},
};

fn observing() -> Options {
    Options { observe: true, stop_on_nan: false, ..Options::default() }
}

fn named<'a>(seen: &'a [Observation], part: Part, name: &str) -> &'a Observation {
    seen.iter().find(|o| o.part == part && o.name.contains(name)).unwrap_or_else(|| panic!("{name}: {seen:?}"))
}

#[test]
fn counts_are_those_of_the_host() {
    let gpu = Gpu::new().unwrap();
    for precision in [Precision::F32, Precision::F16] {
        let graph = Graph::new(precision);
        // Rows of five: three values of padding each, which must not count.
        let w = graph.weight("w", [70, 5], Init::Constant(0.0));
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        let values: Vec<f32> = (0..350)
            .map(|i| match i % 7 {
                0 => 0.0,
                1 => f32::INFINITY,
                2 => f32::NAN,
                3 => -65504.0,
                4 => 2f32.powi(-24),
                k => (i as f32).exp2().min(1.0) * k as f32,
            })
            .collect();
        weights.set("w", &values).unwrap();
        let mut plan = Plan::train_with(&gpu, &weights, (w * 0.0).sum_all(), &Sgd::new(0.0), observing()).unwrap();
        plan.observe();
        let seen = plan.observations().wait().unwrap();
        let w = named(&seen, Part::Weight, "w");
        assert_eq!((w.values, w.zeros, w.not_finite, w.largest), (350, 50, 100, 65504.0), "{precision}");
        assert_eq!((w.subnormal(), w.overflowing(), w.underflowing()), (50, 100, 0));
        // 5 and 6 lie from 4 to below 16, 65504 below 2^16.
        assert_eq!((w.exponents[21], w.exponents[27], w.exponents[8]), (100, 50, 50), "{:?}", w.exponents);
        assert_eq!(w.exponents.iter().sum::<u64>() + w.zeros + w.not_finite, 350);
    }
}

#[test]
fn what_f16_would_lose_is_seen_in_f32() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision::F32);
    let (w, x) = (graph.weight("w", [8], Init::Constant(1.0)), graph.input("x", [8]));
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let mut plan = Plan::train_with(&gpu, &weights, (w * x).sum_all(), &Sgd::new(0.1), observing()).unwrap();
    plan.write(x, &[1e-9, 1e-30, 0.0, 1e-6, 1.0, 7e4, 1e9, 1e-40]).unwrap();
    plan.observe();
    let seen = plan.observations().wait().unwrap();
    let g = named(&seen, Part::Gradient, "w");
    assert_eq!((g.underflowing(), g.subnormal(), g.overflowing(), g.zeros), (3, 4, 2, 1), "{g:?}");
}

#[test]
fn an_observed_run_gives_the_same_bits() {
    let gpu = Gpu::new().unwrap();
    for precision in [Precision::F32, Precision::F16, Precision::MIXED] {
        let run = |observed: bool| {
            let graph = Graph::new(precision);
            let loss = nn::mlp(graph.input("x", [16, 9]), &[13], 3).square().mean_all();
            let weights = Weights::init(&gpu, &graph, 1).unwrap();
            let options = Options { observe: observed, ..Options::default() };
            let mut plan = Plan::train_with(&gpu, &weights, loss, &Sgd::new(0.1).momentum(0.9), options).unwrap();
            plan.write("x", &(0..144).map(|i| (i % 11) as f32 / 11.0).collect::<Vec<_>>()).unwrap();
            for step in 0..20 {
                if observed && step % 3 == 0 { plan.observe() } else { plan.run() }
            }
            (weights.read_all().wait().unwrap(), plan.losses().wait().unwrap())
        };
        assert!(run(true) == run(false), "{precision}");
    }
}

#[test]
fn steps_that_are_timed_change_no_counts() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision::F32);
    let w = graph.weight("w", [8], Init::Constant(1.0));
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let mut plan = Plan::train_with(&gpu, &weights, w.sum_all(), &Sgd::new(0.5), observing()).unwrap();
    plan.observe();
    let seen = plan.observations().wait().unwrap();
    assert!(!seen.is_empty());
    if gpu.caps().timestamps {
        let times = plan.profile(3).unwrap();
        assert!(times.len() == plan.program().dispatches.len() && times.iter().all(|t| t.len() == 3));
        assert_eq!(plan.progress().wait().unwrap().steps, 4);
        assert_eq!(plan.observations().wait().unwrap(), seen);
    }
}

#[test]
fn a_planted_overflow_is_found_by_layer_and_mixed_goes_on() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision::MIXED);
    let x = graph.input("x", [16, 9]);
    let loss = nn::mlp(x, &[13, 11], 3).square().mean_all();
    let weights = Weights::init(&gpu, &graph, 1).unwrap();
    let mut plan = Plan::train_with(&gpu, &weights, loss, &Sgd::new(0.01), observing()).unwrap();
    plan.write(x, &[1.0; 144]).unwrap();
    while plan.progress().wait().unwrap().updates == 0 {
        plan.run();
    }
    let good = weights.get("fc2.weight").unwrap().wait().unwrap();
    let scale = plan.progress().wait().unwrap().loss_scale;
    weights.set("fc2.weight", &good.iter().map(|w| w * 1e5).collect::<Vec<_>>()).unwrap();
    plan.observe();
    let seen = plan.observations().wait().unwrap();
    let first = seen.iter().find(|o| o.part == Part::Activation && o.overflowing() > 0).unwrap();
    assert!(first.name.contains("fc2"), "{}", first.name);
    assert!(plan.diagnose().unwrap().is_some_and(|layer| layer.contains("fc2")));
    let p = plan.progress().wait().unwrap();
    assert_eq!((p.halted, p.loss_scale), (None, scale / 2.0), "{p:?}");
    weights.set("fc2.weight", &good).unwrap();
    let updates = p.updates;
    plan.run();
    assert_eq!(plan.progress().wait().unwrap().updates, updates + 1);
}

#[test]
fn a_plan_that_was_not_asked_to_observe_sees_nothing() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision::F32);
    let w = graph.weight("w", [8], Init::Constant(1.0));
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let mut plan = Plan::train(&gpu, &weights, w.sum_all(), Sgd::new(0.1)).unwrap();
    plan.observe();
    assert!(plan.observations().wait().unwrap().is_empty() && plan.changes().wait().unwrap().is_empty());
}
