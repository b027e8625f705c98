//! `halfgrad selftest`: every kernel on this machine's adapter, and a report to paste in an issue.

use std::{collections::BTreeMap, fmt::Write};

use halfgrad::{
    check::{Cause, Fault, Report, selftest},
    gpu::title,
    ops,
};
use serde::Serialize;

use super::{progress::Count, record};
use crate::SelftestArgs;

/// Faults that the report lists of each kernel; the others are counted.
const LISTED: usize = 3;

#[derive(Serialize)]
struct Json {
    versions: record::Versions,
    system: String,
    adapter: record::Adapter,
    without: String,
    quick: bool,
    passed: bool,
    /// How the device was lost, if it was.
    lost: Option<String>,
    seconds: f64,
    shaders: usize,
    precisions: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    precision: String,
    how: &'static str,
    trials: usize,
    /// What should have been tried after the device was lost.
    untried: usize,
    pipelines: usize,
    faults: Vec<Wrong>,
}

#[derive(Serialize)]
struct Wrong {
    shaders: Vec<String>,
    case: String,
    detail: String,
    index: Option<Vec<usize>>,
    found: Option<f32>,
    expected: Option<f64>,
    tolerance: Option<f64>,
}

/// Trials that went wrong on the device.
#[derive(Debug, thiserror::Error)]
#[error("{0} of the self-test's trials failed")]
pub struct Failed(usize);

/// Runs it and prints the report.
pub fn run(args: &SelftestArgs) -> anyhow::Result<()> {
    let gpu = args.device.open()?;
    let count = Count::new();
    let report = selftest(&gpu, &ops::cases(), args.quick, &|done, all| count.position("self-test", done, all))?;
    count.finish();
    let adapter = record::Adapter::of_gpu(&gpu);
    let json = Json {
        versions: record::Versions { halfgrad: env!("CARGO_PKG_VERSION"), driver: adapter.driver_line() },
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        without: gpu.settings().to_string(),
        quick: args.quick,
        passed: report.passed(),
        lost: report.lost.as_ref().map(ToString::to_string),
        seconds: report.seconds,
        shaders: report.files.len(),
        precisions: report.rows.iter().map(Row::of).collect(),
        adapter,
    };
    match args.json {
        true => super::print_json(&json)?,
        false => super::print(&text(&json, &title(gpu.info()), &report))?,
    }
    let wrong = report.rows.iter().map(|row| row.faults.len()).sum();
    match report.lost {
        Some(lost) => Err(lost.into()),
        None if wrong == 0 => Ok(()),
        None => Err(Failed(wrong).into()),
    }
}

impl Row {
    fn of(row: &halfgrad::check::Row) -> Self {
        Row {
            precision: row.precision.to_string(),
            how: row.how,
            trials: row.trials,
            untried: row.untried,
            pipelines: row.pipelines,
            faults: row.faults.iter().map(Wrong::of).collect(),
        }
    }
}

impl Wrong {
    fn of(fault: &Fault) -> Self {
        let (mut index, mut numbers) = (None, None);
        if let Cause::Value { index: at, found, expected, tolerance, .. } = &fault.cause {
            (index, numbers) = (Some(at.clone()), Some((*found, *expected, *tolerance)));
        }
        Wrong {
            shaders: fault.files.iter().map(|file| format!("shaders/{file}.wgsl")).collect(),
            case: fault.case.clone(),
            detail: fault.cause.to_string(),
            index,
            found: numbers.map(|n| n.0).filter(|v| v.is_finite()),
            expected: numbers.map(|n| n.1),
            tolerance: numbers.map(|n| n.2),
        }
    }
}

fn text(json: &Json, adapter: &str, report: &Report) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a string takes any text");
    let quick = if json.quick { " --quick" } else { "" };
    line(format!("halfgrad {} selftest{quick} on {}", json.versions.halfgrad, json.system));
    line(format!("adapter  {adapter}, {}", json.adapter.r#type));
    line(format!("driver   {}", json.versions.driver));
    if !json.without.is_empty() {
        line(format!("without  {}", json.without));
    }
    line(String::new());
    for row in &report.rows {
        let result = match (row.faults.len(), row.untried) {
            (0, 0) => "all right".to_owned(),
            (0, untried) => format!("all right, {untried} not tried"),
            (wrong, 0) => format!("{wrong} WRONG"),
            (wrong, untried) => format!("{wrong} WRONG, {untried} not tried"),
        };
        let (precision, how) = (row.precision.to_string(), row.how);
        line(format!("{precision:<11}{how:<7}{:>5} trials of {:>4} pipelines: {result}", row.trials, row.pipelines));
    }
    line(String::new());
    suspects(report).into_iter().for_each(&mut line);
    if let Some(lost) = &json.lost {
        let faults = report.rows.iter().any(|row| !row.faults.is_empty());
        line(format!("LOST: {lost}{}", if faults { "; what ran at that moment is named above" } else { "" }));
        line(String::new());
    }
    line(format!("{} shader files, {:.0} s", json.shaders, json.seconds));
    text
}

/// What is wrong, by the files that it comes from.
fn suspects(report: &Report) -> Vec<String> {
    let mut by_files: BTreeMap<String, Vec<(&str, &Fault)>> = BTreeMap::new();
    for (how, fault) in report.rows.iter().flat_map(|row| row.faults.iter().map(|fault| (row.how, fault))) {
        let files: Vec<String> = fault.files.iter().map(|file| format!("shaders/{file}.wgsl")).collect();
        by_files.entry(files.join(" or ")).or_default().push((how, fault));
    }
    let mut lines = vec![];
    for (files, faults) in by_files {
        lines.push(format!("WRONG: {files}"));
        for (how, fault) in faults.iter().take(LISTED) {
            lines.push(format!("  {} in {}, {how}:", fault.case, fault.precision));
            lines.push(format!("    {}", fault.cause));
        }
        if faults.len() > LISTED {
            lines.push(format!("  and {} more trials; --json lists all", faults.len() - LISTED));
        }
        lines.push(String::new());
    }
    lines
}
