//! Which probes go out and when, and what their echoes say; answers to the probes of others.

use std::num::NonZeroU32;

use corridor_probes::Pattern;

use super::*;
use crate::media::liveness;

/// See [`Core::step_every`].
const STEPS_BETWEEN_PROBES: u32 = 10;
const SLOWEST_STEP: Duration = Duration::from_secs(5);
/// Silence means something within seconds only where probes are not rarer: five of them go unanswered, or
/// two where the budget is tight.
const OFTEN: Duration = Duration::from_secs(2);

impl Core {
    /// The next probe that is due. It is stamped with `now`, so it must be read anew for each.
    pub fn next_probe(&mut self, now: Mono) -> Option<Probe> {
        while let Some((key, at)) = self.prober.next_due(now) {
            let Some((edge, far)) = self.way(key) else {
                continue;
            };
            if !self.edges.is_connected(edge) {
                self.prober.not_sent(key, at, SlotOutcome::Unconnected);
                continue;
            }
            let Some(probe) = self.prober.send(key, at, now) else {
                continue;
            };
            if let Key::Route(leg, route) = key {
                self.legs.sent(leg, route, probe.seq, now);
            }
            let mut datagram = Vec::with_capacity(256);
            match key {
                Key::Link(_) => probe.write(&mut datagram, self.settings.link_probe_size),
                Key::Route(_, route) => RouteProbe::new(route, self.me, far, probe)
                    .write(&mut datagram, self.settings.route_probe_size),
            }
            return Some(Probe {
                edge,
                key,
                seq: probe.seq,
                datagram,
            });
        }
        None
    }

    /// The transport did not take a probe.
    pub fn probe_dropped(&mut self, probe: &Probe) {
        self.prober.local_drop(probe.key, probe.seq);
    }

    /// The probe left this machine at `at`.
    pub fn probe_sent(&mut self, probe: &Probe, at: Mono) {
        self.prober.on_sent(probe.key, probe.seq, at);
    }

    /// A datagram from an edge.
    pub fn datagram(
        &mut self,
        edge: EdgeId,
        datagram: &[u8],
        arrival: Arrival,
        sent_now: impl FnOnce() -> Mono,
    ) {
        self.edges.heard(edge, arrival.at);
        match Kind::of(datagram) {
            Ok(Kind::LinkEcho) => match LinkEcho::parse(datagram) {
                Ok(echo) if self.prober.key(echo.session) == Some(Key::Link(edge)) => {
                    if let Some((_, EchoOutcome::Sample(sample))) = self.prober.link_echo(arrival, &echo) {
                        let rtt = Duration::from_micros(sample.rtt_us.into());
                        self.watch_round_trip(edge, rtt, arrival.at);
                    }
                }
                Ok(_) => self.counters.refused += 1,
                Err(_) => self.counters.malformed += 1,
            },
            Ok(Kind::RouteEcho) => self.route_echo(edge, datagram, arrival),
            Ok(Kind::RouteProbe) => self.route_probe(edge, datagram, arrival, sent_now),
            Ok(Kind::LinkProbe) => self.counters.refused += 1,
            Err(_) => self.counters.malformed += 1,
        }
    }

    pub(super) fn route_echo(&mut self, edge: EdgeId, datagram: &[u8], arrival: Arrival) {
        let Ok(echo) = RouteEcho::parse(datagram) else {
            self.counters.malformed += 1;
            return;
        };
        let mine = echo.header.step_at_agent(self.me) == Ok(AgentStep::Home);
        match self.prober.key(echo.session()) {
            Some(Key::Route(leg, route)) if mine && route.entry() == Some(edge) => {
                match self.prober.route_echo(arrival, &echo) {
                    Some((_, EchoOutcome::Sample(sample))) => {
                        let rtt = Duration::from_micros(sample.rtt_us.into());
                        self.legs.sample(leg, route, echo.header.seq, arrival.at, rtt);
                    }
                    // It came: no loss is to be made of it.
                    Some((_, EchoOutcome::Excluded)) => self.legs.echoed(leg, route, echo.header.seq),
                    _ => {}
                }
            }
            _ => self.counters.refused += 1,
        }
    }

    /// Another agent's probe, whose far end we are.
    pub(super) fn route_probe(
        &mut self,
        edge: EdgeId,
        datagram: &[u8],
        arrival: Arrival,
        now: impl FnOnce() -> Mono,
    ) {
        let Ok(probe) = RouteProbe::parse(datagram) else {
            self.counters.malformed += 1;
            return;
        };
        if probe.header.step_at_agent(self.me) != Ok(AgentStep::Answer)
            || probe.header.route.exit() != Some(edge)
        {
            self.counters.refused += 1;
            return;
        }
        let origin = probe.header.origin;
        let reception =
            self.reflector
                .receive(origin, probe.session(), probe.header.seq, probe.floor, arrival.at);
        if let Reception::Echo(body) = reception {
            let mut answer = Vec::with_capacity(datagram.len());
            probe
                .answer(body.sent_after(arrival, now()))
                .write(&mut answer, datagram.len());
            self.counters.answered += 1;
            self.out.push_back(Output::Answer {
                edge,
                asked: datagram.len(),
                datagram: answer,
            });
        }
    }

    /// Probes nothing more often than once in `pace`.
    pub fn set_pace(&mut self, pace: Duration, now: Mono) {
        self.pace = pace;
        self.next_step = now;
        self.retune(now);
    }

    /// How often the live choice looks: at every step of the grid, and a few times between two probes of
    /// a route where these are rarer than once a second.
    pub(super) fn step_every(&self) -> Duration {
        (self.pace / STEPS_BETWEEN_PROBES).clamp(GRID, SLOWEST_STEP)
    }

    /// Steps as close as signs of life while it may turn out at any moment that a dead edge is on other routes too.
    pub(super) fn look_sooner(&mut self, now: Mono) {
        if self.edges.name_silent_hops(now) {
            self.next_step = self.next_step.min(now + liveness::STEP);
        }
    }

    pub(super) fn nearest(&self) -> Option<EdgeId> {
        let rtt = |id| self.prober.session(Key::Link(id)).and_then(|s| s.usual_rtt());
        self.reports.uplink.or_else(|| {
            self.edges
                .iter()
                .map(|(id, _)| id)
                .min_by_key(|&id| (rtt(id).is_none(), rtt(id), id))
        })
    }

    /// Whether silence of this edge means something: it, or a route by it, is probed all the time.
    pub fn is_probed_often(&self, edge: EdgeId) -> bool {
        let steady = |p: Pattern| p.slots() == NonZeroU32::MIN && GRID * p.spacing() <= OFTEN;
        let often = |key| self.prober.pattern(key).is_some_and(steady);
        let mut by_it = self
            .legs
            .routes()
            .filter(|(_, route)| route.entry() == Some(edge));
        often(Key::Link(edge)) || by_it.any(|(leg, route)| often(Key::Route(leg, route)))
    }

    /// The edge that a probe of `key` enters by, and the far agent of a route.
    pub(super) fn way(&self, key: Key) -> Option<(EdgeId, Option<AgentId>)> {
        match key {
            Key::Link(edge) => Some((edge, None)),
            Key::Route(leg, route) => Some((route.entry()?, self.legs.far_agent(leg))),
        }
    }
}
