//! The bytes of probes, and what received bytes say of them. Total: any bytes give an answer or nothing.
//! Packet types of pnet are used for their fixed fields only, after they have seen that those are there;
//! where data begins and ends is computed here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::{
    icmp::{
        IcmpCode, IcmpPacket, IcmpType, echo_reply::EchoReplyPacket, echo_request::MutableEchoRequestPacket,
    },
    ip::{IpNextHeaderProtocol, IpNextHeaderProtocols},
    ipv4::Ipv4Packet,
    ipv6::Ipv6Packet,
};

use super::{
    control::Control,
    probe::{Answer, Meaning, Protocol, meaning},
    socket::Method,
};

const ICMP_HEADER: usize = 8;
const IPV6_HEADER: usize = 40;
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
/// Token, number, its complement.
const PAYLOAD: usize = 8;

/// What the probes of one trace have in common, and by which their answers are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    pub target: IpAddr,
    /// In every payload: whose probes these are.
    pub token: u32,
    /// Of echo requests; the kernel chooses it for datagram sockets.
    pub identifier: u16,
}

impl Flow {
    /// What a UDP probe carries. A number and its complement add up to the same, whatever the number: the
    /// checksum over them does not change, and routers that hash it see one flow.
    pub fn payload(&self, number: u16) -> [u8; PAYLOAD] {
        let ([a, b, c, d], [e, f], [g, h]) = (
            self.token.to_be_bytes(),
            number.to_be_bytes(),
            (!number).to_be_bytes(),
        );
        [a, b, c, d, e, f, g, h]
    }

    /// An echo request. For IPv6, and for datagram sockets, the kernel writes the checksum.
    pub fn echo_request(&self, number: u16) -> [u8; ICMP_HEADER + PAYLOAD] {
        let mut bytes = [0; ICMP_HEADER + PAYLOAD];
        let v6 = self.target.is_ipv6();
        if let Some(mut packet) = MutableEchoRequestPacket::new(&mut bytes) {
            packet.set_icmp_type(IcmpType(if v6 { ECHO_REQUEST_V6 } else { ECHO_REQUEST }));
            packet.set_icmp_code(IcmpCode(0));
            packet.set_identifier(self.identifier);
            packet.set_sequence_number(number);
            // The number is in the header; its complement here makes the checksum constant.
            let [a, b, c, d, _, _, g, h] = self.payload(number);
            packet.set_payload(&[a, b, c, d, 0, 0, g, h]);
        }
        if !v6 {
            let sum = pnet::util::checksum(&bytes, 1);
            if let Some(mut packet) = MutableEchoRequestPacket::new(&mut bytes) {
                packet.set_checksum(sum);
            }
        }
        bytes
    }

    /// The answer that a socket's error queue holds: `quoted` is what it quotes of the probe, after its IP
    /// header, and for UDP after that header too.
    pub fn error(&self, method: Method, quoted: &[u8], control: Control) -> Option<Answer> {
        let error = control.error?;
        let number = match method {
            Method::Udp => self.number_in(quoted),
            // The kernel found the socket by the identifier; a number is always quoted.
            Method::Icmp | Method::Raw => Some(self.quoted_echo(quoted)?),
        };
        let from_target = error.offender == self.target;
        Some(Answer {
            number,
            from: error.offender,
            protocol: method.protocol(),
            meaning: meaning(error.v6, error.kind, error.code, from_target)?,
        })
    }

    /// The answer that a socket received from `from`.
    pub fn data(&self, method: Method, from: IpAddr, bytes: &[u8]) -> Option<Answer> {
        let number = match method {
            Method::Raw => return self.raw(from, bytes),
            Method::Icmp => self.echo_reply(bytes)?,
            // An open port that sends back what it gets. Other data has no number, and no place.
            Method::Udp => self.number_in(bytes)?,
        };
        (from == self.target).then_some(Answer {
            number: Some(number),
            from,
            protocol: method.protocol(),
            meaning: Meaning::Reached,
        })
    }

    /// Which probe a UDP payload is of, if it is all there.
    fn number_in(&self, bytes: &[u8]) -> Option<u16> {
        let &[a, b, c, d, e, f, g, h] = bytes.first_chunk::<PAYLOAD>()?;
        let number = u16::from_be_bytes([e, f]);
        let whole = u32::from_be_bytes([a, b, c, d]) == self.token && u16::from_be_bytes([g, h]) == !number;
        whole.then_some(number)
    }

    /// Which probe a quoted echo request is: type, code, checksum, identifier and sequence are always quoted.
    fn quoted_echo(&self, bytes: &[u8]) -> Option<u16> {
        let wanted = if self.target.is_ipv6() {
            ECHO_REQUEST_V6
        } else {
            ECHO_REQUEST
        };
        echo(bytes, wanted, self.identifier)
    }

    /// Which probe an echo reply answers.
    fn echo_reply(&self, bytes: &[u8]) -> Option<u16> {
        let wanted = if self.target.is_ipv6() {
            ECHO_REPLY_V6
        } else {
            ECHO_REPLY
        };
        echo(bytes, wanted, self.identifier)
    }

    /// What a raw socket received: with its IP header for IPv4, without one for IPv6.
    fn raw(&self, from: IpAddr, bytes: &[u8]) -> Option<Answer> {
        let v6 = self.target.is_ipv6();
        let icmp = if v6 { bytes } else { ipv4(bytes)?.1 };
        let head = IcmpPacket::new(icmp)?;
        let (kind, code) = (head.get_icmp_type().0, head.get_icmp_code().0);
        let from_target = from == self.target;
        let number = if kind == if v6 { ECHO_REPLY_V6 } else { ECHO_REPLY } {
            self.echo_reply(icmp).filter(|_| from_target)?
        } else {
            let quoted = icmp.get(ICMP_HEADER..)?;
            let (to, protocol, inner) = if v6 {
                ipv6(quoted)?
            } else {
                let (header, inner) = ipv4(quoted)?;
                (IpAddr::V4(header.0), header.1, inner)
            };
            let ours = if v6 {
                IpNextHeaderProtocols::Icmpv6
            } else {
                IpNextHeaderProtocols::Icmp
            };
            self.quoted_echo(inner)
                .filter(|_| to == self.target && protocol == ours)?
        };
        Some(Answer {
            number: Some(number),
            from,
            protocol: Protocol::Icmp,
            meaning: meaning(v6, kind, code, from_target)?,
        })
    }
}

fn echo(bytes: &[u8], kind: u8, identifier: u16) -> Option<u16> {
    let packet = EchoReplyPacket::new(bytes)?;
    let ours = packet.get_icmp_type().0 == kind && packet.get_identifier() == identifier;
    ours.then(|| packet.get_sequence_number())
}

/// Destination, protocol and what follows the header, as far as it is there.
fn ipv4(bytes: &[u8]) -> Option<((Ipv4Addr, IpNextHeaderProtocol), &[u8])> {
    let packet = Ipv4Packet::new(bytes)?;
    let header = usize::from(packet.get_header_length()) * 4;
    if packet.get_version() != 4 || header < 20 {
        return None;
    }
    let head = (packet.get_destination(), packet.get_next_level_protocol());
    Some((head, bytes.get(header..)?))
}

/// The same. Our probes have no extension headers.
fn ipv6(bytes: &[u8]) -> Option<(IpAddr, IpNextHeaderProtocol, &[u8])> {
    let packet = Ipv6Packet::new(bytes)?;
    if packet.get_version() != 6 {
        return None;
    }
    let to: Ipv6Addr = packet.get_destination();
    Some((to.into(), packet.get_next_header(), bytes.get(IPV6_HEADER..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flow(v6: bool) -> Flow {
        let target = if v6 { "2001:db8::9" } else { "192.0.2.9" };
        Flow {
            target: target.parse().unwrap(),
            token: 0xfeed_beef,
            identifier: 0x1234,
        }
    }

    fn ipv4_packet(to: Ipv4Addr, protocol: u8, options: usize, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x40 | (5 + options) as u8; 1];
        bytes.resize(20 + 4 * options, 0);
        bytes[9] = protocol;
        bytes[16..20].copy_from_slice(&to.octets());
        bytes.extend(data);
        bytes
    }

    /// Time exceeded, as a raw IPv4 socket sees it.
    fn exceeded(flow: &Flow, number: u16, options: usize) -> Vec<u8> {
        let IpAddr::V4(to) = flow.target else {
            unreachable!()
        };
        let mut icmp = vec![11, 0, 0, 0, 0, 0, 0, 0];
        icmp.extend(ipv4_packet(to, 1, options, &flow.echo_request(number)[..8]));
        ipv4_packet(Ipv4Addr::new(198, 51, 100, 1), 1, options, &icmp)
    }

    #[test]
    fn answers_to_raw_probes() {
        let flow = flow(false);
        let router: IpAddr = "203.0.113.1".parse().unwrap();
        for options in [0, 3] {
            let got = flow.raw(router, &exceeded(&flow, 777, options)).unwrap();
            assert_eq!(
                (got.number, got.from, got.meaning),
                (Some(777), router, Meaning::TimeExceeded)
            );
        }
        let mut reply = flow.echo_request(9).to_vec();
        reply[0] = 0;
        let reply = ipv4_packet(Ipv4Addr::LOCALHOST, 1, 0, &reply);
        assert_eq!(flow.raw(flow.target, &reply).unwrap().meaning, Meaning::Reached);
        assert_eq!(flow.raw(router, &reply), None);
        let other = Flow {
            identifier: 1,
            ..flow
        };
        assert_eq!(other.raw(router, &exceeded(&flow, 777, 0)), None);
    }

    #[test]
    fn answers_to_raw_probes_over_ipv6() {
        let flow = flow(true);
        let router: IpAddr = "2001:db8::1".parse().unwrap();
        let mut bytes = vec![3, 0, 0, 0, 0, 0, 0, 0, 0x60, 0, 0, 0, 0, 16, 58, 1];
        bytes.extend([0; 16]);
        let IpAddr::V6(to) = flow.target else {
            unreachable!()
        };
        bytes.extend(to.octets());
        bytes.extend(flow.echo_request(5));
        let got = flow.raw(router, &bytes).unwrap();
        assert_eq!((got.number, got.meaning), (Some(5), Meaning::TimeExceeded));
    }

    proptest! {
        /// One flow: whatever the number, the checksum is the same.
        #[test]
        fn the_checksum_is_constant(number in any::<u16>()) {
            let flow = flow(false);
            prop_assert_eq!(&flow.echo_request(number)[..6], &flow.echo_request(0)[..6]);
            let sum = |n| pnet::util::checksum(&flow.payload(n), usize::MAX);
            prop_assert_eq!(sum(number), sum(0));
            prop_assert_eq!(flow.number_in(&flow.payload(number)), Some(number));
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), v6 in any::<bool>()) {
            let flow = flow(v6);
            flow.raw(flow.target, &bytes);
            flow.number_in(&bytes);
            flow.quoted_echo(&bytes);
            flow.echo_reply(&bytes);
        }

        /// Damaged and cut answers.
        #[test]
        fn nearly_right_bytes(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in 0usize..80) {
            let flow = flow(false);
            let mut bytes = exceeded(&flow, 3, 1);
            let i = at.index(bytes.len());
            bytes[i] = byte;
            bytes.truncate(cut);
            flow.raw(flow.target, &bytes);
        }
    }
}
