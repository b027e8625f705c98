//! A precision for each layer: what is f32 beside what is not, in memory, in gradients and in training.

use halfgrad::{
    Adam, Caps, Dtype, Error, Gpu, Graph, Init, Plan, Policy, Precision, Sgd, Tensor, Weights,
    dispatch::Role,
    nn,
    optim::{Group, Update},
    plan::{Options, lower_training},
};

const BATCH: usize = 6;

/// Images through convolutions with a shortcut, batch normalisation, pooling, dense layers and layer normalisation.
fn network(graph: &Graph) -> Tensor<'_> {
    let x = graph.input("x", [BATCH, 8, 8, 3]);
    let h = nn::batch_norm("norm1", nn::conv2d("conv1", x, 5, 3)).relu();
    let h = (h + nn::conv2d("conv2", h, 5, 3).tanh()).max_pool(2);
    let h = nn::layer_norm("norm2", nn::linear("fc1", h.flatten(), 19)).gelu();
    nn::linear("fc2", h, 4).cross_entropy(graph.labels("label", [BATCH]))
}

fn images(scale: f32) -> Vec<f32> {
    (0..BATCH * 8 * 8 * 3).map(|i| scale * ((i * 37 % 101) as f32 / 50.0 - 1.0)).collect()
}

fn labels() -> Vec<u32> {
    (0..BATCH as u32).map(|i| i % 4).collect()
}

fn policy(text: &str) -> Policy {
    text.parse().unwrap()
}

/// Adapters with and without native f16.
fn gpus() -> Vec<Gpu> {
    let gpu = Gpu::new().unwrap();
    let packed = pollster::block_on(gpu.without_f16()).unwrap();
    vec![gpu, packed]
}

/// Weights by name.
type Values = Vec<(String, Vec<f32>)>;

/// The losses of some steps, and the weights behind them, by name.
fn trained(gpu: &Gpu, policy: &Policy, optimizer: &dyn Update, options: Options, steps: usize) -> (Vec<f32>, Values) {
    let graph = Graph::new(policy);
    let loss = network(&graph);
    let weights = Weights::init(gpu, &graph, 5).unwrap();
    let mut plan = Plan::train_with(gpu, &weights, loss, optimizer, options).unwrap();
    plan.write("x", &images(1.0)).unwrap();
    plan.write("label", &labels()).unwrap();
    while plan.progress().wait().unwrap().updates < steps as u32 {
        plan.fill_activations();
        plan.run();
    }
    let tested = plan.averaged().unwrap_or(&weights).clone();
    let names = tested.names().iter().map(|(name, _)| name.clone());
    let values = names.zip(tested.read_all().wait().unwrap()).collect();
    (plan.losses().wait().unwrap(), values)
}

/// Fills what steps compute with NaN, but not what the host wrote.
trait Filled {
    fn fill_activations(&mut self);
}
impl Filled for Plan {
    fn fill_activations(&mut self) {
        self.fill_with_nan();
        self.write("x", &images(1.0)).unwrap();
        self.write("label", &labels()).unwrap();
    }
}

fn near(found: &Values, expected: &Values, allowed: f32, case: &str) {
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        let size = expected.iter().fold(0.0f32, |m, v| m.max(v.abs())).max(1.0);
        let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= allowed * size, "{case}: {name} is off by {worst}, of {size}");
    }
}

#[test]
fn a_network_whose_layers_are_all_kept_is_that_in_f32_to_the_bit() {
    let gpu = Gpu::new().unwrap();
    let run = |policy: &str, options: Options| {
        trained(&gpu, &self::policy(policy), &Adam::new(0.0625).epsilon(1e-3), options, 5)
    };
    let options = || Options { clip_norm: Some(0.5), average: Some(0.9), ..Options::default() };
    assert!(run("f16+f32=*", options()) == run("f32", options()));
}

#[test]
fn a_layer_in_f32_lies_between() {
    let program = |policy: &Policy, optimizer: &dyn Update| {
        let graph = Graph::new(policy);
        let options = Options { average: Some(0.9), ..Options::default() };
        lower_training(network(&graph), optimizer, &Caps::reference(), &options).unwrap().program
    };
    for base in ["f16", "mixed", "f16+compensated"] {
        let [f32, part, all] = ["f32".into(), format!("{base}+f32=fc1:norm*"), base.into()]
            .map(|p| program(&policy(&p), &Sgd::new(0.1).momentum(0.9)));
        for role in [Role::Weights, Role::Gradients, Role::Activations] {
            let [f32, part, all] = [&f32, &part, &all].map(|p| p.device_bytes(role));
            assert!(all < part && part < f32, "{base} {role:?}: {all} {part} {f32}");
        }
        // One update for all weights of a type.
        let updates =
            |p: &halfgrad::dispatch::Program| p.dispatches.iter().filter(|d| d.label == "momentum update").count();
        assert_eq!([updates(&f32), updates(&part), updates(&all)], [1, 2, 1], "{base}");
    }
}

#[test]
fn a_product_changes_the_type_as_it_stores() {
    let graph = Graph::new(policy("f16+f32=fc2"));
    let x = graph.input("x", [BATCH, 19]);
    let h = nn::linear("fc2", nn::linear("fc1", x, 8).tanh(), 8).relu();
    let loss = nn::linear("fc3", h, 4).cross_entropy(graph.labels("label", [BATCH]));
    let program = lower_training(loss, &Sgd::new(0.1), &Caps::reference(), &Options::default()).unwrap().program;
    let labels = program.dispatches.iter().map(|d| d.label.as_str());
    let casts: Vec<&str> = labels.filter(|l| l.contains("cast")).collect();
    // Forward both types of what goes in and out are read, by the gradients too; back one of each is.
    assert_eq!(casts, ["cast fc2", "matmul+add+relu+cast fc2", "matmul+cast+gate fc3", "matmul+cast+…+mul fc2"]);
}

#[test]
fn gradients_and_updates_are_those_of_f32_within_the_bits_of_f16() {
    let groups =
        || vec![Group::named("*.bias").learning_rate(0.5).weight_decay(0.0), Group::named("fc1.*").learning_rate(2.0)];
    for gpu in gpus() {
        let sgd = Sgd::new(0.0625).momentum(0.5).weight_decay(0.0625);
        let options = || Options {
            groups: groups(),
            clip_norm: Some(1.0),
            average: Some(0.5),
            record_changes: true,
            ..Options::default()
        };
        let (expected, reference) = trained(&gpu, &policy("f32"), &sgd, options(), 4);
        for base in ["f16", "f16+compensated", "mixed", "f16-strict"] {
            if gpu.caps().supports(policy(base).base).is_err() {
                continue;
            }
            for kept in ["conv1", "norm1", "conv2:fc2", "norm2", "x:fc1:norm2", "fc2"] {
                let case = format!("{base}+f32={kept}");
                let (losses, values) = trained(&gpu, &policy(&case), &sgd, options(), 4);
                let losses = &losses[losses.len() - 4..];
                let off = losses.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off < 0.02, "{case}: {losses:?}, {expected:?}");
                near(&values, &reference, 0.01, &case);
            }
        }
    }
}

/// Squares of 256 and more overflow f16, and ε = 1e-3 is more than the variance of the small row.
#[test]
fn a_norm_in_f32_is_computed_there_with_its_own_epsilon() {
    let gpu = Gpu::new().unwrap();
    for base in ["f16", "mixed", "f16-strict"].into_iter().filter(|p| gpu.caps().supports(policy(p).base).is_ok()) {
        let graph = Graph::new(policy(&format!("{base}+f32=norm*")));
        let x = graph.input("x", [2, 16]);
        let normed = [nn::layer_norm("norm1", x), nn::rms_norm("norm2", x), nn::batch_norm("norm3", x)];
        assert!(normed.iter().all(|t| t.precision().acc() == Dtype::F32), "{base}");
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        let mut plan = Plan::infer(&gpu, &weights, normed).unwrap();
        let rows: Vec<f32> =
            (0..32).map(|i| if i < 16 { 256.0 + 0.25 * i as f32 } else { i as f32 / 1024.0 }).collect();
        plan.write(x, &rows).unwrap();
        plan.run();
        let [layer, rms, _] = normed.map(|t| plan.read(t).unwrap().wait().unwrap());
        for (row, (layer, rms)) in rows.chunks(16).zip(layer.chunks(16).zip(rms.chunks(16))) {
            let row: Vec<f64> = row.iter().map(|&v| v.into()).collect();
            let mean = row.iter().sum::<f64>() / 16.0;
            let square = |centre: f64| row.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / 16.0 + 1e-5;
            for (i, v) in row.iter().enumerate() {
                let near =
                    |found: f32, expected: f64| (f64::from(found) - expected).abs() < 2e-3 * expected.abs().max(1.0);
                assert!(near(layer[i], (v - mean) / square(mean).sqrt()), "{base}: {layer:?}");
                assert!(near(rms[i], v / square(0.0).sqrt()), "{base}: {rms:?}");
            }
        }
    }
}

#[test]
fn a_layer_in_f32_is_more_exact_than_the_others() {
    let gpu = Gpu::new().unwrap();
    // 1 + 2^-13 is a number of f32, 1 one of f16.
    let graph = Graph::new(policy("f16+f32=exact"));
    let init = Init::Constant(1.0 + 2f32.powi(-13));
    let [exact, rounded] = ["exact.w", "rounded.w"].map(|name| graph.weight(name, [4], init));
    let [a, b] = [exact, rounded].map(|w| (w * 1024.0 - 1024.0).watch());
    let sum = (a + b).sum_all().watch();
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let mut plan = Plan::infer(&gpu, &weights, [a, b, sum]).unwrap();
    plan.run();
    assert_eq!([a, b].map(|t| plan.read(t).unwrap().wait().unwrap()), [[0.125; 4], [0.0; 4]]);
    assert_eq!((plan.read(sum).unwrap().wait().unwrap(), exact.precision()), (vec![0.5], Precision::F32));

    // Through a file each weight comes back as it was.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    weights.save(&path).unwrap();
    let again = Weights::load(&gpu, &graph, &path).unwrap();
    assert_eq!(again.read_all().wait().unwrap(), weights.read_all().wait().unwrap());
    let file = halfgrad::checkpoint::load(&path).unwrap();
    assert_eq!(file.metadata["precision"].parse(), Ok(policy("f16+f32=exact")));
    assert_eq!(std::fs::metadata(&path).unwrap().len() % 8, 0);
    assert_eq!(file.tensors.iter().map(|(_, _, v)| v[0]).collect::<Vec<_>>(), [1.0 + 2f32.powi(-13), 1.0]);
}

#[test]
fn what_f16_cannot_hold_passes_through_a_layer_in_f32() {
    for gpu in gpus() {
        for base in ["f16", "mixed"] {
            let loss = |text: &str| {
                let graph = Graph::new(policy(text));
                let x = graph.input("x", [4, 8]);
                let h = nn::linear("fc1", x, 16).relu();
                let huge = graph.weight("huge.weight", [16, 16], Init::Kaiming);
                let h = (h.matmul(huge) * 1e-5).relu();
                let loss = nn::linear("fc2", h, 3).square().mean_all();
                let weights = Weights::init(&gpu, &graph, 2).unwrap();
                let wide: Vec<f32> =
                    weights.get("huge.weight").unwrap().wait().unwrap().iter().map(|w| w * 1e6).collect();
                weights.set("huge.weight", &wide).unwrap();
                let mut plan = Plan::train(&gpu, &weights, loss, Sgd::new(1.0 / 128.0)).unwrap();
                plan.write(x, &[0.5; 32]).unwrap();
                (0..30).for_each(|_| plan.run());
                (plan.losses().wait(), plan.progress().wait().unwrap().skipped)
            };
            let (expected, _) = loss("f32");
            let expected = expected.unwrap();
            assert!(expected[29] < 0.5 * expected[0], "{expected:?}");
            let (kept, skipped) = loss(&format!("{base}+f32=huge"));
            let kept = kept.unwrap();
            assert!(
                kept.iter().all(|l| l.is_finite()) && (kept[0] / expected[0] - 1.0).abs() < 0.01,
                "{base}: {kept:?}"
            );
            assert!(kept[29] < 0.5 * kept[0], "{base}: {kept:?}, {skipped} skipped");
            assert!(matches!(loss(base).0, Err(Error::NotFinite { .. })), "{base}");
        }
    }
}

#[test]
fn a_layer_that_is_not_there_is_a_mistake() {
    let graph = Graph::new(policy("f16+f32=conv7"));
    let loss = network(&graph);
    let made = lower_training(loss, &Sgd::new(0.1), &Caps::reference(), &Options::default());
    let Err(Error::Name { name, detail }) = made else { panic!() };
    assert_eq!(name, "conv7");
    assert!(detail.contains("no layer matches this") && detail.contains("conv1, conv2, fc1"), "{detail}");
    assert!(matches!(Weights::init(&Gpu::new().unwrap(), &graph, 0), Err(Error::Name { .. })));
}
