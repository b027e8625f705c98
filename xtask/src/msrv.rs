//! Is the oldest Rust that Cargo.toml promises new enough for every dependency?

use crate::{Stop, cargo, root};

/// Dependencies differ by platform: the promise is made for these.
const TARGETS: [&str; 3] = ["x86_64-unknown-linux-gnu", "x86_64-pc-windows-msvc", "aarch64-apple-darwin"];

pub fn check() -> Result<(), Stop> {
    let mut cargo = cargo();
    cargo.args(["metadata", "--format-version=1", "--all-features", "--quiet"]);
    cargo.args(TARGETS.map(|target| format!("--filter-platform={target}")));
    let output = cargo.output().map_err(|e| Stop::new(1, format!("cargo metadata: {e}")))?;
    if !output.status.success() {
        return Err(Stop::new(1, String::from_utf8_lossy(&output.stderr)));
    }
    let metadata = String::from_utf8_lossy(&output.stdout);
    let said = judge(&metadata, &root().join("Cargo.toml").to_string_lossy()).map_err(|why| Stop::new(1, why))?;
    println!("{said}");
    Ok(())
}

fn judge(metadata: &str, own_manifest: &str) -> Result<String, String> {
    let (own, dependencies): (Vec<_>, Vec<_>) =
        packages(metadata).partition(|(manifest, _)| manifest.replace(r"\\", r"\") == own_manifest);
    let &[(_, promise)] = own.as_slice() else { return Err(format!("{own_manifest} states no rust-version")) };
    let newer: Vec<_> = dependencies.iter().filter(|(_, needs)| numbers(needs) > numbers(promise)).collect();
    if newer.is_empty() {
        return Ok(format!("rust-version {promise} covers the {} packages that state one", dependencies.len()));
    }
    let mut why = format!("rust-version {promise} is too old for:");
    for (manifest, needs) in newer {
        why += &format!("\n  {needs} {manifest}");
    }
    Err(why)
}

/// Manifest and `rust_version` of each package that states one. In cargo's JSON a package says both once, in this
/// order, and quotes inside strings are escaped, so that no text can look like a key.
fn packages(metadata: &str) -> impl Iterator<Item = (&str, &str)> {
    metadata.split(r#""manifest_path":""#).skip(1).filter_map(|package| {
        let (manifest, rest) = package.split_once('"')?;
        let (version, _) = rest.split_once(r#""rust_version":""#)?.1.split_once('"')?;
        Some((manifest, version))
    })
}

/// "1.88" or "1.88.0" to three numbers that compare.
fn numbers(version: &str) -> [u32; 3] {
    let mut parts = version.split('.').map(|n| n.parse().unwrap_or(0));
    [(); 3].map(|()| parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three packages as cargo prints them, the second without a rust_version.
    fn metadata(ours: &str, theirs: &str) -> String {
        [
            format!(r#"{{"packages":[{{"name":"a","manifest_path":"/a/Cargo.toml","rust_version":"{theirs}"}},"#),
            r#"{"name":"b","description":"\"rust_version\":\"9.9\"","manifest_path":"/b/Cargo.toml","rust_version":null},"#.into(),
            format!(r#"{{"name":"us","manifest_path":"/us/Cargo.toml","rust_version":"{ours}"}}]}}"#),
        ]
        .concat()
    }

    #[test]
    fn a_promise_that_covers_every_dependency_holds() {
        let said = judge(&metadata("1.88", "1.88.0"), "/us/Cargo.toml").unwrap();
        assert!(said.contains("1.88 covers the 1 "), "{said}");
    }

    #[test]
    fn a_dependency_that_needs_more_is_named() {
        let why = judge(&metadata("1.88", "1.100"), "/us/Cargo.toml").unwrap_err();
        assert!(why.contains("/a/Cargo.toml") && !why.contains("/b/"), "{why}");
    }

    #[test]
    fn no_promise_is_an_error() {
        assert!(judge(&metadata("1.88", "1.80"), "/elsewhere/Cargo.toml").is_err());
    }
}
