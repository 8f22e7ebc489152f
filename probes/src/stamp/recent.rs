//! Memory of those who were there lately: bounded in number and in time.

use std::{collections::BTreeMap, time::Duration};

use crate::Mono;

/// What is known of each `K`; beyond `max` the longest idle one goes, and any after `idle`.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    max: usize,
    idle: Duration,
    known: BTreeMap<K, Known<V>>,
    /// By last use, longest idle first.
    by_use: BTreeMap<u64, K>,
    uses: u64,
    /// How many gave way to others though they were not idle for so long.
    pub evicted: u64,
}

#[derive(Debug)]
struct Known<V> {
    used: u64,
    at: Mono,
    value: V,
}

impl<K: Ord + Copy, V> Recent<K, V> {
    pub fn new(max: usize, idle: Duration) -> Self {
        Self {
            max: max.max(1),
            idle,
            known: BTreeMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            evicted: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// What is known of `key`, made if it was not there, and marked as used now.
    pub fn get(&mut self, key: K, now: Mono, new: impl FnOnce() -> V) -> &mut V {
        self.expire(now);
        if !self.known.contains_key(&key)
            && self.known.len() >= self.max
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.known.remove(&oldest);
            self.evicted += 1;
        }
        self.uses += 1;
        let used = self.uses;
        let known = self.known.entry(key).or_insert_with(|| Known {
            used,
            at: now,
            value: new(),
        });
        self.by_use.remove(&known.used);
        self.by_use.insert(used, key);
        known.used = used;
        known.at = now;
        &mut known.value
    }

    fn expire(&mut self, now: Mono) {
        while let Some((&used, key)) = self.by_use.first_key_value() {
            if self.known.get(key).is_some_and(|k| now.since(k.at) < self.idle) {
                return;
            }
            self.known.remove(key);
            self.by_use.remove(&used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Mono {
        Mono::from_millis(s * 1_000)
    }

    #[test]
    fn the_longest_idle_gives_way() {
        let mut recent = Recent::new(2, Duration::from_secs(10));
        for (key, s) in [(1, 0), (2, 1), (1, 2), (3, 3)] {
            *recent.get(key, at(s), || 0) += 1;
        }
        assert_eq!((recent.len(), recent.evicted), (2, 1));
        assert_eq!(*recent.get(1, at(4), || 0), 2, "used again, so kept");
        assert_eq!(*recent.get(2, at(5), || 0), 0, "forgotten");
    }

    #[test]
    fn idle_ones_expire_and_evict_nobody() {
        let mut recent = Recent::new(2, Duration::from_secs(10));
        *recent.get(1, at(0), || 0) += 1;
        assert_eq!(*recent.get(1, at(9), || 0), 1);
        assert_eq!(*recent.get(1, at(19), || 0), 0);
        recent.get(2, at(40), || 0);
        assert_eq!((recent.len(), recent.evicted), (1, 0));
    }
}
