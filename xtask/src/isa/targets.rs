//! What the main matrix products and convolutions must reach, whatever the kept table says: their tiles of 128×128 and
//! 64×64, which large ones run on; and what kernels of rows must.

use super::table::{COLUMNS, Table};

/// Waves on a SIMD: the chip, of tiles of 128×128 (8×8 sums an invocation), and of 64×64 (8×4).
const WAVES: [(&str, u64, u64); 2] = [("NAVI21", 4, 4), ("RENOIR", 2, 4)];
/// Multiply-adds in a hundred vector instructions of the inner loop. Where registers are f16, that is a whole turn with all its loads
/// (`docs/performance.md`).
const SHARE: u64 = 85;
/// Instructions on two halves at once, where registers are f16: half the multiply-adds of a turn.
const PACKED: u64 = 512;
/// Kernels whose invocations share rows, and hold them in registers.
const ROWS: [&str; 5] = ["softmax", "layer_norm", "reduce_rows", "cross_entropy", "row_exponentials"];
/// Their waves on a SIMD: enough of them to wait for memory.
const WAVES_OF_ROWS: [(&str, u64); 2] = [("NAVI21", 16), ("RENOIR", 4)];

/// What is missed, line by line.
pub fn missed(table: &Table) -> Vec<String> {
    let product = |kernel: &str| kernel.starts_with("matmul-") || kernel.starts_with("conv2d");
    let all = table.rows.iter();
    all.flat_map(|((kernel, chip), numbers)| {
        let large = kernel.contains("-128x128-");
        let demands = match product(kernel) && (large || kernel.contains("-64x64-")) {
            true => demands(kernel, chip, large),
            false if ROWS.iter().any(|name| kernel.starts_with(name)) => demands_of_rows(chip),
            false => vec![],
        };
        let get = |name: &str| COLUMNS.iter().position(|c| *c == name).and_then(|i| numbers[i]).unwrap_or(0);
        let falls_short = demands.into_iter().filter_map(move |(name, least, most)| {
            let found = get(name);
            let wanted = if found < least { least } else { most };
            (found < least || found > most).then(|| format!("{kernel} on {chip}: {found} {name}, {wanted} wanted"))
        });
        falls_short.collect::<Vec<_>>()
    })
    .collect()
}

/// Columns, each with the least and the most that it may hold.
fn demands(kernel: &str, chip: &str, large: bool) -> Vec<(&'static str, u64, u64)> {
    let mut demands = vec![("spills", 0, 0)];
    if let Some((_, eight, four)) = WAVES.iter().find(|(name, ..)| *name == chip) {
        demands.push(("waves", if large { *eight } else { *four }, u64::MAX));
        demands.push(("mad%", SHARE, 100));
        if kernel.ends_with("-strict") {
            demands.push(("packed", PACKED, u64::MAX));
        }
    }
    demands
}

/// The same of kernels of rows.
fn demands_of_rows(chip: &str) -> Vec<(&'static str, u64, u64)> {
    let waves = WAVES_OF_ROWS.iter().find(|(name, _)| *name == chip);
    [("spills", 0, 0)].into_iter().chain(waves.map(|(_, waves)| ("waves", *waves, u64::MAX))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of one row, its spills, waves, packed instructions and share of multiply-adds as given.
    fn missed_by(kernel: &str, chip: &str, [spills, waves, packed, share]: [&str; 4]) -> Vec<String> {
        let mut table = Table::default();
        table.add(kernel, chip, &["64", "32", spills, "8192", waves, "700", packed, share, "20000", "10000"]);
        missed(&table)
    }

    #[test]
    fn each_target_is_held() {
        let good = ["0", "4", "0", "96"];
        assert!(missed_by("matmul-64x64-along-across-f32", "RENOIR", good).is_empty());
        assert_eq!(
            missed_by("matmul-64x64-along-across-f32", "RENOIR", ["0", "3", "0", "84"]),
            [
                "matmul-64x64-along-across-f32 on RENOIR: 3 waves, 4 wanted",
                "matmul-64x64-along-across-f32 on RENOIR: 84 mad%, 85 wanted"
            ]
        );
        assert!(missed_by("conv2d-128x128-along-across-f16", "RENOIR", ["0", "2", "0", "96"]).is_empty());
        let spilled = missed_by("conv2d-128x128-along-across-f16", "NAVI31", ["7", "2", "0", "96"]);
        assert_eq!(spilled, ["conv2d-128x128-along-across-f16 on NAVI31: 7 spills, 0 wanted"]);
        let strict = "matmul-64x64-along-across-f16-strict";
        assert!(missed_by(strict, "NAVI21", ["0", "18", "512", "85"]).is_empty());
        assert_eq!(missed_by(strict, "NAVI21", ["0", "18", "16", "84"]).len(), 2);
        assert!(missed_by("matmul-32x32-along-across-f32", "RENOIR", ["0", "1", "0", "50"]).is_empty());
        assert!(missed_by("softmax_backward-f32", "RENOIR", ["0", "5", "0", "0"]).is_empty());
        assert_eq!(missed_by("layer_norm-f16", "NAVI21", ["1", "10", "0", "0"]).len(), 2);
    }
}
