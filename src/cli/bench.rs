//! `halfgrad bench`: measures one adapter, prints a table, writes a file for `halfgrad compare`.

use std::collections::BTreeMap;

use comfy_table::{Cell, Table};
use halfgrad::{
    bench::{
        self, Scope,
        report::{Clock, Entry, NotRun, Rate, Report, Sample},
    },
    file,
    gpu::title,
};

use super::{
    describe_settings,
    numbers::{NONE, error, percent, size, spread, three},
    print,
    progress::Count,
    record,
};
use crate::BenchArgs;

const HEADER: [&str; 10] =
    ["", "precision", "ms", "spread", "wall", "GFLOP/s", "GB/s", "of\nroof", "error", "device\nbytes"];

const NOTES: &str = "\
ms: median by the device's clock, one pass a dispatch, or by the host's if the device has none; spread: how far its
interval of 95 % reaches, or how many runs there were if fewer than six, too few for one; wall: ms by the host's clock,
submission and wait included. Of roof: the time that the measured limits allow over the time taken; more than 100 %
where operands fit a cache. Error: the largest difference from f64 over the largest magnitude, of steps that of the
first loss; – where f64 would take too long.
";

/// Measures an adapter.
pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    if let Some(path) = &args.json {
        file::writable(path)?;
    }
    let gpu = args.device.open()?;
    let mut scope = Scope::new(args.quick);
    if let Some(precisions) = &args.precision {
        scope.precisions = precisions.0.clone();
    }
    let driver = record::Adapter::of_gpu(&gpu).driver_line();
    print(&format!("{}, {driver}{}\n", title(gpu.info()), describe_settings(&gpu)))?;

    let count = Count::new();
    let report = bench::run(&gpu, &scope, &mut |at| count.position(at.what, at.done, at.all));
    count.finish();
    let report = report?;
    print(&render(&report))?;
    if let Some(path) = &args.json {
        file::write_atomically(path, |file| {
            serde_json::to_writer_pretty(&mut *file, &report)?;
            file.write_all(b"\n")
        })?;
        print(&format!("All numbers are in {}\n", path.display()))?;
    }
    match report.lost {
        Some(lost) => Err(Lost(lost).into()),
        None => Ok(()),
    }
}

/// A device that was lost before the end: what was measured until then is in the report.
#[derive(Debug, thiserror::Error)]
#[error("{0}; the report has what was measured before")]
pub struct Lost(String);

/// The report for a terminal.
fn render(report: &Report) -> String {
    let mut text = limits(report);
    for (name, entries) in [("kernels", &report.kernels), ("training steps", &report.steps)] {
        if !entries.is_empty() {
            text += &format!("\n{name}\n{}\n", table(entries).trim_fmt());
        }
    }
    text + NOTES + &not_run(&report.not_run) + &format!("{}, {:.0} s\n", report.suite, report.seconds)
}

fn limits(report: &Report) -> String {
    let l = &report.limits;
    let list = |what: &str, unit: &'static str, rates: &[Rate]| -> Vec<(String, Sample, &str)> {
        rates.iter().map(|r| (format!("{what} {}", r.name), r.rate, unit)).collect()
    };
    let rows = [
        list("multiply-adds in", "GFLOP/s", &l.fma),
        list("copy by", "GB/s", &l.copy),
        vec![
            ("upload".into(), l.upload, "GB/s"),
            ("readback".into(), l.readback, "GB/s"),
            ("one dispatch more".into(), l.dispatch_us, "µs"),
            ("submission and wait".into(), l.submit_us, "µs"),
            ("a new pipeline".into(), l.pipeline_ms, "ms"),
        ],
    ];
    let row = |(what, sample, unit): &(String, Sample, &str)| {
        format!("{what:<27} {:>8} {unit:<8} {:>8}\n", three(sample.median), spread(sample))
    };
    let clocks = report.clocks.iter().map(clock).collect::<Vec<_>>().join(", ");
    let clocks = if clocks.is_empty() { "the system does not tell" } else { &clocks };
    format!("{}clocks: {clocks}\n", rows.concat().iter().map(row).collect::<String>())
}

/// A clock's rates before and after: `processor 2600 → 2600 MHz`.
pub fn clock(c: &Clock) -> String {
    format!("{} {:.0} → {:.0} MHz", c.of, c.start_mhz, c.end_mhz)
}

fn table(entries: &[Entry]) -> Table {
    let mut table = Table::new();
    table.load_style(super::TABLE).set_header(HEADER);
    let mut last = "";
    for e in entries {
        let name = if e.id == last { "" } else { &e.id };
        last = &e.id;
        let ms = e.ms();
        let rate = |x: f64| if x == 0.0 { NONE.to_owned() } else { three(x) };
        table.add_row(
            [
                name.to_owned(),
                precision(e),
                three(ms.median),
                spread(&ms),
                three(e.wall_ms.median),
                rate(e.gflops),
                rate(e.gbps),
                percent(e.roofline),
                error(e.error),
                size(e.device_bytes),
            ]
            .map(Cell::new),
        );
    }
    super::align_right(&mut table, 2, 1);
    table.column_mut(0).expect("there are ten").set_padding((0, 0));
    table
}

/// The precision, and how the adapter runs it if that is not native.
pub fn precision(e: &Entry) -> String {
    if e.how == "native" { e.precision.clone() } else { format!("{} {}", e.precision, e.how) }
}

/// What is missing, by reason.
fn not_run(missing: &[NotRun]) -> String {
    by_reason(missing).iter().map(|(reason, names)| format!("not run, {reason}: {names}\n")).collect()
}

/// Each reason, and how many entries or which if there are few.
pub fn by_reason(missing: &[NotRun]) -> BTreeMap<&str, String> {
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for n in missing {
        reasons.entry(&n.reason).or_default().push(format!("{} in {}", n.id, n.precision));
    }
    let shown = |names: Vec<String>| match names.len() {
        0..=4 => names.join(", "),
        n => format!("{n} entries, from {} to {}", names[0], names[n - 1]),
    };
    reasons.into_iter().map(|(reason, names)| (reason, shown(names))).collect()
}
