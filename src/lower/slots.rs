//! Memory: values that are never needed together share a buffer.
//!
//! Slots are whole buffers, since WebGPU tracks usage per buffer and refuses one that is read and written in the same
//! dispatch. A value takes the free slot that fits it best; the largest free one grows if none fits.

use std::collections::BTreeSet;

use crate::dispatch::{Buffer, Program, Role, Source};

/// Replaces each temporary buffer of `program` by a shared slot. Returns the new index of every buffer.
pub fn assign(program: &mut Program, pinned: &BTreeSet<usize>) -> Vec<usize> {
    let temporary = |b: usize, buffers: &[Buffer]| {
        !pinned.contains(&b) && buffers[b].role == Role::Activations && buffers[b].source == Source::Plan
    };
    let n = program.buffers.len();
    let mut last_use = vec![0; n];
    for (i, d) in program.dispatches.iter().enumerate() {
        d.bindings.iter().for_each(|(x, _)| last_use[x.buffer] = i);
    }

    let mut kept: Vec<Buffer> = vec![];
    let mut index = vec![usize::MAX; n];
    for b in (0..n).filter(|&b| !temporary(b, &program.buffers)) {
        index[b] = kept.len();
        kept.push(program.buffers[b].clone());
    }

    let mut slots: Vec<u64> = vec![];
    let mut free: BTreeSet<usize> = BTreeSet::new();
    for (i, d) in program.dispatches.iter().enumerate() {
        let used: BTreeSet<usize> =
            d.bindings.iter().map(|(x, _)| x.buffer).filter(|&b| temporary(b, &program.buffers)).collect();
        for &b in used.iter().filter(|&&b| index[b] == usize::MAX).collect::<Vec<_>>() {
            let bytes = program.buffers[b].bytes;
            let fits = free.iter().copied().filter(|&s| slots[s] >= bytes).min_by_key(|&s| slots[s]);
            let slot = fits.or_else(|| free.iter().copied().max_by_key(|&s| slots[s])).unwrap_or_else(|| {
                slots.push(0);
                slots.len() - 1
            });
            free.remove(&slot);
            slots[slot] = slots[slot].max(bytes);
            index[b] = kept.len() + slot;
        }
        free.extend(used.iter().filter(|&&b| last_use[b] == i).map(|&b| index[b] - kept.len()));
    }

    kept.extend(slots.iter().enumerate().map(|(s, &bytes)| Buffer {
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
