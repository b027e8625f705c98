//! `halfgrad doctor`: what 16 bit would do to a network, layer by layer, in words.

use comfy_table::Table;
use halfgrad::{
    gpu::title,
    study::{
        Setup,
        doctor::{self, Examination, Layer},
        late_loss,
    },
};

use super::{numbers::NONE, prescription, print};
use crate::DoctorArgs;

/// Examines and tells.
pub fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let data = super::data::load(&args.data, &args.network.model)?;
    let (sample, classes) = (data.train.shape(), data.train.classes());
    let model = args.network.model(sample)?;
    let mut setup = Setup::new(model, args.optimizer.optimizer()?, args.network.batch, args.steps);
    setup.augment = args.data.augment;
    setup.optimizer.check(setup.steps)?;
    let gpu = args.device.open()?;
    let described = super::describe(&setup.model, sample, classes);
    let optimizer = super::describe_optimizer(&setup.optimizer);
    let about = format!("batch {}, {} steps\n{}", setup.batch, setup.steps, title(gpu.info()));
    let head = format!("{described}; {optimizer}; {about}\n\n");
    let found = doctor::examine(&gpu, &data, &setup, args.seed, &mut prescription::noting())?;
    if args.json {
        return super::print_json(&report(&found));
    }
    print(&(head + &render(&found)))
}

fn render(found: &Examination) -> String {
    let mut text = runs(found) + &chance(found) + "\n" + &layers(&found.layers) + "\n";
    if found.findings.is_empty() {
        text += "Nothing goes wrong in 16 bit.\n";
    }
    for group in grouped(found) {
        text += &group;
    }
    let same = &found.rounded;
    text += &format!(
        "\nThe weights that f32 trained, rounded to f16: {} of {} test samples get another class; {:.2} % are certified, \
         of which {} do.\n",
        same.flips,
        same.samples,
        100.0 * same.certified_share(),
        same.certified_flips
    );
    text + &format!("\n{}\n", found.advice)
}

/// What a loss is held against.
fn chance(found: &Examination) -> String {
    let moved =
        found.noise.ratios.iter().map(|r| format!("{:+.0} %", 100.0 * (r - 1.0))).collect::<Vec<_>>().join(", ");
    format!(
        "Chance alone, first weights rounded to the bits of f16, moves the loss of f32 by {moved}:\n\
         what ends at up to {:.2} times that loss trains as f32 does.\n",
        found.noise.allowed()
    )
}

/// What goes wrong, and in which places.
type Wrong<'a> = (&'a str, Vec<&'a str>);

/// Findings that have a cure in common stand together, and those that differ in the place only in one line.
fn grouped(found: &Examination) -> Vec<String> {
    let mut groups: Vec<(&str, Vec<Wrong>)> = vec![];
    for f in &found.findings {
        let at = groups.iter().position(|(cure, _)| *cure == f.cure).unwrap_or(groups.len());
        if at == groups.len() {
            groups.push((&f.cure, vec![]));
        }
        match groups[at].1.iter_mut().find(|(what, _)| *what == f.what) {
            Some((_, places)) => places.push(&f.place),
            None => groups[at].1.push((&f.what, vec![&f.place])),
        }
    }
    let line = |(what, places): &Wrong| format!("* {}: {what}\n", places.join(", "));
    let text = |(cure, found): (&str, Vec<Wrong>)| {
        let cure = if cure.is_empty() { String::new() } else { format!("    cure: {cure}\n") };
        found.iter().map(line).collect::<String>() + &cure
    };
    groups.into_iter().map(text).collect()
}

fn runs(found: &Examination) -> String {
    let mut table = Table::new();
    table.load_style(super::TABLE).set_header([
        "precision",
        "loss at\nthe end",
        "test\naccuracy %",
        "steps\nskipped",
        "updates\nlost",
    ]);
    for run in &found.runs {
        let broken = if run.failure.is_some() { "! " } else { "" };
        table.add_row([
            run.precision.to_string(),
            broken.to_owned() + &number(late_loss(run), |v| format!("{v:.4}")),
            format!("{:.2}", 100.0 * run.evaluation.accuracy),
            run.progress.skipped.to_string(),
            run.lost_update_share().map_or(NONE.into(), |share| format!("{:.2} %", 100.0 * share)),
        ]);
    }
    super::align_right(&mut table, 1, 2);
    format!("{table}\n")
}

fn layers(layers: &[Layer]) -> String {
    let mut table = Table::new();
    table.load_style(super::TABLE).set_header([
        "weight",
        "largest\ngradient",
        "0 in\nf16",
        "sub-\nnormal",
        "changes lost\nto nearest",
        "quality,\nnearest",
        "quality,\nstochastic",
    ]);
    for l in layers {
        table.add_row([
            l.weight.clone(),
            format!("{:.1e}", l.largest_gradient),
            format!("{:.2} %", 100.0 * l.underflow),
            format!("{:.1} %", 100.0 * l.subnormal),
            number(100.0 * l.lost, |v| format!("{v:.1} %")),
            number(l.quality[0], |v| format!("{v:.3}")),
            number(l.quality[1], |v| format!("{v:.3}")),
        ]);
    }
    super::align_right(&mut table, 1, 2);
    format!("{table}\n")
}

/// A number, or a dash where training broke before there was one.
fn number(value: f64, format: impl Fn(f64) -> String) -> String {
    if value.is_nan() { NONE.into() } else { format(value) }
}

fn report(found: &Examination) -> serde_json::Value {
    let layer = |l: &Layer| {
        serde_json::json!({
            "weight": l.weight, "largest_gradient": l.largest_gradient, "underflow": l.underflow, "subnormal": l.subnormal,
            "lost_to_nearest": l.lost, "quality_nearest": l.quality[0], "quality_stochastic": l.quality[1],
        })
    };
    serde_json::json!({
        "advice": found.advice.policy.to_string(),
        "prescription": prescription::json(&found.advice),
        "chance": { "ratios": found.noise.ratios, "allowed": found.noise.allowed() },
        "runs": found.runs.iter().map(|r| serde_json::json!({
            "precision": r.precision.to_string(), "late_loss": late_loss(r), "accuracy": r.evaluation.accuracy,
            "skipped_steps": r.progress.skipped, "lost_update_share": r.lost_update_share(),
            "failure": r.failure.as_ref().map(ToString::to_string),
        })).collect::<Vec<_>>(),
        "layers": found.layers.iter().map(layer).collect::<Vec<_>>(),
        "findings": found.findings.iter().map(|f| serde_json::json!({
            "place": f.place, "what": f.what, "cure": f.cure,
        })).collect::<Vec<_>>(),
    })
}
