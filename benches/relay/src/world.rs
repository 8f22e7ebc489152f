//! All relays, running side by side, and ways through each of them.

use std::{
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use corridor::media::wire::Kind;
use corridor_probes::{AgentId, EdgeId, Route, wire::RouteHeader};
use quinn::Connection;
use tokio::sync::mpsc;

use crate::{
    agents::{self, Flow},
    bare,
    meter::Meter,
    process::{Process, Usage},
    quic::ANY,
    realm::Realm,
    target,
    trunk::{self, After},
    turn::Allocation,
};

/// More are not needed by any case.
pub const AGENTS: u16 = 100;

/// What packets go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// Agent, edge, agent.
    Edge,
    /// Agent, edge, UDP target.
    Exit,
    /// QUIC client, relay, QUIC client.
    Bare,
    /// TURN client, coturn, UDP peer.
    Coturn,
    /// UDP client, forwarder, UDP target.
    Forward,
    /// QUIC client to QUIC server, and no relay.
    DirectQuic,
    /// UDP client to UDP target, and no relay.
    DirectUdp,
    /// Agents at one edge, agents at another, and a trunk between these; what the first takes.
    First,
    /// The same; what the second takes.
    Second,
    /// From one edge's trunk to another's.
    Middle,
    /// All flows by one QUIC connection, relay, all by another.
    BareTrunk,
}

impl System {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge, to an agent",
            Self::Exit => "edge, to a target",
            Self::Bare => "bare quinn",
            Self::Coturn => "coturn, in clear",
            Self::Forward => "UDP forwarder",
            Self::DirectQuic => "no relay, QUIC",
            Self::DirectUdp => "no relay, UDP",
            Self::First => "edge, first of two",
            Self::Second => "edge, second of two",
            Self::Middle => "edge in the middle",
            Self::BareTrunk => "bare quinn",
        }
    }
}

impl System {
    /// Whether packets come to the relay, and go from it, without QUIC.
    pub const fn plain(self) -> (bool, bool) {
        match self {
            Self::Coturn | Self::Forward | Self::DirectUdp => (true, true),
            Self::Exit => (false, true),
            _ => (false, false),
        }
    }
}

/// One flow's way.
#[derive(Debug)]
pub enum Way {
    Agent(Flow),
    Quic(Connection),
    Turn(Allocation, Mutex<Vec<u8>>),
    Udp(UdpSocket),
}

impl Way {
    pub fn send(&self, payload: &[u8]) -> bool {
        match self {
            Self::Agent(flow) => flow.send(payload),
            Self::Quic(connection) => connection.send_datagram(payload.to_vec().into()).is_ok(),
            Self::Turn(allocation, buffer) => {
                let mut buffer = buffer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                allocation.send(payload, &mut buffer)
            }
            Self::Udp(socket) => socket.send(payload).is_ok(),
        }
    }
}

/// All ways of one measurement. Connections are closed when it is dropped.
#[derive(Debug, Default)]
pub struct Ways {
    pub flows: Vec<Way>,
    pub connections: Vec<Connection>,
    /// One more, which stays open.
    pub kept: Option<Connection>,
}

impl Drop for Ways {
    fn drop(&mut self) {
        for connection in &self.connections {
            connection.close(0u32.into(), b"measured");
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct World {
    realm: Realm,
    pub meter: Arc<Meter>,
    certificate: PathBuf,
    key: PathBuf,
    target: SocketAddr,
    /// Of the agents: a restart for each measurement.
    incarnations: AtomicU16,
    edge: RunningEdge,
    trunk: [RunningEdge; 2],
    middle: RunningEdge,
    after: After,
    bare: (SocketAddr, Process),
    coturn: (SocketAddr, Process),
    forward: (SocketAddr, Process),
}

#[derive(Debug)]
struct RunningEdge {
    id: EdgeId,
    at: SocketAddr,
    process: Process,
}

/// The edges' numbers: one that serves those who come, two with a trunk between them, and one with trunks to both
/// sides, which the generator is.
const EDGE: u16 = 1;
const TRUNK: [u16; 2] = [11, 12];
const LINE: [u16; 3] = [21, 22, 23];

impl World {
    /// Starts all relays.
    pub async fn start(corridor: &Path, dir: &Path) -> anyhow::Result<Self> {
        let meter = Arc::<Meter>::default();
        let realm = Realm::new(u64::from(AGENTS))?;
        let target = target::start(meter.clone())?;
        let (certificate, key) = (dir.join("relay.crt"), dir.join("relay.key"));
        corridor_bench::bare::certify(&certificate, &key)?;
        let me = std::env::current_exe()?;

        let start = |id, others: &[(EdgeId, SocketAddr)]| start_edge(corridor, dir, &realm, id, others);
        let edge = start(edge_id(EDGE)?, &[])?;
        let [first, second] = TRUNK.map(edge_id);
        let second = start(second?, &[])?;
        let first = start(first?, &[(second.id, second.at)])?;
        let [_, middle, after] = LINE.map(edge_id);
        let after_id = after?;
        let after = After::start(&realm, after_id, meter.clone())?;
        let middle = start(middle?, &[(after_id, after.at)])?;

        let at = free()?;
        let mut command = Command::new(&me);
        command.arg("relay").arg("--certificate").arg(&certificate);
        command.arg("--key").arg(&key).args(["--listen", &at.to_string()]);
        let bare = (at, Process::start("bare", dir, command)?);

        let at = free()?;
        let mut command = Command::new(&me);
        command.args(["forward", "--listen", &at.to_string()]);
        command.args(["--to", &target.to_string()]);
        let forward = (at, Process::start("forward", dir, command)?);

        let at = free()?;
        let coturn = (at, Process::start("coturn", dir, coturn(dir, at))?);
        // Sockets of all are bound by then; whoever needs more says so by refusing.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(Self {
            realm,
            meter,
            certificate,
            key,
            target,
            incarnations: AtomicU16::new(0),
            edge,
            trunk: [first, second],
            middle,
            after,
            bare,
            coturn,
            forward,
        })
    }

    /// What the relay of a system has taken so far; nothing where there is none.
    pub fn usage(&mut self, system: System) -> anyhow::Result<Usage> {
        match system {
            System::Edge | System::Exit => self.edge.process.usage(),
            System::First => self.trunk[0].process.usage(),
            System::Second => self.trunk[1].process.usage(),
            System::Middle => self.middle.process.usage(),
            System::Bare | System::BareTrunk => self.bare.1.usage(),
            System::Coturn => self.coturn.1.usage(),
            System::Forward => self.forward.1.usage(),
            System::DirectQuic | System::DirectUdp => Ok(Usage::default()),
        }
    }

    /// So many ways through a system, each of which is open.
    pub async fn ways(&self, system: System, flows: u16) -> anyhow::Result<Ways> {
        match system {
            System::Edge => self.agents(&[&self.edge], flows, false).await,
            System::Exit => self.agents(&[&self.edge], flows, true).await,
            System::First | System::Second => {
                let [first, second] = &self.trunk;
                self.agents(&[first, second], flows, false).await
            }
            System::Middle => self.line(flows).await,
            System::BareTrunk => {
                let connections = bare::connect(&self.certificate, self.bare.0, 2).await?;
                let mut ways = self.quic(connections, 0);
                let all = std::iter::repeat_n(&ways.connections[0], flows.into()).cloned();
                ways.flows = all.map(Way::Quic).collect();
                Ok(ways)
            }
            System::Bare => {
                let connections = bare::connect(&self.certificate, self.bare.0, even(flows)).await?;
                Ok(self.quic(connections, flows))
            }
            System::DirectQuic => {
                let mut connections = Vec::new();
                for _ in 0..even(flows) / 2 {
                    connections.extend(bare::pair(&self.certificate, &self.key).await?);
                }
                Ok(self.quic(connections, flows))
            }
            System::Coturn => {
                let open = |_| {
                    Ok(Way::Turn(
                        Allocation::open(self.coturn.0, self.target)?,
                        Mutex::default(),
                    ))
                };
                all_of((0..flows).map(open))
            }
            System::Forward => {
                let ways = all_of((0..flows).map(|_| udp(self.forward.0)))?;
                // Its first packet makes a client known.
                ways.flows.iter().for_each(|way| {
                    way.send(&[]);
                });
                Ok(ways)
            }
            System::DirectUdp => all_of((0..flows).map(|_| udp(self.target))),
        }
    }

    /// Agents of which each has one flow along `edges`, to its partner or to the target.
    async fn agents(&self, edges: &[&RunningEdge], flows: u16, to_target: bool) -> anyhow::Result<Ways> {
        let ids: Vec<_> = edges.iter().map(|edge| edge.id).collect();
        let route = Route::new(&ids)?;
        let (answered, mut answers) = mpsc::unbounded_channel();
        let incarnation = self.incarnations.fetch_add(1, Ordering::Relaxed);
        let mut ways = Ways::default();
        let mut opened = Vec::new();
        let agents = if to_target { flows } else { even(flows) };
        for n in 0..agents {
            let id = agent(n);
            for (place, edge) in edges.iter().enumerate() {
                let at = (edge.id, edge.at);
                let connection = agents::connect(&self.realm, id, at, &self.meter, &answered).await?;
                ways.connections.push(connection.clone());
                if n < flows && place == 0 {
                    let far = (!to_target).then_some(agent(n ^ 1));
                    opened.push(Flow::new(connection, header(route, id, far), incarnation));
                }
            }
        }
        let target = to_target.then_some(self.target);
        agents::open(&self.realm, &opened, &route, target, &mut answers).await?;
        ways.flows = opened.into_iter().map(Way::Agent).collect();
        Ok(ways)
    }

    /// Flows of agents that are elsewhere, along three edges of which the one in the middle is real.
    async fn line(&self, flows: u16) -> anyhow::Result<Ways> {
        let [before, middle, after] = LINE.map(edge_id);
        let (before, middle) = (before?, middle?);
        let route = Route::new(&[before, middle, after?])?;
        let kept = self.after.connected().await?;
        let at = (middle, self.middle.at);
        let connection = trunk::before(&self.realm, before, at, self.meter.clone()).await?;
        let flow = |n| {
            let header = RouteHeader {
                // It has passed the first.
                index: 1,
                ..header(route, agent(n), Some(agent(n ^ 1)))
            };
            Way::Agent(Flow::new(connection.clone(), header, 0))
        };
        Ok(Ways {
            flows: (0..flows).map(flow).collect(),
            connections: vec![connection],
            kept: Some(kept),
        })
    }

    fn quic(&self, connections: Vec<Connection>, flows: u16) -> Ways {
        for connection in &connections {
            let (connection, meter) = (connection.clone(), self.meter.clone());
            tokio::spawn(async move {
                while let Ok(datagram) = connection.read_datagram().await {
                    meter.arrived(&datagram);
                }
            });
        }
        let flows = connections.iter().take(flows.into()).cloned();
        Ways {
            flows: flows.map(Way::Quic).collect(),
            connections,
            kept: None,
        }
    }
}

fn start_edge(
    corridor: &Path,
    dir: &Path,
    realm: &Realm,
    id: EdgeId,
    others: &[(EdgeId, SocketAddr)],
) -> anyhow::Result<RunningEdge> {
    let data = realm.edge(dir, id, others)?;
    let config = dir.join("corridor.toml");
    // Edges do not send to loopback unless told to.
    std::fs::write(&config, "[targets]\nallow = [\"127.0.0.0/8\"]\n")?;
    let at = free()?;
    let mut command = Command::new(corridor);
    command
        .arg("--config")
        .arg(config)
        .args(["edge", "run", "--data"]);
    command.arg(data).args(["--listen", &at.to_string()]);
    let process = Process::start(&format!("edge-{}", id.get()), dir, command)?;
    Ok(RunningEdge { id, at, process })
}

fn coturn(dir: &Path, at: SocketAddr) -> Command {
    let mut command = Command::new("turnserver");
    command.args(["-n", "--no-auth", "--no-tls", "--no-dtls", "--no-tcp", "--no-cli"]);
    command.args(["--no-rfc5780", "--allow-loopback-peers", "--realm", "bench"]);
    command.args(["--log-file", "stdout", "--simple-log"]);
    let ip = at.ip().to_string();
    command.args(["-L", &ip, "-E", &ip, "-p", &at.port().to_string()]);
    command.arg("--pidfile").arg(dir.join("coturn.pid"));
    command.arg("--userdb").arg(dir.join("coturn.db"));
    command
}

fn header(route: Route, origin: AgentId, far: Option<AgentId>) -> RouteHeader {
    // A flow leads to one far end for good.
    let ways = 2 * route.len() as u64 + u64::from(far.is_some());
    RouteHeader {
        flow: origin.0 | ways << 32,
        ..RouteHeader::out(Kind::Media as u8, route, origin, far)
    }
}

fn udp(to: SocketAddr) -> anyhow::Result<Way> {
    let socket = UdpSocket::bind(ANY)?;
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    Ok(Way::Udp(socket))
}

fn all_of(ways: impl Iterator<Item = anyhow::Result<Way>>) -> anyhow::Result<Ways> {
    Ok(Ways {
        flows: ways.collect::<anyhow::Result<_>>()?,
        connections: Vec::new(),
        kept: None,
    })
}

/// Partners come in pairs.
const fn even(flows: u16) -> u16 {
    flows.next_multiple_of(2)
}

fn agent(n: u16) -> AgentId {
    AgentId(u64::from(n) + 1)
}

fn edge_id(id: u16) -> anyhow::Result<EdgeId> {
    EdgeId::new(id).context("no such edge")
}

/// An address of loopback that is free now.
fn free() -> anyhow::Result<SocketAddr> {
    Ok(UdpSocket::bind(ANY)?.local_addr()?)
}
