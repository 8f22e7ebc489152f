//! The HTTP API and the pages.

pub mod auth;
pub mod enrol;
pub mod error;
pub mod limit;
pub mod model;
pub mod server;
