//! Wi-Fi as nl80211 tells it, over generic netlink (linux/nl80211.h). Asking needs no privilege. Total: any
//! bytes give an answer or nothing.

use super::netlink::{self, attribute, number, push, text, u32_of};

/// The family that knows the numbers of all others.
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const GENERIC_HEADER: usize = 4;

const GET_INTERFACE: u8 = 5;
const NEW_INTERFACE: u8 = 7;
const GET_STATION: u8 = 17;
const NEW_STATION: u8 = 19;

const IFINDEX: u16 = 3;
const IFTYPE: u16 = 5;
const MAC: u16 = 6;
const STATION_INFO: u16 = 21;
const FREQUENCY: u16 = 38;
const SSID: u16 = 52;
/// `IFTYPE`: the client of an access point.
const STATION: u32 = 2;

// In `STATION_INFO`.
const SIGNAL: u16 = 7;
const TX_RATE: u16 = 8;
const SIGNAL_AVERAGE: u16 = 13;
const RX_RATE: u16 = 14;
// In a rate, in units of 100 kbit/s; the first cannot hold what is above 6.5 Gbit/s.
const RATE_16: u16 = 1;
const RATE_32: u16 = 5;

/// A name of 32 bytes is the longest there is.
const MAX_SSID: usize = 32;

/// A connection to an access point.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wifi {
    /// Of the beacons, averaged where the driver does that; dBm, which is below 0.
    pub signal_dbm: Option<i8>,
    /// At which this machine sends, kbit/s on the air.
    pub tx_kbps: Option<u32>,
    pub rx_kbps: Option<u32>,
    pub frequency_mhz: Option<u32>,
    /// Who: read only if asked for.
    pub name: Option<Name>,
}

/// Which access point: tells where a person is, so it is not looked at unless somebody wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub ssid: Option<String>,
    pub bssid: Option<[u8; 6]>,
}

impl Wifi {
    /// The channel of its frequency.
    pub fn channel(&self) -> Option<u32> {
        channel(self.frequency_mhz?)
    }
}

/// IEEE 802.11-2020, §15.4.4.3, §17.3.8.4.2; 6 GHz from 802.11ax.
pub fn channel(mhz: u32) -> Option<u32> {
    let steps = |base: u32| (mhz > base && (mhz - base).is_multiple_of(5)).then(|| (mhz - base) / 5);
    match mhz {
        2_484 => Some(14),
        2_412..=2_472 => steps(2_407),
        5_000..=5_925 => steps(5_000),
        5_935 => Some(2),
        5_955..=7_115 => steps(5_950),
        _ => None,
    }
}

/// Asks for the number of nl80211.
pub fn family_request(sequence: u32) -> Vec<u8> {
    let mut body = vec![GET_FAMILY, 1, 0, 0];
    push(&mut body, FAMILY_NAME, b"nl80211\0");
    netlink::request(CONTROL, 0, sequence, &body)
}

/// The number of the family that was asked for.
pub fn family(message: &netlink::Message<'_>) -> Option<u16> {
    if message.kind != CONTROL {
        return None;
    }
    attribute(message.body.get(GENERIC_HEADER..)?, FAMILY_ID)?
        .try_into()
        .ok()
        .map(u16::from_ne_bytes)
}

/// Asks how an interface is set up.
pub fn interface_request(family: u16, interface: u32, sequence: u32) -> Vec<u8> {
    request(family, GET_INTERFACE, 0, interface, sequence)
}

/// Asks for all that it is connected to.
pub fn stations_request(family: u16, interface: u32, sequence: u32) -> Vec<u8> {
    request(family, GET_STATION, netlink::DUMP, interface, sequence)
}

fn request(family: u16, command: u8, flags: u16, interface: u32, sequence: u32) -> Vec<u8> {
    let mut body = vec![command, 0, 0, 0];
    push(&mut body, IFINDEX, &interface.to_ne_bytes());
    netlink::request(family, flags, sequence, &body)
}

/// How an interface is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// It is a client of an access point, or none of this counts.
    pub is_station: bool,
    pub frequency_mhz: Option<u32>,
    pub ssid: Option<String>,
}

pub fn interface(family: u16, message: &netlink::Message<'_>) -> Option<Interface> {
    let rest = body(family, NEW_INTERFACE, message)?;
    let ssid = attribute(rest, SSID).filter(|s| !s.is_empty() && s.len() <= MAX_SSID);
    Some(Interface {
        is_station: attribute(rest, IFTYPE).and_then(u32_of) == Some(STATION),
        frequency_mhz: attribute(rest, FREQUENCY).and_then(u32_of),
        ssid: ssid.and_then(text).map(str::to_owned),
    })
}

/// The access point, as a station is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessPoint {
    pub address: Option<[u8; 6]>,
    pub signal_dbm: Option<i8>,
    pub tx_kbps: Option<u32>,
    pub rx_kbps: Option<u32>,
}

pub fn access_point(family: u16, message: &netlink::Message<'_>) -> Option<AccessPoint> {
    let rest = body(family, NEW_STATION, message)?;
    let info = attribute(rest, STATION_INFO)?;
    let signal = |kind| attribute(info, kind).and_then(|d| Some(i8::from_ne_bytes(number(d, 0)?)));
    let rate = |kind| {
        let rate = attribute(info, kind)?;
        let wide = attribute(rate, RATE_32).and_then(u32_of);
        let narrow = || {
            attribute(rate, RATE_16)?
                .try_into()
                .ok()
                .map(u16::from_ne_bytes)
                .map(u32::from)
        };
        wide.or_else(narrow)?.checked_mul(100)
    };
    // What a driver does not know it leaves out, or says 0.
    let known = |dbm: &i8| *dbm < 0;
    Some(AccessPoint {
        address: attribute(rest, MAC).and_then(|mac| mac.try_into().ok()),
        signal_dbm: signal(SIGNAL_AVERAGE)
            .filter(known)
            .or(signal(SIGNAL).filter(known)),
        tx_kbps: rate(TX_RATE).filter(|r| *r > 0),
        rx_kbps: rate(RX_RATE).filter(|r| *r > 0),
    })
}

fn body<'a>(family: u16, command: u8, message: &netlink::Message<'a>) -> Option<&'a [u8]> {
    let is_it = message.kind == family && message.body.first() == Some(&command);
    is_it.then(|| message.body.get(GENERIC_HEADER..))?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::surroundings::netlink::{messages, tests::recorded};

    const FAMILY: u16 = 0x1c;

    #[test]
    fn a_family_as_recorded() {
        let reads = recorded(include_str!("recorded/family-nlctrl.hex"));
        assert_eq!(family(&messages(&reads[0]).next().unwrap()), Some(16));
        let reads = recorded(include_str!("recorded/family-missing.hex"));
        assert_eq!(family(&messages(&reads[0]).next().unwrap()), None);
        // What was asked is quoted in the error.
        let quoted = messages(&reads[0]).next().unwrap().body[4..].to_vec();
        assert_eq!(quoted[16..], family_request(7)[16..]);
    }

    fn nested(parts: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        parts
            .iter()
            .for_each(|(kind, data)| push(&mut bytes, *kind, data));
        bytes
    }

    fn message(command: u8, parts: &[(u16, &[u8])]) -> Vec<u8> {
        let body = [&[command, 1, 0, 0][..], &nested(parts)].concat();
        netlink::request(FAMILY, netlink::MULTI, 1, &body)
    }

    /// As mac80211 lays them out: more attributes than are read, before and between.
    fn a_station(rate: &[(u16, &[u8])]) -> Vec<u8> {
        let rate = nested(rate);
        let info = nested(&[
            (1, &20u32.to_ne_bytes()),
            (2, &9_000u32.to_ne_bytes()),
            (SIGNAL, &[(-64i8) as u8]),
            (
                0x4000 | 25,
                &nested(&[(0, &[(-65i8) as u8]), (1, &[(-70i8) as u8])]),
            ),
            (SIGNAL_AVERAGE, &[(-61i8) as u8]),
            (0x8000 | TX_RATE, &rate),
            (
                0x8000 | RX_RATE,
                &nested(&[(RATE_16, &1_560u16.to_ne_bytes()), (2, &[15])]),
            ),
            (16, &120u32.to_ne_bytes()),
        ]);
        message(
            NEW_STATION,
            &[
                (IFINDEX, &3u32.to_ne_bytes()),
                (MAC, &[2, 0, 0, 0, 1, 0]),
                (46, &7u32.to_ne_bytes()),
                (0x8000 | STATION_INFO, &info),
            ],
        )
    }

    #[test]
    fn an_access_point() {
        let both: &[(u16, &[u8])] = &[
            (RATE_16, &0xffffu16.to_ne_bytes()),
            (RATE_32, &24_020u32.to_ne_bytes()),
        ];
        let bytes = a_station(both);
        let seen = access_point(FAMILY, &messages(&bytes).next().unwrap()).unwrap();
        let wanted = AccessPoint {
            address: Some([2, 0, 0, 0, 1, 0]),
            signal_dbm: Some(-61),
            tx_kbps: Some(2_402_000),
            rx_kbps: Some(156_000),
        };
        assert_eq!(seen, wanted);
        // Another family's, and another command's.
        let of = |bytes: &[u8], family| access_point(family, &messages(bytes).next().unwrap());
        assert_eq!(of(&bytes, FAMILY + 1), None);
        assert_eq!(of(&message(NEW_INTERFACE, &[]), FAMILY), None);
        let unknown = of(&a_station(&[]), FAMILY).unwrap();
        assert_eq!((unknown.tx_kbps, unknown.rx_kbps), (None, Some(156_000)));
    }

    #[test]
    fn an_interface() {
        let parts: &[(u16, &[u8])] = &[
            (IFINDEX, &3u32.to_ne_bytes()),
            (4, b"wlan0\0"),
            (IFTYPE, &STATION.to_ne_bytes()),
            (SSID, b"room 7"),
            (FREQUENCY, &5_180u32.to_ne_bytes()),
        ];
        let bytes = message(NEW_INTERFACE, parts);
        let seen = interface(FAMILY, &messages(&bytes).next().unwrap()).unwrap();
        let wanted = Interface {
            is_station: true,
            frequency_mhz: Some(5_180),
            ssid: Some("room 7".into()),
        };
        assert_eq!(seen, wanted);
    }

    #[test]
    fn requests() {
        let bytes = stations_request(FAMILY, 3, 9);
        let asked = messages(&bytes).next().unwrap();
        assert_eq!((asked.kind, asked.flags, asked.sequence), (FAMILY, 0x301, 9));
        assert_eq!(asked.body, [17, 0, 0, 0, 8, 0, 3, 0, 3, 0, 0, 0]);
    }

    #[test]
    fn channels() {
        for (mhz, wanted) in [
            (2_412, Some(1)),
            (2_472, Some(13)),
            (2_484, Some(14)),
            (2_413, None),
            (5_180, Some(36)),
            (5_825, Some(165)),
            (5_935, Some(2)),
            (5_955, Some(1)),
            (7_115, Some(233)),
            (0, None),
            (60_480, None),
        ] {
            assert_eq!(channel(mhz), wanted, "{mhz}");
        }
    }

    proptest! {
        #[test]
        fn any_body(mut body in prop::collection::vec(any::<u8>(), 0..200), kind in prop::sample::select(vec![FAMILY, CONTROL])) {
            for command in [GET_FAMILY, NEW_INTERFACE, NEW_STATION] {
                if let Some(first) = body.first_mut() {
                    *first = command;
                }
                let bytes = netlink::request(kind, 0, 1, &body);
                for message in messages(&bytes) {
                    family(&message);
                    interface(FAMILY, &message);
                    access_point(FAMILY, &message);
                }
            }
        }

        #[test]
        fn a_damaged_station(at in 0usize..200, value in any::<u8>()) {
            let mut bytes = a_station(&[(RATE_16, &[1, 2])]);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            for message in messages(&bytes) {
                access_point(FAMILY, &message);
            }
        }
    }
}
