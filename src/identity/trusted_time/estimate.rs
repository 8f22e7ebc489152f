//! What the controller's time can be, given what it last said and the clocks of this machine.

use std::time::Duration;

use corridor_probes::{Mono, Wall};

/// How far a monotonic clock is taken to drift at most, in parts per million. Quartz stays within 100.
pub const DRIFT_PPM: u32 = 200;

/// Where a [`Reading`] comes from, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// This machine's wall clock: nothing better was ever known.
    Wall,
    /// A lower bound from before this boot, or the wall clock where that is later.
    Stored,
    /// The controller, in this boot.
    Learnt,
}

/// The controller's time: a best guess, and bounds which hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    pub at: Wall,
    pub earliest: Wall,
    pub latest: Wall,
    pub source: Source,
}

impl Reading {
    /// Nothing at all is known: every certificate is inside its life.
    pub(crate) const UNKNOWN: Self = Self {
        at: Wall::from_micros(0),
        earliest: Wall::from_micros(i64::MIN),
        latest: Wall::from_micros(i64::MAX),
        source: Source::Wall,
    };
}

/// Exactly this time.
impl From<Wall> for Reading {
    fn from(at: Wall) -> Self {
        Self {
            at,
            earliest: at,
            latest: at,
            source: Source::Wall,
        }
    }
}

/// How far this machine's wall clock is from the controller's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallError {
    /// Wall clock − controller's time, in microseconds: positive when the wall clock is ahead.
    pub offset_us: i64,
    /// `offset_us` is at most this far from the truth.
    pub bound: Duration,
}

/// What the controller said, as of one monotonic moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Learnt {
    at: Wall,
    mono: Mono,
    error: Duration,
}

impl Learnt {
    fn aged(self, mono: Mono) -> Self {
        let age = mono.since(self.mono);
        let drift = age / 1_000_000 * DRIFT_PPM;
        Self {
            at: self.at + age,
            mono,
            error: self.error.saturating_add(drift),
        }
    }
}

/// What is known of the controller's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    learnt: Option<Learnt>,
    stored: Option<Wall>,
}

impl Estimate {
    /// Only that the controller's time was `at` once.
    pub fn stored(at: Option<Wall>) -> Self {
        Self {
            learnt: None,
            stored: at,
        }
    }

    /// The controller said `answer` at some moment between `sent` and `received`. The tighter of this and
    /// what was known is kept; if the two exclude each other, the controller's clock was set, and the
    /// newer holds.
    pub fn learn(&mut self, answer: Wall, sent: Mono, received: Mono) {
        let half = received.since(sent) / 2;
        let new = Learnt {
            at: answer + half,
            mono: received,
            // A microsecond for the grain of `Wall`, at both ends.
            error: half + Duration::from_micros(2),
        };
        let keep_old = self.learnt.map(|old| old.aged(received)).is_some_and(|old| {
            let apart = old.at.since(new.at).max(new.at.since(old.at));
            old.error < new.error && apart <= old.error + new.error
        });
        if !keep_old {
            self.learnt = Some(new);
        }
    }

    /// `mono` and `wall` are the machine's clocks now.
    pub fn read(&self, mono: Mono, wall: Wall) -> Reading {
        match (self.learnt, self.stored) {
            (Some(learnt), _) => {
                let now = learnt.aged(mono);
                Reading {
                    at: now.at,
                    earliest: now.at - now.error,
                    latest: now.at + now.error,
                    source: Source::Learnt,
                }
            }
            // The wall clock may be right or wrong, so it bounds nothing from above.
            (None, Some(stored)) => Reading {
                at: stored.max(wall),
                earliest: stored,
                latest: Wall::from_micros(i64::MAX),
                source: Source::Stored,
            },
            (None, None) => Reading::from(wall),
        }
    }

    /// `None` until the controller has said its time in this boot.
    pub fn wall_error(&self, mono: Mono, wall: Wall) -> Option<WallError> {
        let now = self.learnt?.aged(mono);
        Some(WallError {
            offset_us: wall.as_micros().saturating_sub(now.at.as_micros()),
            bound: now.error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn s(n: i64) -> Wall {
        Wall::from_secs(n)
    }

    fn m(ms: i64) -> Mono {
        Mono::from_millis(ms)
    }

    #[test]
    fn sources_in_their_order() {
        let mut estimate = Estimate::default();
        assert_eq!(estimate.read(m(0), s(9)), Reading::from(s(9)));
        assert_eq!(estimate.wall_error(m(0), s(9)), None);

        estimate = Estimate::stored(Some(s(100)));
        assert_eq!(
            estimate.read(m(0), s(9)).at,
            s(100),
            "never before the stored time"
        );
        let ahead = estimate.read(m(0), s(150));
        assert_eq!((ahead.at, ahead.earliest), (s(150), s(100)));
        assert_eq!(estimate.wall_error(m(0), s(9)), None);

        estimate.learn(s(50), m(0), m(200));
        let reading = estimate.read(m(200), s(150));
        assert_eq!(reading.source, Source::Learnt);
        assert_eq!(
            reading.at,
            s(50) + Duration::from_millis(100),
            "the controller may go back"
        );
        let error = estimate.wall_error(m(200), s(150)).unwrap();
        assert_eq!((error.offset_us, error.bound.as_millis()), (99_900_000, 100));
    }

    #[test]
    fn a_worse_answer_does_not_replace_a_better_one_unless_they_exclude_each_other() {
        let mut estimate = Estimate::default();
        estimate.learn(s(1_000), m(0), m(10));
        let good = estimate;
        estimate.learn(s(1_001), m(10), m(2_010));
        assert_eq!(estimate, good, "1001 s ± 1 s holds what was known");
        estimate.learn(s(2_000), m(2_010), m(4_010));
        assert_eq!(
            estimate.read(m(4_010), s(0)).at,
            s(2_001),
            "the controller's clock was set"
        );
    }

    #[test]
    fn what_is_known_ages() {
        let mut estimate = Estimate::default();
        estimate.learn(s(0), m(0), m(0));
        let day = estimate.read(m(86_400_000), s(0));
        assert_eq!(day.at, s(86_400));
        assert_eq!(day.at.since(day.earliest).as_millis(), 17_280, "200 ppm of a day");
    }

    proptest! {
        /// Whatever the two ways take, and however the clock drifts inside its bound, the truth is inside.
        #[test]
        fn the_bounds_hold_the_truth(
            exchanges in proptest::collection::vec((0_i64..10_000_000, 0_i64..2_000_000, 0_i64..2_000_000), 1..8),
            later in 0_i64..100_000_000_000,
            drift_ppm in -200_i64..=200,
        ) {
            // True time in µs; this machine's clock runs at 1 + drift.
            let clock = |t: i64| Mono::from_nanos(t * 1_000 + t / 1_000 * drift_ppm);
            let mut estimate = Estimate::default();
            let mut t = 0;
            for (pause, there, back) in exchanges {
                t += pause;
                let (sent, answered) = (t, t + there);
                t = answered + back;
                estimate.learn(Wall::from_micros(answered), clock(sent), clock(t));
            }
            t += later;
            let reading = estimate.read(clock(t), Wall::from_secs(-5));
            // The exchange itself is measured by the drifting clock: 200 ppm of 4 s.
            let slack = Duration::from_micros(800);
            prop_assert!(reading.earliest - slack <= Wall::from_micros(t));
            prop_assert!(Wall::from_micros(t) <= reading.latest + slack);
        }
    }
}
