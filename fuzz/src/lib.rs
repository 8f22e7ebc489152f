//! What each parser of foreign bytes must hold, whatever the bytes: one function a fuzz target.
//!
//! A target takes bytes and panics where something does not hold. `fuzz_targets/` hands it what libFuzzer
//! makes up; `tests/wire` of the main workspace, on a stable compiler, the files under `corpus/` and
//! `regressions/`, and bytes of proptest's. There is no second way.

mod agent;
mod authority;
mod controller;
mod edge;
mod grants;
mod input;
mod link;
mod media;
mod memory;
mod messages;
mod reflector;
mod route;
mod samples;
mod session;
mod stamp;
mod surroundings;
mod target;
mod texts;
mod trace;

pub use self::{
    agent::agent_core,
    controller::controller_core,
    edge::edge_datagrams,
    grants::grants,
    link::link_datagrams,
    media::{media_datagrams, media_ends},
    messages::{control_frames, control_messages},
    reflector::reflector,
    route::route_datagrams,
    samples::samples,
    session::probe_session,
    stamp::{stamp_packets, stamp_session},
    surroundings::{host_load, netlink_answers, surroundings_shown},
    target::stun_answers,
    texts::{certificates, config, join_token, scenario, texts},
    trace::trace_answers,
};

/// A target's name, and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// All of them, in the order in which `make fuzz` runs them.
pub const TARGETS: &[Target] = &[
    ("link_datagrams", link_datagrams),
    ("route_datagrams", route_datagrams),
    ("edge_datagrams", edge_datagrams),
    ("media_datagrams", media_datagrams),
    ("media_ends", media_ends),
    ("probe_session", probe_session),
    ("reflector", reflector),
    ("samples", samples),
    ("control_messages", control_messages),
    ("control_frames", control_frames),
    ("controller_core", controller_core),
    ("agent_core", agent_core),
    ("stamp_packets", stamp_packets),
    ("stamp_session", stamp_session),
    ("stun_answers", stun_answers),
    ("trace_answers", trace_answers),
    ("netlink_answers", netlink_answers),
    ("host_load", host_load),
    ("surroundings_shown", surroundings_shown),
    ("certificates", certificates),
    ("grants", grants),
    ("join_token", join_token),
    ("config", config),
    ("scenario", scenario),
    ("texts", texts),
];
