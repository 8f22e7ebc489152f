use std::net::IpAddr;

use proptest::prelude::*;

use super::{
    super::{MAX_ROUNDS, judge::HopState},
    *,
};

/// Routers 1 to `end - 1`, the target at `end`; each hop answers `10 ms × ttl` later, if it does.
struct World<F> {
    end: u8,
    /// Whether a probe of this hop (the target's is `end`), sent at this time, is answered.
    answers: F,
    /// Answers quote too little.
    unnamed: bool,
    /// After so many probes of the target the last router refuses them.
    refused_after: u32,
    of_target: u32,
    /// Highest hop limit that was ever sent.
    furthest: u8,
    probes: u32,
    at: Vec<Mono>,
}

impl<F: FnMut(u8, Probe, Mono) -> bool> World<F> {
    fn new(end: u8, answers: F) -> Self {
        Self {
            end,
            answers,
            unnamed: false,
            refused_after: u32::MAX,
            of_target: 0,
            furthest: 0,
            probes: 0,
            at: Vec::new(),
        }
    }

    fn run(&mut self, plan: Plan) -> Tracer {
        let mut tracer = Tracer::new(plan, 65_530).unwrap();
        let mut now = Mono::from_millis(7);
        let mut coming: Vec<(Mono, Answer)> = Vec::new();
        for _ in 0..100_000 {
            coming.sort_by_key(|(at, _)| *at);
            while let Some((at, answer)) = coming.first().copied()
                && at <= now
            {
                coming.remove(0);
                tracer.answer(answer, at);
            }
            match tracer.poll(now) {
                Step::Done => return tracer,
                Step::Wait(until) => {
                    assert!(until > now, "waits for what is over: {until} at {now}");
                    let next = coming.first().map_or(until, |(at, _)| (*at).min(until));
                    now = next.max(now + Duration::from_nanos(1));
                }
                Step::Send(probe) => {
                    tracer.sent(probe, now);
                    self.at.push(now);
                    self.probes += 1;
                    self.furthest = self.furthest.max(probe.ttl);
                    let hop = probe.ttl.min(self.end);
                    self.of_target += u32::from(probe.ttl == self.end);
                    if hop == self.end && self.of_target > self.refused_after {
                        let answer = Answer {
                            number: Some(probe.number),
                            from: router(hop - 1),
                            protocol: probe.protocol,
                            meaning: Meaning::Unreachable(super::super::probe::Unreachable::Host),
                        };
                        coming.push((now + Duration::from_millis(10), answer));
                    } else if (self.answers)(hop, probe, now) {
                        let answer = Answer {
                            number: (!self.unnamed).then_some(probe.number),
                            from: if hop == self.end { plan.target } else { router(hop) },
                            protocol: probe.protocol,
                            meaning: if hop == self.end {
                                Meaning::Reached
                            } else {
                                Meaning::TimeExceeded
                            },
                        };
                        coming.push((now + Duration::from_millis(10) * u32::from(hop), answer));
                    }
                }
            }
        }
        panic!("it does not end");
    }
}

fn router(hop: u8) -> IpAddr {
    IpAddr::from([198, 51, 100, hop])
}

fn plan(rounds: u32) -> Plan {
    Plan {
        target: "192.0.2.1".parse().unwrap(),
        rounds,
        interval: Duration::from_secs(1),
        max_hops: 30,
        protocol: Protocol::Udp,
        echo: false,
    }
}

/// One answer a `period`, `burst` at first, per hop.
fn limiter(burst: u32, period: Duration) -> impl FnMut(Mono) -> bool {
    let mut tokens = f64::from(burst);
    let mut last = None;
    move |now| {
        let since = last.map_or(Duration::ZERO, |l| now.since(l));
        last = Some(now);
        tokens = f64::from(burst).min(tokens + since.as_secs_f64() / period.as_secs_f64());
        let passed = tokens >= 1.0;
        tokens -= f64::from(u8::from(passed));
        passed
    }
}

#[test]
fn a_clean_path() {
    let mut world = World::new(7, |_, _, _| true);
    let tracer = world.run(plan(5));
    assert_eq!((tracer.distance(), tracer.hops().len()), (Some(7), 7));
    for (index, hop) in tracer.hops().iter().enumerate() {
        let s = hop.series();
        assert_eq!(
            (s.sent(), s.answered(), s.missing()),
            (5, 5, 0),
            "hop {}",
            index + 1
        );
        let rtt = 10.0 * (index + 1) as f64;
        let f = s.figures().unwrap();
        assert_eq!((f.best, f.worst, f.jitter), (rtt, rtt, Some(0.0)));
        assert_eq!(tracer.state(index), HopState::Counted);
    }
    assert_eq!(tracer.end_loss().unwrap().lost, Some((0, 5)));
    // Few probes went beyond the end while it was not found.
    assert!(world.furthest <= 7 + AHEAD as u8, "{}", world.furthest);
    assert_eq!((tracer.unmatched(), tracer.check().is_none()), (0, true));
}

#[test]
fn a_limiting_hop_is_no_loss() {
    let mut limit = limiter(2, Duration::from_secs(3));
    let tracer = World::new(5, |hop, _, now| hop != 3 || limit(now)).run(plan(20));
    assert_eq!(tracer.state(2), HopState::LimitsAnswers);
    assert!(tracer.hops()[2].series().missing() > 5);
    assert_eq!(tracer.end_loss().unwrap().share(), Some(0.0));
}

#[test]
fn a_limiting_end_is_told_by_asking_gently() {
    let mut limit = limiter(3, Duration::from_millis(1_500));
    let fast = Plan {
        interval: Duration::from_millis(500),
        ..plan(20)
    };
    let tracer = World::new(5, |hop, _, now| hop != 5 || limit(now)).run(fast);
    let loss = tracer.end_loss().unwrap();
    assert_eq!((loss.verdict, loss.share()), (Verdict::LimitsAnswers, Some(0.0)));
    assert_eq!(tracer.check().unwrap().0, Protocol::Udp);
    assert_eq!(tracer.state(4), HopState::LimitsAnswers);
}

#[test]
fn a_limiting_end_is_told_by_echo() {
    let mut limit = limiter(1, Duration::from_secs(10));
    let with_echo = Plan {
        echo: true,
        ..plan(20)
    };
    let tracer = World::new(4, |hop, probe, now| {
        hop != 4 || probe.protocol == Protocol::Icmp || limit(now)
    })
    .run(with_echo);
    let loss = tracer.end_loss().unwrap();
    assert_eq!((loss.verdict, loss.share()), (Verdict::LimitsAnswers, Some(0.0)));
    assert_eq!(tracer.check().unwrap().0, Protocol::Icmp);
    assert!(!tracer.anew_by_icmp());
}

#[test]
fn loss_at_the_end_is_loss() {
    let mut n = 0u32;
    // Irregular, a third.
    let mut lost = move || {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (n >> 16).is_multiple_of(3)
    };
    let tracer = World::new(4, |hop, _, _| hop != 4 || !lost()).run(plan(40));
    let loss = tracer.end_loss().unwrap();
    assert_eq!(loss.verdict, Verdict::Counted);
    assert!((0.15..0.55).contains(&loss.share().unwrap()), "{loss:?}");
    assert_eq!(tracer.state(3), HopState::Counted);
}

#[test]
fn an_end_that_is_deaf_to_udp_is_traced_anew_by_icmp() {
    let deaf = |hop, probe: Probe, _| hop != 6 || probe.protocol == Protocol::Icmp;
    let tracer = World::new(6, deaf).run(Plan {
        echo: true,
        ..plan(3)
    });
    assert_eq!((tracer.distance(), tracer.anew_by_icmp()), (Some(6), true));
    assert_eq!(tracer.hops()[0].series().sent(), 3);
    // Without echo requests the path ends where answers do.
    let mut world = World::new(6, deaf);
    let tracer = world.run(plan(3));
    assert_eq!(
        (tracer.distance(), tracer.hops().len(), tracer.end_loss()),
        (None, 5, None)
    );
    assert_eq!(world.furthest, 5 + SILENT_HOPS);
}

#[test]
fn silence_in_the_middle_and_everywhere() {
    let tracer = World::new(12, |hop, _, _| !(3..=9).contains(&hop)).run(plan(4));
    assert_eq!(tracer.distance(), Some(12));
    assert_eq!(tracer.state(4), HopState::Silent);
    assert_eq!(tracer.state(1), HopState::Counted);
    let mut world = World::new(12, |_, _, _| false);
    let tracer = world.run(plan(4));
    assert_eq!((tracer.hops().len(), tracer.distance()), (0, None));
    assert!(world.probes < 30, "{}", world.probes);
}

#[test]
fn short_quotes_are_matched_by_waiting_then_by_address() {
    let mut world = World::new(6, |_, _, _| true);
    world.unnamed = true;
    let tracer = world.run(plan(8));
    assert_eq!(tracer.distance(), Some(6));
    assert!(tracer.unmatched() > 0);
    for (index, hop) in tracer.hops().iter().enumerate() {
        let seen: Vec<_> = hop.seen().iter().map(|s| s.address).collect();
        let wanted = if index == 5 {
            plan(1).target
        } else {
            router(index as u8 + 1)
        };
        assert_eq!(seen, [wanted]);
        let f = hop.series().figures().unwrap();
        assert_eq!(
            (f.best, f.worst),
            (10.0 * (index + 1) as f64, 10.0 * (index + 1) as f64)
        );
        assert!(
            hop.series().answered() >= 6,
            "hop {} {}",
            index + 1,
            hop.series().answered()
        );
    }
}

#[test]
fn a_refusal_on_the_way_is_a_loss_at_an_end_that_was_reached() {
    for router_answers in [true, false] {
        let mut world = World::new(5, |hop, _, _| hop != 4 || router_answers);
        world.refused_after = 5;
        let tracer = world.run(plan(10));
        assert_eq!(tracer.distance(), Some(5));
        let end = tracer.hops()[4].series();
        assert_eq!(
            (end.settled(), end.answered(), end.missing()),
            (10, 5, 5),
            "{router_answers}"
        );
    }
}

#[test]
fn a_path_that_grows_and_shrinks() {
    // Two worlds one after the other, joined by hand: the target answers at 3, then a router does.
    let mut tracer = Tracer::new(plan(9), 0).unwrap();
    tracer.end = Some(End {
        ttl: 3,
        reached: true,
    });
    tracer.hops = vec![Hop::default(); 3];
    tracer.learn_end(3, Meaning::TimeExceeded);
    assert_eq!(tracer.end, None);
    tracer.learn_end(5, Meaning::Reached);
    tracer.learn_end(4, Meaning::Unreachable(super::super::probe::Unreachable::Host));
    assert_eq!(tracer.distance(), Some(5));
    tracer.learn_end(2, Meaning::Reached);
    assert_eq!((tracer.distance(), tracer.hops().len()), (Some(2), 2));
}

#[test]
fn plans_are_bounded() {
    for (bad, wanted) in [
        (Plan { rounds: 0, ..plan(1) }, PlanError::Rounds(0)),
        (
            Plan {
                rounds: MAX_ROUNDS + 1,
                ..plan(1)
            },
            PlanError::Rounds(MAX_ROUNDS + 1),
        ),
        (
            Plan {
                interval: Duration::ZERO,
                ..plan(1)
            },
            PlanError::Interval(Duration::ZERO),
        ),
        (
            Plan {
                max_hops: 65,
                ..plan(1)
            },
            PlanError::Hops(65),
        ),
        (
            Plan {
                max_hops: 0,
                ..plan(1)
            },
            PlanError::Hops(0),
        ),
    ] {
        assert_eq!(Tracer::new(bad, 0).unwrap_err(), wanted);
    }
}

proptest! {
    /// Whatever is answered, it ends, sends no faster than allowed, and its books add up.
    #[test]
    fn any_world(end in 1u8..20, bits in prop::collection::vec(any::<bool>(), 1..50), rounds in 1u32..6, echo in any::<bool>(), unnamed in any::<bool>()) {
        let mut n = 0;
        let mut world = World::new(end, |_, _, _| { n += 1; bits[n % bits.len()] });
        world.unnamed = unnamed;
        let tracer = world.run(Plan { echo, ..plan(rounds) });
        for pair in world.at.windows(2) {
            prop_assert!(pair[1].since(pair[0]) >= SPACING);
        }
        for hop in tracer.hops() {
            let s = hop.series();
            prop_assert_eq!(s.settled(), s.sent());
            prop_assert!(s.sent() <= rounds);
        }
    }

    /// Answers that nobody asked for change nothing, and break nothing.
    #[test]
    fn any_answers(answers in prop::collection::vec((any::<Option<u16>>(), any::<u8>(), any::<bool>(), 0u8..3), 0..60)) {
        let mut tracer = Tracer::new(plan(2), 0).unwrap();
        let mut now = Mono::ZERO;
        for (number, from, udp, what) in answers {
            now = now + Duration::from_millis(30);
            if let Step::Send(probe) = tracer.poll(now) {
                tracer.sent(probe, now);
            }
            let meaning = [Meaning::TimeExceeded, Meaning::Reached, Meaning::Unreachable(super::super::probe::Unreachable::Host)][usize::from(what)];
            let protocol = if udp { Protocol::Udp } else { Protocol::Icmp };
            let number = number.map(|n| n % 40);
            tracer.answer(Answer { number, from: router(from), protocol, meaning }, now);
        }
        for hop in tracer.hops() {
            prop_assert!(hop.series().settled() <= hop.series().sent());
        }
    }
}
