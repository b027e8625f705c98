//! Composition of WGSL: one source, every precision, by text.
//!
//! In this order: types of the precision, each `#import x` once from `shaders/lib`, the file itself; then a line
//! `const NAME: u32 = …;` takes the variant's value, and what stands between `//: mark` and `//: end` is replaced.
//! Every file is ordinary WGSL once it has its types, with a working default for each constant and mark. For processors
//! the uniforms are copied into registers at last.

use std::collections::{BTreeMap, BTreeSet};

use naga::{AddressSpace, Module, StorageAccess, valid};

use crate::{
    Dtype, Error, Result,
    caps::{Caps, Kind},
    dispatch::{Access, Dispatch, Shader},
};

macro_rules! files {
    ($($stem:literal)*) => {
        &[$(($stem, include_str!(concat!("../../shaders/lib/", $stem, ".wgsl")))),*]
    };
}

/// The library that `#import` reads: stems and texts.
pub(super) static LIBRARY: &[(&str, &str)] = files![
    "accumulate" "across" "attention" "attention_gradient" "attention_row" "attention_sees" "axis" "beside"
    "chain" "clock" "combine" "conv" "coop" "coop16" "coop8" "epilogue" "exponentials" "f16" "f16_packed"
    "f32" "f32_words" "format" "gathered" "gemm" "gemm_blocks" "gemm_coop" "gemm_lines" "gemm_shuffle"
    "gemm_tile" "gemm_turn" "grid" "half" "labels" "lanes" "lanes_shared" "lanes_subgroups" "larger" "logits"
    "math" "moments" "nan" "parts" "plus" "quotient" "random" "resample" "span" "stretches" "sums" "tail" "update"
    "winner" "word32" "word64"
];

/// A composed shader: its text, and where each line came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Wgsl {
    /// The text.
    pub text: String,
    /// File stem and line number, counted from 1, of each line.
    origins: Vec<(String, usize)>,
}

impl Wgsl {
    /// The stems of the files that it was put together from.
    pub fn files(&self) -> BTreeSet<&str> {
        self.origins.iter().map(|(file, _)| file.as_str()).collect()
    }

    /// The file and the line that a line of the text came from: `matmul.wgsl:12`.
    pub fn place(&self, line: u32) -> String {
        let (file, line) = &self.origins[(line as usize - 1).min(self.origins.len() - 1)];
        format!("{file}.wgsl:{line}")
    }

    fn push(&mut self, file: &str, number: usize, line: &str) {
        let origin = (file.to_owned(), number);
        // Directives stand before all else.
        if line.starts_with("enable ") || line.starts_with("diagnostic(") {
            self.text.insert_str(0, &format!("{line}\n"));
            return self.origins.insert(0, origin);
        }
        self.text += line;
        self.text.push('\n');
        self.origins.push(origin);
    }

    fn push_all(&mut self, file: &str, text: &str) {
        text.lines().enumerate().for_each(|(i, line)| self.push(file, i + 1, line));
    }
}

/// Puts `shader` together for an adapter.
///
/// # Errors
/// [`Error::Shader`]: an import, a constant or a mark that is not there.
pub fn compose(shader: &Shader, caps: &Caps) -> Result<Wgsl> {
    let mut out = Wgsl { text: String::new(), origins: vec![] };
    let halves = caps.native_halves(shader.acc);
    let native = |d: Dtype| d == Dtype::F16 && halves;
    if [shader.elem, shader.wide, shader.acc].into_iter().any(native) {
        out.push("prelude", 1, "enable f16;");
    }
    let lowest = if shader.acc == Dtype::F16 { "-65504.0" } else { "-3.4028234e38" };
    out.push_all("prelude", &format!("alias acc = {};\nconst LOWEST: acc = {lowest};", shader.acc));
    let storage = |d: Dtype| match d {
        Dtype::F16 if halves => "f16",
        Dtype::F16 => "f16_packed",
        _ if caps.pairs_words() => "f32_words",
        _ => "f32",
    };
    let mut imported = vec![];
    if [shader.elem, shader.wide].into_iter().any(|d| storage(d) == "f16_packed") {
        let word = if caps.pairs_words() { "word64" } else { "word32" };
        include(shader, "prelude", &format!("#import {word}"), &mut imported, &mut out)?;
    }
    include(shader, storage(shader.elem), library(shader, storage(shader.elem))?, &mut imported, &mut out)?;
    if shader.wide == shader.elem {
        out.push_all(
            "prelude",
            "alias wide4 = elem4;\n\
             fn unpack4_wide(v: wide4) -> vec4<acc> { return unpack4(v); }\n\
             fn pack4_wide(v: vec4<acc>) -> wide4 { return pack4(v); }",
        );
    } else {
        let text = library(shader, storage(shader.wide))?;
        let text = text.replace("elem4", "wide4").replace("pack4(", "pack4_wide(");
        include(shader, storage(shader.wide), &text, &mut imported, &mut out)?;
    }
    include(shader, shader.name, &shader.source, &mut imported, &mut out)?;
    include(shader, "fused chain", &shader.declarations, &mut imported, &mut out)?;

    for (name, value) in &shader.constants {
        set_constant(&mut out, name, *value).ok_or_else(|| wrong(shader, format!("no line `const {name}: u32`")))?;
    }
    for (name, value) in caps.packing() {
        set_constant(&mut out, name, value.into());
    }
    for (mark, text) in &shader.splices {
        splice(&mut out, mark, text).ok_or_else(|| wrong(shader, format!("no lines `//: {mark}` to `//: end`")))?;
    }
    if !shader.merged.is_empty() {
        merge(&mut out, &shader.merged).ok_or_else(|| wrong(shader, format!("no bindings {:?}", shader.merged)))?;
    }
    // Products have better use for registers in their loops, and read few uniforms there. Browsers take what was copied for a value
    // that differs between invocations, and refuse barriers in loops that count to it.
    if caps.kind == Kind::Software && !cfg!(target_arch = "wasm32") && !imported.iter().any(|name| name == "gemm") {
        hold_uniforms(&mut out);
    }
    Ok(out)
}

/// Copies the uniforms into registers when an invocation begins. Compilers for processors load a uniform wherever it is read, and
/// in a loop or behind a branch lane by lane.
fn hold_uniforms(out: &mut Wgsl) {
    const DECLARED: &str = "var<uniform> p: Params;";
    if !out.text.contains(DECLARED) {
        return;
    }
    let mut in_main = false;
    let lines = out.text.lines().map(|line| {
        in_main |= line.starts_with("fn main(");
        if in_main && line.ends_with('{') {
            in_main = false;
            return format!("{line} p = uniforms;\n");
        }
        line.replace(DECLARED, "var<uniform> uniforms: Params; var<private> p: Params;") + "\n"
    });
    out.text = lines.collect();
}

/// The number and the name of a storage binding, if the line declares one.
fn declared(line: &str) -> Option<(usize, &str)> {
    let (number, rest) = line.strip_prefix("@group(0) @binding(")?.split_once(") var<storage, ")?;
    let (name, _) = rest.split_once("> ")?.1.split_once(':')?;
    Some((number.parse().ok()?, name))
}

/// Leaves out bindings that are the memory of others: their names become those of the others, and numbers close up.
fn merge(out: &mut Wgsl, merged: &[(usize, usize)]) -> Option<()> {
    let names: BTreeMap<usize, String> =
        out.text.lines().filter_map(declared).map(|(n, s)| (n, s.to_owned())).collect();
    let mut text = String::new();
    for line in out.text.lines() {
        let mut line = line.to_owned();
        if let Some((number, _)) = declared(&line) {
            let before = merged.iter().filter(|(from, _)| *from < number).count();
            line = match merged.iter().any(|(from, _)| *from == number) {
                true => String::new(),
                false => line.replacen(&format!("@binding({number})"), &format!("@binding({})", number - before), 1),
            };
        }
        for (from, to) in merged {
            line = indexed_as(&line, names.get(from)?, names.get(to)?);
        }
        text += &line;
        text.push('\n');
    }
    out.text = text;
    Some(())
}

/// The line with `to[` for each `from[`.
fn indexed_as(line: &str, from: &str, to: &str) -> String {
    let indexed = format!("{from}[");
    let mut parts = line.split(&indexed);
    let mut found = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let whole = !found.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.');
        found += if whole { to } else { from };
        found.push('[');
        found += part;
    }
    found
}

fn wrong(shader: &Shader, detail: String) -> Error {
    Error::Shader { shader: shader.name.into(), detail }
}

fn library(shader: &Shader, name: &str) -> Result<&'static str> {
    let found = LIBRARY.iter().find(|(n, _)| *n == name);
    found.map(|(_, text)| *text).ok_or_else(|| wrong(shader, format!("#import {name}: not in shaders/lib")))
}

/// Appends a text, each import before it and only once.
fn include(shader: &Shader, file: &str, text: &str, done: &mut Vec<String>, out: &mut Wgsl) -> Result<()> {
    for name in text.lines().filter_map(|l| l.strip_prefix("#import ")).map(str::trim) {
        if !done.iter().any(|d| d == name) {
            done.push(name.to_owned());
            include(shader, name, library(shader, name)?, done, out)?;
        }
    }
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.starts_with("#import ")) {
        out.push(file, i + 1, line);
    }
    Ok(())
}

fn set_constant(out: &mut Wgsl, name: &str, value: u32) -> Option<()> {
    let head = format!("const {name}: u32 =");
    let start = out.text.find(&head)?;
    let end = start + out.text[start..].find(';')?;
    out.text.replace_range(start..end, &format!("{head} {value}u"));
    Some(())
}

fn splice(out: &mut Wgsl, mark: &str, text: &str) -> Option<()> {
    let lines: Vec<&str> = out.text.lines().collect();
    let start = lines.iter().position(|l| l.trim() == format!("//: {mark}"))?;
    let end = start + lines[start..].iter().position(|l| l.trim() == "//: end")?;
    let mut joined = Wgsl { text: String::new(), origins: vec![] };
    for (i, line) in lines.iter().enumerate() {
        match i {
            _ if i == start => text.lines().for_each(|l| joined.push(&format!("{mark} of the fused chain"), 1, l)),
            _ if i > start && i <= end => {}
            _ => joined.push(&out.origins[i].0, out.origins[i].1, line),
        }
    }
    *out = joined;
    Some(())
}

/// Parses and validates a composed shader.
///
/// # Errors
/// [`Error::Shader`] with the compiler's words and the line in the file.
pub fn parse(shader: &Shader, wgsl: &Wgsl, caps: &Caps) -> Result<(Module, valid::ModuleInfo)> {
    let module = naga::front::wgsl::parse_str(&wgsl.text).map_err(|e| {
        let place = e.location(&wgsl.text).map(|l| wgsl.place(l.line_number)).unwrap_or_default();
        wrong(shader, format!("{place}: {}", e.message()))
    })?;
    let mut capabilities = valid::Capabilities::default();
    capabilities.set(valid::Capabilities::SHADER_FLOAT16, caps.shader_f16);
    capabilities.set(valid::Capabilities::SHADER_INT64, caps.shader_int64);
    capabilities.set(valid::Capabilities::SUBGROUP, caps.subgroup.1 > 0);
    capabilities.set(valid::Capabilities::COOPERATIVE_MATRIX, !caps.matrices.is_empty());
    capabilities |= valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let checked = valid::Validator::new(valid::ValidationFlags::all(), capabilities).validate(&module);
    let info = checked.map_err(|e| {
        let place = e.location(&wgsl.text).map(|l| wgsl.place(l.line_number)).unwrap_or_default();
        let mut detail = format!("{place}: {}", e.as_inner());
        let mut cause = std::error::Error::source(e.as_inner());
        while let Some(c) = cause {
            detail += &format!(": {c}");
            cause = c.source();
        }
        wrong(shader, detail)
    })?;
    Ok((module, info))
}

/// The storage bindings that a module declares in group 0, in order: whether each is only read.
pub fn bindings(module: &Module) -> Vec<bool> {
    let mut found: Vec<(u32, bool)> = module
        .global_variables
        .iter()
        .filter_map(|(_, v)| match (v.binding, v.space) {
            (Some(b), AddressSpace::Storage { access }) if b.group == 0 => {
                Some((b.binding, !access.contains(StorageAccess::STORE)))
            }
            _ => None,
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, read_only)| read_only).collect()
}

/// The members of the file's `struct Params`.
pub fn params(module: &Module) -> Vec<String> {
    let uniform = module
        .global_variables
        .iter()
        .find(|(_, v)| v.space == AddressSpace::Uniform && v.binding.is_some_and(|b| b.group == 1 && b.binding == 0));
    match uniform.map(|(_, v)| &module.types[v.ty].inner) {
        Some(naga::TypeInner::Struct { members, .. }) => {
            members.iter().map(|m| m.name.clone().unwrap_or_default()).collect()
        }
        _ => vec![],
    }
}

/// Fails where a dispatch and its shader disagree about bindings or uniforms.
///
/// # Errors
/// [`Error::Shader`] naming what differs.
pub fn check(dispatch: &Dispatch, module: &Module) -> Result<()> {
    let declared = bindings(module);
    let given: Vec<bool> = dispatch.bindings.iter().map(|(_, a)| *a == Access::Read).collect();
    if declared != given {
        let detail = format!(
            "bindings (read only?) are {declared:?} in the file and {given:?} in the dispatch {:?}",
            dispatch.label
        );
        return Err(wrong(&dispatch.shader, detail));
    }
    let (members, names) = (params(module), dispatch.params.iter().map(|(n, _)| *n).collect::<Vec<_>>());
    if members != names {
        let detail = format!("struct Params has {members:?}, the dispatch {:?} gives {names:?}", dispatch.label);
        return Err(wrong(&dispatch.shader, detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniforms_are_copied_where_main_begins() {
        let text =
            ["@group(1) @binding(0) var<uniform> p: Params;", "fn main(", "    lane: u32,", ") {", "    if p.n > 0u {"];
        let origin = |i| ("file".to_owned(), i);
        let mut out = Wgsl { text: text.join("\n") + "\n", origins: (1..=5).map(origin).collect() };
        hold_uniforms(&mut out);
        let lines: Vec<&str> = out.text.lines().collect();
        assert_eq!(lines[0], "@group(1) @binding(0) var<uniform> uniforms: Params; var<private> p: Params;");
        assert_eq!(lines[1..], ["fn main(", "    lane: u32,", ") { p = uniforms;", "    if p.n > 0u {"]);

        let without = Wgsl { text: "fn main() {\n".into(), origins: vec![origin(1)] };
        let mut same = without.clone();
        hold_uniforms(&mut same);
        assert_eq!(same, without);
    }
}
