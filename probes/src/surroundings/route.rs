//! Routes and links as rtnetlink(7) tells them. Total: any bytes give an answer or nothing.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

use super::netlink::{self, attribute, number, push, text, u32_of};

const GET_LINK: u16 = 18;
const NEW_LINK: u16 = 16;
const GET_ROUTE: u16 = 26;
const NEW_ROUTE: u16 = 24;
const INET: u8 = 2;
const INET6: u8 = 10;
const UNICAST: u8 = 1;
const TABLE_MAIN: u32 = 254;
const ROUTE_HEADER: usize = 12;
const LINK_HEADER: usize = 16;

// Attributes of routes (linux/rtnetlink.h).
const TO: u16 = 1;
const INTERFACE: u16 = 4;
const GATEWAY: u16 = 5;
const PRIORITY: u16 = 6;
const MULTIPATH: u16 = 9;
const TABLE: u16 = 15;
/// A gateway of the other family: the family, then the address.
const VIA: u16 = 18;
/// rtnexthop: length, flags, weight, interface; attributes follow.
const NEXT_HOP: usize = 8;

// Attributes of links (linux/if_link.h).
const NAME: u16 = 3;
const INFO: u16 = 18;
const INFO_KIND: u16 = 1;
/// Asks for no statistics of virtual functions and the like (`RTEXT_FILTER_SKIP_STATS`).
const EXT_MASK: u16 = 29;
const SKIP_STATS: u32 = 8;

// Kinds of hardware (linux/if_arp.h).
const HARDWARE_ETHER: u16 = 1;
const HARDWARE_RAW_IP: u16 = 519;
const HARDWARE_LOOPBACK: u16 = 772;
const HARDWARE_NONE: u16 = 65_534;
/// IPIP, IP6 in IP6, SIT, GRE, GRE over IPv6.
const HARDWARE_TUNNELS: [u16; 5] = [768, 769, 776, 778, 823];

/// What a packet goes into on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkType {
    Ethernet,
    Wifi,
    Cellular,
    /// A tunnel, whatever carries it.
    Vpn,
    Loopback,
    Unknown,
}

impl LinkType {
    pub fn text(self) -> &'static str {
        match self {
            Self::Ethernet => "ethernet",
            Self::Wifi => "wifi",
            Self::Cellular => "cellular",
            Self::Vpn => "vpn",
            Self::Loopback => "loopback",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// One route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Leading bits of its destination that count; 0 of a default route.
    pub prefix: u8,
    pub table: u32,
    /// Packets are sent on by it, not refused.
    pub is_unicast: bool,
    pub gateway: Option<IpAddr>,
    /// An interface's index.
    pub interface: Option<u32>,
    /// The least wins.
    pub priority: u32,
}

/// Asks for the route that packets to `target` take.
pub fn way_request(target: IpAddr, sequence: u32) -> Vec<u8> {
    let (family, bits) = match target {
        IpAddr::V4(_) => (INET, 32),
        IpAddr::V6(_) => (INET6, 128),
    };
    let mut body = route_header(family, bits);
    match target {
        IpAddr::V4(v4) => push(&mut body, TO, &v4.octets()),
        IpAddr::V6(v6) => push(&mut body, TO, &v6.octets()),
    }
    netlink::request(GET_ROUTE, 0, sequence, &body)
}

/// Asks for all routes of a family.
pub fn ways_request(v6: bool, sequence: u32) -> Vec<u8> {
    let family = if v6 { INET6 } else { INET };
    netlink::request(GET_ROUTE, netlink::DUMP, sequence, &route_header(family, 0))
}

fn route_header(family: u8, bits: u8) -> Vec<u8> {
    let mut body = vec![0; ROUTE_HEADER];
    body[..2].copy_from_slice(&[family, bits]);
    body
}

/// Reads a route.
pub fn way(message: &netlink::Message<'_>) -> Option<Way> {
    if message.kind != NEW_ROUTE {
        return None;
    }
    let [_, prefix, _, _, table, _, _, kind]: [u8; 8] = number(message.body, 0)?;
    let rest = message.body.get(ROUTE_HEADER..)?;
    // Of several next hops the first: which one a packet takes is not known.
    let hop = attribute(rest, MULTIPATH);
    let hop_rest = hop.and_then(|h| h.get(NEXT_HOP..usize::from(u16::from_ne_bytes(number(h, 0)?))));
    let gateway = |rest| {
        attribute(rest, GATEWAY)
            .and_then(address)
            .or_else(|| attribute(rest, VIA).and_then(|via| address(via.get(2..)?)))
    };
    Some(Way {
        prefix,
        table: attribute(rest, TABLE).and_then(u32_of).unwrap_or(table.into()),
        is_unicast: kind == UNICAST,
        gateway: gateway(rest).or_else(|| gateway(hop_rest?)),
        interface: attribute(rest, INTERFACE)
            .and_then(u32_of)
            .or_else(|| Some(u32::from_ne_bytes(number(hop?, 4)?))),
        priority: attribute(rest, PRIORITY).and_then(u32_of).unwrap_or(0),
    })
}

/// The default route with a gateway that wins, among all routes of a family.
pub fn default_way(ways: impl Iterator<Item = Way>) -> Option<Way> {
    ways.filter(|w| w.prefix == 0 && w.table == TABLE_MAIN && w.is_unicast && w.gateway.is_some())
        .min_by_key(|w| w.priority)
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub name: String,
    pub hardware: u16,
    /// Of a virtual one, what its driver calls itself.
    pub kind: Option<String>,
}

/// Asks for one interface.
pub fn link_request(index: u32, sequence: u32) -> Vec<u8> {
    let mut body = vec![0; LINK_HEADER];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    push(&mut body, EXT_MASK, &SKIP_STATS.to_ne_bytes());
    netlink::request(GET_LINK, 0, sequence, &body)
}

/// Reads an interface.
pub fn link(message: &netlink::Message<'_>) -> Option<Link> {
    if message.kind != NEW_LINK {
        return None;
    }
    let hardware = u16::from_ne_bytes(number(message.body, 2)?);
    let rest = message.body.get(LINK_HEADER..)?;
    let kind = attribute(rest, INFO).and_then(|info| text(attribute(info, INFO_KIND)?));
    let name = text(attribute(rest, NAME)?)?;
    // It becomes part of a path.
    let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    plain.then(|| Link {
        name: name.to_owned(),
        hardware,
        kind: kind.map(str::to_owned),
    })
}

/// What sysfs says of an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sysfs {
    /// There is `wireless` or `phy80211`.
    pub wireless: bool,
    /// `DEVTYPE` of its `uevent`.
    pub devtype: Option<String>,
}

/// `DEVTYPE` in the text of a `uevent`.
pub fn devtype(uevent: &str) -> Option<String> {
    uevent
        .lines()
        .find_map(|l| l.strip_prefix("DEVTYPE="))
        .map(str::to_owned)
}

/// By the first of these that knows: sysfs, the driver's name, the hardware.
pub fn link_type(link: &Link, sysfs: &Sysfs) -> LinkType {
    let devtype = sysfs.devtype.as_deref();
    if sysfs.wireless || devtype == Some("wlan") {
        return LinkType::Wifi;
    }
    match devtype.or(link.kind.as_deref()) {
        Some("wwan") => return LinkType::Cellular,
        // Point-to-point carries DSL, modems and tunnels alike; Bluetooth, telephones and more.
        Some("ppp" | "bluetooth") => return LinkType::Unknown,
        _ => {}
    }
    match link.kind.as_deref() {
        Some(
            "tun" | "wireguard" | "ovpn" | "ipip" | "sit" | "gre" | "gretap" | "ip6gre" | "ip6gretap"
            | "ip6tnl" | "vti" | "vti6" | "xfrm" | "geneve" | "vxlan",
        ) => return LinkType::Vpn,
        Some("rmnet") => return LinkType::Cellular,
        Some("dummy" | "ifb") => return LinkType::Unknown,
        _ => {}
    }
    match link.hardware {
        HARDWARE_LOOPBACK => LinkType::Loopback,
        HARDWARE_ETHER => LinkType::Ethernet,
        HARDWARE_RAW_IP => LinkType::Cellular,
        HARDWARE_NONE => LinkType::Vpn,
        h if HARDWARE_TUNNELS.contains(&h) => LinkType::Vpn,
        _ => LinkType::Unknown,
    }
}

fn address(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => Some(Ipv4Addr::from(number::<4>(data, 0)?).into()),
        16 => Some(Ipv6Addr::from(number::<16>(data, 0)?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::surroundings::netlink::{messages, tests::recorded};

    fn ways(hex: &str) -> Vec<Way> {
        recorded(hex)
            .iter()
            .flat_map(|read| messages(read).filter_map(|m| way(&m)).collect::<Vec<_>>())
            .collect()
    }

    fn ip(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[test]
    fn the_default_gateway_of_each_family() {
        let v4 = ways(include_str!("recorded/routes4.hex"));
        assert_eq!(v4.len(), 8);
        let way = default_way(v4.into_iter()).unwrap();
        // Of two, by its metric of 100 against 600.
        assert_eq!(
            (way.gateway, way.interface, way.priority),
            (ip("192.168.7.1"), Some(2), 100)
        );
        let way = default_way(ways(include_str!("recorded/routes6.hex")).into_iter()).unwrap();
        assert_eq!(
            (way.gateway, way.interface, way.priority),
            (ip("fd07::1"), Some(2), 1_024)
        );
    }

    #[test]
    fn the_way_to_one_address() {
        for (hex, gateway) in [
            (include_str!("recorded/way4.hex"), ip("192.168.7.1")),
            (include_str!("recorded/way4-here.hex"), None),
            (include_str!("recorded/way6.hex"), ip("fd07::1")),
        ] {
            let way = ways(hex)[0];
            assert_eq!(
                (way.gateway, way.interface, way.is_unicast),
                (gateway, Some(2), true)
            );
        }
    }

    #[test]
    fn a_route_of_several_next_hops() {
        let mut hop = vec![16, 0, 0, 0];
        hop.extend(5u32.to_ne_bytes());
        push(&mut hop, GATEWAY, &[192, 0, 2, 1]);
        let mut body = vec![INET, 0, 0, 0, 254, 3, 0, UNICAST, 0, 0, 0, 0];
        push(&mut body, MULTIPATH, &hop);
        let bytes = netlink::request(NEW_ROUTE, 0, 1, &body);
        let way = way(&messages(&bytes).next().unwrap()).unwrap();
        assert_eq!((way.gateway, way.interface), (ip("192.0.2.1"), Some(5)));
        // IPv4 by a router that has IPv6 only.
        let mut via = INET6.to_ne_bytes().to_vec();
        via.extend([0]);
        via.extend("fe80::1".parse::<Ipv6Addr>().unwrap().octets());
        let mut body = vec![INET, 0, 0, 0, 254, 3, 0, UNICAST, 0, 0, 0, 0];
        push(&mut body, VIA, &via);
        let bytes = netlink::request(NEW_ROUTE, 0, 1, &body);
        assert_eq!(
            super::way(&messages(&bytes).next().unwrap()).unwrap().gateway,
            ip("fe80::1")
        );
    }

    #[test]
    fn requests_are_what_the_kernel_was_asked_with() {
        let request = way_request("198.51.100.9".parse().unwrap(), 7);
        let message = messages(&request).next().unwrap();
        assert_eq!((message.kind, message.flags, message.sequence), (26, 1, 7));
        assert_eq!(
            message.body,
            [
                &[2, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
                &[8, 0, 1, 0, 198, 51, 100, 9]
            ]
            .concat()
        );
    }

    #[test]
    fn links_as_recorded() {
        for (hex, name, kind, wanted) in [
            (
                include_str!("recorded/link-lo.hex"),
                "lo",
                None,
                LinkType::Loopback,
            ),
            (
                include_str!("recorded/link-veth.hex"),
                "up0",
                Some("veth"),
                LinkType::Ethernet,
            ),
            (
                include_str!("recorded/link-tun.hex"),
                "tap5",
                Some("tun"),
                LinkType::Vpn,
            ),
        ] {
            let read = &recorded(hex)[0];
            let link = link(&messages(read).next().unwrap()).unwrap();
            assert_eq!((link.name.as_str(), link.kind.as_deref()), (name, kind));
            assert_eq!(link_type(&link, &Sysfs::default()), wanted);
        }
    }

    #[test]
    fn kinds_of_links() {
        for (hardware, kind, wireless, devtype, wanted) in [
            (1, None, true, Some("wlan"), LinkType::Wifi),
            (1, None, false, Some("wlan"), LinkType::Wifi),
            (1, None, false, None, LinkType::Ethernet),
            (1, Some("bridge"), false, Some("bridge"), LinkType::Ethernet),
            (1, None, false, Some("wwan"), LinkType::Cellular),
            (519, None, false, None, LinkType::Cellular),
            (65_534, Some("wireguard"), false, Some("wireguard"), LinkType::Vpn),
            (65_534, None, false, None, LinkType::Vpn),
            (778, None, false, None, LinkType::Vpn),
            (512, Some("ppp"), false, Some("ppp"), LinkType::Unknown),
            (1, Some("dummy"), false, None, LinkType::Unknown),
        ] {
            let link = Link {
                name: "x".into(),
                hardware,
                kind: kind.map(str::to_owned),
            };
            let sysfs = Sysfs {
                wireless,
                devtype: devtype.map(str::to_owned),
            };
            assert_eq!(link_type(&link, &sysfs), wanted, "{link:?} {sysfs:?}");
        }
        assert_eq!(
            devtype("INTERFACE=wlan0\nIFINDEX=3\nDEVTYPE=wlan\n").as_deref(),
            Some("wlan")
        );
    }

    proptest! {
        #[test]
        fn any_body(body in prop::collection::vec(any::<u8>(), 0..200)) {
            for kind in [NEW_ROUTE, NEW_LINK] {
                let bytes = netlink::request(kind, 0, 1, &body);
                for message in messages(&bytes) {
                    way(&message);
                    link(&message);
                }
            }
        }
    }
}
