//! The far end of probing: remembers what came in, and says so in each echo.

mod seen;

use std::collections::BTreeMap;

use crate::{
    Mono, SessionId,
    wire::{AckRanges, EchoBody},
};
use seen::SeenNumbers;

/// How much a reflector remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReflectorLimits {
    /// Sessions of one peer; beyond, its own longest idle one is forgotten.
    pub sessions_a_peer: usize,
    /// Sessions in all; beyond, the longest idle one of all is forgotten.
    pub sessions: usize,
}

impl Default for ReflectorLimits {
    fn default() -> Self {
        Self {
            // A link, three installed routes with a plan's change overlapping, other ways to probe.
            sessions_a_peer: 16,
            // 600 B each: 40 MB when full.
            sessions: 65_536,
        }
    }
}

/// What became of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reception {
    /// Answer it. [`EchoBody::sent_after`] fills in the residence when the echo goes out.
    Echo(EchoBody),
    /// It came before: no answer, since one was given.
    Duplicate,
    /// It is more than 4,000 numbers late: whether it came before is not known any more.
    TooOld,
}

/// Counters of a reflector, cumulative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReflectorStats {
    pub sessions: usize,
    pub echoed: u64,
    pub duplicates: u64,
    pub too_old: u64,
    pub evicted: u64,
}

/// Bounded memory of the probes of all sessions. `P` is whoever the transport says has sent them.
#[derive(Debug)]
pub struct Reflector<P> {
    epoch: u32,
    limits: ReflectorLimits,
    peers: BTreeMap<P, Vec<Session>>,
    /// Every session by its last use, longest idle first.
    by_use: BTreeMap<u64, (P, SessionId)>,
    uses: u64,
    stats: ReflectorStats,
}

#[derive(Debug)]
struct Session {
    id: SessionId,
    last_use: u64,
    /// A session that was forgotten and comes back has another upper half of the epoch.
    epoch: u32,
    count: u32,
    /// Those that came after one with a higher number; wraps.
    reordered: u16,
    seen: SeenNumbers,
}

impl<P: Ord + Copy> Reflector<P> {
    /// `epoch` is drawn at random at the start of the process: two in a row must differ, also in their lower
    /// halves, which name the clock.
    pub fn new(epoch: u32, limits: ReflectorLimits) -> Self {
        Self {
            epoch,
            limits,
            peers: BTreeMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            stats: ReflectorStats::default(),
        }
    }

    /// Takes the probe that `peer` sent, received at `recv` on this machine's clock. `floor` is how far
    /// below `seq` the ranges shall begin.
    pub fn receive(&mut self, peer: P, session: SessionId, seq: u32, floor: u16, recv: Mono) -> Reception {
        let epoch = self.epoch;
        let state = self.session(peer, session);
        let Some(number) = state.seen.unwrap(seq) else {
            self.stats.too_old += 1;
            return Reception::TooOld;
        };
        let highest_before = state.seen.highest();
        if !state.seen.insert(number) {
            self.stats.duplicates += 1;
            return Reception::Duplicate;
        }
        state.count = state.count.wrapping_add(1);
        let overtaken = highest_before > Some(number);
        state.reordered = state.reordered.wrapping_add(overtaken.into()) & EchoBody::REORDERED;
        let (base, ranges) = state.seen.ranges(number.saturating_sub(floor.into()), number);
        let body = EchoBody {
            epoch: epoch.wrapping_add(state.epoch << 16),
            recv_us: recv.as_micros(),
            residence_us: 0,
            count: state.count,
            overtaken,
            reordered: state.reordered,
            base: clamp(number - base),
            ranges,
        };
        self.stats.echoed += 1;
        Reception::Echo(body)
    }

    /// This machine's monotonic clock has stepped against others: it slept.
    pub fn clock_stepped(&mut self) {
        let clock = (self.epoch as u16).wrapping_add(1);
        self.epoch = self.epoch & !u32::from(u16::MAX) | u32::from(clock);
        // With another epoch, probers expect it to count from zero.
        for session in self.peers.values_mut().flat_map(|sessions| sessions.iter_mut()) {
            session.reordered = 0;
        }
    }

    /// Forgets all sessions of a peer.
    pub fn forget(&mut self, peer: P) {
        for session in self.peers.remove(&peer).unwrap_or_default() {
            self.by_use.remove(&session.last_use);
            self.stats.evicted += 1;
        }
    }

    pub fn stats(&self) -> ReflectorStats {
        ReflectorStats {
            sessions: self.by_use.len(),
            ..self.stats
        }
    }

    /// The session's state, made anew if there is none, and marked as used.
    fn session(&mut self, peer: P, id: SessionId) -> &mut Session {
        self.uses += 1;
        let known = self
            .peers
            .get(&peer)
            .is_some_and(|all| all.iter().any(|s| s.id == id));
        if !known {
            self.make_room(peer);
        }
        let created_after = self.stats.evicted;
        let sessions = self.peers.entry(peer).or_default();
        let at = match sessions.iter().position(|s| s.id == id) {
            Some(at) => at,
            None => {
                sessions.push(Session {
                    id,
                    last_use: self.uses,
                    epoch: created_after as u32,
                    count: 0,
                    reordered: 0,
                    seen: SeenNumbers::default(),
                });
                sessions.len() - 1
            }
        };
        let session = &mut sessions[at];
        self.by_use.remove(&session.last_use);
        session.last_use = self.uses;
        self.by_use.insert(self.uses, (peer, id));
        session
    }

    fn make_room(&mut self, peer: P) {
        if let Some(own) = self.peers.get(&peer)
            && own.len() >= self.limits.sessions_a_peer.max(1)
            && let Some(oldest) = own.iter().min_by_key(|s| s.last_use)
        {
            let id = oldest.id;
            self.evict(peer, id);
        }
        if self.by_use.len() >= self.limits.sessions.max(1)
            && let Some(&(peer, id)) = self.by_use.values().next()
        {
            self.evict(peer, id);
        }
    }

    fn evict(&mut self, peer: P, id: SessionId) {
        let Some(sessions) = self.peers.get_mut(&peer) else {
            return;
        };
        if let Some(at) = sessions.iter().position(|s| s.id == id) {
            let gone = sessions.swap_remove(at);
            self.by_use.remove(&gone.last_use);
            self.stats.evicted += 1;
        }
        if sessions.is_empty() {
            self.peers.remove(&peer);
        }
    }
}

fn clamp(distance: u64) -> u16 {
    u16::try_from(distance).unwrap_or(u16::MAX)
}

impl Reception {
    /// The echo, if there is one.
    pub fn echo(self) -> Option<EchoBody> {
        match self {
            Self::Echo(body) => Some(body),
            Self::Duplicate | Self::TooOld => None,
        }
    }
}

const _: () = assert!(AckRanges::MAX_SPAN as u64 >= SeenNumbers::REACH + u16::MAX as u64);

#[cfg(test)]
mod tests;
