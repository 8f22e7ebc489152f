//! Join tokens, and taking one use of one.

use corridor_probes::Wall;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    Sqlite,
    rows::{from_json, from_word, json, maybe_us, maybe_wall, narrow, wall, word},
};
use crate::store::{
    Refusal, Result, Tokens,
    records::{Service, TokenRecord},
};

const COLUMNS: &str =
    "id, secret_hash, service, subject, tags, uses_left, created_us, expires_us, revoked_us";

fn token(row: &Row<'_>) -> rusqlite::Result<TokenRecord> {
    Ok(TokenRecord {
        id: row.get(0)?,
        secret_hash: row.get(1)?,
        service: from_word(row.get(2)?)?,
        subject: row.get(3)?,
        tags: from_json(&row.get::<_, String>(4)?)?,
        uses_left: narrow(row.get(5)?)?,
        created: wall(row.get(6)?),
        expires: wall(row.get(7)?),
        revoked: maybe_wall(row.get(8)?),
    })
}

fn find(db: &Connection, id: &str) -> rusqlite::Result<Option<TokenRecord>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM tokens WHERE id = ?1"))?
        .query_row([id], token)
        .optional()
}

/// Takes one use, for `name` to join as `service`; to be called in the transaction that enrols.
pub(super) fn take_use(
    db: &Connection,
    id: &str,
    service: Service,
    name: &str,
    now: Wall,
) -> rusqlite::Result<std::result::Result<(), Refusal>> {
    let Some(token) = find(db, id)? else {
        return Ok(Err(Refusal::TokenUnknown));
    };
    let refusal = if token.revoked.is_some() {
        Refusal::TokenRevoked
    } else if token.expires <= now {
        Refusal::TokenExpired
    } else if token.service != service {
        Refusal::WrongService
    } else if token.subject.is_some_and(|only| only != name) {
        Refusal::WrongName
    } else if token.uses_left == 0 {
        Refusal::TokenUsedUp
    } else {
        db.prepare_cached("UPDATE tokens SET uses_left = uses_left - 1 WHERE id = ?1")?
            .execute([id])?;
        return Ok(Ok(()));
    };
    Ok(Err(refusal))
}

impl Tokens for Sqlite {
    fn put_token(&mut self, token: &TokenRecord) -> Result<()> {
        self.main(|db| {
            db.prepare_cached(&format!(
                "INSERT INTO tokens ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                 ON CONFLICT (id) DO UPDATE SET secret_hash = excluded.secret_hash,
                     service = excluded.service, subject = excluded.subject, tags = excluded.tags,
                     uses_left = excluded.uses_left, created_us = excluded.created_us,
                     expires_us = excluded.expires_us, revoked_us = excluded.revoked_us"
            ))?
            .execute(params![
                token.id,
                token.secret_hash,
                word(token.service)?,
                token.subject,
                json(&token.tags)?,
                token.uses_left,
                token.created.as_micros(),
                token.expires.as_micros(),
                maybe_us(token.revoked),
            ])
            .map(drop)
        })
    }

    fn token(&mut self, id: &str) -> Result<Option<TokenRecord>> {
        self.main(|db| find(db, id))
    }

    fn tokens(&mut self) -> Result<Vec<TokenRecord>> {
        self.main(|db| {
            db.prepare_cached(&format!("SELECT {COLUMNS} FROM tokens ORDER BY created_us, id"))?
                .query_map([], token)?
                .collect()
        })
    }

    fn revoke_token(&mut self, id: &str, now: Wall) -> Result<bool> {
        self.main(|db| {
            db.prepare_cached("UPDATE tokens SET revoked_us = coalesce(revoked_us, ?2) WHERE id = ?1")?
                .execute((id, now.as_micros()))
                .map(|n| n > 0)
        })
    }
}
