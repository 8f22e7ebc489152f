//! The agent: measures its candidate edges, holds its plans, chooses live among its routes, reports.
//!
//! | question | file |
//! |---|---|
//! | what happens on an event | `core.rs` |
//! | which edges are connected, heard, draining | `edges.rs` |
//! | which plans are held, which route is in use | `legs.rs`, `outcomes.rs` |
//! | how often is what probed | `rates.rs` |
//! | what may go over the line, and what did | `budget.rs` |
//! | how is media carried from here, and to here | `carrying.rs`; for programs that know SOCKS, `socks.rs` |
//! | by which edge does it report | `uplink.rs`, `outbox.rs` |
//! | what is kept on disk | `disk.rs` |
//! | when is an edge dialled | `dial.rs` |
//! | when does it look around, and trace a path | `surroundings.rs`, where trouble shows in `surroundings/trouble.rs` |

mod budget;
mod carrying;
pub mod core;
mod dial;
mod disk;
mod edges;
mod legs;
mod look;
mod outbox;
mod outcomes;
pub(crate) mod rates;
mod run;
mod shown;
mod socks;
mod status;
mod surroundings;
mod told;
mod uplink;

pub use self::core::Settings;
pub use carrying::{CarryCounts, Forward, MAX_FORWARDS};
pub use run::{Agent, EDGES_FILE, Handle, Setup, saved_edges};
pub use shown::shown_data;
pub use status::{AgentReport, FlowReport, MediaReport};
pub use surroundings::{Look, Watch};
