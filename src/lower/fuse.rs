//! Fusion: elementwise nodes whose results nobody else wants join the dispatch that consumes them.
//!
//! One walk from the last node to the first. A node joins the group of its consumers if they are all in one group,
//! the shapes agree and the bindings suffice; so whole DAGs fuse, and at last the kernel that feeds them
//! ([`Kind::Head`]) takes the group as its epilogue. Intermediate values then stay in registers, unrounded.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use super::Reached;
use crate::{
    Shape,
    dispatch::Operand,
    graph::Value,
    op::{Chain, Expression, Kind},
    shape::GROUP,
};

/// Expressions in one dispatch, at most: beyond it registers are short and compile times long.
const LONGEST: usize = 24;

/// Nodes that become one dispatch.
#[derive(Debug, Default)]
pub struct Group {
    /// The kernel whose epilogue the group is.
    pub head: Option<usize>,
    /// The elementwise nodes, in topological order; the last makes the result.
    pub members: Vec<usize>,
}

/// The groups, and for each node its group.
pub struct Groups {
    pub groups: Vec<Group>,
    pub of: BTreeMap<usize, usize>,
}

/// Groups all elementwise nodes of `reached`.
pub fn groups(reached: &Reached, storage_buffers: u32) -> Groups {
    let mut found = Groups { groups: vec![], of: BTreeMap::new() };
    for (&n, node) in reached.nodes.iter().rev() {
        let kind = reached.kind(n);
        let is_map = matches!(kind, Kind::Map(_));
        if let Some(g) = joins(reached, &found, n, storage_buffers as usize) {
            match kind {
                Kind::Head => found.groups[g].head = Some(n),
                _ => found.groups[g].members.insert(0, n),
            }
            found.of.insert(n, g);
        } else if is_map && (!node.inputs.is_empty() || reached.needs_memory(n)) {
            found.of.insert(n, found.groups.len());
            found.groups.push(Group { head: None, members: vec![n] });
        }
    }
    found
}

/// Each elementwise node by itself: what the fused program is compared with.
pub fn singles(reached: &Reached) -> Groups {
    let mut found = Groups { groups: vec![], of: BTreeMap::new() };
    for (&n, node) in &reached.nodes {
        if matches!(reached.kind(n), Kind::Map(_)) && (!node.inputs.is_empty() || reached.needs_memory(n)) {
            found.of.insert(n, found.groups.len());
            found.groups.push(Group { head: None, members: vec![n] });
        }
    }
    found
}

/// The group that node `n` may join.
fn joins(reached: &Reached, found: &Groups, n: usize, storage_buffers: usize) -> Option<usize> {
    let node = &reached.nodes[&n];
    let consumers = reached.consumers.get(&n).filter(|c| !c.is_empty())?;
    let g = *found.of.get(&consumers[0].0)?;
    let group = &found.groups[g];
    let last = reached.nodes.get(group.members.last()?)?;
    let (ours, root) = (node.outputs[0], last.outputs[0]);
    // Registers are of one type.
    let same = node.precision.acc() == last.precision.acc();
    let inner = consumers.iter().all(|(c, output)| *output == 0 && group.members.contains(c));
    if !inner || !same || reached.is_wanted(n) || group.members.len() >= LONGEST {
        return None;
    }
    let mut reads: Vec<Value> = external(reached, group).into_iter().filter(|v| v.node != n).collect();
    let (fits, head) = match reached.kind(n) {
        Kind::Map(_) => {
            let memory: BTreeSet<Value> = node.inputs.iter().copied().filter(|v| !reached.is_inlined(v.node)).collect();
            reads.extend(memory.iter().filter(|v| !reads.contains(v)).collect::<Vec<_>>());
            // A single value is the same for every lane, whatever the shape of the result. Others that are stretched are
            // computed again for each value where that loads no more.
            let again = memory.len() == 1 && ours.shape.broadcast(&root.shape) == Some(root.shape);
            let fits = ours.shape == root.shape || ours.shape.len() == 1 || again;
            (fits && !node.inputs.is_empty(), group.head)
        }
        Kind::Head => (group.head.is_none() && node.outputs.len() == 1 && ours == root, Some(n)),
        _ => (false, None),
    };
    let typed =
        head.is_none_or(|h| reads.iter().all(|v| reached.can_load(h, reached.nodes[&v.node].outputs[v.output].dtype)));
    // One more for the result. A head has its operands too, and may bind one more tensor.
    let own = head.map_or(1, |h| reached.nodes[&h].inputs.len() + 2);
    (fits && typed && reads.len() + own <= storage_buffers).then_some(g)
}

/// The values that a group reads from memory, the head's own aside.
fn external(reached: &Reached, group: &Group) -> Vec<Value> {
    let mut found = vec![];
    for v in group.members.iter().flat_map(|m| &reached.nodes[m].inputs) {
        let inside = group.members.contains(&v.node) || group.head == Some(v.node) || reached.is_inlined(v.node);
        if !inside && !found.contains(v) {
            found.push(*v);
        }
    }
    found
}

/// Writes a group as WGSL. `operand` tells where a value lies.
pub fn chain(reached: &Reached, group: &Group, operand: impl Fn(Value) -> Operand) -> Chain {
    let root = reached.nodes[group.members.last().expect("a group has a member")].outputs[0].shape;
    let reads = external(reached, group);
    let inputs: Vec<Operand> = reads.iter().map(|&v| operand(v)).collect();
    let (axes, strides) = geometry(root, &inputs);

    let mut text = Text { params: header(root, &axes), ..Text::default() };
    let mut names: BTreeMap<Value, String> = BTreeMap::new();
    if let Some(head) = group.head {
        names.insert(Value { node: head, output: 0 }, "v".into());
    }
    for (i, (v, x)) in reads.iter().zip(&inputs).enumerate() {
        names.insert(*v, text.load(i, x, root, strides[i].as_deref()));
    }
    for (k, m) in group.members.iter().enumerate() {
        let node = &reached.nodes[m];
        let Kind::Map(expression) = reached.kind(*m) else { unreachable!("members are elementwise") };
        let arguments: Vec<String> = node
            .inputs
            .iter()
            .map(|v| match reached.kind(v.node) {
                Kind::Map(fill) if reached.is_inlined(v.node) => text.call(&fill, &[]),
                _ => names[v].clone(),
            })
            .collect();
        let call = text.call(&expression, &arguments);
        let _ = writeln!(text.body, "    let t{k} = {call};");
        names.insert(Value { node: *m, output: 0 }, format!("t{k}"));
    }
    let _ = writeln!(text.body, "    return t{};", group.members.len() - 1);
    let Text { functions, body, params, .. } = text;
    Chain { functions, body, inputs, params, rank: axes.len() as u32, flops: group.members.len() }
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
    /// Loads operand `i`; returns the name of the value.
    fn load(&mut self, i: usize, x: &Operand, root: Shape, strides: Option<&[usize]>) -> String {
        let at = self.params.len() / GROUP;
        let _ = match strides {
            _ if x.shape.storage() == root.storage() => writeln!(self.body, "    let a{i} = chain_load_{i}(g);"),
            _ if x.shape.len() == 1 => writeln!(self.body, "    let a{i} = vec4(chain_load_{i}(0u).x);"),
            Some(s) if s[0] == 1 => {
                writeln!(self.body, "    let a{i} = chain_load_{i}(chain_offset(g, {at}u) / 4u);")
            }
            _ => {
                let _ = writeln!(self.body, "    let o{i} = chain_offset(g, {at}u);");
                writeln!(self.body, "    let a{i} = vec4(chain_load_{i}(o{i} / 4u)[o{i} % 4u]);")
            }
        };
        if x.shape.storage() != root.storage() && x.shape.len() > 1 {
            self.push(strides.unwrap_or_default().iter().map(|&s| s as u32), 2 * GROUP);
        }
        format!("a{i}")
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

/// Groups in the last axis and the lengths of the others: `chain[0]` and `chain[1]`.
fn header(root: Shape, axes: &[usize]) -> Vec<u32> {
    let mut header = vec![root.storage().last().div_ceil(GROUP) as u32];
    header.extend(axes.iter().map(|&a| a as u32));
    header.resize(2 * GROUP, 0);
    header
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
    (axes, merged)
}
