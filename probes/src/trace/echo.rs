//! Echo requests to one address by themselves, without a trace: the sockets are the trace's.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd},
};

use super::{
    drive::{arrival, list},
    packet::Flow,
    probe::{Meaning, Probe, Protocol},
    socket::{Channel, Method, Refused},
};
use crate::{Mono, Wall};

/// As far as any path goes: what systems send by themselves.
const TTL: u8 = 64;

/// Why echo requests cannot be sent from here, by each way that was tried.
#[derive(Debug, thiserror::Error)]
#[error("echo requests cannot be sent: {}", list(.0))]
pub struct NoEcho(pub Vec<Refused>);

/// A socket for echo requests to one address, and their replies. It does not block.
#[derive(Debug)]
pub struct EchoSocket(Channel);

impl EchoSocket {
    /// By a datagram socket, else by a raw one. `seed` is random: it tells these requests from others'.
    pub fn open(target: IpAddr, seed: u64) -> Result<Self, NoEcho> {
        let [a, b, c, d, e, f, ..] = seed.to_be_bytes();
        let flow = Flow {
            target,
            token: u32::from_be_bytes([a, b, c, d]),
            identifier: u16::from_be_bytes([e, f]),
        };
        let mut refused = Vec::new();
        for method in [Method::Icmp, Method::Raw] {
            match Channel::open(method, flow, 0) {
                Ok(channel) => return Ok(Self(channel)),
                Err(why) => refused.push(why),
            }
        }
        Err(NoEcho(refused))
    }

    /// Sends the request of this number.
    pub fn send(&self, number: u16) -> io::Result<()> {
        self.0.send(Probe {
            number,
            ttl: TTL,
            protocol: Protocol::Icmp,
        })
    }

    /// Takes the replies that have come, a bounded lot of them, with the times at which they came. `now` and
    /// `wall` are one moment. Whether these were all.
    pub fn receive(&self, now: Mono, wall: Wall, mut take: impl FnMut(u16, Mono)) -> bool {
        self.0.receive(|answer, stamp| {
            if let (Some(number), Meaning::Reached) = (answer.number, answer.meaning) {
                take(number, arrival(stamp, now, wall));
            }
        })
    }
}

impl AsFd for EchoSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }
}
