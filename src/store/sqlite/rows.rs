//! How values are kept in columns.

use corridor_probes::Wall;
use rusqlite::types::{FromSqlError, Type};
use serde::{Serialize, de::DeserializeOwned};

use crate::store::records::Reporter;

/// 64 bits, kept as a signed integer of the same bits: SQL has no unsigned ones.
pub(super) const fn bits(n: u64) -> i64 {
    n.cast_signed()
}

pub(super) const fn unbits(n: i64) -> u64 {
    n.cast_unsigned()
}

/// `(kind, id)` as the days' files have it.
pub(super) fn reporter_key(reporter: Reporter) -> (i64, i64) {
    match reporter {
        Reporter::Agent(id) => (0, bits(id.0)),
        Reporter::Edge(id) => (1, i64::from(id.get())),
    }
}

pub(super) const fn wall(us: i64) -> Wall {
    Wall::from_micros(us)
}

pub(super) fn maybe_wall(us: Option<i64>) -> Option<Wall> {
    us.map(wall)
}

pub(super) fn maybe_us(at: Option<Wall>) -> Option<i64> {
    at.map(Wall::as_micros)
}

/// The word that the API has for it.
pub(super) fn word(value: impl Serialize) -> rusqlite::Result<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        Ok(other) => Ok(other.to_string()),
        Err(e) => Err(rusqlite::Error::ToSqlConversionFailure(Box::new(e))),
    }
}

pub(super) fn from_word<T: DeserializeOwned>(word: String) -> rusqlite::Result<T> {
    serde_json::from_value(serde_json::Value::String(word)).map_err(unreadable)
}

pub(super) fn json(value: impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(&value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(unreadable)
}

fn unreadable(e: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(e))
}

/// A number in a narrower column than SQL's.
pub(super) fn narrow<T: TryFrom<i64>>(n: i64) -> rusqlite::Result<T> {
    T::try_from(n).map_err(|_| FromSqlError::OutOfRange(n).into())
}
