//! The comparison for a terminal.

use comfy_table::{Cell, Table};
use halfgrad::bench::report::{Entry, Report};

use super::{Machine, Row, rows, settings, standing};
use crate::cli::{
    TABLE, align_right,
    numbers::{NONE, percent, spread, three},
};

const NOTES: &str = "\
Each cell: median in ms, how far its interval of 95 % reaches or of how few runs it is, share of this adapter's own
roofline; * is the fastest, or not told apart from it. Times are by the device's clock, or where it says wall, since not
all have one, by the host's, submission and wait included. Means are geometric; quartiles are those of the workloads.
";

/// The comparison.
pub fn render(machines: &[Machine]) -> String {
    let mut text = String::new();
    for (name, of) in [("kernels", kernels as fn(&Report) -> &Vec<Entry>), ("training steps", steps)] {
        let rows = rows(machines, of);
        if !rows.is_empty() {
            text += &format!("{name}\n{}\n", table(machines, &rows).trim_fmt());
        }
    }
    text + NOTES + &settings(machines).map_or(String::new(), |said| said + "\n") + &ranking(machines)
}

/// The kernels of a report.
pub fn kernels(report: &Report) -> &Vec<Entry> {
    &report.kernels
}

/// The training steps of a report.
pub fn steps(report: &Report) -> &Vec<Entry> {
    &report.steps
}

fn table(machines: &[Machine], rows: &[Row]) -> Table {
    let mut table = Table::new();
    let labels = machines.iter().map(|m| m.label.clone());
    table.load_style(TABLE).set_header(["".to_owned(), "precision".to_owned()].into_iter().chain(labels));
    let mut last = "";
    for row in rows {
        let fastest = row.fastest();
        let times = (0..machines.len()).map(|m| time(row, m, fastest[m] && machines.len() > 1));
        let name = if row.id == last { "" } else { row.id };
        last = row.id;
        let precision = format!("{} {}", row.precision, row.mark()).trim_end().to_owned();
        table.add_row([name.to_owned(), precision].into_iter().chain(times).map(Cell::new));
    }
    align_right(&mut table, 2, 2);
    table
}

fn time(row: &Row, machine: usize, fastest: bool) -> String {
    let (Some(e), Some(ms)) = (row.entries[machine], row.ms(machine)) else { return NONE.into() };
    let mark = if fastest { "*" } else { "" };
    format!("{mark}{} {:>8} {:>6}", three(ms.median), spread(&ms), percent(e.roofline))
}

/// The machines from the fastest on.
fn ranking(machines: &[Machine]) -> String {
    let all: Vec<Row> = [rows(machines, kernels), rows(machines, steps)].into_iter().flatten().collect();
    let mut found: Vec<_> =
        (0..machines.len()).filter_map(|m| Some((standing(all.iter(), m)?, &machines[m].label))).collect();
    found.sort_by(|a, b| a.0.mean.total_cmp(&b.0.mean));
    let line = |(s, label): &(super::Standing, &String)| {
        let (low, high) = s.quartiles;
        format!(
            "{label}: {} × the fastest one's time (quartiles {} to {}), first in {} of {}\n",
            three(s.mean),
            three(low),
            three(high),
            s.first,
            s.of
        )
    };
    found.iter().map(line).collect()
}
