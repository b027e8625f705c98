//! Lines over steps, each named at its end.

use plotters::{
    coord::ranged1d::{AsRangedCoord, ValueFormatter},
    prelude::*,
    style::text_anchor::HPos,
};

use super::{Look, apart, around, panel, plain, width, write};
use crate::cli::{
    page::INK,
    plot::{Drawn, mesh, range, tick, ticks},
};

/// Height of the panel under its title.
const HEIGHT: u32 = 270;
/// Lines further apart than this many times are drawn on a logarithmic axis.
const LONG: f64 = 20.0;

/// A line.
#[derive(Clone)]
pub struct Curve {
    pub name: String,
    pub look: Look,
    pub points: Vec<(f64, f64)>,
}

/// Lines over a common axis.
pub struct Curves<'a> {
    pub title: &'a str,
    /// What goes to the right, and up.
    pub axes: [&'a str; 2],
    pub curves: Vec<Curve>,
    /// The heights that must be seen, if there are any: panels side by side can have the same.
    pub up: Option<(f64, f64)>,
    /// A height to be compared with.
    pub line: Option<f64>,
}

impl Curves<'_> {
    /// Draws them.
    pub fn draw(&self) -> anyhow::Result<String> {
        let points = || self.curves.iter().flat_map(|c| &c.points).filter(|(_, y)| y.is_finite());
        let seen = points().copied().chain(self.line.map(|y| (0.0, y)));
        let (least, most) = seen.fold((f64::MAX, 0.0), |(l, h): (f64, f64), (_, y)| (l.min(y), h.max(y)));
        if self.up.is_none() && least > 0.0 && most / least > LONG {
            let up = range([least, most].into_iter(), 1.2);
            return self.over(up.clone().log_scale().with_key_points(ticks(&up)), (up.start, up.end), tick);
        }
        let up = self.up.unwrap_or_else(|| around(points().map(|(_, y)| *y).chain(self.line)));
        self.over(up.0..up.1, up, plain)
    }

    fn over<Y>(&self, up: Y, (low, high): (f64, f64), tick: fn(f64) -> String) -> anyhow::Result<String>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let right = self.curves.iter().flat_map(|c| &c.points).fold(1.0, |m: f64, (x, _)| m.max(*x));
        let names = width(self.curves.iter().map(|c| c.name.as_str()));
        panel(self.title, HEIGHT, |area| {
            let mut chart = ChartBuilder::on(area)
                .margin_top(super::HEAD)
                .margin_right(names + 20)
                .x_label_area_size(44)
                .y_label_area_size(66)
                .build_cartesian_2d(0.0..right, up)?;
            mesh!(chart, self.axes[0])
                .x_labels(5)
                .y_labels(6)
                .x_label_formatter(&|v| plain(*v))
                .y_desc(self.axes[1])
                .y_label_formatter(&|v| tick(*v))
                .draw()?;
            if let Some(y) = self.line {
                chart.draw_series(LineSeries::new([(0.0, y), (right, y)], INK.stroke_width(1)))?;
            }
            let mut ends = vec![];
            for curve in &self.curves {
                let sound =
                    || curve.points.iter().filter(|(_, y)| y.is_finite()).map(|&(x, y)| (x, y.clamp(low, high)));
                chart.draw_series(LineSeries::new(sound(), curve.look.colour().stroke_width(2)))?;
                ends.push(sound().next_back().unwrap_or((right, low)));
            }
            let ends: Vec<_> = ends.iter().map(|at| chart.backend_coord(at)).collect();
            let (top, foot) = (chart.backend_coord(&(0.0, high)).1, chart.backend_coord(&(0.0, low)).1);
            let heights = apart(&ends.iter().map(|at| at.1).collect::<Vec<_>>(), 16, top + 4, foot - 4);
            let edge = chart.backend_coord(&(right, low)).0;
            for ((curve, end), height) in self.curves.iter().zip(ends).zip(heights) {
                curve.look.mark(area, end)?;
                named(area, curve, end, (edge + 14, height))?;
            }
            Ok(())
        })
    }
}

/// The name of a line, at a place that is free, and what leads there.
fn named(area: &crate::cli::plot::Area, curve: &Curve, end: (i32, i32), at: (i32, i32)) -> Drawn {
    let lead = [(end.0 + 5, end.1), (at.0 - 3, at.1)];
    area.draw(&PathElement::new(lead, curve.look.colour().mix(0.5).stroke_width(1)))?;
    write(area, &curve.name, at, HPos::Left, curve.look.colour())
}
