//! One pass of a network forward and backward, for `networks.py`:
//! `MODEL PRECISION train|infer|logits FOLDER [choices]` reads weights.safetensors and batch.safetensors there and writes
//! pass.safetensors.
//!
//! `train` is one step of SGD: the running averages as it leaves them, and as gradients what it took from the weights.
//! `infer` differentiates the network as a plan that infers has it: with running averages and without dropout. `choices` are
//! the values behind each relu and before each max pool, which say what the gradient went through.

use std::{collections::BTreeMap, env, error::Error, path::Path};

use halfgrad::{
    Dtype, Gpu, Graph, Plan, Policy, Precision, Sgd, Shape, Tensor, Weights,
    checkpoint::{self, Record},
    graph::{Node, Origin, Value},
    nn::{self, Head},
    plan::Options,
    study::{Model, Network},
};

/// So large that a weight's own bits are nothing beside a step's.
const RATE: f32 = (1 << 20) as f32;
/// The seed of dropout; `models.py` has the same masks.
const SEED: u32 = 7;

type Found = Vec<(String, Shape, Vec<f32>)>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, precision, mode, folder, rest @ ..] = &arguments[..] else {
        return Err("MODEL PRECISION train|infer|logits FOLDER [choices]".into());
    };
    let folder = Path::new(folder);
    let batch = checkpoint::load(folder.join("batch.safetensors"))?;
    let batch: BTreeMap<_, _> =
        batch.tensors.into_iter().map(|(name, shape, values)| (name, (shape, values))).collect();
    let (shape, x) = &batch["x"];
    let labels = |name: &str| batch[name].1.iter().map(|&v| v as u32).collect::<Vec<_>>();

    let gpu = Gpu::new()?;
    let graph = Graph::new(precision.parse::<Policy>()?);
    let network = build(&graph, model, *shape)?;
    let weights = Weights::load(&gpu, &graph, folder.join("weights.safetensors"))?;
    let write = |plan: &mut Plan| {
        plan.write(network.label, &labels("label")).or_else(|e| if mode == "logits" { Ok(()) } else { Err(e) })?;
        if network.x.dtype() == Dtype::U32 { plan.write(network.x, &labels("x")) } else { plan.write(network.x, x) }
    };
    let watched = if rest.is_empty() { vec![] } else { choices(&graph) };
    let kept = [vec![("logits".to_owned(), network.logits)], watched].concat();
    let found = match mode.as_str() {
        "train" => trained(&gpu, &weights, network.loss, kept, write)?,
        "infer" => inferred(&gpu, &weights, [kept, gradients(network.loss)].concat(), write)?,
        _ => inferred(&gpu, &weights, kept, write)?,
    };
    let bytes: Vec<Vec<u8>> = found.iter().map(|(.., v)| v.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let named = found.iter().zip(&bytes);
    let records: Vec<Record> =
        named.map(|((name, shape, _), bytes)| Record { name, shape: *shape, dtype: Dtype::F32, bytes }).collect();
    checkpoint::save(folder.join("pass.safetensors"), &records, &[])?;
    Ok(())
}

/// The network for batches of this shape; `resnet20-coded` has the authors' head.
fn build<'g>(graph: &'g Graph, name: &str, shape: Shape) -> Result<Network<'g>, Box<dyn Error>> {
    let dims = shape.to_vec();
    if let Some(depth) = name.strip_prefix("resnet").and_then(|rest| rest.strip_suffix("-coded")) {
        let (x, label) = (graph.input("x", shape), graph.labels("label", [dims[0]]));
        let logits = nn::resnet(x, depth.parse()?, Head::AsCoded, 10);
        return Ok(Network { x, label, logits, loss: logits.cross_entropy(label) });
    }
    let model = Model::named(name, &[128]).ok_or("no such network")?;
    let sample = Shape::new(&dims[1..]).ok_or("no sample")?;
    Ok(model.build(graph, dims[0], sample, if name == "gpt" { 256 } else { 10 })?)
}

/// What relus and max pools choose by, numbered in the order of the graph.
fn choices(graph: &Graph) -> Vec<(String, Tensor<'_>)> {
    let of = |node: usize| match graph.node(node) {
        Node { origin: Origin::Op(op), .. } if op.name() == "relu" => Some(Value { node, output: 0 }),
        Node { origin: Origin::Op(op), inputs, .. } if op.name() == "max_pool2d" => Some(inputs[0]),
        _ => None,
    };
    let values = (0..graph.len()).filter_map(of).enumerate();
    values.map(|(i, value)| (format!("choice{i:04}"), Tensor { graph, value })).collect()
}

/// The gradient of each weight, by the weight's name.
fn gradients(loss: Tensor<'_>) -> Vec<(String, Tensor<'_>)> {
    let weights = loss.graph.weights();
    let name = |w: &Tensor| loss.graph.node(w.value.node).name.unwrap_or_default();
    weights.iter().map(name).zip(loss.graph.grad(loss, &weights)).collect()
}

/// What a plan that infers computes.
fn inferred(
    gpu: &Gpu,
    weights: &Weights,
    wanted: Vec<(String, Tensor)>,
    write: impl Fn(&mut Plan) -> halfgrad::Result<()>,
) -> Result<Found, Box<dyn Error>> {
    let mut plan = Plan::infer(gpu, weights, wanted.iter().map(|(_, t)| *t))?;
    write(&mut plan)?;
    plan.run();
    read(&plan, wanted)
}

fn read(plan: &Plan, wanted: Vec<(String, Tensor)>) -> Result<Found, Box<dyn Error>> {
    wanted.into_iter().map(|(name, t)| Ok((name, t.shape(), plan.read(t)?.wait()?))).collect()
}

/// What one step computes, gradients and running averages.
fn trained(
    gpu: &Gpu,
    weights: &Weights,
    loss: Tensor,
    kept: Vec<(String, Tensor)>,
    write: impl Fn(&mut Plan) -> halfgrad::Result<()>,
) -> Result<Found, Box<dyn Error>> {
    for (_, t) in &kept {
        t.watch();
    }
    let rate = if loss.graph.precision() == Precision::F32 { RATE } else { 1.0 };
    let options = Options { seed: SEED, ..Options::default() };
    let mut plan = Plan::train_with(gpu, weights, loss, &Sgd::new(rate), options)?;
    write(&mut plan)?;
    let before = weights.read_all().wait()?;
    plan.run();
    plan.losses().wait()?;
    let mut found = read(&plan, kept)?;
    let trained = loss.graph.weights().len();
    for (i, ((name, shape), after)) in weights.names().iter().zip(weights.read_all().wait()?).enumerate() {
        let taken = || before[i].iter().zip(&after).map(|(b, a)| (b - a) / rate).collect();
        found.push((name.clone(), *shape, if i < trained { taken() } else { after }));
    }
    Ok(found)
}
