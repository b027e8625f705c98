//! What a check found wrong, and where to look.

use std::fmt;

use crate::{Precision, Shape};

/// A value that is not what its definition says.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// The files in `shaders/` among which the wrong one is: what the wrong value comes from and no right one came from.
    pub files: Vec<&'static str>,
    /// What was tried: an op and the shapes of its operands, or an optimizer.
    pub case: String,
    /// The precision that it was tried in.
    pub precision: Precision,
    /// What was seen.
    pub cause: Cause,
}

/// What a [`Fault`] shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// Values differ from their reference.
    Value {
        /// What they are: `result 0`.
        what: String,
        /// Their tensor's shape.
        shape: Shape,
        /// The first wrong one.
        index: Vec<usize>,
        /// What it is.
        found: f32,
        /// What it should be.
        expected: f64,
        /// How far it may be from that.
        tolerance: f64,
        /// How many are wrong.
        wrong: usize,
    },
    /// Anything else, in words.
    Other(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Cause::Value { what, shape, index, found, expected, tolerance, wrong } => write!(
                f,
                "{what} {shape} at {index:?} is {found} instead of {expected:.7}, off by more than {tolerance:.2e}; \
                 {wrong} of {} values are wrong",
                shape.len()
            ),
            Cause::Other(detail) => f.write_str(detail),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let files: Vec<String> = self.files.iter().map(|file| format!("{file}.wgsl")).collect();
        write!(f, "{}: {} in {}: {}", files.join(" or "), self.case, self.precision, self.cause)
    }
}

impl std::error::Error for Fault {}

/// The first of the values that is further than `tolerance` from its reference, if any is.
pub(super) fn compare(what: String, shape: Shape, found: &[f32], expected: &[f64], tolerance: f64) -> Option<Cause> {
    let is_wrong = |(&f, &e): (&f32, &f64)| {
        let off = (f64::from(f) - e).abs();
        (off.is_nan() || off > tolerance) && !(f.is_nan() && e.is_nan())
    };
    let first = found.iter().zip(expected).position(is_wrong)?;
    let wrong = found.iter().zip(expected).filter(|pair| is_wrong(*pair)).count();
    let mut index = vec![0; shape.rank()];
    let mut flat = first;
    for (i, d) in index.iter_mut().zip(shape.dims()).rev() {
        (*i, flat) = (flat % d, flat / d);
    }
    Some(Cause::Value { what, shape, index, found: found[first], expected: expected[first], tolerance, wrong })
}
