//! The kernels of `halfgrad bench`, those whose name holds a word, in every way that the adapter can run them.
//!
//! `cargo bench --features reference --bench kernels -- [part of a name]`

use std::time::Duration;

use halfgrad::{
    Gpu, Precision,
    bench::{Effort, kernels, suite},
};

const EFFORT: Effort = Effort { budget: Duration::from_millis(700), least: 5, most: 1000, steady: 0.01 };

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with("--")).unwrap_or_default();
    let gpu = Gpu::new().expect("an adapter");
    let packed = pollster::block_on(gpu.without_f16()).expect("the same adapter");
    println!("{}", gpu.caps().adapter);
    for kernel in suite::kernels(false).iter().filter(|kernel| kernel.id().contains(&filter)) {
        for (how, gpu, precision) in [
            ("f32", &gpu, Precision::F32),
            ("f16", &gpu, Precision::F16),
            ("f16 packed", &packed, Precision::F16),
            ("f16 strict", &gpu, Precision::F16_STRICT),
        ] {
            if gpu.caps().supports(precision).is_err() {
                continue;
            }
            let found = kernels::measure(gpu, kernel, precision, EFFORT).expect("a kernel that runs");
            let seconds = found.timing.wall.median;
            println!(
                "{:<42} {how:<11} first {:>7.1} ms, then {:>8.3} ms {:>7.2} GFLOP/s {:>6.2} GB/s",
                kernel.id(),
                1e3 * found.timing.first,
                1e3 * seconds,
                found.flops as f64 / seconds / 1e9,
                found.bytes as f64 / seconds / 1e9,
            );
        }
    }
}
