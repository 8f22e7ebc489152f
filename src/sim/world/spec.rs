//! What a world is made of, before it exists.

use std::{path::PathBuf, time::Duration};

use corridor_probes::Wall;

use crate::{agent, config, controller, sim::LinkShape};

/// A world: one controller, edges, agents. All links between them have the default shape at first.
#[derive(Debug, Clone)]
pub struct WorldSpec {
    pub seed: u64,
    /// The controller's time at the beginning.
    pub start: Wall,
    pub default_link: LinkShape,
    /// Where stores and spools are kept; `None` keeps them in memory, where they outlive processes too,
    /// but not the world.
    pub data: Option<PathBuf>,
    /// How long before the beginning all certificates were issued.
    pub certificates_age: Duration,
    pub controller: controller::Settings,
    pub edges: Vec<EdgeSpec>,
    pub agents: Vec<AgentSpec>,
    /// Bytes of mesh probes, 0 for as short as they are.
    pub mesh_probe_size: usize,
    /// Edges answer probes of anybody.
    pub open_probing: bool,
    /// Everything repeats with the seed. Otherwise keys and numbers are drawn anew each time.
    pub repeatable: bool,
}

impl Default for WorldSpec {
    fn default() -> Self {
        Self {
            seed: 1,
            start: Wall::from_secs(1_900_000_000),
            default_link: LinkShape::delay(Duration::from_millis(20)),
            data: None,
            certificates_age: Duration::from_secs(3_600),
            controller: controller::Settings::new(&config::Controller::default(), &config::Edge::default()),
            edges: Vec::new(),
            agents: Vec::new(),
            mesh_probe_size: 0,
            open_probing: false,
            repeatable: true,
        }
    }
}

/// How wrong a machine's clock is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockSpec {
    /// Wall clock less the controller's time, at the beginning.
    pub offset_us: i64,
    /// Parts in 10⁹; positive is fast.
    pub drift_ppb: i64,
}

#[derive(Debug, Clone)]
pub struct EdgeSpec {
    pub name: String,
    pub region: Option<String>,
    pub clock: ClockSpec,
}

#[derive(Debug, Clone)]
pub struct AgentSpec {
    pub subject: String,
    pub region: Option<String>,
    pub clock: ClockSpec,
    /// Behind a NAT of its own.
    pub nat: bool,
    pub settings: agent::Settings,
    /// Bytes that its spool may hold.
    pub spool_limit: u64,
}

impl AgentSpec {
    /// An agent as it comes out of the box, with a right clock.
    pub fn new(subject: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            region: None,
            clock: ClockSpec::default(),
            nat: false,
            settings: agent::Settings {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                platform: "simulated".to_owned(),
                link_type: "ethernet".to_owned(),
                ..agent::Settings::default()
            },
            spool_limit: config::SPOOL_BYTES,
        }
    }
}
