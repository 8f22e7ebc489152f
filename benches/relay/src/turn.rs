//! As much of TURN (RFC 8656) as it takes to have packets relayed by coturn: an allocation, a channel to one
//! peer, and ChannelData.

use std::{
    io,
    net::{SocketAddr, SocketAddrV4, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::quic::ANY;

const ALLOCATE: u16 = 0x0003;
const CHANNEL_BIND: u16 = 0x0009;
/// What makes a request's type that of its good answer.
const SUCCESS: u16 = 0x0100;
const COOKIE: u32 = 0x2112_A442;
const CHANNEL_NUMBER: u16 = 0x000C;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const REQUESTED_TRANSPORT: u16 = 0x0019;
const UDP: u8 = 17;
/// The first that there is.
const CHANNEL: u16 = 0x4000;
/// An answer that takes longer is asked for again.
const PATIENCE: Duration = Duration::from_millis(500);
const TRIES: usize = 6;

/// An allocation with one channel.
#[derive(Debug)]
pub struct Allocation {
    socket: UdpSocket,
}

impl Allocation {
    /// Asks `server` to relay to `peer`.
    pub fn open(server: SocketAddr, peer: SocketAddr) -> anyhow::Result<Self> {
        let SocketAddr::V4(peer) = peer else {
            bail!("{peer}: IPv4 only");
        };
        let socket = UdpSocket::bind(ANY)?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let transport = attribute(REQUESTED_TRANSPORT, &[UDP, 0, 0, 0]);
        ask(&socket, ALLOCATE, &transport).context("Allocate")?;
        let [c0, c1] = CHANNEL.to_be_bytes();
        let mut bind = attribute(CHANNEL_NUMBER, &[c0, c1, 0, 0]);
        bind.extend(attribute(XOR_PEER_ADDRESS, &xored(peer)));
        ask(&socket, CHANNEL_BIND, &bind).context("ChannelBind")?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// Sends a payload to the peer; `buffer` is used for it.
    pub fn send(&self, payload: &[u8], buffer: &mut Vec<u8>) -> bool {
        buffer.clear();
        buffer.extend_from_slice(&CHANNEL.to_be_bytes());
        buffer.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        buffer.extend_from_slice(payload);
        self.socket.send(buffer).is_ok()
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend_from_slice(&(value.len() as u16).to_be_bytes());
    bytes.extend_from_slice(value);
    bytes
}

/// RFC 8489 §14.2.
fn xored(peer: SocketAddrV4) -> [u8; 8] {
    let [p0, p1] = (peer.port() ^ (COOKIE >> 16) as u16).to_be_bytes();
    let [a, b, c, d] = (u32::from(*peer.ip()) ^ COOKIE).to_be_bytes();
    [0, 1, p0, p1, a, b, c, d]
}

fn message(kind: u16, attributes: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&COOKIE.to_be_bytes());
    // One request is under way at a time: any number will do.
    bytes.extend_from_slice(&[7; 12]);
    bytes.extend_from_slice(attributes);
    bytes
}

fn ask(socket: &UdpSocket, kind: u16, attributes: &[u8]) -> anyhow::Result<()> {
    let request = message(kind, attributes);
    for _ in 0..TRIES {
        socket.send(&request)?;
        let mut answer = [0; 1_500];
        match socket.recv(&mut answer) {
            Ok(2..) if u16::from_be_bytes([answer[0], answer[1]]) == kind | SUCCESS => return Ok(()),
            Ok(len) => bail!("coturn refuses: {:02x?}", &answer[..len.min(64)]),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            // It does not listen yet.
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::thread::sleep(PATIENCE),
            Err(e) => return Err(e.into()),
        }
    }
    bail!("coturn does not answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_the_rfc_has_it() {
        // RFC 5769 §2.2.
        let peer = SocketAddrV4::new([192, 0, 2, 1].into(), 32_853);
        assert_eq!(xored(peer), [0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
    }

    #[test]
    fn a_message_has_its_length_and_cookie() {
        let bytes = message(ALLOCATE, &attribute(REQUESTED_TRANSPORT, &[UDP, 0, 0, 0]));
        assert_eq!(bytes.len(), 28);
        assert_eq!(bytes[..8], [0, 3, 0, 8, 0x21, 0x12, 0xa4, 0x42]);
        assert_eq!(bytes[20..], [0, 0x19, 0, 4, 17, 0, 0, 0]);
    }
}
