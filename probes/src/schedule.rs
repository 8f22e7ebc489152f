//! When a probe is sent: one fixed grid a process, and on it the slots of every session.

mod pattern;
mod profile;
mod spread;

use std::{collections::BTreeMap, time::Duration};

pub use pattern::{Pattern, PatternError};
pub use profile::{FULL_PACKET, Packet, Profile, Timetable};
pub use spread::Spread;

use crate::Mono;

/// A slot is never sent later than this, however long its interval.
pub const MAX_LATENESS: Duration = Duration::from_millis(500);

/// The slots of all sessions of one process, on the grid `start + phase + k · base`.
///
/// Times are computed from the step's number, never from the last wake-up, so that timer error does not
/// add up. All sessions share the grid: sparse ones wake the process on steps on which it wakes anyway.
#[derive(Debug, Clone)]
pub struct Schedule<K> {
    origin: Mono,
    /// In nanoseconds, at least 1.
    base: i64,
    sessions: BTreeMap<K, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    pattern: Pattern,
    /// The step of the next slot.
    next: u64,
}

/// What has become due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due<K> {
    /// Send the probe of this slot now.
    Send { key: K, at: Mono },
    /// These slots were missed.
    Slipped(Slipped<K>),
}

/// A run of slots of one session that were missed by half an interval or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slipped<K> {
    pub key: K,
    pub first: Mono,
    pub last: Mono,
    pub count: u64,
}

impl<K: Ord + Copy> Schedule<K> {
    /// A grid of `base` steps that begins at `start + phase`. The phase is drawn at random by the
    /// caller, so that machines started together do not probe together.
    pub fn new(start: Mono, phase: Duration, base: Duration) -> Self {
        Self {
            origin: start + phase,
            base: i64::try_from(base.as_nanos()).unwrap_or(i64::MAX).max(1),
            sessions: BTreeMap::new(),
        }
    }

    pub fn base(&self) -> Duration {
        Duration::from_nanos(self.base.unsigned_abs())
    }

    /// Adds a session, or gives one that is there another pattern. Its first slot is the first step of
    /// the pattern that is neither past nor spent already.
    pub fn set(&mut self, key: K, pattern: Pattern, now: Mono) {
        let from = self.step_at_or_after(now);
        let spent = self.sessions.get(&key).map_or(0, |e| {
            // Slots before the pending one are spent; the pending one is not, unless it is past.
            e.pattern.slot_before(e.next).map_or(0, |last| last + 1)
        });
        let next = pattern.slot_at_or_after(from.max(spent));
        self.sessions.insert(key, Entry { pattern, next });
    }

    /// Whether the session was there.
    pub fn remove(&mut self, key: K) -> bool {
        self.sessions.remove(&key).is_some()
    }

    pub fn pattern(&self, key: K) -> Option<Pattern> {
        self.sessions.get(&key).map(|e| e.pattern)
    }

    /// When the next slot of any session is due.
    pub fn next_wakeup(&self) -> Option<Mono> {
        self.sessions
            .values()
            .map(|e| e.next)
            .min()
            .map(|step| self.time(step))
    }

    /// Appends what has become due by `now`, in the order of the sessions' keys: for each at most one
    /// run of missed slots and at most one slot to send, however long ago the last call was.
    pub fn poll(&mut self, now: Mono, due: &mut Vec<Due<K>>) {
        let Some(current) = self.step_at_or_before(now) else {
            return;
        };
        let (origin, base) = (self.origin, self.base);
        for (&key, entry) in &mut self.sessions {
            if entry.next > current {
                continue;
            }
            let pattern = entry.pattern;
            // `next` is a slot at or before `current`, so there is one.
            let last = pattern.slot_before(current + 1).unwrap_or(entry.next);
            let at = time(origin, base, last);
            let half = Duration::from_nanos(base.unsigned_abs()) * pattern.spacing() / 2;
            let in_time = now.since(at) < half.min(MAX_LATENESS);
            let missed_until = if in_time { last } else { last + 1 };
            let count = pattern.slots_before(missed_until) - pattern.slots_before(entry.next);
            if count > 0 {
                due.push(Due::Slipped(Slipped {
                    key,
                    first: time(origin, base, entry.next),
                    last: time(
                        origin,
                        base,
                        pattern.slot_before(missed_until).unwrap_or(entry.next),
                    ),
                    count,
                }));
            }
            if in_time {
                due.push(Due::Send { key, at });
            }
            entry.next = pattern.slot_at_or_after(last + 1);
        }
    }

    fn time(&self, step: u64) -> Mono {
        time(self.origin, self.base, step)
    }

    fn step_at_or_before(&self, now: Mono) -> Option<u64> {
        let since = now.diff_nanos(self.origin);
        u64::try_from(since.div_euclid(self.base)).ok()
    }

    fn step_at_or_after(&self, now: Mono) -> u64 {
        match self.step_at_or_before(now) {
            None => 0,
            Some(step) if self.time(step) == now => step,
            Some(step) => step + 1,
        }
    }
}

fn time(origin: Mono, base: i64, step: u64) -> Mono {
    let offset = i64::try_from(step).unwrap_or(i64::MAX).saturating_mul(base);
    Mono::from_nanos(origin.as_nanos().saturating_add(offset))
}

#[cfg(test)]
mod tests;
