//! Offsets and rates of the clocks of machines against each other, without any clock outside.
//!
//! A packet cannot arrive before it is sent: for a raw difference `received there − sent here` from `i` to
//! `j`, `offset(j) − offset(i) ≤ raw` at that time. Packets the other way bound it from below. Every bound
//! holds for the clocks, not for a link: closed over the whole graph (shortest paths), machines that never
//! exchange a packet have one too, and a link whose two directions differ is tightened by ways around it.
//!
//! **Rates.** Two clocks drift against each other by no more than a stated rate, and each keeps to its own
//! mean rate within a stated wander. A line that stays below all upper bounds and above all lower ones has
//! the clocks' mean rate as its slope: the steepest and the flattest such line bound it, the better the
//! longer the observations reach back, and rates too are closed over the graph. A bound widens with its age
//! by what is left of doubt about the rate.
//!
//! What the two ends cannot see is how delay is split between the directions: the estimate is the middle
//! of what is possible, and its bound reaches to both ends.

mod bounds;
mod relation;
mod settled;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::Mono;
use bounds::Pair;
pub use relation::{Offset, OneWay, Relation};
use settled::Known;
pub use settled::Settled;

/// How fast and how far clocks are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockConfig {
    /// The most that two clocks drift against each other, in parts per million. Crystals differ by up
    /// to 100 ppm each way.
    pub drift_ppm: u32,
    /// The most by which the rate of two clocks against each other leaves its mean of the last `max_age`, in
    /// parts per million. A crystal's rate changes by 0.04 ppm·K⁻² times the square of the distance from
    /// where it is flattest: for 16 K that is 10.
    pub wander_ppm: u32,
    /// Observations older than this are dropped.
    pub max_age: Duration,
}

impl Default for ClockConfig {
    fn default() -> Self {
        Self {
            drift_ppm: 200,
            wander_ppm: 10,
            max_age: Duration::from_secs(3_600),
        }
    }
}

impl ClockConfig {
    const fn drift_ppb(&self) -> i64 {
        self.drift_ppm as i64 * 1_000
    }
}

/// Finding the clock that stepped costs with the fourth power of their number: of more, all are forgotten.
const MOST_SUSPECTS: usize = 64;

/// The clocks of several machines. `K` names a clock, which is a machine's in one boot, from one sleep to the
/// next.
#[derive(Debug, Clone)]
pub struct ClockGraph<K> {
    config: ClockConfig,
    /// By the two clocks, the lesser first.
    pairs: BTreeMap<(K, K), Pair>,
    steps: u64,
}

/// What an observation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// It fits what was known.
    Consistent,
    /// It cannot be true beside older ones, so one of the two clocks has stepped: all that was known of both
    /// was dropped.
    ClockStep,
}

impl<K: Ord + Copy> ClockGraph<K> {
    pub fn new(config: ClockConfig) -> Self {
        Self {
            config,
            pairs: BTreeMap::new(),
            steps: 0,
        }
    }

    /// Takes a raw difference, `received at to − sent at from`, each on its own clock, in µs, of a packet that
    /// was received no more than `within` before `at`. `at` is on the clock of whoever keeps this graph, and
    /// does not go backwards: what is older than the last of its direction is let go.
    ///
    /// A step smaller than the round trip can go unseen: whoever knows of one (a sleep, a restart) gives the
    /// clock another name.
    pub fn observe(&mut self, from: K, to: K, raw_us: i64, at: Mono, within: Duration) -> Observed {
        if from == to {
            return Observed::Consistent;
        }
        let config = self.config;
        let key = (from.min(to), from.max(to));
        let there = from < to;
        let pair = self.pairs.entry(key).or_default();
        pair.take(there, raw_us, at, within, &config);
        if pair.relation(at, &config).is_ok() {
            return Observed::Consistent;
        }
        self.steps += 1;
        self.forget(from);
        self.forget(to);
        let mut pair = Pair::default();
        pair.take(there, raw_us, at, within, &config);
        self.pairs.insert(key, pair);
        Observed::ClockStep
    }

    /// Drops all that is known of a clock.
    pub fn forget(&mut self, clock: K) {
        self.pairs.retain(|&(a, b), _| a != clock && b != clock);
    }

    /// How many clock steps have been seen.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How the clock of `to` stands against that of `from` around `at`, by the packets between these two
    /// alone; none where they do not bound it on both sides.
    pub fn between(&self, from: K, to: K, at: Mono) -> Option<Relation> {
        if from == to {
            return Some(Relation::same(at));
        }
        let pair = self.pairs.get(&(from.min(to), from.max(to)))?;
        let relation = pair.relation(at, &self.config).ok().flatten()?;
        Some(if from < to { relation } else { relation.turned() })
    }

    /// How all clocks stand against each other around `at`, by all ways between them. Costs with the third
    /// power of their number.
    ///
    /// Bounds that contradict each other on a way round show a step that no pair shows by itself. If one clock
    /// has stepped, it is on all such ways, and without it there is none: every clock of which that is true is
    /// forgotten, and if there is none, all are.
    pub fn settle(&mut self, at: Mono) -> Settled<K> {
        self.pairs.retain(|_, pair| pair.is_fresh(at, &self.config));
        let known: Vec<Known<K>> = self
            .pairs
            .iter()
            .map(|(&(a, b), pair)| Known {
                clocks: [a, b],
                relation: pair.relation(at, &self.config),
            })
            .collect();
        if let Some(settled) = Settled::of(known.iter(), at, &self.config) {
            return settled;
        }
        self.steps += 1;
        let suspects = self.suspects(&known, at);
        if suspects.is_empty() {
            self.pairs.clear();
        }
        for &clock in &suspects {
            self.forget(clock);
        }
        let rest = known
            .iter()
            .filter(|known| self.pairs.contains_key(&known.clocks.into()));
        // Less cannot contradict where more does not.
        Settled::of(rest, at, &self.config).unwrap_or_else(|| Settled::empty(at))
    }

    /// The clocks without any one of which nothing contradicts; none of too many to try each.
    fn suspects(&self, known: &[Known<K>], at: Mono) -> Vec<K> {
        let clocks: BTreeSet<K> = known.iter().flat_map(|known| known.clocks).collect();
        if clocks.len() > MOST_SUSPECTS {
            return Vec::new();
        }
        let without = |clock: &K| {
            let rest = known.iter().filter(|known| !known.clocks.contains(clock));
            Settled::of(rest, at, &self.config).is_some()
        };
        clocks.into_iter().filter(without).collect()
    }
}

#[cfg(test)]
mod tests;
