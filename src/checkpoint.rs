//! Named tensors in files of the safetensors format, or in bytes that an app has otherwise.

use crate::{Dtype, Error, Result, Shape, file};
use safetensors::tensor::{Dtype as Stored, Metadata, TensorInfo};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
};

/// A tensor on its way into a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Record<'a> {
    /// The name, unique in the file.
    pub name: &'a str,
    /// The shape.
    pub shape: Shape,
    /// The type of the values: f32 or f16.
    pub dtype: Dtype,
    /// The values, row-major without padding, little-endian.
    pub bytes: &'a [u8],
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Checkpoint {
    /// Name, shape and row-major values of each tensor, in the order in which they lie in the file.
    pub tensors: Vec<(String, Shape, Vec<f32>)>,
    /// The file's own notes.
    pub metadata: BTreeMap<String, String>,
}

/// Saves tensors in the order given, all of the file or none of it: the bytes that [`to_bytes`] gives.
///
/// # Errors
/// As [`to_bytes`]; [`Error::File`] if the file cannot be written.
///
/// ```
/// use halfgrad::{Dtype, Shape, checkpoint::{self, Record}};
/// # let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("net.safetensors");
/// let bytes: Vec<u8> = [1.0f32, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
/// let bias = Record { name: "fc.bias", shape: Shape::from([2]), dtype: Dtype::F32, bytes: &bytes };
/// checkpoint::save(&path, &[bias], &[("seed", "42")])?;
/// let file = checkpoint::load(&path)?;
/// assert_eq!(file.tensors, [("fc.bias".into(), Shape::from([2]), vec![1.0, 2.0])]);
/// assert_eq!(file.metadata["seed"], "42");
/// # Ok::<(), halfgrad::Error>(())
/// ```
pub fn save(path: impl AsRef<Path>, tensors: &[Record], metadata: &[(&str, &str)]) -> Result<()> {
    let bytes = to_bytes(tensors, metadata)?;
    file::write_atomically(path, |file| file.write_all(&bytes))
}

/// The bytes of a file of these tensors in the order given; equal tensors and notes give equal bytes.
///
/// If the types differ, f32 comes before f16, which keeps every tensor aligned to its type.
///
/// # Errors
/// [`Error::Name`] if a name is used twice, is `__metadata__`, or has bytes that are not as many as its shape and type
/// take.
pub fn to_bytes(tensors: &[Record], metadata: &[(&str, &str)]) -> Result<Vec<u8>> {
    let mut tensors = tensors.to_vec();
    tensors.sort_by_key(|t| std::cmp::Reverse(t.dtype.bytes()));
    let header = header(&tensors, metadata)?;
    let length = (header.len() as u64).to_le_bytes();
    let values = tensors.iter().map(|t| t.bytes);
    Ok([&length[..], &header].into_iter().chain(values).collect::<Vec<_>>().concat())
}

/// How a file says a type.
fn stored(dtype: Dtype) -> Option<Stored> {
    match dtype {
        Dtype::F32 => Some(Stored::F32),
        Dtype::F16 => Some(Stored::F16),
        Dtype::U32 => None,
    }
}

/// The JSON that says where each tensor lies, padded with spaces so that the values start at a multiple of eight.
fn header(tensors: &[Record], metadata: &[(&str, &str)]) -> Result<Vec<u8>> {
    let mut seen = HashSet::from(["__metadata__"]);
    let mut end = 0;
    let mut infos = Vec::with_capacity(tensors.len());
    for t in tensors {
        let expected = t.shape.len() * t.dtype.bytes();
        let dtype = stored(t.dtype).ok_or_else(|| Error::name(t.name, "only f32 and f16 are saved, this is u32"))?;
        if !seen.insert(t.name) {
            return Err(Error::name(t.name, "the name is taken: each tensor in a file needs its own"));
        }
        if t.bytes.len() != expected {
            let detail =
                format!("{} of shape {} takes {expected} bytes, {} were given", t.dtype, t.shape, t.bytes.len());
            return Err(Error::name(t.name, detail));
        }
        let info = TensorInfo { dtype, shape: t.shape.to_vec(), data_offsets: (end, end + expected) };
        end += expected;
        infos.push((t.name.to_owned(), info));
    }
    let notes: HashMap<_, _> = metadata.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
    let metadata = Metadata::new((!notes.is_empty()).then_some(notes), infos);
    // By way of a `Value`, whose keys are sorted: a HashMap's order would differ from run to run.
    let json = serde_json::to_value(metadata.expect("offsets follow each other")).expect("names are strings");
    let mut header = json.to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

/// Loads every tensor of a file as f32, whether it is stored as F64, F32, BF16 or F16.
///
/// # Errors
/// [`Error::File`] if there is no such file, or for what [`parse`] finds wrong in it.
pub fn load(path: impl AsRef<Path>) -> Result<Checkpoint> {
    let path = path.as_ref();
    parse(&file::read(path)?).map_err(|e| e.in_file(path))
}

/// The notes of a file alone: [`Checkpoint::metadata`], without the tensors' values.
///
/// # Errors
/// As [`load`], whatever types the tensors have.
pub fn notes(path: impl AsRef<Path>) -> Result<BTreeMap<String, String>> {
    let path = path.as_ref();
    let bytes = file::read(path)?;
    Ok(Contents::of(&bytes).map_err(|e| e.in_file(path))?.metadata)
}

/// [`load`] from the bytes of a file, as an app may bring them with `include_bytes!`.
///
/// # Errors
/// [`Error::Checkpoint`] if they are no safetensors file, it is truncated, or one of its tensors has another type or
/// more than six axes.
pub fn parse(bytes: &[u8]) -> Result<Checkpoint> {
    let Contents { tensors, metadata } = Contents::of(bytes)?;
    let tensors = tensors.into_iter().map(|(name, tensor)| {
        let values = tensor.values(&name)?;
        Ok((name, tensor.shape, values))
    });
    Ok(Checkpoint { tensors: tensors.collect::<Result<_>>()?, metadata })
}

/// What begins the names of tensors and notes that training needs to go on, beside weights and states:
/// [`Plan::save`](crate::Plan::save).
pub const TRAINING: &str = "training.";

/// What the bytes of a file hold, as it lies there.
pub(crate) struct Contents<'b> {
    /// By name, in the order of the file.
    pub tensors: Vec<(String, Lying<'b>)>,
    /// The file's own notes.
    pub metadata: BTreeMap<String, String>,
}

/// A tensor as it lies in a file.
#[derive(Clone, Copy)]
pub(crate) struct Lying<'b> {
    pub shape: Shape,
    dtype: Stored,
    bytes: &'b [u8],
}

impl<'b> Contents<'b> {
    /// What these bytes hold.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn of(bytes: &'b [u8]) -> Result<Self> {
        let (metadata, data) = split(bytes).map_err(Error::Checkpoint)?;
        let mut infos: Vec<_> = metadata.tensors().into_iter().collect();
        infos.sort_by_key(|(_, info)| info.data_offsets);
        let tensors = infos.into_iter().map(|(name, info)| {
            let shape = Shape::new(&info.shape).ok_or_else(|| {
                Error::Checkpoint(format!("tensor {name:?} of shape {:?} has more than six axes", info.shape))
            })?;
            let (start, end) = info.data_offsets;
            Ok((name, Lying { shape, dtype: info.dtype, bytes: &data[start..end] }))
        });
        let tensors = tensors.collect::<Result<_>>()?;
        let metadata = metadata.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        Ok(Contents { tensors, metadata })
    }

    /// The tensors of these names and shapes, in this order; of others there are only those that `beside` knows.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming what is missing, unknown or of another shape.
    pub fn matched<'n>(
        &self,
        expected: impl Iterator<Item = (&'n str, Shape)>,
        beside: impl Fn(&str) -> bool,
    ) -> Result<Vec<Lying<'b>>> {
        let mut left: BTreeMap<&str, Lying<'b>> = self.tensors.iter().map(|(name, t)| (&**name, *t)).collect();
        let found: Result<Vec<_>> = expected
            .map(|(name, shape)| match left.remove(name) {
                Some(tensor) if tensor.shape == shape => Ok(tensor),
                Some(Lying { shape: found, .. }) => {
                    Err(Error::Checkpoint(format!("{name:?} is {found}, the network's is {shape}")))
                }
                None => Err(Error::Checkpoint(format!("no tensor {name:?}; there are {}", self.names()))),
            })
            .collect();
        let found = found?;
        match left.keys().find(|name| !beside(name)) {
            Some(name) => Err(Error::Checkpoint(format!("{name:?} is no part of this network or of its training"))),
            None => Ok(found),
        }
    }

    /// The first names, and how many more there are.
    fn names(&self) -> String {
        let (first, more) = self.tensors.split_at(self.tensors.len().min(10));
        let names = first.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        if more.is_empty() { names } else { format!("{names} and {} more", more.len()) }
    }
}

impl<'b> Lying<'b> {
    /// The values as f32.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if they are not floating-point numbers of 16, 32 or 64 bits.
    pub fn values(&self, name: &str) -> Result<Vec<f32>> {
        widen(self.dtype, self.bytes).ok_or_else(|| {
            let known = "F64, F32, BF16 and F16 are read";
            Error::Checkpoint(format!("tensor {name:?} holds {:?}: only {known}", self.dtype))
        })
    }

    /// The bytes, if the values are of this type.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if they are of another.
    pub fn bytes_of(&self, dtype: Dtype, name: &str) -> Result<&'b [u8]> {
        match stored(dtype) == Some(self.dtype) {
            true => Ok(self.bytes),
            false => Err(Error::Checkpoint(format!("{name:?} holds {:?}, the plan's is {dtype}", self.dtype))),
        }
    }
}

/// A file's header and the values behind it, which are exactly as many as the header promises.
fn split(bytes: &[u8]) -> Result<(Metadata, &[u8]), String> {
    let (length, rest) = bytes.split_first_chunk().ok_or_else(|| match bytes.len() {
        0 => "the file is empty".to_owned(),
        n => format!("not a safetensors file: it has only {n} bytes"),
    })?;
    let length = u64::from_le_bytes(*length);
    // Any other file's first eight bytes read as a length would lie far beyond its end.
    let (header, data) = usize::try_from(length).ok().and_then(|n| rest.split_at_checked(n)).ok_or_else(|| {
        format!("truncated, or not a safetensors file: a header of {length} bytes is announced, {} follow", rest.len())
    })?;
    let metadata: Metadata = serde_json::from_slice(header).map_err(|e| format!("not a safetensors file: {e}"))?;
    match (metadata.data_len(), data.len()) {
        (expected, found) if found < expected => {
            Err(format!("truncated: the header promises {expected} bytes of values, the file holds {found}"))
        }
        (expected, found) if found > expected => {
            Err(format!("{} bytes too many: the header promises {expected} bytes of values", found - expected))
        }
        _ => Ok((metadata, data)),
    }
}

/// The values as f32; `None` if they are not floating-point numbers of 16, 32 or 64 bits.
fn widen(dtype: Stored, bytes: &[u8]) -> Option<Vec<f32>> {
    fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|b| value(*b)).collect()
    }
    Some(match dtype {
        Stored::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
        Stored::F32 => each(bytes, f32::from_le_bytes),
        Stored::BF16 => each(bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
        Stored::F16 => each(bytes, |b| half::f16::from_le_bytes(b).to_f32()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, process::Command, thread, time::Duration};

    fn record<'a>(name: &'a str, shape: &[usize], dtype: Dtype, bytes: &'a [u8]) -> Record<'a> {
        Record { name, shape: Shape::new(shape).unwrap(), dtype, bytes }
    }

    #[test]
    fn order_notes_and_values_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        let wide: Vec<u8> = [1.5f32, -2.0, f32::MIN_POSITIVE].iter().flat_map(|x| x.to_le_bytes()).collect();
        let half: Vec<u8> = [half::f16::MAX].iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensors = [
            record("z/\"quoted\"", &[3, 1], Dtype::F32, &wide),
            record("h", &[], Dtype::F16, &half),
            record("empty", &[0, 4], Dtype::F32, &[]),
            record("a", &[1, 3], Dtype::F32, &wide),
        ];
        let notes = [("step", "10"), ("seed", "42"), ("precision", "f16"), ("epoch", "é")];
        save(&a, &tensors, &notes).unwrap();
        save(&b, &tensors, &notes).unwrap();
        assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());

        let file = load(&a).unwrap();
        let names: Vec<_> = file.tensors.iter().map(|(name, shape, _)| (name.as_str(), shape.to_string())).collect();
        let expected = [("z/\"quoted\"", "[3, 1]"), ("empty", "[0, 4]"), ("a", "[1, 3]"), ("h", "[]")];
        assert_eq!(names, expected.map(|(name, shape)| (name, shape.to_owned())));
        assert_eq!(file.tensors[0].2, [1.5, -2.0, f32::MIN_POSITIVE]);
        assert_eq!(file.tensors[3].2, [65504.0]);
        assert_eq!(file.metadata, notes.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert_eq!(super::notes(&a).unwrap(), file.metadata);
        // The reference implementation reads it too.
        assert_eq!(safetensors::SafeTensors::deserialize(&fs::read(&a).unwrap()).unwrap().len(), 4);
    }

    #[test]
    fn unfit_tensors_are_refused_by_name() {
        let fail = |tensors: &[Record]| save("never", tensors, &[]).unwrap_err().to_string();
        let one = record("w", &[1], Dtype::F32, &[0; 4]);
        assert!(fail(&[one, one]).contains("\"w\": the name is taken"));
        assert!(fail(&[record("__metadata__", &[1], Dtype::F32, &[0; 4])]).contains("the name is taken"));
        assert_eq!(
            fail(&[record("w", &[2, 3], Dtype::F16, &[0; 4])]),
            "\"w\": f16 of shape [2, 3] takes 12 bytes, 4 were given"
        );
        assert!(fail(&[record("w", &[1], Dtype::U32, &[0; 4])]).contains("only f32 and f16"));
    }

    /// A file of this header and so many zero bytes of values.
    fn raw(header: &str, values: usize) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; values]].concat()
    }

    #[test]
    fn other_floats_are_widened_or_narrowed() {
        assert_eq!(widen(Stored::F64, &0.1f64.to_le_bytes()), Some(vec![0.1]));
        assert_eq!(widen(Stored::BF16, &[0x80, 0x3f]), Some(vec![1.0]));
        assert_eq!(widen(Stored::I32, &[0; 4]), None);
    }

    #[test]
    fn broken_files_say_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w");
        let entry = |dtype: &str, shape: &str, end: u64| {
            format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#)
        };
        let whole = raw(&entry("F32", "[2]", 8), 8);
        let huge = format!(
            r#"{{"a":{{"dtype":"U8","shape":[{0}],"data_offsets":[0,{0}]}},"b":{{"dtype":"U8","shape":[{0}],"data_offsets":[{0},{1}]}}}}"#,
            (1u64 << 61) - 1,
            (1u64 << 62) - 2
        );
        let cases: [(Vec<u8>, &str); 13] = [
            (vec![], "the file is empty"),
            (b"PK".to_vec(), "not a safetensors file: it has only 2 bytes"),
            (b"a long text that is no such file".to_vec(), "truncated, or not a safetensors file"),
            (u64::MAX.to_le_bytes().to_vec(), "a header of 18446744073709551615 bytes is announced, 0 follow"),
            (whole[..20].to_vec(), "a header of 54 bytes is announced, 12 follow"),
            (whole[..whole.len() - 3].to_vec(), "truncated: the header promises 8 bytes of values, the file holds 5"),
            ([&whole[..], &[0]].concat(), "1 bytes too many"),
            (raw("[1, 2]", 0), "not a safetensors file"),
            (raw(&entry("F32", "[3]", 8), 8), "not a safetensors file: invalid shape"),
            (raw(&entry("Q4", "[2]", 8), 8), "Q4"),
            (raw(&entry("I32", "[2]", 8), 8), "tensor \"w\" holds I32: only F64, F32, BF16 and F16 are read"),
            (
                raw(&entry("F32", "[1,1,1,1,1,1,1]", 4), 4),
                "tensor \"w\" of shape [1, 1, 1, 1, 1, 1, 1] has more than six",
            ),
            (raw(&huge, 8), "truncated: the header promises 4611686018427387902 bytes"),
        ];
        for (bytes, expected) in cases {
            fs::write(&path, bytes).unwrap();
            let message = load(&path).unwrap_err().to_string();
            assert!(message.starts_with(&path.display().to_string()) && message.contains(expected), "{message}");
        }
        assert!(load(folder.path().join("gone")).unwrap_err().to_string().ends_with("gone: no such file"));
    }

    #[test]
    fn every_prefix_of_a_file_is_an_error_and_never_a_panic() {
        let whole = raw(r#"{"w":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]}}"#, 8);
        assert!(parse(&whole).is_ok());
        assert!((0..whole.len()).all(|n| parse(&whole[..n]).is_err()));
    }

    /// Runs this test in a child that saves for ever, kills it at random moments, and looks at the file.
    #[test]
    fn a_killed_save_leaves_a_whole_file() {
        const CHILD: &str = "HALFGRAD_TEST_SAVE_FOR_EVER";
        let save_all = |path: &Path, value: f32| {
            let bytes = value.to_le_bytes().repeat(1 << 18);
            let names: Vec<_> = (0..8).map(|k| format!("layer{k}")).collect();
            let records: Vec<_> = names.iter().map(|n| record(n, &[1 << 18], Dtype::F32, &bytes)).collect();
            save(path, &records, &[("value", &value.to_string())]).unwrap();
        };
        if let Some(path) = std::env::var_os(CHILD) {
            for k in 1.. {
                save_all(path.as_ref(), k as f32);
            }
        }

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.safetensors");
        save_all(&path, 0.0);
        let this_test = "checkpoint::tests::a_killed_save_leaves_a_whole_file";
        let mut random = crate::random::Random::new(1, "kill");
        let mut saved = 0;
        for _ in 0..20 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", this_test])
                .env(CHILD, &path)
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            thread::sleep(Duration::from_secs_f64(0.02 + 0.1 * random.uniform()));
            child.kill().unwrap();
            child.wait().unwrap();

            let file = load(&path).unwrap();
            let value: f32 = file.metadata["value"].parse().unwrap();
            assert_eq!(file.tensors.len(), 8);
            assert!(file.tensors.iter().all(|(_, _, values)| values.iter().all(|&x| x == value)));
            saved += u32::from(value > 0.0);
        }
        let left_over = fs::read_dir(folder.path()).unwrap().count() - 1;
        // Otherwise the kills came before or between the saves, and this test has shown nothing.
        assert!(saved > 0 && left_over > 0, "{saved} children saved, {left_over} were killed while they did");
    }
}
