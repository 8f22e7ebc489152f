//! How many packets are answered.

use std::time::Duration;

use crate::Mono;

/// So many a second in the long run, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub per_second: u32,
    pub burst: u32,
}

/// A bucket of tokens, one a packet. It starts full.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    /// In nanoseconds of filling, so that nothing is rounded away.
    filled_ns: u64,
    at: Mono,
}

impl Rate {
    pub(super) fn full(self, now: Mono) -> Bucket {
        Bucket {
            filled_ns: self.size_ns(),
            at: now,
        }
    }

    /// How long an empty bucket takes to fill up; then it is as good as forgotten.
    pub(super) fn refill(self) -> Duration {
        Duration::from_nanos(self.size_ns())
    }

    fn packet_ns(self) -> u64 {
        1_000_000_000 / u64::from(self.per_second.max(1))
    }

    fn size_ns(self) -> u64 {
        self.packet_ns() * u64::from(self.burst.max(1))
    }
}

impl Bucket {
    /// Whether a packet may pass at `now`; if so it is counted.
    pub(super) fn take(&mut self, rate: Rate, now: Mono) -> bool {
        let passed = u64::try_from(now.since(self.at).as_nanos()).unwrap_or(u64::MAX);
        self.filled_ns = self.filled_ns.saturating_add(passed).min(rate.size_ns());
        self.at = self.at.max(now);
        match self.filled_ns.checked_sub(rate.packet_ns()) {
            Some(rest) => self.filled_ns = rest,
            None => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = Rate {
            per_second: 100,
            burst: 5,
        };
        let start = Mono::from_millis(1_000);
        let mut bucket = rate.full(start);
        let passed = |bucket: &mut Bucket, now| (0..50).filter(|_| bucket.take(rate, now)).count();
        for (after_ms, wanted) in [(0, 5), (9, 0), (10, 1), (30, 2), (10_000, 5), (9_000, 0)] {
            let now = start + Duration::from_millis(after_ms);
            assert_eq!(passed(&mut bucket, now), wanted, "{after_ms} ms");
        }
    }
}
