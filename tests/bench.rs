//! `halfgrad bench` and `compare`, as a user meets them: the file, refusals, the table, the page. No time is judged.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use halfgrad::{
    Gpu, Precision,
    bench::{
        self, Effort, Scope, Stand, kernels,
        report::{Adapter, Entry, FORMAT, Limits, NotRun, Rate, Report, Sample},
        steps, suite,
    },
};

fn compare(files: &[&Path], out: Option<&Path>) -> Output {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_halfgrad"));
    tool.arg("compare").args(files);
    if let Some(out) = out {
        tool.arg("--out").arg(out);
    }
    tool.output().unwrap()
}

fn sample(median: f64) -> Sample {
    Sample { median, low: median * 0.98, high: median * 1.02, runs: 9 }
}

fn rates(names: &[(&str, f64)]) -> Vec<Rate> {
    names.iter().map(|(name, rate)| Rate { name: (*name).into(), rate: sample(*rate) }).collect()
}

fn entry(id: &str, precision: &str, ms: f64) -> Entry {
    let (flops, bytes) = (2_000_000u64, 400_000u64);
    Entry {
        id: id.into(),
        precision: precision.into(),
        how: "native".into(),
        dispatches: 1,
        flops,
        bytes,
        device_bytes: 123_456,
        first_ms: 9.0 * ms,
        wall_ms: sample(1.1 * ms),
        gpu_ms: Some(sample(ms)),
        gflops: flops as f64 / ms / 1e6,
        gbps: bytes as f64 / ms / 1e6,
        roofline: 0.2 / ms,
        error: (precision == "f16").then_some(3.4e-4),
    }
}

/// A file of a machine that is not there, `slow` times as slow as another.
fn made_up(name: &str, slow: f64) -> Report {
    let both = |id: &str, ms: f64| [entry(id, "f32", ms * slow), entry(id, "f16", 0.6 * ms * slow)];
    Report {
        format: FORMAT,
        halfgrad: "0.1.0".into(),
        suite: suite::name(true),
        unix_time: 1_700_000_000,
        seconds: 12.0,
        precisions: vec!["f32".into(), "f16".into()],
        adapter: Adapter {
            name: format!("{name} <Pro> (driver & more)"),
            backend: "Vulkan".into(),
            kind: "discrete".into(),
            vendor: 0x1002,
            device: 1,
            driver: "made up".into(),
            driver_info: "1.2".into(),
            system: "linux x86_64".into(),
            shader_f16: true,
            timestamps: true,
            subgroup: (32, 64),
            binding_bytes: 1 << 30,
            workgroup_bytes: 65536,
            invocations: 1024,
        },
        clocks: vec![],
        limits: Limits {
            fma: rates(&[("f32", 5_432.0 / slow), ("f16", 9_876.0 / slow)]),
            copy: rates(&[("u32", 111.0 / slow), ("vec4 u32", 222.0 / slow)]),
            upload: sample(11.5),
            readback: sample(7.25),
            dispatch_us: sample(3.5),
            submit_us: sample(45.5),
            pipeline_ms: sample(0.815),
        },
        kernels: [both("matmul 64×64×64", 0.321), both("softmax 64×256", 1.234)].concat(),
        steps: both("mlp batch 16", 4.56).to_vec(),
        not_run: vec![NotRun { id: "adam 65536".into(), precision: "f16".into(), reason: "no room".into() }],
        lost: None,
        settings: String::new(),
    }
}

fn write(folder: &Path, name: &str, report: &Report) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, serde_json::to_vec(report).unwrap()).unwrap();
    path
}

#[test]
fn two_files_make_a_table_and_a_page_with_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (made_up("Fast", 1.0), made_up("Slow", 2.5));
    let files = [write(folder.path(), "a.json", &a), write(folder.path(), "b.json", &b)];
    let out = folder.path().join("report.html");
    let output = compare(&[&files[0], &files[1]], Some(&out));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for expected in
        ["*0.321", "0.802", "*0.193", "*4.56", "11.4", "Vulkan Fast <Pro>: 1.00 ×", "Vulkan Slow <Pro>: 2.50 ×"]
    {
        assert!(table.contains(expected), "{expected} is not in\n{table}");
    }
    assert!(table.contains("first in 6 of 6") && table.contains("first in 0 of 6"), "{table}");

    let page = fs::read_to_string(&out).unwrap();
    // What JSON holds, as a reader sees it: limits, times, errors, memory, what is missing.
    for expected in ["5432", "9876", "222", "0.815", "0.321", "1.23", "4.56", "3.4e-4", "123 kB", "no room", "2.50 ×"]
    {
        assert!(page.contains(expected), "{expected} is not in the page");
    }
    assert!(page.contains("Fast &lt;Pro&gt; (driver &amp; more)") && !page.contains("<Pro>"), "names are text");
    assert_eq!(page.matches("<svg").count(), 4, "a ranking, two rooflines, the gain of f16");
    assert!(page.contains("prefers-color-scheme: dark"));
    let alone = ["<script", "src=", "@import", "url("].iter().all(|part| !page.contains(part));
    assert!(alone && !page.contains("href=\"http"), "the page stands alone");
}

/// The line on stderr, of a refusal.
fn refused(files: &[&Path]) -> String {
    let output = compare(files, None);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stdout, b"");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn files_that_do_not_belong_together_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let good = made_up("Fast", 1.0);
    let a = write(folder.path(), "a.json", &good);
    let b = |report: Report| write(folder.path(), "b.json", &report);
    let said = refused(&[&a, &b(Report { halfgrad: "0.0.9".into(), ..good.clone() })]);
    assert!(said.contains("b.json") && said.contains("version") && said.contains("0.0.9"), "{said}");
    let said = refused(&[&a, &b(Report { suite: suite::name(false), ..good.clone() })]);
    assert!(said.contains("workloads") && said.contains("full") && said.contains("quick"), "{said}");
    let said = refused(&[&a, &b(Report { format: 99, ..good.clone() })]);
    assert!(said.contains("format 99") && said.contains("reads 2"), "{said}");
    let other = folder.path().join("study.json");
    fs::write(&other, "{\"runs\": []}").unwrap();
    assert!(refused(&[&other]).contains("not what halfgrad bench --json writes"));
    fs::write(&other, "not json").unwrap();
    assert!(refused(&[&other]).contains("not what halfgrad bench --json writes"));
    assert!(refused(&[&folder.path().join("gone.json")]).contains("no such file"));
}

#[test]
fn the_same_adapter_twice_is_told_apart_by_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["monday.json", "tuesday.json"].map(|name| write(folder.path(), name, &made_up("Fast", 1.0)));
    let output = compare(&[&files[0], &files[1]], None);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("Vulkan Fast <Pro> · monday") && table.contains("· tuesday"), "{table}");
    // Neither is faster: both are first.
    assert_eq!(table.matches("first in 6 of 6").count(), 2, "{table}");
}

#[test]
fn files_of_one_name_are_told_apart_by_their_folders() {
    let folder = tempfile::tempdir().unwrap();
    for part in ["here", "there"] {
        fs::create_dir(folder.path().join(part)).unwrap();
    }
    let file = |name: &str| write(folder.path(), name, &made_up("Fast", 1.0));
    let (here, there, other) = (file("here/bench.json"), file("there/bench.json"), file("there/other.json"));
    let said = |files: &[&Path]| String::from_utf8(compare(files, None).stdout).unwrap();
    let table = said(&[&here, &there, &other]);
    for label in ["here/bench", "there/bench", "there/other"] {
        assert!(table.contains(&format!("Vulkan Fast <Pro> · {label}: 1.00 ×")), "{label}: {table}");
    }
    let table = said(&[&here, &here]);
    assert!(table.contains("here/bench (1): 1.00 ×") && table.contains("here/bench (2): 1.00 ×"), "{table}");
}

#[test]
fn times_of_different_clocks_are_not_compared() {
    let folder = tempfile::tempdir().unwrap();
    // By its own clock this one is faster; by the host's, which is all that the other one has, it is slower.
    let mut a = made_up("Fast", 1.0);
    let mut b = made_up("Slow", 1.05);
    a.kernels[0].wall_ms = sample(0.75);
    b.kernels[0].gpu_ms = None;
    b.kernels[0].wall_ms = sample(0.555);
    let out = folder.path().join("report.html");
    let output = compare(&[&write(folder.path(), "a.json", &a), &write(folder.path(), "b.json", &b)], Some(&out));
    let table = String::from_utf8(output.stdout).unwrap();
    let row = table.lines().find(|line| line.contains("matmul 64×64×64")).unwrap();
    assert!(row.contains("f32 wall") && row.contains(" 0.750") && row.contains("*0.555"), "{row}");
    assert!(!row.contains("0.321") && table.matches("f32 wall").count() == 1, "{table}");
    assert!(table.contains("or where it says wall, since not\nall have one, by the host's"), "{table}");
    let page = fs::read_to_string(&out).unwrap();
    assert_eq!(page.matches("<small>wall</small>").count(), 1);
    assert!(page.contains("or where it says wall, since not all have one") && !page.contains("0.321"));
}

#[test]
fn settings_that_differ_are_told_and_too_few_runs_for_an_interval() {
    let folder = tempfile::tempdir().unwrap();
    let said = |first: &str, second: &str| {
        let mut reports = [made_up("Fast", 1.0), made_up("Slow", 2.5)];
        (reports[0].settings, reports[1].settings) = (first.into(), second.into());
        reports[1].kernels[0].gpu_ms = Some(Sample { runs: 5, ..sample(1.0) });
        let [a, b] = ["a.json", "b.json"].map(|name| folder.path().join(name));
        reports.iter().zip([&a, &b]).for_each(|(r, path)| fs::write(path, serde_json::to_vec(r).unwrap()).unwrap());
        let out = folder.path().join("report.html");
        let table = String::from_utf8(compare(&[&a, &b], Some(&out)).stdout).unwrap();
        (table, fs::read_to_string(&out).unwrap())
    };
    let (table, page) = said("", "without fusion, tuned in x");
    let line = "Settings differ: Vulkan Fast <Pro>: as usual; Vulkan Slow <Pro>: without fusion, tuned in x.\n";
    assert!(table.contains(line) && page.contains("Settings differ: "), "{table}");
    assert!(table.contains("5 runs") && page.contains("5 runs ·"), "{table}");
    assert!(said("without f16", "without f16").0.contains("Settings of all: without f16.\n"));
    let (table, page) = said("", "");
    assert!([table, page].iter().all(|text| !text.contains("Settings")));
}

#[test]
fn every_kernel_of_a_quick_run_is_measured_and_right() {
    let gpu = Gpu::new().unwrap();
    let effort = Effort { budget: Duration::ZERO, least: 1, most: 1, steady: 0.0 };
    for kernel in suite::kernels(true).iter().step_by(2) {
        let found =
            kernels::measure(&gpu, kernel, Precision::F16, effort).unwrap_or_else(|e| panic!("{}: {e}", kernel.id()));
        assert!(found.dispatches > 0 && found.bytes > 0 && found.timing.wall.runs == 1, "{}: {found:?}", kernel.id());
        // Updates have no reference; of all others the smallest is held against f64.
        let small = matches!(kernel.family.make, suite::Make::Update(_)) == found.error.is_none();
        assert!(small && found.error.is_none_or(|e| e < 4e-3), "{}: {:?}", kernel.id(), found.error);
    }
    let step = steps::measure(&gpu, &suite::steps(true)[0], Precision::F32, effort).unwrap();
    assert!(step.error.unwrap() < 1e-5 && step.flops > 10_000_000, "{step:?}");
}

#[test]
fn limits_are_found_and_what_cannot_run_is_listed_with_the_reason() {
    let gpu = Gpu::new().unwrap();
    let packed = pollster::block_on(gpu.without_f16()).unwrap();
    let scope = Scope { quick: true, precisions: vec![Precision::F16_STRICT, Precision::F32] };
    let mut stands = vec![];
    let watch = &mut |at: Stand| {
        stands.push((at.done, at.all));
        // When the second step is to be run in f32, the device is lost.
        if at.done == 4 {
            gpu.device().destroy();
        }
    };
    let report = bench::run(&packed, &scope, watch).unwrap();
    let l = &report.limits;
    for rate in l.fma.iter().chain(&l.copy).map(|r| r.rate).chain([l.upload, l.readback, l.submit_us, l.pipeline_ms]) {
        assert!(rate.median > 0.0 && rate.low <= rate.median && rate.median <= rate.high && rate.runs > 0, "{l:?}");
    }
    assert!(l.fma.iter().any(|r| r.name == "f32") && l.fma.iter().all(|r| r.name != "f16"), "{l:?}");
    // What was measured before is kept.
    assert!(report.kernels.is_empty() && report.steps.len() == 1 && report.steps[0].id == "mlp batch 16");
    assert_eq!(report.not_run.len(), 2 * (suite::kernels(false).len() + suite::steps(false).len()) - 1);
    let of = |id: &str, precision: &str| {
        report.not_run.iter().find(|n| n.id == id && n.precision == precision).unwrap().reason.clone()
    };
    assert!(of("mlp batch 16", "f16-strict").contains("shader-f16"));
    assert!(of("lenet batch 16", "f16-strict").contains("shader-f16"));
    assert_eq!(report.lost.as_ref().unwrap(), &format!("{}, in lenet batch 16 in f32", of("lenet batch 16", "f32")));
    assert_eq!(of("matmul 64×64×64", "f32"), "the device was lost before");
    assert_eq!(of("resnet20 batch 16", "f32"), "not in a quick run");
    let all = 1 + 2 * (suite::kernels(true).len() + suite::steps(true).len());
    assert_eq!((stands[0], *stands.last().unwrap()), ((0, all), (all, all)));
}

#[test]
fn a_file_that_cannot_be_written_is_said_before_the_work() {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_halfgrad"));
    let output = tool.args(["bench", "--quick", "--json", "/no/such/folder/a.json"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.contains("there is no folder /no/such/folder")), (Some(2), true), "{said}");
}

#[test]
fn a_report_survives_its_file() {
    let report = made_up("Fast", 1.0);
    let text = serde_json::to_string(&report).unwrap();
    let back: Report = serde_json::from_str(&text).unwrap();
    assert_eq!((&back.adapter, &back.not_run, &back.suite), (&report.adapter, &report.not_run, &report.suite));
    let named = |r: &Report| r.kernels.iter().map(|e| (e.id.clone(), e.precision.clone())).collect::<Vec<_>>();
    assert_eq!(named(&back), named(&report));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&json["format"], &json["halfgrad"]), (&2.into(), &"0.1.0".into()));
    for field in ["suite", "adapter", "settings", "limits", "kernels", "steps", "not_run", "clocks", "precisions"] {
        assert!(!json[field].is_null(), "{field}");
    }
    for field in ["id", "precision", "gpu_ms", "wall_ms", "gflops", "gbps", "roofline", "device_bytes", "error"] {
        assert!(json["kernels"][1].get(field).is_some(), "{field}");
    }
}
