//! The store in SQLite: `corridor.db` for the small tables, `reports-YYYY-MM-DD.db` for each UTC day of
//! reports, so that retention is deleting a file and damage costs a day.
//!
//! Every commit is synced (`synchronous = FULL` on a write-ahead log), so what was acknowledged survives
//! `kill -9` and, on a disk that does not lie about syncing, loss of power. `corridor.lock` is locked
//! for as long as a store is open: one controller a directory. It also remembers that the directory was
//! in use, so that a main file that has gone is noticed.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use corridor_probes::Wall;
use rusqlite::Connection;

use super::{Counters, Meta, Result, Store, StoreError, records::EventRecord};

mod access;
mod agents;
mod classes;
mod days;
mod dedupe;
mod edges;
mod erase;
pub mod file;
mod grants;
mod log;
mod pseudonym;
mod reports;
mod retain;
mod rows;
mod tokens;

#[cfg(test)]
mod tests;

use days::Days;
use dedupe::Dedupe;
use file::{FileError, Schema, Survives, Tuning};

/// The file of a store that is always there.
pub const MAIN: &str = "corridor.db";
const LOCK: &str = "corridor.lock";

const SCHEMA: Schema = Schema(&[
    include_str!("sqlite/main_1.sql"),
    include_str!("sqlite/main_2.sql"),
]);

/// Erased and retired content is overwritten, so that it cannot be read from the file.
const TUNING: Tuning = Tuning {
    survives: Survives::PowerLoss,
    cache_kib: 16 * 1024,
    checkpoint_pages: 1024,
    exclusive: false,
    overwrite: true,
    statements: 64,
};

/// Tables whose every page is looked at when the store is opened: identities, which cannot be made
/// again and of which there are few.
const CHECKED: [&str; 7] = [
    "meta", "counters", "tokens", "agents", "edges", "accounts", "bearers",
];

/// A store in a directory of its own, or in memory.
#[derive(Debug)]
pub struct Sqlite {
    main: Connection,
    /// Of the main file.
    path: PathBuf,
    days: Days,
    dedupe: Dedupe,
    counters: Counters,
    /// The newest time that the store was told.
    now: Wall,
    /// Held until all else is closed.
    lock: Option<File>,
}

impl Sqlite {
    /// Opens the store in `dir`, or begins one. The directory is made with mode 0700, its files 0600.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Newer`], [`StoreError::Damaged`] and
    /// [`StoreError::Missing`] (of the main file), [`StoreError::Full`].
    pub fn open(dir: &Path, now: Wall) -> Result<Self> {
        directory(dir).map_err(|e| FileError::io(dir, "cannot make it", e))?;
        let (mut lock, is_marked) = lock(dir)?;
        let path = dir.join(MAIN);
        let main = open_main(&path, is_marked || Days::any(dir)?)?;
        if !is_marked {
            lock.write_all(b"in use\n")
                .and_then(|()| lock.sync_all())
                .map_err(|e| FileError::io(&dir.join(LOCK), "cannot write it", e))?;
        }
        let mut store = Self {
            main,
            path,
            days: Days::find(dir, now)?,
            dedupe: Dedupe::default(),
            counters: Counters::default(),
            now,
            lock: Some(lock),
        };
        store.tell_of_damage();
        Ok(store)
    }

    /// A store that is gone when it is dropped, for simulations and tests.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn in_memory() -> Result<Self> {
        Ok(Self {
            main: file::open(None, SCHEMA, TUNING)?,
            path: PathBuf::from(":memory:"),
            days: Days::in_memory(),
            dedupe: Dedupe::default(),
            counters: Counters::default(),
            now: Wall::from_micros(0),
            lock: None,
        })
    }

    /// Runs `f` on the main file.
    fn main<R>(&mut self, f: impl FnOnce(&mut Connection) -> rusqlite::Result<R>) -> Result<R> {
        f(&mut self.main).map_err(|e| FileError::of(&self.path, e).into())
    }

    /// Runs `f` in one transaction on the main file.
    fn change<R>(&mut self, f: impl FnOnce(&Connection) -> rusqlite::Result<R>) -> Result<R> {
        self.main(|db| {
            let change = db.transaction()?;
            let done = f(&change)?;
            change.commit()?;
            Ok(done)
        })
    }

    /// `None`: in memory.
    fn dir(&self) -> Option<PathBuf> {
        self.lock
            .as_ref()
            .and_then(|_| self.path.parent().map(Path::to_owned))
    }

    fn saw(&mut self, now: Wall) {
        self.now = self.now.max(now);
    }

    /// Turns what was set aside into events. The log line was written when it happened, so an event
    /// that cannot be kept now is no reason to fail.
    fn tell_of_damage(&mut self) {
        use super::Log;
        for aside in std::mem::take(&mut self.days.aside) {
            self.counters.set_aside += 1;
            let detail = serde_json::json!({
                "file": aside.was.display().to_string(),
                "set_aside": aside.now.display().to_string(),
                "detail": aside.detail,
            });
            let event = EventRecord {
                at: self.now,
                kind: "store_damaged".into(),
                class: None,
                subject: None,
                edge: None,
                detail: detail.to_string(),
            };
            if let Err(error) = self.append_events(&[event]) {
                tracing::error!(%error, "cannot keep the event of a damaged file");
            }
        }
    }
}

impl From<FileError> for StoreError {
    fn from(e: FileError) -> Self {
        match e {
            FileError::Full { path } => Self::Full { path },
            FileError::Locked { path } => Self::Locked { path },
            FileError::Newer { path, found, known } => Self::Newer { path, found, known },
            FileError::Damaged { path, detail } => Self::Damaged { path, detail },
            FileError::Io { path, what, source } => Self::Backend {
                path,
                what,
                source: Box::new(source),
            },
            FileError::Sql { path, source } => Self::Backend {
                path,
                what: "the database refused",
                source: Box::new(source),
            },
        }
    }
}

/// Makes `dir`, or closes it to others if it is empty or a store's already. One that holds something
/// else is left as it is: it may be `/tmp`.
fn directory(dir: &Path) -> io::Result<()> {
    let mut make = DirBuilder::new();
    make.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut make, 0o700);
    if !dir.exists() {
        return make.create(dir);
    }
    #[cfg(unix)]
    if dir.join(LOCK).exists() || fs::read_dir(dir)?.next().is_none() {
        use std::os::unix::fs::PermissionsExt;
        let mut mode = fs::metadata(dir)?.permissions();
        if mode.mode() & 0o077 != 0 {
            mode.set_mode(0o700);
            fs::set_permissions(dir, mode)?;
        }
    }
    Ok(())
}

/// Takes the directory's lock, and answers whether the directory was in use before.
fn lock(dir: &Path) -> Result<(File, bool)> {
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    options.create(true).read(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let fail = |e| FileError::io(&path, "cannot lock it", e);
    let mut file = options.open(&path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { path }),
        Err(TryLockError::Error(e)) => return Err(fail(e).into()),
    }
    let mut content = Vec::new();
    Read::by_ref(&mut file)
        .take(16)
        .read_to_end(&mut content)
        .map_err(fail)?;
    Ok((file, !content.is_empty()))
}

fn open_main(path: &Path, was_in_use: bool) -> Result<Connection> {
    // SQLite takes an empty file for a new database.
    let is_there = fs::metadata(path).is_ok_and(|m| m.len() > 0);
    if was_in_use && !is_there {
        return Err(StoreError::Missing {
            path: path.to_owned(),
        });
    }
    let main = file::open(Some(path), SCHEMA, TUNING)?;
    for table in CHECKED {
        let found: String = main
            .query_row(&format!("PRAGMA quick_check('{table}')"), [], |row| row.get(0))
            .unwrap_or_else(|e| e.to_string());
        if found != "ok" {
            return Err(StoreError::Damaged {
                path: path.to_owned(),
                detail: found,
            });
        }
    }
    Ok(main)
}

impl Meta for Sqlite {
    fn get_meta(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        use rusqlite::OptionalExtension;
        self.main(|db| {
            db.prepare_cached("SELECT value FROM meta WHERE name = ?1")?
                .query_row([name], |row| row.get(0))
                .optional()
        })
    }

    fn set_meta(&mut self, name: &str, value: &[u8]) -> Result<()> {
        self.main(|db| {
            db.prepare_cached(
                "INSERT INTO meta (name, value) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            )?
            .execute((name, value))
            .map(drop)
        })
    }
}

impl Store for Sqlite {
    fn retain(&mut self, now: Wall, keep: &super::Retention) -> Result<super::Retained> {
        retain::retain(self, now, keep)
    }

    fn erase_subject(&mut self, subject: &str, pseudonym: &str, now: Wall) -> Result<super::Erased> {
        erase::erase(self, subject, pseudonym, now)
    }

    fn bytes(&mut self) -> Result<u64> {
        retain::bytes(self)
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}
