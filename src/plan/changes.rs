//! What becomes of the changes that an optimizer intends, weight by weight.

use super::{Clock, Plan};
use crate::gpu::Reading;

/// What became of the changes of one weight over the steps recorded.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Changes {
    /// The weight's name.
    pub weight: String,
    /// Changes of more than 2⁻²⁵ of the weight: what is less, f32 cannot add to it either.
    pub all: u64,
    /// Those of them that rounding lost for good. What is rounded stochastically or compensated arrives later, unless f32 has
    /// lost it already.
    pub lost: u64,
    /// Effective descent quality (arXiv 2405.03637): ⟨applied, intended⟩ / ⟨intended, intended⟩, which is 1 where all
    /// changes arrive and 0 where none does; NaN without any.
    pub quality: f64,
}

impl Plan {
    /// What became of the changes of each trained weight over the steps that were recorded; nothing if the plan was not
    /// made with [`Options::record_changes`](super::Options).
    pub fn changes(&self) -> Reading<Vec<Changes>> {
        let records = self.core.lowered.records.clone();
        let ranges: Vec<_> =
            records.iter().map(|r| (self.core.buffer(r.sums.buffer), r.sums.offset, r.sums.bytes())).collect();
        Reading::new(self.gpu(), &ranges, move |mut bytes| {
            let mut all = vec![];
            for r in &records {
                let (own, rest) = bytes.split_at(r.sums.bytes() as usize);
                bytes = rest;
                let sums = own.chunks_exact(16).fold([0.0; 4], |mut sums: [f64; 4], row| {
                    let row: [f32; 4] = bytemuck::pod_read_unaligned(row);
                    sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(v));
                    sums
                });
                let [applied, intended, lost, count] = sums;
                all.push(Changes {
                    weight: r.weight.clone(),
                    all: count as u64,
                    lost: lost as u64,
                    quality: applied / intended,
                });
            }
            Ok(all)
        })
    }

    /// Stops recording changes, or goes on with it, from the next step on: a step that records takes longer.
    pub fn record_changes(&mut self, on: bool) {
        self.set(std::mem::offset_of!(Clock, recording), &u32::from(on).to_le_bytes());
    }
}
