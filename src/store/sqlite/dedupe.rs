//! Which reports came before: by identity, across days and restarts.
//!
//! A reporter counts up within a boot, so nearly every report has a higher sequence number than any
//! kept one of its boot, and that alone says that it is new. The highest ones are cached here and read
//! from the days' indexes when they are not; the rest is looked up in every day.

use std::collections::{BTreeMap, BTreeSet};

use corridor_probes::BootId;
use rusqlite::{Connection, OptionalExtension};

use super::{
    Sqlite,
    file::FileError,
    rows::{bits, reporter_key},
};
use crate::store::records::{ReportRecord, Reporter};

/// Boots remembered: several times as many reporters as one machine is sized for. Beyond, all are
/// forgotten and read again as they come.
const BOOTS: usize = 100_000;
/// Reports remembered as kept but not told of: a few batches.
const UNTOLD: usize = 100_000;

/// A report's identity. Sequence numbers are compared as SQLite keeps them, as signed integers: any
/// order will do, as long as it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub reporter: Reporter,
    pub boot: BootId,
    pub sequence: i64,
}

impl Key {
    pub fn of(report: &ReportRecord) -> Self {
        Self {
            reporter: report.reporter,
            boot: report.boot,
            sequence: bits(report.sequence),
        }
    }

    fn boot(&self) -> (Reporter, BootId) {
        (self.reporter, self.boot)
    }

    fn is_in(&self, db: &Connection) -> rusqlite::Result<bool> {
        let (kind, id) = reporter_key(self.reporter);
        db.prepare_cached(
            "SELECT 1 FROM reports WHERE kind = ?1 AND reporter = ?2 AND boot = ?3 AND sequence = ?4",
        )?
        .exists((kind, id, bits(self.boot.0), self.sequence))
    }
}

#[derive(Debug, Default)]
pub(super) struct Dedupe {
    /// The highest sequence kept of a boot; `None` when it is known that there is none.
    newest: BTreeMap<(Reporter, BootId), Option<i64>>,
    /// Kept by an append that failed on another day's file: its caller was not told.
    untold: BTreeSet<Key>,
}

impl Dedupe {
    /// `key` is durable now.
    pub fn keep(&mut self, key: Key) {
        let newest = self.newest.entry(key.boot()).or_default();
        *newest = (*newest).max(Some(key.sequence));
    }

    pub fn is_untold(&self, key: &Key) -> bool {
        self.untold.contains(key)
    }

    pub fn fail_to_tell(&mut self, keys: impl IntoIterator<Item = Key>) {
        if self.untold.len() > UNTOLD {
            self.untold.clear();
        }
        self.untold.extend(keys);
    }

    pub fn tell<'a>(&mut self, keys: impl IntoIterator<Item = &'a Key>) {
        if !self.untold.is_empty() {
            for key in keys {
                self.untold.remove(key);
            }
        }
    }
}

/// Those of `keys` that are kept already. Every day's file is asked at most twice, however many keys.
pub(super) fn kept(store: &mut Sqlite, keys: &BTreeSet<Key>) -> Result<BTreeSet<Key>, FileError> {
    if store.dedupe.newest.len() > BOOTS {
        store.dedupe.newest.clear();
    }
    learn(store, keys)?;
    let newest = &store.dedupe.newest;
    let mut doubtful: BTreeSet<Key> = keys
        .iter()
        .filter(|key| newest.get(&key.boot()).copied().flatten() >= Some(key.sequence))
        .copied()
        .collect();
    let mut kept = BTreeSet::new();
    for day in store.days.all().into_iter().rev() {
        if doubtful.is_empty() {
            break;
        }
        let found = store.days.with(day, store.now, |db| {
            let mut found = Vec::new();
            for key in &doubtful {
                if key.is_in(db)? {
                    found.push(*key);
                }
            }
            Ok(found)
        })?;
        for key in found.into_iter().flatten() {
            doubtful.remove(&key);
            kept.insert(key);
        }
    }
    Ok(kept)
}

/// Reads the highest sequence numbers of boots that are not cached.
fn learn(store: &mut Sqlite, keys: &BTreeSet<Key>) -> Result<(), FileError> {
    let mut unknown: BTreeMap<(Reporter, BootId), Option<i64>> = keys
        .iter()
        .map(Key::boot)
        .filter(|boot| !store.dedupe.newest.contains_key(boot))
        .map(|boot| (boot, None))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    for day in store.days.all() {
        store.days.with(day, store.now, |db| {
            let mut highest = db.prepare_cached(
                "SELECT max(sequence) FROM reports WHERE kind = ?1 AND reporter = ?2 AND boot = ?3",
            )?;
            for ((reporter, boot), newest) in &mut unknown {
                let (kind, id) = reporter_key(*reporter);
                let found: Option<i64> = highest
                    .query_row((kind, id, bits(boot.0)), |row| row.get(0))
                    .optional()?
                    .flatten();
                *newest = (*newest).max(found);
            }
            Ok(())
        })?;
    }
    store.dedupe.newest.append(&mut unknown);
    Ok(())
}
