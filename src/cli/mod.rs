//! The tool's commands, and what they share: output, and errors of one line.

pub mod bench;
pub mod compare;
pub mod data;
pub mod devices;
pub mod doctor;
pub mod experiment;
pub mod model_file;
pub mod numbers;
pub mod order;
pub mod page;
pub mod plan;
pub mod plot;
pub mod predict;
pub mod prescription;
pub mod probe;
pub mod progress;
pub mod record;
pub mod report;
pub mod selftest;
pub mod shaders;
pub mod study;
pub mod table;
pub mod train;
pub mod translate;
pub mod values;

use std::{
    fs,
    io::{self, ErrorKind, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::Context;
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use halfgrad::{
    Error, Gpu, Shape, file,
    gpu::{Choice, Settings},
    optim::Form,
    study::{FORMS, Model, Optimizer, SCHEDULES},
};

use crate::{DeviceArgs, NetworkArgs, OptimizerArgs};

const LINE: LineStyle = LineStyle::none().fill('─').junction('─');
/// Tables have a line above, below and under the header.
pub const TABLE: TableStyle = TableStyle::new().top_border(LINE).header_separator(LINE).bottom_border(LINE);
/// As [`TABLE`], with a line between rows, for rows of many lines.
pub const TALL_TABLE: TableStyle = TABLE.row_separator(LINE);

/// Puts the columns from the `first` on to the right, so far apart.
pub fn align_right(table: &mut Table, first: usize, apart: u16) {
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(CellAlignment::Right);
        column.set_padding((apart, 0));
    }
}

/// Writes to stdout; a reader that has seen enough, as `head`, is no error.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

/// Writes a line to stderr, whether or not somebody reads it.
pub fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints JSON, with line breaks.
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// The exit code: 2 for bad input and for what is not there, 1 for what went wrong on the device.
pub fn end(done: anyhow::Result<()>) -> ExitCode {
    let Err(e) = done else { return ExitCode::SUCCESS };
    let line = e.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    if !line.is_empty() {
        note(&format!("error: {}", line.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    match e.downcast_ref() {
        Some(Error::Device(_) | Error::Shader { .. } | Error::NotFinite { .. }) => ExitCode::from(1),
        None if e.is::<bench::Lost>() || e.is::<selftest::Failed>() || e.is::<Refuted>() => ExitCode::from(1),
        _ => ExitCode::from(2),
    }
}

/// Certified samples got another class, which the theorem forbids: how many, and in which runs.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error(
    "{0} certified samples flipped, which cannot be: {1}; this is a bug, please report it with what the run has written"
)]
pub struct Refuted(u64, String);

impl Refuted {
    /// Fails if there are such samples in any of the runs, each of which has a name.
    pub fn check(runs: impl IntoIterator<Item = (String, u64)>) -> Result<(), Self> {
        let (names, flips): (Vec<_>, Vec<_>) = runs.into_iter().filter(|(_, flips)| *flips > 0).unzip();
        if flips.is_empty() { Ok(()) } else { Err(Refuted(flips.iter().sum(), names.join(", "))) }
    }
}

/// A text in lines of up to 120 columns, the first behind a mark and the others as far to the right.
pub fn lines(mark: &str, text: &str) -> String {
    let indent = " ".repeat(mark.chars().count());
    let mut lines = vec![mark.to_owned()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a first");
        match line.chars().count() {
            n if n == indent.len() => *line += word,
            n if n + word.chars().count() < 120 => *line += &format!(" {word}"),
            _ => lines.push(format!("{indent}{word}")),
        }
    }
    lines.join("\n") + "\n"
}

/// What clap has to say: help as it is, a mistake as one line, with clap's tip and without its usage.
pub fn usage(e: &clap::Error) -> anyhow::Result<()> {
    if !e.use_stderr() {
        return print(&e.render().to_string());
    }
    let text = e.render().to_string();
    if !text.starts_with("error: ") {
        note(text.trim_end()); // no command at all: the help
        anyhow::bail!("")
    }
    let said = text.split("\n\n").take_while(|part| !part.starts_with("Usage:") && !part.starts_with("For more"));
    let said = said.map(str::trim).collect::<Vec<_>>().join("; ");
    anyhow::bail!("{}", said.trim_start_matches("error: "))
}

/// Makes the folder of a file, and fails now if the file could not be written there after hours of work.
pub fn prepare(file: &Path) -> halfgrad::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(|e| match folder.is_file() {
            true => Error::file(folder, "is a file, and must be a folder"),
            false => Error::file(folder, format!("cannot make this folder: {e}")),
        })?;
    }
    file::writable(file)
}

/// The adapter that was asked for, or the best, with the settings of the environment.
pub fn request(adapter: Option<&str>) -> anyhow::Result<Gpu> {
    Ok(pollster::block_on(Gpu::request(adapter.map_or(Choice::Best, Choice::from)))?)
}

impl DeviceArgs {
    /// The device, with what the environment says and then the flags.
    pub fn open(&self) -> anyhow::Result<Gpu> {
        let mut settings = Settings::from_env()?;
        if let Some(folder) = &self.tune {
            let usual = || Some(dirs::cache_dir()?.join("halfgrad"));
            let folder = folder.clone().or_else(usual);
            settings.tune = Some(folder.context("this user has no folder for caches: write --tune=FOLDER")?);
        }
        if let Some(list) = &self.without {
            settings = settings.without(list)?;
        }
        if let Some(bytes) = &self.memory {
            settings = settings.memory(bytes)?;
        }
        let gpu = request(self.adapter.as_deref())?;
        if settings == *gpu.settings() { Ok(gpu) } else { Ok(pollster::block_on(gpu.with(settings))?) }
    }
}

/// What is unusual in how a device is used, behind its name: `, without f16`.
pub fn describe_settings(gpu: &Gpu) -> String {
    let settings = gpu.settings().description();
    if settings.is_empty() { settings } else { format!(", {settings}") }
}

impl NetworkArgs {
    /// The model for samples of this shape.
    pub fn model(&self, sample: Shape) -> anyhow::Result<Model> {
        let of_mlp = self.hidden.is_none() || self.model == "mlp";
        anyhow::ensure!(of_mlp, "only mlp has --hidden layers to choose, {} has its own", self.model);
        let hidden = self.hidden.as_ref().map(|list| list.0.iter().map(|width| width.0).collect());
        let hidden = hidden.unwrap_or_else(|| Model::usual_hidden(sample));
        Ok(Model::named(&self.model, &hidden).expect("clap knows the names"))
    }
}

impl OptimizerArgs {
    /// The optimizer with the numbers given.
    pub fn optimizer(&self) -> anyhow::Result<Optimizer> {
        let rate = self.lr.unwrap_or_else(|| Optimizer::usual_learning_rate(&self.optimizer));
        let mut optimizer = Optimizer::named(&self.optimizer, rate).expect("clap knows the names");
        if let Some(momentum) = self.momentum {
            anyhow::ensure!(optimizer.name == "sgd", "only sgd has a --momentum, {} has none", optimizer.name);
            optimizer.momentum = momentum;
        }
        let adaptive = optimizer.name != "sgd";
        anyhow::ensure!(adaptive || self.epsilon.is_none(), "sgd has no --epsilon");
        let form = FORMS.iter().find(|(name, _)| *name == self.form).expect("clap knows the names").1;
        let adam = optimizer.name.starts_with("adam");
        anyhow::ensure!(adam || form == Form::Root, "only adam and adamw have a --form");
        optimizer.weight_decay = self.weight_decay.unwrap_or(optimizer.weight_decay);
        (optimizer.epsilon, optimizer.form) = (self.epsilon, form);
        optimizer.schedule = SCHEDULES.into_iter().find(|s| *s == self.schedule).expect("clap knows the names");
        (optimizer.warm_up, optimizer.accumulate) = (self.warm_up as usize, self.accumulate);
        (optimizer.clip_norm, optimizer.average) = (self.clip_norm, self.average);
        Ok(optimizer)
    }
}

/// The network, in a few words: `mlp 64-128-10`.
pub fn describe(model: &Model, sample: Shape, classes: usize) -> String {
    match model.name {
        "mlp" => {
            let widths = [&[sample.len()], &model.hidden[..], &[classes]].concat();
            format!("mlp {}", widths.iter().map(ToString::to_string).collect::<Vec<_>>().join("-"))
        }
        "gpt" => format!("gpt on {sample}, {classes} kinds of tokens"),
        name => format!("{name} on {sample}, {classes} classes"),
    }
}

/// The optimizer, in a few words: `sgd, lr 0.05, momentum 0.9`.
pub fn describe_optimizer(o: &Optimizer) -> String {
    let mut words = format!("{}, lr {}", o.name, o.learning_rate);
    let numbers = [
        ("momentum", o.momentum),
        ("weight decay", o.weight_decay),
        ("epsilon", o.epsilon.unwrap_or(0.0)),
        ("warm-up", o.warm_up as f32),
        ("gradients clipped at norm", o.clip_norm.unwrap_or(0.0)),
        ("average", o.average.unwrap_or(0.0)),
    ];
    if o.accumulate > 1 {
        words += &format!(", an update every {} batches", o.accumulate);
    }
    for (name, value) in numbers.into_iter().filter(|(_, value)| *value != 0.0) {
        words += &if value < 1e-3 { format!(", {name} {value:e}") } else { format!(", {name} {value}") };
    }
    if o.schedule != SCHEDULES[0] {
        words += &format!(", {} schedule", o.schedule);
    }
    if let Some((form, _)) = FORMS.iter().find(|(_, form)| o.form == *form && o.form != Form::Root) {
        words += &format!(", {form} form");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certified_flip_ends_with_code_1_and_names_its_runs() {
        let runs = |flips: [u64; 3]| ["a", "b", "c"].map(str::to_owned).into_iter().zip(flips);
        assert_eq!(Refuted::check(runs([0, 0, 0])), Ok(()));
        let refuted = Refuted::check(runs([2, 0, 5])).unwrap_err();
        assert!(refuted.to_string().starts_with("7 certified samples flipped, which cannot be: a, c; "), "{refuted}");
        assert_eq!(format!("{:?}", end(Err(refuted.into()))), format!("{:?}", ExitCode::from(1)));
    }

    #[test]
    fn texts_are_wrapped_behind_their_mark() {
        assert_eq!(lines("* ", "one two"), "* one two\n");
        let long = lines("* ", &["word"; 50].join(" "));
        assert!(
            long.lines().all(|line| line.len() <= 120) && long.lines().skip(1).all(|line| line.starts_with("  word"))
        );
        assert_eq!(long.lines().map(str::len).max(), Some("* ".len() + 23 * "word ".len() - 1));
    }
}
