//! Values in rows: one small dot a run, their mean and its interval.

use plotters::{prelude::*, style::text_anchor::HPos};

use super::{Look, WIDTH, around, panel, plain, width, write};
use crate::cli::{
    page::{GRID, INK},
    plot::{Drawn, mesh},
};

/// Height of a row.
const ROW: u32 = 30;
/// What the axis below takes.
const AXIS: u32 = 50;

/// A row.
pub struct Row {
    pub name: String,
    pub look: Look,
    /// Of each run.
    pub runs: Vec<f64>,
    pub mean: f64,
    pub interval: Option<(f64, f64)>,
    /// What stands at its end.
    pub text: String,
}

/// Rows, and what they are held against.
pub struct Intervals<'a> {
    pub title: &'a str,
    pub axis: &'a str,
    pub rows: Vec<Row>,
    /// A band around 0 that counts as no difference, with what is said of it.
    pub zone: Option<(f64, String)>,
    /// What the axis shows; what is beyond it is drawn on the edge.
    pub range: (f64, f64),
}

impl Intervals<'_> {
    /// Draws it.
    pub fn draw(&self) -> anyhow::Result<String> {
        let rows = self.rows.len() as u32;
        let (left, right) = (width(self.rows.iter().map(|r| r.name.as_str())), width(self.texts()));
        let left = left.min(WIDTH * 2 / 5) + 16;
        let (low, high) = self.range;
        let head = if self.zone.is_some() { 18 } else { 0 };
        panel(self.title, head + rows * ROW + AXIS, |area| {
            let mut chart = ChartBuilder::on(area)
                .margin_top(super::HEAD + head)
                .margin_right(right + 14)
                .x_label_area_size(AXIS - 6)
                .y_label_area_size(left)
                .build_cartesian_2d(low..high, 0.0..f64::from(rows))?;
            if let Some((reach, _)) = &self.zone {
                let paint = GRID.mix(0.6).filled();
                chart.draw_series([Rectangle::new([(-reach, 0.0), (*reach, f64::from(rows))], paint)])?;
            }
            mesh!(chart, self.axis)
                .disable_y_mesh()
                .y_labels(0)
                .x_labels(6)
                .x_label_formatter(&|v| plain(*v))
                .draw()?;
            let at =
                |x: f64, row: usize| chart.backend_coord(&(x.clamp(low, high), f64::from(rows) - row as f64 - 0.5));
            if let Some((_, said)) = &self.zone {
                let top = chart.backend_coord(&(0.0, f64::from(rows)));
                let foot = chart.backend_coord(&(0.0, 0.0));
                area.draw(&PathElement::new([top, foot], INK.stroke_width(1)))?;
                write(area, said, (top.0, top.1 - 9), HPos::Center, INK)?;
            }
            for (i, row) in self.rows.iter().enumerate() {
                let ends = [at(low, i), at(high, i)];
                area.draw(&PathElement::new(ends, GRID.stroke_width(1)))?;
                self.row(area, row, |x| at(x, i))?;
                write(area, &row.name, (ends[0].0 - 8, ends[0].1), HPos::Right, row.look.colour())?;
                write(area, &row.text, (ends[1].0 + 8, ends[1].1), HPos::Left, INK)?;
            }
            Ok(())
        })
    }

    /// The range of all that such rows show, as far as it is within these limits.
    pub fn range<'r>(rows: impl Iterator<Item = &'r Row>, (least, most): (f64, f64)) -> (f64, f64) {
        let values = rows.flat_map(|r| {
            let ends = r.interval.map_or([r.mean; 2], |(low, high)| [low, high]);
            r.runs.iter().copied().chain([r.mean]).chain(ends)
        });
        around(values.filter(|v| v.is_finite()).map(|v| v.clamp(least, most)))
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(|r| r.text.as_str())
    }

    fn row(&self, area: &crate::cli::plot::Area, row: &Row, at: impl Fn(f64) -> (i32, i32)) -> Drawn {
        let paint = row.look.colour();
        for run in row.runs.iter().filter(|v| v.is_finite()) {
            let (x, y) = at(*run);
            area.draw(&Circle::new((x, y + 8), 2, paint.mix(0.6).filled()))?;
        }
        if let Some((low, high)) = row.interval {
            area.draw(&PathElement::new([at(low), at(high)], paint.stroke_width(3)))?;
        }
        let (x, y) = at(row.mean);
        match row.mean {
            mean if mean < self.range.0 => area.draw(&arrow((x, y), 1, paint))?,
            mean if mean > self.range.1 => area.draw(&arrow((x, y), -1, paint))?,
            mean if mean.is_finite() => row.look.mark(area, (x, y))?,
            _ => {}
        }
        Ok(())
    }
}

/// Points to what is beyond an edge.
fn arrow((x, y): (i32, i32), to: i32, paint: RGBColor) -> PathElement<(i32, i32)> {
    PathElement::new([(x + 9 * to, y - 6), (x + 2 * to, y), (x + 9 * to, y + 6)], paint.stroke_width(3))
}
