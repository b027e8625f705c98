//! What is stored and computed in how many bits.

use std::{fmt, num::NonZeroU32, str::FromStr};

use crate::{Error, Result};

/// The type of a tensor's values in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dtype {
    /// IEEE binary32.
    F32,
    /// IEEE binary16; where the adapter lacks `shader-f16`, two of them packed in a 32-bit word.
    F16,
    /// Unsigned integers: labels and indices.
    U32,
}

impl Dtype {
    /// Bytes a value.
    pub fn bytes(self) -> usize {
        match self {
            Dtype::F16 => 2,
            Dtype::F32 | Dtype::U32 => 4,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::U32 => "u32",
        })
    }
}

/// The factor on the loss that lifts small gradients into the range of f16 (arXiv 1710.03740, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum LossScale {
    /// The same factor at each step; 1 does nothing.
    Static(f32),
    /// The number of samples in a batch, which is the length of the first axis of the graph's first input: what goes back is
    /// the gradient of the sum of the samples' losses in the place of their mean, and the learning rate is divided by it.
    Batch,
    /// Found while training: a step whose gradients overflow is skipped and lowers the factor, down to 2^-14.
    Dynamic {
        /// The factor at the first step.
        initial: f32,
        /// What multiplies it after `interval` steps without overflow.
        growth: f32,
        /// What multiplies it after an overflow.
        backoff: f32,
        /// How many clean steps there are between two growths.
        interval: u32,
    },
}

impl LossScale {
    /// Start at 2^16, double after 2000 clean steps, halve on overflow.
    pub const DYNAMIC: Self = LossScale::Dynamic { initial: 65536.0, growth: 2.0, backoff: 0.5, interval: 2000 };

    /// The factor at the first step, with so many samples in a batch.
    pub fn initial(self, batch: usize) -> f32 {
        match self {
            LossScale::Static(s) => s,
            LossScale::Batch => batch as f32,
            LossScale::Dynamic { initial, .. } => initial,
        }
    }

    /// What is wrong with its numbers, if anything is.
    pub(crate) fn mistake(self) -> Option<&'static str> {
        let is_scale = |s: f32| s > 0.0 && s.is_finite();
        match self {
            LossScale::Static(s) | LossScale::Dynamic { initial: s, .. } if !is_scale(s) => {
                Some("a factor on the loss is above 0 and finite")
            }
            LossScale::Dynamic { growth, .. } if !(growth >= 1.0 && growth.is_finite()) => {
                Some("what it grows by is from 1, and finite")
            }
            LossScale::Dynamic { backoff, .. } if !(backoff > 0.0 && backoff < 1.0) => {
                Some("what an overflow takes it times is between 0 and 1")
            }
            LossScale::Dynamic { interval: 0, .. } => Some("it grows after 1 clean step at the soonest"),
            _ => None,
        }
    }
}

/// How the optimizer rounds what it stores in 16 bit. Where it keeps f32 it rounds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rounding {
    /// To the nearest number: a change of less than half a unit in the weight's last place is lost (arXiv 1710.03740).
    Nearest,
    /// Up or down, with the probabilities that make the mean exact (arXiv 1502.02551): small changes arrive on average.
    /// Moments are rounded so too. Random bits are a function of seed, step and place.
    Stochastic,
    /// To the nearest number, and what that takes from a weight is kept in 16 bits more and added to its next change
    /// (Kahan; arXiv 2010.06192).
    Compensated,
}

impl Rounding {
    /// Every rule by name.
    const NAMES: [(&str, Self); 3] =
        [("nearest", Self::Nearest), ("stochastic", Self::Stochastic), ("compensated", Self::Compensated)];
}

/// In which type the sums of matrix products, of convolutions and over axes are kept while they grow. Not those of losses,
/// of attention and of the statistics of normalisation.
///
/// In f16 each addition is f32's and is then rounded to f16, so that it can be done on every adapter; a product of two
/// halves is exact before that. Invocations that share a sum over an axis keep their parts so, and round where they join them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accumulate {
    /// f32.
    F32,
    /// f16.
    F16,
    /// f16 for so many additions, whose total is then added to a sum in f32 (arXiv 1812.08011). Matrix products take four
    /// terms at a time, and end a chunk with those.
    Chunks(NonZeroU32),
}

impl fmt::Display for Accumulate {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Accumulate::F32 => f.pad("f32"),
            Accumulate::F16 => f.pad("f16"),
            Accumulate::Chunks(n) => f.pad(&format!("chunk{n}")),
        }
    }
}

impl FromStr for Accumulate {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        match (s, s.strip_prefix("chunk").and_then(|n| n.parse().ok())) {
            ("f32", _) => Ok(Accumulate::F32),
            ("f16", _) => Ok(Accumulate::F16),
            (_, Some(n)) => Ok(Accumulate::Chunks(n)),
            _ => Err(Error::Parse(format!("{s:?} is not f32, f16 or chunkN, N from 1 on"))),
        }
    }
}

/// In how many bits a network is stored, computed and updated. Four presets; every field may be set.
///
/// | | weights, activations, gradients | registers, sums, statistics, loss | optimizer state | its rounding |
/// |---|---|---|---|---|
/// | [`F32`](Self::F32) | f32 | f32 | f32 | – |
/// | [`F16`](Self::F16) | f16 | f32 registers | f16 | stochastic |
/// | [`F16_STRICT`](Self::F16_STRICT) | f16 | f16 | f16 | nearest |
/// | [`MIXED`](Self::MIXED) | f16 | f32 registers | f32, with master weights, dynamic loss scale | – |
///
/// The papers' code, when it says "pure 16-bit" (arXiv 2301.12809, 2305.10947), computes as `F16` does, sixteen bits in
/// memory and f32 in the registers of dot products, reductions and the loss, but rounds weights to nearest:
/// `f16+nearest`.
///
/// As text a precision is a preset and what differs from it: `f16+compensated`, `f16+nearest+scale=1024`, `mixed+scale=1`,
/// `f16+dynamic`, `f16+scale=batch`, `f16+acc=f16`, `f16+acc=chunk32`.
///
/// ```
/// use halfgrad::{LossScale, Precision};
/// assert_eq!("f16-strict".parse(), Ok(Precision::F16_STRICT));
/// assert_eq!(Precision::MIXED.to_string(), "mixed");
/// let scaled = Precision { loss_scale: LossScale::Static(1024.0), ..Precision::F16 };
/// assert_eq!(scaled.to_string(), "f16+scale=1024");
/// assert_eq!("f16+scale=1024".parse(), Ok(scaled));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Precision {
    /// The type of weights, activations and gradients in memory.
    pub storage: Dtype,
    /// Whether arithmetic is in the storage type too.
    pub strict: bool,
    /// Whether the optimizer keeps f32 weights and moments beside the 16-bit weights.
    pub master: bool,
    /// The factor on the loss before the backward pass.
    pub loss_scale: LossScale,
    /// How the optimizer rounds what it stores in 16 bit.
    pub rounding: Rounding,
    /// In which type sums are kept while they grow.
    pub accumulate: Accumulate,
}

impl Precision {
    /// Everything in f32.
    pub const F32: Self = Precision {
        storage: Dtype::F32,
        strict: false,
        master: false,
        loss_scale: LossScale::Static(1.0),
        rounding: Rounding::Stochastic,
        accumulate: Accumulate::F32,
    };
    /// Sixteen bits in memory, f32 in registers.
    pub const F16: Self = Precision { storage: Dtype::F16, ..Self::F32 };
    /// Sixteen bits everywhere, accumulators included; needs `shader-f16`.
    pub const F16_STRICT: Self =
        Precision { strict: true, rounding: Rounding::Nearest, accumulate: Accumulate::F16, ..Self::F16 };
    /// `F16` with f32 master weights and optimizer state, and a dynamic loss scale.
    pub const MIXED: Self = Precision { master: true, loss_scale: LossScale::DYNAMIC, ..Self::F16 };

    /// The presets by name, in the order of the documentation.
    pub const PRESETS: [(&str, Self); 4] =
        [("f32", Self::F32), ("f16", Self::F16), ("f16-strict", Self::F16_STRICT), ("mixed", Self::MIXED)];

    /// The type of registers, and of accumulators unless [`accumulate`](Self::accumulate) says otherwise.
    pub fn acc(&self) -> Dtype {
        if self.strict { self.storage } else { Dtype::F32 }
    }

    /// The type in memory of what is kept in 32 bits unless everything is 16: losses and statistics.
    pub fn wide(&self) -> Dtype {
        self.acc()
    }

    /// The type in memory of the optimizer's moments and of the weights that it updates.
    pub fn state(&self) -> Dtype {
        if self.master { Dtype::F32 } else { self.storage }
    }

    /// Whether growing sums are rounded by integers, since registers are wider than they.
    pub fn rounds_sums(&self) -> bool {
        match self.accumulate {
            Accumulate::F32 => false,
            Accumulate::F16 => self.acc() != Dtype::F16,
            Accumulate::Chunks(_) => true,
        }
    }

    /// The same with everything in f32: what a layer is that a [`Policy`](crate::Policy) keeps.
    pub fn in_f32(self) -> Self {
        Precision { loss_scale: self.loss_scale, ..Self::F32 }
    }

    /// How the optimizer rounds its state, if that is 16 bit.
    pub fn rounding_of_state(&self) -> Option<Rounding> {
        (self.state() == Dtype::F16).then_some(self.rounding)
    }

    /// The preset that this one is made from: the one that stores and computes alike.
    fn preset(&self) -> (&'static str, Self) {
        let alike = |p: &&(&str, Self)| p.1.storage == self.storage && p.1.acc() == self.acc();
        let mut presets = Self::PRESETS.iter().filter(alike).copied();
        let first = presets.next().expect("one for each type of storage and of registers");
        [first].into_iter().chain(presets).find(|(_, p)| p.master == self.master).unwrap_or(first)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (name, preset) = self.preset();
        let mut text = name.to_owned();
        if self.master && !preset.master {
            text += "+master";
        }
        if self.rounding != preset.rounding {
            let name = Rounding::NAMES.iter().find(|(_, r)| *r == self.rounding).map_or("", |(name, _)| name);
            text += &format!("+{name}");
        }
        if self.loss_scale != preset.loss_scale {
            text += &match self.loss_scale {
                LossScale::Static(scale) => format!("+scale={scale}"),
                LossScale::Batch => "+scale=batch".to_owned(),
                LossScale::DYNAMIC => "+dynamic".to_owned(),
                LossScale::Dynamic { initial, growth, backoff, interval } => {
                    format!("+dynamic={initial}/{growth}/{backoff}/{interval}")
                }
            };
        }
        if self.accumulate != preset.accumulate {
            text += &format!("+acc={}", self.accumulate);
        }
        f.pad(&text)
    }
}

/// A dynamic loss scale: `65536/2/0.5/2000`.
fn dynamic(text: &str) -> Option<LossScale> {
    let [initial, growth, backoff, interval] = text.split('/').collect::<Vec<_>>()[..] else { return None };
    let [initial, growth, backoff] = [initial, growth, backoff].map(str::parse);
    Some(LossScale::Dynamic {
        initial: initial.ok()?,
        growth: growth.ok()?,
        backoff: backoff.ok()?,
        interval: interval.parse().ok()?,
    })
}

impl FromStr for Precision {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let mut parts = s.split('+');
        let name = parts.next().unwrap_or_default();
        let named = Self::PRESETS.iter().find(|(preset, _)| *preset == name);
        let mut precision = named.map(|(_, p)| *p).ok_or_else(|| {
            let names = Self::PRESETS.map(|(name, _)| name).join(", ");
            Error::Parse(format!("no precision {name:?}: it is one of {names}"))
        })?;
        for part in parts {
            if let Some((_, rounding)) = Rounding::NAMES.iter().find(|(name, _)| *name == part) {
                precision.rounding = *rounding;
            } else if let Some(scale) = part.strip_prefix("scale=").and_then(|s| s.parse().ok()).filter(|s| *s > 0.0) {
                precision.loss_scale = LossScale::Static(scale);
            } else if let Some(scale) = part.strip_prefix("dynamic=").and_then(dynamic) {
                precision.loss_scale = scale;
            } else if let Some(accumulate) = part.strip_prefix("acc=") {
                precision.accumulate = accumulate.parse().map_err(|e| Error::Parse(format!("acc= in {s:?}: {e}")))?;
            } else {
                precision = match part {
                    "scale=batch" => Precision { loss_scale: LossScale::Batch, ..precision },
                    "dynamic" => Precision { loss_scale: LossScale::DYNAMIC, ..precision },
                    "master" => Precision { master: true, ..precision },
                    _ => {
                        let what = "master, nearest, stochastic, compensated, dynamic, \
                                    dynamic=INITIAL/GROWTH/BACKOFF/INTERVAL, scale=NUMBER, scale=batch, \
                                    acc=f32, acc=f16 or acc=chunkN";
                        return Err(Error::Parse(format!("{part:?} in {s:?} is not {what}")));
                    }
                };
            }
        }
        Ok(precision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_read() {
        let scales = [
            LossScale::Static(1.0),
            LossScale::Static(512.0),
            LossScale::Batch,
            LossScale::DYNAMIC,
            LossScale::Dynamic { initial: 0.5, growth: 1.5, backoff: 0.25, interval: 7 },
        ];
        let chunks = Accumulate::Chunks(NonZeroU32::new(32).unwrap());
        for (_, preset) in Precision::PRESETS {
            for (master, loss_scale) in [false, true].into_iter().flat_map(|m| scales.map(|s| (m, s))) {
                for (_, rounding) in Rounding::NAMES {
                    for accumulate in [Accumulate::F32, Accumulate::F16, chunks] {
                        let precision = Precision { master, loss_scale, rounding, accumulate, ..preset };
                        assert_eq!(precision.to_string().parse(), Ok(precision), "{precision}");
                    }
                }
            }
        }
        assert_eq!("f32+master".parse::<Precision>().unwrap().to_string(), "f32+master");
    }
}
