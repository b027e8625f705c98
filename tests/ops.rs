//! Every op, every precision, forward and gradient, against its f64 reference.

use halfgrad::{Dtype, Gpu, Precision, caps::Kind, check, dispatch::Program, gpu::Settings, ops};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let gpu = Gpu::new().expect("an adapter");
    let packed = pollster::block_on(gpu.without_f16()).expect("the same adapter");
    let native = if gpu.caps().shader_f16 { vec!["f32", "f16", "f16-strict"] } else { vec!["f32"] };
    // A processor runs other variants of some kernels than a GPU, and each can run those of the other.
    let other = if gpu.caps().kind == Kind::Software { Kind::Discrete } else { Kind::Software };
    let [gpu_as, packed_as] = [&gpu, &packed].map(|gpu| {
        let settings = Settings { kind: Some(other), ..gpu.settings().clone() };
        pollster::block_on(gpu.with(settings)).expect("the same adapter")
    });
    let apart = Settings { subgroups: false, ..gpu_as.settings().clone() };
    let apart = pollster::block_on(gpu_as.with(apart)).expect("the same adapter");
    let devices = [
        ("packed", packed, vec!["f16"]),
        ("native", gpu, native.clone()),
        ("packed as another", packed_as, vec!["f16"]),
        ("native as another", gpu_as, native.clone()),
        ("native without subgroups as another", apart, native),
    ];

    let mut trials = vec![];
    for (i, case) in ops::cases().into_iter().enumerate() {
        let shapes: Vec<String> = case.inputs.iter().map(|(s, _)| s.to_string()).collect();
        let name = format!("{:03} {} {}", i, case.op.name(), shapes.join(" "));
        let c = case.clone();
        trials.push(Trial::test(format!("{name} definition"), move || check::definition(&c).map_err(Failed::from)));
        let mut ways = Ways::default();
        for (how, gpu, p) in devices.iter().flat_map(|(how, gpu, all)| all.iter().map(move |p| (how, gpu, p))) {
            let (gpu, case) = (gpu.clone(), case.clone());
            let precision: Precision = p.parse().expect("a preset");
            if ways.is_new(&gpu, precision, check::program(gpu.caps(), precision, &case)) {
                trials.push(Trial::test(format!("{name} {how} {p}"), move || {
                    check::on_device(&gpu, precision, &case).map_err(Failed::from)
                }));
            }
        }
    }
    for (i, rule) in check::rules().iter().enumerate() {
        let mut ways = Ways::default();
        for (how, gpu, all) in &devices {
            for p in all.iter().chain(&["mixed"]) {
                let (gpu, precision): (_, Precision) = (gpu.clone(), p.parse().expect("a preset"));
                if ways.is_new(&gpu, precision, rule.program(gpu.caps(), gpu.settings().fusion, precision)) {
                    trials.push(Trial::test(format!("optimizer {} {how} {p}", rule.name), move || {
                        check::rules()[i].on_device(&gpu, precision).map_err(Failed::from)
                    }));
                }
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// The ways in which one thing was tried: the precision, its program, and whether halves are native there.
#[derive(Default)]
struct Ways(Vec<(Precision, Result<Program, String>, bool)>);

impl Ways {
    fn is_new(&mut self, gpu: &Gpu, precision: Precision, program: halfgrad::Result<Program>) -> bool {
        let halves = precision.storage == Dtype::F16 && gpu.caps().native_halves(precision.acc());
        let way = (precision, program.map_err(|e| e.to_string()), halves);
        let new = !self.0.contains(&way);
        if new {
            self.0.push(way);
        }
        new
    }
}
