//! Rows of a table by their indices: embeddings.

use super::{gemm::busy, rows::CORES};
use crate::{
    Caps, Dtype, Precision, Shape,
    dispatch::{Dispatch, Program},
    op::{Backward, Io, Kind, Op, Type},
    shape::GROUP,
    tensor::Tensor,
};
#[cfg(feature = "reference")]
use crate::{
    graph::IGNORE,
    reference::{Array, Case, Fill},
};

/// `table [rows, d] · indices [..] → [.., d]`
#[derive(Debug, Clone, Copy)]
struct Gather;

/// The gradient of [`Gather`]: `dy [.., d] · indices [..] → [rows, d]`.
#[derive(Debug, Clone, Copy)]
struct Scatter {
    rows: usize,
}

impl<'g> Tensor<'g> {
    /// The table's rows that the indices name: `[rows, d] · [..] → [.., d]`. [`IGNORE`] gives a row of zeros, and an index
    /// that is no row gives NaN, since a device cannot return an error: a training run stops there.
    ///
    /// The gradient of each row is summed in the order of the indices, without atomics, so it is the same each time. For
    /// that each row looks through all indices: `rows · indices` comparisons beside `indices · d` additions.
    ///
    /// ```
    /// # use halfgrad::{Graph, Precision};
    /// let graph = Graph::new(Precision::F32);
    /// let y = graph.input("table", [256, 64]).gather(graph.labels("text", [8, 32]));
    /// assert_eq!(y.shape().to_string(), "[8, 32, 64]");
    /// ```
    #[track_caller]
    pub fn gather(self, indices: Tensor<'g>) -> Tensor<'g> {
        match self.shape().rank() {
            2 => self.widened(|table| table.graph.apply(Gather, &[table, indices])),
            _ => self.graph.apply(Gather, &[self, indices]),
        }
    }
}

/// A table and indices, or a gradient and indices.
fn real_and_indices(x: &[Type]) -> Result<(), String> {
    match (x[0].dtype, x[1].dtype) {
        (Dtype::F32 | Dtype::F16, Dtype::U32) => Ok(()),
        _ => Err("the table is real and the indices are labels".into()),
    }
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        real_and_indices(x)?;
        if x[0].shape.rank() != 2 {
            return Err("a table has two axes".into());
        }
        let dims: Vec<usize> = x[1].shape.dims().chain([x[0].shape.last()]).collect();
        let shape = Shape::new(&dims).ok_or("the result has too many axes")?;
        Ok(vec![Type { shape, ..x[0] }])
    }

    fn kind(&self) -> Kind {
        Kind::Head
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn repeats(&self) -> bool {
        true
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let rows = at.x[0].shape()[0];
        vec![Some(at.dy().graph.apply(Scatter { rows }, &[at.dy(), at.x[1]])), None]
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let (table, indices, y) = (io.inputs[0], io.inputs[1], io.outputs[0]);
        let (groups, d) = (y.shape.groups(), table.shape.last());
        program.push(
            Dispatch::new(io.label, io.shader("gather", include_str!("../../shaders/gather.wgsl")).padded(d))
                .read(table)
                .read(indices)
                .write(y)
                .param("groups", groups)
                .param("rows", table.shape[0])
                .param("d", d)
                .param("last", indices.shape.storage().last())
                .fuse("epilogue", io.chain)
                .workgroups(groups.div_ceil(64)),
        );
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let [rows, d] = [0, 1].map(|k| x[0].shape[k]);
        let row = |&index: &f64| match index as usize {
            i if i < rows => x[0].data[i * d..(i + 1) * d].to_vec(),
            _ if index == f64::from(IGNORE) => vec![0.0; d],
            _ => vec![f64::NAN; d],
        };
        let dims: Vec<usize> = x[1].shape.dims().chain([d]).collect();
        vec![Array::new(Shape::new(&dims).expect("inferred"), x[1].data.iter().flat_map(row).collect())]
    }
}

impl Op for Scatter {
    fn name(&self) -> &'static str {
        "scatter"
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        real_and_indices(x)?;
        Ok(vec![Type { shape: Shape::from([self.rows, x[0].shape.last()]), ..x[0] }])
    }

    fn kind(&self) -> Kind {
        Kind::Head
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        vec![Some(at.dy().graph.apply(Gather, &[at.dy(), at.x[1]])), None]
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let (dy, indices, y) = (io.inputs[0], io.inputs[1], io.outputs[0]);
        let d = dy.shape.last();
        let [shares, parts] = shared(io.caps, self.rows, d.div_ceil(64 * GROUP));
        program.push(
            Dispatch::new(io.label, io.shader("scatter", include_str!("../../shaders/scatter.wgsl")).padded(d))
                .unzeroed()
                .constant("PARTS", parts as u32)
                .read(dy)
                .read(indices)
                .write(y)
                .param("rows", self.rows)
                .param("d", d)
                .param("last", indices.shape.storage().last())
                .param("count", indices.shape.groups())
                .flops(dy.shape.len())
                .fuse("epilogue", io.chain)
                .workgroups(self.rows * shares),
        );
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let d = x[0].shape.last();
        let mut y = Array::from_fn(Shape::from([self.rows, d]), |_| 0.0);
        for (dy, &index) in x[0].data.chunks(d).zip(&x[1].data).filter(|(_, i)| **i < self.rows as f64) {
            let row = &mut y.data[index as usize * d..][..d];
            row.iter_mut().zip(dy).for_each(|(y, dy)| *y += dy);
        }
        vec![y]
    }
}

/// Parts of a row that an invocation sums, at most, since it keeps them in registers.
const MOST: usize = 4;

/// Workgroups that share each of so many rows of so many parts, and the parts of each: all of a row, so that one search
/// of the indices serves it, unless it has too many or the adapter is left idle.
fn shared(caps: &Caps, rows: usize, parts: usize) -> [usize; 2] {
    let enough = CORES.max(busy(caps.kind) / 64);
    let shares = (parts.div_ceil(MOST)..parts).find(|shares| rows * shares >= enough).unwrap_or(parts);
    [shares, parts.div_ceil(shares)]
}

/// Indices of every rank, with padding and without, more than one look takes; rows that are wide and rows that nobody
/// wants; indices that are no rows.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    let sizes: [([usize; 2], &[usize]); 9] = [
        ([10, 4], &[5]),
        ([3, 5], &[17]),
        ([65, 2], &[2, 3]),
        ([1, 3], &[1]),
        ([7, 17], &[3, 5, 1]),
        ([2, 300], &[2, 2, 3]),
        ([17, 261], &[9]),
        ([5, 3], &[]),
        ([3, 6], &[5, 1025]),
    ];
    let of = |([rows, d], indices): ([usize; 2], &[usize])| {
        let n = indices.iter().product();
        let dy: Vec<usize> = indices.iter().copied().chain([d]).collect();
        [Case::new(Gather, [&[rows, d], indices]).terms(n), Case::new(Scatter { rows }, [&dy, indices]).terms(n)]
            .map(|c| c.fill(1, Fill::Labels(rows as u32)))
    };
    let no_row = Case::new(Gather, [&[5, 3], &[17]]).fill(1, Fill::Labels(10)).not_smooth();
    sizes.into_iter().flat_map(of).chain([no_row]).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::gemm::tests::adapters, *};

    #[test]
    fn one_workgroup_has_a_row_where_there_are_many() {
        for caps in adapters() {
            // A vocabulary; rows of more than an invocation keeps; few rows.
            assert_eq!(shared(&caps, 50_257, 3), [1, 3], "{}", caps.adapter);
            assert_eq!(shared(&caps, 50_257, 5), [2, 3], "{}", caps.adapter);
            assert_eq!(shared(&caps, 2, 2), [2, 1], "{}", caps.adapter);
        }
    }
}
