//! What is known of one link, from the windows that were reported of it.

mod distribution;

use std::{collections::VecDeque, time::Duration};

use corridor_probes::{LossChain, Mono};

pub use distribution::Distribution;
pub(in crate::route) use distribution::{rank, thin};

use super::defaults::{
    HORIZON, LOSS_CONFIDENCE_Z, OUT_SENT, OUTAGE_SENT, P95_SAMPLES, STALE_MAX, STALE_MIN, STALE_WINDOWS,
    WINDOW_SAMPLES, WINDOWS,
};

/// One window of a link, as its prober reported it. `up` is away from the prober.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// When the window closed.
    pub at: Mono,
    pub length: Duration,
    /// Round trips in microseconds; in any order.
    pub rtt_us: &'a [u32],
    pub sent: u32,
    pub lost_up: u32,
    pub lost_down: u32,
    /// Answers whose times are not to be trusted: they are in `sent`, and not in `rtt_us`.
    pub kept_out: u32,
    /// How often windows of the link come now; zero where that is not known.
    pub every: Duration,
    /// How losses follow each other, away from the prober and back.
    pub chains: [LossChain; 2],
}

/// What recent windows say of a link. What is stale fades to unknown, never to good.
#[derive(Debug, Clone, Default)]
pub struct LinkEstimate {
    /// Oldest first, all within [`HORIZON`] of the newest.
    windows: VecDeque<Window>,
}

#[derive(Debug, Clone)]
struct Window {
    at: Mono,
    length: Duration,
    every: Duration,
    /// Ascending.
    points: Vec<u32>,
    samples: usize,
    sent: u32,
    lost_up: u32,
    lost_down: u32,
    chains: [LossChain; 2],
    kept_out: u32,
    /// Part of a run without an answer that was too long for chance.
    outage: bool,
}

/// Loss in one direction, as counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loss {
    pub sent: u64,
    pub lost: u64,
}

impl Loss {
    /// `None` where nothing was sent.
    pub fn ratio(self) -> Option<f64> {
        (self.sent > 0).then(|| self.lost.min(self.sent) as f64 / self.sent as f64)
    }

    /// The share that is believed: the lower end of Wilson's interval, so that one probe lost of few is
    /// not called a lossy link.
    pub fn believed(self) -> Option<f64> {
        let p = self.ratio()?;
        let (n, z2) = (self.sent as f64, LOSS_CONFIDENCE_Z * LOSS_CONFIDENCE_Z);
        let centre = p + z2 / (2.0 * n);
        let half = LOSS_CONFIDENCE_Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        Some(((centre - half) / (1.0 + z2 / n)).max(0.0))
    }
}

impl LinkEstimate {
    /// Takes a window in. One older than the newest known is late news: it is put in its place.
    pub fn observe(&mut self, seen: &Observation<'_>) {
        let mut points = seen.rtt_us.to_vec();
        points.sort_unstable();
        thin(&mut points, WINDOW_SAMPLES);
        let window = Window {
            at: seen.at,
            length: seen.length,
            every: seen.every,
            points,
            samples: seen.rtt_us.len(),
            sent: seen.sent,
            lost_up: seen.lost_up,
            lost_down: seen.lost_down,
            chains: seen.chains,
            kept_out: seen.kept_out,
            outage: false,
        };
        let place = self.windows.partition_point(|w| w.at <= seen.at);
        self.windows.insert(place, window);
        self.mark_outage(place);
        let newest = self.windows.back().map_or(seen.at, |w| w.at);
        while self.windows.len() > WINDOWS || self.windows.front().is_some_and(|w| w.at + HORIZON <= newest) {
            self.windows.pop_front();
        }
    }

    /// Looks whether the window at `place` is part of an outage. What was found stays so when the run's
    /// beginning leaves the horizon.
    fn mark_outage(&mut self, place: usize) {
        let unanswered = |w: &&Window| !w.is_answered();
        let before = self.windows.range(..place).rev().take_while(unanswered).count();
        let from_here = self.windows.range(place..).take_while(unanswered).count();
        if from_here == 0 {
            return;
        }
        let run = place - before..place + from_here;
        let sent = self
            .windows
            .range(run.clone())
            .map(|w| u64::from(w.sent))
            .sum::<u64>();
        let known = self.windows.range(run.clone()).any(|w| w.outage);
        if known || sent >= u64::from(OUTAGE_SENT) {
            self.windows.range_mut(run).for_each(|w| w.outage = true);
        }
    }

    /// Time since the newest window closed.
    pub fn age(&self, now: Mono) -> Option<Duration> {
        self.windows.back().map(|w| now.since(w.at))
    }

    /// Whether the newest window is too old to say anything.
    pub fn is_stale(&self, now: Mono) -> bool {
        match self.windows.back() {
            Some(newest) => now.since(newest.at) >= newest.stale_after(),
            None => true,
        }
    }

    /// Whether the newest windows say that the link answers nothing. Those in which nothing was sent, for
    /// want of a connection, say nothing new.
    pub fn is_out(&self, now: Mono) -> bool {
        if self.is_stale(now) {
            return false;
        }
        let mut unanswered = self.windows.iter().rev().take_while(|w| !w.is_answered());
        let newest = unanswered.find(|w| w.sent > 0);
        newest.is_some_and(|w| w.outage || w.sent >= OUT_SENT)
    }

    /// Round trips of recent windows; `None` when stale, out or without samples.
    pub fn rtt(&self, now: Mono) -> Option<Distribution> {
        if self.is_stale(now) || self.is_out(now) {
            return None;
        }
        let samples = self.windows.iter().map(|w| w.samples).sum();
        let points = self
            .windows
            .iter()
            .flat_map(|w| w.points.iter().copied())
            .collect();
        Distribution::of_points(points, samples)
    }

    /// Loss away from the prober and back to it, outages left out; `None` when stale.
    pub fn loss(&self, now: Mono) -> Option<(Loss, Loss)> {
        if self.is_stale(now) {
            return None;
        }
        let (mut up, mut down) = (Loss::default(), Loss::default());
        for w in self.windows.iter().filter(|w| !w.outage) {
            up.sent += u64::from(w.sent);
            up.lost += u64::from(w.lost_up);
            down.sent += u64::from(w.sent.saturating_sub(w.lost_up));
            down.lost += u64::from(w.lost_down);
        }
        Some((up, down))
    }

    /// BurstR of the losses away from the prober and back, outages left out; 1 where it is not known.
    pub fn burst_ratios(&self, now: Mono) -> (f64, f64) {
        let of = |way: usize| {
            let mut chain = LossChain::default();
            let windows = self.windows.iter().filter(|w| !w.outage);
            windows.for_each(|w| chain.join(&w.chains[way]));
            chain.burst_ratio().unwrap_or(1.0)
        };
        if self.is_stale(now) {
            (1.0, 1.0)
        } else {
            (of(0), of(1))
        }
    }

    /// How far the estimate is to be trusted, 0 to 1: grows with samples (one half at those a 95th
    /// percentile needs), shrinks with age, 0 when stale.
    pub fn confidence(&self, now: Mono) -> f64 {
        let Some(newest) = self.windows.back().filter(|_| !self.is_stale(now)) else {
            return 0.0;
        };
        let samples = self.windows.iter().map(|w| w.samples).sum::<usize>() as f64;
        let age = now.since(newest.at).as_secs_f64() / newest.stale_after().as_secs_f64();
        samples / (samples + P95_SAMPLES as f64) * (1.0 - age)
    }
}

impl Window {
    fn is_answered(&self) -> bool {
        self.samples > 0 || self.kept_out > 0
    }

    /// On a link that is probed seldom, windows are short and far apart.
    fn stale_after(&self) -> Duration {
        self.length
            .max(self.every)
            .saturating_mul(STALE_WINDOWS)
            .clamp(STALE_MIN, STALE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(at_s: i64, length_s: u64, rtt_us: &[u32], sent: u32) -> Observation<'_> {
        Observation {
            at: Mono::from_millis(at_s * 1_000),
            length: Duration::from_secs(length_s),
            rtt_us,
            sent,
            lost_up: 0,
            lost_down: 0,
            kept_out: 0,
            every: Duration::ZERO,
            chains: Default::default(),
        }
    }

    fn at(s: i64) -> Mono {
        Mono::from_millis(s * 1_000)
    }

    #[test]
    fn stale_is_unknown_exactly_at_three_windows() {
        let mut link = LinkEstimate::default();
        assert!(link.rtt(at(0)).is_none());
        assert_eq!(link.confidence(at(0)), 0.0);
        link.observe(&window(100, 10, &[20_000; 10], 10));
        for (now, known) in [(100, true), (129, true), (130, false), (10_000, false)] {
            assert_eq!(link.rtt(at(now)).is_some(), known, "{now}");
            assert_eq!(link.loss(at(now)).is_some(), known, "{now}");
            assert_eq!(link.confidence(at(now)) > 0.0, known, "{now}");
        }
    }

    #[test]
    fn stale_limits_follow_the_length_of_windows() {
        for (length_s, stale_s) in [(1, 15), (5, 15), (10, 30), (60, 180), (600, 180)] {
            let mut link = LinkEstimate::default();
            link.observe(&window(0, length_s, &[1], 1));
            assert!(!link.is_stale(at(stale_s - 1)), "{length_s}");
            assert!(link.is_stale(at(stale_s)), "{length_s}");
        }
    }

    #[test]
    fn stale_limits_follow_how_often_a_link_is_probed() {
        for (every_s, stale_s) in [(1, 15), (5, 15), (10, 30), (60, 180), (300, 180)] {
            let mut link = LinkEstimate::default();
            let often = window(0, 1, &[1], 1);
            link.observe(&often);
            link.observe(&Observation {
                every: Duration::from_secs(every_s),
                ..window(1, 1, &[1], 1)
            });
            assert!(!link.is_stale(at(stale_s)), "{every_s}");
            assert!(link.is_stale(at(1 + stale_s)), "{every_s}");
        }
    }

    #[test]
    fn an_unanswered_window_is_an_outage_not_a_delay() {
        let mut link = LinkEstimate::default();
        link.observe(&window(10, 10, &[20_000; 10], 10));
        link.observe(&window(20, 10, &[], 2));
        assert!(!link.is_out(at(20)), "two may be chance");
        assert_eq!(link.rtt(at(20)).unwrap().median().as_millis(), 20);
        link.observe(&window(30, 10, &[], 3));
        assert!(link.is_out(at(30)));
        assert!(link.rtt(at(30)).is_none());
        link.observe(&window(40, 10, &[21_000; 3], 3));
        assert!(!link.is_out(at(40)), "one answer ends it");
    }

    #[test]
    fn answers_without_a_time_are_answers() {
        let mut link = LinkEstimate::default();
        link.observe(&window(10, 10, &[20_000; 10], 10));
        let mut kept_out = window(20, 10, &[], 10);
        kept_out.kept_out = 1;
        link.observe(&kept_out);
        assert!(!link.is_out(at(20)));
        assert_eq!(link.rtt(at(20)).unwrap().median().as_millis(), 20);
    }

    #[test]
    fn windows_older_than_the_horizon_are_forgotten() {
        let mut link = LinkEstimate::default();
        link.observe(&window(0, 10, &[500_000; 10], 10));
        link.observe(&window(59, 10, &[20_000; 10], 10));
        assert_eq!(link.rtt(at(59)).unwrap().p95().as_millis(), 500);
        link.observe(&window(60, 10, &[20_000; 10], 10));
        assert_eq!(link.rtt(at(60)).unwrap().p95().as_millis(), 20);
        assert_eq!(link.rtt(at(60)).unwrap().samples(), 20);
    }

    #[test]
    fn a_late_window_takes_its_place() {
        let mut link = LinkEstimate::default();
        link.observe(&window(50, 10, &[20_000], 1));
        link.observe(&window(40, 10, &[], 10));
        assert!(!link.is_out(at(50)), "the newest window decides");
        assert_eq!(link.age(at(55)), Some(Duration::from_secs(5)));
    }

    #[test]
    fn out_is_a_window_or_a_run_without_an_answer_and_unconnected_windows_end_neither() {
        for (sent, out) in [
            (&[][..], false),
            (&[2], false),
            (&[3], true),
            (&[3, 0, 0], true),
            (&[0, 0], false),
            (&[2, 2, 2], false),
            (&[2, 2, 0, 2, 2], true),
            (&[3, 2], false),
        ] {
            let mut link = LinkEstimate::default();
            link.observe(&window(2, 2, &[20_000; 10], 10));
            let mut end = 2;
            for &sent in sent {
                end += 2;
                link.observe(&window(end, 2, &[], sent));
            }
            assert_eq!(link.is_out(at(end)), out, "{sent:?}");
            assert_eq!(link.rtt(at(end)).is_some(), !out, "{sent:?}");
        }
    }

    #[test]
    fn an_outage_that_is_over_is_not_loss() {
        for (sent, silent, lost) in [(4, 1, 4), (4, 2, 0), (8, 1, 0), (7, 1, 7), (3, 2, 6), (3, 3, 0)] {
            let mut link = LinkEstimate::default();
            link.observe(&window(2, 2, &[20_000; 10], 10));
            for i in 0..silent {
                let mut seen = window(4 + i * 2, 2, &[], sent);
                seen.lost_up = sent;
                link.observe(&seen);
            }
            link.observe(&window(20, 2, &[20_000; 10], 10));
            let (up, _) = link.loss(at(20)).unwrap();
            assert_eq!((up.lost, up.sent), (lost, 20 + lost), "{silent} x {sent}");
        }
    }

    #[test]
    fn the_rest_of_an_outage_that_leaves_the_horizon_is_not_loss_either() {
        let mut link = LinkEstimate::default();
        for end in 1..=4 {
            link.observe(&window(end * 2, 2, &[], 4));
        }
        for end in [60, 64, 66] {
            link.observe(&window(end, 2, &[20_000; 2], 2));
        }
        assert_eq!(link.windows.front().unwrap().at, at(8), "one of four is left");
        assert_eq!(link.loss(at(66)).unwrap().0, Loss { sent: 6, lost: 0 });
    }

    #[test]
    fn loss_is_kept_by_direction_and_believed_slowly() {
        let mut link = LinkEstimate::default();
        let mut seen = window(10, 10, &[20_000; 80], 100);
        (seen.lost_up, seen.lost_down) = (10, 9);
        link.observe(&seen);
        let (up, down) = link.loss(at(10)).unwrap();
        assert_eq!((up.ratio(), down.ratio()), (Some(0.1), Some(0.1)));
        assert!((0.05..0.06).contains(&up.believed().unwrap()));
        let few = Loss { sent: 60, lost: 1 };
        assert!(few.believed().unwrap() < 0.003);
        assert_eq!(Loss { sent: 600, lost: 0 }.believed(), Some(0.0));
        assert_eq!(Loss::default().ratio(), None);
    }
}
