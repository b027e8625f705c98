//! halfgrad

pub mod arena;
pub mod caps;
#[cfg(feature = "reference")]
pub mod check;
pub mod checkpoint;
pub mod data;
pub mod dispatch;
pub mod error;
pub mod file;
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
pub mod precision;
mod random;
#[cfg(feature = "reference")]
pub mod reference;
pub mod shape;
pub mod study;
pub mod tensor;
pub mod weights;

pub use caps::Caps;
pub use error::{Error, Result};
pub use gpu::Gpu;
pub use graph::{Graph, Port};
pub use init::Init;
pub use optim::{Adam, AdamW, RmsProp, Sgd};
pub use plan::Plan;
pub use precision::{Dtype, LossScale, Precision};
pub use shape::Shape;
pub use tensor::Tensor;
pub use weights::Weights;
