//! Enrolled agents.

use corridor_probes::{AgentId, Wall};
use rusqlite::{OptionalExtension, Row, params};

use super::{
    Sqlite,
    rows::{bits, from_json, json, maybe_us, maybe_wall, unbits, wall},
    tokens,
};
use crate::store::{
    Agents, Refusal, Result,
    records::{AgentRecord, Service},
};

const COLUMNS: &str = "id, subject, public_key, tags, joined_us, revoked_us, last_seen_us";

fn agent(row: &Row<'_>) -> rusqlite::Result<AgentRecord> {
    Ok(AgentRecord {
        id: AgentId(unbits(row.get(0)?)),
        subject: row.get(1)?,
        public_key: row.get(2)?,
        tags: from_json(&row.get::<_, String>(3)?)?,
        joined: wall(row.get(4)?),
        revoked: maybe_wall(row.get(5)?),
        last_seen: maybe_wall(row.get(6)?),
    })
}

impl Agents for Sqlite {
    fn enrol_agent(&mut self, token: &str, now: Wall, agent: &AgentRecord) -> Result<()> {
        let refused = self.main(|db| {
            let change = db.transaction()?;
            if let Err(refusal) = tokens::take_use(&change, token, Service::Agent, &agent.subject, now)? {
                return Ok(Err(refusal));
            }
            let n = change
                .prepare_cached(&format!(
                    "INSERT INTO agents ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                     ON CONFLICT (id) DO NOTHING"
                ))?
                .execute(params![
                    bits(agent.id.0),
                    agent.subject,
                    agent.public_key,
                    json(&agent.tags)?,
                    agent.joined.as_micros(),
                    maybe_us(agent.revoked),
                    maybe_us(agent.last_seen),
                ])?;
            if n == 0 {
                return Ok(Err(Refusal::IdTaken));
            }
            change.commit()?;
            Ok(Ok(()))
        })?;
        Ok(refused?)
    }

    fn agent(&mut self, id: AgentId) -> Result<Option<AgentRecord>> {
        self.main(|db| {
            db.prepare_cached(&format!("SELECT {COLUMNS} FROM agents WHERE id = ?1"))?
                .query_row([bits(id.0)], agent)
                .optional()
        })
    }

    fn agent_by_key(&mut self, public_key: &[u8]) -> Result<Option<AgentRecord>> {
        self.main(|db| {
            db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM agents WHERE public_key = ?1 ORDER BY joined_us DESC, id LIMIT 1"
            ))?
            .query_row([public_key], agent)
            .optional()
        })
    }

    fn agents(&mut self) -> Result<Vec<AgentRecord>> {
        self.main(|db| {
            db.prepare_cached(&format!("SELECT {COLUMNS} FROM agents ORDER BY joined_us, id"))?
                .query_map([], agent)?
                .collect()
        })
    }

    fn update_agent(&mut self, agent: &AgentRecord) -> Result<bool> {
        self.main(|db| {
            db.prepare_cached(
                "UPDATE agents SET subject = ?2, public_key = ?3, tags = ?4, joined_us = ?5,
                     revoked_us = ?6, last_seen_us = ?7 WHERE id = ?1",
            )?
            .execute(params![
                bits(agent.id.0),
                agent.subject,
                agent.public_key,
                json(&agent.tags)?,
                agent.joined.as_micros(),
                maybe_us(agent.revoked),
                maybe_us(agent.last_seen),
            ])
            .map(|n| n > 0)
        })
    }

    fn agents_seen(&mut self, seen: &[(AgentId, Wall)]) -> Result<()> {
        self.change(|db| {
            let mut set = db.prepare_cached(
                "UPDATE agents SET last_seen_us = ?2
                 WHERE id = ?1 AND (last_seen_us IS NULL OR last_seen_us < ?2)",
            )?;
            for (id, at) in seen {
                set.execute((bits(id.0), at.as_micros()))?;
            }
            Ok(())
        })
    }
}
