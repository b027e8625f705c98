//! Transformers, end to end: they learn in every precision, and attention is what it is said to be.

use halfgrad::{
    Adam, Gpu, Graph, Plan, Precision, Sgd, Tensor, Weights,
    data::{
        self,
        text::{Text, Unit, next_tokens},
    },
    nn::{self, Gpt},
    ops::Attention,
    plan::Options,
};

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::F16, Precision::MIXED];

/// The losses of a small one on the digits, with two rows and columns of zeros around each: four patches.
fn digits_vit(precision: Precision, steps: usize) -> Vec<f32> {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new(precision);
    let x = graph.input("x", [32, 8, 8, 1]);
    let label = graph.labels("label", [32]);
    let loss = nn::vit(x.pad(1, 2, 2).pad(2, 2, 2), 2, 10).cross_entropy(label);
    let weights = Weights::init(&gpu, &graph, 1).unwrap();
    let mut plan = Plan::train(&gpu, &weights, loss, Sgd::new(0.05)).unwrap();
    let digits = data::digits();
    let batches = digits.train.batches(32).unwrap().shuffled(1);
    for batch in (0..).flat_map(|e| batches.epoch(e)).take(steps) {
        plan.write(x, &batch.images).unwrap();
        plan.write(label, &batch.labels).unwrap();
        plan.run();
    }
    plan.losses().wait().unwrap()
}

#[test]
fn a_vision_transformer_learns_in_every_precision() {
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let mut ends = vec![];
    for precision in PRECISIONS {
        let losses = digits_vit(precision, 60);
        assert!(losses.iter().all(|l| l.is_finite()), "{precision}: {losses:?}");
        let (start, end) = (mean(&losses[..10]), mean(&losses[40..]));
        assert!(end < 0.9 * start, "{precision}: from {start} to {end}");
        ends.push(end);
    }
    assert!(ends.iter().all(|e| (e / ends[0] - 1.0).abs() < 0.03), "{ends:?}");
}

/// Evaluated on windows of a text, it is held against the next token at each place, as its loss is.
#[test]
fn a_language_model_is_evaluated_place_by_place() {
    let gpu = Gpu::new().unwrap();
    let text = Text::new(&"to be, or not to be: that is the question. ".repeat(9), Unit::Character).unwrap();
    let windows = text.split("text", 8).unwrap().test;
    let graph = Graph::new(Precision::F32);
    let n = windows.len();
    let (x, next) = (graph.labels("x", [n, 8]), graph.labels("next", [n, 8]));
    let sizes = Gpt { vocabulary: text.vocabulary(), layers: 1, heads: 2, dim: 16, ..Gpt::default() };
    let logits = nn::gpt(x, sizes);
    let loss = logits.cross_entropy(next);
    let weights = Weights::init(&gpu, &graph, 1).unwrap();
    let mut infer = Plan::infer(&gpu, &weights, [logits, loss]).unwrap();
    infer.write(next, &next_tokens(&windows.images(), windows.labels())).unwrap();
    let evaluation = infer.evaluate(x, logits, &windows).unwrap();
    let loss = infer.read(loss).unwrap().wait().unwrap()[0];
    assert!((evaluation.loss - f64::from(loss)).abs() < 1e-5, "{evaluation:?}, {loss}");

    // Where each sample has one row of logits for all of its places, nobody can say what they should be.
    let last = logits.slice(1, 7..8).reshape([n, sizes.vocabulary]);
    let mut infer = Plan::infer(&gpu, &weights, [last]).unwrap();
    let refused = infer.evaluate(x, last, &windows).unwrap_err().to_string();
    assert!(refused.contains("are not one row of classes for each of"), "{refused}");
}

#[test]
fn a_language_model_learns_a_text_by_heart() {
    let gpu = Gpu::new().unwrap();
    let text: Vec<u32> = (0..4 * 13).map(|i| i * i % 7).collect();
    for precision in PRECISIONS {
        let graph = Graph::new(precision);
        let (x, next) = (graph.labels("text", [4, 12]), graph.labels("next", [4, 12]));
        let sizes = Gpt { vocabulary: 7, layers: 2, heads: 2, dim: 24, ..Gpt::default() };
        let loss = nn::gpt(x, sizes).cross_entropy(next);
        let weights = Weights::init(&gpu, &graph, 1).unwrap();
        let mut plan = Plan::train(&gpu, &weights, loss, Adam::new(0.01)).unwrap();
        let rows = |skip: usize| -> Vec<u32> { text.chunks(13).flat_map(|r| r[skip..skip + 12].to_vec()).collect() };
        plan.write(x, &rows(0)).unwrap();
        plan.write(next, &rows(1)).unwrap();
        // Not many more: once the text is known, Adam's moments in f16 are too small to be held, and the loss leaps up.
        (0..45).for_each(|_| plan.run());
        let losses = plan.losses().wait().unwrap();
        assert!(losses[0] > 1.5 && losses[44] < 0.4, "{precision}: {losses:?}");
    }
}

/// Attention from products and softmax, without a mask.
fn composed<'g>(q: Tensor<'g>, k: Tensor<'g>, v: Tensor<'g>) -> Tensor<'g> {
    let scale = 1.0 / (q.shape().last() as f32).sqrt();
    (q.matmul_with(k, false, true) * scale).softmax().matmul(v)
}

#[test]
fn attention_is_its_composition_also_for_heads_of_one_value() {
    let gpu = Gpu::new().unwrap();
    for (t, s, d) in [(5, 7, 3), (20, 70, 17), (3, 3, 1)] {
        let graph = Graph::new(Precision::F32);
        let of = |name, n| graph.input(name, [2, 3, n, d]);
        let [q, k, v] = [of("q", t), of("k", s), of("v", s)];
        let ways = [q.attention(k, v, Attention::default()), composed(q, k, v)];
        let mut wanted = ways.to_vec();
        for y in ways {
            wanted.extend(graph.grad(y.square().sum_all(), &[q, k, v]));
        }
        let weights = Weights::init(&gpu, &graph, 0).unwrap();
        let mut plan = Plan::infer_with(&gpu, &weights, &wanted, Options::default()).unwrap();
        for x in [q, k, v] {
            let values: Vec<f32> =
                (0..x.shape().len()).map(|i| ((i * 37 + x.value.node * 11) % 64) as f32 / 32.0 - 1.0).collect();
            plan.write(x, &values).unwrap();
        }
        plan.run();
        let read = |x: Tensor| plan.read(x).unwrap().wait().unwrap();
        for (a, b) in [(0, 1), (2, 5), (3, 6), (4, 7)] {
            for (a, b) in read(wanted[a]).iter().zip(read(wanted[b])) {
                assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{t} {s} {d}: {a} instead of {b}");
            }
        }
    }
}
