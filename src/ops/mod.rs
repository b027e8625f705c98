//! The operators: one Rust file and one WGSL file of the same stem each; an elementwise op is a row in `map`.

mod attention;
mod attention_composed;
mod beside;
mod conv2d;
mod cross_entropy;
mod cumsum;
mod dropout;
mod gather;
mod gemm;
mod labels;
mod layer_norm;
mod layout;
mod loss;
mod map;
mod matmul;
mod moments;
mod norm;
mod pool2d;
mod reduce;
mod resample2d;
mod rounded;
mod rows;
mod softmax;
mod stretches;

pub use attention::Attention;
pub use conv2d::{Conv2d, Padding};
pub use cross_entropy::CrossEntropy;
pub use pool2d::Pool2d;
pub use resample2d::Upsample;

/// What the constants FAR, MANY and VAST of shaders say of the largest number that they divide: see `lib/quotient.wgsl`.
fn far(most: usize) -> u32 {
    u32::from(most >= 1 << 20)
}

/// Every op on operands worth trying: what the test harness, the self-test and the shader checks walk.
#[cfg(feature = "reference")]
pub fn cases() -> Vec<crate::reference::Case> {
    [
        map::cases(),
        matmul::cases(),
        reduce::cases(),
        layout::cases(),
        dropout::cases(),
        rounded::cases(),
        softmax::cases(),
        attention::cases(),
        cross_entropy::cases(),
        conv2d::cases(),
        norm::cases(),
        layer_norm::cases(),
        pool2d::cases(),
        resample2d::cases(),
        gather::cases(),
        labels::cases(),
        cumsum::cases(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    /// As `lib/quotient.wgsl` divides, with a reciprocal so many units off: WGSL allows 2.5.
    fn quotient(a: u32, b: u32, units: i32) -> u32 {
        let reciprocal = f32::from_bits((1.0 / b as f32).to_bits().wrapping_add_signed(units));
        if super::far(a as usize) == 0 {
            return ((a as f32 + 0.5) * reciprocal) as u32;
        }
        let guess = (a as f32 * reciprocal) as u32;
        let rest = a.wrapping_sub(guess.wrapping_mul(b)) as i32;
        let more = (rest as f32 * reciprocal) as i32;
        let last = rest - more * b as i32;
        guess.wrapping_add_signed(more) + u32::from(last >= b as i32) - u32::from(last < 0)
    }

    #[test]
    fn products_with_an_inexact_reciprocal_are_quotients() {
        let near = (1..).find(|&n| super::far(n) == 1).expect("some number is far") as u32;
        for most in [near, u32::MAX] {
            for b in (1..2000).chain([4095, 4096, 65537, near - 1, near + 1, (1 << 24) + 1, (1 << 30) - 1]) {
                for multiple in (0..most / b).step_by((most / b / 300).max(1) as usize) {
                    let a = multiple * b;
                    for units in [-3, 0, 3] {
                        let found = [a, a + b / 2, a + b - 1].map(|a| quotient(a, b, units));
                        assert_eq!(found, [multiple; 3], "{a} / {b}");
                    }
                }
            }
        }
    }
}
