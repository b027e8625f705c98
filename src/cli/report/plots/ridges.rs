//! Histograms of exponents, one above the other, with what f16 can hold.

use plotters::{prelude::*, style::text_anchor::HPos};

use super::{Look, panel, superscript, width, write};
use crate::cli::{
    page::{GRID, INK},
    plot::mesh,
};

/// From one base line to the next, in units of the plot.
const ROW: u32 = 38;
/// The height of a ridge, in rows.
const RIDGE: f64 = 0.94;
/// The exponent at which the first bin begins, and how many exponents each has.
const BINS: (f64, f64) = (-40.0, 2.0);
/// f16: the smallest number, the smallest normal one, and where numbers are too large.
const LIMITS: [(f64, &str); 3] = [(-24.0, "2⁻²⁴"), (-14.0, "2⁻¹⁴"), (16.0, "65504")];
const END: f64 = 24.0;
/// Letters of a name that have room.
const NAME: usize = 25;

/// What a tensor held.
pub struct Ridge {
    pub name: String,
    /// What is said at the right.
    pub text: String,
    /// How many values each bin has, by series; the first is filled.
    pub series: Vec<(Look, Vec<f64>)>,
}

/// Draws them.
pub fn ridges(title: &str, series: &[(&str, Look)], ridges: &[Ridge]) -> anyhow::Result<String> {
    let rows = ridges.len() as f64;
    let names: Vec<String> = ridges.iter().map(|r| short(&r.name)).collect();
    let left = width(names.iter().map(String::as_str));
    panel(title, 24 + ROW * (ridges.len() as u32) + 50, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_top(super::HEAD + 20)
            .margin_right(14)
            .margin_left(10)
            .y_label_area_size(left)
            .x_label_area_size(44)
            .build_cartesian_2d(BINS.0..END, 0.0..rows + 0.1)?;
        let bands = [(BINS.0, LIMITS[0].0, 0.9), (LIMITS[0].0, LIMITS[1].0, 0.4), (LIMITS[2].0, END, 0.9)];
        for (from, to, weight) in bands {
            chart.draw_series([Rectangle::new([(from, 0.0), (to, rows + 0.1)], GRID.mix(weight).filled())])?;
        }
        mesh!(chart, "magnitude")
            .disable_mesh()
            .y_labels(0)
            .x_labels(7)
            .x_label_formatter(&|v| power_of_two(v.round() as i32))
            .draw()?;
        for (at, name) in LIMITS {
            let line = [(at, 0.0), (at, rows + 0.1)];
            chart.draw_series(LineSeries::new(line, INK.stroke_width(1)))?;
            let (x, y) = chart.backend_coord(&(at, rows + 0.1));
            write(area, name, (x, y - 9), HPos::Center, INK)?;
        }
        let mut end = super::WIDTH as i32 - 14;
        for (name, look) in series.iter().rev() {
            write(area, name, (end, 16), HPos::Right, look.colour())?;
            end -= width([*name].into_iter()) as i32 + 6;
            look.mark(area, (end, 16))?;
            end -= 18;
        }
        for (i, ridge) in ridges.iter().enumerate() {
            let base = rows - 1.0 - i as f64;
            let most = ridge.series.iter().flat_map(|(_, bins)| bins).fold(0.0, |m: f64, v| m.max(*v));
            chart.draw_series(LineSeries::new([(BINS.0, base), (END, base)], GRID.stroke_width(1)))?;
            for (k, (look, bins)) in ridge.series.iter().enumerate() {
                let line = outline(bins, base, RIDGE / most.max(f64::MIN_POSITIVE));
                let paint = look.colour();
                if k == 0 {
                    chart.draw_series([Polygon::new(line.clone(), paint.mix(0.4).filled())])?;
                }
                let peak = line.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((BINS.0, base));
                chart.draw_series(LineSeries::new(line, paint.stroke_width(if k == 0 { 1 } else { 2 })))?;
                // In the middle of the highest bin.
                look.mark(area, chart.backend_coord(&(peak.0 - BINS.1 / 2.0, peak.1)))?;
            }
            let (left, right) = (chart.backend_coord(&(BINS.0, base)), chart.backend_coord(&(END, base)));
            write(area, &names[i], (left.0 - 6, left.1 - 9), HPos::Right, INK)?;
            write(area, &ridge.text, (right.0 - 4, right.1 - 9), HPos::Right, INK)?;
        }
        Ok(())
    })
}

/// The steps of a histogram over its base line, from the first bin that has something to the last.
fn outline(bins: &[f64], base: f64, scale: f64) -> Vec<(f64, f64)> {
    let edge = |bin: usize| BINS.0 + BINS.1 * bin as f64;
    let first = bins.iter().position(|n| *n > 0.0).unwrap_or(0);
    let end = bins.iter().rposition(|n| *n > 0.0).map_or(first, |last| last + 1);
    let steps = (first..end).flat_map(|bin| [edge(bin), edge(bin + 1)].map(|x| (x, base + bins[bin] * scale)));
    [(edge(first), base)].into_iter().chain(steps).chain([(edge(end), base)]).collect()
}

fn power_of_two(exponent: i32) -> String {
    if exponent == 0 { "1".into() } else { format!("2{}", superscript(exponent)) }
}

/// At most as many letters as have room, the last ones, which tell the layer.
fn short(name: &str) -> String {
    let letters = name.chars().count();
    match letters <= NAME {
        true => name.to_owned(),
        false => format!("…{}", name.chars().skip(letters - NAME + 1).collect::<String>()),
    }
}
