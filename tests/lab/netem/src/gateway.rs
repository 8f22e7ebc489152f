//! What stands between a node and the network in awkward places: a filter that lets few ports pass,
//! and a translator of addresses that forgets. Pure: packets come in as bytes, time as an argument.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use corridor_probes::Mono;

/// Public ports are given from here upwards, each to one mapping.
const FIRST_PORT: u16 = 20_000;
const UDP: u8 = 17;
const TCP: u8 = 6;

/// How to translate: outgoing UDP and TCP over IPv4 gets `public` as its source, and a port of its own
/// for each source port, whatever the destination. Anyone may answer to that port until nothing has
/// been sent from it for `forget`; afterwards it is gone, and the next packet gets another one. What is
/// neither UDP nor TCP does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nat {
    pub public: Ipv4Addr,
    pub forget: Duration,
}

/// One node's gateway.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Ports at the far end to which UDP and TCP pass; everything else is lost. Empty: no filter.
    only_ports: Vec<u16>,
    nat: Option<Nat>,
    mappings: BTreeMap<Inner, Mapping>,
    inner_of: BTreeMap<(u8, u16), Inner>,
    next_port: u16,
}

/// A gateway let a packet not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Inner {
    protocol: u8,
    address: Ipv4Addr,
    port: u16,
}

#[derive(Debug, Clone, Copy)]
struct Mapping {
    port: u16,
    last_sent: Mono,
}

impl Gateway {
    pub fn new(only_ports: Vec<u16>, nat: Option<Nat>) -> Self {
        Self {
            only_ports,
            nat,
            mappings: BTreeMap::new(),
            inner_of: BTreeMap::new(),
            next_port: FIRST_PORT,
        }
    }

    /// A packet from the node to the network; its source is rewritten.
    pub fn outbound(&mut self, now: Mono, packet: &mut [u8]) -> Result<(), Refused> {
        self.filter(packet, Side::Destination)?;
        let Some(nat) = self.nat else { return Ok(()) };
        let (address, port, protocol) = end(packet, Side::Source).ok_or(Refused)?;
        let IpAddr::V4(address) = address else {
            return Err(Refused);
        };
        let inner = Inner {
            protocol,
            address,
            port,
        };
        let port = self.map(now, inner, nat.forget)?;
        rewrite(packet, Side::Source, nat.public, port);
        Ok(())
    }

    /// A packet from the network to the node; its destination is rewritten.
    pub fn inbound(&mut self, now: Mono, packet: &mut [u8]) -> Result<(), Refused> {
        self.filter(packet, Side::Source)?;
        let Some(nat) = self.nat else { return Ok(()) };
        let (address, port, protocol) = end(packet, Side::Destination).ok_or(Refused)?;
        if address != IpAddr::V4(nat.public) {
            return Err(Refused);
        }
        let inner = *self.inner_of.get(&(protocol, port)).ok_or(Refused)?;
        let mapping = self.mappings.get(&inner).ok_or(Refused)?;
        if mapping.port != port || now.since(mapping.last_sent) >= nat.forget {
            return Err(Refused);
        }
        rewrite(packet, Side::Destination, inner.address, inner.port);
        Ok(())
    }

    fn filter(&self, packet: &[u8], far: Side) -> Result<(), Refused> {
        if self.only_ports.is_empty() {
            return Ok(());
        }
        match end(packet, far) {
            Some((_, port, _)) if self.only_ports.contains(&port) => Ok(()),
            _ => Err(Refused),
        }
    }

    /// The public port of `inner`, a new one if it has none or its own is forgotten.
    fn map(&mut self, now: Mono, inner: Inner, forget: Duration) -> Result<u16, Refused> {
        if let Some(mapping) = self.mappings.get_mut(&inner)
            && now.since(mapping.last_sent) < forget
        {
            mapping.last_sent = now;
            return Ok(mapping.port);
        }
        if self.inner_of.len() > usize::from(u16::MAX - FIRST_PORT) {
            self.forget_old(now, forget);
        }
        let port = self.free_port(inner)?;
        // A forgotten mapping's port is free again, after the new one was chosen: it must differ.
        if let Some(old) = self.mappings.insert(inner, Mapping { port, last_sent: now }) {
            self.inner_of.remove(&(inner.protocol, old.port));
        }
        Ok(port)
    }

    /// Takes the next port that is nobody's.
    fn free_port(&mut self, inner: Inner) -> Result<u16, Refused> {
        for _ in 0..=u16::MAX - FIRST_PORT {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
            if let Entry::Vacant(free) = self.inner_of.entry((inner.protocol, port)) {
                free.insert(inner);
                return Ok(port);
            }
        }
        Err(Refused)
    }

    fn forget_old(&mut self, now: Mono, forget: Duration) {
        self.mappings
            .retain(|_, mapping| now.since(mapping.last_sent) < forget);
        let mappings = &self.mappings;
        self.inner_of.retain(|_, inner| mappings.contains_key(inner));
    }
}

/// Which end of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

/// Address, port and protocol of one end of a UDP or TCP packet that is no later fragment.
fn end(packet: &[u8], side: Side) -> Option<(IpAddr, u16, u8)> {
    let (address, protocol, payload): (IpAddr, u8, &[u8]) = match packet.first()? >> 4 {
        4 => {
            let fragment = u16::from_be_bytes(field(packet, 6)?) & 0x1fff;
            if fragment != 0 {
                return None;
            }
            let at = if side == Side::Source { 12 } else { 16 };
            let address: [u8; 4] = field(packet, at)?;
            (address.into(), *packet.get(9)?, packet.get(header_len(packet)..)?)
        }
        6 => {
            let at = if side == Side::Source { 8 } else { 24 };
            let address: [u8; 16] = field(packet, at)?;
            (address.into(), *packet.get(6)?, packet.get(40..)?)
        }
        _ => return None,
    };
    let at = if side == Side::Source { 0 } else { 2 };
    let port = u16::from_be_bytes(field(payload, at)?);
    matches!(protocol, UDP | TCP).then_some((address, port, protocol))
}

/// Puts `address` and `port` at one end of an IPv4 packet that [`end`] has understood, and mends its
/// checksums.
fn rewrite(packet: &mut [u8], side: Side, address: Ipv4Addr, port: u16) {
    let header = header_len(packet);
    let (address_at, port_at) = match side {
        Side::Source => (12, header),
        Side::Destination => (16, header + 2),
    };
    let sum_at = header + if packet[9] == UDP { 6 } else { 16 };
    let mut change = Change::default();
    change.put(packet, address_at, &address.octets());
    change.mend(packet, 10);
    change.put(packet, port_at, &port.to_be_bytes());
    // UDP without a checksum stays without.
    if packet[9] == TCP || field(packet, sum_at) != Some([0, 0]) {
        change.mend(packet, sum_at);
    }
}

fn header_len(packet: &[u8]) -> usize {
    packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// What changed in a packet, as RFC 1624 adds it to a checksum: HC' = ~(~HC + ~m + m').
#[derive(Debug, Default)]
struct Change {
    sum: u32,
}

impl Change {
    /// `at` and the length of `new` are even.
    fn put(&mut self, packet: &mut [u8], at: usize, new: &[u8]) {
        for (i, new) in new.chunks_exact(2).enumerate() {
            let at = at + 2 * i;
            self.sum += u32::from(!word(packet, at)) + u32::from(u16::from_be_bytes([new[0], new[1]]));
            packet[at..at + 2].copy_from_slice(new);
        }
    }

    fn mend(&self, packet: &mut [u8], at: usize) {
        if packet.len() < at + 2 {
            return;
        }
        let mut sum = self.sum + u32::from(!word(packet, at));
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let sum = !(sum as u16);
        packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

fn word(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
    const PUBLIC: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
    const FAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    /// A UDP or TCP packet with right checksums.
    fn packet(protocol: u8, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
        let mut p = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
        p.extend(from.0.octets());
        p.extend(to.0.octets());
        p.extend(from.1.to_be_bytes());
        p.extend(to.1.to_be_bytes());
        let rest = if protocol == UDP { 4 } else { 16 };
        p.extend(vec![0; rest]);
        p.extend(payload);
        let sum = header_sum(&p);
        p[10..12].copy_from_slice(&sum.to_be_bytes());
        let at = 20 + if protocol == UDP { 6 } else { 16 };
        let sum = payload_sum(&p);
        p[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        p
    }

    fn sum(bytes: impl IntoIterator<Item = u8>) -> u16 {
        let bytes: Vec<u8> = bytes.into_iter().collect();
        let mut sum: u32 = bytes
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
            .sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    fn header_sum(p: &[u8]) -> u16 {
        sum(p[..20].iter().copied())
    }

    fn payload_sum(p: &[u8]) -> u16 {
        let len = (p.len() - 20) as u16;
        let pseudo = p[12..20]
            .iter()
            .copied()
            .chain([0, p[9]])
            .chain(len.to_be_bytes());
        sum(pseudo.chain(p[20..].iter().copied()))
    }

    fn nat(forget_ms: u64) -> Gateway {
        let nat = Nat {
            public: PUBLIC,
            forget: Duration::from_millis(forget_ms),
        };
        Gateway::new(Vec::new(), Some(nat))
    }

    fn out(gateway: &mut Gateway, ms: i64, port: u16) -> u16 {
        let mut p = packet(UDP, (INSIDE, port), (FAR, 443), b"hello");
        gateway.outbound(Mono::from_millis(ms), &mut p).unwrap();
        word(&p, 20)
    }

    fn back(gateway: &mut Gateway, ms: i64, port: u16) -> Result<u16, Refused> {
        let mut p = packet(UDP, (FAR, 443), (PUBLIC, port), b"hello");
        gateway.inbound(Mono::from_millis(ms), &mut p)?;
        assert_eq!(p[16..20], INSIDE.octets());
        Ok(word(&p, 22))
    }

    #[test]
    fn a_mapping_lives_while_something_is_sent() {
        let mut gateway = nat(30_000);
        let port = out(&mut gateway, 0, 5000);
        assert_ne!(out(&mut gateway, 1, 5001), port);
        assert_eq!(back(&mut gateway, 29_999, port), Ok(5000));
        // Only what is sent keeps it; what comes back does not.
        assert_eq!(back(&mut gateway, 30_000, port), Err(Refused));
        let moved = out(&mut gateway, 30_000, 5000);
        assert_ne!(moved, port);
        assert_eq!(back(&mut gateway, 30_001, port), Err(Refused));
        assert_eq!(back(&mut gateway, 30_001, moved), Ok(5000));
        assert_eq!(out(&mut gateway, 59_999, 5000), moved);
        assert_eq!(back(&mut gateway, 60_001, moved), Ok(5000));
    }

    #[test]
    fn ports_run_out_and_come_back() {
        let mut gateway = nat(10);
        for port in 0..=u16::MAX - FIRST_PORT {
            out(&mut gateway, 0, port);
        }
        let mut p = packet(UDP, (INSIDE, 60_000), (FAR, 443), b"");
        assert_eq!(gateway.outbound(Mono::from_millis(9), &mut p), Err(Refused));
        assert_eq!(gateway.outbound(Mono::from_millis(10), &mut p), Ok(()));
    }

    #[test]
    fn the_filter_looks_at_the_far_end() {
        let mut gateway = Gateway::new(vec![443], None);
        let now = Mono::ZERO;
        let mut pass = |from: u16, to: u16, inbound: bool| {
            let mut p = packet(TCP, (INSIDE, from), (FAR, to), b"");
            match inbound {
                true => gateway.inbound(now, &mut p),
                false => gateway.outbound(now, &mut p),
            }
            .is_ok()
        };
        assert!(pass(5000, 443, false) && pass(443, 5000, true));
        assert!(!pass(443, 4433, false) && !pass(4433, 443, true));
        let mut icmp = packet(UDP, (INSIDE, 1), (FAR, 443), b"");
        icmp[9] = 1;
        assert_eq!(gateway.outbound(now, &mut icmp), Err(Refused));
    }

    proptest! {
        #[test]
        fn checksums_stay_right(udp: bool, port: u16, payload in prop::collection::vec(any::<u8>(), 0..50)) {
            let mut gateway = nat(1_000);
            let protocol = if udp { UDP } else { TCP };
            let mut p = packet(protocol, (INSIDE, port), (FAR, 443), &payload);
            gateway.outbound(Mono::ZERO, &mut p).unwrap();
            prop_assert_eq!(&p[12..16], PUBLIC.octets());
            prop_assert_eq!((header_sum(&p), payload_sum(&p)), (0, 0));
            let mut answer = packet(protocol, (FAR, 443), (PUBLIC, word(&p, 20)), &payload);
            gateway.inbound(Mono::ZERO, &mut answer).unwrap();
            prop_assert_eq!(word(&answer, 22), port);
            prop_assert_eq!((header_sum(&answer), payload_sum(&answer)), (0, 0));
        }

        #[test]
        fn no_bytes_upset_it(mut bytes in prop::collection::vec(any::<u8>(), 0..80), version in 0u8..16) {
            if let Some(first) = bytes.first_mut() {
                *first = (*first & 0x0f) | (version << 4);
            }
            let mut gateway = nat(1_000);
            let _ = gateway.outbound(Mono::ZERO, &mut bytes.clone());
            let _ = gateway.inbound(Mono::ZERO, &mut bytes);
        }
    }
}
