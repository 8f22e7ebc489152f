//! A whole building: 300 agents in class behind one address, their controller, and the rates that they come
//! to.

use std::{collections::BTreeMap, sync::Arc};

use corridor_probes::{EdgeId, Mono, Wall, tiers};
use rand::{SeedableRng as _, rngs::StdRng};

use super::*;
use crate::{
    agent::{
        Settings as AgentSettings,
        rates::{self, Allowed, Rates, Wanted},
    },
    config,
    controller::{
        NewClass,
        core::{Now, Output, Restored},
        edges::Connection,
        settings::Settings,
    },
    identity::Ca,
    proto::{self, controller_to_edge, to_controller},
    store::records::{AgentRecord, EdgeRecord, Role},
};

const PUPILS: u64 = 300;

fn edge(id: u16) -> EdgeId {
    EdgeId::new(id).unwrap()
}

fn at(s: i64) -> Now {
    Now {
        mono: Mono::from_millis(s * 1_000),
        wall: Wall::from_secs(1_900_000_000 + s),
    }
}

fn subject(n: u64) -> String {
    format!("pupil-{n}")
}

fn ca() -> Arc<Ca> {
    let ca = Ca::ephemeral(at(0).wall, &mut StdRng::seed_from_u64(1));
    Arc::new(ca.unwrap())
}

/// A controller with three edges, and all pupils in classes of two with each other.
fn school() -> Core {
    let agents = (1..=PUPILS).map(|n| AgentRecord {
        id: AgentId(n),
        subject: subject(n),
        public_key: vec![],
        tags: BTreeMap::new(),
        joined: Wall::from_secs(1),
        revoked: None,
        last_seen: None,
    });
    let edges = (1..=3).map(|n| EdgeRecord {
        id: edge(n),
        name: format!("e{n}"),
        region: None,
        addresses: vec![],
        public_key: vec![],
        tags: BTreeMap::new(),
        joined: Wall::from_secs(1),
        revoked: None,
        draining: false,
    });
    let restored = Restored {
        agents: agents.collect(),
        edges: edges.collect(),
        ..Restored::default()
    };
    let settings = Settings::new(&config::Controller::default(), &config::Edge::default());
    let mut core = Core::new(settings, ca(), restored, at(0));
    for n in 1..=3 {
        core.edge_connected(edge(n), Connection(1), &proto::EdgeRegister::default(), at(0));
    }
    for n in 1..=PUPILS {
        attach(&mut core, n, 1);
    }
    for pair in 0..PUPILS / 2 {
        let participants = vec![
            (subject(2 * pair + 1), Role::Teacher),
            (subject(2 * pair + 2), Role::Student),
        ];
        let class = NewClass::new(format!("class-{pair}"), participants);
        core.create_class(class, at(1)).unwrap();
    }
    core
}

fn attach(core: &mut Core, n: u64, attach: u64) {
    let attach = to_controller::Body::Attach(proto::Attach {
        boot: 1,
        attach,
        ..proto::Attach::default()
    });
    core.agent_said(edge(1), AgentId(n), Some(SCHOOL), attach, at(0));
}

/// The newest of what each agent was told.
#[derive(Debug, Default)]
struct Told {
    settings: proto::Settings,
    plans: proto::Plans,
}

fn listen(core: &mut Core, told: &mut BTreeMap<u64, Told>) {
    while let Some(output) = core.poll_output() {
        let Output::ToEdge(_, message) = output else {
            continue;
        };
        let Some(controller_to_edge::Body::ToAgent(message)) = message.body else {
            continue;
        };
        let told = told.entry(message.agent).or_default();
        let body = proto::decode::<proto::FromController>(&message.payload)
            .unwrap()
            .body;
        match body {
            Some(from_controller::Body::Settings(settings)) => told.settings = settings,
            Some(from_controller::Body::Plans(plans)) => told.plans = plans,
            _ => {}
        }
    }
}

/// What an agent makes of it.
fn rates_of(told: &Told) -> Rates {
    let settings = told.settings;
    let routes = told.plans.plans.iter().map(|p| p.routes.len()).sum();
    let allowed = Allowed {
        own: u64::from(settings.in_class_kbps) * 1_000,
        line: Some(u64::from(settings.site_share_bps)).filter(|bits| *bits > 0),
    };
    let wanted = Wanted {
        links: 3,
        routes,
        answers: true,
        ..Wanted::default()
    };
    rates::fit(allowed, &AgentSettings::default(), &wanted, 0)
}

#[test]
fn three_hundred_in_class_share_two_megabits() {
    let mut core = school();
    let mut told = BTreeMap::new();
    core.tick(at(2));
    listen(&mut core, &mut told);
    assert_eq!(told.len(), PUPILS as usize);
    let (mut out, mut back) = (0, 0);
    for told in told.values() {
        assert!(!told.plans.plans[0].routes.is_empty());
        assert_eq!(told.settings.site_share_bps, 6_666);
        let rates = rates_of(told);
        assert!(
            rates.routes.spacing() <= 100,
            "it probes its primary every 10 s at least"
        );
        // Its own, its peer's along as many routes at the same rate, and its reports.
        let routes = told.plans.plans[0].routes.len() as u64;
        let peers = |bytes: u64| routes * bytes * 8 * 10 / u64::from(rates.routes.spacing());
        out += rates.load.out + peers(tiers::ROUTE_PROBE.back) + tiers::IN_CLASS_REPORTS;
        back += rates.load.back + peers(tiers::ROUTE_PROBE.out);
    }
    assert!(out <= 2_000_000 && back <= 2_000_000, "{out} out, {back} back");
    assert!(out >= 1_500_000, "and most of it is used: {out}");

    // A third of them go home.
    for n in 1..=PUPILS / 3 {
        core.agent_gone(edge(1), AgentId(n), at(3));
    }
    core.tick(at(4));
    listen(&mut core, &mut told);
    assert_eq!(told[&PUPILS].settings.site_share_bps, 10_000);
    assert!(rates_of(&told[&PUPILS]).load.out > rates_of(&told[&1]).load.out);
    let status = core.status(at(4), 0);
    let site = &status.sites[0];
    assert_eq!(
        (site.address.as_str(), site.agents, site.in_class),
        ("192.0.2.0/24", 200, 200)
    );
    assert_eq!(site.share_in_class_kbps, Some(10.0));

    // Classes end: everybody gets what it wants, and is told so.
    for pair in 0..PUPILS / 2 {
        core.end_class(&format!("class-{pair}"), None, at(5)).unwrap();
    }
    core.tick(at(6));
    listen(&mut core, &mut told);
    assert_eq!(told[&PUPILS].settings.site_share_bps, 0);
}

#[test]
fn one_that_leaves_gives_its_share_back() {
    let mut core = school();
    let mut told = BTreeMap::new();
    core.tick(at(2));
    listen(&mut core, &mut told);
    // Twenty stay; one more goes.
    for n in 21..=PUPILS {
        core.agent_gone(edge(1), AgentId(n), at(3));
    }
    core.tick(at(4));
    listen(&mut core, &mut told);
    assert_eq!(told[&1].settings.site_share_bps, 100_000);
    core.agent_gone(edge(1), AgentId(20), at(5));
    core.agent_gone(edge(1), AgentId(19), at(5));
    core.tick(at(6));
    listen(&mut core, &mut told);
    assert_eq!(told[&1].settings.site_share_bps, 111_111);
    core.agent_gone(edge(1), AgentId(18), at(7));
    core.agent_gone(edge(1), AgentId(17), at(7));
    core.tick(at(8));
    listen(&mut core, &mut told);
    assert_eq!(
        told[&1].settings.site_share_bps, 0,
        "2 · 60 kbit/s each: all they want"
    );
    attach(&mut core, 17, 2);
    core.tick(at(9));
    listen(&mut core, &mut told);
    assert_eq!(
        told[&1].settings.site_share_bps, 117_647,
        "and what comes back takes it again"
    );
}
