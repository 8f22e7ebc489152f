//! Serving one connection: an agent's, another edge's, or a stranger's that only probes.
//!
//! A connection has one task for its datagrams and, if it is an agent's, one that reads and one that
//! writes its control stream. All end with the connection.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use corridor_probes::{AgentId, BootId, EdgeId, wire::RouteHeader};
use tokio::sync::mpsc;

use super::{
    datagrams::Sender,
    shared::{AGENT_QUEUE, Agent, Shared},
    trunk::{self, Trunk},
};
use crate::{
    identity::{Peer, Standing, peer},
    media::{gate::FlowKey, wire as media},
    proto::{self, FrameError, agent_to_edge, edge_to_agent, edge_to_controller},
    site::{Site, truncated},
    transport::{
        CloseCode, Connection, ControlReceiver, ControlSender, Received, config::DATAGRAM_SEND_BUFFER,
    },
};

/// Who this edge is, as agents are told.
#[derive(Debug, Clone)]
pub struct Myself {
    pub id: Option<EdgeId>,
    pub boot: BootId,
    pub version: &'static str,
}

/// Serves an accepted connection until it ends.
pub async fn accepted(shared: Arc<Shared>, myself: Myself, standing: Arc<Standing>, connection: Connection) {
    if connection.alpn() == proto::ALPN_PROBE {
        let from = Sender::Anyone(connection.id() as u64);
        datagrams(&shared, from, &connection).await;
        shared.datagrams().forget(from);
        return;
    }
    // TLS does not look at the client's certificate when it resumes a session: it is done here, always.
    let judged = {
        let revoked = shared.revoked.read().unwrap_or_else(PoisonError::into_inner);
        peer::check(connection.peer_certificates(), standing.time().read(), &revoked)
    };
    match judged {
        Ok(Peer::Agent(id)) => agent(shared, myself, id, connection).await,
        Ok(Peer::Edge(id)) if connection.alpn() == proto::ALPN_TRUNK => more(shared, id, connection).await,
        Ok(Peer::Edge(id)) => edge(shared, id, connection).await,
        Ok(Peer::Controller) => connection.close(CloseCode::Refused, "an edge calls its controller"),
        Err(error) => {
            let code = match &error {
                peer::PeerError::Revoked(_) => CloseCode::Revoked,
                peer::PeerError::Expired { .. } => CloseCode::Expired,
                _ => CloseCode::Refused,
            };
            tracing::info!(%error, "connection refused");
            connection.close(code, &error.to_string());
        }
    }
}

/// Serves a connection between edges, whoever opened it.
pub async fn edge(shared: Arc<Shared>, id: EdgeId, connection: Connection) {
    let older = shared
        .table_mut()
        .edges
        .insert(id, Trunk::new(connection.clone()));
    for older in older.iter().flat_map(Trunk::all) {
        older.close(CloseCode::Replaced, "newer connection");
    }
    shared.close_if_revoked(Peer::Edge(id), &connection);
    tracing::info!(edge = %id, "mesh connection up");
    datagrams(&shared, Sender::Edge(id), &connection).await;
    let mut table = shared.table_mut();
    if table
        .edges
        .get(&id)
        .is_some_and(|trunk| trunk.first().id() == connection.id())
    {
        let trunk = table.edges.remove(&id);
        drop(table);
        for other in trunk.iter().flat_map(Trunk::all) {
            other.close(CloseCode::Done, "the first connection ended");
        }
        tracing::info!(edge = %id, why = ?connection.close_reason(), "mesh connection down");
    }
}

/// Serves another connection between edges that are connected, whoever opened it.
pub async fn more(shared: Arc<Shared>, id: EdgeId, connection: Connection) {
    let add = |trunk: &mut Trunk| trunk.add(connection.clone());
    if !shared.table_mut().edges.get_mut(&id).is_some_and(add) {
        return connection.close(CloseCode::Refused, "as many as there may be, or no first one");
    }
    shared.close_if_revoked(Peer::Edge(id), &connection);
    tokio::select! {
        biased;
        () = datagrams(&shared, Sender::Edge(id), &connection) => {}
        () = trunk::silent(&shared, id, &connection) => {
            tracing::info!(edge = %id, "one of several connections answers nothing");
            connection.close(CloseCode::Done, "nothing is answered");
        }
    }
    if let Some(trunk) = shared.table_mut().edges.get_mut(&id) {
        trunk.remove(connection.id());
    }
}

async fn agent(shared: Arc<Shared>, myself: Myself, id: AgentId, connection: Connection) {
    let Ok((sender, receiver)) = connection.accept_control().await else {
        return;
    };
    let (queue, queued) = mpsc::channel(AGENT_QUEUE);
    let agent = Agent {
        connection: connection.clone(),
        control: queue,
        uses_uplink: false,
        told_silent: false,
    };
    let older = shared.table_mut().agents.insert(id, agent);
    if let Some(older) = older {
        older.connection.close(CloseCode::Replaced, "newer connection");
    }
    shared.close_if_revoked(Peer::Agent(id), &connection);
    // Only now: what changes from here on is told to who is in the table, and what was before is in this.
    let hello = proto::EdgeHello {
        version: myself.version.to_owned(),
        boot: myself.boot.0,
        edge: myself.id.map_or(0, |id| u32::from(id.get())),
        controller_connected: shared.has_controller(),
        seen_from: truncated(connection.remote_address().ip()),
    };
    shared.to_agent(id, edge_to_agent::Body::Hello(hello));
    if shared.is_draining() {
        shared.to_agent(
            id,
            edge_to_agent::Body::Draining(proto::Draining { seconds_left: 1 }),
        );
    }
    tracing::debug!(agent = %id, "agent connected");
    let writer = tokio::spawn(write_control(sender, queued));
    let reader = tokio::spawn(read_control(shared.clone(), id, connection.clone(), receiver));
    datagrams(&shared, Sender::Agent(id), &connection).await;
    reader.abort();
    writer.abort();
    let mut table = shared.table_mut();
    if table
        .agents
        .get(&id)
        .is_some_and(|a| a.connection.id() == connection.id())
    {
        let gone = table.agents.remove(&id);
        drop(table);
        if gone.is_some_and(|a| a.uses_uplink) {
            shared.to_controller(edge_to_controller::Body::AgentGone(proto::AgentGone {
                agent: id.0,
            }));
        }
        tracing::debug!(agent = %id, why = ?connection.close_reason(), "agent gone");
    }
}

/// Media that is handed on before the connections that take it have their turn. They may put some of it into one
/// packet, which is lost as a whole: so no flow is in it twice. It is little, since buffers are.
#[derive(Debug)]
struct Together {
    flows: Vec<FlowKey>,
    bytes: usize,
}

impl Together {
    /// Datagrams: what one system call can send where a packet holds few.
    const MOST: usize = 32;
    /// Their bytes: half of what a connection to an agent has room for.
    const MOST_BYTES: usize = DATAGRAM_SEND_BUFFER / 2;

    fn new() -> Self {
        Self {
            flows: Vec::with_capacity(Self::MOST),
            bytes: 0,
        }
    }

    /// Whether a datagram of `flow` may go with the others; it is one of them then.
    fn takes(&mut self, flow: FlowKey, bytes: usize) -> bool {
        let room = self.flows.len() < Self::MOST && self.bytes + bytes <= Self::MOST_BYTES;
        let takes = room && !self.flows.contains(&flow);
        if takes {
            self.flows.push(flow);
            self.bytes += bytes;
        }
        takes
    }

    const fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    fn clear(&mut self) {
        self.flows.clear();
        self.bytes = 0;
    }
}

/// Of which flow a datagram is, if it is media.
fn flow(datagram: &[u8]) -> Option<FlowKey> {
    let (header, _) = RouteHeader::parse(datagram).ok()?;
    (header.kind == media::Kind::Media as u8).then(|| FlowKey::of(&header))
}

/// Handles datagrams until the connection ends.
async fn datagrams(shared: &Arc<Shared>, from: Sender, connection: &Connection) {
    let mut unread = 0;
    let mut together = Together::new();
    loop {
        let received = match connection.try_read_datagram() {
            Some(received) => received,
            None => {
                // Whoever sends on has its turn while this waits.
                together.clear();
                let received = connection.read_datagram().await;
                let dropped = connection.unread();
                shared
                    .unread
                    .fetch_add(dropped.saturating_sub(unread), Ordering::Relaxed);
                unread = unread.max(dropped);
                match received {
                    Ok(received) => received,
                    Err(_) => return,
                }
            }
        };
        let Received { data, arrival } = received;
        let flow = flow(&data);
        if !flow.is_some_and(|flow| together.takes(flow, data.len())) && !together.is_empty() {
            // It has its turn before this is queued: buffers are small.
            tokio::task::yield_now().await;
            together.clear();
            if let Some(flow) = flow {
                together.takes(flow, data.len());
            }
        }
        if shared.datagram(from, connection, &data, arrival) {
            // After a stall there are many to answer, and each is to have a packet of its own.
            connection.transmitted_soon().await;
            together.clear();
        } else if flow.is_none() {
            tokio::task::yield_now().await;
        }
    }
}

async fn write_control(mut sender: ControlSender, mut queued: mpsc::Receiver<proto::EdgeToAgent>) {
    while let Some(message) = queued.recv().await {
        let bytes = match proto::encode(&message) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(%error, "control message not sent");
                continue;
            }
        };
        if sender.write_bounded(&bytes).await.is_err() {
            return;
        }
    }
}

async fn read_control(shared: Arc<Shared>, id: AgentId, connection: Connection, mut from: ControlReceiver) {
    loop {
        match proto::read::<proto::AgentToEdge>(&mut from).await {
            Ok(Some(proto::AgentToEdge { body: Some(body) })) => control(&shared, id, &connection, body),
            // From a newer agent: nothing that is understood here.
            Ok(Some(proto::AgentToEdge { body: None })) => {}
            Ok(None) => return,
            Err(error @ (FrameError::Malformed(_) | FrameError::TooLong(_) | FrameError::TooManyParts)) => {
                shared.datagrams().counters.malformed += 1;
                tracing::info!(agent = %id, %error, "connection closed");
                connection.close(CloseCode::Protocol, &error.to_string());
                return;
            }
            Err(FrameError::Io(_)) => return,
        }
    }
}

fn control(shared: &Shared, id: AgentId, connection: &Connection, body: agent_to_edge::Body) {
    match body {
        agent_to_edge::Body::Hello(hello) => {
            tracing::debug!(agent = %id, version = %hello.version, "hello");
        }
        agent_to_edge::Body::UseUplink(uplink) => {
            if let Some(agent) = shared.table_mut().agents.get_mut(&id) {
                agent.uses_uplink = uplink.wanted;
                agent.told_silent = false;
            }
        }
        agent_to_edge::Body::Up(payload) => {
            shared.to_controller(edge_to_controller::Body::FromAgent(proto::FromAgent {
                agent: id.0,
                payload,
                seen_from: truncated(connection.remote_address().ip()),
                site: Site::of(connection.remote_address().ip()).to_bytes(),
            }));
        }
    }
}

/// Marks all of this edge as draining, or not, and tells the agents.
pub fn set_draining(shared: &Shared, on: bool, seconds: u32) {
    shared.draining.store(on, Ordering::Relaxed);
    shared.datagrams().draining = on;
    let draining = proto::Draining {
        seconds_left: if on { seconds.max(1) } else { 0 },
    };
    shared.to_all_agents(&edge_to_agent::Body::Draining(draining));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_go_together_and_no_flow_twice() {
        let key = |flow| FlowKey {
            origin: AgentId(1),
            flow,
        };
        let mut together = Together::new();
        assert!(together.is_empty());
        let took = [1, 1, 2, 3, 2].map(|flow| together.takes(key(flow), 200));
        assert_eq!(took, [true, false, true, true, false]);
        let took = (4..100).filter(|&flow| together.takes(key(flow), 200)).count();
        assert_eq!((took, together.flows.len()), (Together::MOST - 3, Together::MOST));
        together.clear();
        let took = (0..100).filter(|&flow| together.takes(key(flow), 1_250)).count();
        assert_eq!(took, Together::MOST_BYTES / 1_250, "few long ones");
    }
}
