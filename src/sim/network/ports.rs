//! The sockets of all simulated hosts: which port is whose, and what waits to be read.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    task::Waker,
};

use quinn::udp::EcnCodepoint;

use super::addresses::HostId;
use crate::transport::SocketCounters;

pub(super) type SocketId = usize;

/// A receive buffer like that of a busy server's socket, in bytes.
const RECEIVE_BUFFER: usize = 4 << 20;
/// RFC 6335 §6: ports from here on are given out.
const FIRST_EPHEMERAL_PORT: u16 = 49_152;

#[derive(Debug, Default)]
pub(super) struct Ports {
    /// Ids are not used again.
    sockets: Vec<Option<Socket>>,
    bound: BTreeMap<(HostId, u16), Vec<SocketId>>,
    next_port: BTreeMap<HostId, u16>,
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

impl Ports {
    /// Binds a socket to `local`, whose address the host is known to own.
    pub(super) fn bind(&mut self, host: HostId, local: SocketAddr) -> io::Result<(SocketId, SocketAddr)> {
        let ip = local.ip();
        let port = if local.port() != 0 {
            Some(local.port()).filter(|port| self.is_free(host, ip, *port))
        } else {
            let first = self.next_port.get(&host).copied().unwrap_or(FIRST_EPHEMERAL_PORT);
            let found = (first..=u16::MAX)
                .chain(FIRST_EPHEMERAL_PORT..first)
                .find(|port| self.is_free(host, ip, *port));
            let next = found
                .and_then(|p| p.checked_add(1))
                .unwrap_or(FIRST_EPHEMERAL_PORT);
            self.next_port.insert(host, next);
            found
        };
        let port = port.ok_or(io::ErrorKind::AddrInUse)?;
        let local = SocketAddr::new(ip, port);
        let id = self.sockets.len();
        self.bound.entry((host, port)).or_default().push(id);
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

    fn is_free(&self, host: HostId, ip: IpAddr, port: u16) -> bool {
        self.on(host, port)
            .all(|(_, other)| !covers(other, ip) && !covers(ip, other))
    }

    /// The sockets on a port and the addresses that they are bound to.
    fn on(&self, host: HostId, port: u16) -> impl Iterator<Item = (SocketId, IpAddr)> {
        let ids = self.bound.get(&(host, port)).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.sockets[*id].as_ref()?.local.ip())))
    }

    /// Closes all sockets of a host.
    pub(super) fn close_all(&mut self, host: HostId) {
        for id in 0..self.sockets.len() {
            if self.sockets[id].as_ref().is_some_and(|s| s.host == host) {
                self.close(id);
            }
        }
    }

    pub(super) fn close(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets[id].take()
            && let Some(ids) = self.bound.get_mut(&(socket.host, socket.local.port()))
        {
            ids.retain(|other| *other != id);
        }
    }

    /// Whose socket it is, and where it is bound.
    pub(super) fn owner(&self, id: SocketId) -> Option<(HostId, SocketAddr)> {
        self.sockets[id].as_ref().map(|s| (s.host, s.local))
    }

    pub(super) fn counters(&self, id: SocketId) -> SocketCounters {
        self.sockets[id].as_ref().map(|s| s.counters).unwrap_or_default()
    }

    pub(super) fn count_send_error(&mut self, id: SocketId) {
        if let Some(socket) = &mut self.sockets[id] {
            socket.counters.send_errors += 1;
            socket.counters.last_send_error = Some(libc::ENETUNREACH);
        }
    }

    /// The socket that a packet to `to` reaches: one bound to the very address before a wildcard.
    pub(super) fn receiver(&self, host: HostId, to: SocketAddr) -> Option<SocketId> {
        let exact = self.on(host, to.port()).find(|(_, ip)| *ip == to.ip());
        let any = || self.on(host, to.port()).find(|(_, ip)| covers(*ip, to.ip()));
        exact.or_else(any).map(|(id, _)| id)
    }

    /// Puts a packet into a socket's buffer, or drops it, counted, where that is full; whom to wake.
    pub(super) fn deliver(&mut self, id: SocketId, packet: Received) -> Option<Waker> {
        let socket = self.sockets[id].as_mut()?;
        if socket.inbox_bytes + packet.data.len() > RECEIVE_BUFFER {
            socket.counters.receive_overflows = socket.counters.receive_overflows.map(|n| n + 1);
            return None;
        }
        socket.inbox_bytes += packet.data.len();
        socket.inbox.push_back(packet);
        socket.waker.take()
    }

    pub(super) fn receive(&mut self, id: SocketId) -> Option<Received> {
        let socket = self.sockets[id].as_mut()?;
        let packet = socket.inbox.pop_front()?;
        socket.inbox_bytes -= packet.data.len();
        Some(packet)
    }

    /// Whom to wake when something arrives.
    pub(super) fn wait(&mut self, id: SocketId, waker: &Waker) {
        if let Some(socket) = self.sockets[id].as_mut() {
            match &mut socket.waker {
                Some(old) => old.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
    }
}

/// Whether a socket bound to `bound` receives what is sent to `ip` (IPv6 wildcards are dual-stack).
fn covers(bound: IpAddr, ip: IpAddr) -> bool {
    match bound {
        IpAddr::V6(v6) if v6.is_unspecified() => true,
        IpAddr::V4(v4) if v4.is_unspecified() => ip.is_ipv4(),
        _ => bound == ip,
    }
}
