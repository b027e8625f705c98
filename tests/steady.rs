//! Steps that run again and again allocate nothing of ours. What wgpu allocates to record and submit is its own.

use halfgrad::{
    Gpu, Graph, Plan, Precision, Sgd, Shape, Weights,
    data::{self, Batch},
    study::Model,
};

#[path = "common/allocations.rs"]
mod allocations;

use allocations::Allocation;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

/// Steps whose losses are read at once.
const BLOCK: usize = 16;

#[test]
fn steps_allocate_nothing_and_losses_a_little() {
    allocations::prepare();
    let gpu = Gpu::new().unwrap();
    let (digits, sample) = (data::digits().train, Shape::from([8, 8, 1]));
    let batches = digits.batches(16).unwrap().shuffled(1);
    for precision in [Precision::F32, Precision::MIXED] {
        let graph = Graph::new(precision);
        let network = Model::named("mlp", &[32]).unwrap().build(&graph, 16, sample, 10).unwrap();
        let weights = Weights::init(&gpu, &graph, 1).unwrap();
        let mut plan = Plan::train(&gpu, &weights, network.loss, Sgd::new(0.05).momentum(0.9)).unwrap();
        let mut ahead = batches.epoch(0).prefetched();
        let mut batch = Batch::default();
        let mut write = |plan: &mut Plan| {
            assert!(ahead.fill(&mut batch));
            plan.write(network.x, &batch.images).unwrap();
            plan.write(network.label, &batch.labels).unwrap();
        };

        // A block in one submission: the device is behind by all its steps, which is the most that the next can be.
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for _ in 0..BLOCK {
            write(&mut plan);
            plan.encode(&mut encoder);
        }
        gpu.queue().submit([encoder.finish()]);
        assert_eq!(plan.losses().wait().unwrap().len(), BLOCK);

        let steps = allocations::during(|| {
            for _ in 0..BLOCK {
                write(&mut plan);
                plan.run();
            }
        });
        // A thread that waits at a channel for the first time, whenever that is, has std note it; images take 4 kB.
        let waits = |a: &Allocation| a.bytes < 512 && a.ours.as_ref().is_some_and(|line| line.contains("prefetch.rs"));
        let ours: Vec<_> = steps.iter().filter(|a| a.ours.is_some() && !waits(a)).collect();
        assert!(ours.is_empty(), "{precision}: {ours:?}");
        assert!(steps.len() > BLOCK, "wgpu allocates, or nothing is counted: {}", steps.len());

        // The values, the log of 1024 losses that they are taken from, a buffer to read it by, a channel and a closure.
        let losses = allocations::during(|| assert_eq!(plan.losses().wait().unwrap().len(), BLOCK));
        let ours: Vec<_> = losses.iter().filter(|a| a.ours.is_some()).collect();
        let bytes = ours.iter().map(|a| a.bytes).sum::<usize>();
        assert!((1..=5).contains(&ours.len()) && bytes < 5000, "{precision}: {ours:?}");
    }
}
