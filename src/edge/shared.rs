//! What the edge's tasks share: who is connected, the datagram path, and the way to the controller.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use corridor_probes::{
    AgentId, Arrival, EdgeId, Mono,
    wire::{NextStep, RouteHeader},
};
use tokio::sync::{Notify, mpsc};

use super::{
    datagrams::{Datagrams, Sender, Verdict},
    exits::{self, Exits},
    next_hop::Notice,
    trunk::Trunk,
};
use crate::{
    clock::Clock,
    identity::{Peer, Revoked},
    media::{
        delivery::{Carrier, hand, tag},
        gate::FlowKey,
        grant::GrantId,
        liveness::FLOWS,
        wire as media,
    },
    proto::{self, edge_to_agent, edge_to_controller},
    transport::{CloseCode, Connection, SendOutcome},
};

/// Control messages to one agent that wait for its stream. An agent that reads nothing while this many
/// come is cut off.
pub const AGENT_QUEUE: usize = 256;
/// Messages to the controller that wait for its stream: half a minute of reports of a full edge.
pub const CONTROLLER_QUEUE: usize = 8_192;

/// One agent's connection.
#[derive(Debug)]
pub struct Agent {
    pub connection: Connection,
    pub control: mpsc::Sender<proto::EdgeToAgent>,
    /// It reports through this edge.
    pub uses_uplink: bool,
    /// The controller was told that it is silent.
    pub told_silent: bool,
}

/// Who is connected.
#[derive(Debug, Default)]
pub struct Table {
    pub agents: BTreeMap<AgentId, Agent>,
    pub edges: BTreeMap<EdgeId, Trunk>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Shared {
    pub clock: Arc<dyn Clock>,
    datagrams: Mutex<Datagrams>,
    table: RwLock<Table>,
    pub revoked: Arc<RwLock<Revoked>>,
    /// `None` while the controller is out of reach.
    controller: RwLock<Option<mpsc::Sender<proto::EdgeToController>>>,
    pub draining: AtomicBool,
    pub local_drops: AtomicU64,
    /// Messages for the controller that were dropped because it was out of reach or slow.
    pub uplink_dropped: AtomicU64,
    /// Datagrams that came, and that nobody had time to read.
    pub unread: AtomicU64,
    pub out: AtomicU64,
    /// Where flows leave the mesh.
    pub exits: Exits,
    /// Nothing is being forwarded, so that the grid's steps are not taken, until something is.
    pub resting: AtomicBool,
    pub grid: Notify,
    /// Media flows, after none did.
    pub flows: Notify,
    /// None flows, and nobody is asked for signs of life.
    pub at_rest: AtomicBool,
}

impl Shared {
    pub fn new(
        clock: Arc<dyn Clock>,
        datagrams: Datagrams,
        exits: Exits,
        revoked: Arc<RwLock<Revoked>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            clock,
            datagrams: Mutex::new(datagrams),
            table: RwLock::default(),
            revoked,
            controller: RwLock::default(),
            draining: AtomicBool::new(false),
            local_drops: AtomicU64::new(0),
            uplink_dropped: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            out: AtomicU64::new(0),
            exits,
            resting: AtomicBool::new(false),
            grid: Notify::new(),
            flows: Notify::new(),
            at_rest: AtomicBool::new(true),
        })
    }

    pub fn now(&self) -> Mono {
        self.clock.mono()
    }

    pub fn datagrams(&self) -> MutexGuard<'_, Datagrams> {
        self.datagrams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn table_mut(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles one datagram from `from`, which came on `connection`. Whether it was answered there by one that is to
    /// go in a packet of its own.
    pub fn datagram(
        self: &Arc<Self>,
        from: Sender,
        connection: &Connection,
        datagram: &Bytes,
        recv: Arrival,
    ) -> bool {
        let mut buffer = datagram.to_vec();
        let (notices, verdict) = {
            let mut datagrams = self.datagrams();
            let notices = datagrams.heard(from, recv.at);
            let verdict = datagrams.handle(from, &mut buffer, recv, || self.clock.mono());
            (notices, verdict)
        };
        self.tell(notices);
        match verdict {
            Ok(Verdict::Reply) => {
                // Signs of life may share a packet.
                let alone = media::Word::of(&buffer).is_none();
                return self.send(connection, buffer) && alone;
            }
            Ok(Verdict::ToEdge(id)) => {
                if media::Kind::of(&buffer).is_some() {
                    self.flows_now();
                }
                self.carry(NextStep::Edge(id), buffer);
                // From now on its silence counts.
                if self.resting.swap(false, Ordering::Relaxed) {
                    self.grid.notify_one();
                }
            }
            Ok(Verdict::ToAgent(id)) => {
                if self.table().agents.contains_key(&id) {
                    self.carry(NextStep::Agent(id), buffer);
                } else {
                    self.count_drop();
                    self.far_away(buffer);
                }
            }
            Ok(Verdict::End(kind)) => exits::arrived(self, kind, &buffer),
            Ok(Verdict::Done) => {}
            Err(refusal) => tracing::trace!(?from, %refusal, "datagram refused"),
        }
        false
    }

    /// Media goes to a hop, or ends here.
    pub fn flows_now(&self) {
        if self.at_rest.swap(false, Ordering::Relaxed) {
            self.flows.notify_one();
        }
    }

    /// Says to whoever opens a flow that its far end is not connected here.
    fn far_away(&self, mut datagram: Vec<u8>) {
        if media::Kind::of(&datagram) != Some(media::Kind::Open) {
            return;
        }
        let Ok((header, _)) = RouteHeader::parse(&datagram) else {
            return;
        };
        let back = header.back_from(header.index.saturating_sub(1), media::Kind::Answer as u8);
        media::Answer::FarAway.write(&back, &mut datagram);
        if let Some(next) = back.next() {
            self.carry(next, datagram);
        }
    }

    /// Hands a datagram to a connection; what it does not take is counted.
    pub fn send(&self, connection: &Connection, datagram: Vec<u8>) -> bool {
        self.count(connection.send_datagram(datagram.into()))
    }

    /// Datagrams that were dropped in this machine, coming or going.
    pub fn dropped(&self) -> u64 {
        self.local_drops.load(Ordering::Relaxed) + self.unread.load(Ordering::Relaxed)
    }

    fn count_drop(&self) {
        self.local_drops.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it is on its way.
    fn count(&self, outcome: SendOutcome) -> bool {
        let dropped = outcome.dropped();
        if dropped > 0 {
            self.local_drops.fetch_add(dropped.into(), Ordering::Relaxed);
        }
        if outcome.is_taken() {
            self.out.fetch_add(1, Ordering::Relaxed);
        }
        outcome.is_taken()
    }

    /// Queues a control message for an agent; one that does not read is cut off.
    pub fn to_agent(&self, id: AgentId, body: edge_to_agent::Body) {
        let table = self.table();
        let Some(agent) = table.agents.get(&id) else {
            return;
        };
        if agent
            .control
            .try_send(proto::EdgeToAgent { body: Some(body) })
            .is_err()
        {
            agent
                .connection
                .close(CloseCode::Refused, "control messages are not read");
        }
    }

    pub fn to_all_agents(&self, body: &edge_to_agent::Body) {
        let ids: Vec<_> = self.table().agents.keys().copied().collect();
        for id in ids {
            self.to_agent(id, body.clone());
        }
    }

    pub fn tell(&self, notices: Vec<Notice>) {
        for notice in notices {
            let message = proto::NextHopSilent {
                next: u32::from(notice.next.get()),
                silent: notice.silent,
                silent_ms: u32::try_from(notice.silent_for.as_millis()).unwrap_or(u32::MAX),
            };
            self.to_agent(notice.agent, edge_to_agent::Body::NextHopSilent(message));
        }
    }

    /// Queues a message for the controller. What cannot be queued is dropped and counted: agents send
    /// their reports again until they are acknowledged.
    pub fn to_controller(&self, body: edge_to_controller::Body) -> bool {
        let controller = self.controller.read().unwrap_or_else(PoisonError::into_inner);
        let taken = controller
            .as_ref()
            .is_some_and(|c| c.try_send(proto::EdgeToController { body: Some(body) }).is_ok());
        if !taken {
            self.uplink_dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    pub fn has_controller(&self) -> bool {
        self.controller
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// The controller came within reach, or went out of it; agents are told.
    pub fn set_controller(&self, queue: Option<mpsc::Sender<proto::EdgeToController>>) {
        let connected = queue.is_some();
        *self.controller.write().unwrap_or_else(PoisonError::into_inner) = queue;
        let state = proto::UplinkState {
            controller_connected: connected,
        };
        self.to_all_agents(&edge_to_agent::Body::Uplink(state));
    }

    /// Takes the controller's list, ends flows by grants on it and closes the connections of those on it. In
    /// this order: who is not yet in the table then is judged by the new list once it is
    /// ([`Self::close_if_revoked`]), and so is a flow that is opened meanwhile.
    pub fn set_revoked(&self, new: Revoked) {
        *self.revoked.write().unwrap_or_else(PoisonError::into_inner) = new;
        self.datagrams().gate.revoke(|grant| self.grant_revoked(grant));
        self.end_flows();
        let mut closed = 0;
        {
            let table = self.table();
            let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
            let agents = table.agents.iter().filter(|(id, _)| revoked.agents.contains(id));
            let edges = table.edges.iter().filter(|(id, _)| revoked.edges.contains(id));
            let edges = edges.flat_map(|(_, trunk)| trunk.all());
            for connection in agents.map(|(_, a)| &a.connection).chain(edges) {
                connection.close(CloseCode::Revoked, "certificate revoked");
                closed += 1;
            }
        }
        if closed > 0 {
            tracing::info!(closed, "connections of revoked peers closed");
        }
    }

    /// Forgets flows that nobody uses or no grant allows any more.
    pub fn expire(&self) {
        let now = self.now();
        self.datagrams().gate.expire(now);
        self.exits.delivery.expire(now);
        self.end_flows();
    }

    /// What its gate does not know ends at this edge no more.
    fn end_flows(&self) {
        let datagrams = self.datagrams();
        self.exits
            .delivery
            .retain(|flow| datagrams.gate.far_end(flow).is_some());
    }

    /// Whether the controller has taken a grant back. Judged by the list as it is now: who holds on to a grant
    /// asks again when a list has come.
    pub fn grant_revoked(&self, id: GrantId) -> bool {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        revoked.grants.contains(&id)
    }

    /// Closes a connection that was judged by an older list. Called once it stands in the table.
    pub fn close_if_revoked(&self, peer: Peer, connection: &Connection) {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        if revoked.contains(peer) {
            connection.close(CloseCode::Revoked, "certificate revoked");
        }
    }

    /// Agents report by this edge, or media flows through it or ends at it.
    pub fn is_in_use(&self) -> bool {
        let now = self.now();
        let through = || {
            let datagrams = self.datagrams();
            datagrams.gate.in_use(now - FLOWS) || datagrams.next_hops.carrying(now).next().is_some()
        };
        self.table().agents.values().any(|agent| agent.uses_uplink)
            || through()
            || !self.exits.delivery.ways(now - FLOWS).is_empty()
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

impl Carrier for Shared {
    fn carry(&self, next: NextStep, datagram: Vec<u8>) -> bool {
        let table = self.table();
        let connection = match next {
            NextStep::Edge(id) => table.edges.get(&id).map(|trunk| {
                if trunk.is_one() {
                    return trunk.first();
                }
                trunk.of(tag(&datagram).0)
            }),
            NextStep::Agent(id) => table.agents.get(&id).map(|agent| &agent.connection),
            NextStep::Answer => None,
        };
        let Some(connection) = connection else {
            self.count_drop();
            return false;
        };
        self.count(hand(connection, datagram))
    }

    fn admits(&self, flow: FlowKey, bytes: usize) -> bool {
        let now = self.now();
        self.datagrams().gate.admit_answer(flow, bytes, now)
    }
}
