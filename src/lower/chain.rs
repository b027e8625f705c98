//! The text of a chain: what a group of elementwise nodes is in WGSL, and where its operands lie.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write};

use super::{
    Reached,
    fuse::{Group, Read, external, inside, seen_by},
};
use crate::{
    Shape,
    dispatch::Operand,
    graph::Value,
    op::{Chain, Expression, Kind},
    shape::GROUP,
};

/// Groups of a result from which on products with reciprocals are no quotients any more: see `lib/chain.wgsl`.
const FAR: usize = 1 << 22;

/// Writes a group as WGSL. `operand` tells where a value lies.
pub fn write(reached: &Reached, group: &Group, operand: impl Fn(Value) -> Operand) -> Chain {
    let root = reached.nodes[&group.end()].outputs[0].shape;
    let reads = external(reached, group).expect("the group was made so");
    let inputs: Vec<Operand> = reads.iter().map(|&(v, shape)| operand(v).seen_as(shape)).collect();
    let (axes, strides) = geometry(root, &inputs);

    let mut text = Text { params: header(root, &axes), ..Text::default() };
    let by_column = |s: &Option<Vec<usize>>| s.as_ref().is_some_and(|s| s[0] == 1 && s[1..].iter().all(|&s| s == 0));
    let by_column: Vec<usize> = (0..inputs.len()).filter(|&i| by_column(&strides[i])).collect();
    for (i, x) in inputs.iter().enumerate().filter(|(i, _)| !by_column.contains(i)) {
        text.load(i, x, root, strides[i].as_deref());
    }
    let loads: BTreeMap<Read, String> = reads.iter().enumerate().map(|(i, r)| (*r, format!("a{i}"))).collect();
    let kept = |n: usize| group.kept.iter().position(|k| *k == n);
    if let Some(k) = group.head.and_then(kept) {
        let _ = writeln!(text.body, "    let head = chain_keep_{k}(g, v);");
    }
    let place = |m: usize| group.members.iter().position(|n| *n == m).expect("it is inside");
    for &m in &group.members {
        let Kind::Map(expression) = reached.kind(m) else { unreachable!("members are elementwise") };
        let argument = |text: &mut Text, v: Value| match (inside(reached, group, v), reached.kind(v.node)) {
            (Some(n), _) if group.head == Some(n) => if kept(n).is_some() { "head" } else { "v" }.into(),
            (Some(n), _) => format!("t{}", place(n)),
            (None, Kind::Map(fill)) if reached.is_inlined(v.node) => text.call(&fill, &[]),
            _ => loads[&(v, seen_by(reached, group, m, v, root).expect("as it was found"))].clone(),
        };
        let arguments: Vec<String> = reached.nodes[&m].inputs.iter().map(|v| argument(&mut text, *v)).collect();
        let call = text.call(&expression, &arguments);
        let call = kept(m).map_or(call.clone(), |k| format!("chain_keep_{k}(g, {call})"));
        let _ = writeln!(text.body, "    let t{} = {call};", place(m));
    }
    let _ = writeln!(text.body, "    return t{};", group.members.len() - 1);
    let Text { functions, body, params, .. } = text;
    let kept = group.kept.iter().map(|&node| operand(Value { node, output: 0 })).collect();
    Chain {
        functions,
        body,
        by_column,
        inputs,
        kept,
        params,
        rank: axes.len() as u32,
        far: root.groups() >= FAR,
        flops: group.members.len(),
    }
}

/// The text of a chain as it grows.
#[derive(Default)]
struct Text {
    functions: String,
    /// Name, body and number of arguments of each function so far.
    declared: Vec<(&'static str, Cow<'static, str>, usize)>,
    body: String,
    params: Vec<u32>,
}

impl Text {
    /// Loads operand `i` as `a{i}`.
    fn load(&mut self, i: usize, x: &Operand, root: Shape, strides: Option<&[usize]>) {
        let at = self.params.len() / GROUP;
        let _ = match strides {
            _ if x.shape.storage() == root.storage() => writeln!(self.body, "    let a{i} = chain_load_{i}(g);"),
            _ if x.shape.len() == 1 => writeln!(self.body, "    let a{i} = vec4(chain_lone_{i}(0u));"),
            Some(s) if s[0] == 1 => {
                writeln!(self.body, "    let a{i} = chain_load_{i}(chain_offset(g, {at}u) / 4u);")
            }
            _ => writeln!(self.body, "    let a{i} = vec4(chain_lone_{i}(chain_offset(g, {at}u)));"),
        };
        if x.shape.storage() != root.storage() && x.shape.len() > 1 {
            self.push(strides.unwrap_or_default().iter().map(|&s| s as u32), 2 * GROUP);
        }
    }

    /// The call of an expression's function, which is declared if it was not yet.
    fn call(&mut self, e: &Expression, arguments: &[String]) -> String {
        let names = ["a", "b", "c", "d", "e"];
        let mut parameters: Vec<String> =
            names.iter().take(arguments.len()).map(|n| format!("{n}: vec4<acc>")).collect();
        let mut arguments = arguments.to_vec();
        if !e.params.is_empty() {
            parameters.push("p: vec4<f32>".into());
            arguments.push(format!("bitcast<vec4<f32>>(chain[{}])", self.params.len() / GROUP));
            self.push(e.params.iter().map(|p| p.to_bits()), GROUP);
        }
        let key = (e.name, e.body.clone(), arguments.len());
        let known = self.declared.iter().position(|d| *d == key);
        let k = known.unwrap_or(self.declared.len());
        // Two ops of one name are two functions.
        let name = match self.declared[..k].iter().any(|d| d.0 == e.name) {
            true => format!("map_{}_{k}", e.name),
            false => format!("map_{}", e.name),
        };
        if known.is_none() {
            self.declared.push(key);
            let (parameters, body) = (parameters.join(", "), &e.body);
            let _ = writeln!(self.functions, "fn {name}({parameters}) -> vec4<acc> {{\n    return {body};\n}}");
        }
        format!("{name}({})", arguments.join(", "))
    }

    fn push(&mut self, values: impl Iterator<Item = u32>, room: usize) {
        let end = self.params.len() + room;
        self.params.extend(values);
        self.params.resize(end, 0);
    }
}

/// Groups in the last axis, the lengths of the others, and that of the last; and one over each of them.
fn header(root: Shape, axes: &[usize]) -> Vec<u32> {
    let mut lengths = [1; 2 * GROUP];
    lengths[0] = root.storage().last().div_ceil(GROUP) as u32;
    lengths[2 * GROUP - 1] = root.storage().last() as u32;
    lengths[1..=axes.len()].iter_mut().zip(axes).for_each(|(length, &a)| *length = a as u32);
    lengths.into_iter().chain(lengths.map(|n| (1.0 / n as f32).to_bits())).collect()
}

/// The lengths of the axes besides the last, merged where all operands allow, and for each operand that is
/// stretched its strides: that of the last axis first, then those of the merged axes.
fn geometry(root: Shape, inputs: &[Operand]) -> (Vec<usize>, Vec<Option<Vec<usize>>>) {
    let stored = root.storage();
    let rank = stored.rank();
    let strides: Vec<Option<Vec<usize>>> = inputs
        .iter()
        .map(|x| {
            let stretched = x.shape.storage() != stored && x.shape.len() > 1;
            stretched.then(|| {
                let mut full = vec![0; root.rank() - x.shape.rank()];
                full.extend(x.shape.strides());
                full.truncate(rank);
                full
            })
        })
        .collect();
    let mut axes: Vec<usize> = vec![];
    let mut merged: Vec<Option<Vec<usize>>> =
        strides.iter().map(|s| s.as_ref().map(|s| vec![s.last().copied().unwrap_or(0)])).collect();
    for k in (0..rank.saturating_sub(1)).filter(|&k| stored[k] > 1) {
        let follows = !axes.is_empty()
            && strides.iter().flatten().zip(merged.iter().flatten()).all(|(s, m)| m[m.len() - 1] == s[k] * stored[k]);
        if follows {
            *axes.last_mut().expect("there is one") *= stored[k];
        } else {
            axes.push(stored[k]);
        }
        for (s, m) in strides.iter().flatten().zip(merged.iter_mut().flatten()) {
            if follows {
                *m.last_mut().expect("there is one") = s[k];
            } else {
                m.push(s[k]);
            }
        }
    }
    // Where each row has the same operands, its number does not count.
    if merged.iter().flatten().all(|m| m[1..].iter().all(|&s| s == 0)) {
        axes.clear();
    }
    (axes, merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `chain_quotient` of `lib/chain.wgsl` divides by a length, from what the header says.
    fn quotient(a: u32, length: u32) -> u32 {
        let header = header(Shape::from([4 * length as usize]), &[]);
        assert_eq!(header[0], length);
        ((a as f32 + 0.5) * f32::from_bits(header[2 * GROUP])) as u32
    }

    #[test]
    fn products_with_a_reciprocal_are_quotients() {
        for length in (1..1000).chain([4095, 4096, 65537, 1_000_003, FAR as u32 - 1]) {
            for multiple in (0..FAR as u32 / length).step_by((FAR / 300 / length as usize).max(1)) {
                let a = multiple * length;
                let found = [a, a + length / 2, a + length - 1].map(|a| quotient(a, length));
                assert_eq!(found, [multiple; 3], "{a} / {length}");
            }
        }
    }
}
