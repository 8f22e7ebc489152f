//! Files that hold secrets: readable by their owner alone, and replaced whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

/// Why a private file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot {what} {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} may be read by others (mode {mode:03o}): run `chmod 600` on it")]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{path} is over {limit} bytes long")]
    TooLong { path: PathBuf, limit: u64 },
    #[error("{path} is damaged: {what}")]
    Damaged { path: PathBuf, what: &'static str },
}

impl FileError {
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    pub(crate) fn damaged(path: &Path, what: &'static str) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            what,
        }
    }

    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            what,
            path: path.to_owned(),
            source,
        }
    }
}

/// Makes `dir` (and what leads to it) where missing; only its owner may enter it.
pub(crate) fn create_dir(dir: &Path) -> Result<(), FileError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(dir)
        .map_err(FileError::io("create directory", dir))
}

/// Writes `bytes` to a new file beside `path`, syncs it, and renames it over `path`: a reader, or a crash
/// at any moment, finds the old file or the new one. The directory must exist.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = temporary(path);
    let written = write_new(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path).map_err(FileError::io("replace", path)));
    if written.is_err() {
        // The name may be another's leftover or not there at all; the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    // The rename itself is on disk once the directory is.
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        File::open(dir)
            .and_then(|d| d.sync_all())
            .map_err(FileError::io("sync directory", dir))?;
    }
    Ok(())
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    name.into()
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    // A leftover of a crash would carry whatever mode and owner it had: always a new file.
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(FileError::io("remove", path)(e)),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(FileError::io("create", path))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(FileError::io("write", path))
}

/// Reads a text of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<String, FileError> {
    let file = File::open(path).map_err(FileError::io("open", path))?;
    read_open(file, path, limit)
}

/// [`read`] for a file with a key in it: refused when anyone but its owner may read it.
pub(crate) fn read_secret(path: &Path, limit: u64) -> Result<String, FileError> {
    let file = File::open(path).map_err(FileError::io("open", path))?;
    // The open file is judged, not its name, which may be swapped meanwhile.
    #[cfg(unix)]
    {
        let metadata = file.metadata().map_err(FileError::io("inspect", path))?;
        let mode = std::os::unix::fs::MetadataExt::mode(&metadata) & 0o777;
        if mode & 0o077 != 0 {
            return Err(FileError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
    }
    read_open(file, path, limit)
}

fn read_open(file: File, path: &Path, limit: u64) -> Result<String, FileError> {
    let mut text = String::new();
    let read = file.take(limit + 1).read_to_string(&mut text);
    match read {
        Ok(_) if text.len() as u64 > limit => Err(FileError::TooLong {
            path: path.to_owned(),
            limit,
        }),
        Ok(_) => Ok(text),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(FileError::damaged(path, "it is not text")),
        Err(e) => Err(FileError::io("read", path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    fn mode(path: &Path) -> u32 {
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o777
    }

    #[cfg(unix)]
    fn set_mode(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn what_is_written_is_the_owners_alone() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        create_dir(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
        let path = dir.join("key");
        write(&path, b"one").unwrap();
        assert_eq!(mode(&path), 0o600);
        set_mode(&path, 0o644);
        write(&path, b"two").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(read_secret(&path, 3).unwrap(), "two");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_leftover_of_a_crash_lends_neither_bytes_nor_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let leftover = temporary(&path);
        fs::write(&leftover, "left over, and longer").unwrap();
        set_mode(&leftover, 0o666);
        write(&path, b"new").unwrap();
        assert_eq!((read(&path, 10).unwrap().as_str(), mode(&path)), ("new", 0o600));
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write(&path, b"x").unwrap();
        for (bits, refused) in [
            (0o600, false),
            (0o400, false),
            (0o640, true),
            (0o604, true),
            (0o610, true),
        ] {
            set_mode(&path, bits);
            assert_eq!(
                matches!(read_secret(&path, 10), Err(FileError::Exposed { mode, .. }) if mode == bits),
                refused,
                "{bits:o}"
            );
        }
    }

    #[test]
    fn reading_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), "12345");
        assert!(matches!(read(&path, 4), Err(FileError::TooLong { .. })));
        write(&path, &[0xff, 0xfe]).unwrap();
        assert!(matches!(read(&path, 4), Err(FileError::Damaged { .. })));
        assert!(read(&dir.path().join("none"), 4).unwrap_err().is_not_found());
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "x").unwrap();
        assert!(write(&path, b"new").is_err());
        assert!(path.join("inside").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
