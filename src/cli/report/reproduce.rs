//! How to do it again, to the command.

use maud::{Markup, html};

use super::{
    folder::Folder,
    page::{Block, Part, folded},
};
use crate::cli::{
    experiment::record::{Group, Setup},
    page::{Cell, number, table},
};

/// More groups than these get a row each.
const COLUMNS: usize = 3;

/// Section.
pub fn part(folder: &Folder) -> Part {
    let e = &folder.experiment;
    let a = &e.adapter;
    let words = html! {
        pre { (command(&e.command)) }
        p { "halfgrad " (e.halfgrad) ", " (a.name) " (" (a.backend) ", " (a.driver_line()) ")." }
        @if !e.groups.is_empty() { (setups(&e.groups)) }
        p { "The folder has the raw numbers: experiment.json is the summary that this page shows, and each run has a file of its \
            own. Every number here is in them. The plots are also there as PNG, in plots/." }
    };
    Part {
        title: "How to reproduce it",
        note: "The same command on the same adapter gives the same numbers, but for times; runs that are there already are not \
            done again."
            .into(),
        blocks: vec![Block::Words(words)],
    }
}

/// As one types it.
fn command(words: &[String]) -> String {
    let quoted = |word: &String| match word.chars().all(|c| c.is_alphanumeric() || "-_./,=+:@%".contains(c))
        && !word.is_empty()
    {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// What is said of each group, in the order of [`facts`].
const FACTS: [&str; 8] = ["data", "network", "optimizer", "batch", "steps", "augmentation", "device settings", "seeds"];

fn facts(group: &Group) -> [Markup; 8] {
    let s: &Setup = &group.setup;
    let some = |text: &str| html! { (if text.is_empty() { "none" } else { text }) };
    let count = |n: usize| number(n, &n.to_string());
    let each = |between: &str, numbers: &mut dyn Iterator<Item = u64>| {
        let show = |(i, n): (usize, u64)| html! { @if i > 0 { (between) } (number(n, &n.to_string())) };
        html! { @for part in numbers.enumerate().map(show) { (part) } }
    };
    let data = html! {
        (s.data.name) ": " (count(s.data.train)) " training and " (count(s.data.test)) " test samples of "
        (each("×", &mut s.data.sample.iter().map(|n| *n as u64))) ", " (count(s.data.classes)) " classes"
    };
    let seeds = each(", ", &mut group.seeds.iter().copied());
    let (model, optimizer) = (html! { (s.model) }, html! { (s.optimizer) });
    [data, model, optimizer, count(s.batch), count(s.steps), some(&s.augment), some(&s.settings), seeds]
}

/// A column for each group, or with many a row.
fn setups(groups: &[Group]) -> Markup {
    let name = |g: &Group| if g.name.is_empty() { "all runs".to_owned() } else { g.name.clone() };
    let cell = |text: &Markup| Cell { text: text.clone(), ..Cell::from("") };
    let facts: Vec<_> = groups.iter().map(facts).collect();
    if groups.len() <= COLUMNS {
        let header: Vec<String> = [String::new()].into_iter().chain(groups.iter().map(name)).collect();
        let row = |i: usize| [Cell::from(FACTS[i])].into_iter().chain(facts.iter().map(|f| cell(&f[i]))).collect();
        return table(header.len(), &header, &(0..FACTS.len()).map(row).collect::<Vec<_>>());
    }
    let header: Vec<&str> = [""].into_iter().chain(FACTS).collect();
    let row = |(g, f): (&Group, &[Markup; 8])| [Cell::from(name(g))].into_iter().chain(f.iter().map(cell)).collect();
    let rows: Vec<Vec<Cell>> = groups.iter().zip(&facts).map(row).collect();
    folded("The setup of every group", header.len(), &header, &rows)
}
