//! The margin by which a route must be better to be worth a move.

use std::time::Duration;

use super::defaults::{MARGIN, MARGIN_SHARE};

/// By how much `to` is better than `from`, if by the margin at least: the greater of [`MARGIN`] and
/// [`MARGIN_SHARE`] of `from`. What is unknown is not better, nor is anything better than it.
pub fn gain(from: Option<Duration>, to: Option<Duration>) -> Option<Duration> {
    let (from, to) = (from?, to?);
    let gain = from.checked_sub(to)?;
    (gain >= MARGIN.max(from.mul_f64(MARGIN_SHARE))).then_some(gain)
}

/// Milliseconds, to the microsecond.
pub(super) fn ms(d: Duration) -> f64 {
    (d.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_absolute_or_relative_whichever_is_more() {
        for (from, to, better) in [
            (100, 80, true),
            (100, 81, false),
            (200, 180, true),
            (400, 361, false),
            (400, 360, true),
            (10, 0, false),
            (80, 100, false),
        ] {
            let ms = |v| Some(Duration::from_millis(v));
            assert_eq!(gain(ms(from), ms(to)).is_some(), better, "{from} {to}");
        }
        assert_eq!(gain(None, Some(Duration::ZERO)), None);
        assert_eq!(gain(Some(Duration::from_secs(1)), None), None);
    }
}
