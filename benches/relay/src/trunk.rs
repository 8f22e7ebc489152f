//! The edges on both sides of one that is in the middle of a route: two connections, the one opened here, the
//! other by the edge in the middle, since of two edges the one with the lower number opens.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use corridor::{
    identity::{Peer, Subject, tls},
    proto,
};
use corridor_probes::EdgeId;
use quinn::{Connection, Endpoint};
use tokio::sync::mpsc;

use crate::{agents, meter::Meter, quic, realm::Realm};

/// How often it is looked whether the edge has connected.
const LOOK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(20);

/// The edge that comes after the one in the middle.
#[derive(Debug)]
pub struct After {
    pub at: SocketAddr,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl After {
    pub fn start(realm: &Realm, id: EdgeId, meter: Arc<Meter>) -> anyhow::Result<Self> {
        let standing = realm.standing(Subject::Edge { id, name: "after" })?;
        let tls = tls::server(&standing, tls::ClientCertificates::Required, &[proto::ALPN])?;
        let endpoint = Endpoint::server(quic::server(tls)?, quic::ANY)?;
        let at = endpoint.local_addr()?;
        let connection = Arc::<Mutex<Option<Connection>>>::default();
        let newest = connection.clone();
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let Ok(connection) = incoming.await else { continue };
                *newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
                read(connection, meter.clone());
            }
        });
        Ok(Self { at, connection })
    }

    /// The connection that the edge in the middle has opened.
    pub async fn connected(&self) -> anyhow::Result<Connection> {
        let found = async {
            loop {
                let newest = self
                    .connection
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                if let Some(connection) = newest.filter(|it| it.close_reason().is_none()) {
                    return connection;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.context("the edge in the middle does not connect to the next")
    }
}

/// A connection of the edge that comes before the one in the middle, which is at `at`.
pub async fn before(
    realm: &Realm,
    id: EdgeId,
    (middle, at): (EdgeId, SocketAddr),
    meter: Arc<Meter>,
) -> anyhow::Result<Connection> {
    let standing = realm.standing(Subject::Edge { id, name: "before" })?;
    let tls = tls::client(&standing, &[proto::ALPN])?;
    let connection = quic::connect(quic::client(tls)?, at, &Peer::Edge(middle).dns_name()).await?;
    read(connection.clone(), meter);
    Ok(connection)
}

fn read(connection: Connection, meter: Arc<Meter>) {
    tokio::spawn(async move {
        // Nothing is opened at the edges in between.
        let (answers, _) = mpsc::unbounded_channel();
        while let Ok(datagram) = connection.read_datagram().await {
            agents::take(&connection, &datagram, &meter, &answers);
        }
    });
}
