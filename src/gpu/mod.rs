//! The device: adapters and devices, composition of WGSL, pipelines, replay, readback.

pub mod compose;
mod device;
mod lost;
mod pipeline;
mod place;
pub mod probe;
mod readback;
mod run;
mod settings;
mod slices;
mod stamps;
#[cfg(not(target_arch = "wasm32"))]
pub mod tune;
mod upload;

pub use device::{Choice, Gpu, adapters, caps, choose, title, wanted};
pub use pipeline::Pipeline;
pub use place::Place;
pub use readback::Reading;
pub use run::{Executable, buffer, loaded, stored};
pub use settings::Settings;
pub use slices::too_long;
pub use stamps::Stamps;
pub use upload::Uploads;
