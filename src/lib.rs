//! Corridor: keeps online classes inside a delay budget. See `docs/ARCHITECTURE.md` for the whole.

pub mod agent;
pub mod api;
mod backoff;
pub mod cli;
pub mod clock;
pub mod config;
pub mod controller;
pub mod daemon;
pub mod edge;
pub mod host;
pub mod identity;
pub mod machine;
pub mod measure;
mod metered;
mod prober;
pub mod proto;
mod remembered;
mod reporting;
mod resolve;
pub mod route;
pub mod sim;
mod site;
pub mod spool;
pub mod stamp;
pub mod store;
mod surroundings;
pub mod transport;
