//! halfgrad

pub mod error;
pub mod precision;
pub mod shape;

pub use error::{Error, Result};
pub use precision::{Dtype, LossScale, Precision};
pub use shape::Shape;
