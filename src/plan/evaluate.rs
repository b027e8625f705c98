//! Data sets through a plan: predictions, loss and accuracy.

use super::Plan;
use crate::{Dtype, Error, Port, Result, data::Dataset, graph::IGNORE};

/// Loss and accuracy over a data set.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// Mean cross-entropy, in f64 on the host from the network's logits.
    pub loss: f64,
    /// The share of samples whose [`class`] is the label.
    pub accuracy: f64,
}

impl Plan {
    /// The network's output for each sample of a data set, in its order: `[samples, d]`. An input of labels takes the values
    /// as tokens.
    ///
    /// # Errors
    /// [`Error::Port`] if the plan trains: it would learn from what it is asked; else as [`write`](Self::write) and
    /// [`read`](Self::read).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn predict<'p>(
        &mut self,
        input: impl Into<Port<'p>>,
        output: impl Into<Port<'p>>,
        data: &Dataset,
    ) -> Result<Vec<f32>> {
        pollster::block_on(self.predict_async(input.into(), output.into(), data))
    }

    /// [`predict`](Self::predict), without blocking.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub async fn predict_async<'p>(
        &mut self,
        input: impl Into<Port<'p>>,
        output: impl Into<Port<'p>>,
        data: &Dataset,
    ) -> Result<Vec<f32>> {
        let add = |i: usize, to: &mut Vec<f32>| data.append(i, to);
        self.predict_each(input.into(), output.into(), data.shape().len(), data.len(), add).await
    }

    /// As [`predict`](Self::predict), of samples without labels, one after another: as many as there are, whatever the plan's batch.
    ///
    /// ```
    /// use halfgrad::{Gpu, Graph, Plan, Precision, Weights, nn};
    /// let (gpu, graph) = (Gpu::new()?, Graph::new(Precision::F16));
    /// let x = graph.input("x", [4, 8]);
    /// let y = nn::linear("fc", x, 3);
    /// let mut infer = Plan::infer(&gpu, &Weights::init(&gpu, &graph, 1)?, [y])?;
    /// assert_eq!(infer.predict_values(x, y, &[0.5; 5 * 8])?.len(), 5 * 3);
    /// # Ok::<(), halfgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] if the last sample is not whole; else as [`predict`](Self::predict).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn predict_values<'p>(
        &mut self,
        input: impl Into<Port<'p>>,
        output: impl Into<Port<'p>>,
        values: &[f32],
    ) -> Result<Vec<f32>> {
        pollster::block_on(self.predict_values_async(input.into(), output.into(), values))
    }

    /// [`predict_values`](Self::predict_values), without blocking.
    ///
    /// # Errors
    /// As [`predict_values`](Self::predict_values).
    pub async fn predict_values_async<'p>(
        &mut self,
        input: impl Into<Port<'p>>,
        output: impl Into<Port<'p>>,
        values: &[f32],
    ) -> Result<Vec<f32>> {
        let (input, output) = (input.into(), output.into());
        let shape = self.find(input)?.shape;
        let sample = shape.len() / shape.first();
        if !values.len().is_multiple_of(sample) {
            let (expected, found) = (values.len().next_multiple_of(sample), values.len());
            return Err(Error::Length { name: self.name(input), shape, expected, found });
        }
        let add = |i: usize, to: &mut Vec<f32>| to.extend_from_slice(&values[i * sample..][..sample]);
        self.predict_each(input, output, sample, values.len() / sample, add).await
    }

    /// The outputs of `count` samples of `sample` values, which `add` puts behind others.
    async fn predict_each(
        &mut self,
        input: Port<'_>,
        output: Port<'_>,
        sample: usize,
        count: usize,
        add: impl Fn(usize, &mut Vec<f32>),
    ) -> Result<Vec<f32>> {
        if self.core.lowered.trains {
            let detail = "a plan that trains changes its weights with each run; Plan::infer makes one that does not";
            return Err(Error::Port(detail.into()));
        }
        let x = self.find(input)?;
        let batch = x.shape.first();
        if batch * sample != x.shape.len() {
            let (expected, found) = (x.shape.len(), batch * sample);
            return Err(Error::Length { name: self.name(input), shape: x.shape, expected, found });
        }
        let y = self.find(output)?.shape;
        if !y.len().is_multiple_of(batch) {
            let name = self.name(output);
            return Err(Error::Port(format!("{name} of shape {y} has not as many values for each of {batch} samples")));
        }
        let width = y.len() / batch;
        let mut all = Vec::with_capacity(count * width);
        let mut values = Vec::with_capacity(x.shape.len());
        for start in (0..count).step_by(batch) {
            values.clear();
            let end = count.min(start + batch);
            (start..end).for_each(|i| add(i, &mut values));
            values.resize(x.shape.len(), 0.0);
            self.write_numbers(input, &values)?;
            self.run();
            let result = self.read(output)?.await?;
            all.extend_from_slice(&result[..(end - start) * width]);
        }
        Ok(all)
    }

    /// Loss and accuracy of a classifier over a data set; `logits` are `[batch, classes]`. If the input takes tokens, `[batch, t]`,
    /// it is a language model whose `logits`, `[batch, t, vocabulary]`, are held against the next token at each place.
    ///
    /// # Errors
    /// [`Error::Port`] if the logits are of another shape; else as [`predict`](Self::predict).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn evaluate<'p>(
        &mut self,
        input: impl Into<Port<'p>>,
        logits: impl Into<Port<'p>>,
        data: &Dataset,
    ) -> Result<Evaluation> {
        pollster::block_on(self.evaluate_async(input.into(), logits.into(), data))
    }

    /// [`evaluate`](Self::evaluate), without blocking.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub async fn evaluate_async<'p>(
        &mut self,
        input: impl Into<Port<'p>>,
        logits: impl Into<Port<'p>>,
        data: &Dataset,
    ) -> Result<Evaluation> {
        let (input, logits) = (input.into(), logits.into());
        let (x, y) = (self.find(input)?, self.find(logits)?);
        let tokens = x.dtype == Dtype::U32;
        let batch = x.shape.first();
        let rows = if tokens { x.shape.len() } else { batch };
        if y.shape.len() != rows * y.shape.last() {
            let rows = if tokens { x.shape.to_string() } else { format!("[{batch}]") };
            let detail = format!("logits of {} are not one row of classes for each of {rows}", y.shape);
            return Err(Error::Port(detail));
        }
        let values = self.predict_async(input, logits, data).await?;
        Ok(Evaluation::of(&values, &data.targets(tokens)))
    }
}

impl Evaluation {
    /// Loss and accuracy of logits `[samples, classes]` given the labels; labels [`crate::graph::IGNORE`] do not count, and those
    /// beyond the classes make the loss NaN, as logits do that are not so many for each label.
    pub fn of(logits: &[f32], labels: &[u32]) -> Self {
        let (mut loss, mut right, mut count) = (0.0, 0, 0);
        if !logits.len().is_multiple_of(labels.len().max(1)) {
            loss = f64::NAN;
        }
        for (row, label) in labelled(logits, labels) {
            let of_label = row.get(label as usize).copied().unwrap_or(f32::NAN);
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|&v| f64::from(v - largest).exp()).sum();
            loss += sum.ln() - f64::from(of_label - largest);
            right += usize::from(class(row) == Some(label as usize));
            count += 1;
        }
        Evaluation { loss: loss / f64::from(count), accuracy: right as f64 / f64::from(count) }
    }

    /// The share of samples whose label is among the `k` largest logits, `[samples, classes]`; of equal ones the first counts
    /// as the larger. Logits without a [`class`] are never right, and labels [`crate::graph::IGNORE`] do not count.
    ///
    /// ```
    /// use halfgrad::plan::Evaluation;
    /// let logits = [0.1, 0.7, 0.2, 0.5, 0.3, 0.2]; // two samples of three classes
    /// assert_eq!([1, 2, 3].map(|k| Evaluation::top_k(&logits, &[1, 2], k)), [0.5, 0.5, 1.0]);
    /// ```
    pub fn top_k(logits: &[f32], labels: &[u32], k: usize) -> f64 {
        let (mut found, mut count) = (0, 0);
        for (row, label) in labelled(logits, labels) {
            let own = row.get(label as usize).copied().unwrap_or(f32::NEG_INFINITY);
            let before = |(i, v): (usize, &f32)| *v > own || (*v == own && i < label as usize);
            let rank = row.iter().enumerate().filter(|at| before(*at)).count();
            found += usize::from(class(row).is_some() && rank < k);
            count += 1;
        }
        f64::from(found as u32) / f64::from(count)
    }
}

/// The logits of each sample with its label, but for those that do not count.
fn labelled<'a>(logits: &'a [f32], labels: &'a [u32]) -> impl Iterator<Item = (&'a [f32], u32)> {
    let width = (logits.len() / labels.len().max(1)).max(1);
    logits.chunks_exact(width).zip(labels.iter().copied()).filter(|(_, label)| *label != IGNORE)
}

/// The class that logits stand for: the first largest value's place; none if one of them is not a number.
pub fn class(logits: &[f32]) -> Option<usize> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sound = !logits.iter().any(|v| v.is_nan());
    logits.iter().position(|&v| sound && v == largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_with_a_nan_have_no_class_and_are_never_right() {
        let nan = f32::NAN;
        let logits = [2.0, 1.0, nan, nan, 2.0, 1.0, f32::INFINITY, 1.0, 0.0, 0.0, 5.0, 5.0];
        let classes: Vec<_> = logits.chunks(3).map(class).collect();
        assert_eq!(classes, [None, None, Some(0), Some(1)]);
        assert_eq!(Evaluation::of(&logits, &[0, 1, 0, 1]).accuracy, 0.5);
        assert_eq!([1, 3].map(|k| Evaluation::top_k(&logits, &[0, 1, 0, 2], k)), [0.25, 0.5]);
    }
}
