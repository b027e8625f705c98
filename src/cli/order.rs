//! Indices of samples from a `.npy` file.

use std::path::Path;

use halfgrad::{Error, Result, file};
use npyz::{DType, NpyFile, TypeChar};

/// Reads a file of one axis of integers, of any width and byte order, each an index below `samples`.
///
/// # Errors
/// [`Error::File`] if it cannot be read, holds something else, or has an index of no sample.
pub fn read(path: &Path, samples: usize) -> Result<Vec<u32>> {
    let bytes = file::read(path)?;
    let wrong = |detail: String| Error::file(path, detail);
    let npy = NpyFile::new(&bytes[..]).map_err(|e| wrong(format!("not a .npy file, or truncated: {e}")))?;
    if npy.shape().len() != 1 {
        return Err(wrong(format!("its shape is {:?}, one axis of indices is wanted", npy.shape())));
    }
    // A header may promise more than there is, and the reader would believe it.
    let (promised, held) = (npy.len(), bytes.len() as u64);
    if promised > held {
        return Err(wrong(format!("truncated: its header promises {promised} indices, it has {held} bytes in all")));
    }
    let indices = integers(npy).map_err(wrong)?;
    let valid = |&(_, index): &(usize, i128)| !(0..samples as i128).contains(&index);
    match indices.iter().copied().enumerate().find(valid) {
        Some((at, index)) => {
            Err(wrong(format!("entry {at} is {index}, the training samples are 0 to {}", samples - 1)))
        }
        None if indices.is_empty() => Err(wrong("it has no indices".into())),
        None => Ok(indices.into_iter().map(|index| index as u32).collect()),
    }
}

/// The values, whatever integers they are.
fn integers(npy: NpyFile<&[u8]>) -> Result<Vec<i128>, String> {
    fn of<T: npyz::Deserialize + Into<i128>>(npy: NpyFile<&[u8]>) -> Result<Vec<i128>, String> {
        let values: Vec<T> = npy.into_vec().map_err(|e| format!("truncated: {e}"))?;
        Ok(values.into_iter().map(Into::into).collect())
    }
    let DType::Plain(kind) = npy.dtype() else {
        return Err("it holds records, integers are wanted".into());
    };
    match (kind.type_char(), kind.size_field()) {
        (TypeChar::Int, 1) => of::<i8>(npy),
        (TypeChar::Int, 2) => of::<i16>(npy),
        (TypeChar::Int, 4) => of::<i32>(npy),
        (TypeChar::Int, 8) => of::<i64>(npy),
        (TypeChar::Uint, 1) => of::<u8>(npy),
        (TypeChar::Uint, 2) => of::<u16>(npy),
        (TypeChar::Uint, 4) => of::<u32>(npy),
        (TypeChar::Uint, 8) => of::<u64>(npy),
        _ => Err(format!("its values are {kind}, integers are wanted")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use npyz::WriterBuilder;

    fn file<T: npyz::AutoSerialize>(values: Vec<T>, shape: &[u64]) -> Vec<u8> {
        let mut bytes = vec![];
        let mut writer = npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut bytes).begin_nd().unwrap();
        writer.extend(values).unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn integers_of_any_kind_are_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("order.npy");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read(&path, 10).map_err(|e| e.to_string().split_once(": ").unwrap().1.to_owned())
        };
        let expected = Ok(vec![3, 0, 9, 3]);
        assert_eq!(read(&file(vec![3i64, 0, 9, 3], &[4])), expected);
        assert_eq!(read(&file(vec![3i32, 0, 9, 3], &[4])), expected);
        assert_eq!(read(&file(vec![3u8, 0, 9, 3], &[4])), expected);
        assert_eq!(read(&file(vec![3u64, 0, 9, 3], &[4])), expected);
        let mut big = file(vec![3i32, 0], &[2]);
        let order = big.iter().position(|&b| b == b'<').unwrap();
        big[order] = b'>';
        assert_eq!(read(&big), Err("entry 0 is 50331648, the training samples are 0 to 9".into()));

        assert_eq!(read(&file(vec![3i64, 10], &[2])), Err("entry 1 is 10, the training samples are 0 to 9".into()));
        assert_eq!(read(&file(vec![-1i16], &[1])), Err("entry 0 is -1, the training samples are 0 to 9".into()));
        assert_eq!(read(&file(vec![0f32], &[1])), Err("its values are <f4, integers are wanted".into()));
        assert_eq!(
            read(&file(vec![0i32; 4], &[2, 2])),
            Err("its shape is [2, 2], one axis of indices is wanted".into())
        );
        assert_eq!(read(&file(Vec::<i32>::new(), &[0])), Err("it has no indices".into()));
        let whole = file(vec![1i64; 4], &[4]);
        for n in 0..whole.len() {
            assert!(read(&whole[..n]).is_err(), "{n} bytes of {}", whole.len());
        }
        assert!(read(b"PK a zip file it is, or something like that").unwrap_err().starts_with("not a .npy file"));
    }
}
