//! What becomes of a device: lost, or refusing what it was asked. Remembered, so that all that uses it says the same.

use std::sync::{Arc, Mutex};

use crate::{Error, Result};

/// Why a device is of no use any more, once that is so; shared by all that use the device.
#[derive(Debug, Clone, Default)]
pub struct Lost(Arc<Mutex<Option<String>>>);

/// Whether both are of one device.
impl PartialEq for Lost {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Lost {
    /// Listens to a device of ours. Without this, wgpu panics at what no error scope catches. An app listens to its own.
    pub fn of(device: &wgpu::Device) -> Self {
        let lost = Self::default();
        let (gone, refused) = (lost.clone(), lost.clone());
        device.set_device_lost_callback(move |reason, why| match why.is_empty() {
            true => gone.lose(format!("lost ({reason:?})")),
            false => gone.lose(format!("lost: {why}")),
        });
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| refused.lose(e.to_string())));
        lost
    }

    /// Remembers the first reason.
    pub fn lose(&self, why: String) {
        self.0.lock().expect("no panic while it is held").get_or_insert(why);
    }

    /// Fails if the device is known to be lost.
    pub fn check(&self) -> Result<()> {
        match &*self.0.lock().expect("no panic while it is held") {
            Some(why) => Err(Error::Device(why.clone())),
            None => Ok(()),
        }
    }
}
