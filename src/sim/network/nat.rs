//! A simulated NAT: inside addresses to outside ones, IPv4 only. Pure.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Which NAT a host is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NatId(pub(super) usize);

/// How a NAT maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatKind {
    /// Every inside address and port gets an outside port of its own, for all destinations
    /// (endpoint-independent, RFC 4787), until it has sent nothing for `forget_after`.
    Ports { forget_after: Option<Duration> },
    /// One inside host has the whole outside address, ports unchanged, from outside too (cloud hosts).
    OneToOne,
}

#[derive(Debug)]
pub(super) struct Nat {
    pub(super) outside: IpAddr,
    kind: NatKind,
    out: BTreeMap<SocketAddr, Mapping>,
    back: BTreeMap<u16, SocketAddr>,
    next_port: u16,
    /// With [`NatKind::OneToOne`]: the address it all goes to.
    only: Option<IpAddr>,
}

#[derive(Debug, Clone, Copy)]
struct Mapping {
    port: u16,
    used: Duration,
}

const FIRST_PORT: u16 = 20_000;

impl Nat {
    pub(super) fn new(outside: IpAddr, kind: NatKind) -> Self {
        Self {
            outside,
            kind,
            out: BTreeMap::new(),
            back: BTreeMap::new(),
            next_port: FIRST_PORT,
            only: None,
        }
    }

    /// Makes `inside` known; the first address is the one that a one-to-one NAT maps.
    pub(super) fn add_inside(&mut self, inside: IpAddr) {
        self.only.get_or_insert(inside);
    }

    /// The outside address of a packet from `inside`, mapped now if need be; `None` if it has no mapping
    /// and can have none.
    pub(super) fn outbound(&mut self, inside: SocketAddr, now: Duration) -> Option<SocketAddr> {
        let NatKind::Ports { forget_after } = self.kind else {
            return (self.only == Some(inside.ip())).then(|| SocketAddr::new(self.outside, inside.port()));
        };
        if let Some(mapping) = self.out.get_mut(&inside) {
            if forget_after.is_none_or(|limit| now.saturating_sub(mapping.used) <= limit) {
                mapping.used = now;
                return Some(SocketAddr::new(self.outside, mapping.port));
            }
            let port = mapping.port;
            self.back.remove(&port);
        }
        let port = self.free_port()?;
        self.out.insert(inside, Mapping { port, used: now });
        self.back.insert(port, inside);
        Some(SocketAddr::new(self.outside, port))
    }

    /// Where a packet to this port of the outside address goes.
    pub(super) fn inbound(&self, port: u16, now: Duration) -> Option<SocketAddr> {
        let NatKind::Ports { forget_after } = self.kind else {
            return self.only.map(|ip| SocketAddr::new(ip, port));
        };
        let inside = *self.back.get(&port)?;
        let used = self.out.get(&inside)?.used;
        forget_after
            .is_none_or(|limit| now.saturating_sub(used) <= limit)
            .then_some(inside)
    }

    /// Forgets all mappings. Ports go on counting, so that none is given again soon.
    pub(super) fn forget(&mut self) {
        self.out.clear();
        self.back.clear();
    }

    fn free_port(&mut self) -> Option<u16> {
        let ports = usize::from(u16::MAX - FIRST_PORT) + 1;
        for _ in 0..ports {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
            if !self.back.contains_key(&port) {
                return Some(port);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn addr(s: &str) -> SocketAddr {
        s.parse().unwrap()
    }

    #[test]
    fn ports_map_both_ways_until_forgotten() {
        let mut nat = Nat::new(
            "203.0.113.1".parse().unwrap(),
            NatKind::Ports {
                forget_after: Some(30 * S),
            },
        );
        let inside = addr("192.168.1.10:5000");
        let outside = nat.outbound(inside, Duration::ZERO).unwrap();
        assert_eq!(nat.outbound(inside, 30 * S), Some(outside));
        assert_ne!(nat.outbound(addr("192.168.1.11:5000"), 30 * S), Some(outside));
        assert_eq!(nat.inbound(outside.port(), 60 * S), Some(inside));
        assert_eq!(nat.inbound(outside.port(), 61 * S), None);
        let again = nat.outbound(inside, 61 * S).unwrap();
        assert_ne!(again, outside);
        assert_eq!(nat.inbound(outside.port(), 61 * S), None);
        nat.forget();
        assert_eq!(nat.inbound(again.port(), 61 * S), None);
    }

    #[test]
    fn one_to_one_keeps_ports_and_lets_outsiders_in() {
        let mut nat = Nat::new("203.0.113.1".parse().unwrap(), NatKind::OneToOne);
        nat.add_inside("10.0.0.5".parse().unwrap());
        assert_eq!(nat.inbound(4433, Duration::ZERO), Some(addr("10.0.0.5:4433")));
        let out = nat.outbound(addr("10.0.0.5:4433"), Duration::ZERO);
        assert_eq!(out, Some(addr("203.0.113.1:4433")));
        assert_eq!(nat.outbound(addr("10.0.0.6:4433"), Duration::ZERO), None);
    }

    #[test]
    fn ports_run_out_and_are_not_given_twice() {
        let mut nat = Nat::new(
            "203.0.113.1".parse().unwrap(),
            NatKind::Ports { forget_after: None },
        );
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..u32::from(u16::MAX - FIRST_PORT) + 1 {
            let inside = SocketAddr::new(IpAddr::from(n.to_be_bytes()), 1);
            assert!(seen.insert(nat.outbound(inside, Duration::ZERO).unwrap()));
        }
        assert_eq!(nat.outbound(addr("250.0.0.1:9"), Duration::ZERO), None);
    }
}
