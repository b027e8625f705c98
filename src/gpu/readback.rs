//! Reading from the device: a future, and its blocking twin.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::channel::oneshot;

use super::device::Gpu;
#[cfg(not(target_arch = "wasm32"))]
use super::device::Shared;
use crate::{Error, Result};

type Finish<T> = Box<dyn FnOnce(&[u8]) -> Result<T> + Send>;

/// Values on their way from the device: `.await` them, or [`wait`](Self::wait).
#[must_use = "nothing is read until it is awaited"]
pub struct Reading<T> {
    gpu: Gpu,
    staging: wgpu::Buffer,
    /// The submission that copies, for which nobody waits in a browser.
    #[cfg_attr(target_arch = "wasm32", expect(dead_code))]
    copied: wgpu::SubmissionIndex,
    mapped: oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>,
    finish: Option<Finish<T>>,
    /// Tells how a thread's wait for the device ended, once this was polled.
    waited: Option<oneshot::Receiver<Result<()>>>,
}

impl<T> std::fmt::Debug for Reading<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Reading of {} bytes", self.staging.size())
    }
}

// The staging buffer is not pinned, and nothing in here refers to itself.
impl<T> Unpin for Reading<T> {}

impl<T> Reading<T> {
    /// Copies ranges of buffers behind all work submitted so far; `finish` gets their bytes, one after another.
    pub fn new(
        gpu: &Gpu,
        ranges: &[(&wgpu::Buffer, u64, u64)],
        finish: impl FnOnce(&[u8]) -> Result<T> + Send + 'static,
    ) -> Self {
        let (send, mapped) = oneshot::channel();
        let (staging, copied) = gpu.guarded("reading back", || {
            let staging = gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("readback"),
                size: ranges.iter().map(|r| r.2).sum(),
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            let mut at = 0;
            for (buffer, offset, bytes) in ranges {
                encoder.copy_buffer_to_buffer(buffer, *offset, &staging, at, Some(*bytes));
                at += bytes;
            }
            encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, .., move |r| {
                let _ = send.send(r);
            });
            let copied = gpu.queue().submit([encoder.finish()]);
            (staging, copied)
        });
        Reading { gpu: gpu.clone(), staging, copied, mapped, finish: Some(Box::new(finish)), waited: None }
    }

    /// Waits for the values.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost, or what the values show to be wrong.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn wait(mut self) -> Result<T> {
        self.gpu.wait_for(Some(self.copied.clone()))?;
        // Another thread's wait may be about to run our callback; a lost device drops it.
        let mapped = pollster::block_on(&mut self.mapped).ok();
        self.complete(mapped)
    }

    fn complete(&mut self, mapped: Option<Result<(), wgpu::BufferAsyncError>>) -> Result<T> {
        self.gpu.check()?;
        match mapped {
            Some(Ok(())) => {}
            Some(Err(e)) => self.gpu.shared.lost.lose(format!("reading back: {e}")),
            None => self.gpu.shared.lost.lose("lost before the values were there".into()),
        }
        self.gpu.check()?;
        let view = self.staging.get_mapped_range(..).map_err(|e| Error::Device(e.to_string()))?;
        let finish = self.finish.take().expect("a reading completes once");
        finish(&view)
    }
}

impl<T> Future for Reading<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<Self::Output> {
        // On native nobody else drives the device: a thread waits for it and so wakes us. A browser does it itself.
        #[cfg(not(target_arch = "wasm32"))]
        if self.waited.is_none() {
            let (gpu, copied, (send, waited)) = (self.gpu.clone(), self.copied.clone(), oneshot::channel());
            std::thread::spawn(move || send.send(gpu.wait_for(Some(copied))));
            self.waited = Some(waited);
        }
        if let Poll::Ready(mapped) = Pin::new(&mut self.mapped).poll(cx) {
            return Poll::Ready(self.complete(mapped.ok()));
        }
        // A lost device may never call back.
        match self.waited.as_mut().map(|waited| Pin::new(waited).poll(cx)) {
            Some(Poll::Ready(Ok(Err(e)))) => Poll::Ready(Err(e)),
            _ => Poll::Pending,
        }
    }
}

/// Waits until the device has done a submission, or everything submitted so far.
#[cfg(not(target_arch = "wasm32"))]
pub fn wait(shared: &Shared, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
    // wgpu panics if the driver loses the device while we wait for it; by then it has called back with the reason.
    let poll =
        || shared.device.poll(wgpu::PollType::Wait { submission_index: submission_index.clone(), timeout: None });
    let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll));
    shared.lost.check()?;
    match polled {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(e)) => Err(Error::Device(e.to_string())),
        Err(_) => Err(Error::Device("lost while it worked".into())),
    }
}
