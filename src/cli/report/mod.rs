//! `halfgrad report`: an experiment's folder as a page to look at, and a picture of each plot.

mod accuracy;
mod adapter;
mod cost;
mod exponents;
mod folder;
mod lost;
mod page;
mod plots;
mod reproduce;
mod theorem;
mod training;
mod verdict;

use std::{
    fs,
    path::{Path, PathBuf},
};

use halfgrad::{Error, file};

use self::{folder::Folder, page::Part};
use crate::{ReportArgs, cli::plot};

/// Where the pictures are, in the folder.
const PICTURES: &str = "plots";

/// Makes the page of a folder.
pub fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let page = make(&args.folder, args.out.as_deref())?;
    super::print(&format!("The page is {}\n", page.display()))
}

/// Writes the page, `report.html` in the folder if nothing else is said, and the pictures; tells where the page is.
pub fn make(folder: &Path, out: Option<&Path>) -> anyhow::Result<PathBuf> {
    let read = Folder::read(folder)?;
    let parts = page::parts(&read)?;
    let pictures = folder.join(PICTURES);
    fs::create_dir_all(&pictures).map_err(|e| Error::file(&pictures, e))?;
    for figure in parts.iter().flat_map(Part::figures) {
        let png = plot::png(&figure.svg)?;
        file::write_atomically(pictures.join(format!("{}.png", figure.name)), |file| file.write_all(&png))?;
    }
    let out = out.map_or_else(|| folder.join("report.html"), Path::to_owned);
    let page = page::render(&read, &parts);
    file::write_atomically(&out, |file| file.write_all(page.as_bytes()))?;
    Ok(out)
}
