//! What the adapter's 16-bit arithmetic does, as the probe found.

use maud::{Markup, html};

use super::{
    folder::Folder,
    page::{Block, Part, sentence},
};
use crate::cli::{page, probe};

/// Section, with the probe's tables.
pub fn part(folder: &Folder) -> Part {
    let blocks = match &folder.probe {
        None => vec![sentence("Left out: there is no probe.json.")],
        Some(report) => vec![Block::Words(html! {
            ul { @for line in &report.conclusions { li { (line) } } }
            details open[folder.experiment.groups.is_empty()] {
                summary { "All that the probe found" }
                @for table in report.tables() { (shown(&table)) }
                p { (probe::NOTES) }
            }
        })],
    };
    Part {
        title: "The adapter",
        note: format!(
            "What the 16-bit arithmetic of {} really does, and what it means here.",
            folder.experiment.adapter.name
        ),
        blocks,
    }
}

/// The same table as on a terminal.
fn shown(table: &comfy_table::Table) -> Markup {
    let texts = |row: &comfy_table::Row| row.cell_iter().map(comfy_table::Cell::content).collect::<Vec<_>>();
    let header = table.header().map(texts).unwrap_or_default();
    let rows: Vec<_> = table.row_iter().map(|row| texts(row).into_iter().map(page::Cell::from).collect()).collect();
    page::table(header.len(), &header, &rows)
}
