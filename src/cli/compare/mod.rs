//! `halfgrad compare`: several adapters' files, one table, one page.

mod page;
mod plots;
mod table;

use std::path::{Path, PathBuf};

use anyhow::ensure;
use halfgrad::{
    Error,
    bench::report::{Entry, FORMAT, Report},
    file,
};

use crate::CompareArgs;

/// One file.
pub struct Machine {
    /// What the adapter is called in tables: no two are called alike.
    pub label: String,
    pub report: Report,
}

/// One workload in one precision, and what each machine needed.
pub struct Row<'a> {
    pub id: &'a str,
    pub precision: &'a str,
    /// In the order of the machines.
    pub entries: Vec<Option<&'a Entry>>,
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

/// Calls each machine by backend and name, and by its file where that is not enough.
fn label(paths: &[PathBuf], reports: Vec<Report>) -> Vec<Machine> {
    let short = |r: &Report| {
        let name = r.adapter.name.split(" (").next().unwrap_or_default();
        format!("{} {name}", r.adapter.backend)
    };
    let names: Vec<String> = reports.iter().map(short).collect();
    let labels = names.iter().enumerate().map(|(i, name)| match names.iter().filter(|n| *n == name).count() {
        1 => name.clone(),
        _ => format!("{name} · {}", paths[i].file_stem().unwrap_or_default().to_string_lossy()),
    });
    let labels: Vec<String> = labels.collect();
    labels.into_iter().zip(reports).map(|(label, report)| Machine { label, report }).collect()
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
                    rows.push(Row { id: &e.id, precision: &e.precision, entries });
                }
            }
        }
    }
    rows
}

impl Row<'_> {
    /// The fastest median, in milliseconds.
    pub fn best(&self) -> f64 {
        self.entries.iter().flatten().map(|e| e.ms().median).fold(f64::INFINITY, f64::min)
    }

    /// Which machines may be the fastest: those whose interval reaches down to that of the fastest.
    pub fn fastest(&self) -> Vec<bool> {
        let best = self.entries.iter().flatten().min_by(|a, b| a.ms().median.total_cmp(&b.ms().median));
        let high = best.map_or(0.0, |e| e.ms().high);
        self.entries.iter().map(|e| e.is_some_and(|e| e.ms().low <= high)).collect()
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
    let ratio = |r: &&Row| r.entries[machine].map_or(f64::NAN, |e| e.ms().median / r.best());
    let mut ratios: Vec<f64> = shared.iter().map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let n = ratios.len();
    (n > 0).then(|| Standing {
        mean: (ratios.iter().map(|r| r.ln()).sum::<f64>() / n as f64).exp(),
        quartiles: (ratios[n / 4], ratios[(3 * n / 4).min(n - 1)]),
        first: shared.iter().filter(|r| r.fastest()[machine]).count(),
        of: n,
    })
}
