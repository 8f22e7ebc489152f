//! What a call over the measured way would sound like, by the E-model.

use std::time::Duration;

use corridor_probes::quality::{Codec, Heard, Losses, heard};
use serde::Serialize;

use super::distribution::Distribution;

/// Estimates of one-way delay that may be off by more give way to half the round trip: a fifth of the
/// default budget.
const TRUSTED_BOUND_US: f64 = 40_000.0;

/// From where the delay from mouth to ear is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DelayFrom {
    /// One-way delay and its bound.
    OneWay,
    /// Half the round trip, for want of a bound that is close enough.
    HalfRoundTrip,
}

/// One direction as it was measured.
#[derive(Debug, Clone, Copy)]
pub struct Direction<'a> {
    /// One-way delays in µs.
    pub delays: &'a Distribution,
    /// How far any of them may be off, in µs.
    pub bound: f64,
    /// 0 to 1; probes of which it is not known where they were lost count for both directions.
    pub loss: f64,
    pub burst_ratio: Option<f64>,
}

/// A call in the direction in which it is heard worse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Voice {
    pub heard: Heard,
    pub delay_from: DelayFrom,
}

/// The worse direction of a call. `rtt_p50` in µs.
///
/// The network's part of the way is the one-way delay and its bound; or half the median round trip and
/// what the direction's delay varies by, where the bound says too little.
pub fn quality(directions: &[Direction<'_>], rtt_p50: f64, codec: &Codec) -> Option<Voice> {
    let of = |d: &Direction<'_>| {
        let (delay_from, base) = if d.bound <= TRUSTED_BOUND_US {
            (DelayFrom::OneWay, d.bound)
        } else {
            (
                DelayFrom::HalfRoundTrip,
                rtt_p50 / 2.0 - d.delays.percentile_us(50.0)?,
            )
        };
        let losses = Losses {
            lost: d.loss,
            burst_ratio: d.burst_ratio.unwrap_or(1.0),
        };
        let points = d.delays.shares()?.into_iter();
        let heard = heard(points.map(|(v, within)| (us(v + base), within)), losses, codec)?;
        Some(Voice { heard, delay_from })
    };
    let all = directions.iter().map(of).collect::<Option<Vec<_>>>()?;
    all.into_iter().min_by(|a, b| a.heard.r.total_cmp(&b.heard.r))
}

fn us(us: f64) -> Duration {
    Duration::from_secs_f64((us / 1e6).clamp(0.0, 3_600.0))
}

#[cfg(test)]
mod tests {
    use corridor_probes::quality::{Conditions, G711, r_factor};

    use super::*;

    fn of(delays: impl IntoIterator<Item = i64>) -> Distribution {
        let mut d = Distribution::new();
        delays.into_iter().for_each(|us| d.record(us).unwrap());
        d
    }

    fn way(delays: &Distribution) -> Direction<'_> {
        Direction {
            delays,
            bound: 1_000.0,
            loss: 0.0,
            burst_ratio: None,
        }
    }

    fn full(ta_ms: u64, loss: f64) -> f64 {
        let conditions = Conditions {
            mouth_to_ear: Duration::from_millis(ta_ms),
            loss,
            burst_ratio: 1.0,
        };
        r_factor(&conditions, &G711)
    }

    #[test]
    fn the_way_from_mouth_to_ear() {
        let steady = of([79_000; 100]);
        let told = |d: Direction<'_>, rtt| quality(&[d], rtt, &G711).unwrap();
        assert_eq!(quality(&[], 0.0, &G711), None);
        assert_eq!(
            told(way(&steady), 0.0).heard.r,
            full(100, 0.0),
            "79 + 1 + 20 of the codec"
        );
        let jittery = of((0..100).map(|i| 79_000 + i % 2 * 40_000));
        assert_eq!(told(way(&jittery), 0.0).heard.r, full(140, 0.0));
        let spikes = of((0..100).map(|i| if i == 50 { 2_000_000 } else { 79_000 }));
        let discarded = told(way(&spikes), 0.0).heard.r - full(100, 0.01);
        assert!(discarded.abs() < 1e-9, "discarded is lost: {discarded}");
        let vague = |delays| Direction {
            bound: 40_001.0,
            ..way(delays)
        };
        let half = told(vague(&steady), 400_000.0);
        assert_eq!(
            (half.heard.r, half.delay_from),
            (full(220, 0.0), DelayFrom::HalfRoundTrip)
        );
        assert_eq!(told(vague(&jittery), 400_000.0).heard.r, full(260, 0.0));
        let lossy = Direction {
            loss: 0.05,
            ..way(&steady)
        };
        let worse = quality(&[way(&steady), lossy], 0.0, &G711).unwrap();
        assert_eq!(worse.heard.r, full(100, 0.05), "the worse direction");
        assert_eq!(worse.delay_from, DelayFrom::OneWay);
    }
}
