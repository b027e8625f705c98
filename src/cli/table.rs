//! The end of a study: one table, and how to read it.

use comfy_table::{Cell, Row, Table};
use halfgrad::study::{Comparison, Outcome, deviation, mean, median};

use super::numbers::size;

/// A run and how it compares with the f32 run of the same seed.
pub struct Compared {
    pub run: Outcome,
    pub against_f32: Option<Comparison>,
}

/// In the place of what the table is about.
const SCORE: &str = "score";
const HEADER: [&str; 12] = [
    "precision",
    SCORE,
    "vs\nf32",
    "class\nflips",
    "certi-\nfied",
    "and\nflips",
    "step\nms",
    "weights",
    "opti-\nmizer",
    "activa-\ntions",
    "steps\nskipped",
    "updates\nlost",
];

const ACCURACY: &str = "Accuracy: mean over the seeds ± standard deviation. Against f32: the difference in points.\n";
const PERPLEXITY: &str = "\
Perplexity: e to the power of the mean loss of a test token; mean over the seeds ± standard deviation. Less is better.
A sample is a token, its class the token that comes next.
";
const NOTES: &str = "\
Class flips: test samples that got another class than from the f32 run of the same seed. Certified: samples whose margin
in f32 is more than twice the largest change of a probability, so that their class cannot flip; that must count 0 flips.
Step: median, host and device, warm. Updates lost: changes that f32 could add to a weight, but which left it as it was.
";

/// The table with its notes; runs are in the order of the rows wanted.
pub fn render(runs: &[Compared]) -> String {
    let mut names: Vec<String> = vec![];
    for run in runs {
        let name = run.run.precision.to_string();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let of = |name: &str| runs.iter().filter(|r| r.run.precision.to_string() == name).collect::<Vec<_>>();
    let f32 = mean(&scores(&of("f32")));
    let language = runs.iter().any(|r| r.run.perplexity.is_some());
    let (score, note) = if language { ("test\nperplexity", PERPLEXITY) } else { ("test\naccuracy %", ACCURACY) };

    let mut table = Table::new();
    table.load_style(super::TABLE).set_header(HEADER.map(|title| if title == SCORE { score } else { title }));
    table.add_rows(names.iter().map(|name| row(name, &of(name), f32)));
    super::align_right(&mut table, 1, 2);
    table.column_mut(0).expect("there are twelve").set_padding((0, 0));
    let mut text = format!("{}\n", table.trim_fmt());
    for Compared { run, .. } in runs {
        if let Some(e) = &run.failure {
            text +=
                &format!("! {}, seed {}: {e}; the score is that of the weights before it\n", run.precision, run.seed);
        }
    }
    for name in &names {
        for warning in of(name).first().iter().flat_map(|r| &r.run.warnings) {
            text += &format!("! {name}: {warning}\n");
        }
    }
    if runs.iter().any(|r| !r.run.sharpness.is_empty()) {
        text += &sharpness(&names.iter().map(|name| (name.as_str(), of(name))).collect::<Vec<_>>());
    }
    if f32.is_nan() {
        text += "f32 is not in the list of precisions, so nothing is compared with it.\n";
    }
    text + note + NOTES
}

/// The last sharpness of each run, by precision.
fn sharpness(rows: &[(&str, Vec<&Compared>)]) -> String {
    let last = |runs: &[&Compared]| {
        let found: Vec<f64> = runs.iter().filter_map(|r| Some(r.run.sharpness.last()?.1.eigenvalue)).collect();
        mean(&found)
    };
    let found: Vec<String> = rows.iter().map(|(name, runs)| format!("{name} {:.3}", last(runs))).collect();
    format!(
        "Sharpness λ at the end, mean over the seeds: {}.\n\
         λ is the largest eigenvalue of the loss's Hessian: with momentum μ, descent is stable up to a rate of 2 (1 + μ) / λ.\n",
        found.join(", ")
    )
}

/// Perplexity or accuracy.
fn scores(runs: &[&Compared]) -> Vec<f64> {
    runs.iter().map(|r| r.run.perplexity.unwrap_or(100.0 * r.run.evaluation.accuracy)).collect()
}

fn row(name: &str, runs: &[&Compared], f32: f64) -> Row {
    let scores = scores(runs);
    let compared: Vec<&Comparison> =
        if name == "f32" { vec![] } else { runs.iter().filter_map(|r| r.against_f32.as_ref()).collect() };
    let sum = |part: fn(&Comparison) -> usize| compared.iter().map(|c| part(c)).sum::<usize>();
    let samples = sum(|c| c.samples);
    let share = |n: usize| (samples > 0).then(|| format!("{:.2} %", 100.0 * n as f64 / samples as f64));
    let none = || "–".to_owned();

    let deviation = deviation(&scores).map_or(String::new(), |sd| format!(" ± {sd:.2}"));
    let mark = if runs.iter().any(|r| r.run.failure.is_some()) { "! " } else { "" };
    let times: Vec<f64> = runs.iter().map(|r| 1e3 * r.run.step_seconds).collect();
    let bytes = runs[0].run.bytes;
    let changes = runs.iter().map(|r| r.run.lost_changes());
    let (lost, all) = changes.fold((0, 0), |(lost, all), (l, a)| (lost + l, all + a));
    let cells = [
        name.to_owned(),
        format!("{mark}{:.2}{deviation}", mean(&scores)),
        if compared.is_empty() { none() } else { format!("{:+.2}", mean(&scores) - f32) },
        share(sum(|c| c.flips)).unwrap_or_else(none),
        share(sum(|c| c.certified)).unwrap_or_else(none),
        if compared.is_empty() { none() } else { sum(|c| c.certified_flips).to_string() },
        format!("{:.2}", median(&times)),
        size(bytes.weights),
        size(bytes.optimizer),
        size(bytes.activations),
        runs.iter().map(|r| u64::from(r.run.progress.skipped)).sum::<u64>().to_string(),
        if all == 0 { none() } else { format!("{:.2} %", 100.0 * lost as f64 / all as f64) },
    ];
    Row::from(cells.map(Cell::new))
}
