//! Grants that were given.

use corridor_probes::AgentId;
use rusqlite::{Row, params};

use super::{
    Sqlite,
    rows::{bits, from_json, json, maybe_us, maybe_wall, unbits, wall},
};
use crate::{
    media::grant::GrantId,
    store::{Grants, Result, records::GrantRecord},
};

const COLUMNS: &str = "id, class, agent, until_us, edges, revoked_us, signed";

fn grant(row: &Row<'_>) -> rusqlite::Result<GrantRecord> {
    Ok(GrantRecord {
        id: GrantId(unbits(row.get(0)?)),
        class: row.get(1)?,
        agent: AgentId(unbits(row.get(2)?)),
        until: wall(row.get(3)?),
        edges: from_json(&row.get::<_, String>(4)?)?,
        revoked: maybe_wall(row.get(5)?),
        signed: row.get(6)?,
    })
}

impl Grants for Sqlite {
    fn put_grants(&mut self, grants: &[GrantRecord]) -> Result<()> {
        self.change(|db| {
            let mut put = db.prepare_cached(&format!(
                "INSERT INTO grants ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (id) DO UPDATE SET class = excluded.class, agent = excluded.agent,
                     until_us = excluded.until_us, edges = excluded.edges,
                     revoked_us = excluded.revoked_us, signed = excluded.signed"
            ))?;
            for grant in grants {
                put.execute(params![
                    bits(grant.id.0),
                    grant.class,
                    bits(grant.agent.0),
                    grant.until.as_micros(),
                    json(&grant.edges)?,
                    maybe_us(grant.revoked),
                    grant.signed,
                ])?;
            }
            Ok(())
        })
    }

    fn grants(&mut self) -> Result<Vec<GrantRecord>> {
        self.main(|db| {
            let mut found = db
                .prepare_cached(&format!("SELECT {COLUMNS} FROM grants"))?
                .query_map([], grant)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            found.sort_unstable_by_key(|grant| grant.id);
            Ok(found)
        })
    }
}
