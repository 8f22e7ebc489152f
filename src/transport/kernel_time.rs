//! The kernel stamps packets by the wall clock; everything here is measured on the monotonic one.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use corridor_probes::{Mono, Wall};

use crate::clock::Clock;

/// How much the difference of the two clocks may change between two readings: what reading one after the
/// other may cost, …
const SLACK: Duration = Duration::from_micros(500);
/// … and what the system may slew the wall clock by, in parts per million (`adjtime` goes to 500, and
/// `adjtimex` to ten times as much while it makes up for an offset).
const SLEW_PPM: u32 = 5_000;

/// Older stamps are not believed: a socket's buffer does not hold packets so long.
const OLDEST: Duration = Duration::from_secs(10);

/// Knows when the wall clock was stepped, or the machine slept: stamps from before are of no use then.
#[derive(Debug)]
pub struct KernelTime {
    last: Mutex<Clocks>,
}

/// Both clocks, read together.
#[derive(Debug, Clone, Copy)]
struct Clocks {
    mono: Mono,
    wall: Wall,
}

/// What stamps mean now.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    now: Clocks,
    steady: bool,
}

impl KernelTime {
    pub fn new(clock: &dyn Clock) -> Self {
        Self {
            last: Mutex::new(Clocks::read(clock)),
        }
    }

    /// Reads the clocks. To be called for each batch of packets, right after it was received.
    pub fn read(&self, clock: &dyn Clock) -> Reading {
        let now = Clocks::read(clock);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = Reading {
            now,
            steady: now.follows(&last),
        };
        *last = now;
        reading
    }
}

impl Reading {
    pub fn now(&self) -> Mono {
        self.now.mono
    }

    /// The time of a packet that the kernel stamped with `stamp` since the Unix epoch; none if the clock
    /// was stepped since the batch before, or the stamp is of the future or long ago.
    pub fn mono(&self, stamp: Duration) -> Option<Mono> {
        let wall = Duration::from_micros(u64::try_from(self.now.wall.as_micros()).ok()?);
        // The wall clock was read in whole microseconds.
        let age = (wall + Duration::from_micros(1)).checked_sub(stamp)?;
        (self.steady && age <= OLDEST).then(|| self.now.mono - age)
    }
}

impl Clocks {
    fn read(clock: &dyn Clock) -> Self {
        Self {
            mono: clock.mono(),
            wall: clock.wall(),
        }
    }

    /// Whether both clocks have gone on alike since `earlier`.
    fn follows(&self, earlier: &Self) -> bool {
        let mono = i128::from(self.mono.diff_nanos(earlier.mono));
        let wall = (i128::from(self.wall.as_micros()) - i128::from(earlier.wall.as_micros())) * 1_000;
        let slack = SLACK.as_nanos() + mono.unsigned_abs() * u128::from(SLEW_PPM) / 1_000_000;
        mono >= 0 && (wall - mono).unsigned_abs() <= slack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(steps: [(u64, i64); 2]) -> Reading {
        let [before, now] = steps.map(|(mono_ms, wall_ms)| Clocks {
            mono: Mono::ZERO + Duration::from_millis(mono_ms),
            wall: Wall::from_micros(wall_ms * 1_000),
        });
        Reading {
            now,
            steady: now.follows(&before),
        }
    }

    #[test]
    fn a_stamp_is_told_on_the_monotonic_clock() {
        let steady = reading([(100, 1_000_100), (200, 1_000_200)]);
        let at = steady.mono(Duration::from_millis(1_000_190)).unwrap();
        let expected = Mono::ZERO + Duration::from_millis(190);
        assert!(at.diff_nanos(expected).abs() <= 1_000, "{at}");
    }

    #[test]
    fn stamps_across_a_step_of_the_clock_are_not_believed() {
        let stamp = |ms| Duration::from_millis(ms);
        let table = [
            // (clocks before and now, stamp in ms, believed)
            ([(100, 1_000_100), (200, 1_000_200)], 1_000_190, true),
            ([(100, 1_000_100), (200, 1_000_200)], 1_000_201, false),
            ([(100, 1_000_100), (60_100, 1_060_100)], 1_050_099, false),
            ([(100, 1_000_100), (60_100, 1_060_100)], 1_050_101, true),
            // Stepped by 2 ms, by an hour, both ways.
            ([(100, 1_000_100), (200, 1_000_202)], 1_000_190, false),
            ([(100, 1_000_100), (200, 4_600_200)], 4_600_190, false),
            ([(4_000, 4_600_100), (4_100, 1_000_200)], 1_000_190, false),
            // Slewed by 500 ppm for a minute.
            ([(100, 1_000_100), (60_100, 1_060_130)], 1_060_120, true),
        ];
        for (clocks, at, believed) in table {
            assert_eq!(reading(clocks).mono(stamp(at)).is_some(), believed, "{clocks:?}");
        }
    }
}
