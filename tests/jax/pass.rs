//! One pass of a network forward and backward, for `networks.py`:
//! `MODEL PRECISION train|infer|logits FOLDER` reads weights.safetensors and batch.safetensors there and writes pass.safetensors.
//!
//! `train` is one step of SGD: the running averages as it leaves them, and as gradients what it took from the weights.
//! `infer` differentiates the network as a plan that infers has it: with running averages and without dropout.

use std::{collections::BTreeMap, env, error::Error, path::Path};

use halfgrad::{
    Dtype, Gpu, Graph, Plan, Precision, Sgd, Shape, Tensor, Weights,
    checkpoint::{self, Record},
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
    let [model, precision, mode, folder] = &arguments[..] else {
        return Err("MODEL PRECISION train|infer|logits FOLDER".into());
    };
    let folder = Path::new(folder);
    let batch = checkpoint::load(folder.join("batch.safetensors"))?;
    let batch: BTreeMap<_, _> = batch.tensors.into_iter().map(|(name, shape, values)| (name, (shape, values))).collect();
    let (shape, x) = &batch["x"];
    let labels = |name: &str| batch[name].1.iter().map(|&v| v as u32).collect::<Vec<_>>();

    let gpu = Gpu::new()?;
    let graph = Graph::new(precision.parse()?);
    let network = build(&graph, model, *shape)?;
    let weights = Weights::load(&gpu, &graph, folder.join("weights.safetensors"))?;
    let write = |plan: &mut Plan| {
        plan.write(network.label, &labels("label")).or_else(|e| if mode == "logits" { Ok(()) } else { Err(e) })?;
        if network.x.dtype() == Dtype::U32 { plan.write(network.x, &labels("x")) } else { plan.write(network.x, x) }
    };
    let found = match mode.as_str() {
        "train" => trained(&gpu, &weights, network, write)?,
        "infer" => inferred(&gpu, &weights, network, &graph.weights(), write)?,
        _ => inferred(&gpu, &weights, network, &[], write)?,
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

/// Logits, and the gradients of these weights, as plans that infer compute them.
fn inferred(
    gpu: &Gpu,
    weights: &Weights,
    network: Network,
    of: &[Tensor],
    write: impl Fn(&mut Plan) -> halfgrad::Result<()>,
) -> Result<Found, Box<dyn Error>> {
    let gradients = if of.is_empty() { vec![] } else { network.loss.graph.grad(network.loss, of) };
    let outputs: Vec<Tensor> = [network.logits].into_iter().chain(gradients).collect();
    let mut plan = Plan::infer(gpu, weights, outputs.clone())?;
    write(&mut plan)?;
    plan.run();
    let names = ["logits".to_owned()].into_iter().chain(weights.names().iter().map(|(name, _)| name.clone()));
    let read = |(name, t): (String, &Tensor)| Ok((name, t.shape(), plan.read(*t)?.wait()?));
    names.zip(&outputs).map(read).collect()
}

/// Logits, gradients and running averages of one step.
fn trained(
    gpu: &Gpu,
    weights: &Weights,
    network: Network,
    write: impl Fn(&mut Plan) -> halfgrad::Result<()>,
) -> Result<Found, Box<dyn Error>> {
    let logits = network.logits.watch();
    let precision = logits.graph.precision();
    let rate = if precision == Precision::F32 { RATE } else { 1.0 };
    let options = Options { seed: SEED, ..Options::default() };
    let mut plan = Plan::train_with(gpu, weights, network.loss, &Sgd::new(rate), options)?;
    write(&mut plan)?;
    let before = weights.read_all().wait()?;
    plan.run();
    plan.losses().wait()?;
    let mut found = vec![("logits".to_owned(), logits.shape(), plan.read(logits)?.wait()?)];
    let trained = logits.graph.weights().len();
    for (i, ((name, shape), after)) in weights.names().iter().zip(weights.read_all().wait()?).enumerate() {
        let taken = || before[i].iter().zip(&after).map(|(b, a)| (b - a) / rate).collect();
        found.push((name.clone(), *shape, if i < trained { taken() } else { after }));
    }
    Ok(found)
}
