//! How the loss falls, and how far it is from that of f32.

use super::{
    folder::Folder,
    page::{Block, Figure, Part, file_name, of_group, sentence},
    plots::{Curve, Curves},
};
use crate::cli::experiment::record::{Group, Variant};

/// Groups that are drawn.
const GROUPS: usize = 4;
/// Precisions that are drawn in one plot.
const LINES: usize = 8;
/// Points of a line over that of f32.
const POINTS: usize = 40;
/// A loss this many times that of f32 is drawn on the edge.
const EDGE: f64 = 4.0;

/// Section and plots.
pub fn part(folder: &Folder) -> anyhow::Result<Part> {
    let mut figures = vec![];
    for group in folder.telling(GROUPS) {
        let curves = losses(folder, group);
        if curves.is_empty() {
            continue;
        }
        let of = of_group(group);
        let ratios = ratios(&curves);
        let title = format!("Training loss{of}");
        let plot = Curves { title: &title, axes: ["steps", "loss"], curves, up: None, line: None };
        figures.push(Figure { name: file_name(&["loss", &of]), svg: plot.draw()? });
        if !ratios.is_empty() {
            let title = format!("Training loss over that of f32{of}");
            let axes = ["steps", "times the loss in f32"];
            let plot = Curves { title: &title, axes, curves: ratios, up: None, line: Some(1.0) };
            figures.push(Figure { name: file_name(&["loss over f32", &of]), svg: plot.draw()? });
        }
    }
    let blocks = match figures.is_empty() {
        true => vec![sentence("Left out: no run that is there has a curve.")],
        false => vec![Block::Figures(figures, folder.told(GROUPS))],
    };
    Ok(Part {
        title: "Training",
        note: "The loss on the training batches, in means over some steps each and over the seeds. Beside it the same over that \
            of f32, which used the same batches, in means over more steps: what is equal lies on 1."
            .into(),
        blocks,
    })
}

/// The mean loss of each variant over its runs, as far as all of them went.
fn losses(folder: &Folder, group: &Group) -> Vec<Curve> {
    let curve = |v: &Variant| {
        let runs: Vec<_> = folder.runs_of(v).collect();
        let length = runs.iter().map(|r| r.curve.len()).min().unwrap_or(0);
        let mean = |i: usize| runs.iter().map(|r| r.curve[i].loss).sum::<f64>() / runs.len() as f64;
        let points = (0..length).map(|i| (f64::from(runs[0].curve[i].step), mean(i))).collect();
        Curve { name: v.name.clone(), look: folder.look(&v.name), points }
    };
    group.variants.iter().take(LINES).map(curve).filter(|c| !c.points.is_empty()).collect()
}

/// Each curve over that of f32, in means over some points, since single batches say little.
fn ratios(curves: &[Curve]) -> Vec<Curve> {
    let Some(f32) = curves.iter().find(|c| c.name == "f32") else { return vec![] };
    let mean = |points: &[(f64, f64)]| points.iter().map(|(_, y)| y).sum::<f64>();
    let over = |c: &Curve| {
        let width = c.points.len().div_ceil(POINTS).max(1);
        let pairs = c.points.chunks_exact(width).zip(f32.points.chunks_exact(width));
        let points = pairs.map(|(own, twin)| (own[width - 1].0, (mean(own) / mean(twin)).min(EDGE))).collect();
        Curve { name: c.name.clone(), look: c.look, points }
    };
    curves.iter().filter(|c| c.name != "f32").map(over).collect()
}
