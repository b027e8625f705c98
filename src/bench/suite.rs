//! What is measured: kernels by family and sizes, and networks. A table; the code that walks it is at its end.

use flate2::Crc;

use crate::{
    Adam, Graph, Init, Sgd, Shape, Tensor,
    ops::{Attention, Conv2d, Padding},
    optim::Update,
};

/// Makes a tensor to compute of sizes.
pub type Build = for<'g> fn(&'g Graph, &[usize]) -> Tensor<'g>;

/// What a family's kernels do.
#[derive(Debug, Clone, Copy)]
pub enum Make {
    /// Compute a tensor.
    Tensor(Build),
    /// Change so many weights.
    Update(fn() -> Box<dyn Update>),
}

/// Kernels that differ in sizes only.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// What they do.
    pub name: &'static str,
    /// What the sizes mean.
    pub axes: &'static str,
    /// How they are made.
    pub make: Make,
    /// The sizes; a quick run takes the first two.
    pub sizes: &'static [&'static [usize]],
}

/// A family at one of its sizes.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    /// The family.
    pub family: &'static Family,
    /// The sizes.
    pub sizes: &'static [usize],
}

/// A training step.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// One of [`MODELS`](crate::study::MODELS).
    pub model: &'static str,
    /// The shape of a sample.
    pub sample: [usize; 3],
    /// Samples in a batch.
    pub batch: usize,
}

impl Kernel {
    /// `matmul 64×64×64`.
    pub fn id(&self) -> String {
        let sizes: Vec<String> = self.sizes.iter().map(ToString::to_string).collect();
        format!("{} {}", self.family.name, sizes.join("×"))
    }
}

impl Step {
    /// `mlp batch 16`.
    pub fn id(&self) -> String {
        format!("{} batch {}", self.model, self.batch)
    }
}

/// Squares, and those of a perceptron's layers.
const PRODUCTS: &[&[usize]] = &[
    &[64, 64, 64],
    &[256, 256, 256],
    &[128, 784, 128],
    &[128, 512, 512],
    &[512, 512, 512],
    &[1024, 1024, 1024],
    &[2048, 2048, 2048],
];
const BATCHES: &[&[usize]] = &[&[8, 32, 32, 32], &[64, 64, 48, 64], &[64, 128, 128, 128], &[8, 512, 512, 512]];
const TALL: &[&[usize]] = &[&[4096, 16, 16], &[16384, 64, 10], &[16, 784, 512], &[65536, 32, 32], &[128, 16384, 128]];
/// Those of lenet's second layer and of resnet's first stage; then resnet's others, a stride, a shortcut, a first
/// layer.
const CONVOLUTIONS: &[&[usize]] = &[
    &[4, 14, 14, 32, 3, 64, 1],
    &[16, 32, 32, 16, 3, 16, 1],
    &[16, 16, 16, 32, 3, 32, 1],
    &[16, 8, 8, 64, 3, 64, 1],
    &[16, 32, 32, 16, 3, 32, 2],
    &[16, 32, 32, 16, 1, 32, 2],
    &[16, 28, 28, 1, 3, 32, 1],
    &[64, 32, 32, 16, 3, 16, 1],
];
const DEPTHWISE: &[&[usize]] = &[&[4, 8, 8, 64, 3], &[16, 16, 16, 64, 3], &[16, 32, 32, 32, 3]];
/// The second is that of vit8, the third of a small gpt.
const ATTENTIONS: &[&[usize]] = &[&[2, 2, 16, 16], &[16, 4, 25, 64], &[8, 4, 128, 32], &[8, 4, 512, 64]];
const ROWS: &[&[usize]] = &[&[64, 256], &[1024, 1024], &[4096, 64], &[16, 16384], &[4096, 1024], &[1, 1 << 20]];
const IMAGES: &[&[usize]] = &[&[4, 16, 16, 16], &[16, 32, 32, 16], &[16, 8, 8, 64], &[64, 32, 32, 64]];
const WEIGHTS: &[&[usize]] = &[&[1 << 16], &[1 << 20], &[1 << 23]];

macro_rules! families {
    ($($name:literal $axes:literal $sizes:ident $make:expr;)*) => {
        &[$(Family { name: $name, axes: $axes, sizes: $sizes, make: $make }),*]
    };
}

/// Every family.
#[rustfmt::skip]
pub const FAMILIES: &[Family] = families! {
    "matmul" "m×k×n" PRODUCTS Make::Tensor(|g, s| g.input("a", [s[0], s[1]]).matmul(g.input("b", [s[1], s[2]])));
    "matmul aᵀ·b" "m×k×n" PRODUCTS
        Make::Tensor(|g, s| g.input("a", [s[1], s[0]]).matmul_with(g.input("b", [s[1], s[2]]), true, false));
    "matmul a·bᵀ" "m×k×n" PRODUCTS
        Make::Tensor(|g, s| g.input("a", [s[0], s[1]]).matmul_with(g.input("b", [s[2], s[1]]), false, true));
    "matmul batched" "batch×m×k×n" BATCHES
        Make::Tensor(|g, s| g.input("a", [s[0], s[1], s[2]]).matmul(g.input("b", [s[0], s[2], s[3]])));
    "matmul tall" "m×k×n" TALL Make::Tensor(|g, s| g.input("a", [s[0], s[1]]).matmul(g.input("b", [s[1], s[2]])));
    "conv2d" "n×h×w×in×k×out×stride" CONVOLUTIONS Make::Tensor(|g, s| convolution(g, s).0);
    "conv2d image gradient" "n×h×w×in×k×out×stride" CONVOLUTIONS Make::Tensor(|g, s| {
        let (y, x, _) = convolution(g, s);
        gradient(y, x)
    });
    "conv2d weight gradient" "n×h×w×in×k×out×stride" CONVOLUTIONS Make::Tensor(|g, s| {
        let (y, _, w) = convolution(g, s);
        gradient(y, w)
    });
    "depthwise conv2d" "n×h×w×c×k" DEPTHWISE Make::Tensor(|g, s| depthwise(g, s).0);
    "depthwise image gradient" "n×h×w×c×k" DEPTHWISE Make::Tensor(|g, s| {
        let (y, x, _) = depthwise(g, s);
        gradient(y, x)
    });
    "depthwise weight gradient" "n×h×w×c×k" DEPTHWISE Make::Tensor(|g, s| {
        let (y, _, w) = depthwise(g, s);
        gradient(y, w)
    });
    "attention" "batch×heads×tokens×values" ATTENTIONS Make::Tensor(|g, s| attention(g, s).0);
    "attention query gradient" "batch×heads×tokens×values" ATTENTIONS Make::Tensor(|g, s| {
        let (y, q) = attention(g, s);
        gradient(y, q)
    });
    "softmax" "rows×values" ROWS Make::Tensor(|g, s| input(g, "x", s).softmax());
    "softmax gradient" "rows×values" ROWS Make::Tensor(|g, s| of_input(g, s, |x| x.softmax()));
    "cross-entropy" "rows×classes" ROWS
        Make::Tensor(|g, s| input(g, "x", s).cross_entropy(g.labels("label", [s[0]])));
    "layer norm" "rows×values" ROWS Make::Tensor(|g, s| input(g, "x", s).layer_norm(1e-3));
    "layer norm gradient" "rows×values" ROWS Make::Tensor(|g, s| of_input(g, s, |x| x.layer_norm(1e-3)));
    "batch norm" "n×h×w×c" IMAGES Make::Tensor(|g, s| batch_norm(input(g, "x", s)));
    "batch norm gradient" "n×h×w×c" IMAGES Make::Tensor(|g, s| of_input(g, s, batch_norm));
    "sum of rows" "rows×values" ROWS Make::Tensor(|g, s| input(g, "x", s).sum([1]));
    "sum of columns" "rows×values" ROWS Make::Tensor(|g, s| input(g, "x", s).sum([0]));
    "sum of all" "rows×values" ROWS Make::Tensor(|g, s| input(g, "x", s).mean_all());
    "max pool" "n×h×w×c" IMAGES Make::Tensor(|g, s| input(g, "x", s).max_pool(2));
    "max pool gradient" "n×h×w×c" IMAGES Make::Tensor(|g, s| of_input(g, s, |x| x.max_pool(2)));
    "avg pool" "n×h×w×c" IMAGES Make::Tensor(|g, s| input(g, "x", s).avg_pool(2));
    "avg pool gradient" "n×h×w×c" IMAGES Make::Tensor(|g, s| of_input(g, s, |x| x.avg_pool(2)));
    "bias, relu" "rows×values" ROWS Make::Tensor(|g, s| (input(g, "x", s) + g.input("bias", [s[1]])).relu());
    "gelu chain" "rows×values" ROWS
        Make::Tensor(|g, s| ((input(g, "x", s) + g.input("bias", [s[1]])).gelu() * 1.25 + input(g, "y", s)).tanh());
    "transpose" "rows×values" ROWS Make::Tensor(|g, s| input(g, "x", s).transpose());
    "sgd, momentum" "weights" WEIGHTS Make::Update(|| Box::new(Sgd::new(1e-3).momentum(0.9)));
    "adam" "weights" WEIGHTS Make::Update(|| Box::new(Adam::new(1e-3)));
};

/// The networks; a quick run takes the first two, with the first batch.
const NETWORKS: &[(&str, [usize; 3])] =
    &[("mlp", [28, 28, 1]), ("lenet", [28, 28, 1]), ("resnet20", [32, 32, 3]), ("vit8", [32, 32, 3])];
const BATCH: &[usize] = &[16, 128];

fn input<'g>(g: &'g Graph, name: &str, s: &[usize]) -> Tensor<'g> {
    g.input(name, Shape::new(s).expect("the table's sizes are shapes"))
}

/// The gradient of `x` by that of `y`, which is an input.
pub fn gradient<'g>(y: Tensor<'g>, x: Tensor<'g>) -> Tensor<'g> {
    let dy = y.graph.input("dy", y.shape()).cast(y.dtype());
    y.graph.grad_from(y, dy, &[x])[0]
}

fn of_input<'g>(g: &'g Graph, s: &[usize], f: for<'t> fn(Tensor<'t>) -> Tensor<'t>) -> Tensor<'g> {
    let x = input(g, "x", s);
    gradient(f(x), x)
}

fn convolution<'g>(g: &'g Graph, s: &[usize]) -> (Tensor<'g>, Tensor<'g>, Tensor<'g>) {
    let (x, w) = (input(g, "x", &s[..4]), g.input("w", [s[4], s[4], s[3], s[5]]));
    (x.conv2d(w, Conv2d { stride: [s[6]; 2], padding: Padding::Same, ..Conv2d::default() }), x, w)
}

fn depthwise<'g>(g: &'g Graph, s: &[usize]) -> (Tensor<'g>, Tensor<'g>, Tensor<'g>) {
    let (x, w) = (input(g, "x", &s[..4]), g.input("w", [s[4], s[4], 1, s[3]]));
    (x.conv2d(w, Conv2d { padding: Padding::Same, groups: s[3], ..Conv2d::default() }), x, w)
}

fn attention<'g>(g: &'g Graph, s: &[usize]) -> (Tensor<'g>, Tensor<'g>) {
    let [q, k, v] = ["q", "k", "v"].map(|name| input(g, name, s));
    (q.attention(k, v, Attention::default()), q)
}

/// A loss of `n` weights whose gradient takes no time to speak of.
pub(super) fn weights(g: &Graph, n: usize) -> Tensor<'_> {
    let w = g.weight("w", [n], Init::Uniform { bound: 1.0 });
    (w * w).mean_all()
}

fn batch_norm(x: Tensor<'_>) -> Tensor<'_> {
    x.standardize(x.moments(0..3), 1e-3, x.number(1.0), x.number(0.0))
}

/// The kernels of a run.
pub fn kernels(quick: bool) -> Vec<Kernel> {
    let sizes = |family: &'static Family| &family.sizes[..if quick { 2 } else { family.sizes.len() }];
    FAMILIES.iter().flat_map(|family| sizes(family).iter().map(move |sizes| Kernel { family, sizes })).collect()
}

/// The steps of a run.
pub fn steps(quick: bool) -> Vec<Step> {
    let (networks, batches) = if quick { (&NETWORKS[..2], &BATCH[..1]) } else { (NETWORKS, BATCH) };
    let step = |&(model, sample)| batches.iter().map(move |&batch| Step { model, sample, batch });
    networks.iter().flat_map(step).collect()
}

/// Names the workloads of a run: results are compared only if they are the same.
pub fn name(quick: bool) -> String {
    let mut crc = Crc::new();
    kernels(quick).iter().map(Kernel::id).for_each(|id| crc.update(id.as_bytes()));
    steps(quick).iter().for_each(|step| crc.update(format!("{step:?}").as_bytes()));
    format!("{} {:08x}", if quick { "quick" } else { "full" }, crc.sum())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Precision;

    #[test]
    fn every_kernel_is_told_apart_and_is_no_mistake() {
        let mut seen = BTreeSet::new();
        for kernel in kernels(false) {
            assert!(seen.insert(kernel.id()), "{} is there twice", kernel.id());
            assert_eq!(kernel.family.axes.split('×').count(), kernel.sizes.len(), "{}", kernel.id());
            if let Make::Tensor(build) = kernel.family.make {
                let graph = Graph::new(Precision::F16);
                build(&graph, kernel.sizes);
                graph.check().unwrap();
            }
        }
        let quick: BTreeSet<String> = kernels(true).iter().map(Kernel::id).collect();
        assert!(quick.is_subset(&seen) && quick.len() == 2 * FAMILIES.len());
        assert_ne!(name(true), name(false));
    }
}
