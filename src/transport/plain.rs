//! A UDP socket without QUIC, for STAMP and for media at its ends.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use quinn::udp::Transmit;

use super::{BindError, DatagramSocket, Dscp, Network, dscp::Marked};
use crate::clock::{self, Clock};

/// The system may hand over several packets of one sender at once, as much as one UDP packet can hold.
const BUFFER: usize = 65_536;
/// After an error of a socket.
const AFTER_ERROR: Duration = Duration::from_millis(10);

/// A UDP socket, answered from the address that was asked.
#[derive(Debug)]
pub(crate) struct PlainSocket {
    socket: Arc<dyn DatagramSocket>,
    buffer: Vec<u8>,
}

/// Packets of one sender that lie in the buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    pub from: SocketAddr,
    /// The address of this machine that they were sent to.
    pub to: Option<IpAddr>,
    pub dscp: Dscp,
    len: usize,
    stride: usize,
}

impl PlainSocket {
    pub fn bind(network: &dyn Network, local: SocketAddr) -> Result<Self, BindError> {
        Ok(Self {
            socket: network.bind(local)?,
            buffer: vec![0; BUFFER],
        })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits for the next packets, which lie over the last. Cancel-safe: what was not read stays in the
    /// socket.
    pub async fn receive(&mut self) -> io::Result<Batch> {
        let Marked { meta, dscp } = poll_fn(|cx| self.socket.poll_recv_marked(cx, &mut self.buffer)).await?;
        Ok(Batch {
            from: meta.addr,
            to: meta.dst_ip,
            dscp,
            len: meta.len,
            stride: meta.stride,
        })
    }

    /// The next packets, however often the socket fails before. Cancel-safe. An error that stays does not take the
    /// processor.
    pub async fn next(&mut self, clock: &dyn Clock) -> Batch {
        loop {
            match self.receive().await {
                Ok(batch) => return batch,
                Err(error) => {
                    tracing::debug!(%error, "a UDP socket fails");
                    clock::sleep(clock, AFTER_ERROR).await;
                }
            }
        }
    }

    /// The packets of the batch that was received last.
    pub fn packets(&self, batch: Batch) -> impl Iterator<Item = &[u8]> {
        let bytes = self.buffer.get(..batch.len).unwrap_or_default();
        bytes.chunks(batch.stride.max(1))
    }

    /// Whether the system took it.
    pub fn send(&self, to: SocketAddr, from: Option<IpAddr>, packet: &[u8]) -> bool {
        send(&*self.socket, to, from, packet, Dscp::BEST_EFFORT)
    }

    /// What sends by the same socket.
    pub fn sender(&self) -> PlainSender {
        PlainSender(Arc::clone(&self.socket))
    }

    /// Packets that the system has refused to send.
    pub fn send_errors(&self) -> u64 {
        let counters = self.socket.counters();
        counters.send_errors + counters.send_too_big
    }
}

/// The sending side of a socket.
#[derive(Debug, Clone)]
pub(crate) struct PlainSender(Arc<dyn DatagramSocket>);

impl PlainSender {
    /// Whether the system took it.
    pub fn send(&self, to: SocketAddr, packet: &[u8], dscp: Dscp) -> bool {
        send(&*self.0, to, None, packet, dscp)
    }
}

fn send(
    socket: &dyn DatagramSocket,
    to: SocketAddr,
    from: Option<IpAddr>,
    packet: &[u8],
    dscp: Dscp,
) -> bool {
    let transmit = Transmit {
        destination: to,
        ecn: None,
        contents: packet,
        segment_size: None,
        src_ip: from,
    };
    socket.try_send_marked(&transmit, dscp).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{identity::system_rng, machine::Machine};

    /// What a program marks is seen, and what is marked here a program sees; over IPv4, IPv6, and IPv4 by a socket
    /// that is of both.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn marks_are_read_and_written() {
        let machine = Machine::system(rand::RngExt::random(&mut system_rng()));
        for (local, at) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("[::1]:0", "::1"),
            ("[::]:0", "127.0.0.1"),
        ] {
            let mut socket = PlainSocket::bind(&*machine.network, local.parse().unwrap()).unwrap();
            let other =
                PlainSocket::bind(&*machine.network, SocketAddr::new(at.parse().unwrap(), 0)).unwrap();
            let here = SocketAddr::new(at.parse().unwrap(), socket.local_addr().unwrap().port());
            let mut other = (other.sender(), other);
            for bits in [46, 0, 34, 10, 10] {
                let dscp = Dscp::new(bits);
                assert!(other.0.send(here, b"there", dscp));
                let batch = socket.receive().await.unwrap();
                assert_eq!(
                    (batch.dscp, batch.to.map(|ip| ip.to_canonical())),
                    (dscp, Some(here.ip())),
                    "{local}"
                );
                assert_eq!(socket.packets(batch).collect::<Vec<_>>(), [b"there"]);
                assert!(socket.sender().send(batch.from, b"back", dscp));
                let batch = other.1.receive().await.unwrap();
                assert_eq!((batch.dscp, batch.from.port()), (dscp, here.port()), "{local}");
            }
            // What STAMP sends by the same socket is not marked.
            assert!(socket.send(other.1.local_addr().unwrap(), None, b""));
            let batch = other.1.receive().await.unwrap();
            assert_eq!(
                (batch.dscp, other.1.packets(batch).count()),
                (Dscp::BEST_EFFORT, 0)
            );
        }
    }

    #[tokio::test]
    async fn a_new_socket_sends_at_once() {
        let machine = Machine::system(rand::RngExt::random(&mut system_rng()));
        let target = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = target.local_addr().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        // Nothing is awaited in between.
        for _ in 0..20 {
            let socket = PlainSocket::bind(&*machine.network, any).unwrap();
            assert!(socket.send(to, None, b"now"));
        }
    }
}
