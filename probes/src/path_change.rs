//! Has the path changed? A shift of the least round trip that lasts, told from drift and from spikes.
//!
//! **The test.** The *level* is the least round trip of the last half or whole minute; a packet within
//! [`PathTest::margin`] of it is at the level. A level is known once so many packets as make a run were
//! judged by it and one in twenty of them was at it. A *run* is a stretch of packets none of which is at
//! the level, all above it or all below. It proves a change if
//!
//! 1. it has [`PathTest::run`] packets and lasts [`PathTest::hold`]: spikes and bursts of queueing are
//!    over sooner;
//! 2. it is three times as long as any stretch of this level before: what has happened on this path by
//!    chance may happen again;
//! 3. its own floor is flat: the least of each quarter of the hold lies within an eighth of the shift of
//!    the others. Queues that fill or drain have none;
//! 4. the shift is more than two margins.
//!
//! Round trips are taken on one clock, so that the drift of two clocks against each other moves nothing
//! here; changes of the path's own floor by less than a margin a minute are followed by the level.
//!
//! **False alarms.** Where packets meet an empty queue independently of each other, one in twenty or more,
//! a run of 200 is chance in 0.95²⁰⁰ = 3.5·10⁻⁵ of cases. With a hold of 10 s that is at most one false
//! alarm in 79 hours, at whatever rate. What cannot be told from a change of path is a queue that stands at
//! one height all the while.

use std::{collections::VecDeque, time::Duration};

use crate::Mono;

/// What makes a change proven. See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathTest {
    /// So far from the level a packet is still at it, in µs.
    pub margin_us: u32,
    /// Packets of a run.
    pub run: u32,
    /// How long it lasts.
    pub hold: Duration,
}

impl Default for PathTest {
    fn default() -> Self {
        Self {
            // Twice the grain of timers and of Wi-Fi's slots.
            margin_us: 1_000,
            run: 200,
            hold: Duration::from_secs(10),
        }
    }
}

/// One packet in so many must be at a level.
const AT_LEVEL: u32 = 20;
/// How much longer than any stretch before a run must be.
const LONGER: u32 = 3;
/// The level is the least of one to two of these.
const LEVEL_SPAN: Duration = Duration::from_secs(30);
/// Parts of the hold whose floors must agree, to this part of the shift.
const PARTS: u32 = 4;
const FLAT: u32 = 8;

/// A change of path that is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathChange {
    /// When the first packet was sent that did not come at the old level any more.
    pub since: Mono,
    /// The least round trip before and now, in µs.
    pub before_us: u32,
    pub now_us: u32,
}

/// Watches the round trips of one path. Bounded memory, constant time a packet.
#[derive(Debug)]
pub struct PathWatch {
    test: PathTest,
    level: Option<Level>,
    run: Option<Run>,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    /// Least of the current span and of the one before.
    current_us: u32,
    before_us: u32,
    span_began: Mono,
    /// Packets judged by it, and how many of them were at it.
    packets: u32,
    at_level: u32,
    /// The longest stretch that came back to it.
    longest: u32,
    longest_for: Duration,
}

#[derive(Debug)]
struct Run {
    above: bool,
    since: Mono,
    packets: u32,
    /// Least of each part of the hold, oldest first; the last one is not over.
    floors: VecDeque<(Mono, u32)>,
}

impl PathWatch {
    pub fn new(test: PathTest) -> Self {
        Self {
            test,
            level: None,
            run: None,
        }
    }

    /// Takes the round trip of the next packet in the order of sending, in µs, and when it was sent.
    pub fn push(&mut self, sent: Mono, rtt_us: u32) -> Option<PathChange> {
        let Some(level) = &mut self.level else {
            self.level = Some(Level::new(sent, rtt_us));
            return None;
        };
        let known = level.is_known(&self.test);
        let least = level.least_us();
        let is_at = rtt_us.abs_diff(least) <= self.test.margin_us || (!known && rtt_us < least);
        if is_at {
            if let Some(run) = self.run.take() {
                level.returned(&run, sent);
            }
            level.take(sent, rtt_us);
            return None;
        }
        level.packets = level.packets.saturating_add(1);
        let above = rtt_us > least;
        if let Some(run) = self.run.take_if(|run| run.above != above) {
            level.returned(&run, sent);
        }
        let part = self.test.hold / PARTS;
        let run = self.run.get_or_insert_with(|| Run::new(above, sent));
        run.take(sent, rtt_us, part);
        let now_us = run.proves(sent, least, level, &self.test).filter(|_| known)?;
        let since = run.since;
        // All of the run was on the new path.
        self.level = Some(Level {
            packets: run.packets,
            at_level: run.packets.div_ceil(AT_LEVEL),
            ..Level::new(sent, now_us)
        });
        self.run = None;
        Some(PathChange {
            since,
            before_us: least,
            now_us,
        })
    }
}

impl Level {
    fn new(at: Mono, us: u32) -> Self {
        Self {
            current_us: us,
            before_us: us,
            span_began: at,
            packets: 1,
            at_level: 1,
            longest: 0,
            longest_for: Duration::ZERO,
        }
    }

    fn least_us(&self) -> u32 {
        self.current_us.min(self.before_us)
    }

    fn is_known(&self, test: &PathTest) -> bool {
        self.packets >= test.run && self.at_level >= self.packets.div_ceil(AT_LEVEL)
    }

    fn take(&mut self, at: Mono, us: u32) {
        self.packets = self.packets.saturating_add(1);
        self.at_level = self.at_level.saturating_add(1);
        if at.since(self.span_began) >= LEVEL_SPAN {
            self.before_us = self.current_us;
            self.current_us = us;
            self.span_began = at;
        }
        self.current_us = self.current_us.min(us);
    }

    /// A run is over without having proven anything.
    fn returned(&mut self, run: &Run, at: Mono) {
        self.longest = self.longest.max(run.packets);
        self.longest_for = self.longest_for.max(at.since(run.since));
    }
}

impl Run {
    fn new(above: bool, since: Mono) -> Self {
        Self {
            above,
            since,
            packets: 0,
            floors: VecDeque::new(),
        }
    }

    fn take(&mut self, at: Mono, us: u32, part: Duration) {
        self.packets = self.packets.saturating_add(1);
        match self.floors.back_mut() {
            Some((began, floor)) if at.since(*began) < part => *floor = (*floor).min(us),
            _ => {
                if self.floors.len() > PARTS as usize {
                    self.floors.pop_front();
                }
                self.floors.push_back((at, us));
            }
        }
    }

    /// The new level, if this proves that there is one. Its first part may hold packets of the old one that
    /// waited in a queue, so only the last hold counts.
    fn proves(&self, now: Mono, level_us: u32, level: &Level, test: &PathTest) -> Option<u32> {
        let lasted = now.since(self.since);
        let long = self.packets >= test.run.max(level.longest.saturating_mul(LONGER))
            && lasted >= test.hold.max(level.longest_for.saturating_mul(LONGER));
        // The last part has only begun.
        let parts = self.floors.len().saturating_sub(1);
        let over = || self.floors.iter().take(parts).map(|&(_, floor)| floor);
        let (low, high) = (over().min()?, over().max()?);
        let shift = low.abs_diff(level_us);
        let flat = high - low <= (shift / FLAT).max(test.margin_us);
        (long && flat && shift > 2 * test.margin_us).then_some(low)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    const EVERY: Duration = Duration::from_millis(20);

    /// Feeds round trips 20 ms apart; answers the changes and the index at which each was proven.
    fn watch(test: PathTest, rtts: impl IntoIterator<Item = u32>) -> Vec<(usize, PathChange)> {
        let mut watch = PathWatch::new(test);
        let of = rtts.into_iter().enumerate();
        of.filter_map(|(i, us)| Some((i, watch.push(at(i), us)?)))
            .collect()
    }

    fn at(i: usize) -> Mono {
        Mono::ZERO + EVERY * i as u32
    }

    fn noisy(rng: &mut StdRng, floor: u32) -> u32 {
        // A fifth meets an empty queue, the rest waits up to 15 ms.
        floor
            + if rng.random_bool(0.2) {
                0
            } else {
                rng.random_range(0..15_000)
            }
    }

    #[test]
    fn a_shift_is_proven_by_a_run_of_packets_and_a_hold_of_time_up_and_down() {
        for (before, after) in [(40_000, 49_000), (49_000, 40_000), (40_000, 42_001)] {
            let rtts = (0..2_000).map(|i| if i < 1_000 { before } else { after });
            let changes = watch(PathTest::default(), rtts);
            // 10 s at 50/s are 500 packets.
            let change = PathChange {
                since: at(1_000),
                before_us: before,
                now_us: after,
            };
            assert_eq!(changes, [(1_500, change)]);
        }
        let noise = &mut StdRng::seed_from_u64(1);
        let rtts: Vec<_> = (0..4_000)
            .map(|i| noisy(noise, if i < 2_000 { 40_000 } else { 70_000 }))
            .collect();
        let changes = watch(PathTest::default(), rtts);
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert_eq!((changes[0].1.before_us, changes[0].1.now_us), (40_000, 70_000));
        assert!(changes[0].1.since.since(at(2_000)) < Duration::from_millis(200));
    }

    #[test]
    fn spikes_drift_and_queues_that_fill_prove_nothing() {
        let noise = &mut StdRng::seed_from_u64(2);
        // Two margins are no shift; 9.9 s are no hold; a packet at the level ends a run.
        let table: [(&str, Vec<u32>); 6] = [
            (
                "two margins",
                (0..3_000)
                    .map(|i| if i < 1_000 { 40_000 } else { 42_000 })
                    .collect(),
            ),
            (
                "9.9 s",
                (0..4_000)
                    .map(|i| {
                        if (1_000..1_495).contains(&i) {
                            90_000
                        } else {
                            40_000
                        }
                    })
                    .collect(),
            ),
            (
                "one in a hundred back",
                (0..6_000)
                    .map(|i| if i > 1_000 && i % 100 > 0 { 90_000 } else { 40_000 })
                    .collect(),
            ),
            (
                "a floor that rises by 0.9 ms a minute",
                (0..30_000).map(|i| 40_000 + i * 3 / 10).collect(),
            ),
            (
                "a queue that fills for 30 s and drains",
                (0..6_000)
                    .map(|i: u32| 40_000 + 100 * i.saturating_sub(1_000).min(3_000u32.saturating_sub(i)))
                    .collect(),
            ),
            ("noise", (0..200_000).map(|_| noisy(noise, 40_000)).collect()),
        ];
        for (what, rtts) in table {
            assert_eq!(watch(PathTest::default(), rtts), [], "{what}");
        }
    }

    #[test]
    fn what_came_back_once_must_stay_three_times_as_long() {
        // 8 s of a standing queue, then the same for good: 24 s are not enough, a step more is.
        let rtts = (0..5_000).map(|i| match i {
            1_000..1_400 | 2_000.. => 80_000,
            _ => 40_000,
        });
        let changes = watch(PathTest::default(), rtts);
        assert_eq!(changes.iter().map(|c| c.0).collect::<Vec<_>>(), [3_200]);
    }

    /// Chance makes a run of `n` with the probability of n packets in a row that find a queue.
    #[test]
    fn false_alarms_are_as_rare_as_stated() {
        let rng = &mut StdRng::seed_from_u64(3);
        let (run, share) = (60, 0.05);
        let test = PathTest {
            run,
            hold: Duration::ZERO,
            ..PathTest::default()
        };
        // Queues of one height, the worst case: everything but the length is met at once.
        let packets = 1_000_000;
        let mut alarms = 0;
        let mut watch = PathWatch::new(test);
        for i in 0..packets {
            let rtt = if rng.random_bool(share) { 40_000 } else { 60_000 };
            if watch.push(at(i), rtt).is_some() {
                alarms += 1;
                // Back on the path, with nothing learnt.
                watch = PathWatch::new(test);
            }
        }
        let by_runs = packets as f64 * share * (1.0 - share).powi(run as i32);
        assert!(f64::from(alarms) <= by_runs, "{alarms} of {by_runs}");
        let stated = 0.95f64.powi(200);
        assert!((stated - 3.5e-5).abs() < 1e-6);
        assert!((10.0 / stated / 3_600.0 - 79.0).abs() < 1.0);
    }
}
