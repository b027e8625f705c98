//! Time and memory.

use super::{
    folder::Folder,
    page::{Block, Figure, Part, cell, file_name, folded, maybe, of_group},
    plots::{Bar, Intervals, Row, bars},
};
use crate::cli::{
    experiment::record::{Group, Variant},
    numbers::{size, three},
    page::Cell,
};

/// Groups that are drawn; all are in the table.
const GROUPS: usize = 3;
const PARTS: [&str; 4] = ["weights", "optimizer", "gradients", "activations"];

/// Section, plots and table.
pub fn part(folder: &Folder) -> anyhow::Result<Part> {
    let mut figures = vec![];
    for group in folder.telling(GROUPS) {
        let of = of_group(group);
        let times: Vec<Row> = group.variants.iter().filter_map(|v| time(folder, v)).collect();
        if !times.is_empty() {
            let (title, range) = (format!("Time of a step{of}"), Intervals::range(times.iter(), (0.0, f64::MAX)));
            let plot = Intervals { title: &title, axis: "ms", rows: times, zone: None, range };
            figures.push(Figure { name: file_name(&["time", &of]), svg: plot.draw()? });
        }
        let rows: Vec<Bar> = group.variants.iter().map(|v| bar(folder, v)).collect();
        let (title, axis) = (format!("Memory on the device{of}"), "MB");
        figures.push(Figure { name: file_name(&["memory", &of]), svg: bars(&title, axis, PARTS, &rows)? });
    }
    Ok(Part {
        title: "Time and memory",
        note: "A step’s time is that of host and device, warm: large marks are medians over the runs, small dots single runs. Memory \
            is that of the buffers of a training plan."
            .into(),
        blocks: vec![Block::Figures(figures, folder.told(GROUPS)), Block::Words(numbers(&folder.experiment.groups))],
    })
}

fn time(folder: &Folder, v: &Variant) -> Option<Row> {
    let ms = v.step_ms?;
    Some(Row {
        name: v.name.clone(),
        look: folder.look(&v.name),
        runs: folder.runs_of(v).filter_map(|r| r.step_ms).collect(),
        mean: ms,
        interval: None,
        text: format!("{} ms", three(ms)),
    })
}

fn bar(folder: &Folder, v: &Variant) -> Bar {
    let b = &v.device_bytes;
    Bar {
        name: v.name.clone(),
        look: folder.look(&v.name),
        parts: [b.weights, b.optimizer, b.gradients, b.activations].map(|bytes| bytes as f64 / 1e6),
        text: size(b.total),
    }
}

fn numbers(groups: &[Group]) -> maud::Markup {
    let several = groups.len() > 1;
    let mut header = vec![""];
    header.extend(several.then_some("group"));
    header.extend(["step, ms", "run, s"]);
    header.extend(PARTS);
    header.extend(["together", "steps skipped"]);
    let published = groups.iter().flat_map(|g| &g.variants).any(|v| v.published.is_some());
    header.extend(published.then_some("published, s of 100 epochs"));
    let row = |g: &Group, v: &Variant| {
        let b = &v.device_bytes;
        let mut cells: Vec<Cell> = vec![v.name.as_str().into()];
        cells.extend(several.then(|| g.name.as_str().into()));
        cells.extend([maybe(v.step_ms, three), cell(v.seconds, &three(v.seconds))]);
        let bytes = [b.weights, b.optimizer, b.gradients, b.activations, b.total];
        cells.extend(bytes.map(|bytes| cell(bytes, &size(bytes))));
        cells.push(cell(v.skipped_steps, &v.skipped_steps.to_string()));
        cells.extend(published.then(|| maybe(v.published.as_ref().map(|p| p.seconds), three)));
        cells
    };
    let rows: Vec<_> = groups.iter().flat_map(|g| g.variants.iter().map(move |v| row(g, v))).collect();
    folded("Time and memory of all groups", 1 + usize::from(several), &header, &rows)
}
