//! What stands behind a flag: each value is checked where it is read.

use std::{fmt::Display, str::FromStr};

use clap::builder::{PossibleValuesParser, TypedValueParser, ValueParser};
use halfgrad::{
    Policy, Precision, Shape,
    data::{Augment, folder::OnBroken, text::Unit},
};

/// Values with commas between them.
#[derive(Debug, Clone)]
pub struct List<T>(pub Vec<T>);

impl<T: FromStr<Err: Display>> FromStr for List<T> {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let parts = s.split(',').map(|part| part.trim().parse().map_err(|e: T::Err| e.to_string()));
        parts.collect::<Result<_, _>>().map(List)
    }
}

/// What a user asks to train in.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// This.
    Policy(Policy),
    /// What [`halfgrad::Precision::AUTO`] finds.
    Auto,
}

impl Wanted {
    /// One precision for all layers, as experiments compare them.
    pub fn of_all_layers(&self) -> anyhow::Result<Precision> {
        match self {
            Wanted::Policy(Policy { base, kept }) if kept.is_empty() => Ok(*base),
            _ => anyhow::bail!("an experiment takes precisions of whole networks: no auto, and no layers in f32"),
        }
    }
}

impl FromStr for Wanted {
    type Err = halfgrad::Error;
    fn from_str(s: &str) -> halfgrad::Result<Self> {
        if s == "auto" { Ok(Wanted::Auto) } else { s.parse().map(Wanted::Policy) }
    }
}

/// The width of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Width(pub usize);

impl FromStr for Width {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        count(s).map(Width)
    }
}

/// A number of things, of which there is at least one.
pub fn count(s: &str) -> Result<usize, String> {
    let n = s.parse::<u32>().ok().filter(|&n| n > 0);
    n.map(|n| n as usize).ok_or_else(|| format!("{s:?} is no whole number from 1 to {}", u32::MAX))
}

/// Any whole number of 64 bits.
pub fn seed(s: &str) -> Result<u64, String> {
    s.parse().map_err(|_| format!("{s:?} is no whole number from 0 to {}", u64::MAX))
}

fn number(s: &str, fits: impl Fn(f32) -> bool, what: &str) -> Result<f32, String> {
    let x = s.parse::<f32>().ok().filter(|x| x.is_finite() && fits(*x));
    x.ok_or_else(|| format!("{s:?} is no {what}"))
}

/// A number above 0.
pub fn positive(s: &str) -> Result<f32, String> {
    number(s, |x| x > 0.0, "number above 0")
}

/// A number that is 0 or above.
pub fn not_negative(s: &str) -> Result<f32, String> {
    number(s, |x| x >= 0.0, "number from 0 up")
}

/// A number from 0 to below 1.
pub fn fraction(s: &str) -> Result<f32, String> {
    number(s, |x| (0.0..1.0).contains(&x), "number from 0 to below 1")
}

/// The shape of a sample, as its axes.
pub fn shape(s: &str) -> Result<Shape, String> {
    let axes: Vec<usize> = s.parse::<List<Width>>()?.0.iter().map(|axis| axis.0).collect();
    // One more axis is the batch.
    let shape = Shape::new(&axes).filter(|shape| shape.rank() < halfgrad::shape::MAX_RANK);
    shape.ok_or_else(|| format!("{s:?} has more axes or values than a sample can have"))
}

/// What a token of a text is.
pub fn unit(s: &str) -> Result<Unit, String> {
    match s {
        "characters" => Ok(Unit::Character),
        "bytes" => Ok(Unit::Byte),
        _ => Err(format!("{s:?} is neither characters nor bytes")),
    }
}

/// One of these names.
pub fn one_of(names: &'static [&'static str]) -> ValueParser {
    ValueParser::new(PossibleValuesParser::new(names).map(|name| name))
}

/// Height and width of an image, `48x64`, or one number for both.
pub fn size(s: &str) -> Result<[usize; 2], String> {
    let (height, width) = s.split_once(['x', '×']).unwrap_or((s, s));
    Ok([count(height)?, count(width)?])
}

/// What becomes of broken files.
pub fn on_broken(s: &str) -> Result<OnBroken, String> {
    match s {
        "stop" => Ok(OnBroken::Stop),
        "skip" => Ok(OnBroken::Skip),
        _ => Err("it is stop or skip".to_owned()),
    }
}

/// Changes with commas between them, without a seed of their own.
pub fn augment(s: &str) -> Result<Augment, String> {
    s.split(',').map(str::trim).try_fold(Augment::new(0), |augment, change| match change.split_once('=') {
        None if change == "flip" => Ok(augment.flip()),
        Some(("crop", pixels)) => Ok(augment.crop(count(pixels)?)),
        Some(("erase", pixels)) => Ok(augment.erase(count(pixels)?)),
        _ => Err(format!("{change:?} is none of flip, crop=N, erase=N")),
    })
}
