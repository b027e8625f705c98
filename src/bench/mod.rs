//! What an adapter can do, and how much of it the kernels use: limits, kernels and training steps, measured one by one.
//!
//! [`suite`] says what is measured, [`limits`] finds the adapter's own rates, [`timing`] repeats until a median is
//! steady, [`report`] is what comes of it.

mod clocks;
pub mod kernels;
pub mod limits;
pub mod report;
pub mod steps;
pub mod suite;
pub mod timing;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{Error, Gpu, Precision, Result, bench::report::*};

pub use timing::Effort;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Two shapes a family, the two small networks at batch 16, and an end to all of it.
    pub quick: bool,
    /// The precisions; those that the adapter cannot run are reported as not run.
    pub precisions: Vec<Precision>,
}

impl Scope {
    /// Every preset, or the two that `quick` takes.
    pub fn new(quick: bool) -> Self {
        let all = Precision::PRESETS.map(|(_, p)| p).to_vec();
        Scope { quick, precisions: if quick { vec![Precision::F32, Precision::F16] } else { all } }
    }

    /// How long one entry may take.
    pub fn effort(&self) -> Effort {
        match self.quick {
            true => Effort { budget: Duration::from_millis(250), least: 3, most: 200, steady: 0.03 },
            false => Effort { budget: Duration::from_secs(2), least: 3, most: 1000, steady: 0.01 },
        }
    }

    /// When entries are no longer begun.
    fn end(&self) -> Option<Duration> {
        self.quick.then_some(Duration::from_secs(100))
    }
}

/// Where a run stands, for whoever waits.
#[derive(Debug, Clone, Copy)]
pub struct Stand<'a> {
    /// Entries done, those not run included.
    pub done: usize,
    /// All entries.
    pub all: usize,
    /// What is measured now.
    pub what: &'a str,
}

/// Something to measure: a line of the report.
enum Job {
    Kernel(suite::Kernel),
    Step(suite::Step),
}

impl Job {
    fn id(&self) -> String {
        match self {
            Job::Kernel(kernel) => kernel.id(),
            Job::Step(step) => step.id(),
        }
    }
}

/// Measures the limits, then every step, then every kernel of the scope. What goes wrong with an entry is reported as
/// the reason why it was not run; if the device is lost, all that would have followed is not run either, and
/// [`Report::lost`] says why.
///
/// # Errors
/// What goes wrong before there is anything to report: with the limits.
pub fn run(gpu: &Gpu, scope: &Scope, watch: &mut dyn FnMut(Stand)) -> Result<Report> {
    let started = Instant::now();
    let everything = jobs(false);
    let in_scope: BTreeSet<String> = jobs(scope.quick).iter().map(Job::id).collect();
    let all = 1 + in_scope.len() * scope.precisions.len();
    watch(Stand { done: 0, all, what: "limits of the adapter" });
    let clocks = clocks::read();
    let limits = limits::measure(gpu, scope)?;
    let mut report = Report::empty(gpu, scope, limits);
    let pairs = everything.iter().flat_map(|job| scope.precisions.iter().map(move |p| (job, *p)));
    let mut done = 1;
    for (job, precision) in pairs {
        let id = job.id();
        if in_scope.contains(&id) {
            watch(Stand { done, all, what: &id });
            done += 1;
        }
        let late = scope.end().is_some_and(|end| started.elapsed() > end);
        let measured = match in_scope.contains(&id) {
            false => Err(Refusal::Quick),
            true if report.lost.is_some() => Err(Refusal::Lost),
            true if late => Err(Refusal::Late),
            true => entry(gpu, job, precision, scope.effort(), &report.limits),
        };
        match measured {
            Ok(entry) if matches!(job, Job::Kernel(_)) => report.kernels.push(entry),
            Ok(entry) => report.steps.push(entry),
            Err(why) => {
                if matches!(why, Refusal::Error(_))
                    && let Err(lost) = gpu.wait()
                {
                    report.lost = Some(format!("{}, in {id} in {precision}", line(&lost)));
                }
                report.not_run.push(NotRun { id, precision: precision.to_string(), reason: line(&why) });
            }
        }
    }
    report.clocks = clocks::since(clocks);
    report.seconds = started.elapsed().as_secs_f64();
    watch(Stand { done: all, all, what: "done" });
    Ok(report)
}

/// What an error says, which wgpu writes in several, in one line.
fn line(error: &impl ToString) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a run measures, in order: steps first, since a slow adapter may have no time for all kernels.
fn jobs(quick: bool) -> Vec<Job> {
    let steps = suite::steps(quick).into_iter().map(Job::Step);
    steps.chain(suite::kernels(quick).into_iter().map(Job::Kernel)).collect()
}

/// Why an entry is not in the report.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("not in a quick run")]
    Quick,
    #[error("its result is not finite, and that of f64 is")]
    NotFinite,
    #[error("the time for this run was over")]
    Late,
    #[error("the device was lost before")]
    Lost,
    #[error("{0}")]
    Error(#[from] Error),
}

fn entry(gpu: &Gpu, job: &Job, precision: Precision, effort: Effort, limits: &Limits) -> Result<Entry, Refusal> {
    gpu.caps().supports(precision)?;
    let measured = match job {
        Job::Kernel(kernel) => kernels::measure(gpu, kernel, precision, effort),
        Job::Step(step) => steps::measure(gpu, step, precision, effort),
    }?;
    if measured.error.is_some_and(|e| !e.is_finite()) {
        return Err(Refusal::NotFinite);
    }
    Ok(measured.entry(job.id(), precision, gpu, limits))
}
