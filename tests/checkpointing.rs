//! Plans that must fit a number of bytes: activations are computed again, to the same bits.

use halfgrad::{
    Adam, Caps, Error, Gpu, Graph, Init, Plan, Precision, Sgd, Shape, Tensor, Weights,
    dispatch::Program,
    nn,
    plan::{Options, lower_training},
    study::{Model, Network},
};

fn some(memory: u64) -> Options {
    Options { memory: Some(memory), ..Options::default() }
}

fn computes_little_again(name: &str, whole: &Program, small: &Program) {
    let told = format!(
        "{} of {} bytes, {} of {} FLOP again",
        small.total_bytes(),
        whole.total_bytes(),
        small.again,
        whole.flops()
    );
    println!("{name}: {told}");
    assert!(small.again < whole.flops() / 2, "{name}: {told}");
}

/// Plans a network whole and for `share` of that; trains both for some steps on the same numbers, to the same bits.
fn same_bits<'g>(
    gpu: &Gpu,
    name: &str,
    graph: &'g Graph,
    share: f64,
    (x, label, loss): (Tensor<'g>, Tensor<'g>, Tensor<'g>),
) {
    let optimizer = Sgd::new(0.01).momentum(0.9);
    let whole = lower_training(loss, &optimizer, gpu.caps(), &Options::default()).unwrap().program;
    let budget = (share * whole.total_bytes() as f64) as u64;
    let trained = |options: Options| {
        let weights = Weights::init(gpu, graph, 1).unwrap();
        let mut plan = Plan::train_with(gpu, &weights, loss, &optimizer, options).unwrap();
        for step in 0..2 {
            let noise = |i: usize| ((i * 7919 + step * 104_729) % 2003) as f32 / 1001.5 - 1.0;
            plan.write(x, &(0..x.shape().len()).map(noise).collect::<Vec<_>>()).unwrap();
            plan.write(label, &(0..label.shape().len() as u32).map(|i| i % 10).collect::<Vec<_>>()).unwrap();
            plan.run();
        }
        let losses = plan.losses().wait().unwrap();
        let names = weights.names().iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        (plan.program().clone(), losses, weights.read_all().wait().unwrap(), names)
    };
    let (_, losses, expected, names) = trained(Options::default());
    let (small, again, found, _) = trained(some(budget));
    assert!(small.total_bytes() <= budget && whole.total_bytes() > budget, "{name}: {}", small.total_bytes());
    assert_eq!(small.again, small.flops() - whole.flops());
    assert!(small.again > 0);
    computes_little_again(name, &whole, &small);
    let differ = |(w, f): (&Vec<f32>, &Vec<f32>)| w.iter().zip(f).filter(|(w, f)| w.to_bits() != f.to_bits()).count();
    let wrong: Vec<_> = names.iter().zip(expected.iter().zip(&found).map(differ)).filter(|(_, n)| *n > 0).collect();
    assert!(wrong.is_empty() && losses == again, "{name}: {losses:?} {again:?} {wrong:?}");
}

/// A perceptron of many layers, with dropout and a running average of what lies in its middle.
fn deep<'g>(graph: &'g Graph, dropout: f32) -> (Tensor<'g>, Tensor<'g>, Tensor<'g>) {
    let (x, label) = (graph.input("x", [1024, 64]), graph.labels("label", [1024]));
    let mut h = x;
    for layer in 0..24 {
        h = nn::linear(&format!("fc{layer}"), h, 64).tanh().dropout(dropout);
        if layer == 3 {
            graph.average(graph.state("mean", [64], Init::Constant(0.0)), h.mean([0]), 0.5);
        }
    }
    (x, label, nn::linear("last", h, 10).cross_entropy(label))
}

#[test]
fn a_plan_of_sixty_per_cent_of_the_bytes_trains_to_the_same_bits() {
    let gpu = Gpu::new().unwrap();
    for (precision, dropout) in [(Precision::F32, 0.0), (Precision::F32, 0.2), (Precision::F16, 0.2)] {
        let graph = Graph::new(precision);
        same_bits(&gpu, &format!("perceptron {precision}"), &graph, 0.6, deep(&graph, dropout));
    }
    let networks = [("resnet20", [32, 32, 3], 16, Precision::F32), ("vit8", [32, 32, 3], 32, Precision::F16)];
    for (name, sample, batch, precision) in networks {
        let graph = Graph::new(precision);
        let network = Model::named(name, &[]).unwrap().build(&graph, batch, sample.into(), 10).unwrap();
        let Network { x, label, loss, .. } = network;
        same_bits(&gpu, name, &graph, 0.6, (x, label, loss));
    }
}

#[test]
fn what_fits_is_left_alone_and_what_cannot_fit_says_what_would() {
    let graph = Graph::new(Precision::F32);
    let (_, _, loss) = deep(&graph, 0.1);
    let made = |memory| lower_training(loss, &Adam::new(1e-3), &Caps::reference(), &some(memory));
    let whole = made(u64::MAX).unwrap().program;
    assert_eq!(whole.again, 0);
    assert_eq!(whole.to_string(), made(whole.total_bytes()).unwrap().program.to_string());

    // The smaller, the more is computed again, up to some point.
    let mut again = vec![];
    for percent in [90, 75, 60, 50] {
        let program = made(whole.total_bytes() * percent / 100).unwrap().program;
        assert!(program.total_bytes() * 100 <= whole.total_bytes() * percent, "{program}");
        assert!(program.to_string().contains(" again, "), "{program}");
        again.push(program.again);
    }
    assert!(again.is_sorted() && again[0] > 0, "{again:?}");
    let Err(Error::Memory(detail)) = made(100_000) else { panic!("it fits") };
    assert!(detail.contains("at least") && detail.contains("100.00 kB are allowed"), "{detail}");
}

#[test]
fn a_deep_network_of_every_kind_can_be_made_smaller() {
    let (images, text) = (Shape::from([32, 32, 3]), Shape::from([128]));
    for (name, sample, percent) in
        [("resnet20", images, 60), ("mobilenet", images, 60), ("vit8", images, 60), ("gpt", text, 60)]
    {
        let graph = Graph::new(Precision::F16);
        let network = Model::named(name, &[]).unwrap().build(&graph, 32, sample, if name == "gpt" { 256 } else { 10 });
        let loss = network.unwrap().loss;
        let made =
            |options: &Options| lower_training(loss, &Sgd::new(0.1), &Caps::reference(), options).unwrap().program;
        let whole = made(&Options::default());
        let small = made(&some(whole.total_bytes() * percent / 100));
        computes_little_again(name, &whole, &small);
    }
}
