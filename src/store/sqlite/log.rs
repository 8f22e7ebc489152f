//! Events.

use rusqlite::{Row, params, params_from_iter, types::Value};

use super::{Sqlite, rows::wall};
use crate::store::{EventQuery, Log, Result, records::EventRecord};

const COLUMNS: &str = "at_us, kind, class, subject, edge, detail";

fn event(row: &Row<'_>) -> rusqlite::Result<EventRecord> {
    Ok(EventRecord {
        at: wall(row.get(0)?),
        kind: row.get(1)?,
        class: row.get(2)?,
        subject: row.get(3)?,
        edge: row.get(4)?,
        detail: row.get(5)?,
    })
}

/// Only the conditions that are asked for, so that each is answered by its own index.
fn select(query: &EventQuery) -> (String, Vec<Value>) {
    let mut sql = format!("SELECT {COLUMNS} FROM events WHERE 1 = 1");
    let mut values: Vec<Value> = Vec::new();
    let texts = [
        (" AND class = ?", &query.class),
        (" AND subject = ?", &query.subject),
        (" AND edge = ?", &query.edge),
        (" AND kind = ?", &query.kind),
    ];
    for (condition, value) in texts {
        if let Some(value) = value {
            sql.push_str(condition);
            values.push(value.clone().into());
        }
    }
    for (condition, at) in [(" AND at_us >= ?", query.from), (" AND at_us < ?", query.to)] {
        if let Some(at) = at {
            sql.push_str(condition);
            values.push(at.as_micros().into());
        }
    }
    sql.push_str(if query.newest_first {
        " ORDER BY at_us DESC, id DESC LIMIT ?"
    } else {
        " ORDER BY at_us, id LIMIT ?"
    });
    values.push(query.limit.map_or(-1, i64::from).into());
    (sql, values)
}

impl Log for Sqlite {
    fn append_events(&mut self, events: &[EventRecord]) -> Result<()> {
        self.change(|db| {
            let mut insert = db.prepare_cached(&format!(
                "INSERT INTO events ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
            ))?;
            for event in events {
                insert.execute(params![
                    event.at.as_micros(),
                    event.kind,
                    event.class,
                    event.subject,
                    event.edge,
                    event.detail,
                ])?;
            }
            Ok(())
        })
    }

    fn events(&mut self, query: &EventQuery) -> Result<Vec<EventRecord>> {
        let (sql, values) = select(query);
        self.main(|db| {
            db.prepare_cached(&sql)?
                .query_map(params_from_iter(values), event)?
                .collect()
        })
    }
}
