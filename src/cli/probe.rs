//! `halfgrad devices --probe`: what an adapter's 16-bit arithmetic really does.

use comfy_table::{Cell, Table};
use halfgrad::{
    Gpu,
    format::Format,
    gpu::probe::{
        Overflow, Probe, RoundingMode,
        arithmetic::Arithmetic,
        functions::{Accuracy, Worst},
        rounding::Conversion,
    },
};
use serde::{Deserialize, Serialize};

use super::record;
use crate::DevicesArgs;

/// What `--json` prints.
#[derive(Serialize, Deserialize)]
pub struct Report {
    pub adapter: record::Adapter,
    pub probe: Probe,
    pub conclusions: Vec<String>,
}

/// Probes the chosen adapter and prints what was found.
pub fn run(args: &DevicesArgs) -> anyhow::Result<()> {
    let gpu = super::request(args.adapter.as_deref())?;
    let report = Report::of(&gpu)?;
    match args.json {
        true => super::print_json(&report),
        false => super::print(&report.text()),
    }
}

impl Report {
    /// Probes.
    pub fn of(gpu: &Gpu) -> anyhow::Result<Self> {
        let probe = gpu.probe()?;
        let conclusions = probe.conclusions();
        Ok(Report { adapter: record::Adapter::of_gpu(gpu), probe, conclusions })
    }

    /// Arithmetic, conversions and functions.
    pub fn tables(&self) -> [Table; 3] {
        let p = &self.probe;
        [arithmetic(p), conversions(p), functions(p)]
    }

    /// As it is printed.
    pub fn text(&self) -> String {
        let a = &self.adapter;
        let tables = self.tables().map(|t| t.trim_fmt());
        let conclusions: Vec<_> = self.conclusions.iter().map(|line| super::lines("* ", line)).collect();
        format!(
            "{} {}, {}\n\n{}\n{NOTES}\nWhat this means for training here:\n{}",
            a.backend,
            a.name,
            a.driver_line(),
            tables.join("\n\n"),
            conclusions.concat()
        )
    }
}

/// How to read the tables.
pub const NOTES: &str = "\
Worst errors over all halves, in units of the last place, and where: normal numbers, results up to half the largest.
spec: for how many arguments the error is beyond what WGSL allows. as f16: an f32 result once rounded; 0.5 is perfect.
special: of NaN, inf, -inf, 0 and -1, those that give something else than they should.
";

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(super::TABLE).set_header(header);
    table
}

fn arithmetic(p: &Probe) -> Table {
    let columns: Vec<(&Arithmetic, Format)> =
        [Some((&p.f32, Format::F32)), p.f16.as_ref().map(|a| (a, Format::F16))].into_iter().flatten().collect();
    let mut header = vec!["arithmetic", "f32"];
    header.extend(p.f16.map(|_| "native f16"));
    let mut table = Table::new();
    table.load_style(super::TABLE).set_header(header);
    type Tell = fn(&Arithmetic, Format) -> String;
    let rows: [(&str, Tell); 11] = [
        ("a + b, a * b rounded", |a, _| format!("{}, {}", rounding(a.add), rounding(a.multiply))),
        ("subnormals", |a, _| subnormals(a)),
        ("a + b, a * b beyond the largest", |a, _| format!("{}, {}", over(a.add_overflow), over(a.multiply_overflow))),
        ("a * b + c, fma(a, b, c)", |a, _| format!("{}, {}", roundings(a.contracts), roundings(a.fma_is_fused))),
        ("(a + b) - b", |a, _| if a.simplifies { "simplified to a" } else { "computed" }.into()),
        ("two_sum", |a, _| if a.two_sum { "works" } else { "simplified to nothing" }.into()),
        ("a weight of 0.1 after 1000 updates", |a, _| format!("{:.8}, exact {:.8}", a.update.nearest, a.update.exact)),
        ("by Kahan's sum", |a, f| {
            format!(
                "{:.8}, {}",
                a.update.compensated,
                if a.update.is_compensated(f) { "works" } else { "does not work" }
            )
        }),
        ("NaN found by", |a, _| {
            let s = &a.specials;
            list([(s.nan_by_not_equal, "a != a"), (s.nan_by_equal, "!(a == a)"), (s.by_bits, "bits")])
        }),
        ("Inf found by", |a, _| {
            let s = &a.specials;
            let greater = s.inf_by_greater && s.overflow_by_greater;
            list([(greater, "abs(a) > largest"), (s.by_bits, "bits"), (false, "")])
        }),
        ("NaN kept by", |a, _| {
            let s = &a.specials;
            list([(s.nan_survives_max, "max"), (s.nan_survives_select, "select by comparison"), (s.made, "Inf - Inf")])
        }),
    ];
    table.add_rows(rows.map(|(name, tell)| {
        let cells = columns.iter().map(|(a, format)| tell(a, *format));
        std::iter::once(name.to_owned()).chain(cells).collect::<Vec<_>>()
    }));
    table
}

fn rounding(r: RoundingMode) -> &'static str {
    match r {
        RoundingMode::NearestEven => "nearest even",
        RoundingMode::TowardZero => "towards zero",
        RoundingMode::Other => "otherwise",
    }
}

fn over(o: Overflow) -> &'static str {
    match o {
        Overflow::Infinite => "inf",
        Overflow::Largest => "largest",
        Overflow::Nan => "NaN",
        Overflow::Other => "other",
    }
}

fn roundings(fused: bool) -> &'static str {
    if fused { "fused" } else { "two roundings" }
}

fn subnormals(a: &Arithmetic) -> String {
    let s = &a.subnormals;
    if s.kept() {
        return "kept".into();
    }
    let places = [
        (s.stored, "stored"),
        (s.added, "added"),
        (s.multiplied, "multiplied"),
        (s.sum, "sums"),
        (s.product, "products"),
    ];
    let flushed: Vec<_> = places.into_iter().filter(|(kept, _)| !kept).map(|(_, name)| name).collect();
    format!("flushed: {}", flushed.join(", "))
}

fn list(tests: [(bool, &str); 3]) -> String {
    let true_ones: Vec<_> = tests.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
    if true_ones.is_empty() { "nothing".into() } else { true_ones.join(", ") }
}

fn conversions(p: &Probe) -> Table {
    let mut table = table(["f32 to f16", "rounding", "subnormals", "65519", "65520", "65536", "1e6", "NaN"]);
    let c = &p.conversions;
    let ways: [(&str, &Conversion); 4] = [
        ("tensors, as stored", &c.stored),
        ("pack2x16float", &c.pack2x16float),
        ("quantizeToF16", &c.quantize_to_f16),
        ("integers of lib/half.wgsl", &c.integers),
    ];
    table.add_rows(ways.map(|(name, way)| {
        let large = way.large.map(|(_, gives)| over(gives).to_owned());
        let kept = if way.keeps_subnormals { "kept" } else { "flushed" };
        let nan = if way.keeps_nan { "kept" } else { "lost" };
        let head = [name, rounding(way.rounding), kept].map(str::to_owned);
        head.into_iter().chain(large).chain([nan.to_owned()]).collect::<Vec<_>>()
    }));
    table.add_row(vec!["and back, in registers", if c.rounds_in_registers { "rounds" } else { "left out" }]);
    let works = if c.update.is_compensated(Format::F16) { "works" } else { "does not work" };
    let update = format!("{:.5}, {works}", c.update.compensated);
    table.add_row(vec!["compensated update, integers", &update]);
    table
}

fn functions(p: &Probe) -> Table {
    let native = p.f16.is_some();
    let mut header = vec!["", "WGSL, f32", "as f16", "spec", "special", "this crate", "as f16"];
    if native {
        header.splice(1..1, ["native f16", "spec"]);
    }
    let mut table = Table::new();
    table.load_style(super::TABLE).set_header(header);
    for f in &p.functions {
        let mut cells = vec![f.name.clone()];
        if native {
            cells.extend([worst(&f.native, |a| a.worst), spec(&f.native)]);
        }
        cells.extend([worst(&f.f32, |a| a.worst), worst(&f.f32, |a| a.rounded), spec(&f.f32)]);
        cells.push(special([&f.native, &f.f32, &f.own]));
        cells.extend([worst(&f.own, |a| a.worst), worst(&f.own, |a| a.rounded)]);
        table.add_row(cells.into_iter().map(Cell::new));
    }
    table
}

fn worst(accuracy: &Option<Accuracy>, of: fn(&Accuracy) -> Worst) -> String {
    match accuracy.as_ref().map(of) {
        None => String::new(),
        Some(Worst { ulp, .. }) if ulp < 0.501 => "0.5".into(),
        Some(Worst { ulp, at }) => format!("{} at {}", short(ulp, 1), short(at, 4)),
    }
}

/// A number in a few digits.
fn short(v: f64, digits: usize) -> String {
    match v.abs() {
        a if a >= 100_000.0 && v.is_finite() => format!("{v:.0e}"),
        a if a < 0.001 && v != 0.0 => format!("{v:.1e}"),
        a if a >= 100.0 => format!("{v:.0}"),
        _ => format!("{v:.digits$}"),
    }
}

fn spec(accuracy: &Option<Accuracy>) -> String {
    match accuracy.as_ref().and_then(|a| a.outside) {
        None => String::new(),
        Some(0) => "ok".into(),
        Some(n) => format!("{n} off"),
    }
}

/// Of all ways, since few go wrong: `inf: NaN`.
fn special(ways: [&Option<Accuracy>; 3]) -> String {
    let mut wrong: Vec<String> = vec![];
    for way in ways.into_iter().flatten() {
        wrong
            .extend(way.special.iter().map(|s| format!("{}: {}", s.at, short(s.gives.parse().unwrap_or(f64::NAN), 2))));
    }
    wrong.dedup();
    wrong.join("\n")
}
