//! Accuracy per precision, with intervals, and what it differs from f32 by.

use maud::html;

use super::{
    folder::Folder,
    page::{Block, Figure, Part, file_name, maybe, of_group},
    plots::{Intervals, Row},
    verdict::{percent, points},
};
use crate::cli::{
    experiment::record::{Group, Interval, Run, Spread, Variant},
    numbers::NONE,
    page::{Cell, number, table},
};

/// More groups than these are shown by precision, a row each, and not a plot each.
const GROUPS: usize = 3;

/// Section, plots and table.
pub fn part(folder: &Folder) -> anyhow::Result<Part> {
    let groups = &folder.experiment.groups;
    let mut figures = vec![];
    match groups.len() <= GROUPS {
        true => {
            for group in groups {
                let rows: Vec<_> = group.variants.iter().map(|v| (v.name.clone(), group, v)).collect();
                figures.extend(pair(folder, &of_group(group), &rows)?);
            }
        }
        false => {
            for name in folder.variants() {
                let of = |g: &Group| g.variants.iter().position(|v| v.name == name);
                let rows = groups.iter().filter_map(|g| Some((g.name.clone(), g, &g.variants[of(g)?])));
                figures.extend(pair(folder, &format!(", {name}"), &rows.collect::<Vec<_>>())?);
            }
        }
    }
    let mut blocks = vec![Block::Figures(figures, String::new())];
    blocks.push(Block::Words(html! { (numbers(groups)) (noise(groups)) }));
    Ok(Part {
        title: "Accuracy",
        note: "On the test set. Large marks are means over the seeds, small dots single runs, bars hold the mean at 95 % by \
            Student’s t. Differences are paired: each run with the f32 run of the same first weights and the same batches. \
            The band is what counts as no difference."
            .into(),
        blocks,
    })
}

/// Accuracies, and differences if there are any.
fn pair(folder: &Folder, of: &str, rows: &[(String, &Group, &Variant)]) -> anyhow::Result<Vec<Figure>> {
    let accuracies = rows.iter().map(|(name, _, v)| Row {
        name: name.clone(),
        look: folder.look(&v.name),
        runs: folder.runs_of(v).map(|r| 100.0 * r.accuracy).collect(),
        mean: 100.0 * v.accuracy.mean,
        interval: None,
        text: format!("{:.2}", 100.0 * v.accuracy.mean),
    });
    let plot = Intervals { title: &format!("Test accuracy{of}"), axis: "%", rows: accuracies.collect(), zone: None };
    let mut figures = vec![Figure { name: file_name(&["accuracy", of]), svg: plot.draw()? }];
    let differences = rows.iter().filter_map(|(name, group, v)| {
        let d = v.difference.as_ref()?;
        Some(Row {
            name: name.clone(),
            look: folder.look(&v.name),
            runs: differences(folder, group, v),
            mean: d.mean,
            interval: Some((d.low, d.high)),
            text: format!("{:+.2}", d.mean).replace('-', "−"),
        })
    });
    let rows_of_differences: Vec<Row> = differences.collect();
    if !rows_of_differences.is_empty() {
        let margin = rows.iter().find_map(|(_, _, v)| v.verdict.as_ref()).map(|v| v.margin);
        let plot = Intervals {
            title: &format!("Difference from f32{of}"),
            axis: "points of accuracy",
            rows: rows_of_differences,
            zone: margin.map(|m| (m, format!("as good as f32: ± {m}"))),
        };
        figures.push(Figure { name: file_name(&["difference", of]), svg: plot.draw()? });
    }
    Ok(figures)
}

/// Of each run, from the f32 run of its seed, in points.
fn differences(folder: &Folder, group: &Group, variant: &Variant) -> Vec<f64> {
    let f32: Vec<&Run> = group.variants.iter().filter(|v| v.name == "f32").flat_map(|v| folder.runs_of(v)).collect();
    let pairs = folder.runs_of(variant).filter_map(|run| {
        let twin = f32.iter().find(|twin| twin.seed == run.seed)?;
        Some(100.0 * (run.accuracy - twin.accuracy))
    });
    pairs.collect()
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
    let header: Vec<String> = header.into_iter().map(String::from).collect();
    table(1 + usize::from(several), &header, &rows)
}

/// A mean, and how far single runs are from it.
fn spread(s: &Spread, scale: f64, unit: &str) -> Cell {
    let mean = number(s.mean, format!("{:.2} {unit}", scale * s.mean).trim());
    let text = html! { (mean) @if let Some(sd) = s.deviation { " " small { "± " (number(sd, &format!("{:.2}", scale * sd))) } } };
    Cell { text, ..Cell::from("") }
}

/// What two f32 runs differ by.
fn noise(groups: &[Group]) -> maud::Markup {
    html! { @for (group, noise) in groups.iter().filter_map(|g| Some((g, g.noise.as_ref()?))) {
        p {
            "Noise" (of_group(group)) ": two f32 runs of different seeds differ by "
            (number(noise.accuracy_points, &format!("{:.2}", noise.accuracy_points))) " points and give "
            (percent(noise.flips)) " of the test samples another class, in the mean over "
            (number(noise.pairs, &noise.pairs.to_string())) " pairs."
        }
    } }
}
