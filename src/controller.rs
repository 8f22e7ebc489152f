//! The controller: collects reports, chooses routes, serves API and pages.

mod agents;
mod classes;
pub mod directory;
mod edges;
mod handle;

pub use classes::{ClassError, ClassEvent, Classes, NewClass, Presence};
pub use handle::{Ask, AskError, Asked, Handle};
