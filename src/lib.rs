//! Corridor: keeps online classes inside a delay budget. See `docs/ARCHITECTURE.md` for the whole.

pub mod agent;
pub mod api;
pub mod clock;
pub mod config;
pub mod controller;
pub mod edge;
pub mod identity;
mod prober;
pub mod proto;
pub mod route;
pub mod sim;
pub mod spool;
pub mod store;
pub mod transport;
