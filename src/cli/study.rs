//! `halfgrad study`: checks what was asked for, runs it, and tells.

use std::{path::Path, time::Instant};

use anyhow::{Context, ensure};
use halfgrad::{
    Error, Gpu, Graph, Policy, Precision, Weights,
    data::Split,
    file,
    format::Simulation,
    gpu::title,
    study::{self, Comparison, Setup},
};

use super::{
    Refuted, note, order, prepare, prescription, print,
    progress::Progress,
    record,
    table::{self, Compared},
    values::Wanted,
};
use crate::StudyArgs;

/// Where the numbers are, in the folder.
const FILE: &str = "study.json";

/// Precisions in the order of the table, if the user does not choose.
const USUAL: [Precision; 4] = [Precision::F32, Precision::F16, Precision::MIXED, Precision::F16_STRICT];

/// Runs the study.
pub fn run(args: &StudyArgs) -> anyhow::Result<()> {
    if let Some(name) = &args.experiment {
        return super::experiment::run(args, name);
    }
    let data = super::data::load(&args.data, &args.network.model)?;
    let setup = setup(args, &data)?;
    if let Some(folder) = &args.out {
        prepare(&folder.join(FILE))?;
    }
    let gpu = args.device.open()?;
    let precisions = precisions(args, &gpu, &data, &setup)?;
    let seeds = args.seeds.unwrap_or(if args.init.is_some() && args.order.is_some() { 1 } else { 3 });
    let last = args.seed.checked_add(seeds as u64 - 1).context("--seed and --seeds go beyond 64 bits")?;

    // What cannot be is said before anything runs.
    let (sample, classes) = (data.train.shape(), data.train.classes());
    precisions.iter().try_for_each(|p| setup.check(gpu.caps(), p, sample, classes))?;
    let graph = Graph::new(&precisions[0]);
    graph.simulate(setup.simulate);
    setup.model.build(&graph, setup.batch, sample, classes)?;
    if let Some(path) = &setup.init {
        Weights::load(&gpu, &graph, path)?;
    }

    print(&introduction(&data, &setup, &gpu))?;
    let runs = train(args, &gpu, &data, &setup, &precisions, args.seed..=last)?;
    print(&table::render(&runs))?;
    if let Some(folder) = &args.out {
        write(args, folder, &gpu, &data, &setup, &runs)?;
    }
    let flips = |r: &Compared| r.against_f32.map_or(0, |c| c.certified_flips as u64);
    let name = |r: &Compared| format!("{}, seed {}", r.run.precision, r.run.seed);
    Ok(Refuted::check(runs.iter().map(|r| (name(r), flips(r))))?)
}

/// What all runs share, checked against the data.
fn setup(args: &StudyArgs, data: &Split) -> anyhow::Result<Setup> {
    let batch = args.network.batch;
    let per_epoch = data.train.batches(batch)?.len();
    let order = args.order.as_deref().map(|path| order::read(path, data.train.len())).transpose()?;
    let ordered = order.as_ref().map(|order| order.len().div_ceil(batch));
    let whole = |epochs: usize| epochs.saturating_mul(per_epoch);
    let steps = match (args.steps, args.epochs, ordered) {
        (Some(steps), None, _) => steps,
        (Some(steps), Some(epochs), _) => steps.min(whole(epochs)),
        (None, Some(epochs), Some(ordered)) => ordered.min(whole(epochs)),
        (None, None, Some(ordered)) => ordered,
        (None, epochs, None) => whole(epochs.unwrap_or(30)),
    };
    let optimizer = args.optimizer.optimizer()?;
    optimizer.check(steps)?;
    if let (Some(ordered), Some(path)) = (ordered.filter(|&n| n < steps), &args.order) {
        let detail = format!("it is enough for {ordered} steps of {batch} samples, {steps} are to be done");
        return Err(Error::file(path, detail).into());
    }
    let model = args.network.model(data.train.shape())?;
    let mut setup = Setup::new(model, optimizer, batch, steps);
    (setup.init, setup.order, setup.pause) = (args.init.clone(), order, args.save_every);
    setup.augment = args.data.augment;
    setup.simulate = args.simulate.unwrap_or_default();
    setup.sharpness = args.sharpness;
    Ok(setup)
}

/// What the user asked for, which must run; or else of the usual ones those that do.
fn precisions(args: &StudyArgs, gpu: &Gpu, data: &Split, setup: &Setup) -> anyhow::Result<Vec<Policy>> {
    let Some(wanted) = &args.precision else {
        let (able, unable): (Vec<_>, Vec<_>) = USUAL.into_iter().partition(|p| gpu.caps().supports(*p).is_ok());
        for e in unable.iter().filter_map(|p| gpu.caps().supports(*p).err()) {
            note(&format!("left out: {e}"));
        }
        return Ok(able.into_iter().map(Policy::from).collect());
    };
    for wanted in &wanted.0 {
        if let Wanted::Policy(policy) = wanted {
            gpu.caps().supports(policy.base)?;
        }
    }
    let mut found: Vec<Policy> = vec![];
    for (i, one) in wanted.0.iter().enumerate() {
        let policy = match one {
            Wanted::Policy(policy) => policy.clone(),
            Wanted::Auto => prescription::find(gpu, data, setup, args.seed)?,
        };
        let known = found.contains(&policy);
        ensure!(!known || (*one == Wanted::Auto && !wanted.0[..i].contains(one)), "--precision names {policy} twice");
        if !known {
            found.push(policy);
        }
    }
    Ok(found)
}

fn introduction(data: &Split, setup: &Setup, gpu: &Gpu) -> String {
    let (train, test) = (&data.train, &data.test);
    let (sample, classes) = (train.shape(), train.classes());
    let epochs = setup.steps.div_ceil(train.len().div_ceil(setup.batch));
    let simulated = match setup.simulate {
        simulation if simulation == Simulation::default() => String::new(),
        simulation => format!("; simulated {simulation}"),
    };
    let steps = if setup.steps == 1 { "1 step".into() } else { format!("{} steps", setup.steps) };
    format!(
        "{}: {} training and {} test samples of {sample}, {classes} classes\n\
         {}; batch {}, {steps} in {epochs} epoch{}; {}{simulated}\n{}, {}{}\n",
        data.name,
        train.len(),
        test.len(),
        super::describe(&setup.model, sample, classes),
        setup.batch,
        if epochs == 1 { "" } else { "s" },
        super::describe_optimizer(&setup.optimizer),
        title(gpu.info()),
        record::Adapter::of_gpu(gpu).driver_line(),
        super::describe_settings(gpu),
    )
}

/// Every seed in every precision; each run is compared with the f32 run of its seed, if there is one.
fn train(
    args: &StudyArgs,
    gpu: &Gpu,
    data: &Split,
    setup: &Setup,
    precisions: &[Policy],
    seeds: std::ops::RangeInclusive<u64>,
) -> anyhow::Result<Vec<Compared>> {
    let epochs = setup.steps.div_ceil(data.train.len().div_ceil(setup.batch));
    let count = (seeds.end() - seeds.start() + 1) as usize;
    let mut progress = Progress::new(count * precisions.len(), setup.steps, epochs);
    let mut compared = vec![];
    for seed in seeds {
        let mut runs = vec![];
        for precision in precisions {
            progress.begin(&precision.to_string(), seed);
            let started = Instant::now();
            // Not all that a policy may say can stand in a file's name.
            let name = format!("weights-{precision}-seed{seed}").replace([':', '*', '/', '\\'], "_");
            let run = study::train(gpu, data, setup, precision, seed, &mut |at| {
                progress.step(&at);
                match (&args.out, args.save_every) {
                    (Some(folder), Some(every)) if at.step % every == 0 => {
                        at.weights.save(folder.join(format!("{name}-step{}.safetensors", at.step)))
                    }
                    _ => Ok(()),
                }
            })?;
            if let Some(folder) = &args.out {
                run.weights.save(folder.join(format!("{name}.safetensors")))?;
            }
            progress.end(&run, started.elapsed());
            runs.push(run);
        }
        let f32 = runs.iter().find(|run| run.precision == Precision::F32).map(|run| run.logits.clone());
        let against = |logits: &[f32]| f32.as_ref().map(|f32| Comparison::of(f32, logits, data.test.classes()));
        compared.extend(runs.into_iter().map(|run| Compared { against_f32: against(&run.logits), run }));
    }
    progress.finish();
    Ok(compared)
}

fn write(
    args: &StudyArgs,
    folder: &Path,
    gpu: &Gpu,
    data: &Split,
    setup: &Setup,
    runs: &[Compared],
) -> anyhow::Result<()> {
    let embedded = args.data.name() == "digits";
    let (sample, classes) = (data.train.shape(), data.train.classes());
    let adapter = record::Adapter::of_gpu(gpu);
    let study = record::Study {
        command: std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect(),
        versions: record::Versions { halfgrad: env!("CARGO_PKG_VERSION"), driver: adapter.driver_line() },
        adapter,
        settings: gpu.settings().description(),
        data: record::Data { rows: embedded.then(halfgrad::data::digits_order), ..record::Data::of(data) },
        network: record::Network {
            model: super::describe(&setup.model, sample, classes),
            optimizer: super::describe_optimizer(&setup.optimizer),
            batch: setup.batch,
            steps: setup.steps,
            simulated: Some(setup.simulate.to_string()).filter(|text| !text.is_empty()),
        },
        runs: runs.iter().map(|r| record::Run::of(&r.run, r.against_f32.as_ref())).collect(),
    };
    file::write_atomically(folder.join(FILE), |file| {
        serde_json::to_writer_pretty(&mut *file, &study)?;
        file.write_all(b"\n")
    })?;
    print(&format!("{FILE} and weights-*.safetensors are in {}\n", folder.display()))
}
