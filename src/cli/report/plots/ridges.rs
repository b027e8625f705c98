//! Histograms of exponents, one above the other, with what f16 can hold.

use plotters::{prelude::*, style::text_anchor::HPos};

use super::{Look, panel, superscript, write};
use crate::cli::{
    page::{GRID, INK, SERIES},
    plot::{Drawn, mesh},
};

/// From one base line to the next, in units of the plot.
const ROW: u32 = 34;
/// The height of a ridge, in rows.
const RIDGE: f64 = 1.2;
/// The exponent at which the first bin begins, and how many exponents each has.
const BINS: (f64, f64) = (-40.0, 2.0);
/// f16: the smallest number, the smallest normal one, and where numbers are too large.
const LIMITS: [(f64, &str); 3] = [(-24.0, "2⁻²⁴"), (-14.0, "2⁻¹⁴"), (16.0, "65504")];
const END: f64 = 24.0;

/// What a tensor held.
pub struct Ridge {
    pub name: String,
    /// What is said at the right.
    pub text: String,
    /// How many values each bin has, by series; the first is filled.
    pub series: Vec<(Look, Vec<f64>)>,
}

/// Draws them.
pub fn ridges(title: &str, ridges: &[Ridge]) -> anyhow::Result<String> {
    let rows = ridges.len() as f64;
    panel(title, 24 + ROW * (ridges.len() as u32 + 1) + 44, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_top(super::HEAD + 20)
            .margin_right(14)
            .margin_left(10)
            .x_label_area_size(44)
            .build_cartesian_2d(BINS.0..END, 0.0..rows + 0.6)?;
        let bands = [(BINS.0, LIMITS[0].0, 0.16), (LIMITS[0].0, LIMITS[1].0, 0.07), (LIMITS[2].0, END, 0.16)];
        for (from, to, weight) in bands {
            chart.draw_series([Rectangle::new([(from, 0.0), (to, rows + 0.6)], SERIES[1].mix(weight).filled())])?;
        }
        mesh!(chart, "magnitude")
            .disable_mesh()
            .y_labels(0)
            .x_labels(9)
            .x_label_formatter(&|v| format!("2{}", superscript(v.round() as i32)))
            .draw()?;
        for (at, name) in LIMITS {
            let line = [(at, 0.0), (at, rows + 0.6)];
            chart.draw_series(LineSeries::new(line, SERIES[1].stroke_width(1)))?;
            let (x, y) = chart.backend_coord(&(at, rows + 0.6));
            write(area, name, (x, y - 9), HPos::Center, SERIES[1])?;
        }
        for (i, ridge) in ridges.iter().enumerate() {
            let base = rows - 1.0 - i as f64;
            let most = ridge.series.iter().flat_map(|(_, bins)| bins).fold(0.0, |m: f64, v| m.max(*v));
            chart.draw_series(LineSeries::new([(BINS.0, base), (END, base)], GRID.stroke_width(1)))?;
            for (k, (look, bins)) in ridge.series.iter().enumerate() {
                let line = outline(bins, base, RIDGE / most.max(f64::MIN_POSITIVE));
                if k == 0 {
                    chart.draw_series([Polygon::new(line.clone(), look.colour().mix(0.35).filled())])?;
                }
                chart.draw_series(LineSeries::new(line, look.colour().stroke_width(if k == 0 { 1 } else { 2 })))?;
            }
            let (left, right) = (chart.backend_coord(&(BINS.0, base)), chart.backend_coord(&(END, base)));
            write(area, &ridge.name, (left.0 + 4, left.1 - 9), HPos::Left, INK)?;
            write(area, &ridge.text, (right.0 - 4, right.1 - 9), HPos::Right, INK)?;
        }
        Ok(())
    })
}

/// The steps of a histogram over its base line.
fn outline(bins: &[f64], base: f64, scale: f64) -> Vec<(f64, f64)> {
    let mut line = vec![(BINS.0, base)];
    for (bin, count) in bins.iter().enumerate() {
        let (from, height) = (BINS.0 + BINS.1 * bin as f64, base + count * scale);
        line.extend([(from, height), (from + BINS.1, height)]);
    }
    line.push((BINS.0 + BINS.1 * bins.len() as f64, base));
    line
}
