//! Carrying a class's media: flows from an agent along a route of edges to their far end, a target or another
//! agent.
//!
//! | question | file |
//! |---|---|
//! | what is on the wire | `wire.rs` |
//! | what allows an agent to have media carried | `grant.rs` |
//! | is a grant good here and now | `warrants.rs` |
//! | what does an edge let through, and how fast | `gate.rs` |
//! | how does a flow begin, which route does a packet take, when does it go twice | `origin.rs` |
//! | how does it end, which way does the answer go | `far.rs`, its sockets `delivery.rs` |
//! | which packets are repeats, lost, reordered | `received.rs`, `end.rs` |
//! | how are halves put together | `join.rs` |
//! | when is a peer dead, while media flows | `liveness.rs` |

pub mod delivery;
pub mod end;
pub mod far;
pub mod gate;
pub mod grant;
mod join;
pub mod liveness;
pub mod origin;
pub mod receipts;
mod received;
pub mod warrants;
pub mod wire;
