//! `corridor demo`: a scenario's world at the pace of real time, and its controller's pages and API on
//! this machine. Only they leave the process; everything else talks over the simulated network.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::controller::{first_admin, first_login, local_access, serve};
use crate::{
    api::{self, ApiState, server::Listener, time_text},
    machine::Machine,
    sim::scenario::{Controls, Scenario, Told, Watch},
};

/// A running demo.
#[derive(Debug)]
pub struct Demo {
    watch: Watch,
    page: Page,
    about: String,
    scratch: Scratch,
}

/// The controller's pages and API, which come and go with it.
#[derive(Debug)]
struct Page {
    http: SocketAddr,
    password: Option<String>,
    /// While the controller runs.
    serving: Option<CancellationToken>,
    server: Option<JoinHandle<()>>,
}

impl Demo {
    /// Starts the scenario's world, and serves its pages on `http`. `machine` gives the time and the
    /// randomness.
    pub async fn start(machine: &Machine, scenario: Scenario, http: SocketAddr) -> anyhow::Result<Self> {
        let listener = Listener::plain(http)?;
        let scratch = Scratch::new(machine)?;
        let about = scenario.about.clone();
        let (now, data) = (machine.clock.wall(), scratch.0.join("world"));
        let watch = Watch::begin(scenario, now, machine.seed, data).context("no thread for the world")?;
        let mut demo = Self {
            watch,
            page: Page {
                http: listener.addr(),
                password: None,
                serving: None,
                server: None,
            },
            about,
            scratch,
        };
        match demo.begin(listener).await {
            Ok(()) => Ok(demo),
            Err(error) => {
                demo.stop().await;
                Err(error)
            }
        }
    }

    async fn begin(&mut self, listener: Listener) -> anyhow::Result<()> {
        match self.told().await? {
            Told::Up(controls) => self.page.open(listener, *controls, &self.scratch).await,
            other => anyhow::bail!("the world began with {other:?}"),
        }
    }

    /// What a person wants to know first.
    pub fn greeting(&self) -> Vec<String> {
        let mut lines = vec![format!("page      http://{}", self.page.http)];
        lines.extend(self.page.password.as_deref().map(first_login));
        lines.push(format!(
            "commands  corridor status --data {}",
            self.scratch.0.display()
        ));
        lines.push(String::new());
        lines.push(self.about.clone());
        lines.push("What happens to it, in UTC, until Ctrl-C:".to_owned());
        lines
    }

    /// Waits until something happens to the world, and answers a line about it.
    pub async fn next(&mut self) -> anyhow::Result<String> {
        loop {
            match self.told().await? {
                Told::Happened { at, what } => {
                    let at = time_text::text(at);
                    // RFC 3339, of which the time of day matters here.
                    let time = at.split_once('T').and_then(|(_, time)| time.get(..8));
                    return Ok(format!("{}  {what}", time.unwrap_or(&at)));
                }
                Told::Up(controls) => {
                    self.page.close().await;
                    let listener = Listener::plain(self.page.http)?;
                    self.page.open(listener, *controls, &self.scratch).await?;
                }
                Told::Down => self.page.leave(),
            }
        }
    }

    async fn told(&mut self) -> anyhow::Result<Told> {
        Ok(self.watch.next().await.context("the world has ended")??)
    }

    /// Ends everything, and leaves nothing behind.
    pub async fn stop(mut self) {
        self.page.close().await;
        self.watch.end().await;
        drop(self.scratch);
    }
}

impl Page {
    async fn open(
        &mut self,
        listener: Listener,
        controls: Controls,
        scratch: &Scratch,
    ) -> anyhow::Result<()> {
        let url = format!("http://{}", self.http);
        let Controls {
            handle,
            store,
            ca,
            clock,
            address,
        } = controls;
        let stop = CancellationToken::new();
        let state = ApiState::new(api::Setup {
            handle,
            store: store.clone(),
            ca: ca.clone(),
            clock: clock.clone(),
            public_url: url.clone(),
            controller: address,
            stop: stop.clone(),
        })?;
        if let Some(password) = first_admin(&store, &*clock).await? {
            self.password = Some(password);
        }
        local_access(&store, &scratch.0, url, ca.pin()?, &*clock).await?;
        self.server = Some(tokio::spawn(serve(listener, api::router(state), stop.clone())));
        self.serving = Some(stop);
        Ok(())
    }

    /// Takes no more requests.
    fn leave(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.cancel();
        }
    }

    /// Waits until all requests are answered, for a few seconds.
    async fn close(&mut self) {
        self.leave();
        if let Some(server) = self.server.take() {
            let _ = server.await;
        }
    }
}

/// A directory of the owner's, gone when dropped.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new(machine: &Machine) -> anyhow::Result<Self> {
        let name = format!("corridor-demo-{}-{:08x}", std::process::id(), machine.seed as u32);
        let path = std::env::temp_dir().join(name);
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        // Fails where something is there already: nobody else can have prepared it.
        builder
            .create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::error!(%error, path = %self.0.display(), "cannot remove the temporary directory");
        }
    }
}
