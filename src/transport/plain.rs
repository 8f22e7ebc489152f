//! A UDP socket without QUIC, for STAMP and for media at its ends.

use std::{
    future::poll_fn,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use quinn::udp::{RecvMeta, Transmit};

use super::{BindError, DatagramSocket, Network};
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
        let mut meta = [RecvMeta::default()];
        let read = poll_fn(|cx| {
            let mut buffers = [IoSliceMut::new(&mut self.buffer)];
            self.socket.poll_recv(cx, &mut buffers, &mut meta)
        });
        let read = read.await?;
        let [meta] = meta;
        Ok(Batch {
            from: meta.addr,
            to: meta.dst_ip,
            len: if read == 0 { 0 } else { meta.len },
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
        send(&*self.socket, to, from, packet)
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
    pub fn send(&self, to: SocketAddr, packet: &[u8]) -> bool {
        send(&*self.0, to, None, packet)
    }
}

fn send(socket: &dyn DatagramSocket, to: SocketAddr, from: Option<IpAddr>, packet: &[u8]) -> bool {
    let sent = socket.try_send(&Transmit {
        destination: to,
        ecn: None,
        contents: packet,
        segment_size: None,
        src_ip: from,
    });
    sent.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{identity::system_rng, machine::Machine};

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
