//! The controller's side of its connections to edges: one task reads each, one writes each.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use corridor_probes::{AgentId, EdgeId};
use tokio::sync::mpsc;

use super::edges::Connection as ConnectionNo;
use crate::{
    identity::{Peer, Revoked, Standing, peer},
    proto::{self, edge_to_controller, to_controller},
    site::Site,
    store::records::Reporter,
    transport::{CloseCode, Connection, ControlReceiver, ControlSender},
};

/// Messages to one edge that wait for its stream: plans for thousands of agents.
const QUEUE: usize = 16_384;

/// What comes from an edge, for the main loop and for the ingest.
#[derive(Debug)]
pub enum FromEdge {
    Connected {
        edge: EdgeId,
        no: ConnectionNo,
        register: proto::EdgeRegister,
    },
    Disconnected {
        edge: EdgeId,
        no: ConnectionNo,
        why: String,
    },
    Status {
        edge: EdgeId,
        status: proto::EdgeStatus,
    },
    Agent {
        edge: EdgeId,
        agent: AgentId,
        site: Option<Site>,
        body: to_controller::Body,
    },
    AgentGone {
        edge: EdgeId,
        agent: AgentId,
    },
    Silence {
        edge: EdgeId,
        agent: AgentId,
        silent: bool,
    },
    /// What could not be understood.
    Malformed,
}

/// A report on its way to the store.
#[derive(Debug)]
pub struct Arrived {
    pub from: Reporter,
    pub via: EdgeId,
    pub report: proto::Report,
    pub body: Vec<u8>,
}

/// The edges' connections: where messages to each are queued.
#[derive(Debug, Default)]
pub struct EdgeLinks {
    queues: Mutex<BTreeMap<EdgeId, Queue>>,
}

type Queue = (ConnectionNo, Connection, mpsc::Sender<proto::ControllerToEdge>);

impl EdgeLinks {
    /// Queues a message. An edge that does not take them is cut off: it comes back and is told anew.
    pub fn send(&self, edge: EdgeId, message: proto::ControllerToEdge) {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, connection, queue)) = queues.get(&edge)
            && queue.try_send(message).is_err()
        {
            connection.close(CloseCode::Refused, "messages are not taken");
        }
    }

    /// Closes the connection of an edge whose certificate was revoked.
    pub fn close_revoked(&self, edge: EdgeId) {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, connection, _)) = queues.get(&edge) {
            connection.close(CloseCode::Revoked, "certificate revoked");
        }
    }
}

/// What serving an edge needs.
#[derive(Debug, Clone)]
pub struct Serving {
    pub standing: Arc<Standing>,
    pub revoked: Arc<RwLock<Revoked>>,
    pub links: Arc<EdgeLinks>,
    pub inputs: mpsc::Sender<FromEdge>,
    pub reports: mpsc::Sender<Arrived>,
}

/// Serves one accepted connection until it ends.
pub async fn serve(serving: Serving, connection: Connection, no: ConnectionNo) {
    let judged = {
        let revoked = serving.revoked.read().unwrap_or_else(PoisonError::into_inner);
        peer::check(
            connection.peer_certificates(),
            serving.standing.time().read(),
            &revoked,
        )
    };
    let edge = match judged {
        Ok(Peer::Edge(id)) => id,
        Ok(other) => {
            tracing::info!(%other, "only edges connect here");
            connection.close(CloseCode::Refused, "only edges connect here");
            return;
        }
        Err(error) => {
            tracing::info!(%error, "edge refused");
            let code = match error {
                peer::PeerError::Revoked(_) => CloseCode::Revoked,
                peer::PeerError::Expired { .. } => CloseCode::Expired,
                _ => CloseCode::Refused,
            };
            connection.close(code, &error.to_string());
            return;
        }
    };
    let Ok((sender, mut receiver)) = connection.accept_control().await else {
        return;
    };
    let register = match proto::read::<proto::EdgeToController>(&mut receiver).await {
        Ok(Some(proto::EdgeToController {
            body: Some(edge_to_controller::Body::Register(register)),
        })) => register,
        _ => {
            tracing::info!(%edge, "an edge registers first: connection closed");
            connection.close(CloseCode::Protocol, "an edge registers first");
            return;
        }
    };
    let (queue, queued) = mpsc::channel(QUEUE);
    let older = serving
        .links
        .queues
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(edge, (no, connection.clone(), queue));
    if let Some((_, older, _)) = older {
        older.close(CloseCode::Replaced, "newer connection");
    }
    if serving
        .inputs
        .send(FromEdge::Connected { edge, no, register })
        .await
        .is_err()
    {
        return;
    }
    let writer = tokio::spawn(write(sender, queued));
    let why = tokio::select! {
        biased;
        why = read(&serving, edge, &connection, receiver) => why,
        closed = connection.closed() => closed.to_string(),
    };
    writer.abort();
    connection.close(CloseCode::Done, "");
    {
        let mut queues = serving
            .links
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if queues.get(&edge).is_some_and(|(current, ..)| *current == no) {
            queues.remove(&edge);
        }
    }
    let _ = serving
        .inputs
        .send(FromEdge::Disconnected { edge, no, why })
        .await;
}

async fn write(mut sender: ControlSender, mut queued: mpsc::Receiver<proto::ControllerToEdge>) {
    while let Some(message) = queued.recv().await {
        match proto::encode(&message) {
            Ok(bytes) => {
                if sender.write_bounded(&bytes).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, "message to an edge not sent"),
        }
    }
}

/// Reads until the stream ends. Waiting for room in the queues is what slows an edge down.
async fn read(serving: &Serving, edge: EdgeId, connection: &Connection, mut from: ControlReceiver) -> String {
    loop {
        let body = match proto::read::<proto::EdgeToController>(&mut from).await {
            Ok(Some(message)) => message.body,
            Ok(None) => return "the edge ended the stream".to_owned(),
            Err(error) => {
                connection.close(CloseCode::Protocol, &error.to_string());
                return error.to_string();
            }
        };
        let sent = match body {
            Some(edge_to_controller::Body::FromAgent(message)) => {
                let agent = AgentId(message.agent);
                let site = Site::from_bytes(&message.site);
                take(serving, edge, Reporter::Agent(agent), site, &message.payload).await
            }
            Some(edge_to_controller::Body::Own(payload)) => {
                take(serving, edge, Reporter::Edge(edge), None, &payload).await
            }
            Some(edge_to_controller::Body::Status(status)) => serving
                .inputs
                .send(FromEdge::Status { edge, status })
                .await
                .is_ok(),
            Some(edge_to_controller::Body::AgentGone(gone)) => {
                let agent = AgentId(gone.agent);
                serving
                    .inputs
                    .send(FromEdge::AgentGone { edge, agent })
                    .await
                    .is_ok()
            }
            Some(edge_to_controller::Body::Silence(silence)) => {
                let (agent, silent) = (AgentId(silence.agent), silence.silent);
                serving
                    .inputs
                    .send(FromEdge::Silence { edge, agent, silent })
                    .await
                    .is_ok()
            }
            Some(edge_to_controller::Body::Register(_)) | None => true,
        };
        if !sent {
            return "the controller stops".to_owned();
        }
    }
}

async fn take(serving: &Serving, edge: EdgeId, from: Reporter, site: Option<Site>, payload: &[u8]) -> bool {
    match (proto::decode::<proto::ToController>(payload), from) {
        (
            Ok(proto::ToController {
                body: Some(to_controller::Body::Report(report)),
            }),
            _,
        ) => {
            let body = prost::Message::encode_to_vec(&report);
            serving
                .reports
                .send(Arrived {
                    from,
                    via: edge,
                    report,
                    body,
                })
                .await
                .is_ok()
        }
        (Ok(proto::ToController { body: Some(body) }), Reporter::Agent(agent)) => serving
            .inputs
            .send(FromEdge::Agent {
                edge,
                agent,
                site,
                body,
            })
            .await
            .is_ok(),
        (Ok(_), _) => true,
        (Err(error), _) => {
            tracing::info!(%from, %error, "message cannot be understood");
            serving.inputs.send(FromEdge::Malformed).await.is_ok()
        }
    }
}
