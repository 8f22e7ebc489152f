//! A world in one process: a controller, edges and agents as they are shipped, on simulated machines with
//! clocks of their own, over a simulated network, with the real QUIC stack.
//!
//! Machines go by name: `controller`, an edge's name, an agent's subject. In virtual time (tokio's paused
//! clock on a current-thread runtime) everything repeats with the seed.

mod build;
mod spec;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use corridor_probes::{AgentId, EdgeId, Wall};
use rand::{RngExt as _, rngs::StdRng};

use super::{LinkShape, NatId, SimClock, SimError, SimHost, SimNetwork};
use crate::{
    agent::{self, Agent},
    clock::Clock as _,
    controller::{self, Controller, ControllerError, StoreWorker},
    edge::{self, Edge, EdgeError},
    identity::{Ca, Credentials, Standing, Subject, TlsError, TrustedTime, tls},
    machine::Machine,
    proto,
    spool::{Spool, SpoolError},
    store::{
        StoreError,
        sqlite::Sqlite,
        worker::{Worker, WorkerError},
    },
    transport::EndpointError,
};

pub use spec::{AgentSpec, ClockSpec, EdgeSpec, WorldSpec};

/// Name of the machine that the controller runs on.
pub const CONTROLLER: &str = "controller";
/// Where the controller takes edges, and edges take agents.
const CONTROLLER_PORT: u16 = 8443;
const EDGE_PORT: u16 = 4433;
/// What asking for the time over HTTPS takes: its error is half of that.
const TIME_ROUND_TRIP: Duration = Duration::from_millis(100);

/// Why something could not be done in a world.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    #[error("there is no machine '{0}'")]
    Unknown(String),
    #[error("'{name}' is not {what}")]
    NotA { name: String, what: &'static str },
    #[error("'{0}' runs already")]
    Runs(String),
    #[error("'{0}' does not run")]
    Stopped(String),
    #[error("there are two machines '{0}'")]
    Twice(String),
    #[error("there are too many machines")]
    TooMany,
    #[error(transparent)]
    Network(#[from] SimError),
    #[error(transparent)]
    Ca(#[from] crate::identity::CaError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Agent(#[from] EndpointError),
    #[error(transparent)]
    Edge(#[from] EdgeError),
    #[error(transparent)]
    Controller(#[from] ControllerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Worker(#[from] WorkerError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("cannot make {path}")]
    Directory {
        path: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// See the module's documentation. Dropping it kills everything.
#[derive(Debug)]
pub struct World {
    spec: WorldSpec,
    network: SimNetwork,
    ca: Arc<Ca>,
    rng: StdRng,
    nodes: BTreeMap<String, Node>,
    /// Of services that were killed.
    handshakes: u64,
}

/// One machine.
#[derive(Debug)]
struct Node {
    host: SimHost,
    address: IpAddr,
    nat: Option<NatId>,
    role: Role,
    credentials: Credentials,
    issued: Wall,
    standing: Option<Arc<Standing>>,
    /// How often its service was started: each process has random numbers of its own.
    starts: u64,
    running: Option<Running>,
}

#[derive(Debug)]
enum Role {
    Controller {
        /// Kept over restarts where it is in memory.
        store: Option<StoreWorker>,
    },
    Edge {
        id: EdgeId,
        region: Option<String>,
    },
    Agent {
        id: AgentId,
        settings: agent::Settings,
        spool: Option<Worker<Spool>>,
        spool_limit: u64,
    },
}

#[derive(Debug)]
enum Running {
    Controller(Controller),
    Edge(Edge),
    Agent(Agent),
}

impl World {
    /// Makes all machines and enrols them; nothing runs yet.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn new(spec: WorldSpec) -> Result<Self, WorldError> {
        build::world(spec).await
    }

    /// Starts everything: the controller, then edges, then agents.
    pub async fn start_all(&mut self) -> Result<(), WorldError> {
        let rank = |node: &Node| match node.role {
            Role::Controller { .. } => 0,
            Role::Edge { .. } => 1,
            Role::Agent { .. } => 2,
        };
        let mut names: Vec<_> = self
            .nodes
            .iter()
            .map(|(name, n)| (rank(n), name.clone()))
            .collect();
        names.sort();
        for (_, name) in names {
            self.start(&name).await?;
        }
        Ok(())
    }

    /// Starts a machine's service, with what its last run left on disk.
    pub async fn start(&mut self, name: &str) -> Result<(), WorldError> {
        let time = self.trusted_time(name)?;
        let ca = self.ca.clone();
        let roots = ca.roots();
        let candidates = self.candidates();
        let repeatable = self.spec.repeatable;
        let seed = self.spec.seed;
        let data = self.spec.data.as_ref().map(|dir| dir.join(name));
        if let Some(dir) = &data {
            std::fs::create_dir_all(dir).map_err(|source| WorldError::Directory {
                path: dir.clone(),
                source,
            })?;
        }
        let controller_at = self.controller_address()?;
        let settings = self.spec.controller.clone();
        let mesh_probe_size = self.spec.mesh_probe_size;
        let open_probing = self.spec.open_probing;
        let fresh = if repeatable { 0 } else { self.rng.random() };
        let node = self.node_mut(name)?;
        if node.running.is_some() {
            return Err(WorldError::Runs(name.to_owned()));
        }
        node.starts += 1;
        let machine = Machine {
            clock: Arc::new(node.host.clock().clone()),
            network: Arc::new(node.host.clone()),
            seed: mix(seed ^ fresh, name, node.starts),
            repeatable,
        };
        let standing = Standing::new(node.credentials.clone(), &roots, time, tls::provider())?;
        node.standing = Some(standing.clone());
        let now = node.host.clock().wall();
        let local = SocketAddr::new(node.address, 0);
        let running = match &mut node.role {
            Role::Controller { store } => {
                let worker = match (store.as_ref(), &data) {
                    (Some(kept), None) => kept.clone(),
                    (_, Some(dir)) => {
                        let opened: Box<dyn crate::store::Store> =
                            Box::new(Sqlite::open(&dir.join("store"), now)?);
                        Worker::inline(opened)
                    }
                    (None, None) => {
                        let opened: Box<dyn crate::store::Store> = Box::new(Sqlite::in_memory()?);
                        Worker::inline(opened)
                    }
                };
                *store = Some(worker.clone());
                Running::Controller(
                    Controller::start(controller::Setup {
                        machine,
                        standing,
                        quic: SocketAddr::new(local.ip(), CONTROLLER_PORT),
                        store: worker,
                        ca,
                        settings,
                    })
                    .await?,
                )
            }
            Role::Edge { id, region } => Running::Edge(Edge::start(edge::Setup {
                machine,
                standing,
                listen: vec![SocketAddr::new(local.ip(), EDGE_PORT)],
                open_probing,
                mesh_probe_size,
                controller: Some(edge::WithController {
                    id: *id,
                    address: controller_at,
                    advertise: vec![SocketAddr::new(local.ip(), EDGE_PORT).to_string()],
                    region: region.clone(),
                    trunk_above: edge::TRUNK_ABOVE,
                    data,
                    targets: None,
                }),
            })?),
            Role::Agent {
                id,
                settings,
                spool,
                spool_limit,
            } => {
                let worker = match (spool.as_ref(), &data) {
                    (Some(kept), None) => kept.clone(),
                    (_, Some(dir)) => Worker::inline(Spool::open(&dir.join("spool.db"), *spool_limit, now)?),
                    (None, None) => Worker::inline(Spool::in_memory(*spool_limit)?),
                };
                *spool = Some(worker.clone());
                let saved = data.as_deref().map(agent::saved_edges).unwrap_or_default();
                Running::Agent(Agent::start(agent::Setup {
                    machine,
                    me: *id,
                    subject: name.to_owned(),
                    standing,
                    bind: SocketAddr::from(([0; 16], 0)),
                    settings: settings.clone(),
                    watch: agent::Watch::OFF,
                    targets: None,
                    socks: None,
                    forwards: Vec::new(),
                    accepts: Vec::new(),
                    edges: if saved.is_empty() { candidates } else { saved },
                    spool: worker,
                    data,
                })?)
            }
        };
        node.running = Some(running);
        Ok(())
    }

    /// Kills a machine's service: it says nothing to anybody, and what it had not on disk is lost.
    pub async fn kill(&mut self, name: &str) -> Result<(), WorldError> {
        let on_disk = self.spec.data.is_some();
        let node = self.node_mut(name)?;
        let running = node.running.take();
        node.host.close_sockets();
        let accepted = accepted(running.as_ref());
        match running {
            Some(Running::Controller(controller)) => controller.kill(),
            Some(Running::Edge(edge)) => edge.kill(),
            Some(Running::Agent(agent)) => agent.kill(),
            None => return Err(WorldError::Stopped(name.to_owned())),
        }
        if on_disk {
            match &mut node.role {
                Role::Controller { store } => {
                    if let Some(store) = store.take() {
                        store.close().await;
                    }
                }
                Role::Agent { spool, .. } => {
                    if let Some(spool) = spool.take() {
                        spool.close().await;
                    }
                }
                Role::Edge { .. } => {}
            }
        }
        self.handshakes += accepted;
        // What was aborted goes at its next turn.
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Kills everything; what was on its way to disk is there when this completes.
    pub async fn end(mut self) {
        let running: Vec<_> = self
            .names()
            .filter(|n| self.is_running(n))
            .map(str::to_owned)
            .collect();
        for name in running {
            // It runs, so it can be killed.
            let _ = self.kill(&name).await;
        }
    }

    /// Handshakes that ended well, so far.
    pub fn handshakes(&self) -> u64 {
        let running = self.nodes.values().map(|node| accepted(node.running.as_ref()));
        self.handshakes + running.sum::<u64>()
    }

    /// With what the controller is started next time.
    pub fn controller_settings(&mut self) -> &mut controller::Settings {
        &mut self.spec.controller
    }

    /// The edges, in order of names.
    pub fn edges(&self) -> impl Iterator<Item = (&str, EdgeId)> {
        self.nodes.iter().filter_map(|(name, node)| match node.role {
            Role::Edge { id, .. } => Some((name.as_str(), id)),
            _ => None,
        })
    }

    /// The network, to change it.
    pub fn network(&self) -> &SimNetwork {
        &self.network
    }

    pub fn host(&self, name: &str) -> Result<&SimHost, WorldError> {
        Ok(&self.node(name)?.host)
    }

    pub fn clock(&self, name: &str) -> Result<&SimClock, WorldError> {
        Ok(self.node(name)?.host.clock())
    }

    pub fn is_running(&self, name: &str) -> bool {
        self.nodes.get(name).is_some_and(|n| n.running.is_some())
    }

    /// All machines, in order of names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// The agents' subjects, in order.
    pub fn agents(&self) -> impl Iterator<Item = &str> {
        let is_agent = |n: &Node| matches!(n.role, Role::Agent { .. });
        self.nodes
            .iter()
            .filter(move |(_, n)| is_agent(n))
            .map(|(name, _)| name.as_str())
    }

    pub fn agent_id(&self, subject: &str) -> Result<AgentId, WorldError> {
        match self.node(subject)?.role {
            Role::Agent { id, .. } => Ok(id),
            _ => Err(WorldError::NotA {
                name: subject.to_owned(),
                what: "an agent",
            }),
        }
    }

    /// The shape of one direction.
    pub fn set_direction(&self, from: &str, to: &str, shape: LinkShape) -> Result<(), WorldError> {
        let (from, to) = (self.host(from)?, self.host(to)?);
        self.network.set_direction(from, to, shape);
        Ok(())
    }

    /// A running agent, to ask.
    pub fn agent(&self, subject: &str) -> Result<agent::Handle, WorldError> {
        match &self.node(subject)?.running {
            Some(Running::Agent(agent)) => Ok(agent.handle()),
            _ => Err(WorldError::Stopped(subject.to_owned())),
        }
    }

    /// A running edge, to ask.
    pub fn edge(&self, name: &str) -> Result<&Edge, WorldError> {
        match &self.node(name)?.running {
            Some(Running::Edge(edge)) => Ok(edge),
            _ => Err(WorldError::Stopped(name.to_owned())),
        }
    }

    /// The running controller, to ask.
    pub fn controller(&self) -> Result<controller::Handle, WorldError> {
        match &self.node(CONTROLLER)?.running {
            Some(Running::Controller(controller)) => Ok(controller.handle()),
            _ => Err(WorldError::Stopped(CONTROLLER.to_owned())),
        }
    }

    /// Where edges reach the controller, `host:port`.
    pub fn controller_address(&self) -> Result<String, WorldError> {
        self.address(CONTROLLER, CONTROLLER_PORT)
    }

    /// Who signs everybody's certificates.
    pub fn ca(&self) -> Arc<Ca> {
        self.ca.clone()
    }

    /// The controller's store; `None` while nothing has opened it.
    pub fn store(&self) -> Option<StoreWorker> {
        match &self.nodes.get(CONTROLLER)?.role {
            Role::Controller { store } => store.clone(),
            _ => None,
        }
    }

    /// An agent's spool; `None` while nothing has opened it.
    pub fn spool(&self, subject: &str) -> Option<Worker<Spool>> {
        match &self.nodes.get(subject)?.role {
            Role::Agent { spool, .. } => spool.clone(),
            _ => None,
        }
    }

    /// Gives a machine another address of its network, as when it changes from Wi-Fi to mobile.
    pub fn move_to(&mut self, name: &str, address: IpAddr) -> Result<(), WorldError> {
        let node = self.node_mut(name)?;
        node.host.set_addresses(vec![address])?;
        node.address = address;
        Ok(())
    }

    /// Makes a machine's NAT forget its mappings.
    pub fn rebind_nat(&self, name: &str) -> Result<(), WorldError> {
        let nat = self.node(name)?.nat.ok_or_else(|| WorldError::NotA {
            name: name.to_owned(),
            what: "behind a NAT",
        })?;
        Ok(self.network.rebind_nat(nat, None)?)
    }

    /// Renews the certificates that are due, if the controller runs. Machines do that by themselves where
    /// there is HTTPS.
    pub fn renew_certificates(&mut self) -> Result<(), WorldError> {
        if !self.is_running(CONTROLLER) {
            return Ok(());
        }
        let now = self.clock(CONTROLLER)?.wall();
        let roots = self.ca.roots();
        for (name, node) in &mut self.nodes {
            if now.since(node.issued) < crate::identity::RENEWED_AFTER {
                continue;
            }
            let subject = match node.role {
                Role::Controller { .. } => Subject::Controller,
                Role::Edge { id, .. } => Subject::Edge { id, name },
                Role::Agent { id, .. } => Subject::Agent(id),
            };
            node.credentials = self.ca.credentials(subject, now, &mut self.rng)?;
            node.issued = now;
            if let Some(standing) = &node.standing {
                standing.renew(node.credentials.clone(), &roots)?;
            }
        }
        Ok(())
    }

    fn node(&self, name: &str) -> Result<&Node, WorldError> {
        self.nodes
            .get(name)
            .ok_or_else(|| WorldError::Unknown(name.to_owned()))
    }

    fn node_mut(&mut self, name: &str) -> Result<&mut Node, WorldError> {
        self.nodes
            .get_mut(name)
            .ok_or_else(|| WorldError::Unknown(name.to_owned()))
    }

    /// A machine's address, inside its NAT if it has one.
    pub fn address_of(&self, name: &str) -> Result<IpAddr, WorldError> {
        Ok(self.node(name)?.address)
    }

    fn address(&self, name: &str, port: u16) -> Result<String, WorldError> {
        Ok(SocketAddr::new(self.node(name)?.address, port).to_string())
    }

    /// What an agent is told when it joins: every edge.
    fn candidates(&self) -> Vec<proto::EdgeInfo> {
        self.nodes
            .iter()
            .filter_map(|(name, node)| match &node.role {
                Role::Edge { id, region } => Some(proto::EdgeInfo {
                    id: u32::from(id.get()),
                    name: name.clone(),
                    region: region.clone().unwrap_or_default(),
                    addresses: vec![SocketAddr::new(node.address, EDGE_PORT).to_string()],
                    draining: false,
                    boot: 0,
                }),
                _ => None,
            })
            .collect()
    }

    /// What a starting service knows of the time: what the last run kept, or what the controller says if
    /// it can be asked.
    fn trusted_time(&self, name: &str) -> Result<Arc<TrustedTime>, WorldError> {
        let clock = Arc::new(self.clock(name)?.clone());
        if name == CONTROLLER {
            return Ok(Arc::new(TrustedTime::new(clock)));
        }
        let kept = self
            .spec
            .data
            .as_ref()
            .map(|dir| crate::identity::Material::time_path(&dir.join(name)));
        let time = match kept {
            Some(path) => TrustedTime::open(&path, clock),
            None => TrustedTime::new(clock),
        };
        if self.is_running(CONTROLLER) {
            let now = self.clock(CONTROLLER)?.wall();
            let received = time.mono();
            time.learn(now - TIME_ROUND_TRIP / 2, received - TIME_ROUND_TRIP, received);
        }
        Ok(Arc::new(time))
    }
}

fn accepted(running: Option<&Running>) -> u64 {
    match running {
        Some(Running::Controller(controller)) => controller.transport().accepted,
        Some(Running::Edge(edge)) => edge.transport().accepted,
        Some(Running::Agent(_)) | None => 0,
    }
}

/// A seed for one run of one machine.
fn mix(seed: u64, name: &str, start: u64) -> u64 {
    let hash = name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ start).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
