use corridor_probes::{Reception, Reflector, ReflectorLimits, quality::G711};
use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const UP: Duration = Duration::from_millis(20);
const DOWN: Duration = Duration::from_millis(10);
/// How far the edge's clock is ahead.
const AHEAD: Duration = Duration::from_secs(7_000);

/// What the network does with a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Through,
    LostUp,
    LostDown,
    /// The echo takes so much longer.
    Slow(Duration),
}

/// The books, an edge, and the network between them, in virtual time.
struct World {
    books: Books,
    now: Mono,
    edge: Reflector<u64>,
    connection: u64,
    flying: Vec<(Mono, Vec<u8>)>,
    sent: u32,
    questions: u32,
}

impl World {
    fn new(interval: Duration, slots: u32) -> Self {
        let plan = Plan::new(interval, Some(slots), None, None, G711).unwrap();
        let now = Mono::from_millis(12_345);
        Self {
            books: Books::new(plan, 7, now),
            now,
            edge: Reflector::new(99, ReflectorLimits::default()),
            connection: 0,
            flying: Vec::new(),
            sent: 0,
            questions: 0,
        }
    }

    fn transmit(&mut self, probe: LinkProbe, way: Way) {
        if way == Way::LostUp {
            return;
        }
        let recv = self.now + UP + AHEAD;
        let from = self.connection;
        let Reception::Echo(body) = self
            .edge
            .receive(from, probe.session, probe.seq, probe.floor, recv)
        else {
            panic!("a probe twice");
        };
        let mut bytes = Vec::new();
        LinkEcho {
            session: probe.session,
            seq: probe.seq,
            body,
        }
        .write(&mut bytes, 0);
        let extra = match way {
            Way::LostDown => return,
            Way::Slow(extra) => extra,
            _ => Duration::ZERO,
        };
        self.flying.push((self.now + UP + DOWN + extra, bytes));
        self.flying.sort();
    }

    /// Goes to the next moment at which something happens, and does it. Whether it goes on.
    fn turn(&mut self, way: &mut dyn FnMut(u32) -> Way) -> bool {
        let arrival = self.flying.first().map(|f| f.0);
        let next = self.books.next_wakeup();
        self.now = self.now.max(arrival.map_or(next, |a| a.min(next)));
        while self.flying.first().is_some_and(|f| f.0 <= self.now) {
            let (at, bytes) = self.flying.remove(0);
            self.books.datagram(at, &bytes);
        }
        while let Some(slot) = self.books.next_due(self.now) {
            if !self.books.connected {
                self.books.unconnected(slot);
                continue;
            }
            if let Some(probe) = self.books.send(slot, self.now) {
                let way = way(self.sent);
                self.sent += 1;
                self.transmit(probe, way);
            }
        }
        if let Some(question) = self.books.question(self.now) {
            self.questions += 1;
            self.transmit(question, Way::Through);
        }
        self.books.close_windows(self.now).unwrap();
        !self.books.is_over(self.now)
    }

    fn run(mut self, mut way: impl FnMut(u32) -> Way) -> Summary {
        while self.turn(&mut way) {}
        self.finish()
    }

    fn finish(self) -> Summary {
        let summary = self.books.finish().unwrap();
        assert!(summary.adds_up(), "{summary:?}");
        summary
    }
}

#[test]
fn numbers_that_wrap_in_the_middle_of_a_burst_change_nothing() {
    let burst = |n: u32| match n {
        150..700 => Way::LostUp,
        900..1_450 => Way::LostDown,
        n if n % 7 == 3 => Way::LostUp,
        _ => Way::Through,
    };
    let counts = |first_seq| {
        let mut world = World::new(20 * MS, 2_000);
        world.books = Books::numbered_from(first_seq, world.books.plan, 7, world.now).0;
        let s = world.run(burst);
        assert!(s.adds_up());
        (
            s.received,
            s.lost_up,
            s.lost_down,
            s.lost_unknown,
            s.reordered_up,
            s.reorder_extent_up,
        )
    };
    let plain = counts(1);
    assert!(plain.1 > 550 && plain.2 == 550, "{plain:?}");
    assert_eq!((plain.3, plain.4, plain.5), (0, 0, None));
    // It wraps before, at either end of and within each burst.
    for before in [0, 1, 149, 150, 151, 400, 699, 700, 901, 1_200, 1_999] {
        assert_eq!(counts(u32::MAX - before), plain, "{before}");
    }
}

#[test]
fn a_clean_way_is_measured_exactly_and_over_with_the_last_echo() {
    let mut world = World::new(20 * MS, 100);
    let began = world.now;
    while world.turn(&mut |_| Way::Through) {}
    assert!(
        world.now.since(began) <= 99 * 20 * MS + 20 * MS + UP + DOWN,
        "{:?}",
        world.now.since(began)
    );
    assert_eq!(world.questions, 0);
    let s = world.finish();
    assert_eq!((s.slots, s.sent, s.received), (100, 100, 100));
    let rtt = s.rtt_ms.unwrap();
    assert_eq!((rtt.min, rtt.p50, rtt.max), (30.0, 30.0, 30.0));
    let error = s.owd_error_ms.unwrap();
    assert!((15.0..15.3).contains(&error), "{error}");
    assert!((s.owd_up_ms.unwrap().p50 - 20.0).abs() <= error);
    assert!((s.clock_offset_ms.unwrap() - 7_000_000.0).abs() <= error);
    assert_eq!((s.jitter_up_ms, s.jitter_down_ms), (Some(0.0), Some(0.0)));
    assert_eq!((s.pdv_up_p99_ms, s.burst_ratio), (Some(0.0), None));
    assert_eq!(s.ipdv_down_ms.unwrap().max, 0.0);
    assert_eq!((s.r_factor, s.mos, s.codec), (Some(91.75), Some(4.38), "g711"));
}

#[test]
fn losses_are_told_apart_to_the_last_probe_at_any_interval() {
    for (interval, slots) in [
        (MS, 3_000),
        (7 * MS + MS / 3, 300),
        (100 * MS, 100),
        (1_500 * MS, 30),
        (60_000 * MS, 10),
    ] {
        let (mut up, mut down) = (0, 0);
        let summary = World::new(interval, slots).run(|n| {
            if n % 7 == 3 || n + 2 == slots {
                up += 1;
                Way::LostUp
            } else if n % 11 == 5 || n + 1 == slots {
                down += 1;
                Way::LostDown
            } else {
                Way::Through
            }
        });
        assert_eq!(
            (summary.lost_up, summary.lost_down, summary.lost_unknown),
            (up, down, 0),
            "{interval:?}"
        );
        assert_eq!((summary.sent, summary.reordered_down), (slots, 0));
    }
}

#[test]
fn without_any_echo_nothing_is_known_and_the_wait_is_bounded() {
    let mut world = World::new(20 * MS, 10);
    let began = world.now;
    world.edge = Reflector::new(1, ReflectorLimits::default());
    let mut lose = |_| Way::LostUp;
    while world.turn(&mut lose) {
        world.flying.clear();
    }
    let took = world.now.since(began);
    assert!((3_000 * MS..4_500 * MS).contains(&took), "{took:?}");
    assert!((20..=60).contains(&world.questions), "{}", world.questions);
    let s = world.finish();
    assert_eq!((s.sent, s.lost_unknown), (10, 10), "questions are in no figure");
    assert_eq!((s.rtt_ms, s.owd_error_ms, s.mos), (None, None, None));
}

#[test]
fn late_is_not_received_and_slow_is_not_late() {
    let s = World::new(20 * MS, 50).run(|n| match n {
        10 => Way::Slow(1_970 * MS),
        20 => Way::Slow(1_971 * MS),
        _ => Way::Through,
    });
    assert_eq!((s.received, s.late), (49, 1));
    assert_eq!(s.rtt_ms.unwrap().max, 2_000.0);
    assert_eq!(s.reordered_down, 2);
}

#[test]
fn slots_without_a_connection_and_a_new_session_after_it() {
    let mut world = World::new(20 * MS, 400);
    while world.sent < 100 {
        world.turn(&mut |_| Way::Through);
    }
    // What was under way never comes.
    world.flying.clear();
    world.books.disconnected(0);
    while world.books.left > 250 {
        world.turn(&mut |_| Way::Through);
    }
    world.connection += 1;
    world.books.connected();
    while world.turn(&mut |_| Way::Through) {}
    assert_eq!(world.books.sessions.len(), 1, "the old session is closed");
    let s = world.finish();
    assert_eq!((s.slots, s.unconnected, s.sent), (400, 50, 350));
    assert_eq!(s.lost_unknown, 2, "those on their way when it went");
    assert_eq!((s.received, s.lost_up, s.lost_down), (348, 0, 0));
}

#[test]
fn an_end_without_a_connection_waits_for_nothing() {
    let mut world = World::new(20 * MS, 10);
    while world.sent < 4 {
        world.turn(&mut |_| Way::Through);
    }
    world.flying.clear();
    world.books.disconnected(1);
    let began = world.now;
    while world.turn(&mut |_| Way::Through) {}
    assert!(
        world.now.since(began) <= 6 * 20 * MS,
        "{:?}",
        world.now.since(began)
    );
    let s = world.finish();
    assert_eq!((s.unconnected, s.local_drops, s.sent), (6, 1, 3));
}

#[test]
fn local_drops_are_no_loss() {
    let mut world = World::new(20 * MS, 10);
    while let Some(()) = world.turn(&mut |_| Way::Through).then_some(()) {
        if world.sent == 5 && world.books.sums.ledger.sent == 0 {
            let seq = world.books.sent.back().unwrap().seq;
            world.flying.pop();
            world.books.local_drop(seq);
        }
    }
    let s = world.finish();
    assert_eq!((s.slots, s.sent, s.local_drops, s.received), (10, 9, 1, 9));
}

#[test]
fn a_stop_ends_the_sending_and_keeps_what_there_is() {
    let mut world = World::new(20 * MS, 1_000);
    while world.sent < 30 {
        world.turn(&mut |_| Way::Through);
    }
    world.books.stop();
    while world.turn(&mut |_| Way::Through) {}
    let s = world.finish();
    assert_eq!((s.slots, s.sent, s.received), (30, 30, 30));
    assert_eq!(World::new(MS, 5).finish().slots, 0, "nothing yet");
}

#[test]
fn missed_slots_are_slipped_and_never_more_than_planned() {
    let mut world = World::new(20 * MS, 100);
    while world.sent < 40 {
        world.turn(&mut |_| Way::Through);
    }
    world.now = world.now + 605 * MS;
    world.flying.clear();
    while world.sent < 41 {
        world.turn(&mut |_| Way::Through);
    }
    world.now = world.now + Duration::from_secs(3_600);
    while world.turn(&mut |_| Way::Through) {}
    let s = world.finish();
    assert_eq!((s.slots, s.sent + s.slipped), (100, 100));
    assert!((41..=42).contains(&s.sent), "{s:?}");
}

#[test]
fn an_echo_read_after_a_stall_counts_but_is_no_sample() {
    let mut world = World::new(100 * MS, 20);
    while world.sent < 10 {
        world.turn(&mut |_| Way::Through);
    }
    // The echo came in time, but this machine read it 5 ms after the next slot.
    let slot = world.books.next_slot().unwrap();
    let (_, echo) = world.flying.remove(0);
    world.books.datagram(slot + 5 * MS, &echo);
    world.now = slot + 5 * MS;
    while world.turn(&mut |_| Way::Through) {}
    let s = world.finish();
    assert_eq!((s.received, s.stalled, s.excluded), (20, 1, 1));
    assert_eq!(s.rtt_ms.unwrap().max, 30.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn counts_are_the_truth(
        ways in prop::collection::vec(
            prop_oneof![4 => Just(Way::Through), 1 => Just(Way::LostUp), 1 => Just(Way::LostDown)], 1..200,
        ),
        interval_ms in 1u32..400,
    ) {
        let of = |w| ways.iter().filter(|&&x| x == w).count() as u32;
        let s = World::new(interval_ms * MS, ways.len() as u32).run(|n| ways[n as usize]);
        prop_assert_eq!(
            (s.received, s.lost_up, s.lost_down, s.lost_unknown),
            (of(Way::Through), of(Way::LostUp), of(Way::LostDown), 0)
        );
        let lost = u64::from(s.lost_up + s.lost_down);
        prop_assert_eq!(s.bursts.burst_lost + s.bursts.gap_lost, lost);
    }

    #[test]
    fn any_bytes_are_taken_or_ignored(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut world = World::new(MS, 3);
        world.turn(&mut |_| Way::LostUp);
        world.books.datagram(world.now, &bytes);
        prop_assert_eq!(world.books.progress().rtt_now_us, None);
    }
}
