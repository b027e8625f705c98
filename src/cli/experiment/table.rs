//! The end of an experiment: what was found, group by group.

use comfy_table::Table;

use super::record::{Agreement, Cell, Experiment, Group, Variant};
use crate::cli::{
    self, lines,
    numbers::{NONE, three},
};

const HEADER: [&str; 10] = [
    "precision",
    "test\naccuracy %",
    "vs f32, and\ninterval",
    "verdict",
    "flips %: cast,\ntrained",
    "certified %:\ncast, trained",
    "and\nflips",
    "step\nms",
    "steps\nskipped",
    "updates\nlost",
];

const NOTES: &str = "\
Accuracy: mean over the seeds ± standard deviation. Against f32: the difference in points, paired by seed, with its interval by
Student's t at 95 %. Equivalent: all of it within ± 0.5 points; different: zero outside of it, and not equivalent; else inconclusive,
with the number of seeds that would settle it four times in five. Flips: test samples with another class than in f32; cast: the
weights that f32 trained, in this precision; trained: trained in it. Certified: samples with Γ > 2δ, whose class cannot flip; of
both, 0 must. Updates lost: the change was not 0, but rounding left the weight as it was.
";

/// All groups and tables.
pub fn render(experiment: &Experiment) -> String {
    let mut text = String::new();
    for table in &experiment.tables {
        text += &measured(table);
    }
    for group in &experiment.groups {
        text += &trained(group);
    }
    if experiment.groups.is_empty() { text } else { text + "\n" + NOTES }
}

fn measured(found: &super::record::Table) -> String {
    let mut table = Table::new();
    table.load_style(cli::TABLE).set_header(&found.header);
    let cell = |cell: &Cell| match cell {
        Cell::Text(words) => words.clone(),
        Cell::Number(n) if (0.01..1e4).contains(&n.abs()) => format!("{n:.5}"),
        Cell::Number(n) => format!("{}{}", if *n < 0.0 { "-" } else { "" }, three(n.abs())),
    };
    table.add_rows(found.rows.iter().map(|row| row.iter().map(cell).collect::<Vec<_>>()));
    cli::align_right(&mut table, 1, 2);
    format!("\n{}\n{}\n{}", found.title, table.trim_fmt(), lines("", &found.note))
}

fn trained(group: &Group) -> String {
    let s = &group.setup;
    let seeds = if group.seeds.len() == 1 { "1 seed".into() } else { format!("{} seeds", group.seeds.len()) };
    let name = if group.name.is_empty() { String::new() } else { format!("{}: ", group.name) };
    let head = format!(
        "{name}{}, {} training and {} test samples; {}; {}; batch {}, {} steps; {seeds}",
        s.data.name, s.data.train, s.data.test, s.model, s.optimizer, s.batch, s.steps
    );
    let mut text = format!("\n{}", lines("", &head));
    let mut table = Table::new();
    table.load_style(cli::TABLE).set_header(HEADER);
    table.add_rows(group.variants.iter().map(row));
    cli::align_right(&mut table, 1, 1);
    table.column_mut(0).expect("there are ten").set_padding((0, 0));
    text += &format!("{}\n", table.trim_fmt());
    if let Some(noise) = &group.noise {
        let (flips, points) = (100.0 * noise.flips, noise.accuracy_points);
        text += &format!(
            "Two f32 runs of different seeds: {flips:.2} % class flips, accuracies {points:.2} points apart.\n"
        );
    }
    for v in &group.variants {
        for failure in &v.failures {
            text += &format!("! {}, {failure}; tested with the weights before it\n", v.name);
        }
        if let Some(p) = &v.published {
            text += &format!(
                "published for {} (arXiv 2305.10947, CIFAR-10, 100 epochs): {:.1} ± {:.1} %, {:.0} s; here {:.1} s\n",
                v.name,
                100.0 * p.accuracy,
                100.0 * p.deviation,
                p.seconds,
                v.seconds
            );
        }
    }
    text
}

fn row(v: &Variant) -> [String; 10] {
    let none = || NONE.to_owned();
    let percent = |n: u64, all: u64| format!("{:.2}", 100.0 * n as f64 / all.max(1) as f64);
    let both = |part: fn(&Agreement) -> u64| match (&v.cast, &v.trained) {
        (Some(a), Some(b)) => format!("{}, {}", percent(part(a), a.samples), percent(part(b), b.samples)),
        _ => none(),
    };
    let broken = if v.failures.is_empty() { "" } else { "! " };
    let deviation = v.accuracy.deviation.map_or(String::new(), |sd| format!(" ± {:.2}", 100.0 * sd));
    let perplexity = v.perplexity.as_ref().map_or(String::new(), |p| format!("\nperplexity {:.2}", p.mean));
    let verdict = v.verdict.as_ref().map_or_else(none, |verdict| match (verdict.seeds_needed, verdict.kind.as_str()) {
        (Some(n), kind) => format!("{kind}:\n{n} seeds"),
        (None, kind) => kind.to_owned(),
    });
    let flips = v.cast.as_ref().zip(v.trained.as_ref()).map(|(a, b)| a.certified_flips + b.certified_flips);
    [
        v.name.clone(),
        format!("{broken}{:.2}{deviation}{perplexity}", 100.0 * v.accuracy.mean),
        v.difference.as_ref().map_or_else(none, |d| format!("{:+.2}: {:+.2} … {:+.2}", d.mean, d.low, d.high)),
        verdict,
        both(|a| a.flips),
        both(|a| a.certified),
        flips.map_or_else(none, |n| n.to_string()),
        v.step_ms.map_or_else(none, |ms| format!("{ms:.2}")),
        v.skipped_steps.to_string(),
        v.lost.map_or_else(none, |share| format!("{:.2} %", 100.0 * share)),
    ]
}
