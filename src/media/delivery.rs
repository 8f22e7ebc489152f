//! Where flows end: a socket for each, towards its target or a program on this machine, and the way back to
//! whoever began it. Edges and agents run the same. One task a flow reads its socket; it ends with the flow.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use corridor_probes::{
    Mono,
    wire::{Direction, NextStep, RouteHeader},
};
use rand::{RngExt as _, rngs::StdRng};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    far::{Came, Down, Far, FarState, UnknownFlow},
    gate::FlowKey,
    liveness::Pace,
    wire::{Answer, Kind, Media},
};
use crate::{
    machine::Machine,
    transport::{BindError, Connection, FlowTag, LocalDrop, PlainSender, PlainSocket, SendOutcome},
};

/// Whoever knows the connections.
pub trait Carrier: fmt::Debug + Send + Sync + 'static {
    /// Hands a datagram over on its way to `next`; `false` if there is no such connection, or it is full.
    fn carry(&self, next: NextStep, datagram: Vec<u8>) -> bool;

    /// Whether so many bytes of a flow may go back now: whoever has granted it says so.
    fn admits(&self, flow: FlowKey, bytes: usize) -> bool;
}

/// Why a flow does not end here.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("no more than {0} flows end here")]
    TooMany(usize),
}

impl OpenError {
    /// As the flow's origin is told.
    pub const fn answer(&self) -> Answer {
        match self {
            Self::Bind(_) => Answer::NoSocket,
            Self::TooMany(_) => Answer::TooMany,
        }
    }
}

/// Hands a datagram of media to a connection, in two halves if it is too big for one packet.
pub fn hand(connection: &Connection, datagram: Vec<u8>) -> SendOutcome {
    let sent = |datagram: Bytes| connection.send_media(datagram, tag);
    let datagram = Bytes::from(datagram);
    if connection.fits(datagram.len()) {
        match sent(datagram.clone()) {
            // The path takes less than it did.
            SendOutcome::LocalDrop(LocalDrop::TooLarge) => {}
            outcome => return outcome,
        }
    }
    match Media::parse(&datagram).and_then(|media| media.split()) {
        Ok([first, second]) => match sent(first.into()) {
            SendOutcome::Queued => sent(second.into()),
            SendOutcome::Displaced(before) => match sent(second.into()) {
                SendOutcome::LocalDrop(why) => SendOutcome::LocalDrop(why),
                second => SendOutcome::Displaced(before + second.dropped()),
            },
            // One half is of no use.
            refused @ SendOutcome::LocalDrop(_) => refused,
        },
        // It is counted as too large by the connection.
        Err(_) => sent(datagram),
    }
}

/// Which flow a datagram is of; signs of life are of none.
pub fn tag(datagram: &[u8]) -> FlowTag {
    let Ok((header, _)) = RouteHeader::parse(datagram) else {
        return FlowTag::OWN;
    };
    let FlowKey { origin, flow } = FlowKey::of(&header);
    let tag = if Kind::of(datagram).is_some() {
        // Drawn at random: agents' seldom meet.
        origin.0.rotate_left(32) ^ flow
    } else {
        // Nobody grants the flows of probes: all of a sender's are one.
        let sender = match (header.direction, header.far) {
            (Direction::Back, Some(far)) => far,
            _ => origin,
        };
        sender.0
    };
    FlowTag(tag.max(1))
}

/// Cumulative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Packets that came to a flow's socket from another address than its target's.
    pub strangers: u64,
    /// Datagrams of flows that do not end here.
    pub unknown: u64,
    /// Packets that are not granted, or not so many of them.
    pub not_admitted: u64,
}

impl DeliveryCounts {
    pub const fn refused(&self) -> u64 {
        self.strangers + self.unknown + self.not_admitted
    }
}

#[derive(Debug)]
struct Outlet {
    sender: PlainSender,
    to: SocketAddr,
    _stop: DropGuard,
}

#[derive(Debug)]
struct State {
    far: Far,
    /// Draws incarnations.
    rng: StdRng,
    outlets: BTreeMap<FlowKey, Outlet>,
    heard: Option<Mono>,
    counts: DeliveryCounts,
}

impl State {
    /// Closes the sockets of flows that do not end here any more.
    fn close(&mut self) {
        let far = &self.far;
        self.outlets.retain(|&key, _| far.knows(key));
    }
}

/// All flows that end at this process.
#[derive(Debug)]
pub struct Delivery {
    machine: Machine,
    /// Flows at once.
    most: usize,
    state: Mutex<State>,
    stop: CancellationToken,
}

impl Delivery {
    /// At most `most` flows; their tasks end with `stop`.
    pub fn new(machine: Machine, most: usize, stop: CancellationToken) -> Self {
        Self {
            state: Mutex::new(State {
                far: Far::default(),
                rng: machine.rng("incarnations"),
                outlets: BTreeMap::new(),
                heard: None,
                counts: DeliveryCounts::default(),
            }),
            machine,
            most,
            stop,
        }
    }

    /// The flow that `header` belongs to is opened again; `false` if it does not end here yet.
    pub fn keep(&self, header: &RouteHeader) -> bool {
        let now = self.machine.clock.mono();
        self.state().far.keep(header, now)
    }

    /// The flow that `header`, on its way out, belongs to ends here from now on, at `to`.
    pub fn open(
        self: &Arc<Self>,
        header: &RouteHeader,
        to: SocketAddr,
        carrier: Arc<dyn Carrier>,
    ) -> Result<(), OpenError> {
        if self.state().far.len() >= self.most {
            return Err(OpenError::TooMany(self.most));
        }
        let key = FlowKey::of(header);
        let any: SocketAddr = match to {
            SocketAddr::V4(to) if to.ip().is_loopback() => (Ipv4Addr::LOCALHOST, 0).into(),
            SocketAddr::V6(to) if to.ip().is_loopback() => (Ipv6Addr::LOCALHOST, 0).into(),
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = PlainSocket::bind(&*self.machine.network, any)?;
        let stop = self.stop.child_token();
        let outlet = Outlet {
            sender: socket.sender(),
            to,
            _stop: stop.clone().drop_guard(),
        };
        let mut state = self.state();
        let incarnation = state.rng.random();
        state.far.open(header, incarnation, self.machine.clock.mono());
        state.outlets.insert(key, outlet);
        drop(state);
        tokio::spawn(self.clone().read(key, to, socket, carrier, stop));
        Ok(())
    }

    /// Delivers what a datagram on its way out brings; a receipt may be due, and to whom it goes.
    pub fn media(&self, media: &Media<'_>, now: Mono) -> Result<Option<(NextStep, Vec<u8>)>, UnknownFlow> {
        let mut state = self.state();
        let State {
            far, outlets, counts, ..
        } = &mut *state;
        let Came { packet, receipt } = far
            .media(media, now)
            .inspect_err(|UnknownFlow| counts.unknown += 1)?;
        let key = FlowKey::of(&media.header);
        let taken = match (packet, outlets.get(&key)) {
            (Some(packet), Some(outlet)) => outlet.sender.send(outlet.to, &packet, media.dscp.of_media()),
            (None, _) => true,
            (Some(_), None) => false,
        };
        if !taken {
            far.dropped(key);
        }
        Ok(receipt)
    }

    /// Steps that carry nothing.
    pub fn set_down(&self, down: BTreeSet<Down>) {
        self.state().far.set_down(down);
    }

    /// When a packet of a target or a local program last came.
    pub fn heard(&self) -> Option<Mono> {
        self.state().heard
    }

    /// To whom flows that were used since `since` go back, and to whom they could.
    pub fn ways(&self, since: Mono) -> Vec<(NextStep, Pace)> {
        self.state().far.ways(since).collect()
    }

    /// The origin has moved to another route.
    pub fn switch(&self, header: &RouteHeader, now: Mono) -> Result<(), UnknownFlow> {
        let mut state = self.state();
        let State { far, counts, .. } = &mut *state;
        far.switch(header, now)
            .inspect_err(|UnknownFlow| counts.unknown += 1)
    }

    /// Ends what its origin wants no more.
    pub fn expire(&self, now: Mono) {
        let mut state = self.state();
        state.far.expire(now);
        state.close();
    }

    /// Ends all flows but these.
    pub fn retain(&self, keep: impl Fn(FlowKey) -> bool) {
        let mut state = self.state();
        state.far.retain(keep);
        state.close();
    }

    pub fn is_empty(&self) -> bool {
        self.state().far.is_empty()
    }

    pub fn states(&self) -> Vec<FarState> {
        self.state().far.states().collect()
    }

    pub fn counts(&self) -> DeliveryCounts {
        self.state().counts
    }

    async fn read(
        self: Arc<Self>,
        key: FlowKey,
        to: SocketAddr,
        mut socket: PlainSocket,
        carrier: Arc<dyn Carrier>,
        stop: CancellationToken,
    ) {
        let clock = self.machine.clock.clone();
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                batch = socket.next(&*clock) => batch,
            };
            let now = clock.mono();
            for packet in socket.packets(batch) {
                if batch.from != to {
                    self.state().counts.strangers += 1;
                    continue;
                }
                let answers = {
                    let mut state = self.state();
                    state.heard = Some(now);
                    state.far.answer(key, batch.dscp.of_media(), packet, now)
                };
                for (next, datagram) in answers {
                    if !carrier.admits(key, datagram.len()) {
                        self.state().counts.not_admitted += 1;
                        continue;
                    }
                    if !carrier.carry(next, datagram) {
                        self.state().far.dropped(key);
                    }
                }
                // The connection sends before the next is queued: its buffer is small.
                tokio::task::yield_now().await;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
