//! Between labels and values.

use super::rows;
#[cfg(feature = "reference")]
use crate::reference::{Array, Case, Fill};
use crate::{
    Dtype, Precision, Shape,
    dispatch::{Dispatch, Program, Shader},
    op::{Backward, Io, Op, Type},
    shape::GROUP,
    tensor::Tensor,
};

/// `labels [..] → [.., classes]`
#[derive(Debug, Clone, Copy)]
struct OneHot {
    classes: usize,
}

/// `[.., d] → labels [..]`
#[derive(Debug, Clone, Copy)]
struct Argmax;

impl<'g> Tensor<'g> {
    /// For each label 1 at its class and 0 at all others; for a label that is no class, as [`IGNORE`](crate::graph::IGNORE)
    /// is none, only zeros: `[..] → [.., classes]`.
    #[track_caller]
    pub fn one_hot(self, classes: usize) -> Tensor<'g> {
        // A lone last axis is not stored, so its values do not lie in groups of one label.
        let wide = self.graph.apply(OneHot { classes: if classes == 1 { 2 } else { classes } }, &[self]);
        if classes == 1 { wide.slice(self.shape().rank(), 0..1) } else { wide }
    }

    /// Where the largest value of the last axis is, as labels; the first of equal ones, and NaN is larger than any number:
    /// `[.., d] → [..]`.
    #[track_caller]
    pub fn argmax(self) -> Tensor<'g> {
        self.graph.apply(Argmax, &[self])
    }
}

impl Op for OneHot {
    fn name(&self) -> &'static str {
        "one_hot"
    }

    fn infer(&self, x: &[Type], precision: Precision) -> Result<Vec<Type>, String> {
        if x[0].dtype != Dtype::U32 {
            return Err("only labels have classes".into());
        }
        if self.classes == 0 {
            return Err("there is at least one class".into());
        }
        let dims: Vec<usize> = x[0].shape.dims().chain([self.classes]).collect();
        Ok(vec![Type { shape: Shape::new(&dims).ok_or("the result has too many axes")?, dtype: precision.storage }])
    }

    fn repeats(&self) -> bool {
        true
    }

    fn grad<'g>(&self, _: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        vec![None]
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let (labels, y) = (io.inputs[0], io.outputs[0]);
        let groups = y.shape.groups();
        program.push(
            Dispatch::new(io.label, io.shader("one_hot", include_str!("../../shaders/one_hot.wgsl")))
                .read(labels)
                .write(y)
                .param("groups", groups)
                .param("classes", self.classes)
                .param("last", labels.shape.storage().last())
                .workgroups(groups.div_ceil(64)),
        );
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let dims: Vec<usize> = x[0].shape.dims().chain([self.classes]).collect();
        let row = |&label: &f64| (0..self.classes).map(move |c| f64::from(c as f64 == label));
        vec![Array::new(Shape::new(&dims).expect("inferred"), x[0].data.iter().flat_map(row).collect())]
    }
}

impl Op for Argmax {
    fn name(&self) -> &'static str {
        "argmax"
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        x[0].number()?;
        let dims = x[0].shape.to_vec();
        let (_, lead) = dims.split_last().ok_or("a single value has no axis to look along")?;
        Ok(vec![Type { shape: Shape::new(lead).expect("fewer axes than before"), dtype: Dtype::U32 }])
    }

    fn repeats(&self) -> bool {
        true
    }

    fn grad<'g>(&self, _: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        vec![None]
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let (x, y) = (io.inputs[0], io.outputs[0]);
        let groups = y.shape.groups();
        // A lone last axis is not stored: there are no rows to look through, and the answer is 0.
        let d = if x.shape.last() == 1 { 0 } else { x.shape.last() };
        let source = include_str!("../../shaders/argmax.wgsl");
        // Places are numbers in f32 while invocations meet.
        let shader = Shader::new("argmax", source, x.dtype, io.precision).acc(Dtype::F32);
        let dispatch = Dispatch::new(io.label, shader)
            .read(x)
            .write(y)
            .param("groups", groups)
            .param("d", d)
            .param("last", y.shape.storage().last())
            .flops(x.shape.len());
        program.push(rows::choose(io.caps, groups, d.div_ceil(GROUP), 0).over(groups, dispatch));
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let dims = x[0].shape.to_vec();
        let first = |row: &[f64]| (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best }) as f64;
        let shape = Shape::new(&dims[..dims.len() - 1]).expect("inferred");
        vec![Array::new(shape, x[0].data.chunks(dims[dims.len() - 1]).map(first).collect())]
    }
}

/// Labels of every rank, few and many classes; rows of every length, with ties.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    let labels: [(usize, &[usize]); 6] =
        [(10, &[5]), (3, &[65]), (17, &[3, 5]), (2, &[3, 1]), (5, &[]), (4, &[2, 2, 7])];
    let one_hot = |(classes, shape)| {
        Case::new(OneHot { classes }, [shape]).fill(0, Fill::Labels(classes as u32 + 1)).not_smooth()
    };
    let rows: [&[usize]; 9] =
        [&[5], &[5, 17], &[3, 5, 2], &[65, 1], &[3, 1, 4], &[5, 1, 10], &[1, 257], &[1], &[4, 50_257]];
    let argmax = rows.into_iter().map(|shape| Case::new(Argmax, [shape]).not_smooth());
    // Few halves lie between these.
    let ties = Case::new(Argmax, [&[17, 65]]).fill(0, Fill::Between(1.0, 1.01)).not_smooth();
    labels.map(one_hot).into_iter().chain(argmax).chain([ties]).collect()
}
