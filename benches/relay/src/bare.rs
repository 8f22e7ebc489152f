//! The measure of the edge: a process that has QUIC connections and hands each datagram of one to its
//! partner's, and does nothing else. One worker, as few copies as quinn allows.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use quinn::{Connection, Endpoint};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::quic;

const NAME: &str = "relay";
const ALPN: &[u8] = b"bare";

/// Relays QUIC datagrams between partners
#[derive(Debug, clap::Args)]
pub struct Bare {
    #[arg(long)]
    certificate: PathBuf,
    #[arg(long)]
    key: PathBuf,
    #[arg(long)]
    listen: SocketAddr,
}

/// Connections by their numbers: partners differ in the last bit.
type Partners = Arc<Mutex<BTreeMap<u16, Connection>>>;

impl Bare {
    pub fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let endpoint = Endpoint::server(server(&self.certificate, &self.key)?, self.listen)?;
            let partners = Partners::default();
            while let Some(incoming) = endpoint.accept().await {
                tokio::spawn(serve(incoming, partners.clone()));
            }
            Ok(())
        })
    }
}

async fn serve(incoming: quinn::Incoming, partners: Partners) -> anyhow::Result<()> {
    let connection = incoming.await?;
    let (mut send, mut receive) = connection.accept_bi().await?;
    let mut number = [0; 2];
    receive.read_exact(&mut number).await?;
    let number = u16::from_be_bytes(number);
    lock(&partners).insert(number, connection.clone());
    send.write_all(&[1]).await?;
    // It says so once its partner is here, too.
    receive.read_exact(&mut [0]).await?;
    let partner = lock(&partners)
        .get(&(number ^ 1))
        .cloned()
        .context("no partner")?;
    while let Ok(datagram) = connection.read_datagram().await {
        let _ = partner.send_datagram(datagram);
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections to it, by their numbers.
pub async fn connect(certificate: &Path, to: SocketAddr, count: u16) -> anyhow::Result<Vec<Connection>> {
    let tls = client(certificate)?;
    let (mut connections, mut streams) = (Vec::new(), Vec::new());
    for number in 0..count {
        let connection = quic::connect(quic::client(tls.clone())?, to, NAME).await?;
        let (mut send, mut receive) = connection.open_bi().await?;
        send.write_all(&number.to_be_bytes()).await?;
        receive.read_exact(&mut [0]).await?;
        connections.push(connection);
        streams.push(send);
    }
    for mut send in streams {
        send.write_all(&[1]).await?;
        send.finish()?;
    }
    Ok(connections)
}

/// A pair of connected ends without a relay between them, each with a socket of its own.
pub async fn pair(certificate: &Path, key: &Path) -> anyhow::Result<[Connection; 2]> {
    let endpoint = Endpoint::server(server(certificate, key)?, quic::ANY)?;
    let to = endpoint.local_addr()?;
    let accept = async { Ok(endpoint.accept().await.context("no connection")?.await?) };
    let (one, other) = tokio::join!(
        quic::connect(quic::client(client(certificate)?)?, to, NAME),
        accept
    );
    let accepted: anyhow::Result<Connection> = other;
    Ok([one?, accepted?])
}

/// Writes a new certificate and its key, in DER.
pub fn certify(certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    fs::write(certificate, made.cert.der())?;
    fs::write(key, made.signing_key.serialize_der())?;
    Ok(())
}

fn client(certificate: &Path) -> anyhow::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(fs::read(certificate)?))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    Ok(tls)
}

fn server(certificate: &Path, key: &Path) -> anyhow::Result<quinn::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(fs::read(key)?));
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(fs::read(certificate)?)], key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    quic::server(tls)
}
