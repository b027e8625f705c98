//! Named weights and states on the device, in the order of the graph: seeded, read, written, saved and loaded.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::{
    Dtype, Error, Graph, Policy, Result, Shape,
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
    policy: Policy,
    /// What the weights are rounded to.
    simulated: Option<Format>,
    /// The weights, then the states.
    names: Vec<(String, Shape)>,
    /// How many weights there are.
    trained: usize,
    /// The weights as the forward pass reads them, and in f32 where the precision keeps master weights.
    weights: Store,
    masters: Store,
    states: Store,
}

/// Tensors of one kind in memory.
#[derive(Debug, Clone)]
struct Store {
    arena: Arena,
    /// The buffer of each chunk that is there, and the type of what it holds.
    chunks: Vec<Option<(wgpu::Buffer, Dtype)>>,
}

/// Where a tensor lies.
#[derive(Clone, Copy)]
struct Place<'a> {
    buffer: &'a wgpu::Buffer,
    offset: u64,
    shape: Shape,
    dtype: Dtype,
}

impl Store {
    /// `stored` tells in which type the tensors of a type are kept, if they are.
    async fn new(gpu: &Gpu, label: &str, arena: Arena, stored: impl Fn(Dtype) -> Option<Dtype>) -> Result<Self> {
        let mut chunks = vec![];
        for chunk in &arena.chunks {
            chunks.push(match stored(chunk.dtype) {
                Some(dtype) => Some((gpu::buffer(gpu, label, chunk.bytes(dtype)).await?, dtype)),
                None => None,
            });
        }
        Ok(Store { arena, chunks })
    }

    /// The place of tensor `i`, if it is kept.
    fn place(&self, i: usize, shape: Shape) -> Option<Place<'_>> {
        let (chunk, group) = self.arena.places[i];
        let (buffer, dtype) = self.chunks[chunk].as_ref()?;
        Some(Place { buffer, offset: arena::offset(group, *dtype), shape, dtype: *dtype })
    }

    fn buffer(&self, chunk: usize) -> &wgpu::Buffer {
        &self.chunks[chunk].as_ref().expect("a plan of this precision shares it").0
    }
}

impl<'a> Place<'a> {
    /// Buffer, offset and bytes.
    fn range(&self) -> (&'a wgpu::Buffer, u64, u64) {
        (self.buffer, self.offset, bytes(self.shape, self.dtype))
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

    /// The same values for a graph of the same names, which may be in another precision.
    ///
    /// # Errors
    /// As [`init`](Self::init) and [`set`](Self::set).
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn cast(&self, gpu: &Gpu, graph: &Graph) -> Result<Self> {
        let copy = pollster::block_on(Self::allocate(gpu, graph))?;
        for ((name, _), values) in self.names().iter().zip(self.read_all().wait()?) {
            copy.set(name, &values)?;
        }
        Ok(copy)
    }

    /// Weights to follow these as their average: the values that these have now, in f32 too; the states are shared.
    pub(crate) async fn follower(&self) -> Result<Self> {
        let of = &*self.shared;
        let values = self.read_all().await?;
        let arena = || of.weights.arena.clone();
        let follower = Weights {
            shared: Arc::new(Shared {
                gpu: of.gpu.clone(),
                graph: of.graph,
                policy: of.policy.clone(),
                simulated: of.simulated,
                names: of.names.clone(),
                trained: of.trained,
                weights: Store::new(&of.gpu, "average copy", arena(), Some).await?,
                masters: Store::new(&of.gpu, "average", arena(), |_| Some(Dtype::F32)).await?,
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

    /// Writes all weights and states to a safetensors file, whole or not at all: f32 where it is kept, else f16.
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
        let dtype = |i| self.kept(i).dtype;
        let bytes: Vec<Vec<u8>> = values.iter().enumerate().map(|(i, v)| to_bytes(v, dtype(i))).collect();
        let named = self.shared.names.iter().zip(&bytes).enumerate();
        let records: Vec<Record> =
            named.map(|(i, ((name, shape), bytes))| Record { name, shape: *shape, dtype: dtype(i), bytes }).collect();
        let precision = self.shared.policy.to_string();
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
        let place = self.kept(self.index(name)?);
        let Place { shape, dtype, .. } = place;
        Ok(Reading::new(&self.shared.gpu, &[place.range()], move |b| Ok(gpu::loaded(b, shape, dtype))))
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
        let places = (0..self.shared.names.len()).map(|i| self.kept(i));
        let (ranges, types): (Vec<_>, Vec<_>) = places.map(|p| (p.range(), (p.shape, p.dtype))).unzip();
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
            return Err(Error::Port(
                "the weights are on another device than the plan; clone the Gpu that they were made with".into(),
            ));
        }
        if self.shared.names.len() != graph.weights().len() + graph.states().len() {
            return Err(Error::Port("the graph has weights or states that were added after Weights::init".into()));
        }
        Ok(())
    }

    /// The buffer that a plan shares.
    pub(crate) fn buffer(&self, source: Source) -> &wgpu::Buffer {
        let shared = &self.shared;
        match source {
            Source::Weights(c) => shared.weights.buffer(c),
            Source::Master(c) => shared.masters.buffer(c),
            Source::States(c) => shared.states.buffer(c),
            Source::Average(_) | Source::AverageCopy(_) | Source::Plan => {
                unreachable!("other weights have it, or the plan itself")
            }
        }
    }

    async fn allocate(gpu: &Gpu, graph: &Graph) -> Result<Self> {
        graph.check()?;
        let policy = graph.policy().clone();
        gpu.caps().supports(policy.base)?;
        let tensors = [graph.weights(), graph.states()];
        let name = |node| graph.node(node).name.expect("weights and states are named");
        let names: Vec<_> = tensors.iter().flatten().map(|t| (name(t.value.node), t.shape())).collect();
        let trained = tensors[0].len();
        let [weights, states] =
            tensors.map(|tensors| tensors.iter().map(|t| (t.shape(), t.dtype())).collect::<Vec<_>>());
        let master = |dtype| policy.of_weights(dtype).master.then_some(Dtype::F32);
        let sum = |types: &[(Shape, Dtype)], stored: &dyn Fn(Dtype) -> Option<Dtype>| {
            types.iter().map(|(shape, dtype)| stored(*dtype).map_or(0, |dtype| bytes(*shape, dtype))).sum::<u64>()
        };
        let all = sum(&weights, &Some) + sum(&weights, &master) + sum(&states, &Some);
        if let Some(limit) = gpu.caps().memory.filter(|&limit| all > limit) {
            let (all, limit) = (count(all), count(limit));
            return Err(Error::Memory(format!(
                "the weights take {all}B, the limit is {limit}B; 16 bit would need less"
            )));
        }
        let arena = |types: Vec<_>| Arena::new(types, gpu.caps().binding_bytes);
        let weights = arena(weights)?;
        Ok(Weights {
            shared: Arc::new(Shared {
                gpu: gpu.clone(),
                graph: graph.id(),
                simulated: graph.simulation().weights.map(|q| q.format),
                names,
                trained,
                weights: Store::new(gpu, "weights", weights.clone(), Some).await?,
                masters: Store::new(gpu, "master weights", weights, master).await?,
                states: Store::new(gpu, "states", arena(states)?, Some).await?,
                policy,
            }),
        })
    }

    fn index(&self, name: &str) -> Result<usize> {
        let found = self.shared.names.iter().position(|(n, _)| n == name);
        found.ok_or_else(|| Error::name(name, "no weight or state has this name"))
    }

    /// Where tensor `i` lies in full precision.
    fn kept(&self, i: usize) -> Place<'_> {
        let (shared, shape) = (&*self.shared, self.shared.names[i].1);
        let kept = match i.checked_sub(shared.trained) {
            Some(state) => shared.states.place(state, shape),
            None => shared.masters.place(i, shape).or(shared.weights.place(i, shape)),
        };
        kept.expect("each tensor lies somewhere")
    }

    fn write(&self, i: usize, values: &[f32]) {
        let (shared, shape) = (&*self.shared, self.shared.names[i].1);
        let write = |place: Option<Place>, values: &[f32]| {
            if let Some(Place { buffer, offset, dtype, .. }) = place {
                shared.gpu.queue().write_buffer(buffer, offset, &gpu::stored(values, shape, dtype));
            }
        };
        if let Some(state) = i.checked_sub(shared.trained) {
            return write(shared.states.place(state, shape), values);
        }
        write(shared.masters.place(i, shape), values);
        match shared.simulated {
            Some(format) => {
                let rounded: Vec<f32> = values.iter().map(|&v| format.nearest(v.into()) as f32).collect();
                write(shared.weights.place(i, shape), &rounded);
            }
            None => write(shared.weights.place(i, shape), values),
        }
    }
}

fn to_bytes(values: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F16 => values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}
