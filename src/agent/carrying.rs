//! Media at the agent: local ports whose packets are carried, flows of other agents that end here, and the
//! connections that both take. One task reads each local port, one each flow that ends here, and one keeps
//! flows open; datagrams of media come straight from the connections, past the main loop.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use corridor_probes::{
    AgentId, EdgeId, Mono, Route,
    tiers::Bytes,
    wire::{AgentStep, Direction, NextStep, RouteHeader},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::edges::ConnectionNo;
use crate::{
    clock::Clock,
    machine::Machine,
    media::{
        delivery::{Carrier, Delivery, hand},
        far::{Down, FarState},
        gate::{FlowKey, Warrants},
        liveness::{self, FLOWS, Liveness},
        origin::{FlowState, Leg, Origin, Output, To},
        wire::{Answer, Kind, Media, MediaError, Open, Word},
    },
    route::{FarEnd, Fates},
    transport::{
        self, ACKNOWLEDGEMENT, BindError, Connection, Dscp, PACKET, PlainSender, PlainSocket, SendOutcome,
    },
};

/// Local ports that are carried, and ports that others may reach.
pub const MAX_FORWARDS: usize = 64;
/// Flows of other agents that end here: a seminar's participants, each with voice, video and screen.
const MAX_ENDS: usize = 256;
/// Bytes of a sign of life.
const ECHO: usize = 5;
/// Answers to flows that are not known here: of an agent that restarted in the middle of a class.
const ANSWERS_A_SECOND: u64 = 50;

/// What comes to a local port is carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    pub listen: SocketAddr,
    pub to: To,
    /// Of several classes that lead there, this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// Why a local port is not carried.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("no more than {MAX_FORWARDS} local ports are carried")]
    TooMany,
}

/// Cumulative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarryCounts {
    pub malformed: u64,
    /// Datagrams that came by another edge, or to another agent, than their route says.
    pub forged: u64,
    /// Flows of others, and programs and packets of this machine, that were not taken.
    pub refused: u64,
    /// Datagrams of flows that are not known here.
    pub unknown: u64,
    /// Packets of local programs beyond the flows that one agent may have.
    pub too_many: u64,
    /// Packets that came to a flow's socket from another program than the one it leads to.
    pub strangers: u64,
    /// Packets that waited for this machine's line and gave way to newer ones.
    #[serde(default)]
    pub displaced: u64,
}

/// What `corridor agent status` shows of media.
#[derive(Debug)]
pub struct Shown {
    pub forwards: BTreeMap<u32, Forward>,
    pub accepts: Vec<u16>,
    pub flows: Vec<FlowState>,
    pub ends: Vec<FarState>,
    pub counts: CarryCounts,
}

#[derive(Debug)]
struct Running {
    forward: Forward,
    local: PlainSender,
    /// What stands before each packet that goes to a local program: a SOCKS header, or nothing.
    header: Vec<u8>,
    /// What reads the local port; nothing where an association does.
    _stop: Option<DropGuard>,
}

impl Running {
    fn deliver(&self, to: SocketAddr, media: &[u8], dscp: Dscp) -> bool {
        if self.header.is_empty() {
            return self.local.send(to, media, dscp);
        }
        self.local.send(to, &[&self.header, media].concat(), dscp)
    }
}

#[derive(Debug)]
struct State {
    origin: Origin,
    connections: BTreeMap<EdgeId, (ConnectionNo, Connection)>,
    forwards: BTreeMap<u32, Running>,
    next_forward: u32,
    accepts: BTreeSet<u16>,
    counts: CarryCounts,
    answers: transport::TokenBucket,
    line: Bytes,
    /// Of the entries that media goes by, and could go by.
    alive: Liveness<EdgeId>,
    /// As it was told last.
    unheard: BTreeSet<EdgeId>,
    silent_hops: BTreeSet<(EdgeId, EdgeId)>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Carrying {
    me: AgentId,
    machine: Machine,
    warrants: Arc<dyn Warrants>,
    delivery: Arc<Delivery>,
    state: Mutex<State>,
    wake: Notify,
    /// Other edges are silent than before.
    changed: Notify,
    stop: CancellationToken,
}

impl Carrying {
    /// Starts the task that keeps flows open; it ends with `stop`.
    pub fn start(
        me: AgentId,
        machine: Machine,
        seed: u64,
        warrants: Arc<dyn Warrants>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let carrying = Arc::new(Self {
            me,
            delivery: Arc::new(Delivery::new(machine.clone(), MAX_ENDS, stop.clone())),
            machine,
            warrants,
            state: Mutex::new(State {
                origin: Origin::new(me, seed),
                connections: BTreeMap::new(),
                forwards: BTreeMap::new(),
                next_forward: 0,
                accepts: BTreeSet::new(),
                counts: CarryCounts::default(),
                answers: transport::TokenBucket::new(ANSWERS_A_SECOND * 8, ANSWERS_A_SECOND as usize),
                line: Bytes::default(),
                alive: Liveness::default(),
                unheard: BTreeSet::new(),
                silent_hops: BTreeSet::new(),
            }),
            wake: Notify::new(),
            changed: Notify::new(),
            stop,
        });
        tokio::spawn(carrying.clone().keep());
        carrying
    }

    /// What comes to `forward.listen` is carried from now on; the address it is read at comes back.
    pub fn forward(self: &Arc<Self>, forward: Forward) -> Result<SocketAddr, ForwardError> {
        let mut state = self.state();
        if state.forwards.len() >= MAX_FORWARDS {
            return Err(ForwardError::TooMany);
        }
        let socket = PlainSocket::bind(&*self.machine.network, forward.listen)?;
        let listen = socket.local_addr().unwrap_or(forward.listen);
        let number = state.next_forward;
        state.next_forward += 1;
        let stop = self.stop.child_token();
        state
            .origin
            .set_forward(number, forward.to.clone(), forward.class.clone());
        state.forwards.insert(
            number,
            Running {
                forward: Forward { listen, ..forward },
                local: socket.sender(),
                header: Vec::new(),
                _stop: Some(stop.clone().drop_guard()),
            },
        );
        drop(state);
        tokio::spawn(self.clone().read(number, socket, stop));
        Ok(listen)
    }

    /// Ends what is read at `listen`; `false` if nothing is.
    pub fn stop_forward(&self, listen: SocketAddr) -> bool {
        let mut state = self.state();
        let at = |running: &Running| running.forward.listen == listen;
        let Some(number) = state
            .forwards
            .iter()
            .find(|(_, r)| at(r))
            .map(|(&number, _)| number)
        else {
            return false;
        };
        state.forwards.remove(&number);
        state.origin.remove_forward(number);
        true
    }

    /// A socket on this machine.
    pub(super) fn bind(&self, local: SocketAddr) -> Result<PlainSocket, BindError> {
        PlainSocket::bind(&*self.machine.network, local)
    }

    /// What an association's program sends to one destination: [`Self::packet`] takes it by the number that comes
    /// back. Answers go to the program by `local`, behind `header`.
    pub(super) fn way(
        &self,
        to: To,
        program: SocketAddr,
        local: PlainSender,
        header: Vec<u8>,
    ) -> Result<u32, ForwardError> {
        let mut state = self.state();
        if state.forwards.len() >= MAX_FORWARDS {
            return Err(ForwardError::TooMany);
        }
        let number = state.next_forward;
        state.next_forward += 1;
        state.origin.set_forward(number, to.clone(), None);
        let forward = Forward {
            listen: program,
            to,
            class: None,
        };
        state.forwards.insert(
            number,
            Running {
                forward,
                local,
                header,
                _stop: None,
            },
        );
        Ok(number)
    }

    pub(super) fn close_way(&self, number: u32) {
        let mut state = self.state();
        state.forwards.remove(&number);
        state.origin.remove_forward(number);
    }

    /// A packet of a local program.
    pub(super) fn packet(&self, forward: u32, from: SocketAddr, dscp: Dscp, packet: &[u8]) {
        self.local(forward, from, dscp, packet, self.machine.clock.mono());
    }

    /// Something of a local program is not carried.
    pub(super) fn refuse(&self) {
        self.state().counts.refused += 1;
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        self.machine.clock.clone()
    }

    /// Other agents of a class may reach this port of this machine; `false` if there are too many.
    pub fn accept(&self, port: u16) -> bool {
        let mut state = self.state();
        let room = state.accepts.len() < MAX_FORWARDS || state.accepts.contains(&port);
        if room {
            state.accepts.insert(port);
        }
        room
    }

    pub fn connected(&self, edge: EdgeId, no: ConnectionNo, connection: Connection) {
        self.state().connections.insert(edge, (no, connection));
    }

    pub fn disconnected(&self, edge: EdgeId, no: ConnectionNo) {
        let mut state = self.state();
        if state
            .connections
            .get(&edge)
            .is_some_and(|(current, _)| *current == no)
        {
            state.connections.remove(&edge);
        }
    }

    /// The legs as they are now, with the routes that they use.
    pub fn set_legs(&self, legs: Vec<Leg>) {
        let now = self.machine.clock.mono();
        let mut state = self.state();
        state.origin.set_legs(legs, now);
        self.flush(&mut state);
        drop(state);
        self.wake.notify_one();
    }

    /// Steps on which edges say that the next one is silent.
    pub fn set_silent_hops(&self, hops: &BTreeSet<(EdgeId, EdgeId)>) {
        let mut state = self.state();
        state.silent_hops.clone_from(hops);
        self.delivery.set_down(state.down());
    }

    /// Waits until other edges than before leave unanswered what media asks of them, and says which. Cancel-safe.
    pub async fn unheard(&self) -> BTreeSet<EdgeId> {
        self.changed.notified().await;
        self.state().unheard.clone()
    }

    /// Whether a datagram that came from an edge is media's; then it has been dealt with.
    pub fn takes(self: &Arc<Self>, edge: EdgeId, datagram: &[u8]) -> bool {
        let echo = match Word::of(datagram) {
            Some(Word::Echo(seq)) => Some(seq),
            // Nobody asks agents.
            Some(Word::Ask(_)) | None => None,
        };
        self.heard(edge, echo);
        if echo.is_some() {
            return true;
        }
        let is_media = Kind::of(datagram).is_some();
        if is_media && self.take(edge, datagram).is_err() {
            self.state().counts.malformed += 1;
        }
        is_media
    }

    /// Something came from an edge, maybe the echo of an ask.
    fn heard(&self, edge: EdgeId, echo: Option<u32>) {
        let now = self.machine.clock.mono();
        let mut state = self.state();
        if state.alive.is_empty() {
            return;
        }
        let change = match echo {
            Some(seq) => {
                state.came(edge, ECHO);
                state.alive.echoed(edge, seq, now)
            }
            None => state.alive.heard(edge, now),
        };
        // It may prove that the line works, and another edge does not.
        let fell = state.alive.poll(now, None);
        if change.is_some() || !fell.is_empty() {
            self.silence_changed(state);
        }
    }

    /// Edges fell silent, or are heard again.
    fn silence_changed(&self, mut state: MutexGuard<'_, State>) {
        let unheard = state.alive.silent();
        if unheard == state.unheard {
            return;
        }
        state.unheard = unheard;
        self.delivery.set_down(state.down());
        drop(state);
        self.changed.notify_one();
    }

    /// What became of packets of flows that begin here since this was last asked, by class and route.
    pub fn take_fates(&self) -> BTreeMap<(String, Route), Fates> {
        self.state().origin.take_fates()
    }

    /// IP bytes that media took of the line so far.
    pub fn line(&self) -> Bytes {
        self.state().line
    }

    pub fn shown(&self) -> Shown {
        let state = self.state();
        Shown {
            forwards: state
                .forwards
                .iter()
                .map(|(&number, r)| (number, r.forward.clone()))
                .collect(),
            accepts: state.accepts.iter().copied().collect(),
            flows: state.origin.states().collect(),
            ends: self.delivery.states(),
            counts: self.counts(&state),
        }
    }

    fn counts(&self, state: &State) -> CarryCounts {
        let delivery = self.delivery.counts();
        CarryCounts {
            malformed: state.counts.malformed + state.origin.malformed,
            unknown: state.origin.unknown + delivery.unknown,
            too_many: state.origin.too_many,
            strangers: delivery.strangers,
            ..state.counts
        }
    }

    fn take(self: &Arc<Self>, edge: EdgeId, datagram: &[u8]) -> Result<(), MediaError> {
        let now = self.machine.clock.mono();
        let (header, _) = RouteHeader::parse(datagram)?;
        let by = match header.direction {
            Direction::Out => header.route.exit(),
            Direction::Back => header.route.entry(),
        };
        let mut state = self.state();
        state.came(edge, datagram.len());
        match header.step_at_agent(self.me) {
            Ok(AgentStep::Home) if by == Some(edge) => {
                state.origin.datagram(datagram, now);
                self.flush(&mut state);
                // What is due next may have changed.
                if Kind::of(datagram) == Some(Kind::Answer) || state.alive.is_empty() {
                    self.wake.notify_one();
                }
            }
            Ok(AgentStep::Answer) if by == Some(edge) => {
                drop(state);
                self.ends_here(datagram, now)?;
            }
            Ok(_) | Err(_) => state.counts.forged += 1,
        }
        Ok(())
    }

    /// A datagram of another agent's flow, which ends here.
    fn ends_here(self: &Arc<Self>, datagram: &[u8], now: Mono) -> Result<(), MediaError> {
        let (header, known) = match Kind::of(datagram) {
            Some(Kind::Media) => {
                let media = Media::parse(datagram)?;
                let known = self.delivery.media(&media, now).map(|receipt| {
                    if let Some((next, receipt)) = receipt {
                        self.carry(next, receipt);
                    }
                });
                (media.header, known)
            }
            Some(Kind::Switch) => {
                let (header, _) = RouteHeader::parse(datagram)?;
                (header, self.delivery.switch(&header, now))
            }
            Some(Kind::Open) => {
                let open = Open::parse(datagram)?;
                let taken = self.open(&open);
                if let Err(why) = taken {
                    self.state().counts.refused += 1;
                    tracing::info!(origin = %open.header.origin, port = open.port, why = why.text(), "flow refused");
                }
                self.answer(&open.header, taken.err().unwrap_or(Answer::Carried), now);
                return Ok(());
            }
            // They go back.
            Some(Kind::Answer | Kind::Receipt) | None => return Err(MediaError::Truncated),
        };
        if known.is_err() {
            self.answer(&header, Answer::Unknown, now);
        } else if self.state().alive.is_empty() {
            // It flows again.
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Edges have judged the grant already; they might be wrong, or another's.
    fn open(self: &Arc<Self>, open: &Open<'_>) -> Result<(), Answer> {
        let header = &open.header;
        let (grant, _) = self.warrants.judge(open.grant)?;
        grant.check_agent(header.origin)?;
        grant.check_far_end(&FarEnd::Agent(self.me))?;
        if !self.state().accepts.contains(&open.port) {
            return Err(Answer::PortRefused);
        }
        if self.delivery.keep(header) {
            return Ok(());
        }
        let to = (Ipv4Addr::LOCALHOST, open.port).into();
        let opened = self.delivery.open(header, to, self.clone());
        self.wake.notify_one();
        opened.map_err(|error| {
            tracing::warn!(%error, "a flow does not end here");
            error.answer()
        })
    }

    fn answer(&self, header: &RouteHeader, answer: Answer, now: Mono) {
        if self.state().answers.take(now, 1).is_err() {
            return;
        }
        let back = header.back(Kind::Answer as u8);
        let mut datagram = Vec::new();
        answer.write(&back, &mut datagram);
        if let Some(next) = back.next() {
            self.carry(next, datagram);
        }
    }

    /// Does what the origin asks for.
    fn flush(&self, state: &mut State) {
        while let Some(output) = state.origin.poll_output() {
            match output {
                Output::Send { edge, flow, datagram } => {
                    if !state.send(edge, datagram) {
                        state.origin.dropped(flow);
                    }
                }
                Output::Deliver {
                    forward,
                    to,
                    flow,
                    dscp,
                    media,
                } => {
                    let local = state.forwards.get(&forward);
                    if !local.is_some_and(|running| running.deliver(to, &media, dscp.of_media())) {
                        state.origin.dropped(flow);
                    }
                }
            }
        }
    }

    async fn read(self: Arc<Self>, forward: u32, mut socket: PlainSocket, stop: CancellationToken) {
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                batch = socket.next(&*self.machine.clock) => batch,
            };
            let now = self.machine.clock.mono();
            for packet in socket.packets(batch) {
                self.local(forward, batch.from, batch.dscp, packet, now);
                // The connection sends before the next is queued: its buffer is small.
                tokio::task::yield_now().await;
            }
        }
    }

    fn local(&self, forward: u32, from: SocketAddr, dscp: Dscp, packet: &[u8], now: Mono) {
        let mut state = self.state();
        if state.origin.local(forward, from, dscp.of_media(), packet, now) || state.alive.is_empty() {
            self.wake.notify_one();
        }
        self.flush(&mut state);
    }

    /// Asks routes again, forgets what nobody uses.
    async fn keep(self: Arc<Self>) {
        /// How often flows that end here are looked at.
        const LOOK: Duration = Duration::from_secs(1);
        let clock = self.machine.clock.clone();
        loop {
            let now = clock.mono();
            let due = self.pass(now);
            self.delivery.expire(now);
            let look = (!self.delivery.is_empty()).then_some(now + LOOK);
            let next = due.into_iter().chain(look).min();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = async {
                    match next {
                        Some(at) => clock.sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        }
    }

    /// Lets time pass for flows that begin here, and for the edges that media goes by; says when to do so next.
    fn pass(&self, now: Mono) -> Option<Mono> {
        let ends = self.delivery.ways(now - FLOWS).into_iter();
        let mut state = self.state();
        state.origin.handle_timeout(now);
        self.flush(&mut state);
        let ends = ends.filter_map(|(next, pace)| Some((next.edge()?, pace)));
        let wanted = liveness::wanted(state.origin.ways(now - FLOWS).chain(ends));
        state.alive.set(&wanted, now);
        for (edge, seq) in state.alive.asks(now) {
            state.send(edge, Word::Ask(seq).bytes());
        }
        state.alive.poll(now, None);
        let due = state.origin.next_wakeup().into_iter();
        let due = due.chain(state.alive.next_wakeup()).min();
        self.silence_changed(state);
        due
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A datagram of media, or a sign of life, came.
    fn came(&mut self, edge: EdgeId, bytes: usize) {
        if let Some((_, connection)) = self.connections.get(&edge) {
            self.line = self.line + turned(on_the_line(connection, bytes));
        }
    }

    /// What carries nothing on the way back of flows that end here.
    fn down(&self) -> BTreeSet<Down> {
        let unheard = self.unheard.iter().map(|&edge| Down::Next(NextStep::Edge(edge)));
        let hops = self.silent_hops.iter().map(|&(from, to)| Down::Hop(from, to));
        unheard.chain(hops).collect()
    }

    fn send(&mut self, edge: EdgeId, datagram: Vec<u8>) -> bool {
        let Some((_, connection)) = self.connections.get(&edge) else {
            return false;
        };
        let line = on_the_line(connection, datagram.len());
        let outcome = hand(connection, datagram);
        if let SendOutcome::Displaced(others) = outcome {
            self.counts.displaced += u64::from(others);
        }
        if outcome.is_taken() {
            self.line = self.line + line;
        }
        outcome.is_taken()
    }
}

impl Carrier for Carrying {
    fn carry(&self, next: NextStep, datagram: Vec<u8>) -> bool {
        next.edge().is_some_and(|edge| self.state().send(edge, datagram))
    }

    /// The edge that it goes to judges what an agent sends.
    fn admits(&self, _: FlowKey, _: usize) -> bool {
        true
    }
}

/// What a datagram that goes out takes of the line, in IP bytes: itself, and its share of an acknowledgement.
fn on_the_line(connection: &Connection, datagram: usize) -> Bytes {
    let header = transport::header(connection.remote_address().ip());
    Bytes {
        out: header + PACKET + datagram as u64,
        back: (header + ACKNOWLEDGEMENT) / 2,
    }
}

/// Of a datagram that came.
const fn turned(bytes: Bytes) -> Bytes {
    Bytes {
        out: bytes.back,
        back: bytes.out,
    }
}
