//! Delay of many packets in a few figures.

use crate::percentile_of_sorted;

/// Summary of delays, in the unit and sign of the values given (µs everywhere here). Raw one-way values
/// may be negative; their differences mean something all the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DelaySummary {
    pub count: usize,
    pub min: i64,
    pub mean: f64,
    pub p50: i64,
    pub p95: i64,
    pub p99: i64,
    pub max: i64,
}

impl DelaySummary {
    /// By nearest rank; none without values.
    pub fn of(values: impl IntoIterator<Item = i64>) -> Option<Self> {
        let mut sorted: Vec<_> = values.into_iter().collect();
        sorted.sort_unstable();
        let at = |percent| percentile_of_sorted(&sorted, percent);
        let sum: i128 = sorted.iter().map(|&v| i128::from(v)).sum();
        Some(Self {
            count: sorted.len(),
            min: at(0.0)?,
            mean: sum as f64 / sorted.len() as f64,
            p50: at(50.0)?,
            p95: at(95.0)?,
            p99: at(99.0)?,
            max: at(100.0)?,
        })
    }
}

/// Delay variation between neighbours (RFC 5481 §4.1): `D(i) − D(i−1)` of packets whose numbers follow
/// each other, in the order of sending. Pairs with a lost packet between or beside them have none.
pub fn ipdv(delays: &[(u64, i64)]) -> Vec<i64> {
    delays
        .windows(2)
        .filter_map(|pair| match pair {
            &[(before, a), (seq, b)] if before.checked_add(1) == Some(seq) => Some(b.saturating_sub(a)),
            _ => None,
        })
        .collect()
}

/// Delay variation against the least delay (RFC 5481 §4.2): `D(i) − Dmin`, never negative. The least
/// is that of the values given: the caller begins anew after a proven change of path.
pub fn pdv(delays: &[i64]) -> Vec<i64> {
    let Some(&least) = delays.iter().min() else {
        return Vec::new();
    };
    delays.iter().map(|d| d.saturating_sub(least)).collect()
}

/// Values from which a P99.9 is reported: of fewer, the chance is more than 5 % that not one of them lies
/// beyond the true one (0.999²⁹⁹⁵ = 0.05).
pub const P999_VALUES: u64 = 3_000;

/// The percentile of [`pdv`] to report of so many values (RFC 5481 §6): P99.9, or P99 where they are too
/// few for one.
pub fn pdv_percent(values: u64) -> f64 {
    if values < P999_VALUES { 99.0 } else { 99.9 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_by_hand() {
        assert_eq!(DelaySummary::of([]), None);
        let s = DelaySummary::of((1..=200).map(|v| 201 - v)).unwrap();
        assert_eq!((s.count, s.min, s.max), (200, 1, 200));
        assert_eq!((s.p50, s.p95, s.p99), (100, 190, 198));
        assert_eq!(s.mean, 100.5);
        let extremes = DelaySummary::of([i64::MIN, i64::MAX, 1]).unwrap();
        assert_eq!(extremes.mean, 0.0);
    }

    #[test]
    fn ipdv_skips_what_was_lost() {
        assert_eq!(ipdv(&[(1, 10), (2, 15), (3, 12), (5, 40), (6, 40)]), [5, -3, 0]);
        assert_eq!(ipdv(&[(1, 10)]), []);
        assert_eq!(ipdv(&[(u64::MAX, 1), (0, 2)]), []);
    }

    #[test]
    fn pdv_is_above_the_least() {
        assert_eq!(pdv(&[-5, 3, -7]), [2, 10, 0]);
        assert_eq!(pdv(&[]), []);
        assert_eq!(
            (pdv_percent(0), pdv_percent(2_999), pdv_percent(3_000)),
            (99.0, 99.0, 99.9)
        );
        assert!(0.999f64.powi(P999_VALUES as i32) < 0.05 && 0.999f64.powi(2_990) > 0.05);
    }
}
