//! The agent's core, told anything by edges.

use std::time::Duration;

use corridor::{
    agent::{
        Look, Settings, Watch,
        core::{Core, Looked, Now, Output},
    },
    proto,
};
use corridor_probes::{
    AgentId, BootId, EdgeId, Mono, Wall,
    surroundings::{NotSeen, Sample},
    wire::{LinkProbe, RouteProbe},
};

use super::input::Input;

const EDGES: u32 = 2;

/// Whatever edges and the controller say, and whatever datagrams come: what goes out can be sent, probes go
/// to edges that are connected, the books of every report add up, and the core does not spin.
pub fn agent_core(data: &[u8]) {
    let mut input = Input::new(data);
    let mut core = core();
    let mut now = at(0);
    for id in 1..=EDGES {
        core.connected(edge(id), 1, now);
    }
    while !input.is_over() {
        let what = input.u8();
        let from = edge(u32::from(what % 3) + 1);
        match what / 4 % 8 {
            0 => core.disconnected(from, u64::from(input.u8() % 2), "gone", now),
            1 => core.connected(from, u64::from(input.u8()), now),
            2 => {
                let datagram = input.piece();
                core.datagram(from, datagram, now.mono.into(), || now.mono);
            }
            3 | 4 => {
                now = at(now.mono.as_micros() / 1_000 + i64::from(input.u16()));
                core.handle_timeout(now);
                assert!(core.next_wakeup() > now.mono - Duration::from_secs(3_600));
            }
            7 => core.clock_stepped(),
            _ => {
                let message = proto::decode::<proto::EdgeToAgent>(input.piece());
                if let Some(body) = message.ok().and_then(|m| m.body) {
                    core.edge_said(from, body, now);
                }
            }
        }
        probe(&mut core, now.mono);
        look(&mut core, now);
        work_off(&mut core);
    }
}

fn core() -> Core {
    let settings = Settings {
        version: "1".into(),
        platform: "test".into(),
        ..Settings::default()
    };
    let edges = (1..=EDGES).map(|id| proto::EdgeInfo {
        id,
        addresses: vec!["192.0.2.1:4433".into()],
        ..proto::EdgeInfo::default()
    });
    let mut core = Core::new(AgentId(7), BootId(9), 1, settings, edges.collect(), Mono::ZERO);
    let watch = Watch {
        on: true,
        trace: true,
        ..Watch::OFF
    };
    core.watch_surroundings(watch, 1, Mono::ZERO);
    core
}

fn at(ms: i64) -> Now {
    let mono = Mono::from_millis(ms);
    Now {
        mono,
        controller: Wall::from_secs(1_800_000_000) + mono.since(Mono::ZERO),
        controller_error: None,
        wall: Wall::from_secs(0),
    }
}

fn edge(id: u32) -> EdgeId {
    u16::try_from(id)
        .ok()
        .and_then(EdgeId::new)
        .expect("a small number above 0")
}

/// All that is due, a bounded lot of it.
fn probe(core: &mut Core, now: Mono) {
    for _ in 0..1_000 {
        let Some(probe) = core.next_probe(now) else { return };
        let link = LinkProbe::parse(&probe.datagram);
        let route = RouteProbe::parse(&probe.datagram);
        let seq = link.map(|p| p.seq).or(route.map(|p| p.header.seq));
        assert_eq!(seq, Ok(probe.seq));
    }
}

/// What it wants to see, none of which is there: a sample and a path at most, until the one is back.
fn look(core: &mut Core, now: Now) {
    let looks: Vec<_> = std::iter::from_fn(|| core.next_look(now.mono)).take(3).collect();
    assert!(looks.len() < 3, "{looks:?}");
    for look in looks {
        core.looked(
            match look {
                Look::Sample { .. } => Looked::Sample(Sample::nothing(NotSeen::NoAnswer)),
                Look::Path(path) => Looked::Path(path, Err(NotSeen::NoRoute)),
            },
            now,
        );
    }
}

fn work_off(core: &mut Core) {
    while let Some(output) = core.poll_output() {
        match output {
            Output::Control(_, message) => {
                proto::encode(&message).expect("it can be sent");
            }
            Output::Store { body, .. } => {
                let report: proto::Report = proto::decode(&body).expect("a report");
                for window in report.windows {
                    let l = window.ledger.expect("with its books");
                    assert_eq!(l.slots, l.sent + l.slipped + l.local_drops + l.unconnected);
                    let fates = l.received + l.lost_up + l.lost_down + l.late + l.lost_unknown;
                    assert_eq!(l.sent, fates);
                }
            }
            Output::Answer { datagram, .. } => {
                assert!(datagram.len() <= corridor_probes::wire::MAX_DATAGRAM);
            }
            Output::Dial(_)
            | Output::HangUp(_)
            | Output::Journal(_)
            | Output::Load(_)
            | Output::Acknowledged(_)
            | Output::SaveEdges(_)
            | Output::LearnTime { .. }
            | Output::StreamRate { .. }
            | Output::Targets(_)
            | Output::ClassAnswer { .. } => {}
        }
    }
}
