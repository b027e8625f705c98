//! What experiments measure without training a network.

use super::{Cell, Measure, Table};
use crate::{
    Gpu, Graph, Init, Plan, Precision, Result, Sgd, Weights, format::Format, plan::Options, precision::Rounding,
    random::Random, study::deviation, study::mean,
};

/// A thousand small changes of one weight.
pub const TOY: Measure = Measure {
    name: "toy",
    title: "A weight of 0.1 after 1000 changes of -2e-5",
    note: "Exact: 0.07995, from the numbers that f16 makes of 0.1 and 2e-5. Emulated (arXiv 2010.06192's rules): to nearest 0.09998, \
           compensated 0.07996, stochastic 0.0799 ± 0.0002 in the mean of 1024 weights, whose own deviation is 0.0008.",
    table: toy,
};

/// Running statistics that small steps do not move.
pub const STALL: Measure = Measure {
    name: "stall",
    title: "A running variance on its way from 1.0 and from 2.0 to 1.5",
    note: "After 5000 steps, each of which moves it by 1 less momentum of the way. In f16 a step of less than half a unit in the last \
           place is lost: with momentum 0.99 it stops 3.3 % short of where it should be, with 0.9 within 0.8 %.",
    table: stall,
};

/// One dot product, many times.
pub const SUMS: Measure = Measure {
    name: "sums",
    title: "The mean error of a dot product whose result has deviation 1",
    note: "Over 4096 dot products of normal numbers that f16 holds, against f64, with the result as it is stored. Emulated with one sum \
           after another: f16 7.1e-4, 1.7e-3, 2.8e-3 and 5.7e-3, f32 stored as f16 1.1e-4 to 1.5e-4. Kernels sum in lanes, which is \
           better.",
    table: sums,
};

fn table(header: &[&str], rows: Vec<Vec<Cell>>) -> Table {
    Table { header: header.iter().map(|title| (*title).to_owned()).collect(), rows }
}

fn text(words: impl ToString) -> Cell {
    Cell::Text(words.to_string())
}

fn able(gpu: &Gpu, precisions: &[Precision]) -> Vec<Precision> {
    precisions.iter().copied().filter(|p| gpu.caps().supports(*p).is_ok()).collect()
}

fn toy(gpu: &Gpu, seed: u64) -> Result<Table> {
    const N: usize = 1024;
    let with = |rounding| Precision { rounding, ..Precision::F16 };
    let rules =
        [with(Rounding::Nearest), Precision::F16, with(Rounding::Compensated), Precision::MIXED, Precision::F32];
    let mut rows = vec![];
    for precision in able(gpu, &rules) {
        let graph = Graph::new(precision);
        let (w, x) = (graph.weight("w", [N], Init::Constant(0.1)), graph.input("x", [N]));
        let weights = Weights::init(gpu, &graph, 0)?;
        let options = Options { seed: seed as u32, ..Options::default() };
        let mut plan = Plan::train_with(gpu, &weights, (w * x).sum_all(), &Sgd::new(1.0), options)?;
        plan.write(x, &[2e-5; N])?;
        (0..1000).for_each(|_| plan.run());
        let found: Vec<f64> = weights.get("w")?.wait()?.into_iter().map(f64::from).collect();
        let spread = deviation(&found).unwrap_or(f64::NAN);
        rows.push(vec![text(precision), Cell::Number(mean(&found)), Cell::Number(spread)]);
    }
    Ok(table(&["precision", "mean of 1024 weights", "deviation"], rows))
}

fn stall(gpu: &Gpu, _: u64) -> Result<Table> {
    const TARGET: f32 = 1.5;
    let mut rows = vec![];
    for precision in able(gpu, &[Precision::F32, Precision::F16, Precision::F16_STRICT]) {
        for momentum in [0.9, 0.99] {
            let mut row = vec![text(precision), Cell::Number(f64::from(momentum))];
            for start in [1.0, 2.0] {
                let end = f64::from(settled(gpu, precision, start, TARGET, 1.0 - momentum)?);
                row.extend([end, 100.0 * (end / f64::from(TARGET) - 1.0)].map(Cell::Number));
            }
            rows.push(row);
        }
    }
    let header = ["precision", "momentum", "from 1.0 to", "short by %", "from 2.0 to", "short by %"];
    Ok(table(&header, rows))
}

fn sums(gpu: &Gpu, seed: u64) -> Result<Table> {
    const SIDE: usize = 64;
    let of = |text: &str| text.parse().expect("it is a precision");
    let precisions = ["f16+acc=f16", "f16+acc=chunk256", "f16+acc=chunk32", "f16", "f16-strict", "f32"].map(of);
    let lengths = [64, 256, 1024, 4096];
    let mut rows = vec![];
    for precision in able(gpu, &precisions) {
        let mut row = vec![text(precision)];
        for n in lengths {
            let mut random = Random::new(seed, &format!("sums {n}"));
            let mut halves = |scale: f64| -> Vec<f32> {
                (0..SIDE * n).map(|_| Format::F16.nearest(random.normals()[0] * scale) as f32).collect()
            };
            let (a, b) = (halves(1.0), halves(1.0 / (n as f64).sqrt()));
            let graph = Graph::new(precision);
            let (x, y) = (graph.input("a", [SIDE, n]), graph.input("b", [n, SIDE]));
            let product = x.matmul(y);
            let mut plan = Plan::infer(gpu, &Weights::init(gpu, &graph, 0)?, [product])?;
            plan.write(x, &a)?;
            plan.write(y, &b)?;
            plan.run();
            let found = plan.read(product)?.wait()?;
            let error = |(i, &v): (usize, &f32)| {
                let term = |k: usize| f64::from(a[i / SIDE * n + k]) * f64::from(b[k * SIDE + i % SIDE]);
                ((0..n).map(term).sum::<f64>() - f64::from(v)).abs()
            };
            row.push(Cell::Number(mean(&found.iter().enumerate().map(error).collect::<Vec<f64>>())));
        }
        rows.push(row);
    }
    let header = ["precision", "64 terms", "256 terms", "1024 terms", "4096 terms"];
    Ok(table(&header, rows))
}

/// Where a running average ends that was `start` and is told `target` five thousand times.
fn settled(gpu: &Gpu, precision: Precision, start: f32, target: f32, share: f32) -> Result<f32> {
    let graph = Graph::new(precision);
    let (w, x) = (graph.weight("w", [1], Init::Constant(0.0)), graph.input("x", [1]));
    let state = graph.state("running_var", [1], Init::Constant(start));
    graph.average(state, x, share);
    let weights = Weights::init(gpu, &graph, 0)?;
    let mut plan = Plan::train(gpu, &weights, (w * x).sum_all(), Sgd::new(0.0))?;
    plan.write(x, &[target])?;
    (0..5000).for_each(|_| plan.run());
    Ok(weights.get("running_var")?.wait()?[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(row: &[Cell]) -> Vec<f64> {
        row.iter().filter_map(|cell| if let Cell::Number(n) = cell { Some(*n) } else { None }).collect()
    }

    #[test]
    fn running_averages_stall_in_f16_and_not_in_f32() {
        let gpu = Gpu::new().unwrap();
        let found = stall(&gpu, 0).unwrap();
        for row in &found.rows {
            let (name, numbers) = (&row[0], numbers(row));
            let short = [-numbers[2], numbers[4]];
            match (name == &text("f16-strict"), numbers[0] > 0.95) {
                (false, _) => assert!(short.iter().all(|s| s.abs() < 0.1), "{row:?}"),
                (true, true) => assert!(short.iter().all(|s| (2.5..4.0).contains(s)), "{row:?}"),
                (true, false) => assert!(short.iter().all(|s| (0.1..1.0).contains(s)), "{row:?}"),
            }
        }
        assert_eq!(found.rows.len() / 2, able(&gpu, &[Precision::F32, Precision::F16, Precision::F16_STRICT]).len());
    }

    #[test]
    fn sums_in_halves_err_more_the_longer_they_are() {
        let found = sums(&Gpu::new().unwrap(), 1).unwrap();
        let of = |name: &str| numbers(found.rows.iter().find(|row| row[0] == text(name)).unwrap());
        let (half, chunks, single) = (of("f16+acc=f16"), of("f16+acc=chunk32"), of("f16"));
        assert!(half[3] > 2.0 * half[0] && half[3] > 4.0 * chunks[3], "{half:?} {chunks:?}");
        assert!(single.iter().all(|e| (5e-5..2e-4).contains(e)), "{single:?}");
    }

    #[test]
    fn the_toy_is_as_emulated() {
        let found = toy(&Gpu::new().unwrap(), 3).unwrap();
        let means: Vec<f64> = found.rows.iter().map(|row| numbers(row)[0]).collect();
        let expected = [(0.09998, 1e-5), (0.0799, 2e-4), (0.07995, 5e-5), (0.07995, 1e-4), (0.08, 1e-5)];
        assert!(means.iter().zip(expected).all(|(m, (e, within))| (m - e).abs() < within), "{means:?}");
    }
}
