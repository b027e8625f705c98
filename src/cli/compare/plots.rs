//! The plots of a comparison, as SVG.

use halfgrad::{
    Precision,
    bench::report::{Entry, Sample},
};
use plotters::{
    coord::ranged1d::SegmentValue,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::Machine;
use crate::cli::{
    numbers::three,
    page::{GRID, INK, SERIES},
    plot::{FONT, mesh, range, svg, tick, ticks},
};

/// Width of every plot, in units of its own: the page scales it.
const WIDTH: u32 = 1000;
/// Height of a row of a dot plot.
const LINE: u32 = 19;

/// A value with its interval, in a row and of a series.
pub struct Dot {
    pub row: usize,
    pub series: usize,
    pub value: Sample,
}

/// The colour of a precision, the same in every plot.
pub fn colour(precision: &str) -> RGBColor {
    let at = Precision::PRESETS.iter().position(|(name, _)| *name == precision);
    SERIES[at.unwrap_or(Precision::PRESETS.len()) % SERIES.len()]
}

/// Each entry of a machine by its FLOPs a byte and FLOPs a second, under the lines that the measured limits draw.
pub fn roofline(machine: &Machine) -> anyhow::Result<String> {
    let report = &machine.report;
    let entries = || report.kernels.iter().chain(&report.steps).filter(|e| e.flops > 0);
    let roofs = || report.limits.fma.iter().filter(|r| r.name != "f16 packed");
    let x = range(entries().map(Entry::intensity), 2.0);
    let y = range(entries().map(|e| e.gflops).chain(roofs().map(|r| r.rate.median)), 2.0);
    svg((WIDTH, 440), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .margin_right(24)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(
                x.clone().log_scale().with_key_points(ticks(&x)),
                y.clone().log_scale().with_key_points(ticks(&y)),
            )?;
        mesh!(chart, "FLOP per byte").y_desc("GFLOP/s").y_label_formatter(&|v| tick(*v)).draw()?;
        let bandwidth = report.limits.bandwidth() / 1e9;
        // Narrow registers first: where lines meet, that of f32 stays to be seen.
        for rate in roofs().collect::<Vec<_>>().into_iter().rev() {
            let (roof, paint) = (rate.rate.median, colour(if rate.name == "f32" { "f32" } else { "f16-strict" }));
            let (foot, ridge) = (x.start.max(y.start / bandwidth), (roof / bandwidth).clamp(x.start, x.end));
            let line =
                [(foot, foot * bandwidth), (ridge, roof.min(ridge * bandwidth)), (x.end, roof.min(x.end * bandwidth))];
            chart.draw_series(LineSeries::new(line, paint.stroke_width(2)))?;
            let style = FONT.into_font().color(&paint).pos(Pos::new(HPos::Right, VPos::Bottom));
            let text = format!("multiply-adds in {}: {} GFLOP/s", rate.name, three(roof));
            chart.draw_series([Text::new(text, (x.end / 1.02, roof * 1.05), style)])?;
        }
        // Far enough from the axis for what it says.
        let low = x.start.max(y.start / bandwidth) * (x.end / x.start).powf(0.15);
        let style = FONT.into_font().color(&INK).pos(Pos::new(HPos::Right, VPos::Bottom));
        chart.draw_series([Text::new(format!("copy: {} GB/s ", three(bandwidth)), (low, low * bandwidth), style)])?;
        for e in &report.kernels {
            let dot = entries().any(|shown| std::ptr::eq(shown, e));
            let at = (e.intensity(), e.gflops);
            chart.draw_series(dot.then(|| Circle::new(at, 4, colour(&e.precision).mix(0.75).filled())))?;
        }
        for e in &report.steps {
            let at = (e.intensity(), e.gflops);
            chart.draw_series([TriangleMarker::new(at, 8, colour(&e.precision).filled())])?;
        }
        Ok(())
    })
}

/// Values in rows, on a logarithmic axis with a line at 1: a dot and its interval each, the series in their colours.
pub fn dots(rows: &[String], series: usize, dots: &[Dot], axis: &str) -> anyhow::Result<String> {
    // One noisy interval must not press all others together: it is cut off at the edge.
    let x = range(dots.iter().map(|d| d.value.median).chain([0.8, 1.25]), 1.3);
    let last = rows.len() as i32 - 1;
    svg((WIDTH, LINE * rows.len() as u32 + 70), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(24)
            .x_label_area_size(44)
            .y_label_area_size(300)
            .build_cartesian_2d(x.clone().log_scale().with_key_points(ticks(&x)), (0..last).into_segmented())?;
        // The first row stands on top.
        let name = |v: &SegmentValue<i32>| match v {
            SegmentValue::CenterOf(i) => rows[(last - i).clamp(0, last) as usize].clone(),
            _ => String::new(),
        };
        mesh!(chart, axis).disable_y_mesh().y_labels(rows.len()).y_label_formatter(&name).draw()?;
        for row in 0..=last {
            let ends = [x.start, x.end].map(|end| (end, SegmentValue::CenterOf(row)));
            chart.draw_series(LineSeries::new(ends, GRID.stroke_width(1)))?;
        }
        let one = [SegmentValue::Exact(0), SegmentValue::Last].map(|end| (1.0, end));
        chart.draw_series(LineSeries::new(one, INK.stroke_width(1)))?;
        for dot in dots {
            let place = |value: f64| chart.backend_coord(&(value, SegmentValue::CenterOf(last - dot.row as i32)));
            let paint = SERIES[dot.series % SERIES.len()];
            // Side by side within the row, so that none hides another.
            let shift = (dot.series as i32 * 2 - series as i32 + 1) * 2;
            let [median, low, high] = [dot.value.median, dot.value.low, dot.value.high].map(|value| {
                let (right, down) = place(value.clamp(x.start, x.end));
                (right, down + shift)
            });
            area.draw(&PathElement::new(vec![low, high], paint.stroke_width(2)))?;
            area.draw(&Circle::new(median, 4, paint.filled()))?;
        }
        Ok(())
    })
}
