//! Who owns which address in the simulated network, and where a packet to an address goes. Time comes in
//! as the duration since the network's origin.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

use super::{
    HostSpec,
    nat::{Nat, NatId, NatKind},
};

pub(super) type HostId = usize;

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

#[derive(Debug, Default)]
pub(super) struct Addresses {
    hosts: Vec<Host>,
    nats: Vec<NatState>,
    public: BTreeMap<IpAddr, Owner>,
}

#[derive(Debug)]
struct Host {
    name: Arc<str>,
    addresses: Vec<IpAddr>,
    nat: Option<NatId>,
    online: bool,
    awake_at: Duration,
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

/// Where a packet goes and whom it seems to come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) host: HostId,
    pub(super) to: SocketAddr,
    pub(super) from: SocketAddr,
    /// The outside address of the NAT that must still lead to the receiver on arrival.
    pub(super) through: Option<(NatId, SocketAddr)>,
}

impl Addresses {
    // ---- building and changing ----

    pub(super) fn add_host(&mut self, spec: HostSpec) -> Result<HostId, SimError> {
        let id = self.hosts.len();
        self.hosts.push(Host {
            name: spec.name.into(),
            addresses: Vec::new(),
            nat: spec.nat,
            online: true,
            awake_at: Duration::ZERO,
            changes: watch::Sender::new(0),
        });
        if let Err(e) = self.set_addresses(id, spec.addresses) {
            self.hosts.pop();
            return Err(e);
        }
        Ok(id)
    }

    pub(super) fn name(&self, id: HostId) -> &Arc<str> {
        &self.hosts[id].name
    }

    pub(super) fn owns(&self, id: HostId, ip: IpAddr) -> bool {
        self.hosts[id].addresses.contains(&ip)
    }

    pub(super) fn set_addresses(&mut self, id: HostId, addresses: Vec<IpAddr>) -> Result<(), SimError> {
        let nat = self.hosts[id].nat;
        if nat.is_some_and(|NatId(n)| n >= self.nats.len()) {
            return Err(SimError::NoSuchNat);
        }
        for ip in &addresses {
            let free = match inside_of(nat, *ip) {
                Some(NatId(n)) => self.nats[n].inside.get(ip).is_none_or(|owner| *owner == id),
                None => match self.public.get(ip) {
                    Some(Owner::Host(owner)) => *owner == id,
                    Some(Owner::Nat(_)) => false,
                    None => true,
                },
            };
            if !free {
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
        self.check_outside(outside)?;
        let id = NatId(self.nats.len());
        self.nats.push(NatState {
            nat: Nat::new(outside, kind),
            inside: BTreeMap::new(),
        });
        self.public.insert(outside, Owner::Nat(id));
        Ok(id)
    }

    pub(super) fn rebind_nat(&mut self, id: NatId, outside: Option<IpAddr>) -> Result<(), SimError> {
        let old = self.nats.get(id.0).ok_or(SimError::NoSuchNat)?.nat.outside;
        if let Some(outside) = outside.filter(|ip| *ip != old) {
            self.check_outside(outside)?;
            self.public.remove(&old);
            self.public.insert(outside, Owner::Nat(id));
            self.nats[id.0].nat.outside = outside;
        }
        self.nats[id.0].nat.forget();
        Ok(())
    }

    fn check_outside(&self, outside: IpAddr) -> Result<(), SimError> {
        if !outside.is_ipv4() {
            return Err(SimError::NotIpv4(outside));
        }
        if self.public.contains_key(&outside) {
            return Err(SimError::AddressTaken(outside));
        }
        Ok(())
    }

    pub(super) fn set_online(&mut self, id: HostId, online: bool) {
        if self.hosts[id].online != online {
            self.hosts[id].online = online;
            self.changed(id);
        }
    }

    pub(super) fn sleep(&mut self, id: HostId, until: Duration) {
        self.hosts[id].awake_at = self.hosts[id].awake_at.max(until);
    }

    fn changed(&self, id: HostId) {
        self.hosts[id].changes.send_modify(|n| *n += 1);
    }

    pub(super) fn changes(&self, id: HostId) -> watch::Receiver<u64> {
        self.hosts[id].changes.subscribe()
    }

    // ---- packets ----

    /// The address that a packet from a socket bound to `local` leaves with, if the host can send at all.
    pub(super) fn source(
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
        if to.is_loopback() {
            return Some(SocketAddr::new(to, local.port()));
        }
        let bound = Some(local.ip()).filter(|ip| !ip.is_unspecified());
        let ip = from.or(bound).or_else(|| {
            let same_family = |ip: &&IpAddr| ip.is_ipv4() == to.is_ipv4();
            owner.addresses.iter().find(same_family).copied()
        })?;
        (owner.online && ip.is_ipv4() == to.is_ipv4() && owner.addresses.contains(&ip))
            .then(|| SocketAddr::new(ip, local.port()))
    }

    /// Where a packet that leaves `host` goes; `None` if its destination is nobody's.
    pub(super) fn way(
        &mut self,
        now: Duration,
        host: HostId,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Option<Way> {
        let direct = |host, from| Way {
            host,
            to,
            from,
            through: None,
        };
        if to.ip().is_loopback() {
            return Some(direct(host, from));
        }
        let nat = inside_of(self.hosts[host].nat, from.ip());
        if let Some(NatId(n)) = nat
            && let Some(neighbour) = self.nats[n].inside.get(&to.ip())
        {
            return Some(direct(*neighbour, from));
        }
        let owner = *self.public.get(&to.ip())?;
        let from = match nat {
            Some(NatId(n)) => self.nats[n].nat.outbound(from, now)?,
            None => from,
        };
        match owner {
            Owner::Host(host) => Some(direct(host, from)),
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

    /// Whether `host` takes a packet to `to` on arrival.
    pub(super) fn takes(
        &self,
        now: Duration,
        host: HostId,
        to: SocketAddr,
        through: Option<(NatId, SocketAddr)>,
    ) -> bool {
        let owner = &self.hosts[host];
        let there = to.ip().is_loopback() || (owner.online && owner.addresses.contains(&to.ip()));
        let still_mapped = through.is_none_or(|(NatId(n), outside)| {
            let nat = &self.nats[n].nat;
            nat.outside == outside.ip() && nat.inbound(outside.port(), now) == Some(to)
        });
        there && now >= owner.awake_at && still_mapped
    }
}

/// The NAT that hides `ip` of a host behind `nat`: IPv6 is never translated.
fn inside_of(nat: Option<NatId>, ip: IpAddr) -> Option<NatId> {
    nat.filter(|_| ip.is_ipv4())
}
