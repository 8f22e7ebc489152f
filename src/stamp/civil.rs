//! Civil time that runs as evenly as the monotonic clock.

use corridor_probes::{Mono, Wall};

/// A wall clock that differs from ours by more has been set, not adjusted: NTP steps from 128 ms on
/// (RFC 5905 §11.1).
const STEP_NS: i128 = 128_000_000;

/// Civil time, carried on the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Civil {
    /// Nanoseconds since 1970 when the monotonic clock was at zero.
    origin_ns: i128,
}

impl Civil {
    pub fn new(mono: Mono, wall: Wall) -> Self {
        Self {
            origin_ns: i128::from(wall.as_micros()) * 1_000 - i128::from(mono.as_nanos()),
        }
    }

    pub fn origin_ns(self) -> i128 {
        self.origin_ns
    }

    /// Takes over a wall clock that was set.
    pub fn follow(&mut self, mono: Mono, wall: Wall) {
        let now = Self::new(mono, wall);
        if (now.origin_ns - self.origin_ns).abs() > STEP_NS {
            *self = now;
        }
    }

    /// Nanoseconds since 1970; 0 before that.
    pub fn unix_ns(self, mono: Mono) -> u64 {
        u64::try_from(self.origin_ns + i128::from(mono.as_nanos())).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_followed_and_adjustments_are_not() {
        let ms = Mono::from_millis;
        let mut civil = Civil::new(ms(1_000), Wall::from_secs(500));
        assert_eq!(civil.unix_ns(ms(1_001)), 500_001_000_000);
        civil.follow(ms(2_000), Wall::from_micros(501_128_000));
        assert_eq!(civil.unix_ns(ms(2_000)), 501_000_000_000);
        civil.follow(ms(2_000), Wall::from_micros(501_128_001));
        assert_eq!(civil.unix_ns(ms(2_000)), 501_128_001_000);
        civil.follow(ms(2_000), Wall::from_secs(-5));
        assert_eq!(civil.unix_ns(ms(2_000)), 0);
    }
}
