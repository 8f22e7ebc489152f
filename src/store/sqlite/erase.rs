//! Erasing a person: what ties records to a subject is destroyed, the records stay.

use corridor_probes::{AgentId, Wall};
use rusqlite::{Connection, params};

use super::{Sqlite, pseudonym, rows::unbits};
use crate::store::{Erased, Result, StoreError};

pub(super) fn erase(store: &mut Sqlite, subject: &str, pseudonym: &str, now: Wall) -> Result<Erased> {
    store.saw(now);
    if pseudonym.is_empty() || pseudonym == subject || store.main(|db| is_known(db, pseudonym))? {
        return Err(StoreError::PseudonymTaken(pseudonym.to_owned()));
    }
    let erased = store.change(|db| {
        Ok(Erased {
            agents: agents(db, subject, pseudonym, now)?,
            participations: update(
                db,
                "UPDATE participants SET subject = ?2 WHERE subject = ?1",
                subject,
                pseudonym,
            )?,
            plans: bodies(db, &PLANS, subject, pseudonym)?,
            events: bodies(db, &EVENTS, subject, pseudonym)?,
            tokens: update(
                db,
                "DELETE FROM tokens WHERE service = 'agent' AND subject = ?1 AND ?2 <> ''",
                subject,
                pseudonym,
            )?,
        })
    })?;
    // Deleted content is overwritten in the file, but the log still has pages as they were.
    let is_busy: bool =
        store.main(|db| db.query_row("PRAGMA wal_checkpoint(truncate)", [], |row| row.get(0)))?;
    if is_busy {
        tracing::warn!(
            "a subject was erased, but another process reads the store: what it was stays in the log until \
             that ends"
        );
    }
    Ok(erased)
}

fn is_known(db: &Connection, subject: &str) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT 1 FROM agents WHERE subject = ?1 UNION ALL SELECT 1 FROM participants WHERE subject = ?1",
    )?
    .exists([subject])
}

fn update(db: &Connection, sql: &str, subject: &str, pseudonym: &str) -> rusqlite::Result<u64> {
    let n = db.prepare_cached(sql)?.execute((subject, pseudonym))?;
    Ok(u64::try_from(n).unwrap_or(u64::MAX))
}

fn agents(db: &Connection, subject: &str, pseudonym: &str, now: Wall) -> rusqlite::Result<Vec<AgentId>> {
    let ids = db
        .prepare_cached("SELECT id FROM agents WHERE subject = ?1 ORDER BY joined_us, id")?
        .query_map([subject], |row| row.get(0).map(|id| AgentId(unbits(id))))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    db.prepare_cached(
        "UPDATE agents SET subject = ?2, public_key = x'', tags = '{}',
             revoked_us = coalesce(revoked_us, ?3) WHERE subject = ?1",
    )?
    .execute((subject, pseudonym, now.as_micros()))?;
    Ok(ids)
}

/// A table whose rows name a subject in a column and, perhaps, in a text.
struct Table {
    /// Ids of rows in which ?1, or ?2 in the text, occurs.
    find: &'static str,
    get: &'static str,
    set: &'static str,
}

const PLANS: Table = Table {
    find: "SELECT id FROM plans WHERE subject = ?1 OR instr(body, ?1) > 0 OR instr(body, ?2) > 0",
    get: "SELECT subject, body FROM plans WHERE id = ?1",
    set: "UPDATE plans SET subject = ?2, body = ?3 WHERE id = ?1",
};

const EVENTS: Table = Table {
    find: "SELECT id FROM events WHERE subject = ?1 OR instr(detail, ?1) > 0 OR instr(detail, ?2) > 0",
    get: "SELECT subject, detail FROM events WHERE id = ?1",
    set: "UPDATE events SET subject = ?2, detail = ?3 WHERE id = ?1",
};

/// Answers how many rows changed.
fn bodies(db: &Connection, table: &Table, subject: &str, pseudonym: &str) -> rusqlite::Result<u64> {
    let ids = db
        .prepare_cached(table.find)?
        .query_map((subject, pseudonym::escaped(subject)), |row| row.get::<_, i64>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut get = db.prepare_cached(table.get)?;
    let mut set = db.prepare_cached(table.set)?;
    let mut changed = 0;
    for id in ids {
        let (of, text): (Option<String>, String) =
            get.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let replaced = pseudonym::replace_in_json(&text, subject, pseudonym);
        let is_its = of.as_deref() == Some(subject);
        if is_its || replaced.is_some() {
            let of = if is_its { Some(pseudonym) } else { of.as_deref() };
            set.execute(params![id, of, replaced.as_ref().unwrap_or(&text)])?;
            changed += 1;
        }
    }
    Ok(changed)
}
