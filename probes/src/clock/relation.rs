//! How one clock stands against another.

use std::time::Duration;

use crate::Mono;

/// How far one clock is ahead of another at some time.
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

    /// Of the clock here against the one there.
    #[must_use]
    pub fn turned(self) -> Self {
        Self {
            low_us: self.high_us.saturating_neg(),
            high_us: self.low_us.saturating_neg(),
        }
    }

    fn width(self) -> u64 {
        u64::try_from(i128::from(self.high_us) - i128::from(self.low_us)).unwrap_or(0)
    }
}

/// Offset at one time, and the rate by which it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relation {
    pub at: Mono,
    /// At that time.
    pub offset: Offset,
    /// The least and the greatest rate by which the clock there gains on the one here, in parts in 10⁹.
    pub slow_ppb: i64,
    pub fast_ppb: i64,
}

impl Relation {
    /// Of a clock to itself.
    pub fn same(at: Mono) -> Self {
        Self {
            at,
            offset: Offset {
                low_us: 0,
                high_us: 0,
            },
            slow_ppb: 0,
            fast_ppb: 0,
        }
    }

    /// The offset at another time.
    pub fn at(&self, time: Mono) -> Offset {
        let ns = time.diff_nanos(self.at);
        let (to_low, to_high) = if ns >= 0 {
            (self.slow_ppb, self.fast_ppb)
        } else {
            (self.fast_ppb, self.slow_ppb)
        };
        Offset {
            low_us: self.offset.low_us.saturating_add(moved_us(to_low, ns, false)),
            high_us: self.offset.high_us.saturating_add(moved_us(to_high, ns, true)),
        }
    }

    /// All that the offset may have been in the time of `within` before `time`.
    pub fn over(&self, time: Mono, within: Duration) -> Offset {
        let (last, first) = (self.at(time), self.at(time - within));
        Offset {
            low_us: last.low_us.min(first.low_us),
            high_us: last.high_us.max(first.high_us),
        }
    }

    /// Of the clock here against the one there.
    #[must_use]
    pub fn turned(self) -> Self {
        Self {
            at: self.at,
            offset: self.offset.turned(),
            slow_ppb: self.fast_ppb.saturating_neg(),
            fast_ppb: self.slow_ppb.saturating_neg(),
        }
    }

    /// From the clock here over the one there to one beyond, which `next` tells of, at the same time.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self {
            at: self.at,
            offset: Offset {
                low_us: self.offset.low_us.saturating_add(next.offset.low_us),
                high_us: self.offset.high_us.saturating_add(next.offset.high_us),
            },
            slow_ppb: self.slow_ppb.saturating_add(next.slow_ppb),
            fast_ppb: self.fast_ppb.saturating_add(next.fast_ppb),
        }
    }

    /// What both leave possible, of the same time; none if that is nothing.
    pub fn and(self, other: Self) -> Option<Self> {
        let both = Self {
            at: self.at,
            offset: Offset {
                low_us: self.offset.low_us.max(other.offset.low_us),
                high_us: self.offset.high_us.min(other.offset.high_us),
            },
            slow_ppb: self.slow_ppb.max(other.slow_ppb),
            fast_ppb: self.fast_ppb.min(other.fast_ppb),
        };
        both.is_possible().then_some(both)
    }

    pub(super) fn is_possible(&self) -> bool {
        self.offset.low_us <= self.offset.high_us && self.slow_ppb <= self.fast_ppb
    }
}

/// What a rate comes to in a time, which may be negative; rounded up or down.
pub(super) fn moved_us(ppb: i64, ns: i64, up: bool) -> i64 {
    const PPB_NS_A_US: i128 = 1_000_000_000_000;
    let product = i128::from(ppb) * i128::from(ns);
    let us = product.div_euclid(PPB_NS_A_US) + i128::from(up && product.rem_euclid(PPB_NS_A_US) > 0);
    i64::try_from(us).unwrap_or(if us < 0 { i64::MIN } else { i64::MAX })
}
