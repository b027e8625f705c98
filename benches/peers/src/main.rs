//! halfgrad beside Burn and meganeura: the same shapes on the same adapter, each in a process of its own.
//!
//! `cargo run --release -- [part of a task's name] [library,library] [folder]`
//!
//! For each task, first every library once with an empty shader cache, then all of them in turns with a warm one. Burn tunes
//! itself before its first results, and may take minutes; what it found it keeps beside the shader cache. A folder keeps the
//! caches of all for the next run, whose first column is then of warm ones as well.

mod by_burn;
mod by_halfgrad;
mod by_meganeura;

use std::{
    env,
    fmt::Write,
    fs,
    path::Path,
    process::{Command, exit},
    thread,
    time::{Duration, Instant},
};

/// The work.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Task {
    /// `[n, n] · [n, n]`
    Matmul(usize),
    /// Softmax along rows of `[4096, 1024]`.
    Softmax,
    /// Layer norm of rows of `[4096, 1024]`.
    LayerNorm,
    /// An update of ten million weights by Adam; their gradients lie ready.
    Adam,
    /// 3×3, `[32, 16, 16, 64] → [32, 16, 16, 64]`
    Convolution,
    /// A training step of 784-512-512-10 on 128 samples; by Adam instead of SGD.
    Mlp { adam: bool },
    /// A training step: 3×3 to 32 channels, pool, 3×3 to 64, pool, 128, 10; 64 samples of 28 × 28.
    Cnn,
    /// A training step of ResNet-20 on 32 samples of 32 × 32 × 3.
    ResNet20,
}

const TASKS: [(&str, Task); 10] = [
    ("matmul-512", Task::Matmul(512)),
    ("matmul-1024", Task::Matmul(1024)),
    ("softmax-4096x1024", Task::Softmax),
    ("layer-norm-4096x1024", Task::LayerNorm),
    ("adam-10M", Task::Adam),
    ("conv-3x3-32x16x16x64", Task::Convolution),
    ("mlp-sgd", Task::Mlp { adam: false }),
    ("mlp-adam", Task::Mlp { adam: true }),
    ("cnn-sgd", Task::Cnn),
    ("resnet20-sgd", Task::ResNet20),
];

const LIBRARIES: [(&str, fn(Task) -> Option<Run>); 5] = [
    ("f32", |task| by_halfgrad::prepare(task, halfgrad::Precision::F32)),
    ("f16", |task| by_halfgrad::prepare(task, halfgrad::Precision::F16)),
    ("mixed", |task| by_halfgrad::prepare(task, halfgrad::Precision::MIXED)),
    ("burn", by_burn::prepare),
    ("meganeura", by_meganeura::prepare),
];

/// Does the work once and waits for it; tells the seconds where they are not those of the call.
type Run = Box<dyn FnMut() -> Option<f64>>;

/// Which of both a process is to do.
const PLACE: &str = "PEERS_PLACE";
/// Turns with a warm cache.
const TURNS: usize = 3;
/// After which a process gives up.
const LIMIT: Duration = Duration::from_secs(20 * 60);
/// What a process repeats its work for.
const TIME: Duration = Duration::from_secs(2);
const MOST: usize = 200;

fn main() {
    let start = Instant::now();
    if let Ok(place) = env::var(PLACE) {
        let (task, library) = place.split_once(' ').expect("a task and a library");
        return measure(start, TASKS[place_of(task)].1, LIBRARIES[place_of(library)].1);
    }
    let mut arguments = env::args().skip(1);
    let (filter, libraries, kept) = (arguments.next().unwrap_or_default(), arguments.next(), arguments.next());
    let chosen = |name: &str| libraries.as_ref().is_none_or(|of| of.split(',').any(|l| l == name));
    let chosen: Vec<usize> = (0..LIBRARIES.len()).filter(|&l| chosen(LIBRARIES[l].0)).collect();
    println!("{:<22} {:<10} {:>9} {:>9} {:>11}  of the better peer", "task", "", "cold, s", "warm, s", "then, ms");
    for (t, (name, _)) in TASKS.iter().enumerate().filter(|(_, (name, _))| name.contains(&filter)) {
        let folder = tempfile::tempdir().expect("a folder for caches");
        let caches = kept.as_ref().map_or(folder.path(), Path::new);
        print!("{}", compare(t, name, &chosen, caches));
    }
}

fn place_of(text: &str) -> usize {
    text.parse().expect("a place in a table")
}

/// Prints the seconds from the start to the first result, and then the milliseconds of each repetition.
fn measure(start: Instant, task: Task, library: fn(Task) -> Option<Run>) {
    thread::spawn(|| {
        thread::sleep(LIMIT);
        exit(1);
    });
    let Some(mut run) = library(task) else { return };
    run();
    println!("{}", start.elapsed().as_secs_f64());
    let repeating = Instant::now();
    let mut times = vec![];
    while times.len() < 3 || repeating.elapsed() < TIME && times.len() < MOST {
        let start = Instant::now();
        let seconds = run().unwrap_or_else(|| start.elapsed().as_secs_f64());
        times.push(1e3 * seconds);
    }
    println!("{}", median(times));
}

/// What one process measured: seconds to its first result, milliseconds of a repetition.
type Measured = (f64, f64);

/// One task by several libraries: a line each.
fn compare(task: usize, name: &str, libraries: &[usize], caches: &Path) -> String {
    let one = |&library: &usize| process(task, library, &caches.join(format!("{name} {}", LIBRARIES[library].0)));
    let turn = || libraries.iter().map(one).collect::<Vec<_>>();
    let cold = turn();
    let warm: Vec<_> = (0..TURNS).map(|_| turn()).collect();
    let of = |i: usize, part: fn(Measured) -> f64| {
        let found: Vec<f64> = warm.iter().filter_map(|turn| turn[i]).map(part).collect();
        (!found.is_empty()).then(|| median(found))
    };
    let then: Vec<Option<f64>> = (0..libraries.len()).map(|i| of(i, |m| m.1)).collect();
    let is_peer = |i: &usize| ["burn", "meganeura"].contains(&LIBRARIES[libraries[*i]].0);
    let better = (0..libraries.len()).filter(is_peer).filter_map(|i| then[i]).min_by(f64::total_cmp);
    let mut text = String::new();
    for (i, &library) in libraries.iter().enumerate() {
        let library = LIBRARIES[library].0;
        let line = match (cold[i], of(i, |m| m.0), then[i]) {
            (Some((cold, _)), Some(warm), Some(then)) => {
                let share = better.map(|better| format!("{:>8.3}", then / better)).unwrap_or_default();
                format!("{name:<22} {library:<10} {cold:>9.2} {warm:>9.2} {then:>11.2}  {share}")
            }
            _ => format!("{name:<22} {library:<10} cannot"),
        };
        writeln!(text, "{line}").expect("text grows");
    }
    text
}

/// Runs a task in a process whose caches are in `folder`.
fn process(task: usize, library: usize, folder: &Path) -> Option<Measured> {
    fs::create_dir_all(folder).expect("a folder for caches");
    let mut command = Command::new(env::current_exe().expect("this program"));
    // Mesa's variable, NVIDIA's, and what others and Burn derive theirs from.
    for variable in ["MESA_SHADER_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH", "XDG_CACHE_HOME"] {
        command.env(variable, folder);
    }
    let output =
        command.current_dir(folder).env(PLACE, format!("{task} {library}")).output().expect("this program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    // Libraries may print as well; ours are the last two lines.
    let mut lines = text.lines().rev().map_while(|line| line.parse().ok());
    let (then, first) = (lines.next(), lines.next());
    if first.is_none() && !output.stderr.is_empty() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr).lines().take(8).collect::<Vec<_>>().join("\n"));
    }
    Some((first?, then?))
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// Numbers in −1 … 1 that repeat after a prime count.
fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 7919 % 4099) as f32 / 2049.5 - 1.0).collect()
}
