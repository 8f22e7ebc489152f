//! All clocks against each other, by all ways between them.

use super::{
    ClockConfig,
    bounds::Contradiction,
    relation::{Offset, Relation},
};
use crate::Mono;

/// See [`super::ClockGraph::settle`].
#[derive(Debug, Clone)]
pub struct Settled<K> {
    at: Mono,
    /// In order.
    clocks: Vec<K>,
    /// By the clock here and the one there, row by row: the most that the latter is ahead (µs) and gains
    /// (parts in 10⁹).
    ahead_us: Vec<i64>,
    gains_ppb: Vec<i64>,
}

/// What the packets between two clocks say of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<K> {
    /// The lesser first.
    pub(super) clocks: [K; 2],
    pub(super) relation: Result<Option<Relation>, Contradiction>,
}

/// No bound. Far enough from the end of the range that sums of a few keep their meaning.
const NONE: i64 = i64::MAX / 4;

impl<K: Ord + Copy> Settled<K> {
    pub fn empty(at: Mono) -> Self {
        Self {
            at,
            clocks: Vec::new(),
            ahead_us: Vec::new(),
            gains_ppb: Vec::new(),
        }
    }

    /// None if they contradict each other.
    pub(super) fn of<'k>(
        known: impl Iterator<Item = &'k Known<K>> + Clone,
        at: Mono,
        config: &ClockConfig,
    ) -> Option<Self>
    where
        K: 'k,
    {
        let mut clocks: Vec<K> = known.clone().flat_map(|known| known.clocks).collect();
        clocks.sort_unstable();
        clocks.dedup();
        let n = clocks.len();
        let mut ahead_us = vec![NONE; n * n];
        let mut gains_ppb = vec![config.drift_ppb(); n * n];
        for i in 0..n {
            ahead_us[i * n + i] = 0;
            gains_ppb[i * n + i] = 0;
        }
        for known in known {
            let [Ok(i), Ok(j)] = known.clocks.map(|clock| clocks.binary_search(&clock)) else {
                continue;
            };
            let Some(r) = known.relation.ok()? else {
                continue;
            };
            ahead_us[i * n + j] = r.offset.high_us.min(NONE);
            ahead_us[j * n + i] = r.offset.low_us.saturating_neg().min(NONE);
            gains_ppb[i * n + j] = r.fast_ppb;
            gains_ppb[j * n + i] = r.slow_ppb.saturating_neg();
        }
        shortest(&mut ahead_us, n);
        shortest(&mut gains_ppb, n);
        let possible = (0..n).all(|i| ahead_us[i * n + i] >= 0 && gains_ppb[i * n + i] >= 0);
        possible.then_some(Self {
            at,
            clocks,
            ahead_us,
            gains_ppb,
        })
    }

    /// As of when.
    pub fn at(&self) -> Mono {
        self.at
    }

    /// Every clock that there are observations of, in order.
    pub fn clocks(&self) -> &[K] {
        &self.clocks
    }

    /// How the clock of `to` stands against that of `from`; none where nothing bounds it on both sides.
    pub fn relation(&self, from: K, to: K) -> Option<Relation> {
        if from == to {
            return Some(Relation::same(self.at));
        }
        let n = self.clocks.len();
        let i = self.clocks.binary_search(&from).ok()?;
        let j = self.clocks.binary_search(&to).ok()?;
        let (there, back) = (i * n + j, j * n + i);
        let (high_us, low_us) = (self.ahead_us[there], self.ahead_us[back]);
        (high_us < NONE && low_us < NONE).then(|| Relation {
            at: self.at,
            offset: Offset {
                low_us: -low_us,
                high_us,
            },
            slow_ppb: -self.gains_ppb[back],
            fast_ppb: self.gains_ppb[there],
        })
    }
}

/// Shortest paths between all of `n` (Floyd and Warshall; lengths may be negative).
fn shortest(lengths: &mut [i64], n: usize) {
    for k in 0..n {
        for i in 0..n {
            let first = lengths[i * n + k];
            if first >= NONE {
                continue;
            }
            for j in 0..n {
                let second = lengths[k * n + j];
                if second >= NONE {
                    continue;
                }
                let through = first.saturating_add(second);
                let known = &mut lengths[i * n + j];
                if through < *known {
                    *known = through;
                }
            }
        }
    }
}
