//! How often is what probed, and what does that cost?
//!
//! A process has one grid of 100 ms steps. Per probe, IP bytes out and back, acknowledgements
//! included, on a QUIC connection:
//!
//! | | out | back |
//! |---|---|---|
//! | link probe (measured) | 151 B | 123 B |
//! | route probe: header, edges, stamps of 3 edges and a far agent | 151 + 25 B | 123 + 81 B |
//!
//! Idle, with 8 candidate edges, each direction's larger side:
//! best edge 1/s · 151 B · 8 = 1.2 kbit/s; 7 others · 5 probes a minute · 151 B · 8 = 0.7 kbit/s:
//! 1.9 of 10 kbit/s; the rest is for reports, traces and reconnecting.
//!
//! In class, with 3 routes installed and 5 other candidates:
//! 3 · 10/s · 204 B · 8 = 49.0 kbit/s back (42.2 out); 5 · 1/s · 151 B · 8 = 6.0 kbit/s out (4.9
//! back): 53.9 of 60 kbit/s back, 48.3 out, where reports go.

use std::{num::NonZeroU32, time::Duration};

use crate::Pattern;

/// One step of the grid.
pub const BASE: Duration = Duration::from_millis(100);

/// IP bytes each way, of one probe or a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bytes {
    pub out: u64,
    pub back: u64,
}

/// A link probe and its echo.
pub const LINK_PROBE: Bytes = Bytes { out: 151, back: 123 };

/// A route probe over three edges to an agent, and its echo: the longest there is, unpadded.
pub const ROUTE_PROBE: Bytes = Bytes {
    out: LINK_PROBE.out + 25,
    back: LINK_PROBE.back + 81,
};

/// Bits a second, each way, when nothing else is set.
pub const IDLE_BUDGET: u64 = 10_000;
/// See [`IDLE_BUDGET`].
pub const IN_CLASS_BUDGET: u64 = 60_000;

/// What reports take of it, in bits a second out: a report of 10 s in class is up to 5 kB with its
/// samples and framing, an idle one of 60 s as much.
pub const IDLE_REPORTS: u64 = 1_000;
/// See [`IDLE_REPORTS`].
pub const IN_CLASS_REPORTS: u64 = 4_000;

const fn every(steps: u32) -> Pattern {
    match NonZeroU32::new(steps) {
        Some(steps) => Pattern::every(steps),
        None => Pattern::every(NonZeroU32::MIN),
    }
}

const SECOND: u32 = 10;
const MINUTE: u32 = 600;

/// Five probes, 100 ms apart, once a minute: enough for a median and to see loss, and one waking of
/// the radio.
const BURST: Pattern = match (NonZeroU32::new(5), NonZeroU32::new(MINUTE)) {
    (Some(five), Some(minute)) => match Pattern::burst(five, NonZeroU32::MIN, minute) {
        Ok(burst) => burst,
        Err(_) => every(MINUTE),
    },
    _ => every(MINUTE),
};

/// Best rate first; a budget that is too small takes later ones.
pub const BEST_EDGE: &[Pattern] = &[
    every(SECOND),
    every(2 * SECOND),
    every(5 * SECOND),
    every(10 * SECOND),
    every(MINUTE),
];
/// Other candidates while idle.
pub const IDLE_CANDIDATE: &[Pattern] = &[BURST, every(MINUTE), every(5 * MINUTE)];
/// Installed routes in class.
pub const ROUTE: &[Pattern] = &[every(1), every(2), every(5), every(SECOND), every(2 * SECOND)];
/// Other candidates in class.
pub const CLASS_CANDIDATE: &[Pattern] = &[
    every(SECOND),
    every(2 * SECOND),
    every(5 * SECOND),
    BURST,
    every(MINUTE),
    every(5 * MINUTE),
];

/// Things that are probed alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    pub count: u32,
    /// Patterns by falling rate; the first is wanted. Not empty.
    pub ladder: &'static [Pattern],
    pub probe: Bytes,
}

/// What fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    /// Of each group, in the order given; none for a group without a ladder.
    pub patterns: Vec<Option<Pattern>>,
    /// Bits a second, each way.
    pub load: Bytes,
    /// Something is probed less often than wanted.
    pub reduced: bool,
    /// Even the least is too much.
    pub over_budget: bool,
}

/// Fits the groups, the most important first, into `budget` bits a second each way: each in turn gets
/// the highest rate that leaves those after it at least their lowest.
pub fn fit(groups: &[Group], budget: Bytes) -> Fit {
    let mut rungs: Vec<_> = groups.iter().map(|g| g.ladder.len().saturating_sub(1)).collect();
    let fits = |rungs: &[usize]| {
        let load = load(groups, rungs);
        load.out <= budget.out && load.back <= budget.back
    };
    let over_budget = !fits(&rungs);
    for group in 0..groups.len() {
        let lowest = rungs[group];
        rungs[group] = (0..lowest)
            .find(|&rung| {
                rungs[group] = rung;
                fits(&rungs)
            })
            .unwrap_or(lowest);
    }
    Fit {
        patterns: groups
            .iter()
            .zip(&rungs)
            .map(|(g, &rung)| g.ladder.get(rung).copied())
            .collect(),
        load: load(groups, &rungs),
        reduced: groups
            .iter()
            .zip(&rungs)
            .any(|(g, &rung)| g.count > 0 && rung > 0),
        over_budget,
    }
}

/// Patterns while idle: of the best edge, and of each of the `others`. `budget` is in bits a second.
pub fn idle(others: u32, budget: u64) -> Fit {
    let groups = [
        Group {
            count: 1,
            ladder: BEST_EDGE,
            probe: LINK_PROBE,
        },
        Group {
            count: others,
            ladder: IDLE_CANDIDATE,
            probe: LINK_PROBE,
        },
    ];
    fit(&groups, less_reports(budget, IDLE_REPORTS))
}

/// Patterns in class: of each of the installed `routes`, and of each of the `others`.
pub fn in_class(routes: u32, others: u32, budget: u64) -> Fit {
    let groups = [
        Group {
            count: routes,
            ladder: ROUTE,
            probe: ROUTE_PROBE,
        },
        Group {
            count: others,
            ladder: CLASS_CANDIDATE,
            probe: LINK_PROBE,
        },
    ];
    fit(&groups, less_reports(budget, IN_CLASS_REPORTS))
}

fn less_reports(budget: u64, reports: u64) -> Bytes {
    Bytes {
        out: budget.saturating_sub(reports),
        back: budget,
    }
}

fn load(groups: &[Group], rungs: &[usize]) -> Bytes {
    let mut sum = Bytes::default();
    for (group, &rung) in groups.iter().zip(rungs) {
        let Some(pattern) = group.ladder.get(rung) else {
            continue;
        };
        let probes = u128::from(group.count) * u128::from(pattern.slots().get());
        let steps_a_second = Duration::from_secs(1).as_nanos() / BASE.as_nanos();
        let bits = |bytes: u64| {
            let up = probes * u128::from(bytes) * 8 * steps_a_second;
            u64::try_from(up.div_ceil(u128::from(pattern.period().get()))).unwrap_or(u64::MAX)
        };
        sum.out = sum.out.saturating_add(bits(group.probe.out));
        sum.back = sum.back.saturating_add(bits(group.probe.back));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wanted_rates_fit_the_default_budgets() {
        let idle = idle(7, IDLE_BUDGET);
        assert_eq!(idle.patterns, [Some(every(10)), Some(BURST)]);
        assert_eq!(
            idle.load,
            Bytes {
                out: 1_208 + 705,
                back: 984 + 574
            }
        );
        let class = in_class(3, 5, IN_CLASS_BUDGET);
        assert_eq!(class.patterns, [Some(every(1)), Some(every(10))]);
        assert_eq!(
            class.load,
            Bytes {
                out: 42_240 + 6_040,
                back: 48_960 + 4_920
            }
        );
        assert!(!idle.reduced && !class.reduced && !class.over_budget);
    }

    #[test]
    fn candidates_give_way_before_routes_and_what_is_left_goes_to_them() {
        let table = [
            // (budget, routes' pattern, others' pattern)
            (53_880, ROUTE[0], CLASS_CANDIDATE[0]),
            (53_879, ROUTE[0], CLASS_CANDIDATE[1]),
            (50_000, ROUTE[0], CLASS_CANDIDATE[2]),
            (49_000, ROUTE[0], CLASS_CANDIDATE[5]),
            (48_970, ROUTE[1], CLASS_CANDIDATE[0]),
            (6_900, ROUTE[4], CLASS_CANDIDATE[3]),
        ];
        for (budget, routes, others) in table {
            let fit = in_class(3, 5, budget);
            assert_eq!(fit.patterns, [Some(routes), Some(others)], "{budget}");
            assert!(fit.load.back <= budget && fit.load.out <= budget - IN_CLASS_REPORTS);
        }
        let hopeless = in_class(3, 5, 0);
        assert!(hopeless.over_budget && hopeless.reduced);
        assert_eq!(
            hopeless.patterns,
            [ROUTE.last().copied(), CLASS_CANDIDATE.last().copied()]
        );
        let none = in_class(0, 0, 0);
        assert!(!none.over_budget && !none.reduced);
    }

    #[test]
    fn ladders_fall() {
        for ladder in [BEST_EDGE, IDLE_CANDIDATE, ROUTE, CLASS_CANDIDATE] {
            let rate = |p: &Pattern| f64::from(p.slots().get()) / f64::from(p.period().get());
            assert!(ladder.windows(2).all(|w| rate(&w[0]) > rate(&w[1])));
        }
        assert_eq!(BURST.slots().get(), 5);
    }
}
