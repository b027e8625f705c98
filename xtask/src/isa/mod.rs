//! Real machine code of AMD GPUs, with no AMD GPU: Mesa's compiler takes any of its chips for present when
//! `RADV_FORCE_FAMILY` names it. It then compiles as usual, and runs nothing.

mod assembly;
mod compile;
mod table;
mod targets;

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use self::table::Table;
use crate::{Stop, TOOL, cargo, driver, root, run, target};

/// Chips by the name that the table has, and by those that Mesa's versions know.
const CHIPS: [(&str, &[&str]); 6] = [
    ("RAVEN", &["RAVEN"]),
    ("RENOIR", &["RENOIR"]),
    ("REMBRANDT", &["REMBRANDT"]),
    ("PHOENIX", &["GFX1103_R1", "PHOENIX"]),
    ("NAVI21", &["NAVI21"]),
    ("NAVI31", &["GFX1100", "NAVI31"]),
];

/// The table in the repository.
const KEPT: &str = "xtask/isa.txt";

/// Compiles every heavy kernel for every chip and holds it against the targets and the table. With `args`, this is the process that
/// pretends: it prints the numbers of one chip.
pub fn check(args: &[String]) -> Result<(), Stop> {
    if let [folder] = args {
        return compile::print(folder).map_err(|e| Stop::new(1, e.to_string()));
    }
    let manifest = driver::ensure_radv()?;
    let shaders = target().join("isa");
    if shaders.exists() {
        fs::remove_dir_all(&shaders).map_err(|e| Stop::new(1, format!("{}: {e}", shaders.display())))?;
    }
    run(cargo().args(TOOL).args(["shaders", "--heavy", "--target=spirv", "--out"]).arg(&shaders))?;
    let mut now = Table::default();
    for (chip, names) in CHIPS {
        match names.iter().find_map(|name| compiled(name, &manifest, &shaders)) {
            Some(said) => add(&mut now, chip, &said),
            None => println!("{chip}: this Mesa does not know it"),
        }
    }
    if now.rows.is_empty() {
        return Err(Stop::new(1, "xtask: Mesa compiled for none of the chips"));
    }
    let missed = targets::missed(&now);
    if !missed.is_empty() {
        return Err(Stop::new(1, missed.join("\n")));
    }
    let path = root().join(KEPT);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        println!("{} rows by {} in {KEPT}", now.rows.len(), now.mesa);
        return fs::write(&path, now.render()).map_err(|e| Stop::new(1, format!("{}: {e}", path.display())));
    }
    let kept = Table::parse(&fs::read_to_string(&path).unwrap_or_default());
    let wrong = kept.compare(&now);
    if wrong.is_empty() {
        let others = if kept.mesa == now.mesa { "" } else { "; only spills were compared" };
        println!("{} rows by {}, the table is by {}{others}", now.rows.len(), now.mesa, kept.mesa);
        return Ok(());
    }
    Err(Stop::new(1, format!("{}\n{KEPT} differs; UPDATE_GOLDEN=1 cargo xtask isa accepts it", wrong.join("\n"))))
}

/// What a process says that takes the chip for present; none if this Mesa does not know it.
fn compiled(chip: &str, manifest: &Path, shaders: &Path) -> Option<String> {
    let mut child = Command::new(env::current_exe().ok()?);
    child.arg("isa").arg(shaders).stderr(Stdio::null());
    child.env("RADV_FORCE_FAMILY", chip).env("RADV_DEBUG", "nocache");
    // The loader's name for it, and the name that it had before.
    child.env("VK_DRIVER_FILES", manifest).env("VK_ICD_FILENAMES", manifest);
    let said = child.output().ok()?;
    said.status.success().then(|| String::from_utf8_lossy(&said.stdout).into_owned())
}

fn add(table: &mut Table, chip: &str, said: &str) {
    let mut lines = said.lines();
    table.mesa = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        let words: Vec<&str> = line.split('\t').collect();
        if let [kernel, numbers @ ..] = &words[..] {
            table.add(kernel, chip, numbers);
        }
    }
}
