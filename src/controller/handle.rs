//! What others may ask of a running controller: a clonable handle on its main loop.

use std::{sync::Arc, time::Duration};

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::classes::{ClassError, NewClass};
use crate::{
    api::model,
    store::records::{AgentRecord, EdgeRecord, Outcome, Role},
};

/// Requests waiting for the main loop: a burst of 500 joins, with room to spare.
const QUEUE: usize = 1_024;
/// Live events not yet taken by the slowest page; a page that falls behind is told to start afresh.
const EVENTS: usize = 1_024;
/// The main loop turns every few milliseconds; an answer that takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a request to the controller was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("the controller is shutting down")]
    Closed,
    #[error("the controller is overloaded")]
    Overloaded,
    #[error("there is no {what} '{name}'")]
    NotFound { what: &'static str, name: String },
    #[error(transparent)]
    Class(#[from] ClassError),
}

/// One request.
#[derive(Debug)]
pub enum Ask {
    Status(oneshot::Sender<model::Status>),
    CreateClass(NewClass, Answer<model::ClassStatus>),
    EndClass(String, Option<Outcome>, Answer<model::ClassStatus>),
    JoinClass {
        class: String,
        subject: String,
        role: Role,
        answer: Answer<model::ClassStatus>,
    },
    LeaveClass {
        class: String,
        subject: String,
        answer: Answer<model::ClassStatus>,
    },
    Class(String, Answer<model::ClassStatus>),
    Drain {
        edge: String,
        on: bool,
        answer: Answer<()>,
    },
    /// The store has taken up or changed an agent (joined, revoked).
    Agent(Box<AgentRecord>),
    /// The same, of an edge.
    Edge(Box<EdgeRecord>),
}

pub type Answer<T> = oneshot::Sender<Result<T, AskError>>;

/// A running controller, to ask.
#[derive(Debug, Clone)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
    status: Arc<watch::Sender<Arc<model::Status>>>,
    events: broadcast::Sender<model::Event>,
}

/// The main loop's side of all handles.
#[derive(Debug)]
pub struct Asked {
    pub asks: mpsc::Receiver<Ask>,
    pub status: Arc<watch::Sender<Arc<model::Status>>>,
    pub events: broadcast::Sender<model::Event>,
}

impl Handle {
    pub fn new(initial: model::Status) -> (Self, Asked) {
        let (asks, asks_in) = mpsc::channel(QUEUE);
        let status = Arc::new(watch::Sender::new(Arc::new(initial)));
        let (events, _) = broadcast::channel(EVENTS);
        let asked = Asked {
            asks: asks_in,
            status: status.clone(),
            events: events.clone(),
        };
        (Self { asks, status, events }, asked)
    }

    /// The state of everything, now.
    pub async fn status(&self) -> Result<model::Status, AskError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Status(answer), answered).await
    }

    /// Snapshots of the state, at most one a second, and only when somebody holds a receiver.
    pub fn watch(&self) -> watch::Receiver<Arc<model::Status>> {
        self.status.subscribe()
    }

    /// Events as they happen.
    pub fn events(&self) -> broadcast::Receiver<model::Event> {
        self.events.subscribe()
    }

    pub async fn class(&self, id: &str) -> Result<model::ClassStatus, AskError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Class(id.to_owned(), answer), answered).await?
    }

    pub async fn create_class(&self, new: NewClass) -> Result<model::ClassStatus, AskError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::CreateClass(new, answer), answered).await?
    }

    pub async fn end_class(
        &self,
        id: &str,
        outcome: Option<Outcome>,
    ) -> Result<model::ClassStatus, AskError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::EndClass(id.to_owned(), outcome, answer), answered)
            .await?
    }

    pub async fn join_class(
        &self,
        class: &str,
        subject: &str,
        role: Role,
    ) -> Result<model::ClassStatus, AskError> {
        let (answer, answered) = oneshot::channel();
        let (class, subject) = (class.to_owned(), subject.to_owned());
        self.ask(
            Ask::JoinClass {
                class,
                subject,
                role,
                answer,
            },
            answered,
        )
        .await?
    }

    pub async fn leave_class(&self, class: &str, subject: &str) -> Result<model::ClassStatus, AskError> {
        let (answer, answered) = oneshot::channel();
        let (class, subject) = (class.to_owned(), subject.to_owned());
        self.ask(
            Ask::LeaveClass {
                class,
                subject,
                answer,
            },
            answered,
        )
        .await?
    }

    pub async fn drain(&self, edge: &str, on: bool) -> Result<(), AskError> {
        let (answer, answered) = oneshot::channel();
        self.ask(
            Ask::Drain {
                edge: edge.to_owned(),
                on,
                answer,
            },
            answered,
        )
        .await?
    }

    /// Tells of an agent that joined or was revoked.
    pub async fn agent_changed(&self, record: AgentRecord) -> Result<(), AskError> {
        self.send(Ask::Agent(Box::new(record))).await
    }

    /// Tells of an edge that joined or was revoked.
    pub async fn edge_changed(&self, record: EdgeRecord) -> Result<(), AskError> {
        self.send(Ask::Edge(Box::new(record))).await
    }

    async fn send(&self, ask: Ask) -> Result<(), AskError> {
        self.asks.send_timeout(ask, PATIENCE).await.map_err(|e| match e {
            mpsc::error::SendTimeoutError::Closed(_) => AskError::Closed,
            mpsc::error::SendTimeoutError::Timeout(_) => AskError::Overloaded,
        })
    }

    async fn ask<T>(&self, ask: Ask, answered: oneshot::Receiver<T>) -> Result<T, AskError> {
        self.send(ask).await?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(AskError::Closed),
            Err(_) => Err(AskError::Overloaded),
        }
    }
}
