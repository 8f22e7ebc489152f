//! The controller: collects reports, chooses routes, serves API and pages.
//!
//! | question | file |
//! |---|---|
//! | what happens on an event | `core.rs` |
//! | when does a class begin and end, who is lost | `classes.rs` |
//! | which agents are heard, and through which edge | `agents.rs` |
//! | which edges are up, and what are they told | `edges.rs` |
//! | which classes are told of an edge | `carried.rs` |
//! | which grants do agents hold, and which were taken back | `grants.rs` |
//! | what are edges told of revocations | `core/granting.rs` |
//! | how far are clocks from each other | `clocks.rs` |
//! | what of a report is believed | `intake.rs` |
//! | what was measured last | `links.rs` |
//! | what was planned, and why | `planner.rs` |
//! | how much of its building's line may an agent use | `sites.rs` |
//! | what is shown of a leg, and why is its route in use | `status/leg.rs`, `why.rs` |
//! | when is a report acknowledged | `run.rs` (`ingest`) |

mod agents;
mod carried;
mod classes;
mod clocks;
pub mod core;
pub mod directory;
mod edge_link;
mod edges;
mod event;
mod grants;
mod handle;
mod intake;
mod links;
mod planner;
mod run;
mod settings;
mod sites;
mod status;
mod why;

pub use classes::{ClassError, ClassEvent, Classes, NewClass, Presence};
pub use edges::Connection;
pub use event::shown as shown_event;
pub use handle::{Ask, AskError, Asked, Handle};
pub use run::{Controller, ControllerError, Setup, StoreWorker};
pub use settings::Settings;
