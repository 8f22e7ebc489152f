//! Keeping a connection to one edge: a task that dials, hands the connection over, and dials again. A
//! new attempt starts beside a connection that has fallen silent, and takes its place if it succeeds.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use corridor_probes::EdgeId;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
};

use super::{carrying::Carrying, edges::ConnectionNo};
use crate::{
    backoff::Backoff,
    clock,
    identity::{Peer, Standing, tls},
    machine::Machine,
    proto::{self, edge_to_agent},
    resolve,
    transport::{CloseCode, Closed, Connection, ControlReceiver, ControlSender, Endpoint, Kind, Received},
};

/// Control messages that wait for one edge's stream: reports are bounded by what is unacknowledged.
const CONTROL_QUEUE: usize = 64;

/// What happens on connections.
#[derive(Debug)]
pub enum Event {
    Connected {
        edge: EdgeId,
        no: ConnectionNo,
        connection: Connection,
        control: mpsc::Sender<proto::AgentToEdge>,
    },
    Disconnected {
        edge: EdgeId,
        no: ConnectionNo,
        why: Closed,
    },
    Control {
        edge: EdgeId,
        body: edge_to_agent::Body,
    },
    Datagram {
        edge: EdgeId,
        received: Received,
    },
    /// An attempt failed.
    NotReached {
        edge: EdgeId,
        why: String,
    },
}

/// What all dialling has in common.
#[derive(Debug, Clone)]
pub struct Dialing {
    pub machine: Machine,
    pub endpoint: Arc<Endpoint>,
    pub standing: Arc<Standing>,
    pub events: mpsc::Sender<Event>,
    /// Takes datagrams of media as they come.
    pub carrying: Arc<Carrying>,
    pub numbers: Arc<AtomicU64>,
}

/// The task for one edge; it ends when this is dropped.
#[derive(Debug)]
pub struct Dialer {
    addresses: watch::Sender<Vec<String>>,
    again: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Dialer {
    pub fn start(dialing: Dialing, edge: EdgeId, addresses: Vec<String>) -> Self {
        let (sender, addresses) = watch::channel(addresses);
        let again = Arc::new(Notify::new());
        let backoff = Backoff::agent(dialing.machine.seed ^ u64::from(edge.get()));
        let task = tokio::spawn(keep(dialing, edge, addresses, again.clone(), backoff));
        Self {
            addresses: sender,
            again,
            task,
        }
    }

    pub fn set_addresses(&self, addresses: Vec<String>) {
        self.addresses.send_replace(addresses);
    }

    /// Dials now, whether there is a connection or not.
    pub fn dial_now(&self) {
        self.again.notify_one();
    }
}

impl Drop for Dialer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(
    dialing: Dialing,
    edge: EdgeId,
    addresses: watch::Receiver<Vec<String>>,
    again: Arc<Notify>,
    mut backoff: Backoff,
) {
    let mut current: Option<Connection> = None;
    loop {
        let wanted = addresses.borrow().clone();
        match connect(&dialing, edge, &wanted).await {
            Ok((connection, sender, receiver)) => {
                backoff.succeeded();
                if let Some(older) = current.replace(connection.clone()) {
                    older.close(CloseCode::Replaced, "newer connection");
                }
                let no = dialing.numbers.fetch_add(1, Ordering::Relaxed);
                let (control, queued) = mpsc::channel(CONTROL_QUEUE);
                let connected = Event::Connected {
                    edge,
                    no,
                    connection: connection.clone(),
                    control,
                };
                if dialing.events.send(connected).await.is_err() {
                    return;
                }
                let control = (sender, receiver);
                tokio::spawn(serve(dialing.clone(), edge, no, connection, control, queued));
            }
            Err(error) => {
                let why = format!("{error:#}");
                tracing::debug!(edge = %edge, %why, "edge not reached");
                if dialing
                    .events
                    .send(Event::NotReached { edge, why })
                    .await
                    .is_err()
                {
                    return;
                }
            }
        }
        wait(&dialing, current.as_ref(), &again, &mut backoff).await;
    }
}

/// Until it is time to dial again: the connection has ended and the back-off has passed, or at once when
/// asked to.
async fn wait(dialing: &Dialing, current: Option<&Connection>, again: &Notify, backoff: &mut Backoff) {
    if let Some(connection) = current {
        tokio::select! {
            biased;
            () = again.notified() => return,
            _ = connection.closed() => {}
        }
    }
    tokio::select! {
        biased;
        () = again.notified() => {}
        () = clock::sleep(&*dialing.machine.clock, backoff.next_wait()) => {}
    }
}

async fn connect(
    dialing: &Dialing,
    edge: EdgeId,
    addresses: &[String],
) -> anyhow::Result<(Connection, ControlSender, ControlReceiver)> {
    let addresses = resolve::all(addresses).await;
    let config = tls::client(&dialing.standing, &[proto::ALPN])?;
    let name = Peer::Edge(edge).dns_name();
    let connection = dialing
        .endpoint
        .connect(&addresses, &name, Arc::new(config), Kind::AgentEdge)
        .await?;
    let (sender, receiver) = connection.open_control().await?;
    Ok((connection, sender, receiver))
}

/// Moves bytes between a connection and the main loop until it ends.
async fn serve(
    dialing: Dialing,
    edge: EdgeId,
    no: ConnectionNo,
    connection: Connection,
    (sender, receiver): (ControlSender, ControlReceiver),
    queued: mpsc::Receiver<proto::AgentToEdge>,
) {
    let Dialing { events, carrying, .. } = dialing;
    let writer = tokio::spawn(write_control(sender, queued));
    let reader = tokio::spawn(read_control(events.clone(), edge, connection.clone(), receiver));
    while let Ok(received) = connection.read_datagram().await {
        if carrying.takes(edge, &received.data) {
            continue;
        }
        if events.send(Event::Datagram { edge, received }).await.is_err() {
            break;
        }
    }
    writer.abort();
    reader.abort();
    let why = connection.close_reason().unwrap_or(Closed::Here);
    let _ = events.send(Event::Disconnected { edge, no, why }).await;
}

async fn write_control(mut sender: ControlSender, mut queued: mpsc::Receiver<proto::AgentToEdge>) {
    while let Some(message) = queued.recv().await {
        match proto::encode(&message) {
            Ok(bytes) => {
                if sender.write_bounded(&bytes).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, "control message not sent"),
        }
    }
}

async fn read_control(
    events: mpsc::Sender<Event>,
    edge: EdgeId,
    connection: Connection,
    mut from: ControlReceiver,
) {
    loop {
        match proto::read::<proto::EdgeToAgent>(&mut from).await {
            Ok(Some(proto::EdgeToAgent { body: Some(body) })) => {
                if events.send(Event::Control { edge, body }).await.is_err() {
                    return;
                }
            }
            // From a newer edge: nothing that is understood here.
            Ok(Some(proto::EdgeToAgent { body: None })) => {}
            Ok(None) | Err(proto::FrameError::Io(_)) => return,
            Err(error) => {
                connection.close(CloseCode::Protocol, &error.to_string());
                return;
            }
        }
    }
}
