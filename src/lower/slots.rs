//! Memory: values that are never needed together share a buffer.
//!
//! Slots are whole buffers, since WebGPU tracks usage per buffer and refuses one that is read and written in the same
//! dispatch. The largest value comes first; each takes the smallest slot that is free while it lives.

use std::collections::{BTreeMap, BTreeSet};

use crate::dispatch::{Buffer, Program, Role, Source, Temporaries};

/// Replaces each temporary buffer of `program` by a shared slot. Returns the new index of every buffer.
pub fn assign(program: &mut Program, pinned: &BTreeSet<usize>) -> Vec<usize> {
    let temporary =
        |b: usize, of: &Buffer| !pinned.contains(&b) && of.role == Role::Activations && of.source == Source::Plan;
    let mut kept: Vec<Buffer> = vec![];
    let mut index = vec![usize::MAX; program.buffers.len()];
    for (b, buffer) in program.buffers.iter().enumerate().filter(|(b, buffer)| !temporary(*b, buffer)) {
        index[b] = kept.len();
        kept.push(buffer.clone());
    }

    let lives = lives(program, |b| index[b] == usize::MAX);
    let bytes = |b: usize| program.buffers[b].bytes;
    let mut order: Vec<usize> = lives.keys().copied().collect();
    order.sort_by_key(|&b| (std::cmp::Reverse(bytes(b)), lives[&b]));
    // Of each slot its size, that of its first value, and when it is taken.
    let mut slots: Vec<(u64, Vec<Life>)> = vec![];
    for b in order {
        let (first, last) = lives[&b];
        let free = |(_, taken): &(u64, Vec<Life>)| taken.iter().all(|&(from, to)| to < first || last < from);
        let slot = slots.iter().rposition(free).unwrap_or_else(|| {
            slots.push((bytes(b), vec![]));
            slots.len() - 1
        });
        slots[slot].1.push((first, last));
        index[b] = kept.len() + slot;
    }
    let at = |i: usize| lives.iter().filter(|(_, l)| l.0 <= i && i <= l.1).map(|(&b, _)| bytes(b)).sum();
    program.temporaries = Temporaries {
        bytes: slots.iter().map(|s| s.0).sum(),
        least: (0..program.dispatches.len()).map(at).max().unwrap_or(0),
    };

    kept.extend(slots.iter().enumerate().map(|(s, &(bytes, _))| Buffer {
        name: format!("s{s}"),
        role: Role::Activations,
        source: Source::Plan,
        bytes,
        contents: vec![],
    }));
    program.buffers = kept;
    for (x, _) in program.dispatches.iter_mut().flat_map(|d| &mut d.bindings) {
        x.buffer = index[x.buffer];
    }
    index
}

/// The first and the last dispatch that bind a buffer.
type Life = (usize, usize);

/// The lives of these buffers.
fn lives(program: &Program, of: impl Fn(usize) -> bool) -> BTreeMap<usize, Life> {
    let mut found: BTreeMap<usize, Life> = BTreeMap::new();
    for (i, d) in program.dispatches.iter().enumerate() {
        for (x, _) in d.bindings.iter().filter(|(x, _)| of(x.buffer)) {
            found.entry(x.buffer).or_insert((i, i)).1 = i;
        }
    }
    found
}
