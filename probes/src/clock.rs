//! Offsets between the clocks of machines, without any clock outside.
//!
//! A packet cannot arrive before it is sent: for the least raw difference `received there − sent here`
//! from `i` to `j`, `offset(j) − offset(i) ≤ raw`. Packets the other way bound it from below. Every
//! bound holds for the clocks, not for a link: closed over the whole graph (shortest paths), machines
//! that never exchange a packet have one too, and a link whose two directions differ is tightened by
//! ways around it.
//!
//! Clocks drift against each other by no more than a stated rate, so that a bound widens with its age.
//! What the two ends cannot see is how delay is split between the directions: the estimate is the
//! middle of what is possible, and its bound reaches to both ends.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::Mono;

/// How fast and how far clocks are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockConfig {
    /// The most that two clocks drift against each other, in parts per million. Crystals differ by up
    /// to 100 ppm each way.
    pub drift_ppm: u32,
    /// Observations older than this are dropped: they have widened by more than any path is long.
    pub max_age: Duration,
}

impl Default for ClockConfig {
    fn default() -> Self {
        Self {
            drift_ppm: 200,
            max_age: Duration::from_secs(600),
        }
    }
}

/// Observations kept for each direction of each pair: the best, and what takes its place when it ages.
const KEPT: usize = 32;

/// Stamps are whole µs, cut off: a raw difference is off by less than this.
const GRAIN_US: i64 = 1;

/// The clocks of several machines. `K` names a clock, which is a machine's in one boot.
#[derive(Debug, Clone)]
pub struct ClockGraph<K> {
    config: ClockConfig,
    /// Of each direction, the bounds that are or will be the least, oldest first.
    pairs: BTreeMap<(K, K), VecDeque<Observation>>,
    contradictions: u64,
}

#[derive(Debug, Clone, Copy)]
struct Observation {
    at: Mono,
    raw_us: i64,
}

/// What an observation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// It fits what was known.
    Consistent,
    /// It cannot be true beside older ones, so a clock has stepped: so many of them were dropped.
    ClockStep { dropped: usize },
}

/// How far one clock is ahead of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// The least and the greatest that is possible, in µs.
    pub low_us: i64,
    pub high_us: i64,
}

/// A one-way delay and how far it may be off, in µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OneWay {
    pub delay_us: i64,
    pub bound_us: u64,
}

impl Offset {
    /// The middle of what is possible, in µs.
    pub fn estimate_us(self) -> i64 {
        self.low_us.saturating_add((self.width() / 2) as i64)
    }

    /// How far the estimate may be off, in µs.
    pub fn bound_us(self) -> u64 {
        self.width().div_ceil(2)
    }

    /// The delay that stands behind a raw difference `received there − sent here`, where this is the
    /// offset of the clock there against the one here.
    pub fn one_way(self, raw_us: i64) -> OneWay {
        OneWay {
            delay_us: raw_us.saturating_sub(self.estimate_us()),
            bound_us: self.bound_us(),
        }
    }

    fn width(self) -> u64 {
        u64::try_from(i128::from(self.high_us) - i128::from(self.low_us)).unwrap_or(0)
    }
}

impl<K: Ord + Copy> ClockGraph<K> {
    pub fn new(config: ClockConfig) -> Self {
        Self {
            config,
            pairs: BTreeMap::new(),
            contradictions: 0,
        }
    }

    /// Takes the least raw difference of a window, `received at to − sent at from`, each on its own
    /// clock, in µs; `at` is the time of observation on the clock of whoever keeps this graph.
    ///
    /// Bounds that contradict each other show that a clock has stepped; the older ones on the cycle
    /// give way. A step smaller than the round trip can go unseen: whoever knows of one (a sleep, a
    /// restart) says so with [`Self::forget`].
    pub fn observe(&mut self, from: K, to: K, raw_us: i64, at: Mono) -> Observed {
        if from == to {
            return Observed::Consistent;
        }
        self.expire(at);
        let new = Observation { at, raw_us };
        let mut dropped = 0;
        // Each turn drops one observation, so that this ends.
        while let Some(oldest) = self.contradicting(from, to, self.bound_us(&new, at), at) {
            if let Some(kept) = self.pairs.get_mut(&oldest) {
                kept.pop_front();
                if kept.is_empty() {
                    self.pairs.remove(&oldest);
                }
            }
            dropped += 1;
        }
        let drift = self.config.drift_ppm;
        let kept = self.pairs.entry((from, to)).or_default();
        while kept
            .back()
            .is_some_and(|o| bound_us(o, at, drift) >= bound_us(&new, at, drift))
        {
            kept.pop_back();
        }
        if kept.len() == KEPT {
            kept.pop_back();
        }
        kept.push_back(new);
        if dropped == 0 {
            return Observed::Consistent;
        }
        self.contradictions += 1;
        Observed::ClockStep { dropped }
    }

    /// Drops all that is known of a clock.
    pub fn forget(&mut self, clock: K) {
        self.pairs.retain(|&(from, to), _| from != clock && to != clock);
    }

    /// How many clock steps have been seen.
    pub fn contradictions(&self) -> u64 {
        self.contradictions
    }

    /// How far the clock of `to` is ahead of that of `from` at `now`; none where nothing bounds it on
    /// both sides.
    pub fn offset(&self, from: K, to: K, now: Mono) -> Option<Offset> {
        if from == to {
            return Some(Offset {
                low_us: 0,
                high_us: 0,
            });
        }
        let high_us = *self.least_from(from, now).bounds.get(&to)?;
        let low_us = self.least_from(to, now).bounds.get(&from)?.saturating_neg();
        (low_us <= high_us).then_some(Offset { low_us, high_us })
    }

    /// Every clock that an observation names, in order.
    pub fn clocks(&self) -> Vec<K> {
        let mut all: Vec<K> = self.pairs.keys().flat_map(|&(from, to)| [from, to]).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// [`Self::offset`] to every other clock that is bounded on both sides, at the cost of one.
    pub fn offsets(&self, from: K, now: Mono) -> BTreeMap<K, Offset> {
        let there = self.least(from, now, false).bounds;
        let back = self.least(from, now, true).bounds;
        let both = there
            .into_iter()
            .filter(|(to, _)| *to != from)
            .filter_map(|(to, high_us)| {
                let low_us = back.get(&to)?.saturating_neg();
                (low_us <= high_us).then_some((to, Offset { low_us, high_us }))
            });
        both.collect()
    }

    fn bound_us(&self, o: &Observation, now: Mono) -> i64 {
        bound_us(o, now, self.config.drift_ppm)
    }

    fn expire(&mut self, now: Mono) {
        let max_age = self.config.max_age;
        self.pairs.retain(|_, kept| {
            while kept.front().is_some_and(|o| now.since(o.at) > max_age) {
                kept.pop_front();
            }
            !kept.is_empty()
        });
    }

    /// The pair with the oldest bound on the way back from `to` to `from`, if that way and a bound of
    /// `new_us` from `from` to `to` leave no room.
    fn contradicting(&self, from: K, to: K, new_us: i64, now: Mono) -> Option<(K, K)> {
        let least = self.least_from(to, now);
        if least.bounds.get(&from)?.saturating_add(new_us) >= 0 {
            return None;
        }
        let (mut at, mut oldest) = (from, None);
        // No way is longer than there are clocks.
        for _ in 0..=least.before.len() {
            if at == to {
                break;
            }
            let before = *least.before.get(&at)?;
            let age = self.pairs.get(&(before, at))?.front()?.at;
            if oldest.is_none_or(|(oldest_at, _)| age < oldest_at) {
                oldest = Some((age, (before, at)));
            }
            at = before;
        }
        oldest.map(|(_, pair)| pair)
    }

    fn least_from(&self, source: K, now: Mono) -> Least<K> {
        self.least(source, now, false)
    }

    /// Shortest paths from one clock, or reversed, to it (Bellman–Ford; bounds may be negative).
    fn least(&self, source: K, now: Mono, reversed: bool) -> Least<K> {
        let edges: Vec<_> = self
            .pairs
            .iter()
            .filter_map(|(&(from, to), kept)| {
                let pair = if reversed { (to, from) } else { (from, to) };
                Some((pair, self.bound_us(kept.front()?, now)))
            })
            .collect();
        let mut least = Least {
            bounds: BTreeMap::from([(source, 0)]),
            before: BTreeMap::new(),
        };
        // One pass more than any path is long; without a negative cycle the last changes nothing.
        for _ in 0..=edges.len() {
            let mut changed = false;
            for &((from, to), bound) in &edges {
                let Some(&so_far) = least.bounds.get(&from) else {
                    continue;
                };
                let through = so_far.saturating_add(bound);
                if to != source && least.bounds.get(&to).is_none_or(|&known| through < known) {
                    least.bounds.insert(to, through);
                    least.before.insert(to, from);
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        least
    }
}

struct Least<K> {
    bounds: BTreeMap<K, i64>,
    before: BTreeMap<K, K>,
}

/// The bound at `now`, before or after it was observed.
fn bound_us(o: &Observation, now: Mono, drift_ppm: u32) -> i64 {
    let age_us = now.since(o.at).max(o.at.since(now)).as_micros();
    let widened = (age_us * u128::from(drift_ppm)).div_ceil(1_000_000);
    let widened = i64::try_from(widened).unwrap_or(i64::MAX);
    o.raw_us.saturating_add(GRAIN_US).saturating_add(widened)
}

#[cfg(test)]
mod tests;
