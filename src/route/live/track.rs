//! What an agent knows of one installed route, from its own packets of the last seconds.

use std::{collections::VecDeque, time::Duration};

use corridor_probes::{Mono, Route};

use super::{Fate, Fates, RouteEvidence, cusum::Cusum, loss::LossTrack, reason::Reason};
use crate::route::{
    defaults::{
        BUNCH_SHARE, EVIDENCE_CAP, GOOD_FOR, GOOD_SHARE, LIVE_SPAN, NEWEST_SAMPLES, OUTCOME_LAG, OVER_BORNE,
        OVER_FLED, OVER_THRESHOLD, P95_SAMPLES, QUICK_SAMPLES,
    },
    estimate::rank,
};

#[derive(Debug, Clone)]
pub(super) struct Track {
    pub(super) route: Route,
    grid: Duration,
    budget: Duration,
    /// Is in the round trips of `samples`.
    added: Duration,
    /// Of the last [`LIVE_SPAN`], oldest first; at most one a quarter of a grid step.
    samples: VecDeque<Sample>,
    over: Cusum,
    /// Evaluations running in which the 95th percentile was over the budget.
    p95_over: u32,
    loss: LossTrack,
    /// Media's, there and back.
    media: [LossTrack; 2],
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
            added: Duration::ZERO,
            samples: VecDeque::new(),
            over: Cusum::new(OVER_BORNE, OVER_FLED),
            p95_over: 0,
            loss: LossTrack::new(),
            media: [LossTrack::of_media(), LossTrack::of_media()],
            evidence: RouteEvidence::default(),
            last_out: None,
        }
    }

    /// Under another budget, or with something else added to round trips, what was counted as over says
    /// nothing.
    pub(super) fn set_terms(&mut self, budget: Duration, added: Duration) {
        if (self.budget, self.added) == (budget, added) {
            return;
        }
        for sample in &mut self.samples {
            sample.rtt = (sample.rtt + added).saturating_sub(self.added);
        }
        (self.budget, self.added) = (budget, added);
        self.p95_over = 0;
        self.over.reset();
    }

    /// Takes a round trip in. One that comes at the heels of another takes its place: what waited in one
    /// queue arrives at once, and the newest says how the route is now.
    pub(super) fn on_sample(&mut self, now: Mono, rtt: Duration) {
        self.expire(now);
        let rtt = rtt + self.added;
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
        let Fates { there, back } = evidence.media;
        let probes = Fate {
            came: evidence.echoed,
            missed: evidence.missed,
        };
        for (loss, fate) in self.media.iter_mut().zip([there, back]) {
            loss.on_media(now, self.grid, fate, probes, excused);
        }
        self.evidence = evidence;
    }

    /// Once an evaluation period.
    pub(super) fn evaluate(&mut self) {
        self.p95_over = if self.p95_is_over() { self.p95_over + 1 } else { 0 };
        self.losses_mut().for_each(LossTrack::evaluate);
    }

    /// Why the route carries nothing, if it does not; `silent` are the silent steps that count.
    pub(super) fn out(&self, silent: u32) -> Option<Reason> {
        self.out_reason(silent, &self.evidence)
    }

    fn out_reason(&self, silent: u32, evidence: &RouteEvidence) -> Option<Reason> {
        let needed = self.loss.silent_steps_needed(self.is_named_in(evidence));
        if !evidence.connected {
            Some(Reason::Disconnected)
        } else if evidence.entry_silent {
            Some(Reason::EntrySilent)
        } else if evidence.next_hop_silent {
            Some(Reason::NextHopSilent)
        } else if silent >= needed {
            Some(Reason::Silent {
                steps: silent,
                needed,
                for_ms: None,
            })
        } else {
            None
        }
    }

    /// Whether an edge of it has just been called silent by that of another route, and nothing by it says otherwise.
    pub(super) fn is_named(&self) -> bool {
        self.is_named_in(&self.evidence)
    }

    fn is_named_in(&self, evidence: &RouteEvidence) -> bool {
        evidence
            .named_silent
            .is_some_and(|told| !self.answers_since(told))
    }

    /// Whether anything was answered that was sent since then.
    fn answers_since(&self, then: Mono) -> bool {
        let sent = |s: &Sample| s.at - s.rtt.saturating_sub(self.added);
        self.samples.back().is_some_and(|newest| sent(newest) >= then)
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

    /// Median and 95th percentile of the round trips of [`LIVE_SPAN`], by nearest rank; `None` below
    /// [`QUICK_SAMPLES`].
    pub(super) fn recent(&self) -> Option<Recent> {
        if self.samples.len() < QUICK_SAMPLES {
            return None;
        }
        Some(Recent {
            p50: self.quantile(0.5, LIVE_SPAN)?.saturating_sub(self.added),
            p95: self.quantile(0.95, LIVE_SPAN)?.saturating_sub(self.added),
        })
    }

    /// Median of the last [`QUICK_SAMPLES`]: more than half of them must be over a limit for it to be.
    pub(super) fn quick_median(&self) -> Option<Duration> {
        if self.samples.len() < QUICK_SAMPLES {
            return None;
        }
        let newest = self.samples.iter().rev().take(QUICK_SAMPLES);
        quantile(newest.map(|s| s.rtt).collect(), 0.5)
    }

    /// The same of round trips, with nothing added.
    pub(super) fn quick_round_trip(&self) -> Option<Duration> {
        Some(self.quick_median()?.saturating_sub(self.added))
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
        self.losses().any(LossTrack::is_lossy)
    }

    /// Whether the same test sees little: at most half of the evidence.
    pub(super) fn is_clean(&self) -> bool {
        self.losses().all(LossTrack::is_clean)
    }

    /// Share lost in the last seconds.
    pub(super) fn recent_loss(&self) -> f64 {
        self.losses().map(LossTrack::recent).fold(0.0, f64::max)
    }

    fn losses(&self) -> impl Iterator<Item = &LossTrack> {
        std::iter::once(&self.loss).chain(&self.media)
    }

    fn losses_mut(&mut self) -> impl Iterator<Item = &mut LossTrack> {
        std::iter::once(&mut self.loss).chain(&mut self.media)
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

/// Round trips of the last seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recent {
    pub p50: Duration,
    pub p95: Duration,
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

#[cfg(test)]
mod tests {
    use super::*;

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
        track.set_terms(Duration::from_millis(301), Duration::ZERO);
        assert!(track.breach().is_none());
    }
}
