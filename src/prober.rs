//! Probing: one grid, and on it the sessions of all links and routes of a process. Agents and edges run
//! the same.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use corridor_probes::{
    Arrival, Due, EchoOutcome, Ledger, Mono, Pattern, ProbeSession, Schedule, SessionConfig, SessionId,
    SlotOutcome, StallWatch, Window,
    wire::{LinkEcho, LinkProbe, RouteEcho},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// The grid's step: the interval of route probes in class, and the unit of silence.
pub const GRID: Duration = Duration::from_millis(100);

/// All probe sessions of one process. `K` says what a session measures.
#[derive(Debug)]
pub struct Prober<K> {
    schedule: Schedule<K>,
    sessions: BTreeMap<K, ProbeSession>,
    by_id: BTreeMap<SessionId, K>,
    /// Sessions that send no more, but whose books are still open.
    retired: Vec<(K, ProbeSession)>,
    due: Vec<Due<K>>,
    ready: VecDeque<(K, Mono)>,
    stalls: StallWatch,
    config: SessionConfig,
    /// How often this machine's clock has stepped.
    clock_steps: u32,
    rng: StdRng,
}

/// A window that has closed.
#[derive(Debug, Clone, PartialEq)]
pub struct Closed<K> {
    pub key: K,
    pub session: SessionId,
    /// Counts of all closed windows of the session.
    pub total: Ledger,
    pub window: Window,
}

impl<K: Ord + Copy> Prober<K> {
    /// A prober whose grid has a phase of its own, drawn from `seed`.
    pub fn new(start: Mono, seed: u64, config: SessionConfig) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let phase = GRID.mul_f64(rng.random::<f64>());
        Self {
            schedule: Schedule::new(start, phase, GRID),
            sessions: BTreeMap::new(),
            by_id: BTreeMap::new(),
            retired: Vec::new(),
            due: Vec::new(),
            ready: VecDeque::new(),
            stalls: StallWatch::default(),
            config,
            clock_steps: 0,
            rng,
        }
    }

    /// Probes `key` at the slots of `pattern` from now on, in a session of its own.
    pub fn set(&mut self, key: K, pattern: Pattern, now: Mono) {
        if !self.sessions.contains_key(&key) {
            let id = SessionId(self.rng.random());
            self.by_id.insert(id, key);
            let mut session = ProbeSession::new(id, self.rng.random(), self.config);
            session.clock_stepped(self.clock_steps);
            self.sessions.insert(key, session);
        }
        if self.schedule.pattern(key) != Some(pattern) {
            self.schedule.set(key, pattern, now);
        }
    }

    /// Stops probing `key`. Its windows still come, each in its time.
    pub fn remove(&mut self, key: K) {
        self.schedule.remove(key);
        self.ready.retain(|(k, _)| *k != key);
        if let Some(mut session) = self.sessions.remove(&key) {
            // Its last echoes are still on their way.
            session.retire();
            self.retired.push((key, session));
        }
    }

    /// How `key` is probed now.
    pub fn pattern(&self, key: K) -> Option<Pattern> {
        self.schedule.pattern(key)
    }

    /// How often `key` is probed now: a burst counts as once. Zero if it is not.
    pub fn every(&self, key: K) -> Duration {
        self.pattern(key)
            .map_or(Duration::ZERO, |pattern| GRID * pattern.period().get())
    }

    pub fn session(&self, key: K) -> Option<&ProbeSession> {
        self.sessions.get(&key)
    }

    /// What a session's id measures.
    pub fn key(&self, id: SessionId) -> Option<K> {
        self.by_id.get(&id).copied()
    }

    /// When [`Self::next_due`] or [`Self::poll_window`] next has something.
    pub fn next_wakeup(&self) -> Option<Mono> {
        let closes = self.all().filter_map(ProbeSession::next_close);
        self.schedule.next_wakeup().into_iter().chain(closes).min()
    }

    /// The next slot that is due. Book it with [`Self::send`] or [`Self::not_sent`].
    pub fn next_due(&mut self, now: Mono) -> Option<(K, Mono)> {
        if self.ready.is_empty() {
            self.stalls.look(self.schedule.next_wakeup(), now);
            let mut due = std::mem::take(&mut self.due);
            self.schedule.poll(now, &mut due);
            for due in due.drain(..) {
                match due {
                    Due::Send { key, at } => self.ready.push_back((key, at)),
                    Due::Slipped(run) => {
                        if let Some(session) = self.sessions.get_mut(&run.key) {
                            session.slipped(&run);
                        }
                    }
                }
            }
            self.due = due;
        }
        self.ready.pop_front()
    }

    /// Books a slot as sent now; answers the probe to send.
    pub fn send(&mut self, key: K, at: Mono, now: Mono) -> Option<LinkProbe> {
        self.sessions.get_mut(&key)?.slot(at, SlotOutcome::Sent { now })
    }

    /// Books a slot that could not be sent.
    pub fn not_sent(&mut self, key: K, at: Mono, outcome: SlotOutcome) {
        if let Some(session) = self.sessions.get_mut(&key) {
            session.slot(at, outcome);
        }
    }

    /// The transport dropped a probe that was booked as sent.
    pub fn local_drop(&mut self, key: K, seq: u32) {
        if let Some(session) = self.sessions.get_mut(&key) {
            session.on_local_drop(seq);
        }
    }

    /// A probe that was booked as sent left this machine at `at`.
    pub fn on_sent(&mut self, key: K, seq: u32, at: Mono) {
        if let Some(session) = self.sessions.get_mut(&key) {
            session.on_sent(seq, at);
        }
    }

    /// This machine's clock has stepped against others: it slept.
    pub fn clock_stepped(&mut self) {
        self.clock_steps = self.clock_steps.wrapping_add(1);
        let retired = self.retired.iter_mut().map(|(_, session)| session);
        for session in self.sessions.values_mut().chain(retired) {
            session.clock_stepped(self.clock_steps);
        }
    }

    /// Takes the echo of a link probe. `None` if no session has sent it.
    pub fn link_echo(&mut self, arrival: impl Into<Arrival>, echo: &LinkEcho) -> Option<(K, EchoOutcome)> {
        let key = self.key(echo.session)?;
        let arrival = self.judge(arrival.into());
        Some((key, self.with_id(key, echo.session)?.on_link_echo(arrival, echo)))
    }

    /// Takes the echo of a route probe. `None` if no session has sent it.
    pub fn route_echo(&mut self, arrival: impl Into<Arrival>, echo: &RouteEcho) -> Option<(K, EchoOutcome)> {
        let key = self.key(echo.session())?;
        let arrival = self.judge(arrival.into());
        Some((
            key,
            self.with_id(key, echo.session())?.on_route_echo(arrival, echo),
        ))
    }

    fn judge(&self, arrival: Arrival) -> Arrival {
        let ready = self.ready.front().map(|&(_, at)| at);
        self.stalls
            .judge(arrival, ready.or_else(|| self.schedule.next_wakeup()))
    }

    /// The next window that has closed.
    pub fn poll_window(&mut self, now: Mono) -> Option<Closed<K>> {
        for (&key, session) in &mut self.sessions {
            if let Some(window) = session.poll_window(now) {
                return Some(Closed {
                    key,
                    session: session.id(),
                    total: session.totals(),
                    window,
                });
            }
        }
        for (key, session) in &mut self.retired {
            if let Some(window) = session.poll_window(now) {
                return Some(Closed {
                    key: *key,
                    session: session.id(),
                    total: session.totals(),
                    window,
                });
            }
        }
        let by_id = &mut self.by_id;
        self.retired.retain(|(_, session)| {
            let open = session.next_close().is_some();
            if !open {
                by_id.remove(&session.id());
            }
            open
        });
        None
    }

    fn with_id(&mut self, key: K, id: SessionId) -> Option<&mut ProbeSession> {
        let current = self.sessions.get_mut(&key).filter(|s| s.id() == id);
        current.or_else(|| {
            let mut retired = self.retired.iter_mut().map(|(_, session)| session);
            retired.find(|s| s.id() == id)
        })
    }

    fn all(&self) -> impl Iterator<Item = &ProbeSession> {
        self.sessions.values().chain(self.retired.iter().map(|(_, s)| s))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use corridor_probes::{Reflector, ReflectorLimits, Stall};

    use super::*;

    #[test]
    fn echoes_of_probes_under_way_when_probing_ends_still_count() {
        let mut prober = Prober::new(Mono::ZERO, 1, SessionConfig::default());
        let mut far = Reflector::new(1, ReflectorLimits::default());
        prober.set('a', Pattern::every(NonZeroU32::MIN), Mono::ZERO);
        let at = prober.next_wakeup().unwrap();
        let (key, slot) = prober.next_due(at).unwrap();
        let probe = prober.send(key, slot, at).unwrap();
        prober.remove('a');
        // Probed anew, in another session.
        prober.set('a', Pattern::every(NonZeroU32::MIN), at);
        let back = at + Duration::from_millis(40);
        let body = far.receive((), probe.session, probe.seq, probe.floor, back);
        let echo = LinkEcho {
            session: probe.session,
            seq: probe.seq,
            body: body.echo().unwrap(),
        };
        let arrival = Arrival {
            at: back,
            stall: Stall::None,
        };
        let (key, outcome) = prober.link_echo(arrival, &echo).unwrap();
        assert!(
            matches!((key, outcome), ('a', EchoOutcome::Sample(_))),
            "{outcome:?}"
        );
        let later = at + Duration::from_secs(5);
        let closed = prober.poll_window(later).unwrap();
        assert_eq!(
            (closed.session, closed.window.ledger.received),
            (probe.session, 1)
        );
        assert_eq!(prober.poll_window(later), None);
        assert_eq!(prober.key(probe.session), None, "its books are closed");
    }
}
