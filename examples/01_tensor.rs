//! Tensors and a gradient: y = Σ x² over [1, 2, 3] is 14, and dy/dx = 2x is [2, 4, 6].
//!
//! `cargo run --example 01_tensor`

use halfgrad::{Gpu, Graph, Plan, Precision, Weights};

fn main() -> halfgrad::Result<()> {
    let gpu = Gpu::new()?;
    println!("on {}", gpu.caps().adapter);

    // A graph is built first, without values and without `?`.
    let graph = Graph::new(Precision::F32);
    let x = graph.input("x", [3]);
    let y = x.square().sum_all();
    let dx = graph.grad(y, &[x])[0];

    // A plan is the graph on a device: two dispatches here, as its Program shows.
    let weights = Weights::init(&gpu, &graph, 0)?;
    let mut plan = Plan::infer(&gpu, &weights, [y, dx])?;
    println!("{}", plan.program());

    plan.write(x, &[1.0, 2.0, 3.0])?;
    plan.run();
    let (y, dx) = (plan.read(y)?.wait()?, plan.read(dx)?.wait()?);
    println!("y = {y:?}, dy/dx = {dx:?}");
    assert_eq!((y, dx), (vec![14.0], vec![2.0, 4.0, 6.0]));
    Ok(())
}
