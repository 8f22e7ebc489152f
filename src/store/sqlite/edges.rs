//! Enrolled edges, and the numbers they are given.

use corridor_probes::{EdgeId, Wall};
use rusqlite::{Connection, OptionalExtension, Row, params, types::FromSqlError};

use super::{
    Sqlite,
    rows::{from_json, json, maybe_us, maybe_wall, narrow, wall},
    tokens,
};
use crate::store::{
    Edges, Refusal, Result,
    records::{EdgeRecord, NewEdge, Service},
};

const COLUMNS: &str = "id, name, region, addresses, public_key, tags, joined_us, revoked_us, draining";

fn edge(row: &Row<'_>) -> rusqlite::Result<EdgeRecord> {
    let id: i64 = row.get(0)?;
    Ok(EdgeRecord {
        id: EdgeId::new(narrow(id)?).ok_or(FromSqlError::OutOfRange(id))?,
        name: row.get(1)?,
        region: row.get(2)?,
        addresses: from_json(&row.get::<_, String>(3)?)?,
        public_key: row.get(4)?,
        tags: from_json(&row.get::<_, String>(5)?)?,
        joined: wall(row.get(6)?),
        revoked: maybe_wall(row.get(7)?),
        draining: row.get(8)?,
    })
}

/// The next number, never given again even if the edge that has it is forgotten; `None` when there are
/// no more.
fn draw_id(db: &Connection) -> rusqlite::Result<Option<EdgeId>> {
    let next: i64 = db
        .prepare_cached("SELECT next FROM counters WHERE name = 'edge'")?
        .query_row([], |row| row.get(0))?;
    let Some(id) = u16::try_from(next).ok().and_then(EdgeId::new) else {
        return Ok(None);
    };
    db.prepare_cached("UPDATE counters SET next = next + 1 WHERE name = 'edge'")?
        .execute([])?;
    Ok(Some(id))
}

/// Whether an edge other than `except` goes by `name`.
fn is_taken(db: &Connection, name: &str, except: Option<EdgeId>) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM edges WHERE name = ?1 AND revoked_us IS NULL AND id <> ?2")?
        .exists((name, except.map_or(0, EdgeId::get)))
}

fn insert(db: &Connection, edge: &EdgeRecord) -> rusqlite::Result<()> {
    db.prepare_cached(&format!(
        "INSERT INTO edges ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
    ))?
    .execute(params![
        edge.id.get(),
        edge.name,
        edge.region,
        json(&edge.addresses)?,
        edge.public_key,
        json(&edge.tags)?,
        edge.joined.as_micros(),
        maybe_us(edge.revoked),
        edge.draining,
    ])
    .map(drop)
}

impl Edges for Sqlite {
    fn enrol_edge(&mut self, token: &str, now: Wall, new: &NewEdge) -> Result<EdgeRecord> {
        let enrolled = self.main(|db| {
            let change = db.transaction()?;
            if let Err(refusal) = tokens::take_use(&change, token, Service::Edge, &new.name, now)? {
                return Ok(Err(refusal));
            }
            if is_taken(&change, &new.name, None)? {
                return Ok(Err(Refusal::NameTaken(new.name.clone())));
            }
            let Some(id) = draw_id(&change)? else {
                return Ok(Err(Refusal::NoEdgeIds));
            };
            let edge = EdgeRecord {
                id,
                name: new.name.clone(),
                region: new.region.clone(),
                addresses: new.addresses.clone(),
                public_key: new.public_key.clone(),
                tags: new.tags.clone(),
                joined: now,
                revoked: None,
                draining: false,
            };
            insert(&change, &edge)?;
            change.commit()?;
            Ok(Ok(edge))
        })?;
        Ok(enrolled?)
    }

    fn edge(&mut self, id: EdgeId) -> Result<Option<EdgeRecord>> {
        self.main(|db| {
            db.prepare_cached(&format!("SELECT {COLUMNS} FROM edges WHERE id = ?1"))?
                .query_row([id.get()], edge)
                .optional()
        })
    }

    fn edge_by_key(&mut self, public_key: &[u8]) -> Result<Option<EdgeRecord>> {
        self.main(|db| {
            db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM edges WHERE public_key = ?1 ORDER BY id DESC LIMIT 1"
            ))?
            .query_row([public_key], edge)
            .optional()
        })
    }

    fn edges(&mut self) -> Result<Vec<EdgeRecord>> {
        self.main(|db| {
            db.prepare_cached(&format!("SELECT {COLUMNS} FROM edges ORDER BY id"))?
                .query_map([], edge)?
                .collect()
        })
    }

    fn update_edge(&mut self, edge: &EdgeRecord) -> Result<bool> {
        let updated = self.main(|db| {
            let change = db.transaction()?;
            if edge.revoked.is_none() && is_taken(&change, &edge.name, Some(edge.id))? {
                return Ok(Err(Refusal::NameTaken(edge.name.clone())));
            }
            let n = change
                .prepare_cached(
                    "UPDATE edges SET name = ?2, region = ?3, addresses = ?4, public_key = ?5, tags = ?6,
                         joined_us = ?7, revoked_us = ?8, draining = ?9 WHERE id = ?1",
                )?
                .execute(params![
                    edge.id.get(),
                    edge.name,
                    edge.region,
                    json(&edge.addresses)?,
                    edge.public_key,
                    json(&edge.tags)?,
                    edge.joined.as_micros(),
                    maybe_us(edge.revoked),
                    edge.draining,
                ])?;
            change.commit()?;
            Ok(Ok(n > 0))
        })?;
        Ok(updated?)
    }
}
