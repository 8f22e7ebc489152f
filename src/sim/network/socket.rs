//! A simulated host's UDP socket, as quinn uses it.

use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, SocketAddrV6},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use super::{Network as Inner, ports::SocketId};
use crate::transport::{DatagramSocket, SocketCounters};

#[derive(Debug)]
pub(super) struct SimSocket {
    pub(super) network: Arc<Inner>,
    pub(super) id: SocketId,
    pub(super) local: SocketAddr,
}

impl SimSocket {
    /// Addresses as a socket of this family shows them: an IPv6 socket shows IPv4 as mapped.
    fn shown(&self, address: SocketAddr) -> SocketAddr {
        match (self.local, address) {
            (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            _ => address,
        }
    }
}

impl AsyncUdpSocket for SimSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let to = SocketAddr::new(
            transmit.destination.ip().to_canonical(),
            transmit.destination.port(),
        );
        let from = transmit.src_ip.map(|ip| ip.to_canonical());
        self.network
            .send(self.id, from, to, transmit.ecn, transmit.contents.chunks(segment));
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut world = self.network.lock();
        let mut n = 0;
        while n < bufs.len().min(meta.len()) {
            let Some(packet) = world.ports.receive(self.id) else {
                break;
            };
            // As with a real socket, what the buffer does not hold is cut off.
            let len = packet.data.len().min(bufs[n].len());
            bufs[n][..len].copy_from_slice(&packet.data[..len]);
            meta[n] = RecvMeta {
                addr: self.shown(packet.from),
                len,
                stride: len,
                ecn: packet.ecn,
                dst_ip: Some(self.shown(packet.to).ip()),
            };
            n += 1;
        }
        if n > 0 {
            return Poll::Ready(Ok(n));
        }
        world.ports.wait(self.id, cx.waker());
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

impl DatagramSocket for SimSocket {
    fn counters(&self) -> SocketCounters {
        self.network.lock().ports.counters(self.id)
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        self.network.lock().ports.close(self.id);
    }
}

/// Links drop what they cannot carry; a sender never waits.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
