//! The ways to measure a target, and what is known of how far off each is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A way to measure a target, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A STAMP reflector at the target's address (RFC 8762).
    Stamp,
    /// A STUN binding request to the target's own port (RFC 8489).
    Stun,
    /// An ICMP echo request.
    Icmp,
    /// The time that a TCP connection takes to be opened, to a port that somebody named.
    Tcp,
}

impl Method {
    pub const ALL: [Self; 4] = [Self::Stamp, Self::Stun, Self::Icmp, Self::Tcp];

    /// As it stands in messages and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stamp => "stamp",
            Self::Stun => "stun",
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.word() == word)
    }

    /// In which direction a round trip by it errs from the media's, and why.
    pub const fn bias(self) -> &'static str {
        match self {
            Self::Stamp => {
                "none known: the reflector's own time is taken out, though it may be another process than the one \
                 that takes the media"
            }
            Self::Stun => {
                "slightly long: the server answers at the port that takes the media, and its own time is in it"
            }
            Self::Icmp => {
                "either way: the server's kernel answers, without the server's time, and routers may treat ICMP \
                 otherwise than UDP"
            }
            Self::Tcp => {
                "either way: a kernel or a proxy before the server answers, perhaps by another path than UDP takes"
            }
        }
    }

    /// Whether a missing answer counts as loss. The kernel sends a SYN again without telling, so that TCP hides
    /// losses, and shows none that happened once.
    pub const fn counts_losses(self) -> bool {
        match self {
            Self::Stamp | Self::Stun | Self::Icmp => true,
            Self::Tcp => false,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_first_and_known_by_their_words() {
        assert!(Method::ALL.is_sorted());
        for method in Method::ALL {
            assert_eq!(Method::from_word(method.word()), Some(method));
        }
        assert_eq!(Method::from_word("media"), None);
        let counting = Method::ALL.map(Method::counts_losses);
        assert_eq!(counting, [true, true, true, false]);
    }
}
