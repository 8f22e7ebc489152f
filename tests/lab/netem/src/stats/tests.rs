use corridor_probes::Mono;

use super::*;

const A: NodeIx = NodeIx(0);
const B: NodeIx = NodeIx(1);

fn tag(seq: u64, len: u16) -> Tag {
    Tag {
        from: A,
        to: B,
        seq,
        proto: Proto::Udp,
        len,
        dscp: 0,
        entered: Mono::from_millis(10 * seq as i64),
        epoch: 0,
    }
}

fn left(tag: Tag, residence_ms: i64, late_us: i64) -> Event {
    let due = tag.entered + Duration::from_millis(residence_ms as u64);
    let at = due + Duration::from_micros(late_us as u64);
    Event::Left { tag, due, at }
}

fn ledger(events: &[Event]) -> Ledger {
    let mut ledger = Ledger::new(0);
    for event in events {
        ledger.record(event);
    }
    ledger
}

fn all(ledger: &Ledger, min_len: u16, max_len: u16) -> Counts {
    let query = Query {
        min_len: Some(min_len),
        max_len: Some(max_len),
        ..Query::default()
    };
    ledger.counts(&query).remove(&(A, B)).unwrap_or_default()
}

#[test]
fn adds_up_by_length_class() {
    let (a, b, c, d) = (tag(0, 300), tag(1, 310), tag(2, 300), tag(3, 900));
    let mut events: Vec<_> = [a, b, c, d].map(Event::Entered).into();
    events.extend([
        left(b, 20, 10),
        left(a, 40, 10),
        Event::Lost(c, Cause::Chance),
        left(d, 20, 400),
    ]);
    let ledger = ledger(&events);
    let probes = all(&ledger, 300, 310);
    assert_eq!((probes.sent, probes.delivered, probes.in_flight()), (3, 2, 0));
    assert_eq!((probes.lost_by.chance, probes.lost_by.total()), (1, 1));
    assert_eq!(probes.reordered, 1);
    // By itself, length 300 saw no overtaking.
    assert_eq!(all(&ledger, 300, 309).reordered, 0);
    let residence = probes.residence_summary().unwrap();
    assert_eq!(
        (residence.count, residence.min_ms, residence.max_ms),
        (2, 20.01, 40.01)
    );
    assert_eq!(all(&ledger, 901, 1500).sent, 0);
    assert!(is_void(ledger.lateness()));
}

#[test]
fn void_begins_above_the_limit() {
    for (late_us, void) in [(0, false), (300, false), (302, true)] {
        let ledger = ledger(&[left(tag(0, 100), 20, late_us)]);
        assert_eq!(is_void(ledger.lateness()), void, "{late_us}");
    }
    assert!(!is_void(Ledger::new(0).lateness()));
}

#[test]
fn copies_count_once() {
    let t = tag(0, 100);
    let lost = Event::Lost(t, Cause::Chance);
    let arrived = left(t, 20, 0);
    // (what becomes of two copies, delivered, lost, duplicated)
    let table = [
        ([arrived, arrived], 1, 0, 1),
        ([lost, arrived], 1, 0, 0),
        ([arrived, lost], 1, 0, 0),
        ([lost, lost], 0, 1, 0),
    ];
    for (fates, delivered, lost, duplicated) in table {
        let ledger = ledger(&[Event::Entered(t), Event::Copied(t), fates[0], fates[1]]);
        let counts = all(&ledger, 0, 1500);
        assert_eq!(
            (
                counts.sent,
                counts.delivered,
                counts.lost_by.total(),
                counts.duplicated
            ),
            (1, delivered, lost, duplicated)
        );
        assert_eq!(counts.in_flight(), 0);
        assert!(ledger.copied.is_empty());
    }
}

#[test]
fn packets_from_before_a_reset_count_nowhere() {
    let mut ledger = Ledger::new(1);
    let (old, new) = (
        tag(0, 100),
        Tag {
            epoch: 1,
            ..tag(1, 100)
        },
    );
    for event in [Event::Entered(new), left(old, 20, 0), left(new, 20, 0)] {
        ledger.record(&event);
    }
    let counts = all(&ledger, 0, 1500);
    assert_eq!((counts.sent, counts.delivered, counts.reordered), (1, 1, 0));
}
