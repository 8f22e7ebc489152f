use proptest::prelude::*;

use super::*;
use crate::stamp::{testing::Toy, tlv::pad};

const PLAIN: Mode<'_> = Mode::Unauthenticated;

fn at(ms: i64) -> Mono {
    Mono::from_millis(ms)
}

fn peer(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], port))
}

fn packet(mode: Mode<'_>, seq: u32, ssid: u16) -> Vec<u8> {
    let mut out = Vec::new();
    SenderPacket {
        seq,
        timestamp: Stamp(77),
        estimate: ErrorEstimate::from_bits(0x8001),
        ssid,
    }
    .write(mode, &mut out);
    out
}

fn reflector() -> StampReflector {
    StampReflector::new(9_862, StampLimits::default())
}

#[test]
fn sessions_are_numbered_apart() {
    let mut r = reflector();
    let mut seq = |from, ssid| {
        let got = r.receive(PLAIN, from, 64, &packet(PLAIN, 40, ssid), at(0));
        got.unwrap().seq
    };
    let (a, b, c) = (peer(1, 5_000), peer(1, 5_001), peer(2, 5_000));
    let seen = [seq(a, 0), seq(a, 0), seq(b, 0), seq(c, 0), seq(a, 1), seq(a, 0)];
    assert_eq!(seen, [0, 1, 0, 0, 0, 2]);
    assert_eq!((r.stats().sessions, r.stats().answered), (4, 6));
    let later = at(900_000);
    assert_eq!(
        r.receive(PLAIN, a, 64, &packet(PLAIN, 41, 0), later).unwrap().seq,
        0
    );
    assert_eq!(r.stats().sessions, 1, "the others have ended too");
}

#[test]
fn an_answer_says_what_came_at_the_same_length() {
    let key = Toy(3);
    for mode in [PLAIN, Mode::Authenticated(&key)] {
        for extra in [0, 1, 4, 200] {
            let mut question = packet(mode, 40, 9);
            pad(&mut question, extra);
            let len = question.len();
            let got = reflector()
                .receive(mode, peer(1, 5_000), 61, &question, at(0))
                .unwrap();
            let mut answer = question;
            got.answer(mode, 1_000_000_000, 1_000_500_000, &mut answer);
            assert_eq!(answer.len(), len);
            let read = ReflectorPacket::parse(mode, &answer).unwrap();
            assert_eq!(
                (read.seq, read.sender_seq, read.ssid, read.sender_ttl),
                (0, 40, 9, 61)
            );
            assert_eq!(
                (read.sender_timestamp, read.sender_estimate.to_bits()),
                (Stamp(77), 0x8001)
            );
            let ns = |stamp: Stamp| stamp.unix_ns(read.estimate.format);
            assert_eq!(
                (ns(read.received), ns(read.timestamp)),
                (Some(1_000_000_000), Some(1_000_500_000))
            );
        }
    }
}

#[test]
fn twamp_lights_shortest_packet_is_answered_at_its_length() {
    let mut packet = packet(PLAIN, 40, 0);
    packet.truncate(41);
    let got = reflector()
        .receive(PLAIN, peer(1, 5_000), 61, &packet, at(0))
        .unwrap();
    got.answer(PLAIN, 1, 2, &mut packet);
    assert_eq!((packet.len(), packet[40]), (41, 61), "the TTL is the last");
    let read = ReflectorPacket::parse(PLAIN, &packet).unwrap();
    assert_eq!((read.sender_seq, read.sender_ttl), (40, 61));
}

#[test]
fn each_refusal_has_its_counter() {
    let key = Toy(3);
    let mode = Mode::Authenticated(&key);
    let mut r = reflector();
    let good = packet(mode, 1, 0);
    let wrong = packet(Mode::Authenticated(&Toy(4)), 1, 0);
    for (from, bytes, wanted) in [
        (
            peer(1, 5_000),
            &good[..111],
            Refusal::Packet(PacketError::Short(111)),
        ),
        (peer(1, 5_000), &wrong, Refusal::Packet(PacketError::WrongKey)),
        (peer(1, 862), &good, Refusal::Loop),
        (peer(1, 9_862), &good, Refusal::Loop),
    ] {
        assert_eq!(r.receive(mode, from, 64, bytes, at(0)), Err(wanted));
    }
    let s = r.stats();
    assert_eq!((s.short, s.wrong_key, s.looped, s.refused()), (1, 1, 2, 4));
    assert_eq!((s.sessions, s.answered), (0, 0));
}

#[test]
fn a_flood_is_cut_by_source_and_by_all() {
    let mut r = reflector();
    let question = packet(PLAIN, 1, 0);
    let mut flood = |net: u8, n: u32| {
        (0..n)
            .filter(|i| {
                let from = peer(net, 5_000 + (i % 7) as u16);
                r.receive(PLAIN, from, 64, &question, at(0)).is_ok()
            })
            .count() as u32
    };
    let answered: Vec<_> = (1..=6).map(|net| flood(net, 1_500)).collect();
    assert_eq!(answered, [1_000, 1_000, 1_000, 1_000, 0, 0], "ports do not help");
    let s = r.stats();
    assert_eq!((s.source_rate, s.total_rate), (4 * 500 + 2 * 500, 2 * 1_000));
    let later = at(100);
    assert!(r.receive(PLAIN, peer(5, 5_000), 64, &question, later).is_ok());
}

#[test]
fn an_ipv6_network_is_one_source() {
    assert_eq!(
        site("2001:db8::1".parse().unwrap()),
        site("2001:db8::ff:2".parse().unwrap())
    );
    assert_ne!(
        site("2001:db8::1".parse().unwrap()),
        site("2001:db8:0:1::1".parse().unwrap())
    );
    assert_eq!(
        site("::ffff:192.0.2.1".parse().unwrap()),
        site("192.0.2.1".parse().unwrap())
    );
}

#[test]
fn memory_is_bounded() {
    let limits = StampLimits {
        sessions: 3,
        ..StampLimits::default()
    };
    let mut r = StampReflector::new(862, limits);
    for port in 5_000..5_010 {
        r.receive(PLAIN, peer(1, port), 64, &packet(PLAIN, 1, 0), at(0))
            .unwrap();
    }
    assert_eq!((r.stats().sessions, r.stats().evicted), (3, 7));
}

proptest! {
    #[test]
    fn anything_gets_an_answer_of_its_length_or_none(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let got = reflector().receive(PLAIN, peer(1, 5_000), 64, &bytes, at(0));
        prop_assert_eq!(got.is_ok(), bytes.len() >= 41);
        if let Ok(got) = got {
            let mut answer = bytes.clone();
            got.answer(PLAIN, u64::MAX / 2, u64::MAX, &mut answer);
            prop_assert_eq!(answer.len(), bytes.len());
        }
    }
}
