//! Time and memory, as `bench` measures them.

use super::{Cell, Experiment, Measure, Table};
use crate::{
    Gpu, Precision, Result,
    bench::{self, Scope, report::Entry},
};

/// What 16 bit gains.
pub fn e14() -> Experiment {
    Experiment {
        name: "e14",
        title: "speed and memory of kernels and training steps",
        question: "How much faster is 16 bit on this adapter, and how much memory does it save?",
        expected: "1.6 times on tensor cores in the mean, 1.3 to 2.2 (arXiv 2305.10947, table 5); at most twice where memory is what \
                   limits; half the memory of weights and activations",
        seeds: 1,
        groups: vec![],
        measures: vec![SPEED],
    }
}

const SPEED: Measure = Measure {
    name: "speed",
    title: "Kernels and training steps, as halfgrad bench --quick measures them",
    note: "Gain: the time of f32 over that of the precision. Memory: all that the plan has on the device. `halfgrad bench` without \
           --quick measures all shapes, and the adapter's own limits.",
    table: speed,
};

fn speed(gpu: &Gpu, _: u64) -> Result<Table> {
    let scope = Scope { precisions: Precision::PRESETS.map(|(_, p)| p).to_vec(), ..Scope::new(true) };
    let report = bench::run(gpu, &scope, &mut |_| {})?;
    let all: Vec<&Entry> = report.steps.iter().chain(&report.kernels).collect();
    let row = |e: &&Entry| {
        let f32 = all.iter().find(|other| other.id == e.id && other.precision == "f32");
        let gain = f32.map_or(f64::NAN, |f32| f32.ms().median / e.ms().median);
        let numbers = [e.ms().median, gain, e.device_bytes as f64 / 1e6].map(Cell::Number);
        [e.id.as_str(), &e.precision].map(|words| Cell::Text(words.to_owned())).into_iter().chain(numbers).collect()
    };
    let header = ["what", "precision", "ms", "gain", "memory MB"].map(str::to_owned).to_vec();
    Ok(Table { header, rows: all.iter().map(row).collect() })
}
