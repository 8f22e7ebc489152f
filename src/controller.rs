//! The controller: collects reports, chooses routes, serves API and pages.

mod agents;
mod classes;
mod edges;

pub use classes::{ClassError, ClassEvent, Classes, NewClass, Presence};
