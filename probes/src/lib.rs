//! Everything in Corridor that measures: the probe wire format, the send schedule, probe sessions,
//! the reflector, and the statistics made of what they see.
//!
//! All of it is pure: time comes in as [`Mono`], bytes come in as slices, and nothing here reads a
//! clock, a socket or a global random number.

mod id;
mod route;
mod time;

pub use id::{AgentId, BootId, EdgeId, SessionId};
pub use route::{Route, RouteError};
pub use time::{Mono, Wall};
