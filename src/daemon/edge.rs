//! An edge as a service: its identity from disk, running until told to stop.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{files, renewal};
use crate::{
    config::{self, Config},
    edge::{Edge, Setup, TRUNK_ABOVE, WithController},
    identity::{Material, Own, TrustedTime, tls},
    machine::Machine,
    stamp::{StampKey, StampService, StampSetup},
};

/// A running edge, with what keeps its identity alive.
#[derive(Debug)]
pub struct EdgeService {
    pub name: String,
    edge: Edge,
    stamp: Option<StampService>,
    stop: CancellationToken,
    drain: Duration,
}

impl EdgeService {
    /// Loads the identity under `data` and starts.
    pub fn start(machine: Machine, data: PathBuf, config: &Config) -> anyhow::Result<Self> {
        if let Err(error) = files::raise_limit() {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
        let targets = config.targets.settings();
        let config = &config.edge;
        let material = Material::load(&data)?;
        let Own::Edge(id) = material.own else {
            anyhow::bail!("{}: this identity is an agent's, not an edge's", data.display());
        };
        let time = Arc::new(TrustedTime::open(
            &Material::time_path(&data),
            machine.clock.clone(),
        ));
        let standing = material.standing(time, tls::provider())?;
        let address = material
            .controller
            .clone()
            .with_context(|| format!("{}: the identity names no controller; join again", data.display()))?;
        let listen = config
            .listen
            .clone()
            .unwrap_or_else(|| vec![config::any(config::EDGE_PORT)]);
        let stamp = stamp(&machine, config)?;
        let edge = Edge::start(Setup {
            machine: machine.clone(),
            standing: standing.clone(),
            listen,
            open_probing: config.open_probing.unwrap_or(false),
            mesh_probe_size: config.mesh_probe_size.map_or(0, usize::from),
            controller: Some(WithController {
                id,
                address,
                advertise: config.advertise.clone().unwrap_or_default(),
                region: config.region.clone(),
                trunk_above: config.trunk_above.map_or(TRUNK_ABOVE, u64::from),
                data: Some(data.clone()),
                targets: Some(targets),
            }),
        })?;
        let name = material.name.clone();
        let stop = CancellationToken::new();
        tokio::spawn(renewal::keep(
            data,
            material,
            standing,
            machine.clock,
            stop.clone(),
        ));
        let drain = config
            .drain_s
            .map_or(config::DRAIN, |s| Duration::from_secs(u64::from(s)));
        Ok(Self {
            name,
            edge,
            stamp,
            stop,
            drain,
        })
    }

    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.edge.local_addrs()
    }

    /// Where STAMP is answered, if it is.
    pub fn stamp_addr(&self) -> Option<SocketAddr> {
        self.stamp.as_ref().map(StampService::local_addr)
    }

    /// Drains, then stops.
    pub async fn stop(self) {
        let drain = self.drain;
        self.stop_after(drain).await;
    }

    /// Stops without waiting for agents to leave.
    pub async fn stop_now(self) {
        self.stop_after(Duration::ZERO).await;
    }

    async fn stop_after(self, drain: Duration) {
        self.stop.cancel();
        self.edge.stop(drain).await;
        if let Some(stamp) = self.stamp {
            stamp.stop().await;
        }
    }
}

/// Answers STAMP where the configuration says so.
pub fn stamp(machine: &Machine, config: &config::Edge) -> anyhow::Result<Option<StampService>> {
    let Some(listen) = config.stamp else {
        // Not to be taken for a reflector that is guarded.
        anyhow::ensure!(
            config.stamp_key.is_none(),
            "a key for nothing: edge.stamp_key goes with edge.stamp"
        );
        return Ok(None);
    };
    let key = config.stamp_key.as_deref().map(StampKey::load).transpose()?;
    let service = StampService::start(machine, StampSetup { listen, key }).context("STAMP")?;
    Ok(Some(service))
}

/// Whether there is an identity under `data`.
pub fn is_joined(data: &Path) -> bool {
    !matches!(
        Material::load(data),
        Err(crate::identity::MaterialError::NotJoined(_))
    )
}
