//! Measuring targets: the media servers of classes. Which method is used when is decided by
//! [`corridor_probes::target`]; here are the addresses, the sessions and the sockets.
//!
//! | question | file |
//! |---|---|
//! | which addresses may be probed | `address.rs` |
//! | which targets are measured, when is a probe sent | `core.rs` |
//! | what of a target's silence is loss | `core/link.rs` |
//! | how do probes go out and answers come in | `sockets.rs` |
//! | who runs it | `run.rs` |

mod address;
mod core;
mod run;
mod sockets;

pub(crate) use address::check;
pub use address::{Net, NetError};
pub use run::{Settings, Targets};

/// Targets that one edge measures: as many classes as can meet at servers of their own; one a second each is
/// 64 probes a second at most.
pub const MAX_TARGETS: usize = 64;
/// Targets that edges are told of at most: that there are more than they measure, they count themselves.
pub const MAX_TOLD: usize = 4 * MAX_TARGETS;
/// The longest name of a target, `host:port`: DNS names have at most 253 characters.
pub const MAX_NAME: usize = 260;
