//! Corridor: keeps online classes inside a delay budget. See `docs/ARCHITECTURE.md` for the whole.

pub mod api;
pub mod clock;
pub mod proto;
pub mod sim;
pub mod store;
pub mod transport;
