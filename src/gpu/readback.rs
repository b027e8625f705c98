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

/// What is made of the bytes of each part.
type Finish<T> = Box<dyn FnOnce(&[&[u8]]) -> Result<T> + Send>;

/// Values on their way from the device: `.await` them, or [`wait`](Self::wait).
#[must_use = "nothing is read until it is awaited"]
pub struct Reading<T> {
    gpu: Gpu,
    /// As few as the largest buffer of the device allows: one, as a rule.
    parts: Vec<Part>,
    /// The submission that copies, for which nobody waits in a browser.
    #[cfg_attr(target_arch = "wasm32", expect(dead_code))]
    copied: wgpu::SubmissionIndex,
    finish: Option<Finish<T>>,
    /// Tells how a thread's wait for the device ended, once this was polled.
    waited: Option<oneshot::Receiver<Result<()>>>,
}

type Mapped = Result<(), wgpu::BufferAsyncError>;

/// A buffer that the host reads.
struct Part {
    staging: wgpu::Buffer,
    /// Tells when it can be read; nothing, once it could.
    mapped: Option<oneshot::Receiver<Mapped>>,
}

impl<T> std::fmt::Debug for Reading<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Reading of {} bytes", self.parts.iter().map(|part| part.staging.size()).sum::<u64>())
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
        let finish = move |parts: &[&[u8]]| match parts {
            [whole] => finish(whole),
            parts => finish(&parts.concat()),
        };
        Self::of_parts(gpu, ranges, Box::new(finish))
    }

    /// As [`new`](Self::new), but `finish` gets the bytes of each range by themselves: together they may be more than the
    /// device allows a buffer.
    pub fn of_each(
        gpu: &Gpu,
        ranges: &[(&wgpu::Buffer, u64, u64)],
        finish: impl FnOnce(&[&[u8]]) -> Result<T> + Send + 'static,
    ) -> Self {
        let lengths: Vec<u64> = ranges.iter().map(|r| r.2).collect();
        let finish = move |parts: &[&[u8]]| {
            let (mut parts, mut part) = (parts.iter(), &[][..]);
            let each = lengths.iter().map(|&length| {
                if part.is_empty() {
                    part = parts.next().copied().unwrap_or_default();
                }
                part.split_off(..length as usize).expect("all of it was copied")
            });
            finish(&each.collect::<Vec<_>>())
        };
        Self::of_parts(gpu, ranges, Box::new(finish))
    }

    fn of_parts(gpu: &Gpu, ranges: &[(&wgpu::Buffer, u64, u64)], finish: Finish<T>) -> Self {
        let (parts, copied) = gpu.guarded("reading back", || {
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            let (mut parts, mut rest) = (vec![], ranges);
            while !rest.is_empty() {
                let mut sum = 0;
                let fits = |r: &&(&wgpu::Buffer, u64, u64)| {
                    sum += r.2;
                    sum <= gpu.caps().buffer_bytes
                };
                let (part, others) = rest.split_at(rest.iter().take_while(fits).count().max(1));
                parts.push(Part::of(gpu, part, &mut encoder));
                rest = others;
            }
            (parts, gpu.queue().submit([encoder.finish()]))
        });
        Reading { gpu: gpu.clone(), parts, copied, finish: Some(finish), waited: None }
    }

    /// Waits for the values.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost, or what the values show to be wrong.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn wait(mut self) -> Result<T> {
        self.gpu.wait_for(Some(self.copied.clone()))?;
        for mapped in self.parts.iter_mut().filter_map(|part| part.mapped.take()) {
            // Another thread's wait may be about to run our callback; a lost device drops it.
            arrived(&self.gpu, pollster::block_on(mapped).ok())?;
        }
        self.complete()
    }

    /// What the values are, when all parts have arrived.
    fn complete(&mut self) -> Result<T> {
        let view = |part: &Part| part.staging.get_mapped_range(..).map_err(|e| Error::Device(e.to_string()));
        let finish = self.finish.take().expect("a reading completes once");
        if let [whole] = &self.parts[..] {
            return finish(&[&view(whole)?]);
        }
        let views = self.parts.iter().map(view).collect::<Result<Vec<_>>>()?;
        finish(&views.iter().map(|view| &view[..]).collect::<Vec<_>>())
    }
}

/// Fails if a part cannot be read, and remembers that the device is lost then.
fn arrived(gpu: &Gpu, mapped: Option<Mapped>) -> Result<()> {
    gpu.check()?;
    match mapped {
        Some(Ok(())) => {}
        Some(Err(e)) => gpu.shared.lost.lose(format!("reading back: {e}")),
        None => gpu.shared.lost.lose("lost before the values were there".into()),
    }
    gpu.check()
}

impl Part {
    /// A buffer that these ranges are copied to.
    fn of(gpu: &Gpu, ranges: &[(&wgpu::Buffer, u64, u64)], encoder: &mut wgpu::CommandEncoder) -> Self {
        let staging = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: ranges.iter().map(|r| r.2).sum(),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut at = 0;
        for (from, offset, bytes) in ranges {
            encoder.copy_buffer_to_buffer(from, *offset, &staging, at, Some(*bytes));
            at += bytes;
        }
        let (send, mapped) = oneshot::channel();
        encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, .., move |r| {
            let _ = send.send(r);
        });
        Part { staging, mapped: Some(mapped) }
    }
}

impl<T> Future for Reading<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<Self::Output> {
        let this = &mut *self;
        // On native nobody else drives the device: a thread waits for it and so wakes us. A browser does it itself.
        #[cfg(not(target_arch = "wasm32"))]
        if this.waited.is_none() {
            let (gpu, copied, (send, waited)) = (this.gpu.clone(), this.copied.clone(), oneshot::channel());
            std::thread::spawn(move || send.send(gpu.wait_for(Some(copied))));
            this.waited = Some(waited);
        }
        for part in &mut this.parts {
            let Some(mapped) = &mut part.mapped else { continue };
            if let Poll::Ready(mapped) = Pin::new(mapped).poll(cx) {
                part.mapped = None;
                if let Err(e) = arrived(&this.gpu, mapped.ok()) {
                    return Poll::Ready(Err(e));
                }
            }
        }
        if this.parts.iter().all(|part| part.mapped.is_none()) {
            return Poll::Ready(this.complete());
        }
        // A lost device may never call back.
        match this.waited.as_mut().map(|waited| Pin::new(waited).poll(cx)) {
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
