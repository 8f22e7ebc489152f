//! How often each link and route is probed, inside the byte budget.

use std::{num::NonZeroU32, time::Duration};

use corridor_probes::{
    Pattern,
    tiers::{self, Bytes, Group},
};

use super::core::Settings;
use crate::prober::GRID;

/// Patterns for the sessions of this agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    pub best_link: Pattern,
    pub other_links: Pattern,
    pub routes: Pattern,
    /// The budget does not allow what is wanted.
    pub reduced: bool,
}

/// IP, UDP, QUIC and acknowledgements around one datagram, in bytes.
const OVERHEAD: u64 = 100;

/// Fits the probes of `links` edges and `routes` installed routes into `kbps` each way, reports set
/// aside. Routes come first: they are what the live choice lives on.
pub fn fit(kbps: u32, settings: &Settings, links: usize, routes: usize) -> Rates {
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
    let (best, others, reports) = if routes == 0 {
        (tiers::BEST_EDGE, tiers::IDLE_CANDIDATE, tiers::IDLE_REPORTS)
    } else {
        (
            tiers::CLASS_CANDIDATE,
            tiers::CLASS_CANDIDATE,
            tiers::IN_CLASS_REPORTS,
        )
    };
    let groups = [
        Group {
            count: count(routes),
            ladder: tiers::ROUTE,
            probe: route,
        },
        Group {
            count: count(links.min(1)),
            ladder: best,
            probe: link,
        },
        Group {
            count: count(links.saturating_sub(1)),
            ladder: others,
            probe: link,
        },
    ];
    let bits = u64::from(kbps) * 1_000;
    let fit = tiers::fit(
        &groups,
        Bytes {
            out: bits.saturating_sub(reports),
            back: bits,
        },
    );
    let pattern = |i: usize, ladder: &[Pattern]| {
        fit.patterns
            .get(i)
            .copied()
            .flatten()
            .or(ladder.last().copied())
            .unwrap_or(SLOWEST)
    };
    Rates {
        routes: pattern(0, tiers::ROUTE),
        best_link: pattern(1, best),
        other_links: pattern(2, others),
        reduced: fit.reduced,
    }
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
const SLOWEST: Pattern = Pattern::every(std::num::NonZeroU32::new(600).unwrap());

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(size: usize) -> Settings {
        Settings {
            link_probe_size: size,
            route_probe_size: size,
            idle_kbps: 10,
            in_class_kbps: 60,
            version: String::new(),
            platform: String::new(),
            link_type: String::new(),
        }
    }

    #[test]
    fn the_wanted_rates_fit_the_default_budgets() {
        let idle = fit(10, &settings(0), 8, 0);
        assert_eq!((idle.best_link, idle.reduced), (tiers::BEST_EDGE[0], false));
        let class = fit(60, &settings(0), 8, 3);
        assert_eq!(
            (class.routes, class.other_links),
            (tiers::ROUTE[0], tiers::CLASS_CANDIDATE[0])
        );
    }

    #[test]
    fn a_small_budget_slows_links_before_routes() {
        let tight = fit(55, &settings(0), 8, 3);
        assert_eq!(tight.routes, tiers::ROUTE[0]);
        assert!(tight.reduced && tight.other_links != tiers::CLASS_CANDIDATE[0]);
        let padded = fit(60, &settings(500), 8, 3);
        assert_ne!(padded.routes, tiers::ROUTE[0], "padding counts");
    }
}
