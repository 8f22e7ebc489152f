//! What the kernel tells beside a message: the extended error of an error queue, and when it arrived
//! (cmsg(3), linux/errqueue.h). Total: any bytes give an answer or nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;
/// sock_extended_err; the offender's socket address follows it.
const EXTENDED_ERR: usize = 16;

/// An ICMP message that the kernel matched to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtendedError {
    /// ICMP's type.
    pub kind: u8,
    pub code: u8,
    /// ICMPv6's types and codes.
    pub v6: bool,
    /// Who sent it.
    pub offender: IpAddr,
}

/// What control messages said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Control {
    pub error: Option<ExtendedError>,
    /// Wall clock of this machine, ns since 1970.
    pub stamp_ns: Option<i64>,
}

impl Control {
    /// Reads control messages as recvmsg(2) left them.
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut control = Self::default();
        while let Some((level, kind, data, rest)) = next(bytes) {
            match (level, kind) {
                (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR) => {
                    control.error = control.error.or_else(|| extended_error(data));
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    control.stamp_ns = control.stamp_ns.or_else(|| timespec(data));
                }
                _ => {}
            }
            bytes = rest;
        }
        control
    }
}

/// One cmsghdr: length (a size_t, header included), level, type, data, padding.
fn next(bytes: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    const WORD: usize = size_of::<usize>();
    const HEADER: usize = WORD + 8;
    let length = usize::from_ne_bytes(array(bytes, 0)?);
    let level = i32::from_ne_bytes(array(bytes, WORD)?);
    let kind = i32::from_ne_bytes(array(bytes, WORD + 4)?);
    let data = bytes.get(HEADER..length)?;
    let rest = bytes
        .get(length.checked_next_multiple_of(WORD)?..)
        .unwrap_or_default();
    Some((level, kind, data, rest))
}

fn extended_error(data: &[u8]) -> Option<ExtendedError> {
    let [origin, kind, code]: [u8; 3] = array(data, 4)?;
    let v6 = match origin {
        ORIGIN_ICMP => false,
        ORIGIN_ICMP6 => true,
        _ => return None,
    };
    let offender = socket_address(data.get(EXTENDED_ERR..)?)?;
    Some(ExtendedError {
        kind,
        code,
        v6,
        offender,
    })
}

/// The address of a sockaddr_in or sockaddr_in6.
fn socket_address(bytes: &[u8]) -> Option<IpAddr> {
    let family = i32::from(u16::from_ne_bytes(array(bytes, 0)?));
    match family {
        libc::AF_INET => Some(Ipv4Addr::from(array::<4>(bytes, 4)?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(array::<16>(bytes, 8)?).to_canonical()),
        _ => None,
    }
}

fn timespec(data: &[u8]) -> Option<i64> {
    const WORD: usize = size_of::<libc::c_long>();
    let seconds = libc::c_long::from_ne_bytes(array(data, 0)?);
    let nanos = libc::c_long::from_ne_bytes(array(data, WORD)?);
    #[expect(clippy::useless_conversion, reason = "c_long has 32 bits elsewhere")]
    i64::from(seconds)
        .checked_mul(1_000_000_000)?
        .checked_add(i64::from(nanos))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cmsg(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let length = size_of::<usize>() + 8 + data.len();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(length.next_multiple_of(size_of::<usize>()), 0);
        bytes
    }

    fn error(origin: u8, kind: u8, code: u8, offender: IpAddr) -> Vec<u8> {
        let mut data = 113u32.to_ne_bytes().to_vec();
        data.extend([origin, kind, code, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        match offender {
            IpAddr::V4(ip) => {
                data.extend((libc::AF_INET as u16).to_ne_bytes());
                data.extend([0, 0]);
                data.extend(ip.octets());
                data.extend([0; 8]);
            }
            IpAddr::V6(ip) => {
                data.extend((libc::AF_INET6 as u16).to_ne_bytes());
                data.extend([0; 6]);
                data.extend(ip.octets());
                data.extend([0; 4]);
            }
        }
        data
    }

    #[test]
    fn both_families_and_the_stamp() {
        for (v6, offender) in [(false, "192.0.2.7"), (true, "2001:db8::7")] {
            let offender: IpAddr = offender.parse().unwrap();
            let (level, kind, origin) = if v6 {
                (libc::SOL_IPV6, libc::IPV6_RECVERR, 3)
            } else {
                (libc::SOL_IP, libc::IP_RECVERR, 2)
            };
            let mut stamp = (7 as libc::c_long).to_ne_bytes().to_vec();
            stamp.extend((5 as libc::c_long).to_ne_bytes());
            let mut bytes = cmsg(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &stamp);
            bytes.extend(cmsg(level, kind, &error(origin, 11, 0, offender)));
            let wanted = Control {
                error: Some(ExtendedError {
                    kind: 11,
                    code: 0,
                    v6,
                    offender,
                }),
                stamp_ns: Some(7_000_000_005),
            };
            assert_eq!(Control::parse(&bytes), wanted);
            for cut in 0..bytes.len() {
                Control::parse(&bytes[..cut]);
            }
        }
    }

    #[test]
    fn errors_of_this_machine_are_no_answers() {
        let local = error(1, 0, 0, IpAddr::from([0, 0, 0, 0]));
        assert_eq!(
            Control::parse(&cmsg(libc::SOL_IP, libc::IP_RECVERR, &local)).error,
            None
        );
        let nobody = &error(2, 11, 0, IpAddr::from([0, 0, 0, 0]))[..EXTENDED_ERR];
        assert_eq!(
            Control::parse(&cmsg(libc::SOL_IP, libc::IP_RECVERR, nobody)).error,
            None
        );
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            Control::parse(&bytes);
        }

        #[test]
        fn any_data_in_a_well_formed_message(
            data in prop::collection::vec(any::<u8>(), 0..60),
            length in any::<u16>(),
            v6 in any::<bool>(),
        ) {
            let (level, kind) = if v6 { (libc::SOL_IPV6, libc::IPV6_RECVERR) } else { (libc::SOL_IP, libc::IP_RECVERR) };
            let mut bytes = cmsg(level, kind, &data);
            Control::parse(&bytes);
            bytes[..size_of::<usize>()].copy_from_slice(&usize::from(length).to_ne_bytes());
            Control::parse(&bytes);
        }
    }
}
