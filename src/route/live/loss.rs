//! Loss on one route: is it more than is borne, and does it explain a run of misses?

use std::time::Duration;

use corridor_probes::Mono;

use super::{RouteEvidence, cusum::Cusum};
use crate::route::{
    Fate,
    defaults::{
        EVIDENCE_CAP, KNOWN_LOSS_HALF_LIFE, KNOWN_LOSS_MAX, LOSS_BORNE, LOSS_FLED, LOSS_THRESHOLD,
        MISSES_A_STEP, NAMED_BY_CHANCE, OUTCOME_LAG, RUN_BY_CHANCE, SILENT_STEPS,
    },
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
    /// Good outcomes that are presumed before the first, when the share of the last seconds is told.
    presumed: f64,
    /// By how much the threshold is higher.
    more: f64,
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
            presumed: 0.0,
            more: 0.0,
        }
    }

    /// Of media on one way: it has a test for each, since what is lost on one would be half as much of both.
    pub(super) fn of_media() -> Self {
        Self {
            presumed: Self::PRIOR,
            // Both together give as many false alarms as one.
            more: std::f64::consts::LN_2,
            ..Self::new()
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

    /// Media's packets on one way, and probes, which go that way too: they count while media flows.
    pub(super) fn on_media(&mut self, now: Mono, grid: Duration, fate: Fate, probes: Fate, excused: bool) {
        let Fate { came, missed } = fate.and(probes);
        if fate.is_empty() {
            if self.step.is_some_and(|(last, _)| now.since(last) >= OUTCOME_LAG) {
                // Media has left this route, or is silent: what it knew is no news any more.
                *self = Self::of_media();
            }
            return;
        }
        self.outcomes = self.outcomes.saturating_add(came).saturating_add(missed);
        self.count(now, grid, came, if excused { 0 } else { missed });
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
        self.recent.share(self.presumed)
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
        LOSS_THRESHOLD + self.more + (self.rate / Self::RATE).max(1.0).ln()
    }

    /// The least run of silent steps, three at least, whose probability under the known loss is below
    /// [`RUN_BY_CHANCE`]; one at least, and [`NAMED_BY_CHANCE`], where an edge has called another of the route silent.
    pub(super) fn silent_steps_needed(&self, is_named: bool) -> u32 {
        let (least, by_chance) = if is_named {
            (1, NAMED_BY_CHANCE)
        } else {
            (SILENT_STEPS, RUN_BY_CHANCE)
        };
        let loss = self.known.share(Self::PRIOR).min(KNOWN_LOSS_MAX);
        let mut steps = least;
        let mut chance = loss.powf(f64::from(steps));
        while chance >= by_chance {
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
        for (bad, all, steps, named) in [
            (0.0, 0.0, 3, 1),
            (1.0, 100.0, 3, 1),
            (9.9, 90.0, 3, 2),
            (10.1, 90.0, 4, 2),
            (18.0, 80.0, 5, 2),
            (50.0, 50.0, 10, 5),
            (990.0, 10.0, 10, 5),
        ] {
            let mut loss = LossTrack::new();
            (loss.known.bad, loss.known.all) = (bad, all);
            let needed = [false, true].map(|is_named| loss.silent_steps_needed(is_named));
            assert_eq!(needed, [steps, named], "{bad} of {all}");
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

    /// Steps of 100 ms with five packets and a probe each, of which a share is lost, until the test speaks or for so many.
    fn until_lossy(seed: u64, share: impl Fn(i64) -> f64, most: i64) -> Option<i64> {
        use rand::{RngExt, SeedableRng, rngs::StdRng};

        let mut rng = StdRng::seed_from_u64(seed);
        let mut loss = LossTrack::of_media();
        (0..most).find(|&step| {
            let missed = (0..5).filter(|_| rng.random_bool(share(step))).count() as u32;
            let fate = Fate {
                came: 5 - missed,
                missed,
            };
            let probe = u32::from(rng.random_bool(share(step)));
            let probes = Fate {
                came: 1 - probe,
                missed: probe,
            };
            let (now, grid) = (Mono::from_millis(step * 100), Duration::from_millis(100));
            loss.on_media(now, grid, fate, probes, false);
            if step % 10 == 9 {
                loss.evaluate();
            }
            loss.is_lossy()
        })
    }

    #[test]
    fn media_shows_loss_in_a_second_or_two() {
        for (share, most) in [(0.1, 20), (0.3, 10)] {
            // Ten seconds without loss come first.
            let late = |step| if step < 100 { 0.0 } else { share };
            let mut taken: Vec<i64> = (0..101)
                .filter_map(|seed| Some(until_lossy(seed, late, 10_000)? - 100))
                .collect();
            taken.sort_unstable();
            assert!(taken[50] <= most, "{share}: {} steps", taken[50]);
        }
    }

    #[test]
    fn a_steady_percent_is_borne_for_hours() {
        const HOUR: i64 = 36_000;
        let alarms = (0..20).filter_map(|seed| until_lossy(seed, |_| 0.01, 2 * HOUR));
        assert!(alarms.count() <= 2, "in 40 hours");
    }

    #[test]
    fn what_media_knew_is_forgotten_when_it_has_left() {
        let mut loss = LossTrack::of_media();
        let grid = Duration::from_millis(100);
        let mut on = |ms, came, missed| {
            let fate = Fate { came, missed };
            loss.on_media(Mono::from_millis(ms), grid, fate, Fate::default(), false);
            loss.is_lossy()
        };
        let lossy = (0..30).map(|step| step * 100).find(|&ms| on(ms, 2, 3));
        let left = lossy.expect("lossy");
        let forgotten = OUTCOME_LAG.as_millis() as i64;
        assert!(on(left + forgotten - 1, 0, 0), "for now");
        assert!(!on(left + forgotten, 0, 0));
    }
}
