//! Fusion: elementwise nodes whose results nobody else wants join the dispatch that consumes them.
//!
//! One walk from the last node to the first. A node joins the group of its consumers if they are all in one group,
//! the shapes agree and the bindings suffice; so whole DAGs fuse, and at last the kernel that feeds them
//! ([`Kind::Head`]) takes the group as its epilogue. Intermediate values then stay in registers, unrounded.
//!
//! Views that leave memory as it is do not end a group. A value that several groups read is computed in each of them
//! where that moves fewer bytes than to keep it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use super::{Reached, reach::Reader};
use crate::{
    Shape,
    dispatch::{Operand, bytes},
    graph::Value,
    op::{Chain, Expression, Kind},
    shape::GROUP,
};

/// Expressions in one dispatch, at most: beyond it registers are short and compile times long.
const LONGEST: usize = 24;

/// Nodes that become one dispatch.
#[derive(Debug, Default, Clone)]
pub struct Group {
    /// The kernel whose epilogue the group is.
    pub head: Option<usize>,
    /// The elementwise nodes, in topological order; the last makes the result.
    pub members: Vec<usize>,
    /// Those, and the kernel, whose values lie like the result but have another shape.
    viewed: BTreeSet<usize>,
}

/// The groups, and for each node those that compute it.
#[derive(Default)]
pub struct Groups {
    pub groups: Vec<Group>,
    pub of: BTreeMap<usize, Vec<usize>>,
}

/// A value that a group reads from memory, and the shape that it is read in.
type Read = (Value, Shape);

/// Groups all elementwise nodes of `reached`.
pub fn groups(reached: &Reached, storage_buffers: u32) -> Groups {
    let mut found = Groups::default();
    for &n in reached.nodes.keys().rev() {
        let joined = joined(reached, &found, n, storage_buffers as usize);
        if joined.is_empty() {
            found.start(reached, n);
        } else {
            found.of.insert(n, joined.iter().map(|(g, _)| *g).collect());
            joined.into_iter().for_each(|(g, group)| found.groups[g] = group);
        }
    }
    found
}

/// Each elementwise node by itself: what the fused program is compared with.
pub fn singles(reached: &Reached) -> Groups {
    let mut found = Groups::default();
    reached.nodes.keys().for_each(|&n| found.start(reached, n));
    found
}

impl Groups {
    /// Begins a group with an elementwise node.
    fn start(&mut self, reached: &Reached, n: usize) {
        if matches!(reached.kind(n), Kind::Map(_)) && (!reached.is_inlined(n) || reached.needs_memory(n)) {
            self.of.insert(n, vec![self.groups.len()]);
            self.groups.push(Group { members: vec![n], ..Group::default() });
        }
    }
}

/// The groups that node `n` joins, as they then are: all that read it, or none.
fn joined(reached: &Reached, found: &Groups, n: usize, storage_buffers: usize) -> Vec<(usize, Group)> {
    let readers = reached.readers(n);
    let mut targets: BTreeMap<usize, Vec<Reader>> = BTreeMap::new();
    for &reader in &readers {
        for &g in found.of.get(&reader.node).into_iter().flatten() {
            targets.entry(g).or_default().push(reader);
        }
    }
    let inner = |r: &Reader| {
        let inside = |g: &usize| found.groups[*g].members.contains(&r.node);
        r.output == 0 && found.of.get(&r.node).is_some_and(|groups| groups.iter().all(inside))
    };
    if reached.is_wanted(n) || !readers.iter().all(inner) {
        return vec![];
    }
    let grown = targets
        .iter()
        .map(|(&g, readers)| grown(reached, &found.groups[g], n, readers, storage_buffers).map(|group| (g, group)));
    let grown: Option<Vec<(usize, Group)>> = grown.collect();
    grown.filter(|all| all.len() < 2 || pays(reached, found, n, all)).unwrap_or_default()
}

/// Whether to compute node `n` in each of the groups that read it moves fewer bytes than to keep it.
fn pays(reached: &Reached, found: &Groups, n: usize, grown: &[(usize, Group)]) -> bool {
    let node = &reached.nodes[&n];
    let size = |v: Value| {
        let ty = reached.nodes[&v.node].outputs[v.output];
        bytes(ty.shape, ty.dtype)
    };
    let total = |group: &Group| external(reached, group).into_iter().flatten().map(|(v, _)| size(v)).sum::<u64>();
    let made_of: BTreeSet<Value> = node.inputs.iter().copied().filter(|v| !reached.is_inlined(v.node)).collect();
    // What it is made of must lie in memory either way.
    let lies = made_of.iter().map(|v| reached.seen(*v).node).all(|n| match reached.kind(n) {
        Kind::Map(_) | Kind::Head => reached.needs_memory(n),
        _ => true,
    });
    let more: u64 = grown.iter().map(|(_, group)| total(group)).sum();
    let own = Value { node: n, output: 0 };
    let less = grown.iter().map(|(g, _)| total(&found.groups[*g])).sum::<u64>() + size(own);
    lies && more < less + made_of.into_iter().map(size).sum::<u64>()
}

/// The group with node `n`, which these read; `None` where it does not fit.
fn grown(reached: &Reached, group: &Group, n: usize, readers: &[Reader], storage_buffers: usize) -> Option<Group> {
    let node = &reached.nodes[&n];
    let last = &reached.nodes[group.members.last()?];
    let (ours, root) = (node.outputs[0], last.outputs[0]);
    // Registers are of one type.
    if node.precision.acc() != last.precision.acc() || group.members.len() >= LONGEST {
        return None;
    }
    let mut group = group.clone();
    let mut again = false;
    match reached.kind(n) {
        Kind::Map(_) if !node.inputs.is_empty() => {
            let memory: BTreeSet<Value> = node.inputs.iter().copied().filter(|v| !reached.is_inlined(v.node)).collect();
            // A single value is the same for every lane, whatever the shape of the result. Others that are stretched are
            // computed again for each value where that loads no more.
            again = ours.shape.len() == 1 || memory.len() == 1 && ours.shape.broadcast(&root.shape) == Some(root.shape);
            group.members.insert(0, n);
        }
        Kind::Head if group.head.is_none() && node.outputs.len() == 1 => group.head = Some(n),
        _ => return None,
    }
    // As a view of another shape, it must be read whole by all.
    let whole = |r: &Reader| {
        let theirs = reached.nodes[&r.node].outputs[0].shape;
        theirs == r.shape && (theirs == root.shape || group.viewed.contains(&r.node))
    };
    let straight = |r: &Reader| r.shape == ours.shape && !group.viewed.contains(&r.node);
    if !readers.iter().all(straight) || !(ours.shape == root.shape || again) {
        if !readers.iter().all(whole) || !ours.shape.lies_like(&root.shape) {
            return None;
        }
        if ours.shape != root.shape {
            group.viewed.insert(n);
        }
    }
    let reads = external(reached, &group)?;
    let fits = match group.head {
        // The result.
        None => reads.len() < storage_buffers,
        // A head has its operands too, and may bind one more tensor.
        Some(h) => {
            let types = reads.iter().map(|(v, _)| reached.nodes[&v.node].outputs[v.output].dtype);
            let own = reached.nodes[&h].inputs.len() + 2;
            reached.can_epilogue(h, root.dtype, types) && reads.len() + own <= storage_buffers
        }
    };
    fits.then_some(group)
}

/// The values that a group reads from memory, the head's own aside; `None` if one has no place beside the result.
fn external(reached: &Reached, group: &Group) -> Option<Vec<Read>> {
    let root = reached.nodes[group.members.last()?].outputs[0].shape;
    let mut found = vec![];
    for &m in &group.members {
        for &v in &reached.nodes[&m].inputs {
            if inside(reached, group, v).is_none() && !reached.is_inlined(v.node) {
                let read = (v, seen_by(reached, group, m, v, root)?);
                if !found.contains(&read) {
                    found.push(read);
                }
            }
        }
    }
    Some(found)
}

/// The node of the group that makes a value, or what it is a view of.
fn inside(reached: &Reached, group: &Group, v: Value) -> Option<usize> {
    let inside = |n: usize| group.members.contains(&n) || group.head == Some(n);
    let n = reached.seen(v).node;
    if inside(v.node) { Some(v.node) } else { Some(n).filter(|n| inside(*n)) }
}

/// The shape in which member `m` reads the value `v`, so that it broadcasts to the result; `None` if none does.
fn seen_by(reached: &Reached, group: &Group, m: usize, v: Value, root: Shape) -> Option<Shape> {
    let (x, frame) = (reached.nodes[&v.node].outputs[v.output].shape, reached.nodes[&m].outputs[0].shape);
    if !group.viewed.contains(&m) || x.len() == 1 {
        return Some(x);
    }
    if x.storage() == frame.storage() {
        return Some(root);
    }
    // One value for each of the last axis.
    let row = x.len() == x.last() && x.last() == frame.last() && frame.last() == root.last();
    row.then(|| Shape::from([x.last()]))
}

/// Writes a group as WGSL. `operand` tells where a value lies.
pub fn chain(reached: &Reached, group: &Group, operand: impl Fn(Value) -> Operand) -> Chain {
    let root = reached.nodes[group.members.last().expect("a group has a member")].outputs[0].shape;
    let reads = external(reached, group).expect("the group was made so");
    let inputs: Vec<Operand> = reads.iter().map(|&(v, shape)| operand(v).seen_as(shape)).collect();
    let (axes, strides) = geometry(root, &inputs);

    let mut text = Text { params: header(root, &axes), ..Text::default() };
    let loads: BTreeMap<Read, String> =
        reads.iter().enumerate().map(|(i, r)| (*r, text.load(i, &inputs[i], root, strides[i].as_deref()))).collect();
    let place = |m: usize| group.members.iter().position(|n| *n == m).expect("it is inside");
    for &m in &group.members {
        let Kind::Map(expression) = reached.kind(m) else { unreachable!("members are elementwise") };
        let argument = |text: &mut Text, v: Value| match (inside(reached, group, v), reached.kind(v.node)) {
            (Some(n), _) if group.head == Some(n) => "v".into(),
            (Some(n), _) => format!("t{}", place(n)),
            (None, Kind::Map(fill)) if reached.is_inlined(v.node) => text.call(&fill, &[]),
            _ => loads[&(v, seen_by(reached, group, m, v, root).expect("as it was found"))].clone(),
        };
        let arguments: Vec<String> = reached.nodes[&m].inputs.iter().map(|v| argument(&mut text, *v)).collect();
        let call = text.call(&expression, &arguments);
        let _ = writeln!(text.body, "    let t{} = {call};", place(m));
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
