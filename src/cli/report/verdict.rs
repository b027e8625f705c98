//! The verdict, in plain words.

use maud::{Markup, html};

use super::folder::Folder;
use crate::cli::{
    experiment::record::{Agreement, Group, Interval, Variant},
    page::number,
};

/// More groups than these are named by what came out, not told one by one.
const GROUPS: usize = 3;

/// What came out, before anything else.
pub fn words(folder: &Folder) -> Markup {
    let groups = &folder.experiment.groups;
    html! {
        div.verdict {
            @if groups.is_empty() { p { "Nothing was trained; what was measured is below." } }
            @if groups.len() <= GROUPS { @for group in groups { (told(group)) } } @else { (sorted(folder)) }
            (certified(groups))
        }
    }
}

fn others(group: &Group) -> impl Iterator<Item = &Variant> {
    group.variants.iter().filter(|v| v.name != "f32")
}

fn told(group: &Group) -> Markup {
    html! {
        @if !group.name.is_empty() { p { b { (group.name) } } }
        @if others(group).next().is_none() { p { "Only f32 is there: nothing can be compared yet." } }
        ul { @for variant in others(group) {
            li { b { (variant.name) } " " (tag(Outcome::of(variant))) " " (line(group, variant)) (broke(variant)) }
        } }
    }
}

/// Of each precision, in which groups what came out.
fn sorted(folder: &Folder) -> Markup {
    let groups = |name: &str, outcome: Outcome| {
        let came = |g: &&Group| g.variants.iter().any(|v| v.name == name && Outcome::of(v) == outcome);
        folder.experiment.groups.iter().filter(came).map(|g| g.name.as_str()).collect::<Vec<_>>()
    };
    let of = |name: &str| Outcome::ALL.map(|outcome| (outcome, groups(name, outcome)));
    html! { ul { @for name in folder.variants().into_iter().filter(|name| *name != "f32") { li {
        b { (name) }
        @for (outcome, groups) in of(name).into_iter().filter(|(_, groups)| !groups.is_empty()) {
            div { (tag(outcome)) " " @for (i, group) in groups.iter().enumerate() {
                @if i > 0 { "; " } span.whole { (group) }
            } }
        }
    } } } }
}

/// What came out of a precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Broke,
    Worse,
    Open,
    Untold,
    Better,
    Equal,
}

impl Outcome {
    const ALL: [Self; 6] = [Self::Broke, Self::Worse, Self::Open, Self::Untold, Self::Better, Self::Equal];

    fn of(v: &Variant) -> Self {
        let difference = v.difference.as_ref().map_or(0.0, |d| d.mean);
        match v.verdict.as_ref().map(|v| v.kind.as_str()) {
            _ if !v.failures.is_empty() => Outcome::Broke,
            None => Outcome::Untold,
            Some("equivalent") => Outcome::Equal,
            Some("different") if difference < 0.0 => Outcome::Worse,
            Some("different") => Outcome::Better,
            Some(_) => Outcome::Open,
        }
    }

    /// What it is called, and whether that is good, bad or neither.
    fn said(self) -> (&'static str, &'static str) {
        match self {
            Outcome::Broke => ("broke", "bad"),
            Outcome::Worse => ("worse than f32", "bad"),
            Outcome::Open => ("inconclusive", "open"),
            Outcome::Untold => ("no verdict", "open"),
            Outcome::Better => ("better than f32", "good"),
            Outcome::Equal => ("as good as f32", "good"),
        }
    }
}

fn tag(outcome: Outcome) -> Markup {
    let (said, class) = outcome.said();
    html! { span.tag.(class) { (said) } }
}

/// Accuracies as percent.
pub fn percent(share: f64) -> Markup {
    number(share, &format!("{:.2}\u{a0}%", 100.0 * share))
}

/// A difference in points, with its sign.
pub fn points(difference: f64) -> Markup {
    number(difference, &format!("{difference:+.2}").replace('-', "−"))
}

fn line(group: &Group, variant: &Variant) -> Markup {
    let f32 = group.variants.iter().find(|v| v.name == "f32");
    html! {
        "Test accuracy " (percent(variant.accuracy.mean))
        @if let Some(f32) = f32 { ", in f32 " (percent(f32.accuracy.mean)) }
        @if let Some(d) = &variant.difference { ": " (interval(d)) }
        "."
        @match &variant.verdict {
            None => " A verdict takes two seeds, and f32.",
            Some(v) if v.kind == "equivalent" => {
                " All of that is within ± " (number(v.margin, &v.margin.to_string())) "."
            },
            Some(_) => "",
        }
        @if let Some(n) = variant.verdict.as_ref().and_then(|v| v.seeds_needed) {
            " " (number(n, &n.to_string())) " seeds would settle it, if they are like these."
        }
    }
}

/// A mean and where it lies.
pub fn interval(d: &Interval) -> Markup {
    html! {
        (points(d.mean)) " points, at 95\u{a0}% between " (points(d.low)) " and " (points(d.high))
        ", from " (number(d.pairs, &d.pairs.to_string())) " pairs of runs"
    }
}

fn broke(variant: &Variant) -> Markup {
    html! { @if !variant.failures.is_empty() { " Runs that broke: " (variant.failures.join("; ")) "." } }
}

/// Whether the theorem held.
fn certified(groups: &[Group]) -> Markup {
    let both = |v: &Variant| [v.cast.clone(), v.trained.clone()];
    let held: Vec<(&Group, &Variant, Agreement)> = groups
        .iter()
        .flat_map(|g| g.variants.iter().map(move |v| (g, v)))
        .flat_map(|(g, v)| both(v).into_iter().flatten().map(move |a| (g, v, a)))
        .collect();
    let broken: Vec<_> = held.iter().filter(|(.., a)| a.certified_flips > 0).collect();
    html! {
        @if !held.is_empty() && broken.is_empty() {
            p { "Of the samples that the theorem certifies (Γ > 2δ) " (number(0, "none")) " has another class than in f32, in any run." }
        }
        @for (g, v, a) in broken {
            p { b { "A bug: " (number(a.certified_flips, &a.certified_flips.to_string())) " certified samples of "
                (v.name) " " (g.name) " have another class than in f32, which the theorem rules out." } }
        }
    }
}
