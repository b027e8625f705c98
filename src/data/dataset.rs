use super::{Batches, text::next_tokens};
use crate::{Error, Result, Shape, random::Random};
use std::{borrow::Cow, ops::Range, sync::Arc};

/// Labelled samples of one shape. A clone shares their memory.
///
/// ```
/// use halfgrad::{Shape, data::Dataset};
/// let data = Dataset::new(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], vec![0, 1, 1], Shape::from([1, 2, 1]), 2)?;
/// assert_eq!(data.len(), 3);
/// let (values, label) = data.get(2).unwrap();
/// assert_eq!((&values[..], label), (&[4.0, 5.0][..], 1));
/// assert_eq!(data.subset(&[2, 0])?.images()[..], [4.0, 5.0, 0.0, 1.0]);
/// # Ok::<(), halfgrad::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    values: Arc<Values>,
    labels: Arc<Vec<u32>>,
    shape: Shape,
    classes: usize,
}

/// The values of all samples, one sample after another.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    Floats(Vec<f32>),
    /// Pixels as files have them, a quarter of the memory, and the value of each of the 256.
    Bytes(Vec<u8>, Box<[f32; 256]>),
}

impl Dataset {
    /// The samples `images`, one after another and each of `shape` in row-major order, with their `labels`.
    ///
    /// # Errors
    /// [`Error::Data`] if there are no samples, if `images` does not hold `shape.len()` values for each label, or if
    /// a label is not below `classes`.
    pub fn new(images: Vec<f32>, labels: Vec<u32>, shape: Shape, classes: usize) -> Result<Self> {
        Self::checked(Values::Floats(images), labels, shape, classes)
    }

    /// As [`new`](Self::new), of values from 0 to 255, which are kept as bytes and become `f32` in batches.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_bytes(images: Vec<u8>, labels: Vec<u32>, shape: Shape, classes: usize) -> Result<Self> {
        let table = Box::new(std::array::from_fn(|byte| byte as f32));
        Self::checked(Values::Bytes(images, table), labels, shape, classes)
    }

    pub(super) fn checked(values: Values, labels: Vec<u32>, shape: Shape, classes: usize) -> Result<Self> {
        let (count, samples) = (values.len(), labels.len());
        if samples == 0 || shape.is_empty() {
            return Err(Error::Data(format!("a data set needs samples: {samples} of shape {shape} were given")));
        }
        if samples > u32::MAX as usize || samples.checked_mul(shape.len()) != Some(count) {
            return Err(Error::Data(format!("{samples} samples of shape {shape} do not have {count} values")));
        }
        if let Some(at) = labels.iter().position(|&label| label as usize >= classes) {
            let label = labels[at];
            return Err(Error::Data(format!("sample {at} has the label {label}, of {classes} classes counted from 0")));
        }
        Ok(Dataset { values: Arc::new(values), labels: Arc::new(labels), shape, classes })
    }

    pub(super) fn values(&self) -> &Values {
        &self.values
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

    /// The values of all samples, one sample after another; a copy, four times as large, of those kept as bytes.
    pub fn images(&self) -> Cow<'_, [f32]> {
        self.values.range(0..self.values.len())
    }

    /// The label of each sample.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// What a network is to say: each sample's label or, of windows of `tokens`, at each place the next one.
    pub(crate) fn targets(&self, tokens: bool) -> Cow<'_, [u32]> {
        match tokens {
            true => next_tokens(&self.images(), &self.labels).into(),
            false => self.labels[..].into(),
        }
    }

    /// Values and label of sample `index`; `None` from [`len`](Self::len) on.
    pub fn get(&self, index: usize) -> Option<(Cow<'_, [f32]>, u32)> {
        let label = *self.labels.get(index)?;
        Some((self.values.range(self.range(index)), label))
    }

    /// Puts the values of sample `index`, which must exist, behind those in `to`.
    pub(crate) fn append(&self, index: usize, to: &mut Vec<f32>) {
        self.values.append(self.range(index), to);
    }

    /// Where the values of a sample lie.
    fn range(&self, index: usize) -> Range<usize> {
        let n = self.shape.len();
        index * n..(index + 1) * n
    }

    /// The samples at `indices`, in that order.
    ///
    /// # Errors
    /// [`Error::Data`] if `indices` is empty or one of them is not below [`len`](Self::len).
    pub fn subset(&self, indices: &[u32]) -> Result<Self> {
        if let Some(&index) = indices.iter().find(|&&index| index as usize >= self.len()) {
            return Err(self.no_sample(index));
        }
        let ranges = indices.iter().map(|&index| self.range(index as usize));
        let values = match &*self.values {
            Values::Floats(all) => Values::Floats(ranges.flat_map(|range| &all[range]).copied().collect()),
            Values::Bytes(all, table) => {
                Values::Bytes(ranges.flat_map(|range| &all[range]).copied().collect(), table.clone())
            }
        };
        let labels = indices.iter().map(|&index| self.labels[index as usize]).collect();
        Self::checked(values, labels, self.shape, self.classes)
    }

    /// Two parts, of which the second has this share of the samples: to train with, and to choose by (learning rates, when to stop)
    /// without a look at the test set. Which samples go where, `seed` says.
    ///
    /// ```
    /// use halfgrad::data::digits;
    /// let (train, validation) = digits().train.split(0.1, 7)?;
    /// assert_eq!((train.len(), validation.len()), (1293, 144));
    /// # Ok::<(), halfgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] if one of the parts would be empty.
    pub fn split(&self, share: f64, seed: u64) -> Result<(Self, Self)> {
        let second = (self.len() as f64 * share).round() as usize;
        if second == 0 || second >= self.len() {
            return Err(Error::Data(format!("a share of {share} of {} samples leaves a part empty", self.len())));
        }
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        Random::new(seed, "split").shuffle(&mut order);
        let (first, second) = order.split_at(self.len() - second);
        Ok((self.subset(first)?, self.subset(second)?))
    }

    /// The samples in batches of `size`, in the order of the data set until [`Batches`] is told otherwise.
    ///
    /// # Errors
    /// [`Error::Data`] if `size` is 0 or more than there are samples.
    pub fn batches(&self, size: usize) -> Result<Batches> {
        Batches::new(self, size)
    }

    /// Mean and standard deviation over all values of all samples.
    pub fn moments(&self) -> (f32, f32) {
        let (n, mean) = (self.values.len() as f64, self.values.sum(|x| x) / self.values.len() as f64);
        let variance = self.values.sum(|x| (x - mean).powi(2)) / n;
        (mean as f32, variance.sqrt() as f32)
    }

    /// Replaces each value `x` by `(x - mean) / (std + 1e-7)`.
    pub fn standardize(&mut self, mean: f32, std: f32) {
        match Arc::make_mut(&mut self.values) {
            Values::Floats(all) => all.iter_mut(),
            Values::Bytes(_, table) => table.iter_mut(),
        }
        .for_each(|x| *x = standardized(*x, mean, std));
    }

    /// The error of an index that is too large.
    pub(super) fn no_sample(&self, index: u32) -> Error {
        Error::Data(format!("there is no sample {index}: the data set has {}, counted from 0", self.len()))
    }
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Values::Floats(all) => all.len(),
            Values::Bytes(all, _) => all.len(),
        }
    }

    fn range(&self, range: Range<usize>) -> Cow<'_, [f32]> {
        match self {
            Values::Floats(all) => Cow::Borrowed(&all[range]),
            Values::Bytes(..) => {
                let mut copy = Vec::with_capacity(range.len());
                self.append(range, &mut copy);
                Cow::Owned(copy)
            }
        }
    }

    fn append(&self, range: Range<usize>, to: &mut Vec<f32>) {
        match self {
            Values::Floats(all) => to.extend_from_slice(&all[range]),
            Values::Bytes(all, table) => to.extend(all[range].iter().map(|&byte| table[usize::from(byte)])),
        }
    }

    /// The sum over all values of what `f` makes of them.
    fn sum(&self, f: impl Fn(f64) -> f64) -> f64 {
        match self {
            Values::Floats(all) => all.iter().map(|&x| f(x.into())).sum(),
            Values::Bytes(all, table) => {
                let mut counts = [0u64; 256];
                all.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
                counts.iter().zip(table.iter()).map(|(&n, &x)| n as f64 * f(x.into())).sum()
            }
        }
    }
}

/// `(x - mean) / (std + 1e-7)`; the small term keeps a data set of equal values finite.
pub(super) fn standardized(x: f32, mean: f32, std: f32) -> f32 {
    ((f64::from(x) - f64::from(mean)) / (f64::from(std) + 1e-7)) as f32
}

/// A data set in two parts: one to learn from, one to be tested on.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// The data set's name, for reports.
    pub name: String,
    /// What each class is called: its number, where the files do not say.
    pub class_names: Vec<String>,
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
        let class_names = (0..train.classes).map(|class| class.to_string()).collect();
        Ok(Split { name: name.into(), class_names, train, test, mean, std })
    }

    /// The same data, with a name for each class.
    ///
    /// # Errors
    /// [`Error::Data`] if there are not as many names as classes.
    pub fn named(self, class_names: impl IntoIterator<Item = impl Into<String>>) -> Result<Self> {
        let class_names: Vec<String> = class_names.into_iter().map(Into::into).collect();
        if class_names.len() != self.train.classes {
            let (names, classes) = (class_names.len(), self.train.classes);
            return Err(Error::Data(format!("{names} names were given for {classes} classes")));
        }
        Ok(Split { class_names, ..self })
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
        assert_eq!(split.test.images()[..], [split.scale(5.0)]);
        assert!((split.test.images()[0] - 3.0).abs() < 1e-6);
        let flat = Split::standardized("flat", new(&[4.0, 4.0]), new(&[4.0])).unwrap();
        assert_eq!(flat.train.images()[..], [0.0, 0.0]);
    }

    #[test]
    fn bytes_are_the_same_data_as_floats() {
        let (bytes, labels) = ([0, 255, 7, 7, 128, 3], vec![0, 1, 1]);
        let floats = bytes.iter().map(|&byte| f32::from(byte)).collect();
        let mut floats = Dataset::new(floats, labels.clone(), Shape::from([2]), 2).unwrap();
        let mut bytes = Dataset::from_bytes(bytes.to_vec(), labels, Shape::from([2]), 2).unwrap();
        assert_eq!(bytes.moments(), floats.moments());
        let ((mean, std), raw) = (bytes.moments(), bytes.clone());
        [&mut bytes, &mut floats].into_iter().for_each(|data| data.standardize(mean, std));
        assert_eq!(raw.images()[..2], [0.0, 255.0], "a clone keeps its values");
        assert_eq!((bytes.images(), bytes.get(1)), (floats.images(), floats.get(1)));
        let [a, b] = [&bytes, &floats].map(|data| data.subset(&[2, 0]).unwrap());
        assert_eq!((a.images(), a.labels()), (b.images(), b.labels()));
        assert!(bytes.moments().0.abs() < 1e-6 && (bytes.moments().1 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn classes_are_numbered_until_they_are_named() {
        let data = Dataset::new(vec![0.0; 2], vec![0, 1], Shape::from([1]), 2).unwrap();
        let split = Split::standardized("pair", data.clone(), data).unwrap();
        assert_eq!(split.class_names, ["0", "1"]);
        let message = split.clone().named(["cat"]).unwrap_err().to_string();
        assert_eq!(message, "1 names were given for 2 classes");
        assert_eq!(split.named(["cat", "dog"]).unwrap().class_names, ["cat", "dog"]);
    }
}
