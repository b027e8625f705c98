//! halfgrad

pub mod checkpoint;
pub mod data;
pub mod error;
pub mod file;
pub mod init;
pub mod precision;
mod random;
pub mod shape;

pub use error::{Error, Result};
pub use init::Init;
pub use precision::{Dtype, LossScale, Precision};
pub use shape::Shape;
