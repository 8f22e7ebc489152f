//! The access line: what happens to all routes at once happens to this machine's line.

use std::time::Duration;

use corridor_probes::Mono;

use super::reason::AccessOutage;
use crate::route::defaults::ACCESS_GAP_STEPS;

/// Watches for stalls and outages of the line that all routes share.
#[derive(Debug, Clone)]
pub(super) struct Access {
    grid: Duration,
    last_sample: Option<Mono>,
    /// End of the last stall: the first sample after it.
    stall_end: Option<Mono>,
    out_since: Option<Mono>,
    /// The outage has been told of.
    told: bool,
}

impl Access {
    pub(super) const fn new(grid: Duration) -> Self {
        Self {
            grid,
            last_sample: None,
            stall_end: None,
            out_since: None,
            told: false,
        }
    }

    /// Longest time without a sample that is none of a stall.
    pub(super) fn gap(&self) -> Duration {
        self.grid.mul_f64(ACCESS_GAP_STEPS)
    }

    /// Notes that a sample of any route has arrived, and says whether it was in flight during a stall:
    /// then its delay is the line's, not the route's. In flight is what was sent before the stall ended.
    pub(super) fn on_sample(&mut self, now: Mono, rtt: Duration) -> bool {
        if self.last_sample.is_some_and(|last| now.since(last) >= self.gap()) {
            self.stall_end = Some(now);
        }
        self.last_sample = Some(now);
        self.stall_end.is_some_and(|end| now - rtt < end)
    }

    /// Whether a stall ended within `span` before `now`.
    pub(super) fn stalled_within(&self, now: Mono, span: Duration) -> bool {
        self.stall_end.is_some_and(|end| now.since(end) < span)
    }

    /// How many of `steps` silent ones count against a route with this round trip: those in which an
    /// answer to something sent after the last stall could have come.
    pub(super) fn silence_since_stall(&self, now: Mono, steps: u32, rtt: Duration) -> u32 {
        let Some(end) = self.stall_end else {
            return steps;
        };
        let answerable = now.since(end + rtt).as_nanos() / self.grid.as_nanos().max(1);
        steps.min(u32::try_from(answerable).unwrap_or(u32::MAX))
    }

    pub(super) const fn is_out(&self) -> bool {
        self.out_since.is_some()
    }

    /// Once a tick: whether any entry edge was heard, and whether the route in use has been silent long
    /// enough for an outage.
    ///
    /// From then on nothing is moved. It is told only once every entry owes an answer: behind entries that
    /// are asked more rarely than once a step, a far end that is away looks the same between two answers.
    pub(super) fn on_tick(&mut self, now: Mono, seen: Entries, silent: bool) -> Option<AccessOutage> {
        match self.out_since {
            None if silent && !seen.any_heard => self.out_since = Some(now),
            Some(since) if seen.any_heard => {
                self.out_since = None;
                self.stall_end = Some(now);
                let after = now.since(since);
                return std::mem::take(&mut self.told).then_some(AccessOutage::Ended { after });
            }
            _ => {}
        }
        let tell = self.is_out() && !self.told && seen.all_overdue;
        self.told |= tell;
        tell.then_some(AccessOutage::Began)
    }
}

/// What was seen of the entry edges of all routes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entries {
    pub(super) any_heard: bool,
    pub(super) all_overdue: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(i64) -> Mono = Mono::from_millis;
    const GRID: Duration = Duration::from_millis(100);

    #[test]
    fn a_stall_begins_at_its_threshold_and_marks_what_was_in_flight() {
        let rtt = Duration::from_millis(50);
        for (arrives, marked) in [(279, false), (280, true)] {
            let mut access = Access::new(GRID);
            assert!(!access.on_sample(MS(100), rtt));
            assert_eq!(access.on_sample(MS(arrives), rtt), marked, "{arrives}");
        }
        let mut access = Access::new(GRID);
        access.on_sample(MS(100), rtt);
        access.on_sample(MS(300), rtt);
        assert!(
            access.on_sample(MS(349), rtt),
            "sent at 299, before the stall's end"
        );
        assert!(!access.on_sample(MS(350), rtt), "sent at its end");
    }

    #[test]
    fn silence_counts_from_when_an_answer_could_come() {
        let mut access = Access::new(GRID);
        let rtt = Duration::from_millis(150);
        assert_eq!(access.silence_since_stall(MS(0), 3, rtt), 3);
        access.on_sample(MS(0), rtt);
        access.on_sample(MS(1_000), rtt);
        for (now, steps) in [
            (1_100, 0),
            (1_249, 0),
            (1_250, 1),
            (1_449, 2),
            (1_450, 3),
            (9_000, 3),
        ] {
            assert_eq!(access.silence_since_stall(MS(now), 3, rtt), steps, "{now}");
        }
    }
}
