//! What an edge does with datagrams, from whomever.

use std::{sync::Arc, time::Duration};

use corridor_probes::{AgentId, EdgeId, Mono, SessionConfig, Wall, wire::MAX_DATAGRAM};

use corridor::{
    edge::datagrams::{Datagrams, Refusal, Sender, Verdict},
    media::{
        gate::Warrants,
        grant::{Grant, GrantId},
        wire::Answer,
    },
    prober::Prober,
    route::FarEnd,
};

use super::input::Input;

const ME: EdgeId = EdgeId::new(2).expect("not 0");

/// Takes a grant's bytes at their word: whose it is, and where it leads.
#[derive(Debug)]
struct Believing;

impl Warrants for Believing {
    fn judge(&self, signed: &[u8]) -> Result<(Grant, Duration), Answer> {
        let [whose, far, rate, ..] = *signed else {
            return Err(Answer::BadGrant);
        };
        let grant = Grant {
            id: GrantId(whose.into()),
            class: "c".to_owned(),
            agent: AgentId(u64::from(whose % 4)),
            far: match far {
                0..250 => FarEnd::Agent(AgentId(u64::from(far % 4))),
                _ => FarEnd::Target("t:1".to_owned()),
            },
            edges: (1..=3).filter_map(EdgeId::new).collect(),
            rate_kbps: rate.into(),
            from: Wall::from_micros(0),
            until: Wall::from_micros(1),
        };
        Ok((grant, Duration::from_millis(rate.into())))
    }
}

/// Every datagram has one verdict and one counter; nobody is answered with more than came, and only those
/// whom a route names are sent anything.
pub fn edge_datagrams(data: &[u8]) {
    let mut input = Input::new(data);
    let mesh = Prober::new(Mono::ZERO, 1, SessionConfig::default());
    let mut edge = Datagrams::new(Some(ME), 1, mesh, Some(Arc::new(Believing)));
    let mut now = Mono::ZERO;
    let (mut taken, mut done) = (0, 0);
    while !input.is_over() {
        let who = input.u8();
        let from = match who % 8 {
            0..4 => Sender::Agent(AgentId(u64::from(who / 8 % 4))),
            4..7 => Sender::Edge(EdgeId::new(u16::from(who / 8 % 4) + 1).expect("not 0")),
            _ => Sender::Anyone(u64::from(who / 8)),
        };
        let came = input.piece();
        let mut datagram = came.to_vec();
        now = now + std::time::Duration::from_micros(input.u16().into());
        taken += 1;
        match edge.handle(from, &mut datagram, now, || now) {
            // An answer is padded to the length of the question, and never below its own least length.
            Ok(Verdict::Reply) => {
                assert!(datagram.len() <= MAX_DATAGRAM);
                assert!(datagram.len() <= came.len().max(MAX_ANSWER), "no amplification");
            }
            Ok(Verdict::ToEdge(next)) => {
                assert_ne!(next, ME);
                assert!(!matches!(from, Sender::Anyone(_)));
                assert!(datagram.len() <= came.len() + 8);
            }
            Ok(Verdict::ToAgent(_)) => {
                assert!(!matches!(from, Sender::Anyone(_)));
                assert!(datagram.len() <= came.len() + 8);
            }
            Ok(Verdict::End(_)) => {
                assert!(!matches!(from, Sender::Anyone(_)));
                assert_eq!(datagram, came);
                done += 1;
            }
            Ok(Verdict::Done) => done += 1,
            Err(Refusal::NotForAnyone) => assert!(matches!(from, Sender::Anyone(_))),
            Err(_) => assert_eq!(datagram, came, "what is refused is left alone"),
        }
    }
    let c = edge.counters;
    assert_eq!(c.datagrams_in, taken);
    assert_eq!(c.answered + c.forwarded + c.refused() + c.repeats + done, taken);
}

/// An echo with all its ranges, and a route echo's header, its stamps and its body, without padding.
const MAX_ANSWER: usize = 46 + 2 + 6 * 8 + 25 + 16 * 6;
