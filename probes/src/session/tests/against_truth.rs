//! Sessions and reflectors together, over a network whose every packet's fate is drawn, against the
//! truth as a list of packets tells it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// What the network does with one probe and its echo.
#[derive(Debug, Clone)]
struct Fate {
    /// Time to the reflector in ms; none if lost.
    up: Option<i64>,
    /// Time back in ms, of each copy of the echo.
    down: Vec<i64>,
    /// A second copy of the probe comes this much later.
    copy: Option<i64>,
    /// What is not sent at all: 1 slipped, 2 dropped, 3 unconnected, 4 dropped after being sent.
    slot: u8,
}

fn delay() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 20i64..30, 2 => 20i64..400, 1 => 500i64..3_500]
}

fn fate() -> impl Strategy<Value = Fate> {
    (
        prop::option::weighted(0.8, delay()),
        prop_oneof![
            2 => Just(Vec::new()),
            9 => prop::collection::vec(delay(), 1),
            1 => prop::collection::vec(delay(), 2),
        ],
        prop::option::weighted(0.05, delay()),
        prop_oneof![20 => Just(0u8), 1 => 1u8..5],
    )
        .prop_map(|(up, down, copy, slot)| Fate { up, down, copy, slot })
}

#[derive(Debug)]
enum Event {
    Slot(usize),
    AtReflector(usize, LinkProbe),
    Restart,
    Echo(usize, LinkEcho, i64),
}

/// What became of one probe, as the network knows.
#[derive(Debug, Default, Clone)]
struct Truth {
    sent_at: i64,
    /// When, and in which life of the reflector, it came there.
    arrived: Option<(i64, usize)>,
    /// How many had arrived before that were sent later.
    overtaken_up: bool,
    first_echo: Option<i64>,
    /// Unwrapped.
    seq: u64,
    local: u8,
}

struct World {
    interval: i64,
    fates: Vec<Fate>,
    restarts: Vec<i64>,
    first_seq: u32,
}

struct Outcome {
    windows: Vec<Window>,
    truth: Vec<Truth>,
    /// In the order in which they came back.
    echoes: Vec<Returned>,
}

struct Returned {
    at: i64,
    probe: usize,
    left_reflector: i64,
    /// Which of the reflector's lives it came from.
    life: usize,
    /// The lowest sequence number that it tells of, and the end of what it tells, unless that is all.
    tells: (u64, Option<u64>),
}

fn run(world: &World) -> Outcome {
    let mut queue: BTreeMap<(i64, usize), Event> = BTreeMap::new();
    let mut serial = 0;
    let mut push = |queue: &mut BTreeMap<_, _>, at: i64, event| {
        serial += 1;
        queue.insert((at, serial), event);
    };
    for i in 0..world.fates.len() {
        push(&mut queue, 1_000 + i as i64 * world.interval, Event::Slot(i));
    }
    for &at in &world.restarts {
        push(&mut queue, at, Event::Restart);
    }
    let mut session = ProbeSession::new(ID, world.first_seq, SessionConfig::default());
    let mut reflector = Reflector::new(1_000, ReflectorLimits::default());
    let (mut life, mut next_seq) = (0, 1 << 32);
    let mut truth = vec![Truth::default(); world.fates.len()];
    let mut arrived = BTreeSet::new();
    let (mut echoes, mut windows) = (Vec::new(), Vec::new());
    while let Some(((at, _), event)) = queue.pop_first() {
        while let Some(w) = session.poll_window(ms(at)) {
            windows.push(w);
        }
        match event {
            Event::Slot(i) => {
                let fate = &world.fates[i];
                truth[i].sent_at = at;
                truth[i].local = fate.slot;
                let outcome = match fate.slot {
                    1 => SlotOutcome::Slipped,
                    2 => SlotOutcome::LocalDrop,
                    3 => SlotOutcome::Unconnected,
                    _ => SlotOutcome::Sent { now: ms(at) },
                };
                let Some(probe) = session.slot(ms(at), outcome) else {
                    continue;
                };
                truth[i].seq = next_seq;
                next_seq += 1;
                if fate.slot == 4 {
                    assert!(session.on_local_drop(probe.seq));
                    continue;
                }
                if let Some(up) = fate.up {
                    push(&mut queue, at + up, Event::AtReflector(i, probe));
                    if let Some(copy) = fate.copy {
                        push(&mut queue, at + up + copy, Event::AtReflector(i, probe));
                    }
                }
            }
            Event::Restart => {
                life += 1;
                reflector = Reflector::new(1_000 + life as u32, ReflectorLimits::default());
                arrived.clear();
            }
            Event::AtReflector(i, probe) => {
                let received = reflector.receive((), ID, probe.seq, probe.floor, ms(at + 777));
                let Some(body) = received.echo() else {
                    continue;
                };
                if truth[i].arrived.is_none() {
                    truth[i].arrived = Some((at, life));
                    truth[i].overtaken_up = arrived.last().is_some_and(|&last| last > i);
                }
                arrived.insert(i);
                let echo = LinkEcho {
                    session: ID,
                    seq: probe.seq,
                    body,
                };
                for &down in &world.fates[i].down {
                    push(&mut queue, at + down, Event::Echo(i, echo, at));
                }
            }
            Event::Echo(i, echo, sent) => {
                let outcome = session.on_link_echo(ms(at), &echo);
                let from = truth[i].seq - u64::from(echo.body.base);
                let ranges = &echo.body.ranges;
                echoes.push(Returned {
                    at,
                    probe: i,
                    left_reflector: sent,
                    life: (echo.body.epoch - 1_000) as usize,
                    tells: (from, ranges.is_full().then(|| from + u64::from(ranges.span()))),
                });
                if truth[i].first_echo.is_none() {
                    truth[i].first_echo = Some(at);
                } else {
                    assert!(!matches!(outcome, EchoOutcome::Sample(_)));
                }
            }
        }
    }
    while let Some(w) = session.poll_window(ms(1 << 40)) {
        windows.push(w);
    }
    Outcome {
        windows,
        truth,
        echoes,
    }
}

fn close_of(t: &Truth) -> i64 {
    t.sent_at.div_euclid(1_000) * 1_000 + 4_000
}

/// The ledger of one window by the list of packets, and how many losses nobody can place for certain.
fn reference(of: &[&Truth]) -> Ledger {
    let mut l = Ledger::default();
    for t in of {
        l.slots += 1;
        match t.local {
            0 => l.sent += 1,
            1 => l.slipped += 1,
            2 | 4 => l.local_drops += 1,
            _ => l.unconnected += 1,
        }
        if t.local != 0 {
            continue;
        }
        match (t.first_echo, t.arrived) {
            (Some(back), _) if back - t.sent_at <= 2_000 => l.received += 1,
            (Some(back), _) if back < close_of(t) => l.late += 1,
            (_, Some(_)) => l.lost_down += 1,
            (_, None) => l.lost_up += 1,
        }
    }
    l
}

fn by_window(outcome: &Outcome) -> Vec<(&Window, Vec<&Truth>)> {
    let member = |w: &Window, t: &&Truth| ms(t.sent_at) >= w.start && ms(t.sent_at) < w.end();
    let windows = outcome.windows.iter();
    windows
        .map(|w| (w, outcome.truth.iter().filter(|t| member(w, t)).collect()))
        .collect()
}

/// Whether an echo that came before the window's close told of this probe, and left the reflector after
/// the probe must have come there if it ever did.
fn is_knowable(t: &Truth, outcome: &Outcome) -> bool {
    let there = t.arrived.map_or(t.sent_at, |(at, _)| at);
    outcome.echoes.iter().any(|e| {
        e.at < close_of(t)
            && e.left_reflector > there
            && outcome.truth[e.probe].seq > t.seq
            && e.tells.0 <= t.seq
            && e.tells.1.is_none_or(|end| t.seq < end)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// One life of the reflector: every window whose losses can be known is exact.
    #[test]
    fn closed_windows_are_exact(
        interval in prop::sample::select(vec![20i64, 50, 100, 1_000]),
        fates in prop::collection::vec(fate(), 1..150),
        first_seq in prop_oneof![Just(u32::MAX - 20), any::<u32>()],
    ) {
        let outcome = run(&World { interval, fates, restarts: Vec::new(), first_seq });
        let mut counted = 0;
        for (w, of) in by_window(&outcome) {
            counted += of.len();
            prop_assert_eq!(w.ledger.check(), Ok(()));
            let wanted = reference(&of);
            let got = w.ledger;
            prop_assert_eq!(
                (got.slots, got.sent, got.slipped, got.local_drops, got.unconnected, got.received, got.late),
                (wanted.slots, wanted.sent, wanted.slipped, wanted.local_drops, wanted.unconnected,
                    wanted.received, wanted.late)
            );
            let lost: Vec<_> = of.iter().filter(|t| {
                t.local == 0 && t.first_echo.is_none_or(|back| back >= close_of(t))
            }).collect();
            if lost.iter().all(|t| is_knowable(t, &outcome)) {
                prop_assert_eq!(
                    (got.lost_up, got.lost_down, got.lost_unknown),
                    (wanted.lost_up, wanted.lost_down, 0),
                    "{:?}", of
                );
            }
            let rtts: BTreeSet<_> = w.samples.iter().map(|s| s.rtt_us).collect();
            let wanted: BTreeSet<_> = of.iter()
                .filter_map(|t| Some((t.first_echo? - t.sent_at) as u32 * 1_000))
                .filter(|&rtt| rtt <= 2_000_000)
                .collect();
            prop_assert_eq!(rtts, wanted);
        }
        prop_assert_eq!(counted, outcome.truth.len());
    }

    /// Reordering is exact in both directions, whatever echoes are lost, if the last one comes.
    #[test]
    fn reordering_is_exact(
        interval in prop::sample::select(vec![5i64, 20, 100]),
        mut fates in prop::collection::vec(fate(), 1..150),
    ) {
        let last = fates.len() - 1;
        for (i, fate) in fates.iter_mut().enumerate() {
            // Echoes come back once or not at all; at last one comes that tells of all the others.
            fate.down.truncate(1);
            if i == last {
                *fate = Fate { up: Some(400), down: vec![400], copy: None, slot: 0 };
                continue;
            }
            fate.up = fate.up.map(|up| up.min(400));
            fate.down.iter_mut().for_each(|down| *down = (*down).min(400));
        }
        let outcome = run(&World { interval, fates, restarts: Vec::new(), first_seq: 5 });
        let mut totals = Ledger::default();
        outcome.windows.iter().for_each(|w| totals += w.ledger);
        let up = outcome.truth.iter().filter(|t| t.overtaken_up).count();
        prop_assert_eq!(totals.reordered_up as usize, up);
        // Echoes in the order of arrival here, named by their place in the order of sending there. Two
        // that left in the same millisecond were sent in the order of `echoes`' own counts.
        let mut order = crate::Reordering::default();
        let place = |i: usize| {
            let mine = outcome.truth[i].arrived.unwrap().0;
            let before = |t: &&Truth| t.arrived.is_some_and(|(at, _)| at < mine);
            outcome.truth.iter().filter(before).count() as u64
        };
        let ties = outcome.truth.iter().filter_map(|t| t.arrived).collect::<BTreeSet<_>>().len()
            != outcome.truth.iter().filter(|t| t.arrived.is_some()).count();
        for echo in &outcome.echoes {
            order.push(place(echo.probe));
        }
        if !ties {
            prop_assert_eq!(u64::from(totals.reordered_down), order.reordered());
        }
    }

    /// With restarts of the reflector: the books balance and receipts are exact. While probes keep their
    /// order, no loss is placed in a direction that it did not take.
    #[test]
    fn restarts_leave_the_books_balanced(
        interval in prop::sample::select(vec![20i64, 100]),
        mut fates in prop::collection::vec(fate(), 1..150),
        mut restarts in prop::collection::vec(1_000i64..12_000, 1..4),
        in_order: bool,
    ) {
        restarts.sort_unstable();
        if in_order {
            for fate in &mut fates {
                fate.up = fate.up.map(|_| 25);
                fate.copy = None;
            }
        }
        let outcome = run(&World { interval, fates, restarts, first_seq: u32::MAX });
        let (mut got, mut wanted) = (Ledger::default(), Ledger::default());
        // The first life that is heard of is taken to have been there from the start.
        let known_from_the_start = outcome.echoes.first().is_some_and(|e| e.life == 0);
        for (w, of) in by_window(&outcome) {
            prop_assert_eq!(w.ledger.check(), Ok(()));
            let reference = reference(&of);
            if in_order && known_from_the_start {
                prop_assert!(w.ledger.lost_up <= reference.lost_up, "{:?} {of:?}", w.ledger);
                prop_assert!(w.ledger.lost_down <= reference.lost_down, "{:?} {of:?}", w.ledger);
            }
            got += w.ledger;
            wanted += reference;
        }
        prop_assert_eq!((got.sent, got.received, got.late), (wanted.sent, wanted.received, wanted.late));
    }

    /// Echoes made up from nothing.
    #[test]
    fn made_up_echoes_leave_the_books_balanced(
        echoes in prop::collection::vec(
            (0i64..6_000, -5i64..60, any::<u32>(), 0u32..3, any::<i64>(), 0u16..70,
                prop::collection::vec((1u32..9, 1u32..9), 0..16)),
            0..200,
        ),
    ) {
        let mut session = session();
        let first = u32::MAX - 2;
        let mut sent = 0;
        let mut echoes = echoes;
        echoes.sort_by_key(|e| e.0);
        for (at, seq, count, epoch, recv_us, base, runs) in echoes {
            while sent * 50 <= at && sent < 50 {
                send(&mut session, sent * 50);
                sent += 1;
            }
            let mut ranges = AckRanges::EMPTY;
            for (gap, len) in runs {
                ranges.push(gap, len).unwrap();
            }
            let body = EchoBody {
                epoch, recv_us, residence_us: count >> 12, count, overtaken: base % 2 == 1, reordered: base / 3, base, ranges,
            };
            let seq = first.wrapping_add(seq as u32);
            session.on_link_echo(ms(at), &LinkEcho { session: ID, seq, body });
            session.silent_steps(ms(at));
            while let Some(w) = session.poll_window(ms(at)) {
                prop_assert_eq!(w.ledger.check(), Ok(()));
            }
        }
        while let Some(w) = session.poll_window(ms(1 << 40)) {
            prop_assert_eq!(w.ledger.check(), Ok(()));
        }
        prop_assert_eq!(i64::from(session.totals().sent), sent);
    }
}
