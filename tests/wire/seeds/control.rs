//! Control messages on streams, and what cores are told by them.

use corridor::proto::{self, edge_to_agent, edge_to_controller, from_controller, to_controller};
use corridor_probes::{Sample, Steps, samples};
use prost::Message;

use super::{
    super::messages::messages,
    Seeds, one, piece,
    probing::{links, routed},
};

pub fn frames() -> Seeds {
    let hello = proto::AgentHello {
        version: "0.1.0".into(),
        boot: 5,
    };
    let said = [
        proto::agent_to_edge::Body::Hello(hello),
        proto::agent_to_edge::Body::Up(vec![0x22, 2, 8, 1]),
        proto::agent_to_edge::Body::UseUplink(proto::UseUplink { wanted: true }),
    ];
    let stream: Vec<_> = said
        .into_iter()
        .flat_map(|body| proto::encode(&proto::AgentToEdge { body: Some(body) }).unwrap())
        .collect();
    let whole = [vec![6], stream.clone()].concat();
    let cut = whole[..whole.len() - 1].to_vec();
    let long = [&[0u8][..], &stream, &[0, 4, 0, 1]].concat();
    vec![one("whole", whole), one("cut", cut), one("long", long)]
}

/// What edges say: registered, then an agent's words one after the other, then status.
pub fn controller() -> Seeds {
    let edge = |body| piece(&proto::EdgeToController { body: Some(body) }.encode_to_vec());
    let register = proto::EdgeRegister {
        addresses: vec!["192.0.2.1:4433".into()],
        ..Default::default()
    };
    let register = edge(edge_to_controller::Body::Register(register));
    let words = messages()
        .into_iter()
        .filter(|(name, _)| name.starts_with("ToController."));
    let mut seeds: Seeds = words
        .map(|(name, payload)| {
            let from = proto::FromAgent {
                agent: 1,
                payload: payload.clone(),
                site: vec![192, 0, 2, 7],
                ..Default::default()
            };
            let from = edge(edge_to_controller::Body::FromAgent(from));
            let own = edge(edge_to_controller::Body::Own(payload));
            let steps = [
                &[8, 0, 9][..],
                &register,
                &[8, 0, 9],
                &from,
                &[9, 3, 9],
                &own,
                &[0, 9, 9],
            ]
            .concat();
            one(name, steps)
        })
        .collect();
    seeds.push(one(
        "report-now",
        [
            &[8, 0, 9][..],
            &register,
            &[8, 0, 9],
            &edge(report_now()),
            &[0, 9, 9],
        ]
        .concat(),
    ));
    let status = edge(edge_to_controller::Body::Status(proto::EdgeStatus {
        cpu: Some(0.5),
        ..Default::default()
    }));
    let silence = edge(edge_to_controller::Body::Silence(proto::AgentSilence {
        agent: 1,
        silent: true,
    }));
    seeds.push(one(
        "status",
        [
            &[8, 0, 9][..],
            &register,
            &[8, 0, 1],
            &status,
            &[8, 9, 9],
            &silence,
        ]
        .concat(),
    ));
    seeds
}

/// A report of an agent in a class, on a link and a route that there are, of the time at which the target
/// begins.
fn report_now() -> edge_to_controller::Body {
    let ledger = Some(proto::Ledger {
        slots: 10,
        sent: 10,
        received: 8,
        lost_up: 2,
        ..Default::default()
    });
    let sampled: Vec<_> = (0..8)
        .map(|seq| Sample {
            seq,
            rtt_us: 40_000,
            up_us: Some(9),
            steps: Steps::default(),
        })
        .collect();
    let window = |of, class: &str| proto::Window {
        of: Some(of),
        class: class.to_owned(),
        start_us: 1_800_000_000_000_000 - 1_000_000,
        length_ms: 1_000,
        ledger,
        samples: samples::encode(&sampled),
        raw_up_min_us: 5_000,
        raw_down_min_us: 35_000,
        has_raw: true,
        ..Default::default()
    };
    let route = proto::Route { edges: vec![1, 2] };
    let report = proto::Report {
        boot: 1,
        sequence: 1,
        end_us: 1_800_000_000_000_000,
        windows: vec![
            window(proto::window::Of::Edge(1), ""),
            window(proto::window::Of::Route(route.clone()), "c1"),
        ],
        events: vec![proto::Event {
            kind: "switch".into(),
            class: "c1".into(),
            detail: r#"{"from":[1],"to":[2],"text":"better"}"#.into(),
            ..Default::default()
        }],
        legs: vec![proto::LegState {
            class: "c1".into(),
            in_use: Some(route),
            ..Default::default()
        }],
        ..Default::default()
    };
    let payload = proto::ToController {
        body: Some(to_controller::Body::Report(report)),
    }
    .encode_to_vec();
    edge_to_controller::Body::FromAgent(proto::FromAgent {
        agent: 1,
        payload,
        ..Default::default()
    })
}

/// What an edge and the controller say, then time that passes, then datagrams.
pub fn agent() -> Seeds {
    let edge = |body| piece(&proto::EdgeToAgent { body: Some(body) }.encode_to_vec());
    let down = |body| {
        let message = proto::FromController { body: Some(body) };
        edge(edge_to_agent::Body::Down(message.encode_to_vec()))
    };
    let hello = proto::EdgeHello {
        edge: 1,
        controller_connected: true,
        ..Default::default()
    };
    let hello = edge(edge_to_agent::Body::Hello(hello));
    let plan = proto::Plan {
        class: "c1".into(),
        version: 1,
        far_end: Some(proto::FarEnd {
            of: Some(proto::far_end::Of::Agent(8)),
        }),
        routes: [vec![1, 2], vec![2]].map(|edges| proto::Route { edges }).to_vec(),
        budget_us: 200_000,
        edges: [1, 2]
            .map(|id| proto::EdgeInfo {
                id,
                ..Default::default()
            })
            .to_vec(),
        ..Default::default()
    };
    let plans = proto::Plans {
        version: 1,
        plans: vec![plan],
    };
    let plans = down(from_controller::Body::Plans(plans));
    let attached = down(from_controller::Body::Attached(proto::Attached::default()));
    let time = [12u8, 0x3a, 0x98, 16, 0, 100, 12, 0x3a, 0x98];
    let begun = [&[20][..], &hello, &[20], &attached, &[20], &plans, &time].concat();
    let messages = messages().into_iter();
    let mut seeds: Seeds = messages
        .filter(|(name, _)| name.starts_with("FromController."))
        .map(|(name, bytes)| {
            let down = edge(edge_to_agent::Body::Down(bytes));
            one(name, [&begun[..], &[20], &down, &time].concat())
        })
        .collect();
    let datagrams = links()
        .into_iter()
        .chain(routed())
        .flat_map(|(_, d)| [vec![8], piece(&d)].concat());
    seeds.push(one("datagrams", begun.iter().copied().chain(datagrams)));
    seeds.push(one(
        "broken",
        [&begun[..], &[0, 1, 12, 3, 0, 4, 1, 12, 9, 9]].concat(),
    ));
    seeds
}
