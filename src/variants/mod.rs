//! Every shader that the crate can make, collected without a GPU: what shader checks and the self-test walk.
//!
//! Variants are not written down anywhere. They are what the planner makes of every op's cases, of every network and of
//! every optimizer, in every precision, for adapters that differ in what the planner looks at.

mod needs;
mod stores;
mod updates;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use naga::{Module, valid::ModuleInfo};

use crate::{
    Adam, Caps, Dtype, Error, Graph, Init, Precision, Result, Sgd, Shape, Tensor,
    bench::limits,
    caps, check,
    dispatch::{Dispatch, Program, Shader},
    gpu::{
        self,
        compose::{self, Wgsl},
    },
    lower::{Request, lower},
    ops::{self, Conv2d, Padding},
    optim::Update,
    plan::{Options, lower_training},
    precision::Accumulate,
    study::{MODELS, Model},
};

pub use needs::Needs;

/// A composed shader, and a dispatch that calls it.
#[derive(Debug, Clone)]
pub struct Variant {
    /// A dispatch that calls it.
    pub dispatch: Dispatch,
    /// The adapter that it is made for; of all that it suits, the one that offers least.
    pub adapter: Adapter,
    /// The precision in which it was found first.
    pub precision: Precision,
    /// The text.
    pub wgsl: Wgsl,
}

/// What an adapter might be.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// How it differs from WebGPU's default limits with `shader-f16`, in few words.
    pub name: &'static str,
    /// Its features and limits.
    pub caps: Caps,
}

/// Adapters that differ in what planner, ops and composition look at; those that offer least come first.
pub fn adapters() -> Vec<Adapter> {
    let least = Caps { adapter: "WebGPU's default limits".into(), ..Caps::reference() };
    let packed = Caps { shader_f16: false, workgroup_bytes: Caps::LEAST_WORKGROUP_BYTES, ..least.clone() };
    let large = Caps {
        adapter: "a large GPU".into(),
        kind: caps::Kind::Discrete,
        subgroup: (32, 64),
        storage_buffers: 64,
        workgroup_bytes: 64 << 10,
        invocations: 1024,
        binding_bytes: 2 << 30,
        buffer_bytes: 2 << 30,
        ..least.clone()
    };
    let software =
        Caps { adapter: "a driver in software".into(), kind: caps::Kind::Software, subgroup: (8, 8), ..least.clone() };
    let apart = |caps: &Caps| Caps { subgroup: (0, 0), ..caps.clone() };
    let matrices = |size, operands| caps::Matrices { size, operands, sums: Dtype::F32 };
    let of_16 = Caps { matrices: vec![matrices(16, Dtype::F16)], subgroup: (32, 32), ..large.clone() };
    let of_8 = [Dtype::F32, Dtype::F16].map(|operands| matrices(8, operands)).to_vec();
    let of_8 = Caps { matrices: of_8, subgroup: (4, 64), workgroup_bytes: 32 << 10, ..large.clone() };
    let adapter = |name, caps| Adapter { name, caps };
    vec![
        adapter("no f16", packed.clone()),
        adapter("no f16, inexact pack2x16float", Caps { pack_exact: false, ..packed }),
        adapter("default limits", least),
        adapter("software", software.clone()),
        adapter("software, words of 64 bits", Caps { shader_int64: true, ..software.clone() }),
        adapter("software, no f16", Caps { shader_f16: false, ..software.clone() }),
        adapter("software, subgroups of four", Caps { subgroup: (4, 4), ..software.clone() }),
        adapter("software, no subgroups", apart(&software)),
        adapter("large limits, no subgroups", apart(&large)),
        adapter("large limits", large.clone()),
        adapter("large limits, no f16", Caps { shader_f16: false, ..large }),
        adapter("cooperative matrices of 16×16", of_16),
        adapter("cooperative matrices of 8×8", of_8),
    ]
}

impl Variant {
    fn new(dispatch: &Dispatch, adapter: &Adapter, precision: Precision) -> Result<Self> {
        let wgsl = compose::compose(&dispatch.shader, &adapter.caps)?;
        Ok(Variant { dispatch: dispatch.clone(), adapter: adapter.clone(), precision, wgsl })
    }

    /// The stem of the file in `shaders/`.
    pub fn shader(&self) -> &'static str {
        self.dispatch.shader.name
    }

    /// What makes it this variant: `f16 [no f16] ROWS=2 COLUMNS=1 in "matmul+add fc1"`.
    pub fn title(&self) -> String {
        let constants = self.dispatch.shader.constants.iter().map(|(name, value)| format!("{name}={value} "));
        let constants: String = constants.collect();
        format!("{} [{}] {constants}in {:?}", self.precision, self.adapter.name, self.dispatch.label)
    }

    /// Whether it multiplies cooperative matrices, which HLSL has none of.
    pub fn is_cooperative(&self) -> bool {
        self.wgsl.files().contains("coop")
    }

    /// Parses and validates it, compares it with its dispatch and with what its adapter offers, and looks for what some compiler is
    /// known to refuse.
    ///
    /// # Errors
    /// [`Error::Shader`] with the line in the file, or what it needs too much of.
    pub fn check(&self) -> Result<(Module, ModuleInfo, Needs)> {
        let caps = &self.adapter.caps;
        let (module, info) = compose::parse(&self.dispatch.shader, &self.wgsl, caps)?;
        compose::check(&self.dispatch, &module)?;
        let needs = Needs::of(&module, &info);
        let refused = stores::by_component(&module, &info).map(|span| {
            let place = self.wgsl.place(span.location(&self.wgsl.text).line_number);
            format!(
                "{place}: stores a part of a vector or matrix by a changing index; DX12's FXC refuses that in a loop"
            )
        });
        let wrong = |detail| Error::Shader { shader: self.shader().into(), detail };
        refused.or(needs.lacking(&self.dispatch, caps)).map_or(Ok((module, info, needs)), |detail| Err(wrong(detail)))
    }
}

/// Every variant once, in the order of their files' names.
///
/// # Errors
/// [`Error::Shader`] if one does not compose.
pub fn all() -> Result<Vec<Variant>> {
    let mut found = Found::default();
    for adapter in adapters() {
        found.add(&gpu::probe::program(&adapter.caps), &adapter, Precision::F32)?;
        for (program, precision) in limits::programs(&adapter.caps) {
            found.add(&program, &adapter, precision)?;
        }
        for (_, preset) in Precision::PRESETS {
            if adapter.caps.supports(preset).is_ok() {
                programs(&adapter.caps, preset, |precision, p| found.add(&p, &adapter, precision))?;
            }
        }
    }
    Ok(found.variants.into_values().flatten().collect())
}

/// Of each kernel that takes a share of some network's time, or of a large product's, the variant that does most work there,
/// in each precision, for a GPU with large limits.
///
/// # Errors
/// [`Error::Shader`] if one does not compose.
pub fn heavy() -> Result<Vec<Variant>> {
    let mut found = Found::default();
    let large =
        |a: &Adapter| a.caps.kind == caps::Kind::Discrete && a.caps.matrices.is_empty() && a.caps.subgroup.1 > 0;
    for adapter in adapters().into_iter().filter(large) {
        for (_, precision) in Precision::PRESETS {
            if adapter.caps.supports(precision).is_err() {
                continue;
            }
            let mut heaviest: BTreeMap<String, Dispatch> = BTreeMap::new();
            let mut keep = |program: Program| {
                for d in program.dispatches.iter().filter(|d| takes_time(&d.shader, &program)) {
                    let known = heaviest.entry(form(d)).or_insert_with(|| d.clone());
                    if (d.flops, d.bytes_read()) > (known.flops, known.bytes_read()) {
                        *known = d.clone();
                    }
                }
                Ok(())
            };
            networks(&adapter.caps, precision, &["mlp", "lenet", "resnet20", "mobilenet", "vit8"], &mut keep)?;
            keep(training("mlp", &adapter.caps, precision, &Sgd::new(0.1).momentum(0.9))?)?;
            keep(rows(&adapter.caps, precision)?)?;
            keep(vocabulary(&adapter.caps, precision)?)?;
            for width in [64, 256] {
                keep(products(&adapter.caps, precision, width)?)?;
            }
            let dispatches = heaviest.into_values().collect();
            found.add(&Program { dispatches, ..Program::default() }, &adapter, precision)?;
        }
    }
    Ok(found.variants.into_values().flatten().collect())
}

/// Whether a kernel has at least a hundredth of what a program computes or moves.
fn takes_time(shader: &Shader, program: &Program) -> bool {
    let share = |of: fn(&Dispatch) -> u64| {
        let own: u64 = program.dispatches.iter().filter(|d| d.shader.name == shader.name).map(of).sum();
        own * 100 >= program.dispatches.iter().map(of).sum()
    };
    share(|d| d.flops) || share(|d| d.bytes_read() + d.bytes_written())
}

/// Softmax and its gradient, which the networks have only inside of attention.
fn rows(caps: &Caps, precision: Precision) -> Result<Program> {
    let graph = Graph::new(precision);
    let x = graph.weight("x", [256, 1024], Init::Kaiming);
    let loss = (x.softmax() * graph.input("weight", [256, 1024])).mean_all();
    Ok(lower_training(loss, &Sgd::new(0.1), caps, &Options::default())?.program)
}

/// Cross-entropy of few long rows, which are cut.
fn vocabulary(caps: &Caps, precision: Precision) -> Result<Program> {
    let graph = Graph::new(precision);
    let x = graph.weight("x", [4, 1 << 15], Init::Kaiming);
    Ok(lower_training(x.cross_entropy(graph.labels("label", [4])), &Sgd::new(0.1), caps, &Options::default())?.program)
}

/// A dense layer and a convolution of so many channels, larger than those of the networks.
fn products(caps: &Caps, precision: Precision, width: usize) -> Result<Program> {
    let graph = Graph::new(precision);
    let weight = |name: &str, shape: &[usize]| graph.weight(name, Shape::new(shape).expect("small"), Init::Kaiming);
    let image = graph.input("image", [32, 28, 28, width]);
    let options = Conv2d { padding: Padding::Same, ..Conv2d::default() };
    fn bent<'g>(x: Tensor<'g>, bias: &str) -> Tensor<'g> {
        (x + x.graph.weight(bias, [x.shape().last()], Init::Kaiming)).relu()
    }
    let y = bent(image.conv2d(weight("first", &[3, 3, width, width]), options), "first.bias");
    let y = bent(y.conv2d(weight("second", &[3, 3, width, width]), options), "second.bias");
    let y = bent(y.flatten_rows().matmul(weight("third", &[width, width])), "third.bias");
    let loss = y.matmul(weight("fourth", &[width, width])).square().mean_all();
    Ok(lower_training(loss, &Sgd::new(0.1), caps, &Options::default())?.program)
}

/// The kernel; of matrix products the tile, and whether the sum runs along the lines of both operands or across:
/// `matmul 64x64 along across`; of maps whether an invocation takes several rows.
pub fn form(dispatch: &Dispatch) -> String {
    let shader = &dispatch.shader;
    let constant = |name: &str| shader.constants.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
    let side = |invocations, blocks| Some(4 * constant(invocations)? * constant(blocks)?);
    let tile = side("HEIGHT", "ROWS").zip(side("WIDTH", "COLUMNS")).map(|(rows, columns)| format!(" {rows}x{columns}"));
    let ways = ["ALONG_A", "ALONG_B"].iter().filter_map(|name| constant(name));
    let ways = ways.map(|along| if along == 1 { " along" } else { " across" });
    let rows = if shader.name == "map" && constant("ROWS") == Some(1) { " rows" } else { "" };
    shader.name.to_owned() + &tile.unwrap_or_default() + &ways.collect::<String>() + rows
}

/// Variants by file, each text once.
#[derive(Default)]
struct Found {
    variants: BTreeMap<&'static str, Vec<Variant>>,
    texts: BTreeSet<String>,
    /// What was composed already, by all that makes a text.
    seen: BTreeSet<(Shader, [bool; 2], caps::Packing)>,
}

impl Found {
    fn add(&mut self, program: &Program, adapter: &Adapter, precision: Precision) -> Result<()> {
        for d in &program.dispatches {
            let storage = [adapter.caps.native_halves(d.shader.acc), adapter.caps.pairs_words()];
            let key = ((*d.shader).clone(), storage, adapter.caps.packing());
            if !self.seen.insert(key) {
                continue;
            }
            let variant = Variant::new(d, adapter, precision)?;
            if self.texts.insert(variant.wgsl.text.clone()) {
                self.variants.entry(d.shader.name).or_default().push(variant);
            }
        }
        Ok(())
    }
}

/// Every program that may hold another variant, one after another.
fn programs(caps: &Caps, precision: Precision, mut each: impl FnMut(Precision, Program) -> Result<()>) -> Result<()> {
    let in_chunks = Precision { accumulate: Accumulate::Chunks(NonZeroU32::MIN), ..precision };
    for (case, precision) in ops::cases().iter().flat_map(|case| [(case, precision), (case, in_chunks)]) {
        each(precision, check::program(caps, precision, case)?)?;
    }
    updates::programs(caps, precision, &mut each)?;
    let names: Vec<&str> = MODELS.into_iter().filter(|name| !DEEPER.contains(name)).collect();
    networks(caps, precision, &names, |program| each(precision, program))
}

/// Models that repeat the blocks of others, with nothing new for a shader.
const DEEPER: [&str; 6] = ["vgg19", "resnet32", "resnet56", "resnet110", "densenet169", "vit12"];

/// Training and inference of the models `names`, for colour images of 32 × 32 or 32 tokens.
fn networks(
    caps: &Caps,
    precision: Precision,
    names: &[&str],
    mut each: impl FnMut(Program) -> Result<()>,
) -> Result<()> {
    for name in names {
        each(training(name, caps, precision, &Adam::new(1e-3))?)?;
        for batch in [1, BATCH] {
            let graph = Graph::new(precision);
            let network = model(name).build(&graph, batch, sample(name), 10)?;
            let wanted = vec![network.logits.value];
            each(
                lower(&Request {
                    graph: &graph,
                    caps,
                    wanted,
                    training: None,
                    observe: false,
                    fusion: true,
                    algebra: true,
                })?
                .program,
            )?;
        }
    }
    Ok(())
}

/// Samples in a batch, as few as leave the deepest networks within WebGPU's default limits and as many as are usual.
const BATCH: usize = 32;

fn model(name: &str) -> Model {
    Model::named(name, &[64]).expect("a name of the list")
}

fn sample(name: &str) -> Shape {
    if name == "gpt" { Shape::from([32]) } else { Shape::from([32, 32, 3]) }
}

fn training(name: &str, caps: &Caps, precision: Precision, optimizer: &dyn Update) -> Result<Program> {
    let graph = Graph::new(precision);
    let network = model(name).build(&graph, BATCH, sample(name), 10)?;
    Ok(lower_training(network.loss, optimizer, caps, &Options::default())?.program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_shader_with_f32_registers_stores_natively_where_that_is_inexact() {
        for name in ["default limits", "cooperative matrices of 16×16"] {
            let adapter = adapters().into_iter().find(|a| a.name == name).unwrap();
            let caps = Caps { store_exact: false, ..adapter.caps };
            let mut shaders = BTreeSet::new();
            for case in ops::cases() {
                let program = check::program(&caps, Precision::F16, &case).unwrap();
                shaders.extend(program.dispatches.into_iter().map(|d| (*d.shader).clone()));
            }
            shaders.retain(|shader| shader.acc == Dtype::F32);
            assert!(shaders.iter().map(|shader| shader.name).collect::<BTreeSet<_>>().len() > 30);
            for shader in shaders {
                let text = compose::compose(&shader, &caps).unwrap().text;
                assert!(!text.contains("f16;") && !text.contains("<f16>"), "{name}: {}", shader.name);
            }
        }
    }

    #[test]
    fn workgroup_memory_is_zeroed_for_those_kernels_alone_that_count_in_it() {
        let (mut seen, mut zeroed) = (BTreeSet::new(), BTreeSet::new());
        for adapter in adapters().into_iter().filter(|a| ["default limits", "software"].contains(&a.name)) {
            let mut look = |program: Program| {
                for d in program.dispatches.iter().filter(|d| d.shader.zeroed) {
                    if seen.insert((d.shader.name, d.shader.declarations.clone())) {
                        let text = compose::compose(&d.shader, &adapter.caps)?.text;
                        zeroed.extend(text.contains("var<workgroup>").then_some(d.shader.name));
                    }
                }
                Ok(())
            };
            let programs = ops::cases().into_iter().map(|case| check::program(&adapter.caps, Precision::F16, &case));
            programs.into_iter().try_for_each(|program| look(program?)).unwrap();
            updates::programs(&adapter.caps, Precision::F16, |_, program| look(program)).unwrap();
        }
        assert_eq!(Vec::from_iter(zeroed), ["cross_entropy", "observe"]);
    }
}
