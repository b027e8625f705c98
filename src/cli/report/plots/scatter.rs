//! The margin Γ of each sample over the error δ, with the line from which on classes are certain.

use std::collections::BTreeMap;

use plotters::{prelude::*, style::text_anchor::HPos};

use super::{Look, panel, power_of_ten, write};
use crate::cli::{
    page::{GRID, INK},
    plot::{Drawn, mesh},
};

const HEIGHT: u32 = 380;
/// Samples whose places are nearer than this, in units of the plot, are drawn as one.
const GRAIN: i32 = 3;
/// No axis begins before this: what is smaller, 0 among them, is drawn on the edge.
const LEAST: f64 = 1e-8;

/// Where the axes end: δ and Γ are at most 1, and words have room above.
const RIGHT: f64 = 1.0;
const TOP: f64 = 2.0;

/// A panel of samples.
pub struct Scatter<'a> {
    pub title: &'a str,
    pub look: Look,
    /// δ, Γ, and whether the class is another.
    pub samples: &'a [(f64, f64, bool)],
    /// Where the axes of δ and Γ begin.
    pub least: [f64; 2],
}

/// Where an axis for these numbers begins: at a power of ten.
pub fn least(numbers: impl Iterator<Item = f64>) -> f64 {
    let least = numbers.filter(|v| *v > 0.0).fold(0.1, f64::min);
    10f64.powf(least.max(LEAST).log10().floor())
}

/// Draws it.
pub fn scatter(scatter: &Scatter) -> anyhow::Result<String> {
    let [left, low] = scatter.least;
    let decades = |from: f64| (0..9).map(|n| from * 10f64.powi(n)).filter(|v| *v < 1.5).collect::<Vec<_>>();
    panel(scatter.title, HEIGHT, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_top(super::HEAD)
            .margin_right(16)
            .x_label_area_size(44)
            .y_label_area_size(62)
            .build_cartesian_2d(
                (left..RIGHT).log_scale().with_key_points(decades(left)),
                (low..TOP).log_scale().with_key_points(decades(low)),
            )?;
        // Where Γ > 2δ.
        let start = (left.max(low / 2.0), low.max(2.0 * left));
        let sure = [(left, low), (start.0, low), start, (0.5 * TOP, TOP), (left, TOP)];
        chart.draw_series([Polygon::new(sure, GRID.mix(0.5).filled())])?;
        mesh!(chart, "δ, the largest change of a probability")
            .x_label_formatter(&|v| power_of_ten(*v))
            .y_desc("Γ, the margin in f32")
            .y_label_formatter(&|v| power_of_ten(*v))
            .draw()?;
        let place = |delta: f64, gamma: f64| chart.backend_coord(&(delta.clamp(left, RIGHT), gamma.clamp(low, TOP)));
        samples(area, scatter, place)?;
        let (foot, top) = (place(start.0, start.1), place(0.5 * TOP, TOP));
        area.draw(&PathElement::new([foot, top], INK.stroke_width(2)))?;
        let beside = (foot.0 + (top.0 - foot.0) / 4, foot.1 + (top.1 - foot.1) / 4);
        write(area, "Γ = 2δ", (beside.0 + 8, beside.1 + 10), HPos::Left, INK)?;
        write(area, "certified: Γ > 2δ", (place(left, TOP).0 + 8, top.1 + 10), HPos::Left, INK)?;
        let corner = place(RIGHT, low);
        write(area, "may flip", (corner.0 - 8, corner.1 - 14), HPos::Right, INK)?;
        write(area, "× another class", (corner.0, top.1 - 9), HPos::Right, INK)
    })
}

/// Samples as dots, the more of them in one place the darker; flips as crosses over them.
fn samples(area: &crate::cli::plot::Area, scatter: &Scatter, place: impl Fn(f64, f64) -> (i32, i32)) -> Drawn {
    // Each is drawn where its first sample is, never on the other side of the line.
    let mut places = BTreeMap::new();
    for &(delta, gamma, flip) in scatter.samples {
        let (x, y) = place(delta, gamma);
        let grain = if flip { 2 * GRAIN } else { GRAIN };
        places.entry((flip, x / grain, y / grain)).or_insert(((x, y), 0u32)).1 += 1;
    }
    for ((flip, ..), ((x, y), count)) in places {
        if flip {
            let paint = INK.stroke_width(2);
            area.draw(&PathElement::new([(x - 3, y - 3), (x + 3, y + 3)], paint))?;
            area.draw(&PathElement::new([(x - 3, y + 3), (x + 3, y - 3)], paint))?;
        } else {
            let weight = 0.35 + 0.2 * f64::from(count).ln();
            area.draw(&Circle::new((x, y), 2, scatter.look.colour().mix(weight.min(1.0)).filled()))?;
        }
    }
    Ok(())
}
