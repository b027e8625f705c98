//! Cross-entropy of logits and labels.

#[cfg(feature = "reference")]
use super::softmax::log_sum_exp;
use super::{
    rows::{self, Rows},
    softmax::row_exponentials,
    stretches::Cut,
};
#[cfg(feature = "reference")]
use crate::reference::{Array, Case, Fill};
use crate::{
    Dtype, Precision, Shape,
    dispatch::{Dispatch, Program, Shader},
    graph::IGNORE,
    op::{Backward, Io, Op, Type},
    shape::GROUP,
    tensor::Tensor,
};

/// How [`Tensor::cross_entropy_with`] reads the labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrossEntropy {
    /// ε: the target is 1 − ε at the label, and ε / classes more everywhere.
    pub label_smoothing: f32,
    /// A label that does not count, beside [`IGNORE`]: 255 in many segmentation masks.
    pub ignore: u32,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        CrossEntropy { label_smoothing: 0.0, ignore: IGNORE }
    }
}

/// The gradient of [`CrossEntropy`] with respect to the logits. It has no gradient itself.
#[derive(Debug, Clone, Copy)]
struct CrossEntropyBackward(CrossEntropy);

impl<'g> Tensor<'g> {
    /// The mean of log Σ eˣ − x at the label, over the labels that are not [`IGNORE`]: `[.., classes] · [..] → []`,
    /// in f32 unless everything is 16 bit.
    ///
    /// It is 0 if no label counts, and NaN if one is neither a class nor ignored, since a device cannot return
    /// an error: a training run stops there. It has no second gradient.
    #[track_caller]
    pub fn cross_entropy(self, labels: Tensor<'g>) -> Tensor<'g> {
        self.cross_entropy_with(labels, CrossEntropy::default())
    }

    /// [`cross_entropy`](Self::cross_entropy) with smoothed or otherwise ignored labels.
    #[track_caller]
    pub fn cross_entropy_with(self, labels: Tensor<'g>, how: CrossEntropy) -> Tensor<'g> {
        let loss = self.graph.apply_all(how, &[self, labels])[0];
        // A last axis of length 1 is not stored, so there are no rows to read; its only class is certain.
        if self.shape().last() == 1 { loss.zeros_like() } else { loss }
    }
}

impl CrossEntropy {
    /// A variant for these logits.
    fn shader(name: &'static str, source: &'static str, io: &Io) -> Shader {
        Shader::new(name, source, io.inputs[0].dtype, io.precision)
    }

    /// The target of a class, given the label.
    #[cfg(feature = "reference")]
    fn target(&self, class: usize, label: f64, classes: usize) -> f64 {
        let smoothing = f64::from(self.label_smoothing);
        smoothing / classes as f64 + if class as f64 == label { 1.0 - smoothing } else { 0.0 }
    }

    #[cfg(feature = "reference")]
    fn counts(&self, label: f64) -> bool {
        label != f64::from(IGNORE) && label != f64::from(self.ignore)
    }
}

/// Up to so many groups of logits one workgroup does it all, which saves a dispatch: 256 rows of ten classes.
const ALONE: usize = 1024;
/// Workgroups, at most, so that the last one has little to sum.
const WORKGROUPS: usize = 1024;

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    /// The loss; of each row what `cross_entropy.wgsl` says; the number of labels that count.
    fn infer(&self, x: &[Type], precision: Precision) -> Result<Vec<Type>, String> {
        let dims = x[0].shape.to_vec();
        let (Dtype::F32 | Dtype::F16, Dtype::U32) = (x[0].dtype, x[1].dtype) else {
            return Err("logits are real and labels are not".into());
        };
        let Some((_, lead)) = dims.split_last().filter(|(_, lead)| x[1].shape.to_vec() == *lead) else {
            return Err("labels have the shape of the logits without the last axis".into());
        };
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            return Err(format!("a label smoothing of {} is no share of 1", self.label_smoothing));
        }
        let (rows, wide) = (lead.iter().product(), precision.wide());
        Ok(vec![Type::new([], wide), Type::new([rows, GROUP], wide), Type::new([], Dtype::U32)])
    }

    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let inputs = [at.x[0], at.x[1], at.y[1], at.y[2], at.dy()];
        vec![Some(at.x[0].graph.apply(CrossEntropyBackward(*self), &inputs)), None]
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let [logits, labels, loss, rows, count] = [io.inputs, io.outputs].concat()[..] else { unreachable!() };
        let classes = logits.shape.last();
        let n = rows.shape[0];
        let groups = classes.div_ceil(GROUP);
        let cut = Cut::new(io.caps, n, groups);
        // What the rows' invocations read: logits, or what a first pass left of them.
        let read = cut.map_or(groups, |cut| cut.each);
        let shared = rows::choose(io.caps, n, read, usize::from(cut.is_none())).gathered();
        let workgroups = if n * read <= ALONE { 1 } else { n.div_ceil(shared.each()).min(WORKGROUPS) };
        let left = cut.map(|cut| (cut, cut.first(io, program, 1, row_exponentials(io, logits))));
        let dispatch = |rows: Rows, from_logits: bool, n: usize, workgroups: usize| {
            let shader = CrossEntropy::shader("cross_entropy", include_str!("../../shaders/cross_entropy.wgsl"), io)
                .constant("LOGITS", from_logits.into())
                .constant("ALONE", (workgroups == 1).into());
            rows.apply(Dispatch::new(io.label, shader))
                .param("rows", n)
                .param("classes", classes)
                .param("last", labels.shape.storage().last())
                .param("ignore", self.ignore as usize)
                .param_f32("smoothing", self.label_smoothing)
                .param("stride", rows.each() * workgroups)
                .workgroups(workgroups)
        };
        let sums = match workgroups {
            1 => loss,
            _ => program.scratch(Shape::from([workgroups, GROUP]), loss.dtype),
        };
        let by_rows = dispatch(shared, true, n, workgroups)
            .read(logits)
            .read(labels)
            .write(rows)
            .write(sums)
            .write(count)
            .flops(if cut.is_none() { 4 * logits.shape.len() } else { 4 * n * read });
        program.push(match left {
            Some((cut, left)) => cut.second(by_rows, left),
            None => by_rows,
        });
        if workgroups > 1 {
            // Logits and labels must be bound, but are not looked at.
            let of_sums = dispatch(rows::choose(io.caps, workgroups, 1, 1).gathered(), false, workgroups, 1)
                .second_pass()
                .read(logits.seen_as(Shape::default()))
                .read(labels.seen_as(Shape::default()))
                .update(sums)
                .write(loss)
                .write(count)
                .flops(workgroups);
            program.push(of_sums);
        }
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let classes = x[0].shape.last();
        let mut rows = vec![];
        let (mut loss, mut count) = (0.0, 0.0);
        for (row, &label) in x[0].data.chunks(classes).zip(&x[1].data) {
            let lse = log_sum_exp(row);
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let targets = row.iter().enumerate().map(|(c, v)| (self.target(c, label, classes), v));
            let of_row = match self.counts(label) {
                true if label >= classes as f64 => f64::NAN,
                // A masked logit, -inf, is no target.
                true => targets.filter(|(target, _)| *target > 0.0).map(|(target, v)| target * (lse - v)).sum(),
                false => 0.0,
            };
            let counts = f64::from(self.counts(label));
            rows.extend([largest, lse - largest, of_row, counts]);
            (loss, count) = (loss + of_row, count + counts);
        }
        let shape = [x[1].data.len(), GROUP];
        vec![Array::new([], vec![loss / count.max(1.0)]), Array::new(shape, rows), Array::new([], vec![count])]
    }
}

impl Op for CrossEntropyBackward {
    fn name(&self) -> &'static str {
        "cross_entropy_backward"
    }

    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        Ok(vec![x[0]])
    }

    fn grad<'g>(&self, _: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        vec![None; 5]
    }

    fn is_differentiable(&self) -> bool {
        false
    }

    fn lower(&self, io: &Io, program: &mut Program) {
        let (logits, labels) = (io.inputs[0], io.inputs[1]);
        let classes = logits.shape.last();
        let source = include_str!("../../shaders/cross_entropy_backward.wgsl");
        let dispatch =
            Dispatch::new(io.label, CrossEntropy::shader("cross_entropy_backward", source, io).padded(classes));
        let groups = logits.shape.groups();
        program.push(
            io.inputs
                .iter()
                .fold(dispatch, |d, &x| d.read(x))
                .write(io.outputs[0])
                .param("groups", groups)
                .param("classes", classes)
                .param("last", labels.shape.storage().last())
                .param("ignore", self.0.ignore as usize)
                .param_f32("smoothing", self.0.label_smoothing)
                .flops(5 * logits.shape.len())
                .workgroups(groups.div_ceil(64)),
        );
    }

    #[cfg(feature = "reference")]
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let [logits, labels, _, count, dloss] = x else { unreachable!() };
        let classes = logits.shape.last();
        let scale = dloss.data[0] / count.data[0].max(1.0);
        let rows = logits.data.chunks(classes).zip(&labels.data).flat_map(|(row, &label)| {
            let (lse, scale) = (log_sum_exp(row), if self.0.counts(label) { scale } else { 0.0 });
            let slope = move |(c, v): (usize, &f64)| ((v - lse).exp() - self.0.target(c, label, classes)) * scale;
            row.iter().enumerate().map(slope)
        });
        vec![Array::new(logits.shape, rows.collect())]
    }
}

/// Few and many classes and rows, labels of every rank, smoothing, labels that do not count.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<Case> {
    let case = |shape: &[usize], how| {
        let (&classes, lead) = shape.split_last().expect("an axis of classes");
        Case::new(how, [shape, lead]).fill(1, Fill::Labels(classes as u32)).terms(classes)
    };
    let shapes: [&[usize]; 12] = [
        &[10],
        &[1, 3],
        &[5, 2],
        &[65, 10],
        &[5, 17],
        &[3, 5, 10],
        &[5, 1, 3],
        &[5, 257],
        &[1, 1000],
        &[65, 1000],  // several workgroups
        &[2, 8203],   // more than registers hold
        &[2, 16_389], // cut in stretches
    ];
    let smooth = |label_smoothing| CrossEntropy { label_smoothing, ..CrossEntropy::default() };
    let plain = shapes.iter().flat_map(|s| [case(s, smooth(0.0)), case(s, smooth(0.1))]);
    let large = case(&[65, 17], smooth(0.0)).fill(0, Fill::Between(-60.0, 60.0));
    let more_ignored = case(&[65, 3], CrossEntropy { ignore: 0, ..smooth(0.1) });
    let all_ignored = case(&[5, 10], CrossEntropy { ignore: 0, ..smooth(0.1) }).fill(1, Fill::Labels(1));
    plain.chain([large, more_ignored, all_ignored]).collect()
}
