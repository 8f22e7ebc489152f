//! Running a controller. Tasks: one accepts edges and starts one for each; one stores reports in batches;
//! the main loop owns the state. The HTTP server is started beside it, with a handle on the main loop.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use corridor_probes::{BootId, Mono, Wall};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    core::{Core, Now, Output, Restored},
    edge_link::{self, Arrived, EdgeLinks, FromEdge, Serving},
    edges::Connection as ConnectionNo,
    event,
    handle::{Ask, AskError, Handle},
    settings::Settings,
};
use crate::{
    api::model,
    identity::{Ca, Revoked, Standing, tls},
    machine::Machine,
    proto,
    store::{
        Appended, ClassQuery, Retention, Store, StoreError,
        records::{ClassState, EventRecord, GrantRecord, PlanRecord, ReportRecord},
        worker::{Worker, WorkerError},
    },
    transport::{CloseCode, Endpoint, EndpointError, EndpointSetup, EndpointStats, Kind, ServerSetup},
};

/// The store, on its thread.
pub type StoreWorker = Worker<Box<dyn Store>>;

/// What a controller runs with.
#[derive(Debug)]
pub struct Setup {
    pub machine: Machine,
    pub standing: Arc<Standing>,
    /// Where edges connect, UDP.
    pub quic: SocketAddr,
    pub store: StoreWorker,
    /// Signs grants.
    pub ca: Arc<Ca>,
    pub settings: Settings,
}

/// A running controller.
#[derive(Debug)]
pub struct Controller {
    handle: Handle,
    endpoint: Arc<Endpoint>,
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    store: StoreWorker,
}

/// Why a controller cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    Tls(#[from] crate::identity::TlsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the store is gone")]
    StoreGone(#[from] WorkerError),
}

/// Messages from edges that wait for the main loop.
const INPUTS: usize = 4_096;
/// Reports that wait for the store; an edge that brings more waits.
const REPORTS: usize = 4_096;
/// Reports in one transaction.
const BATCH: usize = 500;
const TICK: Duration = Duration::from_secs(1);
/// How often what is too old is deleted.
const RETAIN_EVERY: Duration = Duration::from_secs(600);
/// A store that fails is asked again after this.
const STORE_AGAIN: Duration = Duration::from_secs(1);
/// Links that nobody has measured for this long are forgotten.
const FORGET_LINKS: Duration = Duration::from_secs(3_600);

impl Controller {
    /// Takes up what the store kept, binds, and starts everything.
    pub async fn start(setup: Setup) -> Result<Self, ControllerError> {
        let Setup {
            machine,
            standing,
            quic,
            store,
            ca,
            settings,
        } = setup;
        let now = Now {
            mono: machine.clock.mono(),
            wall: machine.clock.wall(),
        };
        let restored = store.run(|store| restore(&mut **store)).await??;
        let revoked = Revoked {
            agents: restored
                .agents
                .iter()
                .filter(|a| a.revoked.is_some())
                .map(|a| a.id)
                .collect(),
            edges: restored
                .edges
                .iter()
                .filter(|e| e.revoked.is_some())
                .map(|e| e.id)
                .collect(),
            grants: BTreeSet::new(),
        };
        let core = Core::new(settings.clone(), ca, restored, now);
        let server = tls::server(
            &standing,
            tls::ClientCertificates::Required,
            &[proto::ALPN_CONTROL],
        )?;
        let endpoint = Arc::new(Endpoint::new(EndpointSetup {
            network: machine.network.clone(),
            clock: machine.clock.clone(),
            local: vec![quic],
            server: Some(ServerSetup {
                tls: Arc::new(server),
                kind: Kind::EdgeController,
                anonymous: Vec::new(),
            }),
            reset_key: Some(standing.reset_key()),
            rng_seed: machine.endpoint_seed(),
        })?);
        let (handle, asked) = Handle::new(core.status(now, 0));
        let (inputs_out, inputs) = mpsc::channel(INPUTS);
        let (reports_out, reports) = mpsc::channel(REPORTS);
        let (stored_out, stored) = mpsc::channel(REPORTS);
        let stop = CancellationToken::new();
        let links = Arc::new(EdgeLinks::default());
        let revoked = Arc::new(RwLock::new(revoked));
        let serving = Serving {
            standing,
            revoked: revoked.clone(),
            links: links.clone(),
            inputs: inputs_out,
            reports: reports_out,
        };
        let main = Main {
            core,
            machine: machine.clone(),
            links,
            revoked,
            store: store.clone(),
            settings,
            asked_status: asked.status,
            asked_events: asked.events,
            store_bytes: Arc::new(AtomicU64::new(0)),
            next_tick: now.mono,
            next_retain: now.mono,
            pending: Pending::default(),
        };
        let span = tracing::info_span!("controller");
        let tasks = vec![
            tokio::spawn(accept(endpoint.clone(), serving, stop.clone()).instrument(span.clone())),
            tokio::spawn(ingest(machine, store.clone(), reports, stored_out).instrument(span.clone())),
            tokio::spawn(
                main.run(inputs, stored, asked.asks, stop.clone())
                    .instrument(span),
            ),
        ];
        Ok(Self {
            handle,
            endpoint,
            stop,
            tasks,
            store,
        })
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.endpoint.local_addrs()
    }

    pub fn transport(&self) -> EndpointStats {
        self.endpoint.stats()
    }

    /// Ends at once, as a process that is killed, once its sockets are gone.
    pub fn kill(self) {
        self.stop.cancel();
        for task in &self.tasks {
            task.abort();
        }
    }

    /// Stops, with everything that was acknowledged in the store.
    pub async fn stop(self) {
        self.stop.cancel();
        self.endpoint
            .close(CloseCode::ShuttingDown, "controller stops")
            .await;
        for task in self.tasks {
            let _ = task.await;
        }
        self.store.close().await;
    }
}

fn restore(store: &mut dyn Store) -> Result<Restored, StoreError> {
    let mut classes = store.classes(&ClassQuery {
        state: Some(ClassState::Live),
        ..ClassQuery::default()
    })?;
    classes.extend(store.classes(&ClassQuery {
        state: Some(ClassState::Scheduled),
        ..ClassQuery::default()
    })?);
    let mut plans = Vec::new();
    for class in &classes {
        plans.extend(store.newest_plans(&class.id)?);
    }
    Ok(Restored {
        agents: store.agents()?,
        edges: store.edges()?,
        classes,
        plans,
        grants: store.grants()?,
    })
}

async fn accept(endpoint: Arc<Endpoint>, serving: Serving, stop: CancellationToken) {
    let mut next = 1;
    loop {
        let connection = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = endpoint.accept() => accepted,
        };
        let Some(connection) = connection else { return };
        tokio::spawn(edge_link::serve(serving.clone(), connection, ConnectionNo(next)).in_current_span());
        next += 1;
    }
}

/// A report that the store has taken.
#[derive(Debug)]
struct Stored {
    arrived: Arrived,
    new: bool,
}

/// Stores reports in batches: as many as have come while the last batch was written. What the store does
/// not take is tried again; until then nothing is acknowledged, and senders keep it.
async fn ingest(
    machine: Machine,
    store: StoreWorker,
    mut reports: mpsc::Receiver<Arrived>,
    stored: mpsc::Sender<Stored>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while reports.recv_many(&mut batch, BATCH).await > 0 {
        let received = machine.clock.wall();
        let records: Arc<Vec<_>> = Arc::new(batch.iter().map(|a| record(a, received)).collect());
        let appended = loop {
            let records = records.clone();
            match store.run(move |store| store.append_reports(&records)).await {
                Ok(Ok(appended)) => break appended,
                Ok(Err(error)) => {
                    tracing::warn!(%error, reports = batch.len(), "reports not stored yet");
                    crate::clock::sleep(&*machine.clock, STORE_AGAIN).await;
                }
                Err(_) => return,
            }
        };
        for (arrived, appended) in batch.drain(..).zip(appended) {
            let new = matches!(appended, Appended::New(_));
            if stored.send(Stored { arrived, new }).await.is_err() {
                return;
            }
        }
    }
}

fn record(arrived: &Arrived, received: Wall) -> ReportRecord {
    ReportRecord {
        reporter: arrived.from,
        boot: BootId(arrived.report.boot),
        sequence: arrived.report.sequence,
        end: Wall::from_micros(arrived.report.end_us),
        received,
        body: arrived.body.clone(),
    }
}

/// What waits to be written: events, plans and grants go in batches, once a turn.
#[derive(Debug, Default)]
struct Pending {
    events: Vec<EventRecord>,
    plans: Vec<PlanRecord>,
    grants: Vec<GrantRecord>,
}

#[derive(Debug)]
struct Main {
    core: Core,
    machine: Machine,
    links: Arc<EdgeLinks>,
    revoked: Arc<RwLock<Revoked>>,
    store: StoreWorker,
    settings: Settings,
    asked_status: Arc<tokio::sync::watch::Sender<Arc<model::Status>>>,
    asked_events: tokio::sync::broadcast::Sender<model::Event>,
    store_bytes: Arc<AtomicU64>,
    next_tick: Mono,
    next_retain: Mono,
    pending: Pending,
}

impl Main {
    async fn run(
        mut self,
        mut inputs: mpsc::Receiver<FromEdge>,
        mut stored: mpsc::Receiver<Stored>,
        mut asks: mpsc::Receiver<Ask>,
        stop: CancellationToken,
    ) {
        let clock = self.machine.clock.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(input) = inputs.recv() => {
                    let now = self.now();
                    self.input(input, now);
                }
                Some(Stored { arrived, new }) = stored.recv() => {
                    let now = self.now();
                    self.core.stored(arrived.from, arrived.via, arrived.report, new, now);
                }
                Some(ask) = asks.recv() => {
                    let now = self.now();
                    self.ask(ask, now);
                }
                () = clock.sleep_until(self.next_tick) => {}
            }
            let now = self.now();
            if now.mono >= self.next_tick {
                self.next_tick = now.mono + TICK;
                self.core.tick(now);
                self.publish(now);
                self.retain(now);
            }
            self.execute();
        }
        self.execute();
    }

    fn now(&self) -> Now {
        Now {
            mono: self.machine.clock.mono(),
            wall: self.machine.clock.wall(),
        }
    }

    fn input(&mut self, input: FromEdge, now: Now) {
        match input {
            FromEdge::Connected { edge, no, register } => {
                self.core.edge_connected(edge, no, &register, now);
            }
            FromEdge::Disconnected { edge, no, why } => self.core.edge_disconnected(edge, no, &why, now),
            FromEdge::Status { edge, status } => self.core.edge_status(edge, status, now),
            FromEdge::Agent {
                edge,
                agent,
                site,
                body,
            } => self.core.agent_said(edge, agent, site, body, now),
            FromEdge::AgentGone { edge, agent } => self.core.agent_gone(edge, agent, now),
            FromEdge::Silence { edge, agent, silent } => self.core.agent_silence(edge, agent, silent, now),
            FromEdge::Malformed => self.core.malformed(),
        }
    }

    /// An answer whose asker has gone is dropped.
    fn ask(&mut self, ask: Ask, now: Now) {
        match ask {
            Ask::Status(answer) => {
                let _ = answer.send(self.core.status(now, self.store_bytes.load(Ordering::Relaxed)));
            }
            Ask::Class(id, answer) => {
                let _ = answer.send(self.class(&id, now));
            }
            Ask::CreateClass(new, answer) => {
                let done = self
                    .core
                    .create_class(new, now)
                    .and_then(|id| self.class(&id, now));
                let _ = answer.send(done);
            }
            Ask::EndClass(id, outcome, answer) => {
                let done = self
                    .core
                    .end_class(&id, outcome, now)
                    .and_then(|()| self.class(&id, now));
                let _ = answer.send(done);
            }
            Ask::JoinClass {
                class,
                subject,
                role,
                answer,
            } => {
                let done = self.core.join_class(&class, &subject, role, now);
                let _ = answer.send(done.and_then(|()| self.class(&class, now)));
            }
            Ask::LeaveClass {
                class,
                subject,
                answer,
            } => {
                let done = self.core.leave_class(&class, &subject, now);
                let _ = answer.send(done.and_then(|()| self.class(&class, now)));
            }
            Ask::Drain { edge, on, answer } => {
                let _ = answer.send(self.core.drain(&edge, on, now));
            }
            Ask::Agent(record) => {
                if record.revoked.is_some() {
                    self.revoked
                        .write()
                        .unwrap_or_else(PoisonError::into_inner)
                        .agents
                        .insert(record.id);
                }
                self.core.agent_changed(*record, now);
            }
            Ask::Edge(record) => {
                if record.revoked.is_some() {
                    self.revoked
                        .write()
                        .unwrap_or_else(PoisonError::into_inner)
                        .edges
                        .insert(record.id);
                    self.links.close_revoked(record.id);
                }
                self.core.edge_changed(*record, now);
            }
        }
    }

    fn class(&self, id: &str, now: Now) -> Result<model::ClassStatus, AskError> {
        self.core
            .class_status(id, now)
            .ok_or_else(|| AskError::Class(super::classes::ClassError::Unknown(id.to_owned())))
    }

    /// Does what the state asked for, in order.
    fn execute(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::ToEdge(edge, message) => self.links.send(edge, message),
                Output::SaveClass(record) => self.write("class", move |store| store.put_class(&record)),
                Output::SaveEdge(mut record) => self.write("edge", move |store| {
                    // A revocation that the store has taken meanwhile stays.
                    if let Some(known) = store.edge(record.id)? {
                        record.revoked = record.revoked.or(known.revoked);
                    }
                    store.update_edge(&record).map(|_| ())
                }),
                Output::SavePlan(record) => self.pending.plans.push(record),
                Output::SaveGrant(record) => self.pending.grants.push(record),
                Output::Event { record, classes } => {
                    tracing::info!(
                        kind = %record.kind,
                        class = record.class.as_deref(),
                        subject = record.subject.as_deref(),
                        edge = record.edge.as_deref(),
                        detail = %record.detail,
                        "event"
                    );
                    // Nobody may be watching.
                    let _ = self.asked_events.send(model::Event {
                        classes,
                        ..event::shown(&record)
                    });
                    self.pending.events.push(record);
                }
            }
        }
        let Pending {
            events,
            plans,
            grants,
        } = std::mem::take(&mut self.pending);
        if !events.is_empty() {
            self.write("events", move |store| store.append_events(&events));
        }
        if !plans.is_empty() {
            self.write("plans", move |store| store.append_plans(&plans));
        }
        if !grants.is_empty() {
            self.write("grants", move |store| store.put_grants(&grants));
        }
    }

    /// Queues a write in order with all others; one that fails is said, and tried again by nobody: the
    /// state goes on in memory, and the next change of the same record writes it whole.
    fn write(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut dyn Store) -> crate::store::Result<()> + Send + 'static,
    ) {
        let store = self.store.clone();
        match store.submit(move |store| work(&mut **store)) {
            Ok(answer) => {
                tokio::spawn(async move {
                    if let Ok(Err(error)) = answer.await {
                        tracing::warn!(what, %error, "not written to the store");
                    }
                });
            }
            Err(error) => tracing::warn!(what, %error, "not written to the store"),
        }
    }

    fn publish(&self, now: Now) {
        if self.asked_status.receiver_count() > 0 {
            let mut status = self.core.status(now, self.store_bytes.load(Ordering::Relaxed));
            status.leave_to_timelines();
            self.asked_status.send_replace(Arc::new(status));
        }
    }

    fn retain(&mut self, now: Now) {
        if now.mono < self.next_retain {
            return;
        }
        self.next_retain = now.mono + RETAIN_EVERY;
        self.core.forget_links(now.wall - FORGET_LINKS);
        let keep = Retention {
            reports: self.settings.keep_reports,
            records: self.settings.keep_classes,
        };
        let bytes = self.store_bytes.clone();
        self.write("retention", move |store| {
            let gone = store.retain(now.wall, &keep)?;
            tracing::debug!(?gone, "retention");
            bytes.store(store.bytes()?, Ordering::Relaxed);
            Ok(())
        });
    }
}
