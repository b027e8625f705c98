//! Losses as a user writes them: their definitions, labels that do not count, and gradients under a large loss scale.

use halfgrad::{Gpu, Graph, Plan, Precision, Tensor, Weights, graph::IGNORE, ops::CrossEntropy, plan::Options};

const F32_AND_F16: [Precision; 2] = [Precision::F32, Precision::F16];

fn gpu() -> Gpu {
    static GPU: std::sync::OnceLock<Gpu> = std::sync::OnceLock::new();
    GPU.get_or_init(|| Gpu::new().expect("an adapter")).clone()
}

/// The values of `wanted` once the inputs have these.
fn run(graph: &Graph, given: &[(&str, &[f32])], labels: Option<&[u32]>, wanted: &[Tensor]) -> Vec<Vec<f32>> {
    let gpu = gpu();
    let weights = Weights::init(&gpu, graph, 0).unwrap();
    let mut plan = Plan::infer(&gpu, &weights, wanted.iter().copied()).unwrap();
    given.iter().for_each(|(name, values)| plan.write(*name, values).unwrap());
    labels.into_iter().for_each(|values| plan.write("labels", values).unwrap());
    plan.run();
    wanted.iter().map(|t| plan.read(*t).unwrap().wait().unwrap()).collect()
}

/// `n` numbers from `low` to `high`, in some order, that f16 holds.
fn spread(n: usize, step: usize, low: f32, high: f32) -> Vec<f32> {
    let at = |i: usize| low + (high - low) * (i * step % n) as f32 / (n - 1) as f32;
    (0..n).map(|i| half::f16::from_f32(at(i)).to_f32()).collect()
}

fn near(found: f32, expected: f64, relative: f64) {
    let off = (f64::from(found) - expected).abs();
    assert!(off <= relative * expected.abs() + 1e-7, "{found} instead of {expected}");
}

/// Loss and gradient, of so many values that neither the loss scale nor a gradient without it survives in f16.
fn agrees(
    loss: impl for<'g> Fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>,
    (x, t): (Vec<f32>, Vec<f32>),
    value: impl Fn(f64, f64) -> f64,
    slope: impl Fn(f64, f64) -> f64,
) {
    const SCALE: f32 = 65536.0;
    for precision in F32_AND_F16 {
        let graph = Graph::new(precision);
        let (a, b) = (graph.input("x", [x.len() / 8, 8]), graph.input("t", [t.len() / 8, 8]));
        let l = loss(a, b);
        let dx = graph.grad(l * SCALE, &[a])[0];
        let found = run(&graph, &[("x", &x), ("t", &t)], None, &[l, dx]);
        let pairs = || x.iter().zip(&t).map(|(&x, &t)| (f64::from(x), f64::from(t)));
        near(found[0][0], pairs().map(|(x, t)| value(x, t)).sum(), 1e-5);
        for (&d, (x, t)) in found[1].iter().zip(pairs()) {
            near(d, f64::from(SCALE) * slope(x, t), if precision == Precision::F32 { 1e-5 } else { 1e-3 });
        }
    }
}

const N: usize = 65536;

#[test]
fn mean_squares_neither_overflow_nor_underflow() {
    let data = (spread(N, 3, -300.0, 300.0), spread(N, 5, -1e-3, 1e-3));
    let n = N as f64;
    agrees(|x, t| x.mse(t), data, |x, t| (x - t).powi(2) / n, |x, t| 2.0 * (x - t) / n);
}

#[test]
fn mean_distances() {
    let n = N as f64;
    let data = (spread(N, 3, -8.0, 8.0), spread(N, 5, -1.0, 1.0));
    agrees(|x, t| x.l1(t), data.clone(), |x, t| (x - t).abs() / n, |x, t| ((x > t) as i32 - (x < t) as i32) as f64 / n);
    let piece = |d: f64| if d.abs() <= 0.5 { d * d / 2.0 } else { 0.5 * (d.abs() - 0.25) };
    let huber = |x, t| piece(x - t) / n;
    agrees(|x, t| x.huber(t, 0.5), data, huber, |x, t| (x - t).clamp(-0.5, 0.5) / n);
}

#[test]
fn a_target_of_another_shape_is_a_mistake_and_not_stretched() {
    let graph = Graph::new(Precision::F32);
    let (x, target) = (graph.input("x", [64, 1]), graph.input("target", [64]));
    let _ = x.mse(target);
    let mistake = graph.check().unwrap_err().to_string();
    assert!(mistake.contains("[64, 1]") && mistake.contains("has the shape of its target"), "{mistake}");
}

#[test]
fn certain_logits_keep_their_small_gradients() {
    let n = N as f64;
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    agrees(
        |x, t| x.bce_with_logits(t),
        (spread(N, 3, -30.0, 30.0), (0..N).map(|i| [0.0, 1.0, 0.25][i % 3]).collect()),
        |x, t| (t * softplus(-x) + (1.0 - t) * softplus(x)) / n,
        |x, t| ((1.0 - t) * sigmoid(x) - t * sigmoid(-x)) / n,
    );
}

#[test]
fn divergence_is_by_batch_and_zero_probabilities_add_nothing() {
    let rows = (N / 8) as f64;
    let term = |x: f64, t: f64| if t > 0.0 { t * (t.ln() - x) } else { 0.0 };
    let data = (spread(N, 3, -9.0, 0.0), spread(N, 5, 0.0, 1.0));
    agrees(|x, t| x.kl_divergence(t), data, |x, t| term(x, t) / rows, |_, t| -t / rows);
}

/// Mean cross-entropy and its gradient in f64, divided by how many labels count.
fn expected(logits: &[f32], labels: &[u32], classes: usize, counts: impl Fn(u32) -> bool) -> (f64, Vec<f64>) {
    let n = labels.iter().filter(|&&l| counts(l)).count().max(1) as f64;
    let mut loss = 0.0;
    let mut slopes = vec![];
    for (row, &label) in logits.chunks(classes).zip(labels) {
        let lse = row.iter().map(|&v| f64::from(v).exp()).sum::<f64>().ln();
        let on = if counts(label) { 1.0 / n } else { 0.0 };
        loss += on * (lse - f64::from(*row.get(label as usize).unwrap_or(&0.0)));
        let of_class = |(c, &v): (usize, &f32)| on * ((f64::from(v) - lse).exp() - f64::from(c as u32 == label));
        slopes.extend(row.iter().enumerate().map(of_class));
    }
    (loss, slopes)
}

/// From one workgroup to more than the device has at once; the last batch of an epoch is short.
#[test]
fn cross_entropy_scales_with_the_rows() {
    for (rows, classes, lead) in [(64, 10, vec![64]), (3000, 10, vec![60, 50]), (100_000, 3, vec![100_000])] {
        let logits = spread(rows * classes, 7, -8.0, 8.0);
        let label = |i: usize| if i >= rows - rows / 4 { IGNORE } else { (i % classes) as u32 };
        let labels: Vec<u32> = (0..rows).map(label).collect();
        let (loss, slopes) = expected(&logits, &labels, classes, |l| l != IGNORE);
        for precision in F32_AND_F16 {
            let graph = Graph::new(precision);
            let shape = halfgrad::Shape::new(&[&lead[..], &[classes]].concat()).unwrap();
            let x = graph.input("x", shape);
            let l = x.cross_entropy(graph.labels("labels", halfgrad::Shape::new(&lead).unwrap()));
            let dx = graph.grad(l * 65536.0, &[x])[0];
            let found = run(&graph, &[("x", &logits)], Some(&labels), &[l, dx]);
            near(found[0][0], loss, 1e-5);
            for (&d, s) in found[1].iter().zip(&slopes) {
                let relative = if precision == Precision::F32 { 1e-5 } else { 1e-3 };
                assert!((f64::from(d) - 65536.0 * s).abs() <= relative * (65536.0 * s).abs() + 1e-4, "{d} {s}");
            }
        }
    }
}

/// The loss of two rows of three classes with these labels.
fn loss_of(precision: Precision, labels: [u32; 2], how: CrossEntropy) -> f32 {
    let graph = Graph::new(precision);
    let l = graph.input("x", [2, 3]).cross_entropy_with(graph.labels("labels", [2]), how);
    run(&graph, &[("x", &[1.0, 2.0, 3.0, 5.0, -1.0, 0.0])], Some(&labels), &[l])[0][0]
}

#[test]
fn labels_that_are_no_class_make_the_loss_nan_unless_ignored() {
    let how = CrossEntropy { ignore: 255, ..CrossEntropy::default() };
    for precision in F32_AND_F16 {
        let one = expected(&[1.0, 2.0, 3.0], &[0], 3, |_| true).0;
        assert!(loss_of(precision, [0, 3], how).is_nan());
        assert!(loss_of(precision, [0, 255], CrossEntropy::default()).is_nan());
        near(loss_of(precision, [0, 255], how), one, 1e-5);
        near(loss_of(precision, [0, IGNORE], how), one, 1e-5);
        assert_eq!(loss_of(precision, [255, IGNORE], how), 0.0);
    }
}

#[test]
fn a_single_class_is_certain() {
    let graph = Graph::new(Precision::F16);
    let x = graph.input("x", [5, 1]);
    let l = x.cross_entropy(graph.labels("labels", [5]));
    let wanted = [l, graph.grad(l, &[x])[0], x.softmax(), x.log_softmax()];
    let found = run(&graph, &[], None, &wanted);
    assert_eq!(found, [vec![0.0], vec![0.0; 5], vec![1.0; 5], vec![0.0; 5]]);
}

/// What follows a softmax, forward and backward, is part of its dispatch.
#[test]
fn softmax_fuses_what_follows() {
    let gpu = gpu();
    let graph = Graph::new(Precision::F32);
    let (x, u) = (graph.input("x", [5, 17]), graph.input("u", [17]));
    for y in [x.softmax() * u + 1.0, x.log_softmax() * u + 1.0] {
        let wanted = [y, 3.0 * graph.grad((y * y).sum_all(), &[x])[0]];
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        let results = [true, false].map(|fusion| {
            let options = Options { fusion, ..Options::default() };
            let mut plan = Plan::infer_with(&gpu, &weights, &wanted, options).unwrap();
            plan.write("x", &spread(85, 3, -3.0, 3.0)).unwrap();
            plan.write("u", &spread(17, 3, -1.0, 1.0)).unwrap();
            plan.run();
            wanted.map(|t| plan.read(t).unwrap().wait().unwrap()).concat()
        });
        for (&a, &b) in results[0].iter().zip(&results[1]) {
            near(a, b.into(), 1e-5);
        }
    }
}

#[test]
fn labels_of_another_shape_are_a_mistake() {
    let graph = Graph::new(Precision::F32);
    let _ = graph.input("x", [5, 3]).cross_entropy(graph.labels("labels", [3]));
    let mistake = graph.check().unwrap_err().to_string();
    assert!(mistake.contains("labels have the shape of the logits without the last axis"), "{mistake}");
}
