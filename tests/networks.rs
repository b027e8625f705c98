//! The deep networks on the device: their gradients are those of their losses, and they learn in every precision.

use halfgrad::{
    Gpu, Graph, Plan, Precision, Sgd, Weights, data,
    study::{Model, Network},
};

/// The losses of the first steps on digits; those of the same network in other precisions begin from the same weights.
fn losses(gpu: &Gpu, name: &str, precision: Precision, steps: usize) -> Vec<f32> {
    let digits = data::digits().train;
    let graph = Graph::new(precision);
    let model = Model::named(name, &[]).unwrap();
    let Network { x, label, loss, .. } = model.build(&graph, 32, digits.shape(), digits.classes()).unwrap();
    let weights = Weights::init(gpu, &graph, 1).unwrap();
    let mut plan = Plan::train(gpu, &weights, loss, Sgd::new(0.01).momentum(0.9)).unwrap();
    for batch in digits.batches(32).unwrap().shuffled(1).into_iter().take(steps) {
        plan.write(x, &batch.images).unwrap();
        plan.write(label, &batch.labels).unwrap();
        plan.run();
    }
    plan.losses().wait().unwrap()
}

#[test]
fn a_deep_network_learns_alike_in_every_precision() {
    let gpu = Gpu::new().unwrap();
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let exact = losses(&gpu, "resnet20", Precision::F32, 20);
    assert!(mean(&exact[15..]) < 0.6 * mean(&exact[..5]), "f32: {exact:?}");
    for precision in [Precision::F16, Precision::MIXED] {
        let found = losses(&gpu, "resnet20", precision, 20);
        let apart = mean(&found) / mean(&exact) - 1.0;
        assert!(apart.abs() < 0.03, "{precision}: {apart}, {found:?}, {exact:?} in f32");
    }
}

/// Twice the same batch: a small step against the gradient g at rate r takes r·g² from the loss.
/// The share of that which the loss of a network for so many rows and columns really falls by.
fn share_of_the_descent(gpu: &Gpu, name: &str, size: usize, rate: f32) -> f32 {
    let graph = Graph::new(Precision::F32);
    let model = Model::named(name, &[]).unwrap();
    let Network { x, label, loss, .. } = model.build(&graph, 16, [size, size, 3].into(), 10).unwrap();
    let weights = Weights::init(gpu, &graph, 1).unwrap();
    let values = |weights: &Weights| {
        let named = weights.names().iter().zip(weights.read_all().wait().unwrap());
        named.filter(|((name, _), _)| !name.contains("running")).flat_map(|(_, values)| values).collect::<Vec<f32>>()
    };
    let mut plan = Plan::train(gpu, &weights, loss, Sgd::new(rate)).unwrap();
    let image: Vec<f32> = (0..x.shape().len()).map(|i| ((i * 7919 % 10007) as f32 / 5003.5 - 1.0) * 1.7).collect();
    plan.write(x, &image).unwrap();
    plan.write(label, &(0..16).map(|i| i * 7 % 10).collect::<Vec<u32>>()).unwrap();
    let before = values(&weights);
    plan.run();
    let after = values(&weights);
    plan.run();
    let [first, second] = plan.losses().wait().unwrap()[..] else { panic!("two steps") };
    let square: f64 = before.iter().zip(&after).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    (f64::from(first - second) * f64::from(rate) / square) as f32
}

#[test]
fn gradients_of_deep_networks_are_those_of_their_losses() {
    let gpu = Gpu::new().unwrap();
    // The steps are so small because batch normalisation over few values makes a deep network's loss curve sharply.
    for (name, size, rate) in
        [("resnet20", 8, 1e-5), ("mobilenet", 8, 1e-7), ("xception", 8, 1e-6), ("densenet121", 32, 1e-6)]
    {
        let share = share_of_the_descent(&gpu, name, size, rate);
        assert!((share - 1.0).abs() < 0.03, "{name}: {share} of what the gradient promises");
    }
}
