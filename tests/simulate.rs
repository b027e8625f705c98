//! Whole networks in formats that no adapter need have: what is stored is of the format, and nothing else changes.

use halfgrad::{
    Gpu, Graph, Init, Plan, Precision, Sgd, Weights, data,
    format::{Format, Simulation},
    nn,
    plan::{Observation, Options, Part},
    precision::Rounding,
    study::{self, Model, Optimizer, Outcome, Setup},
};

/// What training a perceptron on the digits leaves.
struct End {
    weights: Vec<Vec<f32>>,
    average: Vec<Vec<f32>>,
    input: Vec<f32>,
    hidden: Vec<f32>,
    losses: Vec<f32>,
    seen: Vec<Observation>,
}

fn train(precision: Precision, simulation: Simulation, steps: usize) -> End {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(precision);
    graph.simulate(simulation);
    let (x, label) = (graph.input("x", [32, 8, 8, 1]), graph.labels("label", [32]));
    let hidden = nn::linear("fc1", x.reshape([32, 64]), 24).relu().watch();
    let loss = nn::linear("fc2", hidden, 10).cross_entropy(label);
    let weights = Weights::init(&gpu, &graph, 5).unwrap();
    // A rate that f16 holds.
    let options = Options { observe: true, average: Some(0.5), ..Options::default() };
    let mut plan = Plan::train_with(&gpu, &weights, loss, &Sgd::new(0.0625), options).unwrap();
    for batch in data::digits().train.batches(32).unwrap().into_iter().take(steps) {
        plan.write(x, &batch.images).unwrap();
        plan.write(label, &batch.labels).unwrap();
        plan.observe();
    }
    End {
        weights: weights.read_all().wait().unwrap(),
        average: plan.averaged().unwrap().read_all().wait().unwrap(),
        input: plan.read(x).unwrap().wait().unwrap(),
        hidden: plan.read(hidden).unwrap().wait().unwrap(),
        losses: plan.losses().wait().unwrap(),
        seen: plan.observations().wait().unwrap(),
    }
}

fn simulation(text: &str) -> Simulation {
    text.parse().unwrap()
}

/// Whether all values are numbers of the format; and not all of a coarser one.
fn is_of<'a>(format: Format, values: impl IntoIterator<Item = &'a f32> + Clone) -> bool {
    let all = |f: Format| values.clone().into_iter().all(|&v| f.nearest(v.into()) == f64::from(v));
    let coarser = Format { mantissa: format.mantissa - 1, ..format };
    all(format) && !all(coarser)
}

#[test]
fn what_is_stored_is_of_its_format() {
    let (e4m3, e5m2, e6m4) = (Format::E4M3, Format::E5M2, "e6m4".parse().unwrap());
    for precision in [Precision::F32, Precision::F16, Precision::MIXED] {
        for chance in ["", "+stochastic"] {
            // e6m4 has numbers beyond those of f16.
            let of_gradients = if precision == Precision::F32 { e6m4 } else { e5m2 };
            let text = format!("weights=e4m3{chance},activations=e5m2{chance},gradients={of_gradients}{chance}");
            let end = train(precision, simulation(&text), 20);
            assert!(is_of(e5m2, &end.hidden) && is_of(e5m2, &end.input), "{precision} {text}");
            if !precision.master {
                assert!(is_of(e4m3, end.weights.iter().flatten()), "{precision} {text}");
            }
            // Of 8 bits there are few numbers: what is largest must be one of them. What the loss keeps of rows is f32.
            for o in end.seen.iter().filter(|o| o.name != "cross_entropy fc2" || o.part != Part::Activation) {
                let format = match o.part {
                    Part::Activation => e5m2,
                    Part::Weight => e4m3,
                    Part::Backward | Part::Gradient => of_gradients,
                };
                assert_eq!(format.nearest(o.largest.into()), f64::from(o.largest), "{precision} {text}: {o:?}");
            }
            assert!(end.losses.iter().all(|l| l.is_finite()) && !is_of(e5m2, &end.losses), "{precision} {text}");
        }
    }
}

#[test]
fn a_copy_of_masters_and_of_an_average_is_of_the_format() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision { loss_scale: halfgrad::LossScale::Static(1.0), ..Precision::MIXED });
    graph.simulate(simulation("weights=e4m3"));
    let w = graph.weight("w", [64], Init::Kaiming);
    let x = graph.input("x", [64]);
    let weights = Weights::init(&gpu, &graph, 1).unwrap();
    let options = Options { average: Some(0.5), ..Options::default() };
    let mut plan = Plan::train_with(&gpu, &weights, (w * x).sum_all(), &Sgd::new(0.01), options).unwrap();
    plan.write(x, &[1.0; 64]).unwrap();
    plan.run();
    let y = w * x;
    let forward = |weights: &Weights| {
        let mut infer = Plan::infer(&gpu, weights, [y]).unwrap();
        infer.write(x, &[1.0; 64]).unwrap();
        infer.run();
        infer.read(y).unwrap().wait().unwrap()
    };
    for weights in [&weights, plan.averaged().unwrap()] {
        assert!(is_of(Format::E4M3, &forward(weights)));
        assert!(!is_of(Format::E4M3, &weights.get("w").unwrap().wait().unwrap())); // the master
    }
}

#[test]
fn simulated_f16_is_f16_bit_for_bit() {
    let f16 = train(Precision { rounding: Rounding::Nearest, ..Precision::F16 }, Simulation::default(), 40);
    let simulated = train(Precision::F32, simulation("weights=f16,activations=f16,gradients=f16"), 40);
    assert_eq!(f16.losses, simulated.losses);
    assert_eq!(f16.weights, simulated.weights);
    let f32 = train(Precision::F32, Simulation::default(), 40);
    assert_ne!(f32.losses, simulated.losses);
}

#[test]
fn simulated_f32_changes_nothing() {
    let f32 = train(Precision::F32, Simulation::default(), 20);
    for chance in ["", "+stochastic"] {
        let text = format!("weights=e8m23{chance},activations=e8m23{chance},gradients=f32{chance}");
        let simulated = train(Precision::F32, simulation(&text), 20);
        assert_eq!((f32.losses.clone(), f32.weights.clone()), (simulated.losses, simulated.weights));
        assert_eq!((f32.hidden.clone(), f32.average.clone()), (simulated.hidden, simulated.average));
    }
}

#[test]
fn chance_moves_the_mean_as_it_should_and_nearest_does_not() {
    let gpu = Gpu::new().unwrap();
    let after = |quantization: &str| {
        let graph = Graph::new(Precision::F32);
        graph.simulate(simulation(quantization));
        let w = graph.weight("w", [4096], Init::Constant(1.0));
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        let options = Options { record_changes: true, ..Options::default() };
        let mut plan = Plan::train_with(&gpu, &weights, w.sum_all(), &Sgd::new(0.01), options).unwrap();
        (0..10).for_each(|_| plan.run());
        let w = weights.get("w").unwrap().wait().unwrap();
        let changes = plan.changes().wait().unwrap().remove(0);
        (w.iter().map(|&w| f64::from(w)).sum::<f64>() / 4096.0, changes.lost as f64 / changes.all as f64)
    };
    // Below 1 the numbers of e4m3 are 1/16 apart: a change of 1/100 is less than half of that.
    assert_eq!(after("weights=e4m3"), (1.0, 1.0));
    let (mean, lost) = after("weights=e4m3+stochastic");
    // Ten draws of deviation at most 1/32, over 4096 weights: 0.0016.
    assert!((mean - 0.9).abs() < 0.005 && lost == 0.0, "{mean}, {lost}");
}

#[test]
fn a_format_that_the_storage_does_not_hold_is_refused() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision::F16);
    graph.simulate(simulation("gradients=bf16"));
    let w = graph.weight("w", [4], Init::Constant(1.0));
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let said = Plan::train(&gpu, &weights, w.sum_all(), Sgd::new(0.1)).unwrap_err().to_string();
    assert!(said.contains("bf16") && said.contains("f32 does"), "{said}");
    graph.simulate(simulation("weights=e4m3"));
    let said = Plan::train(&gpu, &weights, w.sum_all(), Sgd::new(0.1)).unwrap_err().to_string();
    assert!(said.contains("before Weights::init"), "{said}");
    for (text, expected) in [
        ("weight=e4m3", "\"weight=e4m3\" is not weights=, activations= or gradients= and a format"),
        ("weights=e4m3+up", "\"up\" behind e4m3 is not stochastic"),
        ("weights", "no format \"\": f32, f16, bf16, or eXmY, X from 2 to 8, Y from 1 to 23"),
    ] {
        assert_eq!(text.parse::<Simulation>().unwrap_err().to_string(), expected);
    }
}

#[test]
fn weights_of_8_bits_learn_by_chance_and_stall_without() {
    let (gpu, digits) = (Gpu::new().unwrap(), data::digits());
    let run = |text: &str| -> Outcome {
        let mut setup =
            Setup::new(Model::named("mlp", &[64]).unwrap(), Optimizer::named("sgd", 0.01).unwrap(), 64, 300);
        setup.simulate = simulation(text);
        study::train(&gpu, &digits, &setup, Precision::F32, 1, &mut |_| Ok(())).unwrap()
    };
    let [nearest, stochastic] = ["weights=e4m3", "weights=e4m3+stochastic"].map(run);
    println!("nearest {:?}, stochastic {:?}", nearest.evaluation, stochastic.evaluation);
    println!("lost {:?} {:?}", nearest.lost_update_share(), stochastic.lost_update_share());
    assert!(nearest.lost_update_share().unwrap() > 0.9 && stochastic.lost_update_share().unwrap() < 0.01);
    assert!(stochastic.evaluation.loss < nearest.evaluation.loss);
}
