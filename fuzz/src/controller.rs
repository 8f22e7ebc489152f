//! The controller's core, told anything by edges and agents.

use std::time::Duration;

use corridor::{
    config,
    controller::{
        Connection, NewClass, Settings,
        core::{Core, Now, Output, Restored},
    },
    proto::{self, edge_to_controller::Body as FromEdge, to_controller::Body as Said},
    site::Site,
    store::records::{AgentRecord, EdgeRecord, Reporter, Role},
};
use corridor_probes::{AgentId, EdgeId, Mono, Wall};

use super::{authority, input::Input};

const START: Wall = authority::NOW;
/// Edges are 1 to 3, agents 1 and 2.
const EDGES: u16 = 3;
const AGENTS: u64 = 2;

/// Whatever is said: what goes out can be sent and what is kept is bounded, no share that is shown is none,
/// and the core goes on.
pub fn controller_core(data: &[u8]) {
    let mut input = Input::new(data);
    let mut now = Now {
        mono: Mono::ZERO,
        wall: START,
    };
    let mut core = core(now);
    while !input.is_over() {
        let what = input.u8();
        let edge = EdgeId::new(u16::from(what % 4) + 1).expect("not 0");
        let passed = Duration::from_millis(u64::from(input.u16()));
        now = Now {
            mono: now.mono + passed,
            wall: now.wall + passed,
        };
        match what / 4 % 8 {
            0 => core.tick(now),
            1 => core.edge_disconnected(edge, Connection(u64::from(input.u8() % 2)), "gone", now),
            _ => match proto::decode::<proto::EdgeToController>(input.piece()) {
                Ok(message) => edge_said(&mut core, edge, message, now),
                Err(_) => core.malformed(),
            },
        }
        work_off(&mut core);
    }
    core.tick(now);
    work_off(&mut core);
    check(&core, now);
}

fn core(now: Now) -> Core {
    let edges = (1..=EDGES).filter_map(EdgeId::new).map(|id| EdgeRecord {
        id,
        name: format!("edge-{id}"),
        region: None,
        addresses: vec![format!("192.0.2.{}:4433", id.get())],
        public_key: Vec::new(),
        tags: Default::default(),
        joined: START,
        revoked: None,
        draining: false,
    });
    let agents = (1..=AGENTS).map(|id| AgentRecord {
        id: AgentId(id),
        subject: format!("s{id}"),
        public_key: Vec::new(),
        tags: Default::default(),
        joined: START,
        revoked: None,
        last_seen: None,
    });
    let restored = Restored {
        agents: agents.collect(),
        edges: edges.collect(),
        ..Restored::default()
    };
    let settings = Settings::new(&config::Controller::default(), &config::Edge::default());
    let mut core = Core::new(settings, authority::ca(), restored, now);
    let participants = vec![("s1".into(), Role::Teacher), ("s2".into(), Role::Student)];
    let class = NewClass::new("c1", participants);
    core.create_class(class, now).expect("a class");
    core
}

fn edge_said(core: &mut Core, edge: EdgeId, message: proto::EdgeToController, now: Now) {
    match message.body {
        Some(FromEdge::Register(register)) => core.edge_connected(edge, Connection(1), &register, now),
        Some(FromEdge::FromAgent(from)) => {
            let agent = AgentId(from.agent);
            let site = Site::from_bytes(&from.site);
            said(core, edge, Reporter::Agent(agent), site, &from.payload, now);
        }
        Some(FromEdge::Own(payload)) => said(core, edge, Reporter::Edge(edge), None, &payload, now),
        Some(FromEdge::Status(status)) => core.edge_status(edge, status, now),
        Some(FromEdge::AgentGone(gone)) => core.agent_gone(edge, AgentId(gone.agent), now),
        Some(FromEdge::Silence(silence)) => {
            core.agent_silence(edge, AgentId(silence.agent), silence.silent, now);
        }
        None => {}
    }
}

fn said(core: &mut Core, edge: EdgeId, from: Reporter, site: Option<Site>, payload: &[u8], now: Now) {
    match (proto::decode::<proto::ToController>(payload), from) {
        (
            Ok(proto::ToController {
                body: Some(Said::Report(report)),
            }),
            _,
        ) => {
            core.stored(from, edge, report, true, now);
        }
        (Ok(proto::ToController { body: Some(body) }), Reporter::Agent(agent)) => {
            core.agent_said(edge, agent, site, body, now);
        }
        (Ok(_), _) => {}
        (Err(_), _) => core.malformed(),
    }
}

/// Does what the driver would: all of it can be sent, and what is kept is no longer than what is allowed.
fn work_off(core: &mut Core) {
    while let Some(output) = core.poll_output() {
        match output {
            Output::ToEdge(_, message) => {
                proto::encode(&message).expect("it can be sent");
            }
            Output::Event { record, .. } => {
                assert!(record.kind.len() <= 40, "{:?}", record.kind);
                // What is said of it comes twice, once in words, where escapes may double it.
                assert!(record.detail.len() <= 32 * 1024, "{} B", record.detail.len());
                let detail: serde_json::Value = serde_json::from_str(&record.detail).expect("JSON");
                let text = detail["text"].as_str().expect("in words");
                assert!(!text.contains(char::is_control), "{text:?}");
            }
            Output::SaveClass(_) | Output::SaveEdge(_) | Output::SavePlan(_) | Output::SaveGrant(_) => {}
        }
    }
}

fn check(core: &Core, now: Now) {
    let status = core.status(now, 0);
    for link in &status.links {
        let loss = link.loss.unwrap_or(0.0);
        assert!((0.0..=1.0).contains(&loss), "{link:?}");
        assert!((0.0..=1.0).contains(&link.kept_out.unwrap_or(0.0)), "{link:?}");
        assert!(link.lost <= link.sent, "{link:?}");
        assert_eq!(link.owd_ms.is_some(), link.owd_error_ms.is_some());
    }
    let legs = status.classes.iter().flat_map(|c| &c.participants);
    for leg in legs.flat_map(|p| &p.legs) {
        assert!((0.0..=1.0).contains(&leg.loss.unwrap_or(0.0)), "{leg:?}");
    }
    serde_json::to_string(&status).expect("it can be shown");
}
