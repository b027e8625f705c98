//! Dropout's masks: how much they drop, when they change, and that the backward pass finds them again.

use halfgrad::{Gpu, Graph, Init, Plan, Precision, Sgd, Weights, plan::Options};

const P: f32 = 0.3;
/// Odd, so that there is padding.
const SHAPE: [usize; 2] = [513, 17];

/// For each step what dropout makes of `x`, of `x` by another node, and of a gradient of ones.
fn steps(gpu: &Gpu, precision: Precision, seed: u32, x: f32, n: usize) -> Vec<[Vec<f32>; 3]> {
    let graph = Graph::new(precision);
    let input = graph.input("x", SHAPE);
    let (y, other) = (input.dropout(P).watch(), input.dropout(P).watch());
    let dx = graph.grad(y, &[input])[0].watch();
    let loss = ((y + other + dx) * graph.weight("w", [1], Init::Constant(1.0))).mean_all();
    let weights = Weights::init(gpu, &graph, 0).expect("weights");
    let options = Options { seed, ..Options::default() };
    let mut plan = Plan::train_with(gpu, &weights, loss, &Sgd::new(0.0), options).expect("a plan");
    plan.write(input, &vec![x; SHAPE[0] * SHAPE[1]]).expect("an input");
    (0..n)
        .map(|_| {
            plan.run();
            [y, other, dx].map(|t| plan.read(t).expect("watched").wait().expect("values"))
        })
        .collect()
}

fn share(values: &[f32], which: impl Fn(f32) -> bool) -> f64 {
    values.iter().filter(|&&v| which(v)).count() as f64 / values.len() as f64
}

#[test]
fn values_are_dropped_with_the_given_probability_and_the_mean_stays() {
    let gpu = Gpu::new().expect("an adapter");
    for [y, ..] in steps(&gpu, Precision::F32, 7, 2.0, 3) {
        assert!(y.iter().all(|&v| v == 0.0 || (v - 2.0 / (1.0 - P)).abs() < 1e-6));
        // Four standard deviations of a share of 8721 values.
        let deviation = 4.0 * f64::sqrt(0.3 * 0.7 / y.len() as f64);
        let (dropped, mean) = (share(&y, |v| v == 0.0), y.iter().map(|&v| f64::from(v)).sum::<f64>() / y.len() as f64);
        assert!((dropped - 0.3).abs() < deviation, "{dropped}");
        assert!((mean / 2.0 - 1.0).abs() < deviation / 0.7, "{mean}");
    }
}

#[test]
fn a_mask_belongs_to_seed_step_and_node_and_to_nothing_else() {
    let gpu = Gpu::new().expect("an adapter");
    let packed = pollster::block_on(gpu.without_f16()).expect("the same adapter");
    let first = steps(&gpu, Precision::F32, 7, 1.0, 3);
    assert_eq!(first, steps(&gpu, Precision::F32, 7, 1.0, 3));

    let masks = |steps: &[[Vec<f32>; 3]]| -> Vec<Vec<bool>> {
        steps.iter().flat_map(|s| s[..2].iter().map(|y| y.iter().map(|&v| v == 0.0).collect())).collect()
    };
    let mut all = masks(&first);
    let f16 = if gpu.caps().shader_f16 { &gpu } else { &packed };
    for gpu in [f16, &packed] {
        assert_eq!(masks(&steps(gpu, Precision::F16, 7, 1.0, 3)), all);
    }
    // Independent masks agree where both drop or both keep.
    all.extend(masks(&steps(&gpu, Precision::F32, 8, 1.0, 1)));
    let chance = 0.3 * 0.3 + 0.7 * 0.7;
    for (i, a) in all.iter().enumerate() {
        for b in &all[..i] {
            let agree = a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64;
            assert!((agree - chance).abs() < 4.0 * f64::sqrt(chance * (1.0 - chance) / a.len() as f64), "{agree}");
        }
    }
}

#[test]
fn the_gradient_has_the_mask_of_the_values() {
    let gpu = Gpu::new().expect("an adapter");
    for precision in [Precision::F32, Precision::F16, Precision::MIXED] {
        for [y, other, dx] in steps(&gpu, precision, 7, 1.0, 3) {
            assert!(y == dx && other != dx, "{precision}");
        }
    }
}

#[test]
fn what_is_dropped_is_zero_even_where_it_was_infinite() {
    let gpu = Gpu::new().expect("an adapter");
    for precision in [Precision::F32, Precision::F16] {
        let [y, ..] = &steps(&gpu, precision, 7, f32::INFINITY, 1)[0];
        assert!(share(y, |v| v == 0.0) > 0.2 && y.iter().all(|&v| v == 0.0 || v == f32::INFINITY));
    }
}

#[test]
fn nothing_is_dropped_at_inference_or_with_probability_0() {
    let gpu = Gpu::new().expect("an adapter");
    let graph = Graph::new(Precision::F32);
    let x = graph.input("x", [5, 17]);
    assert_eq!(x.dropout(0.0).value, x.value);
    let y = (x.dropout(0.9) + 1.0).relu();
    let weights = Weights::init(&gpu, &graph, 0).expect("weights");
    let mut plan = Plan::infer(&gpu, &weights, [y]).expect("a plan");
    plan.write(x, &[0.5; 85]).expect("an input");
    plan.run();
    assert_eq!(plan.read(y).expect("an output").wait().expect("values"), [1.5; 85]);
}

#[test]
fn an_improbable_probability_is_an_error() {
    for p in [1.0, -0.1, 1.5, f32::NAN] {
        let graph = Graph::new(Precision::F32);
        let _ = graph.input("x", [5]).dropout(p);
        assert!(graph.check().unwrap_err().to_string().starts_with("dropout(f32 [5]): p is"), "{p}");
    }
}
