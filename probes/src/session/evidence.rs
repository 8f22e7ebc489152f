//! What echoes tell of probes other than their own: which ones the reflector has.

use std::collections::VecDeque;

use super::{Echo, Probe, settle::Anchor};
use crate::wire::EchoBody;

#[derive(Debug)]
pub(super) struct Evidence {
    epoch: Option<Epoch>,
    /// The one before: its echoes may still be on the way.
    previous: Option<u32>,
    /// Where the ranges of the next echo shall begin, while one echo could not hold them all.
    resume: Option<u64>,
    /// No number below is unsettled.
    settled: u64,
    /// None while the reflector's state that speaks now has no count below the open probes.
    anchor: Option<Anchor>,
}

impl Default for Evidence {
    fn default() -> Self {
        Self {
            epoch: None,
            previous: None,
            resume: None,
            settled: 0,
            // A new session has been counted from zero.
            anchor: Some(Anchor::default()),
        }
    }
}

/// The state of the reflector that speaks now.
#[derive(Debug, Clone, Copy)]
struct Epoch {
    id: u32,
    /// It can tell nothing of numbers below, which came before it began.
    from: u64,
}

impl Evidence {
    /// Where the ranges of the echo of `seq` shall begin: at the lowest number that the reflector has
    /// not acknowledged, or where the last echo had to stop.
    pub(super) fn wanted_floor(&mut self, probes: &VecDeque<Probe>, seq: u64) -> u64 {
        let first_open = seq - probes.len() as u64;
        self.settled = self.settled.max(first_open);
        let from = (self.settled - first_open) as usize;
        let settled = probes
            .range(from.min(probes.len())..)
            .take_while(|p| p.acked || p.echo == Echo::Never)
            .count();
        self.settled += settled as u64;
        match self.resume {
            Some(resume) if resume < seq => resume.max(self.settled),
            _ => self.settled.min(seq),
        }
    }

    /// Books what the echo of `seq` tells. Whether it speaks for the reflector's current state.
    pub(super) fn take(
        &mut self,
        probes: &mut VecDeque<Probe>,
        first_open: u64,
        seq: u64,
        body: &EchoBody,
    ) -> bool {
        let base = seq.saturating_sub(body.base.into());
        let lowest = body
            .ranges
            .iter()
            .next()
            .map_or(seq, |r| base + u64::from(r.start));
        let current = self.recognise(body.epoch, lowest.min(seq), probes);
        let told_from = match self.epoch {
            Some(epoch) if current => base.max(epoch.from),
            _ => u64::MAX,
        };

        let mut at = base;
        for range in body.ranges.iter() {
            let (start, end) = (base + u64::from(range.start), base + u64::from(range.end));
            for probe in open(probes, first_open, at.max(told_from)..start) {
                probe.missed |= !probe.acked;
            }
            for probe in open(probes, first_open, start..end) {
                // Missing when a later one was there, and there now.
                probe.overtaken |= probe.missed && !probe.acked;
                probe.acked = true;
            }
            at = end;
        }
        for probe in open(probes, first_open, seq..seq + 1) {
            probe.acked = true;
        }
        if current {
            self.resume = body.ranges.is_full().then(|| self.resume.max(Some(at))).flatten();
        }
        current
    }

    fn recognise(&mut self, id: u32, lowest: u64, probes: &mut VecDeque<Probe>) -> bool {
        match &mut self.epoch {
            None => {
                // The first one known is taken to have been there from the start.
                self.epoch = Some(Epoch { id, from: 0 });
                true
            }
            Some(epoch) if epoch.id == id => {
                epoch.from = epoch.from.min(lowest);
                true
            }
            Some(_) if self.previous == Some(id) => false,
            Some(epoch) => {
                self.previous = Some(epoch.id);
                *epoch = Epoch { id, from: lowest };
                self.resume = None;
                self.anchor = None;
                // Counts of another state compare with nothing.
                for probe in probes {
                    probe.count = None;
                }
                true
            }
        }
    }

    /// A probe leaves the open ones.
    pub(super) fn pass(&mut self, probe: &Probe) {
        match (&mut self.anchor, probe.count) {
            (Some(anchor), _) => anchor.pass(probe),
            (none, Some(_)) => none.insert(Anchor::default()).pass(probe),
            (None, None) => {}
        }
    }

    pub(super) fn anchor(&self) -> Option<Anchor> {
        self.anchor
    }
}

/// The open probes with these numbers.
fn open(
    probes: &mut VecDeque<Probe>,
    first_open: u64,
    numbers: std::ops::Range<u64>,
) -> impl Iterator<Item = &mut Probe> {
    let index = |n: u64| usize::try_from(n.saturating_sub(first_open)).unwrap_or(usize::MAX);
    let end = index(numbers.end).min(probes.len());
    let start = index(numbers.start).min(end);
    probes.range_mut(start..end)
}
