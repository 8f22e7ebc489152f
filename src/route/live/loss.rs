//! Loss on one route: is it more than is borne, and does it explain a run of misses?

use std::time::Duration;

use corridor_probes::Mono;

use super::{RouteEvidence, cusum::Cusum};
use crate::route::defaults::{
    EVIDENCE_CAP, KNOWN_LOSS_HALF_LIFE, KNOWN_LOSS_MAX, LOSS_BORNE, LOSS_FLED, LOSS_THRESHOLD, MISSES_A_STEP,
    RUN_BY_CHANCE, SILENT_STEPS,
};

/// Loss on one route: the sequential test, what is known over the longer run, and the last seconds.
#[derive(Debug, Clone)]
pub(super) struct LossTrack {
    test: Cusum,
    known: Share,
    recent: Share,
    /// Misses of a silence that may become an outage: loss only if something is heard again.
    pending: u32,
    step: Option<(Mono, u32)>,
    /// Outcomes since the last evaluation, and the rate of outcomes a second.
    outcomes: u32,
    rate: f64,
}

/// A share of bad outcomes over a sliding past.
#[derive(Debug, Clone)]
struct Share {
    bad: f64,
    all: f64,
    keep: f64,
}

impl Share {
    fn new(half_life: f64) -> Self {
        Self {
            bad: 0.0,
            all: 0.0,
            keep: 0.5f64.powf(1.0 / half_life),
        }
    }

    fn observe(&mut self, bad: bool) {
        self.bad = self.bad * self.keep + f64::from(u8::from(bad));
        self.all = self.all * self.keep + 1.0;
    }

    /// As if `prior` good outcomes had come before.
    fn share(&self, prior: f64) -> f64 {
        let all = self.all + prior;
        if all > 0.0 { self.bad / all } else { 0.0 }
    }
}

impl LossTrack {
    /// Half-life of the loss that is shown, in outcomes: about 4 s at ten a second.
    const RECENT: f64 = 40.0;
    /// Good outcomes presumed of a route that little is known of.
    const PRIOR: f64 = 10.0;
    /// Outcomes a second for which the threshold is set.
    const RATE: f64 = 10.0;

    pub(super) fn new() -> Self {
        Self {
            test: Cusum::new(LOSS_BORNE, LOSS_FLED),
            known: Share::new(KNOWN_LOSS_HALF_LIFE),
            recent: Share::new(Self::RECENT),
            pending: 0,
            step: None,
            outcomes: 0,
            rate: Self::RATE,
        }
    }

    pub(super) fn on_tick(&mut self, now: Mono, grid: Duration, evidence: &RouteEvidence, excused: bool) {
        self.outcomes = self
            .outcomes
            .saturating_add(evidence.echoed)
            .saturating_add(evidence.missed);
        let missed = if excused { 0 } else { evidence.missed };
        self.count(now, grid, evidence.echoed, missed);
        for _ in 0..evidence.echoed {
            self.known.observe(false);
        }
        // What is known of a run's chance must not come from the run itself: its misses wait until
        // something is heard again, and an outage's are dropped.
        self.pending = if excused {
            0
        } else {
            self.pending.saturating_add(missed)
        };
        if evidence.silent_steps == 0 {
            for _ in 0..std::mem::take(&mut self.pending) {
                self.known.observe(true);
            }
        }
    }

    /// Whether loss is beyond what is borne, by the sequential test.
    pub(super) fn is_lossy(&self) -> bool {
        self.test.evidence() >= self.threshold()
    }

    /// Whether the same test sees little: less than half of the evidence.
    pub(super) fn is_clean(&self) -> bool {
        self.test.evidence() < self.threshold() / 2.0
    }

    /// Share lost in the last seconds.
    pub(super) fn recent(&self) -> f64 {
        self.recent.share(0.0)
    }

    fn count(&mut self, now: Mono, grid: Duration, echoed: u32, missed: u32) {
        let cap = self.threshold() * EVIDENCE_CAP;
        for _ in 0..echoed {
            self.test.observe(false, cap);
            self.recent.observe(false);
        }
        let counted = match self.step {
            Some((began, counted)) if now.since(began) < grid => counted,
            _ => {
                self.step = Some((now, 0));
                0
            }
        };
        let taken = missed.min(MISSES_A_STEP.saturating_sub(counted));
        if let Some((_, counted)) = &mut self.step {
            *counted += taken;
        }
        for i in 0..missed {
            self.recent.observe(true);
            if i < taken {
                self.test.observe(true, cap);
            }
        }
    }

    pub(super) fn evaluate(&mut self) {
        self.rate = f64::midpoint(self.rate, f64::from(std::mem::take(&mut self.outcomes)));
    }

    /// The more outcomes a second, the more chances an hour for a false alarm; evidence is the logarithm
    /// of odds, so the logarithm of the rate makes up for it.
    fn threshold(&self) -> f64 {
        LOSS_THRESHOLD + (self.rate / Self::RATE).max(1.0).ln()
    }

    /// The least run of silent steps, three at least, whose probability under the known loss is below
    /// [`RUN_BY_CHANCE`].
    pub(super) fn silent_steps_needed(&self) -> u32 {
        let loss = self.known.share(Self::PRIOR).min(KNOWN_LOSS_MAX);
        let mut steps = SILENT_STEPS;
        let mut chance = loss.powf(f64::from(steps));
        while chance >= RUN_BY_CHANCE {
            chance *= loss;
            steps += 1;
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_that_known_loss_does_not_explain() {
        for (bad, all, steps) in [
            (0.0, 0.0, 3),
            (1.0, 100.0, 3),
            (9.9, 90.0, 3),
            (10.1, 90.0, 4),
            (18.0, 80.0, 5),
            (50.0, 50.0, 10),
            (990.0, 10.0, 10),
        ] {
            let mut loss = LossTrack::new();
            (loss.known.bad, loss.known.all) = (bad, all);
            assert_eq!(loss.silent_steps_needed(), steps, "{bad} of {all}");
        }
    }

    #[test]
    fn a_run_that_became_an_outage_is_not_known_loss() {
        let mut loss = LossTrack::new();
        let tick = |loss: &mut LossTrack, i: i64, silent_steps, echoed, missed, excused| {
            let evidence = RouteEvidence {
                silent_steps,
                echoed,
                missed,
                ..RouteEvidence::default()
            };
            loss.on_tick(
                Mono::from_millis(i * 100),
                Duration::from_millis(100),
                &evidence,
                excused,
            );
        };
        for i in 0..100 {
            tick(&mut loss, i, 0, 1, 0, false);
        }
        tick(&mut loss, 100, 1, 0, 1, false);
        tick(&mut loss, 101, 2, 0, 1, false);
        assert_eq!(loss.known.share(0.0), 0.0, "two misses of a silence that lasts");
        let mut heard = loss.clone();
        tick(&mut heard, 102, 0, 1, 0, false);
        assert!(heard.known.share(0.0) > 0.018, "heard again: they were loss");
        tick(&mut loss, 102, 3, 0, 1, true);
        tick(&mut loss, 103, 0, 1, 0, false);
        assert_eq!(loss.known.share(0.0), 0.0, "an outage: they were not");
    }

    /// With media: 50 packets and 10 probes a second.
    #[test]
    fn with_media_loss_shows_in_a_second_or_two() {
        use rand::{RngExt, SeedableRng, rngs::StdRng};

        let grid = Duration::from_millis(100);
        for (share, steps) in [(0.1, 20), (0.3, 10)] {
            let mut taken: Vec<i64> = (0..101)
                .map(|seed| {
                    let mut rng = StdRng::seed_from_u64(seed);
                    let mut loss = LossTrack::new();
                    let mut step = 0;
                    while loss.test.evidence() < loss.threshold() {
                        // Ten seconds without loss come first.
                        let lost = if step < 100 { 0.0 } else { share };
                        let missed = (0..6).filter(|_| rng.random_bool(lost)).count() as u32;
                        let evidence = RouteEvidence {
                            echoed: 6 - missed,
                            missed,
                            ..RouteEvidence::default()
                        };
                        loss.on_tick(Mono::from_millis(step * 100), grid, &evidence, false);
                        if step % 10 == 9 {
                            loss.evaluate();
                        }
                        step += 1;
                    }
                    step - 100
                })
                .collect();
            taken.sort_unstable();
            assert!(taken[50] <= steps, "{share}: {} steps", taken[50]);
        }
    }
}
