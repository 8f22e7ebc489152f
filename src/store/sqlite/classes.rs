//! Classes with their participants, and the plans given for their legs.

use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter, types::Value};

use super::{
    Sqlite,
    rows::{bits, from_word, maybe_us, maybe_wall, narrow, unbits, wall, word},
};
use crate::store::{
    ClassQuery, Classes, Result,
    records::{ClassRecord, ParticipantRecord, PlanRecord},
};

const CLASS: &str = "id, state, outcome, target, budget_us, budget_on, protect, created_us, start_us, end_us, \
                     began_us, ended_us";
const PLAN: &str = "class, subject, version, at_us, body";

/// Without its participants.
fn class(row: &Row<'_>) -> rusqlite::Result<ClassRecord> {
    Ok(ClassRecord {
        id: row.get(0)?,
        state: from_word(row.get(1)?)?,
        outcome: row.get::<_, Option<String>>(2)?.map(from_word).transpose()?,
        target: row.get(3)?,
        budget_us: narrow(row.get(4)?)?,
        budget_on: from_word(row.get(5)?)?,
        protect: from_word(row.get(6)?)?,
        created: wall(row.get(7)?),
        start: maybe_wall(row.get(8)?),
        end: maybe_wall(row.get(9)?),
        began: maybe_wall(row.get(10)?),
        ended: maybe_wall(row.get(11)?),
        participants: Vec::new(),
    })
}

fn participants(db: &Connection, class: &str) -> rusqlite::Result<Vec<ParticipantRecord>> {
    db.prepare_cached(
        "SELECT subject, role, joined_us, left_us FROM participants WHERE class = ?1 ORDER BY place",
    )?
    .query_map([class], |row| {
        Ok(ParticipantRecord {
            subject: row.get(0)?,
            role: from_word(row.get(1)?)?,
            joined: maybe_wall(row.get(2)?),
            left: maybe_wall(row.get(3)?),
        })
    })?
    .collect()
}

fn plan(row: &Row<'_>) -> rusqlite::Result<PlanRecord> {
    Ok(PlanRecord {
        class: row.get(0)?,
        subject: row.get(1)?,
        version: unbits(row.get(2)?),
        at: wall(row.get(3)?),
        body: row.get(4)?,
    })
}

fn put(db: &Connection, class: &ClassRecord) -> rusqlite::Result<()> {
    db.prepare_cached(&format!(
        "INSERT INTO classes ({CLASS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, outcome = excluded.outcome,
             target = excluded.target, budget_us = excluded.budget_us, budget_on = excluded.budget_on,
             protect = excluded.protect, created_us = excluded.created_us, start_us = excluded.start_us,
             end_us = excluded.end_us, began_us = excluded.began_us, ended_us = excluded.ended_us"
    ))?
    .execute(params![
        class.id,
        word(class.state)?,
        class.outcome.map(word).transpose()?,
        class.target,
        class.budget_us,
        word(class.budget_on)?,
        word(class.protect)?,
        class.created.as_micros(),
        maybe_us(class.start),
        maybe_us(class.end),
        maybe_us(class.began),
        maybe_us(class.ended),
    ])?;
    db.prepare_cached("DELETE FROM participants WHERE class = ?1")?
        .execute([&class.id])?;
    let mut insert = db.prepare_cached(
        "INSERT INTO participants (class, place, subject, role, joined_us, left_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (place, participant) in class.participants.iter().enumerate() {
        insert.execute(params![
            class.id,
            i64::try_from(place).unwrap_or(i64::MAX),
            participant.subject,
            word(participant.role)?,
            maybe_us(participant.joined),
            maybe_us(participant.left),
        ])?;
    }
    Ok(())
}

impl Classes for Sqlite {
    fn put_class(&mut self, class: &ClassRecord) -> Result<()> {
        self.change(|db| put(db, class))
    }

    fn class(&mut self, id: &str) -> Result<Option<ClassRecord>> {
        self.main(|db| {
            let found = db
                .prepare_cached(&format!("SELECT {CLASS} FROM classes WHERE id = ?1"))?
                .query_row([id], class)
                .optional()?;
            found
                .map(|mut class| {
                    class.participants = participants(db, &class.id)?;
                    Ok(class)
                })
                .transpose()
        })
    }

    fn classes(&mut self, query: &ClassQuery) -> Result<Vec<ClassRecord>> {
        let mut sql = format!("SELECT {CLASS} FROM classes WHERE 1 = 1");
        let mut values: Vec<Value> = Vec::new();
        let mut narrow_to = |condition: &str, value: Value| {
            sql.push_str(" AND ");
            sql.push_str(condition);
            values.push(value);
        };
        if let Some(subject) = &query.subject {
            narrow_to(
                "id IN (SELECT class FROM participants WHERE subject = ?)",
                subject.clone().into(),
            );
        }
        if let Some(from) = query.from {
            narrow_to("created_us >= ?", from.as_micros().into());
        }
        if let Some(to) = query.to {
            narrow_to("created_us < ?", to.as_micros().into());
        }
        self.main(|db| {
            if let Some(state) = query.state {
                sql.push_str(" AND state = ?");
                values.push(word(state)?.into());
            }
            sql.push_str(" ORDER BY created_us DESC, id LIMIT ?");
            values.push(query.limit.map_or(-1, i64::from).into());
            let mut found = db
                .prepare_cached(&sql)?
                .query_map(params_from_iter(values), class)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            for class in &mut found {
                class.participants = participants(db, &class.id)?;
            }
            Ok(found)
        })
    }

    fn append_plans(&mut self, plans: &[PlanRecord]) -> Result<()> {
        self.change(|db| {
            let mut insert =
                db.prepare_cached(&format!("INSERT INTO plans ({PLAN}) VALUES (?1, ?2, ?3, ?4, ?5)"))?;
            for plan in plans {
                insert.execute(params![
                    plan.class,
                    plan.subject,
                    bits(plan.version),
                    plan.at.as_micros(),
                    plan.body,
                ])?;
            }
            Ok(())
        })
    }

    fn newest_plans(&mut self, class: &str) -> Result<Vec<PlanRecord>> {
        self.main(|db| {
            db.prepare_cached(&format!(
                "SELECT {PLAN} FROM plans WHERE id IN (
                     SELECT (SELECT id FROM plans WHERE class = ?1 AND subject = leg.subject
                             ORDER BY version DESC, id DESC LIMIT 1)
                     FROM (SELECT DISTINCT subject FROM plans WHERE class = ?1) AS leg)
                 ORDER BY subject"
            ))?
            .query_map([class], plan)?
            .collect()
        })
    }

    fn plans(&mut self, class: &str) -> Result<Vec<PlanRecord>> {
        self.main(|db| {
            db.prepare_cached(&format!(
                "SELECT {PLAN} FROM plans WHERE class = ?1 ORDER BY at_us, id"
            ))?
            .query_map([class], plan)?
            .collect()
        })
    }
}
