//! `halfgrad train`: one model, told epoch by epoch, in a file that is always whole.

use std::{
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, ensure};
use halfgrad::{
    Error, Gpu, Graph, Plan, Policy, Precision, Weights, checkpoint,
    data::{Batch, Batches, Split},
    gpu::title,
    plan::{Evaluation, Options},
    study::{Network, Optimizer, Setup},
};

use super::{
    describe, describe_optimizer,
    model_file::{Card, borrowed},
    prepare, prescription, print,
    progress::Bar,
    values::Wanted,
};
use crate::TrainArgs;

/// Steps between two looks at the device and at Ctrl-C.
const WINDOW: usize = 16;

/// Trains, tests and writes.
pub fn run(args: &TrainArgs) -> anyhow::Result<()> {
    ensure!(args.network.model != "gpt", "train makes classifiers of images; `halfgrad study --model gpt` reads texts");
    let data = super::data::load(&args.data, &args.network.model)?;
    let (sample, classes) = (data.train.shape(), data.train.classes());
    let batch = args.network.batch.min(data.train.len());
    let batches = data.train.batches(batch)?.shuffled(args.seed);
    let batches = match args.data.augment {
        Some(augment) => batches.augmented(augment.seeded(args.seed))?,
        None => batches,
    };
    let (model, optimizer) = (args.network.model(sample)?, args.optimizer.optimizer()?);
    let steps = args.epochs.saturating_mul(batches.len());
    optimizer.check(steps)?;
    let check = |policy: &Policy| {
        let graph = Graph::new(policy);
        model.build(&graph, batch, sample, classes)?;
        graph.check()
    };
    match &args.precision {
        Wanted::Policy(policy) => check(policy)?,
        Wanted::Auto => check(&Precision::F32.into())?,
    }
    prepare(&args.out)?;
    let gpu = args.device.open()?;
    let setup = Setup::new(model.clone(), optimizer.clone(), batch, steps);
    let policy = match (&args.precision, &args.resume) {
        (Wanted::Policy(policy), _) => policy.clone(),
        (Wanted::Auto, Some(file)) => Card::read(file)?.precision,
        (Wanted::Auto, None) => {
            let augment = args.data.augment;
            prescription::find(&gpu, &data, &Setup { augment, ..setup.clone() }, args.seed)?
        }
    };
    setup.check(gpu.caps(), &policy, sample, classes)?;
    let graph = Graph::new(&policy);
    let network = model.build(&graph, batch, sample, classes)?;

    // The digits' pixels are counts up to 16.
    let white = if args.data.name() == "digits" { 16.0 } else { 255.0 };
    let card = Card::new(model, &data, white, policy);
    let notes = notes(args, &card, &data, &optimizer, batch);
    let done = args.resume.as_deref().map_or(Ok(0), |file| steps_done(file, &notes))?;
    ensure!(done < steps, "--resume: the run has done --epochs {} already; more go on", done / batches.len());
    print(&introduction(&data, &card, &optimizer, batch, &gpu))?;
    let weights = Weights::init(&gpu, &graph, args.seed)?;
    let memory = gpu.caps().memory;
    let options = optimizer.options(Options { seed: args.seed as u32, memory, ..Options::default() });
    let mut plan = Plan::train_with(&gpu, &weights, network.loss, &*optimizer.update(steps), options)?;
    plan.warnings().iter().for_each(|warning| super::note(&format!("warning: {warning}")));
    if let Some(file) = &args.resume {
        plan.restore(file)?;
    }
    // What is tested and written: the average of the weights, if one is kept.
    let tested = plan.averaged().unwrap_or(&weights).clone();
    let infer = Plan::infer(&gpu, &tested, [network.logits])?;
    let stop = stop_on_ctrl_c()?;
    let resumable = resumable(&args.out);
    let mut run = Run { plan, infer, network, stop, done };
    let test = run.train(args, &data, &batches, &mut |plan| {
        card.save(&tested, &args.out)?;
        plan.save_with(&resumable, &borrowed(&notes))
    })?;
    if run.done < steps {
        print(&format!("stopped: the same command goes on with --resume {}\n", resumable.display()))?;
    }
    let out = args.out.display();
    print(&format!(
        "test accuracy {:.2} %; the model is in {out}: halfgrad predict --model-file {out} IMAGE…\n",
        100.0 * test.accuracy
    ))
}

/// Where all that a run goes on from is written, beside the model.
fn resumable(out: &Path) -> PathBuf {
    out.with_extension("training.safetensors")
}

/// What a run that goes on must have in common with the one that was broken off.
fn notes(
    args: &TrainArgs,
    card: &Card,
    data: &Split,
    optimizer: &Optimizer,
    batch: usize,
) -> Vec<(&'static str, String)> {
    let augment = args.data.augment.map(|augment| augment.to_string()).unwrap_or_default();
    let samples = format!("{} and {} for testing", data.train.len(), data.test.len());
    let run = [
        ("precision", card.precision.to_string()),
        ("data", data.name.clone()),
        ("samples", samples),
        ("augment", augment),
        ("batch", batch.to_string()),
        ("optimizer", describe_optimizer(optimizer)),
        ("seed", args.seed.to_string()),
    ];
    card.notes().into_iter().chain(run).collect()
}

/// The steps that the run in this file has done, which must be the same but for them.
fn steps_done(file: &Path, notes: &[(&str, String)]) -> halfgrad::Result<usize> {
    let found = checkpoint::notes(file)?;
    let steps = found.get(&format!("{}step", checkpoint::TRAINING)).and_then(|steps| steps.parse().ok());
    let steps = steps.ok_or_else(|| {
        let what = "the .training.safetensors that `halfgrad train` writes beside a model";
        Error::file(file, format!("it is no run that goes on: --resume takes {what}"))
    })?;
    let differs = |(name, now): &&(&str, String)| found.get(*name) != Some(now);
    match notes.iter().find(differs) {
        Some((name, now)) => {
            let then = found.get(*name).map_or("nothing", String::as_str);
            Err(Error::file(
                file,
                format!("its run has {name} {then:?}, this one {now:?}: --resume takes the same options"),
            ))
        }
        None => Ok(steps),
    }
}

fn introduction(data: &Split, card: &Card, optimizer: &Optimizer, batch: usize, gpu: &Gpu) -> String {
    let (train, test) = (&data.train, &data.test);
    let mut names = data.class_names.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
    if data.class_names.len() > 10 {
        names += ", …";
    }
    format!(
        "{}: {} training and {} test samples of {}, {} classes: {names}\n{}; {}; batch {batch}; {}; {}{}\n",
        data.name,
        train.len(),
        test.len(),
        train.shape(),
        train.classes(),
        describe(&card.model, train.shape(), train.classes()),
        card.precision,
        describe_optimizer(optimizer),
        title(gpu.info()),
        super::describe_settings(gpu),
    )
}

/// Set by Ctrl-C; a second one ends the program, which leaves the file of the last epoch.
fn stop_on_ctrl_c() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            process::exit(130);
        }
    })
    .context("Ctrl-C cannot be watched")?;
    Ok(stop)
}

struct Run<'g> {
    plan: Plan,
    infer: Plan,
    network: Network<'g>,
    stop: Arc<AtomicBool>,
    /// Steps of the whole run.
    done: usize,
}

impl Run<'_> {
    /// All epochs, or as many as Ctrl-C lets; after each `save` is called and a line printed. What the last test gave.
    fn train(
        &mut self,
        args: &TrainArgs,
        data: &Split,
        batches: &Batches,
        save: &mut dyn FnMut(&Plan) -> halfgrad::Result<()>,
    ) -> anyhow::Result<Evaluation> {
        let bar = Bar::new(args.epochs * batches.len());
        let width = args.epochs.to_string().len();
        let mut test = None;
        for epoch in self.done / batches.len()..args.epochs {
            let started = Instant::now();
            bar.title(&format!("epoch {}/{}", epoch + 1, args.epochs));
            let before = self.done % batches.len();
            let loss = self.epoch(epoch, batches, &bar)?;
            save(&self.plan)?;
            let found = self.infer.evaluate(self.network.x, self.network.logits, &data.test)?;
            let after = |what: &str, steps: usize| match steps % batches.len() {
                0 => String::new(),
                steps => format!(", {what} after {steps} steps"),
            };
            let cut = after("resumed", before) + &after("stopped", self.done);
            let line = format!(
                "epoch {:>width$}: loss {loss:.4}, test loss {:.4}, test accuracy {:.2} %, {:.1} s{cut}\n",
                epoch + 1,
                found.loss,
                100.0 * found.accuracy,
                started.elapsed().as_secs_f64()
            );
            bar.aside(|| print(&line))?;
            test = Some(found);
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
        }
        bar.finish();
        Ok(test.expect("clap wants an epoch or more"))
    }

    /// What is left of an epoch, or its part until Ctrl-C: the mean loss of its samples.
    fn epoch(&mut self, epoch: usize, batches: &Batches, bar: &Bar) -> anyhow::Result<f64> {
        let (mut sum, mut count) = (0.0, 0);
        let mut ahead = batches.epoch(epoch as u32).prefetched();
        let mut batch = Batch::default();
        let end = (epoch + 1) * batches.len();
        // What a run did before it was broken off.
        for _ in epoch * batches.len()..self.done {
            ahead.fill(&mut batch);
        }
        while self.done < end && !self.stop.load(Ordering::Relaxed) {
            let mut counts = vec![];
            while counts.len() < WINDOW && ahead.fill(&mut batch) {
                self.network.write(&mut self.plan, &batch)?;
                self.plan.run();
                counts.push(batch.count);
            }
            let losses = self.plan.losses().wait()?;
            sum += losses.iter().zip(&counts).map(|(&loss, &n)| f64::from(loss) * n as f64).sum::<f64>();
            count += counts.iter().sum::<usize>();
            self.done += counts.len();
            bar.position(self.done, &format!("loss {:.4}", sum / count as f64));
        }
        Ok(sum / count as f64)
    }
}
