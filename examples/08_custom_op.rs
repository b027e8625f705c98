//! An app's own op with its own WGSL: says that it agrees with its definition in every precision that the adapter runs,
//! then learns the product of two numbers through it, down to less than a tenth of the first loss.
//!
//! `cargo run --features reference --example 08_custom_op [steps]`

use halfgrad::{
    Gpu, Graph, Plan, Precision, Result, Sgd, Tensor, Weights, check,
    dispatch::{Dispatch, Program},
    nn,
    op::{Backward, Io, Op, Type},
    reference::{Array, Case},
};

/// Rows of mean 0 and variance 1, by a kernel of its own.
#[derive(Debug, Clone)]
pub struct RowNorm;

const EPSILON: f32 = 0.01;

// An op is five answers: its name, the shape of its result, its gradient, its dispatch and, for the checks, what it means.
impl Op for RowNorm {
    fn name(&self) -> &'static str {
        "row_norm"
    }

    /// What it says here of operands that do not fit is what the user reads, with the line of his code.
    fn infer(&self, x: &[Type], _: Precision) -> Result<Vec<Type>, String> {
        match x[0].shape.last() {
            0 | 1 => Err("a row of one value has no variance".into()),
            _ => Ok(vec![x[0]]),
        }
    }

    /// The gradient is written in ops that there are; it could be an op with a kernel too.
    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        let (x, y, dy) = (at.x[0], at.y[0], at.dy());
        let last = x.shape().rank() - 1;
        let kept = x.shape().keep(&[last]);
        let mean = |t: Tensor<'g>| t.mean([last]).reshape(kept);
        let variance = mean((x - mean(x)).square());
        vec![Some((variance + EPSILON).rsqrt() * (dy - mean(dy) - y * mean(dy * y)))]
    }

    /// The WGSL is written once for f32, f16 and packed halves: `elem4`, `acc`, `unpack4` and `pack4` are the crate's.
    fn lower(&self, io: &Io, program: &mut Program) {
        let (x, y) = (io.inputs[0], io.outputs[0]);
        let last = x.shape.last();
        let rows = x.shape.len() / last;
        program.push(
            Dispatch::new(io.label, io.shader("row_norm", include_str!("08_custom_op.wgsl")))
                .read(x)
                .write(y)
                .param("rows", rows)
                .param("last", last)
                .param_f32("epsilon", EPSILON)
                .flops(8 * x.shape.len())
                .workgroups(rows.div_ceil(64)),
        );
    }

    fn reference(&self, x: &[Array]) -> Vec<Array> {
        let n = x[0].shape.last();
        let rows = x[0].data.chunks(n).flat_map(|row| {
            let mean = row.iter().sum::<f64>() / n as f64;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
            row.iter().map(move |v| (v - mean) / (variance + f64::from(EPSILON)).sqrt())
        });
        vec![Array::new(x[0].shape, rows.collect())]
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let steps = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(200);
    let gpu = Gpu::new()?;

    // The checks that the crate's own ops pass: the gradient against differences of the definition in f64, then the
    // kernel, forward and backward, against the definition. 17 values in a row leave three places of padding.
    let case = Case::new(RowNorm, [&[5, 17]]).terms(34);
    check::definition(&case)?;
    for (name, precision) in Precision::PRESETS {
        if gpu.caps().supports(precision).is_ok() {
            check::on_device(&gpu, precision, &case)?;
            println!("{name}: the kernel agrees with the definition");
        }
    }

    // In a network it stands where any op stands: mixed precision, loss scale and all.
    let graph = Graph::new(Precision::MIXED);
    let (x, target) = (graph.input("x", [32, 2]), graph.input("target", [32, 1]));
    let h = graph.apply(RowNorm, &[nn::linear("fc1", x, 17)]).tanh();
    let loss = nn::linear("fc2", h, 1).mse(target);
    let weights = Weights::init(&gpu, &graph, 1)?;
    let mut train = Plan::train(&gpu, &weights, loss, Sgd::new(0.01).momentum(0.9))?;
    let points: Vec<f32> = (0..64).map(|i| (i * 37 % 64) as f32 / 32.0 - 1.0).collect();
    train.write(x, &points)?;
    train.write(target, &points.chunks(2).map(|p| p[0] * p[1]).collect::<Vec<_>>())?;
    train.run();
    let first = train.losses().wait()?[0];
    (1..steps).for_each(|_| train.run());
    let last = train.losses().wait()?.last().copied().unwrap_or(first);
    println!("loss {first:.4} at first, {last:.4} after {steps} steps");
    Ok(())
}
