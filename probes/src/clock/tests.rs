use proptest::prelude::*;

use super::*;

fn s(v: i64) -> Mono {
    Mono::from_millis(v * 1_000)
}

fn graph() -> ClockGraph<u8> {
    ClockGraph::new(ClockConfig::default())
}

fn see(g: &mut ClockGraph<u8>, from: u8, to: u8, raw_us: i64, at: Mono) -> Observed {
    g.observe(from, to, raw_us, at, Duration::ZERO)
}

fn offset(g: &ClockGraph<u8>, from: u8, to: u8, at: Mono) -> Option<Offset> {
    Some(g.between(from, to, at)?.offset)
}

#[test]
fn two_directions_bound_the_offset_and_asymmetry_stays_inside_the_bound() {
    let mut g = graph();
    assert_eq!(g.between(1, 2, s(0)), None);
    // Offset 5 s; 10 ms there, 30 ms back.
    see(&mut g, 1, 2, 5_010_000, s(0));
    assert_eq!(g.between(1, 2, s(0)), None, "one side only");
    see(&mut g, 2, 1, -4_970_000, s(0));
    let o = offset(&g, 1, 2, s(0)).unwrap();
    assert_eq!((o.low_us, o.high_us), (4_969_999, 5_010_001));
    assert_eq!((o.estimate_us(), o.bound_us()), (4_990_000, 20_001));
    let delay = OneWay {
        delay_us: 20_000,
        bound_us: 20_001,
    };
    assert_eq!(o.one_way(5_010_000), delay);
    assert_eq!(offset(&g, 2, 1, s(0)), Some(o.turned()));
    assert_eq!(offset(&g, 1, 1, s(0)).unwrap().bound_us(), 0);
}

#[test]
fn bounds_widen_with_age_and_new_ones_take_over() {
    let mut g = graph();
    see(&mut g, 1, 2, 1_000, s(0));
    see(&mut g, 2, 1, 1_000, s(0));
    let high = |g: &ClockGraph<u8>, at| offset(g, 1, 2, s(at)).unwrap().high_us;
    assert_eq!((high(&g, 100), high(&g, -100)), (21_001, 21_001));
    see(&mut g, 1, 2, 5_000, s(100));
    assert_eq!(high(&g, 100), 5_001);
    // A worse one is kept for when the better one has aged away; one from before says nothing any more.
    see(&mut g, 1, 2, 5_500, s(101));
    assert_eq!(high(&g, 101), 5_001 + 81, "6 ms in 100 s, and twice the wander");
    see(&mut g, 1, 2, 0, s(99));
    assert_eq!(high(&g, 101), 5_001 + 81);
}

#[test]
fn the_rate_is_known_the_better_the_longer_and_holds_to_its_wander() {
    // The clock there gains 50 ppm; 10 ms each way.
    let mut g = graph();
    let theta = |at: i64| 1_000_000 + 50 * at;
    for at in (0..=3_600).step_by(10) {
        assert_eq!(see(&mut g, 1, 2, theta(at) + 10_000, s(at)), Observed::Consistent);
        assert_eq!(see(&mut g, 2, 1, 10_000 - theta(at), s(at)), Observed::Consistent);
        let r = g.between(1, 2, s(at)).unwrap();
        // 20 ms of room over the time, and twice the wander.
        let doubt = if at == 0 {
            250_000
        } else {
            20_004_000 / at + 20_001
        };
        assert!(r.slow_ppb <= 50_000 && r.fast_ppb >= 50_000, "{at} {r:?}");
        assert!(r.fast_ppb <= (50_000 + doubt).min(200_000), "{at} {r:?}");
        assert!(r.slow_ppb >= (50_000 - doubt).max(-200_000), "{at} {r:?}");
    }
    let r = g.between(1, 2, s(3_600)).unwrap();
    // A minute later it has widened by 26 ppm and not by 200.
    let later = r.at(s(3_660));
    assert!(later.bound_us() < 10_002 + 26 * 60, "{later:?}");
    assert!((later.low_us..=later.high_us).contains(&theta(3_660)));
    // All that it may have been in that minute.
    let over = r.over(s(3_660), Duration::from_secs(60));
    assert!(
        over.low_us <= r.offset.low_us && over.high_us >= later.high_us,
        "{over:?}"
    );
}

#[test]
fn clocks_that_never_meet_are_bounded_through_others() {
    let mut g = graph();
    // 1 – 2 – 3, offsets 100 and −40 ms, each way 1 ms.
    see(&mut g, 1, 2, 101_000, s(0));
    see(&mut g, 2, 1, -99_000, s(0));
    see(&mut g, 2, 3, -39_000, s(0));
    see(&mut g, 3, 2, 41_000, s(0));
    let o = g.settle(s(0)).relation(1, 3).unwrap();
    assert_eq!((o.offset.low_us, o.offset.high_us), (57_998, 62_002));
    assert_eq!((o.slow_ppb, o.fast_ppb), (-200_000, 200_000), "any two clocks");
    // A slow direct link between 1 and 3 does not widen it, nor does it seem symmetric.
    see(&mut g, 1, 3, 60_000 + 90_000, s(0));
    see(&mut g, 3, 1, -60_000 + 10_000, s(0));
    let settled = g.settle(s(0));
    assert_eq!(settled.relation(1, 3), Some(o));
    assert_eq!(settled.relation(3, 1), Some(o.turned()));
    assert_eq!(o.offset.one_way(150_000).delay_us, 90_000);
    assert_eq!((settled.clocks(), settled.relation(1, 4)), (&[1, 2, 3][..], None));
    let first = settled.relation(1, 2).unwrap();
    assert_eq!(first.then(settled.relation(2, 3).unwrap()).offset, o.offset);
}

#[test]
fn a_step_is_seen_and_all_that_was_known_of_both_clocks_goes() {
    for step in [1_000_000, -1_000_000] {
        let mut g = graph();
        for (a, b) in [(1, 2), (2, 3), (1, 3)] {
            see(&mut g, a, b, 10_000, s(0));
            see(&mut g, b, a, 10_000, s(0));
        }
        // Clock 2 has stepped; the next window of every link shows it.
        for (a, b, raw) in [
            (1, 2, step),
            (2, 1, -step),
            (2, 3, -step),
            (3, 2, step),
            (1, 3, 0),
            (3, 1, 0),
        ] {
            see(&mut g, a, b, raw + 10_000, s(1));
            // At no time is anything said that is not true.
            let settled = g.settle(s(1));
            let now = [0, 0, step, 0];
            for (a, b) in [(1u8, 2u8), (2, 3), (1, 3)] {
                let truth = now[usize::from(b)] - now[usize::from(a)];
                if let Some(r) = g.between(a, b, s(1)).or(settled.relation(a, b)) {
                    let o = r.offset;
                    let stale = o.low_us <= 0 && 0 <= o.high_us;
                    assert!(
                        stale || (o.low_us <= truth && truth <= o.high_us),
                        "{a} {b} {o:?}"
                    );
                }
            }
        }
        assert!(g.steps() > 0);
        for (a, b, wanted) in [(1, 2, step), (3, 2, step), (1, 3, 0)] {
            let o = g.settle(s(1)).relation(a, b).unwrap().offset;
            assert!(o.low_us <= wanted && wanted <= o.high_us, "{a} {b} {o:?}");
            assert!(o.bound_us() <= 20_002, "{a} {b} {o:?}");
        }
    }
}

#[test]
fn a_step_that_only_a_way_round_shows_leaves_nothing() {
    let mut g = graph();
    // There and back each pair has room for a step of 20 ms; round 1 > 2 > 3 > 1 there is none for it.
    for (a, b, raw) in [(1, 2, 1_000), (2, 1, 99_000), (2, 3, 1_000), (3, 2, 99_000)] {
        see(&mut g, a, b, raw, s(0));
    }
    see(&mut g, 3, 1, 1_000, s(0));
    see(&mut g, 1, 3, 99_000, s(0));
    assert_eq!(g.settle(s(0)).clocks().len(), 3);
    // Clock 1 has fallen back by 20 ms.
    assert_eq!(see(&mut g, 3, 1, 1_000 - 20_000, s(1)), Observed::Consistent);
    assert_eq!((g.settle(s(1)).clocks().len(), g.steps()), (0, 1));
    assert_eq!(g.between(1, 2, s(1)), None);
}

#[test]
fn a_step_that_ways_round_show_leaves_clocks_that_are_not_on_all_of_them() {
    // Each pair has room for a step of 20 ms; round each of the `rings` there is none for it.
    let rings = |g: &mut ClockGraph<u8>, rings: &[[u8; 3]]| {
        for [a, b, c] in rings {
            for (from, to) in [(a, b), (b, c), (c, a)] {
                see(g, *from, *to, 1_000, s(0));
                see(g, *to, *from, 99_000, s(0));
            }
        }
    };
    // Clock 1 falls back by 20 ms.
    let mut g = graph();
    rings(&mut g, &[[1, 2, 3], [1, 4, 5]]);
    assert_eq!(g.settle(s(0)).clocks(), [1, 2, 3, 4, 5]);
    see(&mut g, 3, 1, 1_000 - 20_000, s(1));
    see(&mut g, 5, 1, 1_000 - 20_000, s(1));
    assert_eq!(g.settle(s(1)).clocks(), [2, 3, 4, 5], "it alone is on both");
    assert!(g.between(2, 3, s(1)).is_some() && g.between(1, 2, s(1)).is_none());

    // One way round tells of three clocks, each of which may have stepped.
    let mut g = graph();
    rings(&mut g, &[[1, 2, 3], [3, 4, 5]]);
    see(&mut g, 3, 1, 1_000 - 20_000, s(1));
    assert_eq!((g.settle(s(1)).clocks(), g.steps()), (&[4, 5][..], 1));

    // Two that have no clock in common: two stepped, and who is not known.
    let mut g = graph();
    rings(&mut g, &[[1, 2, 3], [4, 5, 6]]);
    see(&mut g, 3, 1, 1_000 - 20_000, s(1));
    see(&mut g, 6, 4, 1_000 - 20_000, s(1));
    assert_eq!((g.settle(s(1)).clocks(), g.steps()), (&[][..], 1));
}

#[test]
fn forgetting_a_clock_leaves_the_others() {
    let mut g = graph();
    for (a, b) in [(1, 2), (2, 1), (2, 3), (3, 2)] {
        see(&mut g, a, b, 5, s(0));
    }
    g.forget(3);
    assert!(g.between(1, 2, s(0)).is_some());
    assert_eq!(g.settle(s(0)).relation(1, 3), None);
    assert_eq!(g.settle(s(3_601)).clocks(), [], "nothing is known for ever");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Clocks with offsets, drift and wander, delays of any asymmetry: the truth is always inside, now,
    /// before and after.
    #[test]
    fn the_truth_is_within_the_bound(
        clocks in prop::collection::vec((-1_000_000_000i64..1_000_000_000, -95i64..=95, 0i64..=5), 2..6),
        packets in prop::collection::vec((0usize..6, 0usize..6, 0i64..200_000, 0i64..60_000_000), 1..80),
        other_s in -1_000i64..1_000,
    ) {
        let mut g = graph();
        // Nanoseconds, so that µs stamps are cut as on a machine. The rate leaves its mean every second minute.
        let read = |clock: usize, t_us: i64| {
            let (offset, ppm, wander) = clocks[clock];
            let rest = t_us.rem_euclid(240_000_000);
            let wandered = rest.min(240_000_000 - rest);
            (t_us * 1_000 + offset * 1_000 + t_us * ppm / 1_000 + wandered * wander / 1_000).div_euclid(1_000)
        };
        let mut now = 0;
        for (from, to, delay, pause) in packets {
            let (from, to) = (from % clocks.len(), to % clocks.len());
            now += pause;
            if from != to {
                let raw = read(to, now + delay) - read(from, now);
                // It is heard of some time after it came.
                let late = delay / 3;
                let at = Mono::from_micros(now + delay + late);
                let observed = g.observe(from as u8, to as u8, raw, at, Duration::from_micros(late as u64));
                prop_assert_eq!(observed, Observed::Consistent);
            }
            let settled = g.settle(Mono::from_micros(now));
            for a in 0..clocks.len() {
                for b in 0..clocks.len() {
                    let direct = g.between(a as u8, b as u8, Mono::from_micros(now));
                    let by_all = settled.relation(a as u8, b as u8);
                    prop_assert!(direct.is_none() || by_all.is_some());
                    for r in direct.into_iter().chain(by_all) {
                        for at in [now, now + other_s * 1_000_000] {
                            let o = r.at(Mono::from_micros(at));
                            let truth = read(b, at) - read(a, at);
                            // A reading is cut to whole µs by itself.
                            prop_assert!(o.low_us <= truth + 1 && truth <= o.high_us + 1, "{o:?} {truth}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn hostile_values_break_nothing(
        values in prop::collection::vec((0u8..4, 0u8..4, any::<i64>(), any::<i64>(), any::<u64>()), 0..80),
    ) {
        let mut g = graph();
        for (a, b, raw, at, within) in values {
            let at = Mono::from_nanos(at);
            g.observe(a, b, raw, at, Duration::from_nanos(within));
            if let Some(r) = g.settle(at).relation(0, 1) {
                let _ = r.over(at, Duration::from_nanos(within)).one_way(raw);
            }
        }
    }
}
