//! The seam between QUIC endpoints and the network under them: real UDP ([`super::UdpNetwork`]) or the
//! simulation's ([`crate::sim::SimHost`]).

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use quinn::udp::{RecvMeta, Transmit};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{
    dscp::{Dscp, Marked},
    packets::PacketLog,
};

/// A machine's network, as endpoints see it.
pub trait Network: fmt::Debug + Send + Sync + 'static {
    /// Binds a UDP socket. Port 0 takes any free port; an unspecified IPv6 address takes IPv4 too, and
    /// is IPv4's where the machine has no IPv6.
    fn bind(&self, local: SocketAddr) -> Result<Arc<dyn DatagramSocket>, BindError>;

    /// What runs quinn's timers and tasks.
    fn runtime(&self) -> Arc<dyn quinn::Runtime>;

    /// Counts up whenever addresses, interfaces or routes of this machine have changed. Changes in quick
    /// succession may count as one; none is forgotten. Where the system gives no notice it never changes.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// A bound socket that counts what quinn does not show.
pub trait DatagramSocket: quinn::AsyncUdpSocket {
    /// Writes down from now on when packets of the log's peers come and go, where that is known better than
    /// by reading a clock afterwards.
    fn log_to(&self, _log: &Arc<PacketLog>) {}

    fn counters(&self) -> SocketCounters;

    /// As `poll_recv` into one buffer, with the mark of what came. Where nobody knows it, it is best effort.
    fn poll_recv_marked(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<Marked>> {
        let mut meta = [RecvMeta::default()];
        self.poll_recv(cx, &mut [IoSliceMut::new(buffer)], &mut meta)
            .map_ok(|_| Marked {
                meta: meta[0],
                dscp: Dscp::BEST_EFFORT,
            })
    }

    /// As `try_send` of one packet, marked where that can be.
    fn try_send_marked(&self, transmit: &Transmit<'_>, _: Dscp) -> io::Result<()> {
        self.try_send(transmit)
    }
}

/// What became of datagrams in a socket, cumulative. Datagrams, not system calls: a segmented send that
/// fails counts each of its segments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketCounters {
    /// The system refused to send (no route, firewall, no such source address…). quinn never hears of it.
    pub send_errors: u64,
    /// `errno` of the last of them.
    pub last_send_error: Option<i32>,
    /// Larger than the interface takes: probes for a larger MTU, which is how discovery ends.
    pub send_too_big: u64,
    /// Dropped by the system because the socket's receive buffer was full; `None` where it does not tell.
    pub receive_overflows: Option<u64>,
    /// Packets that the network delivered twice; `None` where nobody looks.
    pub duplicates: Option<u64>,
    /// Packets whose arrival the kernel stamped, and those without such a stamp, or with one that cannot be
    /// believed.
    pub stamped: u64,
    pub unstamped: u64,
    /// The buffers that the system granted, in bytes, by its own accounting.
    pub receive_buffer: Option<usize>,
    pub send_buffer: Option<usize>,
}

/// Who says when a packet came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArrivalTimes {
    /// The kernel, as it took the packet in.
    Kernel,
    /// The program, when it read it: stalls of this machine are in it, as far as nothing else shows them.
    Program,
}

impl ArrivalTimes {
    /// Of most packets of these sockets; `None` before any has come.
    pub fn of(sockets: &[SocketCounters]) -> Option<Self> {
        let sum = |of: fn(&SocketCounters) -> u64| sockets.iter().map(of).sum::<u64>();
        match (sum(|s| s.stamped), sum(|s| s.unstamped)) {
            (0, 0) => None,
            (stamped, unstamped) if stamped < unstamped => Some(Self::Program),
            _ => Some(Self::Kernel),
        }
    }
}

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot listen on {address}: another process uses this UDP port")]
    InUse {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot listen on {address}: not allowed (ports below 1024 need a privilege)")]
    Denied {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot listen on {address}: this machine has no such address")]
    NotLocal {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot open a UDP socket on {address}")]
    Io {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

impl BindError {
    pub(crate) fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address, source },
            io::ErrorKind::PermissionDenied => Self::Denied { address, source },
            io::ErrorKind::AddrNotAvailable => Self::NotLocal { address, source },
            _ => Self::Io { address, source },
        }
    }
}
