//! What tensors held, by exponents, against what f16 can hold.

use maud::html;

use super::{
    folder::{Folder, foremost},
    page::{Block, Figure, Part, cell, file_name, heading, of_group, sentence},
    plots::{Ridge, ridges},
};
use crate::cli::{
    experiment::record::{Group, Run, Tensor},
    numbers::three,
    page::{Cell, table},
};

const GROUPS: usize = 1;
/// Tensors that are drawn of each part.
const TENSORS: usize = 10;

/// The parts of a network and what they are called.
const PARTS: [(&str, &str); 4] = [
    ("gradient", "Gradients of weights"),
    ("backward", "Gradients of activations"),
    ("activation", "Activations"),
    ("weight", "Weights"),
];

/// Section and plots.
pub fn part(folder: &Folder) -> anyhow::Result<Part> {
    let mut blocks = vec![];
    for group in folder.telling(GROUPS) {
        let runs = shown(folder, group);
        if runs.is_empty() {
            continue;
        }
        let looks: Vec<_> = runs.iter().map(|r| (r.variant.as_str(), folder.look(&r.variant))).collect();
        let (mut figures, mut cut) = (vec![], false);
        for (part, title) in PARTS {
            let all: Vec<&Tensor> = runs[0].tensors.iter().filter(|t| t.part == part).collect();
            let chosen = telling(&all);
            cut |= chosen.len() < all.len();
            if !chosen.is_empty() {
                let rows: Vec<Ridge> = chosen.iter().map(|t| ridge(folder, &runs, t)).collect();
                figures.push(Figure {
                    name: file_name(&["exponents", part, &of_group(group)]),
                    svg: ridges(title, &looks, &rows)?,
                });
            }
        }
        let caption = match cut {
            true => "Shown are the tensors with most values that f16 cannot hold, in the order of the network.",
            false => "",
        };
        blocks.push(heading(&group.name));
        blocks.push(Block::Figures(figures, caption.into()));
        blocks.push(Block::Words(counts(runs[0])));
    }
    match blocks.is_empty() {
        true => blocks.push(sentence("Left out: in no run that is there were tensors looked at.")),
        false => blocks.push(sentence(&folder.told(GROUPS))),
    }
    Ok(Part {
        title: "Exponents",
        note: "How large the values of tensors are, in the steps that were looked at, of the first seed; each ridge as high as its \
            highest bin. What f16 cannot hold is shaded: left of 2⁻²⁴ it is zero, right of 65504 infinite, and between 2⁻²⁴ and \
            2⁻¹⁴, lighter, it has fewer digits. At the right the largest magnitude. The filled ridge is the first precision, \
            lines are others; gradients are multiplied by the loss scale."
            .into(),
        blocks,
    })
}

/// The runs of the first seed that were looked at: f32 and two others.
fn shown<'a>(folder: &'a Folder, group: &'a Group) -> Vec<&'a Run> {
    let runs = group.variants.iter().filter_map(|v| folder.runs_of(v).next());
    runs.filter(|r| !r.tensors.is_empty()).take(3).collect()
}

/// Those with the largest share of values beyond f16's normal numbers, in the order of the network.
fn telling<'a>(all: &[&'a Tensor]) -> Vec<&'a Tensor> {
    let beyond = |t: &&Tensor| (t.subnormal + t.overflowing) as f64 / t.values.max(1) as f64;
    foremost(all, TENSORS, beyond).into_iter().copied().collect()
}

fn ridge(folder: &Folder, runs: &[&Run], tensor: &Tensor) -> Ridge {
    let bins = |t: &Tensor| t.exponents.iter().map(|n| *n as f64 / t.values.max(1) as f64).collect::<Vec<_>>();
    let of = |run: &&Run| {
        let twin = run.tensors.iter().find(|t| t.part == tensor.part && t.name == tensor.name)?;
        Some((folder.look(&run.variant), bins(twin)))
    };
    Ridge {
        name: tensor.name.clone(),
        text: three(tensor.largest.into()),
        series: runs.iter().filter_map(of).collect(),
    }
}

fn counts(run: &Run) -> maud::Markup {
    let header = ["", "", "values", "zero", "below 2⁻²⁴", "below 2⁻¹⁴", "from 2¹⁶ on", "not finite", "largest"];
    let row = |t: &Tensor| {
        let numbers = [t.values, t.zeros, t.underflowing, t.subnormal, t.overflowing, t.not_finite];
        let words: [Cell; 2] = [t.name.as_str().into(), t.part.as_str().into()];
        let numbers = numbers.map(|n| cell(n, &n.to_string()));
        let largest = cell(t.largest, &three(t.largest.into()));
        words.into_iter().chain(numbers).chain([largest]).collect::<Vec<_>>()
    };
    html! { details {
        summary { "Every tensor of " (run.variant) ", counted" }
        (table(2, &header.map(String::from), &run.tensors.iter().map(row).collect::<Vec<_>>()))
    } }
}
