//! The files of reports, one a UTC day: found, opened, made, set aside, deleted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use corridor_probes::Wall;
use rusqlite::Connection;
use time::{Date, macros::format_description};

use super::file::{self, FileError, Schema, Survives, Tuning};

/// Days that are open at a time, each with its cache and its file descriptors: today's, yesterday's,
/// and a few for agents back from an outage and for support.
const OPEN: usize = 8;

pub(super) const SCHEMA: Schema = Schema(&[include_str!("reports_1.sql")]);

/// The cache holds the ends of the indexes that 20,000 reporters write to at a time.
const TUNING: Tuning = Tuning {
    survives: Survives::PowerLoss,
    cache_kib: 64 * 1024,
    checkpoint_pages: 8192,
    exclusive: false,
    overwrite: false,
    statements: 16,
};

/// A damaged file that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Aside {
    pub was: PathBuf,
    pub now: PathBuf,
    pub detail: String,
}

/// All days, by their number since 1970-01-01.
#[derive(Debug)]
pub(super) struct Days {
    /// `None`: in memory, where a day lasts as long as its connection.
    dir: Option<PathBuf>,
    known: BTreeSet<i64>,
    open: BTreeMap<i64, Open>,
    uses: u64,
    /// Not yet told of.
    pub aside: Vec<Aside>,
}

#[derive(Debug)]
struct Open {
    db: Connection,
    /// [`Days::uses`] when it was last used.
    used: u64,
}

impl Days {
    pub fn in_memory() -> Self {
        Self {
            dir: None,
            known: BTreeSet::new(),
            open: BTreeMap::new(),
            uses: 0,
            aside: Vec::new(),
        }
    }

    /// Finds the days in `dir` and looks at each, so that one of a newer version is told of now and not
    /// in the middle of a night; damaged ones are set aside.
    pub fn find(dir: &Path, now: Wall) -> Result<Self, FileError> {
        let mut days = Self::in_memory();
        days.dir = Some(dir.to_owned());
        for (day, name) in files(dir)? {
            if name == file_name(day) {
                days.known.insert(day);
            }
        }
        for day in days.known.clone() {
            days.with(day, now, |_| Ok(()))?;
        }
        Ok(days)
    }

    /// Whether `dir` has any, whole or damaged.
    pub fn any(dir: &Path) -> Result<bool, FileError> {
        Ok(!files(dir)?.is_empty())
    }

    /// Days that there are, oldest first.
    pub fn in_range(&self, range: RangeInclusive<i64>) -> Vec<i64> {
        if range.is_empty() {
            return Vec::new();
        }
        self.known.range(range).copied().collect()
    }

    pub fn all(&self) -> Vec<i64> {
        self.known.iter().copied().collect()
    }

    /// Runs `f` on a day's file; `None` if there is none, or if it proved damaged and was set aside.
    pub fn with<R>(
        &mut self,
        day: i64,
        now: Wall,
        f: impl FnOnce(&mut Connection) -> rusqlite::Result<R>,
    ) -> Result<Option<R>, FileError> {
        if !self.known.contains(&day) {
            return Ok(None);
        }
        self.run(day, now, f)
    }

    /// The same, with the file made if there is none. `f` runs twice if the day proves damaged: first
    /// on what is then set aside, then on a new file.
    pub fn with_new<R>(
        &mut self,
        day: i64,
        now: Wall,
        mut f: impl FnMut(&mut Connection) -> rusqlite::Result<R>,
    ) -> Result<R, FileError> {
        for _ in 0..2 {
            if let Some(done) = self.run(day, now, &mut f)? {
                self.known.insert(day);
                return Ok(done);
            }
        }
        Err(FileError::Damaged {
            path: self.path(day).unwrap_or_default(),
            detail: "a new file in its place is damaged too".into(),
        })
    }

    fn run<R>(
        &mut self,
        day: i64,
        now: Wall,
        f: impl FnOnce(&mut Connection) -> rusqlite::Result<R>,
    ) -> Result<Option<R>, FileError> {
        let path = self.path(day);
        let done = self
            .opened(day)
            .and_then(|db| f(db).map_err(|e| FileError::of(path.as_deref().unwrap_or(Path::new("")), e)));
        match (done, path) {
            (Ok(r), _) => Ok(Some(r)),
            (Err(FileError::Damaged { detail, .. }), Some(path)) => {
                self.set_aside(day, &path, detail, now)?;
                Ok(None)
            }
            (Err(e), _) => Err(e),
        }
    }

    fn opened(&mut self, day: i64) -> Result<&mut Connection, FileError> {
        self.uses += 1;
        let path = self.path(day);
        if path.is_some() && !self.open.contains_key(&day) {
            while self.open.len() >= OPEN {
                let Some(oldest) = self.open.iter().min_by_key(|(_, o)| o.used).map(|(d, _)| *d) else {
                    break;
                };
                self.open.remove(&oldest);
            }
        }
        let open = match self.open.entry(day) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => place.insert(Open {
                db: file::open(path.as_deref(), SCHEMA, TUNING)?,
                used: 0,
            }),
        };
        open.used = self.uses;
        Ok(&mut open.db)
    }

    fn set_aside(&mut self, day: i64, path: &Path, detail: String, now: Wall) -> Result<(), FileError> {
        self.open.remove(&day);
        self.known.remove(&day);
        let aside = Aside {
            was: path.to_owned(),
            now: file::set_aside(path, now)?,
            detail,
        };
        tracing::error!(
            file = %aside.was.display(),
            set_aside = %aside.now.display(),
            detail = aside.detail,
            "a day of reports is damaged; it was set aside and the rest goes on"
        );
        self.aside.push(aside);
        Ok(())
    }

    #[cfg(test)]
    pub fn open_now(&self) -> usize {
        self.open.len()
    }

    /// Deletes all days before `day`, those that were set aside too: they hold what may not be kept.
    /// Answers how many days that were.
    pub fn delete_before(&mut self, day: i64) -> Result<u64, FileError> {
        let mut deleted = BTreeSet::new();
        for old in self
            .known
            .iter()
            .copied()
            .filter(|d| *d < day)
            .collect::<Vec<_>>()
        {
            self.open.remove(&old);
            if let Some(path) = self.path(old) {
                file::remove(&path)?;
            }
            self.known.remove(&old);
            deleted.insert(old);
        }
        if let Some(dir) = &self.dir {
            for (old, name) in files(dir)?.into_iter().filter(|(d, _)| *d < day) {
                file::remove(&dir.join(name))?;
                deleted.insert(old);
            }
        }
        Ok(u64::try_from(deleted.len()).unwrap_or(u64::MAX))
    }

    fn path(&self, day: i64) -> Option<PathBuf> {
        self.dir.as_ref().map(|dir| dir.join(file_name(day)))
    }
}

const PREFIX: &str = "reports-";

/// `reports-2026-11-22.db`. Days outside the calendar's years are named by their number: reports are
/// filed near the time of their receipt, so only a controller that is lost in time makes such a file.
fn file_name(day: i64) -> String {
    const EPOCH: i32 = 2_440_588;
    let date = i32::try_from(day)
        .ok()
        .and_then(|d| EPOCH.checked_add(d))
        .and_then(|julian| Date::from_julian_day(julian).ok())
        .filter(|date| (0..=9999).contains(&date.year()))
        .and_then(|date| date.format(format_description!("[year]-[month]-[day]")).ok());
    match date {
        Some(date) => format!("{PREFIX}{date}.db"),
        None => format!("{PREFIX}day{day}.db"),
    }
}

/// The day in a file's name, if it is a day's file or one that was set aside; not of logs.
fn day_of(name: &str) -> Option<i64> {
    let (day, rest) = name.strip_prefix(PREFIX)?.split_once(".db")?;
    let is_whole = rest.is_empty() || rest.starts_with(".damaged-");
    if !is_whole || rest.ends_with("-wal") || rest.ends_with("-shm") {
        return None;
    }
    match day.strip_prefix("day") {
        Some(number) => number.parse().ok(),
        None => Date::parse(day, format_description!("[year]-[month]-[day]"))
            .ok()
            .map(|date| i64::from(date.to_julian_day()) - 2_440_588),
    }
}

fn files(dir: &Path) -> Result<Vec<(i64, String)>, FileError> {
    let fail = |e| FileError::io(dir, "cannot list it", e);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        if let Some(name) = name.to_str()
            && let Some(day) = day_of(name)
        {
            found.push((day, name.to_owned()));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{day_of, file_name};

    #[test]
    fn names_and_days() {
        for (day, name) in [
            (0, "reports-1970-01-01.db"),
            (-1, "reports-1969-12-31.db"),
            (20_779, "reports-2026-11-22.db"),
            (22_280, "reports-2031-01-01.db"),
            (i64::MAX / 86_400_000_000, "reports-day106751991.db"),
        ] {
            assert_eq!(file_name(day), name);
            assert_eq!(day_of(name), Some(day));
            assert_eq!(day_of(&format!("{name}.damaged-20261122T000000Z")), Some(day));
            for other in ["-wal", "-shm", ".damaged-20261122T000000Z-wal", "x"] {
                assert_eq!(day_of(&format!("{name}{other}")), None, "{other}");
            }
        }
        assert_eq!(day_of("corridor.db"), None);
        assert_eq!(day_of("reports-2026-13-01.db"), None);
    }
}
