//! One SQLite file: opened so that it keeps its promises, brought to the schema of this version, and set
//! aside when it is damaged.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use corridor_probes::Wall;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, ffi};
use time::{OffsetDateTime, macros::format_description};

/// What may go wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{}: the disk is full", path.display())]
    Full { path: PathBuf },
    #[error("{}: in use by another process", path.display())]
    Locked { path: PathBuf },
    #[error(
        "{}: written by a newer version (its schema is {found}, this program knows {known})", path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("{}: damaged ({detail})", path.display())]
    Damaged { path: PathBuf, detail: String },
    #[error("{}: {what}", path.display())]
    Io {
        path: PathBuf,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{}: the database refused", path.display())]
    Sql {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
}

impl FileError {
    /// Sorts an error of SQLite's by what can be done about it.
    pub(crate) fn of(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let Some(error) = source.sqlite_error() else {
            return Self::Sql { path, source };
        };
        match (error.code, error.extended_code) {
            // The index of a write-ahead log is a file too, and grows by other means.
            (ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE) => Self::Full { path },
            (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => Self::Locked { path },
            (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _)
            | (_, ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_CORRUPTFS) => Self::Damaged {
                path,
                detail: source.to_string(),
            },
            _ => Self::Sql { path, source },
        }
    }

    pub(crate) fn io(path: &Path, what: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { path, what, source },
        }
    }
}

/// A schema as the steps that lead to it: the file's `user_version` is how many it has taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema(pub &'static [&'static str]);

impl Schema {
    fn version(self) -> i64 {
        i64::try_from(self.0.len()).unwrap_or(i64::MAX)
    }
}

/// What a commit survives, beyond the end of the process, which it always survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Survives {
    /// Loss of power: the log is synced at every commit.
    PowerLoss,
    /// The end of the process only. Loss of power may undo the last commits, back to the last
    /// checkpoint, in order and each as a whole.
    Exit,
}

/// How a file is used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    pub survives: Survives,
    /// Page cache, KiB.
    pub cache_kib: u32,
    /// The log is copied back into the file when it has this many pages of 4 KiB.
    pub checkpoint_pages: u32,
    /// No other process may even read; saves the log's shared index.
    pub exclusive: bool,
    /// Deleted content is overwritten.
    pub overwrite: bool,
    /// Prepared statements kept.
    pub statements: usize,
}

/// How long a reader of another process (a person with `sqlite3`, a backup) may hold things up.
const BUSY: Duration = Duration::from_secs(2);

/// Opens the file at `path`, or one in memory without, creating what is not there.
///
/// # Errors
/// A file of a newer version is left as it is.
pub(crate) fn open(path: Option<&Path>, schema: Schema, tuning: Tuning) -> Result<Connection, FileError> {
    let name = path.unwrap_or(Path::new(":memory:"));
    if let Some(path) = path {
        create(path).map_err(|e| FileError::io(path, "cannot create it", e))?;
    }
    connect(path, schema, tuning).map_err(|e| match e {
        Opening::Sql(e) => FileError::of(name, e),
        Opening::Newer(found) => FileError::Newer {
            path: name.to_owned(),
            found,
            known: schema.version(),
        },
    })
}

/// SQLite would create it readable to all that the umask lets; its log takes the file's mode.
fn create(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

enum Opening {
    Sql(rusqlite::Error),
    Newer(i64),
}

impl From<rusqlite::Error> for Opening {
    fn from(e: rusqlite::Error) -> Self {
        Self::Sql(e)
    }
}

fn connect(path: Option<&Path>, schema: Schema, tuning: Tuning) -> Result<Connection, Opening> {
    let mut db = match path {
        // Without SQLITE_OPEN_URI: a path is a path, whatever it begins with.
        Some(path) => Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?,
        None => Connection::open_in_memory()?,
    };
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(tuning.statements);
    if tuning.exclusive {
        db.pragma_update(None, "locking_mode", "exclusive")?;
    }
    let found = version(&db)?;
    if found > schema.version() {
        return Err(Opening::Newer(found));
    }
    db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    let synchronous = match tuning.survives {
        Survives::PowerLoss => "full",
        Survives::Exit => "normal",
    };
    db.pragma_update(None, "synchronous", synchronous)?;
    db.pragma_update(None, "cache_size", -i64::from(tuning.cache_kib))?;
    db.pragma_update_and_check(None, "wal_autocheckpoint", tuning.checkpoint_pages, |_| Ok(()))?;
    // A log that once grew (a long reader, a full disk) shrinks again at the next checkpoint.
    let log_bytes = i64::from(tuning.checkpoint_pages) * 4096 * 2;
    db.pragma_update_and_check(None, "journal_size_limit", log_bytes, |_| Ok(()))?;
    db.pragma_update_and_check(None, "secure_delete", tuning.overwrite, |_| Ok(()))?;
    db.pragma_update(None, "temp_store", "memory")?;
    migrate(&mut db, schema)?;
    Ok(db)
}

fn version(db: &Connection) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn migrate(db: &mut Connection, schema: Schema) -> Result<(), Opening> {
    if version(db)? == schema.version() {
        return Ok(());
    }
    let step = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = usize::try_from(version(&step)?).unwrap_or(0);
    for sql in schema.0.iter().skip(done) {
        step.execute_batch(sql)?;
    }
    step.pragma_update(None, "user_version", schema.version())?;
    step.commit()?;
    Ok(())
}

/// The files that belong to the one at `path`, in the order in which they may be taken away: a log that
/// outlived its file could be played into a new one.
pub(crate) fn companions(path: &Path) -> [PathBuf; 3] {
    let with = |suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    [with("-wal"), with("-shm"), path.to_owned()]
}

/// Renames a damaged file and its log to `NAME.damaged-TIME` and answers the new path.
pub(crate) fn set_aside(path: &Path, now: Wall) -> Result<PathBuf, FileError> {
    let stamp = stamp(now);
    let aside = (0..u32::MAX)
        .map(|n| {
            let mut name = path.as_os_str().to_owned();
            name.push(if n == 0 {
                format!(".damaged-{stamp}")
            } else {
                format!(".damaged-{stamp}-{n}")
            });
            PathBuf::from(name)
        })
        .find(|aside| !aside.exists())
        .unwrap_or_default();
    for (from, to) in companions(path).iter().zip(companions(&aside)) {
        match fs::rename(from, to) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(FileError::io(from, "damaged, and it cannot be set aside", e));
            }
            _ => {}
        }
    }
    Ok(aside)
}

/// Deletes a file with its companions; those that are not there are no error.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    for file in companions(path) {
        match fs::remove_file(&file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(FileError::io(&file, "cannot delete it", e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// `20261122T015600Z`; microseconds since 1970 for times that have no year of four digits.
fn stamp(now: Wall) -> String {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    OffsetDateTime::from_unix_timestamp(now.as_secs())
        .ok()
        .and_then(|t| t.format(format).ok())
        .unwrap_or_else(|| now.as_micros().to_string())
}
