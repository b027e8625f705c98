//! How weights, gradients and moments lie in their arenas.
//!
//! An arena is a list of chunks no larger than a binding may be. Tensors keep their order, and start at multiples
//! of [`ALIGN`] groups, which is WebGPU's storage alignment of 256 bytes in f16 and twice that in f32. So the same
//! group numbers hold in every arena, and kernels bind a tensor's own range: they know nothing of arenas.

use std::ops::Range;

use crate::{Dtype, Error, Result, Shape, dispatch::Operand, shape::GROUP};

/// Groups to whose multiples tensors are aligned.
pub const ALIGN: usize = 32;

/// Where tensors lie: for each its chunk and first group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arena {
    /// Chunk and first group of each tensor.
    pub places: Vec<(usize, usize)>,
    /// Groups in each chunk.
    pub chunks: Vec<usize>,
}

impl Arena {
    /// Lays out tensors of these shapes in chunks of at most `limit` bytes in f32.
    ///
    /// # Errors
    /// [`Error::Memory`] if one tensor alone is larger than `limit`.
    pub fn new(shapes: &[Shape], limit: u64) -> Result<Self> {
        let limit = limit as usize / (GROUP * 4);
        let mut arena = Arena::default();
        for shape in shapes {
            let groups = shape.groups().next_multiple_of(ALIGN);
            if groups > limit {
                let (bytes, limit) = (groups * GROUP * 4, limit * GROUP * 4);
                return Err(Error::Memory(format!(
                    "a weight of shape {shape} takes {bytes} bytes in f32, this device binds at most {limit}; split it in two"
                )));
            }
            match arena.chunks.last_mut() {
                Some(used) if *used + groups <= limit => *used += groups,
                _ => arena.chunks.push(groups),
            }
            let end = arena.chunks[arena.chunks.len() - 1];
            arena.places.push((arena.chunks.len() - 1, end - groups));
        }
        Ok(arena)
    }

    /// Bytes of a chunk in `dtype`.
    pub fn bytes(&self, chunk: usize, dtype: Dtype) -> u64 {
        offset(self.chunks[chunk], dtype)
    }
}

/// Where a group starts in memory, in bytes.
pub fn offset(group: usize, dtype: Dtype) -> u64 {
    (group * GROUP * dtype.bytes()) as u64
}

/// Groups `range` of a buffer, as one flat tensor.
pub fn flat(buffer: usize, range: Range<usize>, dtype: Dtype) -> Operand {
    Operand { buffer, offset: offset(range.start, dtype), shape: Shape::from([range.len() * GROUP]), dtype }
}
