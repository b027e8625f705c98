//! The tasks by halfgrad.

use std::time::Duration;

use halfgrad::{
    Adam, Gpu, Graph, Plan, Precision, Sgd, Shape, Tensor, Weights,
    bench::{
        Effort, kernels,
        suite::{self, Kernel},
    },
    ops::{Conv2d, Padding},
    study::Model,
};

use crate::{Run, Task, numbers};

pub fn prepare(task: Task, precision: Precision) -> Option<Run> {
    let gpu = Gpu::new().ok()?;
    let graph = Graph::new(precision);
    let input = |name: &str, shape: &[usize]| graph.input(name, Shape::new(shape).expect("a shape"));
    let mut plan = match task {
        Task::Matmul(n) => {
            let (a, b) = (input("a", &[n, n]), input("b", &[n, n]));
            infer(&gpu, a.matmul(b), &[a, b])
        }
        Task::Softmax => {
            let x = input("x", &[4096, 1024]);
            infer(&gpu, x.softmax(), &[x])
        }
        Task::LayerNorm => {
            let (x, gain, bias) = (input("x", &[4096, 1024]), input("gain", &[1024]), input("bias", &[1024]));
            infer(&gpu, x.layer_norm(1e-5) * gain + bias, &[x, gain, bias])
        }
        Task::Convolution => {
            let (x, w) = (input("x", &[32, 16, 16, 64]), input("w", &[3, 3, 64, 64]));
            infer(&gpu, x.conv2d(w, Conv2d { padding: Padding::Same, ..Conv2d::default() }), &[x, w])
        }
        Task::Adam => {
            let family = suite::FAMILIES.iter().find(|f| f.name == "adam").expect("a family of kernels");
            let kernel = Kernel { family, sizes: &[10_000_000] };
            let effort = Effort { budget: Duration::from_millis(500), least: 3, most: 20, steady: 0.01 };
            return Some(Box::new(move || {
                Some(kernels::measure(&gpu, &kernel, precision, effort).expect("a kernel that runs").timing.wall.median)
            }));
        }
        Task::Mlp { adam } => train(&gpu, &graph, "mlp", &[512, 512], [28, 28, 1], 128, adam),
        Task::Cnn => train(&gpu, &graph, "lenet", &[], [28, 28, 1], 64, false),
        Task::ResNet20 => train(&gpu, &graph, "resnet20", &[], [32, 32, 3], 32, false),
    };
    Some(Box::new(move || {
        plan.run();
        plan.gpu().wait().expect("a device");
        None
    }))
}

fn infer(gpu: &Gpu, y: Tensor, inputs: &[Tensor]) -> Plan {
    let weights = Weights::init(gpu, y.graph, 1).expect("no weights");
    let mut plan = Plan::infer(gpu, &weights, [y]).expect("a plan");
    for x in inputs {
        plan.write(*x, &numbers(x.shape().len())).expect("an input");
    }
    plan
}

fn train(
    gpu: &Gpu,
    graph: &Graph,
    model: &str,
    hidden: &[usize],
    sample: [usize; 3],
    batch: usize,
    adam: bool,
) -> Plan {
    let sample = Shape::from(sample);
    let network = Model::named(model, hidden).expect("a model").build(graph, batch, sample, 10).expect("a network");
    let weights = Weights::init(gpu, graph, 1).expect("weights");
    let mut plan = if adam {
        Plan::train(gpu, &weights, network.loss, Adam::new(1e-4))
    } else {
        Plan::train(gpu, &weights, network.loss, Sgd::new(1e-3))
    }
    .expect("a plan");
    plan.write(network.x, &numbers(batch * sample.len())).expect("images");
    plan.write(network.label, &(0..batch as u32).map(|i| i % 10).collect::<Vec<_>>()).expect("labels");
    plan
}
