//! The controller as a service: store and CA from disk, QUIC for edges, HTTPS for everyone else.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, ApiState, auth, server::Listener},
    clock::{self, Clock},
    config::{self, Config},
    controller::{Controller, Settings, Setup},
    host,
    identity::{Ca, Pin, Standing, Subject, Token, TrustedTime, system_rng, tls},
    machine::Machine,
    store::{
        Store,
        records::{BearerKind, Level, Service, TokenRecord},
        sqlite::Sqlite,
        worker::Worker,
    },
};

/// What a controller leaves in its data directory for commands on the same machine; readable by its
/// owner alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LocalAccess {
    pub api: String,
    pub token: String,
    /// Of the CA, for HTTPS.
    pub pin: String,
}

impl LocalAccess {
    pub const FILE: &'static str = "local-access.json";
}

/// Closures that wait for the store's thread.
const STORE_QUEUE: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();
/// Its own certificates last 14 days.
const REISSUE_EVERY: Duration = Duration::from_secs(86_400);
/// The account that is made at the first start.
const ADMIN: &str = "admin";
/// The API token of [`LocalAccess`].
const LOCAL: &str = "local";

/// A running controller with its HTTP servers.
#[derive(Debug)]
pub struct ControllerService {
    controller: Controller,
    store: Worker<Box<dyn Store>>,
    ca: Arc<Ca>,
    clock: Arc<dyn Clock>,
    https: SocketAddr,
    http: Option<SocketAddr>,
    public_url: String,
    /// The first login's password, when it was just made.
    password: Option<String>,
    stop: CancellationToken,
    servers: Vec<tokio::task::JoinHandle<()>>,
}

impl ControllerService {
    pub async fn start(machine: Machine, data: PathBuf, config: &Config) -> anyhow::Result<Self> {
        let clock = machine.clock.clone();
        let now = clock.wall();
        std::fs::create_dir_all(&data).with_context(|| data.display().to_string())?;
        let store: Box<dyn Store> = Box::new(Sqlite::open(&data.join("store"), now)?);
        let store = Worker::spawn("store", STORE_QUEUE, store).context("no thread for the store")?;
        let ca = Arc::new(Ca::open(&data.join("ca"), now, &mut system_rng())?);
        let set = &config.controller;
        let listener = |tls| Listener::https(set.https.unwrap_or(config::any(config::CONTROLLER_PORT)), tls);
        let hosts = hosts(set.public.as_deref());
        let own = Own::issue(&ca, &hosts, clock.clone())?;
        let https = listener(Arc::new(tls::https_server(&own.https)?))?;
        let plain = set.http.map(Listener::plain).transpose()?;
        let quic = set.quic.unwrap_or(https.addr());
        let controller = Controller::start(Setup {
            machine: machine.clone(),
            standing: own.quic.clone(),
            quic,
            store: store.clone(),
            ca: ca.clone(),
            settings: Settings::new(&config.controller, &config.edge),
        })
        .await?;
        let public = public_host(set.public.as_deref(), https.addr().ip());
        let quic_port = controller
            .local_addrs()
            .first()
            .map_or(quic.port(), SocketAddr::port);
        let public_url = format!("https://{}", with_port(&public, https.addr().port()));
        let stop = CancellationToken::new();
        let state = ApiState::new(api::Setup {
            handle: controller.handle(),
            store: store.clone(),
            ca: ca.clone(),
            clock: clock.clone(),
            public_url: public_url.clone(),
            controller: with_port(&public, quic_port),
            stop: stop.clone(),
        })?;
        let password = first_admin(&store, &*clock).await?;
        let (https_addr, http_addr) = (https.addr(), plain.as_ref().map(Listener::addr));
        let api = match http_addr {
            Some(http) => format!("http://{http}"),
            None => format!("https://{}", loopback(https_addr)),
        };
        local_access(&store, &data, api, ca.pin()?, &*clock).await?;
        let router = api::router(state);
        let mut servers = vec![tokio::spawn(own.keep(
            ca.clone(),
            hosts,
            clock.clone(),
            stop.clone(),
        ))];
        for listener in std::iter::once(https).chain(plain) {
            servers.push(tokio::spawn(serve(listener, router.clone(), stop.clone())));
        }
        Ok(Self {
            controller,
            store,
            ca,
            clock,
            https: https_addr,
            http: http_addr,
            public_url,
            password,
            stop,
            servers,
        })
    }

    pub fn https_addr(&self) -> SocketAddr {
        self.https
    }

    /// Where other machines reach it.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// Lines for whoever started it.
    pub fn greeting(&self) -> Vec<String> {
        let page = self
            .http
            .map_or_else(|| self.public_url.clone(), |http| format!("http://{http}"));
        let mut lines = vec![
            format!("page      {page}"),
            format!("HTTPS     {}", self.public_url),
        ];
        lines.push(match &self.password {
            Some(password) => first_login(password),
            None => format!("login     {ADMIN}, with the password shown at the first start"),
        });
        lines
    }

    /// A join token, as its text.
    pub async fn join_token(
        &self,
        service: Service,
        subject: Option<&str>,
        uses: u32,
        valid: Duration,
    ) -> anyhow::Result<String> {
        let token = Token::create(self.ca.pin()?, &mut system_rng());
        let now = self.clock.wall();
        let record = TokenRecord {
            id: token.id(),
            secret_hash: token.secret_hash(),
            service,
            subject: subject.map(str::to_owned),
            tags: std::collections::BTreeMap::new(),
            uses_left: uses,
            created: now,
            expires: now + valid,
            revoked: None,
        };
        self.store.run(move |store| store.put_token(&record)).await??;
        Ok(token.to_string())
    }

    pub async fn stop(self) {
        self.stop.cancel();
        for server in self.servers {
            let _ = server.await;
        }
        self.controller.stop().await;
    }
}

/// The controller's own certificates.
#[derive(Debug)]
struct Own {
    quic: Arc<Standing>,
    https: Arc<Standing>,
}

impl Own {
    fn issue(ca: &Ca, hosts: &[String], clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let (rng, now) = (&mut system_rng(), clock.wall());
        let time = Arc::new(TrustedTime::new(clock));
        let (roots, provider) = (ca.roots(), tls::provider());
        let quic = ca.credentials(Subject::Controller, now, rng)?;
        let https = ca.issue_https(hosts, now, rng)?;
        Ok(Self {
            quic: Standing::new(quic, &roots, time.clone(), provider.clone())?,
            https: Standing::new(https, &roots, time, provider)?,
        })
    }

    /// Issues them anew every day, until told to stop.
    async fn keep(self, ca: Arc<Ca>, hosts: Vec<String>, clock: Arc<dyn Clock>, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = clock::sleep(&*clock, REISSUE_EVERY) => {}
            }
            let (rng, now, roots) = (&mut system_rng(), clock.wall(), ca.roots());
            let renewed = ca
                .credentials(Subject::Controller, now, rng)
                .map_err(anyhow::Error::from)
                .and_then(|own| Ok(self.quic.renew(own, &roots)?))
                .and_then(|()| Ok(ca.issue_https(&hosts, now, rng)?))
                .and_then(|own| Ok(self.https.renew(own, &roots)?));
            if let Err(error) = renewed {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the controller's own certificate is not renewed"
                );
            }
        }
    }
}

/// Serves until told to stop.
pub(super) async fn serve(listener: Listener, router: axum::Router, stop: CancellationToken) {
    if let Err(error) = listener.serve(router, stop).await {
        tracing::error!(%error, "HTTP server ended");
    }
}

/// How the first login is told.
pub(super) fn first_login(password: &str) -> String {
    format!("login     {ADMIN}, password {password} (shown only now)")
}

/// Makes the first account; its password comes back when it is new.
pub(super) async fn first_admin(
    store: &Worker<Box<dyn Store>>,
    clock: &dyn Clock,
) -> anyhow::Result<Option<String>> {
    if !store.run(|store| store.accounts()).await??.is_empty() {
        return Ok(None);
    }
    let (account, password) =
        auth::account_with_random_password(ADMIN, Level::Admin, clock.wall(), &mut system_rng())?;
    store.run(move |store| store.put_account(&account)).await??;
    Ok(Some(password))
}

/// Gives commands on this machine a way in to the API at the address `api`: a new API token at each start,
/// in a file of the owner's.
pub(super) async fn local_access(
    store: &Worker<Box<dyn Store>>,
    data: &Path,
    api: String,
    pin: Pin,
    clock: &dyn Clock,
) -> anyhow::Result<()> {
    let (record, token) = auth::api_token(LOCAL, Level::Admin, None, clock.wall(), &mut system_rng());
    store
        .run(move |store| {
            store.delete_bearers(BearerKind::ApiToken, LOCAL)?;
            store.put_bearer(&record)
        })
        .await??;
    let access = LocalAccess {
        api,
        token,
        pin: pin.to_string(),
    };
    crate::identity::write_private(
        &data.join(LocalAccess::FILE),
        &serde_json::to_vec_pretty(&access)?,
    )?;
    Ok(())
}

/// Where this machine itself reaches what listens on `addr`.
fn loopback(addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), addr.port())
    } else {
        addr
    }
}

/// Names and addresses that the HTTPS certificate is for.
fn hosts(public: Option<&str>) -> Vec<String> {
    let mut hosts: Vec<String> = public.map(str::to_owned).into_iter().collect();
    hosts.extend(["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()]);
    hosts.extend(host::addresses().iter().map(IpAddr::to_string));
    hosts.dedup();
    hosts
}

/// What others call this machine, as well as it can know: what was configured, the one address that it
/// listens on, or an address of its own.
fn public_host(public: Option<&str>, bound: IpAddr) -> String {
    let bound = Some(bound).filter(|ip| !ip.is_unspecified());
    let first = || host::addresses().into_iter().min_by_key(|ip| ip.is_ipv6());
    public
        .map(str::to_owned)
        .or_else(|| bound.or_else(first).map(|ip| ip.to_string()))
        .unwrap_or_else(|| "localhost".into())
}

fn with_port(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    }
}
