//! A Program: the fixed list of dispatches that a plan replays. Plain data, made without a GPU.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use crate::{Dtype, Precision, Shape, error::Warning, precision::Accumulate, shape::GROUP};

/// A WGSL file with the choices that make a variant of it. Two equal shaders are one pipeline.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shader {
    /// File stem, pipeline label.
    pub name: &'static str,
    /// The file's text.
    pub source: Cow<'static, str>,
    /// The type in memory behind `elem4`.
    pub elem: Dtype,
    /// The type in memory behind `wide4`: what stays in 32 bits while `elem4` is 16, or neither.
    pub wide: Dtype,
    /// The type of registers, `acc`.
    pub acc: Dtype,
    /// Values for the file's `const NAME: u32` lines.
    pub constants: Vec<(&'static str, u32)>,
    /// Text to put in the place of what stands between `//: mark` and `//: end`.
    pub splices: Vec<(&'static str, String)>,
    /// Text to put after the imports: functions and bindings that the splices use.
    pub declarations: String,
    /// Whether workgroup memory is zero at first. Compilers clear it in many ways, some by one invocation.
    pub zeroed: bool,
    /// Bindings, as the file numbers them, that are not declared since they are the memory of another, and that other: see
    /// [`Dispatch::yields`].
    pub merged: Vec<(usize, usize)>,
}

impl Shader {
    /// The file `name` as it stands, for tensors of `elem` in `precision`.
    pub fn new(name: &'static str, source: &'static str, elem: Dtype, precision: Precision) -> Self {
        let acc = if elem == Dtype::F16 { precision.acc() } else { Dtype::F32 };
        Shader {
            name,
            source: Cow::Borrowed(source),
            elem,
            wide: precision.wide(),
            acc,
            constants: vec![],
            splices: vec![],
            declarations: String::new(),
            zeroed: true,
            merged: vec![],
        }
    }

    /// Sets the line `const NAME: u32` of the file.
    pub fn constant(mut self, name: &'static str, value: u32) -> Self {
        self.constants.push((name, value));
        self
    }

    /// Says whether an axis of length `last` ends within a group; for files that import `tail`.
    pub fn padded(self, last: usize) -> Self {
        self.constant("PADDED", (!last.is_multiple_of(GROUP)).into())
    }

    /// Sets the type of registers.
    pub fn acc(mut self, dtype: Dtype) -> Self {
        self.acc = dtype;
        self
    }

    /// Keeps growing sums as `precision` says; for files that import `accumulate`.
    pub fn accumulating(self, precision: Precision) -> Self {
        let chunk = match precision.accumulate {
            // As registers do by themselves.
            Accumulate::F16 if !precision.rounds_sums() => return self,
            Accumulate::F32 => return self.acc(Dtype::F32),
            Accumulate::F16 => 0,
            Accumulate::Chunks(n) => n.get(),
        };
        self.acc(Dtype::F32).constant("SUM_IN_F16", 1).constant("CHUNK", chunk)
    }

    /// Sets the type behind `wide4`.
    pub fn wide(mut self, dtype: Dtype) -> Self {
        self.wide = dtype;
        self
    }
}

/// What a buffer holds; bytes are counted by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Weights and states, as the forward pass reads them.
    Weights,
    /// What the optimizer keeps: moments, and master weights in f32.
    Optimizer,
    /// Gradients of the weights.
    Gradients,
    /// Inputs and everything between them and the loss.
    Activations,
    /// Step counter, learning rate, loss scale and the log of losses.
    Control,
}

/// Who owns a buffer and what fills it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Chunk of the weights in the storage type; owned by the weights.
    Weights(usize),
    /// Chunk of the f32 master weights; owned by the weights.
    Master(usize),
    /// Chunk of the states in the wide type; owned by the weights.
    States(usize),
    /// Chunk of the f32 average of the weights; owned by other weights, those that follow them.
    Average(usize),
    /// Chunk of that average in the storage type.
    AverageCopy(usize),
    /// The plan's own buffer, cleared when it is made.
    Plan,
}

/// A buffer of the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Buffer {
    /// What it is called in listings: `w0`, `g0`, `s3`, or an input's name.
    pub name: String,
    /// What it holds.
    pub role: Role,
    /// Who owns it.
    pub source: Source,
    /// Its size.
    pub bytes: u64,
    /// What the plan's own buffer holds at first; zeros behind its end.
    pub contents: Vec<u8>,
}

/// How a dispatch uses a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only read.
    Read,
    /// Written whole, never read.
    Write,
    /// Read and written in place.
    ReadWrite,
}

/// A tensor in a buffer: what a dispatch binds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Operand {
    /// Index into [`Program::buffers`].
    pub buffer: usize,
    /// Where the tensor starts, in bytes; a multiple of the device's storage alignment.
    pub offset: u64,
    /// The tensor's shape.
    pub shape: Shape,
    /// The type of its values in memory.
    pub dtype: Dtype,
}

impl Operand {
    /// Bytes of the tensor in memory, padding included.
    pub fn bytes(&self) -> u64 {
        bytes(self.shape, self.dtype)
    }

    /// The same memory seen in another shape.
    pub fn seen_as(self, shape: Shape) -> Self {
        Operand { shape, ..self }
    }
}

/// Bytes of a tensor in memory, padding included.
pub fn bytes(shape: Shape, dtype: Dtype) -> u64 {
    (shape.stored() * dtype.bytes()) as u64
}

/// One call of a shader.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// The op, and the weight or name it works for.
    pub label: String,
    /// The variant to run.
    pub shader: Arc<Shader>,
    /// Storage bindings in the file's order, then those of the fused chain.
    pub bindings: Vec<(Operand, Access)>,
    /// The file's uniforms by name, in the order of its `struct Params`.
    pub params: Vec<(&'static str, u32)>,
    /// The fused chain's uniforms, or the file's own `table`, in groups of four.
    pub chain: Vec<u32>,
    /// Workgroups along each axis.
    pub grid: [u32; 3],
    /// Floating-point operations, a multiply-add counted as two.
    pub flops: u64,
    /// Whether it only looks at what others made, in the steps that are observed.
    pub observes: bool,
    /// Whether it is the second pass of a sum: it joins what the dispatch before it left in parts.
    pub joins: bool,
    /// Which variant of several it is.
    pub choice: Option<Choice>,
    /// Bindings that are only read, each with one that is written, whose memory may be the same.
    pub yields: Vec<(usize, usize)>,
}

/// The variant that was taken of those that compute the same, each in an order of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What is computed: shader, types and sizes.
    pub product: String,
    /// The variant that was taken.
    pub variant: String,
    /// All that the adapter can run, the cheapest by the planner's estimate first.
    pub candidates: Vec<String>,
}

impl Dispatch {
    /// A dispatch of `shader` without bindings yet.
    pub fn new(label: impl Into<String>, shader: Shader) -> Self {
        Dispatch {
            label: label.into(),
            shader: Arc::new(shader),
            bindings: vec![],
            params: vec![],
            chain: vec![],
            grid: [1; 3],
            flops: 0,
            observes: false,
            joins: false,
            yields: vec![],
            choice: None,
        }
    }

    /// Binds a tensor that is only read.
    pub fn read(mut self, x: Operand) -> Self {
        self.bindings.push((x, Access::Read));
        self
    }

    /// Binds a tensor that is written whole.
    pub fn write(mut self, y: Operand) -> Self {
        self.bindings.push((y, Access::Write));
        self
    }

    /// Binds a tensor that is changed in place.
    pub fn update(mut self, y: Operand) -> Self {
        self.bindings.push((y, Access::ReadWrite));
        self
    }

    /// Sets the line `const NAME: u32` of the file.
    pub fn constant(mut self, name: &'static str, value: u32) -> Self {
        Arc::make_mut(&mut self.shader).constants.push((name, value));
        self
    }

    /// Adds a file of the library.
    pub fn import(self, name: &str) -> Self {
        self.declare(&format!("#import {name}\n"))
    }

    /// Adds lines that stand behind the file's imports.
    pub fn declare(mut self, lines: &str) -> Self {
        Arc::make_mut(&mut self.shader).declarations += lines;
        self
    }

    /// Leaves workgroup memory as it is found: for a shader that writes all that it reads of it.
    pub fn unzeroed(mut self) -> Self {
        Arc::make_mut(&mut self.shader).zeroed = false;
        self
    }

    /// Sets the type behind `wide4`.
    pub fn wide(mut self, dtype: Dtype) -> Self {
        Arc::make_mut(&mut self.shader).wide = dtype;
        self
    }

    /// Binds a tensor that the file does not declare and a splice uses: `copy: array<elem4>`.
    pub fn extra(mut self, x: Operand, access: Access, declaration: &str) -> Self {
        let (at, mode) = (self.bindings.len(), if access == Access::Read { "read" } else { "read_write" });
        let line = format!("@group(0) @binding({at}) var<storage, {mode}> {declaration};\n");
        Arc::make_mut(&mut self.shader).declarations += &line;
        self.bindings.push((x, access));
        self
    }

    /// Puts `text` in the place of what stands between `//: mark` and `//: end`.
    pub fn splice(mut self, mark: &'static str, text: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.shader).splices.push((mark, text.into()));
        self
    }

    /// Sets the next member of the file's `struct Params`.
    pub fn param(mut self, name: &'static str, value: usize) -> Self {
        self.params.push((name, value as u32));
        self
    }

    /// Sets the next member of the file's `struct Params`, an f32.
    pub fn param_f32(mut self, name: &'static str, value: f32) -> Self {
        self.params.push((name, value.to_bits()));
        self
    }

    /// Fills the file's `var<uniform> table: array<vec4<u32>, _>`, which stands where a fused chain's uniforms would.
    pub fn table(self, entries: impl IntoIterator<Item = [u32; 4]>) -> Self {
        Dispatch { chain: entries.into_iter().flatten().collect(), ..self }
    }

    /// Runs `n` workgroups, folded into two axes where one is too short; shaders use `linear_id`.
    pub fn workgroups(self, n: usize) -> Self {
        const LINE: usize = 32768;
        let grid = if n <= LINE { [n as u32, 1, 1] } else { [LINE as u32, n.div_ceil(LINE) as u32, 1] };
        Dispatch { grid, ..self }
    }

    /// Runs an invocation for each of `groups`, `lanes` of them in a workgroup: the shader's constant `LANES`.
    pub fn invocations(self, groups: usize, lanes: usize) -> Self {
        self.constant("LANES", lanes as u32).workgroups(groups.div_ceil(lanes))
    }

    /// Counts the floating-point operations.
    pub fn flops(self, flops: usize) -> Self {
        Dispatch { flops: flops as u64, ..self }
    }

    /// Says that it joins what the dispatch before it left in parts.
    pub fn second_pass(self) -> Self {
        Dispatch { joins: true, ..self }
    }

    /// Says that whoever writes a value of binding `to` has read before what stands in its place in binding `from`, and that
    /// nobody else reads it: the result may take the operand's memory.
    pub fn yields(mut self, from: usize, to: usize) -> Self {
        self.yields.push((from, to));
        self
    }

    /// Binds `from`, which yield to `to`, no more: they are its memory. The shader has their names stand for it.
    pub(crate) fn in_place(&mut self, from: &[usize], to: usize) {
        let shader = Arc::make_mut(&mut self.shader);
        shader.merged = from.iter().map(|&f| (f, to)).collect();
        self.bindings[to].1 = Access::ReadWrite;
        let mut at = 0..;
        self.bindings.retain(|_| !from.contains(&at.next().expect("endless")));
        self.yields.clear();
    }

    /// Bytes that the dispatch reads, each tensor counted once.
    pub fn bytes_read(&self) -> u64 {
        self.moved(Access::Write)
    }

    /// Bytes that the dispatch writes.
    pub fn bytes_written(&self) -> u64 {
        self.moved(Access::Read)
    }

    fn moved(&self, but: Access) -> u64 {
        self.bindings.iter().filter(|(_, a)| *a != but).map(|(x, _)| x.bytes()).sum()
    }

    /// The layer that it belongs to; what belongs to none goes by its label.
    pub fn layer(&self) -> &str {
        self.label.split_once(' ').map_or(&self.label, |(_, layer)| layer)
    }

    /// The layer's name up to the first dot.
    fn block(&self) -> &str {
        self.layer().split('.').next().unwrap_or_default()
    }

    /// The variant that was taken, where there are several: ` by tile 64×64`.
    fn by(&self) -> String {
        self.choice.as_ref().map(|c| format!(" by {}", c.variant)).unwrap_or_default()
    }

    /// Reads and writes as algebra: `[64, 784] · [784, 128] · [128] → [64, 128]`.
    pub fn algebra(&self) -> String {
        let list = |write: bool| {
            let chosen = self.bindings.iter().filter(|(_, a)| (*a != Access::Read) == write);
            chosen.map(|(x, _)| x.shape.to_string()).collect::<Vec<_>>()
        };
        match list(true) {
            w if w.len() > 4 => format!("{} → {} and {} more", list(false).join(" · "), w[0], w.len() - 1),
            w => format!("{} → {}", list(false).join(" · "), w.join(", ")),
        }
    }
}

/// Bytes of the tensors that nobody but the dispatches of a step reads, which share memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Temporaries {
    /// What they take.
    pub bytes: u64,
    /// The most that is needed at once: no plan of these dispatches takes less.
    pub least: u64,
}

/// The list of dispatches of one step, the buffers they use, and what they cost.
///
/// Printing it shows each dispatch with shapes, buffers, grid, bytes and FLOPs, then the totals.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Program {
    /// The dispatches, in the order of execution.
    pub dispatches: Vec<Dispatch>,
    /// The buffers that they bind.
    pub buffers: Vec<Buffer>,
    /// The number of trained and frozen weights.
    pub parameters: usize,
    /// Memory for what is kept within a step only.
    pub temporaries: Temporaries,
    /// Floating-point operations of a step that compute once more what was not kept for the backward pass.
    pub again: u64,
    /// What the planner noticed: values that this precision cannot hold, and what it did about them.
    pub warnings: Vec<Warning>,
}

impl Program {
    /// Adds a buffer of the plan's own.
    pub fn buffer(&mut self, name: impl Into<String>, role: Role, source: Source, bytes: u64) -> usize {
        self.buffers.push(Buffer { name: name.into(), role, source, bytes, contents: vec![] });
        self.buffers.len() - 1
    }

    /// Adds numbers that steps only read. The last one is repeated to fill its group.
    pub fn table(&mut self, name: impl Into<String>, values: impl IntoIterator<Item = f32>) -> Operand {
        let mut values: Vec<f32> = values.into_iter().collect();
        let last = values.last().copied().unwrap_or_default();
        values.resize(values.len().next_multiple_of(GROUP), last);
        let shape = Shape::from([values.len()]);
        let buffer = self.buffer(name, Role::Control, Source::Plan, bytes(shape, Dtype::F32));
        self.buffers[buffer].contents = bytemuck::cast_slice(&values).to_vec();
        Operand { buffer, offset: 0, shape, dtype: Dtype::F32 }
    }

    /// Adds memory for a tensor that lives from the dispatch that writes it to the last that reads it.
    pub fn scratch(&mut self, shape: Shape, dtype: Dtype) -> Operand {
        let name = format!("s{}", self.buffers.len());
        let buffer = self.buffer(name, Role::Activations, Source::Plan, bytes(shape, dtype));
        Operand { buffer, offset: 0, shape, dtype }
    }

    /// Appends a dispatch.
    pub fn push(&mut self, dispatch: Dispatch) {
        self.dispatches.push(dispatch);
    }

    /// The dispatch of this index and the second passes that join what it leaves, with the buffers they use: all that it takes to
    /// time it alone.
    pub fn alone(&self, index: usize) -> Program {
        let first = &self.dispatches[index];
        let written = first.bindings.iter().filter(|(_, access)| *access != Access::Read).map(|(x, _)| x.buffer);
        let reads =
            |d: &&Dispatch, b: usize| d.bindings.iter().any(|(x, access)| x.buffer == b && *access == Access::Read);
        let joins =
            written.filter_map(|b| self.dispatches[index + 1..].iter().find(|d| reads(d, b)).filter(|d| d.joins));
        let mut alone = Program::default();
        let mut index = BTreeMap::new();
        for d in std::iter::once(first).chain(joins) {
            let mut d = d.clone();
            for (x, _) in &mut d.bindings {
                x.buffer = *index.entry(x.buffer).or_insert_with(|| {
                    let of = &self.buffers[x.buffer];
                    alone.buffers.push(Buffer { source: Source::Plan, ..of.clone() });
                    alone.buffers.len() - 1
                });
            }
            alone.dispatches.push(d);
        }
        alone
    }

    /// How many dispatches are second passes of sums: see [`Dispatch::joins`].
    pub fn second_passes(&self) -> usize {
        self.dispatches.iter().filter(|d| d.joins).count()
    }

    /// Bytes on the device in buffers of this role.
    pub fn device_bytes(&self, role: Role) -> u64 {
        self.buffers.iter().filter(|b| b.role == role).map(|b| b.bytes).sum()
    }

    /// Bytes on the device in all buffers.
    pub fn total_bytes(&self) -> u64 {
        self.buffers.iter().map(|b| b.bytes).sum()
    }

    /// What the plan takes, in words.
    pub(crate) fn memory(&self) -> String {
        let largest = self.buffers.iter().max_by_key(|b| b.bytes);
        let largest =
            largest.map(|b| format!(", its largest buffer {:?} {}B", b.name, count(b.bytes))).unwrap_or_default();
        format!("the plan takes {}B{largest}", count(self.total_bytes()))
    }

    /// Floating-point operations of one step.
    pub fn flops(&self) -> u64 {
        self.dispatches.iter().map(|d| d.flops).sum()
    }

    /// The listing of a deep network: what each block does in a step, forward and backward, in one line, then the totals.
    /// A block is all layers of the same name up to the first dot; the first to do something is the first listed.
    pub fn by_block(&self) -> impl fmt::Display + '_ {
        ByBlock(self)
    }

    fn write_totals(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let by_role = [Role::Weights, Role::Optimizer, Role::Gradients, Role::Activations]
            .map(|r| format!("{} {}B", format!("{r:?}").to_lowercase(), count(self.device_bytes(r))));
        writeln!(
            f,
            "{} dispatches{}, {} buffers, {} parameters, {}FLOP{}, {}B on the device: {}",
            self.dispatches.len() - self.second_passes(),
            if self.second_passes() > 0 {
                format!(" and {} second passes", self.second_passes())
            } else {
                String::new()
            },
            self.buffers.len(),
            self.parameters,
            count(self.flops()),
            match self.again {
                0 => String::new(),
                again => format!(", of which {}FLOP again", count(again)),
            },
            count(self.total_bytes()),
            by_role.join(", ")
        )?;
        let Temporaries { bytes, least } = self.temporaries;
        writeln!(f, "{}B for temporaries, of which {}B are needed at once", count(bytes), count(least))?;
        self.warnings.iter().try_for_each(|w| writeln!(f, "warning: {w}"))
    }
}

/// A program as [`Program::by_block`] prints it.
struct ByBlock<'a>(&'a Program);

impl fmt::Display for ByBlock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut blocks: Vec<(&str, Vec<&Dispatch>)> = vec![];
        for d in &self.0.dispatches {
            match blocks.iter_mut().find(|(name, _)| *name == d.block()) {
                Some((_, members)) => members.push(d),
                None => blocks.push((d.block(), vec![d])),
            }
        }
        let width = blocks.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, members) in blocks {
            let sum = |of: fn(&Dispatch) -> u64| count(members.iter().map(|d| of(d)).sum());
            writeln!(
                f,
                "  {name:<width$} {:>5} dispatches {:>12}FLOP {:>10}B read {:>10}B written",
                members.len(),
                sum(|d| d.flops),
                sum(Dispatch::bytes_read),
                sum(Dispatch::bytes_written),
            )?;
        }
        self.0.write_totals(f)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (i, d) in self.dispatches.iter().enumerate() {
            let buffers: Vec<_> = d
                .bindings
                .iter()
                .map(|(x, a)| {
                    let sign = match a {
                        Access::Read => "",
                        Access::Write => "→",
                        Access::ReadWrite => "↔",
                    };
                    let at = if x.offset > 0 { format!("+{}", x.offset) } else { String::new() };
                    format!("{sign}{}{at}", self.buffers[x.buffer].name)
                })
                .collect();
            let [gx, gy, gz] = d.grid;
            writeln!(f, "{i:>4}  {:<34} {:<44} {gx}×{gy}×{gz}{}", d.label, d.algebra(), d.by())?;
            let (flops, read, written) = (count(d.flops), d.bytes_read(), d.bytes_written());
            writeln!(
                f,
                "      {}  {flops}FLOP, {}B read, {}B written",
                buffers.join(" "),
                count(read),
                count(written)
            )?;
        }
        self.write_totals(f)
    }
}

/// A count with a unit's prefix: `1.54 M`.
pub fn count(n: u64) -> String {
    let (mut value, mut prefix) = (n as f64, "");
    for next in ["k", "M", "G", "T"] {
        if value < 1000.0 {
            break;
        }
        (value, prefix) = (value / 1000.0, next);
    }
    if prefix.is_empty() { format!("{n} ") } else { format!("{value:.2} {prefix}") }
}
