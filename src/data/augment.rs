use crate::{Error, Result, Shape, random::Random};
use std::fmt;

/// Small changes of training images, drawn anew for each sample in each epoch.
///
/// What is drawn depends on the seed, the epoch's number and the sample's index, and on nothing else: neither the batch
/// that the sample is in nor the thread that does it. What lies beyond an image's edge is 0, the mean of standardised
/// data. Test data is not augmented: only [`Batches::augmented`](super::Batches::augmented) does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Augment {
    seed: u64,
    flip: bool,
    crop: usize,
    erase: usize,
}

impl Augment {
    /// No change yet; what the others draw follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Augment { seed, flip: false, crop: 0, erase: 0 }
    }

    /// The same changes, drawn by another seed.
    pub fn seeded(self, seed: u64) -> Self {
        Augment { seed, ..self }
    }

    /// Every other image mirrored, left to right: not for digits and letters.
    pub fn flip(self) -> Self {
        Augment { flip: true, ..self }
    }

    /// Each image moved by up to `padding` pixels along each axis: padded all around, then cropped to its size.
    pub fn crop(self, padding: usize) -> Self {
        Augment { crop: padding, ..self }
    }

    /// A square of `side × side` pixels of each image set to 0, around any pixel (cutout, arXiv 1708.04552).
    pub fn erase(self, side: usize) -> Self {
        Augment { erase: side, ..self }
    }

    /// Fails if this cannot be done to samples of this shape.
    pub(super) fn fits(self, sample: Shape) -> Result<()> {
        let [height, width, _] = sample.to_vec()[..] else {
            return Err(Error::Data(format!("samples of {sample} are no images [height, width, channels] to augment")));
        };
        match self.crop.max(self.erase) {
            pixels if pixels < height.min(width) => Ok(()),
            pixels => Err(Error::Data(format!("images of {height} × {width} are too small to crop or erase {pixels}"))),
        }
    }

    /// Puts the changed sample behind the values in `to`.
    pub(super) fn append(self, image: &[f32], shape: Shape, epoch: u32, index: u32, to: &mut Vec<f32>) {
        let [height, width, channels] = shape.to_vec()[..] else { unreachable!("fits() was asked") };
        let mut random = Random::new(self.seed, &format!("augment {epoch} {index}"));
        let mut draw = |n: usize| random.below(n as u32) as usize;
        // All are drawn whether or not they are used, so that one change does not depend on another.
        let (flip, down, right) = (draw(2) == 1 && self.flip, draw(2 * self.crop + 1), draw(2 * self.crop + 1));
        let hole = [draw(height), draw(width)];

        let start = to.len();
        to.resize(start + image.len(), 0.0);
        let rows = to[start..].chunks_exact_mut(width * channels).enumerate();
        for (y, row) in rows {
            let Some(y) = (y + down).checked_sub(self.crop).filter(|&y| y < height) else { continue };
            for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
                let x = if flip { width - 1 - x } else { x };
                let Some(x) = (x + right).checked_sub(self.crop).filter(|&x| x < width) else { continue };
                pixel.copy_from_slice(&image[(y * width + x) * channels..][..channels]);
            }
        }
        let [rows, columns] = [(hole[0], height), (hole[1], width)].map(|(middle, end)| {
            let first = middle.saturating_sub(self.erase / 2);
            first..(middle + self.erase.div_ceil(2)).min(end)
        });
        for y in rows {
            let row = start + y * width * channels;
            to[row + columns.start * channels..row + columns.end * channels].fill(0.0);
        }
    }
}

/// `flip,crop=2,erase=4`: what is done, as the tool's `--augment` takes it.
impl fmt::Display for Augment {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let sized = |name: &str, n: usize| (n > 0).then(|| format!("{name}={n}"));
        let parts = [self.flip.then(|| "flip".to_owned()), sized("crop", self.crop), sized("erase", self.erase)];
        f.pad(&parts.into_iter().flatten().collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Batch, Dataset};
    use super::*;
    use std::collections::BTreeSet;

    /// `n` equal images of 4 × 5 pixels of two channels, `[k, -k]` in pixel k = 1, 2, …
    fn data(n: usize) -> Dataset {
        let image: Vec<f32> = (1..=20).flat_map(|k| [k as f32, -(k as f32)]).collect();
        Dataset::new(image.repeat(n), vec![0; n], Shape::from([4, 5, 2]), 1).unwrap()
    }

    /// The changed images of an epoch, by their first channel.
    fn changed(n: usize, augment: Augment, epoch: u32) -> Vec<Vec<i32>> {
        let batches = data(n).batches(n).unwrap().augmented(augment).unwrap();
        let Batch { images, .. } = batches.epoch(epoch).next().unwrap();
        assert!(images.chunks(2).all(|pixel| pixel[0] == -pixel[1]));
        images.chunks(40).map(|image| image.iter().step_by(2).map(|&x| x as i32).collect()).collect()
    }

    #[test]
    fn changes_are_written_as_the_tool_reads_them() {
        assert_eq!(Augment::new(3).flip().crop(2).erase(4).to_string(), "flip,crop=2,erase=4");
        assert_eq!(Augment::new(3).crop(1).to_string(), "crop=1");
    }

    #[test]
    fn a_flip_mirrors_half_of_the_images() {
        let images = changed(1000, Augment::new(3).flip(), 0);
        let whole: Vec<i32> = (1..=20).collect();
        let mirrored: Vec<i32> = (0..4).flat_map(|row| (1..=5).rev().map(move |x| 5 * row + x)).collect();
        let count = |kind: &[i32]| images.iter().filter(|image| *image == kind).count();
        assert_eq!(count(&whole) + count(&mirrored), 1000);
        assert!((450..550).contains(&count(&whole)), "{}", count(&whole)); // three standard deviations
    }

    #[test]
    fn a_crop_moves_an_image_to_every_place_and_fills_with_zeros() {
        let images = changed(1000, Augment::new(3).crop(2), 0);
        let places = BTreeSet::from_iter(&images);
        assert_eq!(places.len(), 25);
        for image in places {
            let at = image.iter().position(|&x| x > 0).unwrap() as i32;
            let (value, from) = (image[at as usize] - 1, |place: i32| (place / 5, place % 5));
            let (down, right) = (from(at).0 - from(value).0, from(at).1 - from(value).1);
            let expected = (0..20).map(|place| {
                let (y, x) = (place / 5 - down, place % 5 - right);
                if (0..4).contains(&y) && (0..5).contains(&x) { 5 * y + x + 1 } else { 0 }
            });
            assert_eq!(*image, Vec::from_iter(expected), "{down} down, {right} right");
        }
    }

    #[test]
    fn a_hole_is_a_square_around_any_pixel() {
        let images = changed(1000, Augment::new(3).erase(3), 0);
        let holes = |image: &Vec<i32>| image.iter().filter(|x| **x == 0).count();
        let sizes = BTreeSet::from_iter(images.iter().map(holes));
        assert_eq!(sizes, [4, 6, 9].into(), "at corners, at edges, within");
        assert_eq!(BTreeSet::from_iter(&images).len(), 20);
    }

    #[test]
    fn changes_follow_from_seed_epoch_and_sample_and_from_nothing_else() {
        let augment = Augment::new(7).flip().crop(1);
        let images = changed(100, augment, 5);
        assert!(images != changed(100, augment, 6) && images != changed(100, Augment::new(8).flip().crop(1), 5));
        let order: Vec<u32> = (0..100).rev().collect();
        let batches = data(100).batches(7).unwrap().order(order).unwrap().augmented(augment).unwrap();
        let parts = batches.epoch(5).prefetched().flat_map(|b| b.images[..b.count * 40].to_vec());
        let parts: Vec<i32> = parts.step_by(2).map(|x| x as i32).collect();
        assert_eq!(parts, images.into_iter().rev().flatten().collect::<Vec<_>>());
        assert_eq!(changed(3, augment, 0), changed(50, augment, 0)[..3], "for ever, whatever else is there");
    }

    #[test]
    fn what_is_no_image_or_too_small_is_an_error() {
        let message = |shape: &[usize], augment| {
            let shape = Shape::new(shape).unwrap();
            let data = Dataset::new(vec![0.0; shape.len()], vec![0], shape, 1).unwrap();
            data.batches(1).unwrap().augmented(augment).unwrap_err().to_string()
        };
        let flat = message(&[20], Augment::new(0).flip());
        assert_eq!(flat, "samples of [20] are no images [height, width, channels] to augment");
        let small = message(&[4, 5, 1], Augment::new(0).crop(4));
        assert_eq!(small, "images of 4 × 5 are too small to crop or erase 4");
    }
}
