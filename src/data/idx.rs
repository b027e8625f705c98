//! Files of the IDX format: MNIST, Fashion-MNIST, KMNIST, EMNIST.
//!
//! The format, by Y. LeCun: two zero bytes, the type of the values, the number of axes, the length of each axis as a
//! big-endian `u32`, and the values, row-major. The files may be packed with gzip, whatever their names say.

use super::{Dataset, Split};
use crate::{Error, Result, Shape, file::unreadable};
use flate2::read::MultiGzDecoder;
use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// What a file may hold at most: a hostile header or gzip stream should not fill the memory.
const MAX_BYTES: u64 = 1 << 32;

/// The only type of values read: unsigned bytes.
const UNSIGNED_BYTE: u8 = 0x08;

/// The values of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idx {
    /// The length of each axis.
    pub axes: Vec<usize>,
    /// The values, row-major.
    pub values: Vec<u8>,
}

impl Idx {
    /// Reads a file of unsigned bytes with so many axes: 3 for images, 1 for labels.
    ///
    /// # Errors
    /// [`Error::File`] if there is no such file, its gzip stream is broken, its magic number is another, its values are
    /// not unsigned bytes, or they are fewer or more than its axes say.
    pub fn read(path: impl AsRef<Path>, axes: u8) -> Result<Self> {
        let path = path.as_ref();
        let mut file = BufReader::new(File::open(path).map_err(|e| unreadable(path, &e))?);
        let start = file.fill_buf().map_err(|e| unreadable(path, &e))?;
        if start.starts_with(&[0x1f, 0x8b]) {
            parse(MultiGzDecoder::new(file), axes, |e| Error::file(path, format!("the gzip stream is broken: {e}")))
        } else {
            parse(file, axes, |e| unreadable(path, &e))
        }
        .map_err(|e| match e {
            Error::Data(detail) => Error::file(path, detail),
            e => e,
        })
    }
}

/// The content of a file; what is wrong in it is an [`Error::Data`], what keeps it from being read is up to `broken`.
fn parse(mut file: impl Read, axes: u8, broken: impl Fn(io::Error) -> Error) -> Result<Idx> {
    let mut take = |bytes: u64| {
        let mut buffer = Vec::new(); // grows with what is there, not with what a header promises
        file.by_ref().take(bytes).read_to_end(&mut buffer).map_err(&broken).map(|_| buffer)
    };
    let header = take(4 + 4 * u64::from(axes))?;
    let Some((&magic, lengths)) = header.split_first_chunk() else {
        return Err(Error::Data(format!("truncated: {} bytes do not even hold a magic number", header.len())));
    };
    let expected = [0, 0, UNSIGNED_BYTE, axes];
    match magic {
        m if m == expected => {}
        [0, 0, kind @ (0x09 | 0x0b..=0x0e), n] if n == axes => {
            let kind = ["signed bytes", "", "i16", "i32", "f32", "f64"][usize::from(kind - 0x09)];
            return Err(Error::Data(format!("its values are {kind}: only unsigned bytes are read")));
        }
        found => {
            let [found, expected] = [found, expected].map(u32::from_be_bytes);
            return Err(Error::Data(format!("its magic number is {found:#010x}, expected {expected:#010x}")));
        }
    }
    let (lengths, _) = lengths.as_chunks();
    if lengths.len() < usize::from(axes) {
        return Err(Error::Data(format!("truncated: the file ends in its header, after {} bytes", header.len())));
    }
    let lengths: Vec<u32> = lengths.iter().map(|&bytes| u32::from_be_bytes(bytes)).collect();
    let count = lengths.iter().try_fold(1, |n: u64, &length| n.checked_mul(length.into()));
    let Some(count) = count.filter(|&count| count <= MAX_BYTES) else {
        return Err(Error::Data(format!("its header announces {lengths:?} values, more than 4 GiB")));
    };
    let values = take(count + 1)?; // one more, to see the end, where gzip keeps its checksum
    match values.len() as u64 {
        n if n < count => {
            Err(Error::Data(format!("truncated: its header announces {lengths:?} = {count} values, {n} are there")))
        }
        n if n > count => {
            Err(Error::Data(format!("its header announces {lengths:?} = {count} values, more bytes follow")))
        }
        _ => Ok(Idx { axes: lengths.into_iter().map(|n| n as usize).collect(), values }),
    }
}

/// Loads the four files of a folder: images and labels to learn from and to test on.
///
/// Names may be spelled `train-images-idx3-ubyte` or `train-images.idx3-ubyte`, may end in `.gz`, and may have a prefix
/// as in `emnist-letters-train-images-idx3-ubyte`; the test files start with `t10k` or `test`. Samples have the
/// shape `[height, width, 1]`; pixels go from 0 to 255 before they are standardised; there is a class for each
/// number up to the largest training label. EMNIST's images are transposed in its files and stay so.
///
/// # Errors
/// [`Error::File`] if the folder or one of the files is missing, if the names leave a choice, if a file is not what it
/// should be (see [`Idx::read`]), or if images and labels do not belong together.
pub fn load(folder: impl AsRef<Path>) -> Result<Split> {
    let folder = folder.as_ref();
    let (train, seen) = part(folder, &["train"], None)?;
    let (test, _) = part(folder, &["t10k", "test"], Some(seen))?;
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
    Split::standardized(name, train, test).map_err(|e| Error::file(folder, e))
}

/// Loads Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv 1708.07747): 60 000 and 10 000 images of 28 × 28, ten classes.
///
/// Looks in `$HALFGRAD_DATA/fashion-mnist`, then where Debian's package `dataset-fashion-mnist` puts it.
///
/// # Errors
/// As [`load`]; [`Error::Data`] if neither folder exists, which says what to install and where to put the files.
pub fn fashion_mnist() -> Result<Split> {
    let own = env::var_os("HALFGRAD_DATA").map(|data| PathBuf::from(data).join("fashion-mnist"));
    let debian = PathBuf::from("/usr/share/datasets/fashion-mnist");
    let clothes = first_folder(own.into_iter().chain([debian])).and_then(load)?;
    clothes.named(CLOTHES)
}

/// What the classes of Fashion-MNIST are called.
const CLOTHES: [&str; 10] =
    ["T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];

/// The first of the places for Fashion-MNIST that exists.
fn first_folder(places: impl Iterator<Item = PathBuf> + Clone) -> Result<PathBuf> {
    places.clone().find(|place| place.is_dir()).ok_or_else(|| {
        let places = Vec::from_iter(places.map(|place| place.display().to_string())).join(" or ");
        Error::Data(format!(
            "no Fashion-MNIST in {places}: install Debian's package dataset-fashion-mnist, or put the four files from \
             https://github.com/zalandoresearch/fashion-mnist in a folder fashion-mnist and set HALFGRAD_DATA to the \
             folder around it"
        ))
    })
}

/// Images and labels of one part, and the number of classes: `classes`, or one more than the largest label.
fn part(folder: &Path, names: &[&str], classes: Option<usize>) -> Result<(Dataset, usize)> {
    let (image_file, label_file) = (find(folder, names, "images-idx3")?, find(folder, names, "labels-idx1")?);
    let (images, labels) = (Idx::read(&image_file, 3)?, Idx::read(&label_file, 1)?);
    let [count, height, width] = images.axes[..] else { unreachable!("three axes were asked for") };
    if labels.values.len() != count {
        let detail = format!("{} labels for the {count} images of {}", labels.values.len(), image_file.display());
        return Err(Error::file(label_file, detail));
    }
    let classes = classes.unwrap_or_else(|| labels.values.iter().max().map_or(0, |&label| usize::from(label) + 1));
    if let Some(at) = labels.values.iter().position(|&label| usize::from(label) >= classes) {
        let detail = format!("label {at} is {}, the training labels go up to {}", labels.values[at], classes - 1);
        return Err(Error::file(label_file, detail));
    }
    let shape = Shape::new(&[height, width, 1])
        .ok_or_else(|| Error::file(&image_file, format!("images of {height} × {width} pixels are too large")))?;
    let labels = labels.values.iter().map(|&label| label.into()).collect();
    let data = Dataset::from_bytes(images.values, labels, shape, classes).map_err(|e| Error::file(image_file, e))?;
    Ok((data, classes))
}

/// The one file in `folder` that holds `kind` (images or labels) of the part that has one of `names`.
fn find(folder: &Path, names: &[&str], kind: &str) -> Result<PathBuf> {
    let unlisted = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => Error::file(folder, "no such folder"),
        _ => unreadable(folder, &e),
    };
    // By name without spelling and packing, so that a file and its packed twin are one.
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(unlisted)? {
        let path = entry.map_err(unlisted)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.strip_suffix(".gz").unwrap_or(&name).replace('.', "-");
        let fits = |part: &&str| {
            let prefix = stem.strip_suffix(&format!("{part}-{kind}-ubyte"));
            prefix.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('-'))
        };
        if names.iter().any(fits) {
            found.insert(stem, path);
        }
    }
    if found.len() > 1 {
        let all = Vec::from_iter(found.into_keys()).join(", ");
        return Err(Error::file(folder, format!("holds several data sets ({all}): give each a folder of its own")));
    }
    let missing = || Error::file(folder, format!("holds no file {}-{kind}-ubyte, plain or .gz", names[0]));
    found.into_values().next().ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn idx(axes: &[u32], values: &[u8]) -> Vec<u8> {
        let header = [0, 0, UNSIGNED_BYTE, axes.len() as u8];
        let lengths = axes.iter().flat_map(|n| n.to_be_bytes());
        header.into_iter().chain(lengths).chain(values.iter().copied()).collect()
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A folder of 3 training and 2 test images of 2 × 2, files replaced or added as told.
    fn folder(changes: &[(&str, Option<Vec<u8>>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut files = BTreeMap::from([
            ("train-images-idx3-ubyte", Some(idx(&[3, 2, 2], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]))),
            ("train-labels-idx1-ubyte", Some(idx(&[3], &[0, 1, 4]))),
            ("t10k-images-idx3-ubyte", Some(idx(&[2, 2, 2], &[9; 8]))),
            ("t10k-labels-idx1-ubyte", Some(idx(&[2], &[4, 1]))),
        ]);
        files.extend(changes.iter().cloned());
        for (name, bytes) in files {
            bytes.into_iter().for_each(|bytes| fs::write(folder.path().join(name), bytes).unwrap());
        }
        folder
    }

    #[test]
    fn every_spelling_and_packing_is_the_same_data() {
        let plain = load(folder(&[]).path()).unwrap();
        assert_eq!((plain.train.len(), plain.test.len(), plain.train.classes()), (3, 2, 5));
        assert_eq!((plain.train.shape(), plain.mean), (Shape::from([2, 2, 1]), 5.5));
        let packed = folder(&[
            ("train-images-idx3-ubyte", None),
            ("train-images.idx3-ubyte.gz", Some(gz(&idx(&[3, 2, 2], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])))),
            ("train-labels-idx1-ubyte", Some(gz(&idx(&[3], &[0, 1, 4])))), // packed, though the name does not say so
            ("train-labels-idx1-ubyte.gz", Some(gz(&idx(&[3], &[0, 1, 4])))),
            ("t10k-images-idx3-ubyte", None),
            ("emnist-mini-test-images-idx3-ubyte", Some(idx(&[2, 2, 2], &[9; 8]))),
        ]);
        let packed = load(packed.path()).unwrap();
        assert_eq!((packed.train, packed.test), (plain.train, plain.test));
    }

    #[test]
    fn broken_files_say_what_is_wrong() {
        let images = idx(&[3, 2, 2], &[7; 12]);
        let packed = gz(&images);
        let with = |at: usize, byte: u8| {
            let mut bytes = images.clone();
            bytes[at] = byte;
            Some(bytes)
        };
        let mut bad_checksum = packed.clone();
        let end = bad_checksum.len() - 8;
        bad_checksum[end] ^= 1;
        let (image, label, test) = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte");
        let cases = [
            (image, None, "holds no file train-images-idx3-ubyte"),
            (image, Some(vec![]), "truncated: 0 bytes do not even hold a magic number"),
            (image, Some(idx(&[3], &[7; 3])), "its magic number is 0x00000801, expected 0x00000803"),
            (image, Some(b"<html>".to_vec()), "its magic number is 0x3c68746d, expected 0x00000803"),
            (image, with(2, 0x0d), "its values are f32: only unsigned bytes are read"),
            (image, with(2, 0x0a), "its magic number is 0x00000a03, expected 0x00000803"),
            (image, Some(images[..9].to_vec()), "truncated: the file ends in its header, after 9 bytes"),
            (image, Some(images[..20].to_vec()), "truncated: its header announces [3, 2, 2] = 12 values, 4 are there"),
            (image, Some(idx(&[3, 2, 2], &[7; 13])), "announces [3, 2, 2] = 12 values, more bytes follow"),
            (image, Some(idx(&[u32::MAX; 3], &[])), "more than 4 GiB"),
            (image, Some(idx(&[1 << 12, 1 << 10, 1 << 10], &[])), "truncated: its header announces [4096, 1024, 1024]"),
            (image, Some(packed[..packed.len() - 9].to_vec()), "the gzip stream is broken"),
            (image, Some(packed[..packed.len() - 3].to_vec()), "the gzip stream is broken"),
            (image, Some(bad_checksum), "the gzip stream is broken"),
            (image, Some([&packed[..], b"junk"].concat()), "the gzip stream is broken"),
            (image, Some(idx(&[0, 2, 2], &[])), "train-labels-idx1-ubyte: 3 labels for the 0 images of"),
            (image, Some(idx(&[3, 0, 2], &[])), "a data set needs samples: 3 of shape [0, 2, 1] were given"),
            (label, Some(idx(&[2], &[0, 1])), "train-labels-idx1-ubyte: 2 labels for the 3 images of"),
            (test, Some(idx(&[2], &[0, 5])), "t10k-labels-idx1-ubyte: label 1 is 5, the training labels go up to 4"),
            ("a-train-images-idx3-ubyte", Some(images.clone()), "holds several data sets (a-train-images-idx3-ubyte, "),
            ("t10k-images-idx3-ubyte", Some(idx(&[2, 1, 1], &[0; 2])), "the parts do not belong together"),
        ];
        for (name, bytes, expected) in cases {
            let folder = folder(&[(name, bytes)]);
            let message = load(folder.path()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}\n{expected}");
            assert!(message.starts_with(&folder.path().display().to_string()), "{message}");
        }
        let gone = Path::new("/gone/train-images-idx3-ubyte");
        assert_eq!(Idx::read(gone, 3), Err(Error::file(gone, "no such file")));
        assert_eq!(load("/gone"), Err(Error::file("/gone", "no such folder")));
    }

    #[test]
    fn every_prefix_of_a_file_is_an_error_and_never_a_panic() {
        let parse = |bytes: &[u8]| parse(bytes, 1, |_| unreachable!());
        let whole = idx(&[5], &[1, 2, 3, 4, 5]);
        assert_eq!(parse(&whole).unwrap().values, [1, 2, 3, 4, 5]);
        assert!((0..whole.len()).all(|n| parse(&whole[..n]).is_err()));
    }

    #[test]
    fn a_missing_folder_says_what_to_install() {
        let here = tempfile::tempdir().unwrap();
        let places = |path: &Path| [PathBuf::from("/gone/fashion-mnist"), path.to_path_buf()].into_iter();
        assert_eq!(first_folder(places(here.path())).unwrap(), here.path());
        let message = first_folder(places(Path::new("/gone"))).unwrap_err().to_string();
        assert!(
            message.starts_with("no Fashion-MNIST in /gone/fashion-mnist or /gone: install Debian's package"),
            "{message}"
        );
    }

    #[test]
    fn fashion_mnist_is_as_published() {
        if !Path::new("/usr/share/datasets/fashion-mnist").is_dir() {
            return;
        }
        let data = load("/usr/share/datasets/fashion-mnist").unwrap();
        assert_eq!((data.train.len(), data.test.len(), data.train.classes()), (60_000, 10_000, 10));
        assert_eq!(data.train.shape(), Shape::from([28, 28, 1]));
        // The moments that everybody uses, there in units of 255.
        assert!((data.mean / 255.0 - 0.2860).abs() < 5e-5 && (data.std / 255.0 - 0.3530).abs() < 5e-5);
    }
}
