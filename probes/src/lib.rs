//! Everything in Corridor that measures: the probe wire format, the send schedule, probe sessions,
//! the reflector, and the statistics made of what they see.
//!
//! All of it is pure: time comes in as [`Mono`], bytes come in as slices, and nothing here reads a
//! clock, a socket or a global random number.

mod id;
mod ledger;
mod route;
mod schedule;
mod time;
pub mod wire;

pub use id::{AgentId, BootId, EdgeId, SessionId};
pub use ledger::{Ledger, LedgerError};
pub use route::{Route, RouteError};
pub use schedule::{Due, MAX_LATENESS, Pattern, PatternError, Schedule, Slipped};
pub use time::{Mono, Wall};
