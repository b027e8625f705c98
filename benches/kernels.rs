//! The kernels of `halfgrad bench` in every way that the adapter can run them; where a GPU and a processor run other variants, in
//! both. criterion times them by the host's clock, many runs in a submission; the table behind it has the device's clock, too.
//!
//! `cargo bench --features reference --bench kernels -- [regular expression]`; see "How to measure" in docs/performance.md.

use std::time::Duration;

use criterion::{Bencher, Criterion};
use halfgrad::{
    Gpu, Precision, Result,
    bench::{
        Scope,
        kernels::Ready,
        limits,
        report::Measured,
        suite::{self, Kernel},
        timing::{Timing, summary},
    },
    caps::Kind,
    gpu::{Settings, Stamps},
};

/// The most runs in a submission: so many that its own cost does not count.
const RUNS: u64 = 64;
/// How long a kernel is run by the device's clock, once a sample.
const STAMPED: f64 = 0.3;

/// How a kernel can be run.
struct Way {
    name: String,
    gpu: Gpu,
    precision: Precision,
    /// For kernels that have another variant for another kind of adapter.
    as_another: bool,
}

/// A kernel in one way, while it is measured.
struct Case {
    ready: Ready,
    stamps: Option<Stamps>,
    /// Runs and their seconds, by the host's clock.
    wall: Vec<(u64, f64)>,
    /// Seconds of one run, by the device's.
    device: Vec<f64>,
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(600))
        .sample_size(10)
        .nresamples(10_000)
        .without_plots()
        .configure_from_args();
    // `cargo test` wants to know that this works, and no more.
    let quick = !std::env::args().any(|a| a == "--bench");
    let gpu = Gpu::new().expect("an adapter");
    let ways = ways(&gpu).expect("the same adapter");
    let mut found = vec![];
    for kernel in suite::kernels(quick) {
        let products = ["matmul", "conv2d"].iter().any(|name| kernel.id().starts_with(name));
        let mut group = criterion.benchmark_group(kernel.id());
        for way in ways.iter().filter(|way| products || !way.as_another) {
            let mut case = None;
            // Called for each sample, and only where the filter has the name.
            group.bench_function(&way.name, |bencher| {
                let case = case.get_or_insert_with(|| Case::new(&kernel, way).expect("a kernel that runs"));
                case.sample(bencher).expect("a device");
            });
            found.extend(case.and_then(Case::measured).map(|measured| (kernel.id(), way, measured)));
        }
    }
    criterion.final_summary();
    if !found.is_empty() {
        table(&gpu, found).expect("limits");
    }
}

fn ways(gpu: &Gpu) -> Result<Vec<Way>> {
    let packed = pollster::block_on(gpu.without_f16())?;
    let (kind, another) = match gpu.caps().kind {
        Kind::Software => (Kind::Discrete, " as a GPU"),
        _ => (Kind::Software, " as a processor"),
    };
    let mut ways = vec![];
    for (name, gpu, precision) in [
        ("f32", gpu, Precision::F32),
        ("f16", gpu, Precision::F16),
        ("f16 packed", &packed, Precision::F16),
        ("f16 strict", gpu, Precision::F16_STRICT),
    ] {
        if gpu.caps().supports(precision).is_ok() {
            let settings = Settings { kind: Some(kind), ..gpu.settings().clone() };
            let other = pollster::block_on(gpu.with(settings))?;
            ways.push(Way { name: name.into(), gpu: gpu.clone(), precision, as_another: false });
            ways.push(Way { name: format!("{name}{another}"), gpu: other, precision, as_another: true });
        }
    }
    Ok(ways)
}

impl Case {
    fn new(kernel: &Kernel, way: &Way) -> Result<Self> {
        let ready = Ready::new(&way.gpu, kernel, way.precision)?;
        let stamps = Stamps::new(&way.gpu, ready.work().range)?;
        way.gpu.wait()?;
        Ok(Case { ready, stamps, wall: vec![], device: vec![] })
    }

    fn sample(&mut self, bencher: &mut Bencher) -> Result<()> {
        let work = self.ready.work();
        bencher.iter_custom(|runs| {
            let submissions = (0..runs).step_by(RUNS as usize).map(|done| RUNS.min(runs - done) as usize);
            let seconds = submissions.map(|runs| work.repeat(runs).expect("a device")).sum();
            self.wall.push((runs, seconds));
            Duration::from_secs_f64(seconds)
        });
        if let Some(stamps) = self.stamps.as_ref().filter(|_| self.device.iter().sum::<f64>() < STAMPED) {
            self.device.push(work.stamped(stamps)?);
        }
        Ok(())
    }

    /// What was found, unless there was one run only, as with `--test`.
    fn measured(self) -> Option<Measured> {
        let most = self.wall.iter().map(|(runs, _)| *runs).max().filter(|_| self.wall.len() > 1)?;
        // Samples of fewer runs are those of the warm-up, or their submission counts.
        let long = self.wall.iter().filter(|(runs, _)| 2 * runs >= most);
        let wall = summary(&long.map(|(runs, seconds)| seconds / *runs as f64).collect::<Vec<_>>());
        let gpu = self.stamps.map(|_| summary(&self.device)).filter(|gpu| gpu.median > 0.0);
        Some(self.ready.measured(Timing { first: self.wall[0].1, wall, gpu }))
    }
}

/// Rates and shares are those of the device's clock where there is one, as in `halfgrad bench`.
fn table(gpu: &Gpu, found: Vec<(String, &Way, Measured)>) -> Result<()> {
    let limits = limits::measure(gpu, &Scope::new(true))?;
    println!("{}", gpu.caps().adapter);
    for limit in &limits.fma {
        println!("  limit of {:<11} {:>8.2} GFLOP/s", limit.name, limit.rate.median);
    }
    println!("  limit of {:<11} {:>8.2} GB/s\n", "copies", limits.bandwidth() / 1e9);
    println!(
        "{:<42} {:<21} {:>10} {:>9} {:>9} {:>9} {:>8} {:>7} {:>5}",
        "kernel", "way", "MFLOP", "MB", "ms", "device ms", "GFLOP/s", "GB/s", "limit"
    );
    for (id, way, measured) in found {
        let e = measured.entry(id, way.precision, &way.gpu, &limits);
        let device = e.gpu_ms.map_or("–".into(), |t| format!("{:.3}", t.median));
        println!(
            "{:<42} {:<21} {:>10.3} {:>9.3} {:>9.3} {device:>9} {:>8.2} {:>7.2} {:>3.0} %",
            e.id,
            way.name,
            e.flops as f64 / 1e6,
            e.bytes as f64 / 1e6,
            e.wall_ms.median,
            e.gflops,
            e.gbps,
            1e2 * e.roofline,
        );
    }
    Ok(())
}
