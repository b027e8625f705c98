//! A trained model in a file: safetensors whose metadata say how to build the network and how to feed it.

use std::{collections::BTreeMap, path::Path};

use halfgrad::{
    Error, Policy, Result, Shape, Weights, checkpoint,
    data::Split,
    study::{MODELS, Model},
};

use super::values;

/// Notes as files take them.
pub fn borrowed<'n>(notes: &'n [(&str, String)]) -> Vec<(&'n str, &'n str)> {
    notes.iter().map(|(name, note)| (*name, &**note)).collect()
}

/// What must be known of a model besides its weights.
pub struct Card {
    pub model: Model,
    /// The shape of a sample.
    pub input: Shape,
    pub class_names: Vec<String>,
    /// Mean and standard deviation that images, as bytes, are standardised by.
    pub moments: [f32; 2],
    pub precision: Policy,
}

impl Card {
    /// Of a model for this data, whose values go from 0 to `white`.
    pub fn new(model: Model, data: &Split, white: f32, precision: Policy) -> Self {
        let moments = [data.mean, data.std].map(|value| value * (255.0 / white));
        Card { model, input: data.train.shape(), class_names: data.class_names.clone(), moments, precision }
    }

    /// Writes the weights with this card.
    pub fn save(&self, weights: &Weights, path: &Path) -> Result<()> {
        weights.save_with(path, &borrowed(&self.notes()))
    }

    /// What a file's metadata say of the model.
    pub fn notes(&self) -> Vec<(&'static str, String)> {
        let list = |numbers: &[usize]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let classes = serde_json::to_string(&self.class_names).expect("strings are JSON");
        let [mean, std] = self.moments.map(|value| value.to_string());
        let (hidden, input) = (list(&self.model.hidden), list(&self.input.to_vec()));
        vec![
            ("model", self.model.name.to_owned()),
            ("hidden", hidden),
            ("input", input),
            ("classes", classes),
            ("mean", mean),
            ("std", std),
        ]
    }

    /// Reads the card of a file.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read, or has no card because `train` did not write it.
    pub fn read(path: &Path) -> Result<Self> {
        let notes = checkpoint::notes(path)?;
        Self::parse(&notes).map_err(|note| {
            Error::file(path, format!("its metadata lack a valid {note:?}: `halfgrad train` writes files for this"))
        })
    }

    /// The card in a file's metadata, or the name of the note that is missing or wrong.
    fn parse(notes: &BTreeMap<String, String>) -> Result<Self, &'static str> {
        fn valid<T>(name: &'static str, value: Option<T>) -> Result<T, &'static str> {
            value.ok_or(name)
        }
        let note = |name: &'static str| valid(name, notes.get(name).map(String::as_str));
        let number = |name| valid(name, note(name)?.parse::<f32>().ok().filter(|value| value.is_finite()));
        let name = note("model")?;
        let hidden = note("hidden")?.split(',').filter(|width| !width.is_empty()).map(|width| width.parse().ok());
        let hidden: Vec<usize> = valid("hidden", hidden.collect())?;
        let model = MODELS.contains(&name).then(|| Model::named(name, &hidden)).flatten();
        let class_names: Option<Vec<String>> = serde_json::from_str(note("classes")?).ok();
        Ok(Card {
            model: valid("model", model)?,
            input: valid("input", values::shape(note("input")?).ok())?,
            class_names: valid("classes", class_names.filter(|names| !names.is_empty()))?,
            moments: [number("mean")?, number("std")?],
            precision: valid("precision", note("precision")?.parse().ok())?,
        })
    }
}
