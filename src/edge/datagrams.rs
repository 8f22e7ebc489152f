//! What an edge does with a datagram: answer it, pass it on, book it, or refuse it.

use corridor_probes::{
    AgentId, Arrival, EchoOutcome, EdgeId, Mono, Reception, Reflector, ReflectorLimits,
    wire::{self, Kind, LinkEcho, LinkProbe, NextStep, RouteHeader, RouteProbe, StepError, WireError},
};

use super::next_hop::NextHops;
use crate::prober::Prober;

/// Who sent a datagram, as its connection says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sender {
    Agent(AgentId),
    Edge(EdgeId),
    /// A connection of open probing, by its number.
    Anyone(u64),
}

/// What the driver shall do with the buffer that held the datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It holds the answer: back to the sender.
    Reply,
    ToEdge(EdgeId),
    ToAgent(AgentId),
    /// Nothing more to do.
    Done,
}

/// Why a datagram was refused. Each has a counter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Malformed(#[from] WireError),
    #[error(transparent)]
    WrongStep(#[from] StepError),
    /// The header names another hand than the one it came from: a forged route or origin.
    #[error("datagram came by {0:?}, which its route does not name")]
    Forged(Sender),
    #[error("open probing reaches the reflector only")]
    NotForAnyone,
    #[error("a repeat, or too old")]
    Repeat,
    #[error("an echo that nobody here waits for")]
    Unasked,
}

/// Cumulative counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub datagrams_in: u64,
    pub answered: u64,
    pub forwarded: u64,
    pub malformed: u64,
    pub forged: u64,
    pub repeats: u64,
    pub refused_other: u64,
}

impl Counters {
    pub fn refused(&self) -> u64 {
        self.malformed + self.forged + self.refused_other
    }
}

/// The edge's datagram path, without I/O.
#[derive(Debug)]
pub struct Datagrams {
    /// `None` for an edge without a controller, which is part of no route.
    me: Option<EdgeId>,
    reflector: Reflector<Sender>,
    pub mesh: Prober<EdgeId>,
    pub next_hops: NextHops,
    pub counters: Counters,
}

impl Datagrams {
    pub fn new(me: Option<EdgeId>, epoch: u32, mesh: Prober<EdgeId>) -> Self {
        Self {
            me,
            reflector: Reflector::new(epoch, ReflectorLimits::default()),
            mesh,
            next_hops: NextHops::default(),
            counters: Counters::default(),
        }
    }

    /// This machine slept, so that its monotonic clock has stepped against others.
    pub fn clock_stepped(&mut self) {
        self.mesh.clock_stepped();
        self.reflector.clock_stepped();
    }

    /// Forgets the probe sessions of a sender that will not come back under this name.
    pub fn forget(&mut self, sender: Sender) {
        self.reflector.forget(sender);
    }

    /// Handles a datagram that `from` sent, which came at `recv`; `now` is read when it is about to go out
    /// again. `datagram` is replaced by what goes out.
    pub fn handle(
        &mut self,
        from: Sender,
        datagram: &mut Vec<u8>,
        recv: impl Into<Arrival>,
        now: impl FnOnce() -> Mono,
    ) -> Result<Verdict, Refusal> {
        self.counters.datagrams_in += 1;
        let verdict = self.dispatch(from, datagram, recv.into(), now);
        match &verdict {
            Ok(Verdict::Reply) => self.counters.answered += 1,
            Ok(Verdict::ToEdge(_) | Verdict::ToAgent(_)) => self.counters.forwarded += 1,
            Ok(Verdict::Done) => {}
            Err(Refusal::Malformed(_)) => self.counters.malformed += 1,
            Err(Refusal::Forged(_) | Refusal::WrongStep(_)) => self.counters.forged += 1,
            Err(Refusal::Repeat) => self.counters.repeats += 1,
            Err(Refusal::NotForAnyone | Refusal::Unasked) => self.counters.refused_other += 1,
        }
        verdict
    }

    fn dispatch(
        &mut self,
        from: Sender,
        datagram: &mut Vec<u8>,
        recv: Arrival,
        now: impl FnOnce() -> Mono,
    ) -> Result<Verdict, Refusal> {
        match (Kind::of(datagram)?, from) {
            (Kind::LinkProbe, _) => self.link_probe(from, datagram, recv, now),
            (_, Sender::Anyone(_)) => Err(Refusal::NotForAnyone),
            (Kind::LinkEcho, Sender::Edge(peer)) => self.mesh_echo(peer, datagram, recv),
            (Kind::LinkEcho, Sender::Agent(_)) => Err(Refusal::Unasked),
            (Kind::RouteProbe | Kind::RouteEcho, _) => self.routed(from, datagram, recv, now),
        }
    }

    fn link_probe(
        &mut self,
        from: Sender,
        datagram: &mut Vec<u8>,
        recv: Arrival,
        now: impl FnOnce() -> Mono,
    ) -> Result<Verdict, Refusal> {
        let probe = LinkProbe::parse(datagram)?;
        match self
            .reflector
            .receive(from, probe.session, probe.seq, probe.floor, recv.at)
        {
            Reception::Echo(body) => {
                let size = datagram.len();
                let body = body.sent_after(recv, now());
                LinkEcho {
                    session: probe.session,
                    seq: probe.seq,
                    body,
                }
                .write(datagram, size);
                Ok(Verdict::Reply)
            }
            Reception::Duplicate | Reception::TooOld => Err(Refusal::Repeat),
        }
    }

    fn mesh_echo(&mut self, peer: EdgeId, datagram: &[u8], recv: Arrival) -> Result<Verdict, Refusal> {
        let echo = LinkEcho::parse(datagram)?;
        if self.mesh.key(echo.session) != Some(peer) {
            return Err(Refusal::Unasked);
        }
        if let Some((_, EchoOutcome::Sample(_))) = self.mesh.link_echo(recv, &echo)
            && let Some(rtt) = self.mesh.session(peer).and_then(|s| s.usual_rtt())
        {
            self.next_hops.measured(peer, rtt);
        }
        Ok(Verdict::Done)
    }

    fn routed(
        &mut self,
        from: Sender,
        datagram: &mut Vec<u8>,
        recv: Arrival,
        now: impl FnOnce() -> Mono,
    ) -> Result<Verdict, Refusal> {
        let (header, _) = RouteHeader::parse(datagram)?;
        let me = self.me.ok_or(Refusal::NotForAnyone)?;
        // Whoever hands it over must be the one that its route names before this edge: agents cannot
        // speak for others, nor start a datagram in the middle of a route.
        let handed_by = match from {
            Sender::Agent(id) => NextStep::Agent(id),
            Sender::Edge(id) => NextStep::Edge(id),
            Sender::Anyone(_) => return Err(Refusal::NotForAnyone),
        };
        if header.handed_by() != Some(handed_by) {
            return Err(Refusal::Forged(from));
        }
        match header.step_at_edge(me)? {
            NextStep::Edge(next) => {
                wire::stamp_and_advance(datagram, recv.at, now())?;
                self.next_hops.forwarded(next, header.origin, recv.at);
                Ok(Verdict::ToEdge(next))
            }
            NextStep::Agent(agent) => {
                wire::stamp_and_advance(datagram, recv.at, now())?;
                Ok(Verdict::ToAgent(agent))
            }
            NextStep::Answer => self.answer(from, datagram, recv, now),
        }
    }

    /// This edge is the far end of a route probe.
    fn answer(
        &mut self,
        from: Sender,
        datagram: &mut Vec<u8>,
        recv: Arrival,
        now: impl FnOnce() -> Mono,
    ) -> Result<Verdict, Refusal> {
        let probe = RouteProbe::parse(datagram)?;
        let origin = Sender::Agent(probe.header.origin);
        match self
            .reflector
            .receive(origin, probe.session(), probe.header.seq, probe.floor, recv.at)
        {
            Reception::Echo(body) => {
                let size = datagram.len();
                probe.answer(body.sent_after(recv, now())).write(datagram, size);
                let _ = from;
                Ok(Verdict::Reply)
            }
            Reception::Duplicate | Reception::TooOld => Err(Refusal::Repeat),
        }
    }
}

#[cfg(test)]
mod tests;
