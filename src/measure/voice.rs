//! What a call over the measured way would sound like, by the E-model.

use std::time::Duration;

use corridor_probes::quality::{Codec, Conditions, mos, mouth_to_ear, r_factor};

/// Estimates of one-way delay that may be off by more give way to half the round trip: a fifth of the
/// default budget.
const TRUSTED_BOUND_US: f64 = 40_000.0;

/// One direction as it was measured, in µs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Direction {
    pub delay_p50: f64,
    pub delay_p99: f64,
    pub bound: f64,
    /// 0 to 1; probes of which it is not known where they were lost count for both directions.
    pub loss: f64,
    pub burst_ratio: Option<f64>,
}

/// R and MOS of the worse direction. `rtt_p50` in µs.
///
/// The way from mouth to ear is the median one-way delay and its bound (or half the round trip, where
/// that is not known well enough), a jitter buffer that waits for 99 of 100 packets, and the codec.
pub fn quality(directions: &[Direction], rtt_p50: f64, codec: &Codec) -> Option<(f64, f64)> {
    let of = |d: &Direction| {
        let one_way = if d.bound <= TRUSTED_BOUND_US {
            d.delay_p50 + d.bound
        } else {
            rtt_p50 / 2.0
        };
        let conditions = Conditions {
            mouth_to_ear: mouth_to_ear(us(one_way), us(d.delay_p99 - d.delay_p50), codec),
            loss: d.loss,
            burst_ratio: d.burst_ratio.unwrap_or(1.0),
        };
        r_factor(&conditions, codec)
    };
    let r = directions.iter().map(of).min_by(f64::total_cmp)?;
    Some((r, mos(r)))
}

fn us(us: f64) -> Duration {
    Duration::from_secs_f64((us / 1e6).clamp(0.0, 3_600.0))
}

#[cfg(test)]
mod tests {
    use corridor_probes::quality::G711;

    use super::*;

    const WAY: Direction = Direction {
        delay_p50: 79_000.0,
        delay_p99: 79_000.0,
        bound: 1_000.0,
        loss: 0.0,
        burst_ratio: None,
    };

    fn r(directions: &[Direction], rtt_p50: f64) -> f64 {
        quality(directions, rtt_p50, &G711).unwrap().0
    }

    fn full(ta_ms: u64) -> f64 {
        let conditions = Conditions {
            mouth_to_ear: Duration::from_millis(ta_ms),
            loss: 0.0,
            burst_ratio: 1.0,
        };
        r_factor(&conditions, &G711)
    }

    #[test]
    fn the_way_from_mouth_to_ear() {
        assert_eq!(quality(&[], 0.0, &G711), None);
        assert_eq!(r(&[WAY], 0.0), full(100), "79 + 1 + 20 of the codec");
        let jittery = Direction {
            delay_p99: 119_000.0,
            ..WAY
        };
        assert_eq!(r(&[jittery], 0.0), full(140));
        let vague = Direction {
            bound: 40_001.0,
            ..WAY
        };
        assert_eq!(r(&[vague], 400_000.0), full(220), "half the round trip");
        let lossy = Direction { loss: 0.05, ..WAY };
        assert_eq!(r(&[WAY, lossy], 0.0), r(&[lossy], 0.0), "the worse direction");
        assert!(r(&[lossy], 0.0) < r(&[WAY], 0.0) - 10.0);
    }
}
