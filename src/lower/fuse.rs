//! Fusion: elementwise nodes whose results nobody else wants join the dispatch that consumes them.
//!
//! One walk from the last node to the first. A node joins the group of its consumers if they are all in one group,
//! the shapes agree and the bindings suffice; so whole DAGs fuse, and at last the kernel that feeds them
//! ([`Kind::Head`]) takes the group as its epilogue. Intermediate values then stay in registers, unrounded.
//!
//! Views that leave memory as it is do not end a group. A value that several groups read is computed in each of them
//! where that moves fewer bytes than to keep it; else the one that runs first stores it beside its result, if that comes
//! before all others who read it, and goes on with what they will read, to the bit.

use std::collections::{BTreeMap, BTreeSet};

use super::{Reached, reach::Reader};
use crate::{
    Dtype, Shape,
    dispatch::bytes,
    graph::{Origin, Value},
    op::Kind,
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
    /// Those of them, or the kernel, whose values others read too: they are stored beside the result.
    pub kept: BTreeSet<usize>,
    /// Those, and the kernel, whose values lie like the result but have another shape.
    viewed: BTreeSet<usize>,
}

impl Group {
    /// The node in whose place the group runs.
    pub fn end(&self) -> usize {
        *self.members.last().expect("a group has a member")
    }
}

/// The groups, and for each node those that compute it.
#[derive(Default)]
pub struct Groups {
    pub groups: Vec<Group>,
    pub of: BTreeMap<usize, Vec<usize>>,
}

/// A value that a group reads from memory, and the shape that it is read in.
pub(super) type Read = (Value, Shape);

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
    /// The node in whose place a value of node `n` is made.
    pub fn made(&self, n: usize) -> usize {
        self.of.get(&n).into_iter().flatten().map(|&g| self.groups[g].end()).min().unwrap_or(n)
    }

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
    if !reached.is_wanted(n) && !reached.stored.contains(&n) && readers.iter().all(inner) {
        let grown = targets.iter().map(|(&g, readers)| {
            let group = found.groups[g].clone();
            grown(reached, group, n, readers, storage_buffers).map(|group| (g, group))
        });
        let grown: Option<Vec<(usize, Group)>> = grown.collect();
        let cheap = matches!(&reached.nodes[&n].origin, Origin::Op(op) if op.is_cheap());
        if let Some(all) = grown.filter(|all| all.len() < 2 || cheap && pays(reached, found, n, all)) {
            return all;
        }
    }
    // The first group that runs stores it, if all others who read it run later.
    let Some((&g, inside)) = targets.iter().min_by_key(|(g, _)| found.groups[**g].end()) else { return vec![] };
    let mut group = found.groups[g].clone();
    let (ours, root) = (reached.nodes[&n].outputs[0], reached.nodes[&group.end()].outputs[0]);
    // As `can_epilogue` has it.
    let typed = ours.dtype == root.dtype || ours.dtype == Dtype::F32;
    let later = |r: &Reader| inner(r) || found.made(r.node) > group.end();
    if !inside.iter().all(inner) || !readers.iter().all(later) || ours.shape != root.shape || !typed {
        return vec![];
    }
    group.kept.insert(n);
    grown(reached, group, n, inside, storage_buffers).map(|group| (g, group)).into_iter().collect()
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
fn grown(reached: &Reached, mut group: Group, n: usize, readers: &[Reader], storage_buffers: usize) -> Option<Group> {
    let node = &reached.nodes[&n];
    let last = &reached.nodes[&group.end()];
    let (ours, root) = (node.outputs[0], last.outputs[0]);
    // Registers are of one type.
    if node.precision.acc() != last.precision.acc() || group.members.len() >= LONGEST {
        return None;
    }
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
        // The result; and room for a product, so that what is kept does not cost its epilogue.
        None if group.kept.is_empty() => reads.len() < storage_buffers,
        None => reads.len() + group.kept.len() + 4 <= storage_buffers,
        // A head has its operands too, and may bind one more tensor.
        Some(h) => {
            let types = reads.iter().map(|(v, _)| reached.nodes[&v.node].outputs[v.output].dtype);
            let kept = group.kept.iter().map(|n| reached.nodes[n].outputs[0].dtype);
            let own = reached.nodes[&h].inputs.len() + 2;
            let bindings = reads.len() + group.kept.len() + own;
            reached.can_epilogue(h, root.dtype, types.chain(kept)) && bindings <= storage_buffers
        }
    };
    fits.then_some(group)
}

/// The values that a group reads from memory, the head's own aside; `None` if one has no place beside the result.
pub(super) fn external(reached: &Reached, group: &Group) -> Option<Vec<Read>> {
    let root = reached.nodes[&group.end()].outputs[0].shape;
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
pub(super) fn inside(reached: &Reached, group: &Group, v: Value) -> Option<usize> {
    let inside = |n: usize| group.members.contains(&n) || group.head == Some(n);
    let n = reached.seen(v).node;
    if inside(v.node) { Some(v.node) } else { Some(n).filter(|n| inside(*n)) }
}

/// The shape in which member `m` reads the value `v`, so that it broadcasts to the result; `None` if none does.
pub(super) fn seen_by(reached: &Reached, group: &Group, m: usize, v: Value, root: Shape) -> Option<Shape> {
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
