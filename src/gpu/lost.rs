//! What becomes of a device: lost, or refusing what it was asked. Remembered, so that all that uses it says the same.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use super::device::Shared;
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

/// What wgpu finds wrong on this thread until these are popped. It would else tell the app, or panic.
pub struct Scopes([wgpu::ErrorScopeGuard; 3]);

impl Scopes {
    pub fn push(device: &wgpu::Device) -> Self {
        use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};
        Scopes([OutOfMemory, Internal, Validation].map(|filter| device.push_error_scope(filter)))
    }

    /// What was wrong: the cause, where there was no memory for what is invalid then.
    pub fn pop(self) -> impl Future<Output = Option<wgpu::Error>> {
        let [memory, internal, validation] = self.0;
        // At once and in this order: scopes are a stack of the thread's.
        let popped = [validation.pop(), internal.pop(), memory.pop()];
        async {
            let mut cause = None;
            for error in popped {
                cause = error.await.or(cause);
            }
            cause
        }
    }
}

impl Shared {
    /// Asks the device for something that it may refuse.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is too little for it; [`Error::Device`] for all else, which is remembered if the
    /// device is lost.
    pub async fn asked<T>(&self, doing: &str, ask: impl FnOnce() -> T) -> Result<T> {
        let scopes = Scopes::push(&self.device);
        let made = ask();
        match scopes.pop().await {
            None => Ok(made),
            Some(e) => Err(self.refused(doing, &e)),
        }
    }

    fn refused(&self, doing: &str, e: &wgpu::Error) -> Error {
        let error = match e {
            wgpu::Error::OutOfMemory { .. } => Error::Memory,
            _ => Error::Device,
        };
        self.failed(doing, e, error)
    }

    /// The error that it is if the device did not do something: that it is lost, which is remembered, or else `error`.
    pub fn failed(&self, doing: &str, why: impl fmt::Display, error: fn(String) -> Error) -> Error {
        #[cfg(not(target_arch = "wasm32"))]
        self.look_after();
        self.lost.check().err().unwrap_or_else(|| error(format!("{doing}: {why}")))
    }

    /// Remembers that the device is lost, if it is. wgpu says so to one callback, which may be the app's, and to nobody
    /// else: what a lost device makes is of no use, and no error.
    #[cfg(not(target_arch = "wasm32"))]
    fn look_after(&self) {
        let scopes = Scopes::push(&self.device);
        let made = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("alive"),
            size: 16,
            usage: wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: true,
        });
        let of_use = made.get_mapped_range(..).is_ok();
        if pollster::block_on(scopes.pop()).is_none() && !of_use {
            self.lost.lose("lost or destroyed".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gpu;

    #[test]
    fn what_a_device_refuses_is_an_error_of_that_call_alone() {
        let gpu = Gpu::new().unwrap();
        let source = || Box::from("why");
        let refused = |e| gpu.shared.refused("doing", &e);
        let memory = refused(wgpu::Error::OutOfMemory { source: source() });
        assert!(matches!(&memory, Error::Memory(why) if why.starts_with("doing: ")), "{memory:?}");
        let internal = refused(wgpu::Error::Internal { source: source(), description: "the compiler failed".into() });
        assert_eq!(internal, Error::Device("doing: the compiler failed".into()));
        let usage = wgpu::BufferUsages::COPY_DST;
        let unaligned = wgpu::BufferDescriptor { label: None, size: 6, usage, mapped_at_creation: true };
        let make = || gpu.guarded("making", || gpu.device().create_buffer(&unaligned)).map(drop);
        let wrong = make().unwrap_err();
        assert!(matches!(&wrong, Error::Device(why) if why.starts_with("making: ")), "{wrong:?}");
        assert_eq!((gpu.check(), gpu.wait()), (Ok(()), Ok(())));

        gpu.device().destroy();
        let lost = Error::Device("lost or destroyed".into());
        assert_eq!(make(), Ok(()), "wgpu is silent");
        assert_eq!(refused(wgpu::Error::OutOfMemory { source: source() }), lost);
        assert_eq!(gpu.check(), Err(lost));
    }
}
