//! When did the packet of a datagram really come in, and when did it really go out?
//!
//! QUIC shows datagrams when it has decrypted them and our task runs: on a busy machine milliseconds after
//! the kernel had the packet. The socket knows when each packet came (the kernel's stamp) and went (just
//! before the system call), but not what was in it. Both are put together here, by order and by length: a
//! datagram was in one of the packets that QUIC has taken since the last datagram before it, and in one
//! long enough to hold it. That leaves one packet nearly always. Where it leaves several that came at
//! different times, the answer is that nobody knows, never a guess.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use corridor_probes::{Arrival, Mono, Stall};

use super::connection::canonical;

/// Packets that are remembered for each peer and direction: as many may come in one batch before they are
/// read.
const REMEMBERED: usize = 32;

/// What a packet holds beside its frames, at least: first byte, the connection id of our endpoints, a
/// packet number of one byte, and the tag (RFC 9000 §17.3.1, RFC 9001 §5.3).
const AROUND_FRAMES: usize = 1 + 8 + 1 + 16;
/// What a datagram takes beside its bytes, at least: the frame's type (RFC 9221 §4).
const AROUND_DATAGRAM: usize = 1;
/// What the shortest datagram takes, less one: a link probe without padding.
const SHORTEST: usize = AROUND_DATAGRAM + 22;

/// What a packet with one datagram has left beside it, at most: room for an acknowledgement.
const BESIDE: usize = 40;
/// Whoever waits for a datagram reads it sooner after the socket gave its packet to QUIC, unless there are
/// others to read before.
const LINGER: Duration = Duration::from_millis(5);

/// Packets that came so close together are as good as one.
const SAME_TIME: Duration = Duration::from_micros(50);

/// A datagram that was read so long after its packet came shows that this machine stood still: well above
/// what an idle machine takes to wake up (p99 0.13 ms).
pub const STALL: Duration = Duration::from_millis(2);

/// How many datagrams a count that only drifts upwards is taken as the least of.
const DRIFT_WINDOW: u32 = 32;

/// What the sockets of an endpoint have sent and received, for the peers that are watched.
#[derive(Debug, Default)]
pub struct PacketLog {
    peers: Mutex<HashMap<SocketAddr, Weak<Peer>>>,
}

/// One peer's packets.
#[derive(Debug, Default)]
pub struct Peer {
    rings: Mutex<Rings>,
}

#[derive(Debug, Default)]
struct Rings {
    received: Ring,
    sent: Ring,
}

#[derive(Debug, Default)]
struct Ring {
    /// All packets so far; the last one remembered has the number before.
    total: u64,
    packets: VecDeque<Packet>,
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    /// Unknown if the system gave no stamp, or one that cannot be right.
    at: Option<Mono>,
    /// When QUIC was given it.
    given: Mono,
    len: u16,
}

impl PacketLog {
    /// Remembers packets of `peer` while the answer lives.
    pub fn watch(&self, peer: SocketAddr) -> Arc<Peer> {
        let peer = canonical(peer);
        let mut peers = lock(&self.peers);
        if let Some(watched) = peers.get(&peer).and_then(Weak::upgrade) {
            return watched;
        }
        peers.retain(|_, watched| watched.strong_count() > 0);
        let watched = Arc::default();
        peers.insert(peer, Arc::downgrade(&watched));
        watched
    }

    /// Packets of these lengths came from `peer` at `at`, and are given to QUIC at `given`. Whether `peer` is one
    /// whose connection stands.
    pub fn received(
        &self,
        peer: SocketAddr,
        lens: impl Iterator<Item = usize>,
        at: Option<Mono>,
        given: Mono,
    ) -> bool {
        let Some(peer) = self.find(peer) else { return false };
        let mut rings = lock(&peer.rings);
        lens.for_each(|len| rings.received.push(len, at, given));
        true
    }

    /// Packets of these lengths are handed to the system for `peer` at `at`.
    pub fn sent(&self, peer: SocketAddr, lens: impl Iterator<Item = usize>, at: Mono) {
        if let Some(peer) = self.find(peer) {
            let mut rings = lock(&peer.rings);
            lens.for_each(|len| rings.sent.push(len, Some(at), at));
        }
    }

    fn find(&self, peer: SocketAddr) -> Option<Arc<Peer>> {
        lock(&self.peers).get(&canonical(peer)).and_then(Weak::upgrade)
    }
}

impl Ring {
    fn push(&mut self, len: usize, at: Option<Mono>, given: Mono) {
        if self.packets.len() == REMEMBERED {
            self.packets.pop_front();
        }
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        self.packets.push_back(Packet { at, given, len });
        self.total += 1;
    }

    fn first(&self) -> u64 {
        self.total - self.packets.len() as u64
    }
}

impl Peer {
    /// When the first packet that can have held a datagram of `len` bytes went out at `since` or later.
    pub fn sent_since(&self, since: Mono, len: usize) -> Option<Mono> {
        let rings = lock(&self.rings);
        let mut later = rings.sent.packets.iter().filter(|p| p.at >= Some(since));
        later.find(|p| room(p.len) >= len + AROUND_DATAGRAM)?.at
    }
}

/// What a connection has done with what came, cumulative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Packets that QUIC has taken.
    pub packets: u64,
    /// Datagrams that were in them.
    pub datagrams: u64,
    /// Datagrams that were read, the one in question included.
    pub read: u64,
}

/// Finds the packets of one connection's datagrams, which must be asked for in the order of reading.
#[derive(Debug)]
pub struct Matching {
    /// Packets below this number hold no datagram that is not read.
    spent: u64,
    /// What is left in packet `spent` beside the datagrams read from it; all of it if none.
    left: Option<usize>,
    /// More packets came than are remembered, and not all datagrams from before are read.
    blind: bool,
    /// Packets of the peer that are not this connection's: they came before it, or are of another one.
    foreign: Drifting,
    /// Datagrams that QUIC dropped because nobody read them in time.
    unread: Drifting,
}

impl Default for Matching {
    fn default() -> Self {
        Self {
            spent: 0,
            left: None,
            blind: false,
            foreign: Drifting::default(),
            unread: Drifting::from(0),
        }
    }
}

impl Matching {
    /// When a datagram of `len` bytes came that was read at `read`.
    pub fn arrival(&mut self, peer: &Peer, len: usize, taken: Taken, read: Mono) -> Arrival {
        let rings = lock(&peer.rings);
        let ring = &rings.received;
        let waiting = self
            .unread
            .excess(i128::from(taken.datagrams) - i128::from(taken.read));
        let not_taken = self
            .foreign
            .excess(i128::from(ring.total) - i128::from(taken.packets));
        let end = ring.total.saturating_sub(not_taken);
        if self.spent < ring.first() {
            (self.spent, self.left) = (ring.first(), None);
            // Its packet may be forgotten: others wait that came before, or all that were taken are forgotten.
            self.blind |= waiting > 0 || end < ring.first();
        }
        let end = end.max(self.spent);
        let found = self
            .find(ring, end, len, waiting)
            // Foreign packets have become more: the datagram's own is one that seemed not taken.
            .or_else(|| self.find(ring, ring.total, len, waiting));
        self.spend(found.as_ref(), end, waiting);
        let blind = self.blind;
        self.blind &= waiting > 0;
        match found {
            Some(_) if blind => Arrival {
                at: read,
                stall: Stall::Suspect,
            },
            None | Some(Found { at: At::Unknown, .. }) => read.into(),
            Some(Found { at: At::Several, .. }) => Arrival {
                at: read,
                stall: Stall::Suspect,
            },
            Some(Found {
                at: At::Known(at), ..
            }) => {
                // A stamp is of the wall clock, which runs a little faster or slower.
                let at = at.min(read);
                let stalled = read.since(at) >= STALL;
                let stall = if stalled { Stall::Corrected } else { Stall::None };
                Arrival { at, stall }
            }
        }
    }

    fn spend(&mut self, found: Option<&Found>, end: u64, waiting: u64) {
        let Some(found) = found else {
            self.spent = end;
            return;
        };
        let holds_more = found.left > SHORTEST;
        (self.spent, self.left) = match found.at {
            _ if waiting == 0 => (end.max(found.number + 1), None),
            At::Several if holds_more => (self.spent, self.left),
            At::Known(_) | At::Unknown if holds_more => (found.number, Some(found.left)),
            // It holds this datagram, or none.
            _ => (found.number + 1, None),
        };
    }

    /// The packet of the next datagram, among those before `end`. `waiting` more datagrams are not read.
    fn find(&self, ring: &Ring, end: u64, len: usize, waiting: u64) -> Option<Found> {
        let first = ring.first();
        let from = usize::try_from(self.spent - first).ok()?;
        let to = usize::try_from(end - first).ok()?.max(from);
        let mut all = Fitting::default();
        let mut tight = Fitting::default();
        // Packets that can hold any datagram at all.
        let (mut holding, mut first_holding) = (0, None);
        for (number, packet) in (self.spent..).zip(ring.packets.range(from..to)) {
            let room = match self.left {
                Some(left) if number == self.spent => left,
                _ => room(packet.len),
            };
            if room > SHORTEST {
                holding += 1;
                first_holding.get_or_insert(number);
            }
            let Some(left) = room.checked_sub(len + AROUND_DATAGRAM) else {
                continue;
            };
            if waiting == 0 {
                // Had it been in an earlier one, it would have been read by now.
                all.forget_before(packet.given, LINGER);
                tight.forget_before(packet.given, LINGER);
            }
            all.add(number, packet, left);
            if left <= BESIDE {
                tight.add(number, packet, left);
            }
        }
        let (number, packet, left) = all.first?;
        // As many packets as datagrams, which get one each where they are sent.
        let in_turn = holding == waiting + 1 && first_holding == Some(number);
        if in_turn || all.is_one() {
            return Some(Found::one(number, packet.at, left));
        }
        // The only one that is as long as it should be; in others there is something else, such as padding
        // that looks for a larger MTU.
        match tight.first {
            Some((number, packet, left)) if tight.is_one() => Some(Found::one(number, packet.at, left)),
            _ => Some(Found {
                number,
                at: At::Several,
                left,
            }),
        }
    }
}

/// Packets that a datagram can have been in, in the order of their coming.
#[derive(Debug, Default)]
struct Fitting {
    /// Its number, and what is left in it beside the datagram.
    first: Option<(u64, Packet, usize)>,
    last: Option<Packet>,
    count: u64,
}

impl Fitting {
    fn add(&mut self, number: u64, packet: &Packet, left: usize) {
        self.first.get_or_insert((number, *packet, left));
        self.last = Some(*packet);
        self.count += 1;
    }

    /// Forgets all if the last was given to QUIC longer than `linger` before `given`.
    fn forget_before(&mut self, given: Mono, linger: Duration) {
        if self.last.is_some_and(|last| given.since(last.given) > linger) {
            *self = Self::default();
        }
    }

    /// Whether they came so close together that any of them will do.
    fn is_one(&self) -> bool {
        let times = self
            .first
            .and_then(|(_, p, _)| p.at)
            .zip(self.last.and_then(|p| p.at));
        self.count == 1 || times.is_some_and(|(first, last)| last.since(first) <= SAME_TIME)
    }
}

/// The first packet that a datagram can have been in.
#[derive(Debug)]
struct Found {
    number: u64,
    at: At,
    /// What is left in it beside the datagram.
    left: usize,
}

impl Found {
    fn one(number: u64, at: Option<Mono>, left: usize) -> Self {
        let at = at.map_or(At::Unknown, At::Known);
        Self { number, at, left }
    }
}

#[derive(Debug, Clone, Copy)]
enum At {
    Known(Mono),
    /// It has no stamp.
    Unknown,
    /// It can have been in later ones as well, which came at other times.
    Several,
}

/// A difference of two counts whose least is a constant that may grow once in a while.
#[derive(Debug, Default)]
struct Drifting {
    least: Option<i128>,
    least_before: Option<i128>,
    seen: u32,
}

impl From<i128> for Drifting {
    fn from(least: i128) -> Self {
        Self {
            least: Some(least),
            ..Self::default()
        }
    }
}

impl Drifting {
    /// How far `difference` is above the least of late.
    fn excess(&mut self, difference: i128) -> u64 {
        if self.seen == DRIFT_WINDOW {
            self.least_before = self.least.take();
            self.seen = 0;
        }
        self.seen += 1;
        let least = self.least.map_or(difference, |least| least.min(difference));
        self.least = Some(least);
        let base = self.least_before.map_or(least, |before| before.min(least));
        u64::try_from(difference - base).unwrap_or(0)
    }
}

/// For frames, at most.
fn room(len: u16) -> usize {
    usize::from(len).saturating_sub(AROUND_FRAMES)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
