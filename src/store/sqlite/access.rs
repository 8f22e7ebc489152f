//! Accounts, sessions and API tokens.

use rusqlite::{OptionalExtension, Row, params};

use super::{
    Sqlite,
    rows::{from_word, maybe_us, maybe_wall, wall, word},
};
use crate::store::{
    Access, Result,
    records::{AccountRecord, BearerKind, BearerRecord},
};

const ACCOUNT: &str = "name, password_hash, level, created_us";
const BEARER: &str = "secret_hash, kind, name, level, created_us, expires_us";

fn account(row: &Row<'_>) -> rusqlite::Result<AccountRecord> {
    Ok(AccountRecord {
        name: row.get(0)?,
        password_hash: row.get(1)?,
        level: from_word(row.get(2)?)?,
        created: wall(row.get(3)?),
    })
}

fn bearer(row: &Row<'_>) -> rusqlite::Result<BearerRecord> {
    Ok(BearerRecord {
        secret_hash: row.get(0)?,
        kind: from_word(row.get(1)?)?,
        name: row.get(2)?,
        level: from_word(row.get(3)?)?,
        created: wall(row.get(4)?),
        expires: maybe_wall(row.get(5)?),
    })
}

impl Access for Sqlite {
    fn put_account(&mut self, account: &AccountRecord) -> Result<()> {
        self.main(|db| {
            db.prepare_cached(&format!(
                "INSERT INTO accounts ({ACCOUNT}) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name) DO UPDATE SET password_hash = excluded.password_hash,
                     level = excluded.level, created_us = excluded.created_us"
            ))?
            .execute(params![
                account.name,
                account.password_hash,
                word(account.level)?,
                account.created.as_micros(),
            ])
            .map(drop)
        })
    }

    fn account(&mut self, name: &str) -> Result<Option<AccountRecord>> {
        self.main(|db| {
            db.prepare_cached(&format!("SELECT {ACCOUNT} FROM accounts WHERE name = ?1"))?
                .query_row([name], account)
                .optional()
        })
    }

    fn accounts(&mut self) -> Result<Vec<AccountRecord>> {
        self.main(|db| {
            db.prepare_cached(&format!("SELECT {ACCOUNT} FROM accounts ORDER BY name"))?
                .query_map([], account)?
                .collect()
        })
    }

    fn delete_account(&mut self, name: &str) -> Result<bool> {
        self.change(|db| {
            db.prepare_cached("DELETE FROM bearers WHERE kind = ?1 AND name = ?2")?
                .execute((word(BearerKind::Session)?, name))?;
            db.prepare_cached("DELETE FROM accounts WHERE name = ?1")?
                .execute([name])
                .map(|n| n > 0)
        })
    }

    fn put_bearer(&mut self, bearer: &BearerRecord) -> Result<()> {
        self.main(|db| {
            db.prepare_cached(&format!(
                "INSERT INTO bearers ({BEARER}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (secret_hash) DO UPDATE SET kind = excluded.kind, name = excluded.name,
                     level = excluded.level, created_us = excluded.created_us,
                     expires_us = excluded.expires_us"
            ))?
            .execute(params![
                bearer.secret_hash,
                word(bearer.kind)?,
                bearer.name,
                word(bearer.level)?,
                bearer.created.as_micros(),
                maybe_us(bearer.expires),
            ])
            .map(drop)
        })
    }

    fn bearer(&mut self, secret_hash: &[u8; 32]) -> Result<Option<BearerRecord>> {
        self.main(|db| {
            db.prepare_cached(&format!("SELECT {BEARER} FROM bearers WHERE secret_hash = ?1"))?
                .query_row([secret_hash], bearer)
                .optional()
        })
    }

    fn bearers(&mut self, kind: BearerKind) -> Result<Vec<BearerRecord>> {
        self.main(|db| {
            db.prepare_cached(&format!(
                "SELECT {BEARER} FROM bearers WHERE kind = ?1 ORDER BY created_us, secret_hash"
            ))?
            .query_map([word(kind)?], bearer)?
            .collect()
        })
    }

    fn delete_bearer(&mut self, secret_hash: &[u8; 32]) -> Result<bool> {
        self.main(|db| {
            db.prepare_cached("DELETE FROM bearers WHERE secret_hash = ?1")?
                .execute([secret_hash])
                .map(|n| n > 0)
        })
    }

    fn delete_bearers(&mut self, kind: BearerKind, name: &str) -> Result<u64> {
        self.main(|db| {
            db.prepare_cached("DELETE FROM bearers WHERE kind = ?1 AND name = ?2")?
                .execute((word(kind)?, name))
                .map(|n| u64::try_from(n).unwrap_or(u64::MAX))
        })
    }
}
