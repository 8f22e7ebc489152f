//! The agent without I/O: what comes from edges, the disk and the clock goes in; datagrams, control
//! messages and work for the disk come out.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use corridor_probes::{
    AgentId, BootId, EchoOutcome, EdgeId, Mono, Reception, Reflector, ReflectorLimits, Route, SessionConfig,
    SlotOutcome, Wall,
    wire::{AgentStep, Kind, LinkEcho, RouteEcho, RouteProbe},
};

use super::{
    edges::{ConnectionNo, Edges},
    legs::{Happened, LegId, Legs},
    outbox::{Outbox, ReportKey},
    rates, uplink,
};
use crate::{
    prober::{GRID, Prober},
    proto::{self, agent_to_edge, edge_to_agent, from_controller, to_controller},
    reporting::{About, Closed, Reporter, Rest},
};

/// What a probe session measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Link(EdgeId),
    Route(LegId, Route),
}

/// What the driver shall do, in order.
#[derive(Debug)]
pub enum Output {
    /// Connect to this edge and stay connected, or use its new addresses next time.
    Dial(proto::EdgeInfo),
    HangUp(EdgeId),
    Control(EdgeId, proto::AgentToEdge),
    /// An answer to another agent's probe.
    Datagram(EdgeId, Vec<u8>),
    /// Keep these windows until a report holds them.
    Journal(Vec<proto::Window>),
    /// Keep this report, in place of the journal.
    Store {
        sequence: u64,
        body: Vec<u8>,
    },
    /// Hand over up to this many reports, oldest first.
    Load(usize),
    /// The controller has this one.
    Acknowledged(ReportKey),
    /// Keep this list for the next start.
    SaveEdges(Vec<proto::EdgeInfo>),
    /// The controller's time.
    LearnTime {
        now: Wall,
        sent: Mono,
        received: Mono,
    },
    /// How fast streams may be written now.
    StreamRate {
        in_class: bool,
    },
    /// Answer of a class request.
    ClassAnswer {
        request: u64,
        error: String,
    },
}

/// The time, by all clocks, read once a turn.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub mono: Mono,
    /// The controller's time, as well as it is known.
    pub controller: Wall,
    pub controller_error: Option<Duration>,
    /// This machine's own wall clock.
    pub wall: Wall,
}

impl Now {
    /// The controller's time at another monotonic moment.
    pub fn at(&self, mono: Mono) -> Wall {
        if mono >= self.mono {
            self.controller + mono.since(self.mono)
        } else {
            self.controller - self.mono.since(mono)
        }
    }
}

/// What the operator set.
#[derive(Debug, Clone)]
pub struct Settings {
    pub link_probe_size: usize,
    pub route_probe_size: usize,
    pub idle_kbps: u32,
    pub in_class_kbps: u32,
    pub version: String,
    pub platform: String,
    pub link_type: String,
}

/// A probe to send now.
#[derive(Debug, PartialEq)]
pub struct Probe {
    pub edge: EdgeId,
    pub key: Key,
    pub seq: u32,
    pub datagram: Vec<u8>,
}

/// Cumulative counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub malformed: u64,
    pub refused: u64,
    pub answered: u64,
    pub reports: u64,
    pub acknowledged: u64,
}

/// The agent's state.
#[derive(Debug)]
pub struct Core {
    me: AgentId,
    boot: BootId,
    pub(super) settings: Settings,
    pub(super) edges: Edges,
    /// The controller's choice, and what the plans need beside it.
    candidates: BTreeMap<EdgeId, proto::EdgeInfo>,
    pub(super) prober: Prober<Key>,
    pub(super) legs: Legs,
    reflector: Reflector<AgentId>,
    reporter: Reporter,
    reports: Reports,
    pub(super) counters: Counters,
    next_step: Mono,
    /// Nothing is probed more often.
    pace: Duration,
    out: VecDeque<Output>,
}

/// The way of reports to the controller.
#[derive(Debug, Default)]
struct Reports {
    uplink: Option<EdgeId>,
    attach: u64,
    attached: bool,
    /// When to say again that we are here.
    attach_again: Option<Mono>,
    outbox: Outbox,
    /// A load is under way, or would find nothing.
    loading: bool,
    drained: bool,
    closed: u32,
    host: proto::Host,
}

/// An attach that is not answered is said again: its edge's controller may have gone meanwhile.
const ATTACH_AGAIN: Duration = Duration::from_secs(5);
/// How long an agent keeps a report open.
const REPORT_IDLE: Duration = Duration::from_secs(60);
const REPORT_IN_CLASS: Duration = Duration::from_secs(10);
const REPORT_AT_RISK: Duration = Duration::from_secs(5);
/// The first reports of a boot come sooner: whoever installs an agent wants to see that it works.
const FIRST_REPORTS: u32 = 3;
/// Events are told at once, but not each by itself.
const REPORT_EVENTS: Duration = Duration::from_millis(200);
/// See [`Core::step_every`].
const STEPS_BETWEEN_PROBES: u32 = 10;
const SLOWEST_STEP: Duration = Duration::from_secs(5);
/// Silence means something within seconds only where probes are not rarer.
const OFTEN: Duration = Duration::from_secs(1);
/// How often the controller's time is asked for.
const TIME_EVERY: Duration = Duration::from_secs(600);

impl Core {
    pub fn new(
        me: AgentId,
        boot: BootId,
        seed: u64,
        settings: Settings,
        edges: Vec<proto::EdgeInfo>,
        now: Mono,
    ) -> Self {
        let mut core = Self {
            me,
            boot,
            settings,
            edges: Edges::default(),
            candidates: BTreeMap::new(),
            prober: Prober::new(now, seed, SessionConfig::default()),
            legs: Legs::default(),
            // Another process must have another epoch.
            reflector: Reflector::new((boot.0 >> 32) as u32 ^ boot.0 as u32, ReflectorLimits::default()),
            reporter: Reporter::new(boot, now),
            reports: Reports::default(),
            counters: Counters::default(),
            next_step: now,
            pace: Duration::ZERO,
            out: VecDeque::new(),
        };
        core.set_candidates(edges, now);
        core
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Self::handle_timeout`] or [`Self::next_probe`] next has something to do.
    pub fn next_wakeup(&self) -> Mono {
        let report = self.reporter.due_at(self.report_interval());
        let events = self
            .reporter
            .has_events()
            .then(|| self.reporter.due_at(REPORT_EVENTS))
            .flatten();
        let step = (!self.legs.is_empty()).then_some(self.next_step);
        [
            self.prober.next_wakeup(),
            report,
            events,
            step,
            self.reports.attach_again,
            self.reports.outbox.next_wakeup(),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(self.next_step + REPORT_IDLE)
    }

    /// The next probe that is due. It is stamped with `now`, so it must be read anew for each.
    pub fn next_probe(&mut self, now: Mono) -> Option<Probe> {
        while let Some((key, at)) = self.prober.next_due(now) {
            let Some((edge, far)) = self.way(key) else {
                continue;
            };
            if !self.edges.is_connected(edge) {
                self.prober.not_sent(key, at, SlotOutcome::Unconnected);
                continue;
            }
            let Some(probe) = self.prober.send(key, at, now) else {
                continue;
            };
            if let Key::Route(leg, route) = key {
                self.legs.sent(leg, route, probe.seq, now);
            }
            let mut datagram = Vec::with_capacity(256);
            match key {
                Key::Link(_) => probe.write(&mut datagram, self.settings.link_probe_size),
                Key::Route(_, route) => RouteProbe::new(route, self.me, far, probe)
                    .write(&mut datagram, self.settings.route_probe_size),
            }
            return Some(Probe {
                edge,
                key,
                seq: probe.seq,
                datagram,
            });
        }
        None
    }

    /// The transport did not take a probe.
    pub fn probe_dropped(&mut self, probe: &Probe) {
        self.prober.local_drop(probe.key, probe.seq);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Now) {
        self.close_windows(now);
        self.notice_silence(now);
        if now.mono >= self.next_step {
            let every = self.step_every();
            self.next_step = self.next_step.max(now.mono - every) + every;
            self.step(now);
        }
        self.report_if_due(now);
        for body in self.reports.outbox.due(now.mono) {
            if let Some(message) = report_message(&body) {
                self.up(message);
            }
        }
        if self.reports.attach_again.is_some_and(|at| at <= now.mono) {
            if self.reports.attached {
                self.ask_time(now);
            } else {
                self.attach(now);
            }
        }
    }

    pub fn connected(&mut self, edge: EdgeId, connection: ConnectionNo, now: Now) {
        if !self.edges.connected(edge, connection, now.mono) {
            return;
        }
        let hello = proto::AgentHello {
            version: self.settings.version.clone(),
            boot: self.boot.0,
        };
        self.control(edge, agent_to_edge::Body::Hello(hello));
        if self.reports.uplink == Some(edge) {
            // It took the place of a connection that had fallen silent: its edge has restarted, maybe,
            // and knows nothing of this agent, nor does a controller that restarted with it.
            self.attach(now);
        }
        self.retune(now.mono);
    }

    pub fn disconnected(&mut self, edge: EdgeId, connection: ConnectionNo, why: &str, now: Now) {
        if !self.edges.disconnected(edge, connection, why) {
            return;
        }
        if self.reports.uplink == Some(edge) {
            self.reports.uplink = None;
            self.reports.attached = false;
        }
        self.choose_uplink(now);
        self.step(now);
    }

    /// A control message from an edge.
    pub fn edge_said(&mut self, edge: EdgeId, body: edge_to_agent::Body, now: Now) {
        self.edges.heard(edge, now.mono);
        match body {
            edge_to_agent::Body::Hello(hello) => {
                if let Some(state) = self.edges.get_mut(edge) {
                    state.has_controller = hello.controller_connected;
                    state.boot = hello.boot;
                }
                self.choose_uplink(now);
            }
            edge_to_agent::Body::Uplink(uplink) => {
                if let Some(state) = self.edges.get_mut(edge) {
                    state.has_controller = uplink.controller_connected;
                }
                if self.reports.uplink == Some(edge) && uplink.controller_connected {
                    // The controller behind it is back, and does not know us.
                    self.attach(now);
                }
                self.choose_uplink(now);
            }
            edge_to_agent::Body::Down(bytes) => match proto::decode::<proto::FromController>(&bytes) {
                Ok(proto::FromController { body: Some(body) }) => self.controller_said(body, now),
                Ok(_) => {}
                Err(_) => self.counters.malformed += 1,
            },
            edge_to_agent::Body::NextHopSilent(notice) => self.next_hop_silent(edge, &notice, now),
            edge_to_agent::Body::Draining(draining) => {
                if let Some(state) = self.edges.get_mut(edge) {
                    state.draining = draining.seconds_left > 0;
                }
                self.choose_uplink(now);
                self.step(now);
            }
        }
    }

    /// A datagram from an edge, received at `at`.
    pub fn datagram(&mut self, edge: EdgeId, datagram: &[u8], at: Mono, sent_now: impl FnOnce() -> Mono) {
        self.edges.heard(edge, at);
        match Kind::of(datagram) {
            Ok(Kind::LinkEcho) => match LinkEcho::parse(datagram) {
                Ok(echo) if self.prober.key(echo.session) == Some(Key::Link(edge)) => {
                    self.prober.link_echo(at, &echo);
                }
                Ok(_) => self.counters.refused += 1,
                Err(_) => self.counters.malformed += 1,
            },
            Ok(Kind::RouteEcho) => self.route_echo(edge, datagram, at),
            Ok(Kind::RouteProbe) => self.route_probe(edge, datagram, at, sent_now),
            Ok(Kind::LinkProbe) => self.counters.refused += 1,
            Err(_) => self.counters.malformed += 1,
        }
    }

    /// The disk handed over stored reports, oldest first.
    pub fn loaded(&mut self, reports: Vec<(ReportKey, Vec<u8>)>, now: Mono) {
        self.reports.loading = false;
        let before = self.reports.outbox.room();
        for (key, body) in reports {
            if self.reports.outbox.room() == 0 {
                break;
            }
            if self.reports.outbox.contains(key) {
                continue;
            }
            let Some(message) = report_message(&body) else {
                // A damaged row would come again for ever.
                self.counters.malformed += 1;
                self.out.push_back(Output::Acknowledged(key));
                continue;
            };
            self.reports.outbox.sent(key, body, now);
            self.up(message);
        }
        self.reports.drained = self.reports.outbox.room() == before;
    }

    /// The disk has taken a report.
    pub fn stored(&mut self) {
        self.reports.drained = false;
        self.load_more();
    }

    pub fn host(&mut self, host: proto::Host) {
        self.reports.host = host;
    }

    /// Something happened on this machine: it slept, it moved to another network.
    pub fn event(&mut self, kind: &str, detail: serde_json::Value, now: Now) {
        self.reporter.event(proto::Event {
            at_us: now.controller.as_micros(),
            kind: kind.to_owned(),
            class: String::new(),
            edge: 0,
            detail: detail.to_string(),
        });
    }

    /// Asks to come into or out of a class.
    pub fn class_request(&mut self, request: u64, class: &str, join: bool) -> bool {
        let request = proto::ClassRequest {
            request,
            class: class.to_owned(),
            join,
        };
        self.up(to_controller::Body::ClassRequest(request))
    }

    /// Says goodbye: the agent stops on purpose.
    pub fn goodbye(&mut self, reason: &str) {
        self.up(to_controller::Body::Goodbye(proto::Goodbye {
            reason: reason.to_owned(),
        }));
    }

    pub(super) fn uplink(&self) -> Option<EdgeId> {
        self.reports.uplink.filter(|_| self.reports.attached)
    }

    /// Whether silence of this edge means something: it is probed every second or more.
    pub fn is_probed_often(&self, edge: EdgeId) -> bool {
        self.pace <= OFTEN && (self.in_class() || self.nearest() == Some(edge))
    }

    pub fn in_class(&self) -> bool {
        !self.legs.is_empty()
    }

    fn route_echo(&mut self, edge: EdgeId, datagram: &[u8], at: Mono) {
        let Ok(echo) = RouteEcho::parse(datagram) else {
            self.counters.malformed += 1;
            return;
        };
        let mine = echo.header.step_at_agent(self.me) == Ok(AgentStep::Home);
        match self.prober.key(echo.session()) {
            Some(Key::Route(leg, route)) if mine && route.entry() == Some(edge) => {
                if let Some((_, EchoOutcome::Sample(sample))) = self.prober.route_echo(at, &echo) {
                    let rtt = Duration::from_micros(sample.rtt_us.into());
                    self.legs.sample(leg, route, echo.header.seq, at, rtt);
                }
            }
            _ => self.counters.refused += 1,
        }
    }

    /// Another agent's probe, whose far end we are.
    fn route_probe(&mut self, edge: EdgeId, datagram: &[u8], at: Mono, now: impl FnOnce() -> Mono) {
        let Ok(probe) = RouteProbe::parse(datagram) else {
            self.counters.malformed += 1;
            return;
        };
        if probe.header.step_at_agent(self.me) != Ok(AgentStep::Answer)
            || probe.header.route.exit() != Some(edge)
        {
            self.counters.refused += 1;
            return;
        }
        let origin = probe.header.origin;
        let reception = self
            .reflector
            .receive(origin, probe.session(), probe.header.seq, probe.floor, at);
        if let Reception::Echo(body) = reception {
            let mut answer = Vec::with_capacity(datagram.len());
            probe
                .answer(body.sent_after(at, now()))
                .write(&mut answer, datagram.len());
            self.counters.answered += 1;
            self.out.push_back(Output::Datagram(edge, answer));
        }
    }

    fn controller_said(&mut self, body: from_controller::Body, now: Now) {
        match body {
            from_controller::Body::Attached(_) => {
                self.reports.attached = true;
                self.reports.attach_again = Some(now.mono);
                self.reports.outbox.uplink_changed(now.mono);
                self.load_more();
            }
            from_controller::Body::ReportAck(ack) => {
                let key = (BootId(ack.boot), ack.sequence);
                if self.reports.outbox.acknowledged(key) {
                    self.counters.acknowledged += 1;
                    self.out.push_back(Output::Acknowledged(key));
                }
                self.load_more();
            }
            from_controller::Body::Candidates(candidates) => self.take_edges(candidates.edges, now),
            from_controller::Body::Plans(plans) => self.plans(&plans, now),
            from_controller::Body::ClassAnswer(answer) => {
                self.out.push_back(Output::ClassAnswer {
                    request: answer.request,
                    error: answer.error,
                });
            }
            from_controller::Body::Time(answer) => self.out.push_back(Output::LearnTime {
                now: Wall::from_micros(answer.now_us),
                sent: Mono::from_micros(answer.mono_us),
                received: now.mono,
            }),
            from_controller::Body::Settings(settings) => {
                if settings.idle_kbps > 0 {
                    self.settings.idle_kbps = settings.idle_kbps;
                }
                if settings.in_class_kbps > 0 {
                    self.settings.in_class_kbps = settings.in_class_kbps;
                }
                self.retune(now.mono);
            }
        }
    }

    /// The controller's choice of edges to measure.
    pub fn take_edges(&mut self, edges: Vec<proto::EdgeInfo>, now: Now) {
        for info in &edges {
            self.look_after_restart(info);
        }
        self.out.push_back(Output::SaveEdges(edges.clone()));
        self.set_candidates(edges, now.mono);
    }

    /// An edge that has restarted does not know of the connection: whatever is said to it resets that, and
    /// the dialler waits its random part of the spread before it comes back. Without this an idle agent
    /// would find out at its next keep-alive.
    fn look_after_restart(&mut self, info: &proto::EdgeInfo) {
        let Some(id) = edge_id(info.id) else { return };
        let restarted = self
            .edges
            .get(id)
            .is_some_and(|e| e.connection.is_some() && e.boot != 0 && info.boot != 0 && e.boot != info.boot);
        if restarted {
            let wanted = self.reports.uplink == Some(id);
            self.control(id, agent_to_edge::Body::UseUplink(proto::UseUplink { wanted }));
        }
    }

    fn plans(&mut self, plans: &proto::Plans, now: Now) {
        let was_in_class = self.in_class();
        let changed = self.legs.set_plans(plans, now.mono);
        for rejected in &changed.rejected {
            self.counters.malformed += 1;
            tracing::warn!(class = %rejected, "plan cannot be understood");
        }
        self.tell(changed.happened, now);
        for key in changed.removed {
            self.prober.remove(Key::Route(key.0, key.1));
        }
        self.want(now.mono);
        self.retune(now.mono);
        if self.in_class() != was_in_class {
            self.next_step = now.mono;
            self.out.push_back(Output::StreamRate {
                in_class: self.in_class(),
            });
        }
        self.step(now);
    }

    fn set_candidates(&mut self, edges: Vec<proto::EdgeInfo>, now: Mono) {
        self.candidates = edges
            .into_iter()
            .filter_map(|info| Some((edge_id(info.id)?, info)))
            .collect();
        self.want(now);
        self.retune(now);
    }

    /// Connects to the candidates and to the entries of all routes.
    fn want(&mut self, now: Mono) {
        let mut wanted = self.legs.entries();
        wanted.extend(self.candidates.iter().map(|(&id, info)| (id, info.clone())));
        let changed = self.edges.want(&wanted);
        for id in changed.hang_up {
            self.prober.remove(Key::Link(id));
            self.out.push_back(Output::HangUp(id));
        }
        for info in changed.dial {
            self.out.push_back(Output::Dial(info));
        }
        if self.reports.uplink.is_some_and(|id| self.edges.get(id).is_none()) {
            self.reports.uplink = None;
            self.reports.attached = false;
        }
        let _ = now;
    }

    /// Sets how often each session probes.
    fn retune(&mut self, now: Mono) {
        let routes: Vec<_> = self.legs.routes().collect();
        let best = self.nearest();
        let links: Vec<_> = self.edges.iter().map(|(id, _)| id).collect();
        let kbps = if routes.is_empty() {
            self.settings.idle_kbps
        } else {
            self.settings.in_class_kbps
        };
        let rates = rates::fit(kbps, &self.settings, links.len(), routes.len());
        for id in links {
            let pattern = if Some(id) == best {
                rates.best_link
            } else {
                rates.other_links
            };
            self.prober
                .set(Key::Link(id), rates::paced(pattern, self.pace), now);
        }
        for (leg, route) in routes {
            let pattern = rates::paced(rates.routes, self.pace);
            self.prober.set(Key::Route(leg, route), pattern, now);
        }
    }

    /// Probes nothing more often than once in `pace`.
    pub fn set_pace(&mut self, pace: Duration, now: Mono) {
        self.pace = pace;
        self.next_step = now;
        self.retune(now);
    }

    /// How often the live choice looks: at every step of the grid, and a few times between two probes of
    /// a route where these are rarer than once a second.
    fn step_every(&self) -> Duration {
        (self.pace / STEPS_BETWEEN_PROBES).clamp(GRID, SLOWEST_STEP)
    }

    fn nearest(&self) -> Option<EdgeId> {
        let rtt = |id| self.prober.session(Key::Link(id)).and_then(|s| s.usual_rtt());
        self.reports.uplink.or_else(|| {
            self.edges
                .iter()
                .map(|(id, _)| id)
                .min_by_key(|&id| (rtt(id).is_none(), rtt(id), id))
        })
    }

    /// A killed edge closes no connection: reports must not wait until that runs out.
    fn notice_silence(&mut self, now: Now) {
        let often: Vec<_> = self
            .edges
            .iter()
            .map(|(id, _)| id)
            .filter(|&id| self.is_probed_often(id))
            .collect();
        let mut new = false;
        for id in often {
            new |= self.edges.note_silence(id, now.mono);
        }
        if new {
            self.choose_uplink(now);
        }
    }

    fn next_hop_silent(&mut self, edge: EdgeId, notice: &proto::NextHopSilent, now: Now) {
        let (Some(next), Some(state)) = (edge_id(notice.next), self.edges.get_mut(edge)) else {
            return;
        };
        if notice.silent {
            state.silent_hops.insert(next, now.mono);
        } else {
            state.silent_hops.remove(&next);
        }
        self.step(now);
    }

    /// One step of the live choice.
    fn step(&mut self, now: Now) {
        let every = self.step_every();
        let happened = self.legs.step(now.mono, every, &self.edges, &self.prober);
        self.tell(happened, now);
    }

    fn tell(&mut self, happened: Vec<Happened>, now: Now) {
        for happened in happened {
            tracing::info!(class = %happened.class, kind = happened.kind, detail = %happened.detail, "live choice");
            self.reporter.event(proto::Event {
                at_us: now.controller.as_micros(),
                kind: happened.kind.to_owned(),
                class: happened.class,
                edge: 0,
                detail: happened.detail.to_string(),
            });
        }
    }

    /// The edge that a probe of `key` enters by, and the far agent of a route.
    fn way(&self, key: Key) -> Option<(EdgeId, Option<AgentId>)> {
        match key {
            Key::Link(edge) => Some((edge, None)),
            Key::Route(leg, route) => Some((route.entry()?, self.legs.far_agent(leg))),
        }
    }

    fn close_windows(&mut self, now: Now) {
        let mut journal = Vec::new();
        while let Some(closed) = self.prober.poll_window(now.mono) {
            let about = match closed.key {
                Key::Link(edge) => About::Link(edge),
                Key::Route(leg, route) => match self.legs.about(leg, route) {
                    Some(about) => about,
                    None => continue,
                },
            };
            let closed = Closed {
                about,
                session: closed.session.0,
                total: closed.total,
                window: closed.window,
            };
            let message = crate::reporting::message(&closed, |m| now.at(m));
            log_window(&message);
            journal.push(message);
            self.reporter.take(closed);
        }
        if !journal.is_empty() {
            self.out.push_back(Output::Journal(journal));
        }
    }

    fn report_interval(&self) -> Duration {
        if self.reports.closed < FIRST_REPORTS {
            return REPORT_AT_RISK;
        }
        match (self.legs.is_empty(), self.legs.at_risk()) {
            (true, _) => REPORT_IDLE,
            (false, true) => REPORT_AT_RISK,
            (false, false) => REPORT_IN_CLASS,
        }
    }

    fn report_if_due(&mut self, now: Now) {
        let interval = if self.reporter.has_events() {
            REPORT_EVENTS
        } else {
            self.report_interval()
        };
        if self.reporter.due_at(interval).is_none_or(|at| at > now.mono) {
            return;
        }
        let rest = Rest {
            legs: self.legs.states(),
            host: self.reports.host,
            wall: now.wall,
            time_error: now.controller_error,
        };
        let report = self.reporter.close(now.mono, rest, |m| now.at(m));
        self.counters.reports += 1;
        self.reports.closed = self.reports.closed.saturating_add(1);
        let body = prost::Message::encode_to_vec(&report);
        self.out.push_back(Output::Store {
            sequence: report.sequence,
            body,
        });
    }

    fn choose_uplink(&mut self, now: Now) {
        let rtt = |id| self.prober.session(Key::Link(id)).and_then(|s| s.usual_rtt());
        let chosen = uplink::choose(self.reports.uplink, &self.edges.carriers(rtt));
        if chosen == self.reports.uplink {
            return;
        }
        if let Some(old) = self.reports.uplink
            && self.edges.is_connected(old)
        {
            self.control(
                old,
                agent_to_edge::Body::UseUplink(proto::UseUplink { wanted: false }),
            );
        }
        self.reports.uplink = chosen;
        self.reports.attached = false;
        if chosen.is_some() {
            self.attach(now);
        }
        self.retune(now.mono);
    }

    fn attach(&mut self, now: Now) {
        let Some(uplink) = self.reports.uplink else {
            // The next uplink attaches; until then there is nothing to wake up for.
            self.reports.attach_again = None;
            return;
        };
        self.reports.attached = false;
        self.reports.attach += 1;
        self.reports.attach_again = Some(now.mono + ATTACH_AGAIN);
        self.control(
            uplink,
            agent_to_edge::Body::UseUplink(proto::UseUplink { wanted: true }),
        );
        let attach = proto::Attach {
            boot: self.boot.0,
            attach: self.reports.attach,
            version: self.settings.version.clone(),
            platform: self.settings.platform.clone(),
            wall_us: now.wall.as_micros(),
            mono_us: now.mono.as_micros(),
            clock_error_ms: 0,
            plans: self.legs.held(),
            link_type: self.settings.link_type.clone(),
        };
        self.up(to_controller::Body::Attach(attach));
    }

    fn ask_time(&mut self, now: Now) {
        self.reports.attach_again = Some(now.mono + TIME_EVERY);
        self.up(to_controller::Body::Time(proto::TimeRequest {
            mono_us: now.mono.as_micros(),
        }));
    }

    fn load_more(&mut self) {
        let room = self.reports.outbox.room();
        if self.reports.attached && room > 0 && !self.reports.loading && !self.reports.drained {
            self.reports.loading = true;
            // Those under way are the oldest, and come again.
            self.out.push_back(Output::Load(super::outbox::WINDOW + room));
        }
    }

    /// Sends to the controller by the uplink; `false` without one.
    fn up(&mut self, body: to_controller::Body) -> bool {
        let Some(uplink) = self.reports.uplink else {
            return false;
        };
        let message = proto::ToController { body: Some(body) };
        self.control(
            uplink,
            agent_to_edge::Body::Up(prost::Message::encode_to_vec(&message)),
        );
        true
    }

    fn control(&mut self, edge: EdgeId, body: agent_to_edge::Body) {
        self.out
            .push_back(Output::Control(edge, proto::AgentToEdge { body: Some(body) }));
    }
}

fn edge_id(id: u32) -> Option<EdgeId> {
    u16::try_from(id).ok().and_then(EdgeId::new)
}

/// A stored report as a message; `None` if its row is damaged.
fn report_message(body: &[u8]) -> Option<to_controller::Body> {
    proto::decode(body).ok().map(to_controller::Body::Report)
}

/// Each window as it closes, before anything else is done with it: what the store must hold.
fn log_window(window: &proto::Window) {
    if !tracing::enabled!(target: "corridor::window", tracing::Level::DEBUG) {
        return;
    }
    let ledger = window.ledger.unwrap_or_default();
    tracing::debug!(
        target: "corridor::window",
        of = ?window.of,
        class = %window.class,
        session = %format_args!("{:016x}", window.session),
        start_us = window.start_us,
        length_ms = window.length_ms,
        slots = ledger.slots,
        sent = ledger.sent,
        received = ledger.received,
        lost_up = ledger.lost_up,
        lost_down = ledger.lost_down,
        late = ledger.late,
        lost_unknown = ledger.lost_unknown,
        "closed"
    );
}

#[cfg(test)]
mod tests;
