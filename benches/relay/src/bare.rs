//! The measure of the edge: a process that has QUIC connections and hands each datagram of one to its
//! partner's, and does nothing else. One worker, as few copies as quinn allows.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use corridor_bench::bare::{NAME, client_tls, server_tls};
use quinn::{Connection, Endpoint};

use crate::quic;

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
            let endpoint = Endpoint::server(
                quic::server(server_tls(&self.certificate, &self.key)?)?,
                self.listen,
            )?;
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
    let tls = client_tls(certificate)?;
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
    let endpoint = Endpoint::server(quic::server(server_tls(certificate, key)?)?, quic::ANY)?;
    let to = endpoint.local_addr()?;
    let accept = async { Ok(endpoint.accept().await.context("no connection")?.await?) };
    let (one, other) = tokio::join!(
        quic::connect(quic::client(client_tls(certificate)?)?, to, NAME),
        accept
    );
    let accepted: anyhow::Result<Connection> = other;
    Ok([one?, accepted?])
}
