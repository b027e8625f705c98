//! Formats that no adapter need have, simulated: each tensor is rounded where it lies, behind the dispatch that stores it.
//!
//! Rounded is what a network of 16 bit stores in 16 bit. Losses and statistics, which it keeps in f32, are not. What is fused
//! is not rounded between, as it is not in [`Precision::F16`] either; a value of the format, as a copy hands it on, stays.

use std::collections::{BTreeMap, BTreeSet};

use super::{Control, Part, Request, clock, nodes::Lowering, reach::Reached};
use crate::{
    Dtype, Error, Precision, Result,
    dispatch::{Dispatch, Operand, Shader},
    format::{Quantization, Simulation},
    graph::{MOST_RESULTS, Origin, Value},
    op::{Kind, Type},
};

/// Random numbers of these roundings are of streams from here on.
const STREAM: usize = 1 << 29;

/// Fails if a format has numbers that the storage type has not.
pub fn check(request: &Request) -> Result<()> {
    let (Simulation { weights, activations, gradients }, storage) =
        (request.graph.simulation(), request.graph.precision().storage);
    let wider = [weights, activations, gradients].into_iter().flatten().find(|q| !q.format.fits(storage));
    wider.map_or(Ok(()), |q| {
        let detail = format!("{storage}, in which this network is stored, does not hold all its numbers; f32 does");
        Err(Error::name(q.format.to_string(), detail))
    })
}

/// The values that a network of 16 bit keeps in f32: the types that its ops would infer there. What mixes both kinds goes on
/// in 16 bit, since such a network casts it.
pub fn wide(reached: &Reached) -> BTreeSet<Value> {
    let mut types: BTreeMap<Value, Dtype> = BTreeMap::new();
    for (&n, node) in &reached.nodes {
        let of = |v: &Value| reached.nodes[&v.node].outputs[v.output];
        let x: Vec<Type> = node.inputs.iter().map(|v| Type { dtype: types[v], ..of(v) }).collect();
        let narrow = |dtype| if dtype == Dtype::U32 { dtype } else { Dtype::F16 };
        let inferred: Vec<Dtype> = match (&node.origin, reached.kind(n)) {
            (Origin::State(_) | Origin::LossScale, _) => vec![Dtype::F32],
            (Origin::Op(_), Kind::View) => vec![x[0].dtype],
            (Origin::Op(_), Kind::Map(_)) => {
                let wide = !x.is_empty() && x.iter().all(|t| t.dtype == Dtype::F32);
                vec![if wide { Dtype::F32 } else { Dtype::F16 }]
            }
            (Origin::Op(op), _) => match op.infer(&x, Precision::F16) {
                Ok(types) => types.iter().map(|t| t.dtype).collect(),
                Err(_) => node.outputs.iter().map(|t| narrow(t.dtype)).collect(),
            },
            _ => node.outputs.iter().map(|t| narrow(t.dtype)).collect(),
        };
        types.extend(inferred.into_iter().enumerate().map(|(output, dtype)| (Value { node: n, output }, dtype)));
    }
    types.into_iter().filter(|(_, dtype)| *dtype == Dtype::F32).map(|(value, _)| value).collect()
}

impl Lowering<'_> {
    /// Rounds a value that was just stored, if its kind is rounded.
    pub fn simulate(&mut self, value: Value, x: Operand, part: Part, label: &str) {
        let simulation = self.request.graph.simulation();
        let chosen = match part {
            Part::Activation => simulation.activations,
            Part::Backward | Part::Gradient => simulation.gradients,
            Part::Weight => None,
        };
        let kept = x.dtype == Dtype::U32 || (part != Part::Gradient && self.wide.contains(&value));
        let Some(quantization) = chosen.filter(|_| !kept) else { return };
        let (precision, control) = (self.request.graph.precision(), self.made.control);
        let node = self.reached.nodes[&value.node].again.unwrap_or(value.node);
        let stream = STREAM + MOST_RESULTS * node + value.output;
        self.made.program.push(round(x, quantization, precision, control, stream, label));
    }
}

/// Rounds a tensor where it lies.
pub fn round(
    x: Operand,
    quantization: Quantization,
    precision: Precision,
    control: Control,
    stream: usize,
    label: &str,
) -> Dispatch {
    let source = include_str!("../../shaders/simulate.wgsl");
    let mut shader = Shader::new("simulate", source, x.dtype, precision).acc(Dtype::F32);
    shader.constants.extend(quantization.constants());
    let groups = x.shape.groups();
    Dispatch::new(format!("{} {label}", quantization.format), shader)
        .read(clock(control))
        .update(x)
        .param("groups", groups)
        .param("stream", stream)
        .flops(x.shape.len())
        .workgroups(groups.div_ceil(64))
}
