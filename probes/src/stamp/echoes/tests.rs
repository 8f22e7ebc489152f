use super::*;
use crate::{
    Ledger, Mono, ProbeSession, SessionConfig, SlotOutcome,
    stamp::time::{ErrorEstimate, TimestampFormat},
};

const S: u64 = 1_000_000_000;

fn answer(seq: u32, sender_seq: u32, received_ms: u64) -> ReflectorPacket {
    let stamp = |ms: u64| Stamp::new(1_700_000_000 * S + ms * 1_000_000, TimestampFormat::Ntp);
    ReflectorPacket {
        seq,
        timestamp: stamp(received_ms + 1),
        estimate: ErrorEstimate::UNSYNCHRONISED,
        ssid: 0,
        received: stamp(received_ms),
        sender_seq,
        sender_timestamp: Stamp(0),
        sender_estimate: ErrorEstimate::UNSYNCHRONISED,
        sender_ttl: 255,
    }
}

fn echoes() -> Echoes {
    Echoes::new(SessionId(1), i128::from(1_700_000_000 * S))
}

#[test]
fn the_first_answer_tells_the_kinds_apart() {
    let mut e = echoes();
    assert_eq!(e.kind(), None);
    let got = e.take(&answer(0, FIRST_SEQ, 10));
    assert_eq!(
        (e.kind(), got.counted, got.echo.body.count),
        (Some(ReflectorKind::Stateful), true, 1)
    );
    assert_eq!(
        (got.echo.body.recv_us, got.echo.body.residence_us),
        (10_000, 1_000)
    );
    let mut e = echoes();
    let got = e.take(&answer(FIRST_SEQ, FIRST_SEQ, 10));
    assert_eq!((e.kind(), got.counted), (Some(ReflectorKind::Stateless), false));
}

#[test]
fn a_doubled_probe_is_counted_once() {
    let mut e = echoes();
    let mut count = |seq, sender_seq| e.take(&answer(seq, sender_seq, 10)).echo.body.count;
    let counts = [
        count(0, 1),
        count(1, 2),
        count(2, 2),
        count(3, 3),
        count(1, 2),
        count(5, 4),
    ];
    assert_eq!(counts, [1, 2, 3, 3, 2, 5]);
}

#[test]
fn order_there_is_by_number_or_by_time() {
    for stateless in [false, true] {
        let mut e = echoes();
        let mut order = |place: u32, sender_seq: u32| {
            let seq = if stateless { sender_seq } else { place };
            let answer = answer(seq, sender_seq, 10 + u64::from(place));
            let body = e.take(&answer).echo.body;
            (body.overtaken, body.reordered)
        };
        let seen = [order(0, 1), order(1, 4), order(2, 2), order(3, 3), order(4, 5)];
        let wanted = [(false, 0), (false, 0), (true, 1), (true, 2), (false, 2)];
        assert_eq!(seen, wanted, "stateless: {stateless}");
    }
}

#[test]
fn a_reflector_that_began_anew_is_another_epoch() {
    let mut e = echoes();
    let mut epoch = |seq, sender_seq| e.take(&answer(seq, sender_seq, 10)).echo.body.epoch;
    assert_eq!(
        [epoch(100, 101), epoch(99, 102), epoch(0, 103), epoch(1, 104)],
        [0, 0, 1, 1]
    );
    assert_eq!([epoch(80, 200), epoch(10, 201), epoch(11, 202)], [1, 2, 2]);
}

#[test]
fn stamps_that_cannot_be_are_kept_out() {
    let mut e = echoes();
    let mut packet = answer(0, 1, 10);
    packet.timestamp = answer(0, 1, 5).timestamp;
    assert_eq!(e.take(&packet).echo.body.residence_us, u32::MAX);
    packet.estimate.format = TimestampFormat::Ptp;
    packet.received = Stamp(u64::MAX);
    assert_eq!(e.take(&packet).echo.body.residence_us, u32::MAX);
}

/// Runs 40 probes, 100 ms apart, of which some are lost up and some down.
fn ledger(stateless: bool, up: &[u32], down: &[u32]) -> Ledger {
    let mut session = ProbeSession::new(SessionId(1), FIRST_SEQ, SessionConfig::default());
    let mut e = echoes();
    let mut came = 0;
    for i in 0..40u32 {
        let now = Mono::from_millis(i64::from(i) * 100);
        let probe = session.slot(now, SlotOutcome::Sent { now }).unwrap();
        if up.contains(&i) {
            continue;
        }
        let seq = if stateless { probe.seq } else { came };
        came += 1;
        if down.contains(&i) {
            continue;
        }
        let echo = e.take(&answer(seq, probe.seq, u64::from(i) * 100 + 10));
        let at = now + std::time::Duration::from_millis(20);
        session.on_stamp_echo(at, &echo);
    }
    let mut total = Ledger::default();
    while let Some(window) = session.poll_window(Mono::from_millis(60_000)) {
        total += window.ledger;
    }
    assert_eq!(total.sent, 40);
    total
}

#[test]
fn loss_has_a_direction_where_the_reflector_counts() {
    for (up, down) in [
        (&[][..], &[][..]),
        (&[0], &[]),
        (&[], &[0]),
        (&[3, 4, 5, 20], &[9, 10, 30]),
        (&[0, 1, 12], &[17, 18, 19, 38]),
    ] {
        let l = ledger(false, up, down);
        let lost = (l.lost_up as usize, l.lost_down as usize, l.lost_unknown);
        assert_eq!(lost, (up.len(), down.len(), 0), "{up:?} {down:?}");
        let l = ledger(true, up, down);
        let lost = (l.lost_up, l.lost_down, l.lost_unknown as usize);
        assert_eq!(lost, (0, 0, up.len() + down.len()), "{up:?} {down:?}");
        assert_eq!((l.reordered_up, l.reordered_down), (0, 0));
    }
}
