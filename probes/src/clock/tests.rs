use proptest::prelude::*;

use super::*;

fn s(v: i64) -> Mono {
    Mono::from_millis(v * 1_000)
}

fn graph() -> ClockGraph<u8> {
    ClockGraph::new(ClockConfig::default())
}

#[test]
fn two_directions_bound_the_offset_and_asymmetry_stays_inside_the_bound() {
    let mut g = graph();
    assert_eq!(g.offset(1, 2, s(0)), None);
    // Offset 5 s; 10 ms there, 30 ms back.
    g.observe(1, 2, 5_010_000, s(0));
    assert_eq!(g.offset(1, 2, s(0)), None, "one side only");
    g.observe(2, 1, -4_970_000, s(0));
    let o = g.offset(1, 2, s(0)).unwrap();
    assert_eq!((o.low_us, o.high_us), (4_969_999, 5_010_001));
    assert_eq!((o.estimate_us(), o.bound_us()), (4_990_000, 20_001));
    assert_eq!(
        o.one_way(5_010_000),
        OneWay {
            delay_us: 20_000,
            bound_us: 20_001
        }
    );
    let back = g.offset(2, 1, s(0)).unwrap();
    assert_eq!((back.low_us, back.high_us), (-o.high_us, -o.low_us));
    assert_eq!(g.offset(1, 1, s(0)).unwrap().bound_us(), 0);
}

#[test]
fn bounds_widen_with_age_and_new_ones_take_over() {
    let mut g = graph();
    g.observe(1, 2, 1_000, s(0));
    g.observe(2, 1, 1_000, s(0));
    assert_eq!(g.offset(1, 2, s(100)).unwrap().high_us, 1_001 + 20_000);
    g.observe(1, 2, 5_000, s(100));
    assert_eq!(g.offset(1, 2, s(100)).unwrap().high_us, 5_001);
    // A worse one is kept for when the better one has aged away.
    g.observe(1, 2, 5_500, s(101));
    assert_eq!(g.offset(1, 2, s(101)).unwrap().high_us, 5_001 + 200);
    g.observe(1, 2, 400_000, s(701));
    assert_eq!(g.offset(2, 1, s(701)), None, "the way back is too old");
    g.observe(2, 1, 1_000, s(701));
    assert_eq!(g.offset(1, 2, s(701)).unwrap().high_us, 5_501 + 120_000);
}

#[test]
fn clocks_that_never_meet_are_bounded_through_others() {
    let mut g = graph();
    // 1 – 2 – 3, offsets 100 and −40 ms, each way 1 ms.
    g.observe(1, 2, 101_000, s(0));
    g.observe(2, 1, -99_000, s(0));
    g.observe(2, 3, -39_000, s(0));
    g.observe(3, 2, 41_000, s(0));
    let o = g.offset(1, 3, s(0)).unwrap();
    assert_eq!((o.low_us, o.high_us), (57_998, 62_002));
    // A slow direct link between 1 and 3 does not widen it, nor does it seem symmetric.
    g.observe(1, 3, 60_000 + 90_000, s(0));
    g.observe(3, 1, -60_000 + 10_000, s(0));
    assert_eq!(g.offset(1, 3, s(0)), Some(o));
    assert_eq!(o.one_way(150_000).delay_us, 90_000);
}

#[test]
fn a_step_is_seen_and_what_it_made_false_is_dropped() {
    for step in [1_000_000, -1_000_000] {
        let mut g = graph();
        for (a, b) in [(1, 2), (2, 3), (1, 3)] {
            g.observe(a, b, 10_000, s(0));
            g.observe(b, a, 10_000, s(0));
        }
        let mut seen = 0;
        // Clock 2 has stepped; the next window of every link shows it.
        for (a, b, raw) in [
            (1, 2, step),
            (2, 1, -step),
            (2, 3, -step),
            (3, 2, step),
            (1, 3, 0),
            (3, 1, 0),
        ] {
            if g.observe(a, b, raw + 10_000, s(1)) != Observed::Consistent {
                seen += 1;
            }
        }
        assert!(seen > 0 && g.contradictions() == seen);
        for (a, b, wanted) in [(1, 2, step), (3, 2, step), (1, 3, 0)] {
            let o = g.offset(a, b, s(1)).unwrap();
            assert!(o.low_us <= wanted && wanted <= o.high_us, "{a} {b} {o:?}");
            assert!(o.bound_us() <= 10_001, "{a} {b} {o:?}");
        }
    }
}

#[test]
fn forgetting_a_clock_leaves_the_others() {
    let mut g = graph();
    for (a, b) in [(1, 2), (2, 1), (2, 3), (3, 2)] {
        g.observe(a, b, 5, s(0));
    }
    g.forget(3);
    assert!(g.offset(1, 2, s(0)).is_some());
    assert_eq!(g.offset(1, 3, s(0)), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Clocks with offsets and drift, delays of any asymmetry: the truth is always inside.
    #[test]
    fn the_truth_is_within_the_bound(
        clocks in prop::collection::vec((-1_000_000_000i64..1_000_000_000, -100i64..=100), 2..6),
        packets in prop::collection::vec((0usize..6, 0usize..6, 0i64..200_000, 0i64..3_000_000), 1..60),
    ) {
        let mut g = graph();
        // Nanoseconds, so that µs stamps are cut as on a machine.
        let read = |clock: usize, t_us: i64| {
            let (offset, ppm) = clocks[clock];
            (t_us * 1_000 + offset * 1_000 + t_us * ppm / 1_000).div_euclid(1_000)
        };
        let mut now = 0;
        for (from, to, delay, pause) in packets {
            let (from, to) = (from % clocks.len(), to % clocks.len());
            now += pause;
            if from != to {
                let raw = read(to, now + delay) - read(from, now);
                // The observer is ideal; that it sees the packet when it arrives is what makes it one.
                let observed = g.observe(from as u8, to as u8, raw, Mono::from_micros(now + delay));
                prop_assert_eq!(observed, Observed::Consistent);
            }
            for a in 0..clocks.len() {
                for b in 0..clocks.len() {
                    if let Some(o) = g.offset(a as u8, b as u8, Mono::from_micros(now)) {
                        let truth = read(b, now) - read(a, now);
                        // A reading is cut to whole µs by itself.
                        prop_assert!(o.low_us <= truth + 1 && truth <= o.high_us + 1, "{o:?} {truth}");
                    }
                }
            }
        }
    }

    #[test]
    fn hostile_values_break_nothing(
        values in prop::collection::vec((0u8..4, 0u8..4, any::<i64>(), any::<i64>()), 0..80),
    ) {
        let mut g = graph();
        for (a, b, raw, at) in values {
            g.observe(a, b, raw, Mono::from_nanos(at));
            if let Some(o) = g.offset(0, 1, Mono::from_nanos(at)) {
                let _ = o.one_way(raw);
            }
        }
    }
}
