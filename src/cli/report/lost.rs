//! What rounding takes from the changes of weights, layer by layer, over time.

use maud::html;

use super::{
    folder::{Folder, foremost},
    page::{Block, Figure, Part, file_name, heading, maybe, of_group, sentence},
    plots::{Curve, Curves},
};
use crate::cli::{
    experiment::record::{Changes, Group, Run, Variant},
    page::{Cell, table},
};

/// Groups that are drawn, and weights of each.
const GROUPS: usize = 2;
const WEIGHTS: usize = 6;
/// Precisions in a plot.
const LINES: usize = 6;

/// Section, plots and table.
pub fn part(folder: &Folder) -> anyhow::Result<Part> {
    let mut blocks = vec![];
    for group in folder.telling(GROUPS) {
        let runs = runs(folder, group);
        let all: Vec<&str> = runs.first().iter().flat_map(|r| &r.changes).map(|c| c.weight.as_str()).collect();
        let shown = telling(&runs, &all);
        let share = |lost: u64, all: u64| if all == 0 { 0.0 } else { 100.0 * lost as f64 / all as f64 };
        let curve = |run: &&Run, weight: &str| {
            let changes = run.changes.iter().find(|c| c.weight == weight)?;
            let points: Vec<_> = changes.over_time.iter().map(|l| (f64::from(l.step), share(l.lost, l.all))).collect();
            let look = folder.look(&run.variant);
            (!points.is_empty()).then(|| Curve { name: run.variant.clone(), look, points })
        };
        let lines = |weight: &str| runs.iter().take(LINES).filter_map(|run| curve(run, weight)).collect::<Vec<_>>();
        let panels: Vec<_> = shown.iter().map(|w| (*w, lines(w))).filter(|(_, lines)| !lines.is_empty()).collect();
        let most = panels.iter().flat_map(|(_, lines)| lines).flat_map(|l| &l.points).map(|(_, y)| *y);
        let most = most.fold(1.0, f64::max).min(100.0) * 1.05;
        let mut figures = vec![];
        for (weight, curves) in panels {
            let plot =
                Curves { title: weight, axes: ["steps", "updates lost, %"], curves, up: Some((0.0, most)), line: None };
            figures.push(Figure { name: file_name(&["lost", weight, &of_group(group)]), svg: plot.draw()? });
        }
        if figures.is_empty() {
            continue;
        }
        let caption = match shown.len() < all.len() {
            true => "Shown are the weights that lose most in some precision, in the order of the network.",
            false => "",
        };
        blocks.push(heading(&group.name));
        blocks.push(Block::Figures(figures, caption.into()));
        blocks.push(Block::Words(html! { (shares(group)) (quality(&runs, &all)) }));
    }
    match blocks.is_empty() {
        true => blocks.push(sentence("Left out: no run that is there recorded what became of its updates.")),
        false => blocks.push(sentence(&folder.told(GROUPS))),
    }
    Ok(Part {
        title: "Lost updates",
        note: "Of the changes of a weight that were not zero, the share that rounding lost, over time, of the first seed; all plots \
            have the same height. Rounded stochastically, changes smaller than half a unit in the last place arrive on average."
            .into(),
        blocks,
    })
}

/// The run of the first seed in each precision that has one.
fn runs<'a>(folder: &'a Folder, group: &'a Group) -> Vec<&'a Run> {
    group.variants.iter().filter_map(|v| folder.runs_of(v).next()).filter(|r| !r.changes.is_empty()).collect()
}

/// Those of which the largest share is lost, in the order of the network.
fn telling<'a>(runs: &[&Run], weights: &[&'a str]) -> Vec<&'a str> {
    let share = |c: &Changes| c.lost as f64 / c.all.max(1) as f64;
    let worst = |weight: &&str| {
        let of = runs.iter().flat_map(|r| &r.changes).filter(|c| c.weight == *weight);
        of.map(share).fold(0.0, f64::max)
    };
    foremost(weights, WEIGHTS, worst).into_iter().copied().collect()
}

/// What all weights of all runs lost.
fn shares(group: &Group) -> maud::Markup {
    let header = ["", "updates lost, all weights and seeds"].map(String::from);
    let row = |v: &Variant| vec![Cell::from(&*v.name), maybe(v.lost, |share| format!("{:.2} %", 100.0 * share))];
    table(1, &header, &group.variants.iter().map(row).collect::<Vec<_>>())
}

/// How well changes arrive, for every weight.
fn quality(runs: &[&Run], weights: &[&str]) -> maud::Markup {
    let header: Vec<String> = [String::new()].into_iter().chain(runs.iter().map(|r| r.variant.clone())).collect();
    let row = |weight: &&str| {
        let quality = |r: &&Run| {
            let found = r.changes.iter().find(|c| c.weight == *weight);
            maybe(found.and_then(|c| c.quality), |q| format!("{q:.3}"))
        };
        [Cell::from(*weight)].into_iter().chain(runs.iter().map(quality)).collect::<Vec<_>>()
    };
    html! { details {
        summary { "Effective descent quality of every weight: 1 where all changes arrive, 0 where none does" }
        (table(1, &header, &weights.iter().map(row).collect::<Vec<_>>()))
    } }
}
