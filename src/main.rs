//! The tool: what is there, what a step does, the same network in several precisions side by side, and simply a model.

mod cli;

use std::{env, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use halfgrad::{
    Policy, Precision, Shape,
    data::{Augment, folder::OnBroken, text::Unit},
    format::Simulation,
    study::{MODELS, OPTIMIZERS, RATES, SCHEDULES},
};

use cli::{
    translate::Target,
    values::{self, List, Wanted},
};

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
    Train(TrainArgs),
    Predict(PredictArgs),
    Study(Box<StudyArgs>),
    Report(ReportArgs),
    Doctor(DoctorArgs),
    Plan(PlanArgs),
    Selftest(SelftestArgs),
    Bench(BenchArgs),
    Compare(CompareArgs),
    Shaders(ShadersArgs),
}

/// The device to run on.
#[derive(Debug, Args)]
struct DeviceArgs {
    /// The adapter: its index in `halfgrad devices`, or a part of its backend, name or driver.
    #[arg(long, value_name = "A")]
    adapter: Option<String>,
    /// Switches off f16 (halves are then packed in words), fusion (of elementwise ops), subgroups (whose invocations then
    /// meet in shared memory) or trust (in our shaders' loops, which then get a guard), to find what is at fault, or tune, which
    /// the environment may have switched on. As $HALFGRAD_WITHOUT.
    #[arg(long, value_name = "f16,fusion,subgroups,trust,tune")]
    without: Option<String>,
    /// Measures which variants of matrix products and convolutions are fastest here, once, for less than five seconds a network,
    /// and keeps that in a folder [default: halfgrad in the user's folder for caches]. As $HALFGRAD_TUNE.
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, require_equals = true)]
    tune: Option<Option<PathBuf>>,
    /// The most that a plan may take on the device, weights included: 512M, 2G. Where training would take more,
    /// activations are computed again in the backward pass. As $HALFGRAD_MEMORY [default: no limit].
    #[arg(long, value_name = "BYTES")]
    memory: Option<String>,
}

/// Lists every adapter: what it can do, and how it runs each precision.
#[derive(Debug, Args)]
struct DevicesArgs {
    /// Finds out instead what one adapter's 16-bit arithmetic really does: rounding, subnormals, overflow, functions.
    #[arg(long)]
    probe: bool,
    /// The adapter to probe: its index in the list, or a part of its backend, name or driver.
    #[arg(long, value_name = "A", requires = "probe")]
    adapter: Option<String>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Trains a network on images, tells loss and test accuracy after each epoch, and writes a file for `predict`.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
#[command(
    after_help = "The file is written whole after each epoch, and beside it, as model.training.safetensors, all that \
                        --resume needs. Ctrl-C ends training after the steps at hand, writes both and tests; a second \
                        one ends the program at once."
)]
#[command(mut_arg("model", |arg| arg.default_value("lenet")))]
#[command(mut_arg("optimizer", |arg| arg.default_value("adam")))]
#[command(mut_arg("batch", |arg| arg.default_value("32")))]
struct TrainArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    network: NetworkArgs,
    /// One of f32, f16, f16-strict, mixed, with layers in f32 as in f16+f32=conv1:norm*; or auto, which finds such a policy in
    /// some runs of 200 steps.
    #[arg(long, default_value = "mixed", value_name = "P")]
    precision: Wanted,
    /// How often each training sample is used.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = values::count)]
    epochs: usize,
    #[command(flatten)]
    optimizer: OptimizerArgs,
    /// The seed of weights, of the order of the samples, and of --augment.
    #[arg(long, default_value_t = 1, value_name = "S", value_parser = values::seed)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArgs,
    /// Where to write the model.
    #[arg(long, default_value = "model.safetensors", value_name = "FILE")]
    out: PathBuf,
    /// Goes on where a run was broken off, at the very step, from model.training.safetensors of that run; with the same
    /// options it ends with the same bits as a run in one go. Only --epochs, --out and the device may be others; a
    /// --schedule follows --epochs.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
}

/// Says what is on images, with the probability of each class, by a model that `train` has written.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
struct PredictArgs {
    /// PNG, JPEG, GIF, BMP or WebP, of any size.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// What `train` has written.
    #[arg(long, default_value = "model.safetensors", value_name = "FILE")]
    model_file: PathBuf,
    /// How many classes to list for each image, the most probable first.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = values::count)]
    top: usize,
    /// One of f32, f16, f16-strict, mixed [default: the one that the model was trained in].
    #[arg(long, value_name = "P")]
    precision: Option<Policy>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Trains the same network in several precisions, from the same weights on the same batches, and compares.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
struct StudyArgs {
    /// Runs an experiment by name instead, or lists them: each has networks, data and precisions of its own. Each run is kept in
    /// --out when it ends; the same command goes on where it was broken off.
    #[arg(
        long,
        value_name = "NAME",
        num_args = 0..=1,
        default_missing_value = "list",
        conflicts_with_all = OF_A_NETWORK
    )]
    experiment: Option<String>,
    /// Of an experiment: only these networks.
    #[arg(long, value_name = "LIST", requires = "experiment")]
    networks: Option<List<String>>,
    /// Of an experiment: only the first N training samples.
    #[arg(long, value_name = "N", value_parser = values::count, requires = "experiment")]
    train: Option<usize>,
    /// Of an experiment: only the first N test samples.
    #[arg(long, value_name = "N", value_parser = values::count, requires = "experiment")]
    test: Option<usize>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    network: NetworkArgs,
    /// Which of f32, f16, f16-strict, mixed, or variants as f16+nearest, f16+compensated, f16+scale=1024, f16+acc=chunk32,
    /// with layers in f32 as in f16+f32=conv1:norm*; auto finds such a policy [default: all that the adapter can run]. Comparisons
    /// need f32.
    #[arg(long, value_name = "LIST")]
    precision: Option<List<Wanted>>,
    /// How many runs in each precision, of seeds one after another [default: 3, or 1 with --init and --order, or the
    /// experiment's].
    #[arg(long, value_name = "N", value_parser = values::count)]
    seeds: Option<usize>,
    /// The first seed: of weights and of the order of the samples.
    #[arg(long, default_value_t = 1, value_name = "S", value_parser = values::seed)]
    seed: u64,
    /// How often each training sample is used [default: 30, or as --steps, --order or --experiment say].
    #[arg(long, value_name = "N", value_parser = values::count)]
    epochs: Option<usize>,
    /// Ends each run after so many steps.
    #[arg(long, value_name = "N", value_parser = values::count)]
    steps: Option<usize>,
    #[command(flatten)]
    optimizer: OptimizerArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Rounds what is stored to formats that no adapter need have: weights=e4m3+stochastic,activations=e5m2,gradients=e5m2,
    /// or a part of that; bf16 and eXmY, X from 2 to 8, Y from 1 to 23.
    #[arg(long, value_name = "LIST")]
    simulate: Option<Simulation>,
    /// Measures the largest eigenvalue of the loss's Hessian at the end of each run, and with N after each N steps.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "4294967295", value_parser = values::count)]
    sharpness: Option<usize>,
    /// The first weights, instead of seeded ones: fc1.weight [in, out], fc1.bias [out], fc2.weight …
    #[arg(long, value_name = "FILE.safetensors")]
    init: Option<PathBuf>,
    /// Indices of training samples, one axis of integers: the whole run, batch by batch, instead of a seeded order.
    #[arg(long, value_name = "FILE.npy")]
    order: Option<PathBuf>,
    /// Also writes the weights after each N steps.
    #[arg(long, value_name = "N", value_parser = values::count, requires = "out")]
    save_every: Option<usize>,
    /// Where to write study.json and the weights; of an experiment, its runs [default: halfgrad-NAME].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What an experiment has its own of.
const OF_A_NETWORK: [&str; 19] = [
    "model",
    "hidden",
    "batch",
    "optimizer",
    "lr",
    "momentum",
    "weight_decay",
    "epsilon",
    "form",
    "schedule",
    "warm_up",
    "clip_norm",
    "average",
    "accumulate",
    "init",
    "order",
    "simulate",
    "sharpness",
    "save_every",
];

/// Makes a page of an experiment's folder, and pictures of its plots; also of one that is not done yet.
#[derive(Debug, Args)]
struct ReportArgs {
    /// What `study --experiment` has written.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Where to write the page [default: report.html in the folder].
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
}

/// Says what 16 bit would do to a network on this adapter, layer by layer, and which setting cures it.
///
/// It trains the network for some steps in f32, with all tensors looked at, and on the same batches in 16 bit and mixed; and it
/// ends with a precision for each layer, that --precision takes.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
struct DoctorArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    optimizer: OptimizerArgs,
    /// How many steps each run takes.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = values::count)]
    steps: usize,
    /// The seed of weights and of the order of the samples.
    #[arg(long, default_value_t = 1, value_name = "S", value_parser = values::seed)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArgs,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the dispatches of a training step, for an adapter of WebGPU's default limits; needs no GPU. Or times them on this machine's.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
struct PlanArgs {
    #[command(flatten)]
    network: NetworkArgs,
    /// One of f32, f16, f16-strict, mixed, with layers in f32 as in f16+f32=conv1:norm*.
    #[arg(long, default_value = "f32", value_name = "P")]
    precision: Policy,
    /// The shape of a sample, for models that read images: all but gpt [default: 28,28,1].
    #[arg(long, value_name = "H,W,C", value_parser = values::shape)]
    input: Option<Shape>,
    /// The number of classes, or of kinds of tokens [default: 10, or 256 for gpt].
    #[arg(long, value_name = "N", value_parser = values::count)]
    classes: Option<usize>,
    /// The length of a sequence, for models that read one: gpt [default: 128].
    #[arg(long, value_name = "N", value_parser = values::count)]
    seq: Option<usize>,
    #[command(flatten)]
    optimizer: OptimizerArgs,
    /// The bytes that it may take: 512M, 2G. Where it takes more, activations are computed again in the backward pass.
    #[arg(long, value_name = "BYTES")]
    memory: Option<String>,
    /// Lists every dispatch of a deep network, and not its blocks or the slowest.
    #[arg(long)]
    all: bool,
    /// Runs so many steps on this machine's adapter, 10 if none are told, and says what each dispatch takes by its clock.
    #[arg(long, value_name = "STEPS", num_args = 0..=1, require_equals = true, default_missing_value = "10",
          value_parser = values::count, conflicts_with = "json")]
    profile: Option<usize>,
    /// The adapter of --profile: its index in `halfgrad devices`, or a part of its backend, name or driver.
    #[arg(long, value_name = "A", requires = "profile")]
    adapter: Option<String>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Holds every kernel, forward and gradient, in every precision, against f64 on this machine's adapter.
///
/// The report is made to be pasted in an issue. The exit code is 1 if a kernel is wrong.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
struct SelftestArgs {
    #[command(flatten)]
    device: DeviceArgs,
    /// Compiles each kernel once in each precision, and tries what that can run.
    #[arg(long)]
    quick: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Measures what an adapter can do, and how much of it kernels and training steps use.
#[derive(Debug, Args)]
struct BenchArgs {
    #[command(flatten)]
    device: DeviceArgs,
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

/// Checks every shader for every vendor's compiler, or writes them out; needs no GPU.
///
/// The shaders are those of every op, network and optimizer in every precision, for adapters with and without f16 and
/// with small and large limits. Each must be valid WGSL, translate to SPIR-V, MSL and HLSL, and need no more than the
/// adapter that it is made for offers.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
struct ShadersArgs {
    /// Writes them in this language, and checks nothing else.
    #[arg(long, value_name = "T", requires = "out")]
    target: Option<Target>,
    /// The directory to write them to.
    #[arg(long, value_name = "DIR", requires = "target")]
    out: Option<PathBuf>,
    /// Only, of each kernel that takes time in networks, the variant that does most work, for a GPU with large limits.
    #[arg(long)]
    heavy: bool,
    /// Fails if a .wgsl file in this directory is part of no shader.
    #[arg(long, value_name = "DIR", conflicts_with = "heavy")]
    sources: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct DataArgs {
    /// digits (in the program), fashion-mnist (as Debian's package or $HALFGRAD_DATA has it), or a folder: of images, with
    /// a sub-folder for each class; of CIFAR-10 or CIFAR-100, binary version, also as .tar.gz; of the four IDX files of
    /// an MNIST. For gpt a text in UTF-8.
    /// [default: digits]
    #[arg(long, value_name = "digits|fashion-mnist|DIR|FILE.txt")]
    data: Option<String>,
    /// Of a text: what gpt reads it by, characters or bytes [default: characters].
    #[arg(long, value_name = "U", value_parser = values::unit)]
    tokens: Option<Unit>,
    /// Of a text: the length of a sequence of tokens [default: 128].
    #[arg(long, value_name = "N", value_parser = values::count)]
    seq: Option<usize>,
    /// Of a folder of images: the size to which each is stretched [default: 32].
    #[arg(long, value_name = "N|HxW", value_parser = values::size)]
    size: Option<[usize; 2]>,
    /// Of a folder of images: one channel and not three.
    #[arg(long)]
    grey: bool,
    /// Of a folder of images: the share of each class that is for testing [default: 0.2].
    #[arg(long, value_name = "X", value_parser = values::fraction, allow_negative_numbers = true)]
    test_share: Option<f32>,
    /// Of a folder of images: the seed that chooses those for testing [default: 0].
    #[arg(long, value_name = "S", value_parser = values::seed)]
    split_seed: Option<u64>,
    /// Of a folder of images: whether a broken file stops all or is named and skipped [default: stop].
    #[arg(long, value_name = "stop|skip", value_parser = values::on_broken)]
    on_broken: Option<OnBroken>,
    /// Changes training samples at random: flip mirrors, crop=N moves by up to N pixels, erase=N clears N×N pixels.
    #[arg(long, value_name = "flip,crop=N,erase=N", value_parser = values::augment)]
    augment: Option<Augment>,
}

#[derive(Debug, Args)]
struct NetworkArgs {
    /// The network.
    #[arg(long, default_value = "mlp", value_name = "M", value_parser = values::one_of(&MODELS))]
    model: String,
    /// Widths of the hidden layers of mlp [default: 128, or 512,512 for samples of 28×28 and more].
    #[arg(long, value_name = "LIST")]
    hidden: Option<List<values::Width>>,
    /// Samples in a batch.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = values::count)]
    batch: usize,
}

#[derive(Debug, Args)]
struct OptimizerArgs {
    /// The optimizer.
    #[arg(long, default_value = "sgd", value_name = "O", value_parser = values::one_of(&OPTIMIZERS))]
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
    #[arg(long, default_value = "constant", value_name = "S", value_parser = values::one_of(&SCHEDULES))]
    schedule: String,
    /// Updates over which the learning rate warms up to its first value.
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u32).range(..=RATES as i64))]
    warm_up: u32,
    /// Clips the norm of all gradients together to this.
    #[arg(long, value_name = "X", value_parser = values::positive, allow_negative_numbers = true)]
    clip_norm: Option<f32>,
    /// Evaluates an exponential moving average of the weights, with this decay: 0.999.
    #[arg(long, value_name = "X", value_parser = values::fraction, allow_negative_numbers = true)]
    average: Option<f32>,
    /// Accumulates the gradients of so many batches for each update: their mean.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    accumulate: u32,
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
            Command::Train(args) => cli::train::run(&args),
            Command::Predict(args) => cli::predict::run(&args),
            Command::Study(args) => cli::study::run(&args),
            Command::Report(args) => cli::report::run(&args),
            Command::Doctor(args) => cli::doctor::run(&args),
            Command::Plan(args) => cli::plan::run(&args),
            Command::Selftest(args) => cli::selftest::run(&args),
            Command::Bench(args) => cli::bench::run(&args),
            Command::Compare(args) => cli::compare::run(&args),
            Command::Shaders(args) => cli::shaders::run(&args),
        },
        Err(e) => cli::usage(&e),
    };
    cli::end(done)
}
