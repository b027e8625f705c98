//! Named weights and states on the device, in the order of the graph: seeded, read, written, saved and loaded.

#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;
use std::{collections::BTreeMap, sync::Arc};

#[cfg(not(target_arch = "wasm32"))]
use crate::file;
use crate::{
    Dtype, Error, Graph, Policy, Result, Shape,
    arena::{self, Arena},
    checkpoint::{self, Contents, Record, TRAINING},
    dispatch::{Source, bytes, count},
    format::Format,
    gpu::{self, Gpu, Place, Reading},
    graph::Origin,
};

/// The weights and states of a network. Plans made with it share its memory: what one trains, the other infers with.
#[derive(Debug, Clone)]
pub struct Weights {
    shared: Arc<Shared>,
}

/// What [`Weights::fill_from`] did not find.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unmatched {
    /// Weights and states that the file has not, or not of their shape: they are as they were.
    pub missing: Vec<String>,
    /// Tensors of the file that are no weights, or not of their shape.
    pub unused: Vec<String>,
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
    fn place(&self, i: usize, shape: Shape) -> Option<Place> {
        let (chunk, group) = self.arena.places[i];
        let (buffer, dtype) = self.chunks[chunk].clone()?;
        Some(Place { buffer, offset: arena::offset(group, dtype), shape, dtype })
    }

    fn buffer(&self, chunk: usize) -> &wgpu::Buffer {
        &self.chunks[chunk].as_ref().expect("a plan of this precision shares it").0
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

    /// The same values for another graph of the same weights: with another batch, in another precision, on another device.
    ///
    /// ```
    /// use halfgrad::{Gpu, Graph, Plan, Precision, Tensor, Weights, nn};
    /// fn net(graph: &Graph, batch: usize) -> Tensor<'_> {
    ///     nn::linear("fc", graph.input("x", [batch, 8]), 3)
    /// }
    /// let (gpu, many, one) = (Gpu::new()?, Graph::new(Precision::F32), Graph::new(Precision::F16));
    /// net(&many, 64);
    /// let trained = Weights::init(&gpu, &many, 1)?;
    /// let y = net(&one, 1);
    /// let mut infer = Plan::infer(&gpu, &trained.for_graph(&gpu, &one)?, [y])?;
    /// assert_eq!(infer.predict_values("x", y, &[0.5; 8])?.len(), 3);
    /// # Ok::<(), halfgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Name`] of a weight that only one of the graphs has, or that is of another shape; else as [`init`](Self::init).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn for_graph(&self, gpu: &Gpu, graph: &Graph) -> Result<Self> {
        pollster::block_on(self.for_graph_async(gpu, graph))
    }

    /// [`for_graph`](Self::for_graph), without blocking.
    ///
    /// # Errors
    /// As [`for_graph`](Self::for_graph).
    pub async fn for_graph_async(&self, gpu: &Gpu, graph: &Graph) -> Result<Self> {
        let copy = Self::allocate(gpu, graph).await?;
        let (own, theirs): (BTreeMap<_, _>, BTreeMap<_, _>) =
            (self.names().iter().cloned().collect(), copy.names().iter().cloned().collect());
        for name in own.keys().chain(theirs.keys()) {
            if own.get(name) != theirs.get(name) {
                let shape = |of: Option<&Shape>| of.map_or("not there".to_owned(), |s| format!("{s}"));
                let (own, theirs) = (shape(own.get(name)), shape(theirs.get(name)));
                return Err(Error::name(name, format!("it is {own} in the one graph and {theirs} in the other")));
            }
        }
        for ((name, _), values) in self.names().iter().zip(self.read_all().await?) {
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

    /// Reads the weights and states of `graph` from a safetensors file of f64, f32, bf16 or f16, which must hold each of them and no
    /// others; but of what [`Plan::save`](crate::Plan::save) writes, all else is left aside. [`fill_from`](Self::fill_from) takes what
    /// there is.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read, or lacks a weight, or has one of another shape or network.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn load(gpu: &Gpu, graph: &Graph, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::from_bytes(gpu, graph, &file::read(path)?).map_err(|e| e.in_file(path))
    }

    /// [`load`](Self::load) from the bytes of such a file, as an app may bring them along.
    ///
    /// ```
    /// use halfgrad::{Gpu, Graph, Precision, Weights, nn};
    /// let (gpu, graph) = (Gpu::new()?, Graph::new(Precision::F16));
    /// nn::linear("fc", graph.input("x", [4, 8]), 3);
    /// let bytes = Weights::init(&gpu, &graph, 1)?.to_bytes().wait()?; // or include_bytes!("model.safetensors")
    /// let weights = Weights::from_bytes(&gpu, &graph, &bytes)?;
    /// # assert_eq!(weights.to_bytes().wait()?, bytes);
    /// # Ok::<(), halfgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for what is an [`Error::File`] of [`load`](Self::load).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn from_bytes(gpu: &Gpu, graph: &Graph, bytes: &[u8]) -> Result<Self> {
        pollster::block_on(Self::from_bytes_async(gpu, graph, bytes))
    }

    /// [`from_bytes`](Self::from_bytes), without blocking.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes).
    pub async fn from_bytes_async(gpu: &Gpu, graph: &Graph, bytes: &[u8]) -> Result<Self> {
        let contents = Contents::of(bytes)?;
        let weights = Self::allocate(gpu, graph).await?;
        let expected = weights.names().iter().map(|(name, shape)| (&**name, *shape));
        let found = contents.matched(expected, |name| name.starts_with(TRAINING))?;
        for (i, tensor) in found.into_iter().enumerate() {
            weights.write(i, &tensor.values(&weights.names()[i].0)?);
        }
        Ok(weights)
    }

    /// Takes from a safetensors file what it has of the names and shapes of these weights and states, and leaves the others as they
    /// are: a network with a new head begins with the body of another. Linear weights are `[in, out]` and those of convolutions
    /// `[kh, kw, in, out]`; PyTorch's are `[out, in]` and `[out, in, kh, kw]`.
    ///
    /// ```
    /// use halfgrad::{Gpu, Graph, Precision, Weights, nn};
    /// let net = |classes| {
    ///     let graph = Graph::new(Precision::F32);
    ///     nn::mlp(graph.input("x", [4, 8]), &[16], classes);
    ///     graph
    /// };
    /// let (gpu, old, new) = (Gpu::new()?, net(10), net(3));
    /// let path = std::env::temp_dir().join("halfgrad-fill-from.safetensors");
    /// Weights::init(&gpu, &old, 1)?.save(&path)?;
    /// let left = Weights::init(&gpu, &new, 2)?.fill_from(&path)?;
    /// assert_eq!(left.missing, ["fc2.weight", "fc2.bias"]);
    /// assert_eq!(left.unused, ["fc2.bias", "fc2.weight"]);
    /// # Ok::<(), halfgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read, or is no such file; then all are as they were.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn fill_from(&self, path: impl AsRef<Path>) -> Result<Unmatched> {
        let path = path.as_ref();
        let bytes = file::read(path)?;
        let fill = || {
            let mut tensors: BTreeMap<String, _> = Contents::of(&bytes)?.tensors.into_iter().collect();
            let (mut found, mut missing) = (vec![], vec![]);
            for (i, (name, shape)) in self.names().iter().enumerate() {
                match tensors.get(name) {
                    Some(tensor) if tensor.shape == *shape => {
                        found.push((i, tensor.values(name)?));
                        tensors.remove(name);
                    }
                    _ => missing.push(name.clone()),
                }
            }
            found.into_iter().for_each(|(i, values)| self.write(i, &values));
            Ok(Unmatched { missing, unused: tensors.into_keys().collect() })
        };
        fill().map_err(|e: Error| e.in_file(path))
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
        let bytes = self.to_bytes_with(notes).wait()?;
        file::write_atomically(path, |file| file.write_all(&bytes))
    }

    /// The bytes of the file that [`save`](Self::save) writes, for [`from_bytes`](Self::from_bytes).
    pub fn to_bytes(&self) -> Reading<Vec<u8>> {
        self.to_bytes_with(&[])
    }

    /// As [`to_bytes`](Self::to_bytes), with notes as [`save_with`](Self::save_with) has them.
    pub fn to_bytes_with(&self, notes: &[(&str, &str)]) -> Reading<Vec<u8>> {
        let (tensors, notes) = (self.tensors(), self.notes(notes));
        let ranges: Vec<_> = tensors.iter().map(|(_, place)| place.range()).collect();
        Reading::of_each(&self.shared.gpu, &ranges, {
            let tensors = tensors.clone();
            move |read| file_of(&tensors, read, &notes)
        })
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
        let places: Vec<_> = (0..self.shared.names.len()).map(|i| self.kept(i)).collect();
        let types: Vec<_> = places.iter().map(|p| (p.shape, p.dtype)).collect();
        let ranges: Vec<_> = places.iter().map(Place::range).collect();
        Reading::of_each(&self.shared.gpu, &ranges, move |read| {
            Ok(types.into_iter().zip(read).map(|((shape, dtype), bytes)| gpu::loaded(bytes, shape, dtype)).collect())
        })
    }

    /// All weights and states by name, and where they lie in full precision.
    pub(crate) fn tensors(&self) -> Vec<(String, Place)> {
        self.names().iter().enumerate().map(|(i, (name, _))| (name.clone(), self.kept(i))).collect()
    }

    /// The weights of which there is a master, and where that lies and what the forward pass reads.
    pub(crate) fn masters(&self) -> impl Iterator<Item = (&str, [Place; 2])> {
        let Shared { names, trained, weights, masters, .. } = &*self.shared;
        let both = |i: usize, shape| Some([masters.place(i, shape)?, weights.place(i, shape)?]);
        let named = names[..*trained].iter().enumerate();
        named.filter_map(move |(i, (name, shape))| Some((&**name, both(i, *shape)?)))
    }

    /// The notes of a file: a user's, then its own.
    pub(crate) fn notes(&self, notes: &[(&str, &str)]) -> Vec<(String, String)> {
        let precision = self.shared.policy.to_string();
        let own = [("format", "halfgrad"), ("precision", &precision)];
        notes.iter().chain(&own).map(|(name, note)| ((*name).to_owned(), (*note).to_owned())).collect()
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
    fn kept(&self, i: usize) -> Place {
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
                shared.gpu.queue().write_buffer(&buffer, offset, &gpu::stored(values, shape, dtype));
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

/// The bytes of a file of these tensors, given what was read of each from where it lies.
pub(crate) fn file_of(tensors: &[(String, Place)], read: &[&[u8]], notes: &[(String, String)]) -> Result<Vec<u8>> {
    let bytes: Vec<_> = tensors.iter().zip(read).map(|((_, place), read)| place.unpadded(read)).collect();
    let named = tensors.iter().zip(&bytes);
    let records: Vec<_> =
        named.map(|((name, place), bytes)| Record { name, shape: place.shape, dtype: place.dtype, bytes }).collect();
    let notes: Vec<(&str, &str)> = notes.iter().map(|(name, note)| (&**name, &**note)).collect();
    checkpoint::to_bytes(&records, &notes)
}
