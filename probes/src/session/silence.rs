//! Has the far end fallen silent? Echoes that should have come, but have not.

use std::{collections::VecDeque, time::Duration};

use super::{Echo, Probe};
use crate::{Mono, percentile};

/// How many round trips make up the usual one.
const MEMORY: usize = 32;

/// While no round trip is known.
const UNKNOWN_RTT: Duration = Duration::from_secs(1);

/// The grain of timers: an echo is not overdue before this has passed beyond the usual round trip.
const GRAIN: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
pub(super) struct Silence {
    /// The last round trips in µs, oldest first.
    recent: VecDeque<u32>,
    heard_at: Option<Mono>,
    /// The highest number whose echo came.
    heard_seq: Option<u64>,
    /// Probes of closed windows without an echo since the far end was heard.
    closed: u32,
}

impl Silence {
    pub(super) fn heard(&mut self, now: Mono) {
        self.heard_at = self.heard_at.max(Some(now));
        self.closed = 0;
    }

    /// An echo came in time; `rtt` is none where a stall has spoilt it.
    pub(super) fn echoed(&mut self, seq: u64, rtt: Option<Duration>) {
        self.heard_seq = self.heard_seq.max(Some(seq));
        let Some(rtt) = rtt else {
            return;
        };
        if self.recent.len() == MEMORY {
            self.recent.pop_front();
        }
        self.recent
            .push_back(u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX));
    }

    /// A probe's window was closed.
    pub(super) fn closed(&mut self, seq: u64, probe: &Probe) {
        if self.heard_seq.is_none_or(|heard| seq > heard) && self.is_owed(probe, self.allowance()) {
            self.closed = self.closed.saturating_add(1);
        }
    }

    /// One slow echo in ten does not make the usual round trip: a spike must not hide an outage.
    pub(super) fn usual_rtt(&self) -> Option<Duration> {
        let recent: Vec<_> = self.recent.iter().copied().collect();
        percentile(&recent, 90.0).map(|us| Duration::from_micros(us.into()))
    }

    pub(super) fn steps(&self, probes: &VecDeque<Probe>, next_seq: u64, now: Mono) -> u32 {
        let allowance = self.allowance();
        let overdue = self
            .unanswered(probes, next_seq)
            .filter(|p| p.sent + allowance <= now)
            .count();
        self.closed
            .saturating_add(u32::try_from(overdue).unwrap_or(u32::MAX))
    }

    pub(super) fn reaches(&self, probes: &VecDeque<Probe>, next_seq: u64, steps: u32) -> Option<Mono> {
        let allowance = self.allowance();
        let nth = steps.saturating_sub(self.closed).max(1) as usize;
        // Newest first, and the oldest falls due first.
        let at = self.unanswered(probes, next_seq).count().checked_sub(nth)?;
        self.unanswered(probes, next_seq)
            .nth(at)
            .map(|p| p.sent + allowance)
    }

    /// How long an echo may take. One in ten takes longer than usual: two that are lost and such a one must not
    /// look like three that are lost, so there is as much again as the usual lies above the median.
    fn allowance(&self) -> Duration {
        let recent: Vec<_> = self.recent.iter().copied().collect();
        let at = |q| percentile(&recent, q).map(|us| Duration::from_micros(us.into()));
        let beyond = at(90.0)
            .zip(at(50.0))
            .map(|(usual, median)| usual + (usual - median));
        beyond.unwrap_or(UNKNOWN_RTT) + GRAIN
    }

    /// Probes whose echo has been owed since the far end was last heard, newest first.
    fn unanswered<'a>(
        &'a self,
        probes: &'a VecDeque<Probe>,
        next_seq: u64,
    ) -> impl Iterator<Item = &'a Probe> {
        let allowance = self.allowance();
        let numbered = (0..next_seq).rev().zip(probes.iter().rev());
        numbered
            .take_while(|&(seq, _)| self.heard_seq.is_none_or(|heard| seq > heard))
            .filter(move |(_, probe)| self.is_owed(probe, allowance))
            .map(|(_, probe)| probe)
    }

    fn is_owed(&self, probe: &Probe, allowance: Duration) -> bool {
        probe.echo == Echo::None && self.heard_at.is_none_or(|heard| probe.sent + allowance > heard)
    }
}
