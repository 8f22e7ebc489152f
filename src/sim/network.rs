//! An in-memory network in virtual time: hosts, links between them, NATs.
//!
//! One task moves packets: it sleeps until the next arrival, hands over all that are due in the order of
//! (arrival, order of sending), and wakes their receivers. Time is tokio's clock, with its grain of 1 ms:
//! link arithmetic is exact, and only the moment of delivery is rounded, to the nearest millisecond.
//! Nothing here iterates in an order that differs between runs, each direction of a link has random
//! numbers of its own, and so the same seed and the same sends give the same deliveries.

mod addresses;
mod link;
mod nat;
mod ports;
mod runtime;
mod socket;
#[cfg(test)]
mod tests;
mod world;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use addresses::HostId;
pub use addresses::SimError;
pub use link::{Fate, Gilbert, IP_UDP_HEADERS, Lengths, LinkCounters, LinkShape, Loss, LossCause};
pub use nat::{NatId, NatKind};
use ports::SocketId;
pub use runtime::SimRuntime;
use socket::SimSocket;
pub use world::TraceEvent;
use world::World;

use super::SimClock;
use crate::transport::{BindError, DatagramSocket};

/// The network. Clones are the same one; it stops when the last clone, host and socket are gone.
#[derive(Debug, Clone)]
pub struct SimNetwork {
    network: Arc<Network>,
}

/// A new host.
#[derive(Debug)]
pub struct HostSpec {
    pub name: String,
    pub addresses: Vec<IpAddr>,
    /// The NAT that its IPv4 addresses are behind; they need to be distinct there only.
    pub nat: Option<NatId>,
    pub clock: SimClock,
}

impl HostSpec {
    /// A host with a right clock and one public address.
    pub fn public(name: &str, address: IpAddr, clock: SimClock) -> Self {
        Self {
            name: name.to_owned(),
            addresses: vec![address],
            nat: None,
            clock,
        }
    }
}

impl SimNetwork {
    /// An empty network. Hosts without a link set between them are joined by a clean one without delay.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(seed: u64) -> Self {
        let shared = Arc::new(Shared {
            world: Mutex::new(World::new(seed)),
            origin: now(),
            earlier: Notify::new(),
        });
        let driver = tokio::spawn(drive(Arc::clone(&shared)));
        Self {
            network: Arc::new(Network {
                shared,
                driver: driver.abort_handle(),
            }),
        }
    }

    pub fn add_host(&self, spec: HostSpec) -> Result<SimHost, SimError> {
        let (clock, name) = (spec.clock.clone(), spec.name.clone());
        let id = self.network.lock().addresses.add_host(spec)?;
        Ok(SimHost {
            network: Arc::clone(&self.network),
            id,
            name: name.into(),
            runtime: Arc::new(SimRuntime::new(clock.clone())),
            clock,
        })
    }

    /// A NAT with this IPv4 address outside.
    pub fn add_nat(&self, outside: IpAddr, kind: NatKind) -> Result<NatId, SimError> {
        self.network.lock().addresses.add_nat(outside, kind)
    }

    /// Makes a NAT forget its mappings, and move to another outside address if one is given.
    pub fn rebind_nat(&self, nat: NatId, outside: Option<IpAddr>) -> Result<(), SimError> {
        self.network.lock().addresses.rebind_nat(nat, outside)
    }

    /// The shape of all directions that were not set and have not carried anything yet.
    pub fn set_default(&self, shape: LinkShape) {
        self.network.lock().set_default(shape);
    }

    /// Sets both directions.
    pub fn set_link(&self, a: &SimHost, b: &SimHost, shape: LinkShape) {
        self.set_direction(a, b, shape);
        self.set_direction(b, a, shape);
    }

    pub fn set_direction(&self, from: &SimHost, to: &SimHost, shape: LinkShape) {
        self.update(from, to, |s| *s = shape);
    }

    /// Changes one direction's shape from now on.
    pub fn update(&self, from: &SimHost, to: &SimHost, change: impl FnOnce(&mut LinkShape)) {
        let mut world = self.network.lock();
        change(&mut world.direction(from.id, to.id).shape);
    }

    /// One direction's shape now.
    pub fn shape(&self, from: &SimHost, to: &SimHost) -> LinkShape {
        self.network.lock().direction(from.id, to.id).shape
    }

    /// Packets delivered on all links, cumulative.
    pub fn delivered(&self) -> u64 {
        self.network.lock().delivered()
    }

    /// Holds everything under way or sent on this direction until `d` from now, then delivers it at once.
    pub fn stall(&self, from: &SimHost, to: &SimHost, d: Duration) {
        let until = self.network.shared.elapsed() + d;
        let mut world = self.network.lock();
        let direction = world.direction(from.id, to.id);
        direction.stalled_until = direction.stalled_until.max(until);
    }

    /// The truth about one direction so far.
    pub fn counters(&self, from: &SimHost, to: &SimHost) -> LinkCounters {
        self.network.lock().direction(from.id, to.id).counters.clone()
    }

    /// Packets that no link could take because their destination is nobody's, cumulative.
    pub fn no_route(&self) -> u64 {
        self.network.lock().no_route()
    }

    /// Keeps the fates of the next `limit` packets for [`Self::take_trace`].
    pub fn record(&self, limit: usize) {
        self.network.lock().record(limit);
    }

    /// What was recorded, in the order in which it happened. Recording goes on.
    pub fn take_trace(&self) -> Vec<TraceEvent> {
        self.network.lock().take_trace()
    }

    /// A number made of every packet's time, way, length and fate so far: equal for equal runs.
    pub fn digest(&self) -> u64 {
        self.network.lock().digest()
    }
}

/// A simulated machine on the network. Clones are the same machine.
#[derive(Debug, Clone)]
pub struct SimHost {
    network: Arc<Network>,
    id: HostId,
    name: Arc<str>,
    clock: SimClock,
    runtime: Arc<SimRuntime>,
}

impl SimHost {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// Gives the host other addresses, as when it changes networks: sockets bound to a wildcard follow,
    /// and whoever watches [`crate::transport::Network::changes`] hears of it.
    pub fn set_addresses(&self, addresses: Vec<IpAddr>) -> Result<(), SimError> {
        self.network.lock().addresses.set_addresses(self.id, addresses)
    }

    /// Cuts the host off (cable out), or joins it again. Packets under way to it are lost.
    pub fn set_online(&self, online: bool) {
        self.network.lock().addresses.set_online(self.id, online);
    }

    /// Takes all its sockets away, as when a process is killed: what still holds them neither sends nor
    /// receives any more, and their ports are free.
    pub fn close_sockets(&self) {
        self.network.lock().ports.close_all(self.id);
    }

    /// Suspends the machine: its monotonic clock and timers stand still, and it neither sends nor
    /// receives, until `d` from now.
    pub fn sleep(&self, d: Duration) {
        self.clock.sleep(d);
        let until = self.network.shared.elapsed() + d;
        self.network.lock().addresses.sleep(self.id, until);
    }
}

impl crate::transport::Network for SimHost {
    fn bind(&self, local: SocketAddr) -> Result<Arc<dyn DatagramSocket>, BindError> {
        let (id, local) = self
            .network
            .lock()
            .bind(self.id, local)
            .map_err(|e| BindError::new(local, e))?;
        Ok(Arc::new(SimSocket {
            network: Arc::clone(&self.network),
            id,
            local,
        }))
    }

    fn runtime(&self) -> Arc<dyn quinn::Runtime> {
        Arc::clone(&self.runtime) as Arc<dyn quinn::Runtime>
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.network.lock().addresses.changes(self.id)
    }
}

/// Owns the task that moves packets.
#[derive(Debug)]
struct Network {
    shared: Arc<Shared>,
    driver: tokio::task::AbortHandle,
}

#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
    origin: Instant,
    /// Something is due before what the driver sleeps for.
    earlier: Notify,
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, World> {
        self.shared.lock()
    }

    fn send<'a>(
        &self,
        socket: SocketId,
        from: Option<IpAddr>,
        to: SocketAddr,
        ecn: Option<quinn::udp::EcnCodepoint>,
        datagrams: impl Iterator<Item = &'a [u8]>,
    ) {
        let now = self.shared.elapsed();
        let earlier = {
            let mut world = self.lock();
            let mut earlier = false;
            for data in datagrams {
                earlier |= world.send(now, socket, from, to, ecn, data);
            }
            earlier
        };
        self.shared.wake_driver(earlier);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed(&self) -> Duration {
        now().saturating_duration_since(self.origin)
    }

    fn wake_driver(&self, earlier: bool) {
        if earlier {
            self.earlier.notify_one();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the simulation's time is tokio's clock")]
fn now() -> Instant {
    Instant::now()
}

/// Moves packets until aborted.
async fn drive(shared: Arc<Shared>) {
    loop {
        let now = shared.elapsed();
        let (woken, next) = shared.lock().deliver_due(now);
        for waker in woken {
            waker.wake();
        }
        match next {
            Some(at) => {
                tokio::select! {
                    biased;
                    () = shared.earlier.notified() => {}
                    () = tokio::time::sleep_until(shared.origin + at) => {}
                }
            }
            None => shared.earlier.notified().await,
        }
    }
}
