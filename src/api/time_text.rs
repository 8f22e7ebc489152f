//! Civil time as text: RFC 3339 in UTC.

use corridor_probes::Wall;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// `2026-03-01T10:00:00.123456Z`. A time that no calendar holds is written as its microseconds.
pub fn text(at: Wall) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.as_micros()) * 1_000)
        .ok()
        .and_then(|t| t.format(&Rfc3339).ok())
        .unwrap_or_else(|| at.as_micros().to_string())
}

/// Reads an RFC 3339 time.
pub fn parse(text: &str) -> Result<Wall, BadTime> {
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| BadTime(text.chars().take(40).collect()))?;
    let micros = time.unix_timestamp_nanos().div_euclid(1_000);
    i64::try_from(micros)
        .map(Wall::from_micros)
        .map_err(|_| BadTime(text.to_owned()))
}

/// Not an RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a time such as 2026-03-01T10:00:00Z")]
pub struct BadTime(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_there_and_back() {
        for t in [
            "1970-01-01T00:00:00Z",
            "2026-03-01T10:00:00.123456Z",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(text(parse(t).unwrap()), t);
        }
        assert_eq!(parse("2026-03-01T10:00:00+02:00"), parse("2026-03-01T08:00:00Z"));
        assert!(parse("tomorrow").is_err());
        assert_eq!(text(Wall::from_micros(i64::MAX)), i64::MAX.to_string());
    }
}
