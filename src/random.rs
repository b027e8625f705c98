//! Pseudo-random numbers that are the same on every machine and in every release.
//!
//! The generator is PCG-64 and the rest is written out here, because the crates that offer distributions and
//! shuffles may change their streams between versions, and the system's `ln` and `cos` differ in the last bit.

use rand_pcg::{Pcg64, rand_core::Rng};
use std::f64::consts::TAU;

/// PCG's default stream; only the state is seeded.
const STREAM: u128 = 0x0a02_bdbf_7bb3_c0a7_ac28_fa16_a64a_bf96;

/// One stream of numbers.
pub(crate) struct Random(Pcg64);

impl Random {
    /// The stream that `seed` and `name` choose; streams of different names have nothing to do with each other.
    pub fn new(seed: u64, name: &str) -> Self {
        // FNV-1a, 128 bits: short, fixed for ever, and as wide as the generator's state.
        let bytes = seed.to_le_bytes().into_iter().chain(name.bytes());
        let state = bytes.fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
            (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        });
        Random(Pcg64::new(state, STREAM))
    }

    /// A number in `[0, 1)`, of 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (f64::EPSILON / 2.0)
    }

    /// Two independent numbers of mean 0 and variance 1, by Box and Muller.
    pub fn normals(&mut self) -> [f64; 2] {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        let (sin, cos) = libm::sincos(TAU * self.uniform());
        [radius * cos, radius * sin]
    }

    /// A whole number in `0..n`, every one as likely (Lemire, arXiv 1805.10941).
    pub fn below(&mut self, n: u32) -> u32 {
        loop {
            let wide = u64::from(self.0.next_u32()) * u64::from(n);
            if wide as u32 >= n.wrapping_neg() % n {
                return (wide >> 32) as u32;
            }
        }
    }

    /// Puts `items` in an order drawn from all orders (Fisher and Yates).
    pub fn shuffle(&mut self, items: &mut [u32]) {
        for k in (1..items.len()).rev() {
            items.swap(k, self.below(k as u32 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected numbers, here and in [`crate::init`], come from a few lines of Python that share no code with this file.
    #[test]
    fn the_stream_never_changes() {
        let mut random = Random::new(42, "fc1/weight");
        assert_eq!([random.0.next_u64(), random.0.next_u64()], [11533372863155567785, 14935960739184024388]);
        let mut order: Vec<u32> = (0..10).collect();
        Random::new(7, "epoch 0").shuffle(&mut order);
        assert_eq!(order, [0, 2, 3, 1, 5, 4, 7, 8, 9, 6]);
    }

    #[test]
    fn neighbouring_seeds_and_names_are_independent() {
        let draw = |seed, name: &str| {
            let mut random = Random::new(seed, name);
            (0..5000).flat_map(|_| random.normals()).collect::<Vec<f64>>()
        };
        let streams = [draw(0, "fc1"), draw(1, "fc1"), draw(0, "fc2"), draw(1 << 63, "fc1"), draw(0, "1cf")];
        for (i, a) in streams.iter().enumerate() {
            for b in &streams[..i] {
                let correlation = a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / a.len() as f64;
                assert!(correlation.abs() < 0.04, "{correlation}"); // four standard deviations
            }
        }
    }

    #[test]
    fn below_is_even() {
        let mut random = Random::new(3, "dice");
        let mut counts = [0; 6];
        (0..60_000).for_each(|_| counts[random.below(6) as usize] += 1);
        assert!(counts.iter().all(|&n| (9_600..10_400).contains(&n)), "{counts:?}");
    }
}
