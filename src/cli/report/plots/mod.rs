//! The plots of a report, as SVG. Numbers and words go in; where they come from is not known here.
//!
//! Each is a panel of one width, which a page puts side by side or one below the other, as there is room. Colours and
//! marks are those of a [`Look`]; series are named where they are drawn.

mod bars;
mod curves;
mod intervals;
mod ridges;
mod scatter;

use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

pub use bars::{Bar, bars};
pub use curves::{Curve, Curves};
pub use intervals::{Intervals, Row};
pub use ridges::{Ridge, ridges};
pub use scatter::{Scatter, least, scatter};

use crate::cli::{
    page::{INK, SERIES},
    plot::{Area, Drawn, FONT, svg},
};

/// Width of a panel.
const WIDTH: u32 = 480;
/// What the title takes from a panel's height.
const HEAD: u32 = 34;
const TITLE: (&str, i32) = ("sans-serif", 15);

/// Colour and mark of a series: of thirty in a row no two have both in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look(pub usize);

impl Look {
    pub fn colour(self) -> RGBColor {
        SERIES[self.0 % SERIES.len()]
    }

    /// Draws the mark.
    fn mark(self, area: &Area, (x, y): (i32, i32)) -> Drawn {
        let paint = self.colour().filled();
        let shape = |corners: &[(i32, i32)]| corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect::<Vec<_>>();
        match self.0 % 5 {
            0 => area.draw(&Circle::new((x, y), 4, paint))?,
            1 => area.draw(&Polygon::new(shape(&[(-4, -4), (4, -4), (4, 4), (-4, 4)]), paint))?,
            2 => area.draw(&Polygon::new(shape(&[(0, -5), (5, 4), (-5, 4)]), paint))?,
            3 => area.draw(&Polygon::new(shape(&[(0, -6), (6, 0), (0, 6), (-6, 0)]), paint))?,
            _ => area.draw(&Polygon::new(shape(&[(0, 5), (5, -4), (-5, -4)]), paint))?,
        }
        Ok(())
    }
}

/// A panel with a title over what is drawn.
fn panel(title: &str, height: u32, draw: impl FnOnce(&Area) -> Drawn) -> anyhow::Result<String> {
    svg((WIDTH, HEAD + height), |area| {
        area.draw(&Text::new(title.to_owned(), (6, 8), TITLE.into_font().color(&INK)))?;
        draw(area)
    })
}

/// Writes at a place, to the side that `to` says and centred on its height.
fn write(area: &Area, text: &str, at: (i32, i32), to: HPos, colour: RGBColor) -> Drawn {
    let style = FONT.into_font().color(&colour).pos(Pos::new(to, VPos::Center));
    Ok(area.draw(&Text::new(text.to_owned(), at, style))?)
}

/// How much room texts need at least: browsers have fonts of their own.
fn width<'a>(texts: impl Iterator<Item = &'a str>) -> u32 {
    texts.map(|text| text.chars().count() as u32).max().unwrap_or(0) * 15 / 2
}

/// A tick of a linear axis, without what floating point adds to it.
fn plain(v: f64) -> String {
    let rounded = (v * 1e6).round() / 1e6;
    // Never -0.
    format!("{}", rounded + 0.0)
}

/// `10⁻⁴`; what is near 1 is written out.
fn power_of_ten(v: f64) -> String {
    match v.log10().round() as i32 {
        exponent @ -1..=2 => plain(10f64.powi(exponent)),
        exponent => format!("10{}", superscript(exponent)),
    }
}

fn superscript(n: i32) -> String {
    let digit = |c: char| match c {
        '-' => '⁻',
        _ => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][c.to_digit(10).unwrap_or(0) as usize],
    };
    n.to_string().chars().map(digit).collect()
}

/// A range of these numbers and a little room; something sensible of none and of one.
fn around(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.filter(|v| v.is_finite()).fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
    match high - low {
        _ if low > high => (0.0, 1.0),
        0.0 => (low - 0.5, high + 0.5),
        room => (low - 0.05 * room, high + 0.05 * room),
    }
}

/// Moves heights apart until none is nearer to the next than `gap`, within `low` and `high` if there is room.
fn apart(wanted: &[i32], gap: i32, low: i32, high: i32) -> Vec<i32> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&i| wanted[i]);
    let mut placed = wanted.to_vec();
    let mut next = low;
    for &i in &order {
        placed[i] = placed[i].max(next);
        next = placed[i] + gap;
    }
    let mut last = high;
    for &i in order.iter().rev() {
        placed[i] = placed[i].min(last);
        last = placed[i] - gap;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_apart() {
        assert_eq!(apart(&[50, 50, 52, 90], 10, 0, 100), [50, 60, 70, 90]);
        assert_eq!(apart(&[95, 96, 97], 10, 0, 100), [80, 90, 100]);
    }

    #[test]
    fn ticks_are_short() {
        assert_eq!([1e-8, 0.1, 1.0, 1e4].map(power_of_ten), ["10⁻⁸", "0.1", "1", "10⁴"]);
        assert_eq!([0.1 + 0.2, -0.0, 2000.0].map(plain), ["0.3", "0", "2000"]);
        assert_eq!(around([3.0].into_iter()), (2.5, 3.5));
        assert_eq!(around([f64::NAN].into_iter()), (0.0, 1.0));
    }
}
