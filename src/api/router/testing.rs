//! An API on loopback, with a main loop that does what the controller's does, without edges or agents.

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use corridor_probes::Wall;
use reqwest::Method;
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{
        ApiState, Setup, auth, classes,
        model::{ClassStatus, ControllerStatus, Event, Status},
        router::router,
        server::Listener,
    },
    controller::{Ask, AskError, Asked, ClassError, Classes, Handle},
    identity::{Ca, Pin, system_rng, testing::FakeClock, tls},
    store::{
        Store,
        records::{AccountRecord, ClassRecord, Level},
        sqlite::Sqlite,
        worker::Worker,
    },
};

pub const NOW: Wall = Wall::from_secs(1_800_000_000);
pub const URL: &str = "https://corridor.example:8443";

/// It stops when dropped.
pub struct World {
    url: String,
    client: reqwest::Client,
    pub clock: Arc<FakeClock>,
    pub ca: Arc<Ca>,
    store: Worker<Box<dyn Store>>,
    pub status: Arc<watch::Sender<Arc<Status>>>,
    pub events: broadcast::Sender<Event>,
    tokens: BTreeMap<Level, String>,
    stop: CancellationToken,
    pub serving: tokio::task::JoinHandle<()>,
}

pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub bytes: Vec<u8>,
    pub body: Value,
}

impl Answer {
    pub fn code(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }
}

impl World {
    pub async fn start() -> Self {
        let store: Box<dyn Store> = Box::new(Sqlite::in_memory().unwrap());
        let store = Worker::spawn("store", NonZeroUsize::new(64).unwrap(), store).unwrap();
        let (handle, Asked { asks, status, events }) = Handle::new(empty());
        tokio::spawn(main_loop(asks));
        let clock = FakeClock::at(NOW);
        let ca = Arc::new(Ca::ephemeral(NOW, &mut system_rng()).unwrap());
        let stop = CancellationToken::new();
        let state = ApiState::new(Setup {
            handle,
            store: store.clone(),
            ca: ca.clone(),
            clock: clock.clone(),
            public_url: URL.into(),
            controller: "192.0.2.9:4433".into(),
            stop: stop.clone(),
        });
        let listener = Listener::plain(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let url = format!("http://{}", listener.addr());
        let serving = listener.serve(router(state.unwrap()), stop.clone());
        let serving = tokio::spawn(async move { serving.await.unwrap() });
        let tls = tls::pinned_client(&tls::provider(), &[Pin([0; 32])]).unwrap();
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls);
        let mut world = Self {
            url,
            client: client.no_proxy().build().unwrap(),
            clock,
            ca,
            store,
            status,
            events,
            tokens: BTreeMap::new(),
            stop,
            serving,
        };
        for level in [Level::Viewer, Level::Support, Level::Operator, Level::Admin] {
            let name = format!("{level:?}").to_lowercase();
            let (record, token) = auth::api_token(&name, level, None, NOW, &mut system_rng());
            world.store(move |s| s.put_bearer(&record).unwrap()).await;
            world.tokens.insert(level, token);
        }
        world
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub async fn store<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Store) -> R + Send + 'static,
    ) -> R {
        self.store.run(|store| work(&mut **store)).await.unwrap()
    }

    pub async fn account(&self, name: &str, password: &str, level: Level) {
        let record = AccountRecord {
            name: name.into(),
            password_hash: auth::hash_password(password, &mut system_rng()).unwrap(),
            level,
            created: NOW,
        };
        self.store(move |s| s.put_account(&record).unwrap()).await;
    }

    /// With the API token of `level`, if there is one.
    pub fn request(&self, level: Option<Level>, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}/api/v1{path}", self.url));
        match level {
            Some(level) => request.bearer_auth(&self.tokens[&level]),
            None => request,
        }
    }

    pub async fn send(request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.unwrap().to_vec();
        Answer {
            status,
            headers,
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            bytes,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        Self::send(self.request(Some(Level::Admin), Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        Self::send(self.request(Some(Level::Admin), Method::POST, path).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        Self::send(self.request(Some(Level::Admin), Method::DELETE, path)).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn empty() -> Status {
    Status {
        controller: ControllerStatus {
            version: "test".into(),
            now: String::new(),
            uptime_s: 0,
            reports: 0,
            repeats: 0,
            store_bytes: 0,
        },
        edges: Vec::new(),
        agents: Vec::new(),
        links: Vec::new(),
        classes: Vec::new(),
        sites: Vec::new(),
    }
}

/// There is one edge, `fra-1`. Classes that have ended are forgotten with the next one that is created.
async fn main_loop(mut asks: mpsc::Receiver<Ask>) {
    let mut classes = Classes::default();
    while let Some(ask) = asks.recv().await {
        match ask {
            Ask::Status(answer) => {
                let status = Status {
                    classes: classes.iter().map(classes::from_record).collect(),
                    ..empty()
                };
                let _ = answer.send(status);
            }
            Ask::Class(id, answer) => drop(answer.send(known(classes.get(&id)))),
            Ask::CreateClass(new, answer) => {
                classes.forget_ended(NOW + Duration::from_secs(1));
                let _ = answer.send(known(classes.create(NOW, new)));
            }
            Ask::EndClass(id, outcome, answer) => {
                let done = classes.end(NOW, &id, outcome).map(|(class, _)| class);
                let _ = answer.send(known(done));
            }
            Ask::JoinClass {
                class,
                subject,
                role,
                answer,
            } => {
                let done = classes.join(NOW, &class, &subject, role).map(|(class, _)| class);
                let _ = answer.send(known(done));
            }
            Ask::LeaveClass {
                class,
                subject,
                answer,
            } => {
                let done = classes.leave(NOW, &class, &subject).map(|(class, _)| class);
                let _ = answer.send(known(done));
            }
            Ask::Drain { edge, answer, .. } => {
                let done = (edge == "fra-1").then_some(());
                let _ = answer.send(done.ok_or(AskError::NotFound {
                    what: "edge",
                    name: edge,
                }));
            }
            Ask::Agent(_) | Ask::Edge(_) => {}
        }
    }
}

fn known(done: Result<&ClassRecord, ClassError>) -> Result<ClassStatus, AskError> {
    Ok(classes::from_record(done?))
}
