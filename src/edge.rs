//! The edge: reflector, relay, mesh prober, and the way between agents and the controller.
//!
//! | question | file |
//! |---|---|
//! | what is done with a datagram | `datagrams.rs` |
//! | when is a next hop silent | `next_hop.rs` |
//! | who asks next hops for signs of life while media flows | `alive.rs` |
//! | how do flows leave the mesh | `exits.rs` |
//! | who may connect, and what is served to whom | `serve.rs` |
//! | how are other edges measured | `mesh.rs` |
//! | by which connections do edges send to each other | `trunk.rs` |
//! | how do reports get up and plans down | `controller_link.rs` |
//! | how does an edge run by itself | `standalone.rs` |

mod alive;
mod controller_link;
pub mod datagrams;
mod exits;
mod memory;
mod mesh;
mod next_hop;
mod run;
mod serve;
mod shared;
mod standalone;
mod trunk;

use std::time::Duration;

pub use run::{Edge, EdgeError, Setup, WithController};
pub use standalone::{Standalone, StandaloneError, standalone};
pub use trunk::TRUNK_ABOVE;

/// An agent that reports through this edge and says nothing for this long is silent.
pub const SILENT_AFTER: Duration = Duration::from_secs(3);
