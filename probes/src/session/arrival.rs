//! An echo comes in: when, and what it measures.

use std::time::Duration;

use super::{Arrived, Echo, OpenWindow, Probe, ProbeSession, There, steps};
use crate::{
    Clocks, Mono, Sample, Steps,
    stamp::StampEcho,
    wire::{EchoBody, LinkEcho, RouteEcho},
};

/// When an echo came in, as well as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    pub at: Mono,
    pub stall: Stall,
}

/// Whether this machine stood still between the network and the reading of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stall {
    /// Nobody looked: `at` is when it was read. [`crate::StallWatch`] judges by this machine's lateness.
    #[default]
    Unknown,
    /// It did not.
    None,
    /// It did, and `at` has been corrected.
    Corrected,
    /// It did or may have, and `at` is not to be trusted: the echo counts, its times do not.
    Suspect,
}

impl From<Mono> for Arrival {
    fn from(at: Mono) -> Self {
        Self {
            at,
            stall: Stall::Unknown,
        }
    }
}

/// What an echo turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EchoOutcome {
    /// In time, and measured.
    Sample(Sample),
    /// In time, but its times are not to be trusted.
    Excluded,
    /// After Tmax.
    Late { rtt: Duration },
    /// This probe's echo had come before.
    Duplicate,
    /// The probe's window is closed.
    Stale,
    /// No such probe was sent.
    Unknown,
}

impl ProbeSession {
    /// Takes the echo of a link probe.
    pub fn on_link_echo(&mut self, arrival: impl Into<Arrival>, echo: &LinkEcho) -> EchoOutcome {
        self.on_echo(arrival.into(), echo.seq, Some(&echo.body), true, |_| {
            Steps::default()
        })
    }

    /// Takes an answer that carries no clock and no count of the far end's, as ICMP's echo replies do: a round
    /// trip and nothing else. What a session of such answers loses is `lost_unknown`, and no window of it
    /// is worth holding for later answers: let [`SessionConfig::doubt_for`](super::SessionConfig) be zero.
    pub fn on_answer(&mut self, arrival: impl Into<Arrival>, seq: u32) -> EchoOutcome {
        self.on_echo(arrival.into(), seq, None, false, |_| Steps::default())
    }

    /// Takes the answer of a STAMP reflector to the probe that went out under the same number.
    pub fn on_stamp_echo(&mut self, arrival: impl Into<Arrival>, stamp: &StampEcho) -> EchoOutcome {
        let LinkEcho { seq, body, .. } = &stamp.echo;
        self.on_echo(arrival.into(), *seq, Some(body), stamp.counted, |_| {
            Steps::default()
        })
    }

    /// Takes the echo of a route probe.
    pub fn on_route_echo(&mut self, arrival: impl Into<Arrival>, echo: &RouteEcho) -> EchoOutcome {
        let seq = echo.header.seq;
        self.on_echo(arrival.into(), seq, Some(&echo.body), true, |total_us| {
            steps::of(echo, total_us)
        })
    }

    /// Whether an echo that the reflector sent later came before this one (RFC 4737).
    fn is_overtaken(&mut self, body: &EchoBody) -> bool {
        match self.newest_echo {
            Some((epoch, newest)) if epoch == body.epoch && newest > body.count => true,
            _ => {
                self.newest_echo = Some((body.epoch, body.count));
                false
            }
        }
    }

    /// Books the probes that came to the reflector after later ones, as the echo of `seq` counts them: its
    /// own in its window, others as the last ones before it whose echoes are missing. Leaves them to another
    /// echo while no window is open. No probe is booked twice, whatever the reflector says.
    fn book_reordered(&mut self, seq: u64, body: &EchoBody) {
        let booked = match self.reordered {
            (epoch, booked) if epoch == body.epoch => booked,
            // It counts from zero.
            _ => 0,
        };
        let mut new = body.reordered.wrapping_sub(booked) & EchoBody::REORDERED;
        if new == 0 || new > EchoBody::REORDERED / 2 {
            // Nothing, or the echo was overtaken itself.
            return;
        }
        let at = self.index_of(seq);
        let its = at.map(|at| self.probes[at].window);
        let Some(its) = its.or(self.windows.front().map(|w| w.start)) else {
            return;
        };
        self.reordered = (body.epoch, body.reordered);
        if let Some(at) = at
            && body.overtaken
            && self.book_one_reordered(at)
        {
            new -= 1;
        }
        for before in (0..at.unwrap_or(0)).rev() {
            if new == 0 {
                return;
            }
            let is_missing = self.probes[before].echo == Echo::None;
            new -= u16::from(is_missing && self.book_one_reordered(before));
        }
        // Their windows are closed.
        if let Some(OpenWindow { ledger, .. }) = self.open_window(its) {
            let room = ledger.sent.saturating_sub(ledger.reordered_up);
            ledger.reordered_up += u32::from(new).min(room);
        }
    }

    /// Books the probe in its window, unless it is booked.
    fn book_one_reordered(&mut self, at: usize) -> bool {
        let probe = &mut self.probes[at];
        if std::mem::replace(&mut probe.reordered, true) {
            return false;
        }
        let start = probe.window;
        if let Some(OpenWindow { ledger, .. }) = self.open_window(start) {
            let room = ledger.sent.saturating_sub(ledger.reordered_up);
            ledger.reordered_up += room.min(1);
        }
        true
    }

    /// `counted`: the body's count counts what came; if not, it gives an order only.
    fn on_echo(
        &mut self,
        arrival: Arrival,
        seq: u32,
        body: Option<&EchoBody>,
        counted: bool,
        steps: impl FnOnce(u32) -> Steps,
    ) -> EchoOutcome {
        let Some(seq) = self.unwrap_seq(seq) else {
            return EchoOutcome::Unknown;
        };
        let first_open = self.first_open();
        let Some(at) = self.index_of(seq) else {
            if let Some(body) = body
                && self.evidence.take(&mut self.probes, first_open, seq, body)
            {
                self.book_reordered(seq, body);
            }
            self.silence.heard(arrival.at);
            return EchoOutcome::Stale;
        };
        let probe = self.probes[at];
        if probe.echo == Echo::Never {
            return EchoOutcome::Unknown;
        }
        let arrival = if probe.clock == self.clock_steps {
            arrival
        } else {
            Arrival {
                stall: Stall::Suspect,
                ..arrival
            }
        };
        self.silence.heard(arrival.at);
        if probe.echo != Echo::None {
            if let Some(window) = self.open_window(probe.window) {
                window.ledger.duplicates = window.ledger.duplicates.saturating_add(1);
            }
            return EchoOutcome::Duplicate;
        }
        let current = match body {
            Some(body) => self.evidence.take(&mut self.probes, first_open, seq, body),
            None => {
                self.probes[at].acked = true;
                false
            }
        };
        if let Some(body) = body.filter(|_| current) {
            self.book_reordered(seq, body);
        }
        if self.close_time(probe.window) <= arrival.at {
            return EchoOutcome::Stale;
        }
        let rtt = arrival.at.since(probe.sent);
        // One whose time is not known is not known to be late.
        let in_time = rtt <= self.config.tmax || arrival.stall == Stall::Suspect;
        self.probes[at].echo = if in_time { Echo::InTime } else { Echo::Late };
        self.probes[at].count = body.filter(|_| current && counted).map(|b| b.count);
        self.probes[at].overtaken = body.is_some_and(|b| b.overtaken);
        let reordered_down = body.is_some_and(|body| current && self.is_overtaken(body));
        let sample = measure(seq, &probe, arrival, body, steps);
        let stalled = matches!(arrival.stall, Stall::Corrected | Stall::Suspect);
        if in_time {
            let trusted = arrival.stall != Stall::Suspect;
            self.silence.echoed(seq, trusted.then_some(rtt));
        }
        let Some(window) = self.open_window(probe.window) else {
            return EchoOutcome::Stale;
        };
        let ledger = &mut window.ledger;
        ledger.reordered_down += u32::from(reordered_down);
        ledger.stalled += u32::from(stalled);
        if !in_time {
            ledger.late += 1;
            self.probes[at].late_up = self.was_up(&probe, arrival, body);
            return EchoOutcome::Late { rtt };
        }
        ledger.received += 1;
        let Some(arrived) = sample else {
            ledger.excluded += 1;
            return EchoOutcome::Excluded;
        };
        window.arrivals.push(arrived);
        let raw = |there: There| {
            [
                there.up_us,
                i64::from(arrived.sample.rtt_us).saturating_sub(there.up_us),
            ]
        };
        let newest = arrived.there.map(|there| (there.clocks, raw(there)));
        self.newest_raw = newest.or(self.newest_raw);
        EchoOutcome::Sample(arrived.sample)
    }

    /// Whether an echo is late by its way up rather than by its way back: which of both is longer against the
    /// newest sample in time. Where nothing tells, it is the way back.
    fn was_up(&self, probe: &Probe, arrival: Arrival, body: Option<&EchoBody>) -> bool {
        let (Some(body), Some((clocks, usual))) = (body, self.newest_raw) else {
            return false;
        };
        let its = Clocks {
            here: probe.clock,
            there: body.clock(),
        };
        let up = body.recv_us.saturating_sub(probe.sent.as_micros());
        let down = arrival
            .at
            .as_micros()
            .saturating_sub(body.recv_us)
            .saturating_sub(i64::from(body.residence_us));
        let more = |raw: i64, usual: i64| raw.saturating_sub(usual);
        its == clocks && more(up, usual[0]) > more(down, usual[1])
    }
}

/// The sample of an echo in time; none if its times are not to be trusted.
fn measure(
    seq: u64,
    probe: &Probe,
    arrival: Arrival,
    body: Option<&EchoBody>,
    steps: impl FnOnce(u32) -> Steps,
) -> Option<Arrived> {
    if arrival.stall == Stall::Suspect {
        return None;
    }
    let total_ns = u64::try_from(arrival.at.diff_nanos(probe.sent)).ok()?;
    let total_us = u32::try_from((total_ns + 500) / 1_000).ok()?;
    let (residence_us, there) = match body {
        Some(body) => {
            let there = There {
                up_us: body.recv_us.checked_sub(probe.sent.as_micros())?,
                clocks: Clocks {
                    here: probe.clock,
                    there: body.clock(),
                },
                epoch: body.epoch,
                count: body.count,
            };
            (body.residence_us, Some(there))
        }
        None => (0, None),
    };
    let sample = Sample {
        seq,
        rtt_us: total_us.checked_sub(residence_us)?,
        up_us: there.map(|t| t.up_us),
        steps: steps(total_us),
    };
    Some(Arrived {
        at: arrival.at,
        sample,
        there,
    })
}
