//! Runs that are broken off and go on from a file: to the same bits, on the same adapter or on one with other limits.

use std::ops::Range;

use halfgrad::{
    Adam, Error, Gpu, Graph, LossScale, Plan, Policy, Precision, Result, RmsProp, Sgd, Tensor, Weights, checkpoint, nn,
    optim::{Form, Schedule, Update},
    plan::Options,
};

const BATCH: usize = 6;
const STEPS: usize = 8;

fn gpu() -> Gpu {
    static GPU: std::sync::OnceLock<Gpu> = std::sync::OnceLock::new();
    GPU.get_or_init(|| Gpu::new().expect("an adapter")).clone()
}

/// A device of the same adapter that allows a buffer a megabyte, and a binding a quarter of it.
fn small() -> Gpu {
    let find = async {
        let name = gpu().info().name.clone();
        let adapters = halfgrad::gpu::adapters().await;
        let adapter = adapters.into_iter().find(|a| a.get_info().name == name).unwrap();
        let required_limits = wgpu::Limits {
            max_buffer_size: 1 << 20,
            max_storage_buffer_binding_size: 256 << 10,
            ..wgpu::Limits::default()
        };
        let required_features = adapter.features() & wgpu::Features::SHADER_F16;
        let descriptor = wgpu::DeviceDescriptor { required_features, required_limits, ..Default::default() };
        let (device, queue) = adapter.request_device(&descriptor).await.unwrap();
        Gpu::from_wgpu(device, queue).await.unwrap()
    };
    pollster::block_on(find)
}

/// Rows that are padded, a state, chance, and a weight that is not trained.
fn network(graph: &Graph) -> Tensor<'_> {
    let h = nn::batch_norm("bn", nn::linear("fc1", graph.input("x", [BATCH, 7]), 10)).relu().dropout(0.3);
    let loss = nn::linear("fc2", h, 3).cross_entropy(graph.labels("label", [BATCH]));
    graph.freeze("fc1.bias");
    loss
}

struct Run {
    weights: Weights,
    plan: Plan,
}

impl Run {
    fn new(gpu: &Gpu, loss: Tensor, seed: u64, optimizer: &dyn Update, options: &Options) -> Self {
        let weights = Weights::init(gpu, loss.graph, seed).unwrap();
        let options = Options { seed: seed as u32, ..options.clone() };
        let plan = Plan::train_with(gpu, &weights, loss, optimizer, options).unwrap();
        Run { weights, plan }
    }

    /// These steps, each on a batch of its own; their losses.
    fn steps(&mut self, steps: Range<usize>) -> Vec<f32> {
        for step in steps {
            let value = |i: usize| ((i * 7 + step * 5) % 37) as f32 / 18.0 - 1.0;
            self.plan.write("x", &(0..BATCH * 7).map(value).collect::<Vec<_>>()).unwrap();
            self.plan.write("label", &(0..BATCH).map(|i| ((i + step) % 3) as u32).collect::<Vec<_>>()).unwrap();
            self.plan.run();
        }
        self.plan.losses().wait().unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        self.plan.to_bytes().wait().unwrap()
    }
}

/// A run that is broken off after `stop` steps, and goes on in another plan, ends as the one that is not.
fn goes_on(policy: &str, simulate: &str, optimizer: &dyn Update, options: &Options, stop: usize) {
    let (gpu, folder) = (gpu(), tempfile::tempdir().unwrap());
    let graph = Graph::new(policy.parse::<Policy>().unwrap());
    if !simulate.is_empty() {
        graph.simulate(simulate.parse().unwrap());
    }
    let loss = network(&graph);
    let [mut whole, mut first, mut second] = [1, 1, 2].map(|seed| Run::new(&gpu, loss, seed, optimizer, options));
    let case = format!("{policy} {simulate} {optimizer:?} {options:?}");
    let losses = whole.steps(0..STEPS);
    assert_eq!(first.steps(0..stop), losses[..stop], "{case}");
    let path = folder.path().join("run.safetensors");
    first.plan.save(&path).unwrap();
    // What the second has done so far is of no account.
    second.steps(0..STEPS - 1);
    second.plan.restore(&path).unwrap();
    assert_eq!(second.bytes(), std::fs::read(&path).unwrap(), "{case}");
    assert_eq!(second.steps(stop..STEPS), losses[stop..], "{case}");

    let values = |weights: &Weights| weights.read_all().wait().unwrap();
    assert_eq!(values(&second.weights), values(&whole.weights), "{case}");
    assert_eq!(second.plan.progress().wait().unwrap(), whole.plan.progress().wait().unwrap(), "{case}");
    assert_eq!(second.plan.changes().wait().unwrap(), whole.plan.changes().wait().unwrap(), "{case}");
    assert_eq!(second.plan.averaged().map(values), whole.plan.averaged().map(values), "{case}");
    assert!(second.bytes() == whole.bytes(), "{case}");
}

#[test]
fn a_run_goes_on_to_the_same_bits_with_every_optimizer_in_every_precision() {
    let strict = if gpu().caps().supports(Precision::F16_STRICT).is_ok() { "f16-strict" } else { "f16+nearest" };
    let momentum = Sgd::new(Schedule::cosine(0.1, STEPS).warm_up(2)).momentum(0.9);
    let plain = Options::default();
    goes_on("f32", "", &momentum, &plain, 3);
    goes_on("f16", "", &momentum, &plain, 3);
    goes_on("f16", "", &Adam::new(0.01), &plain, 5);
    goes_on("f16+compensated", "", &Adam::new(0.01).form(Form::Floor), &plain, 4);
    goes_on(strict, "", &Adam::new(0.01), &plain, 1);
    goes_on("f16+f32=fc2", "", &RmsProp::new(0.01), &plain, 4);
    goes_on("mixed", "", &Adam::new(0.01), &plain, 4);
    goes_on("f32", "weights=e4m3+stochastic", &Sgd::new(0.1), &plain, 4);
}

#[test]
fn an_update_of_several_runs_goes_on_in_its_middle_with_average_and_counts() {
    let options =
        Options { accumulate: 3, average: Some(0.9), clip_norm: Some(0.5), record_changes: true, ..Options::default() };
    for stop in [3, 4, 5] {
        goes_on("mixed", "weights=e4m3+stochastic", &Adam::new(0.01), &options, stop);
    }
    goes_on("f16+nearest", "", &Sgd::new(0.1), &options, 4);
}

#[test]
fn the_loss_scale_and_what_it_skipped_go_on() {
    let (gpu, optimizer, options) = (gpu(), Sgd::new(0.1).momentum(0.9), Options::default());
    // Too large at first, and it grows again after every second step: both happen before and after the break.
    let loss_scale = LossScale::Dynamic { initial: 2f32.powi(24), growth: 4.0, backoff: 0.25, interval: 2 };
    let graph = Graph::new(Precision { loss_scale, ..Precision::MIXED });
    let loss = network(&graph);
    let [mut whole, mut first, mut second] = [1, 1, 2].map(|seed| Run::new(&gpu, loss, seed, &optimizer, &options));
    whole.steps(0..20);
    first.steps(0..9);
    let before = first.plan.progress().wait().unwrap();
    second.plan.restore_bytes(&first.bytes()).unwrap();
    second.steps(9..20);
    let after = second.plan.progress().wait().unwrap();
    assert!(
        0 < before.skipped && before.skipped < after.skipped && before.updates < after.updates,
        "{before:?} {after:?}"
    );
    assert_eq!(after, whole.plan.progress().wait().unwrap());
    assert!(second.bytes() == whole.bytes());
}

#[test]
fn what_the_host_has_set_stays_and_a_halted_run_stays_halted() {
    let (gpu, optimizer) = (gpu(), Sgd::new(0.1));
    let options = Options { record_changes: true, ..Options::default() };
    let graph = Graph::new(Precision::F32);
    let loss = network(&graph);
    let [mut first, mut second] = [1, 2].map(|seed| Run::new(&gpu, loss, seed, &optimizer, &options));
    first.plan.set_learning_rate(0.25);
    first.plan.record_changes(false);
    first.steps(0..2);
    second.plan.restore_bytes(&first.bytes()).unwrap();
    assert_eq!(second.steps(2..4).len(), 2);
    assert_eq!(second.plan.progress().wait().unwrap().learning_rate, 0.25);
    assert!(second.plan.changes().wait().unwrap().iter().all(|c| c.all == 0), "nothing was to be recorded");

    first.weights.set("fc2.bias", &[f32::NAN; 3]).unwrap();
    first.plan.run();
    second.plan.restore_bytes(&first.bytes()).unwrap();
    assert_eq!(second.plan.progress().wait().unwrap().halted, Some(2));
    let error = second.plan.losses().wait().unwrap_err();
    assert!(matches!(error, Error::NotFinite { step: 2, loss, .. } if loss.is_nan()), "{error}");
}

/// A perceptron whose weights are several chunks where a binding is small, and together more than a buffer there may be.
fn wide(graph: &Graph) -> Tensor<'_> {
    nn::mlp(graph.input("x", [4, 256]), &[255, 256, 256, 256, 256], 10).square().mean_all()
}

#[test]
fn files_and_values_larger_than_a_buffer_pass_from_device_to_device() {
    let (small, large) = (small(), gpu());
    for precision in [Precision::F32, Precision::MIXED] {
        let graph = Graph::new(precision);
        let loss = wide(&graph);
        let optimizer = Adam::new(0.01);
        let run = |gpu: &Gpu, seed| Run::new(gpu, loss, seed, &optimizer, &Options::default());
        let (mut first, mut second) = (run(&small, 1), run(&large, 2));
        for run in [&mut first, &mut second] {
            run.plan.write("x", &[0.5; 4 * 256]).unwrap();
            run.plan.run();
        }
        let chunks = |run: &Run| run.plan.program().buffers.iter().filter(|b| b.name.starts_with("root_v")).count();
        assert!(chunks(&first) > 4 && chunks(&second) == 1);
        let values = first.weights.read_all().wait().unwrap();
        assert!(4 * values.iter().map(Vec::len).sum::<usize>() as u64 > small.caps().buffer_bytes);
        // Awaited as well as waited for.
        assert_eq!(pollster::block_on(first.weights.read_all()).unwrap(), values);

        let bytes = first.bytes();
        second.plan.restore_bytes(&bytes).unwrap();
        assert_eq!(second.weights.read_all().wait().unwrap(), values);
        assert!(second.bytes() == bytes);
        first.plan.restore_bytes(&bytes).unwrap();
        first.plan.run();
        assert_eq!(first.plan.progress().wait().unwrap().steps, 2);
    }
}

#[test]
fn weights_are_read_from_a_file_of_a_run_and_from_bytes() {
    let (gpu, folder) = (gpu(), tempfile::tempdir().unwrap());
    let path = folder.path().join("run.safetensors");
    let graph = Graph::new(Precision::MIXED);
    let options = Options { average: Some(0.9), ..Options::default() };
    let mut run = Run::new(&gpu, network(&graph), 1, &Adam::new(0.01), &options);
    run.steps(0..3);
    run.plan.save_with(&path, &[("epoch", "7")]).unwrap();
    let file = checkpoint::load(&path).unwrap();
    let names: Vec<&str> = file.tensors.iter().map(|(name, ..)| name.as_str()).collect();
    for name in [
        "fc1.bias",
        "bn.running_mean",
        "training.m.fc1.weight",
        "training.root_v.fc2.bias",
        "training.copy.fc1.bias",
        "training.average_copy.bn.bias",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert!(!names.contains(&"training.m.fc1.bias"), "it is frozen");
    let note = |name: &str| file.metadata[name].as_str();
    assert_eq!(
        [note("epoch"), note("precision"), note("training.step"), note("training.seed")],
        ["7", "mixed", "3", "1"]
    );

    let values = run.weights.read_all().wait().unwrap();
    let bytes = run.weights.to_bytes().wait().unwrap();
    let read = [Weights::load(&gpu, &graph, &path), Weights::from_bytes(&gpu, &graph, &bytes)];
    for weights in read.map(Result::unwrap) {
        assert_eq!(weights.read_all().wait().unwrap(), values);
        assert_eq!(weights.to_bytes().wait().unwrap(), bytes);
    }
    assert_eq!(checkpoint::parse(&bytes).unwrap().metadata["format"], "halfgrad");
}

#[test]
fn a_file_of_another_run_is_refused_by_the_tensor_that_differs_and_nothing_changes() {
    let (gpu, folder) = (gpu(), tempfile::tempdir().unwrap());
    let path = folder.path().join("run.safetensors");
    let graph = Graph::new(Precision::F16);
    let (loss, plain) = (network(&graph), Options::default());
    let mut run = Run::new(&gpu, loss, 1, &Adam::new(0.01), &plain);
    run.steps(0..2);
    let before = run.bytes();
    let mut refuses = |bytes: &[u8], expected: &[&str]| {
        std::fs::write(&path, bytes).unwrap();
        let error = run.plan.restore(&path).unwrap_err();
        assert!(matches!(error, Error::File { .. }) && error.to_string().contains("run.safetensors: "), "{error}");
        assert!(matches!(run.plan.restore_bytes(bytes), Err(Error::Checkpoint(_))));
        expected.iter().for_each(|part| assert!(error.to_string().contains(part), "{part:?} in {error}"));
    };
    let of = |policy: &str, optimizer: &dyn Update, options: &Options| {
        let graph = Graph::new(policy.parse::<Policy>().unwrap());
        Run::new(&gpu, network(&graph), 1, optimizer, options).bytes()
    };
    refuses(&run.weights.to_bytes().wait().unwrap(), &["it holds weights alone, which Weights::load reads"]);
    refuses(
        &of("f16", &Sgd::new(0.1), &plain),
        &["no tensor \"training.m.fc1.weight\"; there are bn.running_mean, ", "(the file is of a run in f16)"],
    );
    refuses(&of("f16", &Adam::new(0.1).form(Form::Floor), &plain), &["no tensor \"training.root_v.fc1.weight\""]);
    let average = Options { average: Some(0.9), ..Options::default() };
    refuses(
        &of("f16", &Adam::new(0.1), &average),
        &["\"training.average.bn.bias\" is no part of this network or of its training"],
    );
    refuses(&of("f32", &Adam::new(0.1), &plain), &["\"fc1.weight\" holds F32, the plan's is f16", "a run in f32"]);
    let other = Graph::new(Precision::F16);
    let y = nn::linear("fc1", other.input("x", [BATCH, 7]), 11).square().mean_all();
    refuses(
        &Run::new(&gpu, y, 1, &Adam::new(0.1), &plain).bytes(),
        &["\"fc1.weight\" is [7, 11], the network's is [7, 10]"],
    );
    refuses(&before[..before.len() - 1], &["truncated"]);
    let at = before.windows(19).position(|part| part == b"\"training.step\":\"2\"").unwrap();
    let mut edited = before.clone();
    edited[at + 17] = b'x';
    refuses(&edited, &["the note training.step is \"x\", and no number"]);
    assert!(run.bytes() == before);

    let weights = run.weights.to_bytes().wait().unwrap();
    let error = Weights::from_bytes(&gpu, &other, &weights).unwrap_err();
    assert!(
        error.to_string().starts_with("checkpoint: \"fc1.weight\" is [7, 10], the network's is [7, 11]"),
        "{error}"
    );
}
