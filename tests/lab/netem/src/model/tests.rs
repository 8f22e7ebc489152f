use proptest::prelude::*;

use super::*;
use crate::Settings;

fn pipe(words: &str, seed: u64) -> Pipe {
    let settings: Settings = words.parse().unwrap();
    Pipe::new(settings.impairment().unwrap(), seed)
}

/// What becomes of `n` packets of 200 B, one every `every` microseconds, as (in, out).
fn run(pipe: &mut Pipe, n: i64, every: i64) -> Vec<(Mono, Passage)> {
    (0..n)
        .map(|i| Mono::from_micros(i * every))
        .map(|now| (now, pipe.pass(now, 200)))
        .collect()
}

fn outs(passages: &[(Mono, Passage)]) -> Vec<(Mono, Mono)> {
    passages
        .iter()
        .filter_map(|&(now, passage)| match passage {
            Passage::Out { at, .. } => Some((now, at)),
            Passage::Lost(_) => None,
        })
        .collect()
}

/// Lengths of the runs of losses.
fn runs(passages: &[(Mono, Passage)]) -> Vec<usize> {
    passages
        .chunk_by(|a, b| matches!(a.1, Passage::Lost(_)) == matches!(b.1, Passage::Lost(_)))
        .filter(|chunk| matches!(chunk[0].1, Passage::Lost(_)))
        .map(<[_]>::len)
        .collect()
}

#[test]
fn a_clear_pipe_passes_at_once_and_a_delay_is_exact() {
    assert!(
        outs(&run(&mut pipe("", 1), 100, 10))
            .iter()
            .all(|(now, at)| now == at)
    );
    let out = outs(&run(&mut pipe("delay_ms=20.25", 1), 100, 10));
    assert_eq!(out.len(), 100);
    assert!(out.iter().all(|&(now, at)| at.diff_nanos(now) == 20_250_000));
}

#[test]
fn mtu_lets_its_own_size_pass() {
    let mut pipe = pipe("mtu=1280", 1);
    let at = Mono::ZERO;
    assert_eq!(pipe.pass(at, 1280), Passage::Out { at, twice: false });
    assert_eq!(pipe.pass(at, 1281), Passage::Lost(Cause::Mtu));
}

#[test]
fn a_full_queue_loses_exactly_what_does_not_fit() {
    // 1000 B of queue hold five packets of 200 B, the one being sent included; 16 kbit/s send one in 100 ms.
    let mut pipe = pipe("rate_kbit=16 queue_bytes=1000", 1);
    let burst: Vec<_> = (0..7).map(|_| pipe.pass(Mono::ZERO, 200)).collect();
    let expected = [100, 200, 300, 400, 500].map(|ms| Passage::Out {
        at: Mono::from_millis(ms),
        twice: false,
    });
    assert_eq!(burst[..5], expected);
    assert_eq!(burst[5..], [Passage::Lost(Cause::Queue); 2]);
    // Room for one more exactly when the first is out.
    assert_eq!(
        pipe.pass(Mono::from_micros(99_999), 200),
        Passage::Lost(Cause::Queue)
    );
    assert_eq!(
        pipe.pass(Mono::from_millis(100), 200),
        Passage::Out {
            at: Mono::from_millis(600),
            twice: false
        }
    );
}

#[test]
fn reordering_overtakes_only_the_chosen() {
    let out = outs(&run(
        &mut pipe("delay_ms=5 reorder=0.1 reorder_ms=3", 3),
        20_000,
        1_000,
    ));
    let (plain, held): (Vec<_>, Vec<_>) = out
        .iter()
        .map(|&(now, at)| at.diff_nanos(now))
        .partition(|&delay| delay == 5_000_000);
    assert!(held.iter().all(|&delay| delay == 8_000_000));
    assert_eq!(plain.len() + held.len(), 20_000);
    assert!((1_800..2_200).contains(&held.len()), "{}", held.len());
}

#[test]
fn duplicates_by_share() {
    let twice = run(&mut pipe("duplicate=0.2", 4), 10_000, 100)
        .iter()
        .filter(|(_, passage)| matches!(passage, Passage::Out { twice: true, .. }))
        .count();
    assert!((1_850..2_150).contains(&twice), "{twice}");
}

#[test]
fn jitter_has_its_shape() {
    // (words, mean of the delay in ms, standard deviation in ms, lowest, highest)
    let table = [
        ("uniform", 50.0, 5.77, 40.0, 60.0),
        ("normal", 50.0, 10.0, 0.0, 100.0),
        ("pareto", 55.0, 8.66, 50.0, 550.0),
    ];
    for (shape, mean, deviation, low, high) in table {
        let words = format!("delay_ms=50 jitter_ms=10 jitter_reorders=true jitter_shape={shape}");
        let ms: Vec<f64> = outs(&run(&mut pipe(&words, 5), 100_000, 100))
            .iter()
            .map(|(now, at)| at.diff_nanos(*now) as f64 / 1e6)
            .collect();
        let measured = ms.iter().sum::<f64>() / ms.len() as f64;
        let variance = ms.iter().map(|d| (d - measured).powi(2)).sum::<f64>() / ms.len() as f64;
        assert!((measured - mean).abs() < 0.2, "{shape}: mean {measured}");
        assert!(
            (variance.sqrt() - deviation).abs() < 0.1 * deviation,
            "{shape}: sd {}",
            variance.sqrt()
        );
        assert!(ms.iter().all(|d| (low..=high).contains(d)), "{shape}");
    }
}

#[test]
fn an_ordered_pipe_stays_ordered_when_its_delay_falls() {
    let mut pipe = pipe("delay_ms=100", 6);
    let slow = pipe.pass(Mono::ZERO, 200);
    pipe.set("delay_ms=10".parse::<Settings>().unwrap().impairment().unwrap());
    let at = Mono::from_millis(100);
    assert_eq!(slow, Passage::Out { at, twice: false });
    assert_eq!(
        pipe.pass(Mono::from_millis(1), 200),
        Passage::Out { at, twice: false }
    );
    let later = Mono::from_millis(105);
    assert_eq!(
        pipe.pass(Mono::from_millis(95), 200),
        Passage::Out {
            at: later,
            twice: false
        }
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn loss_has_its_rate_and_bursts_their_length(share in 0.01..0.4f64, burst in 1.0..8.0f64, seed: u64) {
        prop_assume!(Loss::new(share, burst).is_some());
        let n = 200_000;
        let passages = run(&mut pipe(&format!("loss={share} loss_burst={burst}"), seed), n, 100);
        let runs = runs(&passages);
        let lost = runs.iter().sum::<usize>() as f64;
        let measured = lost / n as f64;
        // Six standard deviations of a Gilbert chain's share and of a geometric mean.
        let correlation = (1.0 - 1.0 / burst - share / burst / (1.0 - share)).clamp(0.0, 1.0);
        let inflation = (1.0 + correlation) / (1.0 - correlation);
        let bound = 6.0 * (share * (1.0 - share) * inflation / n as f64).sqrt();
        prop_assert!((measured - share).abs() < bound.max(0.001), "{measured} for {share}");
        let mean = lost / runs.len() as f64;
        let bound = 6.0 * (burst * (burst - 1.0) / runs.len() as f64).sqrt();
        prop_assert!((mean - burst).abs() <= bound + 1e-9, "{mean} for {burst}");
    }

    #[test]
    fn independent_loss_has_its_rate_and_short_runs(share in 0.01..0.5f64, seed: u64) {
        let n = 100_000;
        let passages = run(&mut pipe(&format!("loss={share}"), seed), n, 100);
        let runs = runs(&passages);
        let lost = runs.iter().sum::<usize>() as f64;
        let bound = 6.0 * (share * (1.0 - share) / n as f64).sqrt();
        prop_assert!((lost / n as f64 - share).abs() < bound);
        let mean = lost / runs.len() as f64;
        prop_assert!((mean - 1.0 / (1.0 - share)).abs() < 0.15, "{mean}");
    }

    #[test]
    fn no_jitter_and_no_rate_reorders_unless_it_may(
        delay in 0.0..50.0f64,
        jitter in 0.0..50.0f64,
        rate in prop::sample::select(vec![0, 1_000, 20_000]),
        shape in prop::sample::select(vec!["uniform", "normal", "pareto"]),
        seed: u64,
    ) {
        let words = format!("delay_ms={delay} jitter_ms={jitter} jitter_shape={shape} rate_kbit={rate} loss=0.1");
        let out = outs(&run(&mut pipe(&words, seed), 500, 700));
        prop_assert!(out.is_sorted_by_key(|&(_, at)| at));
        prop_assert!(out.iter().all(|(now, at)| at >= now));
    }

    #[test]
    fn a_rate_is_never_exceeded(rate in 64u32..4_000, every in 50i64..5_000, seed: u64) {
        let mut pipe = pipe(&format!("rate_kbit={rate} queue_bytes=20000"), seed);
        let out = outs(&run(&mut pipe, 2_000, every));
        // Between any two departures no more bits than the rate allows, and no idling while packets wait.
        let per_packet = 1_600_000_000_000 / (i64::from(rate) * 1_000);
        for pair in out.windows(2) {
            let gap = pair[1].1.diff_nanos(pair[0].1);
            prop_assert!(gap >= per_packet, "{gap} < {per_packet}");
            if pair[1].0 < pair[0].1 {
                prop_assert!(gap <= per_packet + 1);
            }
        }
    }

    #[test]
    fn the_same_seed_does_the_same(seed: u64) {
        let words = "delay_ms=10 jitter_ms=5 loss=0.1 loss_burst=3 duplicate=0.1 reorder=0.1";
        prop_assert_eq!(run(&mut pipe(words, seed), 500, 100), run(&mut pipe(words, seed), 500, 100));
    }
}
