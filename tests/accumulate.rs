//! Sums kept in f16, in chunks of f16, in f32: against crate `half` bit for bit, and the size of their errors.

use half::f16;
use halfgrad::{Gpu, Graph, LossScale, Plan, Precision, Sgd, Weights, check, data, nn, ops};

fn precision(text: &str) -> Precision {
    text.parse().unwrap()
}

/// `a · b`, `[m, k] · [k, n]`.
fn product(gpu: &Gpu, precision: Precision, [m, k, n]: [usize; 3], a: &[f32], b: &[f32]) -> Vec<f32> {
    let graph = Graph::new(precision);
    let (x, w) = (graph.input("a", [m, k]), graph.input("b", [k, n]));
    let y = x.matmul(w);
    let weights = Weights::init(gpu, &graph, 0).unwrap();
    let mut plan = Plan::infer(gpu, &weights, [y]).unwrap();
    plan.write(x, a).unwrap();
    plan.write(w, b).unwrap();
    plan.run();
    plan.read(y).unwrap().wait().unwrap()
}

/// Numbers of f16 with mean 0 and this deviation, by the sum of twelve uniform ones.
fn normal(n: usize, deviation: f64, mut seed: u64) -> Vec<f32> {
    let mut uniform = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f64 / f64::from(1 << 24)
    };
    let mut one = || f16::from_f64(deviation * ((0..12).map(|_| uniform()).sum::<f64>() - 6.0)).to_f32();
    (0..n).map(|_| one()).collect()
}

#[test]
fn precisions_that_differ_in_their_sums_go_by_text() {
    for text in
        ["f16+acc=f16", "f16+acc=chunk32", "f16-strict+acc=f32", "mixed+acc=chunk1", "f16+nearest+scale=batch+acc=f16"]
    {
        assert_eq!(precision(text).to_string(), text);
    }
    assert_eq!(precision("f16-strict+acc=f16"), Precision::F16_STRICT);
    assert_eq!(precision("f16+acc=f32"), Precision::F16);
    for (text, said) in [
        ("f16+acc=chunk0", "acc= in \"f16+acc=chunk0\": \"chunk0\" is not f32, f16 or chunkN, N from 1 on"),
        ("f16+acc=bf16", "acc= in \"f16+acc=bf16\": \"bf16\" is not f32, f16 or chunkN, N from 1 on"),
    ] {
        assert_eq!(text.parse::<Precision>().unwrap_err().to_string(), said);
    }
}

#[test]
fn a_sum_of_ones_in_f16_stops_at_2048() {
    let gpu = Gpu::new().unwrap();
    let ones = vec![1.0; 5000];
    // In f16 5000 has a spacing of 4, so that it is there.
    for (text, expected) in
        [("f16", 5000.0), ("f16+acc=f16", 2048.0), ("f16+acc=chunk32", 5000.0), ("f32+acc=f16", 2048.0)]
    {
        assert_eq!(product(&gpu, precision(text), [1, 5000, 1], &ones, &ones), [expected], "{text}");
    }
}

/// A product's sum in f16, in chunks of `chunk` terms.
fn emulated(a: impl Iterator<Item = f32>, b: impl Iterator<Item = f32>, chunk: usize) -> f32 {
    let terms: Vec<f32> = a.zip(b).map(|(a, b)| a * b).collect();
    let sum = |terms: &[f32]| terms.iter().fold(0.0, |sum, term| f16::from_f32(sum + term).to_f32());
    f16::from_f32(terms.chunks(chunk).map(sum).sum()).to_f32()
}

#[test]
fn a_product_is_that_of_crate_half_bit_for_bit() {
    let gpu = Gpu::new().unwrap();
    // Blocks of one and of two rows and columns; a sum that does not end with a chunk.
    for [m, k, n] in [[3, 150, 5], [64, 70, 64]] {
        let (a, b) = (normal(m * k, 1.0, 1), normal(k * n, 0.5, 2));
        for (text, chunk) in [("f16+acc=f16", k), ("f16+acc=chunk32", 32), ("f16+acc=chunk4", 4)] {
            let found = product(&gpu, precision(text), [m, k, n], &a, &b);
            for (at, y) in found.iter().enumerate() {
                let (row, column) = (at / n, at % n);
                let expected =
                    emulated(a[row * k..][..k].iter().copied(), b[column..].iter().step_by(n).copied(), chunk);
                assert_eq!(y.to_bits(), expected.to_bits(), "{text} [{m}, {k}, {n}] at {at}: {y} and {expected}");
            }
        }
    }
}

/// Mean error of a dot product of `n` terms whose result has deviation 1.
fn error(gpu: &Gpu, text: &str, n: usize) -> f64 {
    let (a, b) = (normal(32 * n, 1.0, 3), normal(n * 32, 1.0 / (n as f64).sqrt(), 4));
    let found = product(gpu, precision(text), [32, n, 32], &a, &b);
    let exact =
        |at: usize| -> f64 { (0..n).map(|k| f64::from(a[at / 32 * n + k]) * f64::from(b[k * 32 + at % 32])).sum() };
    found.iter().enumerate().map(|(at, y)| (f64::from(*y) - exact(at)).abs()).sum::<f64>() / found.len() as f64
}

#[test]
fn errors_are_those_of_the_literature() {
    let gpu = Gpu::new().unwrap();
    // Emulated before, in numpy: f16 one term after another, and f32 rounded to f16 when stored.
    for (n, f16, f32) in [(64, 7.1e-4, 1.1e-4), (256, 1.7e-3, 1.5e-4), (1024, 2.8e-3, 1.5e-4), (4096, 5.7e-3, 1.4e-4)] {
        let found = ["f16+acc=f16", "f16+acc=chunk32", "f16"].map(|text| error(&gpu, text, n));
        println!("{n}: f16 {:.2e}, chunks of 32 {:.2e}, f32 {:.2e}", found[0], found[1], found[2]);
        assert!(found[0] > 0.5 * f16 && found[0] < 1.5 * f16, "{n}: {found:?}");
        assert!(found[2] > 0.5 * f32 && found[2] < 1.5 * f32, "{n}: {found:?}");
        assert!(found[1] > found[2] && found[1] < found[0], "{n}: {found:?}");
    }
}

#[test]
fn every_op_keeps_to_its_reference_however_it_sums() {
    let gpu = Gpu::new().unwrap();
    for text in ["f16+acc=f16", "f16+acc=chunk32"] {
        for case in ops::cases().iter().filter(|case| {
            ["matmul", "conv2d", "conv2d_image", "conv2d_weights", "sum", "mean"].contains(&case.op.name())
        }) {
            check::on_device(&gpu, precision(text), case).unwrap_or_else(|fault| panic!("{fault}"));
        }
    }
}

#[test]
fn a_loss_scale_of_the_batch_is_the_gradient_of_the_sum() {
    let gpu = Gpu::new().unwrap();
    let digits = data::digits();
    let after = |precision: Precision| {
        let graph = Graph::new(precision);
        let (x, label) = (graph.input("x", [64, 8, 8, 1]), graph.labels("label", [64]));
        let loss = nn::mlp(x, &[16], 10).cross_entropy(label);
        let weights = Weights::init(&gpu, &graph, 1).unwrap();
        let mut plan = Plan::train(&gpu, &weights, loss, Sgd::new(0.05)).unwrap();
        for batch in digits.train.batches(64).unwrap().into_iter().take(3) {
            plan.write(x, &batch.images).unwrap();
            plan.write(label, &batch.labels).unwrap();
            plan.run();
        }
        (weights.read_all().wait().unwrap(), plan.progress().wait().unwrap().loss_scale)
    };
    let (mean, one) = after(Precision::F32);
    let (sum, batch) = after(Precision { loss_scale: LossScale::Batch, ..Precision::F32 });
    assert_eq!((one, batch), (1.0, 64.0));
    // 64 is a power of two: not a bit is lost on the way.
    assert_eq!(mean, sum);
}
