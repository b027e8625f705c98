//! The folder of an experiment: files that are there are not made again, unless they are of something else.

use std::{
    fs,
    path::{Path, PathBuf},
};

use halfgrad::{Error, file};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::record::{FORMAT, Run, Table};

/// Where an experiment's files are.
pub struct Folder(PathBuf);

impl Folder {
    /// The folder, which must be there.
    pub fn new(path: &Path) -> Self {
        Folder(path.to_owned())
    }

    /// Where the weights of an f32 run are.
    pub fn weights(&self, run: &str) -> PathBuf {
        self.0.join(format!("{run}.safetensors"))
    }

    /// Writes a file whole.
    pub fn write(&self, name: &str, value: &impl Serialize) -> anyhow::Result<()> {
        file::write_atomically(self.0.join(format!("{name}.json")), |file| {
            serde_json::to_writer(&mut *file, value)?;
            file.write_all(b"\n")
        })?;
        Ok(())
    }

    /// All runs and tables, the files in the order of their names; all must be of this experiment.
    pub fn all(&self, experiment: &str) -> anyhow::Result<(Vec<Run>, Vec<Table>)> {
        let (mut runs, mut tables) = (vec![], vec![]);
        let unreadable = |e: std::io::Error| Error::file(&self.0, e.to_string());
        let mut paths: Vec<PathBuf> =
            fs::read_dir(&self.0).map_err(unreadable)?.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "json")) {
            let value: Value = parse(path)?;
            let Some(name) = value.get("experiment").and_then(Value::as_str) else { continue };
            if name != experiment {
                return Err(Error::file(path, format!("is of {name}, not of {experiment}: take another --out")).into());
            }
            match value.get("predicted").is_some() {
                true => runs.push(typed(path, value)?),
                false => tables.push(typed(path, value)?),
            }
        }
        Ok((runs, tables))
    }

    /// Fails if a file was made under other circumstances than those wanted, and says in what they differ.
    pub fn same(&self, name: &str, there: &impl Serialize, wanted: &impl Serialize) -> anyhow::Result<()> {
        let (there, wanted) = (serde_json::to_value(there)?, serde_json::to_value(wanted)?);
        let Some(difference) = difference("", &there, &wanted) else { return Ok(()) };
        let path = self.0.join(format!("{name}.json"));
        let detail = format!("is of another setup: {difference}; remove it, or take another --out");
        Err(Error::file(path, detail).into())
    }
}

/// Reads a file of a format.
pub fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    typed(path, parse(path)?)
}

/// Reads a file of any JSON.
pub fn parse<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let broken = |e| Error::file(path, format!("not what halfgrad study --experiment writes: {e}"));
    Ok(serde_json::from_slice(&file::read(path)?).map_err(broken)?)
}

fn typed<T: DeserializeOwned>(path: &Path, value: Value) -> anyhow::Result<T> {
    let refuse = |detail: String| Error::file(path, detail);
    match value.get("format").and_then(Value::as_u64) {
        Some(n) if n == u64::from(FORMAT) => {
            Ok(serde_json::from_value(value).map_err(|e| refuse(format!("broken: {e}; remove it")))?)
        }
        Some(n) => Err(refuse(format!("has format {n}, this version writes {FORMAT}: remove it")).into()),
        None => Err(refuse("not what halfgrad study --experiment writes: it has no \"format\"".into()).into()),
    }
}

/// The first value in which two differ, with its name.
fn difference(name: &str, there: &Value, wanted: &Value) -> Option<String> {
    match (there, wanted) {
        (Value::Object(a), Value::Object(b)) => {
            let mut parts = a.iter().map(|(key, value)| (key, value, b.get(key).unwrap_or(&Value::Null)));
            let path = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
            parts.find_map(|(key, a, b)| difference(&path(key), a, b))
        }
        _ if there == wanted => None,
        _ => Some(format!("{name} is {there} there and {wanted} here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_difference_is_named() {
        let there = json!({ "batch": 64, "data": { "name": "digits", "train": 1437 } });
        let wanted = json!({ "batch": 64, "data": { "name": "digits", "train": 100 } });
        assert_eq!(difference("", &there, &wanted).unwrap(), "data.train is 1437 there and 100 here");
        assert_eq!(difference("", &there, &there), None);
    }
}
