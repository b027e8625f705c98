//! The chores of this repository, as `cargo xtask <task>`. Only std is used, so that a task starts in seconds; `isa` and
//! `browser` are built when they are asked for.

#[cfg(feature = "browser")]
mod browser;
mod driver;
#[cfg(feature = "isa")]
mod isa;
mod msrv;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
usage: cargo xtask <task>

  demo [ARGS]               train the digits in f32, f16, mixed and f16-strict, and compare; ARGS go to `halfgrad study`
  test [ARGS]               every test of the workspace; ARGS go to `cargo test`
  adapters NAME... [ARGS]   the device tests on each adapter in turn, chosen as HALFGRAD_ADAPTER chooses: by its index or
                            a part of its name; ARGS, from the first that begins with `-`, go to `cargo test`
  shaders                   every shader variant through naga, spirv-val and the writers of MSL and HLSL
  isa                       what AMD's compiler makes of the kernels, for chips that are not here, against xtask/isa.txt;
                            UPDATE_GOLDEN=1 accepts what it is now
  browser [--check]         examples/browser on http://localhost:8080, in WebAssembly; --check has a Chromium train on it
  driver                    make sure of a GPU driver, and nothing else (demo, test and adapters do this first)
  msrv                      is Cargo.toml's rust-version enough for every dependency?
";

/// The tool, as arguments of cargo; its own arguments follow.
const TOOL: [&str; 5] = ["run", "--package=halfgrad", "--features=cli", "--bin=halfgrad", "--"];

/// The tests that run on a device, as arguments of `cargo test`.
const DEVICE_TESTS: &[&str] = &[
    "--test=bench",
    "--test=composed",
    "--test=custom_op",
    "--test=dropout",
    "--test=embed",
    "--test=errors",
    "--test=layout",
    "--test=loss",
    "--test=norm",
    "--test=ops",
    "--test=probe",
    "--test=random_graphs",
    "--test=selftest",
    "--test=rounded",
    "--test=state",
    "--test=study",
    "--test=train",
];

/// Why a task ended early: its exit code, and what is left to say.
struct Stop {
    code: u8,
    why: String,
}

impl Stop {
    fn new(code: u8, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }
}

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let task = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let done = match task.as_str() {
        "demo" => demo(&rest),
        "test" => test(&rest),
        "adapters" => adapters(&rest),
        "shaders" => shaders(),
        "isa" => isa(&rest),
        "browser" => browser(&rest),
        "driver" => driver::ensure(),
        "msrv" => msrv::check(),
        _ => Err(Stop::new(2, USAGE)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop { code, why }) => {
            if !why.is_empty() {
                eprintln!("{}", why.trim_end());
            }
            ExitCode::from(code)
        }
    }
}

/// The study as it is by default: the digits, three seeds, thirty epochs, and each precision that the adapter can run.
fn demo(args: &[String]) -> Result<(), Stop> {
    driver::ensure()?;
    run(on_device()?.args(TOOL).arg("study").args(args))
}

fn shaders() -> Result<(), Stop> {
    driver::ensure_spirv_val()?;
    let sources = format!("--sources={}", root().join("shaders").display());
    run(cargo().args(TOOL).args(["shaders", &sources]))
}

fn isa(args: &[String]) -> Result<(), Stop> {
    #[cfg(feature = "isa")]
    return isa::check(args);
    #[cfg(not(feature = "isa"))]
    anew("isa", args)
}

fn browser(args: &[String]) -> Result<(), Stop> {
    #[cfg(feature = "browser")]
    return browser::browser(args);
    #[cfg(not(feature = "browser"))]
    anew("browser", args)
}

/// Starts itself with a feature, and the task of the same name.
#[cfg(not(all(feature = "isa", feature = "browser")))]
fn anew(feature: &str, args: &[String]) -> Result<(), Stop> {
    run(cargo().args(["run", "--quiet", "--package=xtask", "--features", feature, "--", feature]).args(args))
}

fn test(args: &[String]) -> Result<(), Stop> {
    driver::ensure()?;
    run(on_device()?.args(["test", "--workspace", "--all-features"]).args(args))
}

/// Goes on to the next adapter when one fails, and says at the end which did.
fn adapters(args: &[String]) -> Result<(), Stop> {
    let (names, args) = args.split_at(args.iter().position(|a| a.starts_with('-')).unwrap_or(args.len()));
    if names.is_empty() {
        return Err(Stop::new(2, USAGE));
    }
    driver::ensure()?;
    let mut failed = Vec::new();
    for name in names {
        println!("==> adapter {name}");
        let mut tests = on_device()?;
        driver::add_swiftshader(&mut tests);
        tests.env("HALFGRAD_ADAPTER", name);
        tests.args(["test", "--package=halfgrad", "--all-features"]).args(DEVICE_TESTS).args(args);
        if run(&mut tests).is_err() {
            failed.push(name.as_str());
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Stop::new(1, format!("failed on: {}", failed.join(", ")))) }
}

fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
}

/// Cargo, about to start something that uses the GPU.
fn on_device() -> Result<Command, Stop> {
    let mut cargo = cargo();
    driver::prepare(&mut cargo, &target().join("driver"))
        .map_err(|e| Stop::new(1, format!("no directory for the driver's cache: {e}")))?;
    Ok(cargo)
}

fn run(command: &mut Command) -> Result<(), Stop> {
    let status =
        command.status().map_err(|e| Stop::new(1, format!("{}: {e}", command.get_program().to_string_lossy())))?;
    match status.code() {
        Some(0) => Ok(()),
        code => Err(Stop::new(code.map_or(1, |c| c as u8), "")),
    }
}

/// The repository. Cargo's own word at run time comes first: one target directory may serve several worktrees.
fn root() -> PathBuf {
    let xtask = env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    Path::new(&xtask).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// The build directory: this program lies in `<target>/debug`.
fn target() -> PathBuf {
    let here = env::current_exe().ok();
    here.as_deref().and_then(|exe| exe.ancestors().nth(2)).map_or_else(|| root().join("target"), Path::to_path_buf)
}
