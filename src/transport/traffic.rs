//! How many IP bytes go over an endpoint's sockets: handshakes that fail, lost races, acknowledgements and
//! goodbyes included, none of which a connection knows of.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use corridor_probes::tiers::Bytes;
use quinn::udp::{RecvMeta, Transmit};

use super::network::DatagramSocket;

/// What a packet with one datagram has around it: QUIC's short header, packet number and tag, and the frame's
/// head, in bytes.
pub const PACKET: u64 = 30;
/// A packet with an acknowledgement alone, and its ranges, in bytes.
pub const ACKNOWLEDGEMENT: u64 = 42;

/// IPv4 or IPv6 and UDP headers, in bytes.
pub fn header(peer: IpAddr) -> u64 {
    match peer.to_canonical() {
        IpAddr::V4(_) => 20 + 8,
        IpAddr::V6(_) => 40 + 8,
    }
}

/// Counts of one endpoint, over all the sockets that it has had.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    out: AtomicU64,
    back: AtomicU64,
}

impl Traffic {
    /// So far.
    pub(super) fn total(&self) -> Bytes {
        Bytes {
            out: self.out.load(Ordering::Relaxed),
            back: self.back.load(Ordering::Relaxed),
        }
    }
}

fn add(count: &AtomicU64, peer: SocketAddr, len: usize, segment: Option<usize>) {
    let packets = segment.map_or(1, |size| len.div_ceil(size.max(1)).max(1));
    let bytes = len as u64 + packets as u64 * header(peer.ip());
    count.fetch_add(bytes, Ordering::Relaxed);
}

/// A socket whose traffic is counted.
pub(super) struct Counted {
    pub(super) socket: Arc<dyn DatagramSocket>,
    pub(super) traffic: Arc<Traffic>,
}

impl quinn::AsyncUdpSocket for Counted {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn quinn::UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)?;
        let (len, segment) = (transmit.contents.len(), transmit.segment_size);
        add(&self.traffic.out, transmit.destination, len, segment);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let polled = self.socket.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(n)) = &polled {
            for meta in meta.iter().take(*n) {
                add(&self.traffic.back, meta.addr, meta.len, Some(meta.stride));
            }
        }
        polled
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counted").field(&self.socket).finish()
    }
}
