//! Who is enrolled, as the API asks it of the store: joining, being replaced, being revoked. The main loop
//! is told of every change, in the order in which the store took them.

mod accounts;

use std::{error::Error, sync::Arc};

use corridor_probes::Wall;
use futures_util::future::BoxFuture;

use super::handle::Handle;
use crate::{
    api::{
        enrol::{self, Candidate, Member, Refusal},
        error::Unavailable,
        model::JoinEdge,
    },
    identity::Own,
    store::{
        self, Store, StoreError,
        records::{AgentRecord, EdgeRecord, NewEdge, Service},
        worker::Worker,
    },
};

pub use accounts::Accounts;

/// The most edges that an agent is given to begin with; the controller sends it better ones.
pub const FIRST_EDGES: usize = 16;

/// The store's list of agents and edges. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Directory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Worker<Box<dyn Store>>,
    handle: Handle,
    controller: String,
    /// One change at a time, until it is told: an agent that was replaced must never be told as valid
    /// after its revocation.
    turn: tokio::sync::Mutex<()>,
}

/// One who is enrolled.
#[derive(Debug, Clone)]
enum Record {
    Agent(AgentRecord),
    Edge(EdgeRecord),
}

impl Record {
    fn own(&self) -> Own {
        match self {
            Self::Agent(agent) => Own::Agent(agent.id),
            Self::Edge(edge) => Own::Edge(edge.id),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Agent(agent) => &agent.subject,
            Self::Edge(edge) => &edge.name,
        }
    }

    fn revoked(&self) -> Option<Wall> {
        match self {
            Self::Agent(agent) => agent.revoked,
            Self::Edge(edge) => edge.revoked,
        }
    }
}

impl Directory {
    /// `controller` is where edges reach the controller over QUIC, `host:port`.
    pub fn new(store: Worker<Box<dyn Store>>, handle: Handle, controller: String) -> Self {
        Self(Arc::new(Inner {
            store,
            handle,
            controller,
            turn: tokio::sync::Mutex::new(()),
        }))
    }

    /// Revokes whatever agents `subject` has; answers whether it ever had one.
    pub async fn revoke_agent(&self, subject: String, now: Wall) -> Result<bool, Unavailable> {
        self.change(move |store, changed| {
            let agents = store.agents()?.into_iter().filter(|a| a.subject == subject);
            let agents = agents.map(Record::Agent).collect();
            Ok(revoke(store, agents, now, changed)?)
        })
        .await
    }

    /// Revokes the edge called `name`; answers whether there ever was one.
    pub async fn revoke_edge(&self, name: String, now: Wall) -> Result<bool, Unavailable> {
        self.change(move |store, changed| {
            let edges = store.edges()?.into_iter().filter(|e| e.name == name);
            let edges = edges.map(Record::Edge).collect();
            Ok(revoke(store, edges, now, changed)?)
        })
        .await
    }

    /// Runs `work` on the store and tells the main loop of the records that it put into its second
    /// argument. It is a task of its own: it goes on when whoever asked has hung up.
    async fn change<R, E>(
        &self,
        work: impl FnOnce(&mut dyn Store, &mut Vec<Record>) -> Result<R, E> + Send + 'static,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<Unavailable> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        let task = tokio::spawn(async move {
            let _turn = inner.turn.lock().await;
            let work = move |store: &mut Box<dyn Store>| {
                let mut changed = Vec::new();
                (work(&mut **store, &mut changed), changed)
            };
            let (done, changed) = inner.store.run(work).await.map_err(unavailable)?;
            for record in changed {
                let told = match record {
                    Record::Agent(agent) => inner.handle.agent_changed(agent).await,
                    Record::Edge(edge) => inner.handle.edge_changed(edge).await,
                };
                told.map_err(unavailable)?;
            }
            done
        });
        task.await.map_err(unavailable)?
    }
}

fn unavailable(error: impl Error + Send + Sync + 'static) -> Unavailable {
    Unavailable(Box::new(error))
}

impl From<StoreError> for Unavailable {
    fn from(error: StoreError) -> Self {
        unavailable(error)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(store::Refusal::NoEdgeIds) => Self::Full,
            error => Self::Unavailable(unavailable(error)),
        }
    }
}

impl enrol::Directory for Directory {
    /// What a crash cuts off after an agent was enrolled, revoking the one it replaces, is done when it asks
    /// again, which it must: it has no answer yet.
    fn enrol(&self, candidate: Candidate) -> BoxFuture<'_, Result<Member, Refusal>> {
        let controller = self.0.controller.clone();
        Box::pin(self.change(move |store, changed| enrol(store, &candidate, controller, changed)))
    }

    fn member(&self, public_key: Vec<u8>) -> BoxFuture<'_, Result<Option<Member>, Unavailable>> {
        let controller = self.0.controller.clone();
        let work = move |store: &mut Box<dyn Store>| {
            let found = by_key(&mut **store, &public_key)?;
            found
                .map(|record| member(&mut **store, &record, None, controller))
                .transpose()
        };
        Box::pin(async move {
            let found = self.0.store.run(work).await.map_err(unavailable)?;
            Ok(found?)
        })
    }
}

fn enrol(
    store: &mut dyn Store,
    candidate: &Candidate,
    controller: String,
    changed: &mut Vec<Record>,
) -> Result<Member, Refusal> {
    let token = store.token(&candidate.token.id())?;
    let known = by_key(store, &candidate.public_key)?;
    let repeated = known
        .as_ref()
        .is_some_and(|k| k.own().service() == candidate.service);
    let admitted = candidate.admit(token.as_ref(), repeated)?;
    let (record, replaced) = match known {
        Some(known) if !repeated || known.name() != admitted.name || known.revoked().is_some() => {
            return Err(Refusal::KeyInUse);
        }
        Some(known) => {
            let replaced = replace(store, &known, candidate.now, changed)?;
            (known, replaced)
        }
        None if candidate.service == Service::Agent => {
            let agent = AgentRecord {
                id: candidate.agent_id,
                subject: admitted.name,
                public_key: candidate.public_key.clone(),
                tags: admitted.tags,
                joined: candidate.now,
                revoked: None,
                last_seen: None,
            };
            store.enrol_agent(&candidate.token.id(), candidate.now, &agent)?;
            let record = Record::Agent(agent);
            let replaced = replace(store, &record, candidate.now, changed)?;
            (record, replaced)
        }
        None => {
            let edge = NewEdge {
                region: candidate
                    .region
                    .clone()
                    .or_else(|| admitted.tags.get("region").cloned()),
                name: admitted.name,
                addresses: Vec::new(),
                public_key: candidate.public_key.clone(),
                tags: admitted.tags,
            };
            let (edge, replaced) = enrol_edge(store, candidate, &edge, changed)?;
            (Record::Edge(edge), replaced)
        }
    };
    changed.push(record.clone());
    Ok(member(store, &record, replaced, controller)?)
}

/// The store has no two valid edges of one name, so the older one goes first; it stays if the new one is
/// not taken.
fn enrol_edge(
    store: &mut dyn Store,
    candidate: &Candidate,
    edge: &NewEdge,
    changed: &mut Vec<Record>,
) -> Result<(EdgeRecord, Option<Own>), Refusal> {
    let edges = store.edges()?;
    let older = edges
        .into_iter()
        .find(|e| e.name == edge.name && e.revoked.is_none());
    if let Some(older) = &older {
        store.update_edge(&EdgeRecord {
            revoked: Some(candidate.now),
            ..older.clone()
        })?;
    }
    let enrolled = store.enrol_edge(&candidate.token.id(), candidate.now, edge);
    if let Some(older) = older.as_ref().filter(|_| enrolled.is_err()) {
        store.update_edge(older)?;
    }
    let enrolled = enrolled?;
    changed.extend(older.iter().map(|older| {
        Record::Edge(EdgeRecord {
            revoked: Some(candidate.now),
            ..older.clone()
        })
    }));
    Ok((enrolled, older.map(|e| Own::Edge(e.id))))
}

/// Revokes every other agent of `record`'s subject. Edges have been replaced before they were enrolled.
fn replace(
    store: &mut dyn Store,
    record: &Record,
    now: Wall,
    changed: &mut Vec<Record>,
) -> store::Result<Option<Own>> {
    let Record::Agent(agent) = record else {
        return Ok(None);
    };
    let older: Vec<_> = store
        .agents()?
        .into_iter()
        .filter(|a| a.subject == agent.subject && a.id != agent.id && a.revoked.is_none())
        .map(Record::Agent)
        .collect();
    let newest = older.last().map(Record::own);
    revoke(store, older, now, changed)?;
    Ok(newest)
}

/// Revokes those that are valid. All are told: one that was revoked before may not have been.
fn revoke(
    store: &mut dyn Store,
    records: Vec<Record>,
    now: Wall,
    changed: &mut Vec<Record>,
) -> store::Result<bool> {
    let any = !records.is_empty();
    for mut record in records {
        match &mut record {
            Record::Agent(agent) if agent.revoked.is_none() => {
                agent.revoked = Some(now);
                store.update_agent(agent)?;
            }
            Record::Edge(edge) if edge.revoked.is_none() => {
                edge.revoked = Some(now);
                store.update_edge(edge)?;
            }
            Record::Agent(_) | Record::Edge(_) => {}
        }
        changed.push(record);
    }
    Ok(any)
}

fn by_key(store: &mut dyn Store, public_key: &[u8]) -> store::Result<Option<Record>> {
    Ok(match store.agent_by_key(public_key)? {
        Some(agent) => Some(Record::Agent(agent)),
        None => store.edge_by_key(public_key)?.map(Record::Edge),
    })
}

fn member(
    store: &mut dyn Store,
    record: &Record,
    replaced: Option<Own>,
    controller: String,
) -> store::Result<Member> {
    let (edges, controller) = match record {
        Record::Agent(_) => (first_edges(store.edges()?), None),
        Record::Edge(_) => (Vec::new(), Some(controller)),
    };
    Ok(Member {
        own: record.own(),
        name: record.name().to_owned(),
        revoked: record.revoked().is_some(),
        replaced,
        edges,
        controller,
    })
}

/// Those that an agent can reach, draining ones last.
fn first_edges(mut edges: Vec<EdgeRecord>) -> Vec<JoinEdge> {
    edges.retain(|e| e.revoked.is_none() && !e.addresses.is_empty());
    edges.sort_by_key(|e| (e.draining, e.id));
    let first = edges.into_iter().take(FIRST_EDGES);
    first
        .map(|e| JoinEdge {
            id: e.id.get(),
            name: e.name,
            region: e.region,
            addresses: e.addresses,
        })
        .collect()
}

#[cfg(test)]
mod tests;
