//! The edge: reflector, relay, mesh prober, and the way between agents and the controller.

mod datagrams;
mod next_hop;

use std::time::Duration;

/// An agent that reports through this edge and says nothing for this long is silent.
pub const SILENT_AFTER: Duration = Duration::from_secs(3);
