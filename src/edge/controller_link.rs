//! The edge's connection to its controller: registers, sends what is queued, does what it is told.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    serve,
    shared::{CONTROLLER_QUEUE, Shared},
};
use crate::{
    backoff::Backoff,
    clock,
    identity::{Peer, Revoked, Standing, tls},
    proto::{self, controller_to_edge, edge_to_agent, edge_to_controller},
    resolve,
    transport::{CloseCode, ControlReceiver, ControlSender, Endpoint, Kind},
};

/// What the controller says to the edge itself; everything else is handled here.
#[derive(Debug)]
pub enum Told {
    Mesh(proto::Mesh),
    /// Who and what is refused from now on: to be remembered.
    Revoked(proto::Revocations),
    /// The targets to measure.
    Targets(Vec<String>),
    /// An answer to the edge's own messages.
    Own(proto::FromController),
    Connected,
}

/// What the link needs.
#[derive(Debug)]
pub struct Link {
    pub shared: Arc<Shared>,
    pub endpoint: Arc<Endpoint>,
    pub standing: Arc<Standing>,
    /// `host:port`.
    pub address: String,
    pub register: proto::EdgeRegister,
    pub told: mpsc::Sender<Told>,
    pub backoff: Backoff,
    pub stop: CancellationToken,
}

/// How long the rest of the queue may take to go out when the edge stops.
const FLUSH: Duration = Duration::from_secs(1);

impl Link {
    /// Keeps the connection until told to stop.
    pub async fn run(mut self) {
        while !self.stop.is_cancelled() {
            match self.once().await {
                Ok(why) => tracing::info!(%why, "controller link down"),
                Err(error) => {
                    tracing::info!(address = %self.address, error = format!("{error:#}"), "controller not reached")
                }
            }
            self.shared.set_controller(None);
            let wait = self.backoff.next_wait();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = clock::sleep(&*self.shared.clock, wait) => {}
            }
        }
    }

    async fn once(&mut self) -> anyhow::Result<String> {
        let addresses = resolve::all(std::slice::from_ref(&self.address)).await;
        let config = tls::client(&self.standing, &[proto::ALPN_CONTROL])?;
        let name = Peer::Controller.dns_name();
        let connection = self
            .endpoint
            .connect(&addresses, &name, Arc::new(config), Kind::EdgeController)
            .await?;
        let (mut sender, receiver) = connection.open_control().await?;
        let register = edge_to_controller::Body::Register(self.register.clone());
        sender
            .write_bounded(&proto::encode(&proto::EdgeToController { body: Some(register) })?)
            .await?;
        let (queue, queued) = mpsc::channel(CONTROLLER_QUEUE);
        self.backoff.succeeded();
        tracing::info!(address = %self.address, "controller link up");
        // Both halves run in one task each; whichever ends first ends the link.
        let writer = tokio::spawn(write(sender, queued, self.stop.clone()));
        self.shared.set_controller(Some(queue));
        let _ = self.told.send(Told::Connected).await;
        let reader = read(&self.shared, &self.told, receiver);
        let why = tokio::select! {
            biased;
            why = reader => why,
            closed = connection.closed() => closed.to_string(),
            () = self.stop.cancelled() => "stopping".to_owned(),
        };
        self.shared.set_controller(None);
        if self.stop.is_cancelled() {
            // What agents sent last is worth a moment.
            tokio::select! {
                biased;
                _ = writer => {}
                () = clock::sleep(&*self.shared.clock, FLUSH) => {}
            }
            connection.close(CloseCode::ShuttingDown, "edge stops");
        } else {
            writer.abort();
            connection.close(CloseCode::Done, "");
        }
        Ok(why)
    }
}

async fn write(
    mut sender: ControlSender,
    mut queued: mpsc::Receiver<proto::EdgeToController>,
    stop: CancellationToken,
) {
    while let Some(message) = queued.recv().await {
        let bytes = match proto::encode(&message) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(%error, "message to the controller not sent");
                continue;
            }
        };
        if sender.write_bounded(&bytes).await.is_err() {
            return;
        }
    }
    if stop.is_cancelled() {
        let _ = sender.finish();
    }
}

async fn read(shared: &Shared, told: &mpsc::Sender<Told>, mut from: ControlReceiver) -> String {
    loop {
        let body = match proto::read::<proto::ControllerToEdge>(&mut from).await {
            Ok(Some(message)) => message.body,
            Ok(None) => return "the controller ended the stream".to_owned(),
            Err(error) => return error.to_string(),
        };
        match body {
            Some(controller_to_edge::Body::ToAgent(message)) => shared.to_agent(
                corridor_probes::AgentId(message.agent),
                edge_to_agent::Body::Down(message.payload),
            ),
            Some(controller_to_edge::Body::Revocations(list)) => {
                shared.set_revoked(Revoked::from(&list));
                let _ = told.send(Told::Revoked(list)).await;
            }
            Some(controller_to_edge::Body::Mesh(mesh)) => {
                let _ = told.send(Told::Mesh(mesh)).await;
            }
            Some(controller_to_edge::Body::Targets(list)) => {
                let _ = told.send(Told::Targets(list.targets)).await;
            }
            Some(controller_to_edge::Body::Drain(drain)) => {
                serve::set_draining(shared, drain.on, drain.seconds);
            }
            Some(controller_to_edge::Body::Own(bytes)) => {
                if let Ok(message) = proto::decode(&bytes) {
                    let _ = told.send(Told::Own(message)).await;
                }
            }
            Some(controller_to_edge::Body::Welcome(welcome)) => {
                tracing::debug!(edge = welcome.edge, name = %welcome.name, "registered");
            }
            None => {}
        }
    }
}
