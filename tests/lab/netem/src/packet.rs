//! What the emulator reads of an IP packet: where it goes, what it carries, how long it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proto {
    Udp,
    Tcp,
    /// ICMP and ICMPv6.
    Icmp,
    Other,
}

impl Proto {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Icmp => "icmp",
            Self::Other => "other",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub to: IpAddr,
    pub proto: Proto,
    /// Of the IP packet, header included, bytes.
    pub len: u16,
    /// How its sender marked it for routers (RFC 2474), 0 to 63.
    pub dscp: u8,
}

impl Head {
    /// `None` if `packet` is not a whole IPv4 or IPv6 header.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let len = u16::try_from(packet.len()).ok()?;
        let (to, number, class) = match packet.first()? >> 4 {
            4 => {
                let header: &[u8; 20] = packet.first_chunk()?;
                let [.., a, b, c, d] = *header;
                (IpAddr::V4(Ipv4Addr::new(a, b, c, d)), header[9], header[1])
            }
            6 => {
                let header: &[u8; 40] = packet.first_chunk()?;
                let to: &[u8; 16] = header.last_chunk()?;
                let class = header[0] << 4 | header[1] >> 4;
                (IpAddr::V6(Ipv6Addr::from(*to)), header[6], class)
            }
            _ => return None,
        };
        let proto = match number {
            17 => Proto::Udp,
            6 => Proto::Tcp,
            1 | 58 => Proto::Icmp,
            _ => Proto::Other,
        };
        Some(Self {
            to,
            proto,
            len,
            dscp: class >> 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families() {
        let mut v4 = vec![0u8; 60];
        v4[0] = 0x45;
        v4[1] = 0xb9;
        v4[9] = 17;
        v4[16..20].copy_from_slice(&[10, 0, 0, 7]);
        let head = Head::parse(&v4).unwrap();
        assert_eq!(
            (head.to, head.proto, head.len, head.dscp),
            ("10.0.0.7".parse().unwrap(), Proto::Udp, 60, 46)
        );

        let mut v6 = vec![0u8; 40];
        (v6[0], v6[1]) = (0x6b, 0x90);
        v6[6] = 58;
        v6[24] = 0xfd;
        v6[39] = 2;
        let head = Head::parse(&v6).unwrap();
        assert_eq!(
            (head.to, head.proto, head.len, head.dscp),
            ("fd00::2".parse().unwrap(), Proto::Icmp, 40, 46)
        );
    }

    #[test]
    fn short_and_strange_ones_are_refused() {
        assert_eq!(Head::parse(&[]), None);
        assert_eq!(Head::parse(&[0x45; 19]), None);
        assert_eq!(Head::parse(&[0x60; 39]), None);
        assert_eq!(Head::parse(&[0x55; 100]), None);
    }
}
