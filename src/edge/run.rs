//! Running an edge. Tasks: one accepts connections and starts one for each; one keeps the controller
//! link; one measures targets; one asks next hops for signs of life while media flows; one reads each flow that
//! ends here; the main loop probes the mesh, reports and watches for silent agents. All end with the stop signal;
//! then agents are told, and connections closed.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock, atomic::Ordering},
    time::Duration,
};

use corridor_probes::{AgentId, BootId, EdgeId, Mono, SessionConfig, Wall};
use rand::RngExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    SILENT_AFTER, alive,
    controller_link::{Link, Told},
    datagrams::Datagrams,
    exits::Exits,
    memory::Memory,
    mesh::{self, Mesh},
    serve::{self, Myself},
    shared::Shared,
};
use crate::{
    backoff::Backoff,
    clock::SleepWatch,
    host,
    identity::{Revoked, Standing, tls},
    machine::Machine,
    media::{gate::Warrants, grant::GrantId, warrants::Judge},
    prober::Prober,
    proto::{self, edge_to_controller, from_controller, to_controller},
    reporting::{Reporter, Rest},
    targets::{self, Targets},
    transport::{CloseCode, Endpoint, EndpointError, EndpointSetup, EndpointStats, Kind, ServerSetup},
};

/// What an edge runs with.
#[derive(Debug)]
pub struct Setup {
    pub machine: Machine,
    pub standing: Arc<Standing>,
    pub listen: Vec<SocketAddr>,
    pub open_probing: bool,
    pub mesh_probe_size: usize,
    /// `None`: a reflector by itself.
    pub controller: Option<WithController>,
}

/// What makes an edge part of a mesh.
#[derive(Debug)]
pub struct WithController {
    pub id: EdgeId,
    /// `host:port`.
    pub address: String,
    /// `host:port` where others reach this edge; empty: where it listens.
    pub advertise: Vec<String>,
    pub region: Option<String>,
    /// See [`super::TRUNK_ABOVE`].
    pub trunk_above: u64,
    /// Where it remembers the other edges, and what is revoked, so that a restart need not wait for the
    /// controller; `None`: nowhere.
    pub data: Option<PathBuf>,
    /// How targets are measured; `None`: not at all, as in simulations, whose network has UDP alone.
    pub targets: Option<targets::Settings>,
}

/// A running edge.
#[derive(Debug)]
pub struct Edge {
    shared: Arc<Shared>,
    endpoint: Arc<Endpoint>,
    stop: CancellationToken,
    main: tokio::task::JoinHandle<()>,
}

/// How often the controller hears of this edge's load, and silent agents are looked for.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// Own reports that wait for the controller; beyond, the oldest go.
const MAX_REPORTS: usize = 1_000;
/// A report that was not acknowledged is sent again after this.
const AGAIN: Duration = Duration::from_secs(10);

impl Edge {
    /// Binds and starts everything.
    pub fn start(setup: Setup) -> Result<Self, EdgeError> {
        let Setup {
            machine,
            standing,
            listen,
            open_probing,
            mesh_probe_size,
            controller,
        } = setup;
        let mut rng = machine.rng("edge");
        let boot = BootId(rng.random());
        let me = controller.as_ref().map(|c| c.id);
        let endpoint = Arc::new(Endpoint::new(EndpointSetup {
            network: machine.network.clone(),
            clock: machine.clock.clone(),
            local: listen,
            server: Some(server(&standing, me.is_some(), open_probing)?),
            reset_key: Some(standing.reset_key()),
            rng_seed: machine.endpoint_seed(),
        })?);
        let prober = Prober::new(machine.clock.mono(), rng.random(), SessionConfig::default());
        let memory = controller.as_ref().and_then(|c| c.data.as_deref());
        let memory = memory.map(Memory::in_dir);
        let known = memory.as_ref().map(Memory::revoked).unwrap_or_default();
        let revoked = Arc::new(RwLock::new(Revoked::from(&known)));
        let warrants = me.map(|_| warrants(&standing, &revoked));
        let allow = controller
            .as_ref()
            .and_then(|c| c.targets.as_ref())
            .map_or_else(Vec::new, |targets| targets.allow.clone());
        let advertised = controller.iter().flat_map(|c| &c.advertise);
        let own = advertised.filter_map(|text| Some(text.parse::<SocketAddr>().ok()?.ip()));
        let stop = CancellationToken::new();
        let shared = Shared::new(
            machine.clock.clone(),
            Datagrams::new(me, boot.epoch(), prober, warrants),
            Exits::new(machine.clone(), allow, own.collect(), stop.clone()),
            revoked,
        );
        let myself = Myself {
            id: me,
            boot,
            version: env!("CARGO_PKG_VERSION"),
        };
        let span = tracing::info_span!("edge", id = me.map(|id| id.get()));
        let accepting = accept(
            shared.clone(),
            endpoint.clone(),
            myself,
            standing.clone(),
            stop.clone(),
        );
        tokio::spawn(accepting.instrument(span.clone()));
        let main = match controller {
            None => tokio::spawn(stop.clone().cancelled_owned()),
            Some(with) => {
                let (told, telling) = mpsc::channel(64);
                let advertise = mesh::reachable(&endpoint.local_addrs(), &with.advertise, &host::addresses());
                let link = Link {
                    shared: shared.clone(),
                    endpoint: endpoint.clone(),
                    standing: standing.clone(),
                    address: with.address,
                    register: proto::EdgeRegister {
                        version: env!("CARGO_PKG_VERSION").to_owned(),
                        boot: boot.0,
                        addresses: advertise,
                        region: with.region.unwrap_or_default(),
                    },
                    told,
                    backoff: Backoff::controller(rng.random()),
                    stop: stop.clone(),
                };
                let link = tokio::spawn(link.run().instrument(span.clone()));
                let mesh = Mesh::new(
                    with.id,
                    shared.clone(),
                    endpoint.clone(),
                    standing.clone(),
                    with.trunk_above,
                    rng.random(),
                );
                let now = machine.clock.mono();
                let targets = with
                    .targets
                    .map(|settings| span.in_scope(|| Targets::start(&machine, settings, stop.clone())));
                let main = Main {
                    shared: shared.clone(),
                    standing,
                    mesh,
                    memory,
                    targets,
                    mesh_probe_size,
                    reporter: Reporter::new(boot, now),
                    unacknowledged: VecDeque::new(),
                    load: host::Load::of(&machine),
                    next_status: now,
                };
                let stop = stop.clone();
                tokio::spawn(alive::watch(shared.clone(), stop.clone()).instrument(span.clone()));
                let running = async move {
                    main.run(telling, stop).await;
                    let _ = link.await;
                };
                tokio::spawn(running.instrument(span))
            }
        };
        Ok(Self {
            shared,
            endpoint,
            stop,
            main,
        })
    }

    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.endpoint.local_addrs()
    }

    pub fn transport(&self) -> EndpointStats {
        self.endpoint.stats()
    }

    /// Agents connected now.
    pub fn agents(&self) -> usize {
        self.shared.table().agents.len()
    }

    /// Whether the controller has taken a grant back, as far as this edge was told.
    pub fn grant_revoked(&self, id: GrantId) -> bool {
        self.shared.grant_revoked(id)
    }

    /// Ends at once, as a process that is killed, once its sockets are gone.
    pub fn kill(self) {
        self.stop.cancel();
        self.main.abort();
    }

    /// Drains, then stops: agents are told to leave, media to go round this edge, and both get `patience` to do so.
    pub async fn stop(self, patience: Duration) {
        let seconds = u32::try_from(patience.as_secs()).unwrap_or(u32::MAX);
        serve::set_draining(&self.shared, true, seconds);
        let clock = self.shared.clock.clone();
        let deadline = clock.mono() + patience;
        while clock.mono() < deadline && self.shared.is_in_use() {
            crate::clock::sleep(&*clock, Duration::from_millis(100)).await;
        }
        self.stop.cancel();
        let _ = self.main.await;
        self.endpoint.close(CloseCode::ShuttingDown, "edge stops").await;
    }
}

/// Why an edge cannot run.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    Tls(#[from] crate::identity::TlsError),
}

/// What grants are worth here.
fn warrants(standing: &Arc<Standing>, revoked: &Arc<RwLock<Revoked>>) -> Arc<dyn Warrants> {
    let revoked = revoked.clone();
    let is_revoked = move |id| {
        let revoked = revoked.read().unwrap_or_else(PoisonError::into_inner);
        revoked.grants.contains(&id)
    };
    Arc::new(Judge::new(standing.clone(), is_revoked))
}

fn server(standing: &Arc<Standing>, enrolled: bool, open: bool) -> Result<ServerSetup, EdgeError> {
    let (certificates, alpn): (_, &[&[u8]]) = match (enrolled, open) {
        (true, false) => (
            tls::ClientCertificates::Required,
            &[proto::ALPN, proto::ALPN_TRUNK],
        ),
        (true, true) => (
            tls::ClientCertificates::Optional,
            &[proto::ALPN, proto::ALPN_TRUNK, proto::ALPN_PROBE],
        ),
        (false, _) => (tls::ClientCertificates::None, &[proto::ALPN_PROBE]),
    };
    Ok(ServerSetup {
        tls: Arc::new(tls::server(standing, certificates, alpn)?),
        kind: Kind::AgentEdge,
        anonymous: if open || !enrolled {
            vec![(proto::ALPN_PROBE.to_vec(), Kind::Probe)]
        } else {
            Vec::new()
        },
    })
}

async fn accept(
    shared: Arc<Shared>,
    endpoint: Arc<Endpoint>,
    myself: Myself,
    standing: Arc<Standing>,
    stop: CancellationToken,
) {
    loop {
        let connection = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = endpoint.accept() => accepted,
        };
        let Some(connection) = connection else { return };
        let serving = serve::accepted(shared.clone(), myself.clone(), standing.clone(), connection);
        tokio::spawn(serving.in_current_span());
    }
}

/// The main loop of an edge with a controller.
#[derive(Debug)]
struct Main {
    shared: Arc<Shared>,
    standing: Arc<Standing>,
    mesh: Mesh,
    memory: Option<Memory>,
    targets: Option<Targets>,
    mesh_probe_size: usize,
    reporter: Reporter,
    /// Reports by sequence, oldest first, with the time of their last sending.
    unacknowledged: VecDeque<(u64, Mono, proto::Report)>,
    load: host::Load,
    next_status: Mono,
}

impl Main {
    async fn run(mut self, mut telling: mpsc::Receiver<Told>, stop: CancellationToken) {
        let clock = self.shared.clock.clone();
        if let Some(memory) = &self.memory {
            self.mesh.set(&memory.mesh());
        }
        let mut wakeup = clock.mono();
        let mut sleeps = SleepWatch::new(&*clock);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                told = telling.recv() => match told {
                    Some(told) => self.told(told),
                    None => return,
                },
                closed = Targets::next_closed(&mut self.targets) => self.reporter.take(closed),
                () = self.shared.grid.notified() => {}
                () = clock.sleep_until(wakeup) => {}
            }
            if sleeps.slept(&*clock).is_some() {
                self.shared.datagrams().clock_stepped();
            }
            wakeup = mesh::step(&self.shared, self.mesh_probe_size).await;
            mesh::close_windows(&self.shared, &mut self.reporter);
            let now = clock.mono();
            if now >= self.next_status {
                self.next_status = now + STATUS_EVERY;
                self.status();
                self.silences(now);
                self.shared.expire();
            }
            if self
                .reporter
                .due_at(mesh::REPORT_EVERY)
                .is_some_and(|at| at <= now)
            {
                self.close_report(now);
            }
            self.send_reports(now);
            wakeup = wakeup.min(self.next_status);
        }
    }

    fn told(&mut self, told: Told) {
        match told {
            Told::Mesh(mesh) => {
                self.mesh.set(&mesh);
                if let Some(memory) = &mut self.memory {
                    memory.keep_mesh(mesh);
                }
            }
            Told::Revoked(list) => {
                if let Some(memory) = &mut self.memory {
                    memory.keep_revoked(list);
                }
            }
            Told::Targets(list) => {
                if let Some(targets) = &self.targets {
                    targets.set(list);
                }
            }
            Told::Own(proto::FromController {
                body: Some(from_controller::Body::ReportAck(ack)),
            }) => {
                self.unacknowledged
                    .retain(|(sequence, ..)| *sequence != ack.sequence);
            }
            Told::Own(_) => {}
            Told::Connected => {
                // What was under way on the old connection may be lost.
                for (_, sent, _) in &mut self.unacknowledged {
                    *sent = Mono::from_nanos(i64::MIN);
                }
                self.next_status = self.shared.now();
            }
        }
    }

    fn status(&mut self) {
        let agents = self.shared.table().agents.len();
        let counters = self.shared.datagrams().counters;
        let ends = self.shared.exits.delivery.counts();
        let load = self.load.read(self.shared.now());
        self.shared
            .to_controller(edge_to_controller::Body::Status(proto::EdgeStatus {
                agents: u32::try_from(agents).unwrap_or(u32::MAX),
                draining: self.shared.is_draining(),
                cpu: load.cpu,
                rss_bytes: load.rss_bytes,
                datagrams_in: counters.datagrams_in,
                datagrams_out: self.shared.out.load(Ordering::Relaxed),
                forwarded: counters.forwarded,
                local_drops: self.shared.dropped(),
                refused: counters.refused() + ends.refused(),
            }));
    }

    /// Tells the controller of agents that report through this edge and fell silent, or are back.
    fn silences(&self, now: Mono) {
        let mut changed = Vec::new();
        for (&id, agent) in &mut self.shared.table_mut().agents {
            let silent = now.since(agent.connection.last_heard()) >= SILENT_AFTER;
            if agent.uses_uplink && silent != agent.told_silent {
                agent.told_silent = silent;
                changed.push((id, silent));
            }
        }
        for (AgentId(agent), silent) in changed {
            let silence = proto::AgentSilence { agent, silent };
            self.shared
                .to_controller(edge_to_controller::Body::Silence(silence));
        }
    }

    fn close_report(&mut self, now: Mono) {
        let reading = self.standing.time().read();
        let at = |mono: Mono| -> Wall {
            if mono >= now {
                reading.at + mono.since(now)
            } else {
                reading.at - now.since(mono)
            }
        };
        let rest = Rest {
            wall: self.shared.clock.wall(),
            ..Rest::default()
        };
        let report = self.reporter.close(now, rest, at);
        if self.unacknowledged.len() >= MAX_REPORTS {
            self.unacknowledged.pop_front();
        }
        self.unacknowledged
            .push_back((report.sequence, Mono::from_nanos(i64::MIN), report));
    }

    fn send_reports(&mut self, now: Mono) {
        if !self.shared.has_controller() {
            return;
        }
        for (_, sent, report) in &mut self.unacknowledged {
            if now.since(*sent) < AGAIN {
                continue;
            }
            *sent = now;
            let message = proto::ToController {
                body: Some(to_controller::Body::Report(report.clone())),
            };
            let bytes = prost::Message::encode_to_vec(&message);
            self.shared.to_controller(edge_to_controller::Body::Own(bytes));
        }
    }
}
