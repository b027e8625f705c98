//! Where temporaries lie: side by side in a few buffers, the pools.
//!
//! WebGPU tracks usage per buffer, and refuses one that is read and written in the same dispatch: what a dispatch reads and what
//! it writes lie in different pools. Each value takes the gap that fits it best, and a pool grows where none does. What order is
//! the best to place them in depends on the network, so a few are tried.

use std::cmp::Reverse;

/// To which multiples values start in a pool, in bytes: the largest alignment of a storage binding that WebGPU knows.
pub const ALIGNMENT: u64 = 256;

/// A value that lives from one dispatch to another.
#[derive(Debug, Clone, Default)]
pub struct Value {
    pub bytes: u64,
    pub first: usize,
    pub last: usize,
    /// The values that may not lie in its pool.
    pub apart: Vec<usize>,
}

/// For each value its pool and where it starts there; the bytes of each pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Packed {
    pub places: Vec<(usize, u64)>,
    pub pools: Vec<u64>,
}

impl Packed {
    pub fn bytes(&self) -> u64 {
        self.pools.iter().sum()
    }
}

/// The best of a few ways to place `values` in pools of at most `limit` bytes; only a value that alone is larger takes more.
pub fn pack(values: &[Value], limit: u64) -> Packed {
    type Key = fn(&Value) -> (Reverse<u64>, Reverse<u64>);
    let keys: [Key; 5] = [
        |v| (Reverse(v.bytes), Reverse(u64::MAX - v.first as u64)),
        |v| (Reverse(u64::MAX - v.first as u64), Reverse(v.bytes)),
        |v| (Reverse(v.last as u64), Reverse(v.bytes)),
        |v| (Reverse((v.last - v.first) as u64), Reverse(v.bytes)),
        |v| (Reverse((v.last - v.first + 1) as u64 * v.bytes), Reverse(v.bytes)),
    ];
    let placed = keys.into_iter().map(|key| {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by_key(|&v| key(&values[v]));
        place(values, &order, limit)
    });
    placed.min_by_key(|p| (p.bytes(), p.pools.len())).unwrap_or_default()
}

/// Places one after another.
fn place(values: &[Value], order: &[usize], limit: u64) -> Packed {
    let mut pools: Vec<Vec<usize>> = vec![];
    let mut made = Packed { places: vec![(usize::MAX, 0); values.len()], pools: vec![] };
    for &v in order {
        let value = &values[v];
        let allowed = |pool: &usize| value.apart.iter().all(|&other| made.places[other].0 != *pool);
        let gap = |pool: usize| {
            let (grows, left, offset) = gap(values, &made, &pools[pool], pool, value);
            (made.pools[pool] + grows <= limit || grows == 0).then_some((grows, left, pool, offset))
        };
        let best = (0..pools.len()).filter(allowed).filter_map(gap).min();
        let (grows, _, pool, offset) = best.unwrap_or((aligned(value.bytes), 0, pools.len(), 0));
        if pool == pools.len() {
            pools.push(vec![]);
            made.pools.push(0);
        }
        pools[pool].push(v);
        made.pools[pool] += grows;
        made.places[v] = (pool, offset);
    }
    made
}

/// The best place for a value in a pool: by how much the pool must grow, what is left of the gap, and where it starts.
fn gap(values: &[Value], made: &Packed, members: &[usize], pool: usize, value: &Value) -> (u64, u64, u64) {
    let meets = |o: &&usize| values[**o].first <= value.last && value.first <= values[**o].last;
    let range = |o: &usize| (made.places[*o].1, made.places[*o].1 + aligned(values[*o].bytes));
    let mut taken: Vec<(u64, u64)> = members.iter().filter(meets).map(range).collect();
    taken.sort_unstable();
    let (mut free, mut best) = (0, None);
    for (start, end) in taken {
        if start >= free + aligned(value.bytes) {
            let fits = (0, start - free - aligned(value.bytes), free);
            best = Some(best.map_or(fits, |b: (u64, u64, u64)| b.min(fits)));
        }
        free = free.max(end);
    }
    let (end, size) = (free + aligned(value.bytes), made.pools[pool]);
    let behind = (end.saturating_sub(size), size.saturating_sub(end), free);
    best.map_or(behind, |b| b.min(behind))
}

fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT)
}
