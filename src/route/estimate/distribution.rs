//! A distribution of delays, small enough to keep for each link and to combine along a route.

use std::time::Duration;

use crate::route::defaults::POINTS;

/// Up to [`POINTS`] equally likely values in microseconds, ascending, and the number of samples they
/// stand for. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    points: Vec<u32>,
    samples: usize,
}

impl Distribution {
    /// `None` without samples. The order of `samples_us` does not matter.
    pub fn of(mut samples_us: Vec<u32>) -> Option<Self> {
        let samples = samples_us.len();
        if samples == 0 {
            return None;
        }
        samples_us.sort_unstable();
        thin(&mut samples_us, POINTS);
        Some(Self {
            points: samples_us,
            samples,
        })
    }

    /// Of equally likely values that stand for `samples` samples.
    pub(super) fn of_points(points: Vec<u32>, samples: usize) -> Option<Self> {
        Some(Self {
            samples,
            ..Self::of(points)?
        })
    }

    /// The delay of one step and then another, taken to be independent: all sums of a value of each.
    /// The 95th percentile of the whole is not the sum of theirs. It is as well founded as the worse
    /// founded of the two.
    #[must_use]
    pub fn then(&self, next: &Self) -> Self {
        let samples = self.samples.min(next.samples);
        let mut points: Vec<u32> = self
            .points
            .iter()
            .flat_map(|&a| next.points.iter().map(move |&b| a.saturating_add(b)))
            .collect();
        points.sort_unstable();
        thin(&mut points, POINTS);
        Self { points, samples }
    }

    /// Its values as `of` has them, which must not change their order.
    #[must_use]
    pub fn map(&self, of: impl Fn(u32) -> u32) -> Self {
        Self {
            points: self.points.iter().map(|&us| of(us)).collect(),
            samples: self.samples,
        }
    }

    /// The value that a share of `q` (0 to 1) of all are at or below, by nearest rank.
    pub fn quantile(&self, q: f64) -> Duration {
        Duration::from_micros(self.points[rank(q, self.points.len())].into())
    }

    pub fn median(&self) -> Duration {
        self.quantile(0.5)
    }

    pub fn p95(&self) -> Duration {
        self.quantile(0.95)
    }

    /// Share of values at or below `limit`.
    pub fn share_within(&self, limit: Duration) -> f64 {
        let limit = limit.as_micros();
        let within = self.points.partition_point(|&us| u128::from(us) <= limit);
        within as f64 / self.points.len() as f64
    }

    /// Its values in ascending order, each with the share (0 to 1) of all that are at or below it.
    pub fn shares(&self) -> impl Iterator<Item = (Duration, f64)> + '_ {
        let n = self.points.len() as f64;
        let points = self.points.iter().zip(1..);
        points.map(move |(&us, i)| (Duration::from_micros(us.into()), f64::from(i) / n))
    }

    /// Samples that it stands for.
    pub const fn samples(&self) -> usize {
        self.samples
    }
}

/// Index of the `q`-quantile among `n` ascending values, by nearest rank; `n` is at least 1.
pub(in crate::route) fn rank(q: f64, n: usize) -> usize {
    // A hair less, so that 0.95 × 40 is 38 and not 38.000000000000007.
    let rank = (q * n as f64 - 1e-9).ceil().max(1.0) as usize;
    rank.min(n) - 1
}

/// Keeps `to` of the ascending `values`, those in the middle of `to` equal parts.
pub(in crate::route) fn thin<T: Copy>(values: &mut Vec<T>, to: usize) {
    let n = values.len();
    if n <= to {
        return;
    }
    for i in 0..to {
        values[i] = values[(2 * i + 1) * n / (2 * to)];
    }
    values.truncate(to);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranks_are_the_nearest() {
        for (q, n, index) in [
            (0.95, 40, 37),
            (0.95, 41, 38),
            (0.95, 50, 47),
            (0.5, 8, 3),
            (0.5, 1, 0),
            (0.0, 5, 0),
            (1.0, 5, 4),
        ] {
            assert_eq!(rank(q, n), index, "{q} of {n}");
        }
    }

    #[test]
    fn thinning_keeps_the_shape() {
        let mut values: Vec<u32> = (0..6_400).collect();
        thin(&mut values, 64);
        assert_eq!(values.len(), 64);
        assert_eq!((values[0], values[63]), (50, 6_350));
    }

    #[test]
    fn percentiles_of_a_sum_are_less_than_the_sum_of_percentiles() {
        let link =
            Distribution::of((0..100).map(|i| if i < 94 { 10_000 } else { 60_000 }).collect()).unwrap();
        assert_eq!(link.p95().as_millis(), 60);
        let both = link.then(&link);
        assert_eq!(both.p95().as_millis(), 70, "one spike of the two, not both");
        assert_eq!(both.median().as_millis(), 20);
    }

    #[test]
    fn share_within_counts_the_limit_itself() {
        let d = Distribution::of(vec![1_000, 2_000, 3_000, 4_000]).unwrap();
        assert_eq!(d.share_within(Duration::from_millis(3)), 0.75);
        assert_eq!(d.share_within(Duration::from_micros(999)), 0.0);
    }

    proptest! {
        /// Against all sums, unthinned.
        #[test]
        fn combining_is_the_convolution(
            a in prop::collection::vec(1_000u32..400_000, 1..120),
            b in prop::collection::vec(1_000u32..400_000, 1..120),
        ) {
            let (da, db) = (Distribution::of(a.clone()).unwrap(), Distribution::of(b.clone()).unwrap());
            let both = da.then(&db);
            prop_assert_eq!(&both, &db.then(&da));
            let mut sums: Vec<u32> = a.iter().flat_map(|x| b.iter().map(move |y| x + y)).collect();
            sums.sort_unstable();
            // A point stands for 1/64 of the values, and each of the two thinnings shifts by up to half of one.
            for q in [0.1, 0.5, 0.95] {
                let got = both.quantile(q).as_micros() as u32;
                let low = sums[rank((q - 0.04f64).max(0.0), sums.len())];
                let high = sums[rank((q + 0.04f64).min(1.0), sums.len())];
                prop_assert!((low..=high).contains(&got), "{q}: {got} outside {low}..={high}");
            }
        }
    }
}
