//! Many values in bounded memory: exact up to a number of them, then a histogram.

use corridor_probes::{DelayHistogram, HistogramError, percentile_of_sorted};

use super::summary::Figures;

/// Values kept as they are: 22 minutes at 50/s, 512 kB.
const EXACT: usize = 65_536;

/// Of so many equal shares the highest values are told.
const SHARES: u32 = 1_000;

/// Values in µs, which may be negative.
#[derive(Debug)]
pub struct Distribution {
    values: Values,
    count: u64,
    sum: i128,
    min: i64,
    max: i64,
}

#[derive(Debug)]
enum Values {
    Exact(Vec<i64>),
    Counted(Box<Signed>),
}

/// Values below zero are counted by their size, in a histogram of their own.
#[derive(Debug)]
struct Signed {
    below: DelayHistogram,
    zero: u64,
    above: DelayHistogram,
}

impl Distribution {
    pub fn new() -> Self {
        Self {
            values: Values::Exact(Vec::new()),
            count: 0,
            sum: 0,
            min: i64::MAX,
            max: i64::MIN,
        }
    }

    pub fn record(&mut self, us: i64) -> Result<(), HistogramError> {
        self.count += 1;
        self.sum += i128::from(us);
        self.min = self.min.min(us);
        self.max = self.max.max(us);
        match &mut self.values {
            Values::Exact(exact) if exact.len() < EXACT => exact.push(us),
            Values::Exact(exact) => {
                let mut counted = Box::new(Signed::new()?);
                exact.iter().for_each(|&v| counted.record(v));
                counted.record(us);
                self.values = Values::Counted(counted);
            }
            Values::Counted(counted) => counted.record(us),
        }
        Ok(())
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Nearest rank, in µs; none without values.
    pub fn percentile_us(&self, percent: f64) -> Option<f64> {
        Some(self.percentiles_us([percent])?[0])
    }

    /// Values in ascending order, each with the share (0 to 1) of all that are at or below it: enough of them
    /// to see a thousandth.
    pub fn shares(&self) -> Option<Vec<(f64, f64)>> {
        let of = |i: u32| f64::from(i) / f64::from(SHARES);
        let percents: [f64; SHARES as usize] = std::array::from_fn(|i| of(i as u32 + 1) * 100.0);
        let values = self.percentiles_us(percents)?;
        Some(
            (1..=SHARES)
                .map(of)
                .zip(values)
                .map(|(share, v)| (v, share))
                .collect(),
        )
    }

    /// In ms.
    pub fn figures(&self) -> Option<Figures> {
        let [p50, p95, p99] = self.percentiles_us([50.0, 95.0, 99.0])?;
        Some(Figures::from_us(
            self.min as f64,
            self.sum as f64 / self.count as f64,
            p50,
            p95,
            p99,
            self.max as f64,
        ))
    }

    fn percentiles_us<const N: usize>(&self, percents: [f64; N]) -> Option<[f64; N]> {
        if self.count == 0 {
            return None;
        }
        let (min, max) = (self.min as f64, self.max as f64);
        Some(match &self.values {
            Values::Exact(exact) => {
                let mut sorted = exact.clone();
                sorted.sort_unstable();
                percents.map(|p| percentile_of_sorted(&sorted, p).map_or(min, |v| v as f64))
            }
            // The middle of a bucket may lie beyond the values in it.
            Values::Counted(counted) => percents.map(|p| counted.at(p, self.count).clamp(min, max)),
        })
    }
}

impl Signed {
    fn new() -> Result<Self, HistogramError> {
        Ok(Self {
            below: DelayHistogram::new()?,
            zero: 0,
            above: DelayHistogram::new()?,
        })
    }

    fn record(&mut self, us: i64) {
        match us {
            0 => self.zero += 1,
            1.. => self.above.record(us.unsigned_abs()),
            _ => self.below.record(us.unsigned_abs()),
        }
    }

    fn at(&self, percent: f64, count: u64) -> f64 {
        let rank = (percent / 100.0 * count as f64 - 1e-9).ceil().max(1.0);
        let (below, zero) = (self.below.count() as f64, self.zero as f64);
        if rank <= below {
            // The lowest value has the highest rank by size. Half a rank less, so that no fraction rounds it
            // up to the next.
            let by_size = (below - rank + 0.5) / below * 100.0;
            return -self.below.percentile_us(by_size).unwrap_or(0.0);
        }
        if rank <= below + zero {
            return 0.0;
        }
        let above = self.above.count() as f64;
        let share = (rank - below - zero - 0.5) / above.max(1.0) * 100.0;
        self.above.percentile_us(share).unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use corridor_probes::percentile;
    use proptest::prelude::*;

    use super::*;

    fn of(values: impl IntoIterator<Item = i64>) -> Distribution {
        let mut d = Distribution::new();
        values.into_iter().for_each(|v| d.record(v).unwrap());
        d
    }

    #[test]
    fn nothing_is_unknown() {
        assert_eq!(of([]).figures(), None);
        assert_eq!(of([]).percentile_us(50.0), None);
    }

    #[test]
    fn exact_until_there_are_too_many() {
        let figures = of(1..=EXACT as i64).figures().unwrap();
        assert_eq!((figures.p50, figures.max), (32.768, 65.536));
        assert_eq!(figures.mean, 32.7685);
        let d = of(1..=EXACT as i64 + 1);
        assert!(matches!(d.values, Values::Counted(_)));
        let figures = d.figures().unwrap();
        assert_eq!((figures.min, figures.max), (0.001, 65.537));
        assert!((figures.p50 - 32.768).abs() <= 0.017, "{figures:?}");
    }

    #[test]
    fn one_value_is_every_figure() {
        for v in [-7, 0, 12_345] {
            let ms = v as f64 / 1e3;
            let exact = of([v]).figures().unwrap();
            let counted = of(std::iter::repeat_n(v, EXACT + 1)).figures().unwrap();
            assert_eq!(exact, counted);
            assert_eq!((exact.min, exact.mean, exact.p50, exact.p99), (ms, ms, ms, ms));
        }
    }

    proptest! {
        #[test]
        fn counted_percentiles_are_within_half_a_bucket(
            values in prop::collection::vec(-1_000_000i64..1_000_000, 1..200),
            percent in 1u32..=100,
        ) {
            let mut signed = Signed::new().unwrap();
            values.iter().for_each(|&v| signed.record(v));
            let exact = percentile(&values, percent.into()).unwrap() as f64;
            let got = signed.at(percent.into(), values.len() as u64);
            prop_assert!((got - exact).abs() <= (exact.abs() / 1_000.0).max(1.0), "{got} {exact}");
        }
    }
}
