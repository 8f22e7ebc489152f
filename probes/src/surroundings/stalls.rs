//! How late this process wakes up. A machine that does not run its processes delays every probe and every
//! packet of a class, and no network has a part in it.

use std::time::Duration;

use crate::Mono;

/// A waking later than half a step of the grid is a stall: a slot may be missed by it.
pub const LATE: Duration = Duration::from_millis(50);
/// Three steps of the grid: a route that is silent for so long is given up.
const LONG: Duration = Duration::from_millis(300);
/// Shorter ones are trouble when there are so many in one interval.
const MANY: u32 = 10;

/// Wakings over an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stalls {
    pub wakings: u32,
    /// Wakings that came [`LATE`] or later.
    pub stalls: u32,
    pub worst: Duration,
}

impl Stalls {
    /// Whether a class would have noticed.
    pub fn is_trouble(&self) -> bool {
        self.worst >= LONG || self.stalls >= MANY
    }

    /// Two intervals as one.
    pub fn and(self, other: Self) -> Self {
        Self {
            wakings: self.wakings.saturating_add(other.wakings),
            stalls: self.stalls.saturating_add(other.stalls),
            worst: self.worst.max(other.worst),
        }
    }
}

/// Counts wakings.
#[derive(Debug, Default)]
pub struct StallGauge(Stalls);

impl StallGauge {
    /// The process was to wake at `due` and runs at `now`. To be told of wakings only: turns for other
    /// reasons are not late.
    pub fn woke(&mut self, due: Mono, now: Mono) {
        let Some(late) = (now >= due).then(|| now.since(due)) else {
            return;
        };
        self.0 = self.0.and(Stalls {
            wakings: 1,
            stalls: u32::from(late >= LATE),
            worst: late,
        });
    }

    /// What there was since the last time.
    pub fn take(&mut self) -> Stalls {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_on_the_limits() {
        let mut gauge = StallGauge::default();
        let due = Mono::from_millis(1_000);
        for late in [0, 1, 49, 50, 299] {
            gauge.woke(due, due + Duration::from_millis(late));
        }
        // A turn for another reason.
        gauge.woke(due, due - Duration::from_millis(1));
        let seen = gauge.take();
        let wanted = Stalls {
            wakings: 5,
            stalls: 2,
            worst: Duration::from_millis(299),
        };
        assert_eq!((seen, gauge.take()), (wanted, Stalls::default()));
        for (stalls, worst, is_trouble) in [(1, 299, false), (1, 300, true), (9, 60, false), (10, 60, true)] {
            let seen = Stalls {
                wakings: 100,
                stalls,
                worst: Duration::from_millis(worst),
            };
            assert_eq!(seen.is_trouble(), is_trouble, "{seen:?}");
        }
    }
}
