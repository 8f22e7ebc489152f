//! How often each link and route is probed, inside the byte budget.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    time::Duration,
};

use corridor_probes::{
    EdgeId, Pattern, Spread,
    tiers::{self, Bytes, Fit, Group, Limits},
};

use super::core::Settings;
use crate::prober::GRID;

/// What there is to probe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    pub links: usize,
    /// Installed routes of legs at risk, and of the others.
    pub routes_at_risk: usize,
    pub routes: usize,
    /// Peers probe this agent along as many routes, and it answers.
    pub answers: bool,
}

/// What may go over the line each way, in bits a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// For what this agent wants for itself, reports included.
    pub own: u64,
    /// Its share of what its site may use, what its peers want of it included; `None` without a limit.
    pub line: Option<u64>,
}

/// Patterns for the sessions of this agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    pub best_link: Pattern,
    pub other_links: Pattern,
    pub routes_at_risk: Pattern,
    pub routes: Pattern,
    /// Bits a second of all probes, each way.
    pub load: Bytes,
    /// The budget does not allow what is wanted.
    pub reduced: bool,
    /// How many rungs there are to go down from what fits.
    pub rungs: u32,
}

/// IP, UDP, QUIC and acknowledgements around one datagram, in bytes.
const OVERHEAD: u64 = 100;

/// Fits all probes into what is allowed, reports set aside, and then goes `down` so many rungs. Routes come
/// first, those of legs at risk before the others: they are what the live choice lives on.
pub fn fit(allowed: Allowed, settings: &Settings, wanted: &Wanted, down: u32) -> Rates {
    let groups = groups(settings, wanted);
    let reports = if wanted.routes + wanted.routes_at_risk == 0 {
        tiers::IDLE_REPORTS
    } else {
        tiers::IN_CLASS_REPORTS
    };
    let limit = |bits: u64| Bytes {
        out: bits.saturating_sub(reports),
        back: bits,
    };
    let limits = Limits {
        own: limit(allowed.own),
        line: allowed.line.map(limit),
    };
    let fit = tiers::fit(&groups, limits, down);
    let [at_risk, routes, best, others] = groups.each_ref().map(|g| g.ladder);
    Rates {
        routes_at_risk: pattern(&fit, 0, at_risk),
        routes: pattern(&fit, 1, routes),
        best_link: pattern(&fit, 2, best),
        other_links: pattern(&fit, 3, others),
        load: fit.load,
        reduced: fit.reduced,
        rungs: fit.rungs,
    }
}

fn groups(settings: &Settings, wanted: &Wanted) -> [Group; 4] {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let padded = |probe: Bytes, size: usize| {
        let size = if size == 0 { 0 } else { size as u64 + OVERHEAD };
        Bytes {
            out: probe.out.max(size),
            back: probe.back.max(size),
        }
    };
    let link = padded(tiers::LINK_PROBE, settings.link_probe_size);
    let route = padded(tiers::ROUTE_PROBE, settings.route_probe_size);
    // The peer's probe comes back for each of ours, and its echo goes out.
    let peer = if wanted.answers {
        Bytes {
            out: route.back,
            back: route.out,
        }
    } else {
        Bytes::default()
    };
    let (best, others) = match (wanted.routes, wanted.routes_at_risk) {
        (0, 0) => (tiers::BEST_EDGE, tiers::IDLE_CANDIDATE),
        (_, 0) => (tiers::CLASS_CANDIDATE, tiers::CLASS_CANDIDATE),
        _ => (tiers::RISK_CANDIDATE, tiers::RISK_CANDIDATE),
    };
    let routes = |n| Group {
        count: count(n),
        ladder: tiers::ROUTE,
        probe: route,
        peer,
    };
    let links = |n, ladder| Group {
        count: count(n),
        ladder,
        probe: link,
        peer: Bytes::default(),
    };
    [
        routes(wanted.routes_at_risk),
        routes(wanted.routes),
        links(wanted.links.min(1), best),
        links(wanted.links.saturating_sub(1), others),
    ]
}

fn pattern(fit: &Fit, group: usize, ladder: &[Pattern]) -> Pattern {
    let found = fit.patterns.get(group).copied().flatten();
    found.or(ladder.last().copied()).unwrap_or(SLOWEST)
}

/// `pattern`, or once in `pace` where that is rarer.
pub fn paced(pattern: Pattern, pace: Duration) -> Pattern {
    let steps = u32::try_from(pace.as_millis() / GRID.as_millis()).unwrap_or(u32::MAX);
    match NonZeroU32::new(steps) {
        Some(steps) if steps.get() > pattern.spacing() => Pattern::every(steps),
        _ => pattern,
    }
}

/// A ladder is never empty; were it, this is once a minute.
const SLOWEST: Pattern = Pattern::every(NonZeroU32::new(600).unwrap());

/// Where on the grid each link is probed: edges that come and go leave the places of others as they are.
#[derive(Debug)]
pub struct Places {
    spread: Spread,
    links: BTreeMap<EdgeId, u32>,
}

impl Places {
    /// `turn` is drawn at random, for each agent.
    pub fn new(turn: u32) -> Self {
        Self {
            spread: Spread::new(turn),
            links: BTreeMap::new(),
        }
    }

    /// There are these links now.
    pub fn settle(&mut self, links: &[EdgeId]) {
        self.links.retain(|id, _| links.contains(id));
        for &id in links {
            if !self.links.contains_key(&id) {
                let taken: BTreeSet<_> = self.links.values().copied().collect();
                let free = (0..).find(|place| !taken.contains(place)).unwrap_or(0);
                self.links.insert(id, free);
            }
        }
    }

    /// `pattern` in the link's own place.
    pub fn link(&self, id: EdgeId, pattern: Pattern) -> Pattern {
        let place = self.links.get(&id).copied().unwrap_or(0);
        self.spread.place(pattern, place)
    }

    /// `pattern` of what is probed most often: others are probed at the same steps.
    pub fn first(&self, pattern: Pattern) -> Pattern {
        self.spread.place(pattern, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(size: usize) -> Settings {
        Settings {
            link_probe_size: size,
            route_probe_size: size,
            ..Settings::default()
        }
    }

    fn own(kbps: u64) -> Allowed {
        Allowed {
            own: kbps * 1_000,
            line: None,
        }
    }

    fn wanted(routes_at_risk: usize, routes: usize) -> Wanted {
        Wanted {
            links: 8,
            routes_at_risk,
            routes,
            answers: false,
        }
    }

    #[test]
    fn the_wanted_rates_fit_the_default_budgets() {
        let idle = fit(own(10), &settings(0), &wanted(0, 0), 0);
        assert_eq!((idle.best_link, idle.reduced), (tiers::BEST_EDGE[0], false));
        let class = fit(own(60), &settings(0), &wanted(0, 3), 0);
        assert_eq!(
            (class.routes, class.other_links),
            (tiers::ROUTE[0], tiers::CLASS_CANDIDATE[0])
        );
    }

    #[test]
    fn a_small_budget_slows_links_before_routes() {
        let tight = fit(own(55), &settings(0), &wanted(0, 3), 0);
        assert_eq!(tight.routes, tiers::ROUTE[0]);
        assert!(tight.reduced && tight.other_links != tiers::CLASS_CANDIDATE[0]);
        let padded = fit(own(60), &settings(500), &wanted(0, 3), 0);
        assert_ne!(padded.routes, tiers::ROUTE[0], "padding counts");
    }

    #[test]
    fn what_is_at_risk_comes_first_and_candidates_go_faster() {
        let both = fit(own(60), &settings(0), &wanted(3, 3), 0);
        assert_eq!(both.routes_at_risk, tiers::ROUTE[0]);
        assert!(both.routes.spacing() > tiers::ROUTE[0].spacing());
        // Five candidates beside the entries of the routes.
        let one = Wanted {
            links: 5,
            ..wanted(3, 0)
        };
        let calm = Wanted {
            routes: 3,
            routes_at_risk: 0,
            ..one
        };
        let [at_risk, calm] = [one, calm].map(|w| fit(own(60), &settings(0), &w, 0).other_links);
        assert_eq!((at_risk.spacing(), calm.spacing()), (5, 10));
    }

    #[test]
    fn a_site_s_share_pays_for_the_peer_s_probes_too() {
        let asked = |answers, kbps: u64| {
            let line = Some(kbps * 1_000);
            let wanted = Wanted {
                answers,
                ..wanted(0, 3)
            };
            fit(Allowed { line, ..own(60) }, &settings(0), &wanted, 0).routes
        };
        assert_eq!(asked(false, 60), tiers::ROUTE[0]);
        assert_eq!(asked(true, 60), tiers::ROUTE[1]);
    }

    #[test]
    fn places_stay_while_others_come_and_go() {
        let id = |n| EdgeId::new(n).unwrap();
        let pattern = tiers::IDLE_CANDIDATE[0];
        let mut places = Places::new(123);
        places.settle(&[id(1), id(2), id(3)]);
        let [one, two, three] = [1, 2, 3].map(|n| places.link(id(n), pattern));
        assert!(one != two && two != three && one != three);
        places.settle(&[id(1), id(3), id(4)]);
        assert_eq!(places.link(id(1), pattern), one);
        assert_eq!(places.link(id(3), pattern), three);
        assert_eq!(places.link(id(4), pattern), two, "the place that became free");
    }
}
