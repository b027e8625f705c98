//! Named weights and states on the device, in the order of the graph: seeded, read, written, saved and loaded.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::{
    Dtype, Error, Graph, Precision, Result, Shape,
    arena::{self, Arena},
    checkpoint::{self, Record},
    dispatch::{Source, bytes, count},
    format::Format,
    gpu::{self, Gpu, Reading},
    graph::Origin,
};

/// The weights and states of a network. Plans made with it share its memory: what one trains, the other infers with.
#[derive(Debug, Clone)]
pub struct Weights {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    gpu: Gpu,
    graph: u32,
    precision: Precision,
    /// What the weights are rounded to.
    simulated: Option<Format>,
    /// The weights, then the states.
    names: Vec<(String, Shape)>,
    /// How many weights there are.
    trained: usize,
    /// The weights in the storage type, and in f32 where the precision keeps master weights.
    weights: Store,
    masters: Option<Store>,
    states: Store,
}

/// Tensors of one kind and type in memory.
#[derive(Debug, Clone)]
struct Store {
    dtype: Dtype,
    arena: Arena,
    chunks: Vec<wgpu::Buffer>,
}

impl Store {
    async fn new(gpu: &Gpu, label: &str, names: &[(String, Shape)], dtype: Dtype) -> Result<Self> {
        let shapes: Vec<Shape> = names.iter().map(|(_, s)| *s).collect();
        let arena = Arena::new(&shapes, gpu.caps().binding_bytes)?;
        let mut chunks = vec![];
        for c in 0..arena.chunks.len() {
            chunks.push(gpu::buffer(gpu, label, arena.bytes(c, dtype)).await?);
        }
        Ok(Store { dtype, arena, chunks })
    }

    /// The buffer, offset and bytes of tensor `i`.
    fn range(&self, i: usize, shape: Shape) -> (&wgpu::Buffer, u64, u64) {
        let (chunk, group) = self.arena.places[i];
        (&self.chunks[chunk], arena::offset(group, self.dtype), bytes(shape, self.dtype))
    }
}

impl Weights {
    /// Fills every weight and state of `graph` by its initialisation. The values depend on the seed and the weight's name
    /// only, so that each precision starts from the same ones.
    ///
    /// # Errors
    /// The graph's first mistake; [`Error::Memory`] if the device has no room.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn init(gpu: &Gpu, graph: &Graph, seed: u64) -> Result<Self> {
        pollster::block_on(Self::init_async(gpu, graph, seed))
    }

    /// [`init`](Self::init), without blocking.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    pub async fn init_async(gpu: &Gpu, graph: &Graph, seed: u64) -> Result<Self> {
        let weights = Self::allocate(gpu, graph).await?;
        for (i, w) in [graph.weights(), graph.states()].concat().into_iter().enumerate() {
            if let Origin::Weight(init) | Origin::State(init) = graph.node(w.value.node).origin {
                let (name, shape) = &weights.shared.names[i];
                weights.write(i, &init.values(shape, seed, name));
            }
        }
        Ok(weights)
    }

    /// Weights to follow these as their average: the values that these have now, in f32 too; the states are shared.
    pub(crate) async fn follower(&self) -> Result<Self> {
        let of = &*self.shared;
        let values = self.read_all().await?;
        let names = &of.names[..of.trained];
        let follower = Weights {
            shared: Arc::new(Shared {
                gpu: of.gpu.clone(),
                graph: of.graph,
                precision: of.precision,
                simulated: of.simulated,
                names: of.names.clone(),
                trained: of.trained,
                weights: Store::new(&of.gpu, "average copy", names, of.precision.storage).await?,
                masters: Some(Store::new(&of.gpu, "average", names, Dtype::F32).await?),
                states: of.states.clone(),
            }),
        };
        values.iter().take(of.trained).enumerate().for_each(|(i, values)| follower.write(i, values));
        Ok(follower)
    }

    /// Reads the weights and states of `graph` from a safetensors file of f32 or f16, which must hold each of them.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read or lacks a weight; [`Error::Name`] if one has another shape.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn load(gpu: &Gpu, graph: &Graph, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = checkpoint::load(path)?;
        let weights = pollster::block_on(Self::allocate(gpu, graph))?;
        let tensors: BTreeMap<_, _> = file.tensors.iter().map(|(n, s, v)| (n.as_str(), (s, v))).collect();
        for (i, (name, shape)) in weights.shared.names.iter().enumerate() {
            let Some((found, values)) = tensors.get(name.as_str()) else {
                let names = tensors.keys().copied().collect::<Vec<_>>().join(", ");
                return Err(Error::file(path, format!("no tensor {name:?}; there are {names}")));
            };
            if *found != shape {
                return Err(Error::file(path, format!("{name:?} is {found}, the network's is {shape}")));
            }
            weights.write(i, values);
        }
        let unknown = tensors.keys().find(|n| !weights.shared.names.iter().any(|(name, _)| name == *n));
        match unknown {
            Some(name) => Err(Error::file(path, format!("{name:?} is no weight of this network"))),
            None => Ok(weights),
        }
    }

    /// Writes all weights and states to a safetensors file, whole or not at all: f32 where the precision keeps f32, else f16.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Device`] if the weights cannot be read back.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.save_with(path, &[])
    }

    /// As [`save`](Self::save), with notes in the file's metadata, beside its own `format` and `precision`.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn save_with(&self, path: impl AsRef<Path>, notes: &[(&str, &str)]) -> Result<()> {
        let values = self.read_all().wait()?;
        let dtype = |i| self.kept(i).0.dtype;
        let bytes: Vec<Vec<u8>> = values.iter().enumerate().map(|(i, v)| to_bytes(v, dtype(i))).collect();
        let named = self.shared.names.iter().zip(&bytes).enumerate();
        let records: Vec<Record> =
            named.map(|(i, ((name, shape), bytes))| Record { name, shape: *shape, dtype: dtype(i), bytes }).collect();
        let precision = self.shared.precision.to_string();
        let own = [("format", "halfgrad"), ("precision", &precision)];
        checkpoint::save(path, &records, &[notes, &own].concat())
    }

    /// Names and shapes of the weights, then of the states, in the order of the graph.
    pub fn names(&self) -> &[(String, Shape)] {
        &self.shared.names
    }

    /// The values of one weight or state, from the master copy if there is one.
    ///
    /// # Errors
    /// [`Error::Name`] if no weight has this name.
    pub fn get(&self, name: &str) -> Result<Reading<Vec<f32>>> {
        let i = self.index(name)?;
        let ((store, at), shape) = (self.kept(i), self.shared.names[i].1);
        let dtype = store.dtype;
        Ok(Reading::new(&self.shared.gpu, &[store.range(at, shape)], move |b| Ok(gpu::loaded(b, shape, dtype))))
    }

    /// Sets one weight or state.
    ///
    /// # Errors
    /// [`Error::Name`] if no weight has this name, [`Error::Length`] if the values do not fill it.
    pub fn set(&self, name: &str, values: &[f32]) -> Result<()> {
        let i = self.index(name)?;
        let shape = self.shared.names[i].1;
        if values.len() != shape.len() {
            return Err(Error::Length { name: name.into(), shape, expected: shape.len(), found: values.len() });
        }
        self.write(i, values);
        Ok(())
    }

    /// The values of all weights and states, in the order of [`names`](Self::names).
    pub fn read_all(&self) -> Reading<Vec<Vec<f32>>> {
        let tensors = self.shared.names.iter().enumerate().map(|(i, (_, shape))| (self.kept(i), *shape));
        let (ranges, types): (Vec<_>, Vec<_>) =
            tensors.map(|((store, at), shape)| (store.range(at, shape), (shape, store.dtype))).unzip();
        Reading::new(&self.shared.gpu, &ranges, move |mut b| {
            let part = |&(shape, dtype): &(Shape, Dtype)| {
                let (this, rest) = b.split_at(bytes(shape, dtype) as usize);
                b = rest;
                gpu::loaded(this, shape, dtype)
            };
            Ok(types.iter().map(part).collect())
        })
    }

    /// Fails if a plan of `graph` on `gpu` cannot use these weights.
    pub(crate) fn belong_to(&self, graph: &Graph, gpu: &Gpu) -> Result<()> {
        if self.shared.graph != graph.id() {
            return Err(Error::Port("the weights belong to another graph".into()));
        }
        if self.shared.simulated != graph.simulation().weights.map(|q| q.format) {
            return Err(Error::Port("Graph::simulate must be called before Weights::init".into()));
        }
        if !self.shared.gpu.shares_device(gpu) {
            return Err(Error::Port("the weights are on another device than the plan".into()));
        }
        if self.shared.names.len() != graph.weights().len() + graph.states().len() {
            return Err(Error::Port("the graph has weights or states that were added after Weights::init".into()));
        }
        Ok(())
    }

    /// The buffer that a plan shares.
    pub(crate) fn buffer(&self, source: Source) -> &wgpu::Buffer {
        let shared = &self.shared;
        match (source, &shared.masters) {
            (Source::Weights(c), _) => &shared.weights.chunks[c],
            (Source::Master(c), Some(masters)) => &masters.chunks[c],
            (Source::States(c), _) => &shared.states.chunks[c],
            (Source::Master(_) | Source::Average(_) | Source::AverageCopy(_) | Source::Plan, _) => {
                unreachable!("a plan of this precision does not share it")
            }
        }
    }

    async fn allocate(gpu: &Gpu, graph: &Graph) -> Result<Self> {
        graph.check()?;
        let precision = graph.precision();
        gpu.caps().supports(precision)?;
        let tensors = [graph.weights(), graph.states()].concat();
        let name = |node| graph.node(node).name.expect("weights and states are named");
        let names: Vec<_> = tensors.iter().map(|t| (name(t.value.node), t.shape())).collect();
        let trained = graph.weights().len();
        let (of_weights, of_states) = names.split_at(trained);
        let sum = |names: &[(String, Shape)], dtype| names.iter().map(|(_, shape)| bytes(*shape, dtype)).sum::<u64>();
        let masters = if precision.master { sum(of_weights, Dtype::F32) } else { 0 };
        let all = sum(of_weights, precision.storage) + masters + sum(of_states, precision.wide());
        if let Some(limit) = gpu.caps().memory.filter(|&limit| all > limit) {
            let (all, limit) = (count(all), count(limit));
            return Err(Error::Memory(format!(
                "the weights take {all}B, the limit is {limit}B; 16 bit would need less"
            )));
        }
        let weights = Store::new(gpu, "weights", of_weights, precision.storage).await?;
        let masters = match precision.master {
            true => Some(Store::new(gpu, "master weights", of_weights, Dtype::F32).await?),
            false => None,
        };
        let states = Store::new(gpu, "states", of_states, precision.wide()).await?;
        let simulated = graph.simulation().weights.map(|q| q.format);
        let (gpu, graph) = (gpu.clone(), graph.id());
        let shared = Shared { gpu, graph, precision, simulated, names, trained, weights, masters, states };
        Ok(Weights { shared: Arc::new(shared) })
    }

    fn index(&self, name: &str) -> Result<usize> {
        let found = self.shared.names.iter().position(|(n, _)| n == name);
        found.ok_or_else(|| Error::name(name, "no weight or state has this name"))
    }

    /// Where tensor `i` lies in full precision: the store and its number there.
    fn kept(&self, i: usize) -> (&Store, usize) {
        let shared = &self.shared;
        match i.checked_sub(shared.trained) {
            Some(state) => (&shared.states, state),
            None => (shared.masters.as_ref().unwrap_or(&shared.weights), i),
        }
    }

    fn write(&self, i: usize, values: &[f32]) {
        let shape = self.shared.names[i].1;
        let write = |store: &Store, at: usize, values: &[f32]| {
            let (buffer, offset, _) = store.range(at, shape);
            self.shared.gpu.queue().write_buffer(buffer, offset, &gpu::stored(values, shape, store.dtype));
        };
        let trained = i < self.shared.trained;
        if !trained || self.shared.masters.is_some() {
            let (store, at) = self.kept(i);
            write(store, at, values);
        }
        match self.shared.simulated {
            Some(format) if trained => {
                let rounded: Vec<f32> = values.iter().map(|&v| format.nearest(v.into()) as f32).collect();
                write(&self.shared.weights, i, &rounded);
            }
            None if trained => write(&self.shared.weights, i, values),
            _ => {}
        }
    }
}

fn to_bytes(values: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F16 => values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}
