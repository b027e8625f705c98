//! Inside an app: its device, queue and submissions; buffers bound without a copy; typed errors; Send; async.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use halfgrad::{
    Error, Gpu, Graph, Init, Plan, Port, Precision, Sgd, Weights,
    data::{self, Dataset},
    gpu::{Choice, Reading},
    nn,
    plan::Evaluation,
};

/// An adapter as an app would choose it, here the one that the tests run on.
async fn open(limits: impl Fn(&wgpu::Adapter) -> wgpu::Limits) -> (wgpu::Device, wgpu::Queue) {
    let name = Gpu::request(Choice::Best).await.unwrap().info().name.clone();
    let adapters = halfgrad::gpu::adapters().await;
    let adapter = adapters.into_iter().find(|a| a.get_info().name == name).unwrap();
    let required_features = adapter.features() & wgpu::Features::SHADER_F16;
    let required_limits = limits(&adapter);
    let descriptor = wgpu::DeviceDescriptor { required_features, required_limits, ..Default::default() };
    adapter.request_device(&descriptor).await.unwrap()
}

/// What an app keeps from frame to frame: no graph, no lifetime.
struct App {
    device: wgpu::Device,
    queue: wgpu::Queue,
    plan: Plan,
    input: Port<'static>,
    output: Port<'static>,
}

impl App {
    fn new() -> Self {
        let (device, queue) = pollster::block_on(open(|_| wgpu::Limits::default()));
        let gpu = pollster::block_on(Gpu::from_wgpu(device.clone(), queue.clone())).unwrap();
        let graph = Graph::new(Precision::F32);
        let x = graph.input("x", [4, 3]);
        let y = nn::linear("fc", x, 8);
        let weights = Weights::init(&gpu, &graph, 1).unwrap();
        let plan = Plan::infer(&gpu, &weights, [y]).unwrap();
        App { device, queue, plan, input: x.into(), output: y.into() }
    }
}

#[test]
fn a_step_in_the_apps_own_submission() {
    let mut app = App::new();
    app.plan.write(app.input, &[0.5; 12]).unwrap();
    let mut encoder = app.device.create_command_encoder(&Default::default());
    app.plan.encode(&mut encoder);
    app.queue.submit([encoder.finish()]);
    let in_theirs = app.plan.read(app.output).unwrap().wait().unwrap();
    app.plan.run();
    let in_ours = app.plan.read(app.output).unwrap().wait().unwrap();
    assert!(in_theirs == in_ours && in_ours.iter().any(|&v| v != 0.0), "{in_theirs:?} {in_ours:?}");
}

#[test]
fn steps_of_one_submission_see_the_values_written_before_each() {
    let mut app = App::new();
    let mut alone = |value: f32| {
        app.plan.write(app.input, &[value; 12]).unwrap();
        app.plan.run();
        app.plan.read(app.output).unwrap().wait().unwrap()
    };
    let expected = [alone(0.5), alone(-2.0)];
    let copy = app.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 2 * 4 * 32,
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    });
    let output = app.plan.buffer(app.output).unwrap().buffer.clone();
    let mut encoder = app.device.create_command_encoder(&Default::default());
    for (at, value) in [(0, 0.5), (4 * 32, -2.0)] {
        app.plan.write(app.input, &[value; 12]).unwrap();
        app.plan.encode(&mut encoder);
        encoder.copy_buffer_to_buffer(&output, 0, &copy, at, Some(4 * 32));
    }
    // Nothing reaches the device before the app submits it; a submission that it gives up holds nothing up.
    app.plan.write(app.input, &[7.0; 12]).unwrap();
    app.plan.encode(&mut app.device.create_command_encoder(&Default::default()));
    app.queue.submit([encoder.finish()]);
    app.plan.write(app.input, &[3.0; 12]).unwrap();
    assert_eq!(app.plan.read(app.input).unwrap().wait().unwrap(), [3.0; 12]);
    let found = read(&app, &copy);
    assert_eq!(found.chunks_exact(32).collect::<Vec<_>>(), expected);
}

/// The values of a buffer of the app's.
fn read(app: &App, buffer: &wgpu::Buffer) -> Vec<f32> {
    let staging = app.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: buffer.size(),
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    let mut encoder = app.device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, None);
    encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, .., |mapped| mapped.unwrap());
    app.queue.submit([encoder.finish()]);
    app.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let bytes = staging.get_mapped_range(..).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn a_result_is_bound_without_a_copy() {
    let mut app = App::new();
    let source = "
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(32) fn main(@builtin(global_invocation_id) id: vec3<u32>) { y[id.x] = 2.0 * x[id.x]; }";
    let module = app.device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    let pipeline = app.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let own = |usage| {
        let size = 4 * 32;
        app.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let doubled = own(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
    let staging = own(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    let group = app.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(app.plan.buffer(app.output).unwrap()),
            },
            wgpu::BindGroupEntry { binding: 1, resource: doubled.as_entire_binding() },
        ],
    });
    app.plan.write(app.input, &[0.25; 12]).unwrap();
    // The network's step, the app's pass and the copy, in one submission.
    let mut encoder = app.device.create_command_encoder(&Default::default());
    app.plan.encode(&mut encoder);
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &group, &[]);
    pass.dispatch_workgroups(1, 1, 1);
    drop(pass);
    encoder.copy_buffer_to_buffer(&doubled, 0, &staging, 0, None);
    app.queue.submit([encoder.finish()]);
    staging.slice(..).map_async(wgpu::MapMode::Read, |r| r.unwrap());
    app.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let view = staging.get_mapped_range(..).unwrap();
    let found: &[f32] = bytemuck::cast_slice(&view);
    let expected = app.plan.read(app.output).unwrap().wait().unwrap();
    assert!(expected.iter().zip(found).all(|(e, f)| 2.0 * e == *f), "{found:?} {expected:?}");
}

#[test]
fn a_device_that_allows_too_little_is_refused() {
    let few = |_: &_| wgpu::Limits { max_storage_buffers_per_shader_stage: 4, ..wgpu::Limits::downlevel_defaults() };
    let (device, queue) = pollster::block_on(open(few));
    let error = pollster::block_on(Gpu::from_wgpu(device, queue)).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("max_storage_buffers_per_shader_stage is 4"), "{error}");
}

#[test]
fn small_bindings_only_cut_the_weights_in_chunks() {
    let trained = |bytes: Option<u64>| {
        let limits = |adapter: &wgpu::Adapter| match bytes {
            Some(b) => wgpu::Limits { max_storage_buffer_binding_size: b, ..wgpu::Limits::default() },
            None => adapter.limits(),
        };
        let (device, queue) = pollster::block_on(open(limits));
        let gpu = pollster::block_on(Gpu::from_wgpu(device, queue)).unwrap();
        let graph = Graph::new(Precision::MIXED);
        let x = graph.input("x", [8, 12]);
        let loss = nn::mlp(x, &[40, 30], 5).square().mean_all();
        graph.freeze("fc2.bias");
        let weights = Weights::init(&gpu, &graph, 1).unwrap();
        let mut plan = Plan::train(&gpu, &weights, loss, Sgd::new(0.05).momentum(0.9)).unwrap();
        let updates = plan.program().dispatches.iter().filter(|d| d.shader.name == "momentum").count();
        plan.write(x, &(0..96).map(|i| (i * 37 % 96) as f32 / 48.0 - 1.0).collect::<Vec<_>>()).unwrap();
        (0..10).for_each(|_| plan.run());
        (updates, weights.read_all().wait().unwrap())
    };
    let ((few, whole), (many, cut)) = (trained(None), trained(Some(5120)));
    assert_eq!(few, 2, "one run on each side of the frozen weight");
    assert!(many > few, "{many}");
    assert!(whole == cut);
    // A tensor that does not fit at all is refused before anything is allocated.
    let (device, queue) =
        pollster::block_on(open(|_| wgpu::Limits { max_storage_buffer_binding_size: 4096, ..wgpu::Limits::default() }));
    let gpu = pollster::block_on(Gpu::from_wgpu(device, queue)).unwrap();
    let graph = Graph::new(Precision::F32);
    nn::linear("fc", graph.input("x", [2, 40]), 40);
    assert!(matches!(Weights::init(&gpu, &graph, 0), Err(Error::Memory(_))));
}

#[test]
fn what_belongs_elsewhere_is_a_typed_error() {
    let gpu = Gpu::new().unwrap();
    let (graph, other) = (Graph::new(Precision::F32), Graph::new(Precision::F32));
    let build = |g| {
        let x = Graph::input(g, "x", [2, 3]);
        (x, nn::linear("fc", x, 4))
    };
    let ((x, y), (other_x, other_y)) = (build(&graph), build(&other));
    let (weights, others) = (Weights::init(&gpu, &graph, 0).unwrap(), Weights::init(&gpu, &other, 0).unwrap());
    let is_port = |r: Result<(), Error>| assert!(matches!(r, Err(Error::Port(_))), "{r:?}");

    let mut plan = Plan::infer(&gpu, &weights, [y]).unwrap();
    is_port(plan.write(other_x, &[0.0; 6]));
    is_port(plan.read(other_y).map(|_| ()));
    is_port(plan.buffer(other_y).map(|_| ()));
    is_port(plan.write(y, &[0.0; 8]));
    is_port(plan.write(x, &[0u32; 6]));
    is_port(Plan::infer(&gpu, &others, [y]).map(|_| ()));
    is_port(Plan::infer(&gpu, &weights, [y, other_y]).map(|_| ()));
    is_port(Plan::infer(&gpu, &weights, []).map(|_| ()));
    let second = pollster::block_on(Gpu::request(Choice::Best)).unwrap();
    is_port(Plan::infer(&second, &weights, [y]).map(|_| ()));
    assert!(matches!(plan.write("x", &[0.0; 5]), Err(Error::Length { expected: 6, found: 5, .. })));
    assert!(matches!(plan.write("z", &[0.0; 6]), Err(Error::Name { .. })));
    // A plan that trains would learn from what it is asked.
    let mut train = Plan::train(&gpu, &weights, y.square().mean_all(), Sgd::new(0.1)).unwrap();
    let asked = train.predict(x, y, &data::digits().test);
    assert!(matches!(&asked, Err(Error::Port(why)) if why.contains("Plan::infer")), "{asked:?}");
    // Weights that were made before the network was complete.
    let z = y * graph.weight("late", [4], Init::Constant(1.0));
    is_port(Plan::infer(&gpu, &weights, [z]).map(|_| ()));
    // A tensor of another graph as an operand is a mistake of the graph.
    let _ = other_x + x;
    assert!(other.check().is_err());
    // And so it is as a state, or as what one is to be; nodes of that number need not be there.
    for of_another in [true, false] {
        let (few, many) = (Graph::new(Precision::F32), Graph::new(Precision::F32));
        for i in 0..9 {
            many.input(&format!("x{i}"), [2]);
        }
        let state = many.state("s", [2], Init::Constant(0.0));
        match of_another {
            true => few.average(state, state, 0.5),
            false => few.average(few.state("own", [2], Init::Constant(0.0)), state, 0.5),
        }
        assert!(matches!(few.check(), Err(Error::Port(_))));
        assert!(!few.is_frozen(state));
    }
}

#[test]
fn a_weight_is_bound_where_it_lies() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision::F32);
    let h = nn::linear("fc1", graph.input("x", [2, 3]), 5);
    let y = nn::linear("fc2", h, 4);
    let w = graph.shared("fc2.weight").watch();
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let plan = Plan::infer(&gpu, &weights, [y]).unwrap();
    let there = plan.buffer(w).unwrap();
    let bytes = there.size.unwrap().get();
    let values = |b: &[u8]| Ok(bytemuck::pod_collect_to_vec::<u8, f32>(b));
    let found = Reading::new(&gpu, &[(there.buffer, there.offset, bytes)], values).wait().unwrap();
    assert!(there.offset > 0 && found.iter().any(|v| *v != 0.0));
    assert_eq!(found, weights.get("fc2.weight").unwrap().wait().unwrap());
}

#[test]
fn what_an_app_asks_for_wrongly_is_told_to_it_and_harms_nothing_else() {
    let mut app = App::new();
    let gpu = app.plan.gpu().clone();
    let make = |usage| {
        let size = 64;
        app.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let (good, bad) = (make(wgpu::BufferUsages::COPY_SRC), make(wgpu::BufferUsages::COPY_DST));
    for range in [(&bad, 0, 64), (&good, 2, 8), (&good, 0, 6), (&good, 60, 8), (&good, u64::MAX - 3, 4)] {
        let reading = || Reading::new(&gpu, &[(&good, 0, 4), range], |b| Ok(b.len()));
        for error in [reading().wait(), pollster::block_on(reading())] {
            assert!(matches!(&error, Err(Error::Port(why)) if why.contains("cannot be read")), "{error:?}");
        }
    }
    let gone = make(wgpu::BufferUsages::COPY_SRC);
    gone.destroy();
    let refused = Reading::new(&gpu, &[(&gone, 0, 64)], |b| Ok(b.len())).wait();
    assert!(matches!(&refused, Err(Error::Device(why)) if why.starts_with("reading back: ")), "{refused:?}");
    assert_eq!(Reading::new(&gpu, &[(&good, 0, 8), (&good, 16, 4)], |b| Ok(b.len())).wait(), Ok(12));
    app.plan.run();
    assert_eq!(app.plan.read(app.output).unwrap().wait().unwrap().len(), 32);
}

#[test]
fn inputs_that_are_more_than_a_buffer_together_are_written_in_parts() {
    const LENGTH: usize = 5000;
    let limits = |_: &_| wgpu::Limits {
        max_storage_buffer_binding_size: 32 << 10,
        max_buffer_size: 48 << 10,
        ..wgpu::Limits::default()
    };
    let (device, queue) = pollster::block_on(open(limits));
    let gpu = pollster::block_on(Gpu::from_wgpu(device, queue)).unwrap();
    let graph = Graph::new(Precision::F32);
    let inputs = ["a", "b", "c", "d"].map(|name| graph.input(name, [LENGTH]));
    let [a, b, c, d] = inputs;
    let sum = a + b * 2.0 + c * 3.0 + d * 4.0;
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let mut plan = Plan::infer(&gpu, &weights, [sum]).unwrap();
    let mut expected = 0.0;
    for step in 0..10 {
        for (i, x) in inputs.into_iter().enumerate().filter(|(i, _)| step == 0 || (step + i) % 3 == 0) {
            plan.write(x, &[(step + i) as f32; LENGTH]).unwrap();
            let last = |i: usize| (1..=step).rev().find(|s| (s + i).is_multiple_of(3)).unwrap_or(0) + i;
            expected = (0..4).map(|i| (i + 1) as f32 * last(i) as f32).sum();
        }
        plan.run();
        assert_eq!(plan.read(sum).unwrap().wait().unwrap(), [expected; LENGTH], "step {step}");
    }
}

#[test]
fn an_apps_callback_that_panics_does_so_in_the_wait_and_loses_no_values() {
    let mut app = App::new();
    for awaited in [false, true] {
        let descriptor = wgpu::BufferDescriptor {
            label: None,
            size: 16,
            usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        };
        let own = app.device.create_buffer(&descriptor);
        app.plan.run();
        let (early, late) = (app.plan.read(app.output).unwrap(), app.plan.read(app.output).unwrap());
        own.map_async(wgpu::MapMode::Write, .., |_| panic!("the app's own"));
        let waited = catch_unwind(AssertUnwindSafe(|| match awaited {
            true => pollster::block_on(late),
            false => late.wait(),
        }));
        assert_eq!(waited.unwrap_err().downcast_ref::<&str>(), Some(&"the app's own"), "{awaited}");
        assert_eq!(early.wait().unwrap().len(), 32, "{awaited}");
        assert_eq!(app.plan.gpu().wait(), Ok(()), "{awaited}");
    }
}

#[test]
fn what_is_awaited_is_put_together_on_a_thread_of_its_own() {
    let app = App::new();
    let reading = || Reading::new(app.plan.gpu(), &[], |_| Ok(thread::current().id()));
    let here = thread::current().id();
    assert_eq!(reading().wait(), Ok(here));
    assert_ne!(pollster::block_on(reading()), Ok(here));
    // One that was polled may be waited for all the same.
    let mut polled = reading();
    let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
    let _ = std::pin::Pin::new(&mut polled).poll(context);
    assert!(polled.wait().is_ok_and(|there| there != here));
}

#[test]
fn steps_that_an_app_gives_up_have_no_losses() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision::F32);
    let x = graph.input("x", [1]);
    let loss = (x * graph.weight("w", [1], Init::Constant(1.0))).sum_all();
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let before = graph.len();
    let mut plan = Plan::train(&gpu, &weights, loss, Sgd::new(0.0)).unwrap();
    assert_eq!(graph.len(), before, "the backward pass is the plan's");
    plan.write(x, &[1.0]).unwrap();
    plan.run();
    plan.write(x, &[2.0]).unwrap();
    plan.encode(&mut gpu.device().create_command_encoder(&Default::default()));
    // Two readings on their way at once.
    let first = plan.losses();
    plan.write(x, &[3.0]).unwrap();
    plan.run();
    let second = plan.losses();
    assert_eq!((first.wait().unwrap(), second.wait().unwrap()), (vec![1.0], vec![3.0]));
    let mut infer = Plan::infer(&gpu, &weights, [loss]).unwrap();
    infer.run();
    assert!(infer.losses().wait().unwrap().is_empty());
}

#[test]
fn names_stay_with_their_tensors() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision::F32);
    let x = graph.input("x", [2, 3]);
    // Already flat: the same tensor under a second name. Weights that an output does not need do no harm.
    let y = (x.flatten().named("flat") * 2.0).named("twice");
    nn::linear("unused", y, 5);
    let weights = Weights::init(&gpu, &graph, 0).unwrap();
    let mut plan = Plan::infer(&gpu, &weights, [y]).unwrap();
    plan.write("x", &[1.0; 6]).unwrap();
    plan.write("flat", &[3.0; 6]).unwrap();
    plan.run();
    assert_eq!(plan.read("twice").unwrap().wait().unwrap(), [6.0; 6]);
}

#[test]
fn everything_can_move_to_another_thread() {
    fn send<T: Send + 'static>() {}
    send::<Gpu>();
    send::<Weights>();
    send::<Plan>();
    send::<Port<'static>>();
    let mut app = App::new();
    let there = std::thread::spawn(move || {
        app.plan.write(app.input, &[1.0; 12]).unwrap();
        app.plan.run();
        app.plan.read(app.output).unwrap().wait().unwrap().len()
    });
    assert_eq!(there.join().unwrap(), 32);
}

#[test]
fn nothing_needs_to_block() {
    let run = async {
        let gpu = Gpu::request(Choice::Best).await?;
        let graph = Graph::new(Precision::F16);
        let x = graph.input("x", [4, 3]);
        let logits = nn::linear("fc", x, 2);
        let loss = logits.square().mean_all();
        let weights = Weights::init_async(&gpu, &graph, 0).await?;
        let mut plan = Plan::train_async(&gpu, &weights, loss, &Sgd::new(0.1), Default::default()).await?;
        plan.write(x, &[1.0; 12])?;
        plan.run();
        // Two readings at once, finished in the other order.
        let (first, second) = (plan.read(loss)?, weights.get("fc.weight")?);
        let (weight, loss) = (second.await?, first.await?);
        assert!(weight.len() == 6 && loss[0].is_finite());

        let mut infer = Plan::infer_async(&gpu, &weights, &[logits], Default::default()).await?;
        let five: Vec<f32> = (0..15).map(|i| i as f32 / 8.0).collect();
        let data = Dataset::new(five.clone(), vec![0, 1, 0, 1, 0], [3].into(), 2)?;
        let values = infer.predict_values_async(x, logits, &five).await?;
        assert_eq!(infer.predict_async("x", logits, &data).await?, values);
        assert_eq!(infer.evaluate_async(x, logits, &data).await?, Evaluation::of(&values, data.labels()));
        plan.losses().await
    };
    assert_eq!(pollster::block_on(spawnable(run)).unwrap().len(), 1);
}

/// A future that an app's runtime may run on any of its threads.
fn spawnable<F: Future + Send + 'static>(future: F) -> F {
    future
}
