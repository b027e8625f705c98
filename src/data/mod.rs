//! Labelled images, and [`text`]: where they come from, and in which order a network sees them.
//!
//! Loaders give a [`Split`], whose pixels are already brought to mean 0 and deviation 1: [`digits`], which come with the crate,
//! [`fashion_mnist`] and other files of [`idx`], [`cifar`], and with the feature `images` folders of images (`ImageFolder`). Pixels stay bytes
//! until a batch needs them.
//!
//! ```
//! use halfgrad::data::{Augment, digits};
//! let digits = digits();
//! let batches = digits.train.batches(64)?.shuffled(7).augmented(Augment::new(7).crop(1))?;
//! for epoch in 0..2 {
//!     for batch in batches.epoch(epoch).prefetched() {
//!         assert_eq!((batch.images.len(), batch.labels.len()), (64 * 8 * 8, 64));
//!     }
//! }
//! # Ok::<(), halfgrad::Error>(())
//! ```

mod augment;
mod batches;
pub mod cifar;
mod dataset;
mod digits;
#[cfg(feature = "images")]
pub mod folder;
pub mod idx;
mod mnist1d;
mod padded;
#[cfg(not(target_arch = "wasm32"))]
mod prefetch;
pub mod text;

pub use augment::Augment;
pub use batches::{Batch, Batches, Epoch, IGNORE};
pub use dataset::{Dataset, Split};
pub use digits::{digits, digits_order};
#[cfg(feature = "images")]
pub use folder::ImageFolder;
pub use idx::fashion_mnist;
pub use mnist1d::mnist1d;
#[cfg(not(target_arch = "wasm32"))]
pub use prefetch::Prefetched;
