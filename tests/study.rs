//! Runs of a study on the device: what they count and what they start from.

use halfgrad::{
    Gpu, Precision,
    data::{
        self,
        text::{Text, Unit},
    },
    study::{self, Comparison, Model, Optimizer, Outcome, Setup},
};

fn run(split: &data::Split, setup: &Setup, precision: Precision, seed: u64) -> Outcome {
    let gpu = Gpu::new().unwrap();
    study::train(&gpu, split, setup, precision, seed, &mut |_| Ok(())).unwrap()
}

fn setup(learning_rate: f32, batch: usize, steps: usize) -> Setup {
    let model = Model::named("mlp", &[32]).unwrap();
    Setup::new(model, Optimizer::named("sgd", learning_rate).unwrap(), batch, steps)
}

/// Without any learning to speak of, the mean loss of an epoch is the loss of the training set: each sample counts
/// once, those of the short last batch too.
#[test]
fn an_epochs_loss_is_the_mean_over_the_samples() {
    let mut split = data::digits();
    split.test = split.train.clone();
    for batch in [1, 1000, 1437] {
        let steps = 1437usize.div_ceil(batch);
        let outcome = run(&split, &setup(1e-20, batch, steps), Precision::F32, 5);
        let [loss] = outcome.train_loss[..] else { panic!("one epoch, {:?}", outcome.train_loss) };
        let expected = outcome.evaluation.loss;
        assert!((loss / expected - 1.0).abs() < 1e-5, "batch {batch}: {loss}, {expected} at once");
        assert_eq!((outcome.progress.steps, outcome.progress.skipped), (steps as u32, 0));
    }
}

/// The same of a language model, whose loss is over all places of all windows, also of the short last batch.
#[test]
fn a_language_model_is_asked_for_each_token() {
    let text = Text::new(&"the quick brown fox jumps over the lazy dog. ".repeat(8), Unit::Character).unwrap();
    let mut split = text.split("fox", 9).unwrap();
    split.test = split.train.clone();
    let samples = split.train.len();
    let model = Model::named("gpt", &[]).unwrap();
    let setup = Setup::new(model, Optimizer::named("sgd", 1e-20).unwrap(), 16, samples.div_ceil(16));
    assert_ne!(samples % 16, 0);
    let outcome = run(&split, &setup, Precision::F32, 5);
    let (loss, expected) = (outcome.train_loss[0], outcome.evaluation.loss);
    assert!((loss / expected - 1.0).abs() < 1e-5, "{loss}, {expected} at once");
    assert_eq!(outcome.perplexity, Some(expected.exp()));
    // It knows nothing yet: each token is as likely as any other, nearly.
    assert!(
        (expected / (text.vocabulary() as f64).ln() - 1.0).abs() < 0.05,
        "{expected} of {} kinds",
        text.vocabulary()
    );
    assert_eq!(outcome.logits.len(), samples * 9 * text.vocabulary());
}

#[test]
fn a_run_can_be_had_again_and_each_seed_is_another() {
    let split = data::digits();
    let setup = setup(0.05, 64, 40);
    let [a, b, c] = [3, 3, 4].map(|seed| run(&split, &setup, Precision::MIXED, seed));
    assert_eq!((&a.logits, &a.train_loss, a.progress), (&b.logits, &b.train_loss, b.progress));
    assert_eq!((a.step_loss.len(), &a.step_loss), (40, &b.step_loss));
    // 23 steps in the first epoch, the last of them on the 29 samples that remain.
    let sum: f64 =
        a.step_loss[..23].iter().zip([64.0; 22].into_iter().chain([29.0])).map(|(&l, n)| f64::from(l) * n).sum();
    assert!((sum / 1437.0 / a.train_loss[0] - 1.0).abs() < 1e-12, "{sum} over 1437, {:?}", a.train_loss);
    assert_ne!(a.logits, c.logits);
    assert_eq!(a.train_loss.len(), 2);
    let same = Comparison::of(&a.logits, &b.logits, 10);
    assert_eq!((same.samples, same.flips, same.certified), (360, 0, 360));
}

#[test]
fn every_precision_starts_from_the_same_weights_and_batches() {
    let split = data::digits();
    let outcome = |precision| run(&split, &setup(1e-20, 64, 1), precision, 1);
    let [f32, f16] = [Precision::F32, Precision::F16].map(outcome);
    let relative = f32.train_loss[0] / f16.train_loss[0] - 1.0;
    assert!(relative.abs() < 2e-3, "the first loss: {:?} and {:?}", f32.train_loss, f16.train_loss);
    let [a, b] = [f32, f16].map(|run| run.weights.read_all().wait().unwrap().concat());
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= a.abs() / 2048.0 + 3e-8));
}

#[test]
fn a_broken_run_tells_step_and_layer() {
    let outcome = run(&data::digits(), &setup(1000.0, 64, 60), Precision::F16, 1);
    let failure = outcome.failure.expect("65504 is soon reached").to_string();
    let halted = outcome.progress.halted.expect("it halts there");
    assert!(failure.contains(&format!("at step {halted}; first value that is not finite: ")), "{failure}");
    assert!(failure.contains("fc1") || failure.contains("fc2"), "{failure}");
}
