//! What `tests/ops.rs` cannot see: that moved values keep every bit, and that a stopped gradient stops.

use half::f16;
use halfgrad::{Gpu, Graph, Plan, Precision, Weights};

/// The devices to look at: with and without native f16.
fn devices() -> [Gpu; 2] {
    let gpu = Gpu::new().expect("an adapter");
    let packed = pollster::block_on(gpu.without_f16()).expect("the same adapter");
    [gpu, packed]
}

#[test]
fn every_bit_survives() {
    // NaNs with payloads, infinities, the smallest subnormals of both types, a negative zero.
    let words = [
        0x7fc12000, 0xffc54000, 0x7f800000, 0xff800000, 1, 0x807fffff, 0x33800000, 0xb87fc000, 0x80000000, 0x477fe000,
        0x3f800001, 0, 0xbfffffff, 0x00800000, 0x38800000,
    ];
    for gpu in devices() {
        for precision in [Precision::F32, Precision::F16] {
            let stored = words.map(f32::from_bits).map(|v| match precision {
                Precision::F32 => v,
                _ => f16::from_f32(v).to_f32(),
            });
            let graph = Graph::new(precision);
            let x = graph.input("x", [5, 3]);
            let y = x.transpose().pad(1, 1, 2).slice(1, 1..6).concat(1, &[x.reshape([3, 5])]);
            let weights = Weights::init(&gpu, &graph, 0).expect("weights");
            let mut plan = Plan::infer(&gpu, &weights, [y]).expect("a plan");
            plan.write(x, &stored).expect("an input");
            plan.run();
            let found = plan.read(y).expect("an output").wait().expect("values");
            let columns = |row: usize| (0..5).map(move |k| 3 * k + row).chain(5 * row..5 * row + 5);
            let expected = (0..3).flat_map(columns).map(|i| stored[i].to_bits());
            assert!(found.iter().map(|v| v.to_bits()).eq(expected), "{precision} {found:x?}");
        }
    }
}

#[test]
fn a_stopped_gradient_stops() {
    let [gpu, _] = devices();
    let graph = Graph::new(Precision::F32);
    let x = graph.input("x", [5, 3]);
    let dx = graph.grad(x.stop_gradient() * x, &[x])[0];
    let weights = Weights::init(&gpu, &graph, 0).expect("weights");
    let mut plan = Plan::infer(&gpu, &weights, [dx]).expect("a plan");
    let values: Vec<f32> = (0..15).map(|v| v as f32).collect();
    plan.write(x, &values).expect("an input");
    plan.run();
    assert_eq!(plan.read(dx).expect("an output").wait().expect("values"), values);
}
