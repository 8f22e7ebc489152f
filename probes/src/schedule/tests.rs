use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

fn n(v: u32) -> NonZeroU32 {
    NonZeroU32::new(v).unwrap()
}

fn ms(v: i64) -> Mono {
    Mono::from_millis(v)
}

/// A grid of 100 ms steps whose step 0 is at 1,030 ms.
fn schedule() -> Schedule<u8> {
    Schedule::new(ms(1_000), Duration::from_millis(30), Duration::from_millis(100))
}

fn poll(s: &mut Schedule<u8>, now: Mono) -> Vec<Due<u8>> {
    let mut due = Vec::new();
    s.poll(now, &mut due);
    due
}

fn send(key: u8, at: i64) -> Due<u8> {
    Due::Send { key, at: ms(at) }
}

fn slipped(key: u8, first: i64, last: i64, count: u64) -> Due<u8> {
    Due::Slipped(Slipped {
        key,
        first: ms(first),
        last: ms(last),
        count,
    })
}

#[test]
fn slots_lie_on_the_grid_and_late_wakeups_do_not_move_it() {
    let mut s = schedule();
    s.set(1, Pattern::every(n(1)), ms(0));
    assert_eq!(s.next_wakeup(), Some(ms(1_030)));
    assert_eq!(poll(&mut s, ms(1_029)), []);
    assert_eq!(poll(&mut s, ms(1_030)), [send(1, 1_030)]);
    assert_eq!(poll(&mut s, ms(1_030)), []);
    assert_eq!(poll(&mut s, ms(1_179)), [send(1, 1_130)]);
    assert_eq!(s.next_wakeup(), Some(ms(1_230)));
}

#[test]
fn half_an_interval_late_is_slipped() {
    let mut s = schedule();
    s.set(1, Pattern::every(n(1)), ms(0));
    assert_eq!(poll(&mut s, ms(1_080)), [slipped(1, 1_030, 1_030, 1)]);
    assert_eq!(
        poll(&mut s, ms(1_379)),
        [slipped(1, 1_130, 1_230, 2), send(1, 1_330)]
    );
}

#[test]
fn no_slot_is_sent_later_than_the_bound() {
    let mut s = schedule();
    s.set(1, Pattern::every(n(600)), ms(0));
    assert_eq!(poll(&mut s, ms(1_529)), [send(1, 1_030)]);
    assert_eq!(poll(&mut s, ms(61_530)), [slipped(1, 61_030, 61_030, 1)]);
}

#[test]
fn hours_asleep_are_one_run_and_at_most_one_probe() {
    let mut s = schedule();
    s.set(1, Pattern::every(n(1)), ms(0));
    s.set(2, Pattern::burst(n(5), n(1), n(600)).unwrap(), ms(0));
    let day = 86_400_000;
    assert_eq!(
        poll(&mut s, ms(1_030 + day)),
        [
            slipped(1, 1_030, 1_030 + day - 100, 864_000),
            send(1, 1_030 + day),
            slipped(2, 1_030, 1_430 + day - 60_000, 7_200),
            send(2, 1_030 + day),
        ]
    );
    assert_eq!(poll(&mut s, ms(1_030 + day)), []);
}

#[test]
fn the_end_of_time_is_survived() {
    let mut s = schedule();
    s.set(1, Pattern::every(n(1)), ms(0));
    poll(&mut s, Mono::from_nanos(i64::MAX));
    assert!(s.next_wakeup().is_some());
    let mut odd: Schedule<u8> = Schedule::new(Mono::from_nanos(i64::MIN), Duration::ZERO, Duration::ZERO);
    odd.set(1, Pattern::every(n(u32::MAX)), ms(0));
    poll(&mut odd, Mono::from_nanos(i64::MAX));
}

#[test]
fn bursts_begin_every_period_and_must_fit_it() {
    let mut s = schedule();
    s.set(1, Pattern::burst(n(2), n(3), n(10)).unwrap(), ms(1_031));
    let mut sent = Vec::new();
    while sent.len() < 4 {
        let at = s.next_wakeup().unwrap();
        assert_eq!(poll(&mut s, at).len(), 1);
        sent.push(at);
    }
    assert_eq!(sent, [ms(1_330), ms(2_030), ms(2_330), ms(3_030)]);
    assert!(Pattern::burst(n(4), n(3), n(10)).is_ok());
    assert!(Pattern::burst(n(4), n(3), n(9)).is_err());
}

#[test]
fn a_shifted_pattern_begins_later_and_keeps_its_period() {
    let mut s = schedule();
    let burst = Pattern::burst(n(2), n(3), n(10)).unwrap();
    s.set(1, burst.shifted(4), ms(1_030));
    let mut sent = Vec::new();
    while sent.len() < 4 {
        let at = s.next_wakeup().unwrap();
        assert_eq!(poll(&mut s, at).len(), 1);
        sent.push(at);
    }
    assert_eq!(sent, [ms(1_430), ms(1_730), ms(2_430), ms(2_730)]);
    assert_eq!(burst.shifted(9).shifted(2), burst.shifted(1));
}

#[test]
fn a_change_of_rate_takes_effect_at_the_next_step_and_repeats_none() {
    let mut s = schedule();
    s.set(1, Pattern::every(n(10)), ms(1_030));
    assert_eq!(poll(&mut s, ms(1_030)), [send(1, 1_030)]);
    s.set(1, Pattern::every(n(1)), ms(1_030));
    assert_eq!(s.next_wakeup(), Some(ms(1_130)));
    s.set(1, Pattern::every(n(10)), ms(1_131));
    assert_eq!(s.next_wakeup(), Some(ms(2_030)));
    assert!(s.remove(1) && !s.remove(1));
    assert_eq!(s.next_wakeup(), None);
}

proptest! {
    /// Against the definition, step by step.
    #[test]
    fn every_slot_is_sent_or_slipped_once(
        burst in 1u32..6, gap in 1u32..4, extra in 1u32..20, shift in 0u32..40,
        jumps in prop::collection::vec(1i64..900, 1..60),
    ) {
        let pattern = Pattern::burst(n(burst), n(gap), n((burst - 1) * gap + extra)).unwrap();
        let first = i64::from(shift % pattern.period().get());
        let pattern = pattern.shifted(shift);
        let mut s = schedule();
        s.set(1, pattern, ms(0));
        let (mut now, mut accounted, mut last_sent) = (1_000, 0, None);
        for jump in jumps {
            now += jump;
            for due in poll(&mut s, ms(now)) {
                match due {
                    Due::Send { at, .. } => {
                        prop_assert!(ms(now).since(at) < MAX_LATENESS);
                        prop_assert!(last_sent < Some(at));
                        last_sent = Some(at);
                        accounted += 1;
                    }
                    Due::Slipped(run) => {
                        prop_assert!(run.first <= run.last);
                        accounted += run.count;
                    }
                }
            }
            let steps = if now < 1_030 { 0 } else { (now - 1_030) / 100 + 1 };
            let period = i64::from(pattern.period().get());
            let wanted = (first..steps)
                .filter(|k| {
                    let r = (k - first) % period;
                    r % i64::from(gap) == 0 && r / i64::from(gap) < i64::from(burst)
                })
                .count();
            prop_assert_eq!(accounted, wanted as u64);
        }
    }
}
