//! CIFAR-10 and CIFAR-100 (A. Krizhevsky, 2009), in the binary version of <https://www.cs.toronto.edu/~kriz/cifar.html>.

use super::{Dataset, Split};
use crate::{Error, Result, Shape, file, file::unreadable};
use flate2::read::GzDecoder;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

/// Pixels of an image: three planes of 32 × 32.
const PLANE: usize = 32 * 32;

/// What the files of one of the two sets are called, and how long they are.
struct Kind {
    name: &'static str,
    /// The folder that the archive unpacks to.
    folder: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    names: &'static str,
    /// Bytes before each image, of which the last is the label; the other one of CIFAR-100 is a coarser label.
    labels: usize,
    classes: usize,
}

const KINDS: [Kind; 2] = [
    Kind {
        name: "CIFAR-10",
        folder: "cifar-10-batches-bin",
        train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
        test: "test_batch.bin",
        names: "batches.meta.txt",
        labels: 1,
        classes: 10,
    },
    Kind {
        name: "CIFAR-100",
        folder: "cifar-100-binary",
        train: &["train.bin"],
        test: "test.bin",
        names: "fine_label_names.txt",
        labels: 2,
        classes: 100,
    },
];

/// Whether `path` looks like one of the two: an archive as distributed, the folder it unpacks to, or a folder around that.
pub fn is_here(path: impl AsRef<Path>) -> bool {
    let path = path.as_ref();
    is_archive(path) || KINDS.iter().any(|kind| kind.lies_in(path).is_some())
}

/// Loads CIFAR-10 or CIFAR-100, whichever `path` is: the folder of `.bin` files, a folder around it, or the `.tar.gz`.
///
/// Samples have the shape `[32, 32, 3]`, channels last; pixels go from 0 to 255 before they are standardised. Of
/// CIFAR-100 the 100 fine labels are taken. The classes have their names if the file with them (`batches.meta.txt`,
/// `fine_label_names.txt`) is there too. The files may be shorter than the published ones.
///
/// # Errors
/// [`Error::File`] if a file is missing, is not of whole images, or has a label out of range.
///
/// ```no_run
/// let cifar = halfgrad::data::cifar::load("cifar-10-binary.tar.gz")?;
/// assert_eq!((cifar.train.len(), cifar.test.len()), (50_000, 10_000));
/// assert_eq!(cifar.class_names[3], "cat");
/// # Ok::<(), halfgrad::Error>(())
/// ```
pub fn load(path: impl AsRef<Path>) -> Result<Split> {
    let path = path.as_ref();
    let (kind, source) = if is_archive(path) {
        let files = unpack(path)?;
        let kind = KINDS.iter().find(|kind| kind.files().any(|name| files.contains_key(name)));
        (kind, Source::Archive(files))
    } else {
        let found = KINDS.iter().find_map(|kind| Some((kind, kind.lies_in(path)?)));
        (found.as_ref().map(|found| found.0), Source::Folder(found.map_or_else(PathBuf::new, |found| found.1)))
    };
    let Some(kind) = kind else {
        let detail = "holds neither data_batch_1.bin … (CIFAR-10) nor train.bin (CIFAR-100), the binary version";
        return Err(Error::file(path, detail));
    };
    // Around the data there may be another folder.
    let place = match &source {
        Source::Folder(folder) => folder,
        Source::Archive(_) => path,
    };
    let part = |names: &[&str]| {
        let (mut images, mut labels) = (vec![], vec![]);
        for name in names {
            let bytes = source.get(name)?.ok_or_else(|| Error::file(place, format!("holds no {name}")))?;
            kind.read(&bytes, &mut images, &mut labels).map_err(|detail| Error::file(place.join(name), detail))?;
        }
        Dataset::from_bytes(images, labels, Shape::from([32, 32, 3]), kind.classes)
    };
    let split = Split::standardized(kind.name, part(kind.train)?, part(&[kind.test])?)?;
    let Some(names) = source.get(kind.names)? else { return Ok(split) };
    let names = String::from_utf8_lossy(&names).into_owned();
    let names = names.lines().map(str::trim).filter(|name| !name.is_empty());
    split.named(names).map_err(|e| Error::file(place.join(kind.names), e))
}

impl Kind {
    fn files(&self) -> impl Iterator<Item = &'static str> {
        self.train.iter().copied().chain([self.test])
    }

    /// The folder with any of the files: this one, or the usual one below it.
    fn lies_in(&self, folder: &Path) -> Option<PathBuf> {
        let places = [folder.to_path_buf(), folder.join(self.folder)];
        places.into_iter().find(|place| self.files().any(|name| place.join(name).is_file()))
    }

    /// Takes a file apart: for each image its labels, then all of its red, its green and its blue, row by row.
    fn read(&self, bytes: &[u8], images: &mut Vec<u8>, labels: &mut Vec<u32>) -> Result<(), String> {
        let record = self.labels + 3 * PLANE;
        if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
            return Err(format!(
                "its {} bytes are not whole images of {record}: truncated or not {}",
                bytes.len(),
                self.name
            ));
        }
        for (at, image) in bytes.chunks_exact(record).enumerate() {
            let (label, pixels) = image.split_at(self.labels);
            let label = label[self.labels - 1];
            if usize::from(label) >= self.classes {
                return Err(format!("image {at} has the label {label}, {} has {} classes", self.name, self.classes));
            }
            labels.push(label.into());
            images.extend((0..PLANE).flat_map(|k| [pixels[k], pixels[PLANE + k], pixels[2 * PLANE + k]]));
        }
        Ok(())
    }
}

/// Where the files come from.
enum Source {
    Folder(PathBuf),
    Archive(BTreeMap<String, Vec<u8>>),
}

impl Source {
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Source::Archive(files) => Ok(files.get(name).cloned()),
            Source::Folder(folder) => {
                let path = folder.join(name);
                path.exists().then(|| file::read(path)).transpose()
            }
        }
    }
}

fn is_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".tar.gz") && path.is_file()
}

/// The files of an archive that belong to one of the sets, by name.
fn unpack(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    let broken = |e: std::io::Error| Error::file(path, format!("the archive is broken: {e}"));
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
    let mut files = BTreeMap::new();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if KINDS.iter().any(|kind| kind.names == name || kind.files().any(|file| file == name)) {
            let mut bytes = vec![];
            entry.by_ref().take(MAX_BYTES).read_to_end(&mut bytes).map_err(broken)?;
            files.insert(name, bytes);
        }
    }
    Ok(files)
}

/// What a file may hold at most, three times CIFAR-100's largest: a hostile archive should not fill the memory.
const MAX_BYTES: u64 = 1 << 29;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// An image of this label, whose red grows from left to right, green from top to bottom, and blue is the label.
    fn record(labels: &[u8]) -> Vec<u8> {
        let plane = |value: fn(u8, u8, u8) -> u8| {
            let label = labels[labels.len() - 1];
            (0..32).flat_map(move |y| (0..32).map(move |x| value(x, y, label)))
        };
        let planes = plane(|x, _, _| x).chain(plane(|_, y, _| 100 + y)).chain(plane(|_, _, label| label));
        labels.iter().copied().chain(planes).collect()
    }

    const NAMES: &str = "plane\ncar\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";

    /// Six files of CIFAR-10, two images each, and the names.
    fn ten() -> BTreeMap<&'static str, Vec<u8>> {
        let files = KINDS[0].files().zip(0..).map(|(name, k)| (name, [record(&[k]), record(&[9 - k])].concat()));
        files.chain([("batches.meta.txt", NAMES.into())]).collect()
    }

    fn write(folder: &Path, files: &BTreeMap<&str, Vec<u8>>) {
        files.iter().for_each(|(name, bytes)| fs::write(folder.join(name), bytes).unwrap());
    }

    fn check(split: &Split) {
        assert_eq!((&split.name[..], split.train.shape()), ("CIFAR-10", Shape::from([32, 32, 3])));
        assert_eq!((split.train.labels(), split.test.labels()), (&[0, 9, 1, 8, 2, 7, 3, 6, 4, 5][..], &[5, 4][..]));
        assert_eq!((&split.class_names[3][..], split.class_names.len()), ("cat", 10));
        let (image, _) = split.train.get(4).unwrap();
        let pixel = |y: usize, x: usize| image[(32 * y + x) * 3..][..3].to_vec();
        for (y, x) in [(0, 0), (0, 31), (31, 0), (7, 20)] {
            assert_eq!(pixel(y, x), [x as f32, 100.0 + y as f32, 2.0].map(|value| split.scale(value)), "{y} {x}");
        }
    }

    #[test]
    fn a_folder_one_around_it_and_the_archive_are_the_same_data() {
        let around = tempfile::tempdir().unwrap();
        let folder = around.path().join("cifar-10-batches-bin");
        fs::create_dir(&folder).unwrap();
        write(&folder, &ten());
        let split = load(&folder).unwrap();
        check(&split);
        let path = around.path().join("cifar-10-binary.tar.gz");
        let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(vec![], flate2::Compression::fast()));
        archive.append_dir_all("cifar-10-batches-bin", &folder).unwrap();
        let packed = archive.into_inner().unwrap().finish().unwrap();
        fs::write(&path, &packed).unwrap();
        assert!([around.path(), &folder, &path].iter().all(is_here) && !is_here(around.path().join("else")));
        assert_eq!((&load(around.path()).unwrap(), &load(&path).unwrap()), (&split, &split));
        fs::write(&path, &packed[..packed.len() / 2]).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("tar.gz: the archive is broken"));
    }

    #[test]
    fn of_a_hundred_classes_the_fine_labels_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let train = [record(&[3, 99]), record(&[19, 7])].concat();
        write(folder.path(), &[("train.bin", train), ("test.bin", record(&[0, 50]))].into());
        let split = load(folder.path()).unwrap();
        assert_eq!((split.train.labels(), split.test.labels()), (&[99, 7][..], &[50][..]));
        assert_eq!((&split.class_names[99][..], split.train.classes()), ("99", 100));
    }

    #[test]
    fn broken_files_say_what_is_wrong() {
        let cases: [(&str, Option<Vec<u8>>, &str); 6] = [
            ("data_batch_3.bin", None, "holds no data_batch_3.bin"),
            ("test_batch.bin", None, "holds no test_batch.bin"),
            ("test_batch.bin", Some(vec![]), "test_batch.bin: its 0 bytes are not whole images of 3073"),
            ("data_batch_1.bin", Some(vec![0; 3072]), "data_batch_1.bin: its 3072 bytes are not whole images of 3073"),
            ("data_batch_2.bin", Some([record(&[1]), record(&[10])].concat()), "image 1 has the label 10"),
            ("batches.meta.txt", Some("one\ntwo\n".into()), "batches.meta.txt: 2 names were given for 10 classes"),
        ];
        for (name, bytes, expected) in cases {
            let around = tempfile::tempdir().unwrap();
            let folder = around.path().join("cifar-10-batches-bin");
            fs::create_dir(&folder).unwrap();
            let mut files = ten();
            match bytes {
                Some(bytes) => files.insert(name, bytes),
                None => files.remove(name),
            };
            write(&folder, &files);
            for path in [&folder, around.path()] {
                let message = load(path).unwrap_err().to_string();
                assert!(message.contains(expected), "{message}\n{expected}");
                assert!(message.starts_with(&folder.display().to_string()), "{message}");
            }
        }
        let empty = tempfile::tempdir().unwrap();
        assert!(load(empty.path()).unwrap_err().to_string().contains("holds neither data_batch_1.bin"));
    }
}
