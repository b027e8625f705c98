//! Every op, every precision, forward and gradient, against its f64 reference.

use halfgrad::{Caps, Gpu, Precision, caps::Kind, check, gpu::Settings, ops, reference::Case};
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
    let devices = [
        ("packed", packed, vec!["f16"]),
        ("native", gpu, native.clone()),
        ("packed as another", packed_as, vec!["f16"]),
        ("native as another", gpu_as, native),
    ];

    let mut trials = vec![];
    for (i, case) in ops::cases().into_iter().enumerate() {
        let shapes: Vec<String> = case.inputs.iter().map(|(s, _)| s.to_string()).collect();
        let name = format!("{:03} {} {}", i, case.op.name(), shapes.join(" "));
        let c = case.clone();
        trials.push(Trial::test(format!("{name} definition"), move || check::definition(&c).map_err(Failed::from)));
        for (how, gpu, precisions) in &devices {
            for p in precisions {
                let (gpu, case) = (gpu.clone(), case.clone());
                let precision: Precision = p.parse().expect("a preset");
                if how.ends_with("another") && !differs(gpu.caps(), precision, &case) {
                    continue;
                }
                trials.push(Trial::test(format!("{name} {how} {p}"), move || {
                    check::on_device(&gpu, precision, &case).map_err(Failed::from)
                }));
            }
        }
    }
    for (how, gpu, precisions) in &devices[..2] {
        for p in precisions.iter().chain(&["mixed"]) {
            for (i, rule) in check::rules().iter().enumerate() {
                let (gpu, precision): (_, Precision) = (gpu.clone(), p.parse().expect("a preset"));
                trials.push(Trial::test(format!("optimizer {} {how} {p}", rule.name), move || {
                    check::rules()[i].on_device(&gpu, precision).map_err(Failed::from)
                }));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Whether a processor and a GPU run a case by other variants.
fn differs(caps: &Caps, precision: Precision, case: &Case) -> bool {
    let on = |kind| check::program(&Caps { kind, ..caps.clone() }, precision, case).map_err(|e| e.to_string());
    on(Kind::Software) != on(Kind::Discrete)
}
