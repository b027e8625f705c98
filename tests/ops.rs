//! Every op, every precision, forward and gradient, against its f64 reference.

use halfgrad::{Gpu, Precision, check, ops};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let gpu = Gpu::new().expect("an adapter");
    let packed = pollster::block_on(gpu.without_f16()).expect("the same adapter");
    let mut devices = vec![("packed", packed, vec!["f16"])];
    devices.push(match gpu.caps().shader_f16 {
        true => ("native", gpu, vec!["f32", "f16", "f16-strict"]),
        false => ("native", gpu, vec!["f32"]),
    });

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
                trials.push(Trial::test(format!("{name} {how} {p}"), move || {
                    check::on_device(&gpu, precision, &case).map_err(Failed::from)
                }));
            }
        }
    }
    for (how, gpu, precisions) in &devices {
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
