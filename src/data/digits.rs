use super::{Dataset, Split};
use crate::{Shape, random::Random};
use std::io::Read;

/// 1797 handwritten digits of 8 × 8 pixels, which come with the crate: 1437 to learn from, 360 to test on.
///
/// Samples have the shape `[8, 8, 1]` and ten classes; pixels are counts from 0 to 16 before they are standardised.
/// The file is in the order of the writers, so the parts are drawn by a shuffle that is the same for ever.
///
/// The digits are the test part of the UCI Machine Learning Repository's *Optical Recognition of Handwritten Digits* (as in
/// scikit-learn's `load_digits`), by E. Alpaydin and C. Kaynak, 1998, <https://doi.org/10.24432/C50P49>, under the licence
/// CC BY 4.0.
///
/// ```
/// let digits = halfgrad::data::digits();
/// assert_eq!((digits.train.len(), digits.test.len()), (1437, 360));
/// ```
pub fn digits() -> Split {
    let (pixels, labels) = rows();
    let order = digits_order();
    let (train, test) = order.split_at(1437);
    let split = || {
        let all = Dataset::from_bytes(pixels, labels, Shape::from([8, 8, 1]), 10)?;
        Split::standardized("digits", all.subset(train)?, all.subset(test)?)
    };
    split().expect("the tests read the embedded file")
}

/// The row in the file of each sample of [`digits`]: 1437 of the training set, then 360 of the test set.
pub fn digits_order() -> Vec<u32> {
    let mut order: Vec<u32> = (0..1797).collect();
    Random::new(0, "digits").shuffle(&mut order);
    order
}

/// All pixels and labels in the order of the file: per line 64 pixels and the label.
fn rows() -> (Vec<u8>, Vec<u32>) {
    let packed = include_bytes!("../../data/digits.csv.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("the tests read the embedded file");
    let mut pixels = Vec::with_capacity(1797 * 64);
    let mut labels = Vec::with_capacity(1797);
    for line in text.lines() {
        let mut numbers = line.split(',').map(|n| n.parse::<u8>().expect("the tests read the embedded file"));
        pixels.extend(numbers.by_ref().take(64));
        labels.extend(numbers.map(u32::from));
    }
    (pixels, labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_whole() {
        let (pixels, labels) = rows();
        assert_eq!((pixels.len(), labels.len()), (1797 * 64, 1797));
        assert!(pixels.iter().all(|&x| x <= 16));
        // The numbers that scikit-learn's description of the set gives for each class.
        let count = |class| labels.iter().filter(|&&label| label == class).count();
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(count), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    }

    #[test]
    fn the_split_never_changes() {
        let digits = digits();
        let (mean, std) = digits.train.moments();
        assert!(mean.abs() < 1e-6 && (std - 1.0).abs() < 1e-6, "{mean} {std}");
        assert!((1..10).all(|class| digits.test.labels().iter().filter(|&&label| label == class).count() > 20));
        assert_eq!(digits.train.labels()[..8], [7, 0, 8, 1, 6, 7, 0, 9]);
        assert_eq!(digits.test.labels()[..8], [1, 7, 8, 7, 8, 9, 5, 5]);
        assert_eq!((digits.mean, digits.std), (4.886_732_341_684_06_f64 as f32, 6.018_702_991_099_67_f64 as f32));
    }
}
