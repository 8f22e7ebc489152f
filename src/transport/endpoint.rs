//! An endpoint: one or more sockets on which connections are opened and accepted.
//!
//! Tasks: one acceptor a socket (`accept.rs`), one short-lived task a handshake, and quinn's own. All end
//! when the endpoint is dropped.

mod accept;
mod race;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, watch};

use super::{
    close::{CloseCode, Closed},
    config::{self, Kind, Side},
    connection::Connection,
    network::{BindError, DatagramSocket, Network, SocketCounters},
    packets::PacketLog,
    seed::{Secrets, TokenTime},
    traffic::{Counted, Traffic},
};
use crate::clock::{self, Clock};
use accept::Acceptor;

/// What an endpoint is made of.
#[derive(Debug)]
pub struct EndpointSetup {
    pub network: Arc<dyn Network>,
    pub clock: Arc<dyn Clock>,
    /// Where to listen; a client gives `[::]:0`.
    pub local: Vec<SocketAddr>,
    /// None accepts nothing.
    pub server: Option<ServerSetup>,
    /// A secret that outlives the process: with it, peers whose connections a restart forgot are told so
    /// at their next packet (RFC 9000 §10.3), and need not wait for their idle time-out.
    pub reset_key: Option<[u8; 32]>,
    /// Makes everything but the cryptography itself repeatable: simulations only.
    pub rng_seed: Option<u64>,
}

/// How connections are accepted.
#[derive(Debug, Clone)]
pub struct ServerSetup {
    /// With the ALPNs that are served. Where some of them need a client certificate and others do not, its
    /// verifier must make certificates optional, and `anonymous` says which need none. Early data (0-RTT)
    /// is switched off whatever it says.
    pub tls: Arc<rustls::ServerConfig>,
    /// What most connections are for: it sets buffers, windows and time-outs.
    pub kind: Kind,
    /// ALPNs that need no client certificate, and the kind of their connections. Connections with any
    /// other ALPN are refused without one.
    pub anonymous: Vec<(Vec<u8>, Kind)>,
}

/// Why an endpoint cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("an endpoint needs an address to listen on")]
    NoAddress,
    #[error("cannot run a QUIC endpoint on {address}")]
    Start {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("the TLS configuration lacks TLS 1.3 with TLS13_AES_128_GCM_SHA256, which QUIC starts with")]
    Tls,
    #[error("the TLS configuration names no protocol (ALPN)")]
    NoProtocol,
    #[error("the system gives no random numbers")]
    Random(#[from] rand::rngs::SysError),
}

/// Why no connection could be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{name} has no address that this machine could reach")]
    NoAddress { name: String },
    #[error("{0:?} is not a valid server name")]
    BadName(String),
    #[error("the endpoint is closed")]
    EndpointClosed,
    #[error("the TLS configuration cannot be used")]
    Tls(#[source] EndpointError),
    /// In the order in which the attempts ended.
    #[error("cannot connect to {name}: {}", list(attempts))]
    Failed {
        name: String,
        attempts: Vec<(SocketAddr, Closed)>,
    },
}

fn list(attempts: &[(SocketAddr, Closed)]) -> String {
    let each: Vec<String> = attempts.iter().map(|(a, e)| format!("{a}: {e}")).collect();
    each.join("; ")
}

/// Plain figures, cumulative unless said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointStats {
    /// By socket, in the order of [`EndpointSetup::local`], since the last rebind.
    pub sockets: Vec<SocketCounters>,
    /// IP bytes that went over its sockets, those before a rebind included.
    pub traffic: corridor_probes::tiers::Bytes,
    /// Now, both ways.
    pub open_connections: usize,
    pub accepted: u64,
    /// Handshakes that failed, were refused for want of a certificate, or ran out of time.
    pub handshakes_failed: u64,
    /// First packets answered by a demand to prove the address.
    pub retries: u64,
    /// First packets ignored because too many handshakes were under way.
    pub overloaded: u64,
}

/// Shared by reference or `Arc`.
pub struct Endpoint {
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    sockets: Vec<Slot>,
    accepted: tokio::sync::Mutex<mpsc::Receiver<Connection>>,
    server: Option<watch::Sender<ServerSetup>>,
    acceptors: Vec<Acceptor>,
    secrets: Vec<Secrets>,
    time: Arc<TokenTime>,
    rng_seed: Option<u64>,
    siblings: AtomicU64,
    winners: Mutex<BTreeMap<String, SocketAddr>>,
}

struct Slot {
    quinn: quinn::Endpoint,
    /// With the port that was taken.
    local: Mutex<SocketAddr>,
    socket: Mutex<Arc<dyn DatagramSocket>>,
    /// Of this socket, and of those that come in its place.
    log: Arc<PacketLog>,
    traffic: Arc<Traffic>,
}

/// Peers whose best address is remembered.
const MAX_WINNERS: usize = 4_096;
/// How long [`Endpoint::close`] waits for peers to be told.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

impl Endpoint {
    /// Binds the sockets and starts accepting.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(setup: EndpointSetup) -> Result<Self, EndpointError> {
        let EndpointSetup {
            network,
            clock,
            local,
            server,
            reset_key,
            rng_seed,
        } = setup;
        if local.is_empty() {
            return Err(EndpointError::NoAddress);
        }
        let runtime = network.runtime();
        let time = Arc::new(TokenTime::new(Arc::clone(&runtime)));
        let (established, accepted) = mpsc::channel(config::ACCEPT_QUEUE);
        let server = server.map(watch::Sender::new);
        let (mut sockets, mut secrets, mut acceptors) = (Vec::new(), Vec::new(), Vec::new());
        for (n, address) in (0u64..).zip(local) {
            // Distinct sockets must not draw the same connection ids.
            let own = Secrets::new(
                rng_seed.map(|seed| seed.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15))),
                reset_key,
            )?;
            let log = Arc::<PacketLog>::default();
            let socket = network.bind(address)?;
            socket.log_to(&log);
            let start = |source| EndpointError::Start { address, source };
            let bound = socket.local_addr().map_err(start)?;
            let config = match &server {
                Some(server) => Some(server_config(&server.borrow(), &own, &time)?),
                None => None,
            };
            let kind = server.as_ref().map(|server| server.borrow().kind);
            let of_trunks = config
                .as_ref()
                .zip(kind)
                .map(|(config, kind)| for_trunks(config, kind));
            let traffic = Arc::default();
            let quinn = quinn::Endpoint::new_with_abstract_socket(
                own.endpoint.clone(),
                config,
                counted(&socket, &traffic),
                Arc::clone(&runtime),
            )
            .map_err(start)?;
            if let Some((server, of_trunks)) = server.as_ref().zip(of_trunks) {
                acceptors.push(Acceptor::start(
                    quinn.clone(),
                    Arc::clone(&clock),
                    Arc::clone(&log),
                    server.subscribe(),
                    established.clone(),
                    of_trunks,
                ));
            }
            sockets.push(Slot {
                quinn,
                local: Mutex::new(bound),
                socket: Mutex::new(socket),
                log,
                traffic,
            });
            secrets.push(own);
        }
        Ok(Self {
            network,
            clock,
            sockets,
            accepted: tokio::sync::Mutex::new(accepted),
            server,
            acceptors,
            secrets,
            time,
            rng_seed,
            siblings: AtomicU64::new(0),
            winners: Mutex::new(BTreeMap::new()),
        })
    }

    /// Another endpoint, that only opens connections, by sockets of its own at the same addresses of this machine.
    pub fn sibling(&self) -> Result<Self, EndpointError> {
        let number = 1 + self.siblings.fetch_add(1, Ordering::Relaxed);
        let local = self.local_addrs().into_iter();
        Self::new(EndpointSetup {
            network: Arc::clone(&self.network),
            clock: Arc::clone(&self.clock),
            local: local.map(|address| SocketAddr::new(address.ip(), 0)).collect(),
            server: None,
            reset_key: None,
            rng_seed: self.rng_seed.map(|seed| seed ^ number.rotate_left(32)),
        })
    }

    /// What connects from these addresses carries the flows of many: it gets room for them.
    pub fn expect_trunks(&self, from: BTreeSet<IpAddr>) {
        for acceptor in &self.acceptors {
            acceptor.expect_trunks(&from);
        }
    }

    /// Where it listens, with the ports that were taken.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|slot| *lock(&slot.local)).collect()
    }

    /// The next established connection; `None` once the endpoint is closed. Cancel-safe.
    pub async fn accept(&self) -> Option<Connection> {
        self.accepted.lock().await.recv().await
    }

    /// Connects to the first of `addresses` that answers: those that won before first, families in turn,
    /// 250 ms apart or as soon as one fails (RFC 8305). `server_name` is what the certificate must be for.
    ///
    /// Cancel-safe: dropping this gives up all attempts.
    pub async fn connect(
        &self,
        addresses: &[SocketAddr],
        server_name: &str,
        tls: Arc<rustls::ClientConfig>,
        kind: Kind,
    ) -> Result<Connection, ConnectError> {
        let config = self.client_config(tls, kind)?;
        let won = lock(&self.winners).get(server_name).copied();
        let order = race::order(addresses, won, config::MAX_ADDRESSES);
        let start = |address| self.attempt(&config, address, server_name);
        let (quinn, winner) = race::run(&*self.clock, server_name, order, start).await?;
        let mut winners = lock(&self.winners);
        if winners.len() < MAX_WINNERS || winners.contains_key(server_name) {
            winners.insert(server_name.to_owned(), winner);
        }
        drop(winners);
        let log = Arc::clone(&self.sockets[self.socket_for(winner)].log);
        Ok(Connection::new(quinn, Arc::clone(&self.clock), kind, log))
    }

    fn attempt(
        &self,
        (config, seeded): &(quinn::ClientConfig, bool),
        address: SocketAddr,
        name: &str,
    ) -> Result<quinn::Connecting, quinn::ConnectError> {
        let n = self.socket_for(address);
        let mut config = config.clone();
        if *seeded && let Some(cids) = &self.secrets[n].first_cid {
            config.initial_dst_cid_provider(Arc::clone(cids));
        }
        self.sockets[n].quinn.connect_with(config, address, name)
    }

    /// Which socket an address is reached by: one of its own family, else a dual-stack one.
    fn socket_for(&self, address: SocketAddr) -> usize {
        let own = |slot: &Slot| lock(&slot.local).is_ipv4() == address.is_ipv4();
        let dual = |slot: &Slot| lock(&slot.local).is_ipv6();
        let mut sockets = self.sockets.iter();
        let found = sockets.position(own);
        found.or_else(|| self.sockets.iter().position(dual)).unwrap_or(0)
    }

    fn client_config(
        &self,
        mut tls: Arc<rustls::ClientConfig>,
        kind: Kind,
    ) -> Result<(quinn::ClientConfig, bool), ConnectError> {
        if tls.alpn_protocols.is_empty() {
            return Err(ConnectError::Tls(EndpointError::NoProtocol));
        }
        if tls.enable_early_data {
            // 0-RTT can be replayed; nothing here needs it.
            Arc::make_mut(&mut tls).enable_early_data = false;
        }
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls)
            .map_err(|_| ConnectError::Tls(EndpointError::Tls))?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(config::transport(kind, Side::Client));
        Ok((config, self.secrets.iter().any(|s| s.first_cid.is_some())))
    }

    /// Accepts with this from now on (renewed certificates); established connections are not touched. No
    /// effect on an endpoint that was set up without a server.
    pub fn set_server(&self, setup: ServerSetup) -> Result<(), EndpointError> {
        let Some(server) = &self.server else { return Ok(()) };
        let slots = self.sockets.iter().zip(&self.acceptors);
        for ((slot, acceptor), secrets) in slots.zip(&self.secrets) {
            let config = server_config(&setup, secrets, &self.time)?;
            acceptor.set(for_trunks(&config, setup.kind));
            slot.quinn.set_server_config(Some(config));
        }
        server.send_replace(setup);
        Ok(())
    }

    /// Moves every socket to a new one: on a change of interfaces, or after sleep. Connections migrate;
    /// peers see new ports unless the endpoint listens on fixed ones, which it keeps. What was learnt about
    /// which address answers first is forgotten. On an error the sockets not yet moved stay.
    pub fn rebind(&self) -> Result<(), EndpointError> {
        lock(&self.winners).clear();
        for slot in &self.sockets {
            let address = *lock(&slot.local);
            if self.server.is_some() {
                // The port is ours already, and what others know us by: the same socket serves any
                // interface, and quinn need only look for the peers again.
                let socket = Arc::clone(&lock(&slot.socket));
                move_to(slot, address, socket)?;
                continue;
            }
            let socket = self.network.bind(SocketAddr::new(address.ip(), 0))?;
            socket.log_to(&slot.log);
            move_to(slot, address, socket)?;
        }
        Ok(())
    }

    /// See [`Network::changes`]: when it changes, [`Self::rebind`] is due.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.network.changes()
    }

    pub fn stats(&self) -> EndpointStats {
        let mut stats = EndpointStats::default();
        for slot in &self.sockets {
            stats.sockets.push(lock(&slot.socket).counters());
            stats.traffic = stats.traffic + slot.traffic.total();
            stats.open_connections += slot.quinn.open_connections();
        }
        for acceptor in &self.acceptors {
            acceptor.add_to(&mut stats);
        }
        stats
    }

    /// Closes all connections, accepts no more, and waits up to 3 s until peers were told.
    pub async fn close(&self, code: CloseCode, reason: &str) {
        for slot in &self.sockets {
            slot.quinn.close(code.to_wire(), reason.as_bytes());
        }
        let told = async {
            for slot in &self.sockets {
                slot.quinn.wait_idle().await;
            }
        };
        tokio::select! {
            biased;
            () = told => {}
            () = clock::sleep(&*self.clock, CLOSE_TIMEOUT) => {}
        }
    }
}

fn move_to(slot: &Slot, address: SocketAddr, socket: Arc<dyn DatagramSocket>) -> Result<(), EndpointError> {
    let start = |source| EndpointError::Start { address, source };
    let bound = socket.local_addr().map_err(start)?;
    slot.quinn
        .rebind_abstract(counted(&socket, &slot.traffic))
        .map_err(start)?;
    *lock(&slot.local) = bound;
    *lock(&slot.socket) = socket;
    Ok(())
}

fn counted(socket: &Arc<dyn DatagramSocket>, traffic: &Arc<Traffic>) -> Arc<dyn quinn::AsyncUdpSocket> {
    Arc::new(Counted {
        socket: Arc::clone(socket),
        traffic: Arc::clone(traffic),
    })
}

fn server_config(
    setup: &ServerSetup,
    secrets: &Secrets,
    time: &Arc<TokenTime>,
) -> Result<quinn::ServerConfig, EndpointError> {
    let mut tls = Arc::clone(&setup.tls);
    if tls.alpn_protocols.is_empty() {
        return Err(EndpointError::NoProtocol);
    }
    if tls.max_early_data_size != 0 {
        Arc::make_mut(&mut tls).max_early_data_size = 0;
    }
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).map_err(|_| EndpointError::Tls)?;
    let mut config = quinn::ServerConfig::new(Arc::new(crypto), Arc::clone(&secrets.token_key));
    config
        .transport_config(config::transport(setup.kind, Side::Server))
        .max_incoming(config::MAX_INCOMING)
        .time_source(Arc::clone(time) as Arc<dyn quinn::TimeSource>);
    Ok(config)
}

/// The same for connections that carry the flows of many.
fn for_trunks(config: &quinn::ServerConfig, kind: Kind) -> Arc<quinn::ServerConfig> {
    let mut config = config.clone();
    config.transport_config(config::transport_of_trunk(kind));
    Arc::new(config)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("local", &self.local_addrs())
            .finish_non_exhaustive()
    }
}
