//! `halfgrad study --experiment`: what it writes, that it goes on where it was broken off, and what it refuses.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

use serde_json::Value;

/// A few steps of e1.
fn tiny(out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halfgrad"));
    command.args(["study", "--experiment", "e1", "--seeds", "2", "--steps", "40", "--train", "300", "--out"]);
    command.arg(out).args(more);
    command
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Without what no two runs have in common.
fn timeless(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|key, _| !["seconds", "step_ms", "command"].contains(&key.as_str()));
                map.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    value
}

#[test]
fn a_run_that_was_killed_goes_on_and_ends_as_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, killed] = ["whole", "killed"].map(|name| folder.path().join(name));
    let output = run(&mut tiny(&whole, &[]));
    let text = String::from_utf8(output.stdout).unwrap();
    for words in ["Two f32 runs of different seeds", "f16-strict", "certified"] {
        assert!(text.contains(words), "{text}");
    }

    let mut child = tiny(&killed, &[]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    while !killed.join("f16-seed1.json").exists() {
        assert!(child.try_wait().unwrap().is_none_or(|status| status.success()));
        sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // One run more is gone, so that f32 must be had from its weights.
    fs::remove_file(killed.join("f16-seed1.json")).unwrap();
    let kept = fs::read(killed.join("f32-seed1.json")).unwrap();
    run(&mut tiny(&killed, &[]));
    assert_eq!(fs::read(killed.join("f32-seed1.json")).unwrap(), kept, "it was not run again");
    for name in ["experiment", "f16-seed1", "mixed-seed2"] {
        let [a, b] = [&whole, &killed].map(|folder| timeless(json(&folder.join(format!("{name}.json")))));
        assert_eq!(a, b, "{name}");
    }

    let refused = tiny(&killed, &["--steps", "41"]).output().unwrap();
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!((refused.status.code(), &refused.stdout[..]), (Some(2), &b""[..]));
    assert!(text.contains("seed1.json: is of another setup: steps is 40 there and 41 here"), "{text}");
    let refused = tiny(&killed, &[]).env("HALFGRAD_COOPERATIVE", "1").output().unwrap();
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("with cooperative matrices\" here; remove it, or take another --out"), "{text}");
}

#[test]
fn a_run_tells_all_that_the_report_needs() {
    let folder = tempfile::tempdir().unwrap();
    run(&mut tiny(folder.path(), &["--seeds", "1"]));
    let run = json(&folder.path().join("f16-strict-seed1.json"));
    let count = |value: &Value| value.as_array().unwrap().len();
    assert_eq!((count(&run["curve"]), count(&run["predicted"])), (40, 360));
    let parts: Vec<&str> = run["tensors"].as_array().unwrap().iter().map(|t| t["part"].as_str().unwrap()).collect();
    for part in ["weight", "gradient", "activation", "backward"] {
        assert!(parts.contains(&part), "{parts:?}");
    }
    let changes = &run["changes"][0];
    assert!(count(&changes["over_time"]) > 1, "{changes}");
    let sum =
        |key: &str| changes["over_time"].as_array().unwrap().iter().map(|c| c[key].as_u64().unwrap()).sum::<u64>();
    assert!(sum("all") > 0 && sum("all") <= changes["all"].as_u64().unwrap());
    assert!(sum("lost") > 0 && sum("lost") <= changes["lost"].as_u64().unwrap());
    for way in ["cast", "trained"] {
        let theorem = &run["against_f32"][way];
        let of = |key: &str| theorem["agreement"][key].as_u64().unwrap();
        assert_eq!((of("samples"), of("certified_flips")), (360, 0), "{way}");
        assert!(of("certified") > 180, "{way}: {theorem}");
        assert_eq!(count(&theorem["points"]["gamma"]), 360);
        let [delta, gamma] = ["delta", "gamma"].map(|key| theorem[key].as_array().unwrap());
        let rises = |values: &[Value]| values.windows(2).all(|w| w[0].as_f64() <= w[1].as_f64());
        assert!(delta.len() == 5 && rises(delta) && gamma.len() == 5 && rises(gamma), "{theorem}");
    }
    assert_eq!(json(&folder.path().join("f32-seed1.json"))["against_f32"], Value::Null);
    let summary = json(&folder.path().join("experiment.json"));
    assert_eq!(summary["groups"][0]["variants"][0]["name"], "f32");
    assert_eq!(summary["groups"][0]["variants"][1]["verdict"], Value::Null, "nothing follows from one pair");
    assert!(folder.path().join("probe.json").exists());
}

#[test]
fn experiments_are_listed_and_unknown_ones_refused() {
    let study = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_halfgrad")).arg("study").args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text, _) = study(&["--experiment"]);
    assert!(code == Some(0) && text.contains("e1 ") && text.contains("table5"), "{text}");
    let (code, _, error) = study(&["--experiment", "e99"]);
    assert!(code == Some(2) && error.contains("no experiment \"e99\"; there are e0, e1"), "{error}");
    let (code, _, error) = study(&["--experiment", "e5", "--networks", "vgg16"]);
    assert!(code == Some(2) && error.contains("e5 has no network \"vgg16\"; it has cnn"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("f32-seed1.json"), "{\"format\":1,\"experiment\":\"e3\"}").unwrap();
    let (code, _, error) = study(&["--experiment", "e1", "--out", folder.path().to_str().unwrap()]);
    assert!(code == Some(2) && error.contains("is of e3, not of e1: take another --out"), "{error}");
    for (flags, expected) in [
        (&["--lr", "1"][..], "--lr"),
        (&["--sharpness", "10"], "--sharpness"),
        (&["--save-every", "5", "--out", "there"], "--save-every"),
        (&["--size", "8"], "are for folders of images"),
        (&["--seq", "8"], "--tokens and --seq are for a text"),
    ] {
        let (code, _, error) = study(&[&["--experiment", "e1"], flags].concat());
        assert!(code == Some(2) && error.contains(expected), "{flags:?}: {error}");
    }
    let (code, _, error) = study(&["--experiment", "e0", "--epochs", "2"]);
    assert!(code == Some(2) && error.contains("e0 trains nothing"), "{error}");
}
