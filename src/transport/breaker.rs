//! When a connection's path is so lossy that real-time sending must fall back to a trickle: the circuit
//! breaker of RFC 8083 in spirit. Pure.
//!
//! The congestion window is open, because real-time traffic here is bounded by its own token buckets and
//! steering moves it off a bad route within seconds. The breaker is for when that fails: it must never
//! act before steering had its chance, nor keep a sender going that only adds to a collapse.

use std::time::Duration;

/// Feedback is judged in intervals of at least this.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// An interval is bad when this share of the bytes it learnt about was lost. RFC 8083 §4.3 asks when TCP
/// would get a tenth of the rate; at these rates and RTTs that is far above half.
pub const BAD_LOSS: f64 = 0.6;
/// An interval is good below this: the share at which routes are left, not merely endured.
pub const GOOD_LOSS: f64 = 0.3;
/// Bad intervals in a row that trip it (RFC 8083 §4.3: three to five reporting intervals).
pub const TRIP_AFTER: u32 = 5;
/// Good intervals in a row that reset it.
pub const RESET_AFTER: u32 = 3;
/// Sending for so long without any acknowledgement trips it too (RFC 8083 §4.1, media time-out), until
/// the first acknowledgement. Above every access outage that people sit through.
pub const SILENCE: Duration = Duration::from_secs(10);
/// Feedback about fewer bytes than this is no evidence, and such an interval goes on.
pub const EVIDENCE: u64 = 1_000;
/// What a tripped connection may still send, in bits a second: probes at 20/s, so that recovery is seen.
pub const TRICKLE_BPS: u64 = 32_000;

/// What was learnt in one interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BreakerInterval {
    /// Bytes in packets that were acknowledged, and that were declared lost.
    pub acked: u64,
    pub lost: u64,
}

/// The breaker's state. Silence is timed by the sender's clock and loss by QUIC's, each since an origin of
/// its own; they are never compared.
#[derive(Debug, Clone)]
pub struct Breaker {
    lossy: bool,
    silent: bool,
    interval: BreakerInterval,
    interval_began: Option<Duration>,
    streak: u32,
    /// The first sending since the last acknowledgement.
    unanswered_since: Option<Duration>,
}

impl Breaker {
    pub fn new() -> Self {
        Self {
            lossy: false,
            silent: false,
            interval: BreakerInterval::default(),
            interval_began: None,
            streak: 0,
            unanswered_since: None,
        }
    }

    /// Whether only [`TRICKLE_BPS`] may be sent.
    pub fn tripped(&self) -> bool {
        self.lossy || self.silent
    }

    /// Something was sent that wants an acknowledgement.
    pub fn sent(&mut self, now: Duration) {
        let since = *self.unanswered_since.get_or_insert(now);
        self.silent |= now.saturating_sub(since) >= SILENCE;
    }

    /// `bytes` were acknowledged.
    pub fn acked(&mut self, now: Duration, bytes: u64) {
        self.unanswered_since = None;
        self.silent = false;
        self.interval.acked += bytes;
        self.judge(now);
    }

    /// `bytes` were declared lost.
    pub fn lost(&mut self, now: Duration, bytes: u64) {
        self.interval.lost += bytes;
        self.judge(now);
    }

    fn judge(&mut self, now: Duration) {
        let began = *self.interval_began.get_or_insert(now);
        let BreakerInterval { acked, lost } = self.interval;
        if now.saturating_sub(began) < INTERVAL || acked + lost < EVIDENCE {
            return;
        }
        let loss = lost as f64 / (acked + lost) as f64;
        self.interval = BreakerInterval::default();
        self.interval_began = Some(now);
        let (counts, enough) = if self.lossy {
            (loss < GOOD_LOSS, RESET_AFTER)
        } else {
            (loss >= BAD_LOSS, TRIP_AFTER)
        };
        self.streak = if counts { self.streak + 1 } else { 0 };
        if self.streak >= enough {
            self.lossy = !self.lossy;
            self.streak = 0;
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Seconds until the breaker changes under this loss, sending 50 × 200 B a second for `limit` s.
    fn seconds_until_change(breaker: &mut Breaker, from: Duration, loss: f64, limit: u32) -> Option<u32> {
        let before = breaker.tripped();
        let (mut owed, mut n) = (0.0, 0);
        while n < limit * 50 {
            let now = from + n * 20 * MS;
            breaker.sent(now);
            owed += loss;
            if owed >= 1.0 {
                owed -= 1.0;
                breaker.lost(now, 200);
            } else {
                breaker.acked(now, 200);
            }
            if breaker.tripped() != before {
                return Some(n / 50);
            }
            n += 1;
        }
        None
    }

    #[test]
    fn trips_on_very_high_loss_only_and_after_five_intervals() {
        for (loss, expected) in [
            (0.0, None),
            (0.3, None),
            (0.55, None),
            (0.65, Some(5)),
            (0.95, Some(5)),
        ] {
            let found = seconds_until_change(&mut Breaker::new(), Duration::ZERO, loss, 120);
            assert_eq!(found, expected, "loss {loss}");
        }
    }

    #[test]
    fn one_better_interval_starts_the_count_again() {
        let mut breaker = Breaker::new();
        let mut now = Duration::ZERO;
        for n in 1..=40 {
            now += INTERVAL;
            let lost = if n % 5 == 0 { 100 } else { 9_000 };
            breaker.acked(now, 1_000);
            breaker.lost(now, lost);
        }
        assert!(!breaker.tripped());
    }

    #[test]
    fn resets_after_three_good_intervals() {
        let mut breaker = Breaker::new();
        assert_eq!(
            seconds_until_change(&mut breaker, Duration::ZERO, 0.9, 60),
            Some(5)
        );
        let later = Duration::from_secs(60);
        assert_eq!(seconds_until_change(&mut breaker, later, 0.4, 60), None);
        assert_eq!(seconds_until_change(&mut breaker, 2 * later, 0.1, 60), Some(3));
    }

    #[test]
    fn silence_trips_and_an_answer_stops_its_clock() {
        let mut breaker = Breaker::new();
        breaker.sent(Duration::ZERO);
        breaker.sent(SILENCE - MS);
        assert!(!breaker.tripped());
        breaker.acked(SILENCE - MS, 100);
        breaker.sent(SILENCE);
        breaker.sent(2 * SILENCE - MS);
        assert!(!breaker.tripped());
        breaker.sent(2 * SILENCE);
        assert!(breaker.tripped());
        breaker.acked(Duration::ZERO, 1);
        assert!(!breaker.tripped());
    }

    #[test]
    fn little_evidence_is_none() {
        let mut breaker = Breaker::new();
        for s in 0..100 {
            breaker.acked(s * INTERVAL, 1);
        }
        breaker.lost(100 * INTERVAL, EVIDENCE - 102);
        assert_eq!(breaker.streak, 0);
        breaker.lost(100 * INTERVAL, 2);
        assert_eq!(breaker.streak, 1);
    }
}
