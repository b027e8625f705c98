//! What was found to be fastest on an adapter: measured once, kept in a file, read by the next process.
//!
//! A file belongs to one adapter with one driver and one version of the shaders. What it says of a product counts only while the
//! product's own shader is the same too. It is a cache: one that cannot be used is measured and written anew, with a warning.

use std::{
    collections::BTreeMap,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    compose,
    device::{Gpu, title},
    readback::elsewhere,
    run::Executable,
    stamps::Stamps,
};
use crate::{
    Error, Result,
    dispatch::{Dispatch, Program},
    error::Warning,
    file,
};

/// The fastest variants on an adapter, by product.
#[derive(Debug, Clone, PartialEq)]
pub struct Winners {
    path: PathBuf,
    /// The adapter and its driver.
    of: Value,
    /// The crate and its shaders.
    version: Value,
    products: BTreeMap<String, Winner>,
    /// As the file had them when it was read last.
    read: BTreeMap<String, Winner>,
}

/// What was found of one product.
#[derive(Debug, Clone, PartialEq)]
struct Winner {
    variant: String,
    /// Of the shader's file.
    hash: String,
    /// What each variant took.
    milliseconds: BTreeMap<String, f64>,
}

/// A number that changes with the text. That of another release of Rust's library may differ, and then all is measured anew.
fn hash(text: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

impl Winners {
    /// What a folder has for this adapter, nothing at first, and a warning if its file cannot be used.
    pub fn load(folder: &Path, gpu: &Gpu) -> (Self, Option<Warning>) {
        let info = gpu.info();
        let of = json!({
            "adapter": title(info),
            "device": [info.vendor, info.device],
            "driver": [info.driver, info.driver_info],
            "as": gpu.caps().kind.name(),
        });
        let version = json!({ "halfgrad": env!("CARGO_PKG_VERSION"), "shaders": hash(compose::LIBRARY) });
        let path = folder.join(format!("tune-{}.json", hash(of.to_string())));
        let mut winners = Winners { path, of, version, products: BTreeMap::new(), read: BTreeMap::new() };
        let warning = match winners.there() {
            Ok(products) => {
                winners.read.clone_from(&products);
                winners.products = products;
                None
            }
            Err(e) => {
                Some(Warning { what: e.to_string(), cure: "products are measured and the file written anew".into() })
            }
        };
        (winners, warning)
    }

    /// What the file has.
    fn there(&self) -> Result<BTreeMap<String, Winner>> {
        if !self.path.exists() {
            return Ok(BTreeMap::new());
        }
        let wrong = |detail: &str| Error::file(&self.path, detail);
        let whole: Value =
            serde_json::from_slice(&file::read(&self.path)?).map_err(|e| wrong(&format!("is no JSON: {e}")))?;
        if whole["of"] != self.of {
            return Err(wrong(&format!("was measured elsewhere, on {}", whole["of"]["adapter"])));
        }
        if whole["version"] != self.version {
            return Ok(BTreeMap::new());
        }
        let products = whole["products"].as_object().ok_or_else(|| wrong("has no \"products\""))?;
        let read = |(name, found): (&String, &Value)| {
            let text = |field: &str| found[field].as_str().map(str::to_owned);
            let times = found["ms"].as_object()?.iter();
            let milliseconds = times.map(|(v, ms)| Some((v.clone(), ms.as_f64()?))).collect::<Option<_>>()?;
            Some((name.clone(), Winner { variant: text("variant")?, hash: text("shader")?, milliseconds }))
        };
        let found: Option<BTreeMap<_, _>> = products.iter().map(read).collect();
        found.ok_or_else(|| wrong("has a product without \"variant\", \"shader\" and \"ms\""))
    }

    /// The variant that is fastest for what a dispatch computes, if it was measured with this shader and can be chosen.
    pub fn of(&self, dispatch: &Dispatch) -> Option<(&str, &str)> {
        let choice = dispatch.choice.as_ref()?;
        let (product, winner) = self.products.get_key_value(&choice.product)?;
        let valid = winner.hash == hash(&dispatch.shader.source) && choice.candidates.contains(&winner.variant);
        valid.then_some((product, &winner.variant))
    }

    /// Notes what the candidates for a dispatch took, in seconds, unless none of them can be run. The first is taken
    /// where no other is clearly faster.
    pub fn note(&mut self, dispatch: &Dispatch, seconds: &[f64]) {
        let Some(choice) = &dispatch.choice else { return };
        let timed: Vec<_> = choice.candidates.iter().zip(seconds).collect();
        let Some(&(first, usual)) = timed.first().filter(|_| seconds.iter().any(|s| s.is_finite())) else { return };
        let best = timed.iter().min_by(|a, b| a.1.total_cmp(b.1)).filter(|best| *best.1 < CLEARLY * usual);
        let winner = Winner {
            variant: best.map_or(first, |best| best.0).clone(),
            hash: hash(&dispatch.shader.source),
            milliseconds: timed
                .iter()
                .filter(|(_, s)| s.is_finite())
                .map(|(name, s)| ((*name).clone(), 1e3 * **s))
                .collect(),
        };
        self.products.insert(choice.product.clone(), winner);
    }

    /// Writes the file, all of it or nothing. What another process has written to it meanwhile stays there and counts
    /// here too, so that both run the same variants.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn save(&mut self) -> Result<()> {
        for (product, theirs) in self.there().unwrap_or_default() {
            let known = self.read.get(&product) == Some(&theirs);
            let other = |own: &Winner| own.hash != theirs.hash;
            if !known && !self.products.get(&product).is_some_and(other) {
                self.products.insert(product, theirs);
            }
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
        let product = |(name, w): (&String, &Winner)| {
            (name.clone(), json!({ "variant": w.variant, "shader": w.hash, "ms": w.milliseconds }))
        };
        let products: serde_json::Map<_, _> = self.products.iter().map(product).collect();
        let whole = json!({ "of": self.of, "version": self.version, "products": products });
        file::write_atomically(&self.path, |file| writeln!(file, "{whole:#}"))
    }
}

/// The share of the usual variant's time that another must stay below to be taken: less is noise.
const CLEARLY: f64 = 0.97;
/// How often each candidate is timed, in turns with the others; the least counts.
const ROUNDS: usize = 5;
/// The seconds that one timing takes, at least.
const LONG: f64 = 1e-3;

/// A program that is ready to be timed.
struct Candidate {
    executable: Executable,
    dispatches: usize,
    /// Runs in one timing by the host's clock.
    times: usize,
    stamps: Option<Stamps>,
    /// The least seconds so far.
    least: f64,
}

impl Candidate {
    /// Nothing of what cannot be compiled or held.
    fn new(gpu: &Gpu, program: &Program) -> Result<Option<Self>> {
        // What is timed alone owns its buffers.
        let Ok(executable) = pollster::block_on(Executable::new(gpu, program, |source| unreachable!("{source:?}")))
        else {
            gpu.check()?;
            return Ok(None);
        };
        let dispatches = program.dispatches.len();
        // Drivers do at the first run what they put off.
        run(gpu, &executable, dispatches, 1, None)?;
        let once = run(gpu, &executable, dispatches, 1, None)?;
        let times = (LONG / once.max(1e-6)).clamp(1.0, 100.0) as usize;
        let stamps = Stamps::new(gpu, 0..dispatches)?;
        Ok(Some(Candidate { executable, dispatches, times, stamps, least: f64::INFINITY }))
    }
}

/// Seconds of each of these programs, which compute the same, on zeros; infinite of those that cannot be run, or be
/// made. Nothing if `end` comes before all others are measured.
///
/// # Errors
/// [`Error::Device`] if the device is lost.
pub async fn seconds(gpu: &Gpu, programs: &[Option<Program>], end: Instant) -> Result<Option<Vec<f64>>> {
    let (gpu, programs) = (gpu.clone(), programs.to_vec());
    elsewhere(move || timed(&gpu, &programs, end)).await
}

/// As [`seconds`], which waits for the device again and again.
fn timed(gpu: &Gpu, programs: &[Option<Program>], end: Instant) -> Result<Option<Vec<f64>>> {
    let mut candidates = vec![];
    for program in programs {
        if Instant::now() >= end {
            return Ok(None);
        }
        candidates.push(match program {
            Some(program) => Candidate::new(gpu, program)?,
            None => None,
        });
    }
    let found = |candidates: &[Option<Candidate>]| {
        Ok(Some(candidates.iter().map(|c| c.as_ref().map_or(f64::INFINITY, |c| c.least)).collect()))
    };
    for round in 0..ROUNDS {
        for i in 0..candidates.len() {
            if Instant::now() >= end {
                return if round > 0 { found(&candidates) } else { Ok(None) };
            }
            if let Some(c) = &mut candidates[i] {
                c.least = c.least.min(run(gpu, &c.executable, c.dispatches, c.times, c.stamps.as_ref())?);
            }
        }
    }
    found(&candidates)
}

/// Seconds of all dispatches: of one run by the device's clock, or the mean of so many by the host's.
fn run(gpu: &Gpu, executable: &Executable, dispatches: usize, times: usize, stamps: Option<&Stamps>) -> Result<f64> {
    if let Some(stamps) = stamps {
        executable.submit(gpu, 0..dispatches, 1, Some(stamps))?;
        let seconds: f64 = stamps.read(gpu).wait()?.iter().sum();
        // A device whose clock stands still has none.
        if seconds > 0.0 {
            return Ok(seconds);
        }
    }
    let start = Instant::now();
    executable.submit(gpu, 0..dispatches, times, None)?;
    gpu.wait()?;
    Ok(start.elapsed().as_secs_f64() / times as f64)
}

/// The time in which the products of one model are measured; none is begun after it.
pub const BUDGET: Duration = Duration::from_millis(4500);
