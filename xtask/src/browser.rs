//! The page of `examples/browser`: built, bound to JavaScript, and served; or looked at by a Chromium without a window.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use wasm_bindgen_cli_support::Bindgen;

use crate::{Stop, cargo, root, run, target};

const TARGET: &str = "wasm32-unknown-unknown";

/// What a page may take to train in every precision on a GPU in software.
const PATIENCE: Duration = Duration::from_secs(300);

/// Of 360 digits, after eight epochs in any precision.
const LEAST_ACCURACY: f64 = 0.85;

/// Builds the page and serves it; with `--check`, until a Chromium has trained on it.
pub fn browser(args: &[String]) -> Result<(), Stop> {
    let check = match args {
        [] => false,
        [arg] if arg == "--check" => true,
        _ => return Err(Stop::new(2, "usage: cargo xtask browser [--check]")),
    };
    let folder = built()?;
    let listener =
        TcpListener::bind(("127.0.0.1", if check { 0 } else { 8080 })).map_err(failed("a port to serve on"))?;
    let address = format!("http://{}/", listener.local_addr().map_err(failed("the port"))?);
    if check {
        return judged(&report(&listener, &folder, &format!("{address}?check"))?);
    }
    println!("{address} until Ctrl-C");
    loop {
        // A browser that hangs up has changed its mind.
        let _ = listener.accept().and_then(|(stream, _)| answer(stream, &folder));
    }
}

fn failed(what: impl ToString) -> impl FnOnce(std::io::Error) -> Stop {
    move |e| Stop::new(1, format!("{}: {e}", what.to_string()))
}

/// The folder with the page and what it loads.
fn built() -> Result<PathBuf, Stop> {
    let mut installed = Command::new("rustup");
    if installed.args(["target", "add", TARGET]).status().is_err() {
        println!("without rustup, {TARGET} must be there already");
    }
    run(cargo().args(["build", "--package=browser", "--target", TARGET]))?;
    let target = target();
    let folder = target.join("browser");
    let module = target.join(TARGET).join("debug/browser.wasm");
    let bound = Bindgen::new()
        .input_path(&module)
        .web(true)
        .and_then(|b| b.typescript(false).omit_default_module_path(false).generate(&folder));
    bound.map_err(|e| Stop::new(1, format!("{}: {e:#}", module.display())))?;
    fs::copy(root().join("examples/browser/index.html"), folder.join("index.html")).map_err(failed("index.html"))?;
    Ok(folder)
}

/// Answers one request; what the page posts, if that is what it was.
fn answer(stream: TcpStream, folder: &Path) -> std::io::Result<Option<String>> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(&stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.to_ascii_lowercase().strip_prefix("content-length:") {
            Some(bytes) => length = bytes.trim().parse().unwrap_or(0),
            None if line.trim().is_empty() => break,
            None => {}
        }
    }
    let mut body = String::new();
    reader.take(length).read_to_string(&mut body)?;
    let mut words = first.split_whitespace();
    let (posted, path) = (words.next() == Some("POST"), words.next().unwrap_or("/"));
    let (kind, name) = match path.split('?').next() {
        Some("/") => ("text/html", "index.html"),
        Some("/browser.js") => ("text/javascript", "browser.js"),
        Some("/browser_bg.wasm") => ("application/wasm", "browser_bg.wasm"),
        _ => ("text/plain", ""),
    };
    let (status, content) = match name {
        "" if posted => ("204 No Content", vec![]),
        "" => ("404 Not Found", vec![]),
        name => ("200 OK", fs::read(folder.join(name))?),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        content.len()
    );
    (&stream).write_all(&[head.as_bytes(), &content].concat())?;
    Ok(posted.then_some(body))
}

/// A Chromium that ends with this.
struct Chromium {
    child: Child,
    profile: PathBuf,
}

impl Chromium {
    fn open(address: &str) -> Result<Self, Stop> {
        let profile = target().join("browser-profile");
        let _ = fs::remove_dir_all(&profile);
        let named = env::var("CHROMIUM").ok();
        let names = named.as_deref().into_iter().chain(["chromium", "chromium-browser", "google-chrome"]);
        for name in names {
            let mut chromium = Command::new(name);
            chromium.args(["--headless=new", "--no-sandbox", "--no-first-run", "--disable-background-networking"]);
            chromium.args(["--disable-component-update", "--disable-sync", "--disable-quic", "--enable-unsafe-webgpu"]);
            // Software, as there is in every Chromium.
            chromium.args(["--enable-features=Vulkan", "--use-webgpu-adapter=swiftshader"]);
            chromium.arg(format!("--user-data-dir={}", profile.display())).arg(address);
            if let Ok(child) = chromium.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
                return Ok(Self { child, profile });
            }
        }
        Err(Stop::new(1, "no Chromium: install chromium, or name one in CHROMIUM"))
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}

/// What the page says of itself.
fn report(listener: &TcpListener, folder: &Path, address: &str) -> Result<String, Stop> {
    let mut chromium = Chromium::open(address)?;
    listener.set_nonblocking(true).map_err(failed("the port"))?;
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).map_err(failed("serving"))?;
                if let Ok(Some(said)) = answer(stream, folder) {
                    return Ok(said);
                }
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
        if let Ok(Some(status)) = chromium.child.try_wait() {
            return Err(Stop::new(1, format!("Chromium ended before the page had trained: {status}")));
        }
    }
    Err(Stop::new(1, format!("the page had not trained after {} s", PATIENCE.as_secs())))
}

/// Whether every precision has learned: lines of precision, way, loss and accuracy.
fn judged(said: &str) -> Result<(), Stop> {
    println!("{said}");
    let lines: Vec<Vec<&str>> = said.lines().skip(1).map(|line| line.split(' ').collect()).collect();
    let learned =
        |line: &Vec<&str>| line.last().and_then(|a| a.parse::<f64>().ok()).is_some_and(|a| a >= LEAST_ACCURACY);
    match lines.len() >= 3 && lines.iter().all(learned) {
        true => Ok(()),
        false => {
            Err(Stop::new(1, format!("not every precision tells {} % of the digits right", 100.0 * LEAST_ACCURACY)))
        }
    }
}
