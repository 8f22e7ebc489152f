//! The HTTP API and the pages.

pub mod model;
mod pages;
mod problem;
pub mod time_text;
