//! What an agent or edge keeps on disk until the controller has it: a journal of closed one-second
//! windows, so that a crash costs a second, and closed reports that await their acknowledgement.
//!
//! One SQLite file, bounded by bytes, the oldest out first. Every change is one transaction: it survives
//! the end of the process at any point; loss of power may undo the last seconds, each change as a whole.
//! It blocks like a disk: it lives on a [`crate::store::worker::Worker`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use corridor_probes::{BootId, Wall};
use rusqlite::{Connection, TransactionBehavior};

use crate::store::sqlite::file::{self, FileError, Schema, Survives, Tuning};

mod rows;
#[cfg(test)]
mod tests;

use rows::Size;

/// A week of an agent's reports, one class of an hour a day among them.
pub const DEFAULT_LIMIT: u64 = 32 * 1024 * 1024;

const SCHEMA: Schema = Schema(&[include_str!("spool/spool_1.sql")]);

/// The agent has 10 MB in all. The log is copied back at 1 MiB: about once in a minute and a half of
/// journalling, which is how often the disk is made to sync.
const TUNING: Tuning = Tuning {
    survives: Survives::Exit,
    cache_kib: 256,
    checkpoint_pages: 256,
    exclusive: true,
    overwrite: false,
    statements: 24,
};

#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// What was to be kept is counted as dropped; go on, there may be room later.
    #[error("{}: the disk is full; measurements are dropped until there is room", path.display())]
    Full { path: PathBuf },
    #[error("{}: in use by another process; a spool has one agent", path.display())]
    Locked { path: PathBuf },
    /// The file was set aside and a new one begun; what was in it is counted as dropped.
    #[error("{}: the spool was damaged ({detail}) and has been set aside", path.display())]
    Damaged { path: PathBuf, detail: String },
    /// Counted as dropped.
    #[error("a report of {bytes} bytes is larger than the spool may be ({limit})")]
    TooLarge { bytes: usize, limit: u64 },
    #[error("sequence {given} of boot {boot} may have been used before; the next one is {next}")]
    SequenceUsed { boot: BootId, given: u64, next: u64 },
    #[error(transparent)]
    File(FileError),
}

impl From<FileError> for SpoolError {
    fn from(e: FileError) -> Self {
        match e {
            FileError::Full { path } => Self::Full { path },
            FileError::Locked { path } => Self::Locked { path },
            FileError::Damaged { path, detail } => Self::Damaged { path, detail },
            other => Self::File(other),
        }
    }
}

/// One second's closed windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRow {
    /// Which second, counted in any way that grows within the boot.
    pub second: i64,
    pub body: Vec<u8>,
}

/// A closed report that awaits its acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpooledReport {
    pub boot: BootId,
    pub sequence: u64,
    pub body: Vec<u8>,
}

/// What a former boot journalled and did not close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    pub boot: BootId,
    /// For the report that it will become.
    pub next_sequence: u64,
    /// In order of seconds.
    pub rows: Vec<JournalRow>,
}

/// Lost for want of room, with a damaged file, or because the disk was full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    pub reports: u64,
    /// Journal rows.
    pub rows: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Reports that await their acknowledgement.
    pub reports: u64,
    pub journal_rows: u64,
    /// Bodies of both, and 64 B for each.
    pub bytes: u64,
    /// Since the spool's file was first made.
    pub dropped: Dropped,
}

#[derive(Debug)]
pub struct Spool {
    db: Connection,
    /// `None`: in memory.
    path: Option<PathBuf>,
    limit: u64,
    opened: Wall,
    held: Size,
    /// As the file has it.
    dropped: Dropped,
    /// Not in the file yet.
    unsaved: Dropped,
    /// Next sequences of boots that closed reports in this process: they outlive a damaged file.
    next: BTreeMap<BootId, u64>,
    set_aside: Option<PathBuf>,
}

impl Spool {
    /// Opens the spool at `path`, whose directory exists, or begins one. A damaged file is set aside
    /// and a new one begun, see [`Self::set_aside`]. `limit` is in bytes as [`Stats::bytes`] counts
    /// them; on disk, bodies of just over half a page of 4 KiB take twice that, and the log 2 MiB.
    ///
    /// # Errors
    /// [`SpoolError::Locked`], [`SpoolError::Full`], a newer version's file. Without a file,
    /// [`Self::in_memory`] lets measuring go on.
    pub fn open(path: &Path, limit: u64, now: Wall) -> Result<Self, SpoolError> {
        let mut set_aside = None;
        let (db, held, dropped) = match begin(Some(path)) {
            Err(FileError::Damaged { detail, .. }) => {
                set_aside = Some(put_aside(path, &detail, now)?);
                begin(Some(path))?
            }
            other => other?,
        };
        Ok(Self {
            db,
            path: Some(path.to_owned()),
            limit,
            opened: now,
            held,
            dropped,
            unsaved: Dropped::default(),
            next: BTreeMap::new(),
            set_aside,
        })
    }

    /// A spool that is gone when it is dropped.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn in_memory(limit: u64) -> Result<Self, SpoolError> {
        let (db, held, dropped) = begin(None)?;
        Ok(Self {
            db,
            path: None,
            limit,
            opened: Wall::from_micros(0),
            held,
            dropped,
            unsaved: Dropped::default(),
            next: BTreeMap::new(),
            set_aside: None,
        })
    }

    /// Where the newest damaged file is now, if there was one.
    pub fn set_aside(&self) -> Option<&Path> {
        self.set_aside.as_deref()
    }

    /// Keeps closed windows; of rows of the same second, the last.
    ///
    /// # Errors
    /// The rows are counted as dropped.
    pub fn journal(&mut self, boot: BootId, rows: &[JournalRow]) -> Result<(), SpoolError> {
        let lost = Dropped {
            rows: u64::try_from(rows.len()).unwrap_or(u64::MAX),
            ..Dropped::default()
        };
        self.change(lost, |db, tally| {
            let place = rows::place(db, boot, 0)?;
            for row in rows {
                rows::put_journal(db, place, row, tally)?;
            }
            Ok(())
        })
    }

    /// The sequence that the next report of `boot` has: 0 at first. Sequences are never used twice
    /// within a boot, even when their reports are gone.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_sequence(&mut self, boot: BootId) -> Result<u64, SpoolError> {
        let known = self.next.get(&boot).copied().unwrap_or(0);
        Ok(self.read(|db| rows::next_sequence(db, boot))?.max(known))
    }

    /// Closes a report: it goes in, and the journal of `boot` up to and including second `through`,
    /// which it covers, goes out; both or neither.
    ///
    /// # Errors
    /// [`SpoolError::SequenceUsed`] changes nothing; of all others the report is counted as dropped.
    pub fn close_report(
        &mut self,
        boot: BootId,
        sequence: u64,
        body: &[u8],
        through: i64,
    ) -> Result<(), SpoolError> {
        let next = self.next_sequence(boot)?;
        let (false, Some(after)) = (sequence < next, sequence.checked_add(1)) else {
            return Err(SpoolError::SequenceUsed {
                boot,
                given: sequence,
                next,
            });
        };
        if rows::size(body.len()) > self.limit {
            self.unsaved.reports += 1;
            return Err(SpoolError::TooLarge {
                bytes: body.len(),
                limit: self.limit,
            });
        }
        let lost = Dropped {
            reports: 1,
            ..Dropped::default()
        };
        self.change(lost, |db, tally| {
            let place = rows::place(db, boot, after)?;
            rows::delete_journal(db, place, through, tally)?;
            rows::put_report(db, boot, sequence, body, tally)
        })?;
        self.next.insert(boot, after);
        Ok(())
    }

    /// At most `max_rows` of what the oldest boot but `current` left in the journal. Make them a report
    /// of that boot, close it through the last row's second, and ask again until there is none: a long
    /// journal is never in memory as a whole.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn leftover_journal(
        &mut self,
        current: BootId,
        max_rows: u32,
    ) -> Result<Option<Leftover>, SpoolError> {
        self.read(|db| rows::leftover(db, current, max_rows))
    }

    /// The oldest `n` reports, oldest first. They stay until they are acknowledged.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_batch(&mut self, n: u32) -> Result<Vec<SpooledReport>, SpoolError> {
        self.read(|db| rows::oldest_reports(db, n))
    }

    /// The controller has it. Answers whether it was here still.
    ///
    /// # Errors
    /// It will be sent again, and acknowledged again.
    pub fn acknowledge(&mut self, boot: BootId, sequence: u64) -> Result<bool, SpoolError> {
        self.change(Dropped::default(), |db, tally| {
            rows::delete_report(db, boot, sequence, tally)
        })
    }

    pub fn stats(&self) -> Stats {
        Stats {
            reports: self.held.reports,
            journal_rows: self.held.rows,
            bytes: self.held.bytes,
            dropped: self.dropped + self.unsaved,
        }
    }

    fn read<R>(&mut self, f: impl FnOnce(&Connection) -> rusqlite::Result<R>) -> Result<R, SpoolError> {
        f(&self.db).map_err(|e| self.failed(e))
    }

    /// Runs `f` in one transaction, then makes room. `lost` is what is dropped if it fails. Counts are
    /// taken over only when it is done.
    fn change<R>(
        &mut self,
        lost: Dropped,
        f: impl FnOnce(&Connection, &mut Size) -> rusqlite::Result<R>,
    ) -> Result<R, SpoolError> {
        let (mut held, mut dropped) = (self.held, self.dropped + self.unsaved);
        let attempt = || {
            let change = self
                .db
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = f(&change, &mut held)?;
            while held.bytes > self.limit {
                rows::drop_oldest(&change, &mut held, &mut dropped)?;
            }
            if dropped != self.dropped {
                rows::set_dropped(&change, dropped)?;
            }
            change.commit()?;
            Ok(done)
        };
        match attempt() {
            Ok(done) => {
                (self.held, self.dropped, self.unsaved) = (held, dropped, Dropped::default());
                Ok(done)
            }
            Err(e) => {
                self.unsaved = self.unsaved + lost;
                Err(self.failed(e))
            }
        }
    }

    fn failed(&mut self, e: rusqlite::Error) -> SpoolError {
        let Some(path) = self.path.clone() else {
            return FileError::of(Path::new(":memory:"), e).into();
        };
        let error = FileError::of(&path, e);
        if let FileError::Damaged { detail, .. } = &error {
            self.begin_anew(&path, detail);
        }
        error.into()
    }

    /// Sets the damaged file aside and goes on with a new one, or in memory if that cannot be.
    fn begin_anew(&mut self, path: &Path, detail: &str) {
        let Ok((memory, ..)) = begin(None) else { return };
        // Closes the damaged file.
        self.db = memory;
        let anew = put_aside(path, detail, self.opened).and_then(|aside| {
            self.set_aside = Some(aside);
            begin(Some(path))
        });
        match anew {
            Ok((db, ..)) => self.db = db,
            Err(error) => tracing::error!(%error, "no new spool can be begun; going on in memory"),
        }
        self.unsaved = self.unsaved
            + self.dropped
            + Dropped {
                reports: self.held.reports,
                rows: self.held.rows,
            };
        self.dropped = Dropped::default();
        self.held = Size::default();
    }
}

fn begin(path: Option<&Path>) -> Result<(Connection, Size, Dropped), FileError> {
    let db = file::open(path, SCHEMA, TUNING)?;
    let name = path.unwrap_or(Path::new(":memory:"));
    let read = rows::forget_boots(&db)
        .and_then(|()| Ok((rows::held(&db)?, rows::dropped(&db)?)))
        .map_err(|e| FileError::of(name, e));
    read.map(|(held, dropped)| (db, held, dropped))
}

fn put_aside(path: &Path, detail: &str, now: Wall) -> Result<PathBuf, FileError> {
    let aside = file::set_aside(path, now)?;
    tracing::error!(
        file = %path.display(),
        set_aside = %aside.display(),
        detail,
        "the spool is damaged; it was set aside, and what was in it is lost"
    );
    Ok(aside)
}

impl std::ops::Add for Dropped {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            reports: self.reports.saturating_add(other.reports),
            rows: self.rows.saturating_add(other.rows),
        }
    }
}
