//! Variants that are measured: kept in a file, taken from it, and never from one that is not for this adapter.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use halfgrad::{
    Gpu, Graph, Plan, Precision, Sgd, Tensor, Weights,
    caps::Kind,
    dispatch::Choice,
    gpu::{
        Settings,
        tune::{Winners, seconds},
    },
    nn,
    ops::{Conv2d, Padding},
};
use serde_json::{Value, json};

fn on(gpu: &Gpu, folder: &Path) -> Gpu {
    pollster::block_on(gpu.with(Settings { tune: Some(folder.into()), ..gpu.settings().clone() })).unwrap()
}

/// A small network: the plan that trains it, and its losses.
fn train(gpu: &Gpu) -> (Plan, Vec<f32>) {
    let graph = Graph::new(Precision::F16);
    let (x, label) = (graph.input("x", [16, 24]), graph.labels("label", [16]));
    let loss = nn::mlp(x, &[40], 12).cross_entropy(label);
    let weights = Weights::init(gpu, &graph, 3).unwrap();
    let mut plan = Plan::train(gpu, &weights, loss, Sgd::new(0.1)).unwrap();
    plan.write(x, &(0..16 * 24).map(|i| (i % 13) as f32 / 13.0).collect::<Vec<_>>()).unwrap();
    plan.write(label, &(0..16).map(|i| i % 12).collect::<Vec<u32>>()).unwrap();
    (0..5).for_each(|_| plan.run());
    let losses = plan.losses().wait().unwrap();
    (plan, losses)
}

fn choices(plan: &Plan) -> Vec<&Choice> {
    plan.program().dispatches.iter().filter_map(|d| d.choice.as_ref()).collect()
}

fn only_file(folder: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// A plan all of whose products were measured, this one or one of the next: drivers that compile for the first time, and whatever else
/// keeps the machine busy, may use up the seconds for it, and then the next plan goes on.
fn completed(mut plan: Plan, gpu: &Gpu, folder: &Path) -> Plan {
    for _ in 0..10 {
        let whole = read(&only_file(folder));
        if choices(&plan).iter().all(|c| !whole["products"][&c.product].is_null()) {
            return plan;
        }
        plan = train(&on(gpu, folder)).0;
    }
    panic!("there are products that are never measured");
}

fn measured(gpu: &Gpu, folder: &Path) -> Plan {
    completed(train(&on(gpu, folder)).0, gpu, folder)
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// For each product a variant that the planner would not take.
fn turned(mut whole: Value, plan: &Plan) -> Value {
    for choice in choices(plan) {
        whole["products"][&choice.product]["variant"] = json!(choice.candidates[1]);
    }
    whole
}

#[test]
fn winners_are_measured_once_and_then_taken_from_the_file() {
    let gpu = Gpu::new().unwrap();
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("made");
    let (usual, losses) = train(&gpu);
    assert!(choices(&usual).iter().all(|c| c.variant == c.candidates[0] && c.candidates.len() > 1));

    // Five seconds and the training, on a machine that may be busy.
    let started = Instant::now();
    train(&on(&gpu, &folder));
    assert!(started.elapsed().as_secs_f64() < 30.0, "{:?}", started.elapsed());
    let measured = measured(&gpu, &folder);
    let whole = read(&only_file(&folder));
    assert!(!choices(&measured).is_empty() && measured.warnings().is_empty());
    for choice in choices(&measured) {
        let winner = &whole["products"][&choice.product];
        assert_eq!(winner["variant"], choice.variant);
        let times = winner["ms"].as_object().unwrap();
        assert!(times.iter().all(|(name, ms)| choice.candidates.contains(name) && ms.as_f64().unwrap() > 0.0));
        assert!(times.contains_key(&choice.variant) && times.len() > 1);
    }

    // Whatever the file says is taken, and it is not written again.
    let text = turned(whole, &usual).to_string();
    fs::write(only_file(&folder), &text).unwrap();
    let taken = [train(&on(&gpu, &folder)), train(&on(&gpu, &folder))];
    assert_eq!(fs::read_to_string(only_file(&folder)).unwrap(), text);
    for (plan, again) in &taken {
        assert!(choices(plan).iter().all(|c| c.variant == c.candidates[1]) && plan.warnings().is_empty());
        assert_eq!(*again, taken[0].1);
        assert!(again.iter().zip(&losses).all(|(a, b)| (a - b).abs() < 1e-2), "{again:?} {losses:?}");
    }

    let without = on(&gpu, &folder).settings().clone().without("tune").unwrap();
    let (plan, again) = train(&pollster::block_on(gpu.with(without)).unwrap());
    assert!(again == losses && choices(&plan).iter().all(|c| c.variant == c.candidates[0]));
}

#[test]
fn a_candidate_that_cannot_be_run_does_not_take_the_others_along() {
    let gpu = Gpu::new().unwrap();
    let (plan, _) = train(&gpu);
    let at = plan.program().dispatches.iter().position(|d| d.choice.is_some()).unwrap();
    let good = plan.program().alone(at);
    let mut broken = good.clone();
    let shader = Arc::make_mut(&mut broken.dispatches[0].shader);
    shader.source = format!("{}\nfn (", shader.source).into();
    let end = Instant::now() + Duration::from_secs(60);
    let found = pollster::block_on(seconds(&gpu, &[None, Some(broken), Some(good)], end)).unwrap().unwrap();
    assert!(found[0] == f64::INFINITY && found[1] == f64::INFINITY && found[2].is_finite(), "{found:?}");

    let folder = tempfile::tempdir().unwrap();
    let (d, candidates) = (&plan.program().dispatches[at], &choices(&plan)[0].candidates);
    let (mut winners, _) = Winners::load(folder.path(), &gpu);
    winners.note(d, &found[..2]);
    assert_eq!(winners.of(d), None);
    winners.note(d, &found[1..]);
    winners.save().unwrap();
    let (winners, warning) = Winners::load(folder.path(), &gpu);
    assert_eq!((winners.of(d).unwrap().1, warning), (candidates[1].as_str(), None));
}

#[test]
fn two_that_measure_at_once_run_the_same_variants() {
    let gpu = Gpu::new().unwrap();
    let (plan, _) = train(&gpu);
    let mut products: Vec<_> = plan.program().dispatches.iter().filter(|d| d.choice.is_some()).collect();
    products.dedup_by_key(|d| d.choice.as_ref().map(|c| c.product.clone()));
    let [d, e] = [products[0], products[1]];
    let folder = tempfile::tempdir().unwrap();
    let load = || Winners::load(folder.path(), &gpu).0;
    let (mut first, mut second) = (load(), load());
    first.note(d, &[1.0, 2.0]);
    second.note(d, &[2.0, 1.0]);
    second.note(e, &[2.0, 1.0]);
    first.save().unwrap();
    second.save().unwrap();
    assert_eq!(second.of(d), first.of(d), "who was first counts");
    let both = load();
    assert_eq!((both.of(d), both.of(e)), (first.of(d), second.of(e)));
    // What was there before and is measured anew is not another's.
    let mut again = load();
    again.note(d, &[2.0, 1.0]);
    again.save().unwrap();
    assert_ne!(load().of(d), first.of(d));
}

#[test]
fn who_awaits_measurements_is_free_meanwhile() {
    let gpu = Gpu::new().unwrap();
    let (plan, _) = train(&gpu);
    let at = plan.program().dispatches.iter().position(|d| d.choice.is_some()).unwrap();
    let programs = [(); 4].map(|()| Some(plan.program().alone(at)));
    let mut measured = Box::pin(seconds(&gpu, &programs, Instant::now() + Duration::from_secs(60)));
    let (started, mut longest) = (Instant::now(), Duration::ZERO);
    let found = pollster::block_on(std::future::poll_fn(|context| {
        let polled = Instant::now();
        let found = measured.as_mut().poll(context);
        longest = longest.max(polled.elapsed());
        found
    }));
    assert_eq!(found.unwrap().unwrap().len(), 4);
    assert!(longest < started.elapsed() / 2, "{longest:?} of {:?}", started.elapsed());
}

#[test]
fn files_that_are_broken_or_of_something_else_are_not_used() {
    let gpu = Gpu::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let plan = measured(&gpu, folder.path());
    let path = only_file(folder.path());
    let good = turned(read(&path), &plan);
    let change = |at: &str, to: Value| {
        let mut whole = good.clone();
        *whole.pointer_mut(at).unwrap() = to;
        whole.to_string()
    };
    let product = choices(&plan)[0].product.replace('/', "~1");
    let cases = [
        (change("/of/driver", json!(["other", "1.0"])), "was measured elsewhere, on "),
        (change("/of/adapter", json!("another")), "was measured elsewhere, on \"another\""),
        (change("/version/shaders", json!("0")), ""),
        (change("/version/halfgrad", json!("0.0.1")), ""),
        (change(&format!("/products/{product}/shader"), json!("0")), ""),
        (change(&format!("/products/{product}/variant"), json!("tile 3×3")), ""),
        (change(&format!("/products/{product}/ms"), json!(7)), "has a product without"),
        (change("/products", json!([])), "has no \"products\""),
        (good.to_string()[..100].to_owned(), "is no JSON"),
    ];
    for (text, warning) in cases {
        fs::write(&path, &text).unwrap();
        let (plan, _) = train(&on(&gpu, folder.path()));
        let found: Vec<_> = plan.warnings().iter().map(|w| w.what.as_str()).collect();
        assert_eq!(found.len(), usize::from(!warning.is_empty()), "{warning}: {found:?}");
        assert!(found.iter().all(|w| w.contains(warning)), "{warning}: {found:?}");
        // What was wrong was measured, and is right now.
        let plan = completed(plan, &gpu, folder.path());
        let now = read(&path);
        assert!(now["of"] == good["of"] && now["version"] == good["version"], "{now}");
        assert_eq!(
            now["products"][&choices(&plan)[0].product]["shader"],
            good["products"][&choices(&plan)[0].product]["shader"]
        );
        assert!(choices(&plan).iter().all(|c| now["products"][&c.product]["variant"] == c.variant), "{now}");
    }

    // A folder that cannot be made is a warning too: training goes on.
    let (plan, _) = train(&on(&gpu, &path.join("below")));
    assert!(plan.warnings()[0].what.contains("measurements are not kept"), "{:?}", plan.warnings());
}

/// A product of two inputs: these, and it.
type Build = for<'g> fn(&'g Graph) -> [Tensor<'g>; 3];

/// Products whose sizes leave blocks, teams and tiles partly empty.
const ODD: [Build; 4] = [
    |g| product(g.input("a", [70, 45]), g.input("b", [45, 130]), |a, b| a.matmul(b)),
    |g| product(g.input("a", [45, 37]), g.input("b", [9, 45]), |a, b| a.matmul_with(b, true, true)),
    |g| product(g.input("a", [3, 130, 21]), g.input("b", [3, 21, 6]), |a, b| a.matmul(b)),
    |g| {
        let options = Conv2d { stride: [2, 1], padding: Padding::Same, ..Conv2d::default() };
        product(g.input("a", [2, 9, 11, 6]), g.input("b", [3, 3, 6, 21]), |a, b| a.conv2d(b, options))
    },
];

fn product<'g>(a: Tensor<'g>, b: Tensor<'g>, of: impl Fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>) -> [Tensor<'g>; 3] {
    [a, b, of(a, b)]
}

/// What a plan of `build` finds for certain numbers.
fn found(gpu: &Gpu, precision: Precision, build: Build) -> (Vec<f32>, Choice) {
    let graph = Graph::new(precision);
    let [a, b, y] = build(&graph);
    let weights = Weights::init(gpu, &graph, 1).unwrap();
    let mut plan = Plan::infer(gpu, &weights, [y]).unwrap();
    for (x, step) in [(a, 7), (b, 11)] {
        let numbers: Vec<f32> = (0..x.shape().len()).map(|i| (i * step % 17) as f32 / 16.0 - 0.5).collect();
        plan.write(x, &numbers).unwrap();
    }
    plan.run();
    let choice = choices(&plan)[0].clone();
    (plan.read(y).unwrap().wait().unwrap(), choice)
}

#[test]
fn every_candidate_computes_the_same_product() {
    let gpu = Gpu::new().unwrap();
    for kind in [Kind::Software, Kind::Discrete] {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { kind: Some(kind), ..gpu.settings().clone() };
        let gpu = pollster::block_on(gpu.with(settings)).unwrap();
        let tuned = on(&gpu, folder.path());
        for precision in [Precision::F32, Precision::F16] {
            for build in ODD {
                let (usual, choice) = found(&gpu, precision, build);
                found(&tuned, precision, build);
                for candidate in &choice.candidates {
                    let path = only_file(folder.path());
                    let mut whole = read(&path);
                    whole["products"][&choice.product]["variant"] = json!(candidate);
                    fs::write(&path, whole.to_string()).unwrap();
                    let (y, taken) = found(&tuned, precision, build);
                    assert_eq!(taken.variant, *candidate);
                    let far = usual.iter().zip(&y).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(far < 1e-2, "{} by {candidate}: {far} off", choice.product);
                }
            }
        }
    }
}
