use proptest::prelude::*;

use super::*;

fn sample(seq: u64, rtt_us: u32) -> Sample {
    Sample {
        seq,
        rtt_us,
        up_us: Some(i64::from(rtt_us) / 2),
        steps: Steps {
            links_us: [Some(rtt_us), None, None, None],
            inside_us: None,
        },
    }
}

/// The window of second `second`, one sample for each RTT, with numbers from `seq` on.
fn window(second: i64, seq: u64, rtts: &[u32]) -> Window {
    let mut samples: Vec<_> = (seq..).zip(rtts).map(|(s, &r)| sample(s, r)).collect();
    let taken = rtts.len() as u32;
    thin(&mut samples);
    let mut chain = LossChain::default();
    rtts.iter().for_each(|r| chain.push(r % 3 == 0));
    Window {
        start: Mono::from_millis(second * 1_000),
        length: Duration::from_secs(1),
        ledger: Ledger {
            slots: taken,
            sent: taken,
            received: taken,
            ..Ledger::default()
        },
        samples,
        samples_taken: taken,
        raw: rtts.iter().min().map(|&min| RawMinima {
            clocks: Clocks { here: 0, there: 1 },
            up_us: i64::from(min) / 2,
            up_at: Mono::ZERO,
            down_us: i64::from(min) - i64::from(min) / 2,
            down_at: Mono::ZERO,
        }),
        jitter_up_us: rtts.last().copied(),
        jitter_down_us: None,
        late_up: 0,
        chain_up: chain,
        chain_down: LossChain::default(),
    }
}

#[test]
fn merges_what_follows_only() {
    let mut w = window(0, 0, &[1_000, 3_000]);
    assert!(w.merge(&window(0, 2, &[1])).is_err());
    w.merge(&window(1, 2, &[2_000])).unwrap();
    w.merge(&window(9, 3, &[])).unwrap();
    assert_eq!((w.length, w.ledger.sent), (Duration::from_secs(10), 3));
    assert_eq!((w.rtt_us(50.0), w.rtt_us(95.0)), (Some(2_000), Some(3_000)));
    assert_eq!(w.jitter_up_us, Some(2_000));
    let step = w.step(0).unwrap();
    assert_eq!((step.samples, step.min_us, step.p95_us), (3, 1_000, 3_000));
    assert_eq!((w.step(1), w.step(99)), (None, None));
    assert_eq!(window(0, 0, &[]).rtt_us(50.0), None);
}

#[test]
fn raw_values_of_two_clocks_are_never_mixed() {
    // The far end began anew; this machine slept.
    for clocks in [Clocks { here: 0, there: 2 }, Clocks { here: 1, there: 1 }] {
        let mut w = window(0, 0, &[1_000]);
        let mut other = window(1, 1, &[2_000]);
        other.raw = Some(RawMinima {
            clocks,
            up_us: 7,
            up_at: Mono::from_millis(1_700),
            down_us: 8,
            down_at: Mono::from_millis(1_300),
        });
        w.merge(&other).unwrap();
        assert_eq!(w.raw, other.raw);
        assert_eq!(w.samples[0].up_us, None);
        assert_eq!(w.samples[1].down_us(), Some(1_000));
    }
}

#[test]
fn the_least_raw_values_keep_their_times() {
    let raw = |at_ms, up_us, down_us| RawMinima {
        clocks: Clocks { here: 0, there: 1 },
        up_us,
        up_at: Mono::from_millis(at_ms),
        down_us,
        down_at: Mono::from_millis(at_ms),
    };
    let (mut first, mut second) = (window(0, 0, &[1]), window(1, 1, &[1]));
    (first.raw, second.raw) = (Some(raw(100, -5, 9)), Some(raw(1_200, 3, -9)));
    first.merge(&second).unwrap();
    let least = RawMinima {
        down_us: -9,
        down_at: Mono::from_millis(1_200),
        ..raw(100, -5, 0)
    };
    assert_eq!(first.raw, Some(least));
}

proptest! {
    #[test]
    fn ten_short_windows_are_one_long_one(
        seconds in prop::collection::vec(prop::collection::vec(1u32..100_000, 0..150), 10),
    ) {
        let (mut merged, mut all): (Option<Window>, Vec<u32>) = (None, Vec::new());
        for (i, rtts) in seconds.iter().enumerate() {
            let next = window(i as i64, all.len() as u64, rtts);
            all.extend(rtts);
            match &mut merged {
                Some(w) => w.merge(&next).unwrap(),
                None => merged = Some(next),
            }
        }
        let mut wanted = window(0, 0, &all);
        wanted.length = Duration::from_secs(10);
        if let Some(raw) = &mut wanted.raw {
            // Halving rounds; take the least of each direction.
            raw.down_us = all.iter().map(|&r| i64::from(r) - i64::from(r) / 2).min().unwrap();
        }
        prop_assert_eq!(merged, Some(wanted));
    }
}

#[test]
fn the_kept_subset_is_not_biased() {
    // RTT grows with the number: a subset that leans to either end would show.
    let rtts: Vec<_> = (0..10_000).collect();
    let w = window(0, 1 << 40, &rtts);
    assert_eq!((w.samples.len(), w.samples_taken), (MAX_SAMPLES, 10_000));
    assert!(w.samples.is_sorted_by_key(|s| s.seq));
    let mean = w.samples.iter().map(|s| f64::from(s.rtt_us)).sum::<f64>() / 512.0;
    // Four standard errors of the mean of 512 draws out of 0..10,000.
    assert!((mean - 5_000.0).abs() < 4.0 * 2_887.0 / 512f64.sqrt(), "{mean}");
}
