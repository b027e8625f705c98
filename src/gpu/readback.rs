//! Reading from the device: a future, and its blocking twin.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::{channel::oneshot, future};

use super::device::Gpu;
#[cfg(not(target_arch = "wasm32"))]
use super::device::Shared;
use crate::{Error, Result};

type Finish<T> = Box<dyn FnOnce(&[&[u8]]) -> Result<T> + Send>;

/// Values on their way from the device: `.await` them, or [`wait`](Self::wait).
#[must_use = "nothing is read until it is awaited"]
pub struct Reading<T> {
    gpu: Gpu,
    stagings: Vec<Staging>,
    /// The submission that copies, for which nobody waits in a browser.
    #[cfg_attr(target_arch = "wasm32", expect(dead_code))]
    copied: wgpu::SubmissionIndex,
    mapped: future::TryJoinAll<oneshot::Receiver<Mapped>>,
    finish: Option<Finish<T>>,
    /// Tells how a thread's wait for the device ended, once this was polled.
    waited: Option<oneshot::Receiver<Result<()>>>,
}

type Mapped = Result<(), wgpu::BufferAsyncError>;

/// A buffer that the host reads, and how many bytes of it each range takes, one after another.
struct Staging {
    buffer: wgpu::Buffer,
    lengths: Vec<u64>,
}

impl<T> std::fmt::Debug for Reading<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Reading of {} bytes", self.stagings.iter().map(|s| s.buffer.size()).sum::<u64>())
    }
}

// The staging buffers are not pinned, and nothing in here refers to itself.
impl<T> Unpin for Reading<T> {}

impl<T> Reading<T> {
    /// Copies ranges of buffers behind all work submitted so far; `finish` gets their bytes, one after another.
    pub fn new(
        gpu: &Gpu,
        ranges: &[(&wgpu::Buffer, u64, u64)],
        finish: impl FnOnce(&[u8]) -> Result<T> + Send + 'static,
    ) -> Self {
        Self::of_each(gpu, ranges, move |parts| match parts {
            [one] => finish(one),
            parts => finish(&parts.concat()),
        })
    }

    /// As [`new`](Self::new), but `finish` gets the bytes of each range by themselves: together they may be more than the
    /// device allows a buffer.
    pub fn of_each(
        gpu: &Gpu,
        ranges: &[(&wgpu::Buffer, u64, u64)],
        finish: impl FnOnce(&[&[u8]]) -> Result<T> + Send + 'static,
    ) -> Self {
        let mut rest = ranges;
        let mut parts = vec![];
        while !rest.is_empty() {
            let mut sum = 0;
            let fits = |r: &&(&wgpu::Buffer, u64, u64)| {
                sum += r.2;
                sum <= gpu.caps().buffer_bytes
            };
            let (part, others) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            parts.push(part);
            rest = others;
        }
        let (stagings, mapped, copied) = gpu.guarded("reading back", || {
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            let made = parts.into_iter().map(|part| Staging::of(gpu, part, &mut encoder));
            let (stagings, mapped): (Vec<_>, Vec<_>) = made.unzip();
            (stagings, mapped, gpu.queue().submit([encoder.finish()]))
        });
        let mapped = future::try_join_all(mapped);
        Reading { gpu: gpu.clone(), stagings, copied, mapped, finish: Some(Box::new(finish)), waited: None }
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

    fn complete(&mut self, mapped: Option<Vec<Mapped>>) -> Result<T> {
        self.gpu.check()?;
        match mapped.map(|all| all.into_iter().collect::<Mapped>()) {
            Some(Ok(())) => {}
            Some(Err(e)) => self.gpu.shared.lost.lose(format!("reading back: {e}")),
            None => self.gpu.shared.lost.lose("lost before the values were there".into()),
        }
        self.gpu.check()?;
        let views: Result<Vec<_>, _> = self.stagings.iter().map(|s| s.buffer.get_mapped_range(..)).collect();
        let views = views.map_err(|e| Error::Device(e.to_string()))?;
        let mut parts = vec![];
        for (staging, view) in self.stagings.iter().zip(&views) {
            let mut bytes: &[u8] = view;
            let part = |&length: &u64| bytes.split_off(..length as usize).expect("all of it was copied");
            parts.extend(staging.lengths.iter().map(part));
        }
        let finish = self.finish.take().expect("a reading completes once");
        finish(&parts)
    }
}

impl Staging {
    /// A buffer that these ranges are copied to, and what tells when it can be read.
    fn of(
        gpu: &Gpu,
        ranges: &[(&wgpu::Buffer, u64, u64)],
        encoder: &mut wgpu::CommandEncoder,
    ) -> (Self, oneshot::Receiver<Mapped>) {
        let lengths: Vec<u64> = ranges.iter().map(|r| r.2).collect();
        let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: lengths.iter().sum(),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut at = 0;
        for (from, offset, bytes) in ranges {
            encoder.copy_buffer_to_buffer(from, *offset, &buffer, at, Some(*bytes));
            at += bytes;
        }
        let (send, mapped) = oneshot::channel();
        encoder.map_buffer_on_submit(&buffer, wgpu::MapMode::Read, .., move |r| {
            let _ = send.send(r);
        });
        (Staging { buffer, lengths }, mapped)
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
