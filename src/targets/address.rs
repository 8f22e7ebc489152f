//! Which addresses a target may have. A class names its target, and whoever may create classes must not make
//! edges probe what only edges can reach.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A range of addresses, as in `10.0.0.0/8`; an address alone is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Net {
    first: IpAddr,
    bits: u8,
}

/// What is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no range of addresses, as in 10.0.0.0/8")]
pub struct NetError(String);

impl Net {
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32 - self.bits),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128 - self.bits),
            _ => false,
        }
    }
}

/// Whether they are the same above the lowest `free` bits.
fn same(a: u128, b: u128, free: u8) -> bool {
    (a ^ b).checked_shr(free.into()).unwrap_or(0) == 0
}

impl FromStr for Net {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        let wrong = || NetError(text.chars().take(80).collect());
        let (first, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let first: IpAddr = first.trim().parse().map_err(|_| wrong())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.trim().parse().map_err(|_| wrong())?,
            None => most,
        };
        if bits > most {
            return Err(wrong());
        }
        Ok(Self { first, bits })
    }
}

impl TryFrom<String> for Net {
    type Error = NetError;

    fn try_from(text: String) -> Result<Self, NetError> {
        text.parse()
    }
}

/// What kind of address is not probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Unspecified,
    Loopback,
    Private,
    CarrierNat,
    LinkLocal,
    Multicast,
    Reserved,
    /// An IPv6 form of an IPv4 address that cannot be told.
    Hidden,
    Own,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::CarrierNat => "an address behind a carrier's NAT",
            Self::LinkLocal => "a link-local address",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a reserved address",
            Self::Hidden => "an IPv6 form of an IPv4 address that cannot be told",
            Self::Own => "an address of this machine",
        })
    }
}

/// An address that is not probed. It is not told: whoever names a target need not learn what names stand for
/// inside an operator's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is {kind}, which targets.allow does not list")]
pub(crate) struct Refusal {
    kind: Kind,
}

/// Whether `address` may be probed: it is listed, or nothing speaks against it. `own` are this machine's.
pub(crate) fn check(address: IpAddr, allow: &[Net], own: &[IpAddr]) -> Result<(), Refusal> {
    let inner = inner(address);
    let is = |other: IpAddr| other == address || Some(other) == inner;
    let listed = |net: &Net| net.contains(address) || inner.is_some_and(|inner| net.contains(inner));
    if allow.iter().any(listed) {
        return Ok(());
    }
    let kind = if own.iter().any(|&own| is(own)) {
        Some(Kind::Own)
    } else {
        match (inner, address) {
            (Some(IpAddr::V4(v4)), _) | (_, IpAddr::V4(v4)) => kind_v4(v4),
            (_, IpAddr::V6(v6)) => kind_v6(v6),
        }
    };
    kind.map_or(Ok(()), |kind| Err(Refusal { kind }))
}

/// The IPv4 address that an IPv6 one stands for: mapped (RFC 4291 §2.5.5.2), by NAT64's well-known prefix
/// (RFC 6052 §2.1), by 6to4 (RFC 3056).
fn inner(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into();
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => Some(v4(g, h)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

fn kind_v4(address: Ipv4Addr) -> Option<Kind> {
    Some(match address.octets() {
        [0, ..] => Kind::Unspecified,
        [127, ..] => Kind::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Kind::Private,
        [100, 64..=127, ..] => Kind::CarrierNat,
        [169, 254, ..] => Kind::LinkLocal,
        [224..=239, ..] => Kind::Multicast,
        [240..=255, ..] => Kind::Reserved,
        _ => return None,
    })
}

fn kind_v6(address: Ipv6Addr) -> Option<Kind> {
    Some(match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Kind::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Kind::Loopback,
        // IPv4-compatible, NAT64 by a local prefix (RFC 8215), Teredo.
        [0, 0, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] | [0x2001, 0, ..] => Kind::Hidden,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Kind::Private,
        [0xfe80..=0xfebf, ..] => Kind::LinkLocal,
        [0xff00..=0xffff, ..] => Kind::Multicast,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_addresses_at_their_borders() {
        for (address, want) in [
            ("0.0.0.0", Some(Kind::Unspecified)),
            ("0.255.255.255", Some(Kind::Unspecified)),
            ("1.0.0.0", None),
            ("9.255.255.255", None),
            ("10.0.0.0", Some(Kind::Private)),
            ("11.0.0.0", None),
            ("100.63.255.255", None),
            ("100.64.0.0", Some(Kind::CarrierNat)),
            ("100.127.255.255", Some(Kind::CarrierNat)),
            ("100.128.0.0", None),
            ("127.0.0.1", Some(Kind::Loopback)),
            ("127.255.255.255", Some(Kind::Loopback)),
            ("169.254.169.254", Some(Kind::LinkLocal)),
            ("172.15.255.255", None),
            ("172.16.0.0", Some(Kind::Private)),
            ("172.31.255.255", Some(Kind::Private)),
            ("172.32.0.0", None),
            ("192.168.1.1", Some(Kind::Private)),
            ("223.255.255.255", None),
            ("224.0.0.1", Some(Kind::Multicast)),
            ("239.255.255.255", Some(Kind::Multicast)),
            ("240.0.0.1", Some(Kind::Reserved)),
            ("255.255.255.255", Some(Kind::Reserved)),
            ("203.0.113.9", Some(Kind::Own)),
            ("203.0.113.8", None),
            ("::", Some(Kind::Unspecified)),
            ("::1", Some(Kind::Loopback)),
            ("::2", Some(Kind::Hidden)),
            ("::7f00:1", Some(Kind::Hidden)),
            ("::ffff:127.0.0.1", Some(Kind::Loopback)),
            ("::ffff:203.0.113.9", Some(Kind::Own)),
            ("::ffff:198.51.100.1", None),
            ("64:ff9b::10.0.0.1", Some(Kind::Private)),
            ("64:ff9b::198.51.100.1", None),
            ("64:ff9b:1::1", Some(Kind::Hidden)),
            ("2002:7f00:1::1", Some(Kind::Loopback)),
            ("2001:0:1::1", Some(Kind::Hidden)),
            ("2001:db8::1", None),
            ("2001:db8::9", Some(Kind::Own)),
            ("fc00::1", Some(Kind::Private)),
            ("fdff::1", Some(Kind::Private)),
            ("fe80::1", Some(Kind::LinkLocal)),
            ("febf::1", Some(Kind::LinkLocal)),
            ("fec0::1", Some(Kind::Private)),
            ("ff02::1", Some(Kind::Multicast)),
        ] {
            let address: IpAddr = address.parse().unwrap();
            let own = ["203.0.113.9".parse().unwrap(), "2001:db8::9".parse().unwrap()];
            let got = check(address, &[], &own).err().map(|r| r.kind);
            assert_eq!(got, want, "{address}");
        }
    }

    #[test]
    fn what_is_listed_is_probed() {
        let own = ["127.0.0.1".parse().unwrap()];
        for (net, address, allowed) in [
            ("127.0.0.0/8", "127.9.9.9", true),
            ("127.0.0.0/8", "127.0.0.1", true),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true),
            ("127.0.0.0/8", "64:ff9b::127.0.0.1", true),
            ("127.0.0.0/8", "10.0.0.1", false),
            ("10.1.0.0/16", "10.1.255.255", true),
            ("10.1.0.0/16", "10.2.0.0", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("0.0.0.0/0", "10.0.0.1", true),
            ("0.0.0.0/0", "fe80::1", false),
            ("::/0", "fe80::1", true),
            ("fe80::/10", "febf::1", true),
        ] {
            let net: Net = net.parse().unwrap();
            let got = check(address.parse().unwrap(), &[net], &own);
            assert_eq!(got.is_ok(), allowed, "{net:?} {address}");
        }
    }

    #[test]
    fn a_refusal_says_what_and_where() {
        let refusal = check("10.0.0.1".parse().unwrap(), &[], &[]).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "it is a private address, which targets.allow does not list"
        );
    }

    #[test]
    fn what_is_no_range_is_named() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "10.0.0.0/-1",
            "localhost",
            "/8",
        ] {
            assert_eq!(text.parse::<Net>(), Err(NetError(text.to_owned())), "{text}");
        }
    }
}
