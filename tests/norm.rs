//! Normalisation as a user writes it, forward and gradient, against plain loops in f64.

use halfgrad::{Gpu, Graph, Init, Plan, Precision, Shape, Tensor, Weights, nn, ops::Conv2d, plan::Options};

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::F16, Precision::F16_STRICT];

fn gpu() -> Gpu {
    static GPU: std::sync::OnceLock<Gpu> = std::sync::OnceLock::new();
    GPU.get_or_init(|| Gpu::new().expect("an adapter")).clone()
}

/// Values around `mean` in no order, with a spread of about one, that f16 holds.
fn values(n: usize, seed: usize, mean: f64) -> Vec<f64> {
    let at = |i: usize| ((i * 7919 + seed * 104_729) % 1_000_003) as f64;
    let value = |i| mean + 1.7 * (at(i) * 12.9898).sin() * (1.0 + (at(i) * 0.37).cos());
    (0..n).map(|i| half::f16::from_f64(value(i)).to_f64()).collect()
}

/// (x − mean) / √(variance + ε) · gain + bias; `set` tells the set of values that each index belongs to. Without
/// `centred`, the mean is 0.
fn normalised(x: &[f64], affine: [&[f64]; 2], set: impl Fn(usize) -> usize, centred: bool, epsilon: f64) -> Vec<f64> {
    let sets = (0..x.len()).map(&set).max().unwrap_or(0) + 1;
    let mut moments = vec![[0.0; 3]; sets];
    for pass in 0..2 {
        for (i, &v) in x.iter().enumerate() {
            let [n, mean, variance] = &mut moments[set(i)];
            match pass {
                0 => (*n, *mean) = (*n + 1.0, if centred { *mean + v } else { 0.0 }),
                _ => *variance += (v - *mean / *n).powi(2) / *n,
            }
        }
    }
    let c = affine[0].len();
    let value = |(i, v): (usize, &f64)| {
        let [n, mean, variance] = moments[set(i)];
        (v - mean / n) / (variance + epsilon).sqrt() * affine[0][i % c] + affine[1][i % c]
    };
    x.iter().enumerate().map(value).collect()
}

fn close(what: &str, found: &[f32], expected: &[f64], relative: f64) {
    let size = expected.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
    for (i, (&f, &e)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(f) - e).abs() <= relative * size, "{what} at {i}: {f} instead of {e}, of size {size}");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

/// A layer with `n.weight` and `n.bias`, and for each index of its operand the set that it is normalised with.
struct Layer {
    name: &'static str,
    make: for<'g> fn(Tensor<'g>) -> Tensor<'g>,
    set: fn(usize, &[usize]) -> usize,
}

const LAYERS: [Layer; 5] = [
    Layer { name: "batch", make: |x| nn::batch_norm("n", x), set: |i, d| i % d[d.len() - 1] },
    Layer { name: "layer", make: |x| nn::layer_norm("n", x), set: |i, d| i / d[d.len() - 1] },
    Layer { name: "rms", make: |x| nn::rms_norm("n", x), set: |i, d| i / d[d.len() - 1] },
    Layer { name: "group", make: |x| nn::group_norm("n", x, 3), set: |i, d| grouped(i, d, 3) },
    Layer { name: "instance", make: |x| nn::instance_norm("n", x), set: |i, d| grouped(i, d, d[d.len() - 1]) },
];

fn grouped(i: usize, dims: &[usize], groups: usize) -> usize {
    let c = dims[dims.len() - 1];
    let sample = dims.iter().product::<usize>() / dims[0];
    i / sample * groups + i % c * groups / c
}

/// Result and gradients of a layer on the device and in f64, where gradients are differences.
fn agrees(layer: &Layer, dims: &[usize], mean: f64, precision: Precision, relative: f64) {
    let (gpu, graph) = (gpu(), Graph::new(precision));
    let shape = Shape::new(dims).unwrap();
    let (n, c) = (shape.len(), shape.last());
    // A plan that infers would take running averages, so the loss trains with a rate of 0.
    let x = graph.weight("x", shape, Init::Constant(0.0));
    let y = (layer.make)(x).watch();
    let u = graph.input("u", shape);
    let loss = (y * u).sum_all();
    let wanted: Vec<Tensor> = graph.weights();
    let gradients: Vec<Tensor> = graph.grad(loss, &wanted).into_iter().map(|g| g.copied().watch()).collect();
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let mut given: Vec<Vec<f64>> = vec![values(n, 1, mean), values(c, 2, 1.0), values(c, 3, 0.0)];
    if layer.name == "rms" {
        given[2] = vec![0.0; c];
    }
    let narrow = |v: &[f64]| v.iter().map(|&v| v as f32).collect::<Vec<_>>();
    for (name, v) in ["x", "n.weight", "n.bias"].iter().zip(&given).take(wanted.len()) {
        weights.set(name, &narrow(v)).unwrap();
    }
    let seed = values(n, 4, 0.0);
    let mut plan = Plan::train(&gpu, &weights, loss, halfgrad::Sgd::new(0.0)).unwrap();
    plan.write(u, &narrow(&seed)).unwrap();
    plan.run();

    let epsilon = if precision == Precision::F16_STRICT { 1e-3 } else { 1e-5 };
    let (set, centred) = (|i| (layer.set)(i, dims), layer.name != "rms");
    let of = |g: &[Vec<f64>]| normalised(&g[0], [&g[1], &g[2]], set, centred, epsilon);
    let what = format!("{} {dims:?} {precision}", layer.name);
    close(&what, &plan.read(y).unwrap().wait().unwrap(), &of(&given), relative);
    let slope = |k: usize, i: usize| {
        let at = |step: f64| {
            let mut g = given.clone();
            g[k][i] += step;
            of(&g).iter().zip(&seed).map(|(y, u)| y * u).sum::<f64>()
        };
        (at(1e-4) - at(-1e-4)) / 2e-4
    };
    for (k, g) in gradients.iter().enumerate() {
        let found = plan.read(*g).unwrap().wait().unwrap();
        // All of a small operand, a spread of a large one.
        let some: Vec<usize> = (0..found.len()).step_by(found.len().div_ceil(40)).collect();
        let expected: Vec<f64> = some.iter().map(|&i| slope(k, i)).collect();
        let found: Vec<f32> = some.iter().map(|&i| found[i]).collect();
        close(&format!("{what}, gradient {k}"), &found, &expected, relative);
    }
}

#[test]
fn layers_agree_with_loops_in_every_precision() {
    for layer in &LAYERS {
        for dims in [&[5, 3, 3, 6][..], &[65, 9], &[2, 40, 5, 33], &[3, 257, 3]] {
            // The one value of an instance without places is its mean.
            for precision in PRECISIONS.into_iter().filter(|_| layer.name != "instance" || dims.len() > 2) {
                if gpu().caps().supports(precision).is_ok() {
                    let relative = [1e-5, 1e-3, 3e-2][PRECISIONS.iter().position(|p| *p == precision).unwrap()];
                    agrees(layer, dims, 0.0, precision, relative);
                }
            }
        }
    }
}

/// Where E[x²] − E[x]² would have lost four digits.
#[test]
fn a_large_mean_takes_no_digits() {
    for layer in LAYERS.iter().filter(|l| l.name != "rms") {
        for dims in [&[2, 40, 5, 33][..], &[9, 7, 1002]] {
            agrees(layer, dims, 100.0, Precision::F32, 3e-5);
        }
    }
}

/// So that nothing of it goes through memory when a network is used.
#[test]
fn at_inference_batch_norm_is_part_of_the_convolution() {
    let gpu = gpu();
    for precision in [Precision::F32, Precision::F16] {
        let graph = Graph::new(precision);
        let x = graph.input("x", [2, 9, 9, 5]);
        let window = graph.weight("conv.weight", [3, 3, 5, 17], Init::Kaiming);
        let y = nn::batch_norm("n", x.conv2d(window, Conv2d::default())).relu();
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        for (i, part) in ["weight", "bias", "running_mean", "running_var"].into_iter().enumerate() {
            let v: Vec<f32> = values(17, i, 1.0).into_iter().map(|v| v.abs() as f32 + 0.1).collect();
            weights.set(&format!("n.{part}"), &v).unwrap();
        }
        let results = [true, false].map(|fusion| {
            let options = Options { fusion, ..Options::default() };
            let mut plan = Plan::infer_with(&gpu, &weights, &[y], options).unwrap();
            let labels: Vec<_> = plan.program().dispatches.iter().map(|d| d.label.clone()).collect();
            assert_eq!(labels.len(), if fusion { 1 } else { 3 }, "{labels:?}");
            plan.write(x, &values(810, 9, 0.0).into_iter().map(|v| v as f32).collect::<Vec<_>>()).unwrap();
            plan.run();
            plan.read(y).unwrap().wait().unwrap()
        });
        let single: Vec<f64> = results[1].iter().map(|&v| v.into()).collect();
        close("fused", &results[0], &single, if precision == Precision::F32 { 1e-6 } else { 2e-3 });
    }
}

#[test]
fn odd_shapes_are_normalised_too() {
    let gpu = gpu();
    let graph = Graph::new(Precision::F32);
    let row = graph.input("row", [5]);
    let (lone, one) = (graph.input("lone", [5, 1]), graph.input("one", [1, 1]));
    let wanted = [
        row.layer_norm(1e-5),
        row.rms_norm(1e-5),
        lone.layer_norm(1e-5),
        one.layer_norm(1e-5),
        nn::layer_norm("l", lone),
    ];
    let d = graph.grad(wanted[0] * row, &[row])[0];
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let mut plan = Plan::infer(&gpu, &weights, [&wanted[..], &[d]].concat()).unwrap();
    for (name, v) in [("row", &[1.0f32, 2.0, 3.0, 4.0, 5.0][..]), ("lone", &[7.0; 5]), ("one", &[7.0])] {
        plan.write(name, v).unwrap();
    }
    plan.run();
    let read = |t: Tensor| plan.read(t).unwrap().wait().unwrap();
    let root = 2f64.sqrt();
    close("layer", &read(wanted[0]), &[-2.0 / root, -1.0 / root, 0.0, 1.0 / root, 2.0 / root], 1e-5);
    close("rms", &read(wanted[1]), &[1.0, 2.0, 3.0, 4.0, 5.0].map(|v| v / 11f64.sqrt()), 1e-5);
    close("lone", &read(wanted[2]), &[0.0; 5], 1e-5);
    close("one", &read(wanted[3]), &[0.0], 1e-5);
    close("named", &read(wanted[4]), &[0.0; 5], 1e-5);
    // Σ y x = √2 · 5 at any spread, and 0 change with the mean: the derivative is y + (y − projection) = y here.
    close("gradient", &read(d), &[-2.0 / root, -1.0 / root, 0.0, 1.0 / root, 2.0 / root], 1e-4);
}

#[test]
fn channels_that_are_no_groups_and_epsilons_that_are_nothing() {
    let graph = Graph::new(Precision::F16_STRICT);
    let x = graph.input("x", [2, 5, 6]);
    let _ = x.layer_norm(1e-8);
    assert!(graph.warnings()[0].what.contains("an epsilon of 0.00000001 is less than"), "{:?}", graph.warnings());
    let _ = nn::group_norm("n", x, 4);
    let mistake = graph.check().unwrap_err().to_string();
    assert!(mistake.contains("6 channels of [n, .., c] are not 4 groups"), "{mistake}");
}
