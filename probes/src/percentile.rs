//! Exact percentiles by nearest rank.

/// The smallest value that at least `percent` of all values do not exceed. `percent` is clamped to
/// 0–100, and 0 means the least; none without values.
pub fn percentile<T: Ord + Copy>(values: &[T], percent: f64) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    percentile_of_sorted(&sorted, percent)
}

/// The same, of values in ascending order.
pub fn percentile_of_sorted<T: Copy>(sorted: &[T], percent: f64) -> Option<T> {
    sorted.get(rank(sorted.len(), percent).checked_sub(1)?).copied()
}

/// The place, from 1, of the value at `percent` among `count` in ascending order.
pub(crate) fn rank(count: usize, percent: f64) -> usize {
    // A NaN becomes rank 0, which is the least value.
    let exact = percent.clamp(0.0, 100.0) * count as f64 / 100.0;
    // 7 % of 100 is 7.000000000000001 in binary fractions: no rank of its own.
    (exact - 1e-9).ceil().max(1.0) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nearest_rank_by_hand() {
        let five = [15, 20, 35, 40, 50];
        let table = [
            (0.0, 15),
            (5.0, 15),
            (20.0, 15),
            (20.1, 20),
            (30.0, 20),
            (40.0, 20),
            (50.0, 35),
            (100.0, 50),
        ];
        for (percent, wanted) in table {
            assert_eq!(percentile(&five, percent), Some(wanted), "{percent}");
        }
        assert_eq!(percentile::<u32>(&[], 50.0), None);
        assert_eq!(percentile(&[7], 99.0), Some(7));
        let thousand: Vec<_> = (1..=1_000).collect();
        assert_eq!(percentile(&thousand, 99.9), Some(999));
        assert_eq!(percentile(&five, f64::NAN), Some(15));
        assert_eq!(percentile(&five, 1e9), Some(50));
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            values in prop::collection::vec(0u32..50, 1..80),
            percent in 1u32..=100,
        ) {
            let got = percentile(&values, f64::from(percent)).unwrap();
            let enough = |v: u32| {
                values.iter().filter(|&&x| x <= v).count() * 100 >= percent as usize * values.len()
            };
            let wanted = values.iter().copied().filter(|&v| enough(v)).min();
            prop_assert_eq!(Some(got), wanted);
        }
    }
}
