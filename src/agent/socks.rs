//! A SOCKS5 server (RFC 1928) for programs that know no forwards but proxies: UDP ASSOCIATE, without
//! authentication, for programs of this machine. What goes to a class's target, by the name that the class has for
//! it, is carried; `SUBJECT.agent.corridor` is another agent's machine. Everything else is refused, and counted:
//! nothing leaves past the edges.
//!
//! The parsers take slices and allocate names only. An association lives as long as its TCP connection.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use super::carrying::{Carrying, ForwardError};
use crate::{
    clock,
    media::{origin::To, wire::MAX_MEDIA},
    transport::{BindError, Dscp, PlainSocket},
};

/// Programs that are connected at once.
const MAX_CLIENTS: usize = 32;
/// Whoever says nothing for so long before its association is cut off.
const PATIENCE: Duration = Duration::from_secs(10);
/// After an error of the listener, so that one that stays does not take the processor.
const AFTER_ERROR: Duration = Duration::from_millis(10);
/// Destinations of one association.
const MAX_DESTINATIONS: usize = 16;
/// Names that end so are other agents.
const AGENT_SUFFIX: &str = ".agent.corridor";

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const NO_METHOD: u8 = 0xff;
const UDP_ASSOCIATE: u8 = 3;

/// What a server answers to a request (RFC 1928 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Reply {
    Succeeded = 0,
    Failed = 1,
    CommandNotSupported = 7,
    AddressNotSupported = 8,
}

/// Why a program is not served.
#[derive(Debug, thiserror::Error)]
pub enum SocksError {
    #[error("it speaks version {0}, not 5")]
    Version(u8),
    #[error("it wants to authenticate")]
    Authentication,
    #[error("command {0}, where only UDP ASSOCIATE (3) is served")]
    Command(u8),
    #[error("addresses of type {0} are not known")]
    AddressType(u8),
    #[error("it sends on after its request")]
    Trailing,
    #[error("it took longer than {} s", PATIENCE.as_secs())]
    Slow,
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why a packet of an association is not carried. Each is counted as refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    #[error("the packet ends within its header")]
    Truncated,
    #[error("fragments are not put together")]
    Fragment,
    #[error("addresses of type {0} are not known")]
    AddressType(u8),
    #[error("port 0, or an empty name")]
    NoDestination,
    #[error("a packet of {0} B, where {MAX_MEDIA} B are carried")]
    TooLong(usize),
}

/// A packet that a program sends through its association (RFC 1928 §7).
#[derive(Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What stands before the data: an answer has the same.
    pub header: &'a [u8],
    pub to: To,
    pub data: &'a [u8],
}

impl<'a> Packet<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let [0, 0, fragment, kind] = *bytes.first_chunk::<4>().ok_or(PacketError::Truncated)? else {
            return Err(PacketError::Truncated);
        };
        if fragment != 0 {
            return Err(PacketError::Fragment);
        }
        let rest = bytes.get(4..).unwrap_or_default();
        let (host, rest) = host(kind, rest)?;
        let (&port, data) = rest.split_first_chunk::<2>().ok_or(PacketError::Truncated)?;
        if data.len() > MAX_MEDIA {
            return Err(PacketError::TooLong(data.len()));
        }
        Ok(Self {
            header: bytes.get(..bytes.len() - data.len()).unwrap_or_default(),
            to: host.to(u16::from_be_bytes(port))?,
            data,
        })
    }
}

#[derive(Debug)]
enum Host<'a> {
    Address(IpAddr),
    Name(&'a str),
}

impl Host<'_> {
    fn to(&self, port: u16) -> Result<To, PacketError> {
        if port == 0 {
            return Err(PacketError::NoDestination);
        }
        Ok(match self {
            Self::Address(ip) => To::Target(SocketAddr::new(*ip, port).to_string()),
            Self::Name("") => return Err(PacketError::NoDestination),
            Self::Name(name) => match name.strip_suffix(AGENT_SUFFIX) {
                Some(subject) if !subject.is_empty() => To::Agent {
                    subject: subject.to_owned(),
                    port,
                },
                _ => To::Target(format!("{name}:{port}")),
            },
        })
    }
}

/// The address of this type at the front, and what follows it.
fn host(kind: u8, bytes: &[u8]) -> Result<(Host<'_>, &[u8]), PacketError> {
    let truncated = PacketError::Truncated;
    Ok(match kind {
        1 => {
            let (&ip, rest) = bytes.split_first_chunk::<4>().ok_or(truncated)?;
            (Host::Address(Ipv4Addr::from(ip).into()), rest)
        }
        3 => {
            let (&len, rest) = bytes.split_first().ok_or(truncated)?;
            let (name, rest) = rest.split_at_checked(len.into()).ok_or(truncated)?;
            let name = std::str::from_utf8(name).map_err(|_| PacketError::NoDestination)?;
            (Host::Name(name), rest)
        }
        4 => {
            let (&ip, rest) = bytes.split_first_chunk::<16>().ok_or(truncated)?;
            (Host::Address(Ipv6Addr::from(ip).into()), rest)
        }
        other => return Err(PacketError::AddressType(other)),
    })
}

/// Serves programs until told to stop.
pub async fn serve(carrying: Arc<Carrying>, listener: TcpListener, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "SOCKS: no connection");
                clock::sleep(&*carrying.clock(), AFTER_ERROR).await;
                continue;
            }
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            carrying.refuse();
            tracing::info!("SOCKS: more than {MAX_CLIENTS} programs at once");
            continue;
        };
        let (carrying, stop) = (carrying.clone(), stop.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let served = tokio::select! {
                biased;
                () = stop.cancelled() => Ok(()),
                served = client(&carrying, stream, from) => served,
            };
            if let Err(error) = served {
                carrying.refuse();
                tracing::info!(%error, "SOCKS: a program is not served");
            }
        });
    }
}

async fn client(carrying: &Arc<Carrying>, mut stream: TcpStream, from: SocketAddr) -> Result<(), SocksError> {
    let local = stream.local_addr()?;
    let clock = carrying.clock();
    let socket = tokio::select! {
        biased;
        associated = associate(carrying, &mut stream, local) => associated?,
        () = clock::sleep(&*clock, PATIENCE) => return Err(SocksError::Slow),
    };
    let mut association = Association {
        carrying,
        socket,
        from,
        program: None,
        ways: BTreeMap::new(),
    };
    association.run(&mut stream).await
}

/// The greeting and the request; answers the socket of the association.
async fn associate(
    carrying: &Arc<Carrying>,
    stream: &mut TcpStream,
    local: SocketAddr,
) -> Result<PlainSocket, SocksError> {
    let [version, methods] = read(stream).await?;
    if version != VERSION {
        return Err(SocksError::Version(version));
    }
    let mut offered = vec![0; methods.into()];
    stream.read_exact(&mut offered).await?;
    if !offered.contains(&NO_AUTHENTICATION) {
        stream.write_all(&[VERSION, NO_METHOD]).await?;
        return Err(SocksError::Authentication);
    }
    stream.write_all(&[VERSION, NO_AUTHENTICATION]).await?;

    let [version, command, _, kind] = read(stream).await?;
    if version != VERSION {
        return Err(SocksError::Version(version));
    }
    // Where it will send from. Many say nothing, and some say what is wrong: the first packet tells.
    let length = match kind {
        1 => 4,
        3 => read::<1>(stream).await?[0].into(),
        4 => 16,
        other => {
            reply(stream, Reply::AddressNotSupported, local).await?;
            return Err(SocksError::AddressType(other));
        }
    };
    let mut address = vec![0; length + 2];
    stream.read_exact(&mut address).await?;
    if command != UDP_ASSOCIATE {
        reply(stream, Reply::CommandNotSupported, local).await?;
        return Err(SocksError::Command(command));
    }
    let bound = carrying.bind(SocketAddr::new(local.ip(), 0)).and_then(|socket| {
        Ok((
            socket.local_addr().map_err(|e| BindError::Io {
                address: local,
                source: e,
            })?,
            socket,
        ))
    });
    match bound {
        Ok((at, socket)) => {
            reply(stream, Reply::Succeeded, at).await?;
            Ok(socket)
        }
        Err(error) => {
            reply(stream, Reply::Failed, local).await?;
            Err(error.into())
        }
    }
}

async fn read<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn reply(stream: &mut TcpStream, reply: Reply, at: SocketAddr) -> io::Result<()> {
    let mut bytes = vec![VERSION, reply as u8, 0];
    match at.ip().to_canonical() {
        IpAddr::V4(ip) => {
            bytes.push(1);
            bytes.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes.push(4);
            bytes.extend_from_slice(&ip.octets());
        }
    }
    bytes.extend_from_slice(&at.port().to_be_bytes());
    stream.write_all(&bytes).await
}

/// One program's packets.
struct Association<'c> {
    carrying: &'c Arc<Carrying>,
    socket: PlainSocket,
    /// The other end of its TCP connection.
    from: SocketAddr,
    /// Where its packets come from: whoever sent the first.
    program: Option<SocketAddr>,
    /// By the headers that lead there.
    ways: BTreeMap<Vec<u8>, u32>,
}

impl Association<'_> {
    /// Carries packets until the connection ends.
    async fn run(&mut self, stream: &mut TcpStream) -> Result<(), SocksError> {
        let clock = self.carrying.clock();
        let mut byte = [0];
        loop {
            let batch = tokio::select! {
                biased;
                read = stream.read(&mut byte) => return match read {
                    Ok(0) => Ok(()),
                    Ok(_) => Err(SocksError::Trailing),
                    Err(error) => Err(error.into()),
                },
                batch = self.socket.next(&*clock) => batch,
            };
            let same_machine = batch.from.ip().to_canonical() == self.from.ip().to_canonical();
            if !same_machine || self.program.is_some_and(|program| program != batch.from) {
                self.carrying.refuse();
                continue;
            }
            self.program = Some(batch.from);
            let packets: Vec<Vec<u8>> = self.socket.packets(batch).map(<[u8]>::to_vec).collect();
            for packet in packets {
                self.packet(batch.from, batch.dscp, &packet);
                // The connection sends before the next is queued: its buffer is small.
                tokio::task::yield_now().await;
            }
        }
    }

    fn packet(&mut self, program: SocketAddr, dscp: Dscp, bytes: &[u8]) {
        let packet = match Packet::parse(bytes) {
            Ok(packet) => packet,
            Err(error) => {
                self.carrying.refuse();
                tracing::debug!(%error, "SOCKS: a packet is not carried");
                return;
            }
        };
        let way = match self.ways.get(packet.header) {
            Some(&way) => way,
            None if self.ways.len() >= MAX_DESTINATIONS => return self.carrying.refuse(),
            None => match self.way(&packet, program) {
                Ok(way) => way,
                Err(error) => {
                    self.carrying.refuse();
                    tracing::info!(%error, "SOCKS: a destination is not carried");
                    return;
                }
            },
        };
        self.carrying.packet(way, program, dscp, packet.data);
    }

    fn way(&mut self, packet: &Packet<'_>, program: SocketAddr) -> Result<u32, ForwardError> {
        let header = packet.header.to_vec();
        let way = self
            .carrying
            .way(packet.to.clone(), program, self.socket.sender(), header.clone())?;
        self.ways.insert(header, way);
        Ok(way)
    }
}

impl Drop for Association<'_> {
    fn drop(&mut self) {
        for &way in self.ways.values() {
            self.carrying.close_way(way);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, address: &[u8], port: u16, data: &[u8]) -> Vec<u8> {
        [&[0, 0, 0, kind][..], address, &port.to_be_bytes(), data].concat()
    }

    #[test]
    fn a_packet_says_where_to_and_its_header_is_an_answers() {
        let target = |text: &str| To::Target(text.to_owned());
        let anna = To::Agent {
            subject: "anna".into(),
            port: 5_004,
        };
        for (bytes, to) in [
            (
                packet(1, &[192, 0, 2, 7], 3_478, b"voice"),
                target("192.0.2.7:3478"),
            ),
            (
                packet(3, b"\x0bsfu.example", 3_478, b"voice"),
                target("sfu.example:3478"),
            ),
            (packet(3, b"\x13anna.agent.corridor", 5_004, b"voice"), anna),
            (
                packet(4, &Ipv6Addr::LOCALHOST.octets(), 9, b"voice"),
                target("[::1]:9"),
            ),
        ] {
            let parsed = Packet::parse(&bytes).unwrap();
            assert_eq!((&parsed.to, parsed.data), (&to, &b"voice"[..]));
            assert_eq!(parsed.header, &bytes[..bytes.len() - 5]);
        }
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        use PacketError::*;
        let mut fragment = packet(1, &[192, 0, 2, 7], 9, b"voice");
        fragment[2] = 1;
        for (bytes, why) in [
            (vec![], Truncated),
            (vec![0, 0, 0], Truncated),
            (vec![1, 0, 0, 1], Truncated),
            (packet(1, &[192], 9, b""), Truncated),
            (packet(3, b"\xff", 9, b""), Truncated),
            (packet(3, b"\x00", 9, b""), NoDestination),
            (packet(3, b"\x01\xff", 9, b""), NoDestination),
            (packet(1, &[192, 0, 2, 7], 0, b""), NoDestination),
            (packet(7, &[192, 0, 2, 7], 9, b""), AddressType(7)),
            (packet(1, &[192, 0, 2, 7], 9, &[0; 60_000]), TooLong(60_000)),
            (fragment, Fragment),
        ] {
            assert_eq!(Packet::parse(&bytes).map(|p| p.to), Err(why));
        }
    }
}
