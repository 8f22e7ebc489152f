//! What one direction of a way takes, and what a budget on one way is judged on.
//!
//! The raw differences of a way's links, `received there - sent here`, add up to those of the whole way: the
//! clocks between its ends cancel, but for what they drift between one window and another. How the clocks of
//! the two ends stand against each other is known within a bound, from all links there are. Where that bound
//! is at most [`BOUND_SHARE`] of the budget, the worse direction is judged, at its estimate plus the bound;
//! elsewhere half of the round trip is, and it is said so.
//!
//! Everything is compared as round trips: the worse direction counts twice, against twice the budget. Where one
//! route of a leg is judged by its directions, so are all, each at its own bound: the one of which less is known
//! must not win by that. Nor must it lose by more than doubt that is borne: beyond that, half of its round trip
//! is judged, with as much added as a bound may be.

use std::{collections::VecDeque, fmt::Debug, time::Duration};

use corridor_probes::{AgentId, EdgeId, Mono, Offset, Relation};

use super::{
    defaults::{BOUND_LEFT, BOUND_SHARE, HORIZON, WINDOW_SAMPLES, WINDOWS},
    estimate::{Distribution, thin},
};

/// A monotonic clock: a process's, from one sleep of its machine to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClockName {
    Agent { id: AgentId, boot: u64, steps: u32 },
    Edge { id: EdgeId, clock: u16 },
}

/// Who knows how clocks stand against each other.
pub trait Clocks: Debug {
    /// How `there` stands against `here` around now; `None` where nothing bounds it.
    fn relation(&self, here: ClockName, there: ClockName) -> Option<Relation>;
}

/// Nobody does.
#[derive(Debug, Clone, Copy)]
pub struct NoClocks;

impl Clocks for NoClocks {
    fn relation(&self, _: ClockName, _: ClockName) -> Option<Relation> {
        None
    }
}

/// How well directions must be known for a budget on one way to be judged on them, and how badly they may be
/// known before they are not any more.
pub fn bound_borne(budget: Duration, was_judged: bool) -> Duration {
    let left = if was_judged { BOUND_LEFT } else { 1.0 };
    budget.mul_f64(BOUND_SHARE * left)
}

/// One link's raw differences, away from the prober and back, of the windows within [`HORIZON`].
#[derive(Debug, Clone)]
pub struct Directions {
    clocks: [ClockName; 2],
    windows: VecDeque<Window>,
}

#[derive(Debug, Clone)]
struct Window {
    at: Mono,
    length: Duration,
    /// In µs, ascending.
    ways: [Vec<i64>; 2],
}

impl Directions {
    /// Of a link between these two clocks, the prober's first.
    pub fn new(clocks: [ClockName; 2]) -> Self {
        Self {
            clocks,
            windows: VecDeque::new(),
        }
    }

    /// Takes in a window of this length that ended at `at`, with raw differences in µs in any order. Others than
    /// of the newest clocks are forgotten.
    pub fn observe(&mut self, clocks: [ClockName; 2], at: Mono, length: Duration, ways: [Vec<i64>; 2]) {
        if ways.iter().any(Vec::is_empty) {
            return;
        }
        if self.clocks != clocks {
            if self.windows.back().is_some_and(|newest| newest.at > at) {
                return;
            }
            *self = Self::new(clocks);
        }
        let ways = ways.map(|mut way| {
            way.sort_unstable();
            thin(&mut way, WINDOW_SAMPLES);
            way
        });
        let place = self.windows.partition_point(|w| w.at <= at);
        self.windows.insert(place, Window { at, length, ways });
        let newest = self.windows.back().map_or(at, |w| w.at);
        while self.windows.len() > WINDOWS || self.windows.front().is_some_and(|w| w.at + HORIZON <= newest) {
            self.windows.pop_front();
        }
    }

    /// When the newest window closed.
    pub fn newest(&self) -> Option<Mono> {
        self.windows.back().map(|w| w.at)
    }

    /// The raw differences as they would be now; `None` if the clocks' rates are not known.
    pub fn now(&self, now: Mono, clocks: &dyn Clocks) -> Option<Raw> {
        let [here, there] = self.clocks;
        let relation = clocks.relation(here, there)?;
        let middle = relation.slow_ppb.midpoint(relation.fast_ppb);
        let doubt = relation.fast_ppb.saturating_sub(middle).unsigned_abs();
        let oldest = now.since(self.windows.front()?.middle());
        // Samples are of any time in their window, and of the wait for an echo after it.
        let longest = self.windows.iter().map(|w| w.length).max()?;
        let fastest = relation
            .slow_ppb
            .saturating_abs()
            .max(relation.fast_ppb.saturating_abs());
        let within = gained_us(fastest, longest / 2 + ECHO_WAIT).unsigned_abs();
        let ways = [0, 1].map(|way| {
            let sign = if way == 0 { 1 } else { -1 };
            let moved = self.windows.iter().flat_map(|w| {
                let by = gained_us(middle, now.since(w.middle())) * sign;
                w.ways[way].iter().map(move |us| us.saturating_add(by))
            });
            Way::of(&moved.collect::<Vec<_>>())
        });
        let [Some(there_way), Some(back_way)] = ways else {
            return None;
        };
        Some(Raw {
            clocks: self.clocks,
            ways: [there_way, back_way],
            doubt_us: gained_us(i64::try_from(doubt).ok()?, oldest).unsigned_abs() + within + GRAIN_US,
        })
    }
}

impl Window {
    fn middle(&self) -> Mono {
        self.at - self.length / 2
    }
}

/// An echo in time comes within this.
const ECHO_WAIT: Duration = Duration::from_secs(2);

/// Raw differences are of whole microseconds, and are moved by whole ones.
const GRAIN_US: u64 = 3;

/// What a rate, in parts in 10⁹, comes to in a time.
fn gained_us(ppb: i64, time: Duration) -> i64 {
    let us = i128::from(ppb) * i128::try_from(time.as_micros()).unwrap_or(i128::MAX) / 1_000_000_000;
    i64::try_from(us).unwrap_or(0)
}

/// Raw differences there and back between two clocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    clocks: [ClockName; 2],
    ways: [Way; 2],
    /// How far drift may have moved them, in µs.
    doubt_us: u64,
}

/// A distribution of differences, which may be negative: the least, and how far all lie above it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    least_us: i64,
    above: Distribution,
}

impl Way {
    fn of(us: &[i64]) -> Option<Self> {
        let least_us = us.iter().copied().min()?;
        let above = us
            .iter()
            .map(|us| u32::try_from(us.saturating_sub(least_us)).unwrap_or(u32::MAX));
        Some(Self {
            least_us,
            above: Distribution::of(above.collect())?,
        })
    }

    fn then(&self, next: &Self) -> Self {
        Self {
            least_us: self.least_us.saturating_add(next.least_us),
            above: self.above.then(&next.above),
        }
    }

    fn at(&self, q: f64) -> i64 {
        self.least_us
            .saturating_add(i64::try_from(self.above.quantile(q).as_micros()).unwrap_or(i64::MAX))
    }
}

/// The worse direction of a way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worse {
    /// Twice its delays, each at estimate plus bound.
    pub twice: Distribution,
    /// How far an estimate may be off.
    pub bound: Duration,
}

impl Worse {
    /// Of which little but the round trip is known: half of it, and as much more as a bound may be.
    pub fn by_half(rtt: &Distribution, within: Duration) -> Self {
        let more = u32::try_from(within.as_micros().saturating_mul(2)).unwrap_or(u32::MAX);
        Self {
            twice: rtt.map(|us| us.saturating_add(more)),
            bound: within,
        }
    }
}

impl Raw {
    /// Seen from the other end.
    #[must_use]
    pub fn turned(&self) -> Self {
        let [here, there] = self.clocks;
        let [way_there, way_back] = self.ways.clone();
        Self {
            clocks: [there, here],
            ways: [way_back, way_there],
            doubt_us: self.doubt_us,
        }
    }

    /// Of this way and the next after it; `None` if their clocks do not meet.
    pub fn then(&self, next: &Self) -> Option<Self> {
        (self.clocks[1] == next.clocks[0]).then(|| Self {
            clocks: [self.clocks[0], next.clocks[1]],
            ways: [0, 1].map(|way| self.ways[way].then(&next.ways[way])),
            doubt_us: self.doubt_us.saturating_add(next.doubt_us),
        })
    }

    /// The worse direction by its 95th percentile, with how the clocks of both ends stand against each other.
    pub fn worse(&self, ends: Offset) -> Worse {
        let bound_us = self.bound_us(ends);
        let ahead = ends.estimate_us();
        let high = [
            self.ways[0].at(0.95).saturating_sub(ahead),
            self.ways[1].at(0.95).saturating_add(ahead),
        ];
        let way = usize::from(high[1] > high[0]);
        let least = if way == 0 {
            self.ways[0].least_us.saturating_sub(ahead)
        } else {
            self.ways[1].least_us.saturating_add(ahead)
        };
        let twice = self.ways[way].above.map(|above| {
            let us = i128::from(least) + i128::from(above);
            u32::try_from((us.max(0) + i128::from(bound_us)) * 2).unwrap_or(u32::MAX)
        });
        Worse {
            twice,
            bound: Duration::from_micros(bound_us),
        }
    }

    pub fn bound_us(&self, ends: Offset) -> u64 {
        ends.bound_us().saturating_add(self.doubt_us)
    }

    pub const fn clocks(&self) -> [ClockName; 2] {
        self.clocks
    }
}

/// Ways one after the other, without combining their distributions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rough {
    ends: Option<[ClockName; 2]>,
    /// There and back: the sum of medians, and the sum of squares of what the 95th percentiles lie above.
    medians_us: [i64; 2],
    above: [f64; 2],
    doubt_us: u64,
}

impl Rough {
    /// Walks on along `next`; `None` if the clocks do not meet.
    pub fn then(mut self, next: &Raw) -> Option<Self> {
        let [here, there] = next.clocks;
        self.ends = match self.ends {
            None => Some([here, there]),
            Some([first, last]) if last == here => Some([first, there]),
            Some(_) => return None,
        };
        for (i, way) in next.ways.iter().enumerate() {
            let median = way.at(0.5);
            self.medians_us[i] = self.medians_us[i].saturating_add(median);
            self.above[i] += (way.at(0.95).saturating_sub(median) as f64).powi(2);
        }
        self.doubt_us = self.doubt_us.saturating_add(next.doubt_us);
        Some(self)
    }

    pub const fn ends(&self) -> Option<[ClockName; 2]> {
        self.ends
    }

    pub fn bound(&self, ends: Offset) -> Duration {
        Duration::from_micros(ends.bound_us().saturating_add(self.doubt_us))
    }

    /// Twice the median and the 95th percentile of the worse direction, as [`Raw::worse`] would find them about.
    pub fn worse(&self, ends: Offset) -> [Duration; 2] {
        let bound = self.bound(ends).as_micros() as f64;
        let ahead = ends.estimate_us() as f64;
        let of = |way: usize| {
            let median = self.medians_us[way] as f64 + if way == 0 { -ahead } else { ahead };
            [median, median + self.above[way].sqrt()].map(|us| 2.0 * (us.max(0.0) + bound))
        };
        let (there, back) = (of(0), of(1));
        let worse = if back[1] > there[1] { back } else { there };
        worse.map(|us| Duration::from_micros(us as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono::from_millis(1_000_000);

    fn agent(id: u64) -> ClockName {
        ClockName::Agent {
            id: AgentId(id),
            boot: 1,
            steps: 0,
        }
    }

    fn edge(clock: u16) -> ClockName {
        ClockName::Edge {
            id: EdgeId::new(1).unwrap(),
            clock,
        }
    }

    /// Every clock gains so much on the one before it.
    #[derive(Debug)]
    struct Drift {
        ppb: i64,
        doubt_ppb: i64,
    }

    impl Clocks for Drift {
        fn relation(&self, _: ClockName, _: ClockName) -> Option<Relation> {
            Some(Relation {
                slow_ppb: self.ppb - self.doubt_ppb,
                fast_ppb: self.ppb + self.doubt_ppb,
                ..Relation::same(NOW)
            })
        }
    }

    const STEADY: Drift = Drift { ppb: 0, doubt_ppb: 0 };

    fn offset(ahead_us: i64, bound_us: i64) -> Offset {
        Offset {
            low_us: ahead_us - bound_us,
            high_us: ahead_us + bound_us,
        }
    }

    fn link(clocks: [ClockName; 2], there: &[i64], back: &[i64]) -> Raw {
        let mut directions = Directions::new(clocks);
        directions.observe(clocks, NOW, Duration::ZERO, [there.to_vec(), back.to_vec()]);
        directions.now(NOW, &STEADY).unwrap()
    }

    #[test]
    fn clocks_on_the_way_cancel_and_those_of_the_ends_are_taken_out() {
        // The edge is 7 s ahead of the one agent, the other 2 s ahead of it: 30 ms there, 10 back, and 5 each way.
        let first = link([agent(1), edge(1)], &[7_030_000; 40], &[-6_990_000; 40]);
        let last = link([agent(2), edge(1)], &[5_005_000; 40], &[-4_995_000; 40]);
        let way = first.then(&last.turned()).unwrap();
        for (way, wanted_ms) in [(&way, 2 * (35 + 4)), (&way.turned(), 2 * (35 + 4))] {
            let ahead = if way.clocks()[0] == agent(1) {
                2_000_000
            } else {
                -2_000_000
            };
            let worse = way.worse(offset(ahead, 4_000));
            assert_eq!(worse.twice.median().as_millis(), wanted_ms, "{worse:?}");
            assert_eq!(worse.bound, Duration::from_micros(4_000 + 2 * GRAIN_US));
        }
        assert_eq!(
            first.then(&link([edge(2), agent(2)], &[0], &[0])),
            None,
            "it restarted"
        );
        let rough = Rough::default()
            .then(&first)
            .unwrap()
            .then(&last.turned())
            .unwrap();
        let ends = offset(2_000_000, 4_000);
        let exact = way.worse(ends).twice;
        assert_eq!(rough.worse(ends), [exact.median(), exact.p95()]);
        assert_eq!(rough.bound(ends), way.worse(ends).bound);
        assert!(Rough::default().then(&first).unwrap().then(&last).is_none());
    }

    #[test]
    fn what_varies_in_one_direction_counts_there() {
        let varied: Vec<i64> = (0..40).map(|i| 20_000 + i * 1_000).collect();
        let way = link([agent(1), edge(1)], &varied, &[20_000; 40]);
        let worse = way.worse(offset(0, 0));
        let ms = [worse.twice.median(), worse.twice.p95()].map(|d| d.as_millis());
        assert_eq!(ms, [2 * 39, 2 * 57], "nothing is shared out between directions");
        // The way back is the worse one all the time.
        let worse = way.worse(offset(40_000, 0));
        assert_eq!(worse.twice.p95().as_millis(), 2 * 60);
    }

    #[test]
    fn drift_is_taken_out_and_its_doubt_is_in_the_bound() {
        let clocks = [agent(1), edge(1)];
        let mut directions = Directions::new(clocks);
        // 100 ppm: 1 ms in 10 s. A sample a second, from 60 s ago until now.
        for i in 0..6 {
            let at = NOW - Duration::from_secs(50 - i * 10);
            let ahead = |second: i64| -6_000 + (i as i64 * 10 + second) * 100;
            let ways = [1, -1].map(|sign| (0..10).map(|s| 10_000 + sign * ahead(s)).collect());
            directions.observe(clocks, at, Duration::from_secs(10), ways);
        }
        let drift = Drift {
            ppb: 100_000,
            doubt_ppb: 20_000,
        };
        let worse = directions.now(NOW, &drift).unwrap().worse(offset(0, 0));
        // 20 ppm in the 55 s since the middle of the oldest; 120 ppm in half a window, and the wait for an echo.
        assert_eq!(worse.bound.as_micros(), u128::from(1_100 + 840 + GRAIN_US));
        for twice in [worse.twice.quantile(0.0), worse.twice.p95()] {
            let estimate = twice / 2 - worse.bound;
            let off = estimate.abs_diff(Duration::from_micros(10_000));
            assert!(
                off <= Duration::from_micros(500),
                "what half a window drifts: {off:?}"
            );
        }
    }

    #[test]
    fn windows_of_other_clocks_and_old_ones_are_forgotten() {
        let clocks = [agent(1), edge(1)];
        let mut directions = Directions::new(clocks);
        let mut see = |clock, at_s: u64, us: i64| {
            let at = NOW - Duration::from_secs(100 - at_s);
            directions.observe([agent(1), edge(clock)], at, Duration::ZERO, [vec![us], vec![us]]);
            directions
                .now(NOW, &STEADY)
                .map(|raw| (raw.clocks()[1], raw.ways[0].at(1.0)))
        };
        assert_eq!(see(1, 0, 90), Some((edge(1), 90)));
        assert_eq!(see(1, 59, 50), Some((edge(1), 90)));
        assert_eq!(see(1, 60, 40), Some((edge(1), 50)));
        assert_eq!(see(2, 70, 30), Some((edge(2), 30)));
        assert_eq!(
            see(1, 65, 80),
            Some((edge(2), 30)),
            "late news of a clock that is gone"
        );
        directions.observe(clocks, NOW, Duration::ZERO, [vec![], vec![]]);
        assert_eq!(
            directions.newest(),
            Some(NOW - Duration::from_secs(30)),
            "nothing is no news"
        );
    }

    #[test]
    fn a_bound_is_left_later_than_it_is_taken() {
        let bound = |was| bound_borne(Duration::from_millis(100), was);
        assert_eq!([false, true].map(bound), [20, 25].map(Duration::from_millis));
    }
}
