//! Packets that came twice. QUIC drops them before anyone sees them, so they are counted where packets come
//! in, by their first bytes against those of the peer's last 256 packets. A packet that QUIC finds too old is
//! one that comes more than 128 packets late, and is no duplicate here: together the two say what QUIC's own
//! count of dropped packets cannot.
//!
//! The first bytes of a short-header packet are its flags, the connection's id and ciphertext, which differs
//! from packet to packet: in the first [`LOOKED_AT`] bytes there are at least eleven of it. Two packets with
//! the same fingerprint by chance are one in 2⁶⁴ pairs.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
};

/// Bytes of a packet that are looked at: flags, at most 20 of a connection's id, and 11 of what is encrypted.
pub const LOOKED_AT: usize = 32;

/// Packets of a peer that are remembered: about 2 kB, and twice what QUIC takes late packets from.
pub const REMEMBERED: usize = 256;

/// Peers that are remembered; beyond, the one that was added first is forgotten: 8 MB.
pub const MAX_PEERS: usize = 4_096;

/// Whether a packet came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Fresh,
    Duplicate,
}

/// The last packets of all peers. One for each socket.
#[derive(Debug)]
pub struct Duplicates {
    /// Keyed at random, so that nobody can make packets that look alike.
    hasher: RandomState,
    peers: HashMap<SocketAddr, Ring>,
    /// In the order in which they were added.
    by_age: VecDeque<SocketAddr>,
    max_peers: usize,
    duplicates: u64,
}

/// Fingerprints of a peer's last packets, in the order of arrival.
#[derive(Debug)]
struct Ring {
    fingerprints: Box<[u64; REMEMBERED]>,
    next: usize,
    /// One bit for each fingerprint's low bits: one that is not here is not in the ring either. Made anew
    /// once a turn of the ring, so that it does not fill up.
    filter: [u64; FILTER_WORDS],
}

/// 4,096 bits for at most 512 fingerprints: seven of eight fresh packets are known as such at once.
const FILTER_WORDS: usize = 64;

impl Default for Duplicates {
    fn default() -> Self {
        Self::with_room(MAX_PEERS)
    }
}

impl Duplicates {
    /// Remembers so many peers, at least one.
    pub fn with_room(max_peers: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            peers: HashMap::new(),
            by_age: VecDeque::new(),
            max_peers: max_peers.max(1),
            duplicates: 0,
        }
    }

    /// Takes a packet (one UDP datagram) from `peer`, of which [`LOOKED_AT`] bytes are enough.
    pub fn observe(&mut self, peer: SocketAddr, packet: &[u8]) -> Seen {
        let looked_at = packet.get(..LOOKED_AT).unwrap_or(packet);
        // The length tells packets apart that are too short to differ otherwise.
        let fingerprint = self.hasher.hash_one((packet.len(), looked_at));
        let seen = match self.peers.get_mut(&peer) {
            Some(ring) => ring.take(fingerprint),
            None => {
                self.make_room();
                self.by_age.push_back(peer);
                self.peers.entry(peer).or_default().take(fingerprint)
            }
        };
        self.duplicates += u64::from(seen == Seen::Duplicate);
        seen
    }

    /// Duplicates so far.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    fn make_room(&mut self) {
        while self.peers.len() >= self.max_peers {
            match self.by_age.pop_front() {
                Some(oldest) => self.peers.remove(&oldest),
                None => break,
            };
        }
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            fingerprints: Box::new([0; REMEMBERED]),
            next: 0,
            filter: [0; FILTER_WORDS],
        }
    }
}

impl Ring {
    fn take(&mut self, fingerprint: u64) -> Seen {
        // 0 stands for an empty place.
        let fingerprint = fingerprint.max(1);
        if self.may_hold(fingerprint) && self.fingerprints.contains(&fingerprint) {
            return Seen::Duplicate;
        }
        self.fingerprints[self.next] = fingerprint;
        self.next = (self.next + 1) % REMEMBERED;
        if self.next == 0 {
            self.filter = [0; FILTER_WORDS];
            for i in 0..REMEMBERED {
                self.mark(self.fingerprints[i]);
            }
        } else {
            self.mark(fingerprint);
        }
        Seen::Fresh
    }

    fn may_hold(&self, fingerprint: u64) -> bool {
        let (word, bit) = place(fingerprint);
        self.filter[word] & bit != 0
    }

    fn mark(&mut self, fingerprint: u64) {
        let (word, bit) = place(fingerprint);
        self.filter[word] |= bit;
    }
}

fn place(fingerprint: u64) -> (usize, u64) {
    let word = (fingerprint >> 6) as usize % FILTER_WORDS;
    (word, 1 << (fingerprint & 63))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peer(n: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], n))
    }

    /// A packet of which only what QUIC encrypts differs.
    fn packet(n: u32) -> Vec<u8> {
        let mut bytes = vec![7; 200];
        bytes[21..25].copy_from_slice(&n.to_be_bytes());
        bytes
    }

    #[test]
    fn a_packet_is_known_among_the_last_256_of_its_peer() {
        let mut d = Duplicates::default();
        for n in 0..1_000 {
            assert_eq!(d.observe(peer(1), &packet(n)), Seen::Fresh, "{n}");
            // The filter is made anew where the ring begins again; it must not forget.
            let oldest = n.saturating_sub(REMEMBERED as u32 - 1);
            for again in [n, oldest] {
                assert_eq!(
                    d.observe(peer(1), &packet(again)),
                    Seen::Duplicate,
                    "{again} of {n}"
                );
            }
            assert_eq!(d.observe(peer(2), &packet(n)), Seen::Fresh, "another peer's {n}");
        }
        assert_eq!(d.duplicates(), 2_000);
        assert_eq!(
            d.observe(peer(1), &packet(1_000 - 257)),
            Seen::Fresh,
            "too long ago"
        );
    }

    #[test]
    fn what_is_looked_at_is_the_beginning_and_the_length() {
        let mut d = Duplicates::default();
        let mut long = packet(1);
        d.observe(peer(1), &long);
        long[LOOKED_AT] ^= 1;
        assert_eq!(d.observe(peer(1), &long), Seen::Duplicate);
        long.push(0);
        assert_eq!(d.observe(peer(1), &long), Seen::Fresh);
        assert_eq!(d.observe(peer(1), &[]), Seen::Fresh);
        assert_eq!(d.observe(peer(1), &[0]), Seen::Fresh);
        assert_eq!(d.observe(peer(1), &[0]), Seen::Duplicate);
    }

    #[test]
    fn peers_are_bounded_and_the_first_goes_first() {
        let mut d = Duplicates::with_room(2);
        for n in [1, 2, 3] {
            d.observe(peer(n), &packet(0));
        }
        assert_eq!((d.peers.len(), d.by_age.len()), (2, 2));
        assert_eq!(d.observe(peer(2), &packet(0)), Seen::Duplicate);
        assert_eq!(d.observe(peer(1), &packet(0)), Seen::Fresh, "forgotten");
    }

    proptest! {
        #[test]
        fn agrees_with_a_list_of_the_last_packets(numbers in prop::collection::vec(0u32..400, 0..2_000)) {
            let mut d = Duplicates::default();
            let mut last: VecDeque<u32> = VecDeque::new();
            for n in numbers {
                let known = last.contains(&n);
                prop_assert_eq!(d.observe(peer(1), &packet(n)) == Seen::Duplicate, known);
                if !known {
                    last.push_back(n);
                    if last.len() > REMEMBERED {
                        last.pop_front();
                    }
                }
            }
        }
    }
}
