//! The measure of the agent: a process that keeps QUIC connections to three reflectors and sends them
//! datagrams as many, as large and as often as the agent's, reads what comes back, and does nothing else.
//! The reflectors are in here too, so that what comes back can be as large as what comes to the agent.
//!
//! Commands come on stdin, a line each (`class`, `idle`: how often is sent from now on; `count`); each is
//! answered by a line on stdout: probes sent, answers sent, datagrams received. The end of stdin ends it.

use std::{
    fs,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsFd as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
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
pub const NAME: &str = "reflector";
const ALPN: &[u8] = b"bare";
/// As the agent's connections: an edge that is probed five times a minute would else be lost.
const IDLE_TIMEOUT_MS: u32 = 120_000;
const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// The agent's grid, and on it its patterns: routes at every step, links at every tenth; idle, other edges
/// than the best have bursts of five steps a minute.
const GRID: Duration = Duration::from_millis(100);
const SECOND: u64 = 10;
const MINUTE: u64 = 600;
const BURST: u64 = 5;

/// What is sent.
#[derive(Debug, Clone)]
pub struct Load {
    pub link: Sizes,
    /// One for each reflector.
    pub route: Vec<Sizes>,
    /// The same of the answers to a peer's probes, or empty. Nobody asks: they are sent between the steps
    /// of the grid, and what comes back stands for the probes.
    pub answer: Vec<Sizes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tier {
    Class,
    Idle,
}

#[derive(Debug, Default)]
struct Sent {
    probes: u64,
    answers: u64,
}

/// Runs the client until its stdin ends.
pub async fn probe(certificate: &Path, to: &[SocketAddr], load: Load) -> anyhow::Result<()> {
    let mut endpoint = Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into())?;
    endpoint.set_default_client_config(client_config(certificate)?);
    let received = Arc::new(AtomicU64::new(0));
    let mut connections = Vec::new();
    for &to in to {
        let connection = endpoint.connect(to, NAME)?.await?;
        tokio::spawn(read(connection.clone(), received.clone()));
        connections.push(connection);
    }
    let mut commands = commands()?;
    let (mut sent, mut tier) = (Sent::default(), Tier::Idle);
    let mut next = now();
    // Half steps: the whole ones are the grid, a peer's probes come between them.
    let mut half_steps = 0;
    loop {
        tokio::select! {
            biased;
            command = commands.next_line() => match command?.as_deref() {
                None => return Ok(()),
                Some(command) => {
                    match command {
                        "class" => tier = Tier::Class,
                        "idle" => tier = Tier::Idle,
                        _ => {}
                    }
                    let received = received.load(Ordering::Relaxed);
                    writeln!(io::stdout(), "{} {} {received}", sent.probes, sent.answers)?;
                }
            },
            () = tokio::time::sleep_until(next) => {
                let on_grid = half_steps % 2 == 0;
                let answers = !load.answer.is_empty() && tier == Tier::Class;
                if on_grid {
                    sent.probes += step(half_steps / 2, tier, &connections, &load).await?;
                } else if answers {
                    sent.answers += send_all(&connections, &load.answer).await?;
                }
                // It does not wake up for nothing.
                let by = if on_grid && !answers { 2 } else { 1 };
                half_steps += by;
                next += GRID / 2 * u32::try_from(by)?;
            }
        }
    }
}

/// One step of the grid.
async fn step(step: u64, tier: Tier, connections: &[Connection], load: &Load) -> anyhow::Result<u64> {
    let mut sent = 0;
    for (n, connection) in connections.iter().enumerate() {
        let due = match tier {
            Tier::Class => step.is_multiple_of(SECOND),
            Tier::Idle if n == 0 => step.is_multiple_of(SECOND),
            Tier::Idle => step % MINUTE < BURST,
        };
        if due {
            send(connection, load.link).await?;
            sent += 1;
        }
    }
    if tier == Tier::Class {
        sent += send_all(connections, &load.route).await?;
    }
    Ok(sent)
}

async fn send_all(connections: &[Connection], sizes: &[Sizes]) -> anyhow::Result<u64> {
    let mut sent = 0;
    for (connection, &sizes) in connections.iter().zip(sizes) {
        send(connection, sizes).await?;
        sent += 1;
    }
    Ok(sent)
}

/// Sends one datagram, which says how long its echo shall be, and lets it go before the next.
async fn send(connection: &Connection, sizes: Sizes) -> anyhow::Result<()> {
    let mut datagram = vec![0; sizes.out.max(2)];
    datagram[..2].copy_from_slice(&u16::try_from(sizes.back)?.to_be_bytes());
    connection.send_datagram(datagram.into())?;
    tokio::task::yield_now().await;
    Ok(())
}

async fn read(connection: Connection, received: Arc<AtomicU64>) {
    while connection.read_datagram().await.is_ok() {
        received.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs the reflectors until stdin ends.
pub async fn reflect(certificate: &Path, key: &Path, listen: &[SocketAddr]) -> anyhow::Result<()> {
    let config = server_config(certificate, key)?;
    for &address in listen {
        let endpoint = Endpoint::server(config.clone(), address).with_context(|| address.to_string())?;
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                if let Ok(connection) = incoming.await {
                    tokio::spawn(answer(connection));
                }
            }
        });
    }
    let mut commands = commands()?;
    writeln!(io::stdout(), "listening")?;
    while commands.next_line().await?.is_some() {}
    Ok(())
}

async fn answer(connection: Connection) {
    while let Ok(datagram) = connection.read_datagram().await {
        let Some(&[high, low]) = datagram.first_chunk::<2>() else {
            continue;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let _ = connection.send_datagram(vec![0; length].into());
    }
}

/// Lines of stdin, which is a pipe, without a thread that waits for them.
fn commands() -> anyhow::Result<Lines<BufReader<pipe::Receiver>>> {
    let stdin = fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let pipe = pipe::Receiver::from_file(stdin).context("stdin must be a pipe")?;
    Ok(BufReader::with_capacity(256, pipe).lines())
}

fn client_config(certificate: &Path) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(fs::read(certificate)?))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let mut transport = transport();
    transport.keep_alive_interval(Some(KEEP_ALIVE));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

fn server_config(certificate: &Path, key: &Path) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(fs::read(key)?));
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(fs::read(certificate)?)], key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
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
