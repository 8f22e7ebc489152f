//! The mark that a program puts on its packets for the routers on their way (RFC 2474), read from and written to
//! plain sockets.

use std::io;

/// A differentiated services code point, 0 to 63: the upper six bits of IPv4's type of service and of IPv6's
/// traffic class. 0 is best effort, 46 what telephony uses (RFC 4594 §4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dscp(u8);

impl Dscp {
    pub const BEST_EFFORT: Self = Self(0);
    /// From here on they are routers' own (RFC 4594 §3.1, RFC 8325 §4.2).
    const NETWORK_CONTROL: u8 = 48;

    /// The lower six of these bits.
    pub const fn new(bits: u8) -> Self {
        Self(bits & 0x3f)
    }

    pub const fn bits(self) -> u8 {
        self.0
    }

    /// As media is sent on by whoever has it from others: what says that it is routers' own is best effort.
    pub const fn of_media(self) -> Self {
        if self.0 < Self::NETWORK_CONTROL {
            self
        } else {
            Self::BEST_EFFORT
        }
    }

    const fn from_tos(tos: u8) -> Self {
        Self(tos >> 2)
    }

    const fn tos(self) -> u32 {
        (self.0 as u32) << 2
    }
}

/// Packets of one sender that were received at once.
#[derive(Debug, Clone, Copy)]
pub struct Marked {
    pub meta: quinn::udp::RecvMeta,
    pub dscp: Dscp,
}

/// Marks what this socket sends from now on, to addresses of either family.
pub(super) fn mark(socket: &socket2::SockRef<'_>, dscp: Dscp) -> io::Result<()> {
    let is_v6 = socket.local_addr()?.is_ipv6();
    // An IPv6 socket sends to IPv4 addresses by the option of IPv4, where the system lets it.
    let v4 = socket.set_tos_v4(dscp.tos());
    if is_v6 {
        socket.set_tclass_v6(dscp.tos())
    } else {
        v4
    }
}

#[cfg(target_os = "linux")]
pub(super) use linux::receive;

#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "no library that is here shows the type of service of what is received"
)]
mod linux {
    use std::{
        io,
        mem::{self, MaybeUninit},
        net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
        os::fd::RawFd,
        ptr,
    };

    use quinn::udp::RecvMeta;

    use super::{Dscp, Marked};

    /// Room for all that a socket of quinn-udp has asked for: type of service, own address, stamp, stride.
    #[repr(C, align(8))]
    struct Control([u8; 256]);

    /// Receives what is there. The socket was set up by quinn-udp, which has asked for the type of service and for
    /// several packets at once.
    pub(in crate::transport) fn receive(socket: RawFd, buffer: &mut [u8]) -> io::Result<Marked> {
        let mut control = Control([0; 256]);
        let mut from = MaybeUninit::<libc::sockaddr_storage>::zeroed();
        let mut slices = [libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        }];
        // SAFETY: a msghdr is numbers and pointers, for all of which zero is a value.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_name = from.as_mut_ptr().cast();
        message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        message.msg_iov = slices.as_mut_ptr();
        message.msg_iovlen = slices.len() as _;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len() as _;
        // SAFETY: all that `message` points to is writable, of the lengths that it says, and lives until the end of
        // this function.
        let received = unsafe { libc::recvmsg(socket, &mut message, 0) };
        let len = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        let (stride, dst_ip, tos) = unsafe {
            // SAFETY: the system has filled in `message`, whose control buffer is alive.
            said(&message)
        };
        // SAFETY: all of it was zero, and the system has written a part.
        let from = unsafe { from.assume_init() };
        Ok(Marked {
            meta: RecvMeta {
                addr: address(&from).ok_or(io::ErrorKind::InvalidData)?,
                len,
                stride: stride.filter(|stride| *stride > 0).unwrap_or(len),
                dst_ip,
                ..RecvMeta::default()
            },
            dscp: Dscp::from_tos(tos),
        })
    }

    /// The length of each packet if they are several, the address that they were sent to, the type of service.
    ///
    /// # Safety
    /// `message` is as recvmsg has left it, and what it points to is alive.
    unsafe fn said(message: &libc::msghdr) -> (Option<usize>, Option<IpAddr>, u8) {
        let (mut stride, mut to, mut tos) = (None, None, 0);
        // SAFETY: the caller's word.
        let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
        // SAFETY: a header that is not null is one of the control buffer's, which the system has filled in; what is
        // read is what it puts there for these types, wherever it lies.
        unsafe {
            while !header.is_null() {
                let data = libc::CMSG_DATA(header);
                match ((*header).cmsg_level, (*header).cmsg_type) {
                    (libc::IPPROTO_IP, libc::IP_TOS) => tos = data.read(),
                    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                        tos = u8::try_from(ptr::read_unaligned(data.cast::<libc::c_int>())).unwrap_or(0);
                    }
                    (libc::SOL_UDP, libc::UDP_GRO) => {
                        stride = usize::try_from(ptr::read_unaligned(data.cast::<libc::c_int>())).ok();
                    }
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                        let info = ptr::read_unaligned(data.cast::<libc::in_pktinfo>());
                        to = Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        let info = ptr::read_unaligned(data.cast::<libc::in6_pktinfo>());
                        to = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                    }
                    _ => {}
                }
                header = libc::CMSG_NXTHDR(message, header);
            }
        }
        (stride, to, tos)
    }

    fn address(from: &libc::sockaddr_storage) -> Option<SocketAddr> {
        let from = ptr::from_ref(from);
        // SAFETY: a storage is as large and as aligned as any address, and its family says which it holds.
        unsafe {
            match libc::c_int::from((*from).ss_family) {
                libc::AF_INET => {
                    let v4 = &*from.cast::<libc::sockaddr_in>();
                    let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                    Some((ip, u16::from_be(v4.sin_port)).into())
                }
                libc::AF_INET6 => {
                    let v6 = &*from.cast::<libc::sockaddr_in6>();
                    let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                    let port = u16::from_be(v6.sin6_port);
                    Some(std::net::SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
                }
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_routers_own_is_not_medias() {
        for (bits, sent) in [
            (0, 0),
            (46, 46),
            (34, 34),
            (47, 47),
            (48, 0),
            (56, 0),
            (63, 0),
            (64 + 46, 46),
        ] {
            assert_eq!(Dscp::new(bits).of_media().bits(), sent, "{bits}");
        }
        assert_eq!(Dscp::from_tos(0xb9), Dscp::new(46), "whatever ECN says");
        assert_eq!(Dscp::new(46).tos(), 0xb8);
    }
}
