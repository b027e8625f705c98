//! What is stored and computed in how many bits.

use std::{fmt, str::FromStr};

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
pub enum LossScale {
    /// The same factor at each step; 1 does nothing.
    Static(f32),
    /// Found while training: a step whose gradients overflow is skipped and lowers the factor.
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

    /// The factor at the first step.
    pub fn initial(self) -> f32 {
        match self {
            LossScale::Static(s) => s,
            LossScale::Dynamic { initial, .. } => initial,
        }
    }
}

/// In how many bits a network is stored, computed and updated. Four presets; every field may be set.
///
/// | | weights, activations, gradients | accumulators, statistics, loss | optimizer state | master weights |
/// |---|---|---|---|---|
/// | [`F32`](Self::F32) | f32 | f32 | f32 | – |
/// | [`F16`](Self::F16) | f16 | f32 registers | f16 | – |
/// | [`F16_STRICT`](Self::F16_STRICT) | f16 | f16 | f16 | – |
/// | [`MIXED`](Self::MIXED) | f16 | f32 registers | f32 | f32, dynamic loss scale |
///
/// `F16` is what the papers' code computes when it says "pure 16-bit" (arXiv 2301.12809, 2305.10947): sixteen
/// bits in memory, f32 in the registers of dot products, reductions and the loss.
///
/// ```
/// use halfgrad::Precision;
/// assert_eq!("f16-strict".parse(), Ok(Precision::F16_STRICT));
/// assert_eq!(Precision::MIXED.to_string(), "mixed");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Precision {
    /// The type of weights, activations and gradients in memory.
    pub storage: Dtype,
    /// Whether arithmetic and accumulators are in the storage type too.
    pub strict: bool,
    /// Whether the optimizer keeps f32 weights and moments beside the 16-bit weights.
    pub master: bool,
    /// The factor on the loss before the backward pass.
    pub loss_scale: LossScale,
}

impl Precision {
    /// Everything in f32.
    pub const F32: Self =
        Precision { storage: Dtype::F32, strict: false, master: false, loss_scale: LossScale::Static(1.0) };
    /// Sixteen bits in memory, f32 in registers.
    pub const F16: Self = Precision { storage: Dtype::F16, ..Self::F32 };
    /// Sixteen bits everywhere, accumulators included; needs `shader-f16`.
    pub const F16_STRICT: Self = Precision { strict: true, ..Self::F16 };
    /// `F16` with f32 master weights and optimizer state, and a dynamic loss scale.
    pub const MIXED: Self = Precision { master: true, loss_scale: LossScale::DYNAMIC, ..Self::F16 };

    /// The presets by name, in the order of the documentation.
    pub const PRESETS: [(&str, Self); 4] =
        [("f32", Self::F32), ("f16", Self::F16), ("f16-strict", Self::F16_STRICT), ("mixed", Self::MIXED)];

    /// The type of registers and accumulators.
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
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match Self::PRESETS.iter().find(|(_, p)| p == self) {
            Some((name, _)) => f.pad(name),
            None => write!(
                f,
                "{}{}{} with loss scale {:?}",
                self.storage,
                if self.strict { "-strict" } else { "" },
                if self.master { "+master" } else { "" },
                self.loss_scale
            ),
        }
    }
}

impl FromStr for Precision {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let named = Self::PRESETS.iter().find(|(name, _)| *name == s);
        named.map(|(_, p)| *p).ok_or_else(|| {
            let names: Vec<_> = Self::PRESETS.iter().map(|(name, _)| *name).collect();
            format!("no precision {s:?}: it is one of {}", names.join(", "))
        })
    }
}
