//! The arguments of benches that time by themselves.

/// Options of criterion's that take a value.
const VALUED: [&str; 7] = [
    "--save-baseline",
    "--baseline",
    "--baseline-lenient",
    "--sample-size",
    "--measurement-time",
    "--warm-up-time",
    "--noise-threshold",
];

/// The part of a name that was asked for. Options are for the benches on criterion, beside which these may run; none if
/// nothing is to be measured, as under `cargo test`.
pub fn filter() -> Option<String> {
    let args: Vec<String> = std::env::args().collect();
    let given = |name: &str| args.iter().any(|a| a == name);
    if !given("--bench") || given("--list") || given("--test") {
        return None;
    }
    let name = |a: &&[String]| !VALUED.contains(&a[0].as_str()) && !a[1].starts_with('-');
    Some(args.windows(2).find(name).map(|a| a[1].clone()).unwrap_or_default())
}
