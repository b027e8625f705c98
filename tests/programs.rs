//! Programs as plain data, no GPU: golden listings, WebGPU's rules, every shader through naga, bytes and FLOPs.

mod common;

use std::{env, fs};

use halfgrad::{
    Adam, AdamW, Caps, Dtype, Graph, Precision, RmsProp, Sgd, Shape,
    caps::Kind,
    check,
    dispatch::{Program, Role, Temporaries},
    lower::{Request, lower},
    nn, ops,
    optim::Update,
    plan::{Options, lower_training},
    study::Model,
};

/// The program of a training step of a perceptron; `sizes` are input, hidden layers, classes.
fn mlp(precision: Precision, batch: usize, sizes: &[usize], optimizer: &dyn Update, caps: &Caps) -> Program {
    program(precision, batch, sizes, optimizer, caps, Options::default())
}

fn program(
    precision: Precision,
    batch: usize,
    sizes: &[usize],
    optimizer: &dyn Update,
    caps: &Caps,
    options: Options,
) -> Program {
    let graph = Graph::new(precision);
    let (&classes, hidden) = sizes[1..].split_last().unwrap();
    let logits = nn::mlp(graph.input("x", [batch, sizes[0]]), hidden, classes);
    let loss = loss(logits);
    lower_training(loss, optimizer, caps, &options).unwrap().program
}

fn loss(logits: halfgrad::Tensor) -> halfgrad::Tensor {
    logits.cross_entropy(logits.graph.labels("label", [logits.shape()[0]]))
}

fn optimizers() -> Vec<Box<dyn Update>> {
    vec![
        Box::new(Sgd::new(0.1)),
        Box::new(Sgd::new(0.1).momentum(0.9).nesterov().weight_decay(1e-3)),
        Box::new(Adam::new(1e-3)),
        Box::new(AdamW::new(1e-3)),
        Box::new(RmsProp::new(1e-3)),
    ]
}

#[test]
fn programs_are_the_golden_ones() {
    let sgd = Sgd::new(0.05).momentum(0.9);
    let adam = Adam::new(1e-3);
    let golden: [(&str, Precision, &dyn Update); 4] = [
        ("mlp-f32-momentum", Precision::F32, &sgd),
        ("mlp-f16-momentum", Precision::F16, &sgd),
        ("mlp-mixed-momentum", Precision::MIXED, &sgd),
        ("mlp-f16-adam", Precision::F16, &adam),
    ];
    let mut differ = vec![];
    for (name, precision, optimizer) in golden {
        let path = format!("tests/golden/{name}.txt");
        let found = mlp(precision, 64, &[64, 128, 10], optimizer, &Caps::reference()).to_string();
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &found).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default().replace('\r', "");
        if expected != found {
            differ.push(format!("{path} differs; the program is now\n{found}"));
        }
    }
    assert!(differ.is_empty(), "{}\nUPDATE_GOLDEN=1 accepts it", differ.join("\n"));
}

#[test]
fn training_programs_keep_the_rules() {
    // The second binds so little at once that weights lie in several chunks.
    let small = Caps { binding_bytes: 4096, ..Caps::reference() };
    for (_, precision) in Precision::PRESETS {
        for optimizer in optimizers() {
            for (sizes, batch) in [(&[5, 17, 3][..], 1), (&[64, 12, 7, 1], 5), (&[9, 1, 10], 65)] {
                for (caps, fusion) in [(&Caps::reference(), true), (&Caps::reference(), false), (&small, true)] {
                    let options =
                        Options { fusion, record_changes: batch == 5, observe: batch == 5, ..Options::default() };
                    let p = program(precision, batch, sizes, &*optimizer, caps, options);
                    common::keeps_the_rules(&p, caps).unwrap_or_else(|e| panic!("{precision} {optimizer:?}: {e}"));
                    common::shaders_are_valid(&p, precision)
                        .unwrap_or_else(|e| panic!("{precision} {optimizer:?}: {e}"));
                }
            }
        }
    }
}

#[test]
fn programs_of_all_ops_keep_the_rules() {
    let caps = Caps::reference();
    for case in ops::cases() {
        for (name, precision) in Precision::PRESETS {
            let tried = check::program(&caps, precision, &case).map_err(|e| e.to_string()).and_then(|program| {
                common::keeps_the_rules(&program, &caps)?;
                common::shaders_are_valid(&program, precision)
            });
            tried.unwrap_or_else(|e| panic!("{name} {:?} {:?}: {e}", case.op, case.inputs));
        }
    }
}

#[test]
fn a_chain_stops_at_eight_buffers() {
    // Six fused operands made before the product that they follow: with its own two and the result they are nine.
    let graph = Graph::new(Precision::F32);
    let others: Vec<_> = (0..6).map(|i| graph.input(&format!("x{i}"), [5, 7])).collect();
    let sum = others.into_iter().reduce(|a, b| a + b).unwrap();
    let w = graph.weight("w", [3, 7], halfgrad::Init::Kaiming);
    let loss = (graph.input("x", [5, 3]).matmul(w) + sum).square().mean_all();
    let program = lower_training(loss, &Sgd::new(0.1), &Caps::reference(), &Options::default()).unwrap().program;
    common::keeps_the_rules(&program, &Caps::reference()).unwrap();
    common::shaders_are_valid(&program, Precision::F32).unwrap();
}

#[test]
fn an_epilogue_loads_only_what_its_file_can() {
    // The sum is of f16 alone; what follows it reads a mean, which is f32 like all losses.
    let graph = Graph::new(Precision::F16);
    let x = graph.input("x", [5, 7]);
    let y = x.sum_to([5, 1].into()) * x.mean_all().cast(Dtype::F16);
    let (caps, wanted) = (Caps::reference(), vec![y.value]);
    let program = lower(&Request {
        graph: &graph,
        caps: &caps,
        wanted,
        training: None,
        observe: false,
        fusion: true,
        algebra: true,
    })
    .unwrap()
    .program;
    common::shaders_are_valid(&program, Precision::F16).unwrap();
    for d in &program.dispatches {
        let known = [d.shader.elem, d.shader.wide];
        let strange = d.bindings.iter().find(|(x, _)| !known.contains(&x.dtype));
        assert!(strange.is_none(), "{:?} reads {strange:?}\n{program}", d.label);
    }
}

#[test]
fn bytes_and_flops_grow_linearly_with_the_batch() {
    for (_, precision) in Precision::PRESETS {
        let of = |batch| mlp(precision, batch, &[64, 128, 10], &Sgd::new(0.1).momentum(0.9), &Caps::reference());
        let [a, b, c, d] = [64, 128, 192, 256].map(of);
        let measures: [fn(&Program) -> u64; 4] = [
            |p| p.total_bytes(),
            |p| p.flops(),
            |p| p.dispatches.iter().map(|d| d.bytes_read()).sum(),
            |p| p.dispatches.iter().map(|d| d.bytes_written()).sum(),
        ];
        for (i, m) in measures.into_iter().enumerate() {
            let step = m(&b) - m(&a);
            assert_eq!((m(&c) - m(&b), m(&d) - m(&c)), (step, step), "{precision}, measure {i}");
        }
        let products: u64 = a.dispatches.iter().filter(|d| d.shader.name == "matmul").map(|d| d.flops).sum();
        // Two products forward, and backward two for the weights and one for the hidden layer.
        let least = 2 * 64 * (2 * (64 * 128 + 128 * 10) + 128 * 10);
        assert!((least..least + 64 * 128 * 8).contains(&products), "{products} {least}");
    }
}

/// FLOPs and dispatches of a step, without the second passes of sums in parts, which depend on the adapter; and the bytes moved.
fn work(p: &Program) -> [u64; 3] {
    let own = || p.dispatches.iter().filter(|d| !d.joins);
    let moved = p.dispatches.iter().map(|d| d.bytes_read() + d.bytes_written());
    [own().map(|d| d.flops).sum(), own().count() as u64, moved.sum()]
}

/// Steps of perceptrons: as the batch or the depth grows by equal amounts, so do FLOPs and dispatches, on every kind of
/// adapter, and as the width grows so do the FLOPs' differences. Equal layers move equal bytes; those of a batch are held above.
#[test]
fn work_grows_linearly_with_batch_width_and_depth() {
    for kind in [Kind::Software, Kind::Integrated, Kind::Discrete] {
        let caps = Caps { kind, binding_bytes: 2 << 30, buffer_bytes: 2 << 30, ..Caps::reference() };
        for (_, precision) in Precision::PRESETS {
            let of = |batch: usize, width: usize, depth: usize| {
                let sizes: Vec<usize> = [784].into_iter().chain(vec![width; depth]).chain([10]).collect();
                work(&mlp(precision, batch, &sizes, &Sgd::new(0.1).momentum(0.9), &caps))
            };
            for (what, measures, order, all) in [
                ("batch", 2, 1, [256, 512, 768, 1024].map(|batch| of(batch, 512, 2))),
                ("depth", 3, 1, [16, 32, 48, 64].map(|depth| of(128, 128, depth))),
                ("width", 2, 2, [512, 1024, 1536, 2048].map(|width| of(128, width, 2))),
            ] {
                for i in 0..measures {
                    let mut steps: Vec<i64> = all.iter().map(|work| work[i] as i64).collect();
                    for _ in 0..order {
                        steps = steps.windows(2).map(|two| two[1] - two[0]).collect();
                    }
                    // What is fused behind a product goes to the second pass at those sizes where its sum is split.
                    let split = |a: i64, b: i64| i == 0 && what != "depth" && a.abs_diff(b) < a.unsigned_abs() / 1000;
                    let same = |a: i64, b: i64| a == b || split(a, b);
                    let even = steps.windows(2).all(|two| same(two[0], two[1]));
                    assert!(even, "{kind:?} {precision}: measure {i} by {what} {all:?}");
                }
            }
        }
    }
}

#[test]
fn sixteen_bits_take_about_half_the_memory() {
    for (sizes, batch) in [(&[64, 128, 10][..], 64), (&[784, 512, 512, 10], 128)] {
        let of = |p| mlp(p, batch, sizes, &Sgd::new(0.05).momentum(0.9), &Caps::reference());
        let (wide, half) = (of(Precision::F32), of(Precision::F16));
        let share = |a: u64, b: u64| a as f64 / b as f64;
        let total = share(half.total_bytes(), wide.total_bytes());
        let weights = share(half.device_bytes(Role::Weights), wide.device_bytes(Role::Weights));
        assert!(total <= 0.56 && weights <= 0.51, "{sizes:?}: all {total}, weights {weights}\n{half}{wide}");
    }
}

/// The step of a network that the crate knows by name.
fn named(name: &str, hidden: &[usize], sample: Shape, batch: usize, precision: Precision) -> Program {
    let graph = Graph::new(precision);
    let model = Model::named(name, hidden).unwrap();
    let classes = if name == "gpt" { 256 } else { 10 };
    let network = model.build(&graph, batch, sample, classes).unwrap();
    let optimizer = Sgd::new(0.1).momentum(0.9);
    lower_training(network.loss, &optimizer, &Caps::reference(), &Options::default()).unwrap().program
}

#[test]
fn temporaries_take_a_tenth_more_than_is_needed_at_once_at_most() {
    let (digits, images) = (Shape::from([28, 28, 1]), Shape::from([32, 32, 3]));
    let networks: [(&str, &[usize], Shape, usize); 14] = [
        ("mlp", &[128], digits, 64),
        ("mlp", &[512, 512], digits, 64),
        ("mlp", &[512, 512], digits, 128),
        ("mlp", &[256, 128, 64, 32], digits, 128),
        ("lenet", &[], digits, 64),
        ("cnn", &[], digits, 64),
        ("alexnet", &[], images, 32),
        ("vgg16", &[], images, 32),
        ("resnet20", &[], images, 32),
        ("mobilenet", &[], images, 32),
        ("densenet121", &[], images, 8),
        ("xception", &[], images, 8),
        ("vit8", &[], images, 32),
        ("gpt", &[], Shape::from([128]), 16),
    ];
    for (name, hidden, sample, batch) in networks {
        for precision in [Precision::F32, Precision::F16, Precision::MIXED] {
            let program = named(name, hidden, sample, batch, precision);
            let Temporaries { bytes, least } = program.temporaries;
            let pools = program.buffers.iter().filter(|b| b.name.starts_with('s') && b.name.len() == 2).count();
            println!("{name} {hidden:?} {precision}: {bytes} / {least} = {:.3}", bytes as f64 / least as f64);
            assert!(10 * bytes <= 11 * least && pools <= 6, "{name} {precision}: {bytes}, {least}, {pools} pools");
            common::keeps_the_rules(&program, &Caps::reference()).unwrap_or_else(|e| panic!("{name} {precision}: {e}"));
        }
    }
}

/// The labels of a plan that computes `wanted`.
fn labels(graph: &Graph, wanted: &[halfgrad::Tensor], caps: &Caps) -> Vec<String> {
    let wanted = wanted.iter().map(|t| t.value).collect();
    let request = Request { graph, caps, wanted, training: None, observe: false, fusion: true, algebra: true };
    let program = lower(&request).unwrap().program;
    common::keeps_the_rules(&program, caps).unwrap();
    common::shaders_are_valid(&program, graph.precision()).unwrap();
    program.dispatches.iter().map(|d| d.label.trim().to_owned()).collect()
}

#[test]
fn what_is_computed_twice_or_changes_nothing_is_not_there() {
    let caps = Caps::reference();
    let graph = Graph::new(Precision::F16);
    let (x, w) = (graph.input("x", [5, 7]), graph.weight("w", [7, 3], halfgrad::Init::Kaiming));
    let twice = [x.matmul(w).tanh().sum([0]), -x.matmul(w).tanh().sum([0])];
    assert_eq!(labels(&graph, &[twice[0] * twice[1]], &caps).iter().filter(|l| l.starts_with("matmul")).count(), 1);
    for same in [
        -(-x),
        x * 1.0,
        1.0 * x,
        x / 1.0,
        x - 0.0,
        x + -0.0,
        x.cast(Dtype::F32).cast(Dtype::F16),
        x.transpose().transpose(),
        x.reshape([35]).reshape([7, 5]).reshape([5, 7]),
    ] {
        assert_eq!(labels(&graph, &[same.matmul(w)], &caps), ["matmul w"], "{}", graph.len());
    }
    // What could change the sign of a zero or the last bits stays.
    for other in [x + 0.0, x - -0.0, x * 2.0, x.cast(Dtype::F32).cast(Dtype::F32) / 3.0] {
        assert_eq!(labels(&graph, &[other.cast(Dtype::F16).matmul(w)], &caps).len(), 2);
    }
    // What is watched or read by name is computed.
    let watched = (x * 1.0).watch();
    assert_eq!(labels(&graph, &[watched.matmul(w)], &caps).len(), 2);
}

#[test]
fn a_large_result_is_divided_by_integers() {
    let graph = Graph::new(Precision::F32);
    for (rows, far) in [(1023, 0), (1024, 1)] {
        let name = format!("x{rows}");
        let y = graph.input(&name, [rows, 16384]) + graph.input(&format!("row{rows}"), [16384]);
        let (caps, wanted) = (Caps::reference(), vec![y.value]);
        let request =
            Request { graph: &graph, caps: &caps, wanted, training: None, observe: false, fusion: true, algebra: true };
        let program = lower(&request).unwrap().program;
        common::shaders_are_valid(&program, Precision::F32).unwrap();
        assert!(program.dispatches[0].shader.constants.contains(&("CHAIN_FAR", far)), "{program}");
    }
}

#[test]
fn a_view_does_not_end_a_chain() {
    let caps = Caps::reference();
    let graph = Graph::new(Precision::F32);
    let (x, w) = (graph.input("x", [2, 3, 8]), graph.weight("w", [8, 8], halfgrad::Init::Kaiming));
    let [row, rows] =
        [graph.weight("row", [8], halfgrad::Init::Kaiming), graph.weight("rows", [6, 1], halfgrad::Init::Kaiming)];
    let y = (x.matmul(w) + row).reshape([6, 8]).relu() * rows;
    assert_eq!(labels(&graph, &[y], &caps), ["matmul+add+relu+mul w"]);
    let y = ((x * 2.0).reshape([48]) + 1.0).reshape([6, 8]).tanh();
    assert_eq!(labels(&graph, &[y], &caps).len(), 1);
    // What has no place beside the result, in its shape, does not join.
    let planes = graph.weight("planes", [2, 1, 8], halfgrad::Init::Kaiming);
    let y = (x.matmul(w) + planes).reshape([6, 8]) * rows;
    assert_eq!(labels(&graph, &[y], &caps).len(), 2);
    // Padding moves.
    let y = graph.input("odd", [2, 6]).exp().reshape([3, 4]).tanh();
    assert_eq!(labels(&graph, &[y], &caps).len(), 3);
}

#[test]
fn what_is_cheap_is_computed_again_where_it_is_read() {
    let caps = Caps::reference();
    let graph = Graph::new(Precision::F32);
    let (x, w) = (graph.input("x", [64, 8]), graph.weight("w", [8, 8], halfgrad::Init::Kaiming));
    let h = x.relu();
    let y = [(x.matmul(w) + h), (x.matmul_with(w, false, true) * h)];
    assert_eq!(labels(&graph, &y, &caps), ["matmul+relu+add w", "matmul+relu+mul w"]);
    // Not where a kernel reads it first, from memory.
    let z = h.matmul_with(w, false, true);
    assert_eq!(labels(&graph, &[z, x.matmul(w) + h, x.matmul(w) * h], &caps).len(), 4);
}

#[test]
fn a_step_takes_no_more_dispatches_than_it_did() {
    let (sgd, caps) = (Sgd::new(0.05).momentum(0.9), Caps::reference());
    let networks: [(&str, &[usize], usize); 6] = [
        ("mlp", &[28, 28, 1], 12),
        ("lenet", &[28, 28, 1], 20),
        ("resnet20", &[32, 32, 3], 150),
        ("mobilenet", &[28, 28, 1], 212),
        ("vit8", &[28, 28, 1], 278),
        ("gpt", &[128], 125),
    ];
    for (name, sample, most) in networks {
        for precision in [Precision::F32, Precision::F16] {
            let graph = Graph::new(precision);
            let model = Model::named(name, &[]).unwrap();
            let network = model.build(&graph, 64, Shape::new(sample).unwrap(), 10).unwrap();
            let program = lower_training(network.loss, &sgd, &caps, &Options::default()).unwrap().program;
            let found = program.dispatches.len() - program.second_passes();
            assert!(found <= most, "{name} {precision}: {found} dispatches, {most} before");
        }
    }
}

#[test]
fn gradients_that_are_equal_are_not_read_where_they_are_written() {
    let graph = Graph::new(Precision::F32);
    let ones = |name, n: usize| graph.weight(name, [n], halfgrad::Init::Constant(1.0));
    // The gradient of the second is what that of the first is stretched from.
    let loss = ones("a", 299).sum_all() * 200.0 + ones("b", 1).sum_all() * 200.0;
    let program = lower_training(loss, &Sgd::new(0.1), &Caps::reference(), &Options::default()).unwrap().program;
    common::keeps_the_rules(&program, &Caps::reference()).unwrap();
}

#[test]
fn what_others_read_later_is_stored_beside_the_result() {
    let caps = Caps::reference();
    let graph = Graph::new(Precision::F16);
    let (x, w) = (graph.input("x", [5, 7]), graph.weight("w", [7, 7], halfgrad::Init::Kaiming));
    let h = x.matmul(w) + 1.0;
    let y = h.gelu();
    assert_eq!(labels(&graph, &[y.matmul(w), h.transpose()], &caps), ["matmul+add+gelu w", "matmul w", "permute w"]);
    // A wanted one too, and the product itself.
    let p = x.matmul(w.transpose());
    assert_eq!(labels(&graph, &[p.tanh(), p], &caps), ["permute w", "matmul+tanh x"]);
    // Not what a kernel reads before all that the chain needs is there.
    let h = x.matmul(w) * 3.0;
    let late = h.tanh() + h.matmul(w);
    assert_eq!(labels(&graph, &[late], &caps), ["matmul+mul w", "matmul+tanh+add w"]);
}
