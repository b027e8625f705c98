//! A run in a file: all that training goes on from, so that it does to the same bits.

#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;
use std::{collections::BTreeMap, mem::offset_of, sync::atomic::Ordering};

use super::{Clock, Plan};
#[cfg(not(target_arch = "wasm32"))]
use crate::file;
use crate::{
    Dtype, Error, Result, Shape,
    checkpoint::{Contents, TRAINING},
    dispatch::Operand,
    gpu::{Place, Reading},
    lower::{CLOCK_WORDS, FLAG_WORDS},
    weights::file_of,
};

/// A word of the clock: its name and value in a file, where it stands, and its bits.
struct Word {
    name: &'static str,
    value: String,
    offset: usize,
    bits: [u8; 4],
}

/// The words that a run carries from step to step; others follow from precision and options, or from the step itself.
macro_rules! carried {
    ($($word:ident)*) => {
        impl Clock {
            fn carried(&self) -> impl Iterator<Item = Word> {
                [$(Word {
                    name: stringify!($word),
                    value: self.$word.to_string(),
                    offset: offset_of!(Clock, $word),
                    bits: self.$word.to_le_bytes(),
                }),*].into_iter()
            }

            /// A clock of which these words are as the notes of a file say.
            fn noted(notes: &BTreeMap<String, String>) -> Result<Self> {
                let mut clock = Clock::default();
                $(
                    let value = note(notes, stringify!($word))?;
                    clock.$word = value.parse().map_err(|_| unreadable(stringify!($word), value))?;
                )*
                Ok(clock)
            }
        }
    };
}
carried!(step updates skipped seed learning_rate halted clean recording scheduled norm);

fn note<'n>(notes: &'n BTreeMap<String, String>, name: &str) -> Result<&'n str> {
    let found = notes.get(&format!("{TRAINING}{name}"));
    found.map(String::as_str).ok_or_else(|| Error::Checkpoint(format!("the note {TRAINING}{name} is missing")))
}

fn unreadable(name: &str, value: &str) -> Error {
    Error::Checkpoint(format!("the note {TRAINING}{name} is {value:?}, and no number"))
}

#[cfg(not(target_arch = "wasm32"))]
impl Plan {
    /// Writes all that training goes on from to a safetensors file, whole or not at all: weights and states, what the
    /// optimizer keeps of each weight, the average, the sums of an update that several runs make, the step, the loss scale.
    ///
    /// A plan that is made in the same way and then [`restore`](Self::restore)d goes on to the same bits. Inputs are no part
    /// of the file. [`Weights::load`](crate::Weights::load) reads its weights alone.
    ///
    /// ```
    /// use halfgrad::{Adam, Gpu, Graph, Plan, Precision, Weights, nn};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("run.safetensors");
    /// let (gpu, graph) = (Gpu::new()?, Graph::new(Precision::F16));
    /// let loss = nn::linear("fc", graph.input("x", [4, 8]), 3).square().mean_all();
    /// let make = |seed| Plan::train(&gpu, &Weights::init(&gpu, &graph, seed)?, loss, Adam::new(0.1));
    /// let go_on = |plan: &mut Plan, steps| {
    ///     plan.write("x", &[1.0; 32])?;
    ///     (0..steps).for_each(|_| plan.run());
    ///     plan.losses().wait()
    /// };
    /// let (mut whole, mut first, mut second) = (make(1)?, make(1)?, make(2)?);
    /// let losses = go_on(&mut whole, 5)?;
    /// go_on(&mut first, 3)?;
    /// first.save(&path)?;
    /// second.restore(&path)?; // in a program that is started again
    /// assert_eq!(go_on(&mut second, 2)?, losses[3..]);
    /// # Ok::<(), halfgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Device`] if the device cannot be read.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.save_with(path, &[])
    }

    /// As [`save`](Self::save), with notes in the file's metadata, beside its own.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_with(&self, path: impl AsRef<Path>, notes: &[(&str, &str)]) -> Result<()> {
        let bytes = self.to_bytes_with(notes).wait()?;
        file::write_atomically(path, |file| file.write_all(&bytes))
    }

    /// Puts the plan, and with it the weights that others may share, where the one stood that [`save`](Self::save) wrote the
    /// file of. Graph, optimizer and options must be alike; the seed is the file's. The adapter may be another.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read, is one of weights alone, or is of another network, optimizer or precision:
    /// then it names a tensor that is missing, unknown, or of another shape or type. Nothing has changed then.
    pub fn restore(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.restore_bytes(&file::read(path)?).map_err(|e| e.in_file(path))
    }
}

impl Plan {
    /// The bytes of the file that [`save`](Self::save) writes, for [`restore_bytes`](Self::restore_bytes).
    pub fn to_bytes(&self) -> Reading<Vec<u8>> {
        self.to_bytes_with(&[])
    }

    /// As [`to_bytes`](Self::to_bytes), with notes as [`save_with`](Self::save_with) has them.
    pub fn to_bytes_with(&self, notes: &[(&str, &str)]) -> Reading<Vec<u8>> {
        let (tensors, control) = (self.tensors(), self.core.lowered.control);
        let mut notes = self.core.weights.notes(notes);
        let words = |index, words: usize| (self.core.buffer(index), 0, 4 * words as u64);
        let control = [words(control.clock, CLOCK_WORDS), words(control.flags, FLAG_WORDS)];
        let ranges: Vec<_> = control.into_iter().chain(tensors.iter().map(|(_, place)| place.range())).collect();
        Reading::of_each(self.gpu(), &ranges, {
            let tensors = tensors.clone();
            move |read| {
                let clock: Clock = bytemuck::pod_read_unaligned(read[0]);
                let flags: [u32; FLAG_WORDS] = bytemuck::pod_read_unaligned(read[1]);
                let mut add = |name: &str, value| notes.push((format!("{TRAINING}{name}"), value));
                clock.carried().for_each(|word| add(word.name, word.value));
                add(FLAGS, flags.map(|flag| flag.to_string()).join(" "));
                file_of(&tensors, &read[2..], &notes)
            }
        })
    }

    /// [`restore`](Self::restore) from the bytes of such a file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for what is an [`Error::File`] of [`restore`](Self::restore).
    pub fn restore_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.gpu().check()?;
        let contents = Contents::of(bytes)?;
        let notes = &contents.metadata;
        if !notes.keys().any(|name| name.starts_with(TRAINING)) {
            let detail =
                "it holds weights alone, which Weights::load reads: training goes on from what Plan::save wrote";
            return Err(Error::Checkpoint(detail.into()));
        }
        let tensors = self.tensors();
        let found = self.found(&contents, &tensors).map_err(|e| match (e, notes.get("precision")) {
            (Error::Checkpoint(detail), Some(precision)) => {
                Error::Checkpoint(format!("{detail} (the file is of a run in {precision})"))
            }
            (other, _) => other,
        })?;
        let (clock, flags) = (Clock::noted(notes)?, note(notes, FLAGS)?);
        let words: Vec<u32> = flags.split(' ').filter_map(|word| word.parse().ok()).collect();
        if words.len() != FLAG_WORDS {
            return Err(unreadable(FLAGS, flags));
        }
        tensors.iter().zip(found).for_each(|((_, place), bytes)| place.fill(self.gpu(), bytes));
        clock.carried().for_each(|word| self.set(word.offset, &word.bits));
        let flags = self.core.buffer(self.core.lowered.control.flags);
        self.gpu().queue().write_buffer(flags, 0, bytemuck::cast_slice(&words));
        self.core.read.store(clock.step, Ordering::Relaxed);
        Ok(())
    }

    /// The bytes of each of these tensors in a file, which must be of their shapes and types.
    fn found<'b>(&self, contents: &Contents<'b>, tensors: &[(String, Place)]) -> Result<Vec<&'b [u8]>> {
        let expected = tensors.iter().map(|(name, place)| (&**name, place.shape));
        let found = contents.matched(expected, |_| false)?;
        let typed = tensors.iter().zip(found);
        typed.map(|((name, place), tensor)| tensor.bytes_of(place.dtype, name)).collect()
    }

    /// All tensors that the next step finds, but its inputs, by their names in a file.
    fn tensors(&self) -> Vec<(String, Place)> {
        let core = &*self.core;
        let own = |what: &str, weight: &str| format!("{TRAINING}{what}.{weight}");
        let place = |Operand { buffer, offset, shape, dtype }| Place {
            buffer: core.buffer(buffer).clone(),
            offset,
            shape,
            dtype,
        };
        let mut all = core.weights.tensors();
        // Copies do not follow from their masters: each device rounds in its own way, and simulation rounds by chance.
        all.extend(core.weights.masters().map(|(name, [_, copy])| (own("copy", name), copy)));
        for (name, [average, copy]) in core.averaged.iter().flat_map(|averaged| averaged.masters()) {
            all.extend([(own("average", name), average), (own("average_copy", name), copy)]);
        }
        all.extend(core.lowered.kept.iter().map(|kept| (own(kept.what, &kept.weight), place(kept.values))));
        all.extend(core.lowered.records.iter().map(|r| (own("changes", &r.weight), place(r.sums))));
        let control = core.lowered.control;
        let losses = Shape::from([self.program().buffers[control.losses].bytes as usize / 4]);
        let small = [
            ("loss_scale", control.scale, Shape::default(), self.precision.wide()),
            ("losses", control.losses, losses, Dtype::F32),
        ];
        all.extend(small.map(|(name, buffer, shape, dtype)| {
            (format!("{TRAINING}{name}"), place(Operand { buffer, offset: 0, shape, dtype }))
        }));
        all
    }
}

/// The name of the note on overflow in the runs of an update so far.
const FLAGS: &str = "flags";
