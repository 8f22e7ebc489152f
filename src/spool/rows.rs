//! The spool's statements.

use corridor_probes::BootId;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Dropped, JournalRow, Leftover, SpooledReport};

/// What a row takes beside its body, roughly.
const OVERHEAD: u64 = 64;

/// How much the spool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Size {
    pub reports: u64,
    pub rows: u64,
    pub bytes: u64,
}

pub(super) fn size(body: usize) -> u64 {
    u64::try_from(body).unwrap_or(u64::MAX).saturating_add(OVERHEAD)
}

fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(super) fn held(db: &Connection) -> rusqlite::Result<Size> {
    let sum = |table| {
        db.query_row(
            &format!("SELECT count(*), coalesce(sum(length(body)), 0) FROM {table}"),
            [],
            |row| Ok((count(row.get(0)?), count(row.get(1)?))),
        )
    };
    let ((reports, report_bytes), (rows, row_bytes)) = (sum("reports")?, sum("journal")?);
    Ok(Size {
        reports,
        rows,
        bytes: report_bytes + row_bytes + (reports + rows) * OVERHEAD,
    })
}

pub(super) fn dropped(db: &Connection) -> rusqlite::Result<Dropped> {
    db.query_row("SELECT reports, rows FROM dropped", [], |row| {
        Ok(Dropped {
            reports: count(row.get(0)?),
            rows: count(row.get(1)?),
        })
    })
}

pub(super) fn set_dropped(db: &Connection, dropped: Dropped) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE dropped SET reports = ?1, rows = ?2")?
        .execute((whole(dropped.reports), whole(dropped.rows)))
        .map(drop)
}

/// Forgets boots that have nothing here. To be called before this process's boot has used a sequence.
pub(super) fn forget_boots(db: &Connection) -> rusqlite::Result<()> {
    db.execute(
        "DELETE FROM boots WHERE place NOT IN (SELECT place FROM journal)
             AND boot NOT IN (SELECT boot FROM reports)",
        [],
    )
    .map(drop)
}

/// The place of `boot`, which is given one if it has none; its next sequence becomes at least `next`.
pub(super) fn place(db: &Connection, boot: BootId, next: u64) -> rusqlite::Result<i64> {
    let next = next.max(next_sequence(db, boot)?);
    db.prepare_cached(
        "INSERT INTO boots (boot, next_sequence) VALUES (?1, ?2)
         ON CONFLICT (boot) DO UPDATE SET next_sequence = excluded.next_sequence
             WHERE next_sequence <> excluded.next_sequence",
    )?
    .execute((boot.0.cast_signed(), next.cast_signed()))?;
    db.prepare_cached("SELECT place FROM boots WHERE boot = ?1")?
        .query_row([boot.0.cast_signed()], |row| row.get(0))
}

pub(super) fn next_sequence(db: &Connection, boot: BootId) -> rusqlite::Result<u64> {
    let next: Option<i64> = db
        .prepare_cached("SELECT next_sequence FROM boots WHERE boot = ?1")?
        .query_row([boot.0.cast_signed()], |row| row.get(0))
        .optional()?;
    Ok(next.unwrap_or(0).cast_unsigned())
}

pub(super) fn put_journal(
    db: &Connection,
    place: i64,
    row: &JournalRow,
    held: &mut Size,
) -> rusqlite::Result<()> {
    let replaced: Option<i64> = db
        .prepare_cached("SELECT length(body) FROM journal WHERE place = ?1 AND second = ?2")?
        .query_row((place, row.second), |row| row.get(0))
        .optional()?;
    if let Some(replaced) = replaced {
        take(held, count(replaced));
        held.rows = held.rows.saturating_sub(1);
    }
    db.prepare_cached("INSERT OR REPLACE INTO journal (place, second, body) VALUES (?1, ?2, ?3)")?
        .execute(params![place, row.second, row.body])?;
    held.rows += 1;
    held.bytes += size(row.body.len());
    Ok(())
}

pub(super) fn delete_journal(
    db: &Connection,
    place: i64,
    through: i64,
    held: &mut Size,
) -> rusqlite::Result<()> {
    let (rows, bytes) = db
        .prepare_cached(
            "SELECT count(*), coalesce(sum(length(body)), 0) FROM journal
             WHERE place = ?1 AND second <= ?2",
        )?
        .query_row((place, through), |row| {
            Ok((count(row.get(0)?), count(row.get(1)?)))
        })?;
    db.prepare_cached("DELETE FROM journal WHERE place = ?1 AND second <= ?2")?
        .execute((place, through))?;
    held.rows = held.rows.saturating_sub(rows);
    held.bytes = held.bytes.saturating_sub(bytes + rows * OVERHEAD);
    Ok(())
}

pub(super) fn put_report(
    db: &Connection,
    boot: BootId,
    sequence: u64,
    body: &[u8],
    held: &mut Size,
) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO reports (boot, sequence, body) VALUES (?1, ?2, ?3)")?
        .execute((boot.0.cast_signed(), sequence.cast_signed(), body))?;
    held.reports += 1;
    held.bytes += size(body.len());
    Ok(())
}

pub(super) fn delete_report(
    db: &Connection,
    boot: BootId,
    sequence: u64,
    held: &mut Size,
) -> rusqlite::Result<bool> {
    let deleted: Option<i64> = db
        .prepare_cached("DELETE FROM reports WHERE boot = ?1 AND sequence = ?2 RETURNING length(body)")?
        .query_row((boot.0.cast_signed(), sequence.cast_signed()), |row| row.get(0))
        .optional()?;
    if let Some(bytes) = deleted {
        take(held, count(bytes));
        held.reports = held.reports.saturating_sub(1);
    }
    Ok(deleted.is_some())
}

/// Reports first: the journal is what is newest.
pub(super) fn drop_oldest(db: &Connection, held: &mut Size, dropped: &mut Dropped) -> rusqlite::Result<()> {
    let report: Option<i64> = db
        .prepare_cached(
            "DELETE FROM reports WHERE id = (SELECT min(id) FROM reports) RETURNING length(body)",
        )?
        .query_row([], |row| row.get(0))
        .optional()?;
    if let Some(bytes) = report {
        take(held, count(bytes));
        held.reports = held.reports.saturating_sub(1);
        dropped.reports += 1;
        return Ok(());
    }
    let row: Option<i64> = db
        .prepare_cached(
            "DELETE FROM journal WHERE (place, second) =
                 (SELECT place, second FROM journal ORDER BY place, second LIMIT 1)
             RETURNING length(body)",
        )?
        .query_row([], |row| row.get(0))
        .optional()?;
    match row {
        Some(bytes) => {
            take(held, count(bytes));
            held.rows = held.rows.saturating_sub(1);
            dropped.rows += 1;
        }
        // Nothing is left, whatever the count says.
        None => *held = Size::default(),
    }
    Ok(())
}

fn take(held: &mut Size, body: u64) {
    held.bytes = held.bytes.saturating_sub(body + OVERHEAD);
}

pub(super) fn oldest_reports(db: &Connection, n: u32) -> rusqlite::Result<Vec<SpooledReport>> {
    db.prepare_cached("SELECT boot, sequence, body FROM reports ORDER BY id LIMIT ?1")?
        .query_map([n], |row| {
            Ok(SpooledReport {
                boot: BootId(row.get::<_, i64>(0)?.cast_unsigned()),
                sequence: row.get::<_, i64>(1)?.cast_unsigned(),
                body: row.get(2)?,
            })
        })?
        .collect()
}

pub(super) fn leftover(
    db: &Connection,
    current: BootId,
    max_rows: u32,
) -> rusqlite::Result<Option<Leftover>> {
    let oldest = db
        .prepare_cached(
            "SELECT place, boot, next_sequence FROM boots
             WHERE boot <> ?1 AND place IN (SELECT place FROM journal) ORDER BY place LIMIT 1",
        )?
        .query_row([current.0.cast_signed()], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, i64>(2)?,
            ))
        })
        .optional()?;
    let Some((place, boot, next)) = oldest else {
        return Ok(None);
    };
    let rows = db
        .prepare_cached("SELECT second, body FROM journal WHERE place = ?1 ORDER BY second LIMIT ?2")?
        .query_map((place, max_rows), |row| {
            Ok(JournalRow {
                second: row.get(0)?,
                body: row.get(1)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(Leftover {
        boot: BootId(boot.cast_unsigned()),
        next_sequence: next.cast_unsigned(),
        rows,
    }))
}
