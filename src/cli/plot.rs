//! What all plots share: the canvas, axes as they look everywhere, ticks, and the picture of a plot as PNG.

use std::{error::Error, ops::Range, sync::Arc};

use anyhow::{Context, anyhow};
use plotters::{coord::Shift, prelude::*};
use resvg::{tiny_skia, usvg};

/// Text in a plot, as a family and a size in units of the plot.
pub const FONT: (&str, i32) = ("sans-serif", 13);
/// Latin, Greek, digits and signs of Inter, for PNG: a machine may have no fonts.
const INTER: &[u8] = include_bytes!("../../data/inter/inter.otf");
/// Pixels of a PNG for each unit of a plot.
const SCALE: f32 = 2.0;

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub type Drawn = Result<(), Box<dyn Error>>;

/// A chart's axes and grid, as every plot has them; a macro, since the type of a mesh has no name that is short.
macro_rules! mesh {
    ($chart:ident, $x:expr) => {
        $chart
            .configure_mesh()
            .x_desc($x)
            .x_label_formatter(&|v| $crate::cli::plot::tick(*v))
            .axis_style($crate::cli::page::INK)
            .bold_line_style($crate::cli::page::GRID)
            .light_line_style(plotters::style::TRANSPARENT)
            .label_style($crate::cli::plot::FONT.into_font().color(&$crate::cli::page::INK))
            .axis_desc_style($crate::cli::plot::FONT.into_font().color(&$crate::cli::page::INK))
    };
}
pub(crate) use mesh;

/// What is drawn on a canvas of this size.
pub fn svg(size: (u32, u32), draw: impl FnOnce(&Area) -> Drawn) -> anyhow::Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(&area).and_then(|()| Ok(area.present()?)).map_err(|e| anyhow!("a plot: {e}"))?;
    }
    Ok(text)
}

/// The picture of a plot on white, as a PNG file.
pub fn png(svg: &str) -> anyhow::Result<Vec<u8>> {
    let mut fonts = usvg::fontdb::Database::new();
    fonts.load_font_data(INTER.to_vec());
    fonts.set_sans_serif_family("Inter");
    let style = "text { paint-order: stroke; stroke: #fff; stroke-width: 3; stroke-linejoin: round }".to_owned();
    let options = usvg::Options { fontdb: Arc::new(fonts), style_sheet: Some(style), ..usvg::Options::default() };
    let tree = usvg::Tree::from_str(svg, &options).context("a plot as PNG")?;
    let size = tree.size().to_int_size().scale_by(SCALE).context("a plot is too large for a PNG")?;
    let mut picture = tiny_skia::Pixmap::new(size.width(), size.height()).context("a plot is too large for a PNG")?;
    picture.fill(tiny_skia::Color::WHITE);
    resvg::render(&tree, tiny_skia::Transform::from_scale(SCALE, SCALE), &mut picture.as_mut());
    Ok(picture.encode_png()?)
}

/// What stands at the ticks of a logarithmic axis: 1, 2 and 5 in each decade, or decades if the axis is long.
pub fn ticks(range: &Range<f64>) -> Vec<f64> {
    let steps: &[f64] = if range.end / range.start > 200.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let all = (-9..9).flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
    all.filter(|v| range.contains(v)).collect()
}

/// The range of positive values, and some room.
pub fn range(values: impl Iterator<Item = f64>, room: f64) -> Range<f64> {
    let widen = |(l, h): (f64, f64), v: f64| (l.min(v), h.max(v));
    let (low, high) = values.filter(|v| *v > 0.0).fold((f64::MAX, f64::MIN_POSITIVE), widen);
    low / room..high * room
}

/// A tick of a logarithmic axis: `0.05`, `10`, `2000`.
pub fn tick(v: f64) -> String {
    let digits = (-v.log10() - 1e-9).ceil().max(0.0) as usize;
    format!("{v:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_its_text_whatever_fonts_a_machine_has() {
        let drawn = |text: &str| {
            let svg = svg((120, 30), |area| Ok(area.draw(&Text::new(text.to_owned(), (5, 5), FONT.into_font()))?));
            let picture = image::load_from_memory(&png(&svg.unwrap()).unwrap()).unwrap().into_luma8();
            assert_eq!(picture.dimensions(), (240, 60));
            picture.pixels().filter(|p| p.0[0] < 128).count()
        };
        assert_eq!(drawn(""), 0);
        let ink = ["δ", "Γ", "⁻²⁴", "10", "×"].map(drawn);
        assert!(ink.iter().all(|n| (5..2000).contains(n)), "{ink:?}");
    }
}
