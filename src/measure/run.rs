//! Measuring: the driver of [`super::books`].
//!
//! One loop, no tasks of its own (quinn has two). Everything it waits for can be given up at any point:
//! a datagram that was not read stays in quinn's buffer, and a timer is made anew.

use std::{io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use corridor_probes::{HistogramError, Mono, wire::LinkProbe};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

use super::{address::Address, books::Books, pace::Pace, plan::Plan, progress::Progress, summary::Summary};
use crate::{
    clock::{self, Clock},
    identity::{
        Fingerprint, TlsError,
        tls::{fingerprint_client, insecure_client, provider},
    },
    machine::Machine,
    proto,
    transport::{
        ArrivalTimes, BindError, CloseCode, Closed, ConnectError, Connection, Endpoint, EndpointError,
        EndpointSetup, Kind, Received, SendOutcome,
    },
};

/// What TLS is asked for: no certificate is judged by it, and the name that was typed stays here.
const SERVER_NAME: &str = "probe.corridor.internal";
/// A path's MTU is found within a few round trips.
const MTU_PATIENCE: Duration = Duration::from_secs(3);
/// How often to look meanwhile.
const MTU_LOOK: Duration = Duration::from_millis(20);
/// After this machine stood still, quinn has read its socket by then.
const CATCH_UP: Duration = Duration::from_millis(5);
/// Between attempts to connect again.
const RECONNECT: Duration = Duration::from_millis(500);
/// A handshake sends again after 1, 2 and 4 s. Where losses come in runs another one, which begins anew beside
/// it, is through sooner.
const BESIDE: Duration = Duration::from_secs(3);
/// So many at once.
const HANDSHAKES: usize = 3;

/// How the edge is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    Fingerprint(Fingerprint),
    /// Whoever answers.
    Anyone,
}

/// What to measure the way to.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: Address,
    pub trust: Trust,
    /// How long to wait for the first answer.
    pub patience: Duration,
}

/// Two ways to end early.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// No more probes; echoes under way are waited for.
    pub sending: CancellationToken,
    /// At once.
    pub all: CancellationToken,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot find the address of {name}")]
    Name {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("nothing answers at {0}")]
    Silent(Address),
    #[error("{0} answers, but no handshake comes to its end: most packets are lost on the way")]
    Unfinished(Address),
    #[error("{0} does not allow open probing")]
    NotOpen(Address),
    #[error("{0} is not the edge with this fingerprint: its certificate is another one")]
    OtherCertificate(Address),
    #[error("cannot connect to {address}")]
    Connect {
        address: Address,
        #[source]
        source: ConnectError,
    },
    #[error("{size} B do not fit the way to {address}, which takes {most} B at most")]
    TooLarge {
        address: Address,
        size: usize,
        most: usize,
    },
    #[error("interrupted before {0} answered")]
    Interrupted(Address),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Histogram(#[from] HistogramError),
}

/// Measures as planned. `progress` is called some times a second.
pub async fn run(
    machine: &Machine,
    target: &Target,
    plan: Plan,
    stop: &Stop,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Summary, RunError> {
    let open = open(machine, target, plan.size);
    let (dialler, connection) = tokio::select! {
        biased;
        () = stop.sending.cancelled() => return Err(RunError::Interrupted(target.address.clone())),
        opened = open => opened?,
    };
    let seed = machine.rng("probe").random();
    let mut driver = Driver {
        books: Books::new(plan, seed, machine.clock.mono()),
        clock: machine.clock.clone(),
        send_errors: 0,
        buffer: Vec::with_capacity(plan.size),
        link: Link::Up(connection),
        dialler,
    };
    driver.run(stop, progress).await?;
    let Driver {
        books, dialler, link, ..
    } = driver;
    drop(link);
    dialler.endpoint.close(CloseCode::Done, "").await;
    let mut summary = books.finish()?;
    summary.duplicates_down = dialler.duplicates();
    summary.arrival_times = dialler.arrival_times();
    Ok(summary)
}

/// Opens the first connection, and waits until probes of `size` bytes fit its path.
async fn open(
    machine: &Machine,
    target: &Target,
    size: usize,
) -> Result<(Arc<Dialler>, Connection), RunError> {
    let Address { host, port } = &target.address;
    let found = tokio::net::lookup_host((host.as_str(), *port)).await;
    let addresses = found.map_err(|source| RunError::Name {
        name: host.clone(),
        source,
    })?;
    let alpn = [proto::ALPN_PROBE];
    let tls = match target.trust {
        Trust::Fingerprint(fingerprint) => fingerprint_client(&provider(), fingerprint, &alpn)?,
        Trust::Anyone => insecure_client(&provider(), &alpn)?,
    };
    let endpoint = Endpoint::new(EndpointSetup {
        network: machine.network.clone(),
        clock: machine.clock.clone(),
        local: vec![SocketAddr::from(([0u16; 8], 0))],
        server: None,
        reset_key: None,
        rng_seed: machine.endpoint_seed(),
    })?;
    let dialler = Arc::new(Dialler {
        endpoint,
        addresses: addresses.collect(),
        tls: Arc::new(tls),
    });
    let connected = tokio::select! {
        biased;
        connected = dialler.persist(&*machine.clock) => connected.map_err(|e| refused(&dialler, target, e))?,
        () = clock::sleep(&*machine.clock, target.patience) => return Err(dialler.in_vain(target)),
    };
    let deadline = machine.clock.mono() + MTU_PATIENCE;
    loop {
        let most = connected.max_datagram_size().unwrap_or(0);
        if size <= most {
            return Ok((dialler, connected));
        }
        if machine.clock.mono() >= deadline {
            let address = target.address.clone();
            return Err(RunError::TooLarge { address, size, most });
        }
        clock::sleep(&*machine.clock, MTU_LOOK).await;
    }
}

/// What an attempt's end says of the edge. The most telling of several addresses counts.
fn refused(dialler: &Dialler, target: &Target, error: ConnectError) -> RunError {
    /// RFC 8446 §6.2 and RFC 7301 §3.2.
    const NO_APPLICATION_PROTOCOL: u8 = 120;
    const CERTIFICATES: std::ops::RangeInclusive<u8> = 42..=49;

    let address = target.address.clone();
    let ConnectError::Failed { attempts, .. } = &error else {
        return RunError::Connect {
            address,
            source: error,
        };
    };
    let alerts = || {
        attempts.iter().filter_map(|(_, closed)| match closed {
            Closed::Tls { alert, .. } => Some(*alert),
            _ => None,
        })
    };
    let pinned = matches!(target.trust, Trust::Fingerprint(_));
    if pinned && alerts().any(|a| CERTIFICATES.contains(&a)) {
        RunError::OtherCertificate(address)
    } else if alerts().any(|a| a == NO_APPLICATION_PROTOCOL) {
        RunError::NotOpen(address)
    } else if attempts.iter().all(|(_, closed)| *closed == Closed::TimedOut) {
        dialler.in_vain(target)
    } else {
        RunError::Connect {
            address,
            source: error,
        }
    }
}

/// Everything that a connection is opened with.
#[derive(Debug)]
struct Dialler {
    endpoint: Endpoint,
    addresses: Vec<SocketAddr>,
    tls: Arc<rustls::ClientConfig>,
}

impl Dialler {
    async fn dial(&self) -> Result<Connection, ConnectError> {
        let dialled = self
            .endpoint
            .connect(&self.addresses, SERVER_NAME, self.tls.clone(), Kind::Probe);
        let connection = dialled.await?;
        // Probes before that would be lost at the edge, not on the way.
        connection.confirmed().await;
        Ok(connection)
    }

    /// The same, not by one handshake alone.
    async fn persist(&self, clock: &dyn Clock) -> Result<Connection, ConnectError> {
        let mut under_way: FuturesUnordered<_> = std::iter::once(self.dial()).collect();
        loop {
            tokio::select! {
                biased;
                Some(ended) = under_way.next() => match ended {
                    Err(_) if !under_way.is_empty() => {}
                    ended => return ended,
                },
                () = clock::sleep(clock, BESIDE), if under_way.len() < HANDSHAKES => under_way.push(self.dial()),
            }
        }
    }

    /// Why there is no connection after all that time.
    fn in_vain(&self, target: &Target) -> RunError {
        let heard = self
            .endpoint
            .stats()
            .sockets
            .iter()
            .any(|s| s.stamped + s.unstamped > 0);
        let address = target.address.clone();
        if heard {
            RunError::Unfinished(address)
        } else {
            RunError::Silent(address)
        }
    }

    /// Packets that came twice, where the sockets look.
    fn duplicates(&self) -> Option<u64> {
        let stats = self.endpoint.stats();
        stats.sockets.iter().map(|s| s.duplicates).sum()
    }

    fn arrival_times(&self) -> Option<ArrivalTimes> {
        ArrivalTimes::of(&self.endpoint.stats().sockets)
    }

    /// Packets that the system has refused to send.
    fn send_errors(&self) -> u64 {
        self.endpoint.stats().sockets.iter().map(|s| s.send_errors).sum()
    }
}

/// The connection, or the way to the next one.
enum Link {
    Up(Connection),
    Down(Pin<Box<dyn Future<Output = Connection> + Send>>),
}

enum Event {
    Datagram(Received),
    Down,
    Up(Connection),
}

impl Link {
    /// Cancel-safe: an attempt under way goes on with the next call.
    async fn next(&mut self) -> Event {
        match self {
            Self::Up(connection) => match connection.read_datagram().await {
                Ok(received) => Event::Datagram(received),
                Err(_) => Event::Down,
            },
            Self::Down(again) => Event::Up(again.as_mut().await),
        }
    }
}

struct Driver {
    books: Books,
    clock: Arc<dyn Clock>,
    dialler: Arc<Dialler>,
    link: Link,
    send_errors: u64,
    buffer: Vec<u8>,
}

impl Driver {
    async fn run(&mut self, stop: &Stop, progress: &mut dyn FnMut(&Progress)) -> Result<(), RunError> {
        self.send_errors = self.dialler.send_errors();
        let mut pace = Pace::new(&self.clock);
        let mut stopping = false;
        loop {
            self.send_due().await;
            if pace.turn(&mut self.books, progress)? {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = stop.all.cancelled() => return Ok(()),
                () = stop.sending.cancelled(), if !stopping => {
                    stopping = true;
                    self.books.stop();
                }
                event = self.link.next() => {
                    pace.notice_sleep(&mut self.books);
                    self.event(event);
                }
                () = pace.due() => {
                    if pace.stood_still() {
                        // What has come meanwhile lies in the socket: it counts before windows close.
                        clock::sleep(&*self.clock, CATCH_UP).await;
                        self.read_rest();
                    }
                }
            }
        }
    }

    /// Takes what has arrived already.
    fn read_rest(&mut self) {
        while let Link::Up(connection) = &self.link
            && let Some(received) = connection.try_read_datagram()
        {
            self.books.datagram(received.arrival, &received.data);
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Datagram(received) => {
                self.books.datagram(received.arrival, &received.data);
                self.read_rest();
            }
            Event::Down => {
                if let Link::Up(connection) = &self.link {
                    tracing::info!(why = ?connection.close_reason(), "connection lost");
                    self.books.disconnected(connection.stats().local_drops.in_queue);
                }
                self.link = Link::Down(Box::pin(again(self.dialler.clone(), self.clock.clone())));
            }
            Event::Up(connection) => {
                self.books.connected();
                self.link = Link::Up(connection);
            }
        }
    }

    /// Sends what is due, one probe at a time.
    async fn send_due(&mut self) {
        while let Some(slot) = self.books.next_due(self.clock.mono()) {
            let up = match &self.link {
                Link::Up(connection) => Some(connection.clone()).filter(|c| c.close_reason().is_none()),
                Link::Down(_) => None,
            };
            match up {
                None => self.books.unconnected(slot),
                Some(connection) => {
                    let now = self.clock.mono();
                    if let Some(probe) = self.books.send(slot, now) {
                        self.transmit(&connection, &probe, self.books.size(), now).await;
                    }
                }
            }
        }
        let now = self.clock.mono();
        if let Link::Up(connection) = &self.link
            && let Some(question) = self.books.question(now)
        {
            // As short as can be: whoever counts probes by their size does not count it.
            self.transmit(&connection.clone(), &question, 0, now).await;
        }
    }

    /// Sends a probe that was booked at `booked`.
    async fn transmit(&mut self, connection: &Connection, probe: &LinkProbe, size: usize, booked: Mono) {
        probe.write(&mut self.buffer, size);
        match connection.send_datagram(Bytes::copy_from_slice(&self.buffer)) {
            SendOutcome::Queued | SendOutcome::Displaced(_) => {
                // Before the next probe is stamped.
                connection.transmitted().await;
                let errors = self.dialler.send_errors();
                if errors > std::mem::replace(&mut self.send_errors, errors) {
                    self.books.local_drop(probe.seq);
                } else if let Some(at) = connection.sent_since(booked, self.buffer.len()) {
                    self.books.on_sent(probe.seq, at);
                }
            }
            SendOutcome::LocalDrop(_) => self.books.local_drop(probe.seq),
        }
    }
}

/// Connects again, however long that takes.
async fn again(dialler: Arc<Dialler>, clock: Arc<dyn Clock>) -> Connection {
    loop {
        clock::sleep(&*clock, RECONNECT).await;
        match dialler.dial().await {
            Ok(connection) => return connection,
            Err(error) => tracing::debug!(%error, "not connected again"),
        }
    }
}

#[cfg(test)]
mod tests;
