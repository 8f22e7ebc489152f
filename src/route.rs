//! Which way a class's media goes: link estimates in, plans with typed reasons out.
//!
//! All of it is pure. The controller turns link estimates into plans; the agent chooses
//! among its installed routes by itself; a replay calls the same functions.
//!
//! | question | file |
//! |---|---|
//! | what is known of a link | `estimate.rs`, `links.rs` |
//! | which routes are there | `search.rs` |
//! | which is best | `score.rs`, `quality.rs` |
//! | which is planned, and why did it not switch | `plan.rs`, `hold_down.rs` |
//! | which does the agent use right now | `live.rs` |
//! | which legs has a class, and where does it meet | `classes.rs`, `hub.rs` |
//! | what is a leg's share of the budget | `budget.rs` |

pub mod defaults;
pub mod reason;

pub use reason::{Cause, Figures, NoDisjoint, NoRoute, Reason};
