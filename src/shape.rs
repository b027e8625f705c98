//! Shapes, and how a shape lies in memory.
//!
//! Tensors are stored in groups of four values, so that one load is 16 bytes in f32 and 8 in f16 and no
//! buffer of halves has an odd length. The last axis is padded with zeros to a multiple of four. Trailing
//! axes of length 1 are not stored: `[64, 1]` lies like `[64]`, sixteen groups and not sixty-four.

use std::{fmt, ops::Index};

/// The largest rank of a tensor.
pub const MAX_RANK: usize = 6;

/// How many values lie in one storage group.
pub const GROUP: usize = 4;

/// The lengths of a tensor's axes; rank 0 is a scalar.
///
/// ```
/// use halfgrad::Shape;
/// let shape = Shape::from([2, 3, 5]);
/// assert_eq!(shape.to_string(), "[2, 3, 5]");
/// assert_eq!(shape.len(), 30);
/// assert_eq!(shape.stored(), 2 * 3 * 8);            // the last axis is padded to 8
/// assert_eq!(Shape::from([64, 1]).stored(), 64);    // a lone last axis is not
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Shape {
    rank: u8,
    dims: [usize; MAX_RANK],
}

impl Shape {
    /// The shape with these axes; `None` if there are more than [`MAX_RANK`].
    pub fn new(dims: &[usize]) -> Option<Self> {
        let mut shape = Shape { rank: dims.len() as u8, dims: [0; MAX_RANK] };
        shape.dims.get_mut(..dims.len())?.copy_from_slice(dims);
        Some(shape)
    }

    /// Whether the values of the shape can be counted in `u32`; a graph refuses tensors of others.
    pub fn fits(&self) -> bool {
        let padded = self.dims().fold(GROUP, |n, d| n.saturating_mul(d.max(1)));
        u32::try_from(padded).is_ok()
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// The length of each axis.
    pub fn dims(&self) -> impl DoubleEndedIterator<Item = usize> + ExactSizeIterator + '_ {
        self.dims[..self.rank()].iter().copied()
    }

    /// The axes as a vector.
    pub fn to_vec(&self) -> Vec<usize> {
        self.dims().collect()
    }

    /// The number of values: the product of the axes.
    pub fn len(&self) -> usize {
        self.dims().fold(1, usize::saturating_mul)
    }

    /// Whether an axis has length 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The length of the first axis; 1 for a scalar.
    pub fn first(&self) -> usize {
        self.dims().next().unwrap_or(1)
    }

    /// The length of the last axis; 1 for a scalar.
    pub fn last(&self) -> usize {
        self.dims().next_back().unwrap_or(1)
    }

    /// The shape without its trailing axes of length 1: what lies in memory.
    pub fn storage(&self) -> Shape {
        let mut s = *self;
        while s.rank > 0 && s.dims[s.rank() - 1] == 1 {
            s.rank -= 1;
            s.dims[s.rank()] = 0;
        }
        s
    }

    /// The number of values that the tensor takes in memory, padding included.
    pub fn stored(&self) -> usize {
        self.groups().saturating_mul(GROUP)
    }

    /// The number of groups of four that the tensor takes in memory.
    pub fn groups(&self) -> usize {
        let s = self.storage();
        s.dims().rev().skip(1).fold(s.last().div_ceil(GROUP), usize::saturating_mul)
    }

    /// Distance in memory, in values, between neighbours along each axis; 0 along axes of length 1.
    pub fn strides(&self) -> Vec<usize> {
        let s = self.storage();
        let mut strides = vec![0; self.rank()];
        let mut step = 1;
        for k in (0..s.rank()).rev() {
            if s[k] != 1 {
                strides[k] = step;
            }
            step *= if k + 1 == s.rank() { s[k].next_multiple_of(GROUP) } else { s[k] };
        }
        strides
    }

    /// Whether `other` lies in memory just as `self` does, so that one can be seen as the other.
    pub fn lies_like(&self, other: &Shape) -> bool {
        let (a, b) = (self.storage(), other.storage());
        let contiguous = |s: &Shape| s.rank() <= 1 || s.last().is_multiple_of(GROUP);
        self.len() == other.len() && (a.last() == b.last() || (contiguous(&a) && contiguous(&b)))
    }

    /// The common shape of two operands by the usual rule: axes are matched from the last, and 1 stretches.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let mut out = vec![0; rank];
        for (k, slot) in out.iter_mut().enumerate() {
            let axis = |s: &Shape| (k + s.rank()).checked_sub(rank).map_or(1, |i| s[i]);
            *slot = match (axis(self), axis(other)) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return None,
            };
        }
        Shape::new(&out)
    }

    /// The same shape with the axes that `axes` names set to 1.
    pub fn keep(&self, axes: &[usize]) -> Shape {
        let mut s = *self;
        axes.iter().for_each(|&a| s.dims[a] = 1);
        s
    }
}

impl Index<usize> for Shape {
    type Output = usize;
    fn index(&self, axis: usize) -> &usize {
        &self.dims[..self.rank()][axis]
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        const { assert!(N <= MAX_RANK, "a tensor has at most six axes") }
        let mut shape = Shape { rank: N as u8, dims: [0; MAX_RANK] };
        shape.dims[..N].copy_from_slice(&dims);
        shape
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_list().entries(self.dims()).finish()
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_drops_trailing_ones_and_pads_the_last_axis() {
        let cases: [(&[usize], usize, &[usize]); 6] = [
            (&[], 4, &[]),
            (&[1], 4, &[0]),
            (&[5], 8, &[1]),
            (&[64, 1], 64, &[1, 0]),
            (&[5, 3, 1], 20, &[4, 1, 0]),
            (&[2, 3, 5], 48, &[24, 8, 1]),
        ];
        for (dims, stored, strides) in cases {
            let s = Shape::new(dims).unwrap();
            assert_eq!((s.stored(), s.strides()), (stored, strides.to_vec()), "{s}");
        }
    }

    #[test]
    fn lies_like_knows_when_padding_moves() {
        let lies = |a: &[usize], b: &[usize]| Shape::new(a).unwrap().lies_like(&Shape::new(b).unwrap());
        assert!(lies(&[4, 7, 8], &[28, 8]) && lies(&[4, 8], &[32]) && lies(&[5, 1], &[5]) && lies(&[2, 3, 5], &[6, 5]));
        assert!(!lies(&[2, 5], &[10]) && !lies(&[2, 6], &[3, 4]));
    }

    #[test]
    fn broadcast_matches_axes_from_the_last() {
        let b =
            |a: &[usize], b: &[usize]| Shape::new(a).unwrap().broadcast(&Shape::new(b).unwrap()).map(|s| s.to_vec());
        assert_eq!(b(&[64, 10], &[10]), Some(vec![64, 10]));
        assert_eq!(b(&[5, 1, 3], &[4, 1]), Some(vec![5, 4, 3]));
        assert_eq!(b(&[2, 3], &[2]), None);
    }
}
