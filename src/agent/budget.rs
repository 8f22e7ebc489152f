//! The byte budget, enforced: what went over the line in the last minute against what may, and how many
//! rungs the rates must go down for it. Plans count probes; the line carries acknowledgements, longer
//! headers, reports, handshakes, and what is sent again, too.

use std::{collections::VecDeque, time::Duration};

use corridor_probes::{Mono, tiers::Bytes};

use super::rates::Allowed;

/// Over which the bytes are counted. Shorter, and one report or reconnection would slow down probes that
/// fit; longer, and a line would be full for minutes before anything is done about it.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Up again only into nine tenths of the budget, by what is used and what the rung would add: a rung that
/// just fits would be left again with the next report.
const UP_BELOW: (u64, u64) = (9, 10);

/// What the first minute of a process may take beyond the budget, each way: eight handshakes with their
/// certificates and searches for the largest packet, 8 kB each (measured), and half as much again.
pub const START_UP: u64 = 96 << 10;

/// What went over the line since the process began, in IP bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// All of it.
    pub line: Bytes,
    /// Of that, peers' probes and the answers to them: they are in the peers' budgets.
    pub peers: Bytes,
    /// Of that, the class's own media.
    pub media: Bytes,
    /// Of that, reports of former times: a spool that fills up while the controller is away would else slow
    /// probing down for hours after it is back. Their streams have a rate of their own.
    pub backlog: Bytes,
}

/// Rates in bits a second over the last [`WINDOW`], or since what is allowed last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// For this agent itself.
    pub own: Bytes,
    pub peers: Bytes,
}

/// A step of the ladder, by what the plan says of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ladder {
    /// Rungs from what the plan allows to the bottom.
    pub rungs: u32,
    /// Bits a second that the next rung up would add.
    pub next_adds: Bytes,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Budget {
    /// Oldest first: one at the window's beginning or before, then all since.
    marks: VecDeque<(Mono, Spent)>,
    /// Until this is out of the window, it may be more.
    start_up: Option<Mono>,
    down: u32,
    /// When `down` last changed.
    changed: Mono,
}

impl Budget {
    pub fn new(now: Mono) -> Self {
        Self {
            marks: VecDeque::from([(now, Spent::default())]),
            start_up: Some(now),
            down: 0,
            changed: now,
        }
    }

    /// Rungs that the rates must be below what the plan allows.
    pub fn down(&self) -> u32 {
        self.down
    }

    /// From now on something else is allowed: what was spent before counts no more.
    pub fn begin(&mut self, now: Mono) {
        if let Some(last) = self.marks.back().copied() {
            self.marks = VecDeque::from([last]);
        }
        (self.down, self.changed) = (0, now);
    }

    /// Looks at what was spent by now; answers whether [`Self::down`] has changed.
    pub fn look(&mut self, now: Mono, spent: Spent, allowed: Allowed, ladder: Ladder) -> bool {
        self.marks.push_back((now, spent));
        while self.marks.get(1).is_some_and(|(at, _)| now.since(*at) >= WINDOW) {
            self.marks.pop_front();
        }
        let extra = match (self.start_up, self.marks.front()) {
            (Some(start), Some((oldest, _))) if *oldest == start => START_UP,
            _ => 0,
        };
        if extra == 0 {
            self.start_up = None;
        }
        let before = self.down;
        if self.is_over(self.marks.front().copied(), WINDOW, allowed, extra) {
            // What was spent before the last step down says nothing of it.
            let since = self.marks.iter().find(|(at, _)| *at >= self.changed).copied();
            if since.is_some_and(|(at, _)| at < now) && self.is_over(since, Duration::ZERO, allowed, extra) {
                self.down = (self.down + 1).min(ladder.rungs);
            }
        } else if self.down > 0 && now.since(self.changed) >= WINDOW && self.has_room(allowed, ladder) {
            self.down -= 1;
        }
        // A ladder may have become shorter.
        self.down = self.down.min(ladder.rungs);
        if self.down == before {
            return false;
        }
        self.changed = now;
        true
    }

    /// `None` until there are two looks.
    pub fn used(&self) -> Option<Used> {
        let ((from, before), (to, after)) = (self.marks.front()?, self.marks.back()?);
        let (own, peers) = difference(after, before);
        let elapsed = to.since(*from);
        (elapsed > Duration::ZERO).then(|| Used {
            own: bits(own, elapsed),
            peers: bits(peers, elapsed),
        })
    }

    /// Whether more was spent since `from` than may be in that time, or in `least`.
    fn is_over(&self, from: Option<(Mono, Spent)>, least: Duration, allowed: Allowed, extra: u64) -> bool {
        let (Some((at, before)), Some((now, after))) = (from, self.marks.back()) else {
            return false;
        };
        let elapsed = now.since(at).max(least);
        let (own, peers) = difference(after, &before);
        let over = |bytes: Bytes, bits: u64| {
            let may = u128::from(bits) * elapsed.as_millis() / 8_000 + u128::from(extra);
            u128::from(bytes.out.max(bytes.back)) > may
        };
        over(own, allowed.own) || allowed.line.is_some_and(|line| over(own + peers, line))
    }

    fn has_room(&self, allowed: Allowed, ladder: Ladder) -> bool {
        let Some(used) = self.used() else { return false };
        let (part, whole) = UP_BELOW;
        let fits = |used: Bytes, bits: u64| {
            let after = used + ladder.next_adds;
            after.out.max(after.back).saturating_mul(whole) <= bits.saturating_mul(part)
        };
        fits(used.own, allowed.own) && allowed.line.is_none_or(|line| fits(used.own + used.peers, line))
    }
}

/// What this agent spent for itself, and for peers, between two marks.
fn difference(after: &Spent, before: &Spent) -> (Bytes, Bytes) {
    let less = |a: Bytes, b: Bytes| Bytes {
        out: a.out.saturating_sub(b.out),
        back: a.back.saturating_sub(b.back),
    };
    let peers = less(after.peers, before.peers);
    let backlog = less(after.backlog, before.backlog);
    let media = less(after.media, before.media);
    let own = [peers, backlog, media]
        .into_iter()
        .fold(less(after.line, before.line), less);
    (own, peers)
}

fn bits(bytes: Bytes, elapsed: Duration) -> Bytes {
    let rate = |bytes: u64| {
        let bits = u128::from(bytes) * 8_000 / elapsed.as_millis().max(1);
        u64::try_from(bits).unwrap_or(u64::MAX)
    };
    Bytes {
        out: rate(bytes.out),
        back: rate(bytes.back),
    }
}

#[cfg(test)]
mod tests;
