//! Floating-point formats of any width up to 32 bits, and rounding to them.

use std::{fmt, str::FromStr};

use crate::{Dtype, Error, Result};

/// What a format does with the exponent whose bits are all ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Top {
    /// Inf and NaN, as IEEE 754.
    Ieee,
    /// Numbers, but for the last code, which is NaN: `e4m3` of OCP (arXiv 2209.05433).
    OneNan,
    /// Numbers: the formats of 6 and 4 bits of OCP's microscaling.
    Numbers,
}

/// A binary floating-point format: a sign, an exponent, a mantissa, and subnormals.
///
/// Its name is `eXmY`, or that of a known format. `e4m3` is OCP's, which has no Inf; so are `e2m3`, `e3m2` and `e2m1`.
/// All others are as IEEE 754 asks. An overflow gives Inf where there is one and the largest number where there is none;
/// `-sat` behind the name makes it the largest number anywhere.
///
/// ```
/// use halfgrad::format::Format;
/// let e4m3: Format = "e4m3".parse().unwrap();
/// assert_eq!((e4m3.largest(), e4m3.nearest(19.0), e4m3.nearest(1e6)), (448.0, 20.0, 448.0));
/// assert_eq!("e5m2-sat".parse::<Format>().unwrap().nearest(1e6), 57344.0);
/// assert_eq!("e8m7".parse::<Format>().unwrap().to_string(), "bf16");
/// assert_eq!("e9m1".parse::<Format>().unwrap_err().to_string(), "no format \"e9m1\": f32, f16, bf16, or eXmY, X from 2 to 8, Y from 1 to 23");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Format {
    /// Bits of the exponent, from 2 to 8.
    pub exponent: u32,
    /// Bits of the mantissa, from 1 to 23.
    pub mantissa: u32,
    /// What the largest exponent means.
    pub top: Top,
    /// Whether an overflow gives the largest number.
    pub saturate: bool,
}

impl Format {
    /// IEEE binary32.
    pub const F32: Self = Self::ieee(8, 23);
    /// IEEE binary16.
    pub const F16: Self = Self::ieee(5, 10);
    /// The upper half of binary32.
    pub const BF16: Self = Self::ieee(8, 7);
    /// OCP's 8 bits for weights and activations: up to 448, no Inf.
    pub const E4M3: Self = Format { exponent: 4, mantissa: 3, top: Top::OneNan, saturate: true };
    /// OCP's 8 bits for gradients: up to 57344, and Inf.
    pub const E5M2: Self = Self::ieee(5, 2);

    const fn ieee(exponent: u32, mantissa: u32) -> Self {
        Format { exponent, mantissa, top: Top::Ieee, saturate: false }
    }

    /// Whether this type holds all its numbers.
    pub fn fits(&self, dtype: Dtype) -> bool {
        dtype != Dtype::F16 || (self.exponent <= Self::F16.exponent && self.mantissa <= Self::F16.mantissa)
    }

    /// The exponent of the smallest normal number.
    fn least_exponent(&self) -> i32 {
        2 - (1 << (self.exponent - 1))
    }

    /// The smallest normal number.
    pub fn least_normal(&self) -> f64 {
        power_of_two(self.least_exponent())
    }

    /// The smallest number above zero, and the distance of subnormals.
    pub fn least(&self) -> f64 {
        power_of_two(self.least_exponent() - self.mantissa as i32)
    }

    /// The largest finite number.
    pub fn largest(&self) -> f64 {
        let bias = (1 << (self.exponent - 1)) - 1;
        let step = power_of_two(-(self.mantissa as i32));
        let (exponent, missing) = match self.top {
            Top::Ieee => (bias, 1.0),
            Top::OneNan => (bias + 1, 2.0),
            Top::Numbers => (bias + 1, 1.0),
        };
        power_of_two(exponent) * (2.0 - missing * step)
    }

    /// The distance of the format's numbers at `x`, as if there were no largest one.
    pub fn ulp(&self, x: f64) -> f64 {
        let exponent = ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023;
        power_of_two(exponent.max(self.least_exponent()) - self.mantissa as i32)
    }

    /// What comes of a finite `x` too large, or of an infinite one.
    pub fn overflow(&self) -> f64 {
        match self.top {
            Top::Ieee if !self.saturate => f64::INFINITY,
            Top::OneNan if !self.saturate => f64::NAN,
            _ => self.largest(),
        }
    }

    /// The number of the format nearest to `x`; of two, the one whose last bit is 0.
    pub fn nearest(&self, x: f64) -> f64 {
        self.rounded(x, f64::round_ties_even)
    }

    /// The number of the format next to `x` towards zero; what is too large becomes the largest.
    pub fn toward_zero(&self, x: f64) -> f64 {
        if x.is_finite() { self.rounded(x.clamp(-self.largest(), self.largest()), f64::trunc) } else { self.nearest(x) }
    }

    fn rounded(&self, x: f64, round: fn(f64) -> f64) -> f64 {
        if x.is_nan() || x == 0.0 {
            return x;
        }
        let ulp = self.ulp(x);
        let y = if x.is_finite() { round(x / ulp) * ulp } else { x };
        if y.abs() > self.largest() { self.overflow().copysign(x) } else { y }
    }
}

/// How values are rounded to a format: `Format::E4M3.into()` is to nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quantization {
    /// The format.
    pub format: Format,
    /// Up or down by chance, so that the mean stays; else to nearest, ties to even.
    pub stochastic: bool,
}

impl Format {
    /// Quantization by chance: each neighbour the more often the nearer it is.
    pub fn stochastic(self) -> Quantization {
        Quantization { format: self, stochastic: true }
    }
}

impl From<Format> for Quantization {
    fn from(format: Format) -> Self {
        Quantization { format, stochastic: false }
    }
}

impl Quantization {
    /// The constants of `lib/format.wgsl`.
    pub fn constants(&self) -> [(&'static str, u32); 5] {
        let Quantization { format, stochastic } = *self;
        [
            ("EXPONENT", format.exponent),
            ("MANTISSA", format.mantissa),
            ("LARGEST", (format.largest() as f32).to_bits()),
            ("OVERFLOWED", (format.overflow() as f32).to_bits()),
            ("STOCHASTIC", stochastic.into()),
        ]
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let how = if self.stochastic { "+stochastic" } else { "" };
        f.pad(&format!("{}{how}", self.format))
    }
}

impl FromStr for Quantization {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        match s.split_once('+') {
            None => Ok(s.parse::<Format>()?.into()),
            Some((format, "stochastic")) => Ok(format.parse::<Format>()?.stochastic()),
            Some((format, how)) => Err(Error::Parse(format!("{how:?} behind {format} is not stochastic"))),
        }
    }
}

/// What of a network is rounded to another format when it is stored: [`Graph::simulate`](crate::Graph::simulate).
///
/// ```
/// use halfgrad::format::{Format, Simulation};
/// let fp8: Simulation = "weights=e4m3+stochastic,gradients=e5m2".parse().unwrap();
/// assert_eq!(fp8.weights, Some(Format::E4M3.stochastic()));
/// assert_eq!(fp8.activations, None);
/// assert_eq!(fp8.to_string(), "weights=e4m3+stochastic,gradients=e5m2");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Simulation {
    /// The trained weights, at first to nearest and then by the optimizer; masters are not, but what is copied of them is.
    pub weights: Option<Quantization>,
    /// Inputs, and what the forward pass stores.
    pub activations: Option<Quantization>,
    /// What the backward pass stores, times the loss scale.
    pub gradients: Option<Quantization>,
}

impl fmt::Display for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let parts = [("weights", self.weights), ("activations", self.activations), ("gradients", self.gradients)];
        let parts = parts.into_iter().filter_map(|(name, q)| Some(format!("{name}={}", q?)));
        f.pad(&parts.collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Simulation {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let mut simulation = Simulation::default();
        for part in s.split(',').map(str::trim) {
            let (name, quantization) = part.split_once('=').unwrap_or((part, ""));
            let place = match name {
                "weights" => &mut simulation.weights,
                "activations" => &mut simulation.activations,
                "gradients" => &mut simulation.gradients,
                _ => {
                    let detail = format!("{part:?} is not weights=, activations= or gradients= and a format");
                    return Err(Error::Parse(detail));
                }
            };
            *place = Some(quantization.parse()?);
        }
        Ok(simulation)
    }
}

fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

const NAMED: [(&str, Format); 3] = [("f32", Format::F32), ("f16", Format::F16), ("bf16", Format::BF16)];

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let same = |(_, n): &&(&str, Format)| Format { saturate: self.saturate, ..*n } == *self;
        let name = NAMED.iter().find(same).map(|(name, _)| (*name).to_owned());
        let name = name.unwrap_or_else(|| format!("e{}m{}", self.exponent, self.mantissa));
        let marked = self.saturate && self.top == Top::Ieee;
        f.pad(&(name + if marked { "-sat" } else { "" }))
    }
}

impl FromStr for Format {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let (name, saturate) = s.strip_suffix("-sat").map_or((s, false), |name| (name, true));
        let bits = || {
            let (exponent, mantissa) = name.strip_prefix('e')?.split_once('m')?;
            let (exponent, mantissa) = (exponent.parse().ok()?, mantissa.parse().ok()?);
            ((2..=8).contains(&exponent) && (1..=23).contains(&mantissa)).then_some((exponent, mantissa))
        };
        let named = NAMED.iter().find(|(n, _)| *n == name).map(|(_, f)| (f.exponent, f.mantissa));
        let (exponent, mantissa) = named.or_else(bits).ok_or_else(|| {
            Error::Parse(format!("no format {s:?}: f32, f16, bf16, or eXmY, X from 2 to 8, Y from 1 to 23"))
        })?;
        let top = match (exponent, mantissa) {
            (4, 3) => Top::OneNan,
            (2, 1 | 3) | (3, 2) => Top::Numbers,
            _ => Top::Ieee,
        };
        Ok(Format { exponent, mantissa, top, saturate: saturate || top != Top::Ieee })
    }
}
