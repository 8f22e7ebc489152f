//! What goes out and what comes back, whatever carries it.

use std::net::IpAddr;

/// What a probe looks like to routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Udp,
    /// An echo request.
    Icmp,
}

/// A probe to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    pub number: u16,
    /// Hop limit (IPv6) or time to live.
    pub ttl: u8,
    pub protocol: Protocol,
}

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// The probe's hops were used up here.
    TimeExceeded,
    /// The end got it: an echo reply, a closed port, or data from the port.
    Reached,
    /// Whoever answers does not let it through.
    Unreachable(Unreachable),
}

/// Why something is unreachable, of both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unreachable {
    Network,
    Host,
    Protocol,
    Prohibited,
    TooBig,
    Other(u8),
}

impl Unreachable {
    /// As it stands in a table and in JSON.
    pub fn text(self) -> &'static str {
        match self {
            Self::Network => "network unreachable",
            Self::Host => "host unreachable",
            Self::Protocol => "protocol unreachable",
            Self::Prohibited => "prohibited",
            Self::TooBig => "packet too big",
            Self::Other(_) => "unreachable",
        }
    }
}

/// An answer to one of this trace's probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Which probe it answers; unknown if too little of it was quoted.
    pub number: Option<u16>,
    pub from: IpAddr,
    pub protocol: Protocol,
    pub meaning: Meaning,
}

/// ICMP's types and codes (RFC 792, RFC 1812 §5.2.7; RFC 4443).
#[cfg(any(test, all(feature = "trace", target_os = "linux")))]
pub(super) fn meaning(v6: bool, kind: u8, code: u8, from_target: bool) -> Option<Meaning> {
    let unreachable = |what| {
        // The target itself says so: the probe has come all the way.
        if from_target {
            Meaning::Reached
        } else {
            Meaning::Unreachable(what)
        }
    };
    Some(match (v6, kind, code) {
        (false, 11, 0) | (true, 3, 0) => Meaning::TimeExceeded,
        (false, 0, _) | (true, 129, _) => Meaning::Reached,
        (false, 3, 3) | (true, 1, 4) => unreachable(Unreachable::Other(code)),
        (false, 3, 0 | 6 | 11) | (true, 1, 0) => unreachable(Unreachable::Network),
        (false, 3, 1 | 7 | 12) | (true, 1, 3) => unreachable(Unreachable::Host),
        (false, 3, 2) | (true, 4, 1) => unreachable(Unreachable::Protocol),
        (false, 3, 9 | 10 | 13) | (true, 1, 1 | 5 | 6) => unreachable(Unreachable::Prohibited),
        (false, 3, 4) | (true, 2, _) => unreachable(Unreachable::TooBig),
        (false, 3, _) | (true, 1, _) => unreachable(Unreachable::Other(code)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_codes_of_both_families() {
        let table = [
            (false, 11, 0, false, Some(Meaning::TimeExceeded)),
            (false, 11, 1, false, None), // reassembly
            (true, 3, 0, false, Some(Meaning::TimeExceeded)),
            (false, 3, 3, true, Some(Meaning::Reached)),
            (
                false,
                3,
                3,
                false,
                Some(Meaning::Unreachable(Unreachable::Other(3))),
            ),
            (true, 1, 4, true, Some(Meaning::Reached)),
            (
                true,
                1,
                1,
                false,
                Some(Meaning::Unreachable(Unreachable::Prohibited)),
            ),
            (false, 3, 13, true, Some(Meaning::Reached)),
            (false, 0, 0, true, Some(Meaning::Reached)),
            (true, 129, 0, true, Some(Meaning::Reached)),
            (false, 8, 0, false, None),
            (true, 128, 0, false, None),
            (true, 135, 0, false, None),
        ];
        for (v6, kind, code, target, wanted) in table {
            assert_eq!(
                meaning(v6, kind, code, target),
                wanted,
                "{v6} {kind} {code} {target}"
            );
        }
    }
}
