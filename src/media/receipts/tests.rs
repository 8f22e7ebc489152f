use corridor_probes::EdgeId;

use super::*;

fn at(ms: i64) -> Mono {
    Mono::from_millis(ms)
}

fn route(id: u16) -> Route {
    Route::new(&[EdgeId::new(id).unwrap()]).unwrap()
}

/// A flow of a packet every 20 ms whose receipts come back at once.
#[derive(Default)]
struct Flow {
    under_way: UnderWay,
    received: Received,
    telling: Telling,
    receipts: u32,
}

impl Flow {
    fn send(&mut self, seq: u32, by: u16, comes: bool) -> Fate {
        let now = at(i64::from(seq) * 20);
        self.under_way.sent(seq, route(by), now);
        if !comes {
            return Fate::default();
        }
        self.received.take(seq);
        self.telling.came(seq, now.as_micros(), now);
        let Some(said) = self.telling.due(&self.received, now) else {
            return Fate::default();
        };
        self.receipts += 1;
        assert_eq!((said.newest, said.sent_us), (seq, now.as_micros()));
        let fates = self.under_way.told(&said, now);
        fates.values().fold(Fate::default(), |all, fate| all.and(*fate))
    }
}

#[test]
fn each_packet_is_told_of_once_and_a_receipt_comes_every_40_ms() {
    let mut flow = Flow::default();
    let mut all = Fate::default();
    for seq in 0..1_000 {
        all = all.and(flow.send(seq, 1, seq % 10 != 3));
    }
    // The last is not told of yet.
    assert_eq!((all.came, all.missed), (899, 100));
    assert!((400..=500).contains(&flow.receipts), "{}", flow.receipts);
}

#[test]
fn a_fast_flow_is_told_of_sooner_and_wholly() {
    let mut telling = Telling::default();
    let mut received = Received::default();
    let mut under_way = UnderWay::default();
    let mut came = 0;
    for seq in 0..4_000_u32 {
        let now = Mono::from_micros(i64::from(seq) * 100);
        under_way.sent(seq, route(1), now);
        received.take(seq);
        telling.came(seq, now.as_micros(), now);
        // Every second receipt is lost.
        if let Some(said) = telling.due(&received, now)
            && seq % 120 < 60
        {
            came += under_way.told(&said, now)[&route(1)].came;
        }
    }
    assert!(came > 3_880, "{came}");
}

#[test]
fn what_was_sent_by_another_route_is_not_missed_by_the_newest() {
    let mut under_way = UnderWay::default();
    for seq in 0..10 {
        under_way.sent(seq, route(if seq < 5 { 1 } else { 2 }), at(i64::from(seq) * 50));
    }
    let said = |newest: u32, seen: u128| Said {
        newest,
        sent_us: 0,
        waited: Duration::ZERO,
        seen,
    };
    // Of the second route all came but one; the first is longer.
    let fates = under_way.told(&said(9, 0b1011), at(600));
    assert_eq!(fates[&route(2)], Fate { came: 4, missed: 1 });
    assert_eq!(fates.get(&route(1)), None);
    let fates = under_way.told(&said(9, 0b1010_1011), at(700));
    assert_eq!(fates[&route(1)], Fate { came: 2, missed: 1 });
    // Two were sent at the end of the first route, and no later one of it came.
    assert!(under_way.told(&said(9, 0), at(4_000)).is_empty());
    assert!(under_way.sent.is_empty(), "they are forgotten");
}

#[test]
fn what_is_missing_of_what_comes_back_is_told_after_60_ms() {
    let mut back = ComingBack::default();
    let mut all = Fate::default();
    for seq in 0..100_u32 {
        let fate = match seq {
            10 | 11 => continue,
            // Overtaken by one.
            20 => back.came(7, 21, at(400)),
            21 => back.came(7, 20, at(420)),
            seq => back.came(
                7,
                seq.wrapping_add(u32::MAX - 50).wrapping_add(51),
                at(i64::from(seq) * 20),
            ),
        };
        all = all.and(fate);
    }
    assert_eq!((all.came, all.missed), (98, 2));
    assert_eq!(back.came(7, 50, at(2_000)), Fate::default(), "a repeat");
    let fate = back.came(8, 5_000, at(2_020));
    assert_eq!((fate.came, fate.missed), (1, 0), "another incarnation");
}

#[test]
fn a_receipt_says_nothing_of_numbers_it_does_not_reach() {
    let said = Said {
        newest: 1,
        sent_us: 0,
        waited: Duration::ZERO,
        seen: 0b10,
    };
    let has = [2, 1, 0, u32::MAX, u32::MAX - 127].map(|seq| said.has(seq));
    assert_eq!(has, [None, Some(true), Some(false), Some(true), None]);
}
