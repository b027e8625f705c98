//! How the loss falls, and how far it is from that of f32.

use maud::html;

use super::{
    folder::Folder,
    page::{Block, Figure, Part, file_name, folded, of_group, sentence},
    plots::{Curve, Curves},
};
use crate::cli::{
    experiment::record::{Group, Variant},
    page::Cell,
};

/// Groups that are drawn.
const GROUPS: usize = 4;
/// Precisions that are drawn in one plot.
const LINES: usize = 8;
/// Points of a line, and of one over that of f32.
const POINTS: usize = 100;
const RATIOS: usize = 40;

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
        let curves = curves.iter().map(|c| thin(c, POINTS)).collect();
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
    let mut blocks = match figures.is_empty() {
        true => vec![sentence("Left out: no run that is there has a curve.")],
        false => vec![Block::Figures(figures, folder.told(GROUPS))],
    };
    blocks.push(Block::Words(broken(&folder.experiment.groups)));
    Ok(Part {
        title: "Training",
        note: "The loss on the training batches, in means over some steps each and over the seeds. Beside it the same over that \
            of f32, which used the same batches, in means over more steps: what is equal lies on 1."
            .into(),
        blocks,
    })
}

/// Every run that broke, and how; one whose first loss was not finite has no curve.
fn broken(groups: &[Group]) -> maud::Markup {
    let of = |g: &Group, v: &Variant| {
        let group = g.name.clone();
        v.failures.iter().map(|why| [&*v.name, &*group, why].map(Cell::from).to_vec()).collect::<Vec<_>>()
    };
    let rows: Vec<_> = groups.iter().flat_map(|g| g.variants.iter().flat_map(move |v| of(g, v))).collect();
    html! { @if !rows.is_empty() {
        p { "Runs that broke; one whose first loss was not finite has no curve." }
        (folded("How each run broke", 3, &["", "group", "how"], &rows))
    } }
}

/// The mean loss of each variant over its runs, those that broke left out where others did not.
fn losses(folder: &Folder, group: &Group) -> Vec<Curve> {
    let curve = |v: &Variant| {
        let (sound, broken): (Vec<_>, Vec<_>) = folder.runs_of(v).partition(|r| r.failure.is_none());
        let runs = if sound.is_empty() { broken } else { sound };
        let length = runs.iter().map(|r| r.curve.len()).min().unwrap_or(0);
        let mean = |i: usize| runs.iter().map(|r| r.curve[i].loss).sum::<f64>() / runs.len() as f64;
        let points = (0..length).map(|i| (f64::from(runs[0].curve[i].step), mean(i))).collect();
        Curve { name: v.name.clone(), look: folder.look(&v.name), points }
    };
    group.variants.iter().take(LINES).map(curve).filter(|c| !c.points.is_empty()).collect()
}

/// At most so many points, each the mean of some.
fn thin(c: &Curve, most: usize) -> Curve {
    let width = c.points.len().div_ceil(most).max(1);
    let mean = |part: &[(f64, f64)]| part.iter().map(|(_, y)| y).sum::<f64>() / part.len() as f64;
    let points = c.points.chunks_exact(width).map(|part| (part[width - 1].0, mean(part))).collect();
    Curve { name: c.name.clone(), look: c.look, points }
}

/// Each curve over that of f32, in means over many steps, since single batches say little.
fn ratios(curves: &[Curve]) -> Vec<Curve> {
    let Some(f32) = curves.iter().find(|c| c.name == "f32") else { return vec![] };
    let over = |c: &Curve| {
        // Both end where the shorter does, so that they are thinned alike.
        let shared = c.points.len().min(f32.points.len());
        let part = |c: &Curve| thin(&Curve { points: c.points[..shared].to_vec(), ..c.clone() }, RATIOS);
        let (own, twin) = (part(c), part(f32));
        let points = own.points.iter().zip(&twin.points).map(|((x, y), (_, of))| (*x, y / of));
        Curve { points: points.collect(), ..c.clone() }
    };
    curves.iter().filter(|c| c.name != "f32").map(over).collect()
}
