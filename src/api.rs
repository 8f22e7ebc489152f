//! The HTTP API and the pages.

pub mod auth;
pub mod enrol;
pub mod error;
pub mod limit;
pub mod model;
mod pages;
mod problem;
pub mod server;
pub mod time_text;
