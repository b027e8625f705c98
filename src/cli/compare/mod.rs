//! `halfgrad compare`: several adapters' files, one table, one page.

mod page;
mod plots;
mod table;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::ensure;
use halfgrad::{
    Error,
    bench::report::{Entry, FORMAT, Report, Sample},
    file,
};

use crate::CompareArgs;

/// One file.
pub struct Machine {
    /// What the adapter is called in tables: no two are called alike.
    pub label: String,
    pub report: Report,
}

/// Whose clock times are taken by: what is compared is taken by one. The host's has submission, gaps between dispatches
/// and the wait in it, so it is taken only where somebody has no other.
#[derive(Clone, Copy, PartialEq)]
pub enum Clock {
    Device,
    Host,
}

impl Clock {
    /// The one that all of these have.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        if entries.into_iter().all(|e| e.gpu_ms.is_some()) { Clock::Device } else { Clock::Host }
    }

    /// The milliseconds of an entry.
    pub fn ms(self, e: &Entry) -> Sample {
        match self {
            Clock::Device => e.ms(),
            Clock::Host => e.wall_ms,
        }
    }
}

/// One workload in one precision, and what each machine needed.
pub struct Row<'a> {
    pub id: &'a str,
    pub precision: &'a str,
    /// In the order of the machines.
    pub entries: Vec<Option<&'a Entry>>,
    pub clock: Clock,
}

/// Compares the files.
pub fn run(args: &CompareArgs) -> anyhow::Result<()> {
    let reports = args.files.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<_>>>()?;
    for (path, report) in args.files.iter().zip(&reports).skip(1) {
        matches(&args.files[0], &reports[0], path, report)?;
    }
    let machines = label(&args.files, reports);
    super::print(&table::render(&machines))?;
    if let Some(path) = &args.out {
        let page = page::render(&machines)?;
        file::write_atomically(path, |file| file.write_all(page.as_bytes()))?;
        super::print(&format!("The page is {}\n", path.display()))?;
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Report> {
    let refuse = |detail: String| Error::file(path, detail);
    let json: serde_json::Value = serde_json::from_slice(&file::read(path)?)
        .map_err(|e| refuse(format!("not what halfgrad bench --json writes: {e}")))?;
    let format = json.get("format").and_then(serde_json::Value::as_u64);
    match format {
        Some(n) if n == u64::from(FORMAT) => {}
        Some(n) => return Err(refuse(format!("has format {n}, this version reads {FORMAT}: measure again")).into()),
        None => return Err(refuse("not what halfgrad bench --json writes: it has no \"format\"".into()).into()),
    }
    Ok(serde_json::from_value(json).map_err(|e| refuse(format!("broken: {e}")))?)
}

/// Results of different code or different work say nothing about adapters.
fn matches(first: &Path, a: &Report, path: &Path, b: &Report) -> anyhow::Result<()> {
    let first = first.display();
    let same = [("version", &a.halfgrad, &b.halfgrad), ("workloads", &a.suite, &b.suite)];
    for (what, a, b) in same {
        ensure!(
            a == b,
            Error::file(path, format!("its {what} are not those of {first}: {b} and {a}; measure both alike"))
        );
    }
    Ok(())
}

/// Calls each machine by backend and name, and by its file where that is not enough: with as much of the path as tells
/// it from the others, and with a number if one file is given twice.
fn label(paths: &[PathBuf], reports: Vec<Report>) -> Vec<Machine> {
    let short = |r: &Report| {
        let name = r.adapter.name.split(" (").next().unwrap_or_default();
        format!("{} {name}", r.adapter.backend)
    };
    let names: Vec<String> = reports.iter().map(short).collect();
    let label = |(i, name): (usize, &String)| {
        let alike: Vec<usize> = (0..names.len()).filter(|&k| names[k] == *name).collect();
        if alike.len() == 1 {
            return name.clone();
        }
        let most = alike.iter().map(|&k| paths[k].components().count()).max().unwrap_or(0);
        let told = (1..=most).find(|&parts| {
            let ends: BTreeSet<String> = alike.iter().map(|&k| end(&paths[k], parts)).collect();
            ends.len() == alike.len()
        });
        match told {
            Some(parts) => format!("{name} · {}", end(&paths[i], parts)),
            None => format!("{name} · {} ({})", end(&paths[i], most), 1 + alike.iter().filter(|&&k| k < i).count()),
        }
    };
    let labels: Vec<String> = names.iter().enumerate().map(label).collect();
    labels.into_iter().zip(reports).map(|(label, report)| Machine { label, report }).collect()
}

/// The last so many parts of a path, without the extension.
fn end(path: &Path, parts: usize) -> String {
    let path = path.with_extension("");
    let parts: PathBuf = path.components().skip(path.components().count().saturating_sub(parts)).collect();
    parts.display().to_string()
}

/// What is unusual in how the machines were used, if anything is, and whether it is the same for all.
pub fn settings(machines: &[Machine]) -> Option<String> {
    let said = |m: &Machine| if m.report.settings.is_empty() { "as usual".into() } else { m.report.settings.clone() };
    let all: BTreeSet<String> = machines.iter().map(said).collect();
    match all.first()?.as_str() {
        "as usual" if all.len() == 1 => None,
        same if all.len() == 1 => Some(format!("Settings of all: {same}.")),
        _ => {
            let each = machines.iter().map(|m| format!("{}: {}", m.label, said(m)));
            Some(format!("Settings differ: {}.", each.collect::<Vec<_>>().join("; ")))
        }
    }
}

/// Every workload that some machine has run, in the order of the files.
pub fn rows<'a>(machines: &'a [Machine], of: fn(&Report) -> &Vec<Entry>) -> Vec<Row<'a>> {
    let mut rows: Vec<Row> = vec![];
    for (m, machine) in machines.iter().enumerate() {
        for e in of(&machine.report) {
            let known = rows.iter_mut().find(|r| r.id == e.id && r.precision == e.precision);
            match known {
                Some(row) => row.entries[m] = Some(e),
                None => {
                    let mut entries = vec![None; machines.len()];
                    entries[m] = Some(e);
                    rows.push(Row { id: &e.id, precision: &e.precision, entries, clock: Clock::Device });
                }
            }
        }
    }
    rows.iter_mut().for_each(|row| row.clock = Clock::of(row.entries.iter().copied().flatten()));
    rows
}

impl Row<'_> {
    /// What a machine took, in milliseconds.
    pub fn ms(&self, machine: usize) -> Option<Sample> {
        self.entries[machine].map(|e| self.clock.ms(e))
    }

    fn times(&self) -> impl Iterator<Item = Option<Sample>> {
        (0..self.entries.len()).map(|m| self.ms(m))
    }

    /// How many times the fastest one's median a machine took.
    pub fn behind(&self, machine: usize) -> Option<f64> {
        let best = self.times().flatten().map(|t| t.median).fold(f64::INFINITY, f64::min);
        Some(self.ms(machine)?.median / best)
    }

    /// Which machines may be the fastest: those whose interval reaches down to that of the fastest.
    pub fn fastest(&self) -> Vec<bool> {
        let best = self.times().flatten().min_by(|a, b| a.median.total_cmp(&b.median));
        let high = best.map_or(0.0, |t| t.high);
        self.times().map(|t| t.is_some_and(|t| t.low <= high)).collect()
    }

    /// What stands behind the precision if times are the host's.
    pub fn mark(&self) -> &'static str {
        if self.clock == Clock::Host { "wall" } else { "" }
    }
}

/// How many times the fastest one's time a machine takes.
pub struct Standing {
    /// The geometric mean over the workloads that all machines have run.
    pub mean: f64,
    /// Between these lies half of the workloads.
    pub quartiles: (f64, f64),
    /// Workloads on which no other machine is faster beyond doubt.
    pub first: usize,
    /// Workloads that all have run.
    pub of: usize,
}

/// Each machine's standing in some rows; `None` if there is no workload that all have run.
pub fn standing<'a>(rows: impl Iterator<Item = &'a Row<'a>>, machine: usize) -> Option<Standing> {
    let shared: Vec<&Row> = rows.filter(|r| r.entries.iter().all(Option::is_some)).collect();
    let mut ratios: Vec<f64> = shared.iter().filter_map(|r| r.behind(machine)).collect();
    ratios.sort_by(f64::total_cmp);
    let n = ratios.len();
    (n > 0).then(|| Standing {
        mean: (ratios.iter().map(|r| r.ln()).sum::<f64>() / n as f64).exp(),
        quartiles: (ratios[n / 4], ratios[(3 * n / 4).min(n - 1)]),
        first: shared.iter().filter(|r| r.fastest()[machine]).count(),
        of: n,
    })
}
