use proptest::prelude::*;

use super::*;
use crate::{Due, Mono, Schedule, Spread};

const IDLE_BUDGET: u64 = 10_000;
const IN_CLASS_BUDGET: u64 = 60_000;

fn group(count: u32, ladder: &'static [Pattern], probe: Bytes) -> Group {
    Group {
        count,
        ladder,
        probe,
        peer: Bytes::default(),
    }
}

fn own(budget: u64, reports: u64) -> Limits {
    let own = Bytes {
        out: budget.saturating_sub(reports),
        back: budget,
    };
    Limits { own, line: None }
}

fn idle(others: u32) -> [Group; 2] {
    [
        group(1, BEST_EDGE, LINK_PROBE),
        group(others, IDLE_CANDIDATE, LINK_PROBE),
    ]
}

fn in_class(routes: u32, others: u32, candidates: &'static [Pattern]) -> [Group; 2] {
    [
        group(routes, ROUTE, ROUTE_PROBE),
        group(others, candidates, LINK_PROBE),
    ]
}

#[test]
fn the_wanted_rates_fit_the_default_budgets() {
    let idle = fit(&idle(7), own(IDLE_BUDGET, IDLE_REPORTS), 0);
    assert_eq!(idle.patterns, [Some(every(10)), Some(BURST)]);
    let load = Bytes {
        out: 1_208 + 705,
        back: 984 + 574,
    };
    assert_eq!(idle.load, load);
    let limits = own(IN_CLASS_BUDGET, IN_CLASS_REPORTS);
    let class = fit(&in_class(3, 5, CLASS_CANDIDATE), limits, 0);
    assert_eq!(class.patterns, [Some(every(1)), Some(every(10))]);
    let load = Bytes {
        out: 42_240 + 6_040,
        back: 48_960 + 4_920,
    };
    assert_eq!(class.load, load);
    let risk = fit(&in_class(3, 5, RISK_CANDIDATE), limits, 0);
    assert_eq!(risk.patterns, [Some(every(1)), Some(every(5))]);
    let load = Bytes {
        out: 42_240 + 12_080,
        back: 48_960 + 9_840,
    };
    assert_eq!(risk.load, load);
    for fit in [idle, class, risk] {
        assert!(!fit.reduced && !fit.over_budget);
    }
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
    let groups = in_class(3, 5, CLASS_CANDIDATE);
    for (budget, routes, others) in table {
        let fit = fit(&groups, own(budget, IN_CLASS_REPORTS), 0);
        assert_eq!(fit.patterns, [Some(routes), Some(others)], "{budget}");
        assert!(fit.load.back <= budget && fit.load.out <= budget - IN_CLASS_REPORTS);
    }
    let hopeless = fit(&groups, own(0, 0), 0);
    assert!(hopeless.over_budget && hopeless.reduced);
    assert_eq!(
        hopeless.patterns,
        [ROUTE.last().copied(), CLASS_CANDIDATE.last().copied()]
    );
    let none = fit(&in_class(0, 0, CLASS_CANDIDATE), own(0, 0), 0);
    assert!(!none.over_budget && !none.reduced);
}

#[test]
fn what_a_peer_sends_counts_on_the_line_only() {
    let mut groups = in_class(3, 0, CLASS_CANDIDATE);
    groups[0].peer = Bytes {
        out: ROUTE_PROBE.back,
        back: ROUTE_PROBE.out,
    };
    // 3 · 10/s · (176 + 204) B · 8
    let line = |bits| {
        Some(Bytes {
            out: bits,
            back: bits,
        })
    };
    let routes = |line| {
        fit(
            &groups,
            Limits {
                line,
                ..own(60_000, 0)
            },
            0,
        )
        .patterns[0]
    };
    assert_eq!(routes(None), Some(ROUTE[0]));
    assert_eq!(routes(line(91_200)), Some(ROUTE[0]));
    assert_eq!(routes(line(91_199)), Some(ROUTE[1]));
}

#[test]
fn rungs_are_taken_from_the_least_important_first() {
    let groups = in_class(3, 5, CLASS_CANDIDATE);
    let limits = own(IN_CLASS_BUDGET, IN_CLASS_REPORTS);
    let after = |down| {
        let fit = fit(&groups, limits, down);
        (fit.patterns[0], fit.patterns[1], fit.load)
    };
    let last = CLASS_CANDIDATE.last().copied();
    for (down, routes, others) in [
        (1, Some(ROUTE[0]), Some(CLASS_CANDIDATE[1])),
        (5, Some(ROUTE[0]), last),
        (6, Some(ROUTE[1]), last),
        (11, ROUTE.last().copied(), last),
        (u32::MAX, ROUTE.last().copied(), last),
    ] {
        let (of_routes, of_others, _) = after(down);
        assert_eq!((of_routes, of_others), (routes, others), "{down}");
    }
    assert_eq!(fit(&groups, limits, 3).rungs, 11);
    assert_eq!(fit(&groups, own(53_879, IN_CLASS_REPORTS), 0).rungs, 10);
    assert!((0..11).all(|down| after(down + 1).2.out < after(down).2.out));
}

#[test]
fn ladders_fall() {
    for ladder in [BEST_EDGE, IDLE_CANDIDATE, ROUTE, CLASS_CANDIDATE, RISK_CANDIDATE] {
        let rate = |p: &Pattern| f64::from(p.slots().get()) / f64::from(p.period().get());
        assert!(ladder.windows(2).all(|w| rate(&w[0]) > rate(&w[1])));
    }
    assert_eq!(BURST.slots().get(), 5);
}

/// Steps of ten minutes at which an idle agent probes, with repeats: the best edge and `others`.
fn idle_steps(turn: u32, others: u32) -> Vec<u64> {
    let spread = Spread::new(turn);
    let mut schedule = Schedule::new(Mono::ZERO, Duration::ZERO, BASE);
    schedule.set(0, spread.place(BEST_EDGE[0], 0), Mono::ZERO);
    for other in 1..=others {
        schedule.set(other, spread.place(IDLE_CANDIDATE[0], other - 1), Mono::ZERO);
    }
    let mut steps = Vec::new();
    let mut due = Vec::new();
    while let Some(at) = schedule
        .next_wakeup()
        .filter(|at| *at < Mono::from_millis(600_000))
    {
        schedule.poll(at, &mut due);
        let step = at.since(Mono::ZERO).as_millis() / BASE.as_millis();
        let sent = due.drain(..).filter(|d| matches!(d, Due::Send { .. })).count();
        steps.extend(std::iter::repeat_n(u64::try_from(step).unwrap(), sent));
    }
    steps
}

proptest! {
    /// Two in any second: the best edge's, and one of the others'.
    #[test]
    fn idle_probes_never_come_together(turn in any::<u32>(), others in 0u32..=8) {
        let steps = idle_steps(turn, others);
        // From when all have begun: five a minute of each, and one a second.
        let begun = steps.iter().filter(|s| **s >= 600).count();
        prop_assert_eq!(begun, 540 + 9 * 5 * usize::try_from(others).unwrap());
        for window in steps.windows(3) {
            prop_assert!(window[2] - window[0] >= u64::from(SECOND), "{:?}", window);
        }
        // Nobody wakes up for the others.
        let mut wakeups = steps;
        wakeups.dedup();
        prop_assert!(wakeups.len() <= 600);
    }
}

#[test]
fn agents_that_start_together_probe_at_different_steps() {
    let first = |turn| {
        let spread = Spread::new(turn);
        [0, 1].map(|place| {
            let mut schedule = Schedule::new(Mono::ZERO, Duration::ZERO, BASE);
            schedule.set((), spread.place(BURST, place), Mono::ZERO);
            schedule.next_wakeup()
        })
    };
    let mut all: Vec<_> = (0..MINUTE).map(first).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), MINUTE as usize);
}
