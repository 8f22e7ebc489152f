//! Token buckets: how fast a control stream may write, and how much a tripped breaker lets through. Pure.

use std::time::Duration;

use corridor_probes::Mono;

/// A token bucket over bytes. It starts full.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    bits_per_s: u64,
    /// In bit-nanoseconds, so that no rate and no interval rounds anything away.
    burst: u128,
    tokens: u128,
    filled_at: Option<Mono>,
}

const NS: u128 = 1_000_000_000;

impl TokenBucket {
    /// At most `burst` bytes at once, `bits_per_s` in the long run.
    pub fn new(bits_per_s: u64, burst: usize) -> Self {
        let burst = burst as u128 * 8 * NS;
        Self {
            bits_per_s,
            burst,
            tokens: burst,
            filled_at: None,
        }
    }

    /// Fills at another rate from `now` on.
    pub fn set_rate(&mut self, now: Mono, bits_per_s: u64) {
        self.fill(now);
        self.bits_per_s = bits_per_s;
    }

    /// Takes `bytes`, or says how long to wait before asking again. More than the burst can never be
    /// taken at once; the wait is then the time to fill up.
    pub fn take(&mut self, now: Mono, bytes: usize) -> Result<(), Duration> {
        self.fill(now);
        let need = bytes as u128 * 8 * NS;
        if let Some(rest) = self.tokens.checked_sub(need) {
            self.tokens = rest;
            return Ok(());
        }
        let missing = need.min(self.burst).saturating_sub(self.tokens);
        let ns = missing.div_ceil(u128::from(self.bits_per_s.max(1))).max(1);
        Err(Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX)))
    }

    fn fill(&mut self, now: Mono) {
        let passed = now.since(self.filled_at.unwrap_or(now));
        let tokens = passed.as_nanos() * u128::from(self.bits_per_s);
        self.tokens = self.tokens.saturating_add(tokens).min(self.burst);
        self.filled_at = Some(self.filled_at.map_or(now, |at| at.max(now)));
    }
}

/// How fast control streams may write on a connection that probes or media share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamRate {
    /// A class is on: reports wait rather than fill a pupil's uplink.
    InClass,
    /// No class is on.
    Idle,
}

impl StreamRate {
    /// Bits a second.
    pub const fn bits_per_s(self) -> u64 {
        match self {
            Self::InClass => 32_000,
            Self::Idle => 256_000,
        }
    }
}

/// The RTT is rising when it is this much above its minimum: a queue is filling, perhaps with our bytes.
pub const RISING: Duration = Duration::from_millis(50);
/// By how much writes slow down then.
pub const SLOW_DOWN: u64 = 4;
/// The most that is written at once: one packet's worth.
pub const CHUNK: usize = 1_024;
/// Two chunks, so that a small message after silence does not wait.
const BURST: usize = 2 * CHUNK;

/// The bucket that all streams of one connection write through.
#[derive(Debug, Clone)]
pub struct StreamBucket {
    bucket: TokenBucket,
    rate: StreamRate,
    rising: bool,
}

impl StreamBucket {
    pub fn new(rate: StreamRate) -> Self {
        Self {
            bucket: TokenBucket::new(rate.bits_per_s(), BURST),
            rate,
            rising: false,
        }
    }

    pub fn set_rate(&mut self, now: Mono, rate: StreamRate) {
        self.rate = rate;
        self.apply(now);
    }

    /// The path's RTT now, and its least.
    pub fn set_rtt(&mut self, now: Mono, rtt: Duration, least: Duration) {
        let rising = rtt > least + RISING;
        if rising != self.rising {
            self.rising = rising;
            self.apply(now);
        }
    }

    /// See [`TokenBucket::take`]; at most [`CHUNK`] bytes.
    pub fn take(&mut self, now: Mono, bytes: usize) -> Result<(), Duration> {
        self.bucket.take(now, bytes)
    }

    fn apply(&mut self, now: Mono) {
        let slow_down = if self.rising { SLOW_DOWN } else { 1 };
        self.bucket.set_rate(now, self.rate.bits_per_s() / slow_down);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes chunks as fast as the bucket lets it until `end`, jumping to each moment it names.
    fn written(bucket: &mut StreamBucket, from: Mono, end: Mono) -> usize {
        let (mut now, mut bytes) = (from, 0);
        while now < end {
            match bucket.take(now, CHUNK) {
                Ok(()) => bytes += CHUNK,
                Err(wait) => now = now + wait,
            }
        }
        bytes
    }

    #[test]
    fn long_run_rates_are_exact_in_every_mode() {
        let least = Duration::from_millis(40);
        for (rate, rtt_ms, bps) in [
            (StreamRate::Idle, 40, 256_000),
            (StreamRate::Idle, 90, 256_000),
            (StreamRate::Idle, 91, 64_000),
            (StreamRate::InClass, 40, 32_000),
            (StreamRate::InClass, 300, 8_000),
        ] {
            let mut bucket = StreamBucket::new(rate);
            bucket.set_rtt(Mono::ZERO, Duration::from_millis(rtt_ms), least);
            let bytes = written(&mut bucket, Mono::ZERO, Mono::from_millis(100_000));
            let most = bps * 100 / 8 + BURST;
            assert!(
                bytes <= most && bytes + CHUNK >= most,
                "{rate:?} {rtt_ms} ms: {bytes} of {most}"
            );
        }
    }

    #[test]
    fn the_wait_is_enough_and_no_more_than_enough() {
        for bps in [1, 7, 8_000, 32_000, 999_983, u64::MAX] {
            let mut bucket = TokenBucket::new(bps, 1_000);
            assert_eq!(bucket.take(Mono::ZERO, 1_000), Ok(()));
            let wait = bucket.take(Mono::ZERO, 10).unwrap_err();
            let almost = Mono::ZERO + (wait - Duration::from_nanos(1));
            assert!(
                wait == Duration::from_nanos(1) || bucket.take(almost, 10).is_err(),
                "{bps}"
            );
            assert_eq!(bucket.take(Mono::ZERO + wait, 10), Ok(()), "{bps}");
        }
    }

    #[test]
    fn rate_changes_apply_from_then_on() {
        let mut bucket = TokenBucket::new(8_000, 1_000);
        bucket.take(Mono::ZERO, 1_000).unwrap();
        bucket.set_rate(Mono::from_millis(500), 80_000);
        // 500 B from the first half second, 250 B from 25 ms at ten times the rate.
        assert_eq!(bucket.take(Mono::from_millis(525), 750), Ok(()));
        assert!(bucket.take(Mono::from_millis(525), 1).is_err());
    }

    #[test]
    fn time_that_goes_back_gives_nothing() {
        let mut bucket = TokenBucket::new(8_000, 100);
        bucket.take(Mono::from_millis(1_000), 100).unwrap();
        assert!(bucket.take(Mono::ZERO, 1).is_err());
        assert!(bucket.take(Mono::from_millis(1_000), 1).is_err());
        assert_eq!(bucket.take(Mono::from_millis(1_001), 1), Ok(()));
    }
}
