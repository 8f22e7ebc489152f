//! Ids that travel on the wire.

use std::{fmt, num::NonZeroU16};

use serde::{Deserialize, Serialize};

/// An edge, as source routes name it: given by the controller when the edge joins, never given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EdgeId(NonZeroU16);

impl EdgeId {
    /// `None` for 0, which on the wire means "no edge".
    pub const fn new(id: u16) -> Option<Self> {
        match NonZeroU16::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for EdgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

macro_rules! id64 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(s: &str) -> Result<Self, Self::Err> {
                u64::from_str_radix(s, 16).map(Self)
            }
        }
    };
}

id64! {
    /// An enrolled agent: drawn at random by the controller when the agent joins. Its certificate names it.
    AgentId
}
id64! {
    /// One run of a service's process: drawn at random at its start. Clocks and sequence numbers
    /// mean something within one boot only.
    BootId
}
id64! {
    /// A probe session: drawn at random by the prober. It outlives connections, not processes.
    SessionId
}

impl BootId {
    /// The epoch of the reflector of this process ([`crate::Reflector::new`]).
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32 ^ self.0 as u32
    }

    /// The name of its monotonic clock after it stepped `steps` times: those of two processes of one machine
    /// differ but once in 65,536 times.
    pub const fn clock(self, steps: u32) -> u16 {
        (self.epoch() as u16).wrapping_add(steps as u16)
    }
}
