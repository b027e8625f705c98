//! The experiments. Where each figure that is expected comes from stands beside it.

use std::num::NonZeroU32;

use super::{Experiment, Group, Length, Source, measures, table5};
use crate::{
    LossScale, Precision,
    optim::Form,
    precision::{Accumulate, Rounding},
    study::{FORMS, Model, Optimizer},
};

const FOUR: [Precision; 4] = [Precision::F32, Precision::F16, Precision::MIXED, Precision::F16_STRICT];
const THREE: [Precision; 3] = [Precision::F32, Precision::F16, Precision::MIXED];
const NEAREST: Precision = Precision { rounding: Rounding::Nearest, ..Precision::F16 };
const COMPENSATED: Precision = Precision { rounding: Rounding::Compensated, ..Precision::F16 };

/// Every experiment, in the order of their numbers; `e14` with the feature `reference`, which measures speed.
pub fn all() -> Vec<Experiment> {
    let mut all = vec![e0(), e1(), e2(), e3(), e4(), e5(), e6(), e7(), e8(), e9(), e10(), e11(), e12(), e13()];
    #[cfg(feature = "reference")]
    all.push(super::speed::e14());
    all.extend([e15(), table5::table5()]);
    all
}

/// A group of digits: a perceptron of one hidden layer of 64, SGD with momentum 0.9.
fn digits() -> Group {
    Group {
        name: String::new(),
        source: Source::Digits,
        train: None,
        test: None,
        model: Model::named("mlp", &[64]).expect("it is known"),
        optimizer: sgd(0.05),
        batch: 64,
        length: Length::Epochs(30),
        precisions: FOUR.to_vec(),
        published: vec![],
    }
}

/// A group of so many images of Fashion-MNIST.
fn clothes(model: &str, train: usize) -> Group {
    let model = Model::named(model, &[128]).expect("it is known");
    Group { source: Source::FashionMnist, train: Some(train), model, length: Length::Epochs(3), ..digits() }
}

fn sgd(learning_rate: f32) -> Optimizer {
    optimizer("sgd", learning_rate)
}

fn optimizer(name: &str, learning_rate: f32) -> Optimizer {
    Optimizer::named(name, learning_rate).expect("it is known")
}

fn named(name: impl Into<String>, group: Group) -> Group {
    Group { name: name.into(), ..group }
}

fn e0() -> Experiment {
    Experiment {
        name: "e0",
        title: "what this adapter's 16-bit arithmetic really does",
        question: "Are subnormals kept, how is rounded, what becomes of overflow, and how far are functions off?",
        expected: "WGSL's bounds: + - × to either neighbour, division 2.5 ulp, exp 1 + 2|x| ulp; subnormals may be flushed",
        seeds: 1,
        groups: vec![],
        measures: vec![],
    }
}

fn e1() -> Experiment {
    Experiment {
        name: "e1",
        title: "a perceptron on digits in four precisions",
        question: "Does training in 16 bit end as training in 32 bit does?",
        expected: "within 0.6 points, 0.2 below in the mean (arXiv 2305.10947, table 5, on CIFAR-10); 96 to 98 %",
        seeds: 10,
        groups: vec![digits()],
        measures: vec![],
    }
}

fn e2() -> Experiment {
    let part = |of: Experiment| {
        let name = of.name;
        let name = move |g: &Group| if g.name.is_empty() { name.to_owned() } else { format!("{name}, {}", g.name) };
        of.groups.into_iter().map(move |g| Group { name: name(&g), ..g }).collect::<Vec<_>>()
    };
    Experiment {
        name: "e2",
        title: "margin and error of every test sample, over e1, e3 and e5",
        question: "Does Γ > 2δ explain why 16 bit gives the same classes: on how many samples, and does a certified one ever flip?",
        expected: "Γ ≥ 2δ for most samples (arXiv 2301.12809 says so and gives no figures); flips among them: none, as the theorem says",
        seeds: 3,
        groups: [part(e1()), part(e3()), part(e5())].concat(),
        measures: vec![],
    }
}

fn e3() -> Experiment {
    let group = |batch| {
        let optimizer = sgd(0.01);
        let group = Group { batch, optimizer, length: Length::Epochs(10), ..clothes("mlp", 5000) };
        named(format!("batch {batch}"), group)
    };
    Experiment {
        name: "e3",
        title: "a perceptron 784-128-10 on 5,000 images of clothes, with the papers' SGD",
        question: "Does parity hold for real images and a rate of 0.01, and does it depend on the batch?",
        expected: "parity (arXiv 2301.12809, with a dense network on MNIST)",
        seeds: 5,
        groups: [64, 256].map(group).into(),
        measures: vec![],
    }
}

fn e4() -> Experiment {
    let group = |(batch, rate): (usize, f32)| {
        let group = Group { batch, optimizer: sgd(rate), length: Length::Epochs(20), ..digits() };
        named(format!("batch {batch}, lr {rate}"), group)
    };
    let rates = [0.001, 0.01, 0.1, 0.5];
    let all = [16, 64, 256, 1024].into_iter().flat_map(|batch| rates.map(|rate| (batch, rate)));
    Experiment {
        name: "e4",
        title: "batch 16 to 1024 and learning rate 0.001 to 0.5",
        question: "Where does 16 bit depend on batch and rate: when are updates lost, and does it diverge earlier?",
        expected: "effects of the batch (arXiv 2301.12809, no figures); the share of lost updates falls as the rate grows",
        seeds: 3,
        groups: all.map(group).collect(),
        measures: vec![],
    }
}

fn e5() -> Experiment {
    // At a larger or a constant rate the last steps move the accuracy by more than any precision does.
    let optimizer = Optimizer { schedule: "cosine", ..sgd(0.01) };
    let group = |(name, model)| named(name, Group { optimizer: optimizer.clone(), ..clothes(model, 10_000) });
    Experiment {
        name: "e5",
        title: "a small convolutional network on 10,000 images of clothes, with and without batch normalisation",
        question: "Does parity hold for convolutions, and for normalised ones?",
        expected: "equivalent within 0.5 points; 87.6 to 92.5 % with two convolutions on all 60,000 images (Fashion-MNIST's README)",
        seeds: 10,
        groups: [("cnn", "cnn"), ("cnn with batch norm", "cnn-norm")].map(group).into(),
        measures: vec![],
    }
}

fn e6() -> Experiment {
    let group = |(name, form, epsilon): (&str, Form, f32)| {
        let optimizer = Optimizer { epsilon: Some(epsilon), form, ..optimizer(name, 1e-3) };
        let label = FORMS.iter().find(|(_, f)| *f == form).map_or("", |(label, _)| label);
        let label = if name == "adam" { format!("adam {label}") } else { name.to_owned() };
        let length = Length::Epochs(20);
        named(
            format!("{label}, epsilon {epsilon:e}"),
            Group { optimizer, length, precisions: THREE.to_vec(), ..digits() },
        )
    };
    let rules = [("adam", Form::Root), ("adam", Form::Textbook), ("adam", Form::Floor), ("rmsprop", Form::Root)];
    let all = rules.into_iter().flat_map(|(name, form)| [1e-8, 1e-6, 1e-4, 1e-2].map(|epsilon| (name, form, epsilon)));
    Experiment {
        name: "e6",
        title: "epsilon of Adam and RMSProp, and where it stands",
        question: "Which form of Adam, with which epsilon, survives 16 bit?",
        expected: "in f16 the textbook's form breaks at 1e-8, which is 0 there, and recovers from 1e-4 on (arXiv 2307.16189); the form \
                   that keeps √v (arXiv 2102.13565) reaches f32's accuracy",
        seeds: 5,
        groups: all.map(group).collect(),
        measures: vec![],
    }
}

fn e7() -> Experiment {
    let rules = vec![Precision::F32, NEAREST, Precision::F16, COMPENSATED, Precision::MIXED];
    let cosine = |rate| Optimizer { schedule: "cosine", ..sgd(rate) };
    let group = |name: &str, optimizer, group| named(name, Group { optimizer, precisions: rules.clone(), ..group });
    Experiment {
        name: "e7",
        title: "how 16-bit weights are updated: to nearest, stochastically, compensated, with f32 masters",
        question: "What does rounding the update cost, and does it cost more as the learning rate falls?",
        expected: "to nearest is worst, stochastic and compensated are as good as f32: up to 7 points (arXiv 2010.06192); the floor \
                   grows as the rate falls",
        seeds: 5,
        groups: vec![
            group("digits, lr 0.05 to 0", cosine(0.05), digits()),
            group("digits, lr 0.001", sgd(0.001), digits()),
            group("digits, lr 0.0001", sgd(0.0001), digits()),
            group("clothes, lr 0.05 to 0", cosine(0.05), clothes("mlp", 5000)),
            group("clothes, lr 0.0001", sgd(0.0001), clothes("mlp", 5000)),
        ],
        measures: vec![measures::TOY],
    }
}

fn e8() -> Experiment {
    let scaled = |scale| Precision { loss_scale: LossScale::Static(scale), ..Precision::F16 };
    let dynamic = Precision { loss_scale: LossScale::DYNAMIC, ..Precision::F16 };
    let sum = Precision { loss_scale: LossScale::Batch, ..Precision::F16 };
    let scales = [8.0, 1024.0, 32768.0].map(scaled);
    let precisions = [&[Precision::F32, Precision::F16, sum][..], &scales, &[dynamic]].concat();
    let group = |depth: usize| {
        let model = Model::named("mlp", &vec![64; depth]).expect("it is known");
        let optimizer = sgd(if depth > 4 { 0.01 } else { 0.05 });
        let length = Length::Epochs(20);
        let group = Group { model, optimizer, length, precisions: precisions.clone(), ..digits() };
        named(format!("depth {depth}"), group)
    };
    Experiment {
        name: "e8",
        title: "loss scales from none to 2^15 and dynamic, in perceptrons of 2 to 20 hidden layers",
        question: "How many gradients underflow, which scale saves them, and does it matter?",
        expected: "a scale of 8 can be decisive (arXiv 1710.03740, section 3.2); the batch as the scale is the sum of losses instead of their mean",
        seeds: 3,
        groups: [2, 6, 12, 20].map(group).into(),
        measures: vec![],
    }
}

fn e9() -> Experiment {
    let chunks = |n| Accumulate::Chunks(NonZeroU32::new(n).expect("it is not 0"));
    let of = |accumulate| Precision { accumulate, ..Precision::F16 };
    let sums = [of(Accumulate::F16), of(chunks(256)), of(chunks(32)), Precision::F16];
    let group = |width: usize| {
        let model = Model::named("mlp", &[width]).expect("it is known");
        let precisions = [&[Precision::F32][..], &sums, &[Precision::F16_STRICT]].concat();
        let group = Group { model, precisions, optimizer: sgd(0.01), ..clothes("mlp", 5000) };
        named(format!("width {width}"), group)
    };
    Experiment {
        name: "e9",
        title: "sums of products in f16, in chunks of f16, and in f32",
        question: "What do 16-bit accumulators cost, and from which width on?",
        expected: "an f16 sum's error grows with its length, one in chunks hardly (arXiv 1812.08011); accuracy suffers in wide layers \
                   only",
        seeds: 3,
        groups: [64, 512].map(group).into(),
        measures: vec![measures::SUMS],
    }
}

fn e10() -> Experiment {
    let models = [
        ("epsilon 1e-3, momentum 0.9", "cnn-norm"),
        ("epsilon 1e-5", "cnn-norm-eps-1e-5"),
        ("momentum 0.99", "cnn-norm-momentum-0.99"),
        ("momentum 0.9, running in f16", "cnn-norm-running-f16"),
        ("momentum 0.99, running in f16", "cnn-norm-momentum-0.99-running-f16"),
    ];
    let group = |(name, model)| named(name, Group { test: Some(2000), ..clothes(model, 5000) });
    Experiment {
        name: "e10",
        title: "batch normalisation: epsilon, momentum, and running statistics in 16 bit",
        question: "Which part of batch normalisation may not be 16 bit?",
        expected: "running statistics in f16 with momentum 0.99 stop 3.3 % short; networks full of it lose 0.5 points (arXiv 2305.10947)",
        seeds: 3,
        groups: models.map(group).into(),
        measures: vec![measures::STALL],
    }
}

fn e11() -> Experiment {
    Experiment {
        name: "e11",
        title: "AlexNet as the authors coded it and ResNets with the textbook's head, for a few steps",
        question: "Do losses run alike in each precision, and what does a step take?",
        expected: "over 100 epochs of CIFAR-10 76.0, 75.8 and 75.9 % (16 bit, f32, mixed), 80.9 % in all three; 1.8 and 1.3 times as fast \
                   on tensor cores (arXiv 2305.10947, table 5); `table5` runs them in full",
        seeds: 1,
        groups: vec![table5::briefly("alexnet", 10), resnet20(), table5::briefly("resnet32", 20)],
        measures: vec![],
    }
}

/// As `resnet32`, which table 5 has.
fn resnet20() -> Group {
    let model = Model::named("resnet20", &[]).expect("it is known");
    Group { model, name: "resnet20".into(), ..table5::briefly("resnet32", 20) }
}

fn e12() -> Experiment {
    Experiment {
        name: "e12",
        title: "ViT-8 as the authors coded it, for a few steps",
        question: "Do transformers on images run alike in each precision?",
        expected: "over 100 epochs of CIFAR-10 71.0, 71.3 and 71.2 % (16 bit, f32, mixed; arXiv 2305.10947, table 5)",
        seeds: 1,
        groups: vec![table5::briefly("vit8", 20)],
        measures: vec![],
    }
}

fn e13() -> Experiment {
    let group = |(label, form, epsilon)| {
        let optimizer = Optimizer { form, epsilon, ..optimizer("adamw", 1e-3) };
        let model = Model::named("gpt", &[]).expect("it is known");
        let precisions = THREE.to_vec();
        let (source, length) = (Source::Licence, Length::Steps(50));
        named(label, Group { source, model, optimizer, batch: 16, length, precisions, ..digits() })
    };
    Experiment {
        name: "e13",
        title: "a transformer on characters with AdamW",
        question: "Does pure 16 bit train a language model, and which form of Adam does it need?",
        expected: "naively it fails; with √v kept, and stochastic rounding, it does not (arXiv 2102.13565)",
        seeds: 1,
        groups: [("root form", Form::Root, None), ("textbook, epsilon 1e-8", Form::Textbook, Some(1e-8))]
            .map(group)
            .into(),
        measures: vec![],
    }
}

fn e15() -> Experiment {
    let group = |(name, model, hidden): (&str, &str, &[usize])| {
        let model = Model::named(model, hidden).expect("it is known");
        let (source, optimizer) = (Source::Mnist1d, optimizer("adam", 1e-2));
        named(name, Group { source, model, optimizer, batch: 100, length: Length::Epochs(25), ..digits() })
    };
    let models: [(&str, &str, &[usize]); 3] =
        [("linear", "mlp", &[]), ("perceptron", "mlp", &[100, 100]), ("convolutions", "cnn1d", &[])];
    Experiment {
        name: "e15",
        title: "MNIST-1D, which tells networks apart, in four precisions",
        question: "Does 16 bit cost accuracy where the task leaves room to lose it?",
        expected: "in f32 32 % linear, 68 % perceptron, 94 % convolutions (arXiv 2011.14439, with a set from other random numbers)",
        seeds: 3,
        groups: models.map(group).into(),
        measures: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Graph;

    #[test]
    fn names_are_unique_and_every_group_can_be_built() {
        let all = all();
        for (i, e) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|other| other.name != e.name), "{}", e.name);
            assert!(e.groups.len() + e.measures.len() > 0 || e.name == "e0");
            for (k, g) in e.groups.iter().enumerate() {
                assert!(e.groups[..k].iter().all(|other| other.name != g.name), "{}: {}", e.name, g.name);
                assert_eq!(g.precisions[0], Precision::F32, "{}: {}", e.name, g.name);
                let sample = match g.source {
                    Source::Digits => crate::Shape::from([8, 8, 1]),
                    Source::FashionMnist => crate::Shape::from([28, 28, 1]),
                    Source::FashionMnistPadded => crate::Shape::from([32, 32, 3]),
                    Source::Mnist1d => crate::Shape::from([40, 1, 1]),
                    Source::Licence => crate::Shape::from([64]),
                };
                for precision in &g.precisions {
                    let graph = Graph::new(*precision);
                    g.model.build(&graph, 4, sample, 10).unwrap();
                    graph.check().unwrap_or_else(|e| panic!("{}: {e}", g.name));
                }
            }
        }
    }

    #[test]
    fn sources_that_need_no_files_load() {
        for source in [Source::Digits, Source::Mnist1d, Source::Licence] {
            assert!(!source.load().unwrap().train.is_empty());
        }
    }
}
