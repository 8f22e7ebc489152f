use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const S: SessionId = SessionId(1);

fn reflector() -> Reflector<u8> {
    Reflector::new(100, ReflectorLimits::default())
}

fn echo(r: &mut Reflector<u8>, seq: u32, floor: u16) -> EchoBody {
    r.receive(1, S, seq, floor, Mono::from_micros(5)).echo().unwrap()
}

fn runs(body: &EchoBody) -> Vec<(u32, u32)> {
    body.ranges.iter().map(|r| (r.start, r.end)).collect()
}

#[test]
fn counts_and_acknowledges_from_the_floor() {
    let mut r = reflector();
    let first = echo(&mut r, 10, 3);
    assert_eq!(
        (first.epoch, first.recv_us, first.count, first.base),
        (100, 5, 1, 3)
    );
    assert_eq!(runs(&first), [(3, 4)]);
    echo(&mut r, 11, 0);
    let third = echo(&mut r, 13, 5);
    assert_eq!((third.count, third.base, third.overtaken), (3, 5, false));
    assert_eq!(runs(&third), [(2, 4), (5, 6)], "8, 9 and 12 are missing");
    let late = echo(&mut r, 12, 2);
    assert_eq!((late.count, runs(&late)), (4, vec![(0, 4)]));
    assert_eq!((third.reordered, late.overtaken, late.reordered), (0, true, 1));
    assert_eq!(r.receive(1, S, 12, 2, Mono::ZERO), Reception::Duplicate);
    assert_eq!(r.stats().duplicates, 1);
}

#[test]
fn sequence_numbers_wrap() {
    let mut r = reflector();
    echo(&mut r, u32::MAX, 0);
    let next = echo(&mut r, 1, 3);
    assert_eq!(runs(&next), [(1, 2), (3, 4)], "only MAX and 1 of MAX-1..=1");
    let between = echo(&mut r, 0, 0);
    assert!(between.overtaken);
    assert_eq!(runs(&between), [(0, 2)], "of what was asked, with all above it");
}

#[test]
fn residence_is_filled_in_when_the_echo_leaves() {
    let body = echo(&mut reflector(), 1, 0);
    let sent = body.sent_after(Mono::from_micros(5).into(), Mono::from_micros(30));
    assert_eq!(sent.residence_us, 25);
    assert_eq!(
        body.sent_after(Mono::from_micros(5).into(), Mono::ZERO)
            .residence_us,
        0
    );
}

#[test]
fn at_most_sixteen_ranges_the_lowest_first() {
    let mut r = reflector();
    for seq in (0..100).step_by(2) {
        echo(&mut r, seq, 0);
    }
    let body = echo(&mut r, 101, 101);
    assert!(body.ranges.is_full());
    assert_eq!(runs(&body)[15], (30, 31));
    let rest = echo(&mut r, 102, 10);
    assert_eq!(runs(&rest), [(0, 1), (2, 3), (4, 5), (6, 7), (9, 11)]);
}

#[test]
fn what_is_older_than_the_memory_is_neither_counted_nor_answered() {
    let mut r = reflector();
    echo(&mut r, 0, 0);
    let far = echo(&mut r, 10_000, u16::MAX);
    assert_eq!((far.count, far.base <= 4_096), (2, true));
    assert_eq!(far.ranges.len(), 1);
    assert_eq!(r.receive(1, S, 1, 0, Mono::ZERO), Reception::TooOld);
    assert_eq!(r.stats().too_old, 1);
}

#[test]
fn a_hostile_prober_evicts_its_own_sessions_only() {
    let limits = ReflectorLimits {
        sessions_a_peer: 2,
        sessions: 3,
    };
    let mut r = Reflector::new(7, limits);
    let before = r.receive(1, S, 0, 0, Mono::ZERO).echo().unwrap();
    for id in 0..1_000 {
        r.receive(2, SessionId(id), 0, 0, Mono::ZERO);
    }
    assert_eq!((r.stats().sessions, r.stats().evicted), (3, 998));
    let after = r.receive(1, S, 1, 1, Mono::ZERO).echo().unwrap();
    assert_eq!((after.epoch, after.count), (before.epoch, 2));
    for peer in 3..100 {
        r.receive(peer, S, 0, 0, Mono::ZERO);
    }
    assert_eq!(r.stats().sessions, 3);
    let anew = r.receive(1, S, 2, 2, Mono::ZERO).echo().unwrap();
    assert_ne!(anew.epoch, before.epoch, "a session that was forgotten says so");
    assert_eq!(anew.clock(), before.clock(), "and has the same clock");
    assert_eq!(anew.count, 1);
    r.forget(1);
    assert_eq!(r.stats().sessions, 2);
}

proptest! {
    #[test]
    fn agrees_with_a_set(
        start: u32,
        steps in prop::collection::vec((-40i64..200, 0u16..200), 1..300),
    ) {
        let mut r = reflector();
        let (mut seen, mut at) = (BTreeSet::new(), 1i64 << 33);
        let mut reordered = 0;
        for (step, floor) in steps {
            at += step;
            let highest = seen.last().copied();
            let new = seen.insert(at);
            let wire = start.wrapping_add(at as u32);
            match r.receive(1, S, wire, floor, Mono::ZERO) {
                Reception::Echo(body) => {
                    prop_assert!(new);
                    prop_assert_eq!(body.count as usize, seen.len());
                    let overtaken = highest > Some(at);
                    reordered += u16::from(overtaken);
                    prop_assert_eq!((body.overtaken, body.reordered), (overtaken, reordered));
                    prop_assert_eq!(body.base, floor);
                    let base = at - i64::from(floor);
                    let mut told = BTreeSet::new();
                    for run in body.ranges.iter() {
                        told.extend(run.map(|d| base + i64::from(d)));
                    }
                    let end = base + i64::from(body.ranges.span());
                    let wanted: BTreeSet<_> = seen.range(base..end).copied().collect();
                    prop_assert_eq!(told, wanted);
                    prop_assert!(body.ranges.is_full() || seen.range(end..).next().is_none());
                }
                Reception::Duplicate => prop_assert!(!new),
                Reception::TooOld => prop_assert!(false),
            }
        }
    }
}
