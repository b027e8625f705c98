//! What goes wrong outside of the network, provoked: adapters, lost devices, memory, limits, time; and the switches.

use std::time::{Duration, Instant};

use halfgrad::{
    Caps, Error, Gpu, Graph, Plan, Precision, Result, Sgd, Shape, Weights,
    caps::Kind,
    gpu::{Choice, Settings, adapters, choose, title},
    nn,
    plan::{Options, lower_training},
    study::{DeviceBytes, Model, Optimizer, Setup},
};

/// A small network that trains.
fn train(gpu: &Gpu) -> Result<Plan> {
    let graph = Graph::new(Precision::F16);
    let x = graph.input("x", [8, 20]);
    let loss = nn::mlp(x, &[30], 5).gelu().square().mean_all();
    let weights = Weights::init(gpu, &graph, 1)?;
    let mut plan = Plan::train(gpu, &weights, loss, Sgd::new(0.05).momentum(0.9))?;
    plan.write(x, &(0..160).map(|i| (i * 37 % 160) as f32 / 80.0 - 1.0).collect::<Vec<_>>())?;
    Ok(plan)
}

fn with(gpu: &Gpu, change: impl FnOnce(&mut Settings)) -> Gpu {
    let mut settings = Settings::default();
    change(&mut settings);
    pollster::block_on(gpu.with(settings)).unwrap()
}

/// A device that belongs to an app, which hears of its loss itself.
fn theirs() -> Gpu {
    let found = pollster::block_on(adapters());
    let adapter = &found[choose(&Choice::Best, &found).unwrap()];
    let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
    pollster::block_on(Gpu::from_wgpu(device, queue)).unwrap()
}

#[test]
fn no_adapter_says_what_to_install() {
    let error = choose(&Choice::Best, &[]).unwrap_err();
    assert!(matches!(error, Error::Adapter(_)), "{error}");
    assert!(error.to_string().contains("no adapter found: "), "{error}");
}

#[test]
fn a_number_is_the_place_of_an_adapter_or_else_a_part_of_a_name() {
    let found = pollster::block_on(adapters());
    let chosen = |choice: &str| choose(&Choice::from(choice), &found);
    assert_eq!(chosen(&(found.len() - 1).to_string()), Ok(found.len() - 1));
    let names: Vec<String> = found.iter().map(|a| title(&a.get_info())).collect();
    let numbers = names.iter().flat_map(|name| name.split(|c: char| !c.is_ascii_digit()));
    for number in numbers.filter(|n| n.parse::<usize>().is_ok_and(|n| n >= found.len())) {
        assert!(names[chosen(number).unwrap()].contains(number), "{number} of {names:?}");
        assert!(choose(&Choice::Index(number.parse().unwrap()), &found).is_err(), "{number}");
    }
    let error = chosen("987654").unwrap_err().to_string();
    assert!(error.starts_with("no adapter has the number 987654 or is called so; there are 0: "), "{error}");
    assert!(chosen("no such").unwrap_err().to_string().starts_with("no adapter is called \"no such\"; there are "));
}

#[test]
fn a_missing_feature_is_named_with_what_would_do_instead() {
    let gpu = with(&Gpu::new().unwrap(), |s| s.f16 = false);
    let graph = Graph::new(Precision::F16_STRICT);
    nn::linear("fc", graph.input("x", [2, 3]), 4);
    let error = Weights::init(&gpu, &graph, 0).unwrap_err();
    assert!(matches!(&error, Error::Unsupported { adapter, .. } if *adapter == gpu.caps().adapter), "{error}");
    let text = error.to_string();
    assert!(text.contains("needs the feature shader-f16; f16 and mixed run on halves packed in words"), "{text}");
}

#[test]
fn a_lost_device_is_an_error_at_once_and_from_then_on() {
    for gpu in [Gpu::new().unwrap(), theirs()] {
        let started = Instant::now();
        let mut plan = train(&gpu).unwrap();
        (0..5).for_each(|_| plan.run());
        let early = plan.losses();
        plan.run();
        gpu.device().destroy();
        plan.run();
        // What was under way may still arrive; what came after is lost.
        assert!(matches!(early.wait(), Ok(_) | Err(Error::Device(_))));
        for _ in 0..2 {
            plan.run();
            let errors = [
                plan.losses().wait().err(),
                plan.progress().wait().err(),
                pollster::block_on(plan.progress()).err(),
                plan.read("x").and_then(|r| r.wait()).err(),
                train(&gpu).err(),
                pollster::block_on(gpu.with(Settings { f16: false, ..Settings::default() })).err(),
            ];
            for (i, error) in errors.into_iter().enumerate() {
                assert!(matches!(error, Some(Error::Device(_))), "{i}: {error:?}");
            }
        }
        assert!(started.elapsed() < Duration::from_secs(60));
    }
}

#[test]
fn what_was_written_for_a_step_is_lost_with_the_device() {
    type Use = fn(&mut Plan) -> Option<Error>;
    let uses: [(&str, Use); 5] = [
        ("run", |plan| {
            plan.run();
            plan.losses().wait().err()
        }),
        ("read", |plan| plan.read("x").and_then(|r| r.wait()).err()),
        // wgpu says nothing to one that does not wait.
        ("buffer", |plan| plan.buffer("x").err().or_else(|| plan.losses().wait().err())),
        ("encode", |plan| {
            let device = plan.gpu().device().clone();
            plan.encode(&mut device.create_command_encoder(&Default::default()));
            plan.losses().wait().err()
        }),
        ("write", |plan| {
            let _ = plan.write("x", &[0.0; 160]);
            plan.run();
            plan.write("x", &[0.0; 160]).err()
        }),
    ];
    for (name, uses) in uses {
        for (gpu, waits) in [(theirs(), false), (theirs(), true), (Gpu::new().unwrap(), true)] {
            let mut plan = train(&gpu).unwrap();
            gpu.device().destroy();
            if waits {
                assert!(matches!(gpu.wait(), Err(Error::Device(_))), "{name}");
            }
            for _ in 0..2 {
                let error = uses(&mut plan);
                assert!(matches!(error, Some(Error::Device(_))), "{name} {waits}: {error:?}");
            }
        }
    }
}

#[test]
fn a_device_that_is_lost_already_is_an_error_of_its_own() {
    let gpu = theirs();
    let (device, queue) = (gpu.device().clone(), gpu.queue().clone());
    device.destroy();
    let opened = pollster::block_on(Gpu::from_wgpu(device, queue)).and_then(|gpu| train(&gpu).map(|_| ()));
    assert!(matches!(opened, Err(Error::Device(_))), "{opened:?}");
    assert!(matches!(gpu.probe(), Err(Error::Device(_))));
}

#[test]
fn a_model_that_needs_three_times_the_memory_is_told_which_batch_fits() {
    let open = Gpu::new().unwrap();
    let (sample, classes) = (Shape::from([8, 8, 1]), 10);
    for precision in [Precision::F32, Precision::MIXED] {
        let model = Model::named("mlp", &[256, 256]).unwrap();
        let mut setup = Setup::new(model, Optimizer::named("adam", 1e-3).unwrap(), 4096, 10);
        let plan = |setup: &Setup, gpu: &Gpu| {
            let graph = Graph::new(precision);
            let network = setup.model.build(&graph, setup.batch, sample, classes)?;
            let weights = Weights::init(gpu, &graph, 1)?;
            let memory = gpu.caps().memory;
            let options = setup.optimizer.options(Options { record_changes: true, memory, ..Options::default() });
            Plan::train_with(gpu, &weights, network.loss, &*setup.optimizer.update(10), options)
        };
        let needs = DeviceBytes::of(plan(&setup, &open).unwrap().program());
        let limit = needs.total / 3;
        let gpu = with(&open, |s| s.memory = Some(limit));

        let allocated = || gpu.device().generate_allocator_report().map(|r| r.total_allocated_bytes);
        let before = allocated();
        let error = setup.check(gpu.caps(), precision, sample, classes).unwrap_err();
        assert_eq!(allocated(), before);
        let text = error.to_string();
        assert!(matches!(error, Error::Memory(_)) && text.starts_with("out of memory: the plan takes "), "{text}");
        assert!(text.contains(" at least, with activations computed again, and "), "{text}");
        let advice = format!("in {precision} a batch of ");
        let batch = text.split_once(&advice).unwrap().1.split(' ').next().unwrap();
        setup.batch = batch.parse().unwrap();
        assert!((1..2048).contains(&setup.batch), "{text}");
        setup.check(gpu.caps(), precision, sample, classes).unwrap();
        let mut plan_that_fits = plan(&setup, &gpu).unwrap();
        plan_that_fits.run();
        gpu.wait().unwrap();
        setup.batch += 1;
        assert!(matches!(plan(&setup, &gpu).unwrap_err(), Error::Memory(_)));
        // Nothing helps weights that are too large by themselves.
        let gpu = with(&open, |s| s.memory = Some(needs.weights / 2));
        let error = setup.check(gpu.caps(), precision, sample, classes).unwrap_err().to_string();
        assert!(error.contains(&format!("but no batch fits in {precision}")), "{error}");
        assert!(matches!(plan(&setup, &gpu), Err(Error::Memory(_))));
    }
}

#[test]
fn a_plan_that_infers_keeps_to_its_memory_too() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(Precision::F32);
    let y = nn::linear("fc", graph.input("x", [64, 64]), 64);
    let weights = Weights::init(&gpu, &graph, 1).unwrap();
    let with = |memory| Plan::infer_with(&gpu, &weights, &[y], Options { memory: Some(memory), ..Options::default() });
    assert!(matches!(with(10_000), Err(Error::Memory(_))));
    assert!(with(100_000).is_ok());
}

#[test]
fn a_tensor_larger_than_a_binding_is_named_and_weights_are_cut_in_chunks() {
    let small = Caps { binding_bytes: 1 << 20, buffer_bytes: 2 << 20, ..Caps::reference() };
    let lowered = |batch: usize, caps: &Caps| {
        let graph = Graph::new(Precision::F32);
        let loss = nn::mlp(graph.input("x", [batch, 256]), &[512, 512, 512], 10).square().mean_all();
        lower_training(loss, &Sgd::new(0.1).momentum(0.9), caps, &Options::default())
    };
    let program = lowered(64, &small).unwrap().program;
    assert!(program.buffers.iter().filter(|b| b.name.starts_with('w')).count() >= 2);
    let error = lowered(1000, &small).unwrap_err().to_string();
    for part in
        ["out of memory: the plan takes", "f32 [1000, 512] of 2.05 MB", "allows 1.05 MB a binding", "a smaller batch"]
    {
        assert!(error.contains(part), "{part:?} in {error}");
    }
    let error = lowered(4000, &Caps { binding_bytes: 16 << 20, ..small }).unwrap_err().to_string();
    assert!(error.contains("allows 2.10 MB a buffer"), "{error}");
}

#[test]
fn long_steps_are_submitted_in_parts_with_the_same_result() {
    let gpu = Gpu::new().unwrap();
    let losses = |slice: Duration| {
        let gpu = with(&gpu, |s| s.slice = Some(slice));
        let mut plan = train(&gpu).unwrap();
        (0..3).for_each(|_| plan.run());
        match gpu.caps().timestamps {
            true => assert!(plan.profile(2).unwrap().iter().flatten().all(|s| *s > 0.0)),
            false => (0..2).for_each(|_| plan.run()),
        }
        (plan.losses().wait().unwrap(), plan.warnings().to_vec())
    };
    let ((whole, none), (parts, warnings)) = (losses(Duration::ZERO), losses(Duration::from_nanos(100)));
    assert!(whole == parts && whole.len() == 5 && none.is_empty(), "{whole:?} {parts:?} {none:?}");
    assert!(!warnings.is_empty() && warnings.iter().all(|w| w.what.contains("watchdog")), "{warnings:?}");
}

#[test]
fn each_switch_switches_something_off() {
    let gpu = Gpu::new().unwrap();
    let run = |list: Option<&str>| {
        let settings = list.map_or(Ok(Settings::default()), |list| Settings::default().without(list)).unwrap();
        let gpu = pollster::block_on(gpu.with(settings)).unwrap();
        let mut plan = train(&gpu).unwrap();
        (0..5).for_each(|_| plan.run());
        (gpu.caps().shader_f16, plan.program().dispatches.len(), plan.losses().wait().unwrap())
    };
    let usual = run(None);
    let near = |losses: &[f32]| losses.iter().zip(&usual.2).all(|(a, b)| (a - b).abs() < 0.02 * b.abs());
    for list in Settings::SWITCHES {
        let (f16, dispatches, losses) = run(Some(list));
        assert!(near(&losses), "without {list}: {losses:?} {:?}", usual.2);
        assert_eq!(f16, list != "f16" && gpu.caps().shader_f16);
        assert_eq!(dispatches > usual.1, list == "fusion", "without {list}");
    }
    let error = Settings::default().without("f16,tuning").unwrap_err();
    assert_eq!(error.to_string(), "\"tuning\": no such switch; there are f16, fusion, subgroups, trust, tune");
    for wrong in ["", "12X", "M", "-1", "99999999999999999999"] {
        assert!(matches!(Settings::default().memory(wrong), Err(Error::Name { .. })), "{wrong}");
    }
    assert_eq!(Settings::default().without("trust,f16").unwrap().to_string(), "f16,trust");
}

#[test]
fn records_tell_each_setting_that_is_not_as_usual() {
    let usual = Settings::default();
    assert_eq!(usual.description(), "");
    for (settings, said) in [
        (usual.clone().without("f16,trust").unwrap(), "without f16,trust"),
        (Settings { memory: Some(1000), ..usual.clone() }, "memory limit 1.00 kB"),
        (Settings { slice: Some(Duration::from_millis(5)), ..usual.clone() }, "slices of 5ms"),
        (Settings { tune: Some("there".into()), ..usual.clone() }, "tuned in there"),
        (Settings { kind: Some(Kind::Discrete), ..usual.clone() }, "as discrete"),
        (Settings { cooperative: true, ..usual.clone() }, "with cooperative matrices"),
        (Settings { fusion: false, memory: Some(7), ..usual }, "without fusion, memory limit 7 B"),
    ] {
        assert_eq!(settings.description(), said);
    }
}
