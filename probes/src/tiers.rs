//! How often is what probed, and what does that cost?
//!
//! A process has one grid of 100 ms steps. Per probe, IP bytes out and back, acknowledgements
//! included, on a QUIC connection over IPv4:
//!
//! | | out | back |
//! |---|---|---|
//! | link probe (measured) | 151 B | 123 B |
//! | route probe: header, edges, stamps of 3 edges and a far agent | 151 + 25 B | 123 + 81 B |
//!
//! Idle, with 8 candidate edges, each direction's larger side:
//! best edge 1/s · 151 B · 8 = 1.2 kbit/s; 7 others · 5 probes a minute · 151 B · 8 = 0.7 kbit/s:
//! 1.9 of 10 kbit/s; the rest is for reports, traces and reconnecting. The others take turns over the
//! minute ([`crate::Spread`]), each probe beside one to the best edge: two in a second at most, and no
//! wake-up of their own.
//!
//! In class, with 3 routes installed and 5 other candidates:
//! 3 · 10/s · 204 B · 8 = 49.0 kbit/s back (42.2 out); 5 · 1/s · 151 B · 8 = 6.0 kbit/s out (4.9
//! back): 53.9 of 60 kbit/s back, 48.3 out, where reports go.
//!
//! At risk, the same with the other candidates at 2/s, since one of them may be needed next:
//! 49.0 + 9.8 = 58.8 of 60 kbit/s back, 42.2 + 12.1 = 54.3 out.
//!
//! On a metered line, idle: best edge 1/2 s · 151 B · 8 = 0.6 kbit/s, others once a minute 0.1: 0.7 of
//! 2 kbit/s, of which reports have 1. In class: 3 · 5/s · 204 B · 8 = 24.5 kbit/s back (21.1 out), others
//! 1/2 s 2.5 (3.0 out): 27.0 of 30 kbit/s, 24.1 out.

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

impl std::ops::Add for Bytes {
    type Output = Self;

    /// Stays at the largest number there is.
    fn add(self, other: Self) -> Self {
        Self {
            out: self.out.saturating_add(other.out),
            back: self.back.saturating_add(other.back),
        }
    }
}

/// A link probe and its echo.
pub const LINK_PROBE: Bytes = Bytes { out: 151, back: 123 };

/// A route probe over three edges to an agent, and its echo: the longest there is, unpadded.
pub const ROUTE_PROBE: Bytes = Bytes {
    out: LINK_PROBE.out + 25,
    back: LINK_PROBE.back + 81,
};

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

/// Five probes, a second apart, once a minute: enough for a median and to see loss. The best edge is probed
/// at the same steps, so that nothing wakes up for these.
const BURST: Pattern = match (
    NonZeroU32::new(5),
    NonZeroU32::new(SECOND),
    NonZeroU32::new(MINUTE),
) {
    (Some(five), Some(second), Some(minute)) => match Pattern::burst(five, second, minute) {
        Ok(burst) => burst,
        Err(_) => every(MINUTE),
    },
    _ => every(MINUTE),
};

/// A link that has just come up, for a second: whenever its turn in the minute comes.
pub const FIRST_LOOK: Pattern = every(SECOND / 5);

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
/// Installed routes in class. The last two are for sites that many agents share.
pub const ROUTE: &[Pattern] = &[
    every(1),
    every(2),
    every(5),
    every(SECOND),
    every(2 * SECOND),
    every(5 * SECOND),
    every(10 * SECOND),
];
/// Other candidates in class.
pub const CLASS_CANDIDATE: &[Pattern] = &[
    every(SECOND),
    every(2 * SECOND),
    every(5 * SECOND),
    BURST,
    every(MINUTE),
    every(5 * MINUTE),
];
/// Other candidates while a leg is at risk.
pub const RISK_CANDIDATE: &[Pattern] = &[
    every(SECOND / 2),
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
    /// What comes with each probe beside it: an equal one of the peer, and its echo.
    pub peer: Bytes,
}

/// Bits a second, each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of what this process sends for itself, and gets for that.
    pub own: Bytes,
    /// Of what its line carries, peers' probes included; `None` if that is nobody else's.
    pub line: Option<Bytes>,
}

/// What fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    /// Of each group, in the order given; none for a group without a ladder.
    pub patterns: Vec<Option<Pattern>>,
    /// Bits a second, each way, without what peers send.
    pub load: Bytes,
    /// Something is probed less often than wanted.
    pub reduced: bool,
    /// Even the least is too much.
    pub over_budget: bool,
    /// How many rungs there are below what fits: further down there is nothing.
    pub rungs: u32,
}

/// Fits the groups, the most important first, into the limits: each in turn gets the highest rate that
/// leaves those after it at least their lowest. Then `down` rungs are taken away again, from the least
/// important groups first.
pub fn fit(groups: &[Group], limits: Limits, down: u32) -> Fit {
    let mut rungs: Vec<_> = groups.iter().map(|g| g.ladder.len().saturating_sub(1)).collect();
    let fits = |rungs: &[usize]| {
        let own = load(groups, rungs, |g| g.probe);
        let peers = load(groups, rungs, |g| g.peer);
        let within = |load: Bytes, limit: Bytes| load.out <= limit.out && load.back <= limit.back;
        within(own, limits.own) && limits.line.is_none_or(|line| within(own + peers, line))
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
    let below: usize = groups
        .iter()
        .zip(&rungs)
        .filter(|(g, _)| g.count > 0)
        .map(|(g, &rung)| g.ladder.len().saturating_sub(1 + rung))
        .sum();
    for _ in 0..down {
        let above_last = |n: &usize| groups[*n].count > 0 && rungs[*n] + 1 < groups[*n].ladder.len();
        match (0..groups.len()).rev().find(above_last) {
            Some(least) => rungs[least] += 1,
            None => break,
        }
    }
    Fit {
        patterns: groups
            .iter()
            .zip(&rungs)
            .map(|(g, &rung)| g.ladder.get(rung).copied())
            .collect(),
        load: load(groups, &rungs, |g| g.probe),
        reduced: groups
            .iter()
            .zip(&rungs)
            .any(|(g, &rung)| g.count > 0 && rung > 0),
        over_budget,
        rungs: u32::try_from(below).unwrap_or(u32::MAX),
    }
}

fn load(groups: &[Group], rungs: &[usize], of: impl Fn(&Group) -> Bytes) -> Bytes {
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
        sum = sum
            + Bytes {
                out: bits(of(group).out),
                back: bits(of(group).back),
            };
    }
    sum
}

#[cfg(test)]
mod tests;
