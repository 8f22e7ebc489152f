//! Which way a class's media goes: link estimates in, plans with typed reasons out.
//!
//! All of it is pure. The controller turns link estimates into plans ([`engine`]); the agent chooses
//! among its installed routes by itself ([`live`]); a replay calls the same functions.
//!
//! | question | file |
//! |---|---|
//! | what is known of a link | `estimate.rs`, `links.rs` |
//! | which routes are there | `search.rs` |
//! | which is best | `score.rs` |
//! | which is planned, and why did it not switch | `plan.rs`, `hold_down.rs` |
//! | which does the agent use right now | `live.rs` |
//! | which legs has a class, and where does it meet | `classes.rs`, `hub.rs` |
//! | what is a leg's share of the budget | `budget.rs` |
//! | what is a budget on one way judged on | `directions.rs` |
//! | how is a class doing, and why | `health.rs` |

pub mod budget;
pub mod classes;
pub mod defaults;
pub mod directions;
pub mod engine;
pub mod estimate;
mod fates;
pub mod health;
pub mod hold_down;
pub mod hub;
pub mod links;
pub mod live;
pub mod margin;
pub mod plan;
pub mod reason;
pub mod score;
pub mod search;

use std::fmt;

use corridor_probes::{AgentId, EdgeId};
use serde::{Deserialize, Serialize};

pub use fates::{Fate, Fates};
pub use reason::{Cause, Figures, NoDisjoint, NoRoute, Reason};

/// What a leg's route leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FarEnd {
    /// The peer, in a class of exactly two without a target.
    Agent(AgentId),
    /// `host:port` of a media server.
    Target(String),
    /// The edge where a class of three or more meets: the last edge of every route to it.
    Hub(EdgeId),
}

impl fmt::Display for FarEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(agent) => write!(f, "agent:{agent}"),
            Self::Target(target) => write!(f, "target:{target}"),
            Self::Hub(edge) => write!(f, "hub:{edge}"),
        }
    }
}
