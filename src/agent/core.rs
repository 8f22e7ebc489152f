//! The agent without I/O: what comes from edges, the disk and the clock goes in; datagrams, control
//! messages and work for the disk come out.

mod around;
mod attach;
mod first_look;
mod newest;
mod probing;
mod rating;
mod reports;
mod said;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use corridor_probes::{
    AgentId, Arrival, BootId, EchoOutcome, EdgeId, Mono, Reception, Reflector, ReflectorLimits, Route,
    SessionConfig, SlotOutcome, Wall,
    tiers::{self, Bytes},
    wire::{AgentStep, Kind, LinkEcho, RouteEcho, RouteProbe},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    budget::{Budget, Ladder, Spent},
    edges::{ConnectionNo, Edges},
    legs::{Happened, LegId, Legs},
    outbox::{Outbox, ReportKey},
    rates::{self, Allowed, Places, Wanted},
    surroundings::{Around, Watch},
    uplink,
};
use crate::{
    metered::Metered,
    prober::{GRID, Prober},
    proto::{self, agent_to_edge, edge_to_agent, from_controller, to_controller},
    reporting::{About, Closed, Reporter, Rest},
    route::Fates,
};
pub use around::Looked;
use first_look::FirstLooks;
use newest::Newest;
use rating::RateState;
use reports::{FIRST_WINDOW, REPORT_EVENTS, REPORT_IDLE, on_the_line, report_message};

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
    /// An answer to another agent's probe, which was so many bytes long.
    Answer {
        edge: EdgeId,
        asked: usize,
        datagram: Vec<u8>,
    },
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
    /// Measure these targets, and no others.
    Targets(Vec<String>),
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
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub link_probe_size: usize,
    pub route_probe_size: usize,
    /// Budgets that the controller's may be smaller than, but not larger.
    pub idle_kbps: Option<u32>,
    pub in_class_kbps: Option<u32>,
    pub metered: Metered,
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
    /// What the controller had said before what is known already.
    pub outdated: u64,
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
    newest: Newest,
    reflector: Reflector<AgentId>,
    reporter: Reporter,
    reports: Reports,
    pub(super) counters: Counters,
    pub(super) around: Around,
    next_step: Mono,
    /// Nothing is probed more often.
    pace: Duration,
    pub(super) rates: RateState,
    /// Those of its classes, as they were last asked for.
    targets: BTreeSet<String>,
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
    /// Closed, and not yet on disk.
    fresh: Option<(ReportKey, Vec<u8>)>,
    /// A load is under way, or would find nothing.
    loading: bool,
    drained: bool,
    /// When the first windows of a link that came up in class are to be told.
    first_figures: Option<Mono>,
    closed: u32,
    host: proto::Host,
    flows: Vec<proto::Flow>,
    /// IP bytes, about, that reports took which are not of now.
    backlog: Bytes,
}

impl Core {
    pub fn new(
        me: AgentId,
        boot: BootId,
        seed: u64,
        settings: Settings,
        edges: Vec<proto::EdgeInfo>,
        now: Mono,
    ) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut core = Self {
            me,
            boot,
            settings,
            edges: Edges::default(),
            candidates: BTreeMap::new(),
            prober: Prober::new(now, rng.random(), SessionConfig::default()),
            legs: Legs::default(),
            newest: Newest::default(),
            // Another process must have another epoch.
            reflector: Reflector::new(boot.epoch(), ReflectorLimits::default()),
            reporter: Reporter::new(boot, now),
            reports: Reports::default(),
            counters: Counters::default(),
            around: Around::new(Watch::OFF, 0, now),
            next_step: now,
            pace: Duration::ZERO,
            rates: RateState::new(rng.random(), now),
            targets: BTreeSet::new(),
            out: VecDeque::new(),
        };
        core.weigh_line(now);
        core.set_candidates(edges, now);
        core
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Self::handle_timeout`] or [`Self::next_probe`] next has something to do.
    pub fn next_wakeup(&self) -> Mono {
        let report = self.reporter.due_at(self.report_interval());
        let news = self
            .has_news()
            .then(|| self.reporter.due_at(REPORT_EVENTS))
            .flatten();
        let first = self.first_figures_due();
        let step = (!self.legs.is_empty()).then_some(self.next_step);
        [
            self.prober.next_wakeup(),
            report,
            news,
            first,
            step,
            self.reports.attach_again,
            self.reports.outbox.next_wakeup(),
            self.around.next_wakeup(),
            self.rates.first_looks.next_wakeup(),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(self.next_step + REPORT_IDLE)
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Now) {
        self.close_windows(now);
        self.notice_silence(now);
        if self.rates.first_looks.pass(now.mono) {
            self.retune(now.mono);
        }
        if now.mono >= self.next_step {
            let every = self.step_every();
            self.next_step = self.next_step.max(now.mono - every) + every;
            self.step(now);
            self.look_sooner(now.mono);
        }
        self.report_if_due(now);
        for body in self.reports.outbox.due(now.mono) {
            if let Some(message) = report_message(&body) {
                self.reports.backlog = self.reports.backlog + on_the_line(body.len());
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
        if self.in_class() {
            self.reports.first_figures = Some(now.mono + FIRST_WINDOW);
        } else {
            self.rates.first_looks.came_up(edge, now.mono);
        }
        self.retune(now.mono);
    }

    pub fn disconnected(&mut self, edge: EdgeId, connection: ConnectionNo, why: &str, now: Now) {
        if !self.edges.disconnected(edge, connection, why) {
            return;
        }
        self.watch_silence(edge, now.mono);
        if self.reports.uplink == Some(edge) {
            self.reports.uplink = None;
            self.reports.attached = false;
        }
        self.choose_uplink(now);
        self.step(now);
    }

    /// This machine slept, so that its monotonic clock has stepped against others.
    pub fn clock_stepped(&mut self) {
        self.prober.clock_stepped();
        self.reflector.clock_stepped();
    }

    /// Something happened on this machine: it slept, it moved to another network.
    pub fn event(&mut self, kind: &str, detail: serde_json::Value, now: Now) {
        if matches!(kind, "moved" | "slept") {
            self.around.moved(now.mono);
        }
        self.reporter.event(proto::Event {
            at_us: now.controller.as_micros(),
            kind: kind.to_owned(),
            detail: detail.to_string(),
            ..proto::Event::default()
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

    pub fn in_class(&self) -> bool {
        !self.legs.is_empty()
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
            self.around.forget_link(id);
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

    /// One step of the live choice.
    fn step(&mut self, now: Now) {
        let every = self.step_every();
        let changed = self.legs.step(now.mono, every, &self.edges, &self.prober);
        if !changed.removed.is_empty() {
            self.remove(changed.removed);
            self.want(now.mono);
            self.keep_uplink(now);
            self.retune(now.mono);
        }
        if self.rates.at_risk != self.legs.legs_at_risk() {
            self.retune(now.mono);
        }
        self.watch_legs(&changed.happened, now.mono);
        self.tell(changed.happened, now);
    }

    /// Another edge takes reports where the one that did is not wanted any more.
    fn keep_uplink(&mut self, now: Now) {
        if self.reports.uplink.is_none() {
            self.choose_uplink(now);
        }
    }

    /// Probes these routes no more.
    fn remove(&mut self, routes: Vec<(LegId, Route)>) {
        for (leg, route) in routes {
            self.prober.remove(Key::Route(leg, route));
        }
    }

    /// The media that is carried from and to this machine, as the next report has it.
    pub fn flows(&mut self, flows: Vec<proto::Flow>) {
        self.reports.flows = flows;
    }

    /// What became of media's packets since the last time.
    pub fn media(&mut self, fates: BTreeMap<(String, Route), Fates>) {
        for ((class, route), fates) in fates {
            self.legs.media(&class, route, fates);
        }
    }

    /// These edges, and no others, leave unanswered what media asks of them.
    pub fn unheard(&mut self, edges: &BTreeSet<EdgeId>, now: Now) {
        self.edges.set_unheard(edges);
        self.choose_uplink(now);
        self.step(now);
    }

    fn tell(&mut self, happened: Vec<Happened>, now: Now) {
        for happened in happened {
            tracing::info!(class = %happened.class, kind = happened.kind, detail = %happened.detail, "live choice");
            self.reporter.event(proto::Event {
                at_us: now.controller.as_micros(),
                kind: happened.kind.to_owned(),
                class: happened.class,
                detail: happened.detail.to_string(),
                ..proto::Event::default()
            });
        }
    }

    fn control(&mut self, edge: EdgeId, body: agent_to_edge::Body) {
        self.out
            .push_back(Output::Control(edge, proto::AgentToEdge { body: Some(body) }));
    }
}

fn edge_id(id: u32) -> Option<EdgeId> {
    u16::try_from(id).ok().and_then(EdgeId::new)
}

#[cfg(test)]
mod tests;
