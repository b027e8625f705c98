//! Train and run neural networks on whatever GPU is in front of you, in f32, f16 or mixed precision.
//!
//! A network is a function of [`Tensor`]s. It is written once and runs in each [`Precision`] on every adapter that
//! wgpu reaches: Vulkan, Metal, DX12, GL; with the feature `shader-f16` or, on halves packed in words, without.
//!
//! ```
//! use halfgrad::{Gpu, Graph, Plan, Precision, Sgd, Weights, data, nn};
//!
//! let gpu = Gpu::new()?;
//! let graph = Graph::new(Precision::F16);
//! let x = graph.input("x", [64, 8, 8, 1]);
//! let label = graph.labels("label", [64]);
//! let logits = nn::mlp(x, &[32], 10);
//! let loss = logits.cross_entropy(label);
//!
//! let weights = Weights::init(&gpu, &graph, 42)?;
//! let mut train = Plan::train(&gpu, &weights, loss, Sgd::new(0.05).momentum(0.9))?;
//! let mut infer = Plan::infer(&gpu, &weights, [logits])?; // the same weights, forward only
//!
//! let digits = data::digits();
//! for batch in digits.train.batches(64)?.shuffled(7) {
//!     train.write(x, &batch.images)?;
//!     train.write(label, &batch.labels)?;
//!     train.run();
//! }
//! assert!(infer.evaluate(x, logits, &digits.test)?.accuracy > 0.75); // one epoch
//! # Ok::<(), halfgrad::Error>(())
//! ```
//!
//! # What is done where
//!
//! | | |
//! |---|---|
//! | Leave layers as they are | [`Graph::freeze`] |
//! | Let the learning rate warm up and fall; set it | [`optim::Schedule`]; [`Plan::set_learning_rate`] |
//! | Other rates or weight decay for some weights | [`optim::Group`], in [`plan::Options::groups`] |
//! | Clip gradients, accumulate them, average the weights | [`plan::Options`] |
//! | A loss of my own | any tensor of one value: [`Tensor`] |
//! | Look at gradients or activations while training | [`Graph::grad`], [`Tensor::watch`], [`Plan::read`] |
//! | Images, text, my own samples; a validation set | [`data`]; [`data::Dataset::split`] |
//! | Loss and accuracy; answers | [`Plan::evaluate`]; [`Plan::predict`], [`Plan::predict_values`] |
//! | Keep weights; go on where training stopped | [`Weights::save`]; [`Plan::save`], [`Plan::restore`] |
//! | Train with batches of 64, answer one sample | [`Weights::for_graph`] |
//! | Begin with the weights of another network | [`Weights::fill_from`] |
//! | Fit into memory | [`plan::Options::memory`], [`plan::Options::accumulate`] |
//! | Where the time goes | [`Plan::profile`] |
//! | What 16 bit cannot hold, and what it does to my network | [`Plan::warnings`], [`Plan::observe`], [`Precision::AUTO`] |
//! | Keep layers in f32 | [`Policy`] |
//! | An op or an optimizer of my own | [`op::Op`]; [`optim::Update`] |
//! | Use a device that I have already | [`Gpu::from_wgpu`], [`gpu::wanted`], [`Plan::encode`], [`Plan::buffer`] |
//!
//! # Coming from PyTorch
//!
//! Images are `[n, h, w, c]`. Weights of a linear layer are `[in, out]` and those of a convolution `[kh, kw, in / groups, out]`, where
//! PyTorch has `[out, in]` and `[out, in / groups, kh, kw]`: transpose them before [`Weights::set`] or into the file that
//! [`Weights::fill_from`] reads. Names are the same, `fc1.weight`, `bn1.running_mean`, without `num_batches_tracked`; a norm's
//! `momentum` is the share of what is new there and here. A graph has its batch fixed, and `train()` and `eval()` are two plans that
//! share weights. There is no `zero_grad`: each run of a training plan is a whole step.
//!
//! # Threads
//!
//! [`Gpu`], [`Weights`], [`Plan`], [`Graph`] and [`Port`] can go to other threads, and the futures of what ends in `_async` to any of a
//! runtime's. [`Plan::run`] submits and returns; readings are futures, or wait. One thread at a time builds a graph or makes a plan of it.
//!
//! # Architecture
//!
//! ```text
//! user code ── nn · optim · data ──► graph ──► grad ──► lower (reach → algebra → fuse → slots) ──► Program
//!                                      └── ops: shape rule · gradient · lowering · f64 reference       │
//!                                                                         plan ◄── gpu (wgpu) ◄────────┘
//! ```
//!
//! * [`graph`] is an arena of nodes, built without `?`: the first mistake is kept and returned when a plan is made.
//! * `grad` writes the backward pass as further nodes.
//! * [`lower`] makes a [`dispatch::Program`]: plain data, printable, made and tested without a GPU.
//!   Values that are never needed together share a few buffers, a result takes the memory of an operand that ends there, and what
//!   must fit a number of bytes computes activations again ([`plan::Options::memory`]).
//! * [`gpu`] compiles and runs: one encoder, one pass, bind groups made once. [`gpu::Settings`] is what
//!   can be switched off, and what a plan may take of memory and time.
//! * [`plan::Plan`] is what a user holds: a Program on a device, with the ports to write and read. What it carries from
//!   step to step goes into a file and back ([`Plan::save`]), as [`Weights`] do; both are [`checkpoint`]s.
//! * `check`, with the feature `reference`, holds an op or an optimizer against f64 on a device, and all of them: the self-test.
//! * `variants`, with the feature `reference`, is the list of every shader that can be made of all this.
//! * [`ops`]: an elementwise op is a row of a table; an op with a kernel is a Rust and a WGSL file and one line.
//! * `bench` measures an adapter and how much of it each kernel uses; needs the feature `reference`.
//!
//! A test (`tests/layers.rs`) holds who may import whom.
//!
//! Weights, gradients and moments lie in arenas whose tensors start at multiples of 32 groups, which is WebGPU's alignment
//! of bindings: a kernel binds the range of a tensor and knows nothing of arenas ([`arena`]). What runs between the backward pass and
//! the next step binds whole arenas: the optimizers ([`optim`]), one dispatch for all weights that lie side by side, and what looks
//! for overflow, takes norms, and lets averages and states follow.
//!
//! # Errors
//!
//! Everything that can fail gives an [`Error`] that says what was wrong, where, and what to do. A plan is held against the
//! device's limits and [`gpu::Settings::memory`] before anything is allocated. [`Plan::run`] returns at once and cannot fail: a
//! device that is lost, or that refuses a command, is an [`Error::Device`] of whatever is read or made next, and of all that
//! comes after it.
//!
//! # Numbers
//!
//! Tensors are stored in groups of four, the last axis padded with zeros ([`shape`]). In [`Precision::F16`] each
//! dispatch computes in f32 registers and rounds once, when it stores: what is fused into it is not rounded between.
//! In [`Precision::F16_STRICT`] registers are f16 too, except inside exp, log, tanh, erf, sigmoid, softplus, gelu, silu
//! and pow, which are computed in f32 by `shaders/lib/math.wgsl` and rounded: native f16 tanh is up to 3072 ulp off.
//! Growing sums are f32 unless [`Precision::accumulate`] makes them f16 or chunks of f16, on any adapter, to see what that costs.
//! Weights and moments of 16 bit are rounded stochastically in [`Precision::F16`], so that changes smaller than half a unit in
//! the last place arrive on average ([`precision::Rounding`]); what became of them is recorded by weight ([`Plan::changes`]),
//! and what tensors hold is counted on the device in the steps that are observed ([`Plan::observe`]).
//! A [`Policy`] keeps layers in f32 beside others in 16 bit: their weights, activations, gradients and moments lie in chunks of
//! f32, and where a layer reads what another type of layer made, the graph casts it ([`Graph::apply_all`]).
//! [`Precision::AUTO`] finds the layers that need it, by a run in f32 that is observed and by trials.
//! Statistics of normalisation, and the running averages that are kept beside the weights ([`Graph::state`]), are f32
//! in all but strict 16 bit. Overflow, NaN and lost updates are found by bits of stored values, since compilers may
//! assume that they do not exist.
//!
//! WGSL leaves open how f32 is rounded to f16, and some GPUs do it toward zero, so that weights shrink and an overflow becomes
//! 65504: when a device is opened, a probe looks at what stores do. Where they are not to nearest even, without `shader-f16`, and
//! on drivers in software, halves are packed two in a word: the same arithmetic in f32 registers,
//! rounded to nearest even when stored, by integer code where the probe finds the driver's `pack2x16float` inexact. So results
//! differ from native f16 only where a driver's own conversions or fused multiply-adds do.
//!
//! What an adapter's arithmetic really does, [`Gpu::probe`] finds out ([`gpu::probe`]). What fewer bits than 16 would do,
//! [`Graph::simulate`] shows for a whole network, weights, activations and gradients each by themselves, and
//! [`Tensor::rounded_to`] for one tensor, in any [`format`](mod@format).
//!
//! The same seed on the same adapter gives the same bits: random numbers are functions of seed, step and place, sums
//! are ordered, and no float is added atomically. That holds for a run that is broken off and restored, too.

pub mod arena;
#[cfg(feature = "reference")]
pub mod bench;
pub mod caps;
#[cfg(feature = "reference")]
pub mod check;
pub mod checkpoint;
pub mod data;
pub mod dispatch;
pub mod error;
pub mod file;
pub mod format;
pub mod gpu;
mod grad;
pub mod graph;
pub mod init;
pub mod lower;
pub mod nn;
pub mod op;
pub mod ops;
pub mod optim;
pub mod plan;
pub mod policy;
pub mod precision;
mod random;
pub mod reference;
pub mod shape;
pub mod study;
pub mod tensor;
#[cfg(feature = "reference")]
pub mod variants;
pub mod weights;

pub use caps::Caps;
pub use error::{Error, Result};
pub use gpu::Gpu;
pub use graph::{Graph, Port};
pub use init::Init;
pub use optim::{Adam, AdamW, RmsProp, Sgd};
pub use plan::Plan;
pub use policy::Policy;
pub use precision::{Dtype, LossScale, Precision};
pub use shape::Shape;
pub use tensor::Tensor;
pub use weights::Weights;
pub use wgpu;
