//! Hop tracing: which routers a path goes through, how long each takes to answer, where packets are lost.
//!
//! The core ([`Tracer`]) is pure: it says which probe goes next, takes answers with their times, keeps the
//! figures of each hop, and judges them. The driver (`Tracing`, Linux, feature `trace`) moves bytes.
//!
//! **One flow.** Routers spread flows over parallel paths by addresses, protocol and the first four bytes
//! above them (ports; type, code and checksum of ICMP). All of these are the same in all probes of a trace,
//! so all probes take the same path. What tells one probe from another:
//!
//! | method | a probe is known by | constant |
//! |---|---|---|
//! | UDP | its number in the payload, which routers quote | addresses, ports, length, checksum (the payload holds the number and its complement), IPv6 flow label (the kernel makes it from those) |
//! | ICMP, datagram or raw socket | the sequence number of the echo request | addresses, identifier, length, checksum (the payload holds the complement) |
//!
//! A router may quote no more than the UDP header (RFC 792 asks for 8 bytes), and the error queue of an
//! unprivileged socket does not show that header. Such an answer is taken for the only recent probe, else
//! for the newest probe to the hop that this router is known to be; where neither holds it is counted as
//! unmatched, and the next round waits for each answer before it sends on.
//!
//! **Loss.** Routers answer as they please: a hop whose answers are missing while those behind it answer
//! lost nothing, it limits its answers. The end does that too (Linux answers one UDP probe a second): see
//! [`Verdict`] for how it is told from loss.

mod core;
mod hop;
mod judge;
mod plan;
mod probe;

#[cfg(all(feature = "trace", target_os = "linux"))]
mod control;
#[cfg(all(feature = "trace", target_os = "linux"))]
mod drive;
#[cfg(all(feature = "trace", target_os = "linux"))]
mod echo;
#[cfg(all(feature = "trace", target_os = "linux"))]
mod packet;
#[cfg(all(feature = "trace", target_os = "linux"))]
mod socket;
#[cfg(all(feature = "trace", target_os = "linux"))]
mod sys;

pub use self::{
    core::{Phase, Step, Tracer},
    hop::{Figures, Hop, Seen, Series},
    judge::{EndLoss, HopState, Verdict},
    plan::{Plan, PlanError},
    probe::{Answer, Meaning, Probe, Protocol, Unreachable},
};

#[cfg(all(feature = "trace", target_os = "linux"))]
pub use self::{
    control::{Control, ExtendedError},
    drive::{TraceError, Tracing, Wanted},
    echo::{EchoSocket, NoEcho},
    packet::Flow,
    socket::{Method, Refused},
    sys::reverse_name,
};

use std::time::Duration;

use crate::{Mono, Wall};

/// Where the time comes from.
pub trait Clocks {
    fn mono(&self) -> Mono;
    fn wall(&self) -> Wall;
}

/// Hops beyond which nobody looks: no path of the Internet is longer, and a loop is shown well enough.
pub const MAX_HOPS: u8 = 64;
/// Rounds of a trace: nearly three hours at one a second, 80 kB a hop.
pub const MAX_ROUNDS: u32 = 10_000;
/// Between the beginnings of two rounds.
pub const MIN_INTERVAL: Duration = Duration::from_millis(100);
pub const MAX_INTERVAL: Duration = Duration::from_secs(60);
/// Probes a second at most, all hops together.
pub const MAX_PROBES_PER_S: u32 = 100;
/// What is not answered by then is not answered.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// Different routers remembered of one hop.
pub const MAX_ADDRESSES: usize = 4;
