//! STAMP (RFC 8762) on this machine: what edges answer with and `corridor probe --stamp` measures with.
//! The protocol itself is in [`corridor_probes::stamp`].
//!
//! | question | file |
//! |---|---|
//! | where does the key of authenticated mode come from | `key.rs` |
//! | what time is written into them | `civil.rs` |
//! | how does an edge answer | `reflect.rs` |

mod civil;
mod key;
mod reflect;

pub(crate) use civil::Civil;
pub use key::{StampKey, StampKeyError};
pub use reflect::{StampService, StampSetup};

use corridor_probes::stamp::Mode;

/// How packets are laid out with this key, or without one.
pub(crate) fn mode(key: Option<&StampKey>) -> Mode<'_> {
    key.map_or(Mode::Unauthenticated, |key| Mode::Authenticated(key))
}
