//! Running the measurement of targets: one task for all of them, which ends with the stop signal. Lookups and
//! connections under way are tasks of theirs that end with it.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
    time::Duration,
};

use corridor_probes::{Mono, target::Method};
use rand::RngExt as _;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    Net,
    core::{Core, Output},
    sockets::{NotSent, Sockets},
};
use crate::{clock::Clock, host, machine::Machine, reporting::Closed, stamp::Civil};

/// What the operator set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Ranges whose addresses are probed though they are private, this machine's own, and so on.
    pub allow: Vec<Net>,
    /// The methods that may be used.
    pub methods: Vec<Method>,
    /// The port that TCP connections are opened to.
    pub tcp_port: Option<NonZeroU16>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            methods: Method::ALL.to_vec(),
            tcp_port: None,
        }
    }
}

impl Settings {
    /// Why a method is not used here, if it is not.
    pub(super) fn speaks_against(&self, method: Method) -> Option<String> {
        if !self.methods.contains(&method) {
            return Some("not one of targets.methods".to_owned());
        }
        (method == Method::Tcp && self.tcp_port.is_none())
            .then(|| "targets.tcp_port names no port".to_owned())
    }
}

/// Closed windows that wait to be reported: a minute of a full edge's.
const CLOSED: usize = 4_096;
/// A resolver that takes longer has no answer.
const RESOLVE_WITHIN: Duration = Duration::from_secs(10);

/// The measurement of all targets of a process.
#[derive(Debug)]
pub struct Targets {
    list: watch::Sender<Vec<String>>,
    closed: mpsc::Receiver<Closed>,
}

impl Targets {
    /// Starts, with no targets.
    pub fn start(machine: &Machine, settings: Settings, stop: CancellationToken) -> Self {
        let (list, listed) = watch::channel(Vec::new());
        let (closing, closed) = mpsc::channel(CLOSED);
        let clock = Arc::clone(&machine.clock);
        let now = clock.mono();
        let civil = Civil::new(now, clock.wall());
        let mut rng = machine.rng("targets");
        let tcp_port = settings.tcp_port;
        let core = Core::new(settings, rng.random(), civil.origin_ns(), now);
        let main = Main {
            core,
            sockets: Sockets::new(Arc::clone(&clock), civil, rng, tcp_port),
            lookups: JoinSet::new(),
            closing,
            clock,
        };
        tokio::spawn(main.run(listed, stop).in_current_span());
        Self { list, closed }
    }

    /// All targets that are to be measured, each time.
    pub fn set(&self, targets: Vec<String>) {
        // Whoever stops measures nothing more.
        let _ = self.list.send(targets);
    }

    /// Waits for the next closed window of what may not be measured at all. Cancel-safe.
    pub async fn next_closed(targets: &mut Option<Self>) -> Closed {
        match targets {
            Some(targets) => targets.closed().await,
            None => std::future::pending().await,
        }
    }

    /// Waits for the next closed window. Cancel-safe.
    pub async fn closed(&mut self) -> Closed {
        match self.closed.recv().await {
            Some(closed) => closed,
            // It has stopped.
            None => std::future::pending().await,
        }
    }
}

type Found = (String, Result<Vec<IpAddr>, String>);

#[derive(Debug)]
struct Main {
    core: Core,
    sockets: Sockets,
    lookups: JoinSet<Found>,
    closing: mpsc::Sender<Closed>,
    clock: Arc<dyn Clock>,
}

impl Main {
    async fn run(mut self, mut listed: watch::Receiver<Vec<String>>, stop: CancellationToken) {
        loop {
            self.turn();
            let wakeup = self.core.next_wakeup();
            let clock = Arc::clone(&self.clock);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = listed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let list = listed.borrow_and_update().clone();
                    self.set(&list);
                }
                came = self.sockets.receive() => {
                    let now = self.clock.mono();
                    for (key, answer, at) in came {
                        self.core.answered(key, &answer, at, now);
                    }
                }
                Some(found) = self.lookups.join_next() => {
                    if let Ok((name, found)) = found {
                        self.core.resolved(&name, found, &host::addresses(), self.clock.mono());
                    }
                }
                () = sleep_until(&*clock, wakeup) => {}
            }
        }
    }

    fn set(&mut self, list: &[String]) {
        let refused = self.core.refused();
        self.core.set(list, self.clock.mono());
        let refused = self.core.refused() - refused;
        if refused > 0 {
            tracing::warn!(
                refused,
                most = super::MAX_TARGETS,
                "targets are not measured: too many, or no HOST:PORT"
            );
        }
    }

    fn turn(&mut self) {
        while let Some(output) = self.core.poll(self.clock.mono()) {
            match output {
                Output::Resolve(name) => {
                    self.lookups.spawn(lookup(name));
                }
                Output::Send(probe) => match self.sockets.send(&probe) {
                    Ok(()) => self.core.sent(&probe, self.clock.mono()),
                    Err(NotSent::ThisTime) => self.core.not_sent(&probe, None, self.clock.mono()),
                    Err(NotSent::Impossible(why)) => {
                        self.core.not_sent(&probe, Some(why), self.clock.mono());
                    }
                },
                Output::Close(no, scope) => self.sockets.close(no, scope),
            }
        }
        while let Some(closed) = self.core.poll_closed() {
            if self.closing.try_send(closed).is_err() {
                tracing::debug!("a target's window is not reported: too many wait");
            }
        }
    }
}

async fn sleep_until(clock: &dyn Clock, at: Option<Mono>) {
    match at {
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn lookup(name: String) -> Found {
    let found = tokio::time::timeout(RESOLVE_WITHIN, tokio::net::lookup_host(name.clone())).await;
    let found = match found {
        Ok(Ok(found)) => Ok(found.map(|a: SocketAddr| a.ip()).collect()),
        Ok(Err(error)) => Err(format!("the name cannot be looked up: {error}")),
        Err(_) => Err("the name cannot be looked up: the resolver does not answer".to_owned()),
    };
    (name, found)
}

#[cfg(test)]
mod tests;
