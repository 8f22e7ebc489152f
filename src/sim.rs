//! The simulation: machines, their clocks and the network between them, in one process and in virtual
//! time (tokio's paused clock), with the real QUIC stack on top. Tests let time run as fast as it can;
//! `corridor demo` holds it back to the pace of the real one.

mod clock;
mod log;
mod network;
pub mod scenario;
mod talk;
mod world;

pub use clock::SimClock;
pub use log::{Collecting, Entry, Log, Tally};
pub use network::{
    Fate, Gilbert, HostSpec, IP_UDP_HEADERS, Lengths, LinkCounters, LinkShape, Loss, LossCause, NatId,
    NatKind, SimError, SimHost, SimNetwork, SimRuntime, TraceEvent,
};
pub use talk::{Says, Talk, TalkError, Told};
pub use world::{AgentSpec, CONTROLLER, ClockSpec, EdgeSpec, World, WorldError, WorldSpec};
