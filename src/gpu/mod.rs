//! The only folder that says `wgpu`: adapters and devices, composition of WGSL, pipelines, replay, readback.

pub mod compose;
mod device;
mod pipeline;
pub mod probe;
mod readback;
mod run;
mod stamps;

pub use device::{Choice, Gpu, adapters, caps, choose, title};
pub use pipeline::Pipeline;
pub use readback::Reading;
pub use run::{Executable, buffer, loaded, stored};
pub use stamps::Stamps;
