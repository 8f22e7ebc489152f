use proptest::prelude::*;

use super::*;

/// Answers after 40 ms to whichever methods `answering` names; refuses TCP, which no port was named for.
struct Target {
    ladder: Ladder,
    now: Mono,
    sent: Vec<(i64, TrialProbe)>,
    tcp: bool,
}

fn ms(ms: i64) -> Mono {
    Mono::from_millis(ms)
}

impl Target {
    fn new() -> Self {
        Self {
            ladder: Ladder::new(LadderConfig::default(), ms(0)),
            now: ms(0),
            sent: Vec::new(),
            tcp: false,
        }
    }

    /// Runs until `until`, in which time the named methods answer, in this many of each three probes.
    fn run(&mut self, until: i64, answering: &[(Method, u32)]) {
        let mut coming: VecDeque<(Mono, TrialProbe)> = VecDeque::new();
        loop {
            let next = self.ladder.next_wakeup();
            let next = coming.front().map_or(next, |(at, _)| next.min(*at));
            if next > ms(until) {
                self.now = ms(until);
                return;
            }
            self.now = self.now.max(next);
            while coming.front().is_some_and(|(at, _)| *at <= self.now) {
                if let Some((_, probe)) = coming.pop_front() {
                    self.ladder.answered(probe, self.now, self.now);
                }
            }
            while let Some(probe) = self.ladder.poll(self.now) {
                self.sent.push((self.now.as_micros() / 1_000, probe));
                self.ladder.sent(probe, self.now);
                if probe.method == Method::Tcp && !self.tcp {
                    self.ladder
                        .impossible(Method::Tcp, "no port is named".into(), self.now);
                }
                let said = answering.iter().find(|(m, _)| *m == probe.method);
                if said.is_some_and(|(_, of)| probe.number % TRIES < *of) {
                    coming.push_back((self.now + Duration::from_millis(40), probe));
                }
            }
        }
    }

    /// No measuring probe is answered from `from` until `until`, one a second.
    fn silence(&mut self, from: i64, until: i64, answering: &[(Method, u32)]) {
        for (steps, at) in (from..until).step_by(1_000).enumerate() {
            self.run(at, answering);
            self.ladder.overdue(u32::try_from(steps).unwrap(), self.now);
        }
    }

    fn changes(&mut self) -> Vec<(Standing, bool)> {
        std::iter::from_fn(|| self.ladder.poll_change())
            .map(|c| (c.to, c.failed))
            .collect()
    }
}

#[test]
fn a_trial_asks_by_all_methods_three_times_and_takes_the_best_that_answers() {
    let mut target = Target::new();
    target.run(3_000, &[(Method::Stun, 3), (Method::Icmp, 3)]);
    let times = |method| {
        let of = target.sent.iter().filter(|(_, p)| p.method == method);
        of.map(|&(at, p)| (at, p.number)).collect::<Vec<_>>()
    };
    let all = [(0, 0), (200, 1), (400, 2)];
    for method in [Method::Stamp, Method::Stun, Method::Icmp] {
        assert_eq!(times(method), all, "{method}");
    }
    assert_eq!(times(Method::Tcp), [(0, 0)], "it is not possible");
    assert_eq!(target.changes(), [(Standing::By(Method::Stun), false)]);
    let silences: Vec<_> = target
        .ladder
        .silences()
        .map(|(m, s)| (m, s.to_string()))
        .collect();
    assert_eq!(
        silences,
        [
            (Method::Stamp, "0 of 3 answered".into()),
            (Method::Tcp, "no port is named".into())
        ]
    );
}

#[test]
fn two_of_three_are_an_answer_and_one_is_not() {
    for (stun, icmp, want) in [
        (2, 3, Standing::By(Method::Stun)),
        (1, 3, Standing::By(Method::Icmp)),
        (1, 2, Standing::By(Method::Icmp)),
        (1, 1, Standing::Unmeasured),
    ] {
        let mut target = Target::new();
        // Three round trips of 40 ms and the grace after the last probe, or all of its time where none answers twice.
        let end = if want == Standing::Unmeasured { 2_400 } else { 720 };
        target.run(end - 1, &[(Method::Stun, stun), (Method::Icmp, icmp)]);
        assert_eq!(
            target.ladder.standing(),
            Standing::Trying,
            "STAMP may still answer"
        );
        target.run(end, &[]);
        assert_eq!(target.ladder.standing(), want, "{stun} {icmp}");
    }
}

#[test]
fn what_a_trial_saw_of_the_method_taken_is_told() {
    let mut target = Target::new();
    target.run(3_000, &[(Method::Stun, 1), (Method::Icmp, 2)]);
    let change = target.ladder.poll_change().unwrap();
    let seen = |at| {
        Some(Answered {
            sent: ms(at),
            rtt: Duration::from_millis(40),
        })
    };
    assert_eq!(change.seen, [seen(0), seen(200), None]);
}

#[test]
fn a_trial_is_over_when_the_best_method_has_answered_twice() {
    let mut target = Target::new();
    target.run(240, &[(Method::Stamp, 3)]);
    assert_eq!(target.ladder.standing(), Standing::By(Method::Stamp));
    assert_eq!(target.ladder.next_wakeup(), ms(600_240), "the next look");
}

#[test]
fn nothing_that_answers_is_tried_again_ever_more_rarely() {
    let mut target = Target::new();
    target.run(3_600_000, &[]);
    let mut began: Vec<_> = target.sent.iter().map(|(at, _)| *at).collect();
    began.dedup();
    let trials: Vec<_> = began.chunks(3).map(|trial| trial[0]).collect();
    let waits: Vec<_> = trials.windows(2).map(|w| (w[1] - w[0] - 2_400) / 1_000).collect();
    assert_eq!(waits, [60, 120, 240, 480, 600, 600, 600, 600]);
    assert_eq!(target.changes(), [(Standing::Unmeasured, false)], "said once");
    target.run(5_000_000, &[(Method::Icmp, 3)]);
    assert_eq!(target.ladder.standing(), Standing::By(Method::Icmp));
}

#[test]
fn ten_unanswered_in_a_row_and_others_answer_the_method_has_failed() {
    let mut target = Target::new();
    target.run(3_000, &[(Method::Stun, 3), (Method::Icmp, 3)]);
    target.changes();
    target.silence(3_000, 13_000, &[(Method::Icmp, 3)]);
    assert_eq!(target.changes(), [], "nine");
    target.ladder.overdue(10, ms(13_000));
    target.run(16_000, &[(Method::Icmp, 3)]);
    assert_eq!(target.changes(), [(Standing::By(Method::Icmp), true)]);
}

#[test]
fn none_answers_any_more_and_the_target_is_lost_until_it_answers() {
    let mut target = Target::new();
    target.run(3_000, &[(Method::Icmp, 3)]);
    target.changes();
    target.silence(3_000, 90_000, &[]);
    assert_eq!(target.changes(), [(Standing::Lost(Method::Icmp), false)]);
    target.ladder.overdue(0, target.now);
    assert_eq!(target.changes(), [(Standing::By(Method::Icmp), false)]);
    // Another answers to a trial while it is lost.
    target.silence(91_000, 110_000, &[]);
    assert_eq!(target.ladder.standing(), Standing::Lost(Method::Icmp));
    target.changes();
    target.run(180_000, &[(Method::Stun, 2)]);
    assert_eq!(target.changes(), [(Standing::By(Method::Stun), false)]);
}

#[test]
fn by_tcp_nothing_is_lost() {
    let mut target = Target::new();
    target.tcp = true;
    target.run(3_000, &[(Method::Tcp, 3)]);
    assert_eq!(target.changes(), [(Standing::By(Method::Tcp), false)]);
    target.silence(3_000, 30_000, &[]);
    assert_eq!(target.changes(), [(Standing::Unmeasured, false)]);
}

#[test]
fn a_better_method_is_taken_when_it_is_found_and_a_worse_one_is_not() {
    let mut target = Target::new();
    target.run(3_000, &[(Method::Stun, 3)]);
    target.run(700_000, &[(Method::Icmp, 3)]);
    assert_eq!(target.ladder.standing(), Standing::By(Method::Stun));
    target.run(1_300_000, &[(Method::Stamp, 3), (Method::Stun, 3)]);
    assert_eq!(
        target.changes(),
        [
            (Standing::By(Method::Stun), false),
            (Standing::By(Method::Stamp), false)
        ]
    );
}

proptest! {
    /// Whatever answers when: it is never probed more than three times a method in a trial, trials are at
    /// least a minute apart but for the first of a doubt, and it always wakes again.
    #[test]
    fn bounded(worlds in prop::collection::vec((0usize..16, 0u32..4, any::<bool>()), 1..30)) {
        let mut target = Target::new();
        let mut at = 0;
        for (mask, of, silent) in worlds {
            let answering: Vec<_> = Method::ALL.into_iter()
                .filter(|m| mask & (1 << *m as usize) != 0)
                .map(|m| (m, of))
                .collect();
            let until = at + 60_000;
            if silent {
                target.silence(at, until, &answering);
            } else {
                target.run(until, &answering);
                target.ladder.overdue(0, target.now);
            }
            at = until;
            prop_assert!(target.ladder.next_wakeup() <= target.now + LadderConfig::default().look);
        }
        let minutes = at / 60_000;
        for method in Method::ALL {
            let of: Vec<_> = target.sent.iter().filter(|(_, p)| p.method == method).collect();
            prop_assert!(of.len() as i64 <= 3 * 2 * (minutes + 1), "{} of {method}", of.len());
            let mut numbers: Vec<_> = of.iter().map(|(_, p)| p.number).collect();
            numbers.dedup();
            prop_assert_eq!(numbers.len(), of.len(), "numbers are given once");
        }
    }
}
