//! Accuracy per precision, with intervals, and what it differs from f32 by.

use maud::html;

use super::{
    folder::Folder,
    page::{Block, Figure, Part, cell, file_name, folded, maybe, of_group},
    plots::{Intervals, Row},
    verdict::{percent, points},
};
use crate::cli::{
    experiment::{
        record::{Group, Interval, Run, Spread, Variant},
        summary::paired_differences,
    },
    numbers::NONE,
    page::{Cell, number},
};

/// More groups than these are shown by precision, a row each, and not a plot each.
const GROUPS: usize = 3;

/// Differences beyond this many times what counts as none are drawn on the edge.
const EDGE: f64 = 10.0;

/// Rows of a plot: what each is called, and what it shows.
type Rows<'a> = Vec<(&'a str, &'a Group, &'a Variant)>;

/// Section, plots and table.
pub fn part(folder: &Folder) -> anyhow::Result<Part> {
    let groups = &folder.experiment.groups;
    let by_group = groups.len() <= GROUPS;
    let panels: Vec<(String, Rows)> = match by_group {
        true => groups.iter().map(|g| (of_group(g), g.variants.iter().map(|v| (&*v.name, g, v)).collect())).collect(),
        false => folder.variants().into_iter().map(|name| (format!(", {name}"), of_variant(groups, name))).collect(),
    };
    let mut blocks = vec![Block::Figures(accuracies(folder, &panels, by_group)?, String::new())];
    // With few groups both plots of each stand side by side, with many they are told apart by precision.
    let differences = differences(folder, &panels)?;
    match (groups.len() == 1, &mut blocks[0]) {
        (true, Block::Figures(figures, _)) => figures.extend(differences),
        _ => blocks.push(Block::Figures(differences, String::new())),
    }
    blocks.push(Block::Words(html! { (numbers(groups)) (noise(groups)) }));
    Ok(Part {
        title: "Accuracy",
        note: "On the test set. Large marks are means over the seeds, small dots single runs, bars hold the mean at 95 % by \
            Student’s t. Differences are paired: each run with the f32 run of the same first weights and the same batches. \
            The band is what counts as no difference; an arrow points to what is far beyond it."
            .into(),
        blocks,
    })
}

/// One precision in all groups.
fn of_variant<'a>(groups: &'a [Group], name: &str) -> Rows<'a> {
    let of = |g: &'a Group| Some((&*g.name, g, g.variants.iter().find(|v| v.name == name)?));
    groups.iter().filter_map(of).collect()
}

fn accuracies(folder: &Folder, panels: &[(String, Rows)], by_group: bool) -> anyhow::Result<Vec<Figure>> {
    let row = |(name, _, v): &(&str, &Group, &Variant)| Row {
        name: (*name).to_owned(),
        look: folder.look(&v.name),
        runs: folder.runs_of(v).map(|r| 100.0 * r.accuracy).collect(),
        mean: 100.0 * v.accuracy.mean,
        interval: None,
        text: format!("{:.2}", 100.0 * v.accuracy.mean),
    };
    let plots: Vec<(&str, Vec<Row>)> =
        panels.iter().map(|(of, rows)| (&**of, rows.iter().map(row).collect())).collect();
    // Panels of precisions are compared with each other, panels of networks are not.
    let common = Intervals::range(plots.iter().flat_map(|(_, rows)| rows), (0.0, 100.0));
    let figure = |(of, rows): (&str, Vec<Row>)| {
        let range = if by_group { Intervals::range(rows.iter(), (0.0, 100.0)) } else { common };
        let plot = Intervals { title: &format!("Test accuracy{of}"), axis: "%", rows, zone: None, range };
        Ok(Figure { name: file_name(&["accuracy", of]), svg: plot.draw()? })
    };
    plots.into_iter().map(figure).collect()
}

fn differences(folder: &Folder, panels: &[(String, Rows)]) -> anyhow::Result<Vec<Figure>> {
    let row = |(name, group, v): &(&str, &Group, &Variant)| {
        let d = v.difference.as_ref()?;
        Some(Row {
            name: (*name).to_owned(),
            look: folder.look(&v.name),
            runs: pairs(folder, group, v),
            mean: d.mean,
            interval: Some((d.low, d.high)),
            text: format!("{:+.2}", d.mean).replace('-', "−"),
        })
    };
    let plots = panels.iter().map(|(of, rows)| (&**of, rows.iter().filter_map(row).collect::<Vec<Row>>()));
    let plots: Vec<_> = plots.filter(|(_, rows)| !rows.is_empty()).collect();
    let variants = panels.iter().flat_map(|(_, rows)| rows).map(|(.., v)| *v);
    let margin = variants.filter_map(|v| v.verdict.as_ref()).map(|v| v.margin).fold(0.0, f64::max);
    let far = if margin > 0.0 { EDGE * margin } else { f64::MAX };
    let (low, high) = Intervals::range(plots.iter().flat_map(|(_, rows)| rows), (-far, far));
    let range = (low.min(-1.2 * margin), high.max(1.2 * margin));
    let figure = |(of, rows): (&str, Vec<Row>)| {
        let zone = (margin > 0.0).then(|| (margin, format!("as good as f32: ± {margin}")));
        let title = format!("Difference from f32{of}");
        let plot = Intervals { title: &title, axis: "points of accuracy", rows, zone, range };
        Ok(Figure { name: file_name(&["difference", of]), svg: plot.draw()? })
    };
    plots.into_iter().map(figure).collect()
}

/// Of each run that is there, from the f32 run of its seed, in points.
fn pairs(folder: &Folder, group: &Group, variant: &Variant) -> Vec<f64> {
    let f32: Vec<&Run> = group.variants.iter().filter(|v| v.name == "f32").flat_map(|v| folder.runs_of(v)).collect();
    paired_differences(&folder.runs_of(variant).collect::<Vec<_>>(), &f32)
}

fn numbers(groups: &[Group]) -> maud::Markup {
    let several = groups.len() > 1;
    let language = groups.iter().flat_map(|g| &g.variants).any(|v| v.perplexity.is_some());
    let published = groups.iter().flat_map(|g| &g.variants).any(|v| v.published.is_some());
    let mut header = vec![""];
    header.extend(several.then_some("group"));
    header.extend(["accuracy", "difference", "95 % from", "to", "verdict", "seeds to settle it"]);
    header.extend(language.then_some("perplexity"));
    header.extend(published.then_some("published"));
    let row = |g: &Group, v: &Variant| {
        let d = |of: fn(&Interval) -> f64| Cell {
            text: v.difference.as_ref().map_or(html! { (NONE) }, |d| points(of(d))),
            ..Cell::from("")
        };
        let mut cells: Vec<Cell> = vec![v.name.as_str().into()];
        cells.extend(several.then(|| g.name.as_str().into()));
        cells.extend([
            spread(&v.accuracy, 100.0, "%"),
            d(|d| d.mean),
            d(|d| d.low),
            d(|d| d.high),
            v.verdict.as_ref().map_or(NONE, |v| &v.kind).into(),
            maybe(v.verdict.as_ref().and_then(|v| v.seeds_needed).map(|n| n as f64), |n| n.to_string()),
        ]);
        cells.extend(language.then(|| v.perplexity.as_ref().map_or(NONE.into(), |p| spread(p, 1.0, ""))));
        cells.extend(published.then(|| {
            v.published
                .as_ref()
                .map_or(NONE.into(), |p| spread(&Spread { mean: p.accuracy, deviation: Some(p.deviation) }, 100.0, "%"))
        }));
        cells
    };
    let rows: Vec<_> = groups.iter().flat_map(|g| g.variants.iter().map(move |v| row(g, v))).collect();
    folded("Accuracies of all groups", 1 + usize::from(several), &header, &rows)
}

/// A mean, and how far single runs are from it.
fn spread(s: &Spread, scale: f64, unit: &str) -> Cell {
    let mean = number(s.mean, format!("{:.2} {unit}", scale * s.mean).trim());
    let text = html! { (mean) @if let Some(sd) = s.deviation { " " small { "± " (number(sd, &format!("{:.2}", scale * sd))) } } };
    Cell { text, ..Cell::from("") }
}

/// What two f32 runs differ by.
fn noise(groups: &[Group]) -> maud::Markup {
    let header = ["two f32 runs of different seeds", "differ by, points", "another class", "pairs of runs"];
    let row = |g: &Group| {
        let noise = g.noise.as_ref()?;
        let name = if g.name.is_empty() { "in the mean" } else { &g.name };
        let points = cell(noise.accuracy_points, &format!("{:.2}", noise.accuracy_points));
        let flips = Cell { text: percent(noise.flips), ..Cell::from("") };
        Some(vec![name.into(), points, flips, cell(noise.pairs, &noise.pairs.to_string())])
    };
    let rows: Vec<_> = groups.iter().filter_map(row).collect();
    html! { @if !rows.is_empty() {
        p { "Noise: what no precision can be blamed for." }
        (folded("Noise of all groups", 1, &header, &rows))
    } }
}
