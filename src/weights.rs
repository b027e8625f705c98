//! Named weights on the device, in the order of the graph: seeded, read, written, saved and loaded.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::{
    Dtype, Error, Graph, Precision, Result, Shape,
    arena::Arena,
    checkpoint::{self, Record},
    dispatch::bytes,
    gpu::{self, Gpu, Reading},
    graph::Origin,
    shape::GROUP,
};

/// The weights of a network. Plans made with it share its memory: what one trains, the other infers with.
#[derive(Debug, Clone)]
pub struct Weights {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    gpu: Gpu,
    graph: u32,
    precision: Precision,
    names: Vec<(String, Shape)>,
    arena: Arena,
    /// Chunks in the storage type, and in f32 where the precision keeps master weights.
    chunks: Vec<wgpu::Buffer>,
    masters: Vec<wgpu::Buffer>,
}

impl Weights {
    /// Fills every weight of `graph` by its initialisation. The values depend on the seed and the weight's name
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
        for (i, w) in graph.weights().into_iter().enumerate() {
            if let Origin::Weight(init) = graph.node(w.value.node).origin {
                let (name, shape) = &weights.shared.names[i];
                weights.write(i, &init.values(shape, seed, name));
            }
        }
        Ok(weights)
    }

    /// Reads the weights of `graph` from a safetensors file of f32 or f16, which must hold each of them.
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

    /// Writes all weights to a safetensors file, whole or not at all: f32 where the precision keeps f32, else f16.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Device`] if the weights cannot be read back.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let dtype = self.shared.precision.state();
        let values = self.read_all().wait()?;
        let bytes: Vec<Vec<u8>> = values.iter().map(|v| to_bytes(v, dtype)).collect();
        let records: Vec<Record> = self
            .shared
            .names
            .iter()
            .zip(&bytes)
            .map(|((name, shape), bytes)| Record { name, shape: *shape, dtype, bytes })
            .collect();
        checkpoint::save(path, &records, &[("format", "halfgrad"), ("precision", &self.shared.precision.to_string())])
    }

    /// Names and shapes, in the order of the graph.
    pub fn names(&self) -> &[(String, Shape)] {
        &self.shared.names
    }

    /// The values of one weight, from the master copy if there is one.
    ///
    /// # Errors
    /// [`Error::Name`] if no weight has this name.
    pub fn get(&self, name: &str) -> Result<Reading<Vec<f32>>> {
        let i = self.index(name)?;
        let (dtype, shape) = (self.shared.precision.state(), self.shared.names[i].1);
        let range = self.range(i, self.shared.precision.master);
        Ok(Reading::new(&self.shared.gpu, &[range], move |b| Ok(gpu::loaded(b, shape, dtype))))
    }

    /// Sets one weight.
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

    /// The values of all weights, in the order of the graph.
    pub fn read_all(&self) -> Reading<Vec<Vec<f32>>> {
        let dtype = self.shared.precision.state();
        let shapes: Vec<Shape> = self.shared.names.iter().map(|(_, s)| *s).collect();
        let ranges: Vec<_> = (0..shapes.len()).map(|i| self.range(i, self.shared.precision.master)).collect();
        Reading::new(&self.shared.gpu, &ranges, move |mut b| {
            let part = |shape: &Shape| {
                let (this, rest) = b.split_at(bytes(*shape, dtype) as usize);
                b = rest;
                gpu::loaded(this, *shape, dtype)
            };
            Ok(shapes.iter().map(part).collect())
        })
    }

    /// Fails if a plan of `graph` on `gpu` cannot use these weights.
    pub(crate) fn belong_to(&self, graph: &Graph, gpu: &Gpu) -> Result<()> {
        if self.shared.graph != graph.id() {
            return Err(Error::Port("the weights belong to another graph".into()));
        }
        if !self.shared.gpu.shares_device(gpu) {
            return Err(Error::Port("the weights are on another device than the plan".into()));
        }
        if self.shared.names.len() != graph.weights().len() {
            return Err(Error::Port("the graph has weights that were added after Weights::init".into()));
        }
        Ok(())
    }

    /// The chunks in the storage type, and the f32 masters.
    pub(crate) fn chunks(&self) -> (&[wgpu::Buffer], &[wgpu::Buffer]) {
        (&self.shared.chunks, &self.shared.masters)
    }

    async fn allocate(gpu: &Gpu, graph: &Graph) -> Result<Self> {
        graph.check()?;
        let precision = graph.precision();
        gpu.caps().supports(precision)?;
        let names: Vec<_> = graph
            .weights()
            .iter()
            .map(|w| (graph.node(w.value.node).name.expect("weights are named"), w.shape()))
            .collect();
        let arena = Arena::new(&names.iter().map(|(_, s)| *s).collect::<Vec<_>>(), gpu.caps().binding_bytes)?;
        let mut chunks = vec![];
        let mut masters = vec![];
        for c in 0..arena.chunks.len() {
            chunks.push(gpu::buffer(gpu, "weights", arena.bytes(c, precision.storage)).await?);
            if precision.master {
                masters.push(gpu::buffer(gpu, "master weights", arena.bytes(c, Dtype::F32)).await?);
            }
        }
        let shared = Shared { gpu: gpu.clone(), graph: graph.id(), precision, names, arena, chunks, masters };
        Ok(Weights { shared: Arc::new(shared) })
    }

    fn index(&self, name: &str) -> Result<usize> {
        let found = self.shared.names.iter().position(|(n, _)| n == name);
        found.ok_or_else(|| Error::name(name, "no weight has this name"))
    }

    /// The buffer, offset and bytes of weight `i` in the storage type or as f32 master.
    fn range(&self, i: usize, master: bool) -> (&wgpu::Buffer, u64, u64) {
        let (chunk, group) = self.shared.arena.places[i];
        let (buffers, dtype) = match master {
            true => (&self.shared.masters, Dtype::F32),
            false => (&self.shared.chunks, self.shared.precision.storage),
        };
        let offset = (group * GROUP * dtype.bytes()) as u64;
        (&buffers[chunk], offset, bytes(self.shared.names[i].1, dtype))
    }

    fn write(&self, i: usize, values: &[f32]) {
        let precision = self.shared.precision;
        let copies = [(false, precision.storage), (true, Dtype::F32)];
        for (master, dtype) in copies.into_iter().take(1 + usize::from(precision.master)) {
            let (buffer, offset, _) = self.range(i, master);
            self.shared.gpu.queue().write_buffer(buffer, offset, &gpu::stored(values, self.shared.names[i].1, dtype));
        }
    }
}

fn to_bytes(values: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F16 => values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}
