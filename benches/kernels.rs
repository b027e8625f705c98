//! Kernels by themselves: median wall time of a plan that computes one tensor, with FLOPs and bytes a second.
//!
//! `cargo bench --features reference --bench kernels -- [part of a name]`

use std::time::{Duration, Instant};

use halfgrad::{Gpu, Graph, Plan, Precision, Tensor, Weights};

type Build = for<'g> fn(&'g Graph) -> Tensor<'g>;

const KERNELS: [(&str, Build); 8] = [
    ("matmul 128x784x128", |g| g.input("a", [128, 784]).matmul(g.input("b", [784, 128]))),
    ("matmul 784x128x128 left transposed", |g| {
        g.input("a", [128, 784]).matmul_with(g.input("b", [128, 128]), true, false)
    }),
    ("matmul 128x128x784 right transposed", |g| {
        g.input("a", [128, 128]).matmul_with(g.input("b", [784, 128]), false, true)
    }),
    ("matmul 512x512x512", |g| g.input("a", [512, 512]).matmul(g.input("b", [512, 512]))),
    ("matmul 128x128x10", |g| g.input("a", [128, 128]).matmul(g.input("b", [128, 10]))),
    ("bias and relu 4096x1024", |g| (g.input("a", [4096, 1024]) + g.input("b", [1024])).relu()),
    ("sum of rows 4096x1024", |g| g.input("a", [4096, 1024]).sum([1])),
    ("sum of columns 4096x1024", |g| g.input("a", [4096, 1024]).sum([0])),
];

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with("--")).unwrap_or_default();
    let gpu = Gpu::new().expect("an adapter");
    let packed = pollster::block_on(gpu.without_f16()).expect("the same adapter");
    println!("{}", gpu.caps().adapter);
    for (name, build) in KERNELS.iter().filter(|(n, _)| n.contains(&filter)) {
        for (how, gpu, precision) in [
            ("f32", &gpu, Precision::F32),
            ("f16", &gpu, Precision::F16),
            ("f16 packed", &packed, Precision::F16),
            ("f16 strict", &gpu, Precision::F16_STRICT),
        ] {
            if gpu.caps().supports(precision).is_err() {
                continue;
            }
            let graph = Graph::new(precision);
            let y = build(&graph);
            let weights = Weights::init(gpu, &graph, 0).expect("weights");
            let mut plan = Plan::infer(gpu, &weights, [y]).expect("a plan");
            let (first, median) = time(&mut plan, y);
            let bytes: u64 = plan.program().dispatches.iter().map(|d| d.bytes_read() + d.bytes_written()).sum();
            let seconds = median.as_secs_f64();
            println!(
                "{name:<38} {how:<11} first {:>7.1} ms, then {:>8.3} ms {:>7.2} GFLOP/s {:>6.2} GB/s",
                1e3 * first.as_secs_f64(),
                1e3 * seconds,
                plan.program().flops() as f64 / seconds / 1e9,
                bytes as f64 / seconds / 1e9,
            );
        }
    }
}

/// The first run, and the median of the next ones: as many as fit in a second, at least five.
fn time(plan: &mut Plan, y: Tensor) -> (Duration, Duration) {
    let mut once = || {
        let start = Instant::now();
        plan.run();
        plan.gpu().device().poll(wgpu::PollType::wait_indefinitely()).expect("the device is there");
        start.elapsed()
    };
    let _ = y;
    let first = once();
    let mut times = vec![];
    while times.len() < 5 || times.iter().sum::<Duration>() < Duration::from_millis(700) {
        times.push(once());
    }
    times.sort();
    (first, times[times.len() / 2])
}
