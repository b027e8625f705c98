//! From the files of runs to `experiment.json`.

use halfgrad::{
    Gpu,
    study::{
        deviation,
        experiment::{self, Published},
        mean, median,
        statistics::{self, Paired},
    },
};

use super::record::{
    self, Agreement, Asked, Experiment, FORMAT, Group, Interval, Noise, Run, Spread, Table, Theorem, Variant, Verdict,
};
use crate::cli::record::Adapter;

/// Half of the interval in which accuracies count as the same, in points.
const MARGIN: f64 = 0.5;

/// What was asked, and what runs and tables, at least one of either, answer; groups and precisions in the order of the definition.
pub fn of(
    defined: &experiment::Experiment,
    asked: Vec<Asked>,
    command: Vec<String>,
    gpu: &Gpu,
    runs: &[Run],
    tables: Vec<Table>,
) -> Experiment {
    let mut names: Vec<&str> = defined.groups.iter().map(|g| g.name.as_str()).collect();
    names.retain(|name| runs.iter().any(|r| r.group == *name));
    let group = |name: &&str| {
        let defined = defined.groups.iter().find(|g| g.name == **name)?;
        Some(group(defined, &runs.iter().filter(|r| r.group == **name).collect::<Vec<_>>()))
    };
    Experiment {
        format: FORMAT,
        name: defined.name.into(),
        title: defined.title.into(),
        question: defined.question.into(),
        expected: defined.expected.into(),
        command,
        halfgrad: env!("CARGO_PKG_VERSION").into(),
        adapter: Adapter::of_gpu(gpu),
        settings: gpu.settings().description(),
        asked,
        groups: names.iter().filter_map(group).collect(),
        tables,
    }
}

fn group(defined: &experiment::Group, runs: &[&Run]) -> Group {
    let mut seeds: Vec<u64> = runs.iter().map(|r| r.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let mut precisions: Vec<String> = defined.precisions.iter().map(ToString::to_string).collect();
    for run in runs {
        if !precisions.contains(&run.variant) {
            precisions.push(run.variant.clone());
        }
    }
    let of = |precision: &str| {
        let mut own: Vec<&Run> = runs.iter().copied().filter(|r| r.variant == precision).collect();
        own.sort_by_key(|r| r.seed);
        own
    };
    let f32 = of("f32");
    precisions.retain(|p| !of(p).is_empty());
    let published = |precision: &str| {
        let row = defined.published.iter().find(|(p, _)| p.to_string() == precision);
        row.map(|(_, row)| record::Published::of(row))
    };
    Group {
        name: defined.name.clone(),
        setup: runs[0].setup.clone(),
        seeds,
        noise: noise(&f32),
        variants: precisions.iter().map(|p| variant(p, &of(p), &f32, published(p))).collect(),
    }
}

/// How f32 runs of different seeds differ, of at least two.
fn noise(f32: &[&Run]) -> Option<Noise> {
    let pairs = match f32.len() {
        0 | 1 => return None,
        2 => 1, // each with the other is one pair, not two
        n => n,
    };
    let others = (0..pairs).map(|i| (f32[i], f32[(i + 1) % f32.len()]));
    let flips = |(a, b): (&Run, &Run)| {
        let different = a.predicted.iter().zip(&b.predicted).filter(|(a, b)| a != b).count();
        different as f64 / a.predicted.len().max(1) as f64
    };
    Some(Noise {
        pairs,
        flips: mean(&others.clone().map(flips).collect::<Vec<_>>()),
        accuracy_points: mean(&others.map(|(a, b)| 100.0 * (a.accuracy - b.accuracy).abs()).collect::<Vec<_>>()),
    })
}

fn variant(name: &str, runs: &[&Run], f32: &[&Run], published: Option<record::Published>) -> Variant {
    let paired = if name == "f32" { None } else { paired(runs, f32) };
    let all = |part: fn(&Run) -> Option<f64>| runs.iter().filter_map(|r| part(r)).collect::<Vec<f64>>();
    let (perplexities, times) = (all(|r| r.perplexity), all(|r| r.step_ms));
    let changes = runs.iter().flat_map(|r| &r.changes);
    let (lost, changed) = changes.fold((0, 0), |(lost, all), c| (lost + c.lost, all + c.all));
    let agreement = |way: fn(&record::Against) -> &Theorem| {
        let mut found = runs.iter().filter_map(|r| r.against_f32.as_ref()).map(|a| &way(a).agreement);
        let first = found.next()?.clone();
        Some(found.fold(first, Agreement::with))
    };
    Variant {
        name: name.into(),
        runs: runs.iter().map(|r| r.name.clone()).collect(),
        accuracy: spread(&all(|r| Some(r.accuracy))),
        perplexity: (!perplexities.is_empty()).then(|| spread(&perplexities)),
        difference: paired.map(|p| Interval { mean: p.mean, low: p.low, high: p.high, pairs: p.pairs }),
        verdict: paired.map(|p| verdict(p.verdict)),
        cast: agreement(|a| &a.cast),
        trained: agreement(|a| &a.trained),
        step_ms: (!times.is_empty()).then(|| median(&times)),
        seconds: mean(&all(|r| Some(r.seconds))),
        device_bytes: runs[0].device_bytes,
        skipped_steps: runs.iter().map(|r| u64::from(r.skipped_steps)).sum(),
        lost: (changed > 0).then(|| lost as f64 / changed as f64),
        failures: runs
            .iter()
            .filter_map(|r| Some(format!("seed {}: {}", r.seed, r.failure.as_ref()?.message)))
            .collect(),
        published,
    }
}

/// Accuracies less those of f32, in points, by seed.
pub fn paired_differences(runs: &[&Run], f32: &[&Run]) -> Vec<f64> {
    let difference = |run: &&Run| {
        let twin = f32.iter().find(|twin| twin.seed == run.seed)?;
        Some(100.0 * (run.accuracy - twin.accuracy))
    };
    runs.iter().filter_map(difference).collect()
}

/// What they say.
fn paired(runs: &[&Run], f32: &[&Run]) -> Option<Paired> {
    let resolution = 100.0 / runs[0].predicted.len().max(1) as f64;
    Paired::of(&paired_differences(runs, f32), MARGIN, resolution)
}

fn verdict(found: statistics::Verdict) -> Verdict {
    let (kind, seeds_needed) = match found {
        statistics::Verdict::Equivalent => ("equivalent", None),
        statistics::Verdict::Different => ("different", None),
        statistics::Verdict::Inconclusive { pairs } => ("inconclusive", pairs),
    };
    Verdict { kind: kind.into(), margin: MARGIN, seeds_needed }
}

fn spread(values: &[f64]) -> Spread {
    Spread { mean: mean(values), deviation: deviation(values) }
}

impl Agreement {
    fn with(self, more: &Agreement) -> Self {
        Agreement {
            samples: self.samples + more.samples,
            flips: self.flips + more.flips,
            certified: self.certified + more.certified,
            certified_flips: self.certified_flips + more.certified_flips,
        }
    }
}

impl record::Published {
    fn of(row: &Published) -> Self {
        let Published { accuracy, deviation, seconds } = *row;
        record::Published { accuracy: accuracy / 100.0, deviation: deviation / 100.0, seconds }
    }
}
