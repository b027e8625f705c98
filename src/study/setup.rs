use std::path::PathBuf;

use crate::{Adam, AdamW, Error, Graph, Result, RmsProp, Sgd, Shape, Tensor, nn, op::Update};

/// The models that [`Model::named`] knows.
pub const MODELS: [&str; 13] = [
    "mlp",
    "lenet",
    "alexnet",
    "vgg16",
    "vgg19",
    "resnet20",
    "resnet32",
    "resnet56",
    "resnet110",
    "mobilenet",
    "densenet121",
    "densenet169",
    "xception",
];

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
    /// [`nn::vgg16`].
    Vgg16,
    /// [`nn::vgg19`].
    Vgg19,
    /// [`nn::resnet`] of so many layers, with the textbook's head.
    Resnet(usize),
    /// [`nn::mobilenet`].
    Mobilenet,
    /// [`nn::densenet121`].
    Densenet121,
    /// [`nn::densenet169`].
    Densenet169,
    /// [`nn::xception`].
    Xception,
}

/// A network in a graph, with its loss: what a plan is made of.
#[derive(Debug, Clone, Copy)]
pub struct Network<'g> {
    /// The samples, `[batch, ..]`.
    pub x: Tensor<'g>,
    /// Their classes, `[batch]`.
    pub label: Tensor<'g>,
    /// What the network says, `[batch, classes]`.
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
            "vgg16" => Some(Model::Vgg16),
            "vgg19" => Some(Model::Vgg19),
            "resnet20" => Some(Model::Resnet(20)),
            "resnet32" => Some(Model::Resnet(32)),
            "resnet56" => Some(Model::Resnet(56)),
            "resnet110" => Some(Model::Resnet(110)),
            "mobilenet" => Some(Model::Mobilenet),
            "densenet121" => Some(Model::Densenet121),
            "densenet169" => Some(Model::Densenet169),
            "xception" => Some(Model::Xception),
            _ => None,
        }
    }

    /// Its name, as [`named`](Self::named) takes it.
    pub fn name(&self) -> String {
        match self {
            Model::Mlp(_) => "mlp".into(),
            Model::Lenet => "lenet".into(),
            Model::Alexnet => "alexnet".into(),
            Model::Vgg16 => "vgg16".into(),
            Model::Vgg19 => "vgg19".into(),
            Model::Resnet(depth) => format!("resnet{depth}"),
            Model::Mobilenet => "mobilenet".into(),
            Model::Densenet121 => "densenet121".into(),
            Model::Densenet169 => "densenet169".into(),
            Model::Xception => "xception".into(),
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
        let x = graph.input("x", shape);
        let label = graph.labels("label", [batch]);
        let logits = match self {
            Model::Mlp(hidden) => nn::mlp(x, hidden, classes),
            Model::Lenet => nn::lenet(x, classes),
            Model::Alexnet => nn::alexnet(x, classes),
            Model::Vgg16 => nn::vgg16(x, classes),
            Model::Vgg19 => nn::vgg19(x, classes),
            Model::Resnet(depth) => nn::resnet(x, *depth, nn::Head::Textbook, classes),
            Model::Mobilenet => nn::mobilenet(x, classes),
            Model::Densenet121 => nn::densenet121(x, classes),
            Model::Densenet169 => nn::densenet169(x, classes),
            Model::Xception => nn::xception(x, classes),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Precision;

    #[test]
    fn every_model_goes_by_its_name_and_takes_colour_images_of_32() {
        for name in MODELS {
            let model = Model::named(name, &[8]).unwrap();
            assert_eq!(model.name(), name);
            let graph = Graph::new(Precision::F32);
            let network = model.build(&graph, 2, Shape::from([32, 32, 3]), 10).unwrap();
            graph.check().unwrap();
            assert_eq!(network.logits.shape(), Shape::from([2, 10]), "{name}");
        }
    }

    #[test]
    fn what_is_too_small_for_a_model_or_no_image_is_a_mistake_and_no_panic() {
        for name in MODELS {
            for sample in [&[8, 8, 1][..], &[1, 1, 1], &[3, 2, 5], &[28, 28, 1], &[28, 28], &[64]] {
                let graph = Graph::new(Precision::F16);
                let model = Model::named(name, &[8]).unwrap();
                let network = model.build(&graph, 2, Shape::new(sample).unwrap(), 10).unwrap();
                match graph.check() {
                    Ok(()) => assert_eq!(network.logits.shape(), Shape::from([2, 10]), "{name} {sample:?}"),
                    Err(e) => assert!(matches!(e, Error::Op { .. }), "{name} {sample:?}: {e}"),
                }
            }
        }
    }
}
