//! Files that are never half written.

use crate::{Error, Result};
use std::{
    fs,
    io::{self, BufWriter, ErrorKind, Write},
    path::{Path, PathBuf, is_separator},
};
use tempfile::NamedTempFile;

/// Writes a file so that, whatever happens meanwhile, `path` holds all of the old file or all of the new one.
///
/// The bytes go to a hidden file in the same folder, are flushed to the disk, and take the name `path` in one step.
/// A killed process may leave that hidden file, `.halfgrad-*.tmp`, behind; it is safe to delete.
///
/// # Errors
/// [`Error::File`] if the folder does not exist, may not be written or is full, or if `write` fails.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("notes.txt");
/// halfgrad::file::write_atomically(&path, |file| writeln!(file, "loss 0.1"))?;
/// assert_eq!(std::fs::read_to_string(path).unwrap(), "loss 0.1\n");
/// # Ok::<(), halfgrad::Error>(())
/// ```
pub fn write_atomically(path: impl AsRef<Path>, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let path = path.as_ref();
    let (target, mut file) = begin(path)?;
    let folder = folder(&target);
    let explain = |e| explain(path, folder, e);

    let mut buffer = BufWriter::with_capacity(1 << 20, &mut file);
    write(&mut buffer).and_then(|()| buffer.flush()).map_err(explain)?;
    drop(buffer);
    // The bytes must be on the disk before the name is, or a power cut could leave a name without its bytes.
    file.as_file().sync_all().map_err(explain)?;
    file.persist(&target).map_err(|e| explain(e.error))?;
    #[cfg(unix)]
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(explain)?;
    Ok(())
}

/// Fails where [`write_atomically`] would: for use before the work whose result it is to write.
///
/// # Errors
/// As [`write_atomically`].
pub fn writable(path: impl AsRef<Path>) -> Result<()> {
    begin(path.as_ref()).map(drop)
}

/// The file that `path` stands for, and a hidden one beside it that is to become it.
fn begin(path: &Path) -> Result<(PathBuf, NamedTempFile)> {
    let target = behind_links(path);
    let old = fs::metadata(&target).ok();
    let of_a_folder = path.to_string_lossy().ends_with(is_separator);
    let no_file = target.is_symlink() || old.as_ref().is_some_and(|old| !old.is_file());
    if of_a_folder || target.file_name().is_none() || no_file {
        return Err(Error::file(path, "not the name of an ordinary file"));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".halfgrad-").suffix(".tmp");
    // Temporary files are private; this one takes the mode of a new file, under the user's umask, or the old file's.
    #[cfg(unix)]
    if old.is_none() {
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    }
    let folder = folder(&target);
    let file = builder.tempfile_in(folder).map_err(|e| explain(path, folder, e))?;
    #[cfg(unix)]
    if let Some(old) = old {
        file.as_file().set_permissions(old.permissions()).map_err(|e| explain(path, folder, e))?;
    }
    Ok((target, file))
}

/// The file that a path stands for. A link goes on pointing where it did: the file behind it is what is replaced, or
/// made if it is not there.
fn behind_links(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| {
        let mut target = path.to_path_buf();
        // As many links as Linux follows: a circle of them has no end.
        for _ in 0..40 {
            let Ok(to) = fs::read_link(&target) else { break };
            target = folder(&target).join(to);
        }
        target
    })
}

/// The folder that a file is in.
fn folder(file: &Path) -> &Path {
    file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Why `path` could not be written in its folder.
fn explain(path: &Path, folder: &Path, e: io::Error) -> Error {
    match e.kind() {
        _ if !folder.is_dir() => Error::file(path, format!("there is no folder {}: make it first", folder.display())),
        ErrorKind::PermissionDenied => {
            Error::file(path, format!("no permission to write in the folder {}", folder.display()))
        }
        ErrorKind::StorageFull => Error::file(path, "the disk is full; an old file of this name is as it was"),
        _ => Error::file(path, e),
    }
}

/// Reads a whole file.
///
/// # Errors
/// [`Error::File`] if it does not exist, may not be read, or is a folder.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let path = path.as_ref();
    fs::read(path).map_err(|e| unreadable(path, &e))
}

/// The error of a file that could not be opened or read.
pub(crate) fn unreadable(path: &Path, e: &io::Error) -> Error {
    match e.kind() {
        ErrorKind::NotFound => Error::file(path, "no such file"),
        ErrorKind::PermissionDenied => Error::file(path, "no permission to read it"),
        ErrorKind::IsADirectory => Error::file(path, "is a folder, not a file"),
        _ => Error::file(path, e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_atomically(&path, |file| file.write_all(b"old")).unwrap();
        let failed = write_atomically(&path, |file| {
            file.write_all(b"new")?;
            Err(io::Error::other("changed my mind"))
        });
        assert_eq!(failed, Err(Error::file(&path, "changed my mind")));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn errors_say_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let message = |path: &Path| {
            let later = write_atomically(path, |_| Ok(())).unwrap_err();
            assert_eq!(writable(path), Err(later.clone()), "it is known before");
            later.to_string()
        };
        let gone = folder.path().join("gone");
        let expected = format!("there is no folder {}: make it first", gone.display());
        assert!(message(&gone.join("a")).ends_with(&expected));
        for no_file in [folder.path(), &gone.join(""), Path::new(".."), Path::new("")] {
            assert!(message(no_file).ends_with("not the name of an ordinary file"), "{}", message(no_file));
        }
        assert!(read(&gone).unwrap_err().to_string().ends_with("no such file"));
        writable(&gone).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a look leaves nothing");
    }

    #[cfg(unix)]
    #[test]
    fn folders_and_devices_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().ends_with("is a folder, not a file"));
        assert!(write_atomically("/dev/null", |_| Ok(())).unwrap_err().to_string().ends_with("ordinary file"));
    }

    #[cfg(unix)]
    #[test]
    fn links_and_permissions_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let [file, link, plain] = ["file", "link", "plain"].map(|name| folder.path().join(name));
        write_atomically(&file, |file| file.write_all(b"old")).unwrap();
        fs::write(&plain, "x").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&file), mode(&plain));
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        symlink(&file, &link).unwrap();
        write_atomically(&link, |file| file.write_all(b"new")).unwrap();
        assert!(link.is_symlink() && fs::read(&file).unwrap() == b"new");
        assert_eq!(mode(&file) & 0o777, 0o600);
        // The umask is for new files.
        fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
        write_atomically(&link, |file| file.write_all(b"newer")).unwrap();
        assert_eq!(mode(&file) & 0o777, 0o666);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nothing_yet_stays_too() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let [file, link, second, round] = ["file", "link", "second", "round"].map(|name| folder.path().join(name));
        symlink("file", &link).unwrap();
        symlink(&link, &second).unwrap();
        write_atomically(&second, |file| file.write_all(b"new")).unwrap();
        assert!(second.is_symlink() && link.is_symlink() && fs::read(&file).unwrap() == b"new");
        symlink(&round, &round).unwrap();
        assert!(writable(&round).unwrap_err().to_string().ends_with("not the name of an ordinary file"));
        assert!(round.is_symlink());
    }
}
