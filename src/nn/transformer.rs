//! Transformers: multi-head attention, blocks, ViT and GPT.

use super::{embedding, held, layer_norm, layer_norm_with, linear_with};
use crate::{
    Init, Tensor,
    ops::{Attention, Conv2d},
};

/// Multi-head self-attention (arXiv 1706.03762), `[n, t, d] → [n, t, d]`: dense layers `name.query`, `name.key` and `name.value`
/// make `heads` heads of `key_dim` values each, and `name.out` joins them. If `causal`, a place sees none that come later.
///
/// ```
/// use halfgrad::{Graph, Precision, nn};
/// let graph = Graph::new(Precision::F16);
/// let x = graph.input("x", [8, 25, 64]);
/// assert_eq!(nn::multi_head_attention("attention", x, 4, 64, false).shape(), x.shape());
/// ```
#[track_caller]
pub fn multi_head_attention<'g>(name: &str, x: Tensor<'g>, heads: usize, key_dim: usize, causal: bool) -> Tensor<'g> {
    attention_with(name, x, [heads, key_dim], causal, [Init::Xavier; 2])
}

/// [`multi_head_attention`] whose weights start so: those of queries, keys and values, and those behind them.
#[track_caller]
fn attention_with<'g>(
    name: &str,
    x: Tensor<'g>,
    [heads, key_dim]: [usize; 2],
    causal: bool,
    init: [Init; 2],
) -> Tensor<'g> {
    let dims = x.shape().to_vec();
    let &[n, t, d] = &dims[..] else {
        return x.refuse("multi_head_attention", &[], "a batch of sequences has three axes".into());
    };
    let split = |part| {
        let of = linear_with(&format!("{name}.{part}"), x, heads * key_dim, init[0]);
        of.reshape([n, t, heads, key_dim])
    };
    let [q, k, v] = ["query", "key", "value"].map(split);
    let y = q.attention(k, v, Attention { causal, joined: true, ..Attention::default() });
    let joined = y.reshape([n, t, heads * key_dim]);
    linear_with(&format!("{name}.out"), joined, d, init[1])
}

/// A vision transformer (arXiv 2010.11929) as the authors of arXiv 2305.10947 coded it; `[n, h, w, c] → [n, classes]`.
///
/// Patches of 6 × 6, those at the edge that are not whole left out; 64 values a patch, and an embedding of its place; `layers` blocks
/// of 4 heads with 64 values each and a hidden layer of 512 with gelu, normalised behind each sum, dropout 0.1; one more
/// normalisation; all patches side by side, dropout 0.5, two layers of 512 with gelu. Each normalisation adds 1e-6 to the
/// variance; in strict f16, which does not hold that, 1e-3.
///
/// For 32 × 32 × 3 and ten classes it has 2,158,090 parameters with 8 layers and 2,689,034 with 12. Their table prints
/// 2.02 and 2.55 million: the blocks agree, 132,736 each, and what remains would fit a head of 512 and 256.
#[track_caller]
pub fn vit(x: Tensor, layers: usize, classes: usize) -> Tensor {
    const PATCH: usize = 6;
    const DIM: usize = 64;
    let dims = x.shape().to_vec();
    let &[n, height, width, channels] = &dims[..] else {
        return x.refuse("vit", &[], "a batch of images has four axes".into());
    };
    if height < PATCH || width < PATCH {
        return x.refuse("vit", &[], format!("an image holds at least one patch of {PATCH} × {PATCH}"));
    }
    // Each patch through one dense layer: a convolution whose windows do not overlap.
    let weight = x.graph.weight("patches.weight", [PATCH * PATCH * channels, DIM], Init::Xavier);
    let bias = x.graph.weight("patches.bias", [DIM], Init::Constant(0.0));
    let how = Conv2d { stride: [PATCH; 2], ..Conv2d::default() };
    let patches = x.conv2d(weight.reshape([PATCH, PATCH, channels, DIM]), how) + bias;
    let tokens = (height / PATCH) * (width / PATCH);
    let places = x.graph.weight("positions.weight", [tokens, DIM], Init::Uniform { bound: 0.05 });
    let norm = |name: &str, h| layer_norm_with(name, h, held(1e-6, name, h));
    let mut h = patches.reshape([n, tokens, DIM]) + places;
    for i in 1..=layers {
        let name = format!("block{i}");
        let seen = multi_head_attention(&format!("{name}.attention"), h, 4, DIM, false).dropout(0.1);
        h = norm(&format!("{name}.norm1"), h + seen);
        let wide = linear_with(&format!("{name}.fc1"), h, 512, Init::Xavier).gelu();
        let found = linear_with(&format!("{name}.fc2"), wide, DIM, Init::Xavier).dropout(0.1);
        h = norm(&format!("{name}.norm2"), h + found);
    }
    let mut h = norm("norm", h).reshape([n, tokens * DIM]).dropout(0.5);
    for name in ["head1", "head2"] {
        h = linear_with(name, h, 512, Init::Xavier).gelu();
    }
    linear_with("head3", h, classes, Init::Xavier)
}

/// The sizes of a [`gpt`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gpt {
    /// Kinds of tokens: 256 for bytes.
    pub vocabulary: usize,
    /// Blocks.
    pub layers: usize,
    /// Heads of each block's attention; they share `dim`.
    pub heads: usize,
    /// Values that stand for a token.
    pub dim: usize,
    /// The probability that a value is left out behind the embedding, the attention and the hidden layer.
    pub dropout: f32,
    /// Whether the last layer's weights are the embedding's, as in GPT-2.
    pub tied: bool,
}

impl Default for Gpt {
    /// A small one for bytes.
    fn default() -> Self {
        Gpt { vocabulary: 256, layers: 4, heads: 4, dim: 128, dropout: 0.0, tied: true }
    }
}

/// A language model after GPT-2: tokens, as labels `[n, t]`, to what it expects behind each of them, `[n, t] → [n, t, vocabulary]`.
///
/// Embeddings of token and place, blocks with causal attention and a hidden layer of four times the width with gelu,
/// normalised before each, one more normalisation. With GPT-2's sizes it has GPT-2's 124,439,808 parameters. The loss
/// is [`cross_entropy`](Tensor::cross_entropy) with the tokens moved up by one place.
///
/// ```
/// use halfgrad::{Graph, Precision, nn};
/// let graph = Graph::new(Precision::F16);
/// let (text, next) = (graph.labels("text", [8, 32]), graph.labels("next", [8, 32]));
/// let loss = nn::gpt(text, nn::Gpt::default()).cross_entropy(next);
/// assert_eq!(loss.shape().rank(), 0);
/// ```
#[track_caller]
pub fn gpt(tokens: Tensor, sizes: Gpt) -> Tensor {
    let Gpt { vocabulary, layers, heads, dim, dropout, tied } = sizes;
    let graph = tokens.graph;
    if tokens.shape().rank() != 2 {
        return tokens.refuse("gpt", &[], "a batch of sequences has two axes".into());
    }
    if heads == 0 || !dim.is_multiple_of(heads) {
        return tokens.refuse("gpt", &[], format!("{heads} heads cannot share {dim} values"));
    }
    let init = Init::Normal { std: 0.02 };
    // What is added to the same sum 2 · layers times starts smaller.
    let last = Init::Normal { std: 0.02 / (2.0 * layers.max(1) as f32).sqrt() };
    let read = embedding("tokens", tokens, vocabulary, dim, init);
    let places = graph.weight("positions.weight", [tokens.shape().last(), dim], init);
    let mut h = (read + places).dropout(dropout);
    for i in 1..=layers {
        let name = format!("block{i}");
        let x = layer_norm(&format!("{name}.norm1"), h);
        let seen = attention_with(&format!("{name}.attention"), x, [heads, dim / heads], true, [init, last]);
        h = h + seen.dropout(dropout);
        let x = layer_norm(&format!("{name}.norm2"), h);
        let wide = linear_with(&format!("{name}.fc1"), x, 4 * dim, init).gelu_tanh();
        h = h + linear_with(&format!("{name}.fc2"), wide, dim, last).dropout(dropout);
    }
    let h = layer_norm("norm", h);
    match tied {
        true => h.matmul_with(graph.shared("tokens.weight"), false, true),
        false => h.matmul(graph.weight("head.weight", [dim, vocabulary], init)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Graph, Precision, Shape};

    fn parameters(graph: &Graph) -> usize {
        graph.check().unwrap();
        graph.weights().iter().map(|w| w.shape().len()).sum()
    }

    #[test]
    fn vit_has_the_parameters_that_were_computed() {
        for (layers, expected) in [(8, 2_158_090), (12, 2_689_034)] {
            let graph = Graph::new(Precision::F16);
            assert_eq!(vit(graph.input("x", [2, 32, 32, 3]), layers, 10).shape(), Shape::from([2, 10]));
            assert_eq!(parameters(&graph), expected);
        }
    }

    #[test]
    fn gpt_has_the_parameters_of_gpt_2() {
        let graph = Graph::new(Precision::F16);
        let sizes = Gpt { vocabulary: 50257, layers: 12, heads: 12, dim: 768, ..Gpt::default() };
        assert_eq!(gpt(graph.labels("text", [1, 1024]), sizes).shape(), Shape::from([1, 1024, 50257]));
        assert_eq!(parameters(&graph), 124_439_808);
        let graph = Graph::new(Precision::F16);
        gpt(graph.labels("text", [1, 128]), Gpt::default());
        assert_eq!(parameters(&graph), 842_496);
    }

    #[test]
    fn what_cannot_be_is_an_error_in_words() {
        let graph = Graph::new(Precision::F16);
        gpt(graph.labels("text", [1, 8]), Gpt { heads: 3, ..Gpt::default() });
        assert!(graph.check().unwrap_err().to_string().contains("3 heads cannot share 128 values"));
        let graph = Graph::new(Precision::F16);
        vit(graph.input("x", [1, 5, 8, 1]), 1, 10);
        assert!(graph.check().unwrap_err().to_string().contains("at least one patch"));
    }
}
