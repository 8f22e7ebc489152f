//! Running an agent: the main loop owns the state machine and does what it asks for.
//!
//! Tasks: this loop; one dialler an edge; three a connection (datagrams, control in, control out), which
//! end with it; up to two that look around; one that measures the targets of classes; one that keeps media's flows
//! open, one for each local port that is carried and each flow that ends here, and one for SOCKS and each program
//! that it serves. All are stopped by [`Agent::stop`].

mod asks;
mod upkeep;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use corridor_probes::{AgentId, BootId, EdgeId, Mono, tiers::Bytes};
use rand::RngExt as _;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use self::asks::Ask;
pub use self::{
    asks::Handle,
    upkeep::{EDGES_FILE, saved_edges},
};
use super::{
    carrying::{Carrying, Forward},
    core::{Core, Now, Output, Settings},
    dial::{Dialer, Dialing, Event},
    disk::{Answer, Disk},
    edges::ConnectionNo,
    look::{Done, Looking, Where},
    socks,
    surroundings::{Look, PathLook, Toward, Watch},
};
use crate::{
    clock::SleepWatch,
    host,
    identity::{Source, Standing},
    machine::Machine,
    media::warrants::Judge,
    proto,
    spool::Spool,
    store::worker::Worker,
    targets::{self, Targets},
    transport::{
        self, ACKNOWLEDGEMENT, CloseCode, Connection, Endpoint, EndpointError, EndpointSetup, PACKET,
        Received, StreamRate,
    },
};

/// What an agent runs with.
#[derive(Debug)]
pub struct Setup {
    pub machine: Machine,
    pub me: AgentId,
    pub subject: String,
    pub standing: Arc<Standing>,
    pub bind: SocketAddr,
    pub settings: Settings,
    /// What of its surroundings it looks at.
    pub watch: Watch,
    /// How the targets of its classes are measured; `None`: not at all, as in simulations, whose network has UDP
    /// alone.
    pub targets: Option<targets::Settings>,
    /// Where SOCKS is served to programs of this machine.
    pub socks: Option<SocketAddr>,
    /// Local ports that are carried, and ports that other agents of a class may reach.
    pub forwards: Vec<Forward>,
    pub accepts: Vec<u16>,
    /// Edges to begin with.
    pub edges: Vec<proto::EdgeInfo>,
    pub spool: Worker<Spool>,
    /// Where the list of edges and the controller's time are kept; `None` keeps neither.
    pub data: Option<PathBuf>,
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    asks: mpsc::Sender<Ask>,
    stop: CancellationToken,
    main: tokio::task::JoinHandle<()>,
}

/// Events of connections that wait for the main loop: a second of everything at 1,000 probes/s.
const EVENTS: usize = 1_024;
/// An edge from which nothing came for this long, though probes went out, is dialled anew beside the
/// connection that stands.
const REDIAL_AFTER: Duration = super::edges::SILENT;
const REDIAL_EVERY: Duration = Duration::from_secs(15);
/// A jump of boot time against monotonic time beyond this is a sleep.
const SLEPT: Duration = Duration::from_secs(2);
/// Waking up so late, this machine stood still, and so did the tasks that read its sockets.
const STOOD_STILL: Duration = Duration::from_millis(500);
/// They have read them by then.
const CATCH_UP: Duration = Duration::from_millis(5);
/// How often this machine's own load is read.
const HOUSEKEEPING: Duration = Duration::from_secs(10);
/// How often the trusted time is saved: it is a lower bound, and each time the disk must sync. It is saved
/// at the end, too.
const SAVE_TIME: Duration = Duration::from_secs(600);

impl Agent {
    pub fn start(setup: Setup) -> Result<Self, EndpointError> {
        let endpoint = Arc::new(Endpoint::new(EndpointSetup {
            network: setup.machine.network.clone(),
            clock: setup.machine.clock.clone(),
            local: vec![setup.bind],
            server: None,
            reset_key: None,
            rng_seed: setup.machine.endpoint_seed(),
        })?);
        let mut rng = setup.machine.rng("agent");
        let boot = BootId(rng.random());
        let now = setup.machine.clock.mono();
        let (asks, asked) = mpsc::channel(64);
        let (events_out, events) = mpsc::channel(EVENTS);
        let stop = CancellationToken::new();
        let mut core = Core::new(setup.me, boot, rng.random(), setup.settings, setup.edges, now);
        let mut rng = setup.machine.rng("surroundings");
        core.watch_surroundings(setup.watch, rng.random(), now);
        let (looking, looks) = Looking::new(setup.watch, rng.random(), setup.machine.clock.clone());
        let carrying = Carrying::start(
            setup.me,
            setup.machine.clone(),
            setup.machine.rng("media").random(),
            // Revocations reach edges, which let nothing through then.
            Arc::new(Judge::new(setup.standing.clone(), |_| false)),
            stop.child_token(),
        );
        for forward in setup.forwards {
            let listen = forward.listen;
            if let Err(error) = carrying.forward(forward) {
                tracing::warn!(%listen, %error, "a local port is not carried");
            }
        }
        for port in setup.accepts {
            carrying.accept(port);
        }
        if let Some(at) = setup.socks {
            let (carrying, stop) = (carrying.clone(), stop.child_token());
            tokio::spawn(async move {
                match tokio::net::TcpListener::bind(at).await {
                    Ok(listener) => socks::serve(carrying, listener, stop).await,
                    Err(error) => tracing::error!(%at, %error, "SOCKS is not served"),
                }
            });
        }
        let targets = setup
            .targets
            .map(|settings| Targets::start(&setup.machine, settings, stop.child_token()));
        let main = Main {
            core,
            targets,
            carrying: carrying.clone(),
            legs_told: 0,
            hops_told: BTreeSet::new(),
            dialing: Dialing {
                machine: setup.machine.clone(),
                endpoint: endpoint.clone(),
                standing: setup.standing.clone(),
                events: events_out,
                carrying,
                numbers: Arc::new(AtomicU64::new(1)),
            },
            endpoint,
            standing: setup.standing,
            disk: Disk::new(setup.spool, boot),
            data: setup.data,
            subject: setup.subject,
            connections: BTreeMap::new(),
            dialers: BTreeMap::new(),
            redialled: BTreeMap::new(),
            requests: BTreeMap::new(),
            next_request: 1,
            load: host::Load::of(&setup.machine),
            looking,
            addresses: BTreeMap::new(),
            next_housekeeping: now,
            next_save: now,
            peers: Bytes::default(),
            answered: Vec::new(),
            sleeps: SleepWatch::new(&*setup.machine.clock),
            machine: setup.machine,
        };
        let span = tracing::info_span!("agent", name = %main.subject);
        let main = tokio::spawn(main.run(events, asked, looks, stop.clone()).instrument(span));
        Ok(Self { asks, stop, main })
    }

    pub fn handle(&self) -> Handle {
        Handle(self.asks.clone())
    }

    /// Ends at once, as a process that is killed: nothing is said, and nothing more is kept.
    pub fn kill(self) {
        self.main.abort();
        self.stop.cancel();
    }

    /// Says goodbye, closes connections and the spool.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.main.await;
    }
}

#[derive(Debug)]
struct Open {
    no: ConnectionNo,
    connection: Connection,
    control: mpsc::Sender<proto::AgentToEdge>,
}

#[derive(Debug)]
struct Main {
    core: Core,
    targets: Option<Targets>,
    carrying: Arc<Carrying>,
    /// The revision of the legs, and the silent hops, that media was told of last.
    legs_told: u64,
    hops_told: BTreeSet<(EdgeId, EdgeId)>,
    machine: Machine,
    endpoint: Arc<Endpoint>,
    standing: Arc<Standing>,
    dialing: Dialing,
    disk: Disk,
    data: Option<PathBuf>,
    subject: String,
    connections: BTreeMap<EdgeId, Open>,
    dialers: BTreeMap<EdgeId, Dialer>,
    redialled: BTreeMap<EdgeId, Mono>,
    requests: BTreeMap<u64, oneshot::Sender<Result<(), String>>>,
    next_request: u64,
    load: host::Load,
    looking: Looking,
    /// Where each edge was last reached.
    addresses: BTreeMap<EdgeId, IpAddr>,
    next_housekeeping: Mono,
    next_save: Mono,
    /// IP bytes that peers' probes and their answers took.
    peers: Bytes,
    /// The edges to which an answer went in this turn.
    answered: Vec<EdgeId>,
    sleeps: SleepWatch,
}

impl Main {
    async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut asked: mpsc::Receiver<Ask>,
        mut looks: mpsc::UnboundedReceiver<Done>,
        stop: CancellationToken,
    ) {
        self.disk.recover().await;
        let (answers_out, mut answers) = mpsc::unbounded_channel::<Answer>();
        let mut changes = self.endpoint.changes();
        let clock = self.machine.clock.clone();
        self.core.disk_ready();
        let mut wakeup = clock.mono();
        loop {
            self.execute(&answers_out).await;
            self.answered.clear();
            let mut woke = false;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                event = events.recv() => {
                    let Some(event) = event else { break };
                    self.notice_sleep();
                    let mut only_datagrams = self.event(event);
                    // Whatever came with it, before the next look at the clock.
                    while let Ok(event) = events.try_recv() {
                        self.execute(&answers_out).await;
                        only_datagrams &= self.event(event);
                    }
                    // Most turns: a datagram makes nothing due before the next step of the grid.
                    if only_datagrams && clock.mono() < wakeup {
                        continue;
                    }
                }
                Some(answer) = answers.recv() => self.disk_answer(answer),
                Some(ask) = asked.recv() => self.ask(ask),
                unheard = self.carrying.unheard() => {
                    let now = self.now();
                    self.core.unheard(&unheard, now);
                }
                Ok(()) = changes.changed() => self.moved("addresses of this machine changed"),
                Some(done) = looks.recv() => {
                    let (looked, now) = (self.looking.back(done), self.now());
                    self.core.looked(looked, now);
                }
                closed = Targets::next_closed(&mut self.targets) => {
                    let now = self.now();
                    self.core.target_closed(closed, now);
                }
                () = clock.sleep_until(wakeup) => woke = true,
            }
            if woke {
                self.core.woke(wakeup, clock.mono());
                if clock.mono().since(wakeup) >= STOOD_STILL {
                    // What has come meanwhile lies in the sockets: it counts before anything is given up.
                    crate::clock::sleep(&*clock, CATCH_UP).await;
                    self.notice_sleep();
                    while let Ok(event) = events.try_recv() {
                        self.execute(&answers_out).await;
                        self.event(event);
                    }
                }
            }
            self.notice_sleep();
            self.send_probes().await;
            let now = self.now();
            self.core.media(self.carrying.take_fates());
            self.core.handle_timeout(now);
            self.lead_media();
            while let Some(look) = self.core.next_look(now.mono) {
                let to = self.whereto(&look);
                self.looking.start(look, to);
            }
            if now.mono >= self.next_housekeeping {
                self.next_housekeeping = now.mono + HOUSEKEEPING;
                self.housekeeping(now.mono);
            }
            wakeup = self.core.next_wakeup().min(self.next_housekeeping);
        }
        self.looking.stop();
        self.core.goodbye("stopping");
        self.execute(&answers_out).await;
        // The goodbye goes out with the close of the stream's connection; give it a moment.
        crate::clock::sleep(&*clock, Duration::from_millis(50)).await;
        self.dialers.clear();
        self.endpoint.close(CloseCode::ShuttingDown, "agent stops").await;
        self.save_time();
        self.disk.close().await;
    }

    fn now(&self) -> Now {
        let reading = self.standing.time().read();
        let error = (reading.source == Source::Learnt).then(|| reading.latest.since(reading.at));
        Now {
            mono: self.machine.clock.mono(),
            controller: reading.at,
            controller_error: error,
            wall: self.machine.clock.wall(),
        }
    }

    /// Media follows the live choice at once.
    fn lead_media(&mut self) {
        let revision = self.core.legs.revision();
        if revision != self.legs_told {
            self.legs_told = revision;
            self.carrying.set_legs(self.core.legs.for_media());
        }
        let hops = self.core.edges.silent_hops();
        if hops != self.hops_told {
            self.carrying.set_silent_hops(&hops);
            self.hops_told = hops;
        }
    }

    /// Whether it was a datagram and nothing else.
    fn event(&mut self, event: Event) -> bool {
        match event {
            Event::Datagram { edge, received } => {
                let clock = &self.machine.clock;
                let Received { data, arrival } = received;
                self.core.datagram(edge, &data, arrival, || clock.mono());
                return true;
            }
            Event::Control { edge, body } => {
                let now = self.now();
                self.core.edge_said(edge, body, now);
            }
            Event::Connected {
                edge,
                no,
                connection,
                control,
            } => {
                connection.set_stream_rate(stream_rate(self.core.in_class()));
                self.addresses.insert(edge, connection.remote_address().ip());
                self.carrying.connected(edge, no, connection.clone());
                self.connections.insert(
                    edge,
                    Open {
                        no,
                        connection,
                        control,
                    },
                );
                let now = self.now();
                self.core.connected(edge, no, now);
            }
            Event::Disconnected { edge, no, why } => {
                self.carrying.disconnected(edge, no);
                if self.connections.get(&edge).is_some_and(|open| open.no == no) {
                    self.connections.remove(&edge);
                }
                let now = self.now();
                tracing::info!(edge = %edge, %why, "edge disconnected");
                self.core.disconnected(edge, no, &why.to_string(), now);
            }
            Event::NotReached { edge, why } => {
                if let Some(state) = self.core.edges.get_mut(edge) {
                    state.last_end = Some(why);
                }
            }
        }
        false
    }

    /// Sends what is due, one at a time: each is stamped when it goes, and transmitted before the next
    /// is stamped.
    async fn send_probes(&mut self) {
        loop {
            let booked = self.machine.clock.mono();
            let Some(mut probe) = self.core.next_probe(booked) else {
                return;
            };
            let datagram = std::mem::take(&mut probe.datagram);
            let len = datagram.len();
            let connection = self.connections.get(&probe.edge).map(|open| &open.connection);
            let taken = connection.is_some_and(|c| c.send_datagram(datagram.into()).is_taken());
            if !taken {
                self.core.probe_dropped(&probe);
                continue;
            }
            tokio::task::yield_now().await;
            if let Some(at) = connection.and_then(|c| c.sent_since(booked, len)) {
                self.core.probe_sent(&probe, at);
            }
        }
    }

    /// Does what the state machine asked for.
    async fn execute(&mut self, answers: &mpsc::UnboundedSender<Answer>) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Control(edge, message) => {
                    if let Some(open) = self.connections.get(&edge)
                        && open.control.try_send(message).is_err()
                    {
                        // It reads nothing: better another edge than a queue without end.
                        open.connection
                            .close(CloseCode::Done, "control messages are not taken");
                    }
                }
                Output::Answer {
                    edge,
                    asked,
                    datagram,
                } => {
                    if let Some(open) = self.connections.get(&edge) {
                        if self.answered.contains(&edge) {
                            // After a stall there are many, and each is to have a packet of its own.
                            open.connection.transmitted().await;
                        } else {
                            self.answered.push(edge);
                        }
                        self.peers = self.peers + answered(&open.connection, asked, datagram.len());
                        let _ = open.connection.send_datagram(datagram.into());
                    }
                }
                Output::Dial(info) => self.dial(&info),
                Output::HangUp(edge) => {
                    self.dialers.remove(&edge);
                    if let Some(open) = self.connections.remove(&edge) {
                        open.connection.close(CloseCode::Done, "not a candidate any more");
                    }
                }
                Output::SaveEdges(edges) => self.save_edges(edges),
                Output::LearnTime { now, sent, received } => {
                    // Sent and received on this clock; the trusted time has its own.
                    let age = self.machine.clock.mono().since(received);
                    let received_there = self.standing.time().mono() - age;
                    let sent_there = received_there - received.since(sent);
                    self.standing.time().learn(now, sent_there, received_there);
                }
                Output::StreamRate { in_class } => {
                    for open in self.connections.values() {
                        open.connection.set_stream_rate(stream_rate(in_class));
                    }
                }
                Output::Targets(list) => {
                    if let Some(targets) = &self.targets {
                        targets.set(list);
                    }
                }
                Output::ClassAnswer { request, error } => {
                    if let Some(answer) = self.requests.remove(&request) {
                        let _ = answer.send(if error.is_empty() { Ok(()) } else { Err(error) });
                    }
                }
                work @ (Output::Journal(_)
                | Output::Store { .. }
                | Output::Load(_)
                | Output::Acknowledged(_)) => {
                    let answers = answers.clone();
                    self.disk.run(work, move |answer| {
                        let _ = answers.send(answer);
                    });
                }
            }
        }
    }

    fn disk_answer(&mut self, answer: Answer) {
        let now = self.machine.clock.mono();
        match answer {
            Answer::Stored(sequence) => self.core.stored(sequence, now),
            Answer::Loaded(reports) => self.core.loaded(reports, now),
        }
    }

    /// Where a look leads: to where an edge was last reached, or is said to be.
    fn whereto(&self, look: &Look) -> Option<Where> {
        let toward = match look {
            Look::Sample { toward, .. } => toward.as_ref()?,
            Look::Path(PathLook { toward, .. }) => toward,
        };
        let id = match toward {
            Toward::Target(target) => return Some(Where::Name(target.clone())),
            Toward::Edge(id) => id,
        };
        let reached = self.addresses.get(id).copied();
        let said = || {
            let addresses = &self.core.edges.get(*id)?.info.addresses;
            addresses
                .iter()
                .find_map(|a| a.parse::<SocketAddr>().ok())
                .map(|a| a.ip())
        };
        reached.or_else(said).map(Where::Address)
    }

    fn dial(&mut self, info: &proto::EdgeInfo) {
        let Some(edge) = u16::try_from(info.id).ok().and_then(EdgeId::new) else {
            return;
        };
        match self.dialers.get(&edge) {
            Some(dialer) => {
                dialer.set_addresses(info.addresses.clone());
                dialer.dial_now();
            }
            None => {
                let dialer = Dialer::start(self.dialing.clone(), edge, info.addresses.clone());
                self.dialers.insert(edge, dialer);
            }
        }
    }

    /// This machine has other addresses now: connections move to a new socket, and every edge is dialled
    /// anew beside it, first heard wins.
    fn moved(&mut self, why: &str) {
        if let Err(error) = self.endpoint.rebind() {
            tracing::warn!(%error, "cannot rebind");
        }
        for dialer in self.dialers.values() {
            dialer.dial_now();
        }
        let now = self.now();
        self.core.event("moved", json!({ "text": why }), now);
    }

    /// A machine that slept has lost its mappings in every NAT on the way.
    fn notice_sleep(&mut self) {
        let Some(slept) = self.sleeps.slept(&*self.machine.clock) else {
            return;
        };
        self.core.clock_stepped();
        if slept < SLEPT {
            return;
        }
        if let Err(error) = self.endpoint.rebind() {
            tracing::warn!(%error, "cannot rebind");
        }
        for dialer in self.dialers.values() {
            dialer.dial_now();
        }
        let now = self.now();
        let text = format!("slept for {:.0} s", slept.as_secs_f64());
        self.core.event(
            "slept",
            json!({ "text": text, "seconds": slept.as_secs_f64() }),
            now,
        );
    }
}

/// What a peer's probe of `asked` bytes and its answer take on the line, in IP bytes. The probe's
/// acknowledgement goes with the answer; the answer's comes by itself.
fn answered(connection: &Connection, asked: usize, answer: usize) -> Bytes {
    let header = transport::header(connection.remote_address().ip());
    Bytes {
        out: header + PACKET + answer as u64,
        back: header + PACKET + asked as u64 + header + ACKNOWLEDGEMENT,
    }
}

fn stream_rate(in_class: bool) -> StreamRate {
    if in_class {
        StreamRate::InClass
    } else {
        StreamRate::Idle
    }
}
