//! Weights that the optimizer treats differently.

use crate::{Error, Result, Shape, policy};

/// Weights whose learning rate and weight decay are multiples of the optimizer's.
///
/// Of several groups that a weight belongs to, the first counts.
///
/// ```
/// use halfgrad::{optim::Group, plan::Options};
/// // As is usual with transformers: no decay of biases and gains, and an embedding that learns half as fast.
/// let groups = vec![Group::vectors().weight_decay(0.0), Group::named("tokens.*").learning_rate(0.5)];
/// let options = Options { groups, ..Options::default() };
/// # assert_eq!(options.groups.len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Group {
    chosen: Chosen,
    learning_rate: f32,
    weight_decay: f32,
}

#[derive(Debug, Clone, PartialEq)]
enum Chosen {
    Named(String),
    Vectors,
}

impl Group {
    /// The weights whose names match; `*` stands for any text.
    pub fn named(pattern: &str) -> Self {
        Group { chosen: Chosen::Named(pattern.to_owned()), learning_rate: 1.0, weight_decay: 1.0 }
    }

    /// The weights of one axis: biases, and the gains of normalisation.
    pub fn vectors() -> Self {
        Group { chosen: Chosen::Vectors, learning_rate: 1.0, weight_decay: 1.0 }
    }

    /// What the optimizer's learning rate is multiplied by.
    pub fn learning_rate(self, factor: f32) -> Self {
        Group { learning_rate: factor, ..self }
    }

    /// What the optimizer's weight decay is multiplied by.
    pub fn weight_decay(self, factor: f32) -> Self {
        Group { weight_decay: factor, ..self }
    }

    fn has(&self, (name, shape): &(String, Shape)) -> bool {
        match &self.chosen {
            Chosen::Named(pattern) => policy::matches(pattern, name),
            Chosen::Vectors => shape.rank() < 2,
        }
    }
}

/// For each weight the factors of learning rate and weight decay.
///
/// # Errors
/// [`Error::Name`] if a group is empty: a misspelt pattern would do nothing, and say nothing.
pub fn factors(groups: &[Group], weights: &[(String, Shape)]) -> Result<Vec<[f32; 2]>> {
    if let Some(empty) = groups.iter().find(|g| !weights.iter().any(|w| g.has(w))) {
        let what = match &empty.chosen {
            Chosen::Named(pattern) => pattern,
            Chosen::Vectors => "vectors",
        };
        let names = weights.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Error::name(what, format!("no weight that is trained belongs to this group; there are {names}")));
    }
    let group = |w| groups.iter().find(|g| g.has(w));
    Ok(weights.iter().map(|w| group(w).map_or([1.0; 2], |g| [g.learning_rate, g.weight_decay])).collect())
}
