//! The contract of an operator. The crate's own ops and an app's are written against the same trait.
//!
//! An op says four things: the shape of what it makes, the gradient as further graph nodes, the dispatches that
//! compute it, and, for the tests, the slow definition in f64. `examples/08_custom_op.rs` brings one from outside.
//!
//! # The WGSL of an op
//!
//! A file is written once for every precision; [`Io::shader`] names it. Bindings of group 0 are the operands in the order in which
//! [`Dispatch::read`], [`Dispatch::write`] and [`Dispatch::update`] name them, and the one of group 1 is `var<uniform> p: Params`, a struct
//! of what [`Dispatch::param`] says, in that order. Before the file stand, or are had by its `#import`s:
//!
//! | | |
//! |---|---|
//! | `elem4`, `wide4` | four values as they lie in memory: of the tensors' type, and of that of losses and statistics |
//! | `acc` | the type of registers |
//! | `unpack4(elem4)`, `pack4(vec4<acc>)` | between the two; `unpack4_wide` and `pack4_wide` for `wide4` |
//! | `#import grid` | `invocation(workgroup, lane)`, the number among all of 64 a workgroup; `linear_id(workgroup)`: lines of workgroups are folded |
//! | `#import axis` | `groups(length)` of an axis; `place_of(g, last)`, where group `g` of all is; `inside(k, length)`, which of its four values count |
//! | `#import tail` | `tail(v, g, last)`: zeros in the padding of group `g`, which must hold nothing else |
//! | `#import epilogue` | `epilogue(g, v)`: what is fused behind a [`Kind::Head`] |
//! | `const NAME: u32 = 0u;` | what [`Shader::constant`] sets |
//! | `//: mark` to `//: end` | what [`Dispatch::splice`] replaces |

use std::{any::Any, borrow::Cow, fmt::Debug, sync::Arc};

use crate::{
    Dtype, Precision, Shape,
    caps::{self, Caps},
    dispatch::*,
    reference::Array,
    shape::GROUP,
    tensor::Tensor,
};

/// The type of a tensor: its shape, and the type of its values in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type {
    /// Lengths of the axes.
    pub shape: Shape,
    /// Type of the values.
    pub dtype: Dtype,
}

impl Type {
    /// The type itself; labels take no part in arithmetic.
    ///
    /// # Errors
    /// That sentence.
    pub fn number(self) -> Result<Self, String> {
        if self.dtype == Dtype::U32 { Err("labels take no part in arithmetic".into()) } else { Ok(self) }
    }

    /// A type.
    pub fn new(shape: impl Into<Shape>, dtype: Dtype) -> Self {
        Type { shape: shape.into(), dtype }
    }
}

impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} {}", self.dtype, self.shape)
    }
}

/// All that the fuser needs to know of an op.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Each value of the result depends on the values at the same place of the (broadcast) operands.
    Map(Expression),
    /// The result is the operand's memory under another shape; nothing runs.
    View,
    /// A kernel of its own.
    Kernel,
    /// A kernel that passes its first result through the marks `//: epilogue` before it is stored.
    Head,
}

/// An elementwise expression: the body of a WGSL function of `a`, `b`, … `e` (`vec4<acc>`) and `p` (`vec4<f32>`).
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// The function's name.
    pub name: &'static str,
    /// What it returns.
    pub body: Cow<'static, str>,
    /// The values of `p`; they are uniforms, so that they make no new pipeline.
    pub params: Vec<f32>,
}

/// What an op needs to make its dispatches.
#[derive(Debug, Clone, Copy)]
pub struct Io<'a> {
    /// The adapter.
    pub caps: &'a Caps,
    /// The precision of the op's layer.
    pub precision: Precision,
    /// The operands.
    pub inputs: &'a [Operand],
    /// The results.
    pub outputs: &'a [Operand],
    /// Step counter and seed of the run, for ops that draw random numbers: `struct Clock` of `lib/clock.wgsl`.
    pub clock: Operand,
    /// What is fused behind a [`Kind::Head`], or is the whole of a [`Kind::Map`].
    pub chain: Option<&'a Chain>,
    /// Where the sum of an operand's rows goes, if [`Op::sums_beside`] is made use of.
    pub beside: Option<Operand>,
    /// A label for listings: the op's name and the layer that it works for.
    pub label: &'a str,
}

impl Io<'_> {
    /// A variant of the WGSL file `name` for tensors of the first result's type.
    pub fn shader(&self, name: &'static str, source: &'static str) -> Shader {
        Shader::new(name, source, self.outputs[0].dtype, self.precision)
    }

    /// A variant of the WGSL file `name` for tensors of the first operand's type.
    pub fn shader_of_operands(&self, name: &'static str, source: &'static str) -> Shader {
        Shader::new(name, source, self.inputs[0].dtype, self.precision)
    }

    /// Lowers a chain that has no kernel before it: the whole of it stands between the marks of `map.wgsl`.
    fn lower_chain(&self, program: &mut Program) {
        let y = self.outputs[0];
        let mixed = self.chain.is_some_and(|c| c.inputs.iter().chain(&c.kept).any(|x| x.dtype != y.dtype));
        let mut shader = self.shader("map", include_str!("../shaders/map.wgsl"));
        if mixed {
            shader = shader.wide(if y.dtype == Dtype::F16 { Dtype::F32 } else { Dtype::F16 });
            shader.acc = Dtype::F32;
        }
        let (groups, last) = (y.shape.groups(), y.shape.storage().last());
        let shared = self.chain.map_or(&[][..], |chain| &chain.by_column);
        let rows = if shared.is_empty() { 1 } else { self.rows(groups, groups / last.div_ceil(GROUP)) };
        let dispatch = Dispatch::new(self.label, shader.padded(last))
            .write(y)
            .param("groups", groups)
            .param("last", last)
            .param("rows", rows);
        let dispatch = match self.chain {
            Some(chain) if rows > 1 => dispatch.constant("ROWS", 1).fuse_rows(chain),
            chain => dispatch.fuse("map", chain),
        };
        program.push(dispatch.invocations(groups / rows, self.lanes()));
    }

    /// Of so many rows, how many an invocation takes of a map that loads something once for all: a part of all without a rest, which
    /// leaves enough invocations.
    fn rows(&self, groups: usize, rows: usize) -> usize {
        let enough = if self.caps.kind == caps::Kind::Software { 1 << 12 } else { 1 << 16 };
        [8, 4, 2].into_iter().find(|n| rows.is_multiple_of(*n) && groups / n >= enough).unwrap_or(1)
    }

    /// Invocations of a workgroup where they share nothing: a processor's driver makes memory for each workgroup.
    pub fn lanes(&self) -> usize {
        if self.caps.kind == caps::Kind::Software { 256 } else { 64 }
    }
}

/// Elementwise work fused into one dispatch: WGSL text, the tensors that it reads, its uniforms.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    /// One function for each expression.
    pub functions: String,
    /// The statements between the marks; `g` is the output's group and `v` the value so far.
    pub body: String,
    /// Those inputs that all rows share; the statements before load the others.
    pub by_column: Vec<usize>,
    /// Tensors that the statements read as `chain_0`, `chain_1`, …
    pub inputs: Vec<Operand>,
    /// Tensors of the result's shape that the statements store with `chain_keep_0(g, v)`, …
    pub kept: Vec<Operand>,
    /// Uniforms, in groups of four.
    pub params: Vec<u32>,
    /// Axes of the output besides the last, after merging: the constant `CHAIN_RANK`.
    pub rank: u32,
    /// Whether the output has more groups than are divided by a product with the reciprocal: the constant `CHAIN_FAR`.
    pub far: bool,
    /// Expressions evaluated for each value.
    pub flops: usize,
}

impl Dispatch {
    /// Puts a chain between `//: mark` and `//: end` of the shader, and binds what it reads after all else.
    pub fn fuse(mut self, mark: &'static str, chain: Option<&Chain>) -> Self {
        let Some(chain) = chain else { return self };
        let mut shader = (*self.shader).clone();
        shader.declarations += "#import chain\n";
        shader.declarations +=
            &format!("@group(1) @binding(1) var<uniform> chain: array<vec4<u32>, {}>;\n", chain.params.len() / 4);
        // Kernels write each value once, behind its chain.
        let mut results = (0..self.bindings.len()).filter(|&k| self.bindings[k].1 != Access::Read);
        let result = results.next().filter(|_| results.next().is_none());
        for (i, x) in chain.inputs.iter().enumerate() {
            let (elem4, unpack4) =
                if x.dtype == shader.elem { ("elem4", "unpack4") } else { ("wide4", "unpack4_wide") };
            let at = self.bindings.len();
            // Of f32 a lone value can be read without those beside it.
            let lone = match x.dtype {
                Dtype::F32 => format!("lone(chain_{i}[o / 4u][o % 4u / SCALAR], o)"),
                _ => format!("chain_load_{i}(o / 4u)[o % 4u]"),
            };
            shader.declarations += &format!(
                "@group(0) @binding({at}) var<storage, read> chain_{i}: array<{elem4}>;\n\
                 fn chain_load_{i}(g: u32) -> vec4<acc> {{ return {unpack4}(chain_{i}[g]); }}\n\
                 fn chain_lone_{i}(o: u32) -> acc {{ return {lone}; }}\n"
            );
            self.bindings.push((*x, Access::Read));
            if let Some(result) = result.filter(|_| chain.body.contains(&format!("chain_load_{i}(g)"))) {
                self.yields.push((at, result));
            }
        }
        for (i, x) in chain.kept.iter().enumerate() {
            let (elem4, pack4) = if x.dtype == shader.elem { ("elem4", "pack4") } else { ("wide4", "pack4_wide") };
            // What goes on is rounded as what is stored; compilers drop conversions there and back.
            let narrow = x.dtype == Dtype::F16 && shader.acc == Dtype::F32;
            let (half, same) = if narrow { ("#import half\n", "half4(v)") } else { ("", "v") };
            let at = self.bindings.len();
            shader = shader.padded(x.shape.storage().last());
            shader.declarations += &format!(
                "#import tail\n{half}\
                 @group(0) @binding({at}) var<storage, read_write> chain_kept_{i}: array<{elem4}>;\n\
                 fn chain_keep_{i}(g: u32, v: vec4<acc>) -> vec4<acc> {{\n\
                 \x20   chain_kept_{i}[g] = {pack4}(tail(v, g, chain[1].w));\n    return {same};\n}}\n"
            );
            self.bindings.push((*x, Access::Write));
        }
        shader.declarations += &chain.functions;
        shader.constants.extend([("CHAIN_RANK", chain.rank), ("CHAIN_FAR", chain.far.into())]);
        let column = if chain.by_column.is_empty() { "" } else { "    let column = chain_column(g);\n" };
        let load = |i: &usize| format!("    let a{i} = chain_load_{i}(column);\n");
        let loads: String = chain.by_column.iter().map(load).collect();
        shader.splices.push((mark, format!("{column}{loads}{}", chain.body)));
        self.shader = Arc::new(shader);
        self.chain = chain.params.clone();
        self.flops +=
            (chain.flops * self.bindings.iter().find(|b| b.1 == Access::Write).map_or(0, |b| b.0.shape.len())) as u64;
        self
    }

    /// The same for `map.wgsl`, where an invocation takes several rows: what they share is loaded by `columns`.
    fn fuse_rows(self, chain: &Chain) -> Self {
        let each = |text: fn(&usize) -> String| chain.by_column.iter().map(text).collect::<String>();
        let columns = format!(
            "struct Columns {{\n{}}}\n\nfn columns(k: u32) -> Columns {{\n    return Columns({});\n}}\n",
            each(|i| format!("    a{i}: vec4<acc>,\n")),
            each(|i| format!("chain_load_{i}(k), ")),
        );
        let body = each(|i| format!("    let a{i} = by_column.a{i};\n")) + &chain.body;
        self.splice("columns", columns).fuse("map", Some(&Chain { body, by_column: vec![], ..chain.clone() }))
    }
}

/// What an op is given to write its gradient with.
#[derive(Debug)]
pub struct Backward<'g> {
    /// The operands.
    pub x: Vec<Tensor<'g>>,
    /// The results.
    pub y: Vec<Tensor<'g>>,
    /// The gradient of each result that has one.
    pub dy: Vec<Option<Tensor<'g>>>,
}

impl<'g> Backward<'g> {
    /// The gradient of the first result; zeros if nothing depends on it.
    pub fn dy(&self) -> Tensor<'g> {
        self.dy[0].unwrap_or_else(|| self.y[0].zeros_like())
    }
}

/// An operand, and how it was made: what [`Op::simpler`] looks at.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// Its type.
    pub ty: Type,
    /// The op that made it, if it was computed.
    pub op: Option<&'a dyn Op>,
    /// The type of that op's first operand, if it has one.
    pub of: Option<Type>,
}

impl<'a> Made<'a> {
    /// The op that made it, if it is one of this type.
    pub fn by<T: Op>(&self) -> Option<&'a T> {
        self.op.and_then(|op| (op as &dyn Any).downcast_ref())
    }
}

/// How the result of an op can be had for less, the same to the bit.
#[derive(Debug)]
pub enum Simpler {
    /// It is this operand.
    Operand(usize),
    /// It is the first operand of the op that made its own first.
    Before,
    /// It is what this op makes of that.
    Op(Arc<dyn Op>),
}

/// The contract of an operator.
pub trait Op: Any + Debug + Send + Sync {
    /// The op's name: the stem of its WGSL file and the pipeline's label.
    fn name(&self) -> &'static str;

    /// The types of the results, or what is wrong with the operands.
    ///
    /// # Errors
    /// A sentence for the user; the graph adds the op's name, the operands and the caller's line.
    fn infer(&self, x: &[Type], precision: Precision) -> Result<Vec<Type>, String>;

    /// How the fuser may treat the op.
    fn kind(&self) -> Kind {
        Kind::Kernel
    }

    /// The gradient with respect to each operand, of its shape, as further nodes; `None` where nothing depends on it.
    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>>;

    /// Whether [`grad`](Self::grad) is written: to ask for the gradient of what is not differentiable is a mistake of the graph's.
    fn is_differentiable(&self) -> bool {
        true
    }

    /// Appends the dispatches that compute `io.outputs` from `io.inputs`. For a [`Kind::Map`] this is the fused chain,
    /// and nothing needs to be written; a [`Kind::View`] never gets here.
    fn lower(&self, io: &Io, program: &mut Program) {
        io.lower_chain(program);
    }

    /// Whether it costs little more to compute than to read: it may be computed more than once where that saves memory or the
    /// reading of it.
    fn is_cheap(&self) -> bool {
        matches!(self.kind(), Kind::Map(_) | Kind::View)
    }

    /// Whether the shader of a [`Kind::Head`] has [`Precision::wide`] behind `wide4`, so that what is fused behind it may
    /// read statistics, which are f32 in a network of 16 bit.
    fn loads_wide(&self) -> bool {
        false
    }

    /// Whether a [`Kind::Head`] may store its result in another type, where what is fused behind it is of that.
    fn casts_result(&self) -> bool {
        false
    }

    /// Whether it is the sum over all rows of its only operand, and nothing else: the gradient of a bias.
    fn sums_rows(&self, _x: &[Type]) -> bool {
        false
    }

    /// The operand whose rows the op can sum too, in the same dispatch, into [`Io::beside`]: it reads them anyway.
    fn sums_beside(&self, _x: &[Type]) -> Option<usize> {
        None
    }

    /// Whether it is there to change the type: its operand then comes as it is, also from a layer in another precision.
    fn casts(&self) -> bool {
        false
    }

    /// The operand that the op hands on unchanged, if it does so and nothing else: the others are then not computed.
    /// Dropout does when the network is not being trained.
    fn hands_on(&self, _inference: bool) -> Option<usize> {
        None
    }

    /// Whether its `Debug` tells all that the results depend on besides operands and precision: two nodes that print alike
    /// are then computed once. Not for ops that draw random numbers.
    fn repeats(&self) -> bool {
        false
    }

    /// How the only result, of type `y`, can be had for less from the operands `x`; same bits, the sign of 0 included.
    fn simpler(&self, _x: &[Made], _y: Type) -> Option<Simpler> {
        None
    }

    /// The definition: plain loops in f64, which the checks of the feature `reference` hold the kernel against. What has none
    /// cannot be checked.
    fn reference(&self, _x: &[Array]) -> Vec<Array> {
        vec![]
    }
}
