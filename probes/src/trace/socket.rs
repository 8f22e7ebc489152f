//! Sockets that probes go out by: in which ways that is possible here, and if not, why.

use std::{
    fmt, io,
    mem::MaybeUninit,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
};

use socket2::{Domain, MaybeUninitSlice, MsgHdrMut, Protocol as IpProtocol, SockAddr, Socket, Type};

use super::{
    control::Control,
    packet::Flow,
    probe::{Answer, Probe, Protocol},
    sys,
};

/// Bytes of an answer that are looked at; what comes after the quoted header does not matter.
const ANSWER_BYTES: usize = 1_500;
const CONTROL_BYTES: usize = 256;
/// Answers taken at one go, so that a flood does not hold up the sending.
const BATCH: usize = 64;
/// An ICMP error that has arrived is told by the next send, which then did not happen: one for each probe
/// under way at worst.
const SEND_TRIES: usize = 8;

/// A way to send probes, in the order in which they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// UDP, answers by the error queue (`IP_RECVERR`). Needs no privilege.
    Udp,
    /// Echo requests by a datagram socket. Needs the group to be in `net.ipv4.ping_group_range`.
    Icmp,
    /// Echo requests by a raw socket. Needs CAP_NET_RAW.
    Raw,
}

impl Method {
    pub const ALL: [Self; 3] = [Self::Udp, Self::Icmp, Self::Raw];

    pub fn protocol(self) -> Protocol {
        match self {
            Self::Udp => Protocol::Udp,
            Self::Icmp | Self::Raw => Protocol::Icmp,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Raw => "raw",
        })
    }
}

/// Why a method cannot be used here.
#[derive(Debug)]
pub struct Refused {
    pub method: Method,
    pub error: io::Error,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, error } = self;
        let denied = matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM));
        match method {
            Method::Icmp if denied => {
                write!(f, "icmp: this group is not in net.ipv4.ping_group_range")
            }
            Method::Raw if denied => write!(f, "raw: no CAP_NET_RAW"),
            Method::Udp if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
                write!(f, "udp: this kernel has no IP_RECVERR")
            }
            _ => write!(f, "{method}: {error}"),
        }
    }
}

/// One socket, and the flow it sends.
#[derive(Debug)]
pub(super) struct Channel {
    method: Method,
    socket: Socket,
    flow: Flow,
    to: SockAddr,
}

impl Channel {
    pub fn open(method: Method, mut flow: Flow, port: u16) -> Result<Self, Refused> {
        let refused = |error| Refused { method, error };
        let v6 = flow.target.is_ipv6();
        let domain = Domain::for_address(SocketAddr::new(flow.target, port));
        let icmp = if v6 {
            IpProtocol::ICMPV6
        } else {
            IpProtocol::ICMPV4
        };
        let (kind, protocol) = match method {
            Method::Udp => (Type::DGRAM, IpProtocol::UDP),
            Method::Icmp => (Type::DGRAM, icmp),
            Method::Raw => (Type::RAW, icmp),
        };
        let socket = Socket::new(domain, kind, Some(protocol)).map_err(refused)?;
        socket.set_nonblocking(true).map_err(refused)?;
        let port = if method == Method::Udp { port } else { 0 };
        let to = SockAddr::from(SocketAddr::new(flow.target, port));
        if method != Method::Raw {
            let (level, option) = if v6 {
                (libc::SOL_IPV6, libc::IPV6_RECVERR)
            } else {
                (libc::SOL_IP, libc::IP_RECVERR)
            };
            sys::switch_on(socket.as_fd(), level, option).map_err(refused)?;
            // One source address and port for the whole trace, chosen by routing.
            socket.connect(&to).map_err(refused)?;
        }
        // Without stamps times are those of reading: no reason to give up.
        let _ = sys::switch_on(socket.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS);
        if method == Method::Icmp {
            let local = socket.local_addr().map_err(refused)?;
            flow.identifier = local.as_socket().map_or(flow.identifier, |a| a.port());
        }
        Ok(Self {
            method,
            socket,
            flow,
            to,
        })
    }

    pub fn method(&self) -> Method {
        self.method
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub fn send(&self, probe: Probe) -> io::Result<()> {
        if self.flow.target.is_ipv6() {
            self.socket.set_unicast_hops_v6(probe.ttl.into())?;
        } else {
            self.socket.set_ttl_v4(probe.ttl.into())?;
        }
        let mut result = Ok(());
        for _ in 0..SEND_TRIES {
            let sent = match self.method {
                Method::Udp => self.socket.send(&self.flow.payload(probe.number)),
                Method::Icmp => self.socket.send(&self.flow.echo_request(probe.number)),
                Method::Raw => {
                    let request = self.flow.echo_request(probe.number);
                    self.socket.send_to(&request, &self.to)
                }
            };
            result = sent.map(drop);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// Takes what has arrived, a bounded lot of it, with the kernel's stamps (wall clock, ns). Whether that
    /// was all.
    pub fn receive(&self, mut take: impl FnMut(Answer, Option<i64>)) -> bool {
        let mut left = BATCH;
        let queues: &[i32] = match self.method {
            Method::Udp | Method::Icmp => &[libc::MSG_ERRQUEUE, 0],
            Method::Raw => &[0],
        };
        for &queue in queues {
            loop {
                if left == 0 {
                    return false;
                }
                left -= 1;
                match self.read(queue) {
                    Ok((answer, stamp)) => {
                        if let Some(answer) = answer {
                            take(answer, stamp);
                        }
                    }
                    // A plain read also tells pending errors, one each: the next one may succeed.
                    Err(e) if e.kind() != io::ErrorKind::WouldBlock && queue == 0 => {}
                    Err(_) => break,
                }
            }
        }
        true
    }

    fn read(&self, queue: i32) -> io::Result<(Option<Answer>, Option<i64>)> {
        let mut data = [MaybeUninit::new(0); ANSWER_BYTES];
        let mut beside = [MaybeUninit::new(0); CONTROL_BYTES];
        // Room for either family.
        let mut from = SockAddr::from(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0));
        let mut slices = [MaybeUninitSlice::new(&mut data)];
        let mut message = MsgHdrMut::new()
            .with_addr(&mut from)
            .with_buffers(&mut slices)
            .with_control(&mut beside);
        let length = self.socket.recvmsg(&mut message, queue)?;
        let control_length = message.control_len();
        let data = sys::initialised(&data).get(..length).unwrap_or_default();
        let control = Control::parse(
            sys::initialised(&beside)
                .get(..control_length)
                .unwrap_or_default(),
        );
        let from = from
            .as_socket()
            .map_or(Ipv4Addr::UNSPECIFIED.into(), |a| a.ip().to_canonical());
        let answer = if queue == libc::MSG_ERRQUEUE {
            self.flow.error(self.method, data, control)
        } else {
            self.flow.data(self.method, from, data)
        };
        Ok((answer, control.stamp_ns))
    }
}
