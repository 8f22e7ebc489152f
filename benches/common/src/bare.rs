//! The measure of the agent: a process that keeps QUIC connections to three reflectors and sends them
//! datagrams as many, as large and as often as the agent's, reads what comes back, and does nothing else.
//! The reflectors are in here too, so that what comes back can be as large as what comes to the agent; to a
//! client that wants it they send a peer's probes, too, as often as its own.
//!
//! The first two bytes of a datagram say how long the answer to it shall be; 0 wants none.
//!
//! Commands come on stdin, a line each (`class`, `idle`: how often is sent from now on; `count`); each is
//! answered by a line on stdout: probes sent, answers sent. The end of stdin ends it.

use std::{
    fs,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use quinn::{
    ClientConfig, Connection, Endpoint, ServerConfig, TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::unix::pipe,
    time::Instant,
};

use crate::sizes::Sizes;

/// The name in the reflectors' certificate.
/// What certificates of [`certify`] are for.
pub const NAME: &str = "bare";
const ALPN: &[u8] = b"bare";
/// As the agent's connections: an edge that is probed five times a minute would else be lost.
const IDLE_TIMEOUT_MS: u32 = 120_000;
const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// The agent's patterns on its grid of 100 ms: routes at every step, links at every tenth; idle, other
/// edges than the best have five of those a minute, each edge its own.
const SECOND: u64 = 10;
const BURST: u64 = 5;

/// What this is when a program starts itself as one.
#[derive(Debug, clap::Subcommand)]
pub enum Mode {
    /// Answers datagrams
    #[command(hide = true)]
    Reflect(Reflect),
    /// Sends probes
    #[command(hide = true)]
    Bare(Bare),
}

impl Mode {
    /// Runs until stdin ends.
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Reflect(reflect) => reflect.run().await,
            Self::Bare(bare) => bare.run().await,
        }
    }
}

/// The reflectors.
#[derive(Debug, clap::Args)]
pub struct Reflect {
    #[arg(long)]
    certificate: PathBuf,
    #[arg(long)]
    key: PathBuf,
    #[arg(long)]
    listen: Vec<SocketAddr>,
    /// Of the grid on which a peer's probes go
    #[arg(long, default_value_t = 100)]
    grid_ms: u64,
}

/// The client, and what it sends to each reflector.
#[derive(Debug, clap::Args)]
pub struct Bare {
    #[arg(long)]
    certificate: PathBuf,
    #[arg(long)]
    to: Vec<SocketAddr>,
    /// None are sent without it
    #[arg(long)]
    link: Option<Sizes>,
    /// One for each reflector
    #[arg(long)]
    route: Vec<Sizes>,
    /// What a peer's probes and the answers to them are, as the peer sees them; without, there is no peer
    #[arg(long)]
    peer: Vec<Sizes>,
    #[arg(long, default_value_t = 100)]
    grid_ms: u64,
}

/// Writes a new certificate of the reflectors and its key, in DER.
pub fn certify(certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    fs::write(certificate, made.cert.der())?;
    fs::write(key, made.signing_key.serialize_der())?;
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tier {
    Class,
    Idle,
}

impl Tier {
    fn of(command: &str, now: Self) -> Self {
        match command {
            "class" => Self::Class,
            "idle" => Self::Idle,
            _ => now,
        }
    }
}

impl Bare {
    async fn run(self) -> anyhow::Result<()> {
        let grid = Duration::from_millis(self.grid_ms.max(1));
        let mut endpoint = Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into())?;
        endpoint.set_default_client_config(client_config(&self.certificate)?);
        let answers = Arc::new(AtomicU64::new(0));
        let mut connections = Vec::new();
        for (n, &to) in self.to.iter().enumerate() {
            let connection = endpoint.connect(to, NAME)?.await?;
            if let Some(&peer) = self.peer.get(n) {
                ask_for_peer(&connection, peer)?;
            }
            tokio::spawn(answer(connection.clone(), answers.clone()));
            connections.push(connection);
        }
        let mut commands = commands()?;
        let (mut probes, mut tier) = (0, Tier::Idle);
        let (begin, mut steps) = (now(), 0u64);
        loop {
            let next = begin + grid.mul_f64(steps as f64);
            tokio::select! {
                biased;
                command = commands.next_line() => match command?.as_deref() {
                    None => return Ok(()),
                    Some(command) => {
                        let before = tier;
                        tier = Tier::of(command, before);
                        writeln!(io::stdout(), "{probes} {}", answers.load(Ordering::Relaxed))?;
                        if tier != before {
                            // What is next while idle may be a second away.
                            steps = 1 + (begin.elapsed().as_nanos() / grid.as_nanos()) as u64;
                        }
                    }
                },
                () = tokio::time::sleep_until(next) => {
                    for (n, connection) in connections.iter().enumerate() {
                        if let Some(link) = self.link && link_is_due(steps, tier, n) {
                            send(connection, link).await?;
                            probes += 1;
                        }
                    }
                    if tier == Tier::Class {
                        for (connection, &sizes) in connections.iter().zip(&self.route) {
                            send(connection, sizes).await?;
                            probes += 1;
                        }
                    }
                    steps = next_step(steps, tier);
                }
            }
        }
    }
}

/// Whether the `n`th link is probed at a step of the grid.
fn link_is_due(step: u64, tier: Tier, n: usize) -> bool {
    match tier {
        Tier::Idle if n > 0 => step.is_multiple_of(SECOND) && (step / SECOND + 20 * n as u64) % 60 < BURST,
        _ => step.is_multiple_of(SECOND),
    }
}

/// The next step at which anything is due: it does not wake up for nothing.
fn next_step(step: u64, tier: Tier) -> u64 {
    let due = |&step: &u64| tier == Tier::Class || (0..2).any(|n| link_is_due(step, tier, n));
    (step + 1..).find(due).unwrap_or(step + 1)
}

/// Sends one datagram, and lets it go before the next.
async fn send(connection: &Connection, sizes: Sizes) -> anyhow::Result<()> {
    connection.send_datagram(datagram(sizes)?)?;
    tokio::task::yield_now().await;
    Ok(())
}

/// As long as `sizes` says, and asking for an answer as long.
fn datagram(sizes: Sizes) -> anyhow::Result<Bytes> {
    let mut datagram = vec![0; sizes.out.max(2)];
    datagram[..2].copy_from_slice(&u16::try_from(sizes.back)?.to_be_bytes());
    Ok(datagram.into())
}

/// Reads datagrams, and answers those that want it.
async fn answer(connection: Connection, answers: Arc<AtomicU64>) {
    while let Ok(datagram) = connection.read_datagram().await {
        let length = wanted(&datagram);
        if length > 0 && connection.send_datagram(vec![0; length].into()).is_ok() {
            answers.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn wanted(datagram: &[u8]) -> usize {
    datagram
        .first_chunk::<2>()
        .map_or(0, |&bytes| usize::from(u16::from_be_bytes(bytes)))
}

/// Asks a reflector to send probes of these sizes in class: the only datagram of eight bytes.
fn ask_for_peer(connection: &Connection, sizes: Sizes) -> anyhow::Result<()> {
    let mut ask = vec![0; 8];
    ask[4..6].copy_from_slice(&u16::try_from(sizes.out)?.to_be_bytes());
    ask[6..8].copy_from_slice(&u16::try_from(sizes.back)?.to_be_bytes());
    Ok(connection.send_datagram(ask.into())?)
}

fn peer_asked(datagram: &[u8]) -> Option<Sizes> {
    let &[0, 0, 0, 0, a, b, c, d] = datagram else {
        return None;
    };
    Some(Sizes {
        out: u16::from_be_bytes([a, b]).into(),
        back: u16::from_be_bytes([c, d]).into(),
    })
}

/// The connections that want a peer's probes.
type Peers = Arc<Mutex<Vec<(Connection, Sizes)>>>;

impl Reflect {
    async fn run(self) -> anyhow::Result<()> {
        let config = server_config(&self.certificate, &self.key)?;
        let peers = Peers::default();
        for &address in &self.listen {
            let endpoint = Endpoint::server(config.clone(), address).with_context(|| address.to_string())?;
            let peers = peers.clone();
            tokio::spawn(async move {
                while let Some(incoming) = endpoint.accept().await {
                    if let Ok(connection) = incoming.await {
                        tokio::spawn(reflect_on(connection, peers.clone()));
                    }
                }
            });
        }
        let grid = Duration::from_millis(self.grid_ms.max(1));
        let mut commands = commands()?;
        writeln!(io::stdout(), "0 0")?;
        let (mut tier, mut next) = (Tier::Idle, now());
        loop {
            tokio::select! {
                biased;
                command = commands.next_line() => match command?.as_deref() {
                    None => return Ok(()),
                    Some(command) => {
                        tier = Tier::of(command, tier);
                        writeln!(io::stdout(), "0 0")?;
                    }
                },
                () = tokio::time::sleep_until(next) => {
                    next += grid;
                    if tier == Tier::Class {
                        for (connection, sizes) in lock(&peers).iter() {
                            let _ = connection.send_datagram(datagram(*sizes)?);
                        }
                    }
                }
            }
        }
    }
}

async fn reflect_on(connection: Connection, peers: Peers) {
    while let Ok(datagram) = connection.read_datagram().await {
        if let Some(sizes) = peer_asked(&datagram) {
            lock(&peers).push((connection.clone(), sizes));
        }
        let length = wanted(&datagram);
        if length > 0 {
            let _ = connection.send_datagram(vec![0; length].into());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lines of stdin, which is a pipe, without a thread that waits for them.
fn commands() -> anyhow::Result<Lines<BufReader<pipe::Receiver>>> {
    let stdin = fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let pipe = pipe::Receiver::from_file(stdin).context("stdin must be a pipe")?;
    Ok(BufReader::with_capacity(256, pipe).lines())
}

/// TLS of a client that takes whoever has this certificate.
pub fn client_tls(certificate: &Path) -> anyhow::Result<rustls::ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(fs::read(certificate)?))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    Ok(tls)
}

fn client_config(certificate: &Path) -> anyhow::Result<ClientConfig> {
    let tls = client_tls(certificate)?;
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let mut transport = transport();
    transport.keep_alive_interval(Some(KEEP_ALIVE));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// TLS of a server.
pub fn server_tls(certificate: &Path, key: &Path) -> anyhow::Result<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(fs::read(key)?));
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(fs::read(certificate)?)], key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    Ok(tls)
}

fn server_config(certificate: &Path, key: &Path) -> anyhow::Result<ServerConfig> {
    let tls = server_tls(certificate, key)?;
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport()));
    Ok(config)
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS).into()));
    transport
}

#[expect(clippy::disallowed_methods, reason = "a real client's timer")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_says_what_it_wants() {
        let sent = datagram(Sizes { out: 70, back: 300 }).unwrap();
        assert_eq!((sent.len(), wanted(&sent)), (70, 300));
        assert_eq!((wanted(&[0; 70]), wanted(&[])), (0, 0));
        assert_eq!(peer_asked(&sent), None);
        let asked = [0, 0, 0, 0, 0, 70, 1, 44];
        assert_eq!(peer_asked(&asked), Some(Sizes { out: 70, back: 300 }));
        assert_eq!(wanted(&asked), 0);
    }

    #[test]
    fn idle_wakes_up_for_what_is_due_only() {
        let mut woken = Vec::new();
        let mut step = 0;
        while step < 40 {
            woken.push(step);
            step = next_step(step, Tier::Idle);
        }
        assert_eq!(woken, [0, 10, 20, 30]);
        assert_eq!(next_step(595, Tier::Idle), 600);
        assert_eq!(next_step(7, Tier::Class), 8);
    }

    #[test]
    fn as_many_as_the_agents() {
        let sent = |tier, n| (0..600).filter(|&step| link_is_due(step, tier, n)).count();
        assert_eq!(
            (sent(Tier::Idle, 0), sent(Tier::Idle, 1), sent(Tier::Class, 2)),
            (60, 5, 60)
        );
    }
}
