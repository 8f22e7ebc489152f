//! Deleting what is older than it may be, and the size of what is kept.

use std::{fs, time::Duration};

use corridor_probes::Wall;
use rusqlite::Connection;

use super::{Sqlite, file::FileError};
use crate::store::{GRANT_LINGERS, Result, Retained, Retention};

/// A live class is not old, whenever it began.
const OLD_CLASS: &str = "state <> 'live' AND coalesce(ended_us, end_us, created_us) < ?1";

pub(super) fn retain(store: &mut Sqlite, now: Wall, keep: &Retention) -> Result<Retained> {
    store.saw(now);
    // A day may go when its end, not its beginning, is out.
    let days = store.days.delete_before(before(now, keep.reports).utc_day())?;
    let records = before(now, keep.records).as_micros();
    store.change(|db| {
        // Participants go with their class.
        delete(
            db,
            &format!("DELETE FROM participants WHERE class IN (SELECT id FROM classes WHERE {OLD_CLASS})"),
            records,
        )?;
        Ok(Retained {
            days,
            classes: delete(db, &format!("DELETE FROM classes WHERE {OLD_CLASS}"), records)?,
            plans: delete(db, "DELETE FROM plans WHERE at_us < ?1", records)?,
            events: delete(db, "DELETE FROM events WHERE at_us < ?1", records)?,
            tokens: delete(db, "DELETE FROM tokens WHERE expires_us < ?1", records)?,
            bearers: delete(db, "DELETE FROM bearers WHERE expires_us <= ?1", now.as_micros())?,
            grants: delete(
                db,
                "DELETE FROM grants WHERE until_us < ?1",
                before(now, GRANT_LINGERS).as_micros(),
            )?,
        })
    })
}

fn before(now: Wall, keep: Duration) -> Wall {
    now - keep
}

fn delete(db: &Connection, sql: &str, us: i64) -> rusqlite::Result<u64> {
    let n = db.prepare_cached(sql)?.execute([us])?;
    Ok(u64::try_from(n).unwrap_or(u64::MAX))
}

/// Of files: all that the store's directory holds in files. In memory: what their pages take.
pub(super) fn bytes(store: &mut Sqlite) -> Result<u64> {
    let Some(dir) = store.dir() else {
        let mut sum = store.main(|db| pages(db))?;
        for day in store.days.all() {
            sum += store.days.with(day, store.now, |db| pages(db))?.unwrap_or(0);
        }
        return Ok(sum);
    };
    let fail = |e| FileError::io(&dir, "cannot list it", e);
    let mut sum = 0;
    for entry in fs::read_dir(&dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        let is_ours = name
            .to_str()
            .is_some_and(|n| n.starts_with("corridor.") || n.starts_with("reports-"));
        // A log may be deleted between the listing and the look at it.
        if let (true, Ok(meta)) = (is_ours, entry.metadata()) {
            sum += meta.len();
        }
    }
    Ok(sum)
}

fn pages(db: &Connection) -> rusqlite::Result<u64> {
    let count: i64 = db.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let size: i64 = db.pragma_query_value(None, "page_size", |row| row.get(0))?;
    Ok(u64::try_from(count.saturating_mul(size)).unwrap_or(0))
}
