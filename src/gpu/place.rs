//! Where tensors lie on the device, and their bytes as a file has them: without the padding behind rows.

use std::borrow::Cow;

use super::device::Gpu;
use crate::{Dtype, Shape, dispatch::bytes, shape::GROUP};

/// Where a tensor lies.
#[derive(Debug, Clone)]
pub struct Place {
    /// The buffer.
    pub buffer: wgpu::Buffer,
    /// Where it starts there, in bytes.
    pub offset: u64,
    /// The tensor's shape.
    pub shape: Shape,
    /// The type of its values.
    pub dtype: Dtype,
}

impl Place {
    /// Buffer, offset and bytes.
    pub fn range(&self) -> (&wgpu::Buffer, u64, u64) {
        (&self.buffer, self.offset, bytes(self.shape, self.dtype))
    }

    /// Has the tensor hold these bytes, as a file has them.
    pub fn fill(&self, gpu: &Gpu, bytes: &[u8]) {
        gpu.queue().write_buffer(&self.buffer, self.offset, &self.padded(bytes));
    }

    /// The bytes of a file as they lie here.
    fn padded<'b>(&self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let [row, stored] = self.rows();
        if row == stored {
            return bytes.into();
        }
        let mut padded = vec![0; self.range().2 as usize];
        let rows = padded.chunks_exact_mut(stored).zip(bytes.chunks_exact(row));
        rows.for_each(|(to, from)| to[..row].copy_from_slice(from));
        padded.into()
    }

    /// The reverse: what lies here as a file has it.
    pub fn unpadded<'b>(&self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let [row, stored] = self.rows();
        if row == stored {
            return bytes.into();
        }
        bytes.chunks_exact(stored).map(|stored| &stored[..row]).collect::<Vec<_>>().concat().into()
    }

    /// Bytes of a row, without its padding and with it.
    fn rows(&self) -> [usize; 2] {
        let last = self.shape.storage().last();
        [last, last.next_multiple_of(GROUP)].map(|values| values * self.dtype.bytes())
    }
}
