//! Rows that are cut in stretches, which `tests/ops.rs` tries only within the error that sums of so many terms may have: here
//! to a few units in the last place, with values that overflow, underflow or are masked, in every way that an adapter runs them.

use std::{collections::BTreeMap, sync::OnceLock};

use halfgrad::{
    Dtype, Gpu, Graph, Plan, Precision, Shape, Tensor, Weights,
    caps::Kind,
    gpu::Settings,
    ops::{Conv2d, CrossEntropy},
    reference::{Array, evaluate},
};

/// The adapter as it is, without native halves, as another kind, and as that without subgroups.
fn devices() -> &'static [(&'static str, Gpu)] {
    static DEVICES: OnceLock<Vec<(&str, Gpu)>> = OnceLock::new();
    DEVICES.get_or_init(|| {
        let gpu = Gpu::new().expect("an adapter");
        let with = |settings| pollster::block_on(gpu.with(settings)).expect("the same adapter");
        let kind = Some(if gpu.caps().kind == Kind::Software { Kind::Discrete } else { Kind::Software });
        let other = with(Settings { kind, ..gpu.settings().clone() });
        let apart = with(Settings { kind, subgroups: false, ..gpu.settings().clone() });
        let packed = pollster::block_on(gpu.without_f16()).expect("the same adapter");
        vec![("as it is", gpu), ("packed", packed), ("as another", other), ("as another without subgroups", apart)]
    })
}

fn precisions(gpu: &Gpu) -> impl Iterator<Item = Precision> {
    Precision::PRESETS.map(|(_, p)| p).into_iter().filter(|p| gpu.caps().supports(*p).is_ok())
}

/// What is made of rows `x [.., d]`, the numbers `[d]` and labels `[..]`.
type Build = for<'g> fn([Tensor<'g>; 3]) -> Tensor<'g>;

/// By how much the smallest results are multiplied, so that f16 holds them.
const FACTOR: f32 = 4096.0;

/// What is made, and whether a result goes on to the gradient that f16 rounds by more than a part in a thousand: shares of a row
/// and their logarithms.
const KERNELS: [(&str, bool, Build); 6] = [
    ("softmax", true, |[x, ..]| x.softmax() * FACTOR),
    ("log_softmax", true, |[x, ..]| x.log_softmax()),
    ("cross_entropy", false, |[x, _, label]| x.cross_entropy(label)),
    ("smoothed cross_entropy", false, |[x, _, label]| {
        x.cross_entropy_with(label, CrossEntropy { label_smoothing: 0.25, ..CrossEntropy::default() })
    }),
    ("layer_norm", false, |[x, gain, _]| x.layer_norm_with(1e-3, gain, gain)),
    ("rms_norm", false, |[x, gain, _]| x.rms_norm_with(1e-3, gain)),
];

/// `n` numbers from `low` to `high`, in some order, that f16 holds.
fn spread(n: usize, low: f64, high: f64) -> Vec<f64> {
    let at = |i: usize| low + (high - low) * ((i * 7919) % 4099) as f64 / 4098.0;
    (0..n).map(|i| half::f16::from_f64(at(i)).to_f64()).collect()
}

/// What is wrong with the value, and with the gradient if `back`, of a kernel over rows of these values, held against f64.
fn faults((name, tiny, build): (&str, bool, Build), [rows, d]: [usize; 2], x: &[f64], back: bool) -> Vec<String> {
    let mut faults = vec![];
    for (how, gpu) in devices() {
        for precision in precisions(gpu) {
            let graph = Graph::new(precision);
            let operands = [graph.input("x", [rows, d]), graph.input("w", [d]), graph.labels("label", [rows])];
            let y = build(operands);
            let loss = if y.shape().rank() == 0 { y * FACTOR } else { (y * operands[1]).sum_all() };
            let mut wanted = vec![y];
            wanted.extend(back.then(|| graph.grad(loss, &operands[..1])[0]));
            let labels: Vec<f64> = (0..rows).map(|i| (d - 1 - i) as f64).collect();
            let given = [x.to_vec(), spread(d, -0.5, 1.0), labels];
            let given: BTreeMap<_, _> =
                operands.iter().zip(given).map(|(t, data)| (t.value, Array::new(t.shape(), data))).collect();
            let found = [0; 2].map(|_| run(gpu, &graph, &given, &wanted));
            let at = format!("{name} [{rows}, {d}] {how} {precision}");
            for (i, expected) in evaluate(&graph, &given, &wanted).unwrap().iter().enumerate() {
                let bits = |run: usize| found[run][i].iter().map(|v| v.to_bits());
                if !bits(0).eq(bits(1)) {
                    faults.push(format!("{at}, {i}: two runs differ"));
                }
                let sizes = expected.data.iter().map(|v| v.abs()).filter(|&v| v > 0.0 && v.is_finite());
                let usual = sizes.clone().sum::<f64>() / sizes.count() as f64;
                let near = |(&f, &e): (&f32, &f64)| {
                    let off = (f64::from(f) - e).abs();
                    // What is too large for the type is infinite.
                    let stored = if wanted[i].dtype() == Dtype::F16 { half::f16::from_f64(e).to_f64() } else { e };
                    off <= tolerance(precision, tiny) * (e.abs() + usual) || f64::from(f) == stored
                };
                if let Some(k) = found[0][i].iter().zip(&expected.data).position(|pair| !near(pair)) {
                    faults.push(format!("{at}, {i}: {} at {k} instead of {}", found[0][i][k], expected.data[k]));
                }
            }
        }
    }
    faults
}

/// The share of its size that a result may be off.
fn tolerance(precision: Precision, tiny: bool) -> f64 {
    match (precision.storage, precision.acc()) {
        (Dtype::F32, _) => 1e-5,
        (_, Dtype::F32) if !tiny => 2e-3,
        (_, Dtype::F32) => 2e-2,
        _ => 1e-1,
    }
}

fn run(gpu: &Gpu, graph: &Graph, given: &BTreeMap<halfgrad::graph::Value, Array>, wanted: &[Tensor]) -> Vec<Vec<f32>> {
    let weights = Weights::init(gpu, graph, 0).unwrap();
    let mut plan = Plan::infer(gpu, &weights, wanted.iter().copied()).unwrap();
    for (value, array) in given {
        let port = Tensor { graph, value: *value };
        if !plan.has(port) {
            continue;
        }
        match port.dtype() {
            Dtype::U32 => plan.write(port, &array.data.iter().map(|&v| v as u32).collect::<Vec<_>>()).unwrap(),
            _ => plan.write(port, &array.data.iter().map(|&v| v as f32).collect::<Vec<_>>()).unwrap(),
        }
    }
    plan.run();
    assert!(plan.program().second_passes() > 0, "rows that are not cut");
    wanted.iter().map(|t| plan.read(*t).unwrap().wait().unwrap()).collect()
}

/// Fails with all that is wrong.
fn agree(kernels: &[(&str, bool, Build)], [rows, d]: [usize; 2], x: &[f64], back: bool) {
    let faults: Vec<String> = kernels.iter().flat_map(|k| faults(*k, [rows, d], x, back)).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn odd_lengths() {
    for [rows, d] in [[1, 100_003], [3, 65_537], [2, 16_388]] {
        agree(&KERNELS, [rows, d], &spread(rows * d, -2.0, 2.0), true);
    }
}

#[test]
fn all_values_the_same() {
    agree(&KERNELS, [1, 40_001], &[0.75; 40_001], true);
}

/// More than a stretch before values, between them, and behind.
#[test]
fn masked_values_take_no_share() {
    let (rows, d) = (2, 60_001);
    let mut x = spread(rows * d, -2.0, 2.0);
    for row in x.chunks_mut(d) {
        for masked in [0..20_000, 22_000..40_000, 41_000..59_999] {
            row[masked].fill(f64::NEG_INFINITY);
        }
    }
    agree(&KERNELS[..1], [rows, d], &x, true);
    agree(&KERNELS[2..3], [rows, d], &x, true);
}

/// As large as f16 holds, of either sign, in stretches of their own.
#[test]
fn largest_halves() {
    let d = 50_001;
    let x: Vec<f64> =
        (0..d).map(|k| if k / 10_000 % 2 == 0 { -65504.0 } else { 65504.0 - 32.0 * (k % 3) as f64 }).collect();
    agree(&KERNELS[..3], [1, d], &x, true);
}

/// llvmpipe ends all loops of an invocation after 65,535 turns, without a word.
#[test]
fn sums_of_more_terms_than_an_invocation_may_walk_through() {
    type Sum = for<'g> fn(Tensor<'g>) -> Tensor<'g>;
    let rounded = "f16+acc=f16".parse().unwrap();
    let sums: [(&str, Precision, &[usize], Sum); 11] = [
        ("product", Precision::F32, &[3, 300_007], |x| x.matmul_with(x, false, true)),
        ("product rounded at each step", rounded, &[3, 300_007], |x| x.matmul_with(x, false, true)),
        ("cumulative sum", Precision::F32, &[2, 300_007], |x| x.cumsum(1)),
        ("cumulative sum of columns, backwards", Precision::F32, &[70_001, 3], |x| {
            x.graph.grad(x.cumsum(0).square().sum_all(), &[x])[0]
        }),
        ("sum", Precision::F32, &[3_000_017], |x| x.sum([0])),
        ("largest value", Precision::F32, &[3_000_017], |x| (x + 1.0).max([0])),
        ("sum of a column", Precision::F32, &[4_200_013, 1, 2], |x| x.sum([0])),
        ("depthwise gradient to weights", Precision::F32, &[1, 200_003, 4], |x| {
            let w = x.slice(1, 0..3).reshape([3, 1, 4]);
            x.graph.grad(x.conv1d(w, Conv2d { groups: 4, ..Conv2d::default() }).sum_all(), &[w])[0]
        }),
        ("mean and variance", Precision::F32, &[6_000_011], |x| x.moments(0..1).1),
        ("means and variances of rows", Precision::F32, &[4, 39_091, 111], |x| x.moments(1..3).1),
        ("place of the largest value", Precision::F32, &[3_000_017], |x| x.argmax()),
    ];
    let gpu = &devices()[0].1;
    for (name, precision, shape, build) in sums {
        let graph = Graph::new(precision);
        let x = graph.input("x", Shape::new(shape).unwrap());
        let y = build(x);
        let n = x.shape().len();
        // The last values are large, so that a sum that ends early is far off. Sums of twos are exact in f16.
        let number = |i: usize| {
            let mixed = ((i * 37) % 127) as f64 / 1024.0;
            let (last, before) = if precision == rounded { (2.0, 0.0) } else { (9.0, mixed) };
            if n - i < 50 { last } else { before }
        };
        let given = BTreeMap::from([(x.value, Array::new(x.shape(), (0..n).map(number).collect()))]);
        let weights = Weights::init(gpu, &graph, 1).unwrap();
        let mut plan = Plan::infer(gpu, &weights, [y]).unwrap();
        plan.write(x, &given[&x.value].data.iter().map(|&v| v as f32).collect::<Vec<_>>()).unwrap();
        plan.run();
        let (found, expected) =
            (plan.read(y).unwrap().wait().unwrap(), &evaluate(&graph, &given, &[y]).unwrap()[0].data);
        let largest = expected.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        let off = found.iter().zip(expected).map(|(&f, e)| (f64::from(f) - e).abs()).fold(0.0, f64::max);
        assert!(off < 1e-3 * largest, "{name}: {off} off of {largest}");
    }
}
