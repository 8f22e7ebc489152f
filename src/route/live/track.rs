//! What an agent knows of one installed route, from its own packets of the last seconds.

use std::{collections::VecDeque, time::Duration};

use corridor_probes::{Mono, Route};

use super::{RouteEvidence, cusum::Cusum, reason::Reason};
use crate::route::{
    defaults::{
        BUNCH_SHARE, EVIDENCE_CAP, GOOD_FOR, GOOD_SHARE, KNOWN_LOSS_HALF_LIFE, KNOWN_LOSS_MAX, LIVE_SPAN,
        LOSS_BORNE, LOSS_FLED, LOSS_THRESHOLD, MISSES_A_STEP, NEWEST_SAMPLES, OUTCOME_LAG, OVER_BORNE,
        OVER_FLED, OVER_THRESHOLD, P95_SAMPLES, QUICK_SAMPLES, RUN_BY_CHANCE, SILENT_STEPS,
    },
    estimate::rank,
};

#[derive(Debug, Clone)]
pub(super) struct Track {
    pub(super) route: Route,
    grid: Duration,
    budget: Duration,
    /// Of the last [`LIVE_SPAN`], oldest first; at most one a quarter of a grid step.
    samples: VecDeque<Sample>,
    over: Cusum,
    /// Evaluations running in which the 95th percentile was over the budget.
    p95_over: u32,
    loss: LossTrack,
    pub(super) evidence: RouteEvidence,
    /// When the route was last out.
    last_out: Option<Mono>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Mono,
    rtt: Duration,
}

impl Track {
    pub(super) fn new(route: Route, grid: Duration, budget: Duration) -> Self {
        Self {
            route,
            grid,
            budget,
            samples: VecDeque::new(),
            over: Cusum::new(OVER_BORNE, OVER_FLED),
            p95_over: 0,
            loss: LossTrack::new(),
            evidence: RouteEvidence::default(),
            last_out: None,
        }
    }

    /// Under another budget, what was counted as over it says nothing.
    pub(super) fn set_budget(&mut self, budget: Duration) {
        if self.budget != budget {
            self.budget = budget;
            self.p95_over = 0;
            self.over.reset();
        }
    }

    /// Takes a round trip in. One that comes at the heels of another takes its place: what waited in one
    /// queue arrives at once, and the newest says how the route is now.
    pub(super) fn on_sample(&mut self, now: Mono, rtt: Duration) {
        self.expire(now);
        let sample = Sample { at: now, rtt };
        if let Some(last) = self.samples.back_mut() {
            if now.since(last.at) < self.grid.mul_f64(BUNCH_SHARE) {
                last.rtt = rtt;
                return;
            }
            // Counted only now that nothing can take its place any more.
            let over = last.rtt > self.budget;
            self.over.observe(over, OVER_THRESHOLD * EVIDENCE_CAP);
        }
        self.samples.push_back(sample);
    }

    pub(super) fn on_tick(&mut self, now: Mono, evidence: RouteEvidence, excused: bool) {
        self.expire(now);
        let out = self.out_reason(evidence.silent_steps, &evidence).is_some();
        if out {
            self.last_out = Some(now);
        }
        let excused = excused || self.last_out.is_some_and(|last| now.since(last) < OUTCOME_LAG);
        self.loss.on_tick(now, self.grid, &evidence, excused);
        self.evidence = evidence;
    }

    /// Once an evaluation period.
    pub(super) fn evaluate(&mut self) {
        self.p95_over = if self.p95_is_over() { self.p95_over + 1 } else { 0 };
        self.loss.evaluate();
    }

    /// Why the route carries nothing, if it does not; `silent` are the silent steps that count.
    pub(super) fn out(&self, silent: u32) -> Option<Reason> {
        self.out_reason(silent, &self.evidence)
    }

    fn out_reason(&self, silent: u32, evidence: &RouteEvidence) -> Option<Reason> {
        let needed = self.loss.silent_steps_needed();
        if !evidence.connected {
            Some(Reason::Disconnected)
        } else if evidence.next_hop_silent {
            Some(Reason::NextHopSilent)
        } else if silent >= needed {
            Some(Reason::Silent {
                steps: silent,
                needed,
            })
        } else {
            None
        }
    }

    /// Over the budget by the median of the last samples, or by the 95th percentile in two evaluations
    /// running where chance does not explain it; with the figure.
    pub(super) fn breach(&self) -> Option<Breach> {
        let median = self.quick_median().filter(|&median| median > self.budget);
        if let Some(at) = median {
            return Some(Breach { p95: false, at });
        }
        let by_chance = self.over.evidence() < OVER_THRESHOLD;
        let at = self.p95().filter(|_| self.p95_over >= 2 && !by_chance)?;
        Some(Breach { p95: true, at })
    }

    /// Whether its own samples predict that it stays inside the budget.
    pub(super) fn predicted_inside(&self) -> bool {
        self.pessimistic_median()
            .is_some_and(|median| median <= self.budget)
            && self
                .quantile(0.95, LIVE_SPAN)
                .is_some_and(|p95| p95 <= self.budget)
            && self.over.evidence() < OVER_THRESHOLD / 2.0
    }

    /// Whether it has been good for long enough to be moved to without need.
    pub(super) fn is_good(&self, now: Mono) -> bool {
        let wanted = GOOD_FOR.as_secs_f64() / self.grid.as_secs_f64() * GOOD_SHARE;
        let recent = self.within(GOOD_FOR).count();
        recent as f64 >= wanted
            && self
                .quantile(0.95, GOOD_FOR)
                .is_some_and(|p95| p95 <= self.budget)
            && self.last_out.is_none_or(|last| now.since(last) >= GOOD_FOR)
            && self.is_clean()
            && self.predicted_inside()
    }

    /// Median of [`LIVE_SPAN`].
    pub(super) fn steady_median(&self) -> Option<Duration> {
        self.quantile(0.5, LIVE_SPAN)
    }

    /// Median of the last [`QUICK_SAMPLES`]: more than half of them must be over a limit for it to be.
    pub(super) fn quick_median(&self) -> Option<Duration> {
        if self.samples.len() < QUICK_SAMPLES {
            return None;
        }
        let newest = self.samples.iter().rev().take(QUICK_SAMPLES);
        quantile(newest.map(|s| s.rtt).collect(), 0.5)
    }

    /// Of [`LIVE_SPAN`]; `None` without the samples it needs.
    pub(super) fn p95(&self) -> Option<Duration> {
        (self.samples.len() >= P95_SAMPLES)
            .then(|| self.quantile(0.95, LIVE_SPAN))
            .flatten()
    }

    pub(super) fn p95_is_over(&self) -> bool {
        self.p95().is_some_and(|p95| p95 > self.budget)
    }

    pub(super) const fn budget(&self) -> Duration {
        self.budget
    }

    /// Whether loss is beyond what is borne, by the sequential test.
    pub(super) fn is_lossy(&self) -> bool {
        self.loss.test.evidence() >= self.loss.threshold()
    }

    /// Whether the same test sees little: at most half of the evidence.
    pub(super) fn is_clean(&self) -> bool {
        self.loss.test.evidence() < self.loss.threshold() / 2.0
    }

    /// Share lost in the last seconds.
    pub(super) fn recent_loss(&self) -> f64 {
        self.loss.recent.share(0.0)
    }

    /// Whether it is sampled about as often as the grid, so that a pause of its samples means something.
    pub(super) fn is_regular(&self) -> bool {
        let times = self.samples.iter().rev().take(QUICK_SAMPLES).map(|s| s.at);
        let gaps: Vec<_> = times
            .clone()
            .zip(times.skip(1))
            .map(|(later, at)| later.since(at))
            .collect();
        gaps.len() >= 2 && quantile(gaps, 0.5).is_some_and(|gap| gap < self.grid.mul_f64(1.5))
    }

    /// Whether its figures are of now: an answer that is overdue may be one that takes longer.
    pub(super) fn is_fresh(&self, now: Mono) -> bool {
        !self.is_regular()
            || self
                .last_sample()
                .is_some_and(|last| now.since(last) < self.grid * 2)
    }

    /// The worse of the quick median and that of the [`NEWEST_SAMPLES`].
    pub(super) fn pessimistic_median(&self) -> Option<Duration> {
        let newest = self.samples.iter().rev().take(NEWEST_SAMPLES);
        let newest = quantile(newest.map(|s| s.rtt).collect(), 0.5)?;
        Some(self.quick_median()?.max(newest))
    }

    pub(super) fn last_sample(&self) -> Option<Mono> {
        self.samples.back().map(|s| s.at)
    }

    fn expire(&mut self, now: Mono) {
        while self.samples.front().is_some_and(|s| s.at + LIVE_SPAN <= now) {
            self.samples.pop_front();
        }
    }

    /// Samples of the last `span` before the newest.
    fn within(&self, span: Duration) -> impl Iterator<Item = Duration> + '_ {
        let newest = self.samples.back().map(|s| s.at);
        self.samples
            .iter()
            .filter(move |s| newest.is_some_and(|newest| s.at + span > newest))
            .map(|s| s.rtt)
    }

    fn quantile(&self, q: f64, span: Duration) -> Option<Duration> {
        quantile(self.within(span).collect(), q)
    }
}

/// A delay over the budget.
#[derive(Debug, Clone, Copy)]
pub(super) struct Breach {
    pub(super) p95: bool,
    pub(super) at: Duration,
}

fn quantile(mut values: Vec<Duration>, q: f64) -> Option<Duration> {
    values.sort_unstable();
    let index = rank(q, values.len().max(1));
    values.get(index).copied()
}

/// Loss on one route: the sequential test, what is known over the longer run, and the last seconds.
#[derive(Debug, Clone)]
struct LossTrack {
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

    fn new() -> Self {
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

    fn on_tick(&mut self, now: Mono, grid: Duration, evidence: &RouteEvidence, excused: bool) {
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

    fn evaluate(&mut self) {
        self.rate = f64::midpoint(self.rate, f64::from(std::mem::take(&mut self.outcomes)));
    }

    /// The more outcomes a second, the more chances an hour for a false alarm; evidence is the logarithm
    /// of odds, so the logarithm of the rate makes up for it.
    fn threshold(&self) -> f64 {
        LOSS_THRESHOLD + (self.rate / Self::RATE).max(1.0).ln()
    }

    /// The least run of silent steps, three at least, whose probability under the known loss is below
    /// [`RUN_BY_CHANCE`].
    fn silent_steps_needed(&self) -> u32 {
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

    #[test]
    fn a_bunch_of_samples_is_one() {
        let mut track = Track::new(
            Route::DIRECT,
            Duration::from_millis(100),
            Duration::from_millis(200),
        );
        for (at, rtt) in [
            (0, 100),
            (100, 600),
            (101, 500),
            (102, 400),
            (124, 150),
            (125, 120),
        ] {
            track.on_sample(Mono::from_millis(at), Duration::from_millis(rtt));
        }
        let kept: Vec<_> = track.samples.iter().map(|s| s.rtt.as_millis()).collect();
        assert_eq!(kept, [100, 150, 120]);
    }

    #[test]
    fn the_quick_median_wants_more_than_half_over() {
        for (over, breach) in [(4, false), (5, true)] {
            let mut track = Track::new(
                Route::DIRECT,
                Duration::from_millis(100),
                Duration::from_millis(200),
            );
            for i in 0..8 {
                let rtt = if i < over { 201 } else { 200 };
                track.on_sample(Mono::from_millis(i * 100), Duration::from_millis(rtt));
            }
            assert_eq!(track.breach().is_some(), breach, "{over}");
        }
    }

    #[test]
    fn the_95th_percentile_wants_forty_samples_two_evaluations_and_more_than_chance() {
        let mut track = Track::new(
            Route::DIRECT,
            Duration::from_millis(100),
            Duration::from_millis(200),
        );
        // Every fifth sample is over the budget: the median is not.
        let feed = |track: &mut Track, range: std::ops::Range<i64>| {
            for i in range {
                let rtt = if i % 5 == 0 { 300 } else { 100 };
                track.on_sample(Mono::from_millis(i * 100), Duration::from_millis(rtt));
            }
        };
        feed(&mut track, 0..39);
        assert_eq!(track.p95(), None);
        track.evaluate();
        feed(&mut track, 39..49);
        assert!(track.p95().is_some());
        track.evaluate();
        assert!(track.breach().is_none(), "once");
        track.evaluate();
        assert!(track.breach().is_some_and(|b| b.p95), "twice running");
        track.set_budget(Duration::from_millis(301));
        assert!(track.breach().is_none());
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
