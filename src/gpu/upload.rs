//! Values on their way to the device: a ring of staging buffers that are mapped again once the device has read them.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use super::{
    device::Gpu,
    run::{lies_alike, store},
};
use crate::{Dtype, Error, Result, Shape, dispatch::Program};

/// Bytes that a ring may take; it always has [`LEAST`] places.
const MOST: u64 = 64 << 20;
/// One is filled, one is copied, and one waits for a device that runs a step.
const LEAST: usize = 3;
/// Places that a ring may have however small they are, and so the steps that the host may be ahead. The shortest take
/// some 0.1 ms: the device has work for as long as a system may keep the host's thread waiting, and what is read soon
/// arrives.
const AHEAD: usize = 64;

/// What is written for the next step, and what is on its way for those that are under way.
#[derive(Debug)]
pub struct Uploads {
    /// Where each input lies in a place, by its buffer, and whether it was written since the last step.
    inputs: BTreeMap<usize, (Range<u64>, bool)>,
    /// Bytes of a place, which has room for all inputs.
    bytes: u64,
    filling: Option<Place>,
    /// What values become on their way to a place.
    scratch: Vec<u8>,
    /// The oldest first.
    sent: VecDeque<Place>,
}

/// A staging buffer.
#[derive(Debug)]
struct Place {
    buffer: wgpu::Buffer,
    /// Set by wgpu's callback, or when that is dropped.
    state: Arc<AtomicU8>,
    /// The submission that reads it, if it is known: an app may submit by itself.
    submission: Option<wgpu::SubmissionIndex>,
}

/// The device may still read it.
const AWAY: u8 = 0;
/// It is mapped and may be filled.
const MAPPED: u8 = 1;
/// It could not be mapped, or nobody submitted what was to read it.
const LOST: u8 = 2;

/// A place that is away: when this is dropped, the place is what became of it. An encoder that is never submitted drops
/// wgpu's callback uncalled, and a device that is lost may.
struct Away {
    state: Arc<AtomicU8>,
    end: u8,
}

impl Away {
    fn returns(mut self) {
        self.end = MAPPED;
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        self.state.store(self.end, Ordering::Release);
    }
}

impl Uploads {
    /// For these inputs of a program; nothing is allocated before the first write.
    pub fn new(program: &Program, inputs: impl IntoIterator<Item = usize>) -> Self {
        let mut end = 0;
        let place = |b: usize| {
            let start = end;
            end = (start + program.buffers[b].bytes).next_multiple_of(wgpu::MAP_ALIGNMENT);
            (b, (start..start + program.buffers[b].bytes, false))
        };
        let inputs = inputs.into_iter().map(place).collect();
        Uploads { inputs, bytes: end, filling: None, scratch: vec![], sent: VecDeque::new() }
    }

    /// Has an input hold these values from the next step on. A host that is far ahead of the device waits for it here.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn write(&mut self, gpu: &Gpu, input: usize, values: &[f32], shape: Shape, dtype: Dtype) -> Result<()> {
        if self.filling.is_none() {
            self.filling = Some(self.place(gpu)?);
        }
        let bytes = match dtype {
            Dtype::F32 if lies_alike(shape) => bytemuck::cast_slice(values),
            _ => {
                store(values, shape, dtype, &mut self.scratch);
                &self.scratch
            }
        };
        let place = self.filling.as_ref().expect("it was just set");
        let (range, written) = self.inputs.get_mut(&input).expect("an input of the program");
        let view = place.buffer.get_mapped_range_mut(range.clone());
        view.map_err(|e| Error::Device(e.to_string()))?.copy_from_slice(bytes);
        *written = true;
        Ok(())
    }

    /// Records copies of what was written since the last time to `targets`; whether there was any.
    pub fn record<'b>(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        targets: impl Fn(usize) -> &'b wgpu::Buffer,
    ) -> bool {
        let Some(place) = self.filling.take() else { return false };
        place.buffer.unmap();
        for (&input, (range, written)) in self.inputs.iter_mut().filter(|(_, (_, written))| *written) {
            encoder.copy_buffer_to_buffer(&place.buffer, range.start, targets(input), 0, Some(range.end - range.start));
            *written = false;
        }
        place.state.store(AWAY, Ordering::Release);
        let away = Away { state: place.state.clone(), end: LOST };
        encoder.map_buffer_on_submit(&place.buffer, wgpu::MapMode::Write, .., move |mapped| match mapped {
            Ok(()) => away.returns(),
            Err(_) => drop(away),
        });
        self.sent.push_back(place);
        true
    }

    /// Says by which submission what was recorded last has been read.
    pub fn submitted(&mut self, submission: wgpu::SubmissionIndex) {
        if let Some(last) = self.sent.back_mut() {
            last.submission.get_or_insert(submission);
        }
    }

    /// A place that is mapped: one that came back, or a new one while the ring may grow.
    fn place(&mut self, gpu: &Gpu) -> Result<Place> {
        if let Some(place) = self.returned() {
            return Ok(place);
        }
        #[cfg(not(target_arch = "wasm32"))]
        if self.sent.len() >= AHEAD || self.sent.len() >= LEAST && (self.sent.len() as u64 + 1) * self.bytes > MOST {
            let oldest = self.sent.front_mut().and_then(|place| place.submission.take());
            gpu.wait_for(oldest)?;
            if let Some(place) = self.returned() {
                return Ok(place);
            }
        }
        // In a browser, and where an app has not submitted what it recorded, the ring grows.
        let buffer = gpu.guarded("making room for inputs", || {
            gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("upload"),
                size: self.bytes,
                usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: true,
            })
        });
        gpu.check()?;
        Ok(Place { buffer, state: Arc::new(AtomicU8::new(MAPPED)), submission: None })
    }

    /// The first place that the device is done with.
    fn returned(&mut self) -> Option<Place> {
        self.sent.retain(|place| place.state.load(Ordering::Acquire) != LOST);
        let first = self.sent.iter().position(|place| place.state.load(Ordering::Acquire) == MAPPED)?;
        self.sent.remove(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dispatch::{Role, Source},
        gpu::buffer,
    };

    const SHAPE: [usize; 2] = [4, 64];

    /// A ring for one input, its target, and an encoder for each time that the input is written.
    struct Writing {
        gpu: Gpu,
        uploads: Uploads,
        target: wgpu::Buffer,
    }

    impl Writing {
        fn new() -> Self {
            let (gpu, mut program) = (Gpu::new().unwrap(), Program::default());
            let input = program.buffer("x", Role::Activations, Source::Plan, 1024);
            let target = pollster::block_on(buffer(&gpu, "x", 1024)).unwrap();
            Writing { gpu, uploads: Uploads::new(&program, [input]), target }
        }

        fn written(&mut self) -> wgpu::CommandEncoder {
            self.uploads.write(&self.gpu, 0, &[1.0; 256], SHAPE.into(), Dtype::F32).unwrap();
            let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
            assert!(self.uploads.record(&mut encoder, |_| &self.target));
            encoder
        }
    }

    #[test]
    fn encoders_that_are_dropped_keep_no_places() {
        let mut writing = Writing::new();
        for _ in 0..2 * AHEAD {
            drop(writing.written());
            assert_eq!(writing.uploads.sent.len(), 1, "the last, which the next write forgets");
        }
        // As one that is finished and not submitted.
        drop(writing.written().finish());
        drop(writing.written());
        assert_eq!(writing.uploads.sent.len(), 1);
    }

    #[test]
    fn a_host_is_only_so_many_steps_ahead_however_small_they_are() {
        let mut writing = Writing::new();
        let steps: Vec<_> = (0..AHEAD).map(|_| writing.written().finish()).collect();
        let submission = writing.gpu.queue().submit(steps);
        writing.uploads.submitted(submission);
        // Until wgpu is asked again, no place has returned, whether the device is done or not.
        assert_eq!(writing.uploads.sent.len(), AHEAD);
        for _ in 0..3 {
            let step = writing.written().finish();
            assert_eq!(writing.uploads.sent.len(), AHEAD);
            let submission = writing.gpu.queue().submit([step]);
            writing.uploads.submitted(submission);
        }
    }
}
