//! A netlink socket: one request at a time, and its answers.

use std::{
    io::{self, Read as _},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::netlink::{Message, messages};

/// The kernel answers from within the request, or not at all.
const PATIENCE: Duration = Duration::from_millis(500);
/// The kernel fills at most so much at a time (linux/netlink.h).
const BUFFER: usize = 32 << 10;
/// Reads of one answer: half a megabyte of routes is enough to have found a default one.
const MAX_READS: usize = 16;

#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// `protocol` is `NETLINK_ROUTE` or `NETLINK_GENERIC`.
    pub fn open(protocol: i32) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::from(libc::AF_NETLINK),
            Type::RAW,
            Some(Protocol::from(protocol)),
        )?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends what `request` makes of a sequence number, and hands over every message of the answer. An error
    /// that the kernel answers with is this one's.
    pub fn ask(
        &mut self,
        request: impl FnOnce(u32) -> Vec<u8>,
        mut take: impl FnMut(&Message<'_>),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request(self.sequence))?;
        let mut buffer = vec![0; BUFFER];
        for _ in 0..MAX_READS {
            let length = self.socket.read(&mut buffer)?;
            for message in messages(buffer.get(..length).unwrap_or_default()) {
                if message.sequence != self.sequence {
                    continue;
                }
                match message.error() {
                    Some(0) | None => {}
                    Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
                }
                take(&message);
                if message.is_last() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
