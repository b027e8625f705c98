//! The plots of a comparison, as SVG.

use std::error::Error;

use anyhow::anyhow;
use halfgrad::{
    Precision,
    bench::report::{Entry, Sample},
};
use plotters::{
    coord::{
        Shift,
        ranged1d::{SegmentValue, ValueFormatter},
    },
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::Machine;
use crate::cli::{
    numbers::three,
    page::{GRID, INK, SERIES},
};

const FONT: (&str, i32) = ("sans-serif", 13);
/// Width of every plot, in units of its own: the page scales it.
const WIDTH: u32 = 1000;
/// Height of a row of a dot plot.
const LINE: u32 = 19;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

/// A value with its interval, in a row and of a series.
pub struct Dot {
    pub row: usize,
    pub series: usize,
    pub value: Sample,
}

fn svg(height: u32, draw: impl FnOnce(&Area) -> Drawn) -> anyhow::Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        draw(&area).and_then(|()| Ok(area.present()?)).map_err(|e| anyhow!("a plot: {e}"))?;
    }
    Ok(text)
}

/// The colour of a precision, the same in every plot.
pub fn colour(precision: &str) -> RGBColor {
    let at = Precision::PRESETS.iter().position(|(name, _)| *name == precision);
    SERIES[at.unwrap_or(Precision::PRESETS.len()) % SERIES.len()]
}

/// A range in powers of ten around values.
fn decades(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.filter(|v| *v > 0.0).fold((f64::MAX, f64::MIN_POSITIVE), |(l, h), v| (l.min(v), h.max(v)));
    (10f64.powf((low / 1.3).log10().floor()), 10f64.powf((high * 1.3).log10().ceil()))
}

/// Each entry of a machine by its FLOPs a byte and FLOPs a second, under the lines that the measured limits draw.
pub fn roofline(machine: &Machine) -> anyhow::Result<String> {
    let report = &machine.report;
    let entries = || report.kernels.iter().chain(&report.steps).filter(|e| e.flops > 0);
    let peak = report.limits.fma.iter().map(|r| r.rate.median).fold(0.0, f64::max);
    let (x0, x1) = decades(entries().map(Entry::intensity));
    let (y0, y1) = decades(entries().map(|e| e.gflops).chain([peak]));
    svg(440, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .margin_right(24)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d((x0..x1).log_scale(), (y0..y1).log_scale())?;
        mesh(chart.configure_mesh(), "FLOP per byte", "GFLOP/s")?;
        let bandwidth = report.limits.bandwidth() / 1e9;
        for rate in report.limits.fma.iter().filter(|r| r.name != "f16 packed") {
            let (roof, colour) = (rate.rate.median, if rate.name == "f32" { SERIES[0] } else { SERIES[2] });
            let ridge = (roof / bandwidth).clamp(x0, x1);
            let line = [(x0, x0 * bandwidth), (ridge, (ridge * bandwidth).min(roof)), (x1, roof.min(x1 * bandwidth))];
            let line = line.map(|(x, y)| (x.max(y0 / bandwidth), y.max(y0)));
            chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
            let text = format!("{} {} GFLOP/s", rate.name, three(roof));
            let style = FONT.into_font().color(&colour).pos(Pos::new(HPos::Right, VPos::Bottom));
            chart.draw_series([Text::new(text, (x1, roof * 1.06), style)])?;
        }
        let foot = (y0 / bandwidth).max(x0) * 1.1;
        let style = FONT.into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Top));
        chart.draw_series([Text::new(
            format!("{} GB/s", three(bandwidth)),
            (foot * 1.25, foot * bandwidth * 1.1),
            style,
        )])?;
        for e in entries() {
            let at = (e.intensity(), e.gflops.max(y0));
            let paint = colour(&e.precision);
            if report.steps.iter().any(|s| std::ptr::eq(s, e)) {
                chart.draw_series([TriangleMarker::new(at, 7, paint.filled())])?;
            } else {
                chart.draw_series([Circle::new(at, 4, paint.mix(0.75).filled())])?;
            }
        }
        Ok(())
    })
}

fn mesh<X, Y>(mut mesh: plotters::chart::MeshStyle<X, Y, SVGBackend>, x: &str, y: &str) -> Drawn
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    mesh.x_desc(x)
        .y_desc(y)
        .x_label_formatter(&|v| label(*v))
        .y_label_formatter(&|v| label(*v))
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .label_style(FONT.into_font().color(&INK))
        .axis_desc_style(FONT.into_font().color(&INK))
        .draw()?;
    Ok(())
}

/// A tick of a logarithmic axis: `0.1`, `10`, `1000`.
fn label(v: f64) -> String {
    if v >= 1.0 { format!("{v:.0}") } else { format!("{v:.0$}", (-v.log10()).ceil() as usize) }
}

/// Values in rows, on a logarithmic axis with a line at 1: a dot and its interval for each, the series in their colours.
pub fn dots(rows: &[String], series: usize, dots: &[Dot], axis: &str) -> anyhow::Result<String> {
    let values = dots.iter().flat_map(|d| [d.value.low, d.value.high]).chain([0.8, 1.25]);
    let (low, high) = values.filter(|v| *v > 0.0).fold((f64::MAX, 0.0), |(l, h): (f64, f64), v| (l.min(v), h.max(v)));
    let range = (low / 1.1, high * 1.1);
    let count = rows.len() as i32;
    svg(LINE * rows.len() as u32 + 80, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(24)
            .x_label_area_size(44)
            .y_label_area_size(290)
            .build_cartesian_2d((range.0..range.1).log_scale(), (0..count).into_segmented())?;
        let row = |v: &SegmentValue<i32>| match v {
            // The first row stands on top.
            SegmentValue::CenterOf(i) if *i < count => rows[(count - 1 - i) as usize].clone(),
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .x_desc(axis)
            .y_labels(rows.len() + 1)
            .x_label_formatter(&|v| three(*v).trim_end_matches('0').trim_end_matches('.').to_owned())
            .y_label_formatter(&row)
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(FONT.into_font().color(&INK))
            .axis_desc_style(FONT.into_font().color(&INK))
            .draw()?;
        let one = [(1.0, SegmentValue::Exact(0)), (1.0, SegmentValue::Exact(count))];
        chart.draw_series(LineSeries::new(one, INK.stroke_width(1)))?;
        for dot in dots {
            let y = || SegmentValue::CenterOf(count - 1 - dot.row as i32);
            let paint = SERIES[dot.series % SERIES.len()];
            // Side by side within the row, so that none hides another.
            let shift = (dot.series as i32 * 2 - series as i32 + 1) * 2;
            let Sample { median, low, high, .. } = dot.value;
            chart.draw_series([EmptyElement::at((median, y())) + Circle::new((0, shift), 4, paint.filled())])?;
            let left = chart.backend_coord(&(low, y()));
            let right = chart.backend_coord(&(high, y()));
            area.draw(&PathElement::new(
                vec![(left.0, left.1 + shift), (right.0, right.1 + shift)],
                paint.stroke_width(2),
            ))?;
        }
        Ok(())
    })
}
