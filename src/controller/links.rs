//! The live map: the newest window of every link and route, its cumulative counts, and the offsets of
//! all clocks.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use corridor_probes::{
    AgentId, ClockConfig, EdgeId, Mono, OneWay, Route, Sample, Wall, Way, longer, percentile_of_sorted,
    samples, target::Method,
};

use super::clocks::{Clocks, EdgeClock, OwnClock, Seen};
use crate::{
    api::model::Rtt,
    proto::{self, window},
    reporting::route_from,
    route::directions::ClockName,
    store::records::Reporter,
};

/// How far reported times may be off within a report or two: time in the far end, and corrections of the
/// reporter's estimate of the controller's time.
const REPORTED_WITHIN: Duration = Duration::from_millis(300);

/// Windows that ended further apart are not compared.
const COMPARED_WITHIN: Duration = Duration::from_secs(30);

/// One link, measured by one of its ends.
#[derive(Debug)]
pub struct Link {
    pub at: Wall,
    pub window: proto::Window,
    /// Round trips of the window, ascending, in µs.
    pub rtts: Vec<u32>,
    boot: u64,
    session: u64,
    /// Counts of former boots and sessions of the prober.
    before: Totals,
}

/// Cumulative counts of both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub sent: u64,
    /// Probes whose answer came in time.
    pub received: u64,
    pub lost_up: u64,
    /// Probes that came to the reflector, each of which it answered.
    pub answered: u64,
    pub lost_down: u64,
}

/// The newest window of one route of one leg.
#[derive(Debug)]
pub struct RouteWindow {
    pub at: Wall,
    pub window: proto::Window,
    pub rtts: Vec<u32>,
    boot: u64,
    /// Raw differences there and back, in µs, of the samples that have them.
    raw: Vec<(i64, i64)>,
}

/// The two ends whose clocks a route's raw differences come from: a peer agent, or the last edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ends {
    here: OwnClock,
    far_agent: u64,
    exit: Option<EdgeId>,
    there: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Links {
    links: BTreeMap<(Reporter, EdgeId), Link>,
    /// By `host:port` of the target first.
    targets: BTreeMap<(String, Reporter), Link>,
    routes: BTreeMap<(AgentId, String), BTreeMap<Route, RouteWindow>>,
    clocks: Clocks,
    /// Samples or routes that could not be read.
    pub malformed: u64,
}

/// A one-way delay with its bound, in ms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OneWayMs {
    pub delay: f64,
    pub error: f64,
}

impl Links {
    /// Takes the windows of a report that was stored.
    pub fn take(&mut self, from: Reporter, report: &proto::Report) {
        for window in &report.windows {
            match &window.of {
                Some(window::Of::Edge(id)) => self.take_link(from, report.boot, *id, window),
                Some(window::Of::Route(route)) => self.take_route(from, report.boot, route, window),
                Some(window::Of::Target(target)) => self.take_target(from, report.boot, target, window),
                None => self.malformed += 1,
            }
        }
    }

    fn take_link(&mut self, from: Reporter, boot: u64, edge: u32, window: &proto::Window) {
        let edge = u16::try_from(edge).ok().and_then(EdgeId::new);
        let (Some(edge), Some(mut rtts)) = (edge, round_trips(&window.samples)) else {
            self.malformed += 1;
            return;
        };
        rtts.sort_unstable();
        if let Some(seen) = seen(window, &rtts) {
            self.clocks
                .observe(from, own_clock(boot, window), edge_clock(edge, window), &seen);
        }
        take(&mut self.links, (from, edge), boot, window, rtts);
    }

    /// The clocks of targets are not compared: only some methods show one.
    fn take_target(&mut self, from: Reporter, boot: u64, target: &proto::Target, window: &proto::Window) {
        let Some(mut rtts) = round_trips(&window.samples) else {
            self.malformed += 1;
            return;
        };
        rtts.sort_unstable();
        take(&mut self.targets, (target.name.clone(), from), boot, window, rtts);
    }

    fn take_route(&mut self, from: Reporter, boot: u64, route: &proto::Route, window: &proto::Window) {
        let (Reporter::Agent(agent), Some(route), Some(samples)) =
            (from, route_from(route), decoded(&window.samples))
        else {
            self.malformed += 1;
            return;
        };
        let mut rtts: Vec<_> = samples.iter().map(|s| s.rtt_us).collect();
        rtts.sort_unstable();
        let raw = samples.iter().filter_map(|s| s.up_us.zip(s.down_us())).collect();
        let at = end(window);
        let routes = self.routes.entry((agent, window.class.clone())).or_default();
        if routes.get(&route).is_none_or(|known| known.at <= at) {
            routes.insert(
                route,
                RouteWindow {
                    at,
                    window: window.clone(),
                    rtts,
                    boot,
                    raw,
                },
            );
        }
    }

    /// Forgets the routes of classes that are over and of links nobody measures any more.
    pub fn forget(&mut self, before: Wall, live: impl Fn(&str) -> bool) {
        self.routes.retain(|(_, class), _| live(class));
        self.links.retain(|_, link| link.at >= before);
        self.targets.retain(|_, link| link.at >= before);
        let measured: BTreeSet<AgentId> = self
            .links
            .keys()
            .filter_map(|(from, _)| match from {
                Reporter::Agent(id) => Some(*id),
                Reporter::Edge(_) => None,
            })
            .collect();
        self.clocks.forget(|agent| measured.contains(&agent));
    }

    /// Brings the offsets of the edges' clocks up to date.
    pub fn settle_clocks(&mut self, now: Wall) {
        self.clocks.settle(Mono::from_micros(now.as_micros()));
    }

    /// As of the last [`Self::settle_clocks`].
    pub fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    pub fn iter(&self) -> impl Iterator<Item = (Reporter, EdgeId, &Link)> {
        self.links.iter().map(|(&(from, edge), link)| (from, edge, link))
    }

    /// The links to all targets.
    pub fn targets(&self) -> impl Iterator<Item = (&str, Reporter, &Link)> {
        self.targets
            .iter()
            .map(|((target, from), link)| (target.as_str(), *from, link))
    }

    /// How a target is measured from there, if it is.
    pub fn target(&self, name: &str, from: Reporter) -> Option<&Link> {
        self.targets.get(&(name.to_owned(), from))
    }

    /// Median round trip of an agent's link.
    pub fn agent_rtt_us(&self, agent: AgentId, edge: EdgeId) -> Option<u32> {
        percentile_of_sorted(&self.links.get(&(Reporter::Agent(agent), edge))?.rtts, 50.0)
    }

    pub fn route(&self, agent: AgentId, class: &str, route: Route) -> Option<&RouteWindow> {
        self.routes.get(&(agent, class.to_owned()))?.get(&route)
    }

    /// The least one-way delay of a link's newest window, there and back, each with the bound of what the
    /// clocks' offset was when that packet came.
    pub fn one_way(&self, from: Reporter, edge: EdgeId) -> Option<(OneWayMs, OneWayMs)> {
        let link = self.links.get(&(from, edge))?;
        let seen = seen(&link.window, &link.rtts)?;
        let clock = own_clock(link.boot, &link.window);
        let relation = self
            .clocks
            .relation(from, clock, edge_clock(edge, &link.window))?;
        let up = relation.over(seen.up_at, seen.within).one_way(seen.up_us);
        let back = relation.over(seen.down_at, seen.within).turned();
        Some((up.into(), back.one_way(seen.down_us).into()))
    }

    /// By how much `route` is longer than `than`, there and back; none unless both were measured lately, by
    /// the same clocks.
    pub fn longer(
        &self,
        agent: AgentId,
        class: &str,
        route: Route,
        than: Route,
    ) -> Option<(OneWayMs, OneWayMs)> {
        let (a, b) = (self.route(agent, class, route)?, self.route(agent, class, than)?);
        let apart = a.at.since(b.at).max(b.at.since(a.at));
        if apart > COMPARED_WITHIN {
            return None;
        }
        let longer = longer(&a.way(route), &b.way(than), &ClockConfig::default())?;
        Some((longer.up.into(), longer.down.into()))
    }
}

impl From<OneWay> for OneWayMs {
    fn from(one_way: OneWay) -> Self {
        Self {
            delay: one_way.delay_us as f64 / 1e3,
            error: one_way.bound_us as f64 / 1e3,
        }
    }
}

/// Takes a window into the map, if it is the newest of its link.
fn take<K: Ord>(links: &mut BTreeMap<K, Link>, key: K, boot: u64, window: &proto::Window, rtts: Vec<u32>) {
    let at = end(window);
    match links.get_mut(&key) {
        Some(link) if link.at > at => {}
        Some(link) => {
            if (link.boot, link.session) != (boot, window.session) {
                link.before = link.totals();
                (link.boot, link.session) = (boot, window.session);
            }
            // A window without samples keeps the last delays known, with their age.
            link.at = at;
            link.window = window.clone();
            link.rtts = rtts;
        }
        None => {
            let link = Link {
                at,
                window: window.clone(),
                rtts,
                boot,
                session: window.session,
                before: Totals::default(),
            };
            links.insert(key, link);
        }
    }
}

/// What a window says of two clocks.
fn seen(window: &proto::Window, ascending_rtts: &[u32]) -> Option<Seen> {
    if !window.has_raw {
        return None;
    }
    let at = |us: i64| Mono::from_micros(if us == 0 { end(window).as_micros() } else { us });
    let known = window.raw_up_at_us != 0 && window.raw_down_at_us != 0;
    let slowest = Duration::from_micros(ascending_rtts.last().copied().unwrap_or(0).into());
    // Older agents do not say when it was.
    let unsaid = if known {
        Duration::ZERO
    } else {
        Duration::from_millis(window.length_ms.into())
    };
    Some(Seen {
        up_us: window.raw_up_min_us,
        up_at: at(window.raw_up_at_us),
        down_us: window.raw_down_min_us,
        down_at: at(window.raw_down_at_us),
        within: slowest + REPORTED_WITHIN + unsaid,
    })
}

/// The clocks between which a link's window was measured, the reporter's first.
pub fn clocks_of(from: Reporter, boot: u64, edge: EdgeId, window: &proto::Window) -> [ClockName; 2] {
    [own_clock(boot, window).of(from), edge_clock(edge, window).name()]
}

fn own_clock(boot: u64, window: &proto::Window) -> OwnClock {
    OwnClock {
        boot,
        steps: window.clock_steps,
    }
}

fn edge_clock(edge: EdgeId, window: &proto::Window) -> EdgeClock {
    // Its lower half names the clock, also where an older agent sends the whole epoch.
    EdgeClock(edge, window.peer_boot as u16)
}

impl Link {
    /// Cumulative counts since the prober's first window that this controller saw.
    pub fn totals(&self) -> Totals {
        let l = self.window.total.or(self.window.ledger).unwrap_or_default();
        let unknown = l.lost_unknown;
        Totals {
            sent: self.before.sent + u64::from(l.sent),
            received: self.before.received + u64::from(l.received),
            lost_up: self.before.lost_up + u64::from(l.lost_up),
            answered: self.before.answered
                + u64::from(l.sent.saturating_sub(l.lost_up).saturating_sub(unknown)),
            lost_down: self.before.lost_down + u64::from(l.lost_down),
        }
    }

    pub fn rtt_ms(&self) -> Option<Rtt> {
        rtt_ms(&self.rtts)
    }

    /// By what a target is measured; `None` while it is not, and of other links.
    pub fn method(&self) -> Option<Method> {
        Method::from_word(&self.target()?.method)
    }

    /// Why a target is not measured.
    pub fn unmeasured(&self) -> &[proto::Unmeasured] {
        self.target().map_or(&[], |t| &t.unmeasured)
    }

    fn target(&self) -> Option<&proto::Target> {
        match &self.window.of {
            Some(window::Of::Target(target)) => Some(target),
            _ => None,
        }
    }
}

impl RouteWindow {
    /// What was seen of the route, which `route` names.
    fn way(&self, route: Route) -> Way<Ends> {
        let window = &self.window;
        let mono = |at: Wall| Mono::from_micros(at.as_micros());
        Way {
            clocks: Ends {
                here: own_clock(self.boot, window),
                far_agent: window.far_agent,
                exit: route.exit().filter(|_| window.far_agent == 0),
                there: window.peer_boot,
            },
            start: Mono::from_micros(window.start_us),
            end: mono(self.at),
            up_us: self.raw.iter().map(|&(up, _)| up).collect(),
            down_us: self.raw.iter().map(|&(_, down)| down).collect(),
        }
    }

    pub fn rtt_ms(&self) -> Option<Rtt> {
        rtt_ms(&self.rtts)
    }
}

/// Median and 95th percentile of ascending round trips.
pub fn rtt_ms(rtts: &[u32]) -> Option<Rtt> {
    let at = |percent| percentile_of_sorted(rtts, percent).map(|us| f64::from(us) / 1e3);
    Some(Rtt {
        p50: at(50.0)?,
        p95: at(95.0)?,
    })
}

/// Share lost up, share lost down, in one window; what is lost without a direction counts as down, and
/// so does what came too late.
pub fn losses(ledger: &proto::Ledger) -> (Option<f64>, Option<f64>) {
    let share = |part: u32, whole: u32| (whole > 0).then(|| f64::from(part) / f64::from(whole));
    let came_up = ledger.sent.saturating_sub(ledger.lost_up);
    (
        share(ledger.lost_up, ledger.sent),
        share(ledger.lost_down + ledger.late + ledger.lost_unknown, came_up),
    )
}

/// Share of the answers whose times were not to be trusted.
pub fn kept_out(ledger: &proto::Ledger) -> Option<f64> {
    (ledger.received > 0).then(|| f64::from(ledger.excluded) / f64::from(ledger.received))
}

/// The counts of a target's window that say something of the link: all, or by a method that hides losses those
/// of answers; `None` of a window that says nothing.
pub fn counted(target: &proto::Target, ledger: proto::Ledger) -> Option<proto::Ledger> {
    let method = Method::from_word(&target.method)?;
    if method.counts_losses() {
        return Some(ledger);
    }
    (ledger.received > 0).then(|| proto::Ledger {
        sent: ledger.received,
        received: ledger.received,
        excluded: ledger.excluded,
        ..proto::Ledger::default()
    })
}

/// When a window ended, in the controller's time.
pub fn end(window: &proto::Window) -> Wall {
    Wall::from_micros(
        window
            .start_us
            .saturating_add(i64::from(window.length_ms).saturating_mul(1_000)),
    )
}

fn round_trips(blob: &[u8]) -> Option<Vec<u32>> {
    Some(decoded(blob)?.into_iter().map(|s| s.rtt_us).collect())
}

fn decoded(blob: &[u8]) -> Option<Vec<Sample>> {
    if blob.is_empty() {
        return Some(Vec::new());
    }
    samples::decode(blob).ok()
}
