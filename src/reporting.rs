//! From closed windows to reports: what an agent or an edge tells the controller of its links and routes.

use std::{collections::BTreeMap, time::Duration};

use corridor_probes::{
    AgentId, BootId, EdgeId, Ledger, LossChain, Mono, Route, Wall, Window, samples, target::Method,
};

use crate::proto;

/// What a window is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// The link to an edge.
    Link(EdgeId),
    /// A whole route of a class's leg, to its far end: a peer agent, or else the last edge.
    Route {
        class: String,
        route: Route,
        far: Option<AgentId>,
    },
    /// The link to a target, `host:port`.
    Target { target: String, by: By },
}

/// How a target was measured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    Method(Method),
    /// Not at all.
    Nothing(Vec<Unmeasured>),
}

/// Why a target is not measured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unmeasured {
    /// A method's word, or `address`.
    pub what: String,
    pub why: String,
}

/// One second of one link or route, ready to be kept and sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Closed {
    pub about: About,
    pub session: u64,
    /// Counts of all closed windows of the session.
    pub total: Ledger,
    pub window: Window,
    /// How often it is probed and reported now, whichever is rarer; a burst counts as once.
    pub every: Duration,
}

/// Collects closed windows until the next report.
#[derive(Debug)]
pub struct Reporter {
    boot: BootId,
    next_sequence: u64,
    since: Mono,
    open: BTreeMap<(About, u64), Vec<Closed>>,
    events: Vec<proto::Event>,
}

/// Windows of one key that could not be merged stand side by side; more than this many never happen.
const MAX_PIECES: usize = 64;
/// Events kept until the next report; beyond, the oldest go.
const MAX_EVENTS: usize = 200;

/// What stands in a report beside windows and events.
#[derive(Debug, Clone, Default)]
pub struct Rest {
    pub legs: Vec<proto::LegState>,
    pub flows: Vec<proto::Flow>,
    pub host: proto::Host,
    pub wall: Wall,
    /// Bound of the estimate of the controller's time.
    pub time_error: Option<Duration>,
    pub traffic: Option<proto::Traffic>,
    pub surroundings: Option<proto::Surroundings>,
    pub path: Option<proto::Trace>,
}

impl Reporter {
    pub fn new(boot: BootId, now: Mono) -> Self {
        Self {
            boot,
            next_sequence: 1,
            since: now,
            open: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// Takes a window of one second that has closed.
    pub fn take(&mut self, closed: Closed) {
        let pieces = self
            .open
            .entry((closed.about.clone(), closed.session))
            .or_default();
        if let Some(last) = pieces.last_mut()
            && last.window.merge(&closed.window).is_ok()
        {
            last.total = closed.total;
            last.every = closed.every;
        } else if pieces.len() < MAX_PIECES {
            pieces.push(closed);
        }
    }

    pub fn event(&mut self, event: proto::Event) {
        if self.events.len() >= MAX_EVENTS {
            self.events.remove(0);
        }
        self.events.push(event);
    }

    /// Whether there is something to tell, `interval` after the last report.
    pub fn due_at(&self, interval: Duration) -> Option<Mono> {
        (!self.open.is_empty() || !self.events.is_empty()).then_some(self.since + interval)
    }

    /// Whether an event waits that should not wait for the next report.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Closes the report. `to_wall` turns this machine's monotonic time into the controller's.
    pub fn close(&mut self, now: Mono, rest: Rest, to_wall: impl Fn(Mono) -> Wall) -> proto::Report {
        let windows = std::mem::take(&mut self.open)
            .into_values()
            .flatten()
            .map(|closed| message(&closed, &to_wall))
            .collect();
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.since = now;
        proto::Report {
            boot: self.boot.0,
            sequence,
            end_us: to_wall(now).as_micros(),
            time_error_ms: rest
                .time_error
                .map_or(0, |e| u32::try_from(e.as_millis()).unwrap_or(u32::MAX).max(1)),
            wall_us: rest.wall.as_micros(),
            windows,
            events: std::mem::take(&mut self.events),
            host: Some(rest.host),
            legs: rest.legs,
            flows: rest.flows,
            traffic: rest.traffic,
            surroundings: rest.surroundings.map(Box::new),
            path: rest.path.map(Box::new),
        }
    }
}

/// A window as it travels.
pub fn message(closed: &Closed, to_wall: impl Fn(Mono) -> Wall) -> proto::Window {
    let window = &closed.window;
    let (of, class, far_agent, total) = match &closed.about {
        About::Link(edge) => (
            proto::window::Of::Edge(u32::from(edge.get())),
            String::new(),
            0,
            Some(ledger(&closed.total)),
        ),
        About::Route { class, route, far } => (
            proto::window::Of::Route(route_message(*route)),
            class.clone(),
            far.map_or(0, |a| a.0),
            None,
        ),
        About::Target { target, by } => (
            proto::window::Of::Target(Box::new(target_message(target, by))),
            String::new(),
            0,
            Some(ledger(&closed.total)),
        ),
    };
    let links = match &closed.about {
        About::Link(_) | About::Target { .. } => 0,
        About::Route { route, far, .. } => route.len() + usize::from(far.is_some()),
    };
    proto::Window {
        of: Some(of),
        class,
        far_agent,
        start_us: to_wall(window.start).as_micros(),
        length_ms: u32::try_from(window.length.as_millis()).unwrap_or(u32::MAX),
        session: closed.session,
        ledger: Some(ledger(&window.ledger)),
        samples: samples::encode(&window.samples),
        raw_up_min_us: window.raw.map_or(0, |r| r.up_us),
        raw_down_min_us: window.raw.map_or(0, |r| r.down_us),
        peer_boot: window.raw.map_or(0, |r| u64::from(r.clocks.there)),
        raw_up_at_us: window.raw.map_or(0, |r| to_wall(r.up_at).as_micros()),
        raw_down_at_us: window.raw.map_or(0, |r| to_wall(r.down_at).as_micros()),
        clock_steps: window.raw.map_or(0, |r| r.clocks.here),
        jitter_up_us: window.jitter_up_us.unwrap_or(0),
        jitter_down_us: window.jitter_down_us.unwrap_or(0),
        steps: (0..links)
            .map(|i| {
                window.step(i).map_or_else(proto::Step::default, |s| proto::Step {
                    samples: s.samples,
                    min_us: s.min_us,
                    p50_us: s.p50_us,
                    p95_us: s.p95_us,
                })
            })
            .collect(),
        has_raw: window.raw.is_some(),
        total,
        chain_up: chain_message(&window.chain_up),
        chain_down: chain_message(&window.chain_down),
        every_ms: u32::try_from(closed.every.as_millis()).unwrap_or(u32::MAX),
    }
}

/// Without a loss there is nothing to tell.
fn chain_message(chain: &LossChain) -> Option<Box<proto::LossChain>> {
    let [kept_after_kept, lost_after_kept, kept_after_lost, lost_after_lost] = chain.pairs();
    let losses = lost_after_kept + kept_after_lost + lost_after_lost;
    (losses > 0).then(|| {
        Box::new(proto::LossChain {
            kept_after_kept,
            lost_after_kept,
            kept_after_lost,
            lost_after_lost,
        })
    })
}

pub fn chain_from(message: Option<&proto::LossChain>) -> LossChain {
    message.map_or_else(LossChain::default, |c| {
        LossChain::of_pairs([
            c.kept_after_kept,
            c.lost_after_kept,
            c.kept_after_lost,
            c.lost_after_lost,
        ])
    })
}

fn target_message(target: &str, by: &By) -> proto::Target {
    let (method, unmeasured) = match by {
        By::Method(method) => (method.word(), &[][..]),
        By::Nothing(whys) => ("", whys.as_slice()),
    };
    proto::Target {
        name: target.to_owned(),
        method: method.to_owned(),
        unmeasured: unmeasured
            .iter()
            .map(|u| proto::Unmeasured {
                what: u.what.clone(),
                why: u.why.clone(),
            })
            .collect(),
    }
}

pub fn route_message(route: Route) -> proto::Route {
    proto::Route {
        edges: route.edges().map(|e| u32::from(e.get())).collect(),
    }
}

/// Reads a route from a message; `None` if it is none.
pub fn route_from(message: &proto::Route) -> Option<Route> {
    let edges: Option<Vec<_>> = message
        .edges
        .iter()
        .map(|&id| u16::try_from(id).ok().and_then(EdgeId::new))
        .collect();
    Route::new(&edges?).ok()
}

/// No more fates than probes, and no more samples kept out than there are: shares of them are at most 1, and sums of any of them fit. Reports come from
/// machines that may be wrong, or hostile.
pub fn adds_up(l: &proto::Ledger) -> bool {
    let fates = [l.received, l.lost_up, l.lost_down, l.late, l.lost_unknown];
    fates.iter().copied().map(u64::from).sum::<u64>() <= u64::from(l.sent) && l.excluded <= l.received
}

fn ledger(l: &Ledger) -> proto::Ledger {
    proto::Ledger {
        slots: l.slots,
        sent: l.sent,
        slipped: l.slipped,
        local_drops: l.local_drops,
        unconnected: l.unconnected,
        received: l.received,
        lost_up: l.lost_up,
        lost_down: l.lost_down,
        late: l.late,
        lost_unknown: l.lost_unknown,
        reordered_up: l.reordered_up,
        reordered_down: l.reordered_down,
        duplicates: l.duplicates,
        stalled: l.stalled,
        excluded: l.excluded,
    }
}
