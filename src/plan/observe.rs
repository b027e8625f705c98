//! What tensors hold in a step: zeros, overflow, magnitudes.

use super::Plan;
use crate::{
    Dtype,
    gpu::Reading,
    lower::{Part, WORDS},
};

/// What one tensor held in an observed step.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Observation {
    /// What the tensor is to the network.
    pub part: Part,
    /// The weight's name, or the ops and the layer that made it: `matmul+add+relu fc1`.
    pub name: String,
    /// Its type in memory.
    pub dtype: Dtype,
    /// How many values it has.
    pub values: u64,
    /// How many of them are 0.
    pub zeros: u64,
    /// How many are Inf or NaN.
    pub not_finite: u64,
    /// The largest finite magnitude; 0 if there is none.
    pub largest: f32,
    /// Finite magnitudes by their exponents: bin `b` counts those from `2^(2b − 40)` to below `2^(2b − 38)`; the first takes
    /// all that are smaller too, and the last all that are larger.
    pub exponents: [u64; 32],
}

impl Observation {
    /// The layer that it belongs to.
    pub fn layer(&self) -> &str {
        match self.part {
            Part::Weight | Part::Gradient => self.name.rsplit_once('.').map_or(&self.name, |(stem, _)| stem),
            Part::Activation | Part::Backward => self.name.split_once(' ').map_or("", |(_, layer)| layer),
        }
    }

    /// Adds what the same tensor held in another step.
    pub fn add(&mut self, other: &Observation) {
        self.values += other.values;
        self.zeros += other.zeros;
        self.not_finite += other.not_finite;
        self.largest = self.largest.max(other.largest);
        self.exponents.iter_mut().zip(other.exponents).for_each(|(count, more)| *count += more);
    }

    /// How many values are below `2^exponent`, an even number from -40 up, and not 0.
    pub fn below(&self, exponent: i32) -> u64 {
        self.exponents[..((exponent + 40) / 2).clamp(0, 32) as usize].iter().sum()
    }

    /// How many are subnormal in f16: below 2^-14, and not 0.
    pub fn subnormal(&self) -> u64 {
        self.below(-14)
    }

    /// How many f16 cannot tell from 0: below 2^-24, its smallest number, and not 0. None in a tensor of f16.
    pub fn underflowing(&self) -> u64 {
        self.below(-24)
    }

    /// How many f16 cannot hold: from 2^16 on, Inf or NaN.
    pub fn overflowing(&self) -> u64 {
        self.exponents[28..].iter().sum::<u64>() + self.not_finite
    }
}

impl Plan {
    /// One step as [`run`](Self::run) does it, in which every tensor is looked at behind the dispatch that makes it. The plan
    /// must have been made with [`Options::observe`](super::Options); a step like this takes longer than others.
    pub fn observe(&mut self) {
        if let Some(counts) = self.core.lowered.observer.counts {
            let clear = |encoder: &mut wgpu::CommandEncoder| encoder.clear_buffer(self.core.buffer(counts), 0, None);
            self.gpu().remember(self.core.submit(clear));
        }
        self.submit(true);
    }

    /// What the tensors held in the last step that was observed, in the order of the program, then weights and their
    /// gradients.
    pub fn observations(&self) -> Reading<Vec<Observation>> {
        let observer = self.core.lowered.observer.clone();
        let bytes = (4 * WORDS * observer.tensors.len()) as u64;
        let ranges: Vec<_> =
            observer.counts.filter(|_| bytes > 0).map(|c| (self.core.buffer(c), 0, bytes)).into_iter().collect();
        Reading::new(self.gpu(), &ranges, move |bytes| {
            let seen = observer.tensors.iter().zip(bytes.chunks_exact(4 * WORDS)).map(|(tensor, words)| {
                let word = |i: usize| u32::from_le_bytes([0, 1, 2, 3].map(|k| words[4 * i + k]));
                Observation {
                    part: tensor.part,
                    name: tensor.name.clone(),
                    dtype: tensor.dtype,
                    values: tensor.shape.len() as u64,
                    zeros: word(32).into(),
                    not_finite: word(33).into(),
                    largest: f32::from_bits(word(34)),
                    exponents: std::array::from_fn(|bin| word(bin).into()),
                }
            });
            Ok(seen.collect())
        })
    }
}
