//! Table 5 of arXiv 2305.10947, as its artifact prints it: twelve networks on CIFAR-10 in three precisions.

use super::{Experiment, Group, Length, Published, Source};
use crate::{
    Precision,
    study::{Model, Optimizer},
};

/// Accuracy and its deviation in percent, and seconds of 100 epochs, in 16 bit, in f32 and mixed.
const PUBLISHED: [(&str, [[f64; 3]; 3]); 12] = [
    ("alexnet", [[76.0, 0.3, 96.0], [75.8, 0.3, 174.0], [75.9, 0.3, 150.0]]),
    ("vgg16", [[83.7, 0.3, 377.0], [83.9, 0.2, 857.0], [83.8, 0.2, 455.0]]),
    ("vgg19", [[83.8, 0.2, 416.0], [83.9, 0.3, 937.0], [83.9, 0.2, 492.0]]),
    ("resnet32", [[80.9, 0.3, 413.0], [80.9, 0.4, 551.0], [80.9, 0.3, 483.0]]),
    ("resnet56", [[81.6, 0.4, 677.0], [81.4, 0.6, 905.0], [81.5, 0.6, 795.0]]),
    ("resnet110", [[81.8, 0.4, 1256.0], [81.4, 0.5, 1712.0], [81.8, 0.5, 1486.0]]),
    ("densenet121", [[72.1, 0.3, 539.0], [72.6, 0.4, 720.0], [73.0, 0.3, 641.0]]),
    ("densenet169", [[71.7, 0.5, 724.0], [72.3, 0.3, 966.0], [72.1, 0.3, 812.0]]),
    ("xception", [[75.9, 0.4, 324.0], [76.3, 0.3, 611.0], [76.3, 0.4, 412.0]]),
    ("mobilenet", [[69.4, 1.1, 353.0], [70.0, 1.2, 588.0], [70.0, 1.1, 411.0]]),
    ("vit8", [[71.0, 0.3, 316.0], [71.3, 0.3, 423.0], [71.2, 0.3, 410.0]]),
    ("vit12", [[71.1, 0.3, 425.0], [71.4, 0.3, 663.0], [71.5, 0.3, 629.0]]),
];

/// The whole table, with the authors' settings; residual networks have the textbook's head, not theirs of 4096 logits.
pub fn table5() -> Experiment {
    Experiment {
        name: "table5",
        title: "twelve networks in f32, f16 and mixed, as in table 5 of arXiv 2305.10947, ResNets with one dense layer",
        question: "Do the authors' networks reach the same accuracy in 16 bit, and how much faster?",
        expected: "16 bit less f32 from -0.6 to +0.4 points, -0.2 in the mean; on tensor cores f32 takes 1.6 times as long, mixed \
                   1.3 times (arXiv 2305.10947, table 5: CIFAR-10, 100 epochs)",
        seeds: 2,
        groups: PUBLISHED.iter().map(|(name, rows)| Group { published: published(*rows), ..group(name) }).collect(),
        measures: vec![],
    }
}

/// One network for a number of steps, of which no accuracy is to be expected, nor is one compared.
pub fn briefly(name: &str, steps: usize) -> Group {
    let (train, test) = (Some(5000), Some(500));
    Group { length: Length::Steps(steps), batch: 32, train, test, ..group(name) }
}

fn published(rows: [[f64; 3]; 3]) -> Vec<(Precision, Published)> {
    let row = |[accuracy, deviation, seconds]: [f64; 3]| Published { accuracy, deviation, seconds };
    [Precision::F16, Precision::F32, Precision::MIXED].into_iter().zip(rows.map(row)).collect()
}

fn group(name: &str) -> Group {
    let mut optimizer = Optimizer::named("sgd", 0.01).expect("it is known");
    if name.starts_with("vit") {
        optimizer.momentum = 0.0;
    }
    if name.starts_with("resnet") {
        // Keras adds 1e-4 · w² to the loss, of kernels alone; ours is added to all gradients, of which it is twice that.
        optimizer.weight_decay = 2e-4;
    }
    Group {
        name: name.into(),
        source: Source::FashionMnistPadded,
        train: None,
        test: None,
        model: Model::named(name, &[]).expect("it is known"),
        optimizer,
        batch: 256,
        length: Length::Epochs(100),
        precisions: vec![Precision::F32, Precision::F16, Precision::MIXED],
        published: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The means that the artifact prints below its table.
    #[test]
    fn the_table_has_the_means_that_are_printed() {
        let mean = |part: fn(&[[f64; 3]; 3]) -> f64| {
            PUBLISHED.iter().map(|(_, rows)| part(rows)).sum::<f64>() / PUBLISHED.len() as f64
        };
        assert!((mean(|[half, single, _]| half[0] - single[0]) + 0.2).abs() < 0.05);
        assert!((mean(|[half, _, mixed]| half[0] - mixed[0]) + 0.2).abs() < 0.05);
        assert!((mean(|[half, single, _]| single[2] / half[2]) - 1.6).abs() < 0.05);
        assert!((mean(|[half, _, mixed]| mixed[2] / half[2]) - 1.3).abs() < 0.05);
    }
}
