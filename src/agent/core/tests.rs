//! The agent's state, driven by hand: two edges, and what they say.

use super::*;

const NEAR: EdgeId = EdgeId::new(1).expect("not 0");
const FAR: EdgeId = EdgeId::new(2).expect("not 0");

fn now(ms: i64) -> Now {
    Now {
        mono: Mono::from_millis(ms),
        controller: Wall::from_secs(1_800_000_000) + Duration::from_millis(ms as u64),
        controller_error: None,
        wall: Wall::from_secs(0),
    }
}

fn agent() -> Core {
    let settings = Settings {
        version: "1".into(),
        platform: "test".into(),
        link_type: "wired".into(),
        ..Settings::default()
    };
    let edges = [NEAR, FAR].map(|id| proto::EdgeInfo {
        id: id.get().into(),
        name: format!("edge-{id:?}"),
        addresses: vec!["192.0.2.1:4433".into()],
        ..proto::EdgeInfo::default()
    });
    Core::new(AgentId(7), BootId(9), 1, settings, edges.into(), now(0).mono)
}

/// The edge's greeting, with or without its controller.
fn hello(controller_connected: bool) -> edge_to_agent::Body {
    edge_to_agent::Body::Hello(proto::EdgeHello {
        controller_connected,
        ..proto::EdgeHello::default()
    })
}

/// What was said to edges since the last call.
fn said(core: &mut Core) -> Vec<(EdgeId, agent_to_edge::Body)> {
    std::iter::from_fn(|| core.poll_output())
        .filter_map(|output| match output {
            Output::Control(edge, message) => Some((edge, message.body?)),
            _ => None,
        })
        .collect()
}

#[test]
fn an_edge_that_has_not_greeted_may_still_refuse() {
    let mut core = agent();
    core.connected(NEAR, 1, now(100));
    let shown = |core: &Core| super::super::status::report(core, "s", now(100)).edges[0].connected;
    assert!(!shown(&core));
    let greeting = proto::EdgeHello {
        boot: 5,
        ..proto::EdgeHello::default()
    };
    core.edge_said(NEAR, edge_to_agent::Body::Hello(greeting), now(120));
    assert!(shown(&core));
    core.disconnected(NEAR, 1, "revoked", now(200));
    assert!(!shown(&core));
}

#[test]
fn a_link_that_comes_up_is_measured_at_once_and_then_in_its_turn() {
    let mut core = agent();
    for (edge, no) in [(NEAR, 1), (FAR, 2)] {
        core.connected(edge, no, now(100));
        core.edge_said(edge, hello(true), now(110));
    }
    // Long up, and its first reports are told.
    wakeups_of_an_hour(&mut core, 200);
    core.disconnected(FAR, 2, "gone", now(4_000_000));
    core.connected(FAR, 3, now(4_000_100));
    let (mut looks, mut closed) = ([0; 2], None);
    let mut at = now(4_000_100);
    while at.mono < now(4_030_000).mono {
        while let Some(probe) = core.next_probe(at.mono) {
            let second = usize::from(at.mono > now(4_001_200).mono);
            looks[second] += u32::from(probe.edge == FAR);
        }
        core.handle_timeout(at);
        while let Some(output) = core.poll_output() {
            if let Output::Store { body, .. } = output
                && let Ok(report) = proto::decode::<proto::Report>(&body)
                && let far = proto::window::Of::Edge(FAR.get().into())
                && let since = now(4_000_000).controller.as_micros()
                && let mut windows = report.windows.into_iter()
                && let Some(w) = windows.find(|w| w.of.as_ref() == Some(&far) && w.start_us >= since)
            {
                closed = closed.or(Some((at.mono, w.every_ms, w.ledger)));
            }
        }
        at = now(core.next_wakeup().max(at.mono).as_micros() / 1_000 + 1);
    }
    let [first, then] = looks;
    assert!((4..=6).contains(&first) && then <= 5, "{first} {then}");
    let (at, every_ms, ledger) = closed.expect("told");
    // Nothing is answered here.
    assert!(at < now(4_018_000).mono, "{at:?}");
    assert_eq!(every_ms, 60_000, "probed so often from now on");
    assert!(ledger.is_some_and(|l| l.sent >= first));
}

/// Lets an hour pass, waking up only when the agent wants to; answers how often that was.
fn wakeups_of_an_hour(core: &mut Core, from_ms: i64) -> u32 {
    let mut at = now(from_ms);
    let end = at.mono + Duration::from_secs(3_600);
    let mut wakeups = 0;
    while at.mono < end {
        let next = core.next_wakeup().max(at.mono);
        at = now(next.as_micros() / 1_000 + 1);
        while core.next_probe(at.mono).is_some() {}
        core.handle_timeout(at);
        said(core);
        wakeups += 1;
        assert!(wakeups < 1_000_000, "it spins at {:?}", at.mono);
    }
    wakeups
}

#[test]
fn attaches_through_an_edge_that_has_its_controller() {
    let mut core = agent();
    core.connected(NEAR, 1, now(100));
    core.edge_said(NEAR, hello(false), now(110));
    assert!(
        !said(&mut core)
            .iter()
            .any(|(_, m)| matches!(m, agent_to_edge::Body::Up(_)))
    );
    core.connected(FAR, 2, now(200));
    core.edge_said(FAR, hello(true), now(210));
    let up: Vec<_> = said(&mut core)
        .into_iter()
        .filter(|(_, m)| matches!(m, agent_to_edge::Body::Up(_)))
        .map(|(edge, _)| edge)
        .collect();
    assert_eq!(up, [FAR]);
}

#[test]
fn without_edges_or_controller_it_sleeps_between_probes() {
    let mut core = agent();
    for (edge, no) in [(NEAR, 1), (FAR, 2)] {
        core.connected(edge, no, now(100));
        core.edge_said(edge, hello(true), now(110));
    }
    let attached = wakeups_of_an_hour(&mut core, 200);
    // The controller goes, then the edges.
    for edge in [NEAR, FAR] {
        let gone = proto::UplinkState {
            controller_connected: false,
        };
        core.edge_said(edge, edge_to_agent::Body::Uplink(gone), now(4_000_000));
    }
    let alone = wakeups_of_an_hour(&mut core, 4_000_100);
    for (edge, no) in [(NEAR, 1), (FAR, 2)] {
        core.disconnected(edge, no, "gone", now(8_000_000));
    }
    let cut_off = wakeups_of_an_hour(&mut core, 8_000_100);
    // A probe a second, its window a second, and a little beside.
    for (wakeups, how) in [(attached, "attached"), (alone, "alone"), (cut_off, "cut off")] {
        assert!((3_600..20_000).contains(&wakeups), "{how}: {wakeups} in an hour");
    }
}

/// The candidates as the controller has them, through an edge.
fn candidates(boots: [u64; 2]) -> edge_to_agent::Body {
    let edges = [NEAR, FAR]
        .into_iter()
        .zip(boots)
        .map(|(id, boot)| proto::EdgeInfo {
            id: id.get().into(),
            name: format!("edge-{id:?}"),
            addresses: vec!["192.0.2.1:4433".into()],
            boot,
            ..proto::EdgeInfo::default()
        });
    let candidates = proto::Candidates {
        version: 1,
        edges: edges.collect(),
    };
    let message = proto::FromController {
        body: Some(from_controller::Body::Candidates(candidates)),
    };
    edge_to_agent::Body::Down(prost::Message::encode_to_vec(&message))
}

#[test]
fn says_something_to_an_edge_that_has_restarted_so_that_the_dead_connection_ends() {
    for (boots, spoken_to) in [([5, 6], vec![]), ([5, 0], vec![]), ([5, 7], vec![FAR])] {
        let mut core = agent();
        for (edge, boot) in [(NEAR, 5), (FAR, 6)] {
            core.connected(edge, 1, now(100));
            let hello = proto::EdgeHello {
                boot,
                controller_connected: edge == NEAR,
                ..proto::EdgeHello::default()
            };
            core.edge_said(edge, edge_to_agent::Body::Hello(hello), now(110));
        }
        said(&mut core);
        core.edge_said(NEAR, candidates(boots), now(1_000));
        let edges: Vec<_> = said(&mut core).into_iter().map(|(edge, _)| edge).collect();
        assert_eq!(edges, spoken_to, "{boots:?}");
    }
}

const LAST: EdgeId = EdgeId::new(3).expect("not 0");

/// How often a link is probed, in steps.
fn spacing(core: &Core, edge: EdgeId) -> u32 {
    core.prober.pattern(Key::Link(edge)).unwrap().spacing()
}

/// An agent with three edges, looked at already, in a class whose routes go by two of them.
fn in_class() -> Core {
    let mut core = agent();
    let mut edges: Vec<_> = core.candidates.values().cloned().collect();
    edges.push(proto::EdgeInfo {
        id: LAST.get().into(),
        ..edges[0].clone()
    });
    core.set_candidates(edges.clone(), now(0).mono);
    for edge in [NEAR, FAR, LAST] {
        core.connected(edge, 1, now(100));
    }
    core.rates.first_looks.pass(now(2_000).mono);
    core.edge_said(NEAR, hello(true), now(110));
    let plan = proto::Plan {
        class: "c".into(),
        version: 1,
        far_end: Some(proto::FarEnd {
            of: Some(proto::far_end::Of::Hub(1)),
        }),
        routes: [vec![1], vec![2, 1]].map(|edges| proto::Route { edges }).into(),
        budget_us: 200_000,
        edges,
        ..proto::Plan::default()
    };
    let plans = proto::Plans {
        version: 1,
        plans: vec![plan],
    };
    core.controller_said(from_controller::Body::Plans(plans), now(200));
    core
}

#[test]
fn the_targets_of_its_classes_are_measured_and_nothing_else() {
    let mut core = in_class();
    let asked = |core: &mut Core| {
        std::iter::from_fn(|| core.poll_output())
            .filter_map(|output| match output {
                Output::Targets(list) => Some(list),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    assert!(asked(&mut core).is_empty(), "a hub is no target");
    let left = core.allowed().own;
    let to = |targets: &[&str]| {
        let plan = |(n, target): (usize, &&str)| proto::Plan {
            class: n.to_string(),
            version: 1,
            far_end: Some(proto::FarEnd {
                of: Some(proto::far_end::Of::Target((*target).to_owned())),
            }),
            routes: vec![proto::Route { edges: vec![1] }],
            budget_us: 200_000,
            ..proto::Plan::default()
        };
        from_controller::Body::Plans(proto::Plans {
            version: 2,
            plans: targets.iter().enumerate().map(plan).collect(),
        })
    };
    core.controller_said(to(&["sfu:2", "sfu:1", "sfu:2"]), now(300));
    assert_eq!(asked(&mut core), [["sfu:1", "sfu:2"]]);
    assert!(core.allowed().own < left, "their probes are in the budget");
    core.controller_said(to(&["sfu:2", "sfu:1"]), now(400));
    assert!(asked(&mut core).is_empty(), "the same");
    core.controller_said(to(&[]), now(500));
    assert_eq!(asked(&mut core), [Vec::<String>::new()]);
}

#[test]
fn an_uplink_that_no_route_needs_any_more_is_followed_by_another() {
    let mut core = in_class();
    core.edge_said(FAR, hello(true), now(210));
    assert_eq!(core.reports.uplink, Some(NEAR));
    let others: Vec<_> = [FAR, LAST].iter().map(|id| core.candidates[id].clone()).collect();
    core.set_candidates(others, now(250).mono);
    assert_eq!(core.reports.uplink, Some(NEAR), "a route enters by it");
    let over = proto::Plans {
        version: 2,
        plans: Vec::new(),
    };
    core.controller_said(from_controller::Body::Plans(over), now(300));
    assert!(core.edges.get(NEAR).is_none());
    assert_eq!(core.reports.uplink, Some(FAR));
}

#[test]
fn what_is_seen_of_a_new_edge_in_class_is_told_as_soon_as_its_first_second_is_closed() {
    let mut core = in_class();
    core.reports.closed = 10;
    let mut reported = Vec::new();
    let mut live = |core: &mut Core, ms: std::ops::Range<i64>| {
        for ms in ms.step_by(100) {
            while core.next_probe(now(ms).mono).is_some() {}
            let before = core.counters.reports;
            core.handle_timeout(now(ms));
            assert!(core.first_figures_due().is_none_or(|at| at > now(ms).mono));
            reported.extend((core.counters.reports > before).then_some(ms));
        }
    };
    live(&mut core, 300..40_000);
    core.disconnected(LAST, 1, "away", now(40_000));
    core.connected(LAST, 2, now(40_050));
    live(&mut core, 40_100..50_000);
    assert!(
        reported.iter().any(|ms| (45_250..45_400).contains(ms)),
        "{reported:?}"
    );
    let after = reported.iter().filter(|ms| **ms > 45_400);
    assert!(after.count() <= 2, "once: {reported:?}");
}

#[test]
fn while_a_leg_is_at_risk_other_candidates_are_probed_faster() {
    let mut core = in_class();
    assert_eq!((spacing(&core, LAST), core.legs.at_risk()), (10, false));
    // Nothing is answered.
    for ms in (200..5_000).step_by(100) {
        while core.next_probe(now(ms).mono).is_some() {}
        core.handle_timeout(now(ms));
    }
    assert!(core.legs.at_risk());
    assert_eq!(spacing(&core, LAST), 5);
}

#[test]
fn what_goes_over_the_line_beyond_the_budget_slows_down_the_least_important() {
    let mut core = in_class();
    let spend = |core: &mut Core, seconds: std::ops::Range<u64>, kbps: u64| {
        for s in seconds.step_by(10) {
            let line = corridor_probes::tiers::Bytes {
                out: kbps * 125 * s,
                back: 0,
            };
            let spent = Spent {
                line,
                ..Spent::default()
            };
            core.spent(spent, Mono::from_millis(i64::try_from(s).unwrap() * 1_000));
        }
    };
    spend(&mut core, 10..120, 59);
    assert_eq!(spacing(&core, LAST), 10);
    let told = core.traffic();
    assert_eq!(
        (told.budget_bps, told.rungs_down, told.out_bps),
        (60_000, 0, 59_000)
    );
    spend(&mut core, 120..200, 70);
    assert!(spacing(&core, LAST) > 10);
    assert!(core.traffic().rungs_down > 0);
    let routes: Vec<_> = core.legs.routes().collect();
    for (leg, route) in routes {
        let pattern = core.prober.pattern(Key::Route(leg, route)).unwrap();
        assert_eq!(pattern.spacing(), 1, "{route:?}");
    }
}

#[test]
fn the_smallest_of_own_told_and_metered_budgets_and_the_site_s_share_count() {
    let mut core = in_class();
    let told = |idle_kbps, in_class_kbps, site_share_bps| {
        from_controller::Body::Settings(proto::Settings {
            idle_kbps,
            in_class_kbps,
            site_share_bps,
            ..proto::Settings::default()
        })
    };
    let routes = |core: &Core| {
        let (leg, route) = core.legs.routes().next().unwrap();
        core.prober.pattern(Key::Route(leg, route)).unwrap().spacing()
    };
    let budget = |core: &Core| (core.traffic().budget_bps, core.traffic().share_bps);
    assert_eq!((budget(&core), routes(&core)), ((60_000, 0), 1));
    core.controller_said(told(10, 80, 0), now(300));
    assert_eq!(budget(&core), (80_000, 0));
    core.settings.in_class_kbps = Some(40);
    core.controller_said(told(10, 80, 10_000), now(400));
    assert_eq!(budget(&core), (40_000, 10_000));
    assert!(routes(&core) > 1, "it fits the share");
    // A controller that does not know shares.
    core.controller_said(told(10, 80, 0), now(500));
    assert_eq!((budget(&core), routes(&core)), ((40_000, 0), 1));
    core.set_metered(true, now(600).mono);
    assert_eq!((budget(&core), routes(&core)), ((30_000, 0), 2));
    assert!(core.traffic().metered);
    core.set_metered(false, now(700).mono);
    assert_eq!(budget(&core), (40_000, 0));
}

/// Its own sweep, with whatever else it does: once all edges were looked at, two probes a second at most.
#[test]
fn an_idle_agent_sends_two_probes_a_second_at_most() {
    let mut core = agent();
    let edges = (1..=8).map(|id| proto::EdgeInfo {
        id,
        addresses: vec!["192.0.2.1:4433".into()],
        ..proto::EdgeInfo::default()
    });
    core.set_candidates(edges.collect(), now(0).mono);
    for id in 1..=8 {
        core.connected(EdgeId::new(id).unwrap(), 1, now(1));
    }
    let mut sent: Vec<Mono> = Vec::new();
    while sent.last().is_none_or(|at| *at < now(300_000).mono) {
        let at = core.next_wakeup();
        while core.next_probe(at).is_some() {
            sent.push(at);
        }
        core.handle_timeout(Now { mono: at, ..now(0) });
        said(&mut core);
    }
    let looks = sent.partition_point(|at| *at < now(1_050).mono);
    assert!((8 * 4..=8 * 6).contains(&looks), "{looks}");
    let sent = &sent[looks..];
    assert!(
        sent.windows(3)
            .all(|w| w[2].since(w[0]) >= Duration::from_secs(1))
    );
    // One a second, and five a minute to each of seven.
    assert!(
        (300 + 5 * 35 - 10..300 + 5 * 35 + 10).contains(&sent.len()),
        "{}",
        sent.len()
    );
}
