//! `halfgrad shaders`: every shader variant, checked for every vendor's compiler or written out; needs no GPU.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    thread,
};

use anyhow::Context;
use clap::ValueEnum;
use comfy_table::{CellAlignment, Row, Table};
use halfgrad::{
    Caps, Dtype, Error, file,
    variants::{self, Needs, Variant},
};

use super::translate::{self, Target};
use crate::ShadersArgs;

/// Checks the variants, or writes them out.
pub fn run(args: &ShadersArgs) -> anyhow::Result<()> {
    let variants = if args.heavy { variants::heavy()? } else { variants::all()? };
    if let Some(sources) = &args.sources {
        reached(sources, &variants)?;
    }
    match (args.target, &args.out) {
        (Some(target), Some(out)) => write(&variants, target, out, args.heavy),
        _ => check(&variants),
    }
}

/// Fails if a file is in no variant, or was not compiled in.
fn reached(sources: &Path, variants: &[Variant]) -> anyhow::Result<()> {
    let known: BTreeSet<&str> = variants.iter().flat_map(|v| v.wgsl.files()).collect();
    let mut todo = vec![sources.to_owned()];
    while let Some(folder) = todo.pop() {
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for path in entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>()? {
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "wgsl") && !known.contains(stem) {
                anyhow::bail!("{}: no op, network or optimizer uses it, so nothing of it was checked", path.display());
            }
        }
    }
    Ok(())
}

/// What is known of the variants of a file that were looked at.
#[derive(Default)]
struct Seen {
    variants: usize,
    workgroup_bytes: u32,
    invocations: u32,
    storage_buffers: u32,
    /// Variants that need more than WebGPU's default limits, and are made only for adapters that have it.
    large: usize,
    wrong: usize,
}

fn check(variants: &[Variant]) -> anyhow::Result<()> {
    let judge = translate::has_spirv_val();
    let workers = thread::available_parallelism().map_or(1, Into::into);
    let found: Vec<(&str, Result<Needs, Error>)> = thread::scope(|scope| {
        let share = variants.chunks(variants.len().div_ceil(workers).max(1));
        let tried =
            share.map(|part| scope.spawn(move || part.iter().map(|v| (v.shader(), examine(v, judge))).collect()));
        let tried: Vec<thread::ScopedJoinHandle<Vec<_>>> = tried.collect();
        tried.into_iter().flat_map(|worker| worker.join().expect("no worker panics")).collect()
    });
    let mut files: BTreeMap<&str, Seen> = BTreeMap::new();
    let mut errors = vec![];
    for (variant, (name, result)) in variants.iter().zip(found) {
        let seen = files.entry(name).or_default();
        seen.variants += 1;
        match result {
            Ok(needs) => {
                seen.large += usize::from(needs.lacking(&variant.dispatch, &Caps::reference()).is_some());
                seen.workgroup_bytes = seen.workgroup_bytes.max(needs.workgroup_bytes);
                seen.invocations = seen.invocations.max(needs.invocations());
                seen.storage_buffers = seen.storage_buffers.max(needs.storage_buffers);
            }
            Err(e) => {
                // Of each file the first error; what is wrong with one variant is often wrong with all.
                if seen.wrong == 0 {
                    errors.push(e);
                }
                seen.wrong += 1;
            }
        }
    }
    super::print(&table(&files, judge))?;
    let last = errors.pop();
    errors.iter().for_each(|e| super::note(&format!("error: {e}")));
    last.map_or(Ok(()), |e| Err(e.into()))
}

/// Parses, validates and translates a variant to every target.
fn examine(variant: &Variant, judge: bool) -> Result<Needs, Error> {
    let wrong = |detail| Error::Shader { shader: variant.shader().into(), detail };
    let (module, info, needs) = variant.check().map_err(|e| match e {
        Error::Shader { detail, .. } => wrong(format!("{}: {detail}", variant.title())),
        other => other,
    })?;
    let able = |target: &&Target| **target != Target::Hlsl || !variant.is_cooperative();
    for target in Target::value_variants().iter().filter(able) {
        let translated = target.translate(variant, &module, &info);
        let judged = translated.and_then(|t| match target {
            Target::Spirv if judge => translate::spirv_val(&t, variant),
            _ => Ok(()),
        });
        judged.map_err(|e| wrong(format!("{}, as {}: {e}", variant.title(), target.name())))?;
    }
    Ok(needs)
}

fn table(files: &BTreeMap<&str, Seen>, judge: bool) -> String {
    let mut table = Table::new();
    table.load_style(super::TABLE).set_header(HEADER);
    for (name, s) in files {
        let fine = if s.wrong == 0 { "all".to_owned() } else { format!("{} fail", s.wrong) };
        let numbers = [s.variants, s.large].map(|n| n.to_string());
        let needs = [s.workgroup_bytes, s.invocations, s.storage_buffers].map(|n| n.to_string());
        table.add_row(Row::from([vec![(*name).to_owned()], numbers.to_vec(), needs.to_vec(), vec![fine]].concat()));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let total: usize = files.values().map(|s| s.variants).sum();
    let judged = match judge {
        true => "SPIR-V passed spirv-val",
        false => "spirv-val is not installed (Debian: spirv-tools), so SPIR-V was only written",
    };
    format!(
        "{}\n{total} variants of {} files; targets: WGSL, SPIR-V, MSL, HLSL of shader model 6.2; {judged}.\n",
        table.trim_fmt(),
        files.len()
    )
}

const HEADER: [&str; 7] = [
    "shader",
    "variants",
    "above default\nlimits",
    "workgroup\nbytes",
    "invo-\ncations",
    "storage\nbuffers",
    "targets\nfine",
];

/// Writes each variant to a file that is named after its shader, precision and number.
fn write(variants: &[Variant], target: Target, out: &Path, heavy: bool) -> anyhow::Result<()> {
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for variant in variants {
        let (module, info, _) = variant.check()?;
        let text = target.translate(variant, &module, &info);
        let text =
            text.map_err(|e| anyhow::anyhow!("{} {}, as {}: {e}", variant.shader(), variant.title(), target.name()))?;
        let number = numbers.entry(variant.shader()).or_default();
        *number += 1;
        let how =
            if variant.adapter.caps.shader_f16 || variant.precision.storage == Dtype::F32 { "" } else { " packed" };
        let stem = match heavy {
            true => format!("{} {}{how}", variants::form(&variant.dispatch), variant.precision).replace(' ', "-"),
            false => format!("{}-{number:03}-{}", variant.shader(), variant.precision),
        };
        // A precision's name may have a stroke: dynamic=1024/2/0.5/2000.
        let name = format!("{stem}.{}", target.ending()).replace('/', "-");
        file::write_atomically(out.join(name), |f| f.write_all(&text))?;
    }
    super::print(&format!("{} files in {}\n", variants.len(), out.display()))
}
