//! How weights, gradients and moments lie in their arenas.
//!
//! An arena is a list of chunks no larger than a binding may be, each for tensors of one type. Tensors of a type keep their
//! order, and start at multiples of [`ALIGN`] groups, which is WebGPU's storage alignment of 256 bytes in f16 and twice that
//! in f32. So the same group numbers hold in every arena, and kernels bind a tensor's own range: they know nothing of arenas.

use std::ops::Range;

use crate::{Dtype, Error, Result, Shape, dispatch::Operand, shape::GROUP};

/// Groups to whose multiples tensors are aligned.
pub const ALIGN: usize = 32;

/// Where tensors lie: for each its chunk and first group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arena {
    /// Chunk and first group of each tensor.
    pub places: Vec<(usize, usize)>,
    /// The chunks.
    pub chunks: Vec<Chunk>,
}

/// A part of an arena, as large as a binding may be, of tensors of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The type of the arena's tensors; what lies beside them, as their moments do, may be of another.
    pub dtype: Dtype,
    /// Its length.
    pub groups: usize,
}

impl Chunk {
    /// Its bytes in `dtype`.
    pub fn bytes(&self, dtype: Dtype) -> u64 {
        offset(self.groups, dtype)
    }
}

impl Arena {
    /// Lays out tensors of these shapes and types in chunks of at most `limit` bytes in f32.
    ///
    /// # Errors
    /// [`Error::Memory`] if one tensor alone is larger than `limit`.
    pub fn new(tensors: impl IntoIterator<Item = (Shape, Dtype)>, limit: u64) -> Result<Self> {
        let limit = limit as usize / (GROUP * 4);
        let mut arena = Arena::default();
        for (shape, dtype) in tensors {
            let groups = shape.groups().next_multiple_of(ALIGN);
            if groups > limit {
                let (bytes, limit) = (groups * GROUP * 4, limit * GROUP * 4);
                return Err(Error::Memory(format!(
                    "a weight of shape {shape} takes {bytes} bytes in f32, this device binds at most {limit}; split it in two"
                )));
            }
            let chunks = &mut arena.chunks;
            let last = chunks.iter().rposition(|c| c.dtype == dtype).filter(|&c| chunks[c].groups + groups <= limit);
            let at = last.unwrap_or_else(|| {
                chunks.push(Chunk { dtype, groups: 0 });
                chunks.len() - 1
            });
            arena.places.push((at, chunks[at].groups));
            chunks[at].groups += groups;
        }
        Ok(arena)
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
