use std::path::PathBuf;

use crate::{
    Adam, AdamW, Error, Graph, Result, RmsProp, Sgd, Shape, Tensor,
    nn::{self, Gpt},
    op::Update,
};

/// The models that [`Model::named`] knows.
pub const MODELS: [&str; 6] = ["mlp", "lenet", "alexnet", "vit8", "vit12", "gpt"];

/// The optimizers that [`Optimizer::named`] knows.
pub const OPTIMIZERS: [&str; 4] = ["sgd", "adam", "adamw", "rmsprop"];

/// A network by name: what becomes of a batch of samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Model {
    /// [`nn::mlp`] with these hidden layers.
    Mlp(Vec<usize>),
    /// [`nn::lenet`].
    Lenet,
    /// [`nn::alexnet`].
    Alexnet,
    /// [`nn::vit`] with so many blocks.
    Vit(usize),
    /// [`nn::gpt`] of the usual size; a sample is a sequence of tokens, and its classes are the vocabulary.
    Gpt,
}

/// A network in a graph, with its loss: what a plan is made of.
#[derive(Debug, Clone, Copy)]
pub struct Network<'g> {
    /// The samples, `[batch, ..]`; labels if they are tokens.
    pub x: Tensor<'g>,
    /// Their classes, `[batch]`, or the token behind each place.
    pub label: Tensor<'g>,
    /// What the network says of each label, `[.., classes]`.
    pub logits: Tensor<'g>,
    /// The mean cross-entropy of the samples that are there.
    pub loss: Tensor<'g>,
}

impl Model {
    /// The model of this name, one of [`MODELS`]; `hidden` are the widths of the perceptron's hidden layers.
    pub fn named(name: &str, hidden: &[usize]) -> Option<Self> {
        match name {
            "mlp" => Some(Model::Mlp(hidden.to_vec())),
            "lenet" => Some(Model::Lenet),
            "alexnet" => Some(Model::Alexnet),
            "vit8" => Some(Model::Vit(8)),
            "vit12" => Some(Model::Vit(12)),
            "gpt" => Some(Model::Gpt),
            _ => None,
        }
    }

    /// The hidden layers that suit samples of this shape: 128 for the digits, 512 and 512 from 28×28 on.
    pub fn usual_hidden(sample: Shape) -> Vec<usize> {
        if sample.len() < 28 * 28 { vec![128] } else { vec![512, 512] }
    }

    /// Builds the network and its loss for batches of `batch` samples.
    ///
    /// # Errors
    /// [`Error::Data`] if a sample has too many axes; the graph keeps all other mistakes.
    pub fn build<'g>(&self, graph: &'g Graph, batch: usize, sample: Shape, classes: usize) -> Result<Network<'g>> {
        let shape = nn::batch_of(batch, sample);
        let shape = shape.ok_or_else(|| Error::Data(format!("samples of {sample} leave no axis for the batch")))?;
        if *self == Model::Gpt {
            if sample.rank() != 1 {
                return Err(Error::Data(format!("gpt reads sequences of tokens, not samples of {sample}")));
            }
            let (x, label) = (graph.labels("x", shape), graph.labels("label", shape));
            let logits = nn::gpt(x, Gpt { vocabulary: classes, ..Gpt::default() });
            return Ok(Network { x, label, logits, loss: logits.cross_entropy(label) });
        }
        let x = graph.input("x", shape);
        let label = graph.labels("label", [batch]);
        let logits = match self {
            Model::Mlp(hidden) => nn::mlp(x, hidden, classes),
            Model::Lenet => nn::lenet(x, classes),
            Model::Alexnet => nn::alexnet(x, classes),
            Model::Vit(layers) => nn::vit(x, *layers, classes),
            Model::Gpt => unreachable!("built above"),
        };
        Ok(Network { x, label, logits, loss: logits.cross_entropy(label) })
    }
}

/// An optimizer by name, with the numbers that a user sets.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimizer {
    /// One of [`OPTIMIZERS`].
    pub name: &'static str,
    /// The learning rate.
    pub learning_rate: f32,
    /// The momentum of `sgd`; the others have none.
    pub momentum: f32,
    /// Weight decay: decoupled in `adamw`, added to the gradient in the others.
    pub weight_decay: f32,
}

impl Optimizer {
    /// The optimizer of this name: `sgd` with momentum 0.9, `adamw` with weight decay 0.01.
    pub fn named(name: &str, learning_rate: f32) -> Option<Self> {
        let name = OPTIMIZERS.into_iter().find(|n| *n == name)?;
        let momentum = if name == "sgd" { 0.9 } else { 0.0 };
        let weight_decay = if name == "adamw" { 0.01 } else { 0.0 };
        Some(Optimizer { name, learning_rate, momentum, weight_decay })
    }

    /// The learning rate that usually does: 0.05 for `sgd`, 0.001 for the others.
    pub fn usual_learning_rate(name: &str) -> f32 {
        if name == "sgd" { 0.05 } else { 1e-3 }
    }

    /// What a plan takes.
    pub fn update(&self) -> Box<dyn Update> {
        let (rate, decay) = (self.learning_rate, self.weight_decay);
        match self.name {
            "adam" => Box::new(Adam::new(rate).weight_decay(decay)),
            "adamw" => Box::new(AdamW::new(rate).weight_decay(decay)),
            "rmsprop" => Box::new(RmsProp::new(rate).weight_decay(decay)),
            _ => Box::new(Sgd::new(rate).momentum(self.momentum).weight_decay(decay)),
        }
    }
}

/// What all runs of a study have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// The network.
    pub model: Model,
    /// How its weights change.
    pub optimizer: Optimizer,
    /// Samples in a batch.
    pub batch: usize,
    /// How many steps a run takes.
    pub steps: usize,
    /// The first weights, in a safetensors file; else they come from the seed.
    pub init: Option<PathBuf>,
    /// The samples in the order in which they are used, over the whole run; else each epoch is shuffled by the seed.
    pub order: Option<Vec<u32>>,
    /// After how many steps, each time, the caller is asked for sure.
    pub pause: Option<usize>,
}

impl Setup {
    /// A study without anything unusual.
    pub fn new(model: Model, optimizer: Optimizer, batch: usize, steps: usize) -> Self {
        Setup { model, optimizer, batch, steps, init: None, order: None, pause: None }
    }
}
