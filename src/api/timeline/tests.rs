use corridor_probes::{BootId, Sample, Steps};
use proptest::prelude::*;

use super::*;
use crate::{
    api::model::ParticipantStatus,
    reporting::route_message,
    store::records::{ClassState, Protect},
};

const T0: Wall = Wall::from_secs(1_800_000_000);
const AGENT: AgentId = AgentId(7);

fn at(ms: u64) -> Wall {
    T0 + Duration::from_millis(ms)
}

fn route(edges: &[u16]) -> Route {
    let edges: Vec<_> = edges.iter().map(|&e| EdgeId::new(e).unwrap()).collect();
    Route::new(&edges).unwrap()
}

fn class() -> ClassStatus {
    ClassStatus {
        id: "c1".into(),
        state: ClassState::Live,
        outcome: None,
        quality: Quality::Unknown,
        hub: None,
        target: None,
        target_links: Vec::new(),
        budget_ms: 200.0,
        budget_on: BudgetOn::RoundTrip,
        protect: Protect::Off,
        start: None,
        end: None,
        began: None,
        ended: None,
        rtt_ms: None,
        one_way_ms: None,
        participants: vec![ParticipantStatus {
            subject: "s1".into(),
            role: Role::Student,
            quality: Quality::Unknown,
            joined: None,
            left: None,
            legs: Vec::new(),
            flows: Vec::new(),
        }],
    }
}

fn builder(to: Wall) -> Builder {
    let agents = BTreeMap::from([(AGENT, "s1".to_owned()), (AgentId(8), "other".to_owned())]);
    Builder::new(&class(), &agents, T0, to)
}

fn rtts(ms: &[u32]) -> Vec<u8> {
    let sample = |(seq, ms): (usize, &u32)| Sample {
        seq: seq as u64,
        rtt_us: ms * 1_000,
        up_us: None,
        steps: Steps::default(),
    };
    samples::encode(&ms.iter().enumerate().map(sample).collect::<Vec<_>>())
}

fn window(route: Route, start: Wall, length_ms: u32) -> proto::Window {
    proto::Window {
        of: Some(Of::Route(route_message(route))),
        class: "c1".into(),
        start_us: start.as_micros(),
        length_ms,
        ledger: Some(proto::Ledger {
            sent: 100,
            received: 100,
            ..proto::Ledger::default()
        }),
        ..proto::Window::default()
    }
}

fn report(end: Wall, in_use: Route, windows: Vec<proto::Window>) -> proto::Report {
    proto::Report {
        end_us: end.as_micros(),
        windows,
        legs: vec![proto::LegState {
            class: "c1".into(),
            in_use: Some(route_message(in_use)),
            ..proto::LegState::default()
        }],
        ..proto::Report::default()
    }
}

fn switch(at: Wall, from: Option<Route>, to: Route) -> proto::Event {
    proto::Event {
        at_us: at.as_micros(),
        kind: "switch".into(),
        class: "c1".into(),
        detail: serde_json::json!({"from": from, "to": to, "text": "x"}).to_string(),
        ..proto::Event::default()
    }
}

fn stored(reporter: Reporter, report: &proto::Report) -> ReportRecord {
    ReportRecord {
        reporter,
        boot: BootId(1),
        sequence: report.sequence,
        end: Wall::from_micros(report.end_us),
        received: Wall::from_micros(report.end_us),
        body: prost::Message::encode_to_vec(report),
    }
}

fn points(to: Wall, reports: &[proto::Report]) -> Vec<Point> {
    let mut builder = builder(to);
    for report in reports {
        builder.take(&stored(Reporter::Agent(AGENT), report));
    }
    let edges = BTreeMap::from([(EdgeId::new(1).unwrap(), "fra-1".to_owned())]);
    builder.finish(&edges).remove(0).points
}

#[test]
fn quality_is_the_first_rule_that_holds() {
    let ledger = |sent, received, unconnected| Ledger {
        sent,
        received,
        unconnected,
        ..Ledger::default()
    };
    let flat = |ms: u32, n: usize| vec![ms * 1_000; n];
    // One in twenty is above, and so is the 95th percentile with one more.
    let tail = |slow: usize| [flat(10, 100 - slow), flat(300, slow)].concat();
    let spikes = |slow: usize| [flat(10, 39 - slow), flat(300, slow)].concat();
    use Quality::{AtRisk, Good, Outage, Unknown};
    for (name, ledger, rtts_us, on, said, expected) in [
        ("silence", ledger(3, 0, 0), vec![], 0, false, Outage),
        ("too short a silence", ledger(2, 0, 0), vec![], 0, false, Unknown),
        ("no connection", ledger(0, 0, 3), vec![], 0, false, Outage),
        ("nothing sent", ledger(0, 0, 2), vec![], 0, false, Unknown),
        ("nothing at all", ledger(0, 0, 0), vec![], 0, true, Unknown),
        ("inside", ledger(100, 100, 0), flat(200, 100), 0, false, Good),
        ("over", ledger(100, 100, 0), flat(201, 100), 0, false, AtRisk),
        ("a tail of 5 %", ledger(100, 100, 0), tail(5), 0, false, Good),
        ("a tail of 6 %", ledger(100, 100, 0), tail(6), 0, false, AtRisk),
        ("spikes of few", ledger(39, 39, 0), spikes(19), 0, false, Good),
        (
            "mostly spikes of few",
            ledger(39, 39, 0),
            spikes(20),
            0,
            false,
            AtRisk,
        ),
        ("one way", ledger(100, 100, 0), flat(400, 100), 1, false, Good),
        (
            "one way, over",
            ledger(100, 100, 0),
            flat(401, 100),
            1,
            false,
            AtRisk,
        ),
        ("4 % lost", ledger(100, 96, 0), flat(10, 96), 0, false, Good),
        ("5 % lost", ledger(100, 95, 0), flat(10, 95), 0, false, AtRisk),
        (
            "the agent says so",
            ledger(100, 100, 0),
            flat(10, 100),
            0,
            true,
            AtRisk,
        ),
        ("no samples", ledger(100, 100, 0), vec![], 0, false, Good),
    ] {
        let budget = Budget {
            ms: 200.0,
            on: [BudgetOn::RoundTrip, BudgetOn::OneWay][on],
        };
        let piece = Piece {
            start: T0,
            end: at(10_000),
            route: Route::DIRECT,
            ledger,
            rtts_us,
            jitter: Mean::default(),
            quality: Unknown,
        };
        assert_eq!(judge(&piece, budget, said), expected, "{name}");
    }
}

#[test]
fn the_route_in_use_is_that_of_most_of_the_time() {
    let (a, b, c) = (route(&[1]), route(&[2]), route(&[3]));
    let step = |ms, route, before| Step {
        at: at(ms),
        route,
        before,
    };
    let switched = [
        step(4_000, b, Some(a)),
        step(6_000, c, Some(b)),
        step(9_000, a, None),
    ];
    for (start, end, expected) in [
        (0, 4_000, a),
        (0, 7_999, a),
        (0, 8_000, a),
        (1_000, 6_000, a),
        (2_000, 6_000, b),
        (4_000, 5_000, b),
        (4_000, 8_001, c),
        (4_000, 8_000, c),
        (5_999, 6_000, b),
        (8_000, 20_000, a),
        // Twice in use, and together the longest.
        (2_000, 11_500, a),
    ] {
        assert_eq!(
            in_use(&switched, at(start), at(end)),
            Some(expected),
            "{start}..{end}"
        );
    }
    let state = [step(4_000, b, None)];
    assert_eq!(
        in_use(&state, at(0), at(1_000)),
        Some(b),
        "nothing says otherwise"
    );
    assert_eq!(in_use(&[], at(0), at(1_000)), None);
}

#[test]
fn a_window_becomes_a_point_of_the_route_in_use() {
    let (used, standby) = (route(&[1, 2]), route(&[3]));
    let mut sampled = window(used, at(0), 10_000);
    sampled.samples = rtts(&[30, 10, 20, 40]);
    sampled.jitter_up_us = 1_500;
    sampled.jitter_down_us = 2_500;
    sampled.ledger = Some(proto::Ledger {
        sent: 100,
        received: 97,
        lost_up: 2,
        lost_down: 1,
        ..proto::Ledger::default()
    });
    let got = points(
        at(60_000),
        &[report(
            at(12_000),
            used,
            vec![window(standby, at(0), 10_000), sampled],
        )],
    );
    let expected = Point {
        at: time_text::text(at(10_000)),
        length_s: 10.0,
        route: vec!["fra-1".into(), "e2".into()],
        rtt_ms: Some(Rtt { p50: 20.0, p95: 40.0 }),
        loss_up: Some(0.02),
        loss_down: Some(1.0 / 98.0),
        jitter_ms: Some(2.5),
        quality: Quality::Good,
    };
    assert_eq!(got, [expected]);
}

#[test]
fn a_switch_counts_from_its_own_time() {
    let (old, new) = (route(&[1]), route(&[2]));
    let windows = |start, length| vec![window(old, at(start), length), window(new, at(start), length)];
    let mut switched = report(at(14_100), new, windows(10_000, 3_000));
    switched.events = vec![switch(at(14_000), Some(old), new)];
    let got = points(
        at(60_000),
        &[
            report(at(12_000), old, windows(0, 10_000)),
            switched,
            report(at(24_000), new, windows(13_000, 9_000)),
        ],
    );
    let routes: Vec<_> = got.iter().map(|p| p.route[0].as_str()).collect();
    assert_eq!(
        routes,
        ["fra-1", "fra-1", "e2"],
        "and windows of the other route are left out"
    );
}

#[test]
fn what_is_not_of_the_class_or_not_readable_says_nothing() {
    let used = route(&[1]);
    let good = window(used, at(0), 10_000);
    let with = |change: fn(&mut proto::Window)| {
        let mut window = good.clone();
        change(&mut window);
        window
    };
    let windows = vec![
        with(|w| w.class = "c2".into()),
        with(|w| w.of = Some(Of::Edge(1))),
        with(|w| w.of = None),
        with(|w| w.length_ms = 0),
        with(|w| w.length_ms = 3_600_001),
        // More lost than sent: it would be shown as a loss of 500 %.
        with(|w| {
            w.ledger = Some(proto::Ledger {
                sent: 1,
                lost_up: 5,
                ..proto::Ledger::default()
            });
        }),
        with(|w| w.start_us = i64::MAX),
        with(|w| w.start_us = i64::MIN),
        with(|w| w.of = Some(Of::Route(proto::Route { edges: vec![1, 1] }))),
        with(|w| w.of = Some(Of::Route(proto::Route { edges: vec![1; 90] }))),
    ];
    assert_eq!(points(at(60_000), &[report(at(10_000), used, windows)]), []);
    let broken = with(|w| w.samples = vec![1, 0xff]);
    let got = points(at(60_000), &[report(at(10_000), used, vec![broken])]);
    assert_eq!(got[0].rtt_ms, None);

    let mut builder = builder(at(60_000));
    let fine = report(at(10_000), used, vec![good]);
    builder.take(&stored(Reporter::Agent(AgentId(8)), &fine));
    builder.take(&stored(Reporter::Agent(AgentId(9)), &fine));
    builder.take(&stored(Reporter::Edge(EdgeId::new(7).unwrap()), &fine));
    builder.take(&ReportRecord {
        body: vec![0xff; 40],
        ..stored(Reporter::Agent(AGENT), &fine)
    });
    assert_eq!(builder.finish(&BTreeMap::new())[0].points, []);
}

#[test]
fn one_report_brings_only_so_many_windows() {
    let used = route(&[1]);
    let windows = (0..40).map(|i| window(used, at(i * 1_000), 1_000)).collect();
    assert_eq!(
        points(at(60_000), &[report(at(41_000), used, windows)]).len(),
        MAX_WINDOWS
    );
}

/// Ten-second windows one after another, but for those that `skip` leaves out.
fn row(n: u64, skip: impl Fn(u64) -> bool, of: impl Fn(u64) -> Route) -> Vec<proto::Report> {
    (0..n)
        .filter(|&i| !skip(i))
        .map(|i| {
            let mut window = window(of(i), at(i * 10_000), 10_000);
            window.samples = rtts(&[i as u32 % 50 + 1]);
            let mut report = report(at((i + 1) * 10_000), of(i), vec![window]);
            report.events = vec![switch(at(i * 10_000), None, of(i))];
            report
        })
        .collect()
}

#[test]
fn few_windows_stay_as_they_are_and_many_are_merged() {
    let always = |_| route(&[1]);
    let n = MAX_POINTS as u64;
    let to = |n: u64| at(n * 10_000);
    assert_eq!(points(to(n), &row(n, |_| false, always)).len(), MAX_POINTS);
    let merged = points(to(4 * n), &row(4 * n, |_| false, always));
    assert!(merged.len() <= MAX_POINTS + 1, "{}", merged.len());
    let total: f64 = merged.iter().map(|p| p.length_s).sum();
    assert_eq!(total, 4.0 * n as f64 * 10.0, "nothing is lost");
    let mid = &merged[500];
    assert_eq!(mid.length_s, 40.0);
    assert_eq!(mid.loss_up, Some(0.0));
}

#[test]
fn merging_stops_at_gaps_and_other_routes_and_keeps_the_worst() {
    let n = 4 * MAX_POINTS as u64;
    // An hour without a report, and every tenth window on another route.
    let gap = 3_000..3_360;
    let reports = row(
        n,
        |i| gap.contains(&i),
        |i| route(if i % 10 == 9 { &[2] } else { &[1] }),
    );
    let got = points(at(n * 10_000), &reports);
    let (mut before, mut gaps) = (T0, 0);
    for point in &got {
        let end = time_text::parse(&point.at).unwrap();
        let start = end - Duration::from_secs_f64(point.length_s);
        if start > before {
            gaps += 1;
            assert_eq!(start.since(before), Duration::from_secs(3_600));
        }
        assert!(start >= before, "no overlap");
        before = end;
    }
    assert_eq!(gaps, 1);
    let other = got.iter().filter(|p| p.route == ["e2"]).map(|p| p.length_s);
    assert_eq!(other.sum::<f64>(), (n - 360) as f64, "a tenth of all, as it was");

    let piece = |ms: u64, quality| Piece {
        start: at(ms),
        end: at(ms + 1_000),
        route: route(&[1]),
        ledger: Ledger {
            sent: 10,
            received: 10,
            ..Ledger::default()
        },
        rtts_us: vec![ms as u32],
        jitter: Mean {
            sum: ms as f64,
            weight: 1.0,
        },
        quality,
    };
    use Quality::{AtRisk, Good, Outage, Unknown};
    for (one, other, worst) in [
        (Good, AtRisk, AtRisk),
        (Outage, AtRisk, Outage),
        (Unknown, Good, Good),
        (Outage, Unknown, Outage),
        (Unknown, Unknown, Unknown),
    ] {
        let mut merged = piece(1_000, one);
        merged.absorb(piece(2_000, other));
        assert_eq!(merged.quality, worst);
        let point = point(&merged, &BTreeMap::new());
        assert_eq!((point.length_s, point.jitter_ms), (2.0, Some(1.5)));
        assert_eq!(point.rtt_ms, Some(Rtt { p50: 1.0, p95: 2.0 }));
    }
}

proptest! {
    /// By asking of every millisecond.
    #[test]
    fn the_route_in_use_agrees_with_the_definition(
        changes in prop::collection::vec((0u64..60, 1u16..4), 1..8),
        start in 0u64..60,
        length in 1u64..30,
    ) {
        let mut steps: Vec<_> = changes
            .into_iter()
            .map(|(ms, edge)| Step { at: at(ms), route: route(&[edge]), before: None })
            .collect();
        steps.sort_by_key(|s| s.at);
        let now = |ms: u64| {
            let last = steps.iter().rev().find(|s| s.at <= at(ms));
            last.or(steps.first()).unwrap().route
        };
        let share = |r: Route| (start..start + length).filter(|&ms| now(ms) == r).count();
        let got = in_use(&steps, at(start), at(start + length)).unwrap();
        let most = (1..4).map(|e| share(route(&[e]))).max().unwrap();
        prop_assert_eq!(share(got), most);
    }

    #[test]
    fn any_bytes_are_taken_or_left(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut builder = builder(at(1_000));
        let record = stored(Reporter::Agent(AGENT), &proto::Report::default());
        builder.take(&ReportRecord { body, ..record });
        builder.finish(&BTreeMap::new());
    }
}
