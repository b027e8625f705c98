//! What is made of several ops, which `tests/ops.rs` tries one by one: values and gradients against the f64 reference. Most
//! of it is there because a last axis of length 1 is not stored.

use std::collections::BTreeMap;

use halfgrad::{
    Dtype, Gpu, Graph, Plan, Precision, Shape, Tensor, Weights,
    ops::{Conv2d, Padding, Pool2d, Upsample},
    reference::{Array, evaluate},
};

type Build = for<'g> fn(&[Tensor<'g>]) -> Tensor<'g>;

/// Name, shapes of the real operands, shape of the labels and how many classes they have, what to make of them.
type Composed = (&'static str, &'static [&'static [usize]], (&'static [usize], u32), Build);

const COMPOSED: &[Composed] = &[
    ("max_pool of one channel", &[&[2, 5, 7, 1]], (&[], 1), |x| x[0].max_pool(2)),
    ("avg_pool of one channel", &[&[2, 5, 7, 1]], (&[], 1), |x| x[0].avg_pool(2)),
    ("pool to one pixel", &[&[3, 4, 4, 1]], (&[], 1), |x| x[0].max_pool2d(Pool2d::square(4))),
    ("pool twice, and its gradient", &[&[1, 7, 7, 3]], (&[], 1), |x| {
        let pool = Pool2d { stride: [2, 2], padding: Padding::Explicit([1; 4]), ..Pool2d::square(3) };
        let y = x[0].max_pool2d(pool).square().avg_pool(2);
        x[0].graph.grad(y.square().sum_all(), &[x[0]])[0].square()
    }),
    ("global pools", &[&[2, 3, 5, 5]], (&[], 1), |x| x[0].global_avg_pool() * x[0].global_max_pool()),
    ("global pools of one channel", &[&[2, 3, 5, 1]], (&[], 1), |x| x[0].global_avg_pool() + x[0].global_max_pool()),
    ("adaptive pool of one channel", &[&[2, 7, 5, 1]], (&[], 1), |x| x[0].adaptive_avg_pool2d([3, 2])),
    ("upsampling of one channel", &[&[2, 3, 5, 1]], (&[], 1), |x| x[0].upsample2d([7, 9], Upsample::Bilinear)),
    ("pool with bias and relu", &[&[2, 4, 4, 5], &[5]], (&[], 1), |x| (x[0].max_pool(2) + x[1]).relu()),
    ("rows of a batch times a column", &[&[2, 3, 5], &[5, 1]], (&[], 1), |x| x[0].matmul(x[1])),
    ("columns of a batch times a row", &[&[2, 3, 1], &[1, 4]], (&[], 1), |x| x[0].matmul(x[1])),
    ("columns of a batch times a column", &[&[2, 3, 1], &[4, 1]], (&[], 1), |x| x[0].matmul_with(x[1], false, true)),
    ("gather of single values", &[&[5, 1]], (&[3, 2], 5), |x| x[0].gather(x[1])),
    ("gather, then a product", &[&[7, 5], &[5, 3]], (&[3, 6], 7), |x| x[0].gather(x[2]).matmul(x[1]).tanh()),
    ("one class", &[&[5, 1]], (&[5], 2), |x| x[1].one_hot(1) * x[0]),
    ("classes of a batch", &[&[3, 5, 4]], (&[3, 5], 4), |x| (x[1].one_hot(4) * x[0]).sum([2])),
    ("pixels by themselves", &[&[2, 3, 5, 6], &[1, 1, 6, 7], &[7]], (&[], 1), |x| {
        (x[0].conv2d(x[1], Conv2d::default()) + x[2]).relu()
    }),
    ("pixels of one channel", &[&[2, 3, 5, 1], &[1, 1, 1, 7]], (&[], 1), |x| x[0].conv2d(x[1], Conv2d::default())),
    ("pixels to one channel", &[&[2, 3, 5, 4], &[1, 1, 4, 1]], (&[], 1), |x| x[0].conv2d(x[1], Conv2d::default())),
    ("windows of one channel", &[&[2, 6, 7, 1], &[3, 3, 1, 5]], (&[], 1), |x| {
        x[0].conv2d(x[1], Conv2d { padding: Padding::Same, ..Conv2d::default() })
    }),
    ("windows of one channel, apart", &[&[2, 9, 13, 1], &[2, 5, 1, 3]], (&[], 1), |x| {
        let padding = Padding::Explicit([1, 0, 3, 2]);
        x[0].conv2d(x[1], Conv2d { stride: [2, 3], dilation: [3, 2], padding, ..Conv2d::default() })
    }),
    ("windows of one channel to one, and its gradient", &[&[1, 5, 6, 1], &[3, 2, 1, 1]], (&[], 1), |x| {
        let y = x[0].conv2d(x[1], Conv2d { padding: Padding::Same, ..Conv2d::default() });
        x[0].graph.grad(y.square().sum_all(), &[x[0]])[0].square()
    }),
    ("every third pixel", &[&[1, 7, 7, 3], &[1, 1, 3, 5]], (&[], 1), |x| {
        x[0].conv2d(x[1], Conv2d { stride: [3, 3], ..Conv2d::default() })
    }),
    ("depthwise, then pixels", &[&[2, 5, 6, 6], &[3, 3, 1, 6], &[1, 1, 6, 5]], (&[], 1), |x| {
        let depthwise = Conv2d { groups: 6, padding: Padding::Same, ..Conv2d::default() };
        x[0].conv2d(x[1], depthwise).relu().conv2d(x[2], Conv2d::default())
    }),
    ("two results a channel", &[&[1, 5, 6, 3], &[3, 3, 1, 6]], (&[], 1), |x| {
        x[0].conv2d(x[1], Conv2d { groups: 3, ..Conv2d::default() })
    }),
    ("transposed, each channel by itself", &[&[1, 3, 4, 5], &[3, 3, 1, 5]], (&[], 1), |x| {
        let upwards = Conv2d { stride: [2, 2], groups: 5, padding: Padding::Explicit([1; 4]), ..Conv2d::default() };
        x[0].conv_transpose2d(x[1], upwards, [1, 1])
    }),
    ("transposed, as many times larger as the stride", &[&[2, 3, 4, 5], &[3, 4, 3, 5]], (&[], 1), |x| {
        let upwards = Conv2d { stride: [2, 3], padding: Padding::Same, ..Conv2d::default() };
        x[0].conv_transpose2d(x[1], upwards, [0, 0])
    }),
    ("transposed, with windows that leave gaps", &[&[1, 3, 2, 4], &[2, 1, 2, 4]], (&[], 1), |x| {
        let upwards = Conv2d { stride: [3, 2], groups: 2, padding: Padding::Same, ..Conv2d::default() };
        x[0].conv_transpose2d(x[1], upwards, [0, 0])
    }),
    ("clamp between bounds that cross", &[&[5, 7]], (&[], 1), |x| x[0].clamp(0.5, -0.25) * x[0]),
    ("conv1d", &[&[2, 9, 3], &[3, 3, 5]], (&[], 1), |x| {
        let padding = Padding::Explicit([9, 9, 2, 0]);
        x[0].conv1d(x[1], Conv2d { stride: [1, 2], padding, ..Conv2d::default() })
    }),
    ("conv1d of one channel", &[&[2, 9, 1], &[3, 1, 5]], (&[], 1), |x| x[0].conv1d(x[1], Conv2d::default())),
];

/// Values that 16 bit hold, the same each time, no two alike nearby.
fn values(shape: Shape, seed: usize) -> Vec<f32> {
    (0..shape.len()).map(|i| ((i * 37 + seed * 11) % 127) as f32 / 64.0 - 1.0).collect()
}

fn agrees(gpu: &Gpu, precision: Precision, index: usize) -> Result<(), String> {
    let (name, shapes, (labels, classes), build) = COMPOSED[index];
    let graph = Graph::new(precision);
    let mut inputs: Vec<Tensor> = shapes
        .iter()
        .enumerate()
        .map(|(i, s)| graph.input(&format!("x{i}"), Shape::new(s).expect("a shape")))
        .collect();
    let real = inputs.clone();
    inputs.push(graph.labels("labels", Shape::new(labels).expect("a shape")));
    let y = build(&inputs);
    let seed = graph.input("seed", y.shape());
    let mut wanted = vec![y];
    wanted.extend(graph.grad((y * seed).sum_all(), &real));
    graph.check().map_err(|e| e.to_string())?;
    let weights = Weights::init(gpu, &graph, 0).map_err(|e| e.to_string())?;
    let mut plan = Plan::infer(gpu, &weights, wanted.clone()).map_err(|e| e.to_string())?;
    plan.fill_with_nan();
    let mut given = BTreeMap::new();
    for (i, x) in inputs.iter().chain([&seed]).enumerate() {
        let of = values(x.shape(), i);
        let of: Vec<f32> = match x.dtype() {
            Dtype::U32 => (0..of.len()).map(|k| ((k * 3 + 1) % classes as usize) as f32).collect(),
            _ => of,
        };
        // What nothing depends on is not part of the plan.
        if plan.has(*x) {
            let written = match x.dtype() {
                Dtype::U32 => plan.write(*x, &of.iter().map(|&v| v as u32).collect::<Vec<_>>()),
                _ => plan.write(*x, &of),
            };
            written.map_err(|e| e.to_string())?;
        }
        given.insert(x.value, Array::new(x.shape(), of.iter().map(|&v| v.into()).collect()));
    }
    plan.run();
    for (i, (t, expected)) in wanted.iter().zip(evaluate(&graph, &given, &wanted).unwrap()).enumerate() {
        let found = plan.read(*t).and_then(|r| r.wait()).map_err(|e| e.to_string())?;
        let size = expected.data.iter().fold(1f64, |m, v| m.max(v.abs()));
        let allowed = size * if precision.storage == Dtype::F32 { 1e-5 } else { 2e-2 };
        for (k, (f, e)) in found.iter().zip(&expected.data).enumerate() {
            let off = (f64::from(*f) - e).abs();
            if off.is_nan() || off > allowed {
                return Err(format!("{name}, {precision}: {i} {} at {k}: {f} instead of {e}", t.shape()));
            }
        }
        if !plan.padding_is_zero(*t).map_err(|e| e.to_string())? {
            return Err(format!("{name}, {precision}: {i} {}: the padding is not zero", t.shape()));
        }
    }
    Ok(())
}

#[test]
fn what_is_composed_agrees_with_the_reference() {
    let gpu = Gpu::new().expect("an adapter");
    let packed = pollster::block_on(gpu.without_f16()).expect("the same adapter");
    let tried = (0..COMPOSED.len()).flat_map(|i| [(&gpu, Precision::F32, i), (&packed, Precision::F16, i)]);
    let wrong: Vec<String> = tried.filter_map(|(gpu, precision, i)| agrees(gpu, precision, i).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The numbers of the ONNX node suite's `averagepool_2d_*` and `maxpool_2d_*`, and of PyTorch's documentation of `Upsample`,
/// for images that count from 1.
#[test]
fn pools_and_upsampling_make_the_published_numbers() {
    let make = |size: usize, f: for<'g> fn(Tensor<'g>) -> Tensor<'g>| {
        let graph = Graph::new(Precision::F32);
        let x = graph.input("x", [1, size, size, 1]);
        let y = f(x);
        let image = Array::new([1, size, size, 1], (1..=size * size).map(|v| v as f64).collect());
        let found = evaluate(&graph, &BTreeMap::from([(x.value, image)]), &[y]).unwrap().remove(0).data;
        found.into_iter().map(|v| (v * 1e4).round() / 1e4).collect::<Vec<_>>()
    };
    assert_eq!(
        make(4, |x| x.avg_pool2d(Pool2d { stride: [2; 2], ceil_mode: true, ..Pool2d::square(3) })),
        [6.0, 7.5, 12.0, 13.5]
    );
    assert_eq!(
        make(4, |x| x.max_pool2d(Pool2d { stride: [2; 2], ceil_mode: true, ..Pool2d::square(3) })),
        [11.0, 12.0, 15.0, 16.0]
    );
    assert_eq!(
        make(5, |x| x.avg_pool2d(Pool2d { stride: [1; 2], padding: Padding::Explicit([2; 4]), ..Pool2d::square(5) }))
            [..10],
        [2.52, 3.6, 4.8, 4.08, 3.24, 4.56, 6.4, 8.4, 7.04, 5.52]
    );
    assert_eq!(
        make(5, |x| {
            let padding = Padding::Explicit([2; 4]);
            x.avg_pool2d(Pool2d { stride: [1; 2], padding, count_include_pad: false, ..Pool2d::square(5) })
        })[..6],
        [7.0, 7.5, 8.0, 8.5, 9.0, 9.5]
    );
    assert_eq!(
        make(5, |x| {
            let padding = Padding::Same;
            x.avg_pool2d(Pool2d { stride: [2; 2], padding, count_include_pad: false, ..Pool2d::square(3) })
        }),
        [4.0, 5.5, 7.0, 11.5, 13.0, 14.5, 19.0, 20.5, 22.0]
    );
    assert_eq!(
        make(2, |x| x.upsample2d([4, 4], Upsample::Bilinear)),
        [1.0, 1.25, 1.75, 2.0, 1.5, 1.75, 2.25, 2.5, 2.5, 2.75, 3.25, 3.5, 3.0, 3.25, 3.75, 4.0]
    );
    assert_eq!(make(3, |x| x.adaptive_avg_pool2d([2, 2])), [3.0, 4.0, 6.0, 7.0]);
}

#[test]
fn what_cannot_be_is_an_error_in_words() {
    let mistake = |f: for<'g> fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>| {
        let graph = Graph::new(Precision::F16);
        f(graph.input("x", [1, 5, 3, 4]), graph.labels("i", [3]));
        graph.check().unwrap_err().to_string()
    };
    for (found, expected) in [
        (mistake(|x, _| x.max_pool(0)), "max_pool2d(f16 [1, 5, 3, 4]): window and stride are at least 1"),
        (
            mistake(|x, _| x.max_pool(4)),
            "max_pool2d(f16 [1, 5, 3, 4]): a window of 4 does not fit 3 and 0 + 0 of padding",
        ),
        (
            mistake(|x, _| x.slice(3, 0..1).reshape([5, 3]).avg_pool(2)),
            "avg_pool2d(f16 [5, 3]): an image is [n, h, w, c]",
        ),
        (mistake(|x, _| x.adaptive_avg_pool2d([0, 1])), "adaptive_avg_pool2d(f16 [1, 5, 3, 4]): there is nothing"),
        (mistake(|x, _| x.flatten().global_avg_pool()), "global_avg_pool(f16 [1, 60]): an image is [n, h, w, c]"),
        (
            mistake(|_, i| i.reshape([1, 3, 1, 1]).max_pool(1)),
            "max_pool2d(u32 [1, 3, 1, 2]): the operands need one real",
        ),
        (mistake(|x, i| x.gather(i)), "gather(f16 [1, 5, 3, 4], u32 [3]): a table has two axes"),
        (mistake(|x, _| x.flatten().gather(x)), "gather(f16 [1, 60], f16 [1, 5, 3, 4]): the table is real and the"),
        (mistake(|x, _| x.one_hot(1)), "one_hot(f16 [1, 5, 3, 4]): only labels have classes"),
        (mistake(|_, i| i.one_hot(0)), "one_hot(u32 [3]): there is at least one class"),
        (mistake(|_, i| i.argmax()), "argmax(u32 [3]): labels take no part"),
        (mistake(|x, _| x.cumsum(4)), "cumsum(f16 [1, 5, 3, 4]): [1, 5, 3, 4] has no axis 4"),
        (
            mistake(|x, _| {
                let w = x.reshape([5, 1, 4, 3]);
                x.conv2d(w, Conv2d { padding: Padding::Explicit([0, 1 << 28, 0, 0]), ..Conv2d::default() })
            }),
            "conv2d(f16 [1, 5, 3, 4], f16 [5, 1, 4, 3]): stride, dilation and padding are at most 65536",
        ),
        (
            mistake(|x, _| x.conv_transpose2d(x, Conv2d { padding: Padding::Same, ..Conv2d::default() }, [1; 2])),
            "conv_transpose2d(f16 [1, 5, 3, 4], f16 [1, 5, 3, 4]): padding `same` makes the result as many times",
        ),
        (mistake(|x, _| x.conv1d(x, Conv2d::default())), "conv1d(f16 [1, 5, 3, 4], f16 [1, 5, 3, 4]): the signal is"),
    ] {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}
