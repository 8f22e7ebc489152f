//! What others on this machine ask of a running agent, and what it answers.

use std::{net::SocketAddr, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::Main;
use crate::{
    agent::{
        carrying::{Forward, ForwardError},
        status::{self, AgentReport},
    },
    proto,
    transport::ArrivalTimes,
};

/// What others on this machine may ask of the agent.
#[derive(Debug)]
pub enum Ask {
    Status(oneshot::Sender<AgentReport>),
    Pace(Duration),
    Class {
        class: String,
        join: bool,
        answer: oneshot::Sender<Result<(), String>>,
    },
    /// Edges that were learnt otherwise than by an edge.
    Edges(Vec<proto::EdgeInfo>),
    /// A local port is to be carried; answers where it is read.
    Forward(Forward, oneshot::Sender<Result<SocketAddr, ForwardError>>),
    /// It is not any more; answers whether it was.
    StopForward(SocketAddr, oneshot::Sender<bool>),
    /// Other agents of a class may reach this port.
    Accept(u16, oneshot::Sender<bool>),
}

/// Asks a running agent.
#[derive(Debug, Clone)]
pub struct Handle(pub(super) mpsc::Sender<Ask>);

impl Handle {
    pub async fn status(&self) -> Option<AgentReport> {
        self.ask(Ask::Status).await.ok()
    }

    /// Probes everything at most once in `every` from now on, as on a metered line; zero ends that.
    pub async fn probe_at_most_every(&self, every: Duration) {
        // An agent that is stopping probes nothing.
        let _ = self.0.send(Ask::Pace(every)).await;
    }

    /// Tells it of edges that were learnt otherwise than by an edge, which it then dials.
    pub async fn edges(&self, edges: Vec<proto::EdgeInfo>) {
        let _ = self.0.send(Ask::Edges(edges)).await;
    }

    /// Carries what comes to a local port; answers where it is read.
    pub async fn forward(&self, forward: Forward) -> Result<SocketAddr, String> {
        self.ask(|answer| Ask::Forward(forward, answer))
            .await?
            .map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    }

    /// Ends what is read at `listen`; `false` if nothing is.
    pub async fn stop_forward(&self, listen: SocketAddr) -> Result<bool, String> {
        self.ask(|answer| Ask::StopForward(listen, answer)).await
    }

    /// Lets other agents of a class reach this port; `false` if there are too many.
    pub async fn accept(&self, port: u16) -> Result<bool, String> {
        self.ask(|answer| Ask::Accept(port, answer)).await
    }

    /// Comes into a class, or leaves it; the error is one sentence.
    pub async fn class(&self, class: &str, join: bool) -> Result<(), String> {
        let class = class.to_owned();
        self.ask(|answer| Ask::Class { class, join, answer }).await?
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, String> {
        let stopping = || "the agent is stopping".to_owned();
        let (answer, answered) = oneshot::channel();
        self.0.send(ask(answer)).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())
    }
}

impl Main {
    pub(super) fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Status(answer) => {
                let now = self.now();
                let mut report = status::report(&self.core, &self.subject, now);
                report.media = Some(status::media(&self.core, self.carrying.shown()));
                report.arrival_times = ArrivalTimes::of(&self.endpoint.stats().sockets);
                let _ = answer.send(report);
            }
            Ask::Pace(every) => {
                let now = self.machine.clock.mono();
                self.core.set_pace(every, now);
            }
            Ask::Edges(edges) => {
                let now = self.now();
                self.core.take_edges(edges, now);
            }
            Ask::Forward(forward, answer) => {
                let _ = answer.send(self.carrying.forward(forward));
            }
            Ask::StopForward(listen, answer) => {
                let _ = answer.send(self.carrying.stop_forward(listen));
            }
            Ask::Accept(port, answer) => {
                let _ = answer.send(self.carrying.accept(port));
            }
            Ask::Class { class, join, answer } => {
                let request = self.next_request;
                self.next_request += 1;
                if self.core.class_request(request, &class, join) {
                    self.requests.insert(request, answer);
                } else {
                    let _ = answer.send(Err("the controller is out of reach".to_owned()));
                }
            }
        }
    }
}
