//! The kernels of `halfgrad bench`, those whose name holds a word, in every way that the adapter can run them; where a GPU and
//! a processor run other variants, in both. Of roof: the share of the adapter's measured limit, of arithmetic or of memory.
//!
//! `cargo bench --features reference --bench kernels -- [part of a name]`

use std::time::Duration;

use halfgrad::{
    Gpu, Precision,
    bench::{Effort, Scope, kernels, limits, suite},
    caps::Kind,
    gpu::Settings,
};

const EFFORT: Effort = Effort { budget: Duration::from_millis(700), least: 5, most: 1000, steady: 0.01 };

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with("--")).unwrap_or_default();
    let gpu = Gpu::new().expect("an adapter");
    let packed = pollster::block_on(gpu.without_f16()).expect("the same adapter");
    let limits = limits::measure(&gpu, &Scope::new(true)).expect("limits");
    println!("{}", gpu.caps().adapter);
    let (kind, another) = match gpu.caps().kind {
        Kind::Software => (Kind::Discrete, "as a GPU"),
        _ => (Kind::Software, "as a processor"),
    };
    let [gpu_as, packed_as] = [&gpu, &packed].map(|gpu| {
        let settings = Settings { kind: Some(kind), ..gpu.settings().clone() };
        pollster::block_on(gpu.with(settings)).expect("the same adapter")
    });
    for kernel in suite::kernels(false).iter().filter(|kernel| kernel.id().contains(&filter)) {
        let products = ["matmul", "conv2d"].iter().any(|name| kernel.id().starts_with(name));
        for (how, gpu, precision, as_another) in [
            ("f32", &gpu, Precision::F32, false),
            ("f32", &gpu_as, Precision::F32, true),
            ("f16", &gpu, Precision::F16, false),
            ("f16", &gpu_as, Precision::F16, true),
            ("f16 packed", &packed, Precision::F16, false),
            ("f16 packed", &packed_as, Precision::F16, true),
            ("f16 strict", &gpu, Precision::F16_STRICT, false),
            ("f16 strict", &gpu_as, Precision::F16_STRICT, true),
        ] {
            if as_another && !products {
                continue;
            }
            if gpu.caps().supports(precision).is_err() {
                continue;
            }
            let found = kernels::measure(gpu, kernel, precision, EFFORT).expect("a kernel that runs");
            let seconds = found.timing.wall.median;
            println!(
                "{:<42} {how:<11}{:<15} first {:>7.1} ms, then {:>8.3} ms {:>7.2} GFLOP/s {:>6.2} GB/s {:>4.0} % of roof",
                kernel.id(),
                if as_another { another } else { "" },
                1e3 * found.timing.first,
                1e3 * seconds,
                found.flops as f64 / seconds / 1e9,
                found.bytes as f64 / seconds / 1e9,
                1e2 * limits.seconds(precision, found.flops, found.bytes) / seconds,
            );
        }
    }
}
