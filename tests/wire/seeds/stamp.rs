//! STAMP's packets, and answers to a session.

use corridor::stamp::StampKey;
use corridor_probes::stamp::{self, ErrorEstimate, Mode, ReflectorPacket, SenderPacket};

use super::{Seeds, one, piece};

fn sender_packet() -> SenderPacket {
    SenderPacket {
        seq: 1,
        timestamp: stamp::Stamp::new(1_700_000_000_000_000_000, stamp::TimestampFormat::Ntp),
        estimate: ErrorEstimate::UNSYNCHRONISED,
        ssid: 7,
    }
}

fn reflector_packet(seq: u32) -> ReflectorPacket {
    let sender = sender_packet();
    ReflectorPacket {
        seq,
        timestamp: sender.timestamp,
        estimate: sender.estimate,
        ssid: 7,
        received: sender.timestamp,
        sender_seq: 1,
        sender_timestamp: sender.timestamp,
        sender_estimate: sender.estimate,
        sender_ttl: 64,
    }
}

pub fn stamp_packets() -> Seeds {
    let key = StampKey::new(b"the key of the fuzz targets");
    let mut seeds = Vec::new();
    for (name, mode) in [
        ("open", Mode::Unauthenticated),
        ("sealed", Mode::Authenticated(&key)),
    ] {
        let (mut asked, mut answer) = (Vec::new(), Vec::new());
        sender_packet().write(mode, &mut asked);
        stamp::pad(&mut asked, 20);
        asked.extend([0x80, 240, 0, 1, 7, 0x80]);
        reflector_packet(0).write(mode, &mut answer);
        let step = |who: u8| [&[100, who, 64, 1, 1], &piece(&asked)[..]].concat();
        let mode = u8::from(name == "sealed");
        let steps: Vec<_> = [9, 0x88 | 1, 10, 8, 0, 4].into_iter().flat_map(step).collect();
        seeds.push(one(&format!("{name}-reflected"), [vec![mode], steps].concat()));
        seeds.push(one(&format!("{name}-sender"), asked));
        seeds.push(one(&format!("{name}-reflector"), answer));
    }
    seeds
}

pub fn stamp_session() -> Seeds {
    let start = [0; 8 + 4 + 8];
    let sent = [0u8, 100, 0, 9];
    let answer = |kind: u8| [3u8, 0, 0, 0, 0, 0, 9, kind, 0, 1, 1];
    let mut packet = Vec::new();
    reflector_packet(0).write(Mode::Unauthenticated, &mut packet);
    let steady = |kind| {
        let steps = (0..12).flat_map(move |_| [&sent[..], &answer(kind)].concat());
        start.into_iter().chain(steps).chain([1, 255, 7])
    };
    vec![
        one("stateless", steady(0)),
        one("stateful", steady(1)),
        one("wire", [&start[..], &sent, &[2], &piece(&packet), &[1]].concat()),
    ]
}
