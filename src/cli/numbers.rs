//! Numbers for readers: three digits and a unit.

use halfgrad::bench::report::Sample;

/// What is said where there is nothing.
pub const NONE: &str = "–";

/// Bytes in three digits: `39.9 kB`.
pub fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["kB", "MB", "GB"] {
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    let digits = if unit == "B" || value >= 99.95 { 0 } else { 1 + usize::from(value < 9.995) };
    format!("{value:.digits$} {unit}")
}

/// A positive number in three digits: `0.0123`, `4.57`, `1234`.
pub fn three(x: f64) -> String {
    match x {
        0.0 => "0".into(),
        x if !(1e-3..1e6).contains(&x) => format!("{x:.2e}"),
        x => {
            // 9.996 has the digits of 10.0, which it is rounded to.
            let digits = (2 - (x * 1.0005).log10().floor() as i32).max(0) as usize;
            format!("{x:.digits$}")
        }
    }
}

/// A relative error: `2.4e-4`, or 0.
pub fn error(e: Option<f64>) -> String {
    match e {
        None => NONE.into(),
        Some(0.0) => "0".into(),
        Some(e) => format!("{e:.1e}"),
    }
}

/// A share: `37 %`.
pub fn percent(share: f64) -> String {
    let value = 100.0 * share;
    let digits = usize::from(value < 9.95);
    format!("{value:.digits$} %")
}

/// How far the interval of 95 % reaches from the median, to the farther side: `± 3 %`; of what was run too seldom for
/// one, `3 runs`.
pub fn spread(sample: &Sample) -> String {
    match sample.interval() {
        Some((low, high)) if sample.median > 0.0 => {
            format!("± {}", percent((high - sample.median).max(sample.median - low) / sample.median))
        }
        Some(_) => NONE.into(),
        None if sample.runs == 1 => "1 run".into(),
        None => format!("{} runs", sample.runs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let sizes = [16, 999, 9994, 39_940, 99_960, 999_499, 999_500, 20_971_520].map(size);
        assert_eq!(sizes, ["16 B", "999 B", "9.99 kB", "39.9 kB", "100 kB", "999 kB", "1.00 MB", "21.0 MB"]);
    }

    #[test]
    fn numbers_have_three_digits() {
        let numbers = [0.0, 0.000_12, 0.012_34, 0.5, 9.9961, 4.567, 45.67, 456.7, 12_345.0, 2e6].map(three);
        assert_eq!(numbers, ["0", "1.20e-4", "0.0123", "0.500", "10.0", "4.57", "45.7", "457", "12345", "2.00e6"]);
        assert_eq!([Some(0.000_24), Some(0.0), None].map(error), ["2.4e-4", "0", "–"]);
        let spread = |runs| super::spread(&Sample { median: 2.0, low: 1.9, high: 2.5, runs });
        assert_eq!([spread(9), spread(5), spread(1)], ["± 25 %", "5 runs", "1 run"]);
    }
}
