//! Memory: values that are never needed together share it, and a result takes the place of an operand that it may replace.

use std::collections::BTreeSet;

use super::pools::{self, Packed, Value};
use crate::dispatch::{Access, Buffer, Dispatch, Program, Role, Source, Temporaries};

/// Replaces each temporary buffer of `program` by a place in a shared one, of at most `limit` bytes where that can be. Returns
/// the new index of every buffer, and where it starts there.
pub fn assign(program: &mut Program, pinned: &BTreeSet<usize>, limit: u64) -> Vec<(usize, u64)> {
    let mut kept: Vec<Buffer> = vec![];
    let mut index = vec![(usize::MAX, 0); program.buffers.len()];
    for (b, buffer) in program.buffers.iter().enumerate() {
        if pinned.contains(&b) || buffer.role != Role::Activations || buffer.source != Source::Plan {
            index[b].0 = kept.len();
            kept.push(buffer.clone());
        }
    }
    let mut lives = lives(program, |b| index[b].0 == usize::MAX);
    replace(program, &mut lives);

    let (members, values) = values(program, &lives);
    let packed = pools::pack(&values, limit);
    let at = |i: usize| values.iter().filter(|v| v.first <= i && i <= v.last).map(|v| v.bytes).sum();
    program.temporaries =
        Temporaries { bytes: packed.bytes(), least: (0..program.dispatches.len()).map(at).max().unwrap_or(0) };
    let Packed { places, pools } = packed;
    for (b, (pool, offset)) in members.into_iter().zip(places) {
        index[b] = (kept.len() + pool, offset);
    }
    kept.extend(pools.into_iter().enumerate().map(|(s, bytes)| Buffer {
        name: format!("s{s}"),
        role: Role::Activations,
        source: Source::Plan,
        bytes,
        contents: vec![],
    }));
    program.buffers = kept;
    for (x, _) in program.dispatches.iter_mut().flat_map(|d| &mut d.bindings) {
        let (buffer, offset) = index[x.buffer];
        (x.buffer, x.offset) = (buffer, x.offset + offset);
    }
    index
}

/// The first and the last dispatch that bind a buffer; none for what is no temporary or bound by none.
type Life = Option<(usize, usize)>;

fn lives(program: &Program, of: impl Fn(usize) -> bool) -> Vec<Life> {
    let mut found = vec![None; program.buffers.len()];
    for (i, d) in program.dispatches.iter().enumerate() {
        for (x, _) in d.bindings.iter().filter(|(x, _)| of(x.buffer)) {
            found[x.buffer].get_or_insert((i, i)).1 = i;
        }
    }
    found
}

/// Has results take the memory of operands that end where they begin.
fn replace(program: &mut Program, lives: &mut [Life]) {
    let Program { dispatches, buffers, .. } = program;
    let mut stands_for: Vec<usize> = (0..buffers.len()).collect();
    for (i, d) in dispatches.iter_mut().enumerate() {
        d.bindings.iter_mut().for_each(|(x, _)| x.buffer = stands_for[x.buffer]);
        let ends = |from: usize, to: usize| {
            let (x, y) = (d.bindings[from].0, d.bindings[to].0);
            let new = lives[y.buffer].is_some_and(|(first, _)| first == i) && d.bindings[to].1 == Access::Write;
            let old = lives[x.buffer].is_some_and(|(first, last)| first < i && last == i);
            new && old && x.dtype == y.dtype && buffers[x.buffer].bytes == buffers[y.buffer].bytes
        };
        let found = d.yields.iter().copied().find(|&(from, to)| ends(from, to) && !others_read(d, from, to));
        if let Some((from, to)) = found {
            let (x, y) = (d.bindings[from].0.buffer, d.bindings[to].0.buffer);
            let same: Vec<usize> = (0..d.bindings.len()).filter(|&k| d.bindings[k].0.buffer == x).collect();
            d.in_place(&same, to);
            d.bindings.iter_mut().filter(|(b, _)| b.buffer == y).for_each(|(b, _)| b.buffer = x);
            stands_for[y] = x;
            let end = lives[y].take().map_or(i, |(_, last)| last);
            lives[x] = lives[x].map(|(first, _)| (first, end));
        }
    }
}

/// Whether the dispatch binds the memory of binding `from` once more, in a way that does not yield to `to`.
fn others_read(d: &Dispatch, from: usize, to: usize) -> bool {
    let memory = d.bindings[from].0.buffer;
    (0..d.bindings.len()).any(|k| d.bindings[k].0.buffer == memory && !d.yields.contains(&(k, to)))
}

/// The temporary buffers that are left, and what is to be known of them to place them.
fn values(program: &Program, lives: &[Life]) -> (Vec<usize>, Vec<Value>) {
    let members: Vec<usize> = (0..lives.len()).filter(|&b| lives[b].is_some()).collect();
    let mut values: Vec<Value> = members
        .iter()
        .map(|&b| {
            let (first, last) = lives[b].unwrap_or_default();
            Value { bytes: program.buffers[b].bytes, first, last, apart: vec![] }
        })
        .collect();
    let number = |b: usize| members.binary_search(&b).ok();
    for d in &program.dispatches {
        let (read, written): (Vec<_>, Vec<_>) =
            d.bindings.iter().filter_map(|(x, a)| Some((number(x.buffer)?, *a == Access::Read))).partition(|v| v.1);
        for (r, w) in read.iter().flat_map(|r| written.iter().map(move |w| (r.0, w.0))) {
            values[r].apart.push(w);
            values[w].apart.push(r);
        }
    }
    (members, values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dtype, Precision, Shape, dispatch::Operand, dispatch::Shader};

    /// Dispatches that read some of the values alive and write others, at random.
    fn random(seed: u64) -> Program {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = move |n: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 20) as usize % n
        };
        let (mut program, mut alive): (Program, Vec<Operand>) = Default::default();
        let shader = Shader::new("test", "", Dtype::F32, Precision::F32);
        for i in 0..2 + below(40) {
            let mut d = Dispatch::new(format!("d{i}"), shader.clone());
            for _ in 0..below(4).min(alive.len()) {
                d = d.read(alive[below(alive.len())]);
            }
            for _ in 0..1 + below(2) {
                let shape = Shape::from([[4, 400, 400, 4000, 30000][below(5)]]);
                let y = program.scratch(shape, Dtype::F32);
                let to = d.bindings.len();
                d = d.write(y);
                d = (0..to).filter(|_| below(2) == 0).fold(d, |d, from| d.yields(from, to));
                alive.push(y);
            }
            program.push(d);
            while alive.len() > 1 + below(6) {
                alive.swap_remove(below(alive.len()));
            }
        }
        program
    }

    /// What a dispatch before the plan bound as binding `k`, and where it lies now.
    fn now(d: &Dispatch, k: usize) -> Operand {
        let merged = &d.shader.merged;
        let k = merged.iter().find(|(from, _)| *from == k).map_or(k, |(_, to)| *to);
        d.bindings[k - merged.iter().filter(|(from, _)| *from < k).count()].0
    }

    #[test]
    fn every_read_finds_what_was_written_and_no_buffer_is_read_and_written_in_one_dispatch() {
        let mut replaced = 0;
        for seed in 0..500 {
            let before = random(seed);
            let mut after = before.clone();
            assign(&mut after, &BTreeSet::new(), 1 << 20);
            let Temporaries { bytes, least } = after.temporaries;
            assert!(least <= bytes, "{least} {bytes}");
            // Which value each part of memory holds.
            let mut memory: Vec<(Operand, usize)> = vec![];
            for (old, new) in before.dispatches.iter().zip(&after.dispatches) {
                replaced += new.shader.merged.len();
                for (k, (x, _)) in old.bindings.iter().enumerate().filter(|(_, (_, a))| *a == Access::Read) {
                    let x = (now(new, k), x.buffer);
                    assert!(memory.contains(&x), "{x:?}\n{before}\n{after}");
                }
                for (k, (x, _)) in old.bindings.iter().enumerate().filter(|(_, (_, a))| *a == Access::Write) {
                    let y = now(new, k);
                    assert!(
                        y.offset.is_multiple_of(pools::ALIGNMENT)
                            && y.offset + y.bytes() <= after.buffers[y.buffer].bytes
                    );
                    let apart = |o: &Operand| {
                        o.buffer != y.buffer || o.offset + o.bytes() <= y.offset || y.offset + y.bytes() <= o.offset
                    };
                    memory.retain(|(o, _)| apart(o));
                    memory.push((y, x.buffer));
                }
                let read = |b: usize| new.bindings.iter().any(|(x, a)| x.buffer == b && *a == Access::Read);
                let both = new.bindings.iter().find(|(x, a)| *a != Access::Read && read(x.buffer));
                assert!(both.is_none(), "{both:?}\n{after}");
            }
        }
        assert!(replaced > 100, "{replaced}");
    }

    #[test]
    fn pools_grow_no_larger_than_a_buffer_may_be() {
        let values = vec![Value { bytes: 1000, first: 0, last: 9, apart: vec![] }; 8];
        assert_eq!(pools::pack(&values, 2048).pools, [2048; 4]);
        assert_eq!(pools::pack(&values, 1 << 20).pools, [8192]);
        assert_eq!(pools::pack(&values[..1], 512).pools, [1024]);
    }
}
