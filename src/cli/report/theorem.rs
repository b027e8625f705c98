//! Γ and δ of the test samples, and whether the theorem held.

use maud::html;

use super::{
    folder::Folder,
    page::{Block, Figure, Part, cell, file_name, folded, heading, of_group, sentence},
    plots::{Scatter, least, scatter},
};
use crate::cli::{
    experiment::record::{Against, Agreement, Group, Theorem, Variant},
    page::Cell,
};

/// Groups that are drawn.
const GROUPS: usize = 2;
/// Precisions that are drawn of each.
const VARIANTS: usize = 4;

/// One of the two ways to hold a precision against f32.
struct Way {
    name: &'static str,
    of_run: fn(&Against) -> &Theorem,
    of_all: fn(&Variant) -> Option<&Agreement>,
}

const WAYS: [Way; 2] = [
    Way { name: "the weights of f32, rounded", of_run: |a| &a.cast, of_all: |v| v.cast.as_ref() },
    Way { name: "trained in it", of_run: |a| &a.trained, of_all: |v| v.trained.as_ref() },
];

/// δ, Γ, and whether the class is another.
type Sample = (f64, f64, bool);

/// Section, plots and table.
pub fn part(folder: &Folder) -> anyhow::Result<Part> {
    let mut blocks = vec![];
    for group in folder.telling(GROUPS) {
        let mut panels: Vec<(&Variant, &Way, Vec<Sample>)> = vec![];
        for variant in group.variants.iter().filter(|v| v.name != "f32").take(VARIANTS) {
            panels.extend(WAYS.iter().map(|way| (variant, way, samples(folder, variant, way))));
        }
        panels.retain(|(.., samples)| !samples.is_empty());
        if panels.is_empty() {
            continue;
        }
        let all = || panels.iter().flat_map(|(.., samples)| samples);
        let axes = [least(all().map(|s| s.0)), least(all().map(|s| s.1))];
        let figure = |(variant, way, samples): &(&Variant, &Way, Vec<Sample>)| {
            let title = format!("{}: {}", variant.name, way.name);
            let plot = Scatter { title: &title, look: folder.look(&variant.name), samples, least: axes };
            let name = file_name(&["margin", &variant.name, way.name, &of_group(group)]);
            Ok(Figure { name, svg: scatter(&plot)? })
        };
        blocks.push(heading(&group.name));
        blocks.push(Block::Figures(panels.iter().map(figure).collect::<anyhow::Result<_>>()?, String::new()));
    }
    match blocks.is_empty() {
        true => blocks.push(sentence("Left out: no run that is there was held against f32.")),
        false => blocks.push(Block::Words(html! {
            @if !folder.told(GROUPS).is_empty() { p { (folder.told(GROUPS)) } }
            (counts(&folder.experiment.groups))
        })),
    }
    Ok(Part {
        title: "The theorem",
        note: "Each dot is a test sample, the stronger the more of them there are, over all seeds; of many, some are drawn by lot. \
            To the right goes by how much the precision changes a probability at most (δ), and up by how much the first class \
            leads in f32 (Γ). Where Γ > 2δ the class cannot be another; crosses are samples that got another class. What is \
            smaller than the axes reach lies on their edge."
            .into(),
        blocks,
    })
}

/// The samples of all runs.
fn samples(folder: &Folder, variant: &Variant, way: &Way) -> Vec<Sample> {
    let points = folder.runs_of(variant).filter_map(|r| r.against_f32.as_ref()).map(|a| &(way.of_run)(a).points);
    let samples = points.flat_map(|p| {
        let delta = p.delta.iter().copied().map(f64::from);
        let gamma = p.gamma.iter().copied().map(f64::from);
        delta.zip(gamma).zip(&p.flip).map(|((delta, gamma), flip)| (delta, gamma, *flip))
    });
    samples.collect()
}

fn counts(groups: &[Group]) -> maud::Markup {
    let several = groups.len() > 1;
    let mut header = vec!["", "weights", "samples", "another class", "certified", "of them another class"];
    if several {
        header.insert(1, "group");
    }
    let row = |g: &Group, v: &Variant, way: &str, a: &Agreement| -> Vec<Cell> {
        let n = |n: u64| cell(n, &n.to_string());
        let words = [Some(v.name.as_str()), several.then_some(g.name.as_str()), Some(way)];
        let numbers = [a.samples, a.flips, a.certified, a.certified_flips].map(n);
        words.into_iter().flatten().map(Cell::from).chain(numbers).collect()
    };
    let rows = groups
        .iter()
        .flat_map(|g| g.variants.iter().map(move |v| (g, v)))
        .flat_map(|(g, v)| WAYS.into_iter().filter_map(move |way| Some(row(g, v, way.name, (way.of_all)(v)?))));
    folded("Counts of all groups", 2 + usize::from(several), &header, &rows.collect::<Vec<_>>())
}
