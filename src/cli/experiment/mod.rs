//! `halfgrad study --experiment`: named runs that can be broken off and gone on with.

pub mod folder;
pub mod record;
pub mod summary;
mod table;
mod train;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use comfy_table::Table;
use halfgrad::{
    Gpu, Precision,
    data::{Dataset, Split},
    gpu::title,
    study::{
        self,
        experiment::{self, Cell, Experiment, Group, Length, Measure},
    },
};

use self::{
    folder::Folder,
    record::{Asked, FORMAT, Run},
    train::{Bench, Id, Twin},
};
use super::{Refuted, lines, note, print, probe, progress::Bar, record::Adapter, report};
use crate::StudyArgs;

/// Runs an experiment, or goes on with it, and tells; or lists them all.
pub fn run(args: &StudyArgs, name: &str) -> anyhow::Result<()> {
    if name == "list" {
        return print(&list());
    }
    let experiment = experiment::named(name).with_context(|| {
        let names: Vec<_> = experiment::all().iter().map(|e| e.name).collect();
        format!("no experiment {name:?}; there are {}", names.join(", "))
    })?;
    let experiment = cut(experiment, args)?;
    let path = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("halfgrad-{name}")));
    super::prepare(&path.join("experiment.json"))?;
    let gpu = args.device.open()?;
    let mut lab = Lab {
        args,
        gpu: &gpu,
        folder: Folder::new(&path),
        experiment: &experiment,
        asked: vec![],
        runs: vec![],
        tables: vec![],
    };
    let trials = lab.trials()?;
    lab.asked = lab.asked(&trials)?;
    lab.take_up(&trials)?;
    print(&lab.introduction(&trials, &path))?;
    let probe = probe::Report::of(&gpu)?;
    lab.folder.write("probe", &probe)?;
    if experiment.groups.is_empty() && experiment.measures.is_empty() {
        print(&probe.text())?;
    }
    lab.measure()?;
    lab.train(&trials)?;
    let summary = lab.summarise()?;
    print(&table::render(&summary))?;
    let page = report::make(&path, None)?;
    print(&format!("the page is {}; beside it are plots, each run, and the summary\n", page.display()))?;
    lab.refuted()
}

/// The experiments by name.
fn list() -> String {
    let mut table = Table::new();
    table.load_style(super::TABLE).set_header(["experiment", "what it is about", "runs"]);
    for e in experiment::all() {
        let runs: usize = e.groups.iter().map(|g| g.precisions.len() * e.seeds).sum();
        table.add_row([e.name.to_owned(), e.title.to_owned(), runs.to_string()]);
    }
    format!("{}\n", table.trim_fmt())
}

/// The experiment with what the user wants less of, or other.
fn cut(mut experiment: Experiment, args: &StudyArgs) -> anyhow::Result<Experiment> {
    if args.data.data.is_none() {
        args.data.suits(false, false)?;
    }
    let data = [args.data.data.is_some(), args.data.augment.is_some(), args.train.is_some(), args.test.is_some()];
    let length = [args.epochs.is_some(), args.steps.is_some(), args.seeds.is_some(), args.precision.is_some()];
    ensure!(
        !experiment.groups.is_empty() || ![data, length].concat().contains(&true),
        "{} trains nothing: it takes no data, precisions, seeds, epochs or steps",
        experiment.name
    );
    if let Some(wanted) = &args.networks {
        let there = |name: &str| experiment.groups.iter().any(|g| g.model.name == name);
        if let Some(name) = wanted.0.iter().find(|name| !there(name)) {
            let mut names: Vec<_> = experiment.groups.iter().map(|g| g.model.name).collect();
            names.dedup();
            anyhow::bail!("{} has no network {name:?}; it has {}", experiment.name, names.join(", "));
        }
        experiment.groups.retain(|g| wanted.0.iter().any(|name| name == g.model.name));
    }
    experiment.seeds = args.seeds.unwrap_or(experiment.seeds);
    for group in &mut experiment.groups {
        match (args.steps, args.epochs) {
            (Some(steps), None) => group.length = Length::Steps(steps),
            (None, Some(epochs)) => group.length = Length::Epochs(epochs),
            (None, None) => {}
            _ => anyhow::bail!("an experiment takes --steps or --epochs, not both"),
        }
        (group.train, group.test) = (args.train.or(group.train), args.test.or(group.test));
        if let Some(wanted) = &args.precision {
            group.precisions = vec![Precision::F32];
            for one in &wanted.0 {
                let precision = one.of_all_layers()?;
                if precision != Precision::F32 {
                    group.precisions.push(precision);
                }
            }
        }
    }
    Ok(experiment)
}

/// A group with its data, ready to run.
struct Trial<'a> {
    group: &'a Group,
    data: Split,
    setup: study::Setup,
    precisions: Vec<Precision>,
}

/// An experiment under way.
struct Lab<'a> {
    args: &'a StudyArgs,
    gpu: &'a Gpu,
    folder: Folder,
    experiment: &'a Experiment,
    asked: Vec<Asked>,
    runs: Vec<Run>,
    tables: Vec<record::Table>,
}

impl<'a> Lab<'a> {
    /// The groups with their data, as far as the adapter can run them; what cannot be is said before anything runs.
    fn trials(&self) -> anyhow::Result<Vec<Trial<'a>>> {
        let mut loaded: Vec<(experiment::Source, Split)> = vec![];
        let mut trials = vec![];
        for group in &self.experiment.groups {
            if !loaded.iter().any(|(source, _)| *source == group.source) {
                loaded.push((group.source, self.load(group)?));
            }
            let (_, split) = loaded.iter().find(|(source, _)| *source == group.source).expect("it was loaded");
            let (train, test) = (first(&split.train, group.train)?, first(&split.test, group.test)?);
            let data = Split { train, test, ..split.clone() };
            let (sample, classes) = (data.train.shape(), data.train.classes());
            let mut setup = group.setup(data.train.len());
            setup.augment = self.args.data.augment;
            let able = |p: &&Precision| self.gpu.caps().supports(**p).is_ok();
            let precisions: Vec<Precision> = group.precisions.iter().filter(able).copied().collect();
            data.train.batches(setup.batch).map(drop).with_context(|| format!("group {:?}", group.name))?;
            precisions.iter().try_for_each(|p| setup.check(self.gpu.caps(), *p, sample, classes))?;
            trials.push(Trial { group, data, setup, precisions });
        }
        let unable = self.experiment.groups.iter().flat_map(|g| &g.precisions);
        let mut told = vec![];
        for precision in unable {
            if let (Err(e), false) = (self.gpu.caps().supports(*precision), told.contains(precision)) {
                note(&format!("left out: {e}"));
                told.push(*precision);
            }
        }
        Ok(trials)
    }

    /// The runs that there are to be.
    fn asked(&self, trials: &[Trial]) -> anyhow::Result<Vec<Asked>> {
        let (first, count) = (self.args.seed, self.experiment.seeds as u64);
        let last = first.checked_add(count - 1).context("--seed and --seeds go beyond 64 bits")?;
        let of = |t: &Trial| Asked {
            group: t.group.name.clone(),
            variants: t.precisions.iter().map(ToString::to_string).collect(),
            seeds: [first, last],
        };
        Ok(trials.iter().map(of).collect())
    }

    /// What a group learns from: the user's data, or its own.
    fn load(&self, group: &Group) -> anyhow::Result<Split> {
        match &self.args.data.data {
            Some(_) => super::data::load(&self.args.data, group.model.name),
            None => Ok(group.source.load()?),
        }
    }

    /// Takes up what is in the folder; all of it must have been made as it would be now.
    fn take_up(&mut self, trials: &[Trial]) -> anyhow::Result<()> {
        (self.runs, self.tables) = self.folder.all(self.experiment.name)?;
        for run in &self.runs {
            let trial = trials.iter().find(|t| t.group.name == run.group);
            let Some(wanted) = trial.map(|trial| self.bench(trial).record(&run.variant)) else { continue };
            self.folder.same(&run.name, &run.setup, &wanted)?;
        }
        let circumstances = |t: &record::Table| (t.halfgrad.clone(), t.adapter.clone(), t.settings.clone());
        for (table, measure) in self.tables.iter().flat_map(|t| self.experiment.measures.iter().map(move |m| (t, m))) {
            if table.name == measure.name {
                self.folder.same(&table.name, &circumstances(table), &circumstances(&self.table(measure)))?;
            }
        }
        Ok(())
    }

    fn bench<'b>(&self, trial: &'b Trial) -> Bench<'b>
    where
        'a: 'b,
    {
        Bench { gpu: self.gpu, data: &trial.data, setup: &trial.setup }
    }

    fn introduction(&self, trials: &[Trial], path: &Path) -> String {
        let e = self.experiment;
        let runs: usize = trials.iter().map(|t| t.precisions.len()).sum::<usize>() * e.seeds;
        let device = format!(
            "{runs} runs, in {}; {}, {}{}",
            path.display(),
            title(self.gpu.info()),
            Adapter::of_gpu(self.gpu).driver_line(),
            super::describe_settings(self.gpu),
        );
        let all = [format!("{}: {}", e.name, e.title), e.question.into(), format!("Expected: {}.", e.expected), device];
        all.iter().map(|part| lines("", part)).collect()
    }

    /// Fills the tables that are not there.
    fn measure(&mut self) -> anyhow::Result<()> {
        for measure in &self.experiment.measures {
            let empty = self.table(measure);
            if !self.tables.iter().any(|table| table.name == measure.name) {
                note(&format!("measuring {} …", measure.name));
                let found = (measure.table)(self.gpu, self.args.seed)?;
                let cell = |cell: Cell| match cell {
                    Cell::Number(n) => record::Cell::Number(n),
                    Cell::Text(words) => record::Cell::Text(words),
                };
                let rows = found.rows.into_iter().map(|row| row.into_iter().map(cell).collect()).collect();
                let table = record::Table { header: found.header, rows, ..empty };
                self.folder.write(measure.name, &table)?;
                self.tables.push(table);
            }
        }
        Ok(())
    }

    /// A table without its rows.
    fn table(&self, measure: &Measure) -> record::Table {
        record::Table {
            format: FORMAT,
            experiment: self.experiment.name.into(),
            name: measure.name.into(),
            title: measure.title.into(),
            header: vec![],
            rows: vec![],
            note: measure.note.into(),
            halfgrad: env!("CARGO_PKG_VERSION").into(),
            adapter: Adapter::of_gpu(self.gpu),
            settings: self.gpu.settings().description(),
        }
    }

    /// Makes the runs that are not there, each kept when it ends.
    fn train(&mut self, trials: &[Trial]) -> anyhow::Result<()> {
        let mut progress = Progress::new(trials, self.experiment.seeds);
        for (trial, Asked { seeds: [first, last], .. }) in trials.iter().zip(self.asked.clone()) {
            for seed in first..=last {
                self.train_pair(trial, seed, &mut progress)?;
            }
        }
        progress.bar.finish();
        Ok(())
    }

    /// The runs of a group and a seed, f32 first, which the others are paired with.
    fn train_pair(&mut self, trial: &Trial, seed: u64, progress: &mut Progress) -> anyhow::Result<()> {
        let bench = self.bench(trial);
        let mut twin: Option<Twin> = None;
        let mut restorable = None;
        for &precision in &trial.precisions {
            let id = Id { experiment: self.experiment.name, group: &trial.group.name, precision, seed };
            let (name, weights) = (id.name(), self.folder.weights(&id.name()));
            let is_f32 = precision == Precision::F32;
            if self.runs.iter().any(|run| run.name == name) && (!is_f32 || weights.exists()) {
                progress.skip(trial.setup.steps);
                restorable = if is_f32 { Some((name, weights)) } else { restorable };
                continue;
            }
            if let (None, Some((name, weights))) = (&twin, restorable.take()) {
                twin = Some(bench.restore(name, &weights)?);
            }
            progress.begin(&format!("{} {precision} seed {seed}", trial.group.name));
            let (run, made) = bench.train(&id, twin.as_ref(), &mut |at| progress.step(at))?;
            if is_f32 {
                made.weights.save(&weights)?;
                twin = Some(made);
            }
            self.folder.write(&name, &run)?;
            progress.end(&run);
            self.runs.retain(|other| other.name != name);
            self.runs.push(run);
            self.summarise()?;
        }
        Ok(())
    }

    /// Writes the summary of what is there.
    fn summarise(&self) -> anyhow::Result<record::Experiment> {
        let command = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
        let summary =
            summary::of(self.experiment, self.asked.clone(), command, self.gpu, &self.runs, self.tables.clone());
        self.folder.write("experiment", &summary)?;
        Ok(summary)
    }

    /// Fails if a certified sample flipped in any run.
    fn refuted(&self) -> anyhow::Result<()> {
        let both =
            |run: &Run| run.against_f32.as_ref().map(|a| [&a.cast, &a.trained].map(|t| t.agreement.certified_flips));
        let flips = |run: &Run| both(run).map_or(0, |flips| flips.iter().sum::<u64>());
        Ok(Refuted::check(self.runs.iter().map(|run| (run.name.clone(), flips(run))))?)
    }
}

/// The first so many samples, or all.
fn first(data: &Dataset, count: Option<usize>) -> anyhow::Result<Dataset> {
    match count.filter(|&n| n < data.len()) {
        Some(n) => Ok(data.subset(&(0..n as u32).collect::<Vec<u32>>())?),
        None => Ok(data.clone()),
    }
}

/// The progress of all runs together, in steps.
struct Progress {
    bar: Bar,
    runs: usize,
    run: usize,
    done: usize,
    title: String,
}

impl Progress {
    fn new(trials: &[Trial], seeds: usize) -> Self {
        let runs = |t: &Trial| t.precisions.len() * seeds;
        let steps = trials.iter().map(|t| runs(t) * t.setup.steps).sum();
        Progress { bar: Bar::new(steps), runs: trials.iter().map(runs).sum(), run: 0, done: 0, title: String::new() }
    }

    fn skip(&mut self, steps: usize) {
        self.run += 1;
        self.done += steps;
    }

    fn begin(&mut self, words: &str) {
        self.run += 1;
        self.title = format!("run {}/{} {}", self.run, self.runs, words.trim());
        self.bar.title(&self.title);
    }

    fn step(&self, at: &study::Stand) {
        self.bar.position(self.done + at.step, &format!("step {}, loss {:.4}", at.step, at.loss));
    }

    fn end(&mut self, run: &Run) {
        self.done += run.setup.steps;
        let score = match (&run.failure, run.perplexity) {
            (Some(e), _) => format!("broke: {}", e.message),
            (None, Some(perplexity)) => format!("perplexity {perplexity:.2}, {:.1} s", run.seconds),
            (None, None) => format!("test accuracy {:.2} %, {:.1} s", 100.0 * run.accuracy, run.seconds),
        };
        self.bar.aside(|| note(&format!("{}: {score}", self.title)));
    }
}
