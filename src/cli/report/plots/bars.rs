//! Bytes in rows, by what they hold.

use plotters::{prelude::*, style::text_anchor::HPos};

use super::{Look, WIDTH, panel, plain, width, write};
use crate::cli::{page::INK, plot::mesh};

const ROW: u32 = 30;
const AXIS: u32 = 50;
/// How strong the colour of each part is.
const STRENGTHS: [f64; 4] = [1.0, 0.68, 0.42, 0.2];

/// A row.
pub struct Bar {
    pub name: String,
    pub look: Look,
    pub parts: [f64; 4],
    /// What stands at its end.
    pub text: String,
}

/// Draws them.
pub fn bars(title: &str, axis: &str, parts: [&str; 4], bars: &[Bar]) -> anyhow::Result<String> {
    let rows = bars.len() as u32;
    let most = bars.iter().map(|b| b.parts.iter().sum()).fold(f64::MIN_POSITIVE, f64::max);
    let left = width(bars.iter().map(|b| b.name.as_str())).min(WIDTH / 3) + 16;
    let right = width(bars.iter().map(|b| b.text.as_str()));
    panel(title, 24 + rows * ROW + AXIS, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_top(super::HEAD + 24)
            .margin_right(right + 14)
            .x_label_area_size(AXIS - 6)
            .y_label_area_size(left)
            .build_cartesian_2d(0.0..most, 0.0..f64::from(rows))?;
        mesh!(chart, axis).disable_y_mesh().y_labels(0).x_labels(5).x_label_formatter(&|v| plain(*v)).draw()?;
        let mut x = 6;
        for (part, strength) in parts.iter().zip(STRENGTHS) {
            let top = super::HEAD as i32 + 4;
            area.draw(&Rectangle::new([(x, top), (x + 12, top + 12)], INK.mix(strength).filled()))?;
            write(area, part, (x + 17, top + 6), HPos::Left, INK)?;
            x += 17 + width([*part].into_iter()) as i32 + 14;
        }
        for (i, bar) in bars.iter().enumerate() {
            let base = f64::from(rows) - i as f64 - 0.5;
            let mut from = 0.0;
            for (part, strength) in bar.parts.iter().zip(STRENGTHS) {
                let corners = [(from, base + 0.3), (from + part, base - 0.3)];
                chart.draw_series([Rectangle::new(corners, bar.look.colour().mix(strength).filled())])?;
                from += part;
            }
            let (start, end) = (chart.backend_coord(&(0.0, base)), chart.backend_coord(&(from, base)));
            write(area, &bar.name, (start.0 - 8, start.1), HPos::Right, bar.look.colour())?;
            write(area, &bar.text, (end.0 + 8, end.1), HPos::Left, INK)?;
        }
        Ok(())
    })
}
