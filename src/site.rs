//! Which line does an agent use? Agents behind one public address are taken to share one.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A line, by what is seen of its public address: all of IPv4's, and the first 56 bits of IPv6's. That is the
/// least that a customer should be given (RIPE-690), so the subnets of one building count together; by /64
/// each of them would be a site of its own. Where providers give a /64, strangers share; their budgets are
/// small against a site's. A building with both families is two sites.
///
/// Sites are kept in memory only, and shown truncated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Site {
    V4([u8; 4]),
    V6([u8; 7]),
}

impl Site {
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g])
            }
        }
    }

    /// As it travels from an edge to its controller.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::V4(bytes) => bytes.to_vec(),
            Self::V6(bytes) => bytes.to_vec(),
        }
    }

    /// `None` if it is neither (an older edge says nothing).
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let v4 = bytes.try_into().map(Self::V4);
        v4.or_else(|_| bytes.try_into().map(Self::V6)).ok()
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match *self {
            Self::V4(bytes) => IpAddr::from(bytes),
            Self::V6([a, b, c, d, e, f, g]) => IpAddr::from([a, b, c, d, e, f, g, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        };
        f.write_str(&truncated(address))
    }
}

/// IPv4 to /24, IPv6 to /48: enough to tell networks apart, not people.
pub fn truncated(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{}/24", Ipv4Addr::new(a, b, c, 0))
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_truncated() {
        let cut = |text: &str| truncated(ip(text));
        assert_eq!(cut("192.0.2.77"), "192.0.2.0/24");
        assert_eq!(cut("::ffff:192.0.2.77"), "192.0.2.0/24");
        assert_eq!(cut("2001:db8:1:2::3"), "2001:db8:1::/48");
    }

    #[test]
    fn one_ipv4_address_or_56_bits_of_ipv6_are_a_site() {
        let site = |text: &str| Site::of(ip(text));
        assert_ne!(site("192.0.2.77"), site("192.0.2.78"));
        assert_eq!(site("192.0.2.77"), site("::ffff:192.0.2.77"));
        assert_eq!(site("2001:db8:1:2:1::"), site("2001:db8:1:ff:2::"));
        assert_ne!(site("2001:db8:1:2::"), site("2001:db8:1:102::"));
        for text in ["192.0.2.77", "2001:db8:1:2::3"] {
            let site = site(text);
            assert_eq!(Site::from_bytes(&site.to_bytes()), Some(site));
            assert_eq!(site.to_string(), truncated(ip(text)));
        }
        for bytes in [&[][..], &[1; 5], &[1; 8]] {
            assert_eq!(Site::from_bytes(bytes), None);
        }
    }
}
