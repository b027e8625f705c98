//! The frame of a page that stands alone: one file, no network, no script, light or dark as the reader's system is.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use plotters::style::RGBColor;

/// A colour of a series, in plots; the page's style has its twin for dark backgrounds.
pub const SERIES: [RGBColor; 6] = [
    RGBColor(0x1F, 0x6F, 0xB4),
    RGBColor(0xC8, 0x55, 0x1B),
    RGBColor(0x1B, 0x87, 0x5F),
    RGBColor(0x8E, 0x4E, 0xA8),
    RGBColor(0x9A, 0x6A, 0x00),
    RGBColor(0x5A, 0x62, 0x6E),
];
/// Text and axes of a plot.
pub const INK: RGBColor = RGBColor(0x33, 0x38, 0x40);
/// Lines behind the data.
pub const GRID: RGBColor = RGBColor(0xDD, 0xE1, 0xE6);

/// The same on a dark background, in the order SERIES, INK, GRID.
const DARK: [&str; 8] = ["#6DB3F2", "#FF9A5C", "#4CC79A", "#CF9AE6", "#E0B040", "#A4ADBA", "#D5D9DF", "#363C45"];

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d2127; --dim: #5c6470; --line: #dde1e6; --paper: #fff; --band: #f5f7f9;
  --good: #14694a; --bad: #b03a0e; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 70rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.3rem; margin: 3rem 0 .4rem; padding-top: .8rem; border-top: 2px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.6rem 0 .3rem; }
p { max-width: 46rem; margin: .4rem 0 .9rem; } p, figcaption, .lead { color: var(--dim); }
nav { display: flex; flex-wrap: wrap; gap: 0 1.1rem; } nav a { color: inherit; white-space: nowrap; }
@media (max-width: 30rem) { body { padding: 1.2rem .8rem 3rem; } }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; margin: .6rem 0 1rem; }
th, td { padding: .28rem .8rem; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 600; vertical-align: bottom; } thead th { border-bottom: 2px solid var(--line); }
td.text, th.text { text-align: left; } td:not(.text) { white-space: nowrap; } td small { color: var(--dim); }
td.best { font-weight: 650; } td.best small { font-weight: 400; }
.pair { display: grid; gap: 0 2rem; } .pair table { font-size: .8rem; width: 100%; }
.pair th, .pair td { padding: .25rem .5rem; }
@media (min-width: 56rem) { .pair { grid-template-columns: 1fr 1fr; } } tbody tr:nth-child(even) { background: var(--band); }
figure { margin: 1rem 0 1.8rem; } figure svg { width: 100%; height: auto; display: block; }
figure svg text { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; stroke-linejoin: round; }
.panels { display: grid; gap: 0 2rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); align-items: start; }
.panels figure { margin: .6rem 0; } .verdict { max-width: 52rem; padding: .1rem 0 .1rem 1rem; border-left: 4px solid var(--line); }
.verdict p, .verdict li { color: var(--ink); } .verdict ul { padding: 0; list-style: none; }
.verdict li { margin: .5rem 0; } .tag { font-size: .8rem; padding: .05rem .45rem; border: 1px solid; border-radius: .3rem; white-space: nowrap; }
.whole { white-space: nowrap; } .good { color: var(--good); } .bad { color: var(--bad); } .open { color: var(--dim); } code, pre { font-size: .86rem; }
pre { overflow-x: auto; padding: .7rem 1rem; background: var(--band); border: 1px solid var(--line); }
figcaption { font-size: .86rem; max-width: 46rem; margin-top: .3rem; }
.key { display: inline-block; margin-right: 1.2rem; color: var(--ink); font-size: .9rem; }
.key i { display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin-right: .4em; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--dim); }
@media print { body { max-width: none; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
";

/// `#1F6FB4`, as plots write it.
pub fn hex(RGBColor(r, g, b): RGBColor) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}

/// The rules that give each colour of a plot its dark twin: plots know nothing of the page around them.
fn dark() -> String {
    let light = SERIES.into_iter().chain([INK, GRID]).map(hex);
    let twins = light.zip(DARK).map(|(light, dark)| {
        format!(
            "svg [fill=\"{light}\"] {{ fill: {dark}; }} svg [stroke=\"{light}\"] {{ stroke: {dark}; }}\n\
             .key i[data-of=\"{light}\"] {{ background: {dark} !important; }}\n"
        )
    });
    let page = ":root { --ink: #e4e7eb; --dim: #a0a8b4; --line: #363c45; --paper: #15181c; --band: #1b1f24;\n  --good: #4cc79a; --bad: #ff9a5c; }\n";
    format!("@media (prefers-color-scheme: dark) {{\n{page}{}}}\n", twins.collect::<String>())
}

/// A whole page: title, what stands under it, sections.
pub fn render(title: &str, lead: Markup, sections: &[Section]) -> String {
    let style = PreEscaped(STYLE.to_owned() + &dark());
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (style) }
            }
            body {
                h1 { (title) }
                div.lead { (lead) }
                nav { @for s in sections { a href={ "#" (anchor(s.title)) } { (s.title) } } }
                @for s in sections {
                    section id=(anchor(s.title)) { h2 { (s.title) } p { (s.note) } (s.content) }
                }
            }
        }
    }
    .into_string()
}

/// A part of a page under a heading, with what a reader must know of it.
pub struct Section {
    pub title: &'static str,
    pub note: String,
    pub content: Markup,
}

fn anchor(title: &str) -> String {
    title.to_lowercase().replace(' ', "-")
}

/// A plot, as SVG, and what it shows.
pub fn figure(svg: String, caption: &str) -> Markup {
    html! { figure { (PreEscaped(svg)) figcaption { (caption) } } }
}

/// Which colour is what.
pub fn key<'a>(names: impl IntoIterator<Item = (&'a str, RGBColor)>) -> Markup {
    html! {
        div {
            @for (name, colour) in names {
                @let hex = hex(colour);
                span.key { i data-of=(hex) style={ "background:" (hex) } {} (name) }
            }
        }
    }
}

/// A cell of a table: its text, what stands small behind it, whether it is the best of its row.
#[derive(Clone)]
pub struct Cell {
    pub text: Markup,
    pub small: String,
    pub best: bool,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell { text: html! { (text.into()) }, small: String::new(), best: false }
    }
}

/// A number as it is read, with the one that it was made of.
pub fn number(value: impl ToString, text: &str) -> Markup {
    html! { data value=(value.to_string()) { (text) } }
}

/// A table whose first `words` columns are text and whose others are numbers.
pub fn table(words: usize, header: &[String], rows: &[Vec<Cell>]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { @for (i, name) in header.iter().enumerate() { th.text[i < words] { (name) } } } }
            tbody { @for row in rows { tr { @for (i, cell) in row.iter().enumerate() {
                td.text[i < words].best[cell.best] {
                    (cell.text) @if !cell.small.is_empty() { " " small { (cell.small) } }
                }
            } } } }
        } }
    }
}
