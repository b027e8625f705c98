//! How to do it again, to the command.

use maud::html;

use super::{
    folder::Folder,
    page::{Block, Part},
};
use crate::cli::{
    experiment::record::{Group, Setup},
    page::{Cell, number, table},
};

/// Section.
pub fn part(folder: &Folder) -> Part {
    let e = &folder.experiment;
    let a = &e.adapter;
    let words = html! {
        pre { (command(&e.command)) }
        p { "halfgrad " (e.halfgrad) ", " (a.name) " (" (a.backend) ", " (a.driver_line()) ")." }
        @for group in &e.groups { (setup(group)) }
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

fn setup(group: &Group) -> maud::Markup {
    let s: &Setup = &group.setup;
    let axes = s.data.sample.iter().map(ToString::to_string).collect::<Vec<_>>().join("×");
    let some = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
    let count = |n: usize| number(n, &n.to_string());
    let seed = |i: usize, seed: &u64| html! { @if i > 0 { ", " } (number(seed, &seed.to_string())) };
    let data = html! { (s.data.name) ": " (count(s.data.train)) " training and " (count(s.data.test)) " test samples of " (axes)
    ", " (count(s.data.classes)) " classes" };
    let rows = [
        ("data", data),
        ("network", html! { (s.model) }),
        ("optimizer", html! { (s.optimizer) }),
        ("batch", count(s.batch)),
        ("steps", count(s.steps)),
        ("augmentation", html! { (some(&s.augment)) }),
        ("device settings", html! { (some(&s.settings)) }),
        ("seeds", html! { @for (i, s) in group.seeds.iter().enumerate() { (seed(i, s)) } }),
    ];
    let rows = rows.map(|(name, what)| vec![Cell::from(name), Cell { text: what, ..Cell::from("") }]);
    let header = [String::new(), if group.name.is_empty() { "all runs".into() } else { group.name.clone() }];
    table(2, &header, &rows)
}
