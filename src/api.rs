//! The HTTP API and the pages.
//!
//! | question | file |
//! |---|---|
//! | what is under which path | `router.rs` |
//! | what does the JSON look like | `model.rs` |
//! | who may do what | `auth.rs` |
//! | how does an agent or edge join | `enrol.rs` |
//! | what is an error answered | `error.rs` |
//! | what does a class's timeline show | `timeline.rs` |
//! | what does the live feed send | `live.rs` |
//! | what do all answers have in common | `server.rs` |

mod accounts;
mod agents;
mod api_tokens;
pub mod auth;
mod classes;
mod edges;
pub mod enrol;
pub mod error;
mod events;
mod extract;
pub mod limit;
mod live;
pub mod model;
mod pages;
pub mod router;
pub mod server;
mod state;
mod status;
pub mod time_text;
mod timeline;
mod tokens;

pub use accounts::replace_password;
pub use router::{openapi_json, router};
pub use state::{ApiState, Setup};
pub use tokens::join_line;
