//! What an edge does with a datagram: answer it, pass it on, book it, deliver it, or refuse it.

use std::sync::Arc;

use corridor_probes::{
    AgentId, Arrival, EchoOutcome, EdgeId, Mono, Reception, Reflector, ReflectorLimits,
    wire::{
        self, Direction, Kind, LinkEcho, LinkProbe, NextStep, RouteHeader, RouteProbe, StepError, WireError,
    },
};

use super::next_hop::{NextHops, Notice};
use crate::{
    media::{
        gate::{FlowKey, Gate, Stopped, Warrants, Way},
        liveness::Liveness,
        wire::{self as media, Answer, MediaError, Open, Word},
    },
    prober::Prober,
    route::FarEnd,
};

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
    /// It is media's, and its flow ends at this edge.
    End(media::Kind),
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
    #[error("media: {0}")]
    Media(#[from] MediaError),
    #[error("media: {}", .0.text())]
    NotCarried(Answer),
    #[error("media faster than its grant allows")]
    TooFast,
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
    /// Media that no grant allows, and whose sender was told so.
    pub refusals_told: u64,
    /// The same, of senders that were not.
    pub not_granted: u64,
    /// More media than is granted.
    pub too_fast: u64,
}

impl Counters {
    pub fn refused(&self) -> u64 {
        let media = self.refusals_told + self.not_granted + self.too_fast;
        self.malformed + self.forged + self.refused_other + media
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
    pub gate: Gate,
    /// The next hops that media flows to.
    pub alive: Liveness<EdgeId>,
    /// When anything last came of an agent, or of an edge that media does not flow to.
    witness: Option<Mono>,
    /// Flows that are not known here are refused.
    pub draining: bool,
    /// `None`: nothing is relayed but probes.
    warrants: Option<Arc<dyn Warrants>>,
    pub counters: Counters,
}

impl Datagrams {
    pub fn new(
        me: Option<EdgeId>,
        epoch: u32,
        mesh: Prober<EdgeId>,
        warrants: Option<Arc<dyn Warrants>>,
    ) -> Self {
        Self {
            me,
            reflector: Reflector::new(epoch, ReflectorLimits::default()),
            mesh,
            next_hops: NextHops::default(),
            gate: Gate::default(),
            alive: Liveness::default(),
            witness: None,
            draining: false,
            warrants,
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
            Ok(Verdict::End(_) | Verdict::Done) => {}
            Err(Refusal::Malformed(_) | Refusal::Media(_)) => self.counters.malformed += 1,
            Err(Refusal::Forged(_) | Refusal::WrongStep(_)) => self.counters.forged += 1,
            Err(Refusal::Repeat) => self.counters.repeats += 1,
            Err(Refusal::NotForAnyone | Refusal::Unasked) => self.counters.refused_other += 1,
            Err(Refusal::NotCarried(_)) => self.counters.not_granted += 1,
            Err(Refusal::TooFast) => self.counters.too_fast += 1,
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
        if let Some(word) = Word::of(datagram) {
            return self.word(from, word, datagram, recv.at);
        }
        if let Some(kind) = media::Kind::of(datagram) {
            return self.media(kind, from, datagram, recv.at);
        }
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
        match self.step(from, &header)? {
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

    /// Where a routed datagram goes that `from` hands in.
    fn step(&self, from: Sender, header: &RouteHeader) -> Result<NextStep, Refusal> {
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
        Ok(header.step_at_edge(me)?)
    }

    fn media(
        &mut self,
        kind: media::Kind,
        from: Sender,
        datagram: &mut Vec<u8>,
        now: Mono,
    ) -> Result<Verdict, Refusal> {
        let (header, _) = RouteHeader::parse(datagram)?;
        let step = self.step(from, &header)?;
        match self.let_through(kind, from, &header, step, datagram, now) {
            Ok(()) => {}
            Err(Refusal::NotCarried(why)) if header.direction == Direction::Out => {
                self.gate
                    .may_open(header.origin, now)
                    .map_err(|_| Refusal::TooFast)?;
                let back = header.back_from(header.index, media::Kind::Answer as u8);
                why.write(&back, datagram);
                self.counters.refusals_told += 1;
                return Ok(Verdict::Reply);
            }
            Err(refusal) => return Err(refusal),
        }
        let verdict = match step {
            NextStep::Edge(next) => {
                // Whoever sends by it is to hear of its silence.
                let sender = match (header.direction, header.far) {
                    (Direction::Back, Some(far)) => far,
                    _ => header.origin,
                };
                self.next_hops.carried(next, sender, now);
                Verdict::ToEdge(next)
            }
            NextStep::Agent(agent) => Verdict::ToAgent(agent),
            NextStep::Answer => return Ok(Verdict::End(kind)),
        };
        wire::advance(datagram)?;
        Ok(verdict)
    }

    /// Anything came from `from`. Answers whom to tell that it is back, if it was silent.
    pub fn heard(&mut self, from: Sender, now: Mono) -> Vec<Notice> {
        let Sender::Edge(edge) = from else {
            self.witness = Some(now);
            return Vec::new();
        };
        if self.alive.heard(edge, now).is_none() && !self.alive.asks_of(edge) {
            self.witness = Some(now);
        }
        self.next_hops.heard(edge, now)
    }

    /// Which next hops fell silent, by `witness` or what else was heard last.
    pub fn silences(&mut self, witness: Option<Mono>, now: Mono) -> Vec<Notice> {
        let changes = self.alive.poll(now, self.witness.max(witness));
        let fell = changes.into_iter();
        fell.flat_map(|change| self.next_hops.fell_silent(change.peer, change.after, now))
            .collect()
    }

    /// Asked for a sign of life, or given one.
    fn word(
        &mut self,
        from: Sender,
        word: Word,
        datagram: &mut Vec<u8>,
        now: Mono,
    ) -> Result<Verdict, Refusal> {
        match (word, from) {
            (_, Sender::Anyone(_)) => Err(Refusal::NotForAnyone),
            (Word::Ask(seq), _) => {
                *datagram = Word::Echo(seq).bytes();
                Ok(Verdict::Reply)
            }
            (Word::Echo(seq), Sender::Edge(edge)) => {
                self.alive.echoed(edge, seq, now);
                Ok(Verdict::Done)
            }
            (Word::Echo(_), Sender::Agent(_)) => Err(Refusal::Unasked),
        }
    }

    /// Whether media may pass: an edge asks for a grant where a flow enters the mesh, and where it leaves it.
    fn let_through(
        &mut self,
        kind: media::Kind,
        from: Sender,
        header: &RouteHeader,
        step: NextStep,
        datagram: &[u8],
        now: Mono,
    ) -> Result<(), Refusal> {
        use media::Kind::{Answer as Answers, Media, Open as Opens, Receipt, Switch};

        let leaves = header.direction == Direction::Out && !matches!(step, NextStep::Edge(_));
        let stopped = |stopped| match stopped {
            Stopped::Answer(answer) => Refusal::NotCarried(answer),
            Stopped::TooFast => Refusal::TooFast,
        };
        match (kind, header.direction, from) {
            (Opens, Direction::Out, Sender::Agent(_)) => self.open(datagram, now),
            (Opens, Direction::Out, _) if leaves => self.open(datagram, now),
            (Opens, Direction::Out, _) => Ok(()),
            (Opens, Direction::Back, _) | (Answers | Receipt, Direction::Out, _) => {
                Err(Refusal::Malformed(WireError::UnknownKind(kind as u8)))
            }
            (Answers, Direction::Back, Sender::Agent(far)) => {
                Answer::parse(datagram)?;
                if self.gate.far_end(FlowKey::of(header)) != Some(&FarEnd::Agent(far)) {
                    return Err(Refusal::Unasked);
                }
                self.gate.may_open(far, now).map_err(|_| Refusal::TooFast)
            }
            (Media | Switch, Direction::Out, Sender::Agent(id)) => self
                .gate
                .admit(id, header, Way::Out, datagram.len(), now)
                .map_err(stopped),
            (Media | Switch | Receipt, Direction::Back, Sender::Agent(id)) => self
                .gate
                .admit(id, header, Way::Back, datagram.len(), now)
                .map_err(stopped),
            (Media | Switch, _, _) if leaves => self.gate.knows(header, now).map_err(stopped),
            (Media | Switch | Receipt | Answers, _, _) => Ok(()),
        }
    }

    fn open(&mut self, datagram: &[u8], now: Mono) -> Result<(), Refusal> {
        let open = Open::parse(datagram)?;
        if self.draining && self.gate.far_end(FlowKey::of(&open.header)).is_none() {
            return Err(Refusal::NotCarried(Answer::Draining));
        }
        let warrants = self
            .warrants
            .as_deref()
            .ok_or(Refusal::NotCarried(Answer::BadGrant))?;
        let opened = self.gate.open(&open, now, warrants);
        opened.map(|_| ()).map_err(Refusal::NotCarried)
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
