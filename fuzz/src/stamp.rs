//! STAMP: packets, what follows them, the reflector, and what answers tell a probe session.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use corridor::stamp::StampKey;
use corridor_probes::{
    Mono, SessionId,
    stamp::{
        ErrorEstimate, Mode, Rate, Received, ReflectorPacket, SenderPacket, Stamp, StampLimits,
        StampReflector, TimestampFormat,
    },
    wire::LinkProbe,
};

use super::{
    input::Input,
    session::{Driven, MAX_STEPS},
};

/// Few and slow, so that they are reached.
const LIMITS: StampLimits = StampLimits {
    sessions: 4,
    idle: Duration::from_secs(10),
    sources: 3,
    source_rate: Rate {
        per_second: 20,
        burst: 5,
    },
    total_rate: Rate {
        per_second: 50,
        burst: 10,
    },
};

/// Packets of both kinds and modes come back from what is made of them; whoever sends anything is answered
/// at the length of the question, and every packet is counted once.
pub fn stamp_packets(data: &[u8]) {
    let key = StampKey::new(b"the key of the fuzz targets");
    for mode in [Mode::Unauthenticated, Mode::Authenticated(&key)] {
        packets(mode, data);
    }
    let mut input = Input::new(data);
    let mode = match input.u8() % 2 {
        0 => Mode::Unauthenticated,
        _ => Mode::Authenticated(&key),
    };
    reflect(mode, &mut input);
}

fn packets(mode: Mode<'_>, data: &[u8]) {
    if let Ok(sender) = SenderPacket::parse(mode, data) {
        let mut again = data.to_vec();
        sender.write(mode, &mut again);
        assert_eq!(SenderPacket::parse(mode, &again), Ok(sender));
        assert_eq!(again.get(mode.base_len()..), Some(after(mode, data)));
    }
    if let Ok(reflector) = ReflectorPacket::parse(mode, data) {
        let mut again = data.to_vec();
        reflector.write(mode, &mut again);
        assert_eq!(ReflectorPacket::parse(mode, &again), Ok(reflector));
        for format in [TimestampFormat::Ntp, TimestampFormat::Ptp] {
            if let Some(ns) = reflector.received.unix_ns(format) {
                let back = Stamp::new(ns, format).unix_ns(format);
                assert_eq!(back, Some(ns), "nanoseconds come back");
            }
        }
        let bits = reflector.estimate.to_bits();
        assert_eq!(ErrorEstimate::from_bits(bits), reflector.estimate);
    }
    assert_eq!(
        data.len() < mode.least_len(),
        SenderPacket::parse(mode, data) == short(data)
    );
}

fn short<T>(data: &[u8]) -> Result<T, corridor_probes::stamp::PacketError> {
    Err(corridor_probes::stamp::PacketError::Short(data.len()))
}

fn after<'a>(mode: Mode<'_>, data: &'a [u8]) -> &'a [u8] {
    data.get(mode.base_len()..).unwrap_or_default()
}

fn reflect(mode: Mode<'_>, input: &mut Input<'_>) {
    let mut reflector = StampReflector::new(4_862, LIMITS);
    let mut now = Mono::ZERO;
    let mut taken = 0;
    while !input.is_over() {
        now = now + Duration::from_millis(input.u8().into());
        let (who, ttl) = (input.u8(), input.u8());
        let ip = match who % 4 {
            0 => IpAddr::V6(Ipv6Addr::from_bits(
                u128::from(input.u8()) << 64 | u128::from(input.u8()),
            )),
            low => IpAddr::V4(Ipv4Addr::new(192, 0, 2, low)),
        };
        let port = [862, 4_862, 1_000, 1_001][usize::from(who / 4 % 4)];
        let from = SocketAddr::new(ip, port);
        let mut packet = input.piece().to_vec();
        if who & 0x80 != 0
            && let Ok(sender) = SenderPacket::parse(Mode::Unauthenticated, &packet)
        {
            // Nobody guesses a tag: this one has the key.
            sender.write(mode, &mut packet);
        }
        taken += 1;
        let asked = packet.clone();
        if let Ok(received) = reflector.receive(mode, from, ttl, &packet, now) {
            assert!(
                ![862, 4_862].contains(&port),
                "reflectors would answer each other"
            );
            received.answer(
                mode,
                1_700_000_000_000_000_000,
                1_700_000_000_000_001_000,
                &mut packet,
            );
            answered(mode, &received, &asked, &packet);
        } else {
            assert_eq!(asked, packet);
        }
        let stats = reflector.stats();
        assert_eq!(stats.answered + stats.refused(), taken);
        assert!(stats.sessions <= LIMITS.sessions);
    }
}

fn answered(mode: Mode<'_>, received: &Received, asked: &[u8], answer: &[u8]) {
    assert_eq!(asked.len(), answer.len(), "no amplification");
    let read = ReflectorPacket::parse(mode, answer).expect("an answer");
    assert_eq!((read.seq, read.sender_ttl), (received.seq, received.ttl));
    assert_eq!(
        (read.ssid, read.sender_seq),
        (received.sender.ssid, received.sender.seq)
    );
    assert_eq!(read.sender_timestamp, received.sender.timestamp);
    // What follows comes back as it was, but for the flags of extensions.
    for (sent, back) in after(mode, asked).iter().zip(after(mode, answer)) {
        assert!(
            sent == back || *sent == 0x80 && back & 0x3f == 0,
            "{sent} became {back}"
        );
    }
}

/// Any answers to the probes of a session: its books add up.
pub fn stamp_session(data: &[u8]) {
    let mut input = Input::new(data);
    let mut driven = Driven::new(&mut input);
    let mut echoes = corridor_probes::stamp::Echoes::new(SessionId(1), i128::from(input.i64()));
    let mut sent: Vec<LinkProbe> = Vec::new();
    for _ in 0..MAX_STEPS {
        if input.is_over() {
            break;
        }
        let packet = match input.u8() % 4 {
            0 => {
                sent.extend(driven.step(&mut input));
                continue;
            }
            1 => {
                driven.pass(&mut input);
                continue;
            }
            2 => ReflectorPacket::parse(Mode::Unauthenticated, input.piece()).ok(),
            _ => {
                let back = usize::from(input.u8());
                let probe = sent.iter().rev().nth(back).or(sent.last());
                Some(answer(probe.map_or(0, |p| p.seq), &mut input))
            }
        };
        let Some(packet) = packet else { continue };
        let echo = echoes.take(&packet);
        assert_eq!(
            (echo.echo.seq, echo.echo.body.ranges.len()),
            (packet.sender_seq, 0)
        );
        let arrival = driven.arrival(&mut input);
        let outcome = driven.session.on_stamp_echo(arrival, &echo);
        driven.check(outcome);
    }
    driven.finish();
}

fn answer(sender_seq: u32, input: &mut Input<'_>) -> ReflectorPacket {
    let estimate = ErrorEstimate::from_bits(u16::from(input.u8()) << 8 | 1);
    let near = 1_700_000_000_000_000_000 + u64::from(input.u32());
    ReflectorPacket {
        // A count of its own, the sender's number, or neither.
        seq: match input.u8() % 3 {
            0 => sender_seq,
            1 => sender_seq.wrapping_sub(u32::from(input.u8() % 4)),
            _ => u32::from(input.u16()),
        },
        timestamp: Stamp::new(near + u64::from(input.u16()), estimate.format),
        estimate,
        ssid: 0,
        received: Stamp::new(near, estimate.format),
        sender_seq,
        sender_timestamp: Stamp(0),
        sender_estimate: estimate,
        sender_ttl: 255,
    }
}
