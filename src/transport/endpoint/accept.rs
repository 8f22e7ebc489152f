//! Accepting: how many handshakes at once, who must prove an address first, who needs a certificate.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    super::{
        close::CloseCode,
        config::{self, Kind},
        connection::Connection,
        packets::PacketLog,
    },
    EndpointStats, ServerSetup, lock,
};
use crate::clock::{self, Clock};

/// The task that accepts on one socket, and its figures. Dropping it ends the task and its handshakes.
pub(super) struct Acceptor {
    figures: Arc<Figures>,
    trunks: Arc<Mutex<Trunks>>,
    task: tokio::task::AbortHandle,
}

#[derive(Debug, Default)]
struct Figures {
    pending: AtomicUsize,
    accepted: AtomicU64,
    failed: AtomicU64,
    retries: AtomicU64,
    overloaded: AtomicU64,
}

/// Who brings the flows of many, and with what they are accepted.
struct Trunks {
    config: Arc<quinn::ServerConfig>,
    from: BTreeSet<IpAddr>,
}

impl Trunks {
    fn config(&self, address: SocketAddr) -> Option<Arc<quinn::ServerConfig>> {
        let from = self.from.contains(&address.ip().to_canonical());
        from.then(|| Arc::clone(&self.config))
    }
}

/// What to do with a client's first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    Handshake,
    Retry,
    Ignore,
}

fn admit(pending: usize, address_proven: bool) -> Admission {
    if pending >= config::RETRY_ABOVE && !address_proven {
        Admission::Retry
    } else if pending >= config::MAX_HANDSHAKES {
        Admission::Ignore
    } else {
        Admission::Handshake
    }
}

impl Acceptor {
    pub(super) fn start(
        endpoint: quinn::Endpoint,
        clock: Arc<dyn Clock>,
        log: Arc<PacketLog>,
        setup: watch::Receiver<ServerSetup>,
        established: mpsc::Sender<Connection>,
        of_trunks: Arc<quinn::ServerConfig>,
    ) -> Self {
        let figures = Arc::<Figures>::default();
        let trunks = Arc::new(Mutex::new(Trunks {
            config: of_trunks,
            from: BTreeSet::new(),
        }));
        let handshake = Handshake {
            clock,
            log,
            setup,
            established,
            figures: Arc::clone(&figures),
            trunks: Arc::clone(&trunks),
        };
        let task = tokio::spawn(accept(endpoint, handshake));
        Self {
            figures,
            trunks,
            task: task.abort_handle(),
        }
    }

    /// Trunks are accepted with this from now on.
    pub(super) fn set(&self, of_trunks: Arc<quinn::ServerConfig>) {
        lock(&self.trunks).config = of_trunks;
    }

    pub(super) fn expect_trunks(&self, from: &BTreeSet<IpAddr>) {
        let canonical = from.iter().map(IpAddr::to_canonical);
        lock(&self.trunks).from = canonical.collect();
    }

    pub(super) fn add_to(&self, stats: &mut EndpointStats) {
        stats.accepted += self.figures.accepted.load(Ordering::Relaxed);
        stats.handshakes_failed += self.figures.failed.load(Ordering::Relaxed);
        stats.retries += self.figures.retries.load(Ordering::Relaxed);
        stats.overloaded += self.figures.overloaded.load(Ordering::Relaxed);
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor")
            .field("figures", &self.figures)
            .finish_non_exhaustive()
    }
}

async fn accept(endpoint: quinn::Endpoint, handshake: Handshake) {
    let figures = &handshake.figures;
    let mut handshakes = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        while handshakes.try_join_next().is_some() {}
        let pending = figures.pending.load(Ordering::Relaxed);
        match admit(pending, incoming.remote_address_validated()) {
            Admission::Retry => {
                figures.retries.fetch_add(1, Ordering::Relaxed);
                // Only a proven address cannot be asked again, and this one is not.
                let _ = incoming.retry();
            }
            Admission::Ignore => {
                figures.overloaded.fetch_add(1, Ordering::Relaxed);
                incoming.ignore();
            }
            Admission::Handshake => {
                figures.pending.fetch_add(1, Ordering::Relaxed);
                handshakes.spawn(handshake.clone().run(incoming));
            }
        }
    }
}

#[derive(Clone)]
struct Handshake {
    clock: Arc<dyn Clock>,
    log: Arc<PacketLog>,
    setup: watch::Receiver<ServerSetup>,
    established: mpsc::Sender<Connection>,
    figures: Arc<Figures>,
    trunks: Arc<Mutex<Trunks>>,
}

impl Handshake {
    async fn run(self, incoming: quinn::Incoming) {
        let of_trunk = lock(&self.trunks).config(incoming.remote_address());
        let accepted = match of_trunk {
            Some(config) => incoming.accept_with(config),
            None => incoming.accept(),
        };
        let ended = tokio::select! {
            biased;
            ended = async { accepted?.await } => ended,
            () = clock::sleep(&*self.clock, config::HANDSHAKE_TIMEOUT) => {
                Err(quinn::ConnectionError::TimedOut)
            }
        };
        let quinn = match ended {
            Ok(quinn) => quinn,
            Err(error) => {
                tracing::debug!(%error, "handshake failed");
                self.figures.failed.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        let setup = self.setup.borrow().clone();
        let kind_of = |alpn: &[u8], has_certificate| kind_of(&setup, alpn, has_certificate);
        match Connection::accepted(quinn, Arc::clone(&self.clock), Arc::clone(&self.log), kind_of) {
            Ok(connection) => {
                self.figures.accepted.fetch_add(1, Ordering::Relaxed);
                // Where the queue is full this waits, and still counts as a handshake, so that a service
                // that takes none stops new ones. An error means that the endpoint is gone.
                let _ = self.established.send(connection).await;
            }
            Err(quinn) => {
                self.figures.failed.fetch_add(1, Ordering::Relaxed);
                quinn.close(
                    CloseCode::Refused.to_wire(),
                    b"this protocol needs a client certificate",
                );
            }
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.figures.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection is for, or `None` if it lacks the certificate that its protocol needs.
fn kind_of(setup: &ServerSetup, alpn: &[u8], has_certificate: bool) -> Option<Kind> {
    match setup.anonymous.iter().find(|(a, _)| a == alpn) {
        Some((_, kind)) => Some(*kind),
        None => has_certificate.then_some(setup.kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admission_at_its_thresholds() {
        use Admission::{Handshake, Ignore, Retry};
        let (retry, max) = (config::RETRY_ABOVE, config::MAX_HANDSHAKES);
        for (pending, proven, expected) in [
            (0, false, Handshake),
            (retry - 1, false, Handshake),
            (retry, false, Retry),
            (retry, true, Handshake),
            (max - 1, true, Handshake),
            (max, true, Ignore),
            (max, false, Retry),
        ] {
            assert_eq!(admit(pending, proven), expected, "{pending} {proven}");
        }
    }
}
