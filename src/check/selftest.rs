//! The self-test: every op, every optimizer, every precision, on the user's own adapter.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use super::{Fault, on_device, program_with, rules};
use crate::{Dtype, Error, Gpu, Precision, Result, dispatch::Shader, reference::Case};

/// What the self-test found.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// One row for each precision and way to run it.
    pub rows: Vec<Row>,
    /// The files in `shaders/` that ran.
    pub files: BTreeSet<&'static str>,
    /// How the device was lost, if it was: then what ran at that moment is among the faults, and nothing was tried
    /// after it.
    pub lost: Option<Error>,
    /// How long it took.
    pub seconds: f64,
}

/// What was found in one precision.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The precision.
    pub precision: Precision,
    /// `native`, or `packed`: two halves in a word.
    pub how: &'static str,
    /// How many cases and optimizers were tried.
    pub trials: usize,
    /// How many should have been, and were not because the device was lost.
    pub untried: usize,
    /// How many pipelines they needed.
    pub pipelines: usize,
    /// What was wrong, in the order of the trials.
    pub faults: Vec<Fault>,
}

impl Report {
    /// Whether everything was tried and nothing was wrong.
    pub fn passed(&self) -> bool {
        self.lost.is_none() && self.rows.iter().all(|row| row.faults.is_empty())
    }
}

/// One trial: a case of an op, or an optimizer.
#[derive(Debug, Clone, Copy)]
enum Trial {
    Case(usize),
    Rule(usize),
}

/// A row to be filled.
struct Way {
    gpu: Gpu,
    precision: Precision,
    trials: Vec<Trial>,
    pipelines: usize,
}

/// Runs the cases, which are those of [`crate::ops::cases`] if everything is to be tested, and every optimizer.
///
/// If it is to be `quick`, it compiles in each precision only as many pipelines as it takes to run each op and each shader
/// file once, and then tries all cases that need no other. `watch` is told how many trials of how many are done.
///
/// # Errors
/// [`Error::Device`] if the device is of no use before anything is tried; what is wrong with a kernel, or with the
/// device while one runs, is in the report.
pub fn selftest(gpu: &Gpu, cases: &[Case], quick: bool, watch: &(dyn Fn(usize, usize) + Sync)) -> Result<Report> {
    let started = Instant::now();
    let mut seen = BTreeSet::new();
    let ways = ways(gpu)?.into_iter().map(|(gpu, precision)| {
        let (trials, pipelines) = choose(&gpu, precision, cases, quick, &mut seen);
        Way { gpu, precision, trials, pipelines }
    });
    let ways: Vec<Way> = ways.collect();
    let todo: Vec<(usize, Trial)> =
        ways.iter().enumerate().flat_map(|(w, way)| way.trials.iter().map(move |t| (w, *t))).collect();
    let (next, done, results) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(vec![]));
    let work = || {
        // After a device is lost, everything fails: only what ran at that moment is told.
        while let (Ok(()), Some((w, trial))) = (gpu.check(), todo.get(next.fetch_add(1, Ordering::Relaxed))) {
            let way = &ways[*w];
            let tried = match trial {
                Trial::Case(i) => on_device(&way.gpu, way.precision, &cases[*i]),
                Trial::Rule(i) => rules()[*i].on_device(&way.gpu, way.precision),
            };
            results.lock().expect("no panic while it is held").push((*w, *trial, tried.err()));
            watch(done.fetch_add(1, Ordering::Relaxed) + 1, todo.len());
        }
    };
    thread::scope(|scope| {
        (0..gpu.workers()).for_each(|_| drop(scope.spawn(work)));
    });
    let lost = gpu.wait().err();
    let mut results = results.into_inner().expect("no panic while it was held");
    let rows = ways.into_iter().enumerate().map(|(w, way)| {
        let mut own: Vec<_> = results.extract_if(.., |(of, ..)| *of == w).collect();
        own.sort_by_key(|(_, trial, _)| match trial {
            Trial::Case(i) => (0, *i),
            Trial::Rule(i) => (1, *i),
        });
        Row {
            precision: way.precision,
            how: way.gpu.caps().how(way.precision),
            trials: own.len(),
            untried: way.trials.len() - own.len(),
            pipelines: way.pipelines,
            faults: own.into_iter().filter_map(|(.., fault)| Some(*fault?)).collect(),
        }
    });
    Ok(Report { rows: rows.collect(), files: seen, lost, seconds: started.elapsed().as_secs_f64() })
}

/// The precisions that the device runs, and those in 16 bit once more as adapters without `shader-f16` run them.
fn ways(gpu: &Gpu) -> Result<Vec<(Gpu, Precision)>> {
    let presets = Precision::PRESETS.map(|(_, precision)| precision);
    let able = |gpu: &Gpu| presets.into_iter().filter(|p| gpu.caps().supports(*p).is_ok()).collect::<Vec<_>>();
    let mut ways: Vec<_> = able(gpu).into_iter().map(|precision| (gpu.clone(), precision)).collect();
    if gpu.caps().native_halves(Dtype::F32) {
        let packed = pollster::block_on(gpu.without_f16())?;
        let halves = able(&packed).into_iter().filter(|p| *p != Precision::F32);
        ways.extend(halves.map(|precision| (packed.clone(), precision)));
    }
    Ok(ways)
}

/// What to try in a precision, and how many pipelines that takes; `seen` gets the files.
fn choose(
    gpu: &Gpu,
    precision: Precision,
    cases: &[Case],
    quick: bool,
    seen: &mut BTreeSet<&'static str>,
) -> (Vec<Trial>, usize) {
    let (caps, fusion) = (gpu.caps(), gpu.settings().fusion);
    // Ops do not ask who keeps master weights: they run in `mixed` as they do in `f16`.
    let cases = if precision.master { &[] } else { cases };
    let rules = rules();
    let of_cases = cases.iter().enumerate().map(|(i, case)| {
        let program = program_with(caps, fusion, precision, case);
        (Trial::Case(i), case.op.name(), program)
    });
    let of_rules = rules.iter().enumerate().map(|(i, rule)| {
        let program = rule.program(caps, fusion, precision);
        (Trial::Rule(i), rule.name, program)
    });
    let all = of_cases.chain(of_rules).map(|(trial, name, program)| {
        // What has no program says why when it is tried.
        let dispatches = program.map(|p| p.dispatches).unwrap_or_default();
        (trial, name, dispatches.into_iter().map(|d| (*d.shader).clone()).collect::<BTreeSet<Shader>>())
    });
    let all: Vec<_> = all.collect();
    let (mut known, mut pipelines) = (BTreeSet::new(), BTreeSet::new());
    for (_, name, shaders) in &all {
        let new = shaders.iter().filter(|shader| known.insert((*name, shader.name))).count();
        if new > 0 || !quick {
            pipelines.extend(shaders.clone());
        }
    }
    seen.extend(pipelines.iter().map(|shader| shader.name));
    let trials = all.into_iter().filter(|(.., shaders)| shaders.is_subset(&pipelines)).map(|(trial, ..)| trial);
    (trials.collect(), pipelines.len())
}
