//! The state machine: which probe goes next, when, and what an answer means for what is known.
//!
//! ```text
//! Path, round 0 ──end found, or nothing for SILENT_HOPS──> Path, rounds 1..n ──> Settle ──> Done
//!      ^                         │                                                 │ ^
//!      └── anew by ICMP: the end said nothing to UDP                the end missed  v │
//!                                                                  WORTH_ASKING:  Check
//! ```

mod known;

use std::{collections::VecDeque, time::Duration};

use super::{
    MAX_HOPS, MAX_PROBES_PER_S, PATIENCE,
    hop::{Hop, Series},
    judge::{self, Verdict},
    plan::{Plan, PlanError},
    probe::{Answer, Meaning, Probe, Protocol},
};
use crate::Mono;

/// Between two probes.
const SPACING: Duration = Duration::from_nanos(1_000_000_000 / MAX_PROBES_PER_S as u64);
/// While the end is not found: probes that may be on their way, so that few go beyond the end, whose limit
/// on answers they would use up.
const AHEAD: usize = 4;
/// A probe that is on its way for longer holds up no other.
const WAIT: Duration = Duration::from_millis(800);
/// Hops in a row that say nothing, after which the first round looks no further.
const SILENT_HOPS: u8 = 10;
/// The same in later rounds.
const SILENT_HOPS_LATER: u8 = 3;
/// Rounds that wait for each answer before the next probe.
const MAX_SERIAL_ROUNDS: u32 = 2;
/// Probes by which the end's missing answers are looked into.
const CHECK_PROBES: u32 = 12;
/// Echo requests that may be missed before asking by them is given up.
const DEAF: u32 = 3;
/// What is gentle: Linux answers one a second to one asker, many routers too.
const GENTLE: Duration = Duration::from_secs(2);
const MAX_GENTLE: Duration = Duration::from_secs(10);

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send this, then say so with [`Tracer::sent`] or [`Tracer::not_sent`].
    Send(Probe),
    /// Nothing before this.
    Wait(Mono),
    Done,
}

/// What it is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Rounds along the path; this one, from 0.
    Path(u32),
    /// Waiting for the last answers.
    Settle,
    /// Asking the end again.
    Check(Protocol),
    Done,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    probe: Probe,
    at: Mono,
    /// In its series.
    place: u32,
    check: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    ttl: u8,
    /// The target itself, not somebody who refuses probes on the way to it.
    reached: bool,
}

/// One trace.
#[derive(Debug)]
pub struct Tracer {
    plan: Plan,
    protocol: Protocol,
    phase: Phase,
    hops: Vec<Hop>,
    end: Option<End>,
    /// Highest hop that ever answered; 0 for none.
    highest: u8,
    open: VecDeque<Open>,
    next_number: u16,
    next_ttl: u8,
    round_began: Option<Mono>,
    next_send: Option<Mono>,
    serial: Option<u32>,
    serial_rounds: u32,
    check: Option<(Protocol, Series)>,
    unmatched: u32,
    not_sent: u32,
    anew_by_icmp: bool,
}

impl Tracer {
    /// `first_number` may be anything.
    pub fn new(plan: Plan, first_number: u16) -> Result<Self, PlanError> {
        plan.check()?;
        Ok(Self {
            plan,
            protocol: plan.protocol,
            phase: Phase::Path(0),
            hops: Vec::new(),
            end: None,
            highest: 0,
            open: VecDeque::new(),
            next_number: first_number,
            next_ttl: 1,
            round_began: None,
            next_send: None,
            serial: None,
            serial_rounds: 0,
            check: None,
            unmatched: 0,
            not_sent: 0,
            anew_by_icmp: false,
        })
    }

    /// What to do at `now`. To be asked again after everything that happened.
    pub fn poll(&mut self, now: Mono) -> Step {
        self.expire(now);
        loop {
            let step = match self.phase {
                Phase::Path(round) => self.poll_path(round, now),
                Phase::Settle => self.poll_settle(now),
                Phase::Check(protocol) => self.poll_check(protocol, now),
                Phase::Done => Some(Step::Done),
            };
            match step {
                Some(Step::Send(_)) if self.next_send.is_some_and(|at| at > now) => {
                    return Step::Wait(self.next_send.unwrap_or(now));
                }
                Some(step) => return step,
                None => {}
            }
        }
    }

    fn poll_path(&mut self, round: u32, now: Mono) -> Option<Step> {
        if self.next_ttl == 1
            && let Some(began) = self.round_began
            && round > 0
            && now < began + self.plan.interval
        {
            return Some(self.wait_until(began + self.plan.interval, now));
        }
        if self.next_ttl <= self.last_ttl(round) {
            let ahead = match (self.serial == Some(round), self.end) {
                (true, _) => 1,
                (false, None) => AHEAD,
                (false, Some(_)) => usize::MAX,
            };
            if let Some(until) = self.held_up(ahead, now) {
                return Some(self.wait_until(until, now));
            }
            return Some(Step::Send(self.probe(self.next_ttl, self.protocol)));
        }
        // An answer may still show that there is more to look at.
        if self.end.is_none()
            && let Some(until) = self.held_up(1, now)
        {
            return Some(self.wait_until(until, now));
        }
        self.next_ttl = 1;
        let deaf_to_udp = self.protocol == Protocol::Udp && !self.end.is_some_and(|e| e.reached);
        if round == 0 && deaf_to_udp && self.plan.echo {
            self.begin_anew();
        } else if round + 1 < self.plan.rounds {
            self.phase = Phase::Path(round + 1);
        } else {
            self.phase = Phase::Settle;
        }
        None
    }

    fn begin_anew(&mut self) {
        self.anew_by_icmp = true;
        self.protocol = Protocol::Icmp;
        self.hops.clear();
        self.open.clear();
        (self.end, self.highest, self.round_began) = (None, 0, None);
    }

    fn poll_settle(&mut self, now: Mono) -> Option<Step> {
        if let Some(first) = self.open.front() {
            let until = first.at + PATIENCE;
            return Some(self.wait_until(until, now));
        }
        let worth = self
            .end_series()
            .is_some_and(|s| s.missing() >= judge::WORTH_ASKING);
        self.phase = if !worth || self.check.is_some() {
            Phase::Done
        } else if self.protocol == Protocol::Udp && self.plan.echo {
            Phase::Check(Protocol::Icmp)
        } else {
            Phase::Check(self.protocol)
        };
        None
    }

    fn poll_check(&mut self, protocol: Protocol, now: Mono) -> Option<Step> {
        let Some(end) = self.end else {
            self.phase = Phase::Done;
            return None;
        };
        let series = match &self.check {
            Some((p, series)) if *p == protocol => series.clone(),
            _ => {
                self.check = Some((protocol, Series::default()));
                Series::default()
            }
        };
        let deaf = series.answered() == 0 && series.missing() >= DEAF;
        if deaf && protocol != self.protocol {
            // No echo either. The end's own way then, but gently.
            self.phase = Phase::Check(self.protocol);
            self.open.clear();
            return None;
        }
        let told = self
            .end_loss()
            .is_some_and(|l| l.verdict == Verdict::LimitsAnswers && l.lost.is_some());
        if deaf || told || series.missing() > 1 || series.sent() >= CHECK_PROBES {
            if series.settled() >= series.sent() || told {
                self.phase = Phase::Done;
                return None;
            }
            let until = self.open.front().map_or(now, |o| o.at + PATIENCE);
            return Some(self.wait_until(until, now));
        }
        let gap = if protocol == self.protocol {
            (self.plan.interval * 2).clamp(GENTLE, MAX_GENTLE)
        } else {
            self.plan.interval
        };
        match self.round_began.map(|at| at + gap).filter(|&at| at > now) {
            Some(at) => Some(self.wait_until(at, now)),
            None => Some(Step::Send(self.probe(end.ttl, protocol))),
        }
    }

    /// The probe went out at `now`.
    pub fn sent(&mut self, probe: Probe, now: Mono) {
        let check = matches!(self.phase, Phase::Check(_));
        let place = if check {
            self.check.as_mut().map(|(_, series)| series.send())
        } else {
            let index = usize::from(probe.ttl).saturating_sub(1);
            while self.hops.len() <= index && self.hops.len() < usize::from(MAX_HOPS) {
                self.hops.push(Hop::default());
            }
            self.hops.get_mut(index).map(|hop| hop.series.send())
        };
        if let Some(place) = place {
            let at = now;
            self.open.push_back(Open {
                probe,
                at,
                place,
                check,
            });
        }
        self.went(probe, now);
    }

    /// This machine could not send it: it is nobody's loss.
    pub fn not_sent(&mut self, probe: Probe, now: Mono) {
        self.not_sent = self.not_sent.saturating_add(1);
        self.went(probe, now);
    }

    fn went(&mut self, probe: Probe, now: Mono) {
        self.next_number = probe.number.wrapping_add(1);
        self.next_send = Some(now + SPACING);
        match self.phase {
            Phase::Path(_) => {
                if probe.ttl == 1 {
                    self.round_began = Some(now);
                }
                self.next_ttl = probe.ttl.saturating_add(1);
            }
            Phase::Check(_) => self.round_began = Some(now),
            Phase::Settle | Phase::Done => {}
        }
    }

    /// Takes an answer that came at `at`. Answers to nothing that is open change nothing.
    pub fn answer(&mut self, answer: Answer, at: Mono) {
        let (index, named) = match answer.number {
            Some(number) => {
                let of = |o: &Open| o.probe.number == number && o.probe.protocol == answer.protocol;
                (self.open.iter().position(of), true)
            }
            None => (self.match_unnamed(&answer, at), false),
        };
        let Some(open) = index.and_then(|i| self.open.remove(i)) else {
            return;
        };
        let rtt_us = u32::try_from(at.since(open.at).as_micros()).unwrap_or(u32::MAX);
        if open.check {
            if let Some((_, series)) = &mut self.check {
                match answer.meaning {
                    Meaning::Reached => series.answer(open.place, rtt_us),
                    _ => series.give_up(),
                }
            }
            return;
        }
        let ttl = open.probe.ttl;
        let home = (1..ttl).zip(&self.hops).find(|(_, h)| h.is_home_of(answer.from));
        if let (Some((ttl, _)), Meaning::Unreachable(why)) = (home, answer.meaning) {
            // A router that is known already has no way on: it does so where it stands.
            if let Some(hop) = self.hops.get_mut(usize::from(ttl).saturating_sub(1)) {
                hop.unreachable = Some(why);
            }
            self.give_up(open.probe.ttl);
            self.learn_end(ttl, answer.meaning);
            return;
        }
        let reached = self.end.is_some_and(|e| e.reached && e.ttl == ttl);
        if reached && matches!(answer.meaning, Meaning::Unreachable(_)) {
            // Somebody on the way refuses it: it has not come to where others have.
            self.give_up(ttl);
            return;
        }
        if let Some(hop) = self.hops.get_mut(usize::from(ttl).saturating_sub(1)) {
            hop.series.answer(open.place, rtt_us);
            hop.see(answer.from);
            hop.by_address |= !named;
            if let Meaning::Unreachable(why) = answer.meaning {
                hop.unreachable = Some(why);
            }
        }
        self.highest = self.highest.max(ttl);
        self.learn_end(ttl, answer.meaning);
    }

    fn learn_end(&mut self, ttl: u8, meaning: Meaning) {
        let nearer = self.end.is_none_or(|e| ttl < e.ttl);
        let reached = self.end.is_some_and(|e| e.reached);
        self.end = match meaning {
            // The path has become longer: look for its end anew.
            Meaning::TimeExceeded if !nearer => None,
            Meaning::Reached if nearer || !reached => Some(End { ttl, reached: true }),
            Meaning::Unreachable(_) if nearer && !reached => Some(End { ttl, reached: false }),
            _ => return,
        };
        if let Some(end) = self.end {
            self.hops.truncate(usize::from(end.ttl));
            self.open.retain(|o| o.check || o.probe.ttl <= end.ttl);
            self.highest = end.ttl;
        }
    }

    /// The open probe that an answer which does not name one must be for.
    fn match_unnamed(&mut self, answer: &Answer, now: Mono) -> Option<usize> {
        let fits = |o: &Open| o.probe.protocol == answer.protocol;
        let recent = |o: &Open| fits(o) && now.since(o.at) < WAIT;
        let mut recents = self.open.iter().enumerate().filter(|(_, o)| recent(o));
        if let (Some((index, _)), None) = (recents.next(), recents.next()) {
            return Some(index);
        }
        let mut homes = (1..).zip(&self.hops).filter(|(_, h)| h.is_home_of(answer.from));
        if let (Some((ttl, _)), None) = (homes.next(), homes.next()) {
            return self.open.iter().rposition(|o| fits(o) && o.probe.ttl == ttl);
        }
        self.unmatched = self.unmatched.saturating_add(1);
        if let Phase::Path(round) = self.phase
            && self.serial.is_none_or(|r| r <= round)
            && self.serial_rounds < MAX_SERIAL_ROUNDS
        {
            self.serial = Some(round + 1);
            self.serial_rounds += 1;
        }
        None
    }

    fn expire(&mut self, now: Mono) {
        while let Some(open) = self.open.front().copied()
            && now >= open.at + PATIENCE
        {
            self.open.pop_front();
            if open.check {
                if let Some((_, series)) = &mut self.check {
                    series.give_up();
                }
            } else {
                self.give_up(open.probe.ttl);
            }
        }
    }

    fn give_up(&mut self, ttl: u8) {
        if let Some(hop) = self.hops.get_mut(usize::from(ttl).saturating_sub(1)) {
            hop.series.give_up();
        }
    }

    /// Until when nothing may be sent because `ahead` probes are on their way already.
    fn held_up(&self, ahead: usize, now: Mono) -> Option<Mono> {
        let mut recent = self.open.iter().filter(|o| now < o.at + WAIT);
        let oldest = recent.next()?.at;
        (recent.count() + 1 >= ahead).then_some(oldest + WAIT)
    }

    /// Never later than the next probe is to be given up.
    fn wait_until(&self, at: Mono, now: Mono) -> Step {
        let expiry = self.open.front().map_or(at, |o| o.at + PATIENCE);
        Step::Wait(at.min(expiry).max(now))
    }

    fn last_ttl(&self, round: u32) -> u8 {
        let silent = if round == 0 {
            SILENT_HOPS
        } else {
            SILENT_HOPS_LATER
        };
        let last = self.end.map_or(self.highest.saturating_add(silent), |e| e.ttl);
        last.min(self.plan.max_hops)
    }

    fn probe(&self, ttl: u8, protocol: Protocol) -> Probe {
        Probe {
            number: self.next_number,
            ttl,
            protocol,
        }
    }

    fn end_series(&self) -> Option<&Series> {
        let end = self.end.filter(|e| e.reached)?;
        self.hops.get(usize::from(end.ttl) - 1).map(Hop::series)
    }
}

#[cfg(test)]
mod tests;
