//! Where local packets are to go, in one word.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Where local packets are to go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum To {
    /// Another agent, which delivers at this port of its machine.
    Agent { subject: String, port: u16 },
    /// `host:port`.
    Target(String),
}

/// Text that does not say where media is to go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is neither HOST:PORT nor agent:SUBJECT:PORT")]
pub struct ToError(String);

impl FromStr for To {
    type Err = ToError;

    fn from_str(text: &str) -> Result<Self, ToError> {
        let wrong = || ToError(text.chars().take(300).collect());
        let (rest, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        if port == 0 || rest.is_empty() || text.contains(char::is_whitespace) {
            return Err(wrong());
        }
        Ok(match rest.strip_prefix("agent:") {
            Some("") => return Err(wrong()),
            Some(subject) => Self::Agent {
                subject: subject.to_owned(),
                port,
            },
            None => Self::Target(text.to_owned()),
        })
    }
}

impl TryFrom<String> for To {
    type Error = ToError;

    fn try_from(text: String) -> Result<Self, ToError> {
        text.parse()
    }
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent { subject, port } => write!(f, "agent:{subject}:{port}"),
            Self::Target(target) => f.write_str(target),
        }
    }
}

impl From<To> for String {
    fn from(to: To) -> Self {
        to.to_string()
    }
}
