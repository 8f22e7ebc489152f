//! Corridor: keeps online classes inside a delay budget. See `docs/ARCHITECTURE.md` for the whole.

pub mod api;
pub mod clock;
pub mod config;
pub mod proto;
pub mod route;
pub mod store;
