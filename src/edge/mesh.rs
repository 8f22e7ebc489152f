//! The mesh: connections to the other edges, and their measurement. The edge with the lower id of a pair
//! opens the connection and probes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    num::NonZeroU32,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use corridor_probes::{EdgeId, Mono, Pattern, SlotOutcome};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::{
    serve,
    shared::{Shared, Table},
    trunk::{self, Trunk},
};
use crate::{
    backoff::Backoff,
    clock,
    identity::{Peer, Standing, tls},
    prober::GRID,
    proto,
    reporting::{About, Closed, Reporter},
    transport::{CloseCode, Endpoint, Kind},
};

/// The dialling side of the mesh.
#[derive(Debug)]
pub struct Mesh {
    me: EdgeId,
    shared: Arc<Shared>,
    endpoint: Arc<Endpoint>,
    standing: Arc<Standing>,
    trunk_above: u64,
    seed: u64,
    dialers: BTreeMap<EdgeId, Dialer>,
    /// Looks up where others connect from.
    expecting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Dialer {
    addresses: Vec<String>,
    task: JoinHandle<()>,
}

impl Mesh {
    pub fn new(
        me: EdgeId,
        shared: Arc<Shared>,
        endpoint: Arc<Endpoint>,
        standing: Arc<Standing>,
        trunk_above: u64,
        seed: u64,
    ) -> Self {
        Self {
            me,
            shared,
            endpoint,
            standing,
            trunk_above,
            seed,
            dialers: BTreeMap::new(),
            expecting: None,
        }
    }

    /// Takes the controller's word on which other edges there are and which pairs are busy.
    pub fn set(&mut self, mesh: &proto::Mesh) {
        let now = self.shared.now();
        let id = |id: u32| u16::try_from(id).ok().and_then(EdgeId::new);
        let busy: BTreeSet<_> = mesh.busy.iter().filter_map(|&e| id(e)).collect();
        let mine: BTreeMap<_, _> = mesh
            .edges
            .iter()
            .filter_map(|info| Some((id(info.id)?, &info.addresses)))
            .filter(|(peer, _)| self.me < *peer)
            .collect();
        let gone: Vec<_> = self
            .dialers
            .keys()
            .copied()
            .filter(|p| !mine.contains_key(p))
            .collect();
        for peer in gone {
            self.drop_peer(peer);
        }
        self.expect(mesh);
        for (peer, addresses) in mine {
            if self.dialers.get(&peer).is_none_or(|d| d.addresses != *addresses) {
                self.dial(peer, addresses.clone());
            }
            let interval = if busy.contains(&peer) {
                mesh.busy_interval_ms
            } else {
                mesh.idle_interval_ms
            };
            self.shared.datagrams().mesh.set(peer, every(interval), now);
        }
    }

    /// What other edges connect from gets room for the flows of many.
    fn expect(&mut self, mesh: &proto::Mesh) {
        let theirs: Vec<_> = mesh.edges.iter().map(|info| info.addresses.clone()).collect();
        let endpoint = self.endpoint.clone();
        let resolved = async move {
            let mut from = BTreeSet::new();
            for addresses in theirs {
                let addresses = crate::resolve::all(&addresses).await;
                from.extend(addresses.iter().map(SocketAddr::ip));
            }
            endpoint.expect_trunks(from);
        };
        if let Some(before) = self.expecting.replace(tokio::spawn(resolved)) {
            before.abort();
        }
    }

    fn dial(&mut self, peer: EdgeId, addresses: Vec<String>) {
        self.hang_up(peer);
        let task = dialer(
            peer,
            addresses.clone(),
            self.shared.clone(),
            self.endpoint.clone(),
            self.standing.clone(),
            self.trunk_above,
            Backoff::mesh(self.seed ^ u64::from(peer.get())),
        );
        self.dialers.insert(
            peer,
            Dialer {
                addresses,
                task: tokio::spawn(task.in_current_span()),
            },
        );
    }

    /// Nobody reads what a dialler leaves behind.
    fn hang_up(&mut self, peer: EdgeId) {
        let Some(dialer) = self.dialers.remove(&peer) else {
            return;
        };
        dialer.task.abort();
        let trunk = self.shared.table_mut().edges.remove(&peer);
        for connection in trunk.iter().flat_map(Trunk::all) {
            connection.close(CloseCode::Done, "it is dialled anew, or not any more");
        }
    }

    fn drop_peer(&mut self, peer: EdgeId) {
        self.hang_up(peer);
        let mut datagrams = self.shared.datagrams();
        datagrams.mesh.remove(peer);
        datagrams.next_hops.remove(peer);
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        for dialer in self.dialers.values() {
            dialer.task.abort();
        }
        if let Some(expecting) = &self.expecting {
            expecting.abort();
        }
    }
}

/// A slot every `interval_ms`, on the grid.
fn every(interval_ms: u32) -> Pattern {
    let steps = interval_ms / u32::try_from(GRID.as_millis()).unwrap_or(1);
    Pattern::every(NonZeroU32::new(steps).unwrap_or(NonZeroU32::MIN))
}

/// Keeps one connection to a peer: dials, serves, dials again.
async fn dialer(
    peer: EdgeId,
    addresses: Vec<String>,
    shared: Arc<Shared>,
    endpoint: Arc<Endpoint>,
    standing: Arc<Standing>,
    trunk_above: u64,
    mut backoff: Backoff,
) {
    loop {
        match connect(peer, &addresses, &endpoint, &standing, proto::ALPN).await {
            Ok(connection) => {
                backoff.succeeded();
                let more = async || {
                    // A socket of its own.
                    let endpoint = endpoint.sibling()?;
                    connect(peer, &addresses, &endpoint, &standing, proto::ALPN_TRUNK).await
                };
                tokio::select! {
                    biased;
                    () = serve::edge(shared.clone(), peer, connection) => {}
                    () = trunk::widen(shared.clone(), peer, trunk_above, more) => {}
                }
            }
            Err(error) => tracing::debug!(edge = %peer, %error, "mesh peer not reached"),
        }
        let wait = backoff.next_wait();
        clock::sleep(&*shared.clock, wait).await;
    }
}

async fn connect(
    peer: EdgeId,
    addresses: &[String],
    endpoint: &Endpoint,
    standing: &Arc<Standing>,
    alpn: &[u8],
) -> anyhow::Result<crate::transport::Connection> {
    let addresses = crate::resolve::all(addresses).await;
    let tls = tls::client(standing, &[alpn])?;
    let name = Peer::Edge(peer).dns_name();
    Ok(endpoint
        .connect(&addresses, &name, Arc::new(tls), Kind::EdgeEdge)
        .await?)
}

/// While nothing is forwarded no silence of a next hop matters, and only probes need steps.
const REST: Duration = Duration::from_secs(1);

/// One step of the grid: sends the mesh probes that are due and finds silent next hops. Answers when to
/// come again.
pub async fn step(shared: &Shared, size: usize) -> Mono {
    loop {
        let now = shared.now();
        let sent = {
            let mut datagrams = shared.datagrams();
            let Some((peer, at)) = datagrams.mesh.next_due(now) else {
                break;
            };
            let trunk = |table: &Table| Some(table.edges.get(&peer)?.first().clone());
            let Some(connection) = trunk(&shared.table()) else {
                datagrams.mesh.not_sent(peer, at, SlotOutcome::Unconnected);
                continue;
            };
            let Some(probe) = datagrams.mesh.send(peer, at, shared.now()) else {
                continue;
            };
            let mut datagram = Vec::with_capacity(size.max(64));
            probe.write(&mut datagram, size);
            (peer, connection, probe.seq, datagram)
        };
        let (peer, connection, seq, datagram) = sent;
        if !shared.send(&connection, datagram) {
            shared.datagrams().mesh.local_drop(peer, seq);
        }
        // Lets the connection transmit before the next probe is stamped.
        tokio::task::yield_now().await;
    }
    let now = shared.now();
    let (notices, wakeup, forwards) = {
        let mut datagrams = shared.datagrams();
        let notices = datagrams.next_hops.poll(now);
        let forwards = datagrams.next_hops.has_senders();
        // Under the lock, so that a datagram that is forwarded from now on finds it.
        shared.resting.store(!forwards, Ordering::Relaxed);
        (notices, datagrams.mesh.next_wakeup(), forwards)
    };
    shared.tell(notices);
    let latest = now + if forwards { GRID } else { REST };
    wakeup.unwrap_or(latest).clamp(now, latest)
}

/// Moves the windows that have closed into the report.
pub fn close_windows(shared: &Shared, reporter: &mut Reporter) {
    let now = shared.now();
    let mut datagrams = shared.datagrams();
    while let Some(closed) = datagrams.mesh.poll_window(now) {
        reporter.take(Closed {
            about: About::Link(closed.key),
            session: closed.session.0,
            total: closed.total,
            window: closed.window,
            every: datagrams.mesh.every(closed.key).max(REPORT_EVERY),
        });
    }
}

/// How long an edge keeps a report open: the map of the mesh is what routes are chosen from.
pub const REPORT_EVERY: Duration = Duration::from_secs(2);

/// The addresses that peers can dial, of those that an edge listens on.
pub fn reachable(listen: &[SocketAddr], advertise: &[String], own: &[std::net::IpAddr]) -> Vec<String> {
    if !advertise.is_empty() {
        return advertise.to_vec();
    }
    let mut all = Vec::new();
    for address in listen {
        if address.ip().is_unspecified() {
            let family = own.iter().filter(|ip| address.is_ipv6() || ip.is_ipv4());
            all.extend(family.map(|&ip| SocketAddr::new(ip, address.port()).to_string()));
        } else {
            all.push(address.to_string());
        }
    }
    all
}
