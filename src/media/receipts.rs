//! What became of a flow's packets, soon enough to leave a route that loses them. The far end says every 40 ms what
//! has come; the origin, which knows by which route each packet went, makes outcomes of it, and counts itself what
//! is missing of what comes back. Pure.
//!
//! A packet is missed when one that was sent 60 ms later by the same route has come: three packets of voice have
//! overtaken it then.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use corridor_probes::{Mono, Route};

use super::received::Received;
use crate::route::Fate;

/// Between two receipts of a flow.
const EVERY: Duration = Duration::from_millis(40);
/// So many new packets are told of sooner, so that each is in two receipts at least.
const AT_MOST: u32 = 60;
/// See the module's documentation.
const GRACE: Duration = Duration::from_millis(60);
/// Packets that are remembered: half a second at 2,000 a second, beyond the longest round trip that counts.
const MOST: usize = 1_024;
/// What nobody has said anything of for so long is forgotten, and is no outcome.
const FORGOTTEN: Duration = Duration::from_secs(3);

/// When a far end says what has come.
#[derive(Debug, Default)]
pub struct Telling {
    told: Option<Mono>,
    since: u32,
    /// The newest packet: its number, when it was sent by the origin's clock, and when it came.
    newest: Option<(u32, i64, Mono)>,
}

impl Telling {
    /// A packet came, new or not.
    pub fn came(&mut self, seq: u32, sent_us: i64, now: Mono) {
        self.since = self.since.saturating_add(1);
        let is_newest = |&(newest, ..): &(u32, i64, Mono)| seq.wrapping_sub(newest) as i32 > 0;
        if self.newest.as_ref().is_none_or(is_newest) {
            self.newest = Some((seq, sent_us, now));
        }
    }

    /// What is to be said now, if anything.
    pub fn due(&mut self, received: &Received, now: Mono) -> Option<Said> {
        let waited = self.told.is_none_or(|told| now.since(told) >= EVERY);
        if !waited && self.since < AT_MOST {
            return None;
        }
        let (newest, sent_us, at) = self.newest?;
        self.told = Some(now);
        self.since = 0;
        Some(Said {
            newest,
            sent_us,
            waited: now.since(at),
            seen: received.below(newest),
        })
    }
}

/// What a receipt says, beside its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// The highest number that came.
    pub newest: u32,
    /// When it was sent, by the origin's clock.
    pub sent_us: i64,
    /// How long ago it came.
    pub waited: Duration,
    /// Bit `i`: number `newest - 1 - i` has come.
    pub seen: u128,
}

impl Said {
    /// Whether a number has come; `None` if this does not say.
    pub const fn has(&self, seq: u32) -> Option<bool> {
        let behind = self.newest.wrapping_sub(seq);
        match behind {
            0 => Some(true),
            1..=128 => Some(self.seen >> (behind - 1) & 1 == 1),
            _ => None,
        }
    }
}

/// Packets of a flow on their way there.
#[derive(Debug, Default)]
pub struct UnderWay {
    sent: VecDeque<Sent>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    seq: u32,
    at: Mono,
    route: Route,
}

impl UnderWay {
    pub fn sent(&mut self, seq: u32, route: Route, at: Mono) {
        if self.sent.len() >= MOST {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent { seq, at, route });
    }

    /// What a receipt says of each route.
    pub fn told(&mut self, said: &Said, now: Mono) -> BTreeMap<Route, Fate> {
        let mut fates: BTreeMap<Route, Fate> = BTreeMap::new();
        let known = self.sent.iter().rev();
        let came = known.filter(|sent| said.has(sent.seq) == Some(true));
        let mut newest: BTreeMap<Route, Mono> = BTreeMap::new();
        for sent in came {
            newest.entry(sent.route).or_insert(sent.at);
        }
        self.sent.retain(|sent| {
            let fate = match said.has(sent.seq) {
                Some(true) => true,
                Some(false)
                    if newest
                        .get(&sent.route)
                        .is_some_and(|at| at.since(sent.at) > GRACE) =>
                {
                    false
                }
                Some(false) | None => return now.since(sent.at) < FORGOTTEN,
            };
            fates.entry(sent.route).or_default().count(fate);
            false
        });
        fates
    }
}

/// Packets of a flow that come back: which are missing.
#[derive(Debug, Default)]
pub struct ComingBack {
    incarnation: Option<u16>,
    highest: u32,
    missing: VecDeque<(u32, Mono)>,
}

impl ComingBack {
    /// A packet came; what that says of the way back.
    pub fn came(&mut self, incarnation: u16, seq: u32, now: Mono) -> Fate {
        let mut fate = Fate::default();
        if self.incarnation != Some(incarnation) {
            // Numbers begin anew.
            self.incarnation = Some(incarnation);
            self.highest = seq;
            self.missing.clear();
            fate.count(true);
            return fate;
        }
        let ahead = seq.wrapping_sub(self.highest) as i32;
        if ahead > 0 {
            let skipped = (1..ahead.unsigned_abs()).rev().take(MOST).rev();
            for before in skipped {
                self.missing.push_back((self.highest.wrapping_add(before), now));
            }
            while self.missing.len() > MOST {
                self.missing.pop_front();
            }
            self.highest = seq;
            fate.count(true);
        } else if let Some(at) = self.missing.iter().position(|(missing, _)| *missing == seq) {
            self.missing.remove(at);
            fate.count(true);
        }
        while self
            .missing
            .front()
            .is_some_and(|(_, since)| now.since(*since) > GRACE)
        {
            self.missing.pop_front();
            fate.count(false);
        }
        fate
    }
}

#[cfg(test)]
mod tests;
