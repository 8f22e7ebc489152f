//! Control of a running emulator: one JSON object a line over a unix socket, one reply a request.

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    histogram::Summary,
    settings::Settings,
    stats::{Filter, LostBy},
};

mod client;
mod server;

pub use client::{Client, ClientError};
pub(crate) use server::{Requests, Server};

/// Which directions a change is for.
///
/// | written | means |
/// |---|---|
/// | `a:b` | the link from a to b |
/// | `a+b` | the link between a and b, both ways |
/// | `a/up`, `a/down`, `a/access` | what a sends, gets, or both, on all its links |
/// | `links` | every link, both ways |
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum At {
    OneWay(String, String),
    BothWays(String, String),
    Up(String),
    Down(String),
    Access(String),
    Links,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of a:b, a+b, a/up, a/down, a/access, links")]
pub struct AtError(String);

impl FromStr for At {
    type Err = AtError;

    fn from_str(text: &str) -> Result<Self, AtError> {
        if text == "links" {
            return Ok(Self::Links);
        }
        if let Some((from, to)) = text.split_once(':') {
            return Ok(Self::OneWay(from.to_owned(), to.to_owned()));
        }
        if let Some((a, b)) = text.split_once('+') {
            return Ok(Self::BothWays(a.to_owned(), b.to_owned()));
        }
        match text.split_once('/') {
            Some((node, "up")) => Ok(Self::Up(node.to_owned())),
            Some((node, "down")) => Ok(Self::Down(node.to_owned())),
            Some((node, "access")) => Ok(Self::Access(node.to_owned())),
            _ => Err(AtError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for At {
    type Error = AtError;

    fn try_from(text: String) -> Result<Self, AtError> {
        text.parse()
    }
}

impl From<At> for String {
    fn from(at: At) -> Self {
        at.to_string()
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneWay(from, to) => write!(f, "{from}:{to}"),
            Self::BothWays(a, b) => write!(f, "{a}+{b}"),
            Self::Up(node) => write!(f, "{node}/up"),
            Self::Down(node) => write!(f, "{node}/down"),
            Self::Access(node) => write!(f, "{node}/access"),
            Self::Links => f.write_str("links"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Changes what `settings` name; with `replace`, what they do not name becomes none.
    Set {
        at: At,
        settings: Settings,
        #[serde(default)]
        replace: bool,
    },
    /// Holds all that goes to or comes from `node` for `ms`, then lets it go at once.
    Stall { node: String, ms: u64 },
    /// Counters since the last reset.
    Stats {
        #[serde(default)]
        filter: Filter,
    },
    /// Starts all counters anew. Packets under way count nowhere.
    ResetStats,
    /// What runs, and what its links do.
    Status,
    /// Ends the emulator and its namespaces.
    Quit,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    Done,
    Stats(Stats),
    Status(Status),
    Error { error: String },
}

/// Answer to [`Request::Stats`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// The emulator was late, or was not heard by the kernel, too often: these figures prove nothing.
    pub void: bool,
    /// How late packets were written, all of them; absent before the first.
    pub lateness: Option<Summary>,
    /// Packets that the kernel dropped before the emulator could read them: neither sent nor lost here.
    pub kernel_dropped: u64,
    /// Packets to addresses that no node has.
    pub unrouted: u64,
    /// One row for each (from, to) with traffic that was asked about, by name.
    pub rows: Vec<Row>,
}

/// Counts of one direction between two nodes: `sent = delivered + lost + in_flight`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub from: String,
    pub to: String,
    /// Read from the sender's device.
    pub sent: u64,
    /// Written to the receiver's device, each packet once.
    pub delivered: u64,
    pub lost: u64,
    pub lost_by: LostBy,
    pub in_flight: u64,
    /// Delivered after one that was sent later (RFC 4737), among the packets asked about.
    pub reordered: u64,
    /// Further copies delivered.
    pub duplicated: u64,
    /// From reading to writing; absent before the first delivery.
    pub residence: Option<Summary>,
}

/// Answer to [`Request::Status`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub run: String,
    pub pid: u32,
    pub seed: u64,
    /// Whether the emulator runs before all ordinary processes, and its memory is locked.
    pub realtime: bool,
    pub memory_locked: bool,
    pub nodes: BTreeMap<String, NodeStatus>,
    /// Present settings by direction, written as in [`At`]; directions that do nothing are left out.
    pub settings: BTreeMap<String, Settings>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub namespace: String,
    pub addresses: Vec<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_they_are_read() {
        for text in ["a:b", "a-1+b", "a/up", "a/down", "a/access", "links"] {
            assert_eq!(text.parse::<At>().unwrap().to_string(), text);
        }
        for text in ["", "a", "a/left", "a>b"] {
            assert_eq!(text.parse::<At>(), Err(AtError(text.to_owned())));
        }
    }

    #[test]
    fn requests_as_people_type_them() {
        let read = |line| serde_json::from_str::<Request>(line);
        assert_eq!(
            read(r#"{"op":"set","at":"a:b","settings":{"loss":0.1}}"#).unwrap(),
            Request::Set {
                at: At::OneWay("a".into(), "b".into()),
                settings: "loss=0.1".parse().unwrap(),
                replace: false
            }
        );
        assert_eq!(
            read(r#"{"op":"stats"}"#).unwrap(),
            Request::Stats {
                filter: Filter::default()
            }
        );
        assert_eq!(read(r#"{"op":"reset-stats"}"#).unwrap(), Request::ResetStats);
        for wrong in [
            r#"{"op":"fly"}"#,
            r#"{"op":"stall","node":"a"}"#,
            r#"{"op":"set","at":"a:b","settings":{"los":0.1}}"#,
            r#"{"op":"stats","filter":{"proto":"sctp"}}"#,
            r#"{"op":"stats","filter":{"length":3}}"#,
            r#"{"op":"stall","node":"a","ms":1,"hard":true}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
