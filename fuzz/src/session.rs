//! A probe session, told anything in any order.

use std::time::Duration;

use corridor_probes::{
    Arrival, EchoOutcome, Ledger, MAX_OPEN_WINDOWS, MAX_SAMPLES, Mono, ProbeSession, Reflector,
    ReflectorLimits, SessionConfig, SessionId, Slipped, SlotOutcome, Stall, Window,
    wire::{AckRanges, EchoBody, LinkEcho, LinkProbe, RouteEcho},
};

use super::input::Input;

/// Steps of one input at most: longer ones tell nothing new, and take long.
pub const MAX_STEPS: usize = 2_000;

/// Whatever echoes say, and in whatever order slots, drops and echoes come: every slot and every probe
/// stands in the books once, on each closed window and in all of them together, and no more is kept open
/// than is allowed.
pub fn probe_session(data: &[u8]) {
    let mut input = Input::new(data);
    let mut driven = Driven::new(&mut input);
    let mut honest = Reflector::new(7, ReflectorLimits::default());
    let mut sent: Vec<LinkProbe> = Vec::new();
    for _ in 0..MAX_STEPS {
        if input.is_over() {
            break;
        }
        match input.u8() % 8 {
            0 | 1 => sent.extend(driven.step(&mut input)),
            2 => {
                if let Some(probe) = pick(&sent, &mut input) {
                    let recv = Mono::from_micros(input.i64());
                    let received = honest.receive((), probe.session, probe.seq, probe.floor, recv);
                    if let Some(body) = received.echo() {
                        let body =
                            body.sent_after(recv.into(), recv + Duration::from_micros(input.u16().into()));
                        driven.echo(probe.seq, body, &mut input);
                    }
                }
            }
            3 => {
                let seq = pick(&sent, &mut input).map_or(0, |p| p.seq);
                let body = any_body(&mut input);
                driven.echo(seq.wrapping_add(u32::from(input.u8() % 3)), body, &mut input);
            }
            4 => {
                if let Ok(echo) = LinkEcho::parse(input.piece()) {
                    driven.echo(echo.seq, echo.body, &mut input);
                }
            }
            5 => {
                if let Ok(echo) = RouteEcho::parse(input.piece()) {
                    let arrival = driven.arrival(&mut input);
                    let outcome = driven.session.on_route_echo(arrival, &echo);
                    driven.check(outcome);
                }
            }
            6 => {
                let left = input.u8() & 1 != 0;
                let seq = pick(&sent, &mut input).map_or_else(|| input.u32(), |p| p.seq);
                if left {
                    let at = driven.now + Duration::from_millis(input.u8().into());
                    driven.session.on_sent(seq, at);
                } else {
                    driven.local_drop(seq);
                }
            }
            _ => driven.pass(&mut input),
        }
    }
    driven.finish();
}

fn pick(sent: &[LinkProbe], input: &mut Input<'_>) -> Option<LinkProbe> {
    let back = usize::from(input.u8()).min(sent.len().checked_sub(1)?);
    sent.iter().rev().nth(back).copied()
}

/// What the wire can carry, whether any reflector would say so or not.
fn any_body(input: &mut Input<'_>) -> EchoBody {
    let mut ranges = AckRanges::EMPTY;
    for _ in 0..input.u8() % 17 {
        let (gap, len) = (u32::from(input.u8()), u32::from(input.u8()));
        if ranges.push(gap, len).is_err() {
            break;
        }
    }
    EchoBody {
        epoch: u32::from(input.u8() % 3),
        recv_us: input.i64(),
        residence_us: input.u32(),
        count: input.u32() >> (input.u8() % 32),
        overtaken: input.u8() & 1 != 0,
        reordered: input.u16() >> 1,
        base: input.u16() >> (input.u8() % 16),
        ranges,
    }
}

/// A session, and what it was told, counted beside it.
#[derive(Debug)]
pub struct Driven {
    pub session: ProbeSession,
    pub now: Mono,
    slots: u64,
    sent: u64,
    windows: Ledger,
}

impl Driven {
    pub fn new(input: &mut Input<'_>) -> Self {
        // Half of all times that there are, so that nothing is at their end.
        let now = Mono::from_nanos(input.i64() / 2);
        Self {
            session: ProbeSession::new(SessionId(1), input.u32(), SessionConfig::default()),
            now,
            slots: 0,
            sent: 0,
            windows: Ledger::default(),
        }
    }

    /// Books a slot, or a run of missed ones; answers the probe that goes out.
    pub fn step(&mut self, input: &mut Input<'_>) -> Option<LinkProbe> {
        self.pass(input);
        let outcome = match input.u8() % 16 {
            0 => SlotOutcome::Slipped,
            1 => SlotOutcome::LocalDrop,
            2 => SlotOutcome::Unconnected,
            3 => {
                let count = u64::from(input.u16()) + 1;
                let last = self.now + Duration::from_millis(input.u32().into());
                let first = self.now;
                self.session.slipped(&Slipped {
                    key: (),
                    first,
                    last,
                    count,
                });
                self.slots += count;
                return None;
            }
            _ => SlotOutcome::Sent { now: self.now },
        };
        self.slots += 1;
        let probe = self.session.slot(self.now, outcome)?;
        self.sent += 1;
        Some(probe)
    }

    pub fn arrival(&self, input: &mut Input<'_>) -> Arrival {
        Arrival {
            at: self.now,
            stall: match input.u8() % 8 {
                0 => Stall::Corrected,
                1 => Stall::Suspect,
                2 => Stall::Unknown,
                _ => Stall::None,
            },
        }
    }

    fn echo(&mut self, seq: u32, body: EchoBody, input: &mut Input<'_>) {
        let echo = LinkEcho {
            session: self.session.id(),
            seq,
            body,
        };
        let arrival = self.arrival(input);
        let outcome = self.session.on_link_echo(arrival, &echo);
        self.check(outcome);
    }

    pub fn check(&self, outcome: EchoOutcome) {
        match outcome {
            EchoOutcome::Sample(sample) => {
                let most = self.session.config().tmax.as_micros();
                assert!(u128::from(sample.rtt_us) <= most, "in time is within Tmax");
                assert!(sample.up_us.is_some());
            }
            EchoOutcome::Late { rtt } => assert!(rtt > self.session.config().tmax),
            EchoOutcome::Excluded | EchoOutcome::Duplicate | EchoOutcome::Stale | EchoOutcome::Unknown => {}
        }
    }

    fn local_drop(&mut self, seq: u32) {
        self.sent -= u64::from(self.session.on_local_drop(seq));
    }

    /// Lets up to half a minute pass.
    pub fn pass(&mut self, input: &mut Input<'_>) {
        let ms = u64::from(input.u8()) << (input.u8() % 8);
        self.now = self.now + Duration::from_millis(ms);
        let _ = self.session.silent_steps(self.now);
        let _ = self.session.silent_at(3);
        let _ = self.session.usual_rtt();
        while let Some(window) = self.session.poll_window(self.now) {
            self.closed(&window);
        }
    }

    fn closed(&mut self, window: &Window) {
        let ledger = window.ledger;
        ledger.check().expect("the books add up");
        assert!(ledger.excluded <= ledger.received && ledger.stalled <= ledger.sent);
        assert!(ledger.reordered_up <= ledger.sent && ledger.reordered_down <= ledger.sent);
        assert!(window.samples.len() <= MAX_SAMPLES);
        assert_eq!(window.samples_taken, ledger.received - ledger.excluded);
        assert!(window.samples.is_sorted_by(|a, b| a.seq < b.seq));
        let share = |share: Option<f64>| assert!(share.is_none_or(|s| (0.0..=1.0).contains(&s)));
        share(ledger.loss());
        share(ledger.loss_up());
        share(ledger.loss_down());
        self.windows += ledger;
    }

    /// No more comes: every book is closed, and holds all that was booked.
    pub fn finish(mut self) {
        let open = self.session.totals();
        assert!(self.session.windows_dropped() > 0 || open == self.windows);
        self.session.retire();
        let mut windows = 0;
        while let Some(window) = self.session.poll_window(Mono::from_nanos(i64::MAX)) {
            self.closed(&window);
            windows += 1;
        }
        assert!(windows <= MAX_OPEN_WINDOWS);
        let totals = self.session.totals();
        assert!(self.session.windows_dropped() > 0 || totals == self.windows);
        totals.check().expect("all books together add up");
        assert_eq!(
            (u64::from(totals.slots), u64::from(totals.sent)),
            (self.slots, self.sent)
        );
    }
}
