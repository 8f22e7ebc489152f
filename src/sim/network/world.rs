//! The state of the simulated network: what is under way on which link, and what arrives when. Time comes
//! in as the duration since the network's origin.

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

use super::{
    addresses::{Addresses, HostId},
    link::{Direction, Fate, LinkShape, LossCause},
    nat::NatId,
    ports::{Ports, Received, SocketId},
};

/// tokio's clock moves in steps of this.
const GRAIN: Duration = Duration::from_millis(1);

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
    pub(super) addresses: Addresses,
    pub(super) ports: Ports,
    seed: u64,
    default_shape: LinkShape,
    directions: BTreeMap<(HostId, HostId), usize>,
    links: Vec<Link>,
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
struct Link {
    from: HostId,
    to: HostId,
    direction: Direction,
}

/// A packet under way.
#[derive(Debug)]
struct Event {
    at: Duration,
    sequence: u64,
    link: usize,
    number: u64,
    packet: Received,
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

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            addresses: Addresses::default(),
            ports: Ports::default(),
            seed,
            default_shape: LinkShape::default(),
            directions: BTreeMap::new(),
            links: Vec::new(),
            queue: BinaryHeap::new(),
            sequence: 0,
            armed: None,
            no_route: 0,
            trace: VecDeque::new(),
            trace_left: 0,
            digest: 0,
        }
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
            let rng = StdRng::seed_from_u64(self.seed ^ stream);
            // A machine's way to itself takes no time.
            let shape = if from == to {
                LinkShape::default()
            } else {
                self.default_shape
            };
            let direction = Direction::new(shape, rng);
            self.links.push(Link { from, to, direction });
        }
        index
    }

    pub(super) fn bind(&mut self, host: HostId, local: SocketAddr) -> io::Result<(SocketId, SocketAddr)> {
        let ip = local.ip();
        if !ip.is_unspecified() && !ip.is_loopback() && !self.addresses.owns(host, ip) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        self.ports.bind(host, local)
    }

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
        let Some((host, local)) = self.ports.owner(id) else {
            return false;
        };
        let Some(source) = self.addresses.source(now, host, local, from, to.ip()) else {
            self.ports.count_send_error(id);
            return false;
        };
        let Some(way) = self.addresses.way(now, host, source, to) else {
            self.no_route += 1;
            return false;
        };
        let link = self.link_index(host, way.host);
        let arrival = match self.links[link].direction.offer(now, data.len()) {
            Ok(arrival) => arrival,
            Err(cause) => {
                self.note(now, link, data.len(), Fate::Lost(cause));
                return false;
            }
        };
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
        while self
            .queue
            .peek()
            .is_some_and(|Reverse(next)| rounded(next.at) <= now)
        {
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
        let Event { link, packet, .. } = event;
        let (host, len) = (self.links[link].to, packet.data.len());
        let there = self.addresses.takes(now, host, packet.to, event.through);
        let receiver = self.ports.receiver(host, packet.to).filter(|_| there);
        let direction = &mut self.links[link].direction;
        match receiver {
            Some(id) => {
                direction.delivered(event.number, len);
                self.note(now, link, len, Fate::Delivered);
                self.ports.deliver(id, packet)
            }
            None => {
                direction.undeliverable(len);
                self.note(now, link, len, Fate::Lost(LossCause::Unreachable));
                None
            }
        }
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
                from: Arc::clone(self.addresses.name(from)),
                to: Arc::clone(self.addresses.name(to)),
                len,
                fate,
            });
        }
    }

    pub(super) fn delivered(&self) -> u64 {
        self.links.iter().map(|l| l.direction.counters.delivered).sum()
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

/// When the driver, whose timers have tokio's grain, takes `at` for due.
fn rounded(at: Duration) -> Duration {
    let grain = GRAIN.as_nanos() as u64;
    let ns = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX - grain);
    Duration::from_nanos((ns + grain / 2) / grain * grain)
}
