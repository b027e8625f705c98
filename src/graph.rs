//! The graph: an arena of nodes, built without a GPU and without `?`.
//!
//! Nodes are appended in the order of the calls, so their index is already a topological order. The first
//! mistake is kept with the op, the operands and the caller's line, and returned when a plan is made.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{
    Dtype, Error, Policy, Precision, Result, Shape,
    error::{Site, Warning},
    format::Simulation,
    init::Init,
    op::{Kind, Op, Type},
    policy::matches,
    tensor::Tensor,
};

/// The label that losses and accuracies leave out: it fills a short last batch.
pub const IGNORE: u32 = u32::MAX;

/// Results of an op, at most.
pub(crate) const MOST_RESULTS: usize = 8;

/// One result of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    /// Index of the node.
    pub node: usize,
    /// Which of its results.
    pub output: usize,
}

/// Where a node's values come from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// Written by the user before a run.
    Input,
    /// A trained parameter.
    Weight(Init),
    /// What is kept from step to step beside the weights: see [`Graph::state`].
    State(Init),
    /// The factor on the loss, which the device may change from step to step.
    LossScale,
    /// Computed.
    Op(Arc<dyn Op>),
}

/// What a training step makes of a state: `(1 − share) · state + share · factor · value`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assignment {
    /// The state.
    pub state: Value,
    /// What it moves towards.
    pub value: Value,
    /// How far: 1 is all the way.
    pub share: f32,
    /// What the value is taken times.
    pub factor: f32,
}

/// A node of the graph.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where its values come from.
    pub origin: Origin,
    /// Its operands.
    pub inputs: Vec<Value>,
    /// The types of its results.
    pub outputs: Vec<Type>,
    /// The user's first name for it: inputs and weights have one, others may.
    pub name: Option<String>,
    /// The layer that it works for, in listings and for the [`Policy`]: the stem of the weight that it reads, or its operand's
    /// layer.
    pub layer: String,
    /// What its layer is stored and computed in.
    pub precision: Precision,
    /// The types that its results have for layers of the graph's own precision: if this layer is in f32 and another is not,
    /// they are cast on their way.
    pub(crate) outside: Vec<Dtype>,
    /// Whether the user wants to read it after a run.
    pub watched: bool,
    /// The node that it computes again, for the backward pass: the same op of the same values, with the same random numbers.
    pub again: Option<usize>,
}

/// A neural network under construction: nodes, inputs, named weights, and the first mistake.
///
/// ```
/// use halfgrad::{Graph, Precision};
/// let graph = Graph::new(Precision::F16);
/// let x = graph.input("x", [64, 10]);
/// let y = (x * 2.0 + 1.0).relu().sum([1]);
/// assert_eq!(y.shape().to_string(), "[64]");
/// assert!(graph.check().is_ok());
///
/// let _ = x.matmul(graph.input("m", [3, 3]));
/// let mistake = graph.check().unwrap_err().to_string();
/// assert!(mistake.starts_with("matmul(f16 [64, 10], f16 [3, 3]): "), "{mistake}");
/// ```
#[derive(Debug)]
pub struct Graph {
    id: u32,
    policy: Policy,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    nodes: Vec<Node>,
    names: BTreeMap<String, Value>,
    weights: Vec<usize>,
    states: Vec<usize>,
    assignments: Vec<Assignment>,
    frozen: Vec<String>,
    simulation: Simulation,
    /// Values on their way between layers in f32 and others.
    casts: BTreeMap<(Value, bool), Value>,
    error: Option<Error>,
    warnings: Vec<Warning>,
    /// The layer of nodes made while a backward pass is written.
    layer: Option<String>,
}

/// A handle that outlives the graph: what to write, read or bind. Made from a [`Tensor`] or a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port<'a> {
    /// A tensor of the graph with this number.
    Value {
        /// The graph's number.
        graph: u32,
        /// The tensor.
        value: Value,
    },
    /// The input, weight or node of this name.
    Name(&'a str),
}

impl<'a> From<&'a str> for Port<'a> {
    fn from(name: &'a str) -> Self {
        Port::Name(name)
    }
}

impl From<Tensor<'_>> for Port<'static> {
    fn from(t: Tensor<'_>) -> Self {
        Port::Value { graph: t.graph.id, value: t.value }
    }
}

impl Graph {
    /// An empty graph whose tensors are stored and computed in a [`Precision`], or each layer in that of a [`Policy`].
    pub fn new(policy: impl Into<Policy>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Graph { id: NEXT.fetch_add(1, Ordering::Relaxed), policy: policy.into(), state: Mutex::default() }
    }

    /// What it holds so far; let go of before anything else of the graph's is called.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number by which a [`Port`] knows its graph.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The precision of all layers that the [`policy`](Self::policy) does not keep in f32.
    pub fn precision(&self) -> Precision {
        self.policy.base
    }

    /// The graph's precision, and the layers that are in f32.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// A tensor that the user fills before a run.
    #[track_caller]
    pub fn input(&self, name: &str, shape: impl Into<Shape>) -> Tensor<'_> {
        self.leaf(name, shape.into(), |p| p.storage, Origin::Input)
    }

    /// A tensor of class indices that the user fills before a run. See [`IGNORE`].
    #[track_caller]
    pub fn labels(&self, name: &str, shape: impl Into<Shape>) -> Tensor<'_> {
        self.leaf(name, shape.into(), |_| Dtype::U32, Origin::Input)
    }

    /// A trained parameter. A name used twice is a mistake; [`shared`](Self::shared) shares on purpose.
    #[track_caller]
    pub fn weight(&self, name: &str, shape: impl Into<Shape>, init: Init) -> Tensor<'_> {
        let tensor = self.leaf(name, shape.into(), |p| p.storage, Origin::Weight(init));
        let mut state = self.lock();
        if state.names.get(name) == Some(&tensor.value) {
            state.weights.push(tensor.value.node);
        }
        tensor
    }

    /// A tensor that is kept from step to step beside the weights, and saved with them, but not trained: a running
    /// average, a count. It is f32 unless everything is 16 bit. Training plans change it by [`assign`](Self::assign) and
    /// [`average`](Self::average); plans that infer only read it.
    ///
    /// ```
    /// # use halfgrad::{Graph, Init, Precision};
    /// let graph = Graph::new(Precision::F16);
    /// let x = graph.input("x", [64, 10]);
    /// let mean = graph.state("mean", [10], Init::Constant(0.0));
    /// graph.average(mean, x.mean([0]), 0.1);
    /// assert_eq!(graph.states().len(), 1);
    /// assert!(graph.check().is_ok());
    /// ```
    #[track_caller]
    pub fn state(&self, name: &str, shape: impl Into<Shape>, init: Init) -> Tensor<'_> {
        let tensor = self.leaf(name, shape.into(), |p| p.wide(), Origin::State(init));
        let mut state = self.lock();
        if state.names.get(name) == Some(&tensor.value) {
            state.states.push(tensor.value.node);
        }
        tensor
    }

    /// Each training step sets `state` to `value`, of its shape; see [`average`](Self::average).
    #[track_caller]
    pub fn assign<'g>(&'g self, state: Tensor<'g>, value: Tensor<'g>) {
        self.average(state, value, 1.0);
    }

    /// Each training step sets `state` to `(1 − share) · state + share · value`.
    ///
    /// It does so at its end, when all that reads the state has read what was there before, and only if the step
    /// changes the weights too. Where `value` is Inf or NaN the state stays. A plan whose loss needs fewer inputs than
    /// `value` leaves the state alone. A weight that is itself the value is taken as the step found it.
    #[track_caller]
    pub fn average<'g>(&'g self, state: Tensor<'g>, value: Tensor<'g>, share: f32) {
        self.average_times(state, value, 1.0, share);
    }

    /// As [`average`](Self::average), towards `factor · value`.
    #[track_caller]
    pub fn average_times<'g>(&'g self, state: Tensor<'g>, value: Tensor<'g>, factor: f32, share: f32) {
        if [state, value].iter().any(|t| t.graph.id != self.id) {
            self.mistake(Error::Port("a state was assigned a tensor of another graph, or is one".into()));
            return;
        }
        if !matches!(self.node(state.value.node).origin, Origin::State(_)) || state.shape() != value.shape() {
            state.refuse("assign", &[value], "a state takes a value of its own shape".into());
            return;
        }
        let mut value = value.cast(state.dtype());
        // A weight or another state, or a view of one, would be read when it has changed.
        let mut seen = self.node(value.value.node);
        while seen.kind() == Some(Kind::View) {
            seen = self.node(seen.inputs[0].node);
        }
        if matches!(seen.origin, Origin::State(_) | Origin::Weight(_)) {
            value = value.copied();
        }
        let assignment = Assignment { state: state.value, value: value.value, share, factor };
        self.lock().assignments.push(assignment);
    }

    /// The weight of this name once more.
    #[track_caller]
    pub fn shared(&self, name: &str) -> Tensor<'_> {
        let found = self.lock().names.get(name).copied();
        match found {
            Some(value) if matches!(self.node(value.node).origin, Origin::Weight(_)) => Tensor { graph: self, value },
            _ => self.mistake(Error::name(name, "no weight has this name yet, so it cannot be shared")),
        }
    }

    /// Rounds what is stored to formats that no adapter need have, to see what so few bits do: weights, activations and
    /// gradients each by themselves, in a network of [`Precision::F32`] or of another type that holds the format's numbers.
    ///
    /// It must be said before weights are made. What a network of 16 bit keeps in f32, losses and statistics, stays as it is;
    /// so do the optimizer's moments, and states.
    ///
    /// ```
    /// use halfgrad::{Gpu, Graph, Precision, Weights, format::Format, nn};
    /// let (gpu, graph) = (Gpu::new()?, Graph::new(Precision::F32));
    /// graph.simulate("weights=e4m3+stochastic,activations=e4m3,gradients=e5m2".parse().unwrap());
    /// let y = nn::linear("fc", graph.input("x", [4, 8]), 3);
    /// let weights = Weights::init(&gpu, &graph, 1)?;
    /// let all = weights.get("fc.weight")?.wait()?;
    /// assert!(all.iter().all(|&w| Format::E4M3.nearest(w.into()) as f32 == w));
    /// # Ok::<(), halfgrad::Error>(())
    /// ```
    pub fn simulate(&self, simulation: Simulation) {
        self.lock().simulation = simulation;
    }

    /// What is rounded to formats that no adapter need have.
    pub fn simulation(&self) -> Simulation {
        self.lock().simulation
    }

    /// Leaves the weights whose names match `pattern` as they are while training; `*` stands for any text.
    pub fn freeze(&self, pattern: &str) {
        self.lock().frozen.push(pattern.to_owned());
    }

    /// The first mistake made so far.
    ///
    /// # Errors
    /// That mistake; a pattern given to [`freeze`](Self::freeze) that matches no weight, or one of the [`Policy`] that matches
    /// no layer.
    pub fn check(&self) -> Result<()> {
        let state = self.lock();
        if let Some(error) = &state.error {
            return Err(error.clone());
        }
        if let Some(pattern) = self.policy.kept.iter().find(|p| !state.nodes.iter().any(|n| matches(p, &n.layer))) {
            let mut layers: Vec<&str> = state.nodes.iter().map(|n| &*n.layer).filter(|name| !name.is_empty()).collect();
            layers.sort_unstable();
            layers.dedup();
            let detail =
                format!("no layer matches this, so nothing is kept in f32 by it; there are {}", layers.join(", "));
            return Err(Error::name(pattern, detail));
        }
        let names = || state.weights.iter().filter_map(|&n| state.nodes[n].name.as_deref());
        match state.frozen.iter().find(|pattern| !names().any(|n| matches(pattern, n))) {
            Some(pattern) => Err(Error::name(pattern, "no weight matches this pattern, so nothing is frozen by it")),
            None => Ok(()),
        }
    }

    /// The weights in the order in which they were made.
    pub fn weights(&self) -> Vec<Tensor<'_>> {
        self.leaves(&self.lock().weights)
    }

    /// The states in the order in which they were made.
    pub fn states(&self) -> Vec<Tensor<'_>> {
        self.leaves(&self.lock().states)
    }

    fn leaves(&self, nodes: &[usize]) -> Vec<Tensor<'_>> {
        nodes.iter().map(|&node| Tensor { graph: self, value: Value { node, output: 0 } }).collect()
    }

    /// What a training step makes of the states, in the order of the calls.
    pub fn assignments(&self) -> Vec<Assignment> {
        self.lock().assignments.clone()
    }

    /// Whether a weight is left as it is while training.
    pub fn is_frozen(&self, weight: Tensor) -> bool {
        if weight.graph.id != self.id {
            return false;
        }
        let state = self.lock();
        let name = state.nodes[weight.value.node].name.as_deref().unwrap_or_default();
        state.frozen.iter().any(|pattern| matches(pattern, name))
    }

    /// Samples in a batch: the length of the first axis of the first input, 1 without any.
    pub fn batch(&self) -> usize {
        let state = self.lock();
        let first = state.nodes.iter().find(|n| matches!(n.origin, Origin::Input));
        first.map_or(1, |n| n.outputs[0].shape.first())
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.lock().nodes.len()
    }

    /// How many nodes are ops of these names.
    pub(crate) fn count(&self, names: &[&str]) -> usize {
        let is_one = |n: &&Node| matches!(&n.origin, Origin::Op(op) if names.contains(&op.name()));
        self.lock().nodes.iter().filter(is_one).count()
    }

    /// Whether nothing was built yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nodes that the user wants to read after a run.
    pub(crate) fn watched(&self) -> Vec<usize> {
        let state = self.lock();
        (0..state.nodes.len()).filter(|&n| state.nodes[n].watched).collect()
    }

    /// A copy of a node.
    pub fn node(&self, index: usize) -> Node {
        self.lock().nodes[index].clone()
    }

    /// The tensors that bear names; one may bear several.
    pub fn names(&self) -> BTreeMap<String, Value> {
        self.lock().names.clone()
    }

    /// The result types of a node.
    pub(crate) fn type_of(&self, value: Value) -> Type {
        self.lock().nodes[value.node].outputs[value.output]
    }

    /// What a value's layer is computed in, and the value's type outside of it.
    pub(crate) fn layer_types(&self, value: Value) -> (Precision, Dtype) {
        let node = &self.lock().nodes[value.node];
        (node.precision, node.outside[value.output])
    }

    /// Appends an op that has one result.
    #[track_caller]
    pub fn apply<'g>(&'g self, op: impl Op + 'static, inputs: &[Tensor<'g>]) -> Tensor<'g> {
        self.apply_all(op, inputs)[0]
    }

    /// Appends an op and returns all its results. An operand from a layer in f32 is cast for a layer that is not, and the other
    /// way round.
    #[track_caller]
    pub fn apply_all<'g>(&'g self, op: impl Op + 'static, inputs: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        let foreign = inputs.iter().any(|t| t.graph.id != self.id);
        let layer = if foreign { String::new() } else { self.layer_of(inputs) };
        let precision = self.policy.of(&layer);
        let mut inputs = inputs.to_vec();
        if !foreign && !op.casts() {
            inputs.iter_mut().for_each(|t| *t = self.admitted(*t, &layer));
        }
        let types: Vec<Type> = inputs.iter().map(|t| t.graph.type_of(t.value)).collect();
        let inferred = match foreign {
            true => Err("the operands belong to different graphs".to_owned()),
            false => op.infer(&types, precision),
        };
        let inferred = inferred.and_then(|results| match results.iter().find(|r| !r.shape.fits()) {
            Some(r) => Err(format!("the result {} has more values than a tensor may have, 2^30", r.shape)),
            None if results.iter().any(|r| r.shape.is_empty()) => Err("the result has an axis of length 0".into()),
            None if results.len() > MOST_RESULTS => Err(format!("an op has at most {MOST_RESULTS} results")),
            None => Ok(results),
        });
        match inferred {
            Ok(outputs) => {
                let outside = self.outside(&op, &inputs, &outputs, precision);
                let inputs = inputs.iter().map(|t| t.value).collect();
                let n = outputs.len();
                let origin = Origin::Op(Arc::new(op));
                let node = self.append(Node { inputs, outputs, outside, ..self.blank(origin, layer) });
                (0..n).map(|output| Tensor { graph: self, value: Value { node, output } }).collect()
            }
            Err(detail) => {
                let operands = types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let error = Error::Op { op: op.name().to_owned(), operands, detail, at: Site::here() };
                vec![self.mistake(error); MOST_RESULTS]
            }
        }
    }

    /// An operand as the nodes of `layer` take it.
    fn admitted<'g>(&'g self, t: Tensor<'g>, layer: &str) -> Tensor<'g> {
        if self.policy.kept.is_empty() || t.dtype() == Dtype::U32 {
            return t;
        }
        let (node, in_f32) = (self.node(t.value.node), self.policy.keeps(layer));
        let dtype = match in_f32 {
            true => Dtype::F32,
            false if self.policy.keeps(&node.layer) => node.outside[t.value.output],
            false => t.dtype(),
        };
        if dtype == t.dtype() {
            return t;
        }
        let known = self.lock().casts.get(&(t.value, in_f32)).copied();
        let value = known.unwrap_or_else(|| self.within_layer(layer.to_owned(), || t.cast(dtype)).value);
        self.lock().casts.insert((t.value, in_f32), value);
        Tensor { graph: self, value }
    }

    /// What an op's results would be if its layer were not in f32.
    fn outside(&self, op: &dyn Op, inputs: &[Tensor], outputs: &[Type], precision: Precision) -> Vec<Dtype> {
        let own = outputs.iter().map(|t| t.dtype).collect();
        if precision == self.policy.base {
            return own;
        }
        let outside = |t: &Tensor| Type { shape: t.shape(), dtype: self.layer_types(t.value).1 };
        let types: Vec<Type> = inputs.iter().map(outside).collect();
        match op.infer(&types, self.policy.base) {
            // What is cast to f32 for this layer is outside what it was before.
            Ok(_) if op.casts() && own == [Dtype::F32] => types.iter().map(|t| t.dtype).collect(),
            Ok(results) => results.iter().map(|t| t.dtype).collect(),
            Err(_) => own,
        }
    }

    /// A node without operands or results.
    fn blank(&self, origin: Origin, layer: String) -> Node {
        let precision = self.policy.of(&layer);
        let (inputs, outputs, outside) = (vec![], vec![], vec![]);
        Node { origin, inputs, outputs, name: None, precision, outside, layer, watched: false, again: None }
    }

    /// The factor on the loss, as a node.
    pub(crate) fn loss_scale(&self) -> Tensor<'_> {
        let found = self.lock().nodes.iter().position(|n| matches!(n.origin, Origin::LossScale));
        let node = found.unwrap_or_else(|| {
            let dtype = self.precision().wide();
            let node = self.blank(Origin::LossScale, "loss".into());
            let precision = self.precision();
            self.append(Node { outputs: vec![Type::new([], dtype)], outside: vec![dtype], precision, ..node })
        });
        Tensor { graph: self, value: Value { node, output: 0 } }
    }

    /// Keeps the first mistake and stands in for the tensor that could not be made.
    pub(crate) fn mistake(&self, error: Error) -> Tensor<'_> {
        self.lock().error.get_or_insert(error);
        let dtype = self.precision().storage;
        let node = self.blank(Origin::Input, String::new());
        let node = self.append(Node { outputs: vec![Type::new([], dtype)], outside: vec![dtype], ..node });
        Tensor { graph: self, value: Value { node, output: 0 } }
    }

    /// Keeps what the user should know of a number that this precision cannot hold; once, however often it is said.
    pub(crate) fn warn(&self, warning: Warning) {
        let mut state = self.lock();
        if !state.warnings.contains(&warning) {
            state.warnings.push(warning);
        }
    }

    /// What was noticed so far: the first of a program's warnings.
    pub fn warnings(&self) -> Vec<Warning> {
        self.lock().warnings.clone()
    }

    /// Names a node, or watches it.
    pub(crate) fn mark(&self, value: Value, name: Option<&str>, watch: bool) {
        let mut state = self.lock();
        state.nodes[value.node].watched |= watch;
        let Some(name) = name else { return };
        match state.names.get(name) {
            Some(&other) if other != value => {
                state.error.get_or_insert(Error::name(name, "two tensors bear this name"));
            }
            _ => {
                state.names.insert(name.to_owned(), value);
                // The first stays: a reshape that changes nothing is the weight or input itself.
                state.nodes[value.node].name.get_or_insert(name.to_owned());
            }
        }
    }

    /// While `f` runs, new nodes belong to `layer`.
    pub(crate) fn within_layer<T>(&self, layer: String, f: impl FnOnce() -> T) -> T {
        let before = self.lock().layer.replace(layer);
        let result = f();
        self.lock().layer = before;
        result
    }

    #[track_caller]
    fn leaf(&self, name: &str, shape: Shape, dtype: fn(Precision) -> Dtype, origin: Origin) -> Tensor<'_> {
        let layer = name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned();
        let node = self.blank(origin, layer);
        let ty = Type { shape, dtype: dtype(node.precision) };
        if ty.shape.is_empty() || !ty.shape.fits() {
            let operands = ty.to_string();
            let detail = match ty.shape.is_empty() {
                true => format!("{name:?} has an axis of length 0"),
                false => format!("{name:?} has more values than a tensor may have, 2^30"),
            };
            return self.mistake(Error::Op { op: "input".into(), operands, detail, at: Site::here() });
        }
        if self.lock().names.contains_key(name) {
            let detail = "this name is taken; Graph::shared uses a weight a second time on purpose";
            return self.mistake(Error::name(name, detail));
        }
        let outside = vec![dtype(self.policy.base)];
        let node = self.append(Node { outputs: vec![ty], name: Some(name.to_owned()), outside, ..node });
        let value = Value { node, output: 0 };
        self.lock().names.insert(name.to_owned(), value);
        Tensor { graph: self, value }
    }

    /// Runs `f`, and forgets the nodes and mistakes that it appends.
    pub(crate) fn forgetting<T>(&self, f: impl FnOnce() -> T) -> T {
        let (len, error) = (self.len(), self.lock().error.clone());
        let result = f();
        let mut state = self.lock();
        state.nodes.truncate(len);
        state.casts.retain(|(from, _), to| from.node < len && to.node < len);
        state.error = error;
        result
    }

    fn append(&self, node: Node) -> usize {
        let mut state = self.lock();
        state.nodes.push(node);
        state.nodes.len() - 1
    }

    /// A node once more, of these operands.
    pub(crate) fn append_again(&self, index: usize, inputs: Vec<Value>) -> usize {
        self.append(Node { inputs, name: None, watched: false, again: Some(index), ..self.node(index) })
    }

    /// What an op of these operands is computed in; those of another graph are a mistake that the op finds.
    pub(crate) fn precision_of(&self, inputs: &[Tensor]) -> Precision {
        let own: Vec<Tensor> = inputs.iter().copied().filter(|t| t.graph.id == self.id).collect();
        self.policy.of(&self.layer_of(&own))
    }

    /// The layer in force, else a weight's stem among the operands, else the layer of the first operand that has one.
    fn layer_of(&self, inputs: &[Tensor]) -> String {
        let state = self.lock();
        if let Some(layer) = &state.layer {
            return layer.clone();
        }
        let node = |t: &Tensor| &state.nodes[t.value.node];
        let is_weight = |t: &&Tensor| {
            let mut seen = node(t);
            while seen.kind() == Some(Kind::View) {
                seen = &state.nodes[seen.inputs[0].node];
            }
            matches!(seen.origin, Origin::Weight(_))
        };
        let weight = inputs.iter().find(is_weight);
        let found = weight.or(inputs.iter().find(|t| !node(t).layer.is_empty()));
        found.map_or(String::new(), |t| node(t).layer.clone())
    }
}

impl Node {
    /// How the fuser may treat the node; leaves are not fused.
    pub fn kind(&self) -> Option<Kind> {
        match &self.origin {
            Origin::Op(op) => Some(op.kind()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Conv2d, Padding};

    #[test]
    fn the_first_mistake_is_kept_with_its_line() {
        let graph = Graph::new(Precision::F32);
        let w = graph.weight("w", [3, 4], Init::Constant(0.0));
        let line = line!() + 1;
        let bad = w + graph.input("x", [5]);
        let _ = bad.matmul(w);
        let Error::Op { op, operands, at, .. } = graph.check().unwrap_err() else { panic!() };
        assert_eq!((op.as_str(), operands.as_str()), ("add", "f32 [3, 4], f32 [5]"));
        assert!(at.to_string().contains(&format!("graph.rs:{line}:")), "{at}");
    }

    #[test]
    fn operands_of_another_graph_are_a_mistake() {
        let (graph, other) = (Graph::new(Precision::F16), Graph::new(Precision::F16));
        (0..9).for_each(|i| _ = other.input(&i.to_string(), [1, 3]));
        let _ = graph.input("x", [4, 1]).matmul(other.input("y", [1, 3]));
        let said = graph.check().unwrap_err().to_string();
        assert!(said.contains("the operands belong to different graphs"), "{said}");
    }

    #[test]
    fn shapes_that_mean_nothing_are_mistakes() {
        type Make = fn(Tensor) -> Tensor;
        let wide = |x: Tensor, how: Conv2d| _ = x.reshape([1, 3, 4, 1]).conv2d(x.graph.full([3, 1, 1, 1], 1.0), how);
        let refused = |make: &dyn Fn(Tensor), part: &str| {
            let graph = Graph::new(Precision::F32);
            make(graph.input("x", [3, 4]));
            let said = graph.check().unwrap_err().to_string();
            assert!(said.contains(part), "{said}");
        };
        let empty: [Make; 2] = [|x| x.graph.full([0, 3], 1.0).matmul(x), |x| x.broadcast_to([0, 3, 4])];
        empty.into_iter().for_each(|make| refused(&|x| _ = make(x), "an axis of length 0"));
        refused(&|x| _ = x.sum_to([4, 3].into()), "[4, 3] does not stretch to it");
        refused(&|x| _ = x.sum_to([1, 1, 3, 4].into()), "does not stretch to it");
        refused(&|x| _ = x.layer_norm_with(1e-5, x.number(1.0), x.number(0.0)), "have the shape [4]");
        let padding = Padding::Explicit([usize::MAX, 1, 0, 0]);
        refused(&|x| wide(x, Conv2d { padding, ..Conv2d::default() }), "at most 65536");
        refused(&|x| wide(x, Conv2d { dilation: [usize::MAX, 1], ..Conv2d::default() }), "at most 65536");
        refused(&|x| wide(x, Conv2d { stride: [usize::MAX, 1], ..Conv2d::default() }), "at most 65536");
        refused(
            &|x| _ = x.graph.labels("l", [1, 3, 3, 1]).conv2d(x.graph.labels("w", [1, 1, 1, 1]), Conv2d::default()),
            "labels take no part in arithmetic",
        );
    }

    #[test]
    fn a_weight_named_twice_is_a_mistake_unless_shared() {
        let graph = Graph::new(Precision::F32);
        let w = graph.weight("w", [2], Init::Constant(0.0));
        assert_eq!(graph.shared("w").value, w.value);
        assert!(graph.check().is_ok());
        graph.weight("w", [2], Init::Constant(0.0));
        assert!(matches!(graph.check(), Err(Error::Name { .. })));
    }
}
