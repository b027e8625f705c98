//! Reading from the device: a future, and its blocking twin.

#[cfg(not(target_arch = "wasm32"))]
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    thread,
};
use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::channel::oneshot;
#[cfg(not(target_arch = "wasm32"))]
use futures::future::BoxFuture;

use super::device::Gpu;
#[cfg(not(target_arch = "wasm32"))]
use super::device::Shared;
use crate::{Error, Result};

/// A buffer, where a range of it starts, and how many bytes it has.
type Range<'b> = (&'b wgpu::Buffer, u64, u64);

/// What is made of the bytes of each part.
type Finish<T> = Box<dyn FnOnce(&[&[u8]]) -> Result<T> + Send>;

/// Bytes of a part, unless a range by itself is longer: drivers find room for several such more easily than for one of
/// a gigabyte.
const MOST: u64 = 64 << 20;

/// Values on their way from the device: `.await` them, or [`wait`](Self::wait).
///
/// Whoever waits runs the callbacks that are due on the device, as `wgpu::Device::poll` does, and so an app's own: where
/// one of them panics, so does the wait. An awaited reading has a thread of its own for that, where the values are put
/// together too.
#[must_use = "the copy is made at once, and its values are had by awaiting them"]
pub struct Reading<T> {
    /// What is on its way, until somebody gets it or a thread waits for it.
    copy: Option<Copied<T>>,
    #[cfg(not(target_arch = "wasm32"))]
    waited: Option<BoxFuture<'static, Result<T>>>,
}

/// What is on its way.
struct Copied<T> {
    gpu: Gpu,
    /// As few as will do, and the submission that copies to them, for which nobody waits in a browser; or why there are
    /// none.
    parts: Result<(Vec<Part>, wgpu::SubmissionIndex)>,
    finish: Finish<T>,
}

/// A buffer that the host reads.
struct Part {
    staging: wgpu::Buffer,
    /// Dropped when wgpu has mapped it, or never will.
    mapping: oneshot::Receiver<()>,
}

impl<T> std::fmt::Debug for Reading<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let parts = self.copy.iter().filter_map(|copy| copy.parts.as_ref().ok()).flat_map(|(parts, _)| parts);
        write!(f, "Reading of {} bytes", parts.map(|part| part.staging.size()).sum::<u64>())
    }
}

// The staging buffers are not pinned, and nothing in here refers to itself.
impl<T> Unpin for Reading<T> {}

impl<T: Send + 'static> Reading<T> {
    /// Copies ranges of buffers behind all work submitted so far; `finish` gets their bytes, one after another. The
    /// buffers have `COPY_SRC`, and ranges start and end at multiples of four: if not, waiting gives [`Error::Port`].
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

    fn of_parts(gpu: &Gpu, ranges: &[Range], finish: Finish<T>) -> Self {
        let copy = || {
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            let (mut parts, mut rest) = (vec![], ranges);
            while !rest.is_empty() {
                let mut sum = 0;
                let fits = |r: &&Range| {
                    sum += r.2;
                    sum <= gpu.caps().buffer_bytes.min(MOST)
                };
                let (part, others) = rest.split_at(rest.iter().take_while(fits).count().max(1));
                parts.push(Part::of(gpu, part, &mut encoder));
                rest = others;
            }
            (parts, gpu.queue().submit([encoder.finish()]))
        };
        let parts = readable(ranges).and_then(|()| gpu.guarded("reading back", copy));
        Reading {
            copy: Some(Copied { gpu: gpu.clone(), parts, finish }),
            #[cfg(not(target_arch = "wasm32"))]
            waited: None,
        }
    }

    /// Waits for the values.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost, [`Error::Memory`] if it had no room for a copy, or what the values show
    /// to be wrong.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn wait(mut self) -> Result<T> {
        match self.copy.take() {
            Some(copy) => copy.wait(),
            None => pollster::block_on(self),
        }
    }
}

/// Fails for what nothing can be copied from.
fn readable(ranges: &[Range]) -> Result<()> {
    let wrong = |(buffer, start, bytes): &&Range| {
        let aligned =
            start.is_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT) && bytes.is_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT);
        let within = start.checked_add(*bytes).is_some_and(|end| end <= buffer.size());
        !aligned || !within || !buffer.usage().contains(wgpu::BufferUsages::COPY_SRC)
    };
    let Some((buffer, start, bytes)) = ranges.iter().find(wrong) else { return Ok(()) };
    let (size, usage) = (buffer.size(), buffer.usage());
    Err(Error::Port(format!(
        "{bytes} bytes from {start} of a buffer of {size} bytes with {usage:?} cannot be read: they must start and end \
         at multiples of {} within it, and it must be made with COPY_SRC",
        wgpu::COPY_BUFFER_ALIGNMENT
    )))
}

impl<T> Copied<T> {
    #[cfg(not(target_arch = "wasm32"))]
    fn wait(mut self) -> Result<T> {
        if let Ok((parts, submission)) = &mut self.parts {
            self.gpu.wait_for(Some(submission.clone()))?;
            for part in parts {
                // Another thread's wait may be about to run our callback; a lost device drops it.
                let _ = pollster::block_on(&mut part.mapping);
            }
        }
        self.finish()
    }

    /// What the values are, when all parts have arrived.
    fn finish(self) -> Result<T> {
        let (parts, _) = self.parts?;
        self.gpu.check()?;
        let failed = |e| self.gpu.shared.failed("reading back", e, Error::Device);
        let view = |part: &Part| part.staging.get_mapped_range(..).map_err(failed);
        if let [whole] = &parts[..] {
            return (self.finish)(&[&view(whole)?]);
        }
        let views = parts.iter().map(view).collect::<Result<Vec<_>>>()?;
        (self.finish)(&views.iter().map(|view| &view[..]).collect::<Vec<_>>())
    }
}

impl Part {
    /// A buffer that these ranges are copied to.
    fn of(gpu: &Gpu, ranges: &[Range], encoder: &mut wgpu::CommandEncoder) -> Self {
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
        let (send, mapping) = oneshot::channel();
        // Whether it is mapped shows when it is read. An app's callback that panics keeps wgpu from calling ours.
        encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, .., move |_| drop(send));
        Part { staging, mapping }
    }
}

impl<T: Send + 'static> Future for Reading<T> {
    type Output = Result<T>;

    /// On native nobody else drives the device: a thread waits for it.
    #[cfg(not(target_arch = "wasm32"))]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<Self::Output> {
        if let Some(copy) = self.copy.take() {
            self.waited = Some(Box::pin(elsewhere(move || copy.wait())));
        }
        self.waited.as_mut().expect("there was a copy").as_mut().poll(cx)
    }

    /// A browser drives it by itself.
    #[cfg(target_arch = "wasm32")]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<Self::Output> {
        for part in self.copy.iter_mut().filter_map(|copy| copy.parts.as_mut().ok()).flat_map(|(parts, _)| parts) {
            if Pin::new(&mut part.mapping).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(self.copy.take().expect("a reading completes once").finish())
    }
}

/// Has a thread of its own do what takes a while: who awaits it is free meanwhile.
#[cfg(not(target_arch = "wasm32"))]
pub async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, done) = oneshot::channel();
    thread::spawn(move || send.send(catch_unwind(AssertUnwindSafe(work))));
    done.await.expect("the thread sends how it ends").unwrap_or_else(|panic| resume_unwind(panic))
}

/// Waits until the device has done a submission, or everything submitted so far, and runs the callbacks that are due.
///
/// wgpu keeps hold of a lock meanwhile, which `present` and `destroy` on other threads want. Waits of some milliseconds in turns would
/// let go of it, but where several threads wait, wgpu 30 panics at a wait that ends early and finds that another one has emptied
/// the queue (`maintain` in wgpu-core), and forgets the app's callbacks of that moment.
#[cfg(not(target_arch = "wasm32"))]
pub fn wait(shared: &Shared, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
    // The end of what there is now is one of our own: an app may go on submitting, and a device that it has destroyed refuses this,
    // where a wait alone ends as if all were well.
    let submission = match submission {
        Some(submission) => submission,
        None => pollster::block_on(shared.asked("waiting", || shared.queue.submit([])))?,
    };
    turns(shared, || {
        shared.device.poll(wgpu::PollType::Wait { submission_index: Some(submission.clone()), timeout: None })
    })
}

/// Polls until a turn does not end before the device has done what it waits for: on GL each ends after two seconds.
#[cfg(not(target_arch = "wasm32"))]
fn turns(shared: &Shared, mut poll: impl FnMut() -> Result<wgpu::PollStatus, wgpu::PollError>) -> Result<()> {
    // wgpu panics if the driver loses the device while we wait for it; other panics are those of an app's callbacks.
    let of_wgpu = |panic: &(dyn Any + Send)| {
        panic.downcast_ref::<String>().is_some_and(|text| text.starts_with("Error in Device::poll"))
    };
    loop {
        match catch_unwind(AssertUnwindSafe(&mut poll)) {
            Ok(Ok(_)) => return shared.lost.check(),
            Ok(Err(wgpu::PollError::Timeout)) => shared.lost.check()?,
            // A lost device has taken no submission.
            Ok(Err(e)) => return Err(shared.failed("waiting", e, Error::Device)),
            Err(panic) if of_wgpu(&*panic) => {
                shared.lost.lose("lost while it worked".into());
                return shared.lost.check();
            }
            Err(panic) => resume_unwind(panic),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    #[test]
    fn turns_go_on_until_the_device_is_done_or_lost() {
        let gpu = Gpu::new().unwrap();
        let mut left = 3;
        let done = turns(&gpu.shared, || match left {
            0 => Ok(wgpu::PollStatus::WaitSucceeded),
            _ => {
                left -= 1;
                Err(wgpu::PollError::Timeout)
            }
        });
        assert_eq!((done, left), (Ok(()), 0));
        let wrong = turns(&gpu.shared, || Err(wgpu::PollError::WrongSubmissionIndex(2, 1)));
        assert!(matches!(&wrong, Err(Error::Device(why)) if why.starts_with("waiting: ")), "{wrong:?}");
        let own = catch_unwind(AssertUnwindSafe(|| turns(&gpu.shared, || panic_any("the app's own"))));
        assert_eq!(own.unwrap_err().downcast_ref::<&str>(), Some(&"the app's own"));
        assert_eq!(gpu.check(), Ok(()));
        let of_wgpu = turns(&gpu.shared, || panic_any("Error in Device::poll: it is lost".to_owned()));
        assert_eq!((of_wgpu, gpu.check().is_err()), (Err(Error::Device("lost while it worked".into())), true));
    }
}
