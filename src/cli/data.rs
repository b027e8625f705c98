//! `--data`: what it may name, and how that is told apart.

use std::{fs, path::Path};

use anyhow::ensure;
use halfgrad::{
    Error,
    data::{
        self, ImageFolder, Split, cifar,
        folder::OnBroken,
        idx,
        text::{Text, Unit},
    },
};

use super::note;
use crate::DataArgs;

const EXPECTED: &str = "--data takes digits, fashion-mnist, or a folder: of images with a sub-folder for each class, of \
                        CIFAR-10 or CIFAR-100 (data_batch_1.bin … or train.bin, or the .tar.gz), or of an MNIST's IDX \
                        files (train-images-idx3-ubyte …), or for gpt a text";

/// The length of a sequence of tokens, if the user does not choose.
pub const SEQUENCE: usize = 128;

impl DataArgs {
    /// What `--data` names, or else the digits.
    pub fn name(&self) -> &str {
        self.data.as_deref().unwrap_or("digits")
    }

    /// Refuses what was said of images, or of a text, where there are none.
    pub fn suits(&self, images: bool, text: bool) -> anyhow::Result<()> {
        let of_images = [self.size.is_some(), self.grey, self.test_share.is_some(), self.split_seed.is_some()];
        ensure!(
            images || !of_images.contains(&true) && self.on_broken.is_none(),
            "--size, --grey, --test-share, --split-seed and --on-broken are for folders of images"
        );
        ensure!(text || self.tokens.is_none() && self.seq.is_none(), "--tokens and --seq are for a text");
        ensure!(!text || self.augment.is_none(), "--augment is for images, and not for a text");
        Ok(())
    }
}

/// Loads what `--data` names; broken images that may be skipped are told.
pub fn load(args: &DataArgs, model: &str) -> anyhow::Result<Split> {
    let (name, path) = (args.name(), Path::new(args.name()));
    let known = ["digits", "fashion-mnist"].contains(&name);
    if !known && !path.exists() {
        return Err(Error::file(path, format!("no such folder or file; {EXPECTED}")).into());
    }
    let kind = if known { Kind::Named } else { Kind::of(path)? };
    if matches!(kind, Kind::File) && model != "gpt" {
        let detail = format!("a file that {model} cannot learn from; {EXPECTED}");
        return Err(Error::file(path, detail).into());
    }
    args.suits(matches!(kind, Kind::Images), matches!(kind, Kind::File))?;
    Ok(match kind {
        Kind::Named if name == "digits" => data::digits(),
        Kind::Named => data::fashion_mnist()?,
        Kind::File => {
            Text::read(path, args.tokens.unwrap_or(Unit::Character))?.split(name, args.seq.unwrap_or(SEQUENCE))?
        }
        Kind::Cifar => cifar::load(path)?,
        Kind::Idx => idx::load(path)?,
        Kind::Images => images(args, path)?,
    })
}

enum Kind {
    Named,
    /// None of ours: a text, if gpt can read it.
    File,
    Cifar,
    Idx,
    Images,
}

impl Kind {
    /// What lies at `path`.
    fn of(path: &Path) -> anyhow::Result<Kind> {
        if cifar::is_here(path) {
            return Ok(Kind::Cifar);
        }
        if path.is_file() {
            return Ok(Kind::File);
        }
        let entries = fs::read_dir(path).map_err(|e| Error::file(path, format!("{e}; {EXPECTED}")))?;
        let mut folders = false;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.contains("idx3-ubyte") || name.contains("idx1-ubyte") {
                return Ok(Kind::Idx);
            }
            folders |= entry.path().is_dir() && !name.starts_with('.');
        }
        ensure!(folders, Error::file(path, format!("holds no data set; {EXPECTED}")));
        Ok(Kind::Images)
    }
}

fn images(args: &DataArgs, path: &Path) -> anyhow::Result<Split> {
    let mut folder = ImageFolder::new(path).on_broken(args.on_broken.unwrap_or_default());
    if let Some([height, width]) = args.size {
        folder = folder.size(height, width);
    }
    if args.grey {
        folder = folder.grey();
    }
    if let Some(share) = args.test_share {
        folder = folder.test_share(share.into());
    }
    if let Some(seed) = args.split_seed {
        folder = folder.seed(seed);
    }
    let (split, broken) = folder.load().map_err(|e| match args.on_broken {
        None if matches!(&e, Error::File { path, .. } if path.is_file()) => {
            anyhow::Error::from(e).context("broken image (--on-broken skip goes on without)")
        }
        _ => e.into(),
    })?;
    debug_assert!(broken.is_empty() || args.on_broken == Some(OnBroken::Skip));
    broken.iter().for_each(|e| note(&format!("skipped: {e}")));
    Ok(split)
}
