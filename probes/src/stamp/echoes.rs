//! What STAMP's answers tell, in the terms of a [`ProbeSession`](crate::ProbeSession).
//!
//! A stateful reflector numbers its answers from 0, so that its number tells how many probes came to it;
//! a stateless one repeats the sender's number, and where a probe was lost is not known. Until something is
//! lost both would look alike: so the first probe that leaves has number [`FIRST_SEQ`], as if the one
//! before it had been lost on the way, and they differ from the first answer on.
//!
//! A probe that the network doubles on the way there is counted twice by the reflector; it is taken out
//! once both answers have come.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{packet::ReflectorPacket, time::Stamp};
use crate::{
    MAX_OPEN_PROBES, SessionId,
    wire::{AckRanges, EchoBody, LinkEcho},
};

/// The number of the first probe that is sent; 0 is not.
pub const FIRST_SEQ: u32 = 1;

/// A number so far below the highest shows that the reflector began anew: packets are not overtaken by so
/// many.
const RESTART: u32 = 64;

/// Doubled probes that are remembered one by one.
const MAX_DOUBLED: usize = 1_024;

/// What a reflector's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReflectorKind {
    /// It counts what it answers.
    Stateful,
    /// It repeats the sender's.
    Stateless,
}

/// An answer, as an echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StampEcho {
    pub echo: LinkEcho,
    /// `echo.body.count` counts the probes that came there; if not, it only gives the order in which
    /// echoes were sent.
    pub counted: bool,
}

/// The answers of one test session.
#[derive(Debug)]
pub struct Echoes {
    session: SessionId,
    /// This machine's wall clock, in nanoseconds since 1970, when its monotonic one was at zero.
    origin_ns: i128,
    epoch: u32,
    kind: Option<ReflectorKind>,
    /// By the sender's number: the answers that came lately.
    seen: BTreeMap<u32, Seen>,
    /// The reflector's numbers for probes that it had answered before.
    doubled: BTreeSet<u32>,
    doubled_forgotten: u32,
    newest: Option<Seen>,
    /// How many answers were sent after all before them, as their time stamps say.
    in_order: u32,
    /// Probes whose answers show that they came there after later ones; wraps.
    reordered: u16,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    seq: u32,
    received: Option<u64>,
    sent: Option<u64>,
}

impl Echoes {
    pub fn new(session: SessionId, origin_ns: i128) -> Self {
        Self {
            session,
            origin_ns,
            epoch: 0,
            kind: None,
            seen: BTreeMap::new(),
            doubled: BTreeSet::new(),
            doubled_forgotten: 0,
            newest: None,
            in_order: 0,
            reordered: 0,
        }
    }

    /// None before the first answer.
    pub fn kind(&self) -> Option<ReflectorKind> {
        self.kind
    }

    /// Takes an answer.
    pub fn take(&mut self, packet: &ReflectorPacket) -> StampEcho {
        let ns = |stamp: Stamp| stamp.unix_ns(packet.estimate.format);
        let this = Seen {
            seq: packet.seq,
            received: ns(packet.received),
            sent: ns(packet.timestamp),
        };
        self.recognise(packet.sender_seq, this);
        let before = self.seen.get(&packet.sender_seq).copied();
        let counted = self.kind == Some(ReflectorKind::Stateful);
        match before {
            Some(before) if counted && before.seq != this.seq => self.double(this.seq.max(before.seq)),
            _ => {
                self.seen.insert(packet.sender_seq, this);
            }
        }
        if self.seen.len() > MAX_OPEN_PROBES {
            self.seen.pop_first();
        }
        let overtaken = self.is_overtaken(packet.sender_seq, this, counted);
        if before.is_none() {
            self.reordered = self.reordered.wrapping_add(overtaken.into()) & EchoBody::REORDERED;
        }
        let echo = LinkEcho {
            session: self.session,
            seq: packet.sender_seq,
            body: EchoBody {
                epoch: self.epoch,
                recv_us: this.received.map_or(0, |ns| self.monotonic_us(ns)),
                residence_us: residence_us(this),
                count: if counted {
                    self.count(this.seq)
                } else {
                    self.rank(this)
                },
                overtaken,
                reordered: self.reordered,
                base: 0,
                ranges: AckRanges::EMPTY,
            },
        };
        StampEcho { echo, counted }
    }

    /// Which kind it is, and whether it is still the same one.
    fn recognise(&mut self, sender_seq: u32, this: Seen) {
        let differs = this.seq != sender_seq;
        match self.kind {
            None | Some(ReflectorKind::Stateless) if differs => self.kind = Some(ReflectorKind::Stateful),
            None => self.kind = Some(ReflectorKind::Stateless),
            Some(_) => {}
        }
        let is_newest = self
            .seen
            .last_key_value()
            .is_none_or(|(&last, _)| sender_seq > last);
        let highest = self.seen.values().map(|s| s.seq).next_back();
        if self.kind == Some(ReflectorKind::Stateful)
            && is_newest
            && highest.is_some_and(|h| this.seq == 0 || this.seq.saturating_add(RESTART) < h)
        {
            self.epoch = self.epoch.wrapping_add(1);
            self.seen.clear();
            self.doubled.clear();
            self.doubled_forgotten = 0;
            self.reordered = 0;
        }
    }

    fn double(&mut self, seq: u32) {
        self.doubled.insert(seq);
        if self.doubled.len() > MAX_DOUBLED && self.doubled.pop_first().is_some() {
            self.doubled_forgotten += 1;
        }
    }

    /// How many different probes had come when the answer `seq` was given.
    fn count(&self, seq: u32) -> u32 {
        let doubled = self.doubled.range(..seq).count();
        let doubled = u32::try_from(doubled).unwrap_or(u32::MAX);
        let before = doubled.saturating_add(self.doubled_forgotten);
        seq.saturating_sub(before).saturating_add(1)
    }

    /// The place of an answer in the order in which they were sent: above all before it, or below the
    /// newest.
    fn rank(&mut self, this: Seen) -> u32 {
        let newest = self.newest.and_then(|n| n.sent);
        if this.sent < newest {
            return self.in_order.saturating_sub(1);
        }
        self.newest = Some(this);
        self.in_order = self.in_order.saturating_add(1);
        self.in_order
    }

    /// Whether a higher number came there before this one, among those whose answers have come.
    fn is_overtaken(&self, sender_seq: u32, this: Seen, counted: bool) -> bool {
        let earlier = |s: &Seen| {
            if counted {
                s.seq < this.seq
            } else {
                s.received < this.received
            }
        };
        let mut above = self.seen.range(sender_seq.saturating_add(1)..);
        above.any(|(_, s)| earlier(s))
    }

    fn monotonic_us(&self, unix_ns: u64) -> i64 {
        let us = (i128::from(unix_ns) - self.origin_ns).div_euclid(1_000);
        i64::try_from(us).unwrap_or(0)
    }
}

/// Stamps that cannot be are told by a residence that nobody takes for true.
fn residence_us(s: Seen) -> u32 {
    let (Some(received), Some(sent)) = (s.received, s.sent) else {
        return u32::MAX;
    };
    let passed = sent.checked_sub(received).map(|ns| ns / 1_000);
    passed.and_then(|us| u32::try_from(us).ok()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
