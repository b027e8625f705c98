//! Which body a matrix product runs on, and in how many parts its sum is taken: a pure function of adapter and sizes.
//!
//! The bodies are `lib/gemm_tile.wgsl`, for GPUs, `lib/gemm_coop.wgsl`, for those whose cooperative matrices are switched on,
//! `lib/gemm_shuffle.wgsl`, for processors with subgroups, and `lib/gemm_blocks.wgsl`, for others and for products of few rows.
//! What was tried is in `docs/performance.md`; what AMD's compiler makes of them in `xtask/isa.txt`.

use std::fmt;

use super::{beside, far, reduce::sum_of_parts};
use crate::{
    Caps, Dtype, Shape, caps,
    dispatch::{Choice, Dispatch, Operand, Program, Shader},
    op::Io,
};

/// A matrix product in blocks of 4×4: what `Extent` is in `lib/gemm.wgsl`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    /// Products side by side: a batch, or groups of channels.
    pub members: usize,
    /// Block rows of the result.
    pub down: usize,
    /// Block columns of the result.
    pub wide: usize,
    /// Pairs of matrices summed over.
    pub taps: usize,
    /// Whether each member sums over all of these.
    pub alike: bool,
    /// Blocks that each pair is summed over.
    pub steps: usize,
    /// At which steps the lines of `a` and of `b` that count are there.
    pub there: [There; 2],
    /// Whether `a` is one line, which the sum runs along.
    pub lone: bool,
    /// Of either operand, whether its blocks lie side by side in pairs: the sum runs across its lines, of an even number of groups.
    pub pairs: [bool; 2],
    /// The type of both in memory.
    pub elem: Dtype,
}

/// At which steps the lines of an operand that count are there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum There {
    /// At some.
    Partly,
    /// At every one of a pair of matrices or at none.
    Tapwise,
    /// At every one, the last included.
    Always,
}

impl There {
    pub fn always_if(always: bool) -> Self {
        if always { There::Always } else { There::Partly }
    }
}

impl Product {
    /// Whether the sum is whole turns of so many blocks.
    fn fills(&self, deep: usize) -> bool {
        self.steps.is_multiple_of(deep) || self.alike && (self.taps * self.steps).is_multiple_of(deep)
    }
}

/// How a product is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Variant {
    pub body: Body,
    /// Parts of the sum; several are summed by a second dispatch, in order.
    pub parts: usize,
    /// Blocks of the sum that one part takes.
    pub part: usize,
    /// Invocations of a workgroup.
    pub threads: usize,
}

/// What an invocation and its workgroup do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Body {
    /// `lib/gemm_blocks.wgsl`
    Blocks(Blocks),
    /// `lib/gemm_tile.wgsl`
    Tile(Tile),
    /// `lib/gemm_coop.wgsl`
    Coop(Coop),
    /// `lib/gemm_shuffle.wgsl`
    Shuffle(Team),
}

/// What an invocation computes in registers by itself: blocks of rows and of columns, 1 or 2 each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Blocks {
    pub rows: usize,
    pub columns: usize,
}

/// Invocations of a subgroup that share blocks of rows by shuffles, or of columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Team {
    /// How many, each with a block of its own of the others: a power of two that no subgroup is smaller than.
    pub size: usize,
    /// The blocks that they share.
    pub shared: usize,
    /// Whether these are of rows.
    pub rows: bool,
}

/// A tile of the result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tile {
    /// Invocations across and down.
    pub width: usize,
    pub height: usize,
    /// Blocks of rows and columns of each.
    pub rows: usize,
    pub columns: usize,
    /// Blocks that a turn sums over, and those of them that it loads at once.
    pub deep: usize,
    pub pass: usize,
    /// The share of a GPU's arithmetic that it reaches, as far as compiled code shows it, in a hundred.
    pub worth: usize,
}

const fn tile(width: usize, height: usize, rows: usize, columns: usize, worth: usize) -> Tile {
    Tile { width, height, rows, columns, deep: 0, pass: 0, worth }
}

/// A tile of 64×64 on cooperative matrices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Coop {
    /// Rows of a fragment.
    pub size: usize,
    /// Invocations: four subgroups of the largest size.
    pub threads: usize,
    /// Blocks that a turn sums over.
    pub deep: usize,
}

/// Block rows and columns of its tile.
const SIDE: usize = 16;

impl Coop {
    /// On fragments of the largest kind that takes such operands and sums them in f32.
    fn of(caps: &Caps, elem: Dtype, acc: Dtype) -> Option<Self> {
        let typed = elem == Dtype::F32 || caps.native_halves(acc);
        let fits = |m: &&caps::Matrices| typed && m.operands == elem && m.sums == acc && acc == Dtype::F32;
        let size = caps.matrices.iter().filter(fits).map(|m| m.size as usize).max()?;
        let threads = 4 * caps.subgroup.1 as usize;
        // Each invocation loads at most two groups of each operand, and 32 KiB hold all.
        let coop = Coop { size, threads, deep: if threads >= 256 && elem == Dtype::F16 { 8 } else { 4 } };
        let able = matches!(caps.subgroup.1, 32 | 64) && threads <= caps.invocations as usize;
        (able && coop.bytes(elem) <= caps.workgroup_bytes as usize).then_some(coop)
    }

    /// Workgroup memory: lines of both operands, with eight values between them, in the direction that takes more, and the sums.
    fn bytes(&self, elem: Dtype) -> usize {
        let (side, deep) = (4 * SIDE, 4 * self.deep);
        2 * elem.bytes() * (side * (deep + 8)).max(deep * (side + 8)) + 4 * side * side
    }

    /// What hardware for fragments of 16×16 does in the time of a hundred of the adapter's other arithmetic; fragments of 8×8 are
    /// Apple's, which has none of its own for them and only moves less.
    fn worth(&self) -> usize {
        if self.size == 16 { 200 } else { 100 }
    }
}

/// Rows × columns of values: 128×128, 64×64, 128×32, 32×128, 32×32, 64×16, 16×64.
const TILES: [Tile; 7] = [
    tile(16, 16, 2, 2, 90),
    tile(16, 8, 2, 1, 80),
    tile(8, 16, 2, 1, 70),
    tile(16, 8, 1, 2, 70),
    tile(8, 8, 1, 1, 60),
    tile(4, 16, 1, 1, 50),
    tile(16, 4, 1, 1, 50),
];

/// Teams, and blocks that they share: the more of both, the more a load serves; the fewer, the smaller a result may be. An invocation
/// loads four groups of what is shared at most.
const TEAMS: [(usize, usize); 7] = [(16, 8), (16, 4), (8, 8), (8, 4), (8, 2), (4, 4), (4, 2)];

impl Team {
    /// Blocks of the result's side that is shared, and of the other.
    fn sides(&self, p: &Product) -> [usize; 2] {
        if self.rows { [p.down, p.wide] } else { [p.wide, p.down] }
    }
}

/// What blocks without shared memory reach on a GPU, in a hundred: each product of two blocks loads both.
const BLOCKS_WORTH: usize = 20;

/// Bytes of workgroup memory for a tile: compute units have 64 KiB, so eight workgroups fit.
const SHARED: usize = 8 << 10;

impl Tile {
    fn threads(&self) -> usize {
        self.width * self.height
    }

    /// Block rows and columns.
    fn blocks(&self) -> [usize; 2] {
        [self.height * self.rows, self.width * self.columns]
    }

    fn bytes(&self, deep: usize, acc: Dtype) -> usize {
        16 * deep * self.blocks().iter().sum::<usize>() * acc.bytes()
    }

    /// With turns as long as suits a product.
    fn turning(mut self, caps: &Caps, p: &Product, acc: Dtype) -> Self {
        // An invocation has registers for two loads of each operand.
        let most = 4 * 4 * self.blocks().into_iter().max().unwrap_or(0);
        self.deep = if most <= 2 * self.threads() && self.bytes(4, acc) <= SHARED { 4 } else { 2 };
        self.pass = self.deep;
        // Mesa 22 unpacks sums in f16 and packs them again once a turn, so it should be long. The other half of the memory is for
        // what runs beside.
        let deep = 2 * self.deep;
        let room = 2 * self.bytes(deep, acc) <= caps.workgroup_bytes as usize;
        // Blocks loaded at once are of one tap where that can be.
        let pass = if p.steps % 4 == 2 { 2 } else { 4 };
        if self.is_flat(acc) && room && p.fills(deep) { Tile { deep, pass, ..self } } else { self }
    }

    /// Whether the blocks of a turn are written one after another.
    fn is_flat(&self, acc: Dtype) -> bool {
        acc == Dtype::F16 && self.deep >= 4
    }

    /// Whether an adapter has the workgroups, and the registers for the sums.
    fn fits(&self, caps: &Caps, acc: Dtype) -> bool {
        let (least, most) = caps.subgroup;
        // Intel and Adreno have half of AMD's and Nvidia's; their subgroups come in other sizes.
        let roomy = caps.kind == caps::Kind::Discrete || least >= 32 && most <= 64;
        self.threads() <= caps.invocations as usize
            && self.bytes(self.deep, acc) <= caps.workgroup_bytes as usize
            && (roomy || self.rows * self.columns < 4)
    }
}

impl Body {
    /// Invocations that compute a part of a product, those of a tile's last rows and columns included.
    fn invocations(&self, p: &Product) -> usize {
        match self {
            Body::Blocks(b) => p.members * p.down.div_ceil(b.rows) * p.wide.div_ceil(b.columns),
            Body::Tile(t) => {
                let [down, wide] = t.blocks();
                p.members * p.down.div_ceil(down) * p.wide.div_ceil(wide) * t.threads()
            }
            Body::Coop(c) => p.members * p.down.div_ceil(SIDE) * p.wide.div_ceil(SIDE) * c.threads,
            Body::Shuffle(team) => {
                let [shared, own] = team.sides(p);
                p.members * shared.div_ceil(team.shared) * own.next_multiple_of(team.size)
            }
        }
    }

    /// Blocks of the result that an invocation computes.
    fn blocks(&self) -> usize {
        match self {
            Body::Blocks(b) => b.rows * b.columns,
            Body::Tile(t) => t.rows * t.columns,
            Body::Coop(c) => SIDE * SIDE / c.threads,
            Body::Shuffle(team) => team.shared,
        }
    }

    /// The share of the adapter's arithmetic that it reaches, in a hundred.
    fn worth(&self, kind: caps::Kind) -> usize {
        let processor = |products: usize, loads: usize| 100 * products / (products + LOAD * loads);
        match self {
            Body::Tile(t) => t.worth,
            Body::Coop(c) => c.worth(),
            Body::Blocks(b) if kind == caps::Kind::Software => processor(b.rows * b.columns, b.rows + b.columns),
            Body::Blocks(..) => BLOCKS_WORTH,
            Body::Shuffle(team) => processor(team.size * team.shared, team.size + team.shared),
        }
    }

    /// Blocks of the sum that are taken at once.
    fn deep(&self) -> usize {
        match self {
            Body::Blocks(..) | Body::Shuffle(..) => 1,
            Body::Tile(t) => t.deep,
            Body::Coop(c) => c.deep,
        }
    }

    /// Invocations in a workgroup, where so many in all share nothing beyond their subgroup.
    fn threads(&self, caps: &Caps, all: usize) -> usize {
        match self {
            Body::Tile(t) => t.threads(),
            Body::Coop(c) => c.threads,
            Body::Blocks(..) | Body::Shuffle(..) if caps.kind == caps::Kind::Software => {
                // Cores share few workgroups unevenly; subgroups stay whole.
                let least = caps.subgroup.1.max(8) as usize;
                [64, 32, 16, 8].into_iter().find(|threads| all >= 16 * threads).unwrap_or(8).max(least)
            }
            Body::Blocks(..) | Body::Shuffle(..) => 64,
        }
    }

    /// The constants of `lib/gemm_turn.wgsl` and of a body on it.
    fn turns(&self, body: Dispatch, p: &Product, pass: usize, own: &[(&'static str, usize)]) -> Dispatch {
        let deep = self.deep();
        let full = p.fills(deep);
        let even = if p.taps == 1 || p.steps.is_multiple_of(deep) {
            3
        } else if full && p.steps.is_multiple_of(pass) {
            2
        } else {
            (p.steps >= pass).into()
        };
        let constants = [("DEEP", deep), ("PASS", pass), ("EVEN", even), ("FULL", full.into())];
        own.iter().chain(&constants).fold(body.unzeroed(), |d, (name, value)| d.constant(name, *value as u32))
    }
}

impl Variant {
    /// The variant of a shader.
    fn apply(&self, dispatch: Dispatch, p: &Product, acc: Dtype) -> Dispatch {
        let sum = p.taps * p.steps;
        // What a shuffle divides in its loop is the number of a step of the whole sum.
        let looped = if matches!(self.body, Body::Shuffle(..)) { sum } else { p.taps.max(p.steps) };
        let many = sum.max(self.invocations(p)).max(p.down.max(p.wide));
        let there = p.there.map(|there| if p.fills(self.body.deep()) { there as u32 } else { 0 });
        let far = dispatch
            .param("part", self.part)
            .constant("FAR", far(looped))
            .constant("MANY", far(many))
            .constant("THERE_A", there[0])
            .constant("THERE_B", there[1]);
        match &self.body {
            Body::Blocks(b) => far
                .import("gemm_blocks")
                .constant("ROWS", b.rows as u32)
                .constant("COLUMNS", b.columns as u32)
                .constant("LANES", self.threads as u32)
                .constant("LONE", p.lone.into()),
            Body::Tile(t) => {
                let tile = [
                    ("WIDTH", t.width),
                    ("HEIGHT", t.height),
                    ("ROWS", t.rows),
                    ("COLUMNS", t.columns),
                    ("FLAT", t.is_flat(acc).into()),
                ];
                self.body.turns(far.import("gemm_tile"), p, t.pass, &tile)
            }
            Body::Coop(c) => {
                let fragments = if c.size == 16 { "coop16" } else { "coop8" };
                let body = far.import("gemm_coop").import(fragments).declare(&format!("alias operand = {};\n", p.elem));
                self.body.turns(body, p, c.deep, &[("THREADS", c.threads)])
            }
            Body::Shuffle(team) => {
                let mut shuffled = far
                    .import("gemm_shuffle")
                    .constant("TEAM", team.size as u32)
                    .constant("SHARED", team.shared as u32)
                    .constant("ROWS", team.rows.into())
                    .constant("LANES", self.threads as u32)
                    .constant("SEVERAL", (p.taps > 1).into())
                    .constant("LARGE", cached(p) as u32);
                let names = [("PAIRS_A", "stored a", 'a'), ("PAIRS_B", "stored b", 'b')];
                for ((constant, mark, operand), even) in names.into_iter().zip(p.pairs) {
                    if even && p.elem == Dtype::F16 {
                        shuffled = shuffled.constant(constant, 1).splice(mark, stored_in_pairs(operand));
                    }
                }
                shuffled
            }
        }
    }

    fn workgroups(&self, p: &Product) -> usize {
        (self.body.invocations(p) * self.parts).div_ceil(self.threads)
    }

    /// All that run, those that have nothing to compute included.
    fn invocations(&self, p: &Product) -> usize {
        self.workgroups(p) * self.threads
    }
}

/// Invocations that keep an adapter of this kind busy: of a GPU, several for each of its lanes. A card's kind does not
/// say whether it has two thousand or sixteen.
pub(super) fn busy(kind: caps::Kind) -> usize {
    match kind {
        caps::Kind::Discrete => 24576,
        caps::Kind::Integrated | caps::Kind::Virtual => 4096,
        caps::Kind::Software => 64,
    }
}

/// Blocks of the sum that are worth a part of their own.
const LEAST_PART: usize = 32;
/// Bytes that the parts of a sum may take.
const MOST_BYTES: usize = 32 << 20;
/// Bytes of its operands that a core of a processor keeps in a cache of its own.
const CACHE: usize = 256 << 10;
/// Bytes that a processor's core reads from beyond that in the time of a product of two blocks.
const BYTES: usize = 24;
/// Products of two blocks that it computes in the time that it takes to load one.
const LOAD: usize = 4;
/// Turns that an invocation of a processor may take, in all its loops: llvmpipe ends them after 65,535, without a word.
pub(super) const TURNS: usize = 1 << 16;
/// What a second dispatch costs, as blocks multiplied by an invocation on a GPU that is busy.
const DISPATCH: usize = 64;

/// What the adapter can run a product of operands of so many bytes on, where registers are `acc`: each body and number of parts with
/// its [`cost`], the cheapest first; never nothing.
pub(super) fn candidates(caps: &Caps, p: &Product, bytes: usize, acc: Dtype) -> Vec<(Variant, usize)> {
    let variants = bodies(caps, p, acc).into_iter().flat_map(|body| {
        let (least, most) = (least_parts(caps, p), most_parts(caps, p, bytes));
        let mut parts = vec![1, fill(caps, p, body).min(most)];
        if matches!(body, Body::Shuffle(..)) {
            parts.extend((1..=most.ilog2()).map(|n| 1 << n));
        }
        parts.sort_unstable();
        let mut found: Vec<_> = parts.into_iter().map(|parts| split(caps, p, body, parts.max(least))).collect();
        found.dedup();
        found
    });
    let mut found: Vec<_> = variants.map(|v| (v, cost(caps, p, &v))).collect();
    found.sort_by_key(|(_, cost)| *cost);
    found
}

/// The bodies that an adapter has the workgroups and registers for; a processor only those that share nothing.
fn bodies(caps: &Caps, p: &Product, acc: Dtype) -> Vec<Body> {
    if caps.kind == caps::Kind::Software {
        let least = caps.subgroup.0 as usize;
        // Processors compute f16 registers one by one.
        let sizes = TEAMS.into_iter().filter(|&(size, _)| size <= least && acc == Dtype::F32);
        let teams =
            sizes.flat_map(|(size, shared)| [true, false].map(|rows| Body::Shuffle(Team { size, shared, rows })));
        return teams.chain([2, 1].map(|n| Body::Blocks(Blocks { rows: n, columns: n }))).collect();
    }
    let tiles = TILES.iter().map(|t| t.turning(caps, p, acc)).filter(|t| t.fits(caps, acc)).map(Body::Tile);
    tiles
        .chain(Coop::of(caps, p.elem, acc).map(Body::Coop))
        .chain([Body::Blocks(Blocks { rows: 1, columns: 1 })])
        .collect()
}

/// A sum in as few parts as can be, in blocks: two of rows and of columns each, where that still leaves enough invocations.
fn in_blocks(caps: &Caps, p: &Product) -> Variant {
    let [large, small] = [2, 1].map(|n| Body::Blocks(Blocks { rows: n, columns: n }));
    let body = if large.invocations(p) >= busy(caps::Kind::Software) { large } else { small };
    split(caps, p, body, least_parts(caps, p))
}

/// The product in `parts`, or fewer if that leaves nothing to the last.
fn split(caps: &Caps, p: &Product, body: Body, parts: usize) -> Variant {
    let sum = p.taps * p.steps;
    let part = sum.div_ceil(parts).next_multiple_of(body.deep());
    let parts = sum.div_ceil(part);
    Variant { body, parts, part, threads: body.threads(caps, body.invocations(p) * parts) }
}

/// The fewest parts that an adapter computes right: blocks take a turn for each tap, besides those of the sum.
fn least_parts(caps: &Caps, p: &Product) -> usize {
    if caps.kind == caps::Kind::Software { (p.taps * p.steps).div_ceil(TURNS / 4) } else { 1 }
}

/// The most parts that are worth it: written and read again, they move no more than the operands.
fn most_parts(caps: &Caps, p: &Product, bytes: usize) -> usize {
    let one = p.members * p.down * p.wide * 16 * 4;
    let most = MOST_BYTES.min(caps.binding_bytes as usize).min(bytes / 2) / one;
    most.min(p.taps * p.steps / LEAST_PART).max(1)
}

/// Parts that keep the adapter busy.
fn fill(caps: &Caps, p: &Product, body: Body) -> usize {
    busy(caps.kind).div_ceil(body.invocations(p)).max(1)
}

/// Blocks of an operand that a core's own cache holds.
fn cached(p: &Product) -> usize {
    CACHE / (16 * p.elem.bytes())
}

/// Blocks that a processor's cores read from beyond their caches: each once if what a team does not share fits, or at least as much
/// of it as is computed at once.
fn read(p: &Product, v: &Variant) -> usize {
    let (sides, at_once) = match v.body {
        Body::Shuffle(team) => (team.sides(p), [team.shared, team.size]),
        // Neighbours of a vector of eight, as processors have them.
        Body::Blocks(b) => ([p.down, p.wide], [b.rows, 8 * b.columns]),
        _ => return 0,
    };
    let [a, b] = sides.map(|blocks| blocks * v.part);
    let [down, across] = [0, 1].map(|i| sides[i].div_ceil(at_once[i]));
    let reads = |fits: bool, again: usize| if fits { 1 } else { again };
    let of_a = a * reads(a.min(b) <= cached(p), across);
    let of_b = b * reads(at_once[1] * v.part <= cached(p), down);
    p.members * v.parts * (of_a + of_b)
}

/// How long it takes: blocks multiplied by each invocation, as many times as the adapter has to be filled.
fn cost(caps: &Caps, p: &Product, v: &Variant) -> usize {
    let busy = busy(caps.kind);
    let invocations = v.invocations(p).max(busy);
    // Of a lone line a quarter is multiplied, and five groups are loaded instead of eight.
    let lone = if p.lone && matches!(v.body, Body::Blocks(..)) { 2 } else { 1 };
    let products = invocations * v.body.blocks() * v.part * 100 / v.body.worth(caps.kind) / lone;
    let parts = p.members * p.down * p.wide * v.parts * 4 + DISPATCH * busy;
    let read = if caps.kind == caps::Kind::Software { read(p, v) * 16 * p.elem.bytes() / BYTES } else { 0 };
    products + read + if v.parts > 1 { parts } else { 0 }
}

/// What stands in the place of `stored a` or `stored b` in `lib/gemm.wgsl` where packed halves are read in pairs of groups.
fn stored_in_pairs(x: char) -> String {
    format!(
        "alias stored_{x} = two_pairs;
fn group_{x}(at: u32) -> elem4 {{ let v = pairs_of({x}[at / 2u]); return select(v[0], v[1], at % 2u == 1u); }}
fn pair_{x}(at: u32) -> array<elem4, 2> {{ return pairs_of({x}[at / 2u]); }}"
    )
}

/// What stands in the place of `result` in `lib/gemm.wgsl` where what is fused behind it changes the type.
const CAST: &str = "\
@group(0) @binding(2) var<storage, read_write> y: array<wide4>;
fn keep(g: u32, part: u32, size: u32, v: vec4<acc>, there: vec4<bool>) {
    y[g] = pack4_wide(select(vec4<acc>(), epilogue(g, v), there));
}";

/// What a split sum puts in the place of `result` in `lib/gemm.wgsl`, and in others that keep their sums so.
pub(super) const PARTS: &str = "\
@group(0) @binding(2) var<storage, read_write> y: array<wide4>;
fn keep(g: u32, part: u32, size: u32, v: vec4<acc>, there: vec4<bool>) {
    y[part * size + g] = pack4_wide(select(vec4<acc>(), v, there));
}";

/// Appends a product whose `dispatch` has its operands and uniforms but for `part`, the last.
pub(super) fn lower(io: &Io, program: &mut Program, dispatch: Dispatch, p: &Product, y: Operand) {
    let (acc, bytes) = (dispatch.shader.acc, dispatch.bytes_read() as usize);
    let start = program.dispatches.len();
    // Sums that are rounded after each addition are the register body's affair.
    let (v, choice) = match io.precision.rounds_sums() {
        true => (in_blocks(io.caps, p), None),
        false => {
            let (v, choice) = measured(io.caps, candidates(io.caps, p, bytes, acc), product(&dispatch, p));
            (v, Some(choice))
        }
    };
    let dispatch = v.apply(dispatch, p, acc);
    let workgroups = [v.workgroups(p), v.threads];
    if v.parts == 1 {
        let narrow = y.dtype != dispatch.shader.elem;
        let dispatch = if narrow { dispatch.wide(y.dtype).splice("result", CAST) } else { dispatch };
        beside::push(io, program, dispatch.write(y).fuse("epilogue", io.chain), workgroups);
        program.dispatches[start].choice = choice;
        return;
    }
    let parts = program.scratch(Shape::from([v.parts, y.shape.stored()]), acc);
    beside::push(io, program, dispatch.wide(acc).splice("result", PARTS).write(parts), workgroups);
    program.push(sum_of_parts(io, parts, y).fuse("epilogue", io.chain));
    program.dispatches[start].choice = choice;
}

/// What is computed, by the name that measurements go by.
fn product(dispatch: &Dispatch, p: &Product) -> String {
    let Product { members, down, wide, taps, steps, there, lone, alike: _, pairs: _, elem: _ } = p;
    let Shader { name, elem, acc, .. } = &*dispatch.shader;
    let there = there.map(|there| format!("{there:?}").to_lowercase()).join(",");
    let lone = if *lone { " line" } else { "" };
    format!("{name} {elem}/{acc} {members}×{down}×{wide}×{taps}×{steps} {there}{lone}")
}

/// The candidate that was measured to be the fastest, or the cheapest.
fn measured(caps: &Caps, candidates: Vec<(Variant, usize)>, product: String) -> (Variant, Choice) {
    let names: Vec<String> = candidates.iter().map(|(v, _)| v.to_string()).collect();
    let fastest = caps.fastest.get(&product).and_then(|name| names.iter().position(|n| n == name));
    let taken = fastest.unwrap_or(0);
    (candidates[taken].0, Choice { product, variant: names[taken].clone(), candidates: names })
}

/// A variant's name in files of measurements: `64×16 in 4 parts`.
impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.body {
            Body::Blocks(b) => write!(f, "blocks {}×{}", 4 * b.rows, 4 * b.columns)?,
            Body::Tile(t) => write!(f, "tile {}×{}", 4 * t.blocks()[0], 4 * t.blocks()[1])?,
            Body::Coop(c) => write!(f, "matrices {0}×{0}", c.size)?,
            Body::Shuffle(team) => {
                let shared = if team.rows { "rows" } else { "columns" };
                write!(f, "{} {shared} shuffled among {}", 4 * team.shared, team.size)?
            }
        }
        if self.parts > 1 { write!(f, " in {} parts", self.parts) } else { Ok(()) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn choose(caps: &Caps, p: &Product, bytes: usize, acc: Dtype) -> Variant {
        candidates(caps, p, bytes, acc)[0].0
    }

    /// What an adapter says of itself: name, kind, subgroups, invocations, KiB of workgroup memory.
    type Row = (&'static str, caps::Kind, (u32, u32), u32, u32);

    const ADAPTERS: [Row; 12] = [
        ("WebGPU's default limits", caps::Kind::Integrated, (0, 0), 256, 16),
        ("Intel UHD 630 (Gen9)", caps::Kind::Integrated, (8, 32), 1024, 64),
        ("Intel Iris Xe", caps::Kind::Integrated, (8, 32), 1024, 64),
        ("AMD Renoir (GCN)", caps::Kind::Integrated, (64, 64), 1024, 64),
        ("AMD Radeon RX 580 (GCN)", caps::Kind::Discrete, (64, 64), 1024, 64),
        ("AMD Radeon RX 6800 (RDNA 2)", caps::Kind::Discrete, (32, 64), 1024, 64),
        ("Apple M1", caps::Kind::Integrated, (4, 64), 1024, 32),
        ("NVIDIA GeForce RTX 3060", caps::Kind::Discrete, (32, 32), 1024, 48),
        ("Adreno 640", caps::Kind::Integrated, (64, 128), 1024, 32),
        ("a virtual machine's GPU", caps::Kind::Virtual, (0, 0), 256, 16),
        ("llvmpipe", caps::Kind::Software, (8, 8), 1024, 32),
        ("SwiftShader", caps::Kind::Software, (4, 4), 256, 16),
    ];

    /// What all choices of variants are tested for.
    pub(in super::super) fn adapters() -> impl Iterator<Item = Caps> {
        ADAPTERS.into_iter().map(|(name, kind, subgroup, invocations, shared)| Caps {
            adapter: name.into(),
            kind,
            subgroup,
            invocations,
            workgroup_bytes: shared << 10,
            ..Caps::reference()
        })
    }

    fn matmul(m: usize, k: usize, n: usize) -> Product {
        let [down, steps, wide] = [m, k, n].map(|size| size.div_ceil(4));
        let (alike, there, lone) = (true, [There::Always; 2], m == 1);
        Product { members: 1, down, wide, taps: 1, steps, alike, there, lone, pairs: [false; 2], elem: Dtype::F32 }
    }

    /// Bytes of both operands in f32.
    fn operands(p: &Product) -> usize {
        4 * 16 * p.steps * (p.down + p.wide)
    }

    /// Rows and columns of the tile, and the parts; 0 × 0 for blocks.
    fn chosen(caps: &Caps, p: &Product) -> ([usize; 2], usize) {
        let v = choose(caps, p, operands(p), Dtype::F32);
        let tile = if let Body::Tile(t) = v.body { t.blocks().map(|n| 4 * n) } else { [0; 2] };
        (tile, v.parts)
    }

    #[test]
    fn each_adapter_gets_what_suits_it() {
        for caps in adapters() {
            let name = caps.adapter.as_str();
            let all = [matmul(4096, 4096, 4096), matmul(1, 4096, 4096), matmul(65536, 64, 16), matmul(64, 65536, 64)];
            let [large, thin, narrow, deep] = all.map(|p| chosen(&caps, &p));
            if caps.kind == caps::Kind::Software {
                assert_eq!([large, thin, narrow], [([0, 0], 1); 3], "{name}");
                // Parts whose 256 × 16 blocks fit in a core's cache.
                assert_eq!(deep, ([0, 0], 64), "{name}");
                continue;
            }
            let roomy = ["RTX", "RX", "Renoir"].iter().any(|part| name.contains(part));
            assert_eq!(large, ([if roomy { 128 } else { 64 }; 2], 1), "{name}");
            assert_eq!(thin.0, [0, 0], "{name}");
            assert_eq!(narrow, ([64, 16], 1), "{name}");
            // As many tiles of 128 invocations as keep it busy, in whole turns.
            let parts = if caps.kind == caps::Kind::Discrete { 187 } else { 32 };
            assert_eq!(deep, ([64, 64], parts), "{name}");
            // A cube of 1024 is 64 tiles of 128×128, which leave half of a large card idle.
            let cube = chosen(&caps, &matmul(1024, 1024, 1024));
            let tile = if roomy && caps.kind == caps::Kind::Integrated { 128 } else { 64 };
            assert_eq!(cube, ([tile; 2], 1), "{name}");
        }
    }

    #[test]
    fn cooperative_matrices_are_taken_where_the_adapter_has_them_for_such_operands() {
        let kinds = |list: &[(u32, Dtype, Dtype)]| -> Vec<caps::Matrices> {
            list.iter().map(|&(size, operands, sums)| caps::Matrices { size, operands, sums }).collect()
        };
        let [f16, f32] = [Dtype::F16, Dtype::F32];
        let nvidia = kinds(&[(16, f16, f32), (16, f16, f16)]);
        let apple = kinds(&[(8, f32, f32), (8, f16, f16), (8, f16, f32)]);
        let strange = kinds(&[(16, f16, f16)]);
        let (large, line) = ([512; 3], [1, 4096, 4096]);
        for (name, matrices, subgroup, elem, acc, [m, k, n], expected) in [
            ("NVIDIA", &nvidia, (32, 32), f16, f32, large, Some((16, 128))),
            ("NVIDIA, f32", &nvidia, (32, 32), f32, f32, large, None),
            ("NVIDIA, strict", &nvidia, (32, 32), f16, f16, large, None),
            ("NVIDIA, one row", &nvidia, (32, 32), f16, f32, line, None),
            ("AMD", &nvidia, (32, 64), f16, f32, large, Some((16, 256))),
            ("Apple", &apple, (4, 64), f16, f32, large, Some((8, 256))),
            ("Apple, f32", &apple, (4, 64), f32, f32, large, Some((8, 256))),
            ("sums in f16 only", &strange, (32, 32), f16, f32, large, None),
            ("subgroups of 128", &nvidia, (128, 128), f16, f32, large, None),
            ("no subgroups", &nvidia, (0, 0), f16, f32, large, None),
            ("halves packed", &nvidia, (32, 32), f16, f32, large, None),
        ] {
            let kind = caps::Kind::Integrated;
            let (matrices, store_exact) = (matrices.clone(), name != "halves packed");
            let caps = Caps { matrices, kind, subgroup, store_exact, workgroup_bytes: 32 << 10, ..Caps::reference() };
            let p = Product { elem, ..matmul(m, k, n) };
            let found = match choose(&caps, &p, operands(&p), acc).body {
                Body::Coop(c) => Some((c.size, c.threads)),
                _ => None,
            };
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn variants_stay_within_limits_and_cover_the_sum() {
        let sizes = [1, 2, 5, 17, 64, 129, 5000, 1_000_000];
        for caps in adapters() {
            for i in 0..8 * 8 * 8 {
                let [m, k, n] = [1, 8, 64].map(|place| sizes[i / place % 8]);
                let p = matmul(m, k, n);
                for acc in [Dtype::F32, Dtype::F16] {
                    let v = choose(&caps, &p, operands(&p), acc);
                    assert!(caps.kind != caps::Kind::Software || v.part <= TURNS / 4, "{m} {k} {n}: {v:?}");
                    assert!(v.parts * v.part >= p.steps && (v.parts - 1) * v.part < p.steps, "{m} {k} {n}: {v:?}");
                    if let Body::Tile(t) = v.body {
                        assert!(t.fits(&caps, acc) && t.bytes(t.deep, acc) <= 2 * SHARED, "{v:?}");
                        assert_eq!(v.part % t.deep, 0, "{v:?}");
                        let most = 4 * t.pass * t.blocks().into_iter().max().unwrap();
                        assert!(most <= 2 * t.threads(), "{v:?}");
                    }
                }
            }
        }
    }

    /// `benches/cliffs.rs` measures the same on a device.
    #[test]
    fn no_size_costs_more_than_four_times_its_rounded_up_neighbour() {
        let rounded = |size: usize| match size {
            1 => 4,
            2..64 => size.next_power_of_two(),
            _ => size.next_multiple_of(64),
        };
        let odd = [1, 3, 5, 17, 63, 65, 127, 129, 511, 513];
        let singles = odd.iter().flat_map(|&n| [[n, 256, 256], [256, n, 256], [256, 256, n], [n, 4096, 2048]]);
        // Smaller cubes leave an adapter idle, and take the same time whatever they are.
        let cubes = odd[6..].iter().map(|&n| [n; 3]);
        for caps in adapters() {
            for [m, k, n] in singles.clone().chain(cubes.clone()).chain([[100_000, 3, 10], [3, 4096, 8190]]) {
                let per_product = |[m, k, n]: [usize; 3]| {
                    let p = matmul(m, k, n);
                    candidates(&caps, &p, operands(&p), Dtype::F32)[0].1 as f64 / (m * k * n) as f64
                };
                let ratio = per_product([m, k, n]) / per_product([m, k, n].map(rounded));
                assert!(ratio <= 4.0, "{} {m} {k} {n}: {ratio}", caps.adapter);
            }
        }
    }
}
