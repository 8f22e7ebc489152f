//! Delay histograms for what has too many values to keep: long runs, merged windows, groups.

use hdrhistogram::Histogram;

/// Least and greatest value held, in µs: what lies beyond is counted as the nearest of them.
pub const RANGE_US: (u64, u64) = (1, 60_000_000);

/// Significant decimal digits: a bucket at 200 ms is 0.1 ms wide.
const DIGITS: u8 = 3;

/// Delays of 1 µs to 60 s in buckets of three digits. Merging adds counts, so that percentiles of a
/// group come out as if its members had been measured as one.
#[derive(Debug, Clone, PartialEq)]
pub struct DelayHistogram {
    counts: Histogram<u32>,
}

/// The histogram could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a delay histogram cannot be made: {0}")]
pub struct HistogramError(#[from] hdrhistogram::CreationError);

impl DelayHistogram {
    /// An empty histogram: about 70 KB.
    pub fn new() -> Result<Self, HistogramError> {
        let (low, high) = RANGE_US;
        Ok(Self {
            counts: Histogram::new_with_bounds(low, high, DIGITS)?,
        })
    }

    /// Counts a delay in µs.
    pub fn record(&mut self, us: u64) {
        let (low, high) = RANGE_US;
        self.counts.saturating_record(us.clamp(low, high));
    }

    /// Adds what `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        for value in other.counts.iter_recorded() {
            self.counts
                .saturating_record_n(value.value_iterated_to(), value.count_at_value());
        }
    }

    pub fn count(&self) -> u64 {
        self.counts.len()
    }

    /// The middle of the bucket that holds the value at `percent` (nearest rank), in µs.
    pub fn percentile_us(&self, percent: f64) -> Option<f64> {
        if self.counts.is_empty() {
            return None;
        }
        let count = self.counts.len() as f64;
        let rank = crate::percentile::rank(self.counts.len() as usize, percent) as f64;
        // Half a rank lower, so that no rounding of the quotient reaches the next rank.
        let at = self.counts.value_at_quantile((rank - 0.5) / count);
        let (low, high) = (
            self.counts.lowest_equivalent(at),
            self.counts.highest_equivalent(at),
        );
        Some((low + high) as f64 / 2.0)
    }

    /// How many delays are at most `us`, by the middles of their buckets: for cumulative buckets of
    /// other systems.
    pub fn count_at_most(&self, us: u64) -> u64 {
        let middle = |at| (self.counts.lowest_equivalent(at) + self.counts.highest_equivalent(at)) / 2;
        self.counts
            .iter_recorded()
            .take_while(|v| middle(v.value_iterated_to()) <= us)
            .map(|v| u64::from(v.count_at_value()))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> DelayHistogram {
        let mut h = DelayHistogram::new().unwrap();
        values.iter().for_each(|&v| h.record(v));
        h
    }

    #[test]
    fn values_beyond_the_range_count_as_its_ends() {
        let h = of(&[0, 1, u64::MAX]);
        assert_eq!((h.count(), h.percentile_us(0.0)), (3, Some(1.0)));
        let top = h.percentile_us(100.0).unwrap();
        assert!((60_000_000.0 - top).abs() <= 33_000.0, "{top}");
        assert_eq!(of(&[]).percentile_us(50.0), None);
        assert_eq!(of(&[100, 200, 300]).count_at_most(200), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn percentiles_are_within_half_a_bucket_of_the_exact_ones(
            values in prop::collection::vec(1u64..60_000_000, 1..200),
            percent in 1u32..=100,
        ) {
            let exact = crate::percentile(&values, percent.into()).unwrap() as f64;
            let got = of(&values).percentile_us(percent.into()).unwrap();
            prop_assert!((got - exact).abs() <= (exact / 1_000.0 / 2.0).max(0.5), "{got} {exact}");
        }

        #[test]
        fn merging_is_counting_together(
            a in prop::collection::vec(1u64..60_000_000, 0..50),
            b in prop::collection::vec(1u64..60_000_000, 0..50),
        ) {
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let all: Vec<_> = a.iter().chain(&b).copied().collect();
            prop_assert_eq!(merged, of(&all));
        }
    }
}
