//! What is in the folder of an experiment, also of one that is not done yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use halfgrad::{Error, file};
use serde::de::DeserializeOwned;

use super::plots::Look;
use crate::cli::{
    experiment::record::{Experiment, FORMAT, Group, Run, Variant},
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
        let (mut runs, mut missing) = (BTreeMap::new(), vec![]);
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
        let mut order: Vec<usize> = (0..groups.len()).collect();
        order.sort_by(|&a, &b| distance(&groups[b]).total_cmp(&distance(&groups[a])));
        order.truncate(most);
        order.sort_unstable();
        order.into_iter().map(|i| &groups[i]).collect()
    }

    /// Which groups these are, if not all.
    pub fn told(&self, most: usize) -> String {
        match most < self.experiment.groups.len() {
            true => "Shown are the groups in which a run broke or a precision is farthest from f32.".into(),
            false => String::new(),
        }
    }
}

/// Reads a file of this format.
fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let json: serde_json::Value = parse(path)?;
    let refuse = |detail: String| Error::file(path, detail);
    match json.get("format").and_then(serde_json::Value::as_u64) {
        Some(n) if n == u64::from(FORMAT) => {
            Ok(serde_json::from_value(json).map_err(|e| refuse(format!("broken: {e}")))?)
        }
        Some(n) => Err(refuse(format!("has format {n}, this version reads {FORMAT}: run the experiment again")).into()),
        None => Err(refuse("not what halfgrad study --experiment writes: it has no \"format\"".into()).into()),
    }
}

fn parse<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let refuse = |e| Error::file(path, format!("not what halfgrad study --experiment writes: {e}"));
    Ok(serde_json::from_slice(&file::read(path)?).map_err(refuse)?)
}
