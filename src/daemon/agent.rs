//! An agent as a service: its identity and spool from disk, running until told to stop.

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{local, renewal, rescue};
use crate::{
    agent::{Agent, Handle, Settings, Setup, Watch, saved_edges},
    config::{self, Config},
    identity::{Material, Own, TrustedTime, tls},
    machine::Machine,
    proto,
    spool::Spool,
    store::worker::Worker,
};

/// A running agent, with what keeps its identity alive and answers local questions.
#[derive(Debug)]
pub struct AgentService {
    pub subject: String,
    agent: Agent,
    stop: CancellationToken,
}

/// Work that waits for the disk; a disk that stands still longer is said so.
const DISK_QUEUE: NonZeroUsize = NonZeroUsize::new(256).unwrap();

impl AgentService {
    /// Loads the identity under `data`, opens the spool there, and starts.
    pub fn start(machine: Machine, data: PathBuf, config: &Config) -> anyhow::Result<Self> {
        let targets = config.targets.settings();
        let config = &config.agent;
        let material = Material::load(&data)?;
        let Own::Agent(me) = material.own else {
            anyhow::bail!("{}: this identity is an edge's, not an agent's", data.display());
        };
        let time = Arc::new(TrustedTime::open(
            &Material::time_path(&data),
            machine.clock.clone(),
        ));
        let standing = material.standing(time, tls::provider())?;
        let limit = config.spool_bytes.unwrap_or(config::SPOOL_BYTES);
        let spool = open_spool(&data, limit, &machine)?;
        let spool = Worker::spawn("spool", DISK_QUEUE, spool).context("no thread for the spool")?;
        let mut edges = saved_edges(&data);
        if edges.is_empty() {
            edges = material.edges.iter().map(edge_info).collect();
        }
        // Whoever reaches it has media carried as this agent.
        anyhow::ensure!(
            config.socks.is_none_or(|at| at.ip().is_loopback()),
            "agent.socks is for programs of this machine: an address of loopback"
        );
        let agent = Agent::start(Setup {
            machine: machine.clone(),
            me,
            subject: material.name.clone(),
            standing: standing.clone(),
            bind: config.bind.unwrap_or(config::any(0)),
            settings: settings(config),
            watch: watch(config),
            targets: Some(targets),
            socks: config.socks,
            forwards: config.forward.clone().unwrap_or_default(),
            accepts: config.accept.clone().unwrap_or_default(),
            edges,
            spool,
            data: Some(data.clone()),
        })?;
        let stop = CancellationToken::new();
        let subject = material.name.clone();
        local::serve(&data, agent.handle(), stop.clone());
        tokio::spawn(rescue::keep(
            data.clone(),
            agent.handle(),
            standing.clone(),
            machine.clone(),
            stop.clone(),
        ));
        tokio::spawn(renewal::keep(
            data,
            material,
            standing,
            machine.clock,
            stop.clone(),
        ));
        Ok(Self { subject, agent, stop })
    }

    pub fn handle(&self) -> Handle {
        self.agent.handle()
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.agent.stop().await;
    }
}

/// The spool, or one in memory where the disk gives none: measuring and failing over need no disk.
fn open_spool(data: &std::path::Path, limit: u64, machine: &Machine) -> anyhow::Result<Spool> {
    match Spool::open(&data.join("spool.db"), limit, machine.clock.wall()) {
        Ok(spool) => {
            if let Some(aside) = spool.set_aside() {
                tracing::warn!(path = %aside.display(), "damaged spool set aside; a new one begun");
            }
            Ok(spool)
        }
        Err(error @ crate::spool::SpoolError::Full { .. }) => {
            tracing::warn!(%error, "reports are kept in memory only");
            Ok(Spool::in_memory(limit)?)
        }
        Err(error) => Err(error.into()),
    }
}

fn settings(config: &config::Agent) -> Settings {
    Settings {
        link_probe_size: config.link_probe_size.map_or(0, usize::from),
        route_probe_size: config.route_probe_size.map_or(0, usize::from),
        idle_kbps: config.idle_kbps,
        in_class_kbps: config.in_class_kbps,
        metered: config.metered.unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        link_type: config.link_type.clone().unwrap_or_default(),
    }
}

fn watch(config: &config::Agent) -> Watch {
    Watch {
        on: true,
        trace: config.trace != Some(config::Switch::Off),
        wifi_names: config.wifi_names.unwrap_or(false),
        full_addresses: config.full_addresses.unwrap_or(false),
    }
}

pub(super) fn edge_info(edge: &crate::api::model::JoinEdge) -> proto::EdgeInfo {
    proto::EdgeInfo {
        id: u32::from(edge.id),
        name: edge.name.clone(),
        region: edge.region.clone().unwrap_or_default(),
        addresses: edge.addresses.clone(),
        draining: false,
        boot: 0,
    }
}
