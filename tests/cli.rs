//! The tool, as a user meets it: what it prints, what it writes, and how it refuses.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

fn tool() -> Command {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_halfgrad"));
    tool.stdin(Stdio::null());
    tool
}

/// Runs it with words divided by spaces.
fn run(line: &str) -> Output {
    tool().args(line.split(' ')).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// It must say one line, with `expected` in it, and end with code 2.
#[track_caller]
fn refuses(line: &str, expected: &str) {
    refused(&run(line), line, expected);
}

#[track_caller]
fn refused(output: &Output, line: &str, expected: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{line}: {said}");
    assert!(said.starts_with("error: ") && said.contains(expected), "{line}: {said}");
    assert_eq!(said.matches('\n').count(), 1, "{line}: {said}");
    assert_eq!(text(&output.stdout), "", "{line}");
}

#[test]
fn devices_are_listed_and_one_is_the_default() {
    let devices = json(&tool().args(["devices", "--json"]).env_remove("HALFGRAD_ADAPTER").output().unwrap());
    let devices = devices.as_array().unwrap();
    assert_eq!(devices.iter().filter(|d| d["default"] == true).count(), 1);
    for (i, d) in devices.iter().enumerate() {
        assert_eq!(d["index"], i);
        assert!(!d["name"].as_str().unwrap().is_empty() && d["limits"]["binding_bytes"].as_u64().unwrap() >= 128 << 20);
        let f16 = d["features"]["f16"].as_bool().unwrap();
        assert_eq!(d["precisions"]["f32"], "native");
        // Processors convert two halves at once.
        let native = f16 && d["type"] != "software";
        assert_eq!(d["precisions"]["mixed"], if native { "native" } else { "packed" });
        assert_eq!(d["precisions"]["f16-strict"], if f16 { "native" } else { "no" });
    }
    let table = run("devices");
    let table = text(&table.stdout);
    assert!(table.lines().all(|line| line.chars().count() <= 120), "{table}");
    assert!(devices.iter().all(|d| table.contains(d["name"].as_str().unwrap())), "{table}");
}

#[test]
fn a_probe_is_printed_for_people_and_as_json() {
    let probed = json(&run("devices --probe --json"));
    let conclusions = probed["conclusions"].as_array().unwrap();
    let table = run("devices --probe");
    let table = text(&table.stdout);
    assert!(table.lines().all(|line| line.chars().count() <= 120), "{table}");
    assert!(table.contains(probed["adapter"]["name"].as_str().unwrap()), "{table}");
    let words = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(conclusions.iter().all(|c| words(table).contains(&words(c.as_str().unwrap()))), "{table}");
    let functions = probed["probe"]["functions"].as_array().unwrap();
    assert!(functions.iter().all(|f| table.contains(f["name"].as_str().unwrap())), "{table}");
    assert_eq!(probed["probe"]["conversions"]["integers"]["rounding"], "nearest-even");

    refuses("devices --probe --adapter 99", "no adapter has the number 99");
    refuses("devices --adapter 0", "--probe");
}

#[test]
fn plans_of_deep_networks_fit_on_a_screen_unless_all_is_asked_for() {
    let lines = |line: &str| text(&run(line).stdout).lines().map(str::to_owned).collect::<Vec<_>>();
    for model in ["vgg19", "resnet20", "resnet110", "mobilenet", "densenet169", "xception"] {
        let line = format!("plan --model {model} --input 32,32,3");
        let (blocks, all) = (lines(&line), lines(&format!("{line} --all")));
        assert!(blocks.len() <= 40 && all.len() > 100, "{model}: {} and {} lines", blocks.len(), all.len());
        assert_eq!(blocks.iter().find(|l| l.contains("buffers")), all.iter().find(|l| l.contains("buffers")));
        let number = |l: &String| l.split_once(" dispatches ")?.0.split_whitespace().nth(1)?.parse::<usize>().ok();
        let listed = |l: &&String| l.get(..6).is_some_and(|i| i.ends_with("  ") && i.trim().parse::<usize>().is_ok());
        let dispatches = all.iter().filter(listed).count();
        assert_eq!(blocks.iter().filter_map(number).sum::<usize>(), dispatches, "{model}");
    }
    refuses("plan --model vgg16 --input 8,8,1", "a window of 2 does not fit 1");
}

#[test]
fn a_profile_tells_what_each_dispatch_takes() {
    let line = "plan --model mlp --input 8,8,1 --hidden 16 --batch 32";
    let dispatches = json(&run(&format!("{line} --json")))["dispatches"].as_array().unwrap().len();
    let told = run(&format!("{line} --profile=2 --all"));
    assert!(told.status.success(), "{}", text(&told.stderr));
    let told = text(&told.stdout);
    let rows: Vec<(usize, f64)> = told
        .lines()
        .filter_map(|l| Some((l.split_whitespace().next()?.parse().ok()?, l.split(" %").next()?)))
        .filter_map(|(i, l): (usize, &str)| Some((i, l.split_whitespace().rev().nth(1)?.parse().ok()?)))
        .collect();
    // Another adapter may add a second pass of a sum.
    assert!(rows.len() >= dispatches && rows.is_sorted_by(|a, b| a.1 >= b.1), "{told}");
    let sum: f64 = told.lines().last().unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((rows.iter().map(|r| r.1).sum::<f64>() - sum).abs() < 1e-3 * rows.len() as f64, "{told}");
    refuses(&format!("{line} --adapter llvmpipe"), "--profile");
    refuses(&format!("{line} --profile --json"), "cannot be used with");
    refuses(&format!("{line} --profile=0"), "no whole number");
    refuses(&format!("{line} --profile --adapter none-such"), "none-such");
}

#[test]
fn without_an_adapter_devices_and_study_say_so_and_plan_works() {
    for command in ["devices", "study"] {
        let output = tool().arg(command).env("WGPU_BACKEND", "none-such").output().unwrap();
        refused(&output, command, "no adapter found");
    }
    let line = "plan --input 8,8,1 --hidden 32 --batch 16 --precision mixed --json";
    let plan = json(&tool().args(line.split(' ')).env("WGPU_BACKEND", "none-such").output().unwrap());
    let dispatches = plan["dispatches"].as_array().unwrap();
    assert_eq!(plan["totals"]["dispatches"], dispatches.len());
    assert_eq!(plan["totals"]["parameters"], 64 * 32 + 32 + 32 * 10 + 10);
    for total in ["flops", "bytes_read", "bytes_written"] {
        let sum: u64 = dispatches.iter().map(|d| d[total].as_u64().unwrap()).sum();
        assert!(sum > 0 && plan["totals"][total] == sum, "{total}");
    }
    assert!(dispatches.iter().all(|d| d["op"].is_string() && d["shapes"].is_array() && d["grid"].is_array()));
    let bytes = |kind: &str| plan["device_bytes"][kind].as_u64().unwrap();
    assert_eq!(bytes("total"), bytes("weights") + bytes("optimizer") + bytes("gradients") + bytes("activations"));
    assert_eq!(bytes("optimizer"), 4 * bytes("weights")); // master weights and momentum in f32 beside f16
}

#[test]
fn a_step_in_f16_takes_half_the_memory() {
    for optimizer in ["sgd", "adam"] {
        let plan = |precision: &str| {
            let line = format!("plan --batch 128 --hidden 128 --optimizer {optimizer} --precision {precision} --json");
            json(&run(&line))["device_bytes"].clone()
        };
        let (f32, f16) = (plan("f32"), plan("f16"));
        let share = |kind: &str| f16[kind].as_f64().unwrap() / f32[kind].as_f64().unwrap();
        assert!(share("weights") <= 0.51 && share("total") <= 0.56, "{optimizer}: {f32} {f16}");
    }
}

#[test]
fn bad_flags_get_one_line_and_code_2() {
    refuses("study --lr nan", "above 0");
    refuses("study --lr -0.1", "above 0");
    refuses("study --momentum 1", "below 1");
    refuses("study --hidden 128,0", "\"0\" is no whole number");
    refuses("study --epochs 0", "no whole number");
    refuses("study --batch 0", "no whole number");
    refuses("study --precision f32,f8", "f32, f16, f16-strict, mixed");
    refuses("study --optimizer lion", "sgd, adam, adamw, rmsprop");
    refuses("study --simulate weights=e9m1", "X from 2 to 8");
    refuses("study --simulate gradients=bf16 --precision f16", "f16, in which this network is stored");
    refuses("study --optimizer adam --momentum 0.9", "only sgd");
    refuses("study --lrr 1", "a similar argument exists: '--lr'");
    refuses("study --save-every 5", "--out");
    refuses("study --model lenet --hidden 9", "only mlp has --hidden layers to choose, lenet has its own");
    refuses("study --warm-up 100000000000", "100000000000 is not in 0..=16777216");
    refuses("study --warm-up 200 --steps 199", "a warm-up of 200 updates does not end in a run of 199");
    refuses("doctor --warm-up 201", "a warm-up of 201 updates does not end in a run of 200");
    refuses("train --epochs 4294967295", "steps are more than can be counted");
    refuses("train --epochs 1000000 --schedule cosine", "more than 16777216, which a table holds");
    refuses("study --tokens bytes", "--tokens and --seq are for a text");
    refuses("doctor --seq 64", "--tokens and --seq are for a text");
    refuses("plan --seq 64", "mlp reads no sequence: --seq is for gpt");
    refuses("plan --model gpt --input 8,8,1", "gpt reads sequences, whose length is --seq, and no --input");
    refuses("doctor --augment crop=8", "images of 8 × 8 are too small to crop or erase 8");
    refuses("plan --hidden 4000000,4000000", "more values than a tensor may have");
    refuses("plan --precision half", "no precision \"half\"");
    refuses("plan --input 8,0", "no whole number");
    refuses("trian", "unrecognized subcommand");
}

#[test]
fn what_is_not_there_gets_one_line_and_code_2() {
    refuses("study --adapter 99", "no adapter has the number 99");
    refuses("study --adapter no-such-adapter", "no adapter is called");
    refuses("study --data no-such-folder", "no such folder");
    refuses("study --batch 5000", "1437 samples");
    refuses("study --init no-such-file", "no such file");
    refuses("study --order no-such-file", "no such file");
    let file = tempfile::NamedTempFile::new().unwrap();
    refuses(&format!("study --out {}", file.path().display()), "is a file");
    refuses(&format!("study --out {}/below", file.path().display()), "cannot make this folder");
    let folder = tempfile::tempdir().unwrap();
    refuses(&format!("train --out {}", folder.path().display()), "not the name of an ordinary file");
    refuses(&format!("bench --quick --json {}", folder.path().display()), "not the name of an ordinary file");
    refuses(&format!("train --out {}/new/", folder.path().display()), "not the name of an ordinary file");
    fs::create_dir(folder.path().join("study.json")).unwrap();
    refuses(&format!("study --out {}", folder.path().display()), "not the name of an ordinary file");
    refuses(&format!("study --init {}", file.path().display()), "the file is empty");
    refuses(&format!("study --order {}", file.path().display()), "not a .npy file");
}

#[test]
fn a_precision_that_the_adapter_lacks_is_an_error_only_if_it_was_asked_for() {
    let devices = json(&run("devices --json"));
    let Some(without) = devices.as_array().unwrap().iter().find(|d| d["features"]["f16"] == false) else { return };
    let adapter = without["index"].to_string();
    refuses(&format!("study --adapter {adapter} --precision f32,f16-strict"), "shader-f16");
    let output = run(&format!("study --adapter {adapter} --steps 2 --seeds 1"));
    let (table, notes) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && notes.contains("left out: "), "{notes}");
    assert!(table.contains("\nmixed ") && !table.contains("f16-strict"), "{table}");
}

/// A folder of the IDX files of a tiny data set of 6 × 8 images, whose class is where the bright spot is.
fn idx(folder: &Path) {
    let parts = [("train", 40u8), ("t10k", 20)];
    for (part, n) in parts {
        let labels: Vec<u8> = (0..n).map(|i| i % 4).collect();
        let pixels = labels.iter().flat_map(|&l| (0..48).map(move |p| if p / 12 == l { 200 } else { p }));
        let images = [&[0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 6, 0, 0, 0, 8][..], &pixels.collect::<Vec<_>>()].concat();
        fs::write(folder.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), [&[0, 0, 8, 1, 0, 0, 0, n][..], &labels].concat())
            .unwrap();
    }
}

#[test]
fn broken_data_gets_one_line_and_code_2() {
    let folder = tempfile::tempdir().unwrap();
    idx(folder.path());
    let line = format!("study --data {}", folder.path().display());
    let labels = folder.path().join("t10k-labels-idx1-ubyte");
    let whole = fs::read(&labels).unwrap();
    let broken = |bytes: &[u8], expected: &str| {
        fs::write(&labels, bytes).unwrap();
        refuses(&line, expected);
    };
    broken(&whole[..15], "truncated");
    broken(&[&[9, 9], &whole[2..]].concat(), "magic number");
    broken(&[&whole[..10], &[7], &whole[11..]].concat(), "label 2 is 7");
    fs::write(&labels, whole).unwrap();
    fs::remove_file(folder.path().join("train-images-idx3-ubyte")).unwrap();
    refuses(&line, "train-images-idx3-ubyte");
}

#[test]
fn a_study_simulates_formats_and_measures_sharpness() {
    let folder = tempfile::tempdir().unwrap();
    let simulated = "weights=e4m3+stochastic,gradients=e5m2";
    let line = format!("study --steps 10 --seeds 1 --precision f32 --simulate {simulated} --sharpness 5 --out");
    let output = tool().args(line.split(' ')).arg(folder.path()).output().unwrap();
    let table = text(&output.stdout);
    assert!(output.status.success() && table.contains(&format!("; simulated {simulated}\n")), "{table}");
    assert!(table.contains("Sharpness λ at the end, mean over the seeds: f32 "), "{table}");
    let study: Value = serde_json::from_slice(&fs::read(folder.path().join("study.json")).unwrap()).unwrap();
    assert_eq!(study["network"]["simulated"], simulated);
    let steps: Vec<_> = study["runs"][0]["sharpness"].as_array().unwrap().iter().map(|s| s["step"].clone()).collect();
    assert_eq!(steps, [5, 10]);
}

#[test]
fn a_study_writes_its_weights_and_its_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("made/by/it");
    let line = "study --epochs 2 --seeds 1 --seed 7 --batch 100 --save-every 20 --precision f16,f32 --epochs 1 --out";
    let output = tool().env("HALFGRAD_COOPERATIVE", "1").args(line.split(' ')).arg(&out).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(table.lines().all(|line| line.chars().count() <= 120), "{table}");
    // No terminal: a line for each run, and nothing that moves.
    assert_eq!(text(&output.stderr).lines().count(), 2, "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains('\x1b'));

    let study: Value = serde_json::from_slice(&fs::read(out.join("study.json")).unwrap()).unwrap();
    assert!(study["command"].as_array().unwrap().iter().any(|word| word == "--seed"));
    assert_eq!(study["versions"]["halfgrad"], env!("CARGO_PKG_VERSION"));
    assert!(study["adapter"]["name"].is_string() && study["adapter"]["backend"].is_string());
    assert!(study["settings"].as_str().unwrap().ends_with("with cooperative matrices"), "{}", study["settings"]);
    let runs = study["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    for (run, precision) in runs.iter().zip(["f16", "f32"]) {
        assert_eq!((&run["precision"], &run["seed"]), (&precision.into(), &7.into()));
        assert!((0.0..=1.0).contains(&run["test_accuracy"].as_f64().unwrap()));
        assert_eq!((run["train_loss"].as_array().unwrap().len(), &run["steps"]), (1, &15.into()));
        assert_eq!(run["step_loss"].as_array().unwrap().len(), 15);
        assert!(run["step_ms_median"].as_f64().unwrap() > 0.0);
        let bytes = |kind: &str| run["device_bytes"][kind].as_u64().unwrap();
        let parts = ["weights", "optimizer", "gradients", "activations"].map(bytes);
        assert_eq!(bytes("total"), parts.iter().sum::<u64>());
        assert!(run["class_flips"].is_u64() && run["certified_share"].is_f64());
        assert_eq!((&run["certified_flips"], &run["skipped_steps"]), (&0.into(), &0.into()));
        assert!(run["lost_update_share"].is_f64() && run["failure"].is_null());
        assert!(out.join(format!("weights-{precision}-seed7.safetensors")).is_file());
    }
    assert_eq!((&runs[1]["class_flips"], &runs[1]["certified_share"]), (&0.into(), &1.0.into()));
    assert!(!out.join("weights-f16-seed7-step20.safetensors").exists(), "only 15 steps were done");
    let left = fs::read_dir(&out).unwrap().count();
    assert_eq!(left, 3, "nothing but study.json and two files of weights");
}

#[test]
fn a_text_is_read_by_gpt_which_reports_its_perplexity() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fox.txt");
    fs::write(&path, "the quick brown fox jumps over the lazy dog. ".repeat(8)).unwrap();
    let out = folder.path().join("out");
    let line = format!("study --data {} --seq 9 --steps 3 --batch 4 --seeds 1 --precision f32,f16", path.display());
    let output = run(&format!("{line} --model gpt --out {}", out.display()));
    let (table, notes) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && notes.contains("perplexity"), "{notes}");
    assert!(table.contains("gpt on [9], 28 kinds of tokens") && !table.contains("accuracy"), "{table}");
    let study: Value = serde_json::from_slice(&fs::read(out.join("study.json")).unwrap()).unwrap();
    let run = &study["runs"][0];
    let (loss, perplexity) = (run["test_loss"].as_f64().unwrap(), run["test_perplexity"].as_f64().unwrap());
    assert!((perplexity / loss.exp() - 1.0).abs() < 1e-9 && perplexity < 40.0, "{loss} {perplexity}");

    refuses(&line, "fox.txt: a file that mlp cannot learn from; --data takes digits, fashion-mnist, or a folder: ");
    refuses(&format!("{line} --model gpt --size 8"), "are for folders of images");
    refuses(&format!("{line} --model gpt --augment flip"), "--augment is for images");
    refuses(&format!("{line} --model gpt --tokens words"), "neither characters nor bytes");
    refuses(&format!("{line} --model gpt --seq 300"), "too short for windows of 300");
    fs::write(&path, b"caf\xe9").unwrap();
    refuses(&format!("{line} --model gpt"), "is not UTF-8: byte 3, 0xe9,");
}

/// A `.npy` file of 64-bit integers.
fn npy(indices: &[i64]) -> Vec<u8> {
    let header = format!("{{'descr': '<i8', 'fortran_order': False, 'shape': ({},), }}", indices.len());
    let padded = format!("{header:<117}\n");
    let values: Vec<u8> = indices.iter().flat_map(|i| i.to_le_bytes()).collect();
    [b"\x93NUMPY\x01\x00\x76\x00", padded.as_bytes(), &values].concat()
}

#[test]
fn given_weights_and_a_given_order_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    idx(folder.path());
    let order: Vec<i64> = (0..100).map(|i| (i * 7) % 40).collect();
    fs::write(path("order.npy"), npy(&order)).unwrap();
    let common = format!("study --data {} --hidden 8 --batch 10 --precision f32 --lr 0.01", folder.path().display());

    // Ten steps, then ten steps in two parts of six and four: the weights of the first part start the second.
    let done = |line: String| {
        let output = run(&line);
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    done(format!("{common} --momentum 0 --seeds 1 --order {} --out {} --save-every 3", path("order.npy"), path("a")));
    let names = ["step3", "step6", "step9"].map(|step| path(&format!("a/weights-f32-seed1-{step}.safetensors")));
    assert!(names.iter().all(|name| Path::new(name).is_file()));
    fs::write(path("rest.npy"), npy(&order[60..])).unwrap();
    let (init, rest) = (&names[1], path("rest.npy"));
    done(format!("{common} --momentum 0 --init {init} --order {rest} --steps 3 --out {}", path("b")));
    let (nine, resumed) = (fs::read(&names[2]).unwrap(), fs::read(path("b/weights-f32-seed1.safetensors")).unwrap());
    assert!(nine == resumed, "steps 7 to 9 from the weights after step 6 give the weights after step 9");

    refuses(&format!("{common} --init {init} --hidden 9"), "[48, 8], the network's is [48, 9]");
    refuses(&format!("{common} --order {rest} --steps 5"), "enough for 4 steps");
    fs::write(path("far.npy"), npy(&[0, 40])).unwrap();
    refuses(&format!("{common} --order {}", path("far.npy")), "entry 1 is 40");
}

#[test]
fn a_run_that_breaks_is_reported_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display();
    let output = run(&format!("study --precision f16,f32 --seeds 1 --steps 40 --lr 1000 --out {out}"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("! f16, seed 1: the loss is "), "{}", text(&output.stdout));
    let study: Value = serde_json::from_slice(&fs::read(folder.path().join("study.json")).unwrap()).unwrap();
    assert!(study["runs"][0]["failure"].as_str().unwrap().contains("first value that is not finite: "));
    assert_eq!(study["runs"][1]["precision"], "f32");
}

#[test]
fn the_selftest_passes_and_its_report_can_be_pasted() {
    let output = run("selftest --quick --without f16 --json");
    let report = json(&output);
    assert_eq!((&report["passed"], &report["without"]), (&true.into(), &"f16".into()));
    let rows = report["precisions"].as_array().unwrap();
    assert_eq!(rows.iter().map(|r| r["precision"].as_str().unwrap()).collect::<Vec<_>>(), ["f32", "f16", "mixed"]);
    assert!(rows.iter().all(|r| r["trials"].as_u64().unwrap() > 0 && r["faults"].as_array().unwrap().is_empty()));
    let notes = text(&output.stderr);
    assert!(notes.lines().count() >= 9 && notes.lines().all(|l| l.starts_with("self-test: ")), "{notes}");
}

#[test]
fn switches_and_limits_come_from_flags_and_from_the_environment() {
    refuses("study --without f16,tuning", "\"tuning\": no such switch; there are f16, fusion, subgroups, trust, tune");
    refuses("study --memory 12X", "\"12X\": no number of bytes; write 512M or 2G");
    refuses("study --without f16 --precision f16-strict", "shader-f16");
    for (name, value, expected) in [
        ("HALFGRAD_WITHOUT", "f61", "\"HALFGRAD_WITHOUT\": "),
        ("HALFGRAD_MEMORY", "much", "\"HALFGRAD_MEMORY\": "),
        ("HALFGRAD_SLICE", "1.5", "no whole number of milliseconds"),
        ("HALFGRAD_AS", "gpu", "is not discrete, integrated, virtual or software"),
        ("HALFGRAD_MEMORY", "100K", "out of memory: the plan takes "),
    ] {
        refused(&tool().arg("study").env(name, value).output().unwrap(), name, expected);
    }
    // The batch that the tool names fits.
    let line = "study --hidden 64 --batch 700 --precision f32 --seeds 1 --steps 2 --memory 300K";
    let output = run(line);
    refused(&output, line, "in f32 a batch of ");
    let batch = text(&output.stderr).split_once("in f32 a batch of ").unwrap().1.split(' ').next().unwrap();
    let output = run(&line.replace("700", batch));
    assert!(output.status.success() && text(&output.stdout).contains("memory limit 307.20 kB"), "{output:?}");
}

#[test]
fn what_fits_by_computing_activations_again_is_planned_and_trained() {
    let folder = tempfile::tempdir().unwrap();
    let network = "--model mlp --hidden 64,64,64,64,64,64,64,64 --batch 1024 --optimizer sgd";
    let plan = format!("plan {network} --input 8,8,1 --json");
    let bytes = json(&run(&plan))["device_bytes"]["total"].as_u64().unwrap();
    let memory = format!("--memory {}", bytes * 4 / 5);
    assert!(json(&run(&format!("{plan} {memory}")))["totals"]["flops_again"].as_u64() > Some(0));
    let out = folder.path().join("model");
    for line in [
        format!("train {network} {memory} --precision f32 --epochs 1 --out {}", out.display()),
        format!("study {network} {memory} --precision f32 --steps 2 --seeds 1"),
        format!("doctor {network} {memory} --steps 2"),
    ] {
        let output = run(&line);
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
    }
}

#[test]
fn a_reader_that_leaves_is_no_panic() {
    let mut child = tool().args(["plan"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn the_doctor_names_what_breaks_and_what_cures_it() {
    let well = run("doctor --steps 60");
    assert!(well.status.success(), "{}", text(&well.stderr));
    let told = text(&well.stdout);
    assert!(told.contains("\nAdvice: train in f16") && told.contains(" fc2.weight "), "{told}");

    let ill = run("doctor --steps 60 --optimizer adam --form textbook --json");
    let found: serde_json::Value = serde_json::from_slice(&ill.stdout).unwrap();
    assert_eq!(found["advice"], "mixed");
    assert_eq!(found["chance"]["ratios"].as_array().map(Vec::len), Some(3));
    let findings = found["findings"].as_array().unwrap();
    let named = |words: &str| findings.iter().any(|f| f["what"].as_str().is_some_and(|w| w.contains(words)));
    assert!(named("epsilon 1e-8 rounds to 0") && named("v = (1 − β₂) g² rounds to 0 for"), "{findings:?}");
    assert!(named("training breaks at step"), "{findings:?}");

    let cured = run("doctor --steps 60 --optimizer adam --json");
    let found: serde_json::Value = serde_json::from_slice(&cured.stdout).unwrap();
    assert!(found["advice"].as_str().is_some_and(|policy| policy.starts_with("f16")), "{}", found["advice"]);
}

#[test]
fn a_policy_is_found_told_and_taken() {
    let output = run("study --precision f32,auto,f16+f32=fc2 --steps 60 --seeds 1");
    let told = text(&output.stdout);
    assert!(
        output.status.success() && told.contains(": all layers in 16 bit, and the loss ends as that of f32 does"),
        "{told}"
    );
    assert!(told.contains("\nf16+f32=fc2 "), "{told}");

    let plan = run("plan --precision mixed+f32=fc1 --json");
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    assert_eq!(plan["precision"], "mixed+f32=fc1");
    refuses("plan --precision f16+f32=conv9", "\"conv9\": no layer matches this");
    refuses("plan --precision f16+f32=", "lacks the name of a layer");
}

#[test]
fn shaders_are_checked_and_written() {
    let checked = run("shaders --heavy");
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    assert!(text(&checked.stdout).contains(" matmul "), "{}", text(&checked.stdout));

    let folder = tempfile::tempdir().unwrap();
    for (target, file, begins) in [
        ("wgsl", "matmul-128x128-along-across-f16.wgsl", &b"enable f16;"[..]),
        ("spirv", "matmul-128x128-along-across-f16-packed.spv", &[3, 2, 35, 7]),
        ("msl", "softmax-f32.metal", b"// language: metal2.4"),
        ("hlsl", "adam-mixed.hlsl", b"struct "),
    ] {
        let out = folder.path().join(target);
        let written = run(&format!("shaders --heavy --target {target} --out {}", out.display()));
        assert!(written.status.success(), "{}", text(&written.stderr));
        let found = fs::read(out.join(file)).unwrap();
        assert!(found.starts_with(begins), "{target}: {:?}", String::from_utf8_lossy(&found[..80]));
    }
    let strict = fs::read_to_string(folder.path().join("hlsl/map-f16.hlsl"));
    let packed = fs::read_to_string(folder.path().join("wgsl/softmax-f16-packed.wgsl")).unwrap();
    assert!(strict.unwrap().contains("half4") && !packed.contains("enable f16"), "packed halves need no feature");

    refuses("shaders --target spirv", "--out <DIR>");
    refuses(&format!("shaders --heavy --sources {}", folder.path().display()), "cannot be used with");
    fs::write(folder.path().join("forgotten.wgsl"), "").unwrap();
    refuses(&format!("shaders --sources {}", folder.path().display()), "forgotten.wgsl: no op, network or optimizer");
}

/// A folder of 200 PNG files of mixed sizes in two classes: bright above, or bright below.
fn images(folder: &Path) {
    for (k, class) in ["above", "Ünten 🌍"].into_iter().enumerate() {
        fs::create_dir_all(folder.join(class)).unwrap();
        for i in 0..100u32 {
            let (width, height) = (3 + i * 7 % 40, 2 + i * 13 % 50);
            let shade = |y: u32| if (2 * y < height) == (k == 0) { 255 - i as u8 } else { i as u8 / 2 };
            let image = image::GrayImage::from_fn(width, height, |_, y| image::Luma([shade(y)]));
            image.save(folder.join(class).join(format!("{i:02}.png"))).unwrap();
        }
    }
}

#[test]
fn a_model_is_trained_on_a_folder_and_says_what_is_on_images() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    images(&folder.path().join("data"));
    let broken = folder.path().join("data/above/17.png");
    let bytes = fs::read(&broken).unwrap();
    fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();

    // One broken file of 200: all stops and names it, or it is skipped and named.
    let data = path("data");
    let line =
        format!("train --data {data} --size 8x12 --grey --precision f32 --epochs 2 --batch 16 --out {}", path("m"));
    let named = format!("{}: not a whole image: ", broken.display());
    refuses(&line, &format!("broken image (--on-broken skip goes on without): {named}"));
    assert!(!Path::new(&path("m")).exists());
    let output = run(&format!("{line} --on-broken skip --augment crop=1"));
    let (said, notes) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && notes.starts_with(&format!("skipped: {named}")), "{notes}");
    assert_eq!(notes.lines().count(), 1, "{notes}");
    assert!(
        said.starts_with("data: 160 training and 39 test samples of [8, 12, 1], 2 classes: above, Ünten 🌍\n"),
        "{said}"
    );
    assert!(said.contains("\nepoch 1: loss ") && said.contains("\nepoch 2: loss "), "{said}");
    let accuracy = said.split("\ntest accuracy ").nth(1).unwrap().split_once(" %").unwrap().0;
    assert!(accuracy.parse::<f64>().unwrap() > 95.0, "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "the data, the model and its run, no leavings");

    let (above, below) = (path("data/above/03.png"), path("data/Ünten 🌍/03.png"));
    let predict = |images: &[&str], flags: &[&str]| {
        tool().args(["predict", "--model-file", &path("m")]).args(images).args(flags).output().unwrap()
    };
    let found = json(&predict(&[&below, &above], &["--json"]));
    for (i, (image, class)) in [(&below, "Ünten 🌍"), (&above, "above")].into_iter().enumerate() {
        assert_eq!((&found[i]["image"], &found[i]["classes"][0]["class"]), (&image.as_str().into(), &class.into()));
        let probability = |k: usize| found[i]["classes"][k]["probability"].as_f64().unwrap();
        assert!(probability(0) > probability(1) && (probability(0) + probability(1) - 1.0).abs() < 1e-9);
    }
    let table = predict(&[&above], &["--top", "1", "--precision", "f16"]);
    let table = text(&table.stdout).lines().collect::<Vec<_>>();
    assert!(table.len() == 5 && table[3].starts_with(&above) && table[3].ends_with(" %"), "{table:#?}");

    // A broken image is named, and the others are told all the same.
    let output = predict(&[&broken.display().to_string(), &above], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stdout).contains("above"), "{}", text(&output.stdout));
    assert!(text(&output.stderr).starts_with(&format!("error: {named}")), "{}", text(&output.stderr));
    let plain = tempfile::NamedTempFile::new().unwrap();
    fs::write(&plain, fs::read(path("m")).unwrap().split_at(50).0).unwrap();
    refuses(
        &format!("predict --model-file {} {broken}", plain.path().display(), broken = broken.display()),
        "truncated",
    );
}

#[test]
fn the_same_seed_trains_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    images(&folder.path().join("data"));
    let train = |name: &str, seed: u64| {
        let out = folder.path().join(name);
        let data = folder.path().join("data");
        let line = format!("train --data {} --size 4 --model mlp --augment flip,crop=1 --epochs 2", data.display());
        let output = run(&format!("{line} --seed {seed} --out {}", out.display()));
        assert!(output.status.success(), "{}", text(&output.stderr));
        fs::read(out).unwrap()
    };
    let first = train("a", 3);
    assert!(first == train("b", 3) && first != train("c", 4));
}

#[test]
fn a_run_that_goes_on_from_a_file_ends_as_one_in_one_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    // Chance in weights, order and samples, and an update that an epoch's end cuts in two: 45 steps.
    let line = "train --model mlp --hidden 16 --precision f16 --augment crop=1 --accumulate 2 --average 0.9";
    let train = |flags: &str| {
        let output = run(&format!("{line} {flags}"));
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    let told = |said: &str| {
        let of_last = said.lines().find(|line| line.starts_with("epoch 3: ")).unwrap();
        of_last.rsplit_once(", ").unwrap().0.to_owned() // without the seconds
    };
    let whole = train(&format!("--epochs 3 --out {}", path("whole.safetensors")));
    train(&format!("--epochs 1 --out {}", path("first.safetensors")));
    let file = path("first.training.safetensors");
    let second = train(&format!("--epochs 3 --out {} --resume {file}", path("second.safetensors")));
    assert_eq!(told(&second), told(&whole));
    assert!(!second.contains("epoch 1: ") && second.contains("epoch 2: "), "{second}");
    for kind in ["safetensors", "training.safetensors"] {
        let [whole, second] = ["whole", "second"].map(|name| fs::read(path(&format!("{name}.{kind}"))).unwrap());
        assert!(whole == second, "{kind}");
    }

    let refuses = |flags: &str, expected: &str| refuses(&format!("{line} {flags} --out {}", path("m")), expected);
    refuses(
        &format!("--epochs 3 --resume {}", path("first.safetensors")),
        "it is no run that goes on: --resume takes the .training.safetensors",
    );
    refuses(&format!("--epochs 1 --resume {file}"), "--resume: the run has done --epochs 1 already; more go on");
    refuses(&format!("--resume {file} --seed 2"), "its run has seed \"1\", this one \"2\"");
    refuses(&format!("--resume {file} --precision f32"), "its run has precision \"f16\", this one \"f32\"");
    refuses(&format!("--resume {file} --augment flip"), "its run has augment \"crop=1\", this one \"flip\"");
    refuses(&format!("--resume {file} --lr 0.1"), "its run has optimizer \"adam, lr 0.001");
    refuses("--resume no-such-file", "no-such-file: no such file");
}

#[test]
fn what_train_and_predict_cannot_use_gets_one_line_and_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display();
    refuses(
        &format!("train --data {here}"),
        "holds no data set; --data takes digits, fashion-mnist, or a folder: of images",
    );
    fs::create_dir(folder.path().join("cats")).unwrap();
    refuses(&format!("train --data {here}"), "holds one folder alone, \"cats\"");
    refuses(&format!("study --data {here}"), "holds one folder alone, \"cats\"");
    fs::create_dir(folder.path().join("dogs")).unwrap();
    refuses(&format!("train --data {here}"), "cats: is a class without images");
    refuses("train --size 32", "--on-broken are for folders of images");
    refuses("train --data no-such-folder", "no such folder or file; --data takes");
    refuses("train --model gpt", "train makes classifiers of images; `halfgrad study --model gpt` reads texts");
    refuses("train --size 8x", "no whole number");
    refuses("train --on-broken no", "stop or skip");
    refuses("train --augment flip,spin", "\"spin\" is none of flip, crop=N, erase=N");
    refuses("train --augment crop=8", "images of 8 × 8 are too small to crop or erase 8");
    refuses("train --model vgg16", "a window of 2 does not fit 1");
    refuses("predict", "<IMAGE>");
    refuses("predict --model-file no-such-file a.png", "no-such-file: no such file");
    let weights = folder.path().join("w");
    let output = run(&format!("study --steps 1 --seeds 1 --precision f32 --out {}", weights.display()));
    assert!(output.status.success());
    let weights = weights.join("weights-f32-seed1.safetensors");
    refuses(
        &format!("predict --model-file {} a.png", weights.display()),
        "lack a valid \"model\": `halfgrad train` writes",
    );
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_training_with_a_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("m.safetensors");
    let line = "train --model mlp --epochs 100000 --precision f32 --batch 8 --out";
    let child = tool().args(line.split(' ')).arg(&out).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for _ in 0..6000 {
        if out.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success() && said.lines().last().unwrap().contains("the model is in "), "{said}");
    // What was cut off within an epoch ends as a run in one go does.
    let epochs =
        said.lines().filter(|line| line.starts_with("epoch ")).count() + usize::from(!said.contains("stopped after"));
    let to_end = |name: &str, resume: Option<&Path>| {
        let file = folder.path().join(name);
        let line = format!("train --model mlp --epochs {epochs} --precision f32 --batch 8 --out {}", file.display());
        let line = resume.map_or(line.clone(), |path| format!("{line} --resume {}", path.display()));
        let output = run(&line);
        assert!(output.status.success(), "{}", text(&output.stderr));
        fs::read(file).unwrap()
    };
    assert!(to_end("whole", None) == to_end("resumed", Some(&out.with_extension("training.safetensors"))));
    let image = folder.path().join("a.png");
    image::GrayImage::new(5, 5).save(&image).unwrap();
    let output = tool().arg("predict").arg(&image).arg("--model-file").arg(&out).args(["--json"]).output().unwrap();
    assert_eq!(json(&output)[0]["classes"].as_array().unwrap().len(), 5);
}
