//! When it looks, by table.

use super::*;

const ON: Watch = Watch {
    on: true,
    trace: true,
    wifi_names: false,
    full_addresses: false,
};
const EDGE: EdgeId = EdgeId::new(1).expect("not 0");

fn ms(ms: i64) -> Mono {
    Mono::from_millis(ms)
}

fn path(hops: &[(&str, u64)]) -> Path {
    let hop = |(index, (address, rtt)): (usize, &(&str, u64))| corridor_probes::surroundings::PathHop {
        hop: u8::try_from(index + 1).unwrap(),
        addresses: vec![address.parse().unwrap()],
        sent: 3,
        answered: 3,
        rtt: Some(corridor_probes::surroundings::Times {
            best: Duration::from_millis(*rtt),
            p50: Duration::from_millis(*rtt),
            worst: Duration::from_millis(*rtt),
        }),
        loss: Some(0.0),
        limits_answers: false,
        unreachable: None,
    };
    Path {
        target: "203.0.113.9".parse().unwrap(),
        method: "udp".into(),
        distance: None,
        loss: None,
        hops: hops.iter().enumerate().map(hop).collect(),
        gaps: Vec::new(),
        probes: 3 * u32::try_from(hops.len()).unwrap(),
    }
}

/// Runs from one second to another, at once done with what is to be done; when there were samples, and
/// paths.
fn run(
    around: &mut Around,
    seconds: std::ops::Range<i64>,
    usual: &[Toward],
) -> (Vec<i64>, Vec<(i64, PathLook)>) {
    let (mut samples, mut paths) = (Vec::new(), Vec::new());
    for second in seconds {
        let now = ms(second * 1_000);
        while let Some(look) = around.poll(usual, now) {
            match look {
                Look::Sample { .. } => {
                    samples.push(second);
                    around.sampled(Sample::nothing(NotSeen::OtherSystem), now);
                }
                Look::Path(look) => {
                    around.traced(look.clone(), Ok(path(&[("192.168.1.1", 2), ("203.0.113.1", 9)])));
                    paths.push((second, look));
                }
            }
        }
    }
    (samples, paths)
}

#[test]
fn samples_and_paths_by_schedule() {
    let usual = [Toward::Edge(EDGE), Toward::Target("media.example:5004".into())];
    // (in class, samples an hour, the least and the most paths in five hours)
    for (in_class, samples, paths) in [(false, 60, 4..=11), (true, 360, 21..=61)] {
        let mut around = Around::new(ON, 7, ms(0));
        around.set_in_class(in_class, ms(0));
        let (sampled, traced) = run(&mut around, 0..18_000, &usual);
        assert_eq!(sampled.len(), 5 * samples);
        assert!(paths.contains(&traced.len()), "{}", traced.len());
        assert!(traced[0].0 <= 30, "the first soon");
        assert!(traced.iter().all(|(_, look)| look.trigger.is_none()));
        let by_turns: Vec<_> = traced
            .iter()
            .take(3)
            .map(|(_, look)| look.toward.clone())
            .collect();
        assert_eq!(by_turns, [usual[0].clone(), usual[1].clone(), usual[0].clone()]);
    }
}

#[test]
fn a_class_that_begins_is_looked_at_soon() {
    let mut around = Around::new(ON, 7, ms(0));
    let usual = [Toward::Edge(EDGE)];
    run(&mut around, 0..1_000, &usual);
    around.set_in_class(true, ms(1_000_000));
    let (samples, paths) = run(&mut around, 1_000..1_031, &usual);
    assert_eq!(samples[0], 1_000);
    assert_eq!(paths.len(), 1);
}

#[test]
fn agents_spread_their_traces() {
    let firsts: std::collections::BTreeSet<_> = (0..50)
        .map(|seed| {
            let mut around = Around::new(ON, seed, ms(0));
            run(&mut around, 0..40, &[Toward::Edge(EDGE)]).1[0].0
        })
        .collect();
    assert!(firsts.len() > 15, "{firsts:?}");
}

#[test]
fn trouble_is_looked_into_at_once_and_not_over_and_over() {
    let mut around = Around::new(ON, 7, ms(0));
    let usual = [Toward::Edge(EDGE)];
    run(&mut around, 0..100, &usual);
    for second in 100..3_700 {
        around.trouble(Trouble::Breach, "c", Toward::Edge(EDGE), ms(second * 1_000));
        let (_, paths) = run(&mut around, second..second + 1, &usual);
        if second == 100 {
            let wanted = PathLook {
                toward: Toward::Edge(EDGE),
                trigger: Some(Trigger {
                    trouble: Trouble::Breach,
                    class: "c".into(),
                }),
                at: ms(100_000),
            };
            assert_eq!(paths, [(100, wanted)]);
        }
    }
    assert!(around.counters.paths <= 26, "{:?}", around.counters);
    assert!(around.counters.refused > 3_000);
}

#[test]
fn trouble_waits_for_the_trace_under_way() {
    let mut around = Around::new(ON, 7, ms(0));
    around.trouble(Trouble::LinkSilent, "", Toward::Edge(EDGE), ms(0));
    let Some(Look::Path(first)) = around.poll(&[], ms(0)) else {
        panic!("no path");
    };
    around.trouble(Trouble::Outage, "c", Toward::Edge(EDGE), ms(500));
    // Of several the first stays.
    around.trouble(Trouble::AtRisk, "d", Toward::Edge(EDGE), ms(600));
    assert!(matches!(around.poll(&[], ms(700)), Some(Look::Sample { .. })));
    assert_eq!(around.poll(&[], ms(700)), None);
    around.traced(first, Err(NotSeen::NoAnswer));
    assert_eq!(around.next_wakeup(), Some(ms(500)));
    let Some(Look::Path(second)) = around.poll(&[], ms(4_000)) else {
        panic!("no second path");
    };
    assert_eq!(second.trigger.map(|t| t.trouble), Some(Trouble::Outage));
}

#[test]
fn a_class_at_risk_is_trouble_when_it_begins() {
    let mut around = Around::new(ON, 7, ms(0));
    // (at risk, whether a trace is asked for)
    let steps = [
        (false, false),
        (true, true),
        (true, false),
        (false, false),
        (true, true),
    ];
    for (second, (at_risk, wanted)) in (0i64..).zip(steps) {
        let now = ms(100_000 + second * 60_000);
        around.legs([("c", at_risk, Some(EDGE))].into_iter(), now);
        let paths = std::iter::from_fn(|| around.poll(&[], now))
            .filter_map(|look| match look {
                Look::Path(look) => Some(look),
                Look::Sample { .. } => None,
            })
            .collect::<Vec<_>>();
        assert_eq!(!paths.is_empty(), wanted, "step {second}");
        paths
            .into_iter()
            .for_each(|look| around.traced(look, Err(NotSeen::NoAnswer)));
    }
}

#[test]
fn what_is_off_is_off() {
    let no_trace = Watch { trace: false, ..ON };
    // (watch, samples, paths)
    for (watch, samples, paths) in [(Watch::OFF, 0, 0), (no_trace, 60, 0), (ON, 60, 2)] {
        let mut around = Around::new(watch, 3, ms(0));
        let mut seen = run(&mut around, 0..1_800, &[Toward::Edge(EDGE)]);
        around.trouble(Trouble::Breach, "c", Toward::Edge(EDGE), ms(1_800_000));
        let after = run(&mut around, 1_800..3_600, &[Toward::Edge(EDGE)]);
        seen.0.extend(after.0);
        seen.1.extend(after.1);
        assert_eq!(seen.0.len(), samples, "{watch:?}");
        assert!(
            seen.1.len() >= paths && (seen.1.is_empty() == (paths == 0)),
            "{watch:?}"
        );
        assert_eq!(around.next_wakeup().is_some(), watch.on);
    }
}

#[test]
fn everything_is_told_once() {
    let mut around = Around::new(ON, 7, ms(0));
    assert_eq!(around.take_news(), (None, None));
    around.woke(ms(1_000), ms(1_400));
    run(&mut around, 0..40, &[Toward::Edge(EDGE)]);
    let (sample, traced) = around.take_news();
    let (at, _, stalls) = sample.unwrap();
    assert_eq!(
        (at, stalls.stalls, stalls.worst),
        (ms(0), 1, Duration::from_millis(400))
    );
    assert!(traced.is_some());
    assert_eq!(around.take_news(), (None, None));
    // What trouble asked for goes with its event.
    around.trouble(Trouble::Loss, "c", Toward::Edge(EDGE), ms(50_000));
    run(&mut around, 50..51, &[Toward::Edge(EDGE)]);
    assert!(around.take_news().1.is_none());
}

#[test]
fn the_first_hop_outside_is_that_of_the_last_path() {
    let mut around = Around::new(ON, 7, ms(0));
    let usual = [Toward::Edge(EDGE)];
    let outside = |around: &mut Around, now| match around.poll(&usual, now) {
        Some(Look::Sample { outside, .. }) => outside,
        other => panic!("{other:?}"),
    };
    assert_eq!(outside(&mut around, ms(0)), Err(NotSeen::NobodyYet));
    around.sampled(Sample::nothing(NotSeen::NoAnswer), ms(0));
    for (hops, wanted) in [
        (
            &[("192.168.1.1", 2), ("100.64.0.1", 5), ("203.0.113.1", 9)][..],
            Ok(3),
        ),
        (&[("192.168.1.1", 2)], Err(NotSeen::NoneOutside)),
    ] {
        let look = PathLook {
            toward: usual[0].clone(),
            trigger: None,
            at: ms(0),
        };
        around.traced(look, Ok(path(hops)));
        around.next_sample = ms(0);
        around.next_path = ms(1_000_000);
        assert_eq!(outside(&mut around, ms(1)), wanted);
        around.sampled(Sample::nothing(NotSeen::NoAnswer), ms(1));
    }
    around.moved(ms(2));
    assert_eq!(outside(&mut around, ms(2_002)), Err(NotSeen::NobodyYet));
}
