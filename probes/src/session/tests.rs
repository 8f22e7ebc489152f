use std::time::Duration;

use super::*;
use crate::{
    AgentId, EdgeId, Reflector, ReflectorLimits, Route,
    wire::{AckRanges, EchoBody, LinkEcho, RouteProbe, Stamp},
};

mod against_truth;

const ID: SessionId = SessionId(9);

fn ms(v: i64) -> Mono {
    Mono::from_millis(v)
}

fn session() -> ProbeSession {
    ProbeSession::new(ID, u32::MAX - 2, SessionConfig::default())
}

fn send(s: &mut ProbeSession, at: i64) -> LinkProbe {
    s.slot(ms(at), SlotOutcome::Sent { now: ms(at) }).unwrap()
}

/// A far end whose clock is 5 s ahead, 10 ms away.
struct Peer(Reflector<()>);

impl Peer {
    fn new(epoch: u32) -> Self {
        Self(Reflector::new(epoch, ReflectorLimits::default()))
    }

    fn echo(&mut self, probe: &LinkProbe) -> LinkEcho {
        self.echo_after(probe, 10)
    }

    /// Of a probe that came after so many ms.
    fn echo_after(&mut self, probe: &LinkProbe, up_ms: u64) -> LinkEcho {
        let recv = Mono::from_micros(probe.sent_us) + Duration::from_millis(5_000 + up_ms);
        let body = self
            .0
            .receive((), probe.session, probe.seq, probe.floor, recv)
            .echo()
            .unwrap();
        LinkEcho {
            session: probe.session,
            seq: probe.seq,
            body: body.sent_after(recv.into(), recv + Duration::from_millis(2)),
        }
    }
}

fn close(s: &mut ProbeSession) -> Window {
    let window = s.poll_window(s.next_close().unwrap()).unwrap();
    window.ledger.check().unwrap();
    window
}

#[test]
fn an_echo_is_a_sample_at_once_without_the_time_in_the_far_end() {
    let (mut s, mut peer) = (session(), Peer::new(1));
    let probe = send(&mut s, 100);
    assert_eq!(
        (probe.seq, probe.floor, probe.sent_us),
        (u32::MAX - 2, 0, 100_000)
    );
    let echo = peer.echo(&probe);
    let EchoOutcome::Sample(sample) = s.on_link_echo(ms(132), &echo) else {
        panic!("no sample")
    };
    assert_eq!(sample.rtt_us, 30_000);
    assert_eq!(
        (sample.up_us, sample.down_us()),
        (Some(5_010_000), Some(-4_980_000))
    );
    assert_eq!(s.on_link_echo(ms(133), &echo), EchoOutcome::Duplicate);
    let window = close(&mut s);
    assert_eq!((window.start, window.length), (ms(0), Duration::from_secs(1)));
    assert_eq!((window.ledger.received, window.ledger.duplicates), (1, 1));
    assert_eq!(window.raw.unwrap().down_us, -4_980_000);
    assert_eq!(s.on_link_echo(ms(4_100), &echo), EchoOutcome::Stale);
    assert_eq!(s.totals(), window.ledger);
}

#[test]
fn windows_close_three_seconds_after_their_end_and_late_begins_after_two() {
    let (mut s, mut peer) = (session(), Peer::new(1));
    let (a, b) = (send(&mut s, 0), send(&mut s, 100));
    let (a, b) = (peer.echo(&a), peer.echo(&b));
    assert!(matches!(s.on_link_echo(ms(2_000), &a), EchoOutcome::Sample(_)));
    let after = ms(2_100) + Duration::from_nanos(1);
    assert!(matches!(s.on_link_echo(after, &b), EchoOutcome::Late { .. }));
    assert_eq!(s.next_close(), Some(ms(4_000)));
    assert_eq!(s.poll_window(ms(3_999)), None);
    let ledger = s.poll_window(ms(4_000)).unwrap().ledger;
    assert_eq!((ledger.received, ledger.late), (1, 1));
    assert_eq!(s.next_close(), None);
}

#[test]
fn what_is_late_is_late_by_one_of_its_ways() {
    for (up_ms, late_up) in [(10, 0), (2_300, 1)] {
        let (mut s, mut peer) = (session(), Peer::new(1));
        let (usual, late) = (send(&mut s, 0), send(&mut s, 100));
        let echoes = (peer.echo(&usual), peer.echo_after(&late, up_ms));
        s.on_link_echo(ms(32), &echoes.0);
        let outcome = s.on_link_echo(ms(2_500), &echoes.1);
        assert!(matches!(outcome, EchoOutcome::Late { .. }), "{outcome:?}");
        let window = close(&mut s);
        assert_eq!((window.ledger.late, window.late_up), (1, late_up), "{up_ms}");
        let (p_up, p_down) = (window.chain_up.p(), window.chain_down.p());
        assert_eq!(
            (p_up == Some(1.0), p_down == Some(1.0)),
            (late_up == 1, late_up == 0)
        );
    }
}

#[test]
fn an_echo_read_after_a_stall_is_no_late_one() {
    let (mut s, mut peer) = (session(), Peer::new(1));
    let probe = send(&mut s, 0);
    let echo = peer.echo(&probe);
    let read = Arrival {
        at: ms(2_600),
        stall: Stall::Suspect,
    };
    assert_eq!(s.on_link_echo(read, &echo), EchoOutcome::Excluded);
    let ledger = close(&mut s).ledger;
    assert_eq!((ledger.received, ledger.late, ledger.excluded), (1, 0, 1));
}

/// Probes once a second from 0 on, of which only the echoes of `answered` come back, at once; answers the
/// session after `count` of them.
fn sparse(count: i64, answered: &[i64]) -> ProbeSession {
    let (mut s, mut peer) = (session(), Peer::new(1));
    for i in 0..count {
        let probe = send(&mut s, i * 1_000);
        if answered.contains(&i) {
            let echo = peer.echo(&probe);
            s.on_link_echo(ms(i * 1_000 + 30), &echo);
        }
    }
    s
}

#[test]
fn a_window_in_doubt_is_held_until_a_later_echo_or_until_there_is_no_hope() {
    for (count, answered, closes) in [
        // Nothing to doubt, and nothing that an echo may still tell.
        (1, &[0][..], 4_000),
        // In doubt, alone and with one probe less than it takes.
        (1, &[], 12_000),
        (12, &[], 12_000),
        // A later echo, or one probe more.
        (12, &[11], 4_000),
        (13, &[], 4_000),
    ] {
        assert_eq!(
            sparse(count, answered).next_close(),
            Some(ms(closes)),
            "{count} {answered:?}"
        );
    }
    let mut s = sparse(11, &[]);
    assert_eq!(s.poll_window(ms(11_999)), None);
    let ledger = s.poll_window(ms(12_000)).unwrap().ledger;
    assert_eq!((ledger.sent, ledger.lost_unknown), (1, 1));
}

#[test]
fn losses_of_a_sparse_link_are_placed_by_an_echo_eleven_seconds_later() {
    let mut s = sparse(12, &[0, 11]);
    let mut total = Ledger::default();
    while let Some(window) = s.poll_window(ms(15_000)) {
        total += window.ledger;
    }
    assert_eq!((total.sent, total.lost_up, total.lost_unknown), (12, 10, 0));
}

#[test]
fn after_the_close_an_echo_changes_nothing_even_if_the_window_was_not_collected() {
    let (mut s, mut peer) = (session(), Peer::new(1));
    let echo = peer.echo(&send(&mut s, 0));
    assert_eq!(s.on_link_echo(ms(4_000), &echo), EchoOutcome::Stale);
    assert_eq!(close(&mut s).ledger.lost_down, 1);
}

#[test]
fn every_kind_of_slot_is_booked() {
    let mut s = session();
    send(&mut s, 0);
    for (i, outcome) in [
        SlotOutcome::Slipped,
        SlotOutcome::LocalDrop,
        SlotOutcome::Unconnected,
        SlotOutcome::Unconnected,
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(s.slot(ms(100 * i as i64 + 100), outcome), None);
    }
    let dropped = send(&mut s, 600);
    assert!(s.on_local_drop(dropped.seq));
    assert!(!s.on_local_drop(dropped.seq) && !s.on_local_drop(dropped.seq + 1));
    let l = close(&mut s).ledger;
    assert_eq!(
        (l.slots, l.sent, l.slipped, l.local_drops, l.unconnected),
        (6, 1, 1, 2, 2)
    );
    assert_eq!(l.lost_unknown, 1);
}

#[test]
fn long_runs_of_missed_slots_are_booked_in_bounded_time() {
    let mut s = session();
    s.slipped(&Slipped {
        key: (),
        first: ms(500),
        last: ms(500 + 86_400_000),
        count: 864_001,
    });
    let mut windows = Vec::new();
    while let Some(w) = s.poll_window(ms(1 << 40)) {
        w.ledger.check().unwrap();
        windows.push(w.ledger.slipped);
    }
    assert_eq!(windows.len(), 16);
    assert_eq!((windows[0], windows.iter().sum::<u32>()), (10, 864_001));
}

#[test]
fn loss_is_told_apart_by_direction_whatever_the_burst() {
    for up in [0, 1, 17, 250] {
        for down in [0, 1, 250] {
            let (mut s, mut peer) = (session(), Peer::new(1));
            let (first, mut last) = (1_000, None);
            for i in 0..502 {
                let probe = send(&mut s, first + i);
                let echo = (!(1..=up).contains(&i)).then(|| peer.echo(&probe));
                last = echo.filter(|_| !(251..251 + down).contains(&i)).or(last);
                if i == 0 || i > 500 {
                    s.on_link_echo(ms(first + i + 20), &last.unwrap());
                }
            }
            // Only the first and the last echo came back, all between were lost down.
            let l = close(&mut s).ledger;
            let wanted = (2, up as u32, 500 - up as u32, 0);
            assert_eq!((l.received, l.lost_up, l.lost_down, l.lost_unknown), wanted);
        }
    }
}

#[test]
fn alternating_loss_beyond_sixteen_ranges_is_learnt_piece_by_piece() {
    let (mut s, mut peer) = (session(), Peer::new(1));
    for i in 0..300 {
        let probe = send(&mut s, i);
        if i % 2 == 0 {
            peer.echo(&probe);
        }
    }
    // Sixteen ranges tell of 32 numbers.
    for i in 0..12 {
        let echo = peer.echo(&send(&mut s, 1_000 + i * 50));
        s.on_link_echo(ms(1_000 + i * 50 + 40), &echo);
    }
    let l = close(&mut s).ledger;
    assert_eq!((l.lost_up, l.lost_down, l.lost_unknown), (150, 150, 0));
    assert_eq!(l.reordered_up, 0);
}

#[test]
fn where_ranges_cannot_tell_the_count_does() {
    let (mut s, mut peer) = (session(), Peer::new(1));
    for i in 0..300 {
        let probe = send(&mut s, i);
        if i % 3 == 0 {
            peer.echo(&probe);
        }
    }
    let echo = peer.echo(&send(&mut s, 1_000));
    s.on_link_echo(ms(1_040), &echo);
    let l = close(&mut s).ledger;
    assert_eq!((l.lost_up, l.lost_down, l.lost_unknown), (200, 100, 0));
}

#[test]
fn counts_of_two_lives_or_out_of_order_say_nothing() {
    for restarts in [true, false] {
        let (mut s, mut peer) = (session(), Peer::new(1));
        let first = send(&mut s, 0);
        let overtaking = send(&mut s, 1);
        let mut echoes = if restarts {
            vec![peer.echo(&first), peer.echo(&overtaking)]
        } else {
            vec![peer.echo(&overtaking), peer.echo(&first)]
        };
        if restarts {
            peer = Peer::new(2);
        }
        for i in 2..300 {
            let probe = send(&mut s, i);
            if i % 3 == 0 {
                peer.echo(&probe);
            }
        }
        echoes.push(peer.echo(&send(&mut s, 1_000)));
        for echo in &echoes {
            s.on_link_echo(ms(1_040), echo);
        }
        let l = close(&mut s).ledger;
        // Sixteen ranges tell of 3 to 48 in the new life; of 0 to 45 in the one that goes on.
        let (lost_up, lost_down) = if restarts { (30, 16) } else { (29, 15) };
        assert_eq!((l.received, l.lost_up, l.lost_down), (2, lost_up, lost_down));
        assert_eq!(l.lost_unknown, 298 - lost_up - lost_down);
    }
}

#[test]
fn what_nothing_tells_of_is_unknown() {
    let (mut s, mut peer) = (session(), Peer::new(1));
    let echo = peer.echo(&send(&mut s, 0));
    s.on_link_echo(ms(20), &echo);
    send(&mut s, 100);
    let heard = send(&mut s, 200);
    peer.echo(&heard);
    let l = close(&mut s).ledger;
    assert_eq!((l.received, l.lost_unknown), (1, 2), "a blackout's open end");

    let (mut s, mut peer) = (session(), Peer::new(1));
    let echo = peer.echo(&send(&mut s, 0));
    s.on_link_echo(ms(20), &echo);
    peer.echo(&send(&mut s, 100));
    send(&mut s, 200);
    let mut peer = Peer::new(2);
    let echo = peer.echo(&send(&mut s, 300));
    send(&mut s, 400);
    s.on_link_echo(ms(320), &echo);
    let echo = peer.echo(&send(&mut s, 500));
    s.on_link_echo(ms(520), &echo);
    let w = close(&mut s);
    assert_eq!(
        (w.ledger.received, w.ledger.lost_unknown, w.ledger.lost_up),
        (3, 2, 1)
    );
    assert_eq!(w.raw.unwrap().clocks, crate::Clocks { here: 0, there: 2 });
    let known: Vec<_> = w.samples.iter().map(|s| s.up_us.is_some()).collect();
    assert_eq!(known, [false, true, true], "clocks are not mixed");
}

#[test]
fn reordering_is_counted_by_direction() {
    let (mut s, mut peer) = (session(), Peer::new(1));
    let probes: Vec<_> = (0..6).map(|i| send(&mut s, i * 10)).collect();
    // Up: 1 comes after 2, and 4 after 5, whose own echo is lost. Down: the echo of 0 comes last.
    let echoes: Vec<_> = [0, 2, 1, 3, 5, 4].map(|i| peer.echo(&probes[i])).into();
    for at in [1, 2, 3, 4, 0] {
        s.on_link_echo(ms(100 + at), &echoes[at as usize]);
    }
    let echo = peer.echo(&send(&mut s, 200));
    s.on_link_echo(ms(220), &echo);
    let l = close(&mut s).ledger;
    assert_eq!((l.received, l.lost_down), (6, 1));
    assert_eq!((l.reordered_up, l.reordered_down), (2, 1));
}

#[test]
fn stalled_echoes_count_but_their_times_do_not() {
    let (mut s, mut peer) = (session(), Peer::new(1));
    for stall in [Stall::Suspect, Stall::Corrected] {
        let echo = peer.echo(&send(&mut s, 0));
        let outcome = s.on_link_echo(Arrival { at: ms(50), stall }, &echo);
        assert_eq!(
            matches!(outcome, EchoOutcome::Sample(_)),
            stall == Stall::Corrected
        );
    }
    // A far end that claims to have held the probe for longer than it was gone.
    let mut echo = peer.echo(&send(&mut s, 0));
    echo.body.residence_us = u32::MAX;
    assert_eq!(s.on_link_echo(ms(60), &echo), EchoOutcome::Excluded);
    let w = close(&mut s);
    let l = w.ledger;
    assert_eq!((l.received, l.stalled, l.excluded, w.samples.len()), (3, 2, 2, 1));
}

#[test]
fn a_sleep_spoils_what_is_under_way_and_parts_the_clocks() {
    let (mut s, mut peer) = (session(), Peer::new(1));
    let before = peer.echo(&send(&mut s, 0));
    let across = peer.echo(&send(&mut s, 100));
    s.on_link_echo(ms(20), &before);
    s.clock_stepped(1);
    assert_eq!(s.on_link_echo(ms(120), &across), EchoOutcome::Excluded);
    let after = peer.echo(&send(&mut s, 200));
    s.on_link_echo(ms(230), &after);
    let w = close(&mut s);
    assert_eq!(
        (w.ledger.received, w.ledger.stalled, w.ledger.excluded),
        (3, 1, 1)
    );
    let raw = w.raw.unwrap();
    assert_eq!(raw.clocks, crate::Clocks { here: 1, there: 1 });
    assert_eq!((raw.up_at, raw.down_at), (ms(230), ms(230)));
    let known: Vec<_> = w.samples.iter().map(|s| s.up_us.is_some()).collect();
    assert_eq!(known, [false, true]);
}

#[test]
fn hostile_echoes_break_nothing() {
    let (mut s, mut peer) = (session(), Peer::new(1));
    let probe = send(&mut s, 0);
    let good = peer.echo(&probe);
    for wrong in [1, 2, 1 << 31] {
        let echo = LinkEcho {
            seq: good.seq.wrapping_add(wrong),
            ..good
        };
        assert_eq!(s.on_link_echo(ms(10), &echo), EchoOutcome::Unknown);
    }
    let mut echo = good;
    echo.body.ranges = AckRanges::EMPTY;
    echo.body.ranges.push(100_000, 31_072).unwrap();
    echo.body.recv_us = i64::MIN;
    echo.body.base = u16::MAX;
    echo.body.count = u32::MAX;
    s.on_link_echo(ms(10), &echo);
    let mut next = peer.echo(&send(&mut s, 50));
    next.body.count = 0;
    s.on_link_echo(ms(60), &next);
    send(&mut s, 70);
    next.seq = good.seq.wrapping_sub(100_000);
    next.body.epoch = 77;
    assert_eq!(s.on_link_echo(ms(60), &next), EchoOutcome::Stale);
    let l = close(&mut s).ledger;
    assert_eq!((l.sent, l.received), (3, 2));
}

#[test]
fn a_session_that_nobody_collects_stays_bounded() {
    let mut s = session();
    let mut sent = 0u64;
    for i in 0..20_000 {
        let at = i * 10;
        sent += u64::from(s.slot(ms(at), SlotOutcome::Sent { now: ms(at) }).is_some());
    }
    assert!(s.windows.len() <= MAX_OPEN_WINDOWS && s.probes.len() <= MAX_OPEN_PROBES);
    assert_eq!((s.windows_dropped(), sent), (200 - 64, 20_000));
    let mut s = session();
    let all = (0..10_000).filter(|_| s.slot(ms(1), SlotOutcome::Sent { now: ms(1) }).is_some());
    assert_eq!(all.count(), MAX_OPEN_PROBES);
    assert_eq!(close(&mut s).ledger.local_drops, 10_000 - 8_192);
}

#[test]
fn silence_is_counted_in_overdue_probes_since_the_last_sign_of_life() {
    let (mut s, mut peer) = (session(), Peer::new(1));
    send(&mut s, 0);
    assert_eq!((s.silent_steps(ms(1_000)), s.silent_steps(ms(1_001))), (0, 1));
    for i in 1..=40 {
        let echo = peer.echo(&send(&mut s, i * 20));
        // Spikes are not the usual.
        let rtt = if i % 20 == 0 { 500 } else { 40 };
        s.on_link_echo(ms(i * 20 + rtt), &echo);
    }
    assert_eq!(s.usual_rtt(), Some(Duration::from_millis(40)));
    assert_eq!((s.silent_steps(ms(2_000)), s.silent_at(1)), (0, None));
    for i in 0..4 {
        send(&mut s, 2_000 + i * 20);
    }
    let at = ms(2_000 + 40 + 40 + 1);
    assert_eq!(s.silent_at(3), Some(at));
    assert_eq!(s.silent_steps(at - Duration::from_nanos(1)), 2);
    assert_eq!(s.silent_steps(at), 3);
    assert_eq!(s.silent_at(5), None);
    s.heard(ms(2_090));
    assert_eq!(s.silent_steps(ms(2_200)), 1, "what fell due before is excused");
    while s.poll_window(ms(10_000)).is_some() {}
    assert_eq!(s.silent_steps(ms(10_000)), 1, "closed windows are not forgotten");
    send(&mut s, 10_000);
    assert_eq!(s.silent_at(2), Some(ms(10_041)));
}

#[test]
fn an_echo_that_is_no_later_than_others_were_is_not_owed_yet() {
    let (mut s, mut peer) = (session(), Peer::new(1));
    // 40 to 59 ms in turn: the median is 49, and nine in ten come within 57.
    for i in 0..40 {
        let echo = peer.echo(&send(&mut s, i * 100));
        s.on_link_echo(ms(i * 100 + 40 + i * 7 % 20), &echo);
    }
    let usual = s.usual_rtt().unwrap();
    send(&mut s, 5_000);
    assert_eq!(
        s.silent_steps(ms(5_000) + usual + Duration::from_millis(1)),
        0,
        "{usual:?}"
    );
    assert_eq!(s.silent_steps(ms(5_059)), 0);
    assert_eq!(s.silent_steps(ms(5_067)), 1);
}

#[test]
fn a_route_probe_yields_each_link() {
    let e = |id| EdgeId::new(id).unwrap();
    let route = Route::new(&[e(1), e(2)]).unwrap();
    let (mut s, mut peer) = (session(), Peer::new(1));
    let probe = send(&mut s, 0);
    let mut out = RouteProbe::new(route, AgentId(1), None, probe);
    out.stamps.push(Stamp {
        recv_us: 10,
        send_us: 15,
    });
    let body = peer.echo(&probe).body;
    let mut echo = out.answer(body);
    echo.stamps.push(Stamp {
        recv_us: 20_015,
        send_us: 20_018,
    });
    let EchoOutcome::Sample(sample) = s.on_route_echo(ms(30), &echo) else {
        panic!("no sample")
    };
    assert_eq!(sample.rtt_us, 28_000, "less the far end's 2 ms only");
    assert_eq!(
        sample.steps.links_us,
        [Some(30_000 - 20_008), Some(18_000), None, None]
    );
    assert_eq!(sample.steps.inside_us, Some(8));
    let w = close(&mut s);
    assert_eq!(w.step(1).map(|s| s.p50_us), Some(18_000));
}

#[test]
fn an_answer_without_a_clock_or_count_is_a_round_trip_and_its_losses_have_no_direction() {
    let config = SessionConfig {
        doubt_for: Duration::ZERO,
        ..SessionConfig::default()
    };
    let mut s = ProbeSession::new(ID, 7, config);
    let probes: Vec<_> = (0..4).map(|i| send(&mut s, 100 + i * 100)).collect();
    let outcome = s.on_answer(ms(130), probes[0].seq);
    assert!(
        matches!(outcome, EchoOutcome::Sample(sample) if sample.rtt_us == 30_000 && sample.up_us.is_none()),
        "{outcome:?}"
    );
    // The second is lost between two that came: with a count that would be known.
    assert!(matches!(
        s.on_answer(ms(340), probes[2].seq),
        EchoOutcome::Sample(_)
    ));
    assert_eq!(s.on_answer(ms(341), probes[2].seq), EchoOutcome::Duplicate);
    assert_eq!(s.on_answer(ms(341), probes[3].seq + 1), EchoOutcome::Unknown);
    let late = s.on_answer(
        ms(400) + s.config().tmax + Duration::from_millis(1),
        probes[3].seq,
    );
    assert!(matches!(late, EchoOutcome::Late { .. }), "{late:?}");
    assert_eq!(s.next_close(), Some(ms(4_000)), "nothing more can be learnt");
    let window = close(&mut s);
    let l = window.ledger;
    assert_eq!(
        (l.sent, l.received, l.late, l.lost_unknown, l.lost_up, l.lost_down),
        (4, 2, 1, 1, 0, 0)
    );
    assert_eq!(
        (window.raw, window.jitter_up_us, window.jitter_down_us),
        (None, None, None)
    );
}
