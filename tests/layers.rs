//! Who may import whom: reads every `crate::…` path of src and holds it against one table.

use std::{collections::BTreeSet, fs, path::Path};

/// Each module and the modules of ours that it may name; a folder is one module. Order: from the ground up.
const RULES: &[(&str, &[&str])] = &[
    // The ground: names, numbers, files. Nothing above.
    ("error", &["shape"]),
    ("shape", &[]),
    ("precision", &["error"]),
    ("policy", &["error", "precision"]),
    ("format", &["error", "precision"]),
    ("random", &[]),
    ("file", &["error"]),
    ("init", &["shape", "random"]),
    ("caps", &["error", "precision"]),
    ("dispatch", &["error", "precision", "shape"]),
    ("arena", &["error", "precision", "shape", "dispatch"]),
    ("checkpoint", &["error", "precision", "shape", "file"]),
    // What a network is. These know each other.
    ("op", &[PLAIN, "op", "graph", "tensor", "reference"]),
    ("graph", &[PLAIN, "op", "tensor", "init"]),
    ("tensor", &[PLAIN, "graph"]),
    ("grad", &[PLAIN, "op", "graph", "tensor"]),
    ("reference", &[PLAIN, "op", "graph", "tensor"]),
    // What can be said with it. Ops never see the planner or a device.
    ("ops", &[PLAIN, "op", "graph", "tensor", "reference"]),
    ("nn", &[PLAIN, "graph", "tensor", "ops", "init"]),
    ("optim", &[PLAIN, "graph", "arena"]),
    ("data", &[PLAIN, "graph", "random", "file"]),
    // The planner: never a device, never a concrete op.
    ("lower", &[PLAIN, "op", "graph", "tensor", "arena", "optim"]),
    // The device: never a graph.
    ("gpu", &[PLAIN, "file"]),
    // What a user holds.
    ("weights", &[PLAIN, "graph", "gpu", "arena", "checkpoint", "file"]),
    ("plan", &[PLAIN, "op", "graph", "tensor", "lower", "gpu", "weights", "data", "optim", "checkpoint", "file"]),
    (
        "check",
        &[PLAIN, "op", "graph", "tensor", "reference", "random", "lower", "gpu", "weights", "plan", "optim", "init"],
    ),
    (
        "variants",
        &[PLAIN, "op", "graph", "tensor", "init", "ops", "optim", "lower", "gpu", "plan", "check", "study", "bench"],
    ),
];

/// The plain data that every module above the ground may use.
const PLAIN: &str = "error shape precision policy format caps dispatch";

/// Modules that may say `wgpu`.
const WGPU: &[&str] = &["gpu", "plan", "weights", "check"];

/// Where the names that lib.rs re-exports live.
const EXPORTS: &[(&str, &str)] = &[
    ("Caps", "caps"),
    ("Error", "error"),
    ("Result", "error"),
    ("Gpu", "gpu"),
    ("Graph", "graph"),
    ("Port", "graph"),
    ("Init", "init"),
    ("Adam", "optim"),
    ("AdamW", "optim"),
    ("RmsProp", "optim"),
    ("Sgd", "optim"),
    ("Plan", "plan"),
    ("Dtype", "precision"),
    ("LossScale", "precision"),
    ("Policy", "policy"),
    ("Precision", "precision"),
    ("Shape", "shape"),
    ("Tensor", "tensor"),
    ("Weights", "weights"),
];

#[test]
fn imports_go_one_way() {
    let mut wrong = vec![];
    for (file, module) in sources() {
        // The tool and the tour may name anything public.
        if ["lib", "main", "cli", "study", "bench"].contains(&module.as_str()) {
            continue;
        }
        let Some((_, allowed)) = RULES.iter().find(|(m, _)| *m == module) else {
            wrong.push(format!("{file}: no rule for {module:?}; add one to the table"));
            continue;
        };
        let allowed: BTreeSet<&str> = allowed.iter().flat_map(|a| a.split(' ')).chain([module.as_str()]).collect();
        let text = code(&fs::read_to_string(&file).unwrap());
        for (line, path) in paths(&text) {
            let head = path.split("::").next().unwrap_or_default();
            let used = EXPORTS.iter().find(|(name, _)| *name == head).map_or(head, |(_, m)| m);
            if !allowed.contains(used) {
                wrong.push(format!("{file}:{line}: {module} may not use {used} (crate::{path})"));
            }
        }
        let says = |l: &str| l.contains("wgpu::") || l.contains("use wgpu");
        if let Some(line) = text.lines().position(says).filter(|_| !WGPU.contains(&module.as_str())) {
            wrong.push(format!("{file}:{}: {module} may not say wgpu", line + 1));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_export_has_a_home() {
    let text = fs::read_to_string("src/lib.rs").unwrap();
    let exports: Vec<_> = text.lines().filter_map(|l| l.strip_prefix("pub use ")).collect();
    for line in exports {
        // A crate as a whole is no module of ours.
        let Some((module, names)) = line.trim_end_matches(';').split_once("::") else { continue };
        for name in names.trim_matches(['{', '}']).split(',').map(str::trim) {
            assert!(EXPORTS.contains(&(name, module)), "{name} of {module} is not in the test's list");
        }
    }
}

/// Every file of src with its module: the file's stem, or the folder under src.
fn sources() -> Vec<(String, String)> {
    let mut found = vec![];
    let mut todo = vec![Path::new("src").to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let first = path.components().nth(1).unwrap().as_os_str().to_str().unwrap();
                found.push((path.to_str().unwrap().to_owned(), first.trim_end_matches(".rs").to_owned()));
            }
        }
    }
    found.sort();
    found
}

/// The text without comments and without what follows `mod tests`, line by line.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    text[..end].lines().map(|l| l.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// Each path that starts at the crate, with its line; a list in braces gives one path for each of its members.
fn paths(text: &str) -> Vec<(usize, String)> {
    let mut found = vec![];
    for (at, _) in text.match_indices("crate::") {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let line = text[..at].lines().count().max(1);
        let rest = &text[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            found.extend(members(list).into_iter().map(|m| (line, m)));
        } else {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len());
            found.push((line, rest[..end].to_owned()));
        }
    }
    found
}

/// The members of a list up to its closing brace, lists within it left out.
fn members(list: &str) -> Vec<String> {
    let (mut depth, mut found) = (0, vec![String::new()]);
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => found.push(String::new()),
            c if depth == 0 && !c.is_whitespace() => found.last_mut().expect("never empty").push(c),
            _ => {}
        }
    }
    found.into_iter().filter(|m| !m.is_empty()).collect()
}
