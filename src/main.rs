//! The tool: what is there, what a step does, and the same network in several precisions side by side.

mod cli;

use std::{env, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use halfgrad::{Precision, Shape};

use cli::values::{self, List};

/// Train neural networks on any GPU in f32, f16, strict f16 and mixed precision.
#[derive(Debug, Parser)]
#[command(version, args_override_self = true, max_term_width = 110)]
struct Tool {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Devices(DevicesArgs),
    Study(StudyArgs),
    Plan(PlanArgs),
    Bench(BenchArgs),
    Compare(CompareArgs),
}

/// Lists every adapter: what it can do, and how it runs each precision.
#[derive(Debug, Args)]
struct DevicesArgs {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Trains the same network in several precisions, from the same weights on the same batches, and compares.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
struct StudyArgs {
    /// digits (in the program), fashion-mnist (as Debian's package or $HALFGRAD_DATA has it), or a folder of IDX files.
    #[arg(long, default_value = "digits", value_name = "digits|fashion-mnist|DIR")]
    data: String,
    #[command(flatten)]
    network: NetworkArgs,
    /// Which of f32, f16, f16-strict, mixed, or variants as f16+nearest, f16+compensated, f16+scale=1024
    /// [default: all that the adapter can run]. Comparisons need f32.
    #[arg(long, value_name = "LIST")]
    precision: Option<List<Precision>>,
    /// How many runs in each precision, of seeds one after another [default: 3, or 1 with --init and --order].
    #[arg(long, value_name = "N", value_parser = values::count)]
    seeds: Option<usize>,
    /// The first seed: of weights and of the order of the samples.
    #[arg(long, default_value_t = 1, value_name = "S", value_parser = values::seed)]
    seed: u64,
    /// How often each training sample is used [default: 30, or as --steps or --order say].
    #[arg(long, value_name = "N", value_parser = values::count)]
    epochs: Option<usize>,
    /// Ends each run after so many steps.
    #[arg(long, value_name = "N", value_parser = values::count)]
    steps: Option<usize>,
    #[command(flatten)]
    optimizer: OptimizerArgs,
    /// The adapter: its index in `halfgrad devices`, or a part of its backend, name or driver.
    #[arg(long, value_name = "A")]
    adapter: Option<String>,
    /// The first weights, instead of seeded ones: fc1.weight [in, out], fc1.bias [out], fc2.weight …
    #[arg(long, value_name = "FILE.safetensors")]
    init: Option<PathBuf>,
    /// Indices of training samples, one axis of integers: the whole run, batch by batch, instead of a seeded order.
    #[arg(long, value_name = "FILE.npy")]
    order: Option<PathBuf>,
    /// Also writes the weights after each N steps.
    #[arg(long, value_name = "N", value_parser = values::count, requires = "out")]
    save_every: Option<usize>,
    /// Where to write study.json and the weights.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints the dispatches of a training step, for an adapter of WebGPU's default limits; needs no GPU.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
struct PlanArgs {
    #[command(flatten)]
    network: NetworkArgs,
    /// One of f32, f16, f16-strict, mixed.
    #[arg(long, default_value = "f32", value_name = "P")]
    precision: Precision,
    /// The shape of a sample.
    #[arg(long, default_value = "28,28,1", value_name = "H,W,C", value_parser = values::shape)]
    input: Shape,
    /// The number of classes, or of kinds of tokens [default: 10, or 256 for gpt].
    #[arg(long, value_name = "N", value_parser = values::count)]
    classes: Option<usize>,
    /// The length of a sequence, for models that read one: gpt [default: 128].
    #[arg(long, value_name = "N", value_parser = values::count)]
    seq: Option<usize>,
    #[command(flatten)]
    optimizer: OptimizerArgs,
    /// Lists every dispatch of a deep network, and not its blocks.
    #[arg(long)]
    all: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Measures what an adapter can do, and how much of it kernels and training steps use.
#[derive(Debug, Args)]
struct BenchArgs {
    /// The adapter: its index in `halfgrad devices`, or a part of its backend, name or driver.
    #[arg(long, value_name = "A")]
    adapter: Option<String>,
    /// Which of f32, f16, f16-strict, mixed [default: all of them, or with --quick f32 and f16].
    #[arg(long, value_name = "LIST")]
    precision: Option<List<Precision>>,
    /// Two shapes of each kernel and two small networks, in less than two minutes.
    #[arg(long)]
    quick: bool,
    /// Where to write every number, for `halfgrad compare`.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Compares what `halfgrad bench` wrote on several adapters.
#[derive(Debug, Args)]
struct CompareArgs {
    /// The files that `halfgrad bench --json` wrote.
    #[arg(required = true, value_name = "FILE.json")]
    files: Vec<PathBuf>,
    /// Also writes a page with plots; it needs neither a network nor scripts.
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct NetworkArgs {
    /// The network.
    #[arg(long, default_value = "mlp", value_name = "M", value_parser = values::one_of(&halfgrad::study::MODELS))]
    model: String,
    /// Widths of the hidden layers [default: 128, or 512,512 for samples of 28×28 and more].
    #[arg(long, value_name = "LIST")]
    hidden: Option<List<values::Width>>,
    /// Samples in a batch.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = values::count)]
    batch: usize,
}

#[derive(Debug, Args)]
struct OptimizerArgs {
    /// The optimizer.
    #[arg(long, default_value = "sgd", value_name = "O", value_parser = values::one_of(&halfgrad::study::OPTIMIZERS))]
    optimizer: String,
    /// The learning rate [default: 0.05 for sgd, 0.001 for others].
    #[arg(long, value_name = "X", value_parser = values::positive, allow_negative_numbers = true)]
    lr: Option<f32>,
    /// The momentum of sgd [default: 0.9].
    #[arg(long, value_name = "X", value_parser = values::fraction, allow_negative_numbers = true)]
    momentum: Option<f32>,
    /// Weight decay: decoupled in adamw, where the default is 0.01, else added to the gradient [default: 0].
    #[arg(long, value_name = "X", value_parser = values::not_negative, allow_negative_numbers = true)]
    weight_decay: Option<f32>,
    /// What adam, adamw and rmsprop add to the root of the second moment [default: 1e-8, or 1e-4 in 16 bit].
    #[arg(long, value_name = "X", value_parser = values::not_negative, allow_negative_numbers = true)]
    epsilon: Option<f32>,
    /// How adam keeps its second moment: as a root, as in the textbook (which 16 bit breaks), or with epsilon as a floor.
    #[arg(long, default_value = "root", value_name = "F", value_parser = ["root", "textbook", "floor"])]
    form: String,
    /// How the learning rate changes over the run.
    #[arg(long, default_value = "constant", value_name = "S", value_parser = values::one_of(&halfgrad::study::SCHEDULES))]
    schedule: String,
    /// Steps in which the learning rate rises to its first value.
    #[arg(long, default_value_t = 0, value_name = "N")]
    warm_up: usize,
    /// Shortens all gradients together to this norm where it is larger.
    #[arg(long, value_name = "X", value_parser = values::positive, allow_negative_numbers = true)]
    clip_norm: Option<f32>,
    /// Tests a moving average of the weights, which keeps this part of itself at each step: 0.999.
    #[arg(long, value_name = "X", value_parser = values::fraction, allow_negative_numbers = true)]
    average: Option<f32>,
}

fn main() -> ExitCode {
    // Mesa's EGL complains on stderr where there is no session, as over ssh or in a container; we need none.
    if cfg!(target_os = "linux") && env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: nothing else runs yet.
        unsafe { env::set_var("XDG_RUNTIME_DIR", env::temp_dir()) };
    }
    let done = match Tool::try_parse() {
        Ok(tool) => match tool.command {
            Command::Devices(args) => cli::devices::run(&args),
            Command::Study(args) => cli::study::run(&args),
            Command::Plan(args) => cli::plan::run(&args),
            Command::Bench(args) => cli::bench::run(&args),
            Command::Compare(args) => cli::compare::run(&args),
        },
        Err(e) => cli::usage(&e),
    };
    cli::end(done)
}
