//! Γ and δ of the test samples, and whether the theorem held.

use super::{
    folder::Folder,
    page::{Block, Figure, Part, cell, file_name, heading, left_out, of_group},
    plots::{Scatter, scatter},
};
use crate::cli::{
    experiment::record::{Against, Agreement, Group, Theorem, Variant},
    page::{Cell, table},
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

/// Section, plots and table.
pub fn part(folder: &Folder) -> anyhow::Result<Part> {
    let mut blocks = vec![];
    for group in folder.telling(GROUPS) {
        let mut figures = vec![];
        for variant in group.variants.iter().filter(|v| v.name != "f32").take(VARIANTS) {
            for way in WAYS {
                figures.extend(figure(folder, group, variant, &way)?);
            }
        }
        if !figures.is_empty() {
            blocks.push(heading(&group.name));
            blocks.push(Block::Figures(figures, String::new()));
        }
    }
    if blocks.is_empty() {
        blocks.push(left_out("Left out: no run that is there was held against f32."));
    } else {
        blocks.push(Block::Words(counts(&folder.experiment.groups)));
    }
    Ok(Part {
        title: "The theorem",
        note: "Each dot is a test sample, the stronger the more of them there are, over all seeds: by how much the precision \
            changes a probability at most (δ), and by how much the first class leads in f32 (Γ). Where Γ > 2δ the class cannot be \
            another; crosses are samples that got another class. What is smaller than the axes reach lies on their edge."
            .into(),
        blocks,
    })
}

fn figure(folder: &Folder, group: &Group, variant: &Variant, way: &Way) -> anyhow::Result<Option<Figure>> {
    let points = folder.runs_of(variant).filter_map(|r| r.against_f32.as_ref()).map(|a| &(way.of_run)(a).points);
    let samples = points.flat_map(|p| {
        let delta = p.delta.iter().copied().map(f64::from);
        let gamma = p.gamma.iter().copied().map(f64::from);
        delta.zip(gamma).zip(&p.flip).map(|((delta, gamma), flip)| (delta, gamma, *flip))
    });
    let samples: Vec<_> = samples.collect();
    if samples.is_empty() {
        return Ok(None);
    }
    let plot = Scatter {
        title: &format!("{}: {}", variant.name, way.name),
        look: folder.look(&variant.name),
        samples: &samples,
    };
    let name = file_name(&["margin", &variant.name, way.name, &of_group(group)]);
    Ok(Some(Figure { name, svg: scatter(&plot)? }))
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
    let header: Vec<String> = header.into_iter().map(String::from).collect();
    table(2 + usize::from(several), &header, &rows.collect::<Vec<_>>())
}
