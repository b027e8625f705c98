//! The comparison as a page.

use std::collections::BTreeSet;

use halfgrad::{
    Precision,
    bench::{
        report::{Entry, Limits, Rate, Report, Sample},
        suite::FAMILIES,
    },
};
use maud::{Markup, html};
use plotters::style::RGBColor;

use super::{
    Clock, Machine, Row,
    plots::{self, Dot},
    rows, settings, standing,
    table::{kernels, steps},
};
use crate::cli::{
    bench::{by_reason, clock, precision},
    numbers::{NONE, error, percent, size, spread, three},
    page::{self, Cell, SERIES, Section, figure, key, table},
};

const BY_FAMILY: &str = "By family: the dot is the geometric mean over its shapes and precisions, the bar holds the \
    middle half of them.";
const GAIN: &str = "The bar reaches from the least to the most that both intervals allow, or all runs where they are \
    too few for one; one that ends at the edge reaches beyond it.";
/// How many workloads are listed as an adapter's worst.
const WORST: usize = 6;

/// A page about these machines.
pub fn render(machines: &[Machine]) -> anyhow::Result<String> {
    let (kernels, steps) = (rows(machines, kernels), rows(machines, steps));
    let all: Vec<&Row> = kernels.iter().chain(&steps).collect();
    let report = &machines[0].report;
    let title = match machines {
        [one] => format!("halfgrad on {}", one.label),
        _ => format!("halfgrad on {} adapters", machines.len()),
    };
    let lead = html! { p {
        "halfgrad " (report.halfgrad) ", workloads " code { (report.suite) } ". Times are medians, by the devices’ \
         clocks, or where it says wall, since not all have one, by the hosts’, submission and wait included; what \
         stands small behind them is how far the interval of 95 % reaches, or of how few runs they are."
        @if let Some(said) = settings(machines) { " " (said) }
    } };
    let sections = [
        adapters(machines),
        ranking(machines, &all)?,
        rooflines(machines)?,
        gains(machines, &all)?,
        times("Training steps", machines, &steps),
        losses(machines, &all),
        errors(machines, &all),
        times("Kernels", machines, &kernels),
        sizes(),
        missing(machines),
    ];
    Ok(page::render(&title, lead, &sections))
}

fn header(first: &[&str], machines: &[Machine]) -> Vec<String> {
    first.iter().map(ToString::to_string).chain(machines.iter().map(|m| m.label.clone())).collect()
}

fn machine_key(machines: &[Machine]) -> Markup {
    key(machines.iter().enumerate().map(|(i, m)| (m.label.as_str(), colour(i))))
}

fn colour(machine: usize) -> RGBColor {
    SERIES[machine % SERIES.len()]
}

fn adapters(machines: &[Machine]) -> Section {
    let mut facts: Vec<Vec<Cell>> = vec![];
    let mut fact = |name: &str, of: &dyn Fn(&Report) -> Cell| {
        facts.push([name.into()].into_iter().chain(machines.iter().map(|m| of(&m.report))).collect());
    };
    fact("adapter", &|r| r.adapter.name.clone().into());
    fact("driver", &|r| format!("{} {}", r.adapter.driver, r.adapter.driver_info).trim().into());
    fact("kind", &|r| format!("{}, {}", r.adapter.kind, r.adapter.system).into());
    fact("PCI vendor and device", &|r| format!("{:#06x}, {:#06x}", r.adapter.vendor, r.adapter.device).into());
    fact("16 bit", &|r| if r.adapter.shader_f16 { "native f16" } else { "packed in words" }.into());
    fact("time by", &|r| if r.adapter.timestamps { "device clock" } else { "host clock" }.into());
    fact("settings", &|r| if r.settings.is_empty() { "as usual".into() } else { r.settings.as_str().into() });
    fact("clocks", &|r| match r.clocks.is_empty() {
        true => "not told".into(),
        false => r.clocks.iter().map(clock).collect::<Vec<_>>().join(", ").into(),
    });
    let names = |of: fn(&Limits) -> &Vec<Rate>| {
        let mut seen = BTreeSet::new();
        let all = machines.iter().flat_map(move |m| of(&m.report.limits)).map(|r| r.name.clone());
        all.filter(|name| seen.insert(name.clone())).collect::<Vec<_>>()
    };
    for (what, unit, of) in
        [("multiply-adds", "GFLOP/s", (|l| &l.fma) as fn(&Limits) -> &Vec<Rate>), ("copy", "GB/s", |l| &l.copy)]
    {
        for name in names(of) {
            fact(&format!("{what}, {name}, {unit}"), &|r| {
                of(&r.limits).iter().find(|rate| rate.name == name).map_or(NONE.into(), |rate| value(&rate.rate))
            });
        }
    }
    fact("upload, GB/s", &|r| value(&r.limits.upload));
    fact("readback, GB/s", &|r| value(&r.limits.readback));
    fact("one dispatch more, µs", &|r| value(&r.limits.dispatch_us));
    fact("submission and wait, µs", &|r| value(&r.limits.submit_us));
    fact("new pipeline, ms", &|r| value(&r.limits.pipeline_ms));
    Section {
        title: "Adapters",
        note:
            "What they are, and what they can do: rates of a loop of multiply-adds in registers and of copies between \
               buffers much larger than a cache."
                .into(),
        content: table(1, &header(&[""], machines), &facts),
    }
}

fn value(sample: &Sample) -> Cell {
    Cell { small: spread(sample), ..three(sample.median).into() }
}

fn ranking(machines: &[Machine], all: &[&Row]) -> anyhow::Result<Section> {
    let mut ranks: Vec<_> =
        (0..machines.len()).filter_map(|m| Some((standing(all.iter().copied(), m)?, &machines[m].label))).collect();
    ranks.sort_by(|a, b| a.0.mean.total_cmp(&b.0.mean));
    let row = |(s, label): &(super::Standing, &String)| -> Vec<Cell> {
        vec![
            label.as_str().into(),
            three(s.mean).into(),
            format!("{} to {}", three(s.quartiles.0), three(s.quartiles.1)).into(),
            format!("{} of {}", s.first, s.of).into(),
        ]
    };
    let head = ["", "times the fastest", "half of the workloads", "first or not told apart"].map(String::from);
    let names = families(all);
    let mut dots = vec![];
    for (i, family) in names.iter().enumerate() {
        for series in 0..machines.len() {
            let rows = all.iter().copied().filter(|r| self::family(r.id) == family);
            if let Some(s) = standing(rows, series) {
                let value = Sample { median: s.mean, low: s.quartiles.0, high: s.quartiles.1, runs: s.of };
                dots.push(Dot { row: i, series, value });
            }
        }
    }
    let plot = plots::dots(&names, machines.len(), &dots, "time over that of the fastest adapter")?;
    Ok(Section {
        title: "Ranking",
        note: "Time over that of the fastest adapter, in geometric means over the workloads that all have run: \
            1 is always the fastest."
            .into(),
        content: html! {
            (table(1, &head, &ranks.iter().map(row).collect::<Vec<_>>()))
            (machine_key(machines))
            (figure(plot, BY_FAMILY))
        },
    })
}

/// The id without its sizes.
fn family(id: &str) -> &str {
    let (name, sizes) = id.rsplit_once(' ').unwrap_or((id, ""));
    // "mlp batch 16" is a step: the network is its family.
    if sizes.contains('×') { name } else { name.strip_suffix(" batch").unwrap_or(name) }
}

fn families(rows: &[&Row]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    rows.iter().map(|r| family(r.id).to_owned()).filter(|name| seen.insert(name.clone())).collect()
}

fn rooflines(machines: &[Machine]) -> anyhow::Result<Section> {
    let entries = || machines.iter().flat_map(|m| m.report.kernels.iter().chain(&m.report.steps));
    let present = Precision::PRESETS.iter().map(|(name, _)| *name).filter(|p| entries().any(|e| e.precision == *p));
    let mut content = vec![];
    for machine in machines {
        let skipped = machine.report.kernels.iter().filter(|e| e.flops == 0).count();
        let caption = format!(
            "Dots are kernels, triangles whole training steps; {skipped} kernels that only move data have no place \
             here. Above the line are those whose operands stay in a cache."
        );
        content.push(html! { h3 { (machine.label) } (figure(plots::roofline(machine)?, &caption)) });
    }
    Ok(Section {
        title: "Rooflines",
        note:
            "How many FLOPs a second each workload does, by how many it does for each byte that it moves. The slope is \
               the fastest copy, the flat lines are multiply-adds in registers, both as measured."
                .into(),
        content: html! { (key(present.map(|p| (p, plots::colour(p))))) @for c in content { (c) } },
    })
}

fn gains(machines: &[Machine], all: &[&Row]) -> anyhow::Result<Section> {
    let of = |id: &str, precision: &str| all.iter().find(|r| r.id == id && r.precision == precision);
    let ids: Vec<&str> =
        all.iter().filter(|r| r.precision == "f32" && of(r.id, "f16").is_some()).map(|r| r.id).collect();
    let mut dots = vec![];
    for (row, id) in ids.iter().enumerate() {
        for series in 0..machines.len() {
            let entry = |precision| of(id, precision).and_then(|r| r.entries[series]);
            if let (Some(f32), Some(f16)) = (entry("f32"), entry("f16")) {
                let clock = Clock::of([f32, f16]);
                let (f32, f16) = (clock.ms(f32), clock.ms(f16));
                let (low, high) = (f32.low / f16.high, f32.high / f16.low);
                dots.push(Dot {
                    row,
                    series,
                    value: Sample { median: f32.median / f16.median, low, high, runs: f16.runs },
                });
            }
        }
    }
    let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let content = match dots.is_empty() {
        true => html! { p { "No file has both f32 and f16." } },
        false => {
            let plot = plots::dots(&names, machines.len(), &dots, "time in f32 over time in f16")?;
            html! { (machine_key(machines)) (figure(plot, GAIN)) }
        }
    };
    Ok(Section {
        title: "Gain of f16",
        note: "How many times faster than f32 the same workload is in f16, that is with halves in memory and \
            f32 in registers: to the right of 1 it gains."
            .into(),
        content,
    })
}

fn times(title: &'static str, machines: &[Machine], rows: &[Row]) -> Section {
    let cell = |row: &Row, machine: usize, best: bool| match (row.entries[machine], row.ms(machine)) {
        (Some(e), Some(ms)) => Cell {
            small: format!("{} · {}", spread(&ms), percent(e.roofline)),
            best: best && machines.len() > 1,
            ..three(ms.median).into()
        },
        _ => NONE.into(),
    };
    let line = |row: &Row| {
        let memory = row.entries.iter().flatten().map(|e| e.device_bytes).max().map_or(NONE.into(), size);
        let times = row.fastest().into_iter().enumerate().map(|(m, best)| cell(row, m, best));
        let precision = Cell { small: row.mark().into(), ..row.precision.into() };
        [row.id.into(), precision, memory.into()].into_iter().chain(times).collect::<Vec<Cell>>()
    };
    Section {
        title,
        note: "Milliseconds, the reach of the interval, the share of the adapter’s own roofline. Bold is the \
            fastest, or not told apart from it. Memory is that of buffers on the device."
            .into(),
        content: table(2, &header(&["", "precision", "memory"], machines), &rows.iter().map(line).collect::<Vec<_>>()),
    }
}

fn losses(machines: &[Machine], all: &[&Row]) -> Section {
    let behind = |m: usize| {
        let ratio = |r: &&&Row| r.behind(m).unwrap_or(0.0);
        let mut rows: Vec<&&Row> =
            all.iter().filter(|r| r.entries.iter().flatten().count() > 1 && ratio(r) > 1.0).collect();
        rows.sort_by(|a, b| ratio(b).total_cmp(&ratio(a)));
        let line = |r: &&&Row| vec![r.id.into(), r.precision.into(), Cell::from(format!("{} ×", three(ratio(r))))];
        rows.iter().take(WORST).map(line).collect::<Vec<_>>()
    };
    let unused = |m: usize| {
        let mut entries: Vec<&Entry> = all.iter().filter_map(|r| r.entries[m]).collect();
        entries.sort_by(|a, b| a.roofline.total_cmp(&b.roofline));
        let line = |e: &&Entry| vec![e.id.as_str().into(), precision(e).into(), Cell::from(percent(e.roofline))];
        entries.iter().take(WORST).map(line).collect::<Vec<_>>()
    };
    let head = |what: &str| ["", "precision", what].map(String::from);
    Section {
        title: "Where each loses",
        note: "For each adapter the workloads on which it is farthest behind the fastest, in times of its time, and \
            those that use the least of its own roofline."
            .into(),
        content: html! { @for (m, machine) in machines.iter().enumerate() {
            h3 { (machine.label) }
            div.pair {
                @if machines.len() > 1 { (table(2, &head("behind"), &behind(m))) }
                (table(2, &head("of roof"), &unused(m)))
            }
        } },
    }
}

fn errors(machines: &[Machine], all: &[&Row]) -> Section {
    let known = all.iter().filter(|r| r.entries.iter().flatten().any(|e| e.error.is_some()));
    let line = |row: &&Row| {
        let errors = row.entries.iter().map(|e| error(e.and_then(|e| e.error)).into());
        [row.id.into(), row.precision.into()].into_iter().chain(errors).collect::<Vec<Cell>>()
    };
    Section {
        title: "Errors",
        note: "The largest difference from the same computation in f64, over the largest magnitude; of a \
            training step, that of its first loss. Workloads that f64 would take too long for are left out."
            .into(),
        content: table(2, &header(&["", "precision"], machines), &known.map(line).collect::<Vec<_>>()),
    }
}

fn sizes() -> Section {
    let rows: Vec<Vec<Cell>> = FAMILIES.iter().map(|f| vec![f.name.into(), f.axes.into()]).collect();
    Section {
        title: "Sizes",
        note: "What the numbers behind a kernel’s name are. A training step is forward, backward and update by \
            sgd with momentum."
            .into(),
        content: table(2, &["kernel", "sizes"].map(String::from), &rows),
    }
}

fn missing(machines: &[Machine]) -> Section {
    let row = |m: &Machine| {
        let label = m.label.clone();
        let reasons = by_reason(&m.report.not_run).into_iter();
        reasons.map(|(why, names)| [label.clone(), why.to_owned(), names].map(Cell::from).to_vec()).collect::<Vec<_>>()
    };
    Section {
        title: "Not run",
        note: "What is missing from each file, and why.".into(),
        content: table(3, &["", "why", "what"].map(String::from), &machines.iter().flat_map(row).collect::<Vec<_>>()),
    }
}
