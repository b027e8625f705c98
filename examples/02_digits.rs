//! A perceptron learns the embedded handwritten digits in 16 bit: 96 % and more of the test set after 30 epochs.
//!
//! `cargo run --example 02_digits [epochs]`

use halfgrad::{Gpu, Graph, Plan, Precision, Sgd, Weights, data, nn};

mod arguments;

fn main() -> halfgrad::Result<()> {
    let epochs = arguments::number(&mut std::env::args().skip(1), 30);
    let gpu = Gpu::new()?;
    let digits = data::digits();

    let graph = Graph::new(Precision::F16);
    let x = graph.input("x", [64, 8, 8, 1]);
    let label = graph.labels("label", [64]);
    let logits = nn::mlp(x, &[128], 10);
    let loss = logits.cross_entropy(label);

    let weights = Weights::init(&gpu, &graph, 42)?;
    let mut train = Plan::train(&gpu, &weights, loss, Sgd::new(0.05).momentum(0.9))?;
    let mut infer = Plan::infer(&gpu, &weights, [logits])?;
    let batches = digits.train.batches(64)?.shuffled(7);
    for epoch in 0..epochs {
        for batch in batches.epoch(epoch) {
            train.write(x, &batch.images)?;
            train.write(label, &batch.labels)?;
            train.run();
        }
        let losses = train.losses().wait()?;
        let mean = losses.iter().sum::<f32>() / losses.len() as f32;
        let test = infer.evaluate(x, logits, &digits.test)?;
        println!("epoch {epoch:>2}: loss {mean:.4}, test accuracy {:.1} %", 100.0 * test.accuracy);
    }
    weights.save(std::env::temp_dir().join("digits.safetensors"))?;
    Ok(())
}
