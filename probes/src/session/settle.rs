//! Closing a window: the fate of each of its probes.

use std::collections::VecDeque;

use super::{Arrived, Echo, OpenWindow, Probe, ProbeSession, There};
use crate::{Clocks, Jitter, LossChain, RawMinima, Sample, Window, window::thin};

/// What became of a probe without an echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    Up,
    Down,
    Unknown,
}

/// The last count of the reflector's that lies below all open probes, and what is known of the closed
/// ones since.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Anchor {
    count: u32,
    acked: u32,
    undecided: u32,
    /// One of them was overtaken, so that the counts do not tell.
    overtaken: bool,
}

/// One direction's jitter, which starts anew with another clock.
#[derive(Debug, Default)]
pub(super) struct ClockedJitter {
    clocks: Option<Clocks>,
    jitter: Jitter,
}

impl ClockedJitter {
    fn push(&mut self, clocks: Clocks, transit_us: i64) {
        if self.clocks.replace(clocks) != Some(clocks) {
            self.jitter.forget_clock();
        }
        self.jitter.push(transit_us);
    }
}

impl Probe {
    /// Nothing but the reflector's count can tell where it was lost.
    pub(super) fn is_undecided(&self) -> bool {
        self.echo == Echo::None && !self.acked && !self.missed
    }
}

impl ProbeSession {
    pub(super) fn close_oldest(&mut self) -> Option<Window> {
        let OpenWindow {
            start,
            mut ledger,
            arrivals,
        } = self.windows.pop_front()?;
        let until = self.probes.partition_point(|p| p.window <= start);
        let mut by_count = losses_by_count(&self.probes, until, self.evidence.anchor()).into_iter();
        let (mut chain_up, mut chain_down) = (LossChain::default(), LossChain::default());
        let mut late_up = 0;
        let first = self.first_open();
        for (seq, probe) in (first..).zip(self.probes.drain(..until)) {
            self.silence.closed(seq, &probe);
            self.evidence.pass(&probe);
            let loss = match probe.echo {
                Echo::Never => {
                    chain_up.push_unknown();
                    chain_down.push_unknown();
                    continue;
                }
                Echo::InTime => None,
                Echo::Late if probe.late_up => Some(Loss::Up),
                Echo::Late => Some(Loss::Down),
                Echo::None if probe.acked => Some(Loss::Down),
                Echo::None if probe.missed => Some(Loss::Up),
                Echo::None => Some(by_count.next().unwrap_or(Loss::Unknown)),
            };
            if probe.echo == Echo::None {
                match loss {
                    Some(Loss::Up) => ledger.lost_up += 1,
                    Some(Loss::Down) => ledger.lost_down += 1,
                    Some(Loss::Unknown) | None => ledger.lost_unknown += 1,
                }
            }
            late_up += u32::from(probe.late_up);
            match loss {
                None | Some(Loss::Down) => {
                    chain_up.push(false);
                    chain_down.push(loss.is_some());
                }
                // It never was on its way down.
                Some(Loss::Up) => chain_up.push(true),
                Some(Loss::Unknown) => {
                    chain_up.push_unknown();
                    chain_down.push_unknown();
                }
            }
        }
        debug_assert_eq!(ledger.check(), Ok(()), "a closed window's books");
        self.totals += ledger;
        self.feed_jitter(&arrivals);
        let (samples, raw) = samples_of(&arrivals);
        let mut window = Window {
            start,
            length: self.config.window,
            ledger,
            samples_taken: u32::try_from(samples.len()).unwrap_or(u32::MAX),
            samples,
            raw,
            jitter_up_us: self.jitter_up.jitter.rounded_us(),
            jitter_down_us: self.jitter_down.jitter.rounded_us(),
            chain_up,
            chain_down,
            late_up,
        };
        thin(&mut window.samples);
        Some(window)
    }

    /// Upwards in the order in which probes came to the reflector, downwards in the order in which
    /// echoes came here. Answers that tell nothing of the far end have no jitter by direction.
    fn feed_jitter(&mut self, arrivals: &[Arrived]) {
        let told = arrivals.iter().filter_map(|a| Some((a.there?, a.sample.rtt_us)));
        let mut there: Vec<There> = Vec::new();
        for (at, rtt_us) in told {
            self.jitter_down
                .push(at.clocks, i64::from(rtt_us).saturating_sub(at.up_us));
            there.push(at);
        }
        let epochs: Vec<_> = there.iter().map(|t| t.epoch).collect();
        there.sort_by_key(|t| (epochs.iter().position(|&e| e == t.epoch), t.count));
        for t in there {
            self.jitter_up.push(t.clocks, t.up_us);
        }
    }
}

/// The samples in the order of sending, and the least raw values between the newest probe's two clocks.
fn samples_of(arrivals: &[Arrived]) -> (Vec<Sample>, Option<RawMinima>) {
    let told = arrivals.iter().filter_map(|a| Some((a.sample.seq, a.there?)));
    let newest = told.max_by_key(|(seq, _)| *seq).map(|(_, there)| there.clocks);
    let mut raw: Option<RawMinima> = None;
    let mut samples = Vec::with_capacity(arrivals.len());
    for a in arrivals {
        let Some(there) = a.there.filter(|t| Some(t.clocks) == newest) else {
            samples.push(Sample {
                up_us: None,
                ..a.sample
            });
            continue;
        };
        samples.push(a.sample);
        let one = RawMinima {
            clocks: there.clocks,
            up_us: there.up_us,
            up_at: a.at,
            down_us: i64::from(a.sample.rtt_us).saturating_sub(there.up_us),
            down_at: a.at,
        };
        raw = Some(raw.map_or(one, |least| least.and(one)));
    }
    samples.sort_unstable_by_key(|s| s.seq);
    (samples, raw)
}

/// Where the undecided among the first `until` probes were lost, in their order.
///
/// Between two echoes the reflector's count grew by what came to it; less those that are acknowledged,
/// that many of the undecided between them did come. That holds while probes keep their order: where
/// one is known to have been overtaken, nothing is said.
fn losses_by_count(probes: &VecDeque<Probe>, until: usize, anchor: Option<Anchor>) -> Vec<Loss> {
    let mut losses = Vec::new();
    if !probes.range(..until).any(Probe::is_undecided) {
        return losses;
    }
    let overtaken = anchor.is_some_and(|a| a.overtaken) || probes.iter().any(|p| p.overtaken);
    let mut last = anchor;
    let mut acked = anchor.map_or(0, |a| a.acked);
    let before = anchor.map_or(0, |a| a.undecided);
    // Undecided since `last`: of this window, and of its neighbours, between which they may be shared.
    let (mut mine, mut others) = (0, before);
    for (i, probe) in probes.iter().enumerate() {
        if i >= until && mine == 0 {
            break;
        }
        acked += u32::from(probe.acked);
        if probe.is_undecided() {
            *if i < until { &mut mine } else { &mut others } += 1;
        }
        if let Some(count) = probe.count {
            let came = last.map(|a| i64::from(count) - i64::from(a.count) - i64::from(acked));
            losses.extend(share_out(came.filter(|_| !overtaken), mine, others));
            last = Some(Anchor {
                count,
                ..Anchor::default()
            });
            (acked, mine, others) = (0, 0, 0);
        }
    }
    losses.extend(share_out(None, mine, others));
    losses
}

/// `came` of `mine + others` undecided probes came to the reflector: what that says of `mine`.
fn share_out(came: Option<i64>, mine: u32, others: u32) -> impl Iterator<Item = Loss> {
    let all = i64::from(mine) + i64::from(others);
    let came = came.filter(|c| (0..=all).contains(c));
    (0..mine).map(move |i| match came {
        Some(0) => Loss::Up,
        Some(c) if c == all => Loss::Down,
        Some(c) if others == 0 && i64::from(i) < c => Loss::Down,
        Some(_) if others == 0 => Loss::Up,
        _ => Loss::Unknown,
    })
}

impl Anchor {
    /// A probe leaves the open ones.
    pub(super) fn pass(&mut self, probe: &Probe) {
        if let Some(count) = probe.count {
            *self = Self {
                count,
                overtaken: probe.overtaken,
                ..Self::default()
            };
            return;
        }
        self.overtaken |= probe.overtaken;
        if probe.acked {
            self.acked = self.acked.saturating_add(1);
        } else if probe.is_undecided() {
            self.undecided = self.undecided.saturating_add(1);
        }
    }
}
