//! The table that is kept in the repository, and how a new one is held against it.

use std::{collections::BTreeMap, fmt::Write};

/// The names of the numbers in a row.
pub const COLUMNS: [&str; 10] =
    ["VGPRs", "SGPRs", "spills", "LDS", "waves", "instrs", "packed", "mad%", "latency", "invtput"];
const SPILLS: usize = 2;
/// How far a number may be from the kept one, in per cent, on the same Mesa.
pub const MARGIN: u64 = 10;

/// Kernel and chip to numbers; none where there is nothing to say.
pub type Rows = BTreeMap<(String, String), Vec<Option<u64>>>;

/// Numbers of every heavy kernel on every chip, and the compiler that they are of.
#[derive(Debug, PartialEq, Default)]
pub struct Table {
    /// `Mesa 22.3.6`.
    pub mesa: String,
    /// The numbers.
    pub rows: Rows,
}

const HEAD: &str = "\
What AMD's Vulkan compiler makes of the kernels that take time in the networks. `cargo xtask isa` compares this table with
what it makes of them now: a kernel that starts to spill fails, on any Mesa; on the Mesa named here so does a number that
is more than 10 % off. UPDATE_GOLDEN=1 cargo xtask isa writes it anew. Tiles of 128x128 and 64x64 have targets of their own
(xtask/src/isa/targets.rs): waves, multiply-adds, no spills.

kernel   the file in shaders/; of matrix products the tile, and whether the sum runs along or across the lines of a and of b;
         then the precision, and `packed` for an adapter without f16. Of all variants in an MLP, LeNet, ResNet-20, MobileNet
         and ViT-8, and in products of 64 and 256 channels, it is the one that does most work, with what is fused behind it.
chip     RAVEN and RENOIR: laptops with Vega; REMBRANDT: with RDNA 2; PHOENIX: with RDNA 3; NAVI21, NAVI31: cards.
VGPRs    vector registers an invocation      SGPRs    scalar registers a wave     spills   registers that did not fit
LDS      bytes of workgroup memory           waves    that fit on a SIMD          instrs   instructions
packed   instructions on two halves at once
mad%     multiply-adds in a hundred vector instructions of the inner loop
latency  and invtput: cycles of a wave alone and among others, as the driver estimates them for one turn of each loop

compiler: ";

impl Table {
    /// Reads what [`render`](Self::render) wrote.
    pub fn parse(text: &str) -> Self {
        let mut table = Table::default();
        let mut lines = text.lines().skip_while(|l| !l.starts_with("compiler: "));
        table.mesa = lines.next().unwrap_or_default().trim_start_matches("compiler: ").to_owned();
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [kernel, chip, numbers @ ..] = &words[..]
                && numbers.len() == COLUMNS.len()
                && *kernel != "kernel"
            {
                table.add(kernel, chip, numbers);
            }
        }
        table
    }

    /// Adds a row of numbers in words.
    pub fn add(&mut self, kernel: &str, chip: &str, numbers: &[&str]) {
        self.rows.insert((kernel.to_owned(), chip.to_owned()), numbers.iter().map(|n| n.parse().ok()).collect());
    }

    /// The table as text, kernels apart by an empty line.
    pub fn render(&self) -> String {
        let width = self.rows.keys().map(|(kernel, _)| kernel.len()).max().unwrap_or(0);
        let mut text = format!("{HEAD}{}\n\n{:width$}  {:9}", self.mesa, "kernel", "chip");
        let line = |text: &mut String, cells: Vec<String>| {
            cells.iter().for_each(|c| write!(text, " {c:>7}").expect("a string takes all"));
            text.push('\n');
        };
        line(&mut text, COLUMNS.map(str::to_owned).to_vec());
        let mut file = "";
        for ((kernel, chip), numbers) in &self.rows {
            let next = kernel.split('-').next().unwrap_or_default();
            if next != file {
                text.push('\n');
                file = next;
            }
            write!(text, "{kernel:width$}  {chip:9}").expect("a string takes all");
            line(&mut text, numbers.iter().map(|n| n.map_or("-".to_owned(), |n| n.to_string())).collect());
        }
        text
    }

    /// What is wrong with `now`, line by line, where this is what was kept.
    pub fn compare(&self, now: &Table) -> Vec<String> {
        let mut wrong = vec![];
        let same = self.mesa == now.mesa;
        for ((kernel, chip), numbers) in &now.rows {
            let kept = self.rows.get(&(kernel.clone(), chip.clone()));
            let spills = |row: &[Option<u64>]| row[SPILLS].unwrap_or(0);
            let before = kept.map_or(0, |row| spills(row));
            match kept {
                _ if spills(numbers) > before => {
                    wrong.push(format!(
                        "{kernel} on {chip} spills {} registers, {before} in the table",
                        spills(numbers)
                    ));
                }
                _ if !same => {}
                None => wrong.push(format!("{kernel} on {chip} is not in the table")),
                Some(kept) => wrong.extend(drift(kept, numbers).map(|what| format!("{kernel} on {chip}: {what}"))),
            }
        }
        let gone = self.rows.keys().filter(|key| same && !now.rows.contains_key(*key));
        wrong
            .extend(gone.map(|(kernel, chip)| format!("{kernel} on {chip} is in the table and not compiled any more")));
        wrong
    }
}

/// The first number that is further off than the margin.
fn drift(kept: &[Option<u64>], now: &[Option<u64>]) -> Option<String> {
    let far = |(_, (a, b)): &(usize, (&Option<u64>, &Option<u64>))| {
        let (a, b) = (a.unwrap_or(0), b.unwrap_or(0));
        100 * a.abs_diff(b) > MARGIN * a.max(b)
    };
    let (column, (was, is)) = kept.iter().zip(now).enumerate().find(far)?;
    let word = |n: &Option<u64>| n.map_or("none".to_owned(), |n| n.to_string());
    Some(format!("{} {}, {} in the table", word(is), COLUMNS[column], word(was)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(mesa: &str, spills: &str, latency: &str) -> Table {
        let mut table = Table { mesa: mesa.to_owned(), ..Table::default() };
        table.add("adam-f16", "RENOIR", &["24", "32", spills, "0", "10", "300", "8", "-", latency, "900"]);
        table
    }

    #[test]
    fn what_is_written_is_read_again() {
        let kept = table("Mesa 22.3.6", "0", "1000");
        assert_eq!(Table::parse(&kept.render()), kept);
    }

    #[test]
    fn spills_fail_on_any_compiler_and_other_drift_on_the_same() {
        let kept = table("Mesa 22.3.6", "0", "1000");
        assert!(kept.compare(&table("Mesa 22.3.6", "0", "1050")).is_empty());
        assert!(kept.compare(&table("Mesa 25.0.7", "0", "5000")).is_empty());
        let slower = kept.compare(&table("Mesa 22.3.6", "0", "1200"));
        assert_eq!(slower, ["adam-f16 on RENOIR: 1200 latency, 1000 in the table"]);
        assert_eq!(
            kept.compare(&table("Mesa 25.0.7", "3", "1000")),
            ["adam-f16 on RENOIR spills 3 registers, 0 in the table"]
        );
        assert_eq!(Table::default().compare(&table("", "0", "1")), ["adam-f16 on RENOIR is not in the table"]);
        assert_eq!(kept.compare(&Table { mesa: kept.mesa.clone(), ..Table::default() }).len(), 1);
    }
}
