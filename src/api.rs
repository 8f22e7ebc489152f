//! The HTTP API and the pages.

pub mod model;
