//! Netlink messages, texts of proc(5), and what agents make of them.

use corridor_probes::surroundings::netlink::{MULTI, push, request};

use super::{super::messages::messages, Seeds, one};

fn nested(parts: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, data) in parts {
        push(&mut bytes, *kind, data);
    }
    bytes
}

/// What no recorded bytes have: several next hops, a gateway of the other family, an interface of nl80211
/// and the access point that it is connected to.
pub fn netlink_answers() -> Seeds {
    let route = |parts: &[(u16, &[u8])]| {
        // IPv4, to anywhere, in the main table, unicast.
        let header = [2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
        request(24, MULTI, 7, &[&header[..], &nested(parts)].concat())
    };
    let hop = [&[16, 0, 0, 0, 3, 0, 0, 0][..], &nested(&[(5, &[192, 0, 2, 1])])].concat();
    let via = [&[10, 0][..], &[0xfe, 0x80], &[0; 13], &[1]].concat();
    let ways = [
        route(&[(9, &hop), (6, &100u32.to_ne_bytes())]),
        route(&[(18, &via), (4, &2u32.to_ne_bytes()), (15, &254u32.to_ne_bytes())]),
    ];
    let wireless = |command: u8, parts: &[(u16, &[u8])]| {
        request(
            0x1c,
            MULTI,
            7,
            &[&[command, 1, 0, 0][..], &nested(parts)].concat(),
        )
    };
    let interface = wireless(
        7,
        &[
            (5, &2u32.to_ne_bytes()),
            (52, b"room 7"),
            (38, &5_180u32.to_ne_bytes()),
        ],
    );
    let rate = nested(&[(1, &1_560u16.to_ne_bytes()), (5, &24_020u32.to_ne_bytes())]);
    let info = nested(&[
        (7, &[(-64i8) as u8]),
        (13, &[(-61i8) as u8]),
        (0x8000 | 8, &rate),
        (0x8000 | 14, &rate),
    ]);
    let station = wireless(19, &[(6, &[2, 0, 0, 0, 1, 0]), (0x8000 | 21, &info)]);
    vec![
        one("next-hops", ways.concat()),
        one("interface", interface),
        one("access-point", station),
        one("done", request(3, MULTI, 7, &[0; 4])),
    ]
}

/// Two readings.
pub fn host_load() -> (String, Vec<u8>) {
    let meminfo = "MemTotal:       24684564 kB\nMemFree:         1981952 kB\nMemAvailable:   23318116 kB\n";
    let pressure = "some avg10=70.25 avg60=27.81 avg300=14.18 total=4156036839\n";
    let texts = [
        "cpu  1000 20 300 8000 400 0 30 50 7 0\ncpu0 1000 20 300 8000 400 0 30 50 7 0\nintr 1 2\n",
        "2.83 1.83 1.39 3/412 99\n",
        meminfo,
        pressure,
        "cpu  1050 20 320 8100 420 0 30 60 7 0\ncpu0 1050 20 320 8100 420 0 30 60 7 0\nintr 1 2\n",
        "0.00 1.83 1.39 3/412 99\n",
        meminfo,
        "",
    ];
    one("two-readings", texts.join("\0").into_bytes())
}

pub fn told() -> Seeds {
    messages()
        .into_iter()
        .filter(|(name, _)| name.starts_with("Surroundings") || name.starts_with("Trace"))
        .map(|(name, bytes)| one(name, bytes))
        .collect()
}
