use std::path::PathBuf;

use super::{Optimizer, networks};
use crate::{
    Caps, Dtype, Error, Graph, Plan, Policy, Precision, Result, Shape, Tensor,
    data::{Augment, Batch, text::next_tokens},
    format::Simulation,
    nn::{self, Gpt},
    plan::{Options, lower_training},
};

/// What makes logits of a batch of images, for so many classes.
pub type Classifier = for<'g> fn(Tensor<'g>, usize) -> Tensor<'g>;

/// Every model by name; those without a function take more than images and a number of classes.
const NETWORKS: [(&str, Option<Classifier>); 17] = [
    ("mlp", None),
    ("cnn", Some(nn::cnn)),
    ("lenet", Some(nn::lenet)),
    ("alexnet", Some(nn::alexnet)),
    ("vgg16", Some(nn::vgg16)),
    ("vgg19", Some(nn::vgg19)),
    ("resnet20", Some(|x, classes| nn::resnet(x, 20, nn::Head::Textbook, classes))),
    ("resnet32", Some(|x, classes| nn::resnet(x, 32, nn::Head::Textbook, classes))),
    ("resnet56", Some(|x, classes| nn::resnet(x, 56, nn::Head::Textbook, classes))),
    ("resnet110", Some(|x, classes| nn::resnet(x, 110, nn::Head::Textbook, classes))),
    ("mobilenet", Some(nn::mobilenet)),
    ("densenet121", Some(nn::densenet121)),
    ("densenet169", Some(nn::densenet169)),
    ("xception", Some(nn::xception)),
    ("vit8", Some(|x, classes| nn::vit(x, 8, classes))),
    ("vit12", Some(|x, classes| nn::vit(x, 12, classes))),
    ("gpt", None),
];

/// The models that [`Model::named`] knows.
pub const MODELS: [&str; NETWORKS.len()] = {
    let mut names = [""; NETWORKS.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = NETWORKS[i].0;
        i += 1;
    }
    names
};

/// A network by name: what becomes of a batch of samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// One of [`MODELS`], what only an experiment trains, or what the maker of another calls it.
    pub name: &'static str,
    /// The widths of the hidden layers of `mlp`; others have their own.
    pub hidden: Vec<usize>,
    own: Option<Own>,
}

/// A network that is none of ours.
#[derive(Debug, Clone, Copy)]
struct Own(Classifier);

impl PartialEq for Own {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::fn_addr_eq(self.0, other.0)
    }
}
impl Eq for Own {}

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

impl Network<'_> {
    /// Whether it is a language model: its samples are tokens, and it foretells the next at each place.
    pub fn reads_tokens(&self) -> bool {
        self.x.dtype() == Dtype::U32
    }

    /// Writes a batch of samples and what the network is to say of them.
    ///
    /// # Errors
    /// As [`Plan::write`].
    pub fn write(&self, plan: &mut Plan, batch: &Batch) -> Result<()> {
        plan.write_numbers(self.x, &batch.images)?;
        match self.reads_tokens() {
            true => plan.write(self.label, &next_tokens(&batch.images, &batch.labels)),
            false => plan.write(self.label, &batch.labels),
        }
    }
}

impl Model {
    /// The model of this name, one of [`MODELS`]; `hidden` are the widths of the perceptron's hidden layers.
    pub fn named(name: &str, hidden: &[usize]) -> Option<Self> {
        let mut names = MODELS.into_iter().chain(networks::NETWORKS.iter().map(|(name, _)| *name));
        let name = names.find(|n| *n == name)?;
        Some(Model { name, hidden: hidden.to_vec(), own: None })
    }

    /// A network of one's own, to be studied and examined as ours are.
    ///
    /// ```
    /// use halfgrad::{nn, study::Model};
    /// let model = Model::of("two layers", |x, classes| nn::linear("fc2", nn::linear("fc1", x.flatten(), 32).relu(), classes));
    /// assert_eq!(model.name, "two layers");
    /// ```
    pub fn of(name: &'static str, network: Classifier) -> Self {
        Model { name, hidden: vec![], own: Some(Own(network)) }
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
        if self.name == "gpt" && self.own.is_none() {
            if sample.rank() != 1 {
                return Err(Error::Data(format!("gpt reads sequences of tokens, not samples of {sample}")));
            }
            let (x, label) = (graph.labels("x", shape), graph.labels("label", shape));
            let logits = nn::gpt(x, Gpt { vocabulary: classes, ..Gpt::default() });
            return Ok(Network { x, label, logits, loss: logits.cross_entropy(label) });
        }
        let x = graph.input("x", shape);
        let label = graph.labels("label", [batch]);
        let own = networks::NETWORKS.iter().map(|(name, classifier)| (*name, Some(*classifier)));
        let mut all = NETWORKS.into_iter().chain(own);
        let classifier = all.find(|(name, _)| *name == self.name).and_then(|(_, classifier)| classifier);
        let logits = match self.own.map(|own| own.0).or(classifier) {
            Some(classifier) => classifier(x, classes),
            None => nn::mlp(x, &self.hidden, classes),
        };
        Ok(Network { x, label, logits, loss: logits.cross_entropy(label) })
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
    /// Whether the first weights are rounded to f16, stochastically with this seed: what a change so small makes of a run is
    /// what chance makes of it.
    pub nudge: Option<u32>,
    /// What is rounded to formats that no adapter need have.
    pub simulate: Simulation,
    /// The samples in the order in which they are used, over the whole run; else each epoch is shuffled by the seed.
    pub order: Option<Vec<u32>>,
    /// How training samples are changed, if at all; what is drawn follows from the run's seed, not from the one in here.
    pub augment: Option<Augment>,
    /// After how many steps, each time, the caller is asked for sure.
    pub pause: Option<usize>,
    /// After how many steps, each time, all tensors are looked at.
    pub observe: Option<usize>,
    /// After how many steps, each time, and at the end the sharpness of the loss is measured: [`sharpness_of`](super::sharpness_of).
    pub sharpness: Option<usize>,
}

impl Setup {
    /// A study without anything unusual.
    pub fn new(model: Model, optimizer: Optimizer, batch: usize, steps: usize) -> Self {
        Setup {
            model,
            optimizer,
            batch,
            steps,
            init: None,
            nudge: None,
            simulate: Simulation::default(),
            order: None,
            augment: None,
            pause: None,
            observe: None,
            sharpness: None,
        }
    }

    /// How a run's plan is made: what would take more than the device's memory limit computes activations again.
    pub(super) fn options(&self, caps: &Caps) -> Options {
        let observe = self.observe.is_some();
        self.optimizer.options(Options { record_changes: true, observe, memory: caps.memory, ..Options::default() })
    }

    /// Fails, before anything is allocated, if a training step cannot be made or does not fit on the device; then it says which
    /// batch does.
    ///
    /// # Errors
    /// As [`Optimizer::check`]; the graph's first mistake; [`Error::Memory`] with the plan's bytes, the limit, and what
    /// would fit.
    pub fn check(&self, caps: &Caps, policy: impl Into<Policy>, sample: Shape, classes: usize) -> Result<()> {
        self.optimizer.check(self.steps)?;
        let policy = policy.into();
        let lower = |policy: &Policy, batch| {
            let graph = Graph::new(policy);
            graph.simulate(self.simulate);
            let network = self.model.build(&graph, batch, sample, classes)?;
            lower_training(network.loss, &*self.optimizer.update(self.steps), caps, &self.options(caps)).map(drop)
        };
        let Err(error) = lower(&policy, self.batch) else { return Ok(()) };
        let Error::Memory(detail) = error else { return Err(error) };
        let halved = Some(Precision::F16.into()).filter(|_| policy == Precision::F32);
        let tried: Vec<Policy> = [Some(policy), halved].into_iter().flatten().collect();
        let fitting = tried.iter().filter_map(|p| {
            let batch = largest(self.batch, |batch| lower(p, batch).is_ok())?;
            Some(format!("in {p} a batch of {batch} fits"))
        });
        let fitting: Vec<_> = fitting.collect();
        Err(Error::Memory(match fitting.is_empty() {
            false => format!("{detail}: {}", fitting.join(", ")),
            true => {
                let tried: Vec<_> = tried.iter().map(ToString::to_string).collect();
                format!("{detail}, but no batch fits in {}", tried.join(" or "))
            }
        }))
    }
}

/// The largest number from 1 to `most` for which `fits` holds, if what fits a number fits each smaller one.
fn largest(most: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    let (mut good, mut bad) = (0, most + 1);
    while good + 1 < bad {
        let middle = good + (bad - good) / 2;
        if fits(middle) { good = middle } else { bad = middle }
    }
    (good > 0).then_some(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The models that take images: all but gpt, which takes tokens.
    fn classifiers() -> impl Iterator<Item = &'static str> {
        MODELS.into_iter().filter(|name| *name != "gpt")
    }

    #[test]
    fn every_model_goes_by_its_name_and_takes_colour_images_of_32() {
        for name in classifiers() {
            let model = Model::named(name, &[8]).unwrap();
            assert_eq!(model.name, name);
            let graph = Graph::new(Precision::F32);
            let network = model.build(&graph, 2, Shape::from([32, 32, 3]), 10).unwrap();
            graph.check().unwrap();
            assert_eq!(network.logits.shape(), Shape::from([2, 10]), "{name}");
        }
    }

    #[test]
    fn a_network_of_ones_own_is_built_whatever_it_is_called() {
        let graph = Graph::new(Precision::F32);
        let model = Model::of("gpt", |x, classes| nn::linear("fc", x.flatten(), classes));
        let network = model.build(&graph, 2, Shape::from([8, 8, 1]), 10).unwrap();
        assert!(graph.check().is_ok() && !network.reads_tokens() && network.logits.shape() == Shape::from([2, 10]));
    }

    #[test]
    fn what_is_too_small_for_a_model_or_no_image_is_a_mistake_and_no_panic() {
        for name in classifiers() {
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
