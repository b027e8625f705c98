#[cfg(not(target_arch = "wasm32"))]
use super::Prefetched;
use super::{Augment, Dataset};
pub use crate::graph::IGNORE;
use crate::{Error, Result, random::Random};
use std::sync::Arc;

/// Samples that go through a network together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// The values, one sample after another, always of the whole batch: a short last batch ends with zeros.
    pub images: Vec<f32>,
    /// The labels, always of the whole batch: a short last batch ends with [`IGNORE`].
    pub labels: Vec<u32>,
    /// How many samples there really are.
    pub count: usize,
}

/// A data set cut into batches of one size, in which every sample counts once an epoch.
///
/// ```
/// use halfgrad::data::{IGNORE, digits};
/// let test = digits().test;
/// let batches = test.batches(100)?.shuffled(7);
/// assert_eq!(batches.len(), 4);
/// for epoch in 0..2 {
///     let last = batches.epoch(epoch).last().unwrap();
///     assert_eq!((last.count, last.labels[60]), (60, IGNORE));     // 360 = 3 · 100 + 60
/// }
/// # Ok::<(), halfgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Batches {
    data: Dataset,
    size: usize,
    order: Order,
    augment: Option<Augment>,
}

#[derive(Debug, Clone)]
enum Order {
    AsIs,
    Shuffled(u64),
    Given(Arc<Vec<u32>>),
}

impl Batches {
    pub(super) fn new(data: &Dataset, size: usize) -> Result<Self> {
        if size == 0 || size > data.len() {
            let len = data.len();
            return Err(Error::Data(format!("no batches of {size} from {len} samples: take a size from 1 to {len}")));
        }
        Ok(Batches { data: data.clone(), size, order: Order::AsIs, augment: None })
    }

    /// Each epoch in an order of its own, which `seed` and the epoch's number choose.
    pub fn shuffled(self, seed: u64) -> Self {
        Batches { order: Order::Shuffled(seed), ..self }
    }

    /// Each epoch in exactly this order, of any length and with repetitions if there are any: for comparing step by
    /// step with another framework.
    ///
    /// # Errors
    /// [`Error::Data`] if `indices` is empty or one of them is no sample's.
    pub fn order(self, indices: Vec<u32>) -> Result<Self> {
        if indices.is_empty() {
            return Err(Error::Data("the order of the samples is empty".into()));
        }
        match indices.iter().find(|&&index| index as usize >= self.data.len()) {
            Some(&index) => Err(self.data.no_sample(index)),
            None => Ok(Batches { order: Order::Given(Arc::new(indices)), ..self }),
        }
    }

    /// Each sample changed a little, in another way in each epoch, so that a network learns what stays.
    ///
    /// ```
    /// use halfgrad::data::{Augment, digits};
    /// let batches = digits().train.batches(64)?.shuffled(7).augmented(Augment::new(7).crop(1))?;
    /// assert_ne!(batches.epoch(0).next(), batches.epoch(1).next());
    /// # Ok::<(), halfgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] if the samples are no images `[height, width, channels]`, or too small for it.
    pub fn augmented(self, augment: Augment) -> Result<Self> {
        augment.fits(self.data.shape())?;
        Ok(Batches { augment: Some(augment), ..self })
    }

    /// The number of batches in an epoch.
    pub fn len(&self) -> usize {
        let samples = match &self.order {
            Order::Given(indices) => indices.len(),
            _ => self.data.len(),
        };
        samples.div_ceil(self.size)
    }

    /// Whether an epoch has no batches: never.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batches of epoch number `epoch`, counted from 0.
    pub fn epoch(&self, epoch: u32) -> Epoch {
        let order = match &self.order {
            Order::Given(indices) => indices.clone(),
            order => {
                let mut indices: Vec<u32> = (0..self.data.len() as u32).collect();
                if let Order::Shuffled(seed) = order {
                    Random::new(*seed, &format!("epoch {epoch}")).shuffle(&mut indices);
                }
                Arc::new(indices)
            }
        };
        let augment = self.augment.map(|augment| (augment, epoch));
        Epoch { data: self.data.clone(), size: self.size, order, augment, next: 0, sample: vec![] }
    }
}

impl IntoIterator for Batches {
    type Item = Batch;
    type IntoIter = Epoch;

    /// The batches of the first epoch.
    fn into_iter(self) -> Epoch {
        self.epoch(0)
    }
}

/// The batches of one epoch.
#[derive(Debug, Clone)]
pub struct Epoch {
    data: Dataset,
    size: usize,
    order: Arc<Vec<u32>>,
    augment: Option<(Augment, u32)>,
    next: usize,
    /// A sample before it is augmented.
    sample: Vec<f32>,
}

impl Epoch {
    /// Puts the next batch in the place of `batch`, without allocating if it held one; `false` after the last.
    pub fn fill(&mut self, batch: &mut Batch) -> bool {
        let rest = &self.order[self.next..];
        let indices = &rest[..self.size.min(rest.len())];
        batch.images.clear();
        batch.labels.clear();
        for &index in indices {
            match &self.augment {
                None => self.data.append(index as usize, &mut batch.images),
                Some((augment, epoch)) => {
                    self.sample.clear();
                    self.data.append(index as usize, &mut self.sample);
                    augment.append(&self.sample, self.data.shape(), *epoch, index, &mut batch.images);
                }
            }
            batch.labels.push(self.data.labels()[index as usize]);
        }
        batch.count = indices.len();
        batch.images.resize(self.size * self.data.shape().len(), 0.0);
        batch.labels.resize(self.size, IGNORE);
        self.next += batch.count;
        batch.count > 0
    }

    /// The same batches in the same order, put together by a thread while the caller works with those before.
    ///
    /// Uploads do not need it: [`Plan::write`](crate::Plan::write) only queues. What it hides is the time that the host takes to
    /// make a batch, which counts where the loop waits for the device, as for a loss, and with augmentation.
    ///
    /// ```
    /// let digits = halfgrad::data::digits();
    /// let batches = digits.train.batches(64)?.shuffled(7);
    /// assert!(batches.epoch(3).prefetched().eq(batches.epoch(3)));
    /// # Ok::<(), halfgrad::Error>(())
    /// ```
    #[cfg(not(target_arch = "wasm32"))]
    pub fn prefetched(self) -> Prefetched {
        Prefetched::new(self)
    }
}

impl Iterator for Epoch {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        self.fill(&mut batch).then_some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.order.len() - self.next).div_ceil(self.size);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Epoch {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;

    /// Ten samples of two values, `[i, i + 0.5]`, labelled with their own index.
    fn ten() -> Dataset {
        let images = (0..20).map(|k| k as f32 / 2.0).collect();
        Dataset::new(images, (0..10).collect(), Shape::from([2]), 10).unwrap()
    }

    fn labels(epoch: Epoch) -> Vec<u32> {
        epoch.flat_map(|batch| batch.labels).filter(|&label| label != IGNORE).collect()
    }

    #[test]
    fn the_last_batch_is_filled() {
        let data = ten();
        let batches = data.batches(4).unwrap();
        assert_eq!((batches.len(), batches.epoch(0).len()), (3, 3));
        let last = batches.into_iter().last().unwrap();
        let expected = Batch {
            images: vec![8.0, 8.5, 9.0, 9.5, 0.0, 0.0, 0.0, 0.0],
            labels: vec![8, 9, IGNORE, IGNORE],
            count: 2,
        };
        assert_eq!(last, expected);
    }

    #[test]
    fn every_sample_counts_once_in_an_order_of_seed_and_epoch() {
        let data = ten();
        let order = |seed, epoch| labels(data.batches(3).unwrap().shuffled(seed).epoch(epoch));
        for (seed, epoch) in [(7, 0), (7, 1), (8, 0), (8, 1)] {
            let mut all = order(seed, epoch);
            assert_eq!(all, order(seed, epoch));
            all.sort_unstable();
            assert_eq!(all, Vec::from_iter(0..10));
        }
        assert!(order(7, 0) != order(7, 1) && order(7, 0) != order(8, 0) && order(7, 1) != order(8, 0));
        assert_eq!(labels(data.batches(3).unwrap().shuffled(7).into_iter()), order(7, 0));
        assert_eq!(order(7, 0), [0, 2, 3, 1, 5, 4, 7, 8, 9, 6]); // for ever
    }

    #[test]
    fn a_given_order_is_followed() {
        let data = ten();
        let batches = data.batches(2).unwrap().order(vec![3, 3, 9, 0, 1]).unwrap();
        assert_eq!(batches.len(), 3);
        assert_eq!(labels(batches.epoch(5)), [3, 3, 9, 0, 1]);
        assert_eq!(batches.into_iter().next().unwrap().images, [3.0, 3.5, 3.0, 3.5]);
    }

    #[test]
    fn a_batch_is_filled_in_place() {
        let data = ten();
        let (batches, mut batch) = (data.batches(4).unwrap(), Batch::default());
        let mut epoch = batches.epoch(0);
        assert!(epoch.fill(&mut batch));
        let place = batch.images.as_ptr();
        assert!(epoch.fill(&mut batch) && epoch.fill(&mut batch) && batch.images.as_ptr() == place);
        assert!(!epoch.fill(&mut batch) && batch.count == 0);
    }

    #[test]
    fn impossible_requests_are_errors() {
        let data = ten();
        let message = |result: Result<Batches>| result.unwrap_err().to_string();
        assert_eq!(message(data.batches(0)), "no batches of 0 from 10 samples: take a size from 1 to 10");
        assert_eq!(message(data.batches(11)), "no batches of 11 from 10 samples: take a size from 1 to 10");
        let order = |indices: &[u32]| message(data.batches(2).unwrap().order(indices.to_vec()));
        assert_eq!(order(&[0, 10]), "there is no sample 10: the data set has 10, counted from 0");
        assert_eq!(order(&[]), "the order of the samples is empty");
    }
}
