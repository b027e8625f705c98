//! A precision for each layer: which layers of a network are f32 when the others are not.

use std::{fmt, str::FromStr};

use crate::{Dtype, Error, Precision, Result};

/// A precision, and the layers that are kept in f32 nevertheless.
///
/// A layer is what weights of one stem make, `fc1` for `fc1.weight`, with all that follows it up to the next layer; an input
/// is a layer of its own. Where layers of different types meet, values are cast.
///
/// As text it is the precision and the layers' names with colons between them, in which `*` stands for any text.
///
/// ```
/// use halfgrad::{Graph, Policy, Precision, nn};
/// let policy = Policy::from(Precision::F16).keep("fc2").keep("norm*");
/// assert_eq!(policy.to_string(), "f16+f32=fc2:norm*");
/// assert_eq!("f16+f32=fc2:norm*".parse(), Ok(policy));
///
/// let graph = Graph::new("f16+f32=fc2".parse::<Policy>()?);
/// nn::mlp(graph.input("x", [64, 10]), &[32], 10);
/// let types: Vec<String> = graph.weights().iter().map(|w| w.dtype().to_string()).collect();
/// assert_eq!(types, ["f16", "f16", "f32", "f32"]);
/// # Ok::<(), halfgrad::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Policy {
    /// The precision of all other layers.
    pub base: Precision,
    /// The layers in f32, by name; `*` stands for any text.
    pub kept: Vec<String>,
}

impl Policy {
    /// The same with one more layer, or all whose names match, in f32.
    pub fn keep(mut self, pattern: impl Into<String>) -> Self {
        self.kept.push(pattern.into());
        self
    }

    /// Whether a layer is in f32 though the base is not.
    pub fn keeps(&self, layer: &str) -> bool {
        self.base.storage != Dtype::F32 && self.kept.iter().any(|pattern| matches(pattern, layer))
    }

    /// The precision of a layer.
    pub fn of(&self, layer: &str) -> Precision {
        if self.keeps(layer) { self.base.in_f32() } else { self.base }
    }

    /// The precision of the layers whose weights are of this type.
    pub fn of_weights(&self, dtype: Dtype) -> Precision {
        if dtype == self.base.storage { self.base } else { self.base.in_f32() }
    }
}

impl From<Precision> for Policy {
    fn from(base: Precision) -> Self {
        Policy { base, kept: vec![] }
    }
}

impl From<&Policy> for Policy {
    fn from(policy: &Policy) -> Self {
        policy.clone()
    }
}

impl PartialEq<Precision> for Policy {
    fn eq(&self, other: &Precision) -> bool {
        self.kept.is_empty() && self.base == *other
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let kept = if self.kept.is_empty() { String::new() } else { format!("{KEPT}{}", self.kept.join(":")) };
        f.pad(&(self.base.to_string() + &kept))
    }
}

/// What stands before the layers' names.
const KEPT: &str = "+f32=";

impl FromStr for Policy {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let (base, kept) = s.split_once(KEPT).unwrap_or((s, ""));
        let kept: Vec<String> = kept.split(':').filter(|_| s.contains(KEPT)).map(str::to_owned).collect();
        match kept.iter().any(String::is_empty) {
            true => Err(Error::Parse(format!("{s:?} lacks the name of a layer behind {KEPT}: f16{KEPT}conv1:norm*"))),
            false => Ok(Policy { base: base.parse()?, kept }),
        }
    }
}

/// Whether `name` fits `pattern`, in which `*` stands for any text.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices().map(|(i, _)| i).chain([rest.len()]).any(|i| matches(tail, &rest[i..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_a_shell_would() {
        for (pattern, name, fits) in [
            ("fc1.*", "fc1.weight", true),
            ("fc1.*", "fc10.weight", false),
            ("*.bias", "a.b.bias", true),
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("fc1", "fc1.weight", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn a_layer_is_f32_or_as_the_others() {
        let policy: Policy = "mixed+scale=8+f32=conv1:block2.*".parse().unwrap();
        assert_eq!(policy.base, "mixed+scale=8".parse().unwrap());
        assert_eq!(policy.of("conv10"), policy.base);
        for layer in ["conv1", "block2.norm"] {
            let p = policy.of(layer);
            assert_eq!((p.storage, p.acc(), p.state(), p.wide()), (Dtype::F32, Dtype::F32, Dtype::F32, Dtype::F32));
            assert!(!p.master && p.rounding_of_state().is_none() && p.loss_scale == policy.base.loss_scale);
        }
        for wrong in ["f16+f32=", "f16+f32=a::b", "f17+f32=a"] {
            assert!(wrong.parse::<Policy>().is_err(), "{wrong}");
        }
    }
}
