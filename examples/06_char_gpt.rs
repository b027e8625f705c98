//! A small GPT learns to write like the Apache licence, one character after another, in mixed precision: the loss falls
//! from 4.3 to about 1.5 in 500 steps (minutes on two cores), and what it then writes has some of the licence's words.
//!
//! `cargo run --example 06_char_gpt [steps] [a text in UTF-8]`

use halfgrad::{
    AdamW, Gpu, Graph, Plan, Precision, Tensor, Weights,
    data::text::{Text, Unit, next_tokens},
    nn::{self, Gpt},
};
use rand_pcg::{Pcg32, rand_core::Rng};

mod arguments;

/// Characters that the network sees at once, and windows of them in a batch.
const LENGTH: usize = 64;
const BATCH: usize = 16;

fn main() -> halfgrad::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let steps = arguments::number(&mut arguments, 500);
    let text = match arguments.next() {
        Some(path) => Text::read(path, Unit::Character)?,
        None => Text::new(include_str!("../LICENSE-APACHE"), Unit::Character)?,
    };
    let sizes = Gpt { vocabulary: text.vocabulary(), layers: 2, heads: 4, dim: 64, ..Gpt::default() };
    let gpu = Gpu::new()?;

    // Tokens are labels: what the network reads, and what it should say at each place, which is the same moved up by one.
    let graph = Graph::new(Precision::MIXED);
    let (x, next) = (graph.labels("x", [BATCH, LENGTH]), graph.labels("next", [BATCH, LENGTH]));
    let loss = nn::gpt(x, sizes).cross_entropy(next);
    let weights = Weights::init(&gpu, &graph, 42)?;
    let mut train = Plan::train(&gpu, &weights, loss, AdamW::new(3e-3))?;

    let windows = text.split("text", LENGTH)?.train;
    let batches = windows.batches(BATCH)?.shuffled(7);
    let all = (0..).flat_map(|epoch| batches.epoch(epoch));
    for (step, batch) in all.take(steps).enumerate() {
        train.write_numbers(x, &batch.images)?;
        train.write(next, &next_tokens(&batch.images, &batch.labels))?;
        train.run();
        if (step + 1) % 50 == 0 || step + 1 == steps {
            let losses = train.losses().wait()?;
            println!("step {:>4}: loss {:.3}", step + 1, losses.iter().sum::<f32>() / losses.len() as f32);
        }
    }

    // A network for one window at a time has a graph of its own, with the same weights.
    let graph = Graph::new(Precision::MIXED);
    let x = graph.labels("x", [1, LENGTH]);
    let chances = nn::gpt(x, sizes).softmax();
    let mut infer = Plan::infer(&gpu, &weights.for_graph(&gpu, &graph)?, [chances])?;
    let start = text.tokens()[..LENGTH / 2].to_vec();
    println!("{}", text.decode(&continued(&mut infer, x, chances, start, 400)?));
    Ok(())
}

/// So many more tokens, each drawn from what the network expects behind the last ones; the same seed draws the same.
fn continued(
    infer: &mut Plan,
    x: Tensor,
    chances: Tensor,
    mut tokens: Vec<u32>,
    count: usize,
) -> halfgrad::Result<Vec<u32>> {
    let mut random = Pcg32::new(7, 0);
    for _ in 0..count {
        // A place sees none that come later, so what fills the window behind the last token does not matter.
        let mut window = tokens[tokens.len().saturating_sub(LENGTH)..].to_vec();
        let last = window.len() - 1;
        window.resize(LENGTH, 0);
        infer.write(x, &window)?;
        infer.run();
        let chances_there = infer.read(chances)?.wait()?;
        let row = chances_there.chunks(chances.shape().last()).nth(last).expect("a row for each place");
        let mut left = row.iter().sum::<f32>() * (random.next_u32() >> 8) as f32 / (1 << 24) as f32;
        let drawn = row.iter().position(|chance| {
            left -= chance;
            left < 0.0
        });
        tokens.push(drawn.unwrap_or(row.len() - 1) as u32);
    }
    Ok(tokens)
}
