//! A sequential test: has the share of bad outcomes risen?

/// Page's CUSUM of log likelihood ratios for yes/no outcomes: the evidence that bad ones now come at the
/// rate that is fled rather than at the rate that is borne. Each outcome adds to it or takes from it, and
/// it never falls below 0, so that a change shows at once however long all went well before.
///
/// With a threshold `h`, the mean time to a false alarm is above `exp(h)` outcomes at the rate that is
/// borne (Lorden 1971), and grows steeply below it; the mean delay is about `h` over the drift.
#[derive(Debug, Clone)]
pub(super) struct Cusum {
    evidence: f64,
    bad: f64,
    good: f64,
}

impl Cusum {
    /// Preconditions: `0 < borne < fled < 1`.
    pub(super) fn new(borne: f64, fled: f64) -> Self {
        debug_assert!(0.0 < borne && borne < fled && fled < 1.0);
        Self {
            evidence: 0.0,
            bad: (fled / borne).ln(),
            good: ((1.0 - fled) / (1.0 - borne)).ln(),
        }
    }

    /// Takes an outcome in. Evidence beyond `cap` is not kept, or a long bad spell would be held against
    /// a route long after it ended.
    pub(super) fn observe(&mut self, bad: bool, cap: f64) {
        let ratio = if bad { self.bad } else { self.good };
        self.evidence = (self.evidence + ratio).clamp(0.0, cap);
    }

    pub(super) const fn evidence(&self) -> f64 {
        self.evidence
    }

    pub(super) const fn reset(&mut self) {
        self.evidence = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;
    use crate::route::defaults::{
        LOSS_BORNE, LOSS_FLED, LOSS_THRESHOLD, OVER_BORNE, OVER_FLED, OVER_THRESHOLD,
    };

    /// Mean outcomes to an alarm at a steady rate of bad ones, over `alarms` alarms.
    fn run_length(mut test: Cusum, threshold: f64, rate: f64, alarms: u32) -> f64 {
        let mut rng = StdRng::seed_from_u64(7);
        let mut outcomes = 0u64;
        for _ in 0..alarms {
            test.reset();
            while test.evidence() < threshold {
                test.observe(rng.random_bool(rate), threshold);
                outcomes += 1;
            }
        }
        outcomes as f64 / f64::from(alarms)
    }

    #[test]
    fn loss_alarms_rarely_when_borne_and_soon_when_fled() {
        let test = || Cusum::new(LOSS_BORNE, LOSS_FLED);
        let hours = run_length(test(), LOSS_THRESHOLD, 0.01, 8) / 36_000.0;
        assert!(hours > 10.0, "1 %: every {hours} h");
        let at_10 = run_length(test(), LOSS_THRESHOLD, 0.10, 400) / 10.0;
        assert!(at_10 < 8.0, "10 %: after {at_10} s");
        let at_30 = run_length(test(), LOSS_THRESHOLD, 0.30, 400) / 10.0;
        assert!(at_30 < 2.0, "30 %: after {at_30} s");
    }

    #[test]
    fn over_budget_alarms_rarely_at_one_percent_of_spikes() {
        let test = || Cusum::new(OVER_BORNE, OVER_FLED);
        let hours = run_length(test(), OVER_THRESHOLD, 0.01, 4) / 36_000.0;
        assert!(hours > 5.0, "1 %: every {hours} h");
        let at_20 = run_length(test(), OVER_THRESHOLD, 0.20, 400) / 10.0;
        assert!(at_20 < 3.0, "20 %: after {at_20} s");
    }

    #[test]
    fn evidence_neither_sinks_nor_grows_without_bound() {
        let mut test = Cusum::new(LOSS_BORNE, LOSS_FLED);
        for _ in 0..10_000 {
            test.observe(false, LOSS_THRESHOLD);
        }
        assert_eq!(test.evidence(), 0.0);
        for _ in 0..10_000 {
            test.observe(true, LOSS_THRESHOLD);
        }
        assert_eq!(test.evidence(), LOSS_THRESHOLD);
        for _ in 0..90 {
            test.observe(false, LOSS_THRESHOLD);
        }
        assert_eq!(test.evidence(), 0.0, "nine seconds of echoes clear it");
    }
}
