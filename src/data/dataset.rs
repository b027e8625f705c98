use super::Batches;
use crate::{Error, Result, Shape};

/// Labelled samples of one shape.
///
/// ```
/// use halfgrad::{Shape, data::Dataset};
/// let data = Dataset::new(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], vec![0, 1, 1], Shape::from([1, 2, 1]), 2)?;
/// assert_eq!(data.len(), 3);
/// assert_eq!(data.get(2), Some((&[4.0, 5.0][..], 1)));
/// assert_eq!(data.subset(&[2, 0])?.images(), [4.0, 5.0, 0.0, 1.0]);
/// # Ok::<(), halfgrad::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    images: Vec<f32>,
    labels: Vec<u32>,
    shape: Shape,
    classes: usize,
}

impl Dataset {
    /// The samples `images`, one after another and each of `shape` in row-major order, with their `labels`.
    ///
    /// # Errors
    /// [`Error::Data`] if there are no samples, if `images` does not hold `shape.len()` values for each label, or if
    /// a label is not below `classes`.
    pub fn new(images: Vec<f32>, labels: Vec<u32>, shape: Shape, classes: usize) -> Result<Self> {
        let (values, samples) = (images.len(), labels.len());
        if samples == 0 || shape.is_empty() {
            return Err(Error::Data(format!("a data set needs samples: {samples} of shape {shape} were given")));
        }
        if samples > u32::MAX as usize || samples.checked_mul(shape.len()) != Some(values) {
            return Err(Error::Data(format!("{samples} samples of shape {shape} do not have {values} values")));
        }
        if let Some(at) = labels.iter().position(|&label| label as usize >= classes) {
            let label = labels[at];
            return Err(Error::Data(format!("sample {at} has the label {label}, of {classes} classes counted from 0")));
        }
        Ok(Dataset { images, labels, shape, classes })
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no samples: never.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The shape of one sample.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The number of classes; labels are below it.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The values of all samples, one sample after another.
    pub fn images(&self) -> &[f32] {
        &self.images
    }

    /// The label of each sample.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Values and label of sample `index`; `None` from [`len`](Self::len) on.
    pub fn get(&self, index: usize) -> Option<(&[f32], u32)> {
        Some((self.images.chunks_exact(self.shape.len()).nth(index)?, self.labels[index]))
    }

    /// The samples at `indices`, in that order.
    ///
    /// # Errors
    /// [`Error::Data`] if `indices` is empty or one of them is not below [`len`](Self::len).
    pub fn subset(&self, indices: &[u32]) -> Result<Self> {
        let mut images = Vec::with_capacity(indices.len() * self.shape.len());
        let mut labels = Vec::with_capacity(indices.len());
        for &index in indices {
            let (image, label) = self.get(index as usize).ok_or_else(|| self.no_sample(index))?;
            images.extend(image);
            labels.push(label);
        }
        Dataset::new(images, labels, self.shape, self.classes)
    }

    /// The samples in batches of `size`, in the order of the data set until [`Batches`] is told otherwise.
    ///
    /// # Errors
    /// [`Error::Data`] if `size` is 0 or more than there are samples.
    pub fn batches(&self, size: usize) -> Result<Batches<'_>> {
        Batches::new(self, size)
    }

    /// Mean and standard deviation over all values of all samples.
    pub fn moments(&self) -> (f32, f32) {
        let n = self.images.len() as f64;
        let sum = |value: &dyn Fn(f64) -> f64| self.images.iter().map(|&x| value(x.into())).sum::<f64>();
        let mean = sum(&|x| x) / n;
        let variance = sum(&|x| (x - mean).powi(2)) / n;
        (mean as f32, variance.sqrt() as f32)
    }

    /// Replaces each value `x` by `(x - mean) / (std + 1e-7)`.
    pub fn standardize(&mut self, mean: f32, std: f32) {
        self.images.iter_mut().for_each(|x| *x = standardized(*x, mean, std));
    }

    /// The error of an index that is too large.
    pub(super) fn no_sample(&self, index: u32) -> Error {
        Error::Data(format!("there is no sample {index}: the data set has {}, counted from 0", self.len()))
    }
}

/// `(x - mean) / (std + 1e-7)`; the small term keeps a data set of equal values finite.
fn standardized(x: f32, mean: f32, std: f32) -> f32 {
    ((f64::from(x) - f64::from(mean)) / (f64::from(std) + 1e-7)) as f32
}

/// A data set in two parts: one to learn from, one to be tested on.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// The data set's name, for reports.
    pub name: String,
    /// What a network learns from.
    pub train: Dataset,
    /// What it has never seen.
    pub test: Dataset,
    /// The mean of the training set's values as they came, before they were standardised.
    pub mean: f32,
    /// Their standard deviation.
    pub std: f32,
}

impl Split {
    /// Both parts, standardised by mean and deviation of `train`.
    ///
    /// # Errors
    /// [`Error::Data`] if the parts differ in the shape of a sample or in the number of classes.
    pub fn standardized(name: impl Into<String>, mut train: Dataset, mut test: Dataset) -> Result<Self> {
        let kind = |data: &Dataset| (data.shape, data.classes);
        if kind(&train) != kind(&test) {
            let (a, b) = (kind(&train), kind(&test));
            let detail = format!("{} samples in {} classes, the test set {} in {}", a.0, a.1, b.0, b.1);
            return Err(Error::Data(format!("the parts do not belong together: the training set has {detail}")));
        }
        let (mean, std) = train.moments();
        train.standardize(mean, std);
        test.standardize(mean, std);
        Ok(Split { name: name.into(), train, test, mean, std })
    }

    /// A value as the network sees it: brings a new image, in the units of the files, into the form of the samples.
    pub fn scale(&self, value: f32) -> f32 {
        standardized(value, self.mean, self.std)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let new = |values: usize, labels: &[u32]| {
            Dataset::new(vec![0.0; values], labels.to_vec(), Shape::from([2]), 3).map_err(|e| e.to_string())
        };
        assert!(new(4, &[0, 2]).is_ok());
        assert_eq!(new(0, &[]).unwrap_err(), "a data set needs samples: 0 of shape [2] were given");
        assert_eq!(new(5, &[0, 2]).unwrap_err(), "2 samples of shape [2] do not have 5 values");
        assert_eq!(new(4, &[0, 3]).unwrap_err(), "sample 1 has the label 3, of 3 classes counted from 0");
        let data = new(4, &[0, 2]).unwrap();
        let message = data.subset(&[1, 2]).unwrap_err().to_string();
        assert_eq!(message, "there is no sample 2: the data set has 2, counted from 0");
        assert_eq!(data.get(2), None);
    }

    #[test]
    fn standardising_uses_the_training_set_alone() {
        let new = |images: &[f32]| Dataset::new(images.to_vec(), vec![0; images.len()], Shape::from([1]), 1).unwrap();
        let split = Split::standardized("pair", new(&[1.0, 3.0]), new(&[5.0])).unwrap();
        assert_eq!((split.mean, split.std), (2.0, 1.0));
        assert_eq!(split.test.images(), [split.scale(5.0)]);
        assert!((split.test.images()[0] - 3.0).abs() < 1e-6);
        let flat = Split::standardized("flat", new(&[4.0, 4.0]), new(&[4.0])).unwrap();
        assert_eq!(flat.train.images(), [0.0, 0.0]);
    }
}
