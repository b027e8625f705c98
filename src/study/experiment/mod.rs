//! The precision laboratory: experiments by name, as data.
//!
//! An [`Experiment`] asks one question. It trains each of its [`Group`]s, a network trained in one way, in several precisions and
//! from several seeds: in each precision from the same weights on the same batches. Some have a [`Measure`] beside, which trains
//! nothing. The tool runs them: `halfgrad study --experiment e7`.
//!
//! ```
//! use halfgrad::study::experiment;
//! let e1 = experiment::named("e1").unwrap();
//! assert_eq!((e1.seeds, e1.groups.len()), (10, 1));
//! assert!(experiment::all().iter().any(|e| e.name == "table5"));
//! ```

mod definitions;
mod measures;
#[cfg(feature = "reference")]
mod speed;
mod table5;

use super::{Model, Optimizer, Setup};
use crate::{
    Gpu, Precision, Result,
    data::{
        self, Split,
        text::{Text, Unit},
    },
};

pub use definitions::all;

/// One question, and the runs that answer it.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// What it is called: `e7`.
    pub name: &'static str,
    /// What it is about, in a few words.
    pub title: &'static str,
    /// What it is to find out.
    pub question: &'static str,
    /// What is expected, and by whom.
    pub expected: &'static str,
    /// How many seeds are usual.
    pub seeds: usize,
    /// What is trained.
    pub groups: Vec<Group>,
    /// What is measured without training.
    pub measures: Vec<Measure>,
}

/// One network trained in one way, in several precisions.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// What sets it apart from the other groups of an experiment; empty if it is alone.
    pub name: String,
    /// What it learns from, unless the user has other data.
    pub source: Source,
    /// How many of the training samples, the first ones, are used.
    pub train: Option<usize>,
    /// How many of the test samples, the first ones, are used.
    pub test: Option<usize>,
    /// The network.
    pub model: Model,
    /// How its weights change.
    pub optimizer: Optimizer,
    /// Samples in a batch.
    pub batch: usize,
    /// How long it is trained.
    pub length: Length,
    /// Each with f32 first, which the others are compared with.
    pub precisions: Vec<Precision>,
    /// What was published for this network, in these precisions.
    pub published: Vec<(Precision, Published)>,
}

/// How long a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So many times each sample.
    Epochs(usize),
    /// So many batches.
    Steps(usize),
}

/// What an experiment learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// [`data::digits`].
    Digits,
    /// [`data::fashion_mnist`].
    FashionMnist,
    /// The same, padded to 32 × 32 × 3, for networks that take the images of CIFAR-10.
    FashionMnistPadded,
    /// [`data::mnist1d`] of seed 42.
    Mnist1d,
    /// The licence of this crate, by character, in windows of 64.
    Licence,
}

/// A row of a published table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Published {
    /// Mean test accuracy in percent.
    pub accuracy: f64,
    /// Its standard deviation.
    pub deviation: f64,
    /// Seconds of the whole training.
    pub seconds: f64,
}

/// Something measured without training a network: it fills a table.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// The name of the table.
    pub name: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// How to read it, and what is expected.
    pub note: &'static str,
    /// Fills it; `seed` is that of random numbers.
    pub table: fn(gpu: &Gpu, seed: u64) -> Result<Table>,
}

/// What a [`Measure`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The columns.
    pub header: Vec<String>,
    /// As many cells as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

/// A cell of a [`Table`].
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// A number.
    Number(f64),
    /// Words.
    Text(String),
}

/// The experiment of this name.
pub fn named(name: &str) -> Option<Experiment> {
    all().into_iter().find(|e| e.name == name)
}

impl Group {
    /// What all runs of the group have in common, over so many training samples; tensors are looked at some ten times, unless times
    /// are compared with published ones.
    pub fn setup(&self, samples: usize) -> Setup {
        let steps = match self.length {
            Length::Epochs(epochs) => epochs.saturating_mul(samples.div_ceil(self.batch)),
            Length::Steps(steps) => steps,
        };
        let mut setup = Setup::new(self.model.clone(), self.optimizer.clone(), self.batch, steps);
        setup.observe = self.published.is_empty().then_some((steps / 10).max(4));
        setup
    }
}

impl Source {
    /// Loads it.
    ///
    /// # Errors
    /// As [`data::fashion_mnist`].
    pub fn load(self) -> Result<Split> {
        Ok(match self {
            Source::Digits => data::digits(),
            Source::FashionMnist => data::fashion_mnist()?,
            Source::FashionMnistPadded => data::fashion_mnist()?.padded([32, 32], 3)?,
            Source::Mnist1d => data::mnist1d(42),
            Source::Licence => {
                Text::new(include_str!("../../../LICENSE-APACHE"), Unit::Character)?.split("LICENSE-APACHE", 64)?
            }
        })
    }
}
