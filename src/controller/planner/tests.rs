use corridor_probes::Wall;
use rand::{SeedableRng as _, rngs::StdRng};

use super::*;
use crate::{
    config,
    controller::{NewClass, edges::Connection},
    identity::Ca,
    route::directions::NoClocks,
    store::records::{AgentRecord, EdgeRecord, Role},
};

const AGENTS: [(u64, &str, Role); 2] = [(7, "teacher", Role::Teacher), (8, "student", Role::Student)];

fn agents() -> Agents {
    let mut agents = Agents::restore(AGENTS.map(|(id, subject, _)| AgentRecord {
        id: AgentId(id),
        subject: subject.into(),
        public_key: vec![],
        tags: BTreeMap::new(),
        joined: Wall::from_secs(1),
        revoked: None,
        last_seen: None,
    }));
    for (id, ..) in AGENTS {
        agents.attach(AgentId(id), e(2), &proto::Attach::default(), Wall::from_secs(1));
    }
    agents
}

fn e(id: u16) -> EdgeId {
    EdgeId::new(id).unwrap()
}

/// Two edges, of which those named are connected.
fn edges(connected: &[u16]) -> Edges {
    let mut edges = Edges::restore([1, 2].map(|id| EdgeRecord {
        id: e(id),
        name: format!("e{id}"),
        region: None,
        addresses: vec![],
        public_key: vec![],
        tags: BTreeMap::new(),
        joined: Wall::from_secs(1),
        revoked: None,
        draining: false,
    }));
    for &id in connected {
        edges.connected(
            e(id),
            Connection(1),
            &proto::EdgeRegister::default(),
            Wall::from_secs(1),
        );
    }
    edges
}

fn classes() -> Classes {
    let mut classes = Classes::default();
    let participants = AGENTS.map(|(_, subject, role)| (subject.to_owned(), role));
    let class = NewClass::new("c", participants.into());
    classes.create(Wall::from_secs(1), class).unwrap();
    classes
}

fn at(ms: i64) -> Now {
    Now {
        mono: Mono::from_millis(ms),
        wall: Wall::from_micros(1_000_000 + ms * 1_000),
    }
}

fn settings() -> Settings {
    Settings::new(&config::Controller::default(), &config::Edge::default())
}

/// As an agent is told it, without a grant.
fn told(planner: &Planner, agent: AgentId, edges: &Edges) -> Vec<proto::Plan> {
    let ca = Ca::ephemeral(Wall::from_secs(1), &mut StdRng::seed_from_u64(1)).unwrap();
    let grants = Grants::restore(ca.into(), 1, Vec::new(), Wall::from_secs(1), Mono::ZERO);
    let beside = Beside {
        edges,
        agents: &agents(),
        classes: &classes(),
        grants: &grants,
    };
    planner.plans_of(agent, beside).collect()
}

/// A link that agents 7 and 8 have to edge `id`, measured now.
fn measured(planner: &mut Planner, id: u16, now: Now) {
    for (agent, ..) in AGENTS {
        planner.links.observe(
            LinkKey::AgentEdge(AgentId(agent), e(id)),
            &Observation {
                at: now.mono,
                length: Duration::from_secs(10),
                rtt_us: &[20_000; 10],
                sent: 10,
                lost_up: 0,
                lost_down: 0,
                kept_out: 0,
                every: Duration::ZERO,
                chains: Default::default(),
            },
        );
    }
}

/// A report of one window of the link to an edge, which ended at `end_ms`.
fn report_of(edge: u32, end_ms: i64) -> proto::Report {
    proto::Report {
        windows: vec![proto::Window {
            of: Some(window::Of::Edge(edge)),
            start_us: at(end_ms).wall.as_micros() - 1_000_000,
            length_ms: 1_000,
            ledger: Some(proto::Ledger {
                slots: 1,
                sent: 1,
                received: 1,
                ..proto::Ledger::default()
            }),
            ..proto::Window::default()
        }],
        ..proto::Report::default()
    }
}

#[test]
fn a_restored_plan_stands_until_edges_had_time_to_come_back() {
    let mut before = Planner::restore(&settings(), vec![], Mono::from_millis(-60_000));
    let now = at(-30_000);
    measured(&mut before, 1, now);
    let records: Vec<_> = before
        .update(&classes(), &agents(), &edges(&[1]), &NoClocks, now)
        .into_iter()
        .filter_map(|change| change.record)
        .collect();
    let by_1 = Route::new(&[e(1)]).unwrap();
    assert_eq!(before.leg("c", "student").unwrap().primary, Some(by_1));

    // The other edge is back first, and is measured.
    let mut planner = Planner::restore(&settings(), records, Mono::from_millis(0));
    assert_eq!(told(&planner, AgentId(8), &edges(&[])).len(), 1);
    measured(&mut planner, 2, at(1_000));
    let settle = i64::try_from(SETTLE.as_millis()).unwrap();
    let unheard = i64::try_from(SETTLE_UNHEARD.as_millis()).unwrap();
    for (ms, changes) in [
        (1_000, 0),
        (settle - 1, 0),
        (settle, 0),
        (settle + 1, 1),
        (unheard, 1),
    ] {
        if ms == settle + 1 {
            // The teacher's agent tells of now; the student's of what was when the controller was away.
            planner.observe(Reporter::Agent(AgentId(7)), &report_of(2, ms - 1_000), at(ms));
            planner.observe(Reporter::Agent(AgentId(8)), &report_of(2, ms - 16_000), at(ms));
        }
        if ms == unheard {
            measured(&mut planner, 2, at(ms));
        }
        let changed = planner.update(&classes(), &agents(), &edges(&[2]), &NoClocks, at(ms));
        assert_eq!(changed.len(), changes, "at {ms} ms: {changed:?}");
    }
    let by_2 = Route::new(&[e(2)]).unwrap();
    assert_eq!(planner.leg("c", "student").unwrap().primary, Some(by_2));
}

#[test]
fn windows_of_targets_are_links_of_edges_and_by_tcp_nothing_is_lost() {
    let by = |method: &str, sent: u32, received: u32| {
        let mut report = report_of(1, 1_000);
        let samples: Vec<_> = (0..u64::from(received))
            .map(|seq| corridor_probes::Sample {
                seq,
                rtt_us: 20_000,
                up_us: None,
                steps: Default::default(),
            })
            .collect();
        report.windows[0].of = Some(window::Of::Target(Box::new(proto::Target {
            name: "sfu:1".into(),
            method: method.into(),
            unmeasured: Vec::new(),
        })));
        report.windows[0].samples = samples::encode(&samples);
        report.windows[0].ledger = Some(proto::Ledger {
            slots: sent,
            sent,
            received,
            lost_unknown: sent - received,
            ..proto::Ledger::default()
        });
        report
    };
    let key = LinkKey::EdgeTarget(e(1), "sfu:1".into());
    let edge = Reporter::Edge(e(1));
    let loss = |planner: &Planner| {
        let (up, down) = planner.links.link(&key)?.loss(at(1_000).mono)?;
        Some((up.lost, down.lost, down.sent))
    };
    let known = |from, method: &str, sent, received| {
        let mut planner = Planner::restore(&settings(), vec![], Mono::ZERO);
        planner.observe(from, &by(method, sent, received), at(1_000));
        let link = planner.links.link(&key);
        let rtt = link.and_then(|l| l.rtt(at(1_000).mono)).map(|d| d.median());
        (rtt.map(|d| d.as_millis()), loss(&planner))
    };
    assert_eq!(known(edge, "stun", 10, 8), (Some(20), Some((0, 2, 10))));
    assert_eq!(known(edge, "tcp", 10, 8), (Some(20), Some((0, 0, 8))));
    assert_eq!(known(edge, "tcp", 10, 0), (None, None), "it says nothing");
    assert_eq!(known(edge, "", 0, 0), (None, None), "unmeasured");
    // Agents send nothing to targets directly, so that there is no route for what they would measure.
    assert_eq!(known(Reporter::Agent(AgentId(7)), "stun", 10, 8), (None, None));
}
