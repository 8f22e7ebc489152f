//! The state of the simulated network: who owns which address, what is under way, what arrives when.
//! Time comes in as the duration since the network's origin.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BinaryHeap, VecDeque},
    hash::{Hash as _, Hasher as _},
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::Waker,
    time::Duration,
};

use quinn::udp::EcnCodepoint;
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::sync::watch;

use super::{
    HostSpec,
    link::{Direction, Fate, LinkShape},
    nat::{Nat, NatId, NatKind},
    socket::covers,
};
use crate::transport::SocketCounters;

pub(super) type HostId = usize;
pub(super) type SocketId = usize;

/// A receive buffer like that of a busy server's socket, in bytes.
const RECEIVE_BUFFER: usize = 4 << 20;
const FIRST_EPHEMERAL_PORT: u16 = 49_152;
/// tokio's clock moves in steps of this.
const GRAIN: Duration = Duration::from_millis(1);

/// Why the simulated network cannot be built or changed so.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SimError {
    #[error("address {0} is already taken")]
    AddressTaken(IpAddr),
    #[error("a NAT's outside address must be IPv4, not {0}")]
    NotIpv4(IpAddr),
    #[error("there is no such NAT")]
    NoSuchNat,
}

/// One packet's fate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TraceEvent {
    /// Since the network's origin.
    pub at: Duration,
    /// Names of hosts.
    pub from: Arc<str>,
    pub to: Arc<str>,
    /// UDP payload in bytes.
    pub len: usize,
    pub fate: Fate,
}

#[derive(Debug)]
pub(super) struct World {
    seed: u64,
    hosts: Vec<Host>,
    nats: Vec<NatState>,
    public: BTreeMap<IpAddr, Owner>,
    sockets: Vec<Option<Socket>>,
    directions: BTreeMap<(HostId, HostId), usize>,
    links: Vec<Link>,
    default_shape: LinkShape,
    queue: BinaryHeap<Reverse<Event>>,
    sequence: u64,
    /// What the driver sleeps for.
    armed: Option<Duration>,
    no_route: u64,
    trace: VecDeque<TraceEvent>,
    trace_left: usize,
    digest: u64,
}

#[derive(Debug)]
struct Host {
    name: Arc<str>,
    addresses: Vec<IpAddr>,
    nat: Option<NatId>,
    online: bool,
    awake_at: Duration,
    ports: BTreeMap<u16, Vec<SocketId>>,
    next_port: u16,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct NatState {
    nat: Nat,
    inside: BTreeMap<IpAddr, HostId>,
}

#[derive(Debug, Clone, Copy)]
enum Owner {
    Host(HostId),
    Nat(NatId),
}

#[derive(Debug)]
struct Link {
    from: HostId,
    to: HostId,
    direction: Direction,
}

#[derive(Debug)]
struct Socket {
    host: HostId,
    local: SocketAddr,
    inbox: VecDeque<Received>,
    inbox_bytes: usize,
    waker: Option<Waker>,
    counters: SocketCounters,
}

/// A packet as its receiver sees it.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) data: Box<[u8]>,
}

#[derive(Debug)]
struct Event {
    at: Duration,
    sequence: u64,
    link: usize,
    number: u64,
    packet: Received,
    /// The outside address of the NAT that must still lead to the receiver.
    through: Option<(NatId, SocketAddr)>,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Event {}
impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// Where a packet goes and whom it seems to come from.
struct Way {
    host: HostId,
    to: SocketAddr,
    from: SocketAddr,
    through: Option<(NatId, SocketAddr)>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            hosts: Vec::new(),
            nats: Vec::new(),
            public: BTreeMap::new(),
            sockets: Vec::new(),
            directions: BTreeMap::new(),
            links: Vec::new(),
            default_shape: LinkShape::default(),
            queue: BinaryHeap::new(),
            sequence: 0,
            armed: None,
            no_route: 0,
            trace: VecDeque::new(),
            trace_left: 0,
            digest: 0,
        }
    }

    // ---- building and changing ----

    pub(super) fn add_host(&mut self, spec: HostSpec) -> Result<HostId, SimError> {
        let id = self.hosts.len();
        self.hosts.push(Host {
            name: spec.name.into(),
            addresses: Vec::new(),
            nat: spec.nat,
            online: true,
            awake_at: Duration::ZERO,
            ports: BTreeMap::new(),
            next_port: FIRST_EPHEMERAL_PORT,
            changes: watch::Sender::new(0),
        });
        if let Err(e) = self.set_addresses(id, spec.addresses) {
            self.hosts.pop();
            return Err(e);
        }
        Ok(id)
    }

    pub(super) fn set_addresses(&mut self, id: HostId, addresses: Vec<IpAddr>) -> Result<(), SimError> {
        let nat = self.hosts[id].nat;
        if nat.is_some_and(|NatId(n)| n >= self.nats.len()) {
            return Err(SimError::NoSuchNat);
        }
        for ip in &addresses {
            let owner = match inside_of(nat, *ip) {
                Some(NatId(n)) => self.nats[n].inside.get(ip).copied(),
                None => self.public.get(ip).map(|owner| match owner {
                    Owner::Host(host) => *host,
                    Owner::Nat(_) => HostId::MAX,
                }),
            };
            if owner.is_some_and(|owner| owner != id) {
                return Err(SimError::AddressTaken(*ip));
            }
        }
        for ip in std::mem::take(&mut self.hosts[id].addresses) {
            match inside_of(nat, ip) {
                Some(NatId(n)) => drop(self.nats[n].inside.remove(&ip)),
                None => drop(self.public.remove(&ip)),
            }
        }
        for ip in &addresses {
            match inside_of(nat, *ip) {
                Some(NatId(n)) => {
                    self.nats[n].inside.insert(*ip, id);
                    self.nats[n].nat.add_inside(*ip);
                }
                None => drop(self.public.insert(*ip, Owner::Host(id))),
            }
        }
        self.hosts[id].addresses = addresses;
        self.changed(id);
        Ok(())
    }

    pub(super) fn add_nat(&mut self, outside: IpAddr, kind: NatKind) -> Result<NatId, SimError> {
        if !outside.is_ipv4() {
            return Err(SimError::NotIpv4(outside));
        }
        if self.public.contains_key(&outside) {
            return Err(SimError::AddressTaken(outside));
        }
        let id = NatId(self.nats.len());
        self.nats.push(NatState {
            nat: Nat::new(outside, kind),
            inside: BTreeMap::new(),
        });
        self.public.insert(outside, Owner::Nat(id));
        Ok(id)
    }

    pub(super) fn rebind_nat(&mut self, id: NatId, outside: Option<IpAddr>) -> Result<(), SimError> {
        let state = self.nats.get_mut(id.0).ok_or(SimError::NoSuchNat)?;
        if let Some(outside) = outside.filter(|ip| *ip != state.nat.outside) {
            if !outside.is_ipv4() {
                return Err(SimError::NotIpv4(outside));
            }
            if self.public.contains_key(&outside) {
                return Err(SimError::AddressTaken(outside));
            }
            self.public.remove(&state.nat.outside);
            self.public.insert(outside, Owner::Nat(id));
            state.nat.outside = outside;
        }
        state.nat.forget();
        Ok(())
    }

    pub(super) fn set_online(&mut self, id: HostId, online: bool) {
        if self.hosts[id].online != online {
            self.hosts[id].online = online;
            self.changed(id);
        }
    }

    fn changed(&self, id: HostId) {
        self.hosts[id].changes.send_modify(|n| *n += 1);
    }

    pub(super) fn changes(&self, id: HostId) -> watch::Receiver<u64> {
        self.hosts[id].changes.subscribe()
    }

    pub(super) fn sleep(&mut self, id: HostId, until: Duration) {
        self.hosts[id].awake_at = self.hosts[id].awake_at.max(until);
    }

    pub(super) fn set_default(&mut self, shape: LinkShape) {
        self.default_shape = shape;
    }

    pub(super) fn direction(&mut self, from: HostId, to: HostId) -> &mut Direction {
        let index = self.link_index(from, to);
        &mut self.links[index].direction
    }

    fn link_index(&mut self, from: HostId, to: HostId) -> usize {
        let next = self.links.len();
        let index = *self.directions.entry((from, to)).or_insert(next);
        if index == next {
            let stream = (from as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
                ^ (to as u64 + 1).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
            self.links.push(Link {
                from,
                to,
                direction: Direction::new(self.default_shape, StdRng::seed_from_u64(self.seed ^ stream)),
            });
        }
        index
    }

    // ---- sockets ----

    pub(super) fn bind(&mut self, host: HostId, local: SocketAddr) -> io::Result<(SocketId, SocketAddr)> {
        let owner = &mut self.hosts[host];
        let ip = local.ip();
        if !ip.is_unspecified() && !ip.is_loopback() && !owner.addresses.contains(&ip) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let free = |port: u16, owner: &Host, sockets: &[Option<Socket>]| {
            owner.ports.get(&port).is_none_or(|ids| {
                ids.iter().filter_map(|id| sockets[*id].as_ref()).all(|other| {
                    let other = other.local.ip();
                    !covers(other, ip) && !covers(ip, other)
                })
            })
        };
        let port = if local.port() != 0 {
            Some(local.port()).filter(|port| free(*port, owner, &self.sockets))
        } else {
            let first = owner.next_port;
            let found = (first..=u16::MAX)
                .chain(FIRST_EPHEMERAL_PORT..first)
                .find(|port| free(*port, owner, &self.sockets));
            owner.next_port = found
                .and_then(|p| p.checked_add(1))
                .unwrap_or(FIRST_EPHEMERAL_PORT);
            found
        };
        let port = port.ok_or(io::ErrorKind::AddrInUse)?;
        let local = SocketAddr::new(ip, port);
        let id = self.sockets.len();
        owner.ports.entry(port).or_default().push(id);
        self.sockets.push(Some(Socket {
            host,
            local,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            waker: None,
            counters: SocketCounters {
                receive_overflows: Some(0),
                receive_buffer: Some(RECEIVE_BUFFER),
                ..SocketCounters::default()
            },
        }));
        Ok((id, local))
    }

    pub(super) fn close(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets[id].take()
            && let Some(ids) = self.hosts[socket.host].ports.get_mut(&socket.local.port())
        {
            ids.retain(|other| *other != id);
        }
    }

    pub(super) fn socket_counters(&self, id: SocketId) -> SocketCounters {
        self.sockets[id].as_ref().map(|s| s.counters).unwrap_or_default()
    }

    pub(super) fn receive(&mut self, id: SocketId) -> Option<Received> {
        let socket = self.sockets[id].as_mut()?;
        let packet = socket.inbox.pop_front()?;
        socket.inbox_bytes -= packet.data.len();
        Some(packet)
    }

    pub(super) fn wait(&mut self, id: SocketId, waker: &Waker) {
        if let Some(socket) = self.sockets[id].as_mut() {
            match &mut socket.waker {
                Some(old) => old.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
    }

    // ---- packets ----

    /// Sends one datagram; true if the driver must be woken for it.
    pub(super) fn send(
        &mut self,
        now: Duration,
        id: SocketId,
        from: Option<IpAddr>,
        to: SocketAddr,
        ecn: Option<EcnCodepoint>,
        data: &[u8],
    ) -> bool {
        let Some(socket) = &self.sockets[id] else {
            return false;
        };
        let (host, local) = (socket.host, socket.local);
        let Some(source) = self.source(now, host, local, from, to.ip()) else {
            if let Some(socket) = &mut self.sockets[id] {
                socket.counters.send_errors += 1;
                socket.counters.last_send_error = Some(libc::ENETUNREACH);
            }
            return false;
        };
        let Some(way) = self.way(now, host, source, to) else {
            self.no_route += 1;
            return false;
        };
        let link = self.link_index(host, way.host);
        match self.links[link].direction.offer(now, data.len()) {
            Err(cause) => {
                self.note(now, link, data.len(), Fate::Lost(cause));
                false
            }
            Ok(arrival) => {
                let mut earlier = false;
                for _ in 0..arrival.copies {
                    let sequence = self.sequence;
                    self.sequence += 1;
                    earlier |= self.push(Event {
                        at: arrival.at,
                        sequence,
                        link,
                        number: arrival.number,
                        packet: Received {
                            from: way.from,
                            to: way.to,
                            ecn,
                            data: data.into(),
                        },
                        through: way.through,
                    });
                }
                earlier
            }
        }
    }

    /// The address that a packet leaves with, if the host can send at all.
    fn source(
        &self,
        now: Duration,
        host: HostId,
        local: SocketAddr,
        from: Option<IpAddr>,
        to: IpAddr,
    ) -> Option<SocketAddr> {
        let owner = &self.hosts[host];
        if now < owner.awake_at {
            return None;
        }
        let bound = Some(local.ip()).filter(|ip| !ip.is_unspecified());
        if to.is_loopback() {
            return Some(SocketAddr::new(to, local.port()));
        }
        let ip = from.or(bound).or_else(|| {
            let same_family = |ip: &&IpAddr| ip.is_ipv4() == to.is_ipv4();
            owner.addresses.iter().find(same_family).copied()
        })?;
        (owner.online && ip.is_ipv4() == to.is_ipv4() && owner.addresses.contains(&ip))
            .then(|| SocketAddr::new(ip, local.port()))
    }

    fn way(&mut self, now: Duration, host: HostId, from: SocketAddr, to: SocketAddr) -> Option<Way> {
        let direct = |host| Way {
            host,
            to,
            from,
            through: None,
        };
        if to.ip().is_loopback() {
            return Some(direct(host));
        }
        let nat = inside_of(self.hosts[host].nat, from.ip());
        if let Some(NatId(n)) = nat
            && let Some(neighbour) = self.nats[n].inside.get(&to.ip())
        {
            return Some(direct(*neighbour));
        }
        let owner = *self.public.get(&to.ip())?;
        let from = match nat {
            Some(NatId(n)) => self.nats[n].nat.outbound(from, now)?,
            None => from,
        };
        match owner {
            Owner::Host(host) => Some(Way { from, ..direct(host) }),
            Owner::Nat(id) => {
                let inside = self.nats[id.0].nat.inbound(to.port(), now)?;
                Some(Way {
                    host: *self.nats[id.0].inside.get(&inside.ip())?,
                    to: inside,
                    from,
                    through: Some((id, to)),
                })
            }
        }
    }

    fn push(&mut self, event: Event) -> bool {
        let due = rounded(event.at);
        self.queue.push(Reverse(event));
        let earlier = self.armed.is_none_or(|armed| due < armed);
        if earlier {
            self.armed = Some(due);
        }
        earlier
    }

    /// Hands over all that is due; whom to wake, and when the next is due.
    pub(super) fn deliver_due(&mut self, now: Duration) -> (Vec<Waker>, Option<Duration>) {
        let mut woken = Vec::new();
        while let Some(Reverse(next)) = self.queue.peek() {
            if rounded(next.at) > now {
                break;
            }
            let Some(Reverse(event)) = self.queue.pop() else {
                break;
            };
            let stalled_until = self.links[event.link].direction.stalled_until;
            if rounded(stalled_until) > now {
                self.queue.push(Reverse(Event {
                    at: stalled_until,
                    ..event
                }));
            } else {
                woken.extend(self.arrive(now, event));
            }
        }
        self.armed = self.queue.peek().map(|Reverse(next)| rounded(next.at));
        (woken, self.armed)
    }

    fn arrive(&mut self, now: Duration, event: Event) -> Option<Waker> {
        let Event {
            link,
            number,
            packet,
            through,
            ..
        } = event;
        let len = packet.data.len();
        let Some(id) = self.receiver(now, self.links[link].to, packet.to, through) else {
            self.links[link].direction.undeliverable(len);
            self.note(now, link, len, Fate::Lost(super::LossCause::Unreachable));
            return None;
        };
        self.links[link].direction.delivered(number, len);
        self.note(now, link, len, Fate::Delivered);
        let socket = self.sockets[id].as_mut()?;
        if socket.inbox_bytes + len > RECEIVE_BUFFER {
            socket.counters.receive_overflows = socket.counters.receive_overflows.map(|n| n + 1);
            return None;
        }
        socket.inbox_bytes += len;
        socket.inbox.push_back(packet);
        socket.waker.take()
    }

    fn receiver(
        &self,
        now: Duration,
        host: HostId,
        to: SocketAddr,
        through: Option<(NatId, SocketAddr)>,
    ) -> Option<SocketId> {
        let owner = &self.hosts[host];
        let loopback = to.ip().is_loopback();
        let there = loopback || (owner.online && owner.addresses.contains(&to.ip()));
        if !there || now < owner.awake_at {
            return None;
        }
        if let Some((NatId(n), outside)) = through {
            let nat = &self.nats[n].nat;
            if nat.outside != outside.ip() || nat.inbound(outside.port(), now) != Some(to) {
                return None;
            }
        }
        let ids = owner.ports.get(&to.port())?;
        let bound_to = |id: &&SocketId| self.sockets[**id].as_ref().map(|s| s.local.ip());
        let exact = ids.iter().find(|id| bound_to(id) == Some(to.ip()));
        let any = || {
            ids.iter()
                .find(|id| bound_to(id).is_some_and(|ip| covers(ip, to.ip())))
        };
        exact.or_else(any).copied()
    }

    // ---- what happened ----

    fn note(&mut self, at: Duration, link: usize, len: usize, fate: Fate) {
        let Link { from, to, .. } = self.links[link];
        // DefaultHasher::new() has fixed keys; only equality within one build matters.
        let mut hasher = std::hash::DefaultHasher::new();
        (self.digest, at, from, to, len, fate).hash(&mut hasher);
        self.digest = hasher.finish();
        if self.trace_left > 0 {
            self.trace_left -= 1;
            self.trace.push_back(TraceEvent {
                at,
                from: Arc::clone(&self.hosts[from].name),
                to: Arc::clone(&self.hosts[to].name),
                len,
                fate,
            });
        }
    }

    pub(super) fn no_route(&self) -> u64 {
        self.no_route
    }

    pub(super) fn record(&mut self, limit: usize) {
        self.trace_left = limit;
    }

    pub(super) fn take_trace(&mut self) -> Vec<TraceEvent> {
        self.trace.drain(..).collect()
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }
}

/// The NAT that hides `ip` of a host behind `nat`: IPv6 is never translated.
fn inside_of(nat: Option<NatId>, ip: IpAddr) -> Option<NatId> {
    nat.filter(|_| ip.is_ipv4())
}

/// When the driver, whose timers have tokio's grain, takes `at` for due.
fn rounded(at: Duration) -> Duration {
    let grain = GRAIN.as_nanos() as u64;
    let ns = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX - grain);
    Duration::from_nanos((ns + grain / 2) / grain * grain)
}
