//! The study that the crate is for: one network, trained in several precisions from the same weights on the same
//! batches, and what of its answers changes.
//!
//! ```no_run
//! use halfgrad::{Gpu, Precision, data, study::{self, Comparison, Model, Optimizer, Setup}};
//! let (gpu, digits) = (Gpu::new()?, data::digits());
//! let model = Model::named("mlp", &[128]).unwrap();
//! let setup = Setup::new(model, Optimizer::named("sgd", 0.05).unwrap(), 64, 690);
//! let run = |precision| study::train(&gpu, &digits, &setup, precision, 1, &mut |_| Ok(()));
//! let (f32, f16) = (run(Precision::F32)?, run(Precision::F16)?);
//! let difference = Comparison::of(&f32.logits, &f16.logits, digits.test.classes());
//! assert_eq!(difference.certified_flips, 0);
//! # Ok::<(), halfgrad::Error>(())
//! ```

#[cfg(not(target_arch = "wasm32"))]
mod auto;
#[cfg(not(target_arch = "wasm32"))]
pub mod doctor;
#[cfg(not(target_arch = "wasm32"))]
pub mod experiment;
mod networks;
#[cfg(not(target_arch = "wasm32"))]
mod noise;
mod optimizer;
mod outcome;
#[cfg(not(target_arch = "wasm32"))]
mod search;
mod setup;
#[cfg(not(target_arch = "wasm32"))]
mod sharpness;
pub mod statistics;
mod theorem;
#[cfg(not(target_arch = "wasm32"))]
mod train;

#[cfg(not(target_arch = "wasm32"))]
pub use auto::{Auto, Choice, Prescription, Trial};
#[cfg(not(target_arch = "wasm32"))]
pub use noise::{Noise, late_loss};
pub use optimizer::{FORMS, OPTIMIZERS, Optimizer, RATES, SCHEDULES};
pub use outcome::{DeviceBytes, Outcome, Sharpness, deviation, mean, median};
pub use setup::{Classifier, MODELS, Model, Network, Setup};
#[cfg(not(target_arch = "wasm32"))]
pub use sharpness::{PowerIteration, sharpness, sharpness_of};
pub use theorem::{Comparison, Sample};
#[cfg(not(target_arch = "wasm32"))]
pub use train::{Stand, evaluate, train};
