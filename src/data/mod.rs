//! Labelled images, and [`text`]: where they come from, and in which order a network sees them.
//!
//! Loaders give a [`Split`], whose pixels are already brought to mean 0 and deviation 1:
//!
//! ```
//! let digits = halfgrad::data::digits();
//! for batch in digits.train.batches(64)?.shuffled(7) {
//!     assert_eq!(batch.images.len(), 64 * 8 * 8);
//!     assert_eq!(batch.labels.len(), 64);
//! }
//! # Ok::<(), halfgrad::Error>(())
//! ```

mod batches;
mod dataset;
mod digits;
pub mod idx;
pub mod text;

pub use batches::{Batch, Batches, Epoch, IGNORE};
pub use dataset::{Dataset, Split};
pub use digits::{digits, digits_order};
pub use idx::fashion_mnist;
