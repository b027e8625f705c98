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

/// How large a ring may grow before the host waits. In a browser nobody can.
#[cfg(not(target_arch = "wasm32"))]
mod bounds {
    /// Bytes that a ring may take; it always has [`LEAST`] places.
    pub const MOST: u64 = 64 << 20;
    /// One is filled, one is copied, and one waits for a device that runs a step.
    pub const LEAST: usize = 3;
    /// Places that a ring may have however small they are, and so the steps that the host may be ahead. The shortest take
    /// some 0.1 ms: the device has work for as long as a system may keep the host's thread waiting, and what is read soon
    /// arrives.
    pub const AHEAD: usize = 64;
}
#[cfg(not(target_arch = "wasm32"))]
use bounds::{AHEAD, LEAST, MOST};

/// What is written for the next step, and what is on its way for those that are under way.
#[derive(Debug)]
pub struct Uploads {
    /// Each input, by its buffer.
    inputs: BTreeMap<usize, Input>,
    /// Bytes of the parts of a place, which has room for all inputs: as few as the device allows.
    parts: Vec<u64>,
    filling: Option<Place>,
    /// What values become on their way to a place.
    scratch: Vec<u8>,
    /// The oldest first.
    sent: VecDeque<Place>,
}

#[derive(Debug)]
struct Input {
    /// Where it lies in a place: in which part, and which bytes of that.
    part: usize,
    range: Range<u64>,
    /// Whether it was written since the last step.
    written: bool,
}

/// Room for what is written for a step.
#[derive(Debug)]
struct Place {
    parts: Vec<Part>,
    /// The submission that reads it, if it is known: an app may submit by itself.
    submission: Option<wgpu::SubmissionIndex>,
}

/// A staging buffer.
#[derive(Debug)]
struct Part {
    buffer: wgpu::Buffer,
    /// Set by wgpu's callback, or when that is dropped.
    state: Arc<AtomicU8>,
}

impl Place {
    fn any(&self, state: u8) -> bool {
        self.parts.iter().any(|part| part.state.load(Ordering::Acquire) == state)
    }
}

/// The device may still read it.
const AWAY: u8 = 0;
/// It is mapped and may be filled.
const MAPPED: u8 = 1;
/// It could not be mapped, or nobody submitted what was to read it.
const LOST: u8 = 2;

/// A part that is away: when this is dropped, the part is what became of it. An encoder that is never submitted drops
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
    /// For these inputs of a program on a device that allows buffers of `most` bytes; nothing is allocated before the
    /// first write.
    pub fn new(program: &Program, inputs: impl IntoIterator<Item = usize>, most: u64) -> Self {
        let mut parts = vec![0];
        let place = |b: usize| {
            let bytes = program.buffers[b].bytes;
            let end = parts.last_mut().expect("there is one");
            if *end > 0 && *end + bytes > most {
                parts.push(0);
            }
            let (part, end) = (parts.len() - 1, parts.last_mut().expect("there is one"));
            let range = *end..*end + bytes;
            *end = range.end.next_multiple_of(wgpu::MAP_ALIGNMENT);
            (b, Input { part, range, written: false })
        };
        let inputs = inputs.into_iter().map(place).collect();
        Uploads { inputs, parts, filling: None, scratch: vec![], sent: VecDeque::new() }
    }

    /// Has an input hold these values from the next step on. A host that is far ahead of the device waits for it here.
    ///
    /// # Errors
    /// [`Error::Memory`] and [`Error::Device`].
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
        let input = self.inputs.get_mut(&input).expect("an input of the program");
        let view = place.parts[input.part].buffer.get_mapped_range_mut(input.range.clone());
        let failed = |e| gpu.shared.failed("writing an input", e, Error::Device);
        view.map_err(failed)?.copy_from_slice(bytes);
        input.written = true;
        Ok(())
    }

    /// Whether something was written since the last time that it was recorded.
    pub fn is_written(&self) -> bool {
        self.filling.is_some()
    }

    /// Records copies of what was written since the last time to `targets`. The device may refuse that: it is for a guard.
    pub fn record<'b>(&mut self, encoder: &mut wgpu::CommandEncoder, targets: impl Fn(usize) -> &'b wgpu::Buffer) {
        let Some(place) = self.filling.take() else { return };
        place.parts.iter().for_each(|part| part.buffer.unmap());
        for (&number, input) in self.inputs.iter_mut().filter(|(_, input)| input.written) {
            let (from, Range { start, end }) = (&place.parts[input.part].buffer, input.range.clone());
            encoder.copy_buffer_to_buffer(from, start, targets(number), 0, Some(end - start));
            input.written = false;
        }
        for Part { buffer, state } in &place.parts {
            state.store(AWAY, Ordering::Release);
            let away = Away { state: state.clone(), end: LOST };
            encoder.map_buffer_on_submit(buffer, wgpu::MapMode::Write, .., move |mapped| match mapped {
                Ok(()) => away.returns(),
                Err(_) => drop(away),
            });
        }
        self.sent.push_back(place);
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
        if self.sent.len() >= AHEAD
            || self.sent.len() >= LEAST && (self.sent.len() as u64 + 1) * self.parts.iter().sum::<u64>() > MOST
        {
            let oldest = self.sent.front_mut().and_then(|place| place.submission.take());
            gpu.wait_for(oldest)?;
            if let Some(place) = self.returned() {
                return Ok(place);
            }
        }
        // In a browser, and where an app has not submitted what it recorded, the ring grows.
        let part = |&size: &u64| Part {
            buffer: gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("upload"),
                size,
                usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: true,
            }),
            state: Arc::new(AtomicU8::new(MAPPED)),
        };
        let parts = gpu.guarded("making room for inputs", || self.parts.iter().map(part).collect())?;
        gpu.check()?;
        Ok(Place { parts, submission: None })
    }

    /// The first place that the device is done with.
    fn returned(&mut self) -> Option<Place> {
        self.sent.retain(|place| !place.any(LOST));
        let first = self.sent.iter().position(|place| !place.any(AWAY))?;
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
            Writing { gpu, uploads: Uploads::new(&program, [input], 1024), target }
        }

        fn written(&mut self) -> wgpu::CommandEncoder {
            self.uploads.write(&self.gpu, 0, &[1.0; 256], SHAPE.into(), Dtype::F32).unwrap();
            let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
            self.uploads.record(&mut encoder, |_| &self.target);
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
