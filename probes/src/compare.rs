//! Two ways between the same two ends, compared in each direction.
//!
//! Raw differences of both ways hold the same offset of the same two clocks, so it cancels: what is left is
//! by how much one way is longer than the other, in each direction, without any knowledge of the clocks.
//! Only their drift within the time from which the values come remains.

use crate::{Mono, OneWay, clock::ClockConfig, percentile};

/// What was seen of one way in some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way<C> {
    /// Which clocks the values come from, here and there. Others cannot be compared.
    pub clocks: C,
    pub start: Mono,
    pub end: Mono,
    /// Received there less sent here, and received here less sent there, in µs; in any order.
    pub up_us: Vec<i64>,
    pub down_us: Vec<i64>,
}

/// By how much the one way's median delay is greater than the other's: negative where it is shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Longer {
    pub up: OneWay,
    pub down: OneWay,
}

/// How much longer `way` is than `than`; none if they were seen by different clocks, or one of them not at
/// all.
pub fn longer<C: PartialEq>(way: &Way<C>, than: &Way<C>, config: &ClockConfig) -> Option<Longer> {
    if way.clocks != than.clocks {
        return None;
    }
    let span = way.end.max(than.end).since(way.start.min(than.start));
    let drift_us = (span.as_micros() * u128::from(config.drift_ppm)).div_ceil(1_000_000);
    // And the grain of the stamps of both, of which a way back has three.
    let bound_us = u64::try_from(drift_us).unwrap_or(u64::MAX).saturating_add(4);
    let of = |a: &[i64], b: &[i64]| {
        let delay_us = percentile(a, 50.0)?.saturating_sub(percentile(b, 50.0)?);
        Some(OneWay { delay_us, bound_us })
    };
    Some(Longer {
        up: of(&way.up_us, &than.up_us)?,
        down: of(&way.down_us, &than.down_us)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Delays up and down in µs over ten seconds, by clocks that are `offset_us` apart and drift by `ppm`.
    fn way(clocks: u8, offset_us: i64, ppm: i64, from_s: i64, up: i64, down: i64) -> Way<u8> {
        let at = |i: i64| offset_us + ppm * (from_s * 100 + i) / 100;
        Way {
            clocks,
            start: Mono::from_millis(from_s * 1_000),
            end: Mono::from_millis(from_s * 1_000 + 10_000),
            up_us: (0..1_000).map(|i| up + at(i)).collect(),
            down_us: (0..1_000).map(|i| down - at(i)).collect(),
        }
    }

    #[test]
    fn offsets_cancel_and_drift_stays_within_the_bound() {
        let config = ClockConfig::default();
        for (offset, ppm, later_s) in [(0, 0, 0), (3_600_000_000, 200, 0), (-7, -200, 5), (9, 100, 20)] {
            let a = way(1, offset, ppm, 100, 70_000, 20_000);
            let b = way(1, offset, ppm, 100 + later_s, 30_000, 25_000);
            let found = longer(&a, &b, &config).unwrap();
            for (found, truth) in [(found.up, 40_000), (found.down, -5_000)] {
                assert_eq!(found.bound_us, 2_004 + 200 * later_s as u64);
                let off = (found.delay_us - truth).unsigned_abs();
                assert!(off <= found.bound_us, "{found:?} {truth}");
            }
        }
    }

    #[test]
    fn other_clocks_and_nothing_say_nothing() {
        let config = ClockConfig::default();
        let a = way(1, 0, 0, 0, 10, 10);
        assert_eq!(longer(&a, &way(2, 0, 0, 0, 10, 10), &config), None);
        let unseen = Way {
            down_us: Vec::new(),
            ..a.clone()
        };
        assert_eq!(longer(&a, &unseen, &config), None);
    }
}
