//! The page: what was asked and found, then part after part.

use maud::{Markup, PreEscaped, html};

use super::{accuracy, adapter, cost, exponents, folder::Folder, lost, reproduce, theorem, training, verdict};
use crate::cli::{
    experiment::record::{Cell as TableCell, Group, Table},
    numbers::NONE,
    page::{self, Cell, Section, number},
};

/// Tables of more rows are folded away.
const ROWS: usize = 16;

/// A plot and the name of its picture.
pub struct Figure {
    pub name: String,
    pub svg: String,
}

/// Something under a heading.
pub enum Block {
    Words(Markup),
    /// Side by side, and what they show.
    Figures(Vec<Figure>, String),
}

/// A part of the page.
pub struct Part {
    pub title: &'static str,
    /// What a reader must know of it.
    pub note: String,
    pub blocks: Vec<Block>,
}

impl Part {
    /// All its plots.
    pub fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.blocks.iter().flat_map(|block| match block {
            Block::Figures(figures, _) => figures.as_slice(),
            Block::Words(_) => &[],
        })
    }
}

/// The parts for which there is something to show.
pub fn parts(folder: &Folder) -> anyhow::Result<Vec<Part>> {
    let trained = [
        accuracy::part(folder)?,
        training::part(folder)?,
        theorem::part(folder)?,
        lost::part(folder)?,
        exponents::part(folder)?,
        cost::part(folder)?,
    ];
    let mut parts: Vec<Part> = match folder.experiment.groups.is_empty() {
        true => vec![],
        false => trained.into(),
    };
    if !folder.experiment.tables.is_empty() {
        parts.insert(0, tables(&folder.experiment.tables));
    }
    parts.extend([adapter::part(folder), reproduce::part(folder)]);
    Ok(parts)
}

/// The page as text.
pub fn render(folder: &Folder, parts: &[Part]) -> String {
    let e = &folder.experiment;
    let lead = html! {
        p { (e.question) }
        (verdict::words(folder))
        p { "Expected: " (e.expected) }
        @if !folder.missing.is_empty() {
            p { b { "Not in this folder: " } (folder.missing.join("; ")) "." }
        }
    };
    let sections: Vec<Section> = parts
        .iter()
        .map(|part| Section {
            title: part.title,
            note: part.note.clone(),
            content: html! { @for block in &part.blocks { (show(block)) } },
        })
        .collect();
    page::render(&format!("{}: {}", e.name, e.title), lead, &sections)
}

fn show(block: &Block) -> Markup {
    match block {
        Block::Words(words) => words.clone(),
        Block::Figures(figures, caption) => html! {
            div.panels { @for f in figures { figure { (PreEscaped(&f.svg)) } } }
            @if !caption.is_empty() { p { (caption) } }
        },
    }
}

/// A heading, if what is under it needs one.
pub fn heading(text: &str) -> Block {
    Block::Words(html! { @if !text.is_empty() { h3 { (text) } } })
}

/// A table that is folded away if it is long.
pub fn folded(title: &str, words: usize, header: &[&str], rows: &[Vec<Cell>]) -> Markup {
    let header: Vec<String> = header.iter().map(ToString::to_string).collect();
    let table = page::table(words, &header, rows);
    match rows.len() <= ROWS {
        true => table,
        false => html! { details { summary { (title) } (table) } },
    }
}

/// A sentence, if there is something to say.
pub fn sentence(text: &str) -> Block {
    Block::Words(html! { @if !text.is_empty() { p { (text) } } })
}

/// The name of a picture: letters and digits, and hyphens between them.
pub fn file_name(words: &[&str]) -> String {
    let letters = words.join(" ").to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', " ");
    letters.split_whitespace().collect::<Vec<_>>().join("-")
}

/// What sets a group apart, for a title: `, batch 16` or nothing.
pub fn of_group(group: &Group) -> String {
    if group.name.is_empty() { String::new() } else { format!(", {}", group.name) }
}

/// A cell of a number.
pub fn cell(value: impl ToString, text: &str) -> Cell {
    Cell { text: number(value, text), ..Cell::from("") }
}

/// A cell of a number that may not be there.
pub fn maybe(value: Option<f64>, text: impl Fn(f64) -> String) -> Cell {
    value.map_or(NONE.into(), |v| cell(v, &text(v)))
}

fn tables(tables: &[Table]) -> Part {
    let cells = |row: &Vec<TableCell>| {
        let show = |cell: &TableCell| match cell {
            TableCell::Number(v) => cell_of(*v),
            TableCell::Text(text) => text.as_str().into(),
        };
        row.iter().map(show).collect::<Vec<_>>()
    };
    let block = |t: &Table| {
        let words = t.rows.first().map_or(1, |row| row.iter().take_while(|c| matches!(c, TableCell::Text(_))).count());
        let rows: Vec<_> = t.rows.iter().map(cells).collect();
        Block::Words(html! { h3 { (t.title) } (page::table(words, &t.header, &rows)) p { (t.note) } })
    };
    Part {
        title: "Measured",
        note: "What was measured without training a network.".into(),
        blocks: tables.iter().map(block).collect(),
    }
}

/// A number of any kind, in six digits.
fn cell_of(v: f64) -> Cell {
    let text = match v.abs() {
        0.0 => "0".into(),
        a if a.fract() == 0.0 && a < 1e9 => format!("{v}"),
        a if !(1e-3..1e6).contains(&a) => format!("{v:.3e}"),
        a => format!("{:.*}", (5 - a.log10().floor() as i32).max(0) as usize, v),
    };
    cell(v, &text)
}
