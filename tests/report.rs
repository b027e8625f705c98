//! The page of an experiment, as a reader meets it: whole in itself, every number in the JSON beside it, pictures.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use serde_json::Value;

fn halfgrad(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_halfgrad")).args(args).output().unwrap()
}

/// A small experiment of the real tool, with its page: run once, and only read by tests.
fn experiment() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let run = || {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().to_str().unwrap();
        let run = halfgrad(&["study", "--experiment", "e1", "--seeds", "2", "--steps", "64", "--out", out]);
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        folder
    };
    FOLDER.get_or_init(run).path()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
}

/// Every number and every text of a value.
fn gather(value: &Value, numbers: &mut Vec<f64>, texts: &mut String) {
    match value {
        Value::Number(n) => numbers.push(n.as_f64().unwrap()),
        Value::String(text) => *texts += &format!("{text}\n"),
        Value::Array(values) => values.iter().for_each(|v| gather(v, numbers, texts)),
        Value::Object(map) => map.values().for_each(|v| gather(v, numbers, texts)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// The page without what is between these two, both included.
fn without(page: &str, open: &str, close: &str) -> String {
    let mut parts = page.split(open);
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + " " + part.split_once(close).expect("it is closed").1)
}

/// `−1.20e-4` or `98.43 %`: the number, half a unit of its last digit, and what it may have been multiplied by.
fn read(text: &str) -> Option<(f64, f64, &'static [f64])> {
    let text = text.replace('−', "-").replace('\u{a0}', " ");
    let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let mantissa = number.split('e').next()?;
    let decimals = mantissa.split_once('.').map_or(0, |(_, digits)| digits.len() as i32);
    let exponent: i32 = number.split_once('e').map_or(Some(0), |(_, e)| e.parse().ok())?;
    let scales: &[f64] = match unit {
        "%" => &[100.0],
        "kB" => &[1e-3],
        "MB" => &[1e-6],
        "GB" => &[1e-9],
        _ => &[1.0, 100.0],
    };
    Some((number.parse().ok()?, 0.5 * 10f64.powi(exponent - decimals), scales))
}

/// Each `<data value="0.9843">98.43 %</data>`: what it was made of, and what is read.
fn data(page: &str) -> Vec<(f64, String)> {
    let parts = page.split("<data value=\"").skip(1);
    let parse = |part: &str| {
        let (value, rest) = part.split_once("\">").unwrap();
        (value.parse().unwrap(), rest.split_once("</data>").unwrap().0.to_owned())
    };
    parts.map(parse).collect()
}

#[test]
fn the_page_stands_alone_and_its_numbers_are_in_the_json() {
    let folder = experiment();
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    for foreign in ["<script", "http:", "https:", "<link", "<img", "@import", "url("] {
        let found = page.replace("http://www.w3.org/2000/svg", "").contains(foreign);
        assert!(!found, "{foreign}");
    }
    assert!(page.contains("prefers-color-scheme: dark"));

    let (mut numbers, mut texts) = (vec![], String::new());
    for path in files(folder, "json") {
        gather(&serde_json::from_slice(&fs::read(path).unwrap()).unwrap(), &mut numbers, &mut texts);
    }
    let shown = data(&page);
    assert!(shown.len() > 100, "{}", shown.len());
    for (value, text) in &shown {
        assert!(numbers.contains(value), "{value} ({text}) is in no file");
        let Some((read, half, scales)) = read(text) else {
            assert_eq!((*value, text.as_str()), (0.0, "none"));
            continue;
        };
        assert!(scales.iter().any(|s| (s * value - read).abs() <= 1.001 * half), "{value} is shown as {text}");
    }

    // What stands elsewhere: words of the files, numbers of the probe's tables, and formats' own.
    let mut rest = page;
    for (open, close) in [("<style>", "</style>"), ("<svg", "</svg>"), ("<data", "</data>"), ("<", ">")] {
        rest = without(&rest, open, close);
    }
    let rest = rest.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&").replace("&quot;", "\"");
    let known = "f32 f16 16-bit 95 65504 2⁻²⁴ 2⁻¹⁴ 2¹⁶ 2δ 1 0 0.5 1000 pack2x16float quantizeToF16".split(' ');
    let known: BTreeSet<&str> = known.collect();
    let unknown = rest.split(|c: char| c.is_whitespace() || "(),;:%±×".contains(c)).filter(|word| {
        let word = word.trim_matches(|c: char| ".*".contains(c));
        let is_number = || word.replace('−', "-").parse::<f64>().is_ok();
        let near = |word: &str| {
            let (read, half, _) = read(word).unwrap();
            numbers.iter().any(|n| (n - read).abs() <= 1.001 * half || (n + read).abs() <= 1.001 * half)
        };
        let explained = known.contains(word) || texts.contains(word) || is_number() && near(word);
        word.contains(|c: char| c.is_ascii_digit()) && !explained
    });
    assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn each_plot_is_also_a_picture() {
    let folder = experiment();
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    let pictures = files(&folder.join("plots"), "png");
    assert_eq!(pictures.len(), page.matches("<svg").count());
    for kind in ["accuracy", "difference", "loss", "margin", "lost", "exponents", "time", "memory"] {
        let starts = |p: &PathBuf| p.file_name().unwrap().to_string_lossy().starts_with(kind);
        assert!(pictures.iter().any(starts), "{kind}");
    }
    for path in pictures {
        let picture = image::open(&path).unwrap().into_rgb8();
        let colours: BTreeSet<_> = picture.pixels().map(|p| p.0).collect();
        assert!(picture.width() >= 800 && colours.len() > 20, "{}", path.display());
    }
}

#[test]
fn a_folder_that_is_not_done_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    for file in files(experiment(), "json") {
        fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    let path = |name: &str| folder.path().join(name);
    for gone in ["f16-seed2.json", "probe.json"] {
        fs::remove_file(path(gone)).unwrap();
    }
    let out = path("page.html");
    let made = halfgrad(&["report", folder.path().to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let page = fs::read_to_string(out).unwrap();
    assert!(page.contains("the run f16-seed2") && page.contains("probe.json") && !path("report.html").exists());

    // What was asked for is held against what was run, whatever the experiment's definition has.
    let summary = fs::read(experiment().join("experiment.json")).unwrap();
    let mut summary: Value = serde_json::from_slice(&summary).unwrap();
    let asked = serde_json::json!({ "group": "", "variants": ["f32", "f16", "mixed", "f16-strict"], "seeds": [1, 2] });
    assert_eq!(summary["asked"], Value::Array(vec![asked]));
    let said = |summary: &Value| {
        fs::write(path("experiment.json"), summary.to_string()).unwrap();
        let made = halfgrad(&["report", folder.path().to_str().unwrap()]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let page = fs::read_to_string(path("report.html")).unwrap();
        page.split_once("Not in this folder: </b>").map(|(_, rest)| rest.split_once("</p>").unwrap().0.to_owned())
    };
    for file in files(experiment(), "json") {
        fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    assert_eq!(said(&summary), None);
    summary["asked"][0]["seeds"] = serde_json::json!([1, 4]);
    summary["asked"][0]["variants"] = serde_json::json!(["f16", "f16+nearest"]);
    let other = serde_json::json!({ "group": "batch 7", "variants": ["f32"], "seeds": [1, 1] });
    summary["asked"].as_array_mut().unwrap().push(other);
    let expected = "f16, seed 3, 4; f16+nearest, seed 1, 2, 3, 4; the group batch 7.";
    assert_eq!(said(&summary).as_deref(), Some(expected));
    summary["asked"] = serde_json::json!([{ "group": "", "variants": ["f16"], "seeds": [1, u64::MAX] }]);
    assert_eq!(said(&summary).as_deref(), Some("f16, seed 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, …."));

    fs::write(path("f16-seed1.json"), "{\"format\": 1}").unwrap();
    let broken = halfgrad(&["report", folder.path().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert!(broken.status.code() == Some(2) && said.contains("f16-seed1.json: broken"), "{said}");
    let nothing = halfgrad(&["report", "/nowhere"]);
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("experiment.json: no such file"));
}
