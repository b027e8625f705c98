//! What is in the folder of an experiment, also of one that is not done yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::plots::Look;
use crate::cli::{
    experiment::{
        folder::{parse, read},
        record::{Asked, Experiment, Group, Run, Variant},
    },
    probe,
};

/// An experiment, as far as it is there.
pub struct Folder {
    pub experiment: Experiment,
    /// By their names.
    pub runs: BTreeMap<String, Run>,
    pub probe: Option<probe::Report>,
    /// What is not there, and should be.
    pub missing: Vec<String>,
}

impl Folder {
    /// Reads all files that the summary names.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let experiment: Experiment = read(&folder.join("experiment.json"))?;
        let (mut runs, mut missing) = (BTreeMap::new(), gaps(&experiment));
        for name in experiment.groups.iter().flat_map(|g| &g.variants).flat_map(|v| &v.runs) {
            let path = folder.join(format!("{name}.json"));
            match path.exists() {
                true => drop(runs.insert(name.clone(), read(&path)?)),
                false => missing.push(format!("the run {name}")),
            }
        }
        let path = folder.join("probe.json");
        let probe = path.exists().then(|| parse(&path)).transpose()?;
        if probe.is_none() {
            missing.push("the probe of the adapter, probe.json".into());
        }
        Ok(Folder { experiment, runs, probe, missing })
    }

    /// The runs of a variant that are there, in the order of the seeds.
    pub fn runs_of<'a>(&'a self, variant: &'a Variant) -> impl Iterator<Item = &'a Run> {
        variant.runs.iter().filter_map(|name| self.runs.get(name))
    }

    /// The precisions of all groups, f32 first.
    pub fn variants(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let all = self.experiment.groups.iter().flat_map(|g| &g.variants).map(|v| v.name.as_str());
        all.filter(|name| seen.insert(*name)).collect()
    }

    /// A precision looks the same in all plots, whatever group it is in.
    pub fn look(&self, variant: &str) -> Look {
        Look(self.variants().iter().position(|name| *name == variant).unwrap_or(0))
    }

    /// The groups that tell most, at most so many, in their order: those in which a run broke or a precision is farthest from f32.
    pub fn telling(&self, most: usize) -> Vec<&Group> {
        let groups = &self.experiment.groups;
        let distance = |g: &Group| {
            let of = |v: &Variant| match (&v.difference, v.failures.is_empty()) {
                (_, false) => f64::INFINITY,
                (Some(d), _) => d.mean.abs(),
                (None, _) => 0.0,
            };
            g.variants.iter().map(of).fold(0.0, f64::max)
        };
        foremost(groups, most, distance)
    }

    /// Which groups these are, if not all.
    pub fn told(&self, most: usize) -> String {
        match most < self.experiment.groups.len() {
            true => "Shown are the groups in which a run broke or a precision is farthest from f32.".into(),
            false => String::new(),
        }
    }
}

/// Those with the largest scores, at most so many, in their order.
pub fn foremost<T>(all: &[T], most: usize, score: impl Fn(&T) -> f64) -> Vec<&T> {
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|&a, &b| score(&all[b]).total_cmp(&score(&all[a])));
    order.truncate(most);
    order.sort_unstable();
    order.into_iter().map(|i| &all[i]).collect()
}

/// Of the seeds that a precision lacks, so many are listed.
const LISTED: usize = 10;

/// What was asked for and not run yet: groups, or of a precision seeds.
fn gaps(experiment: &Experiment) -> Vec<String> {
    let mut gaps = vec![];
    for Asked { group: name, variants, seeds: [first, last] } in &experiment.asked {
        let Some(group) = experiment.groups.iter().find(|g| g.name == *name) else {
            gaps.push(format!("the group {name}"));
            continue;
        };
        let of = if name.is_empty() { String::new() } else { format!(" in {name}") };
        for variant in variants {
            let runs = group.variants.iter().filter(|v| v.name == *variant).flat_map(|v| &v.runs);
            let there: BTreeSet<u64> = runs.filter_map(|run| run.rsplit_once("-seed")?.1.parse().ok()).collect();
            let mut gone = (*first..=*last).filter(|seed| !there.contains(seed));
            let told: Vec<String> = gone.by_ref().take(LISTED).map(|seed| seed.to_string()).collect();
            let more = if gone.next().is_some() { ", …" } else { "" };
            if !told.is_empty() {
                gaps.push(format!("{variant}{of}, seed {}{more}", told.join(", ")));
            }
        }
    }
    gaps
}
