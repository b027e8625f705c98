//! Small images with a border, for networks that take larger ones.

use super::{
    Dataset, Split,
    dataset::{Values, standardized},
};
use crate::{Error, Result, Shape};

impl Split {
    /// The images in the middle of larger ones, with `channels` channels, in which the one of a grey image is repeated; the border
    /// is what 0 in the files is.
    ///
    /// ```
    /// let digits = halfgrad::data::digits().padded([12, 12], 3)?;
    /// assert_eq!(digits.train.shape().to_string(), "[12, 12, 3]");
    /// # Ok::<(), halfgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] if the samples are no images, are larger, or have several channels and not as many.
    pub fn padded(self, size: [usize; 2], channels: usize) -> Result<Self> {
        let black = standardized(0.0, self.mean, self.std);
        let [train, test] = [&self.train, &self.test].map(|data| data.padded(size, channels, black));
        Ok(Split { train: train?, test: test?, ..self })
    }
}

impl Dataset {
    /// As [`Split::padded`]; `black` is the border of images whose pixels are not bytes.
    fn padded(&self, [height, width]: [usize; 2], channels: usize, black: f32) -> Result<Self> {
        let from = self.shape();
        let [h, w, c] = from.to_vec()[..] else {
            return Err(Error::Data(format!("samples of {from} are no images [height, width, channels] to pad")));
        };
        if h > height || w > width || (c != 1 && c != channels) {
            return Err(Error::Data(format!("images of {from} do not fit into {height} × {width} × {channels}")));
        }
        // Of each value of a padded image, the place in its own, if it has one.
        let corner = [(height - h) / 2, (width - w) / 2];
        let places = (0..height * width * channels).map(|i| {
            let (y, x) = (i / channels / width, i / channels % width);
            let (y, x) = (y.checked_sub(corner[0])?, x.checked_sub(corner[1])?);
            (y < h && x < w).then_some((y * w + x) * c + if c == 1 { 0 } else { i % channels })
        });
        let places: Vec<Option<usize>> = places.collect();
        let values = match self.values() {
            Values::Floats(all) => Values::Floats(moved(all, h * w * c, &places, black)),
            Values::Bytes(all, table) => Values::Bytes(moved(all, h * w * c, &places, 0), table.clone()),
        };
        Self::checked(values, self.labels().to_vec(), Shape::from([height, width, channels]), self.classes())
    }
}

fn moved<T: Copy>(all: &[T], sample: usize, places: &[Option<usize>], border: T) -> Vec<T> {
    let image = |image: &[T]| places.iter().map(|at| at.map_or(border, |i| image[i])).collect::<Vec<T>>();
    all.chunks_exact(sample).flat_map(image).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_lie_in_the_middle() {
        let data = |values: Vec<f32>| Dataset::new(values, vec![0], Shape::from([1, 2, 1]), 1).unwrap();
        let bytes = Dataset::from_bytes(vec![7, 9], vec![0], Shape::from([1, 2, 1]), 1).unwrap();
        for raw in [data(vec![7.0, 9.0]), bytes] {
            let split = Split::standardized("two pixels", raw.clone(), raw).unwrap();
            let black = split.scale(0.0);
            let padded = split.padded([3, 3], 2).unwrap().test;
            // Mean 8, deviation 1; the corner is rounded up and left.
            let expected: Vec<f32> = [[black; 3], [-1.0, 1.0, black], [black; 3]].concat();
            let found = padded.images();
            assert_eq!(found.len(), 18);
            for (pixel, expected) in found.chunks(2).zip(expected) {
                assert!(pixel.iter().all(|v| (v - expected).abs() < 1e-5), "{found:?}");
            }
        }
        let no = |size, channels| data(vec![7.0, 9.0]).padded(size, channels, 0.0).unwrap_err().to_string();
        assert_eq!(no([1, 1], 3), "images of [1, 2, 1] do not fit into 1 × 1 × 3");
    }
}
