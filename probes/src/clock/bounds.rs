//! What the packets between two clocks say of them.

use std::{collections::VecDeque, time::Duration};

use super::{
    ClockConfig,
    relation::{Offset, Relation, moved_us},
};
use crate::Mono;

/// Stamps are whole µs, cut off: a raw difference is off by less than this.
const GRAIN_US: i64 = 1;

/// Observations kept of each direction. A hull of random minima has about the logarithm of their number.
const KEPT: usize = 64;

/// Lines through observations that are closer in time say nothing of rates.
const LEVER: Duration = Duration::from_secs(1);

/// Two clocks, the one here and the one there.
#[derive(Debug, Clone, Default)]
pub(super) struct Pair {
    there: Hull,
    back: Hull,
}

/// Upper bounds of an offset over time: the corners of their lower convex hull. Whatever the rate, the bound
/// that is the least at some time is a corner, and so is one that limits the slope of a line below them all.
#[derive(Debug, Clone, Default)]
struct Hull {
    /// Oldest first.
    corners: VecDeque<Bound>,
}

#[derive(Debug, Clone, Copy)]
struct Bound {
    at: Mono,
    us: i64,
}

/// The observations contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contradiction;

impl Pair {
    /// Takes a raw difference of a packet that went there, or came back.
    pub(super) fn take(
        &mut self,
        there: bool,
        raw_us: i64,
        at: Mono,
        within: Duration,
        config: &ClockConfig,
    ) {
        let ns = i64::try_from(within.as_nanos()).unwrap_or(i64::MAX);
        let slack = moved_us(config.drift_ppb(), ns, true).saturating_add(GRAIN_US);
        let bound = Bound {
            at,
            us: raw_us.saturating_add(slack),
        };
        let hull = if there { &mut self.there } else { &mut self.back };
        hull.take(bound, config.max_age);
    }

    /// The clock there against the one here; none while one direction has no packets.
    pub(super) fn relation(&self, at: Mono, config: &ClockConfig) -> Result<Option<Relation>, Contradiction> {
        if self.there.corners.is_empty() || self.back.corners.is_empty() {
            return Ok(None);
        }
        // The one there gains: its upper bounds are those of packets there, and its lower ones are turned.
        let drift = config.drift_ppb();
        let doubt = 2 * i64::from(config.wander_ppm) * 1_000;
        let slope = |later: &Hull, earlier: &Hull| {
            let steepest = later.steepest(earlier).unwrap_or(i64::MAX);
            steepest.saturating_add(doubt).min(drift)
        };
        let fast_ppb = slope(&self.there, &self.back);
        let slow_ppb = slope(&self.back, &self.there).saturating_neg();
        let high_us = self.there.least(at, slow_ppb, fast_ppb);
        let low_us = self.back.least(at, -fast_ppb, -slow_ppb).saturating_neg();
        let relation = Relation {
            at,
            offset: Offset { low_us, high_us },
            slow_ppb,
            fast_ppb,
        };
        if relation.is_possible() {
            Ok(Some(relation))
        } else {
            Err(Contradiction)
        }
    }

    /// Whether both directions have been heard of lately.
    pub(super) fn is_fresh(&self, now: Mono, config: &ClockConfig) -> bool {
        let fresh = |hull: &Hull| {
            hull.corners
                .back()
                .is_some_and(|b| now.since(b.at) <= config.max_age)
        };
        fresh(&self.there) || fresh(&self.back)
    }
}

impl Hull {
    fn take(&mut self, new: Bound, max_age: Duration) {
        while self.corners.front().is_some_and(|b| new.at.since(b.at) > max_age) {
            self.corners.pop_front();
        }
        match self.corners.back_mut() {
            Some(last) if new.at < last.at => return,
            Some(last) if new.at == last.at => {
                let us = last.us.min(new.us);
                self.corners.pop_back();
                return self.push(Bound { us, ..new });
            }
            _ => {}
        }
        if self.corners.len() == KEPT {
            self.corners.pop_front();
        }
        self.push(new);
    }

    fn push(&mut self, new: Bound) {
        while let &[.., a, b] = &*self.corners.make_contiguous()
            && !turns_up(a, b, new)
        {
            self.corners.pop_back();
        }
        self.corners.push_back(new);
    }

    /// The least bound at a time, of an offset that changes at `slow` to `fast`.
    fn least(&self, at: Mono, slow_ppb: i64, fast_ppb: i64) -> i64 {
        let then = |b: &Bound| {
            let ns = at.diff_nanos(b.at);
            let rate = if ns >= 0 { fast_ppb } else { slow_ppb };
            b.us.saturating_add(moved_us(rate, ns, true))
        };
        self.corners.iter().map(then).min().unwrap_or(i64::MAX)
    }

    /// The greatest mean rate, in parts in 10⁹, that bounds of this direction leave after those of the other;
    /// none where nothing limits it.
    fn steepest(&self, earlier: &Self) -> Option<i64> {
        let slopes = self.corners.iter().flat_map(|above| {
            let before = earlier
                .corners
                .iter()
                .take_while(move |below| above.at.since(below.at) >= LEVER);
            before.map(move |below| {
                let rise = i128::from(above.us) + i128::from(below.us);
                let run = i128::from(above.at.diff_nanos(below.at)).max(1);
                // Rounded up.
                (rise * 1_000_000_000_000).div_euclid(run) + 1
            })
        });
        let least = slopes.min()?;
        Some(i64::try_from(least).unwrap_or(if least < 0 { i64::MIN / 2 } else { i64::MAX / 2 }))
    }
}

/// Whether `b` lies below the line from `a` to `c`.
fn turns_up(a: Bound, b: Bound, c: Bound) -> bool {
    let (ab, ac) = (b.at.diff_nanos(a.at), c.at.diff_nanos(a.at));
    let (rise_b, rise_c) = (
        i128::from(b.us) - i128::from(a.us),
        i128::from(c.us) - i128::from(a.us),
    );
    rise_b * i128::from(ac) < rise_c * i128::from(ab)
}
