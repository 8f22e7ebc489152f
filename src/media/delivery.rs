//! Where flows end: a socket for each, towards its target or a program on this machine, and the way back to
//! whoever began it. Edges and agents run the same. One task a flow reads its socket; it ends with the flow.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use corridor_probes::{
    Mono,
    wire::{NextStep, RouteHeader},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    far::{Down, Far, FarState, UnknownFlow},
    gate::FlowKey,
    liveness::Pace,
    wire::Media,
};
use crate::{
    clock::{self, Clock},
    machine::Machine,
    transport::{BindError, Connection, PlainSender, PlainSocket, SendOutcome},
};

/// After an error of a socket, so that one that stays does not take the processor.
const AFTER_ERROR: std::time::Duration = std::time::Duration::from_millis(10);

/// Whoever knows the connections.
pub trait Carrier: fmt::Debug + Send + Sync + 'static {
    /// Hands a datagram over on its way to `next`; `false` if there is no such connection, or it is full.
    fn carry(&self, next: NextStep, datagram: Vec<u8>) -> bool;
}

/// Hands a datagram of media to a connection, in two halves if it is too big for one packet.
pub fn hand(connection: &Connection, datagram: Vec<u8>) -> bool {
    let sent = |datagram: Vec<u8>| connection.send_datagram(datagram.into()) == SendOutcome::Queued;
    let fits = connection
        .max_datagram_size()
        .is_none_or(|most| datagram.len() <= most);
    if fits {
        return sent(datagram);
    }
    match Media::parse(&datagram).and_then(|media| media.split()) {
        Ok([first, second]) => sent(first) && sent(second),
        // It is counted as too large by the connection.
        Err(_) => sent(datagram),
    }
}

/// Cumulative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Packets that came to a flow's socket from another address than its target's.
    pub strangers: u64,
    /// Datagrams of flows that do not end here.
    pub unknown: u64,
}

#[derive(Debug)]
struct Outlet {
    sender: PlainSender,
    to: SocketAddr,
    _stop: DropGuard,
}

#[derive(Debug, Default)]
struct State {
    far: Far,
    outlets: BTreeMap<FlowKey, Outlet>,
    heard: Option<Mono>,
    counts: DeliveryCounts,
}

/// All flows that end at this process.
#[derive(Debug)]
pub struct Delivery {
    machine: Machine,
    state: Mutex<State>,
}

impl Delivery {
    pub fn new(machine: Machine) -> Self {
        Self {
            machine,
            state: Mutex::default(),
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
    ) -> Result<(), BindError> {
        let key = FlowKey::of(header);
        let any: SocketAddr = match to {
            SocketAddr::V4(to) if to.ip().is_loopback() => (Ipv4Addr::LOCALHOST, 0).into(),
            SocketAddr::V6(to) if to.ip().is_loopback() => (Ipv6Addr::LOCALHOST, 0).into(),
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = PlainSocket::bind(&*self.machine.network, any)?;
        let stop = CancellationToken::new();
        let outlet = Outlet {
            sender: socket.sender(),
            to,
            _stop: stop.clone().drop_guard(),
        };
        let mut state = self.state();
        state.far.open(header, self.machine.clock.mono());
        state.outlets.insert(key, outlet);
        drop(state);
        tokio::spawn(self.clone().read(key, to, socket, carrier, stop));
        Ok(())
    }

    /// Delivers what a datagram on its way out brings.
    pub fn media(&self, media: &Media<'_>, now: Mono) -> Result<(), UnknownFlow> {
        let mut state = self.state();
        let State {
            far, outlets, counts, ..
        } = &mut *state;
        let packet = far
            .media(media, now)
            .inspect_err(|UnknownFlow| counts.unknown += 1)?;
        let key = FlowKey::of(&media.header);
        let taken = match (packet, outlets.get(&key)) {
            (Some(packet), Some(outlet)) => outlet.sender.send(outlet.to, &packet),
            (None, _) => true,
            (Some(_), None) => false,
        };
        if !taken {
            far.dropped(key);
        }
        Ok(())
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

    /// Ends what nobody uses.
    pub fn expire(&self, now: Mono) {
        let mut state = self.state();
        for key in state.far.expire(now) {
            state.outlets.remove(&key);
        }
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
        let clock: Arc<dyn Clock> = self.machine.clock.clone();
        loop {
            let received = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                received = socket.receive() => received,
            };
            let batch = match received {
                Ok(batch) => batch,
                Err(error) => {
                    tracing::debug!(%error, "a flow's socket fails");
                    clock::sleep(&*clock, AFTER_ERROR).await;
                    continue;
                }
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
                    state.far.answer(key, packet, now)
                };
                for (next, datagram) in answers {
                    if !carrier.carry(next, datagram) {
                        self.state().far.dropped(key);
                    }
                }
            }
            // The connection sends before the next are queued: its buffer is small.
            tokio::task::yield_now().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
