//! The tasks by meganeura, as its examples write them.

use meganeura::{Graph, Session, graph::NodeId};

use crate::{Run, Task, numbers};

pub fn prepare(task: Task) -> Option<Run> {
    let mut g = Graph::new();
    Some(match task {
        Task::Matmul(n) => {
            let (a, b) = (g.input("a", &[n, n]), g.input("b", &[n, n]));
            let y = g.matmul(a, b);
            infer(g, y, &[("a", n * n), ("b", n * n)])
        }
        Task::Softmax => {
            let x = g.input("x", &[4096, 1024]);
            let y = g.softmax(x);
            infer(g, y, &[("x", 4096 * 1024)])
        }
        Task::LayerNorm => {
            let (x, gain, bias) = (g.input("x", &[4096, 1024]), g.input("gain", &[1024]), g.input("bias", &[1024]));
            let y = g.layer_norm(x, gain, bias, 1e-5);
            infer(g, y, &[("x", 4096 * 1024), ("gain", 1024), ("bias", 1024)])
        }
        Task::Convolution => {
            let (x, w) = (g.input("x", &[32 * 64 * 16 * 16]), g.input("w", &[64 * 64 * 9]));
            let y = g.conv2d(x, w, 32, 64, 16, 16, 64, 3, 3, 1, 1);
            infer(g, y, &[("x", 32 * 64 * 16 * 16), ("w", 64 * 64 * 9)])
        }
        Task::Mlp { adam } => {
            let x = g.input("x", &[128, 784]);
            let first = dense(&mut g, x, "1", 784, 512);
            let first = g.relu(first);
            let second = dense(&mut g, first, "2", 512, 512);
            let second = g.relu(second);
            let logits = dense(&mut g, second, "3", 512, 10);
            train(g, logits, 128, 128 * 784, adam)
        }
        // Backwards it takes a max pool for an average, it has no batch norm, and its optimizers run behind a network only.
        Task::Adam | Task::Cnn | Task::ResNet20 => return None,
    })
}

fn dense(g: &mut Graph, x: NodeId, name: &str, from: usize, to: usize) -> NodeId {
    let (w, b) = (g.parameter(&format!("w{name}"), &[from, to]), g.parameter(&format!("b{name}"), &[to]));
    let y = g.matmul(x, w);
    g.bias_add(y, b)
}

fn infer(mut g: Graph, y: NodeId, inputs: &[(&str, usize)]) -> Run {
    g.set_outputs(vec![y]);
    let mut session = meganeura::build_inference_session(&g);
    for (name, n) in inputs {
        session.set_input(name, &numbers(*n));
    }
    repeat(session)
}

fn train(mut g: Graph, logits: NodeId, batch: usize, inputs: usize, adam: bool) -> Run {
    let labels = g.input("labels", &[batch, 10]);
    let loss = g.cross_entropy_loss(logits, labels);
    g.set_outputs(vec![loss]);
    let mut session = meganeura::build_session(&g);
    let names: Vec<String> = session.param_names().into_iter().map(String::from).collect();
    for name in names {
        let n = session.param_size(&name).expect("a parameter");
        let values: Vec<f32> = numbers(n).into_iter().map(|v| v * 0.05).collect();
        session.set_parameter(&name, &values);
    }
    session.set_input("x", &numbers(inputs));
    let one_hot: Vec<f32> = (0..batch * 10).map(|i| f32::from(u8::from(i / 10 % 10 == i % 10))).collect();
    session.set_input("labels", &one_hot);
    if adam {
        session.set_adam(1e-3, 0.9, 0.999, 1e-8);
    } else {
        session.set_learning_rate(1e-3);
    }
    repeat(session)
}

fn repeat(mut session: Session) -> Run {
    Box::new(move || {
        session.step();
        session.wait();
        None
    })
}
