//! The live map: the newest window of every link and route, its cumulative counts, and the offsets of
//! all clocks.

use std::collections::{BTreeMap, BTreeSet};

use corridor_probes::{AgentId, EdgeId, Mono, Route, Sample, Wall, percentile_of_sorted, samples};

use super::clocks::{Clocks, EdgeClock};
use crate::{
    api::model::Rtt,
    proto::{self, window},
    reporting::route_from,
    store::records::Reporter,
};

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
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Links {
    links: BTreeMap<(Reporter, EdgeId), Link>,
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
                Some(window::Of::Route(route)) => self.take_route(from, route, window),
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
        if window.has_raw {
            // The oldest that it can be: clocks have drifted since.
            let at = Mono::from_micros(window.start_us);
            let raw = (window.raw_up_min_us, window.raw_down_min_us);
            self.clocks
                .observe(from, boot, EdgeClock(edge, window.peer_boot), raw, at);
        }
        let at = end(window);
        match self.links.get_mut(&(from, edge)) {
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
                self.links.insert((from, edge), link);
            }
        }
    }

    fn take_route(&mut self, from: Reporter, route: &proto::Route, window: &proto::Window) {
        let (Reporter::Agent(agent), Some(route), Some(mut rtts)) =
            (from, route_from(route), round_trips(&window.samples))
        else {
            self.malformed += 1;
            return;
        };
        rtts.sort_unstable();
        let at = end(window);
        let routes = self.routes.entry((agent, window.class.clone())).or_default();
        if routes.get(&route).is_none_or(|known| known.at <= at) {
            routes.insert(
                route,
                RouteWindow {
                    at,
                    window: window.clone(),
                    rtts,
                },
            );
        }
    }

    /// Forgets the routes of classes that are over and of links nobody measures any more.
    pub fn forget(&mut self, before: Wall, live: impl Fn(&str) -> bool) {
        self.routes.retain(|(_, class), _| live(class));
        self.links.retain(|_, link| link.at >= before);
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

    pub fn iter(&self) -> impl Iterator<Item = (Reporter, EdgeId, &Link)> {
        self.links.iter().map(|(&(from, edge), link)| (from, edge, link))
    }

    /// Median round trip of an agent's link.
    pub fn agent_rtt_us(&self, agent: AgentId, edge: EdgeId) -> Option<u32> {
        percentile_of_sorted(&self.links.get(&(Reporter::Agent(agent), edge))?.rtts, 50.0)
    }

    pub fn route(&self, agent: AgentId, class: &str, route: Route) -> Option<&RouteWindow> {
        self.routes.get(&(agent, class.to_owned()))?.get(&route)
    }

    /// One-way delay of a link, there and back: the median round trip split by the least raw differences,
    /// with the bound of the clocks' offset.
    pub fn one_way(&self, from: Reporter, edge: EdgeId, now: Wall) -> Option<(OneWayMs, OneWayMs)> {
        let link = self.links.get(&(from, edge))?;
        if !link.window.has_raw {
            return None;
        }
        let there = EdgeClock(edge, link.window.peer_boot);
        let now = Mono::from_micros(now.as_micros());
        let offset = self.clocks.offset(from, link.boot, there, now)?;
        let up = offset.one_way(link.window.raw_up_min_us);
        let bound = up.bound_us as f64 / 1e3;
        // The offset of the way back is the same one, turned round, and so is its bound.
        let down_us = link.window.raw_down_min_us.saturating_add(offset.estimate_us());
        Some((
            OneWayMs {
                delay: up.delay_us as f64 / 1e3,
                error: bound,
            },
            OneWayMs {
                delay: down_us as f64 / 1e3,
                error: bound,
            },
        ))
    }
}

impl Link {
    /// Cumulative counts since the prober's first window that this controller saw.
    pub fn totals(&self) -> Totals {
        let l = self.window.total.or(self.window.ledger).unwrap_or_default();
        let unknown = l.lost_unknown;
        Totals {
            sent: self.before.sent + u64::from(l.sent),
            lost_up: self.before.lost_up + u64::from(l.lost_up),
            answered: self.before.answered
                + u64::from(l.sent.saturating_sub(l.lost_up).saturating_sub(unknown)),
            lost_down: self.before.lost_down + u64::from(l.lost_down),
        }
    }

    pub fn rtt_ms(&self) -> Option<Rtt> {
        rtt_ms(&self.rtts)
    }
}

impl RouteWindow {
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

/// When a window ended, in the controller's time.
pub fn end(window: &proto::Window) -> Wall {
    Wall::from_micros(
        window
            .start_us
            .saturating_add(i64::from(window.length_ms).saturating_mul(1_000)),
    )
}

fn round_trips(blob: &[u8]) -> Option<Vec<u32>> {
    if blob.is_empty() {
        return Some(Vec::new());
    }
    let samples: Vec<Sample> = samples::decode(blob).ok()?;
    Some(samples.into_iter().map(|s| s.rtt_us).collect())
}
