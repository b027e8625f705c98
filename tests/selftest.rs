//! The self-test runs every kernel, finds nothing here, and names the kernel in which a fault was planted.

use std::{collections::BTreeSet, fs, sync::Arc};

use halfgrad::{
    Gpu, Precision, Result, Tensor,
    check::{Cause, selftest},
    dispatch::Program,
    gpu::Settings,
    op::{Backward, Io, Kind, Op, Type},
    ops,
    reference::{Array, Case},
};

#[test]
fn every_op_and_every_shader_file_runs_and_nothing_is_wrong() {
    let cases = ops::cases();
    let gpu = Gpu::new().unwrap();
    let report = selftest(&gpu, &cases, true, &|_, _| {}).unwrap();
    assert!(report.passed(), "{report:?}");
    // The probes and the benches find out what an adapter does, and are no kernels; `simulate` rounds as `rounded` does.
    let files = fs::read_dir("shaders").unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let stem = path.file_stem()?.to_str()?.to_owned();
        let is_kernel = !["probe", "bench", "simulate"].iter().any(|part| stem.starts_with(part));
        (path.extension()? == "wgsl" && is_kernel).then_some(stem)
    });
    let files: BTreeSet<String> = files.collect();
    let ran: BTreeSet<String> = report.files.iter().map(|&file| file.to_owned()).collect();
    assert_eq!(ran, files);
    assert!(report.rows.iter().any(|row| row.precision == Precision::MIXED && row.trials > 0));
    // And so with everything switched off that can be.
    let settings = Settings::default().without(&Settings::SWITCHES.join(",")).unwrap();
    let plain = pollster::block_on(gpu.with(settings)).unwrap();
    let report = selftest(&plain, &cases, true, &|_, _| {}).unwrap();
    assert!(report.passed(), "{report:?}");
}

/// An op that something goes wrong with.
#[derive(Debug)]
struct Broken {
    op: Arc<dyn Op>,
    wrong: Wrong,
}

#[derive(Debug, Clone)]
enum Wrong {
    /// Its shader `file` has `to` in the place of `from`.
    Shader { file: &'static str, from: &'static str, to: &'static str },
    /// Its reference ends the device.
    Device(Gpu),
}

impl Op for Broken {
    fn name(&self) -> &'static str {
        self.op.name()
    }
    fn infer(&self, x: &[Type], precision: Precision) -> Result<Vec<Type>, String> {
        self.op.infer(x, precision)
    }
    fn kind(&self) -> Kind {
        self.op.kind()
    }
    fn grad<'g>(&self, at: &Backward<'g>) -> Vec<Option<Tensor<'g>>> {
        self.op.grad(at)
    }
    fn lower(&self, io: &Io, program: &mut Program) {
        let before = program.dispatches.len();
        self.op.lower(io, program);
        let Wrong::Shader { file, from, to } = self.wrong else { return };
        for d in program.dispatches[before..].iter_mut().filter(|d| d.shader.name == file) {
            let shader = Arc::make_mut(&mut d.shader);
            assert!(shader.source.contains(from), "{}", shader.source);
            shader.source = shader.source.replace(from, to).into();
        }
    }
    fn loads_wide(&self) -> bool {
        self.op.loads_wide()
    }
    fn hands_on(&self, inference: bool) -> Option<usize> {
        self.op.hands_on(inference)
    }
    fn reference(&self, x: &[Array]) -> Vec<Array> {
        if let Wrong::Device(gpu) = &self.wrong {
            gpu.device().destroy();
        }
        self.op.reference(x)
    }
}

/// The cases of some ops, and what goes wrong with one of them.
fn cases_with(op: &str, wrong: Wrong, beside: &[&str]) -> Vec<Case> {
    let chosen = ops::cases().into_iter().filter(|case| case.op.name() == op || beside.contains(&case.op.name()));
    let broken = chosen.map(|case| match case.op.name() == op {
        true => Case { op: Arc::new(Broken { op: case.op, wrong: wrong.clone() }), ..case },
        false => case,
    });
    broken.collect()
}

#[test]
fn a_device_that_is_lost_leaves_a_report_that_names_the_case() {
    let gpu = Gpu::new().unwrap();
    let cases = cases_with("softmax", Wrong::Device(gpu.clone()), &["relu", "cumsum"]);
    let report = selftest(&gpu, &cases, false, &|_, _| {}).unwrap();
    let lost = report.lost.as_ref().unwrap().to_string();
    assert!(lost.starts_with("device: ") && !report.passed(), "{lost}");
    let faults: Vec<_> = report.rows.iter().flat_map(|row| &row.faults).collect();
    let named = faults.iter().find(|f| f.case.starts_with("softmax")).unwrap();
    assert!(named.files.contains(&"softmax") && named.to_string().contains(&lost), "{named}");
    // The other threads had a trial each.
    assert!(faults.len() <= 8 && report.rows.iter().all(|row| row.untried > 0 || row.trials > 0), "{faults:?}");
    assert!(report.rows.iter().any(|row| row.untried > 0 && row.trials == 0), "{report:?}");
}

#[test]
fn a_planted_fault_is_named() {
    let gpu = Gpu::new().unwrap();
    for (op, file, from, to) in [
        ("softmax", "softmax", "v /= e.sum", "v /= 1.25 * e.sum"),
        ("softmax_backward", "softmax_backward", "u * (v - sum)", "u * (v + sum)"),
        // Not WGSL any more: the driver's compiler never sees it.
        ("cumsum", "cumsum", "fn main(", "fn main(("),
    ] {
        // Among ops that are right.
        let beside = ["softmax", "softmax_backward", "cumsum", "relu"];
        let cases = cases_with(op, Wrong::Shader { file, from, to }, &beside);
        let report = selftest(&gpu, &cases, true, &|_, _| {}).unwrap();
        assert!(!report.passed());
        for row in &report.rows {
            // Ops do not ask who keeps master weights.
            assert_eq!(row.faults.is_empty(), row.precision.master, "{op} in {}: {:?}", row.precision, row.faults);
            for fault in &row.faults {
                assert_eq!(fault.files, [file], "{fault}");
                assert!(fault.case.starts_with(op) && fault.precision == row.precision, "{fault}");
                let Cause::Value { index, shape, found, expected, tolerance, wrong, .. } = &fault.cause else {
                    assert!(op == "cumsum" && fault.to_string().contains("cumsum.wgsl:"), "{fault}");
                    continue;
                };
                assert!(index.len() == shape.rank() && (1..=shape.len()).contains(wrong), "{fault}");
                assert!((f64::from(*found) - expected).abs() > *tolerance, "{fault}");
            }
        }
    }
}
