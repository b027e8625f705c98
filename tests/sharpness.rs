//! The largest eigenvalue of a Hessian, against known ones and against a dense Hessian in f64.

use std::collections::BTreeMap;

use halfgrad::{
    Gpu, Graph, Init, Plan, Precision, Result, Tensor, Weights, data,
    graph::Value,
    nn,
    reference::{Array, evaluate},
    study::{self, Model, Optimizer, PowerIteration, Setup, sharpness},
};

/// `½ wᵀ Q diag(λ) Q w` with a reflection Q: a Hessian with these eigenvalues that is not diagonal.
fn quadratic(eigenvalues: &[f32], how: PowerIteration) -> (study::Sharpness, bool) {
    let (gpu, graph) = (Gpu::new().unwrap(), Graph::new(Precision::F32));
    let n = eigenvalues.len();
    let u: Vec<f32> = (0..n).map(|i| 1.0 + (i as f32 * 0.7).sin()).collect();
    let length: f32 = u.iter().map(|u| u * u).sum();
    let q: Vec<f32> =
        (0..n * n).map(|i| f32::from(u8::from(i / n == i % n)) - 2.0 * u[i / n] * u[i % n] / length).collect();
    let w = graph.weight("w", [1, n], Init::Kaiming);
    let turned = w.matmul(graph.input("q", [n, n]));
    let loss = (turned.square() * graph.input("eigenvalues", [1, n]) * 0.5).sum_all();
    let weights = Weights::init(&gpu, &graph, 3).unwrap();
    let bits =
        |weights: &Weights| weights.get("w").unwrap().wait().unwrap().iter().map(|w| w.to_bits()).collect::<Vec<_>>();
    let before = bits(&weights);
    let write = |plan: &mut Plan, _: usize| -> Result<()> {
        plan.write("q", &q)?;
        plan.write("eigenvalues", eigenvalues)
    };
    let found = sharpness(&gpu, &weights, loss, 1, write, how).unwrap();
    (found, before == bits(&weights))
}

#[test]
fn the_eigenvalues_of_a_quadratic_are_found_to_a_percent() {
    let falling: Vec<f32> = (0..40).map(|i| 12.0 * 0.8f32.powi(i)).collect();
    let (found, restored) = quadratic(&falling, PowerIteration::default());
    assert!(restored && found.converged && (found.eigenvalue / 12.0 - 1.0).abs() < 0.01, "{found:?}");
    // The same seed, the same number; another one, another way to it.
    assert_eq!(quadratic(&falling, PowerIteration::default()).0, found);
    let (other, _) = quadratic(&falling, PowerIteration { seed: 1, ..PowerIteration::default() });
    assert!(other != found && (other.eigenvalue / 12.0 - 1.0).abs() < 0.01, "{other:?}");

    // What is largest is not what has the largest magnitude; and all may be negative.
    let (found, restored) = quadratic(&[-9.0, 5.0, 1.0, 0.5], PowerIteration::default());
    assert!(restored && (found.eigenvalue / 5.0 - 1.0).abs() < 0.01, "{found:?}");
    let how = PowerIteration { tolerance: 1e-4, ..PowerIteration::default() };
    let (found, _) = quadratic(&[-9.0, -5.0, -1.0, -2.0], how);
    assert!((found.eigenvalue + 1.0).abs() < 0.01, "{found:?}");

    let (found, _) = quadratic(&falling, PowerIteration { products: 2, ..PowerIteration::default() });
    assert_eq!((found.products, found.converged), (2, false));
}

/// A small smooth perceptron and its loss.
fn network<'g>(graph: &'g Graph) -> (Tensor<'g>, Tensor<'g>, Tensor<'g>) {
    let (x, label) = (graph.input("x", [20, 5]), graph.labels("label", [20]));
    let hidden = nn::linear("fc1", x, 6).tanh();
    (x, label, nn::linear("fc2", hidden, 3).cross_entropy(label))
}

#[test]
fn a_perceptron_has_that_of_its_dense_hessian_in_f64() {
    let (gpu, graph) = (Gpu::new().unwrap(), Graph::new(Precision::F32));
    let (x, label, loss) = network(&graph);
    let weights = Weights::init(&gpu, &graph, 2).unwrap();
    // Two batches; the eigenvalue is that of the mean of their losses.
    let images = |batch: usize| -> Vec<f32> { (0..100).map(|i| (i as f32 * 1.3 + batch as f32).sin() * 2.0).collect() };
    let labels = |batch: usize| -> Vec<u32> { (0..20).map(|i| (i * 7 + batch as u32) % 3).collect() };
    let write = |plan: &mut Plan, batch: usize| -> Result<()> {
        plan.write(x, &images(batch))?;
        plan.write(label, &labels(batch))
    };
    let how = PowerIteration { tolerance: 1e-4, ..PowerIteration::default() };
    let found = sharpness(&gpu, &weights, loss, 2, write, how).unwrap();

    // The same graph in f64, a column of the Hessian at a time.
    let trained = graph.weights();
    let gradients = graph.grad(loss, &trained);
    let values = weights.read_all().wait().unwrap();
    let sizes: Vec<usize> = values.iter().map(Vec::len).collect();
    let n: usize = sizes.iter().sum();
    let gradient = |moved: usize, step: f64| -> Vec<f64> {
        let mut flat: Vec<f64> = values.iter().flatten().map(|&w| f64::from(w)).collect();
        flat[moved] += step;
        let mut sum = vec![0.0; n];
        for batch in 0..2 {
            let mut given: BTreeMap<Value, Array> = BTreeMap::new();
            let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
            given.insert(x.value, Array::new(x.shape(), wide(images(batch))));
            given.insert(label.value, Array::new(label.shape(), labels(batch).into_iter().map(f64::from).collect()));
            let mut at = 0;
            for (w, size) in trained.iter().zip(&sizes) {
                given.insert(w.value, Array::new(w.shape(), flat[at..at + size].to_vec()));
                at += size;
            }
            let parts = evaluate(&graph, &given, &gradients).unwrap().into_iter().flat_map(|g| g.data);
            sum.iter_mut().zip(parts).for_each(|(sum, g)| *sum += g / 2.0);
        }
        sum
    };
    let columns: Vec<Vec<f64>> = (0..n)
        .map(|i| {
            let (above, below) = (gradient(i, 1e-5), gradient(i, -1e-5));
            above.iter().zip(below).map(|(a, b)| (a - b) / 2e-5).collect()
        })
        .collect();
    // Shifted by 100, more than any eigenvalue here, so that the largest one dominates.
    let mut v = vec![1.0; n];
    let mut largest = 0.0;
    for _ in 0..20_000 {
        let next: Vec<f64> = columns
            .iter()
            .zip(&v)
            .map(|(c, own)| c.iter().zip(&v).map(|(c, v)| c * v).sum::<f64>() + 100.0 * own)
            .collect();
        let length = next.iter().map(|v| v * v).sum::<f64>().sqrt();
        largest = length - 100.0;
        v = next.into_iter().map(|v| v / length).collect();
    }
    println!("{found:?}, dense {largest}");
    assert!((found.eigenvalue / largest - 1.0).abs() < 0.01, "{found:?}, dense {largest}");
}

#[test]
fn a_study_measures_it_and_the_run_is_the_same() {
    let (gpu, digits) = (Gpu::new().unwrap(), data::digits());
    let mut setup = Setup::new(Model::named("mlp", &[32]).unwrap(), Optimizer::named("sgd", 0.05).unwrap(), 64, 50);
    let run = |setup: &Setup, precision| study::train(&gpu, &digits, setup, precision, 1, &mut |_| Ok(())).unwrap();
    let plain = run(&setup, Precision::MIXED);
    setup.sharpness = Some(20);
    let measured = run(&setup, Precision::MIXED);
    assert_eq!(plain.step_loss, measured.step_loss);
    assert_eq!(plain.weights.read_all().wait().unwrap(), measured.weights.read_all().wait().unwrap());
    println!("{:?}", measured.sharpness);
    assert_eq!(measured.sharpness.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [20, 40, 50]);
    assert!(measured.sharpness.iter().all(|(_, s)| s.converged && s.eigenvalue > 0.0));

    let graph = Graph::new(Precision::F16);
    let (_, _, loss) = network(&graph);
    let weights = Weights::init(&gpu, &graph, 1).unwrap();
    let said = sharpness(&gpu, &weights, loss, 1, |_, _| Ok(()), PowerIteration::default()).unwrap_err().to_string();
    assert!(said.contains("measured in Precision::F32"), "{said}");
}
