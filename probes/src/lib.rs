//! Everything in Corridor that measures: the probe wire format, the send schedule, probe sessions,
//! the reflector, the statistics made of what they see, hop tracing, and what lies around a machine.
//!
//! All of it is pure: time comes in as [`Mono`], bytes come in as slices, and nothing here reads a
//! clock, a socket or a global random number. The exceptions are the drivers of [`trace`] and of
//! [`surroundings`], which have sockets, and are there with the features of these names on Linux only.

mod bursts;
pub mod clock;
mod compare;
mod delay;
mod histogram;
mod id;
mod jitter;
mod ledger;
mod path_change;
mod percentile;
pub mod quality;
mod reflector;
mod reorder;
mod route;
pub mod samples;
mod schedule;
mod session;
mod stall;
pub mod stamp;
pub mod surroundings;
pub mod target;
pub mod tiers;
mod time;
pub mod trace;
mod window;
pub mod wire;

pub use bursts::{BurstCounter, BurstsAndGaps, GMIN, LossChain};
pub use clock::{ClockConfig, ClockGraph, Observed, Offset, OneWay, Relation, Settled};
pub use compare::{Longer, Way, longer};
pub use delay::{DelaySummary, P999_VALUES, ipdv, pdv, pdv_percent};
pub use histogram::{DelayHistogram, HistogramError};
pub use id::{AgentId, BootId, EdgeId, SessionId};
pub use jitter::Jitter;
pub use ledger::{Ledger, LedgerError};
pub use path_change::{PathChange, PathTest, PathWatch};
pub use percentile::{percentile, percentile_of_sorted};
pub use reflector::{Reception, Reflector, ReflectorLimits, ReflectorStats};
pub use reorder::{MAX_EXTENT, Reordered, Reordering};
pub use route::{Route, RouteError};
pub use schedule::{
    Due, FULL_PACKET, MAX_LATENESS, Packet, Pattern, PatternError, Profile, Schedule, Slipped, Spread,
    Timetable,
};
pub use session::{
    Arrival, EchoOutcome, MAX_OPEN_PROBES, MAX_OPEN_WINDOWS, ProbeSession, SessionConfig, SlotOutcome, Stall,
};
pub use stall::StallWatch;
pub use time::{Mono, Wall};
pub use window::{Clocks, MAX_LINKS, MAX_SAMPLES, MergeError, RawMinima, Sample, StepStats, Steps, Window};
